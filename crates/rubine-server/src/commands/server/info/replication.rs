//! INFO's section about replication.

use std::sync::atomic::{AtomicI64, Ordering};

use rubine_base::clock::monotonic_millis;
use rubine_replication::follower::Phase;
use rubine_replication::leader::{Replica, State};

use super::Source;
use super::text::Text;
use crate::replication::following::{Following, shown};
use crate::server::Server;

pub(super) fn replication(source: &Source<'_>, text: &mut Text) {
    let server = source.server;
    if server.replication.following.is_replica() {
        as_replica(source, text);
    } else {
        text.field("role", "master");
    }
    as_master(source, text);
}

/// What there is to say of the master.
fn as_replica(source: &Source<'_>, text: &mut Text) {
    let Source { server, now, .. } = *source;
    let config = server.config.load();
    let Following { link, syncs, .. } = &server.replication.following;
    let (host, port) = shown(config.replicaof.as_ref());
    let phase = link.phase();
    let (is_up, is_syncing) = (phase == Phase::Connected, phase == Phase::Sync);
    let seconds_since = |moment: &AtomicI64| match moment.load(Ordering::Relaxed) {
        0 => -1,
        moment => (now / 1000 - moment / 1000).max(0),
    };
    let applied = server.journal.point().offset.0;
    let received = if is_up { link.received.load(Ordering::Relaxed).max(applied) } else { applied };
    text.field("role", "slave");
    text.field("master_host", host);
    text.field("master_port", port);
    text.field("master_link_status", if is_up { "up" } else { "down" });
    text.field(
        "master_last_io_seconds_ago",
        if is_up { seconds_since(&link.heard_at) } else { -1 },
    );
    text.field("master_sync_in_progress", u8::from(is_syncing));
    text.field("slave_read_repl_offset", received);
    text.field("slave_repl_offset", applied);
    let held = syncs.held_bytes.load(Ordering::Relaxed);
    let held_peak = syncs.held_bytes_peak.load(Ordering::Relaxed);
    text.field("replicas_repl_buffer_size", held);
    text.field("replicas_repl_buffer_peak", held_peak);
    text.field("replica_full_sync_buffer_size", held);
    text.field("replica_full_sync_buffer_peak", held_peak);
    if is_syncing {
        let total = syncs.total_bytes.load(Ordering::Relaxed);
        let read = syncs.read_bytes.load(Ordering::Relaxed);
        let percent = if total == 0 { 0.0 } else { read as f64 / total as f64 * 100.0 };
        text.field("master_sync_total_bytes", total);
        text.field("master_sync_read_bytes", read);
        text.field("master_sync_left_bytes", total as i64 - read as i64);
        text.ratio("master_sync_perc", percent);
        text.field("master_sync_last_io_seconds_ago", seconds_since(&syncs.heard_at));
    }
    if !is_up {
        text.field("master_link_down_since_seconds", seconds_since(&link.down_since));
    }
    text.field("slave_priority", config.replica_priority);
    text.field("slave_read_only", u8::from(config.replica_read_only));
    text.field("replica_announced", u8::from(config.replica_announced));
    text.field("replica_full_syncs", syncs.full_count.load(Ordering::Relaxed));
    text.field("replica_partial_syncs", syncs.partial_count.load(Ordering::Relaxed));
    text.field("replica_failed_syncs", syncs.failed_count.load(Ordering::Relaxed));
    text.field("replica_last_full_sync_reason", syncs.last_reason.lock());
    text.field("replica_sync_refused", syncs.refusal.lock().as_deref().unwrap_or(""));
    let lag_ms = if link.caught_up_at() == 0 { -1 } else { (now - link.caught_up_at()).max(0) };
    text.field("replica_lag_ms", lag_ms);
}

