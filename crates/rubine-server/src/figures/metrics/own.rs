//! Metrics that only this server has: its workers, shards, journal, saves, quotas, certificates and audit log.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rubine_metrics::{Family, Kind};
use rubine_system::ticks;

use super::Look;
use super::row::{Row, counter, family, flag, gauge, seconds, seconds_of_ticks};
use crate::mailbox::Mailbox;
use crate::quotas::Quota;
use crate::stats::WorkerStats;

const WORKER: &[&str] = &["worker"];
const QUOTA: &[&str] = &["kind", "name"];

pub(super) const ROWS: &[Row] = &[
    family(
        Kind::Gauge,
        "rubine_build_info",
        &["version"],
        "1, with the version of Rubine.",
        |_, family| family.add_with([("version", env!("CARGO_PKG_VERSION").into())], 1.0),
    ),
    family(
        Kind::Counter,
        "rubine_worker_busy_seconds_total",
        WORKER,
        "Time that each worker did not sleep: its rate is the part of the time that it is busy.",
        |it, family| for_each_worker(it, family, |it| seconds_of_ticks(it.busy_ticks.get())),
    ),
    family(
        Kind::Counter,
        "rubine_worker_cpu_seconds_total",
        &["worker", "mode"],
        "Processor time of each worker, in the program and in the system.",
        |it, family| {
            for (index, stats) in it.server.worker_stats().iter().enumerate() {
                for (mode, micros) in
                    [("user", stats.user_us.get()), ("system", stats.system_us.get())]
                {
                    let labels = [("worker", index.to_string().into()), ("mode", mode.into())];
                    family.add_with(labels, seconds(micros));
                }
            }
        },
    ),
    family(
        Kind::Counter,
        "rubine_worker_turns_total",
        WORKER,
        "Turns of each worker.",
        |it, family| for_each_worker(it, family, |it| it.loop_turns.get() as f64),
    ),
    family(
        Kind::Gauge,
        "rubine_worker_turn_seconds_max",
        WORKER,
        "The longest turn of each worker.",
        |it, family| for_each_worker(it, family, |it| seconds_of_ticks(it.turn_ticks_max.get())),
    ),
    family(
        Kind::Gauge,
        "rubine_worker_turn_age_seconds",
        WORKER,
        "For how long each worker's present turn has gone on; 0 while it sleeps.",
        |it, family| for_each_worker(it, family, |it| seconds_of_ticks(turn_age(it))),
    ),
    family(
        Kind::Counter,
        "rubine_worker_commands_total",
        WORKER,
        "Commands that each worker ran.",
        |it, family| {
            for_each_worker(it, family, |it| {
                it.commands.iter().map(|it| it.calls.get()).sum::<u64>() as f64
            });
        },
    ),
    family(
        Kind::Gauge,
        "rubine_worker_clients",
        WORKER,
        "Clients of each worker.",
        |it, family| {
            for (index, count) in it.clients.by_worker.iter().enumerate() {
                family.add_with([("worker", index.to_string().into())], *count as f64);
            }
        },
    ),
    gauge("rubine_shards_busy", "Shards that were held at the moment of looking.", |it| {
        it.shards.busy as f64
    }),
    counter("rubine_shard_waits_total", "Requests that stood at a shard that was busy.", |it| {
        it.total(|it| it.shard_waits.get())
    }),
    counter("rubine_shard_wait_seconds_total", "For how long they stood there.", |it| {
        seconds_of_ticks(it.server.total(|it| it.shard_wait_ticks.get()))
    }),
    gauge("rubine_journal_active", "1 if changes are written down for anybody.", |it| {
        flag(it.journal.is_active)
    }),
    counter("rubine_journal_bytes_total", "Bytes that were written to the journal.", |it| {
        it.journal.end as f64
    }),
    gauge("rubine_journal_buffered_bytes", "Bytes that the journal keeps.", |it| {
        it.journal.buffered_bytes() as f64
    }),
    gauge("rubine_journal_readers", "Who reads the journal: the log, and replicas.", |it| {
        it.journal.reader_count as f64
    }),
    gauge("rubine_journal_lag_bytes_max", "The most that any of them is behind.", |it| {
        it.journal.lag_bytes_max as f64
    }),
    gauge("rubine_clients_waiting_for_disk", "Clients whose replies wait for the disk.", |it| {
        it.total(|it| it.waiting_for_disk.get())
    }),
    gauge("rubine_snapshot_copied_bytes", "Bytes copied for the save that goes on.", |it| {
        it.saving.report.copied_bytes as f64
    }),
    gauge("rubine_save_keys_done", "Keys that the save or rewrite has written.", |it| {
        it.saving.report.keys_done as f64
    })
    .only_if(|it| it.saving.is_anything()),
    gauge("rubine_save_keys_all", "Keys that it has to write.", |it| {
        it.saving.report.keys_total as f64
    })
    .only_if(|it| it.saving.is_anything()),
    gauge("rubine_save_bytes_per_second", "Bytes a second that it writes.", |it| {
        it.saving.report.bytes_per_second as f64
    })
    .only_if(|it| it.saving.is_anything()),
    gauge("rubine_loading_progress_ratio", "How much of the data is loaded.", |it| {
        it.server.persistence.loading.progress(it.now).percent / 100.0
    })
    .only_if(|it| it.server.persistence.is_loading()),
    gauge("rubine_loading_eta_seconds", "How long loading will take yet.", |it| {
        it.server.persistence.loading.progress(it.now).seconds_left as f64
    })
    .only_if(|it| it.server.persistence.is_loading()),
    gauge("rubine_client_memory_bytes", "Memory of clients that may be evicted.", |it| {
        it.total(|it| it.client_bytes.get())
    }),
    gauge("rubine_messages_on_their_way_bytes", "Messages that workers have yet to send.", |it| {
        it.server.workers.iter().map(Mailbox::published_bytes).sum::<usize>() as f64
    }),
    gauge("rubine_users", "Users.", |it| it.server.access.users().iter().count() as f64),
    family(
        Kind::Gauge,
        "rubine_tls_certificate_expires_timestamp_seconds",
        &["certificate"],
        "When each certificate ends, Unix seconds.",
        certificates,
    ),
    counter("rubine_audit_lines_total", "Lines of the audit log.", |it| {
        it.server.observing.audit.counts.written.load(Relaxed) as f64
    }),
    counter("rubine_audit_lines_dropped_total", "Lines of it that were lost.", |it| {
        it.server.observing.audit.counts.dropped.load(Relaxed) as f64
    }),
    counter("rubine_audit_write_errors_total", "Writes of it that failed.", |it| {
        it.server.observing.audit.counts.errors.load(Relaxed) as f64
    }),
];

