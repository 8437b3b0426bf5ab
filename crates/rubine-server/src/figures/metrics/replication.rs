//! Metrics of replication: the log and its history, each replica, and the link to a master.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;

use rubine_base::clock::monotonic_millis;
use rubine_metrics::{Family, Kind};
use rubine_replication::follower::Phase;

use super::Look;
use super::row::{Row, counter, family, flag, gauge};
use crate::replication::following::shown;

const OF_MASTER: &[&str] = &["master_host", "master_port"];
const OF_REPLICA: &[&str] = &["slave_ip", "slave_port", "slave_state"];

pub(super) const ROWS: &[Row] = &[
    gauge("redis_connected_slaves", "Replicas that are connected.", |it| {
        it.server.replication.replicas.with(|it| it.len()) as f64
    }),
    gauge("redis_master_repl_offset", "Offset of the replication stream.", |it| {
        it.point.offset.0 as f64
    }),
    gauge(
        "redis_second_repl_offset",
        "Offset up to which the former history is shared; -1 if there is none.",
        |it| it.point.history.previous.map_or(-1.0, |it| it.until.0 as f64 + 1.0),
    ),
    gauge("redis_repl_backlog_is_active", "1 if there is a backlog.", |it| {
        flag(it.journal.backlog_bytes_max != 0)
    }),
    gauge("redis_replication_backlog_bytes", "Bytes that the backlog may have.", |it| {
        it.config.repl_backlog_size as f64
    }),
    gauge("redis_repl_backlog_first_byte_offset", "Offset where the backlog begins.", |it| {
        backlog(it).0 as f64
    }),
    gauge("redis_repl_backlog_history_bytes", "Bytes that are in the backlog.", |it| {
        backlog(it).1 as f64
    }),
    gauge("redis_replica_resyncs_full", "Replicas that got everything anew.", |it| {
        it.server.replication.replicas.full_syncs.load(Relaxed) as f64
    }),
    gauge("redis_replica_partial_resync_accepted", "Replicas that went on.", |it| {
        it.server.replication.replicas.partial_syncs.load(Relaxed) as f64
    }),
    gauge(
        "redis_replica_partial_resync_denied",
        "Replicas that wanted to go on and could not.",
        |it| it.server.replication.replicas.refused_partial_syncs.load(Relaxed) as f64,
    ),
    counter("redis_net_repl_input_bytes_total", "Bytes that came from masters.", |it| {
        it.server.replication.following.link.input_bytes.load(Relaxed) as f64
    }),
    counter("redis_net_repl_output_bytes_total", "Bytes that went to replicas.", |it| {
        it.total(|it| it.replica_output_bytes.get())
    }),
    family(
        Kind::Gauge,
        "redis_connected_slave_offset_bytes",
        OF_REPLICA,
        "Offset up to which each replica has everything.",
        |it, family| for_each_replica(it, family, |it| it.offset as f64),
    ),
    family(
        Kind::Gauge,
        "redis_connected_slave_lag_seconds",
        OF_REPLICA,
        "Seconds since each replica was last heard.",
        |it, family| for_each_replica(it, family, |it| it.lag_seconds as f64),
    ),
    family(
        Kind::Gauge,
        "rubine_replica_lag_bytes",
        OF_REPLICA,
        "Bytes of the stream that each replica has yet to confirm.",
        |it, family| for_each_replica(it, family, |it| it.lag_bytes as f64),
    ),
    family(
        Kind::Gauge,
        "redis_slave_info",
        &["master_host", "master_port", "read_only"],
        "1 on a replica.",
        replica_info,
    ),
    gauge("redis_slave_priority", "Who has less is promoted first; 0 for never.", |it| {
        f64::from(it.config.replica_priority)
    })
    .only_if(Look::is_replica),
    family(
        Kind::Gauge,
        "redis_master_link_up",
        OF_MASTER,
        "1 if the link to the master is in order.",
        |it, family| of_master(it, family, flag(is_at(it, Phase::Connected))),
    ),
    family(
        Kind::Gauge,
        "redis_master_sync_in_progress",
        OF_MASTER,
        "1 while everything comes anew from the master.",
        |it, family| of_master(it, family, flag(is_at(it, Phase::Sync))),
    ),
    family(
        Kind::Gauge,
        "redis_master_last_io_seconds_ago",
        OF_MASTER,
        "Seconds since the master was last heard; -1 without a link.",
        |it, family| {
            let heard_at = &it.server.replication.following.link.heard_at;
            let is_up = is_at(it, Phase::Connected);
            of_master(it, family, if is_up { seconds_since(it, heard_at) } else { -1.0 });
        },
    ),
    family(
        Kind::Gauge,
        "redis_slave_repl_offset",
        OF_MASTER,
        "Offset up to which the master's stream was applied.",
        |it, family| of_master(it, family, it.point.offset.0 as f64),
    ),
    gauge(
        "rubine_master_link_down_seconds",
        "For how long there has been no link to the master that is in order; 0 while there is; -1 if there never was.",
        |it| {
            let link = &it.server.replication.following.link;
            let is_up = is_at(it, Phase::Connected);
            if is_up { 0.0 } else { seconds_since(it, &link.down_since) }
        },
    )
    .only_if(Look::is_replica),
    gauge(
        "rubine_replica_lag_seconds",
        "For how long this replica has not had all that its master has; -1 if it never had.",
        |it| match it.server.replication.following.link.caught_up_at() {
            0 => -1.0,
            moment => (it.now - moment).max(0) as f64 / 1000.0,
        },
    )
    .only_if(Look::is_replica),
    gauge("rubine_sync_read_bytes", "Bytes of the dump that were received.", |it| {
        it.server.replication.following.syncs.read_bytes.load(Relaxed) as f64
    })
    .only_if(|it| is_at(it, Phase::Sync)),
    gauge("rubine_sync_total_bytes", "Bytes of the dump; 0 if nobody knows.", |it| {
        it.server.replication.following.syncs.total_bytes.load(Relaxed) as f64
    })
    .only_if(|it| is_at(it, Phase::Sync)),
    family(
        Kind::Counter,
        "rubine_replica_syncs_total",
        &["kind"],
        "Syncs with masters: full ones, partial ones, and those that failed.",
        |it, family| {
            let syncs = &it.server.replication.following.syncs;
            for (kind, count) in [
                ("full", &syncs.full_count),
                ("partial", &syncs.partial_count),
                ("failed", &syncs.failed_count),
            ] {
                family.add_with([("kind", kind.into())], count.load(Relaxed) as f64);
            }
        },
    ),
    counter(
        "rubine_write_quorum_timeouts_total",
        "Clients that were cut because too few replicas confirmed what they wrote.",
        |it| it.server.replication.replicas.quorum_timeouts.load(Relaxed) as f64,
    ),
];