/// What there is to say of replicas, and of what is kept for them.
fn as_master(source: &Source<'_>, text: &mut Text) {
    let server = source.server;
    let config = server.config.load();
    let replicas = &server.replication.replicas;
    let now = monotonic_millis();
    let (all, held) = replicas.with(|leader| {
        let own = leader.replicas().filter(|(id, _)| !leader.is_part_of_other(*id));
        (own.map(|(_, it)| it.clone()).collect::<Vec<_>>(), leader.held_count())
    });
    let shown: Vec<&Replica> = all.iter().filter(|it| it.state.name().is_some()).collect();
    text.field("connected_slaves", all.len());
    if config.min_replicas_to_write != 0 && config.min_replicas_max_lag != 0 {
        text.field("min_slaves_good_slaves", replicas.good_count());
    }
    if config.write_quorum != 0 {
        text.field("write_quorum", config.write_quorum);
        text.field("write_quorum_timeouts", replicas.quorum_timeouts.load(Ordering::Relaxed));
    }
    let point = server.journal.point();
    for (index, replica) in shown.into_iter().enumerate() {
        let state = replica.state.name().unwrap_or_default();
        let lag = replica.lag_seconds(now).unwrap_or(0);
        let has = replica.acknowledged.0;
        let line = format_args!(
            "ip={},port={},state={state},offset={has},lag={lag},type={},lag_bytes={}",
            replica.host(),
            replica.introduction.port,
            kind(replica),
            point.offset.0.saturating_sub(has)
        );
        text.field(&format!("slave{index}"), line);
    }
    text.field("replicas_waiting_psync", held);
    text.field("master_failover_state", server.replication.failover.lock().phase().name());
    text.field("master_replid", point.history.id);
    let previous = point.history.previous;
    match previous {
        Some(previous) => text.field("master_replid2", previous.id),
        None => text.field("master_replid2", "0".repeat(40)),
    }
    text.field("master_repl_offset", point.offset.0);
    let second = previous.map_or(-1, |it| it.until.0 as i64 + 1);
    text.field("second_repl_offset", second);
    let status = server.journal.status();
    let is_kept = status.backlog_bytes_max != 0;
    let first = server.journal.offset_at(status.oldest).map_or(0, |it| it.0 + 1);
    let kept = point.offset.0.saturating_sub(first.saturating_sub(1));
    text.field("repl_backlog_active", u8::from(is_kept));
    text.field("repl_backlog_size", config.repl_backlog_size);
    text.field("repl_backlog_first_byte_offset", if is_kept { first } else { 0 });
    text.field("repl_backlog_histlen", if is_kept { kept } else { 0 });
    let on_disk = server.persistence.backlog.status();
    text.field("repl_backlog_disk_size", config.repl_backlog_disk_size);
    text.field("repl_backlog_disk_active", u8::from(on_disk.is_active));
    let first = if on_disk.first < on_disk.end { on_disk.first + 1 } else { 0 };
    text.field("repl_backlog_disk_first_byte_offset", first);
    text.field("repl_backlog_disk_histlen", on_disk.end - on_disk.first);
    text.field("repl_backlog_disk_failure", on_disk.failure.as_deref().unwrap_or(""));
    if let Some((name, why)) = replicas.last_full() {
        text.field("last_full_sync_replica", name);
        text.field("last_full_sync_reason", why);
    }
    verification(server, text);
}

/// What came of the last comparison with replicas, if there was one.
fn verification(server: &Server, text: &mut Text) {
    let Some(run) = server.replication.verification.last() else { return };
    let report = run.report.lock();
    let with =
        |outcome: &str| report.replicas.iter().filter(|it| it.outcome.name() == outcome).count();
    text.field("verify_state", report.phase.name());
    text.field("verify_last_time", report.ended_at.unwrap_or(run.started_at) / 1000);
    text.field("verify_offset", report.offset);
    text.field("verify_replicas_same", with("same"));
    text.field("verify_replicas_different", with("differs"));
    text.field("verify_replicas_unable", with("unable"));
    text.field("verify_different_keys", report.differences.total());
    if let Some(repair) = &report.repair {
        text.field("repair_in_progress", u8::from(!repair.is_over));
        text.field("repair_sent_keys", repair.sent);
    }
}

/// What goes over a replica's connection.
fn kind(replica: &Replica) -> &'static str {
    match replica.state {
        _ if replica.introduction.is_for_dump => "rdb-channel",
        State::Beside { .. } => "main-channel",
        _ => "replica",
    }
}