/// What users, databases and prefixes of keys have taken. More than [`QUOTAS_MAX`] of them are not shown.
pub(super) const QUOTAS: &[Row] = &[
    family(Kind::Counter, "rubine_quota_operations_total", QUOTA, "Commands.", |it, family| {
        for_each_quota(it, family, |it| load(&it.counts.taken[0]));
    }),
    family(
        Kind::Counter,
        "rubine_quota_input_bytes_total",
        QUOTA,
        "Bytes of requests.",
        |it, family| for_each_quota(it, family, |it| load(&it.counts.taken[1])),
    ),
    family(
        Kind::Counter,
        "rubine_quota_output_bytes_total",
        QUOTA,
        "Bytes of replies.",
        |it, family| for_each_quota(it, family, |it| load(&it.counts.taken[2])),
    ),
    family(
        Kind::Counter,
        "rubine_quota_delayed_total",
        QUOTA,
        "Commands that were put off.",
        |it, family| for_each_quota(it, family, |it| load(&it.counts.delayed)),
    ),
    family(
        Kind::Counter,
        "rubine_quota_delayed_seconds_total",
        QUOTA,
        "For how long commands were put off.",
        |it, family| for_each_quota(it, family, |it| load(&it.counts.delayed_ms) / 1000.0),
    ),
    family(
        Kind::Counter,
        "rubine_quota_refused_total",
        QUOTA,
        "Commands and connections that were refused.",
        |it, family| for_each_quota(it, family, |it| load(&it.counts.refused)),
    ),
    family(
        Kind::Counter,
        "rubine_quota_observed_total",
        QUOTA,
        "What would have been put off or refused, if the quota were not only observed.",
        |it, family| for_each_quota(it, family, |it| load(&it.counts.observed)),
    ),
    family(
        Kind::Gauge,
        "rubine_quota_clients",
        QUOTA,
        "Clients that it is about.",
        |it, family| for_each_quota(it, family, |it| it.seat_count() as f64),
    ),
    family(Kind::Gauge, "rubine_quota_memory_bytes", QUOTA, "Memory of its keys.", |it, family| {
        for_each_quota(it, family, |it| it.memory() as f64);
    }),
];

/// Quotas that have metrics.
const QUOTAS_MAX: usize = 1000;

fn for_each_quota(look: &Look, family: &mut Family, value: impl Fn(&Quota) -> f64) {
    for quota in look.server.quotas.table().quotas().iter().take(QUOTAS_MAX) {
        let subject = &quota.rule.subject;
        let name = String::from_utf8_lossy(&subject.name()).into_owned();
        let labels = [("kind", subject.kind().into()), ("name", name.into())];
        family.add_with(labels, value(quota));
    }
}

fn for_each_worker(look: &Look, family: &mut Family, value: impl Fn(&WorkerStats) -> f64) {
    for (index, stats) in look.server.worker_stats().iter().enumerate() {
        family.add_with([("worker", index.to_string().into())], value(stats));
    }
}

/// Steps of the clock since a worker's turn began; 0 while it sleeps.
fn turn_age(stats: &WorkerStats) -> u64 {
    match stats.turn_start.get() {
        0 => 0,
        start => ticks::now().saturating_sub(start),
    }
}

fn certificates(look: &Look, family: &mut Family) {
    let current = look.server.ports.tls.current();
    let Some(facts) = current.as_ref().map(|it| &it.facts) else { return };
    for (name, facts) in
        [("server", &facts.server), ("client", &facts.client), ("ca", &facts.authority)]
    {
        if let Some(facts) = facts {
            family.add_with([("certificate", name.into())], facts.expires_at as f64);
        }
    }
}

fn load(counter: &AtomicU64) -> f64 {
    counter.load(Relaxed) as f64
}