struct ReplicaFacts {
    offset: u64,
    lag_seconds: u64,
    lag_bytes: u64,
}

fn for_each_replica(look: &Look, family: &mut Family, value: impl Fn(&ReplicaFacts) -> f64) {
    let now = monotonic_millis();
    look.server.replication.replicas.with(|leader| {
        for (_, replica) in leader.replicas() {
            let Some(state) = replica.state.name() else { continue };
            let offset = replica.acknowledged.0;
            let lag_seconds = replica.lag_seconds(now).unwrap_or(0);
            let lag_bytes = look.point.offset.0.saturating_sub(offset);
            let labels = [
                ("slave_ip", replica.host().to_owned().into()),
                ("slave_port", replica.introduction.port.to_string().into()),
                ("slave_state", state.into()),
            ];
            family.add_with(labels, value(&ReplicaFacts { offset, lag_seconds, lag_bytes }));
        }
    });
}

/// Where the backlog begins, and how long it is.
fn backlog(look: &Look) -> (u64, u64) {
    if look.journal.backlog_bytes_max == 0 {
        return (0, 0);
    }
    let first = look.server.journal.offset_at(look.journal.oldest).map_or(0, |it| it.0 + 1);
    (first, look.point.offset.0.saturating_sub(first.saturating_sub(1)))
}

fn is_at(look: &Look, phase: Phase) -> bool {
    look.is_replica() && look.server.replication.following.link.phase() == phase
}

fn seconds_since(look: &Look, moment: &AtomicI64) -> f64 {
    match moment.load(Relaxed) {
        0 => -1.0,
        moment => (look.now / 1000 - moment / 1000).max(0) as f64,
    }
}

fn of_master(look: &Look, family: &mut Family, value: f64) {
    if look.is_replica() {
        let (host, port) = shown(look.config.replicaof.as_ref());
        let labels =
            [("master_host", host.to_owned().into()), ("master_port", port.to_string().into())];
        family.add_with(labels, value);
    }
}

fn replica_info(look: &Look, family: &mut Family) {
    if look.is_replica() {
        let (host, port) = shown(look.config.replicaof.as_ref());
        let labels = [
            ("master_host", host.to_owned().into()),
            ("master_port", port.to_string().into()),
            ("read_only", u8::from(look.config.replica_read_only).to_string().into()),
        ];
        family.add_with(labels, 1.0);
    }
}
