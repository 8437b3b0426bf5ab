//! The sections of INFO that add up what the workers count.

use std::sync::atomic::Ordering;

use rubine_acl::Reason;

use super::{Source, Text};
use crate::client::subscriptions::ChannelKind;
use crate::stats::errors::ErrorStats;
use crate::stats::histogram::percentile;
use crate::stats::{CommandStats, WorkerStats};
use rubine_system::ticks;

pub(super) fn stats(source: &Source<'_>, text: &mut Text) {
    let server = source.server;
    let total = |counter: fn(&WorkerStats) -> u64| server.total(counter);
    let gauges = &server.stats.gauges;
    let kilobytes = |rate: u64| rate as f64 / 1024.0;
    text.field("total_connections_received", total(|it| it.connections_received.get()));
    text.field("total_commands_processed", server.commands_processed());
    text.field("instantaneous_ops_per_sec", gauges.operations_per_second.load(Ordering::Relaxed));
    text.field("total_net_input_bytes", server.net_input_bytes());
    text.field("total_net_output_bytes", server.net_output_bytes());
    let from_master = &server.replication.following.link.input_bytes;
    text.field("total_net_repl_input_bytes", from_master.load(Ordering::Relaxed));
    text.field("total_net_repl_output_bytes", total(|it| it.replica_output_bytes.get()));
    let (imported, exported) = server.slot_bytes();
    text.field("total_net_cluster_slot_import_bytes", imported);
    text.field("total_net_cluster_slot_export_bytes", exported);
    text.ratio(
        "instantaneous_input_kbps",
        kilobytes(gauges.input_bytes_per_second.load(Ordering::Relaxed)),
    );
    text.ratio(
        "instantaneous_output_kbps",
        kilobytes(gauges.output_bytes_per_second.load(Ordering::Relaxed)),
    );
    text.ratio(
        "instantaneous_input_repl_kbps",
        kilobytes(gauges.master_bytes_per_second.load(Ordering::Relaxed)),
    );
    text.field("instantaneous_output_repl_kbps", "0.00");
    text.field("rejected_connections", total(|it| it.rejected_connections.get()));
    let replicas = &server.replication.replicas;
    text.field("sync_full", replicas.full_syncs.load(Ordering::Relaxed));
    text.field("sync_partial_ok", replicas.partial_syncs.load(Ordering::Relaxed));
    text.field("sync_partial_err", replicas.refused_partial_syncs.load(Ordering::Relaxed));
    keys(source, text);
    let pubsub = &source.server.pubsub;
    text.field("pubsub_channels", pubsub.len(ChannelKind::Channel));
    text.field("pubsub_patterns", pubsub.len(ChannelKind::Pattern));
    text.field("pubsubshard_channels", pubsub.len(ChannelKind::ShardChannel));
    text.zeros(&["latest_fork_usec", "total_forks"]);
    text.field("migrate_cached_sockets", server.aside.migrations.kept_connections());
    text.field("slave_expires_tracked_keys", server.replication.following.own_keys.len());
    let defrag = &server.aside.defrag;
    for (name, counter) in [
        ("active_defrag_hits", &defrag.hits),
        ("active_defrag_misses", &defrag.misses),
        ("active_defrag_key_hits", &defrag.key_hits),
        ("active_defrag_key_misses", &defrag.key_misses),
        ("total_active_defrag_time", &defrag.total_ms),
        ("current_active_defrag_time", &defrag.current_ms),
    ] {
        text.field(name, counter.load(Ordering::Relaxed));
    }
    text.field("tracking_total_keys", server.keyspace.tracked().keys());
    text.field("tracking_total_items", server.keyspace.tracked().items());
    text.field("tracking_total_prefixes", server.trackers.prefix_count());
    text.field("unexpected_error_replies", 0);
    text.field("total_error_replies", total(|it| it.error_replies.get()));
    text.field("dump_payload_sanitizations", 0);
    traffic(source, text);
}

/// What became of keys.
fn keys(source: &Source<'_>, text: &mut Text) {
    let server = source.server;
    let total = |counter: fn(&WorkerStats) -> u64| server.total(counter);
    let expiry_ms = total(|it| it.expiry_ticks.get()) as f64 / ticks::per_microsecond() / 1000.0;
    let over = &server.stats.memory.over_limit;
    text.field("expired_keys", total(|it| it.expired_keys.get()));
    // Valkey's name, and Redis's.
    text.field("expired_fields", total(|it| it.expired_fields.get()));
    text.field("expired_subkeys", total(|it| it.expired_fields.get()));
    let stale = server.stats.gauges.stale_per_myriad.load(Ordering::Relaxed) as f64 / 100.0;
    text.ratio("expired_stale_perc", stale);
    text.field("expired_time_cap_reached_count", total(|it| it.expiry_cap_reached.get()));
    text.field("expire_cycle_cpu_milliseconds", expiry_ms as u64);
    text.field("evicted_keys", total(|it| it.evicted_keys.get()));
    text.field("evicted_clients", total(|it| it.evicted_clients.get()));
    text.field("evicted_scripts", server.scripting.scripts.evicted_count());
    text.field("total_eviction_exceeded_time", over.total_ms(source.now));
    text.field("current_eviction_exceeded_time", over.current_ms(source.now));
    text.field("keyspace_hits", total(|it| it.keyspace_hits.get()));
    text.field("keyspace_misses", total(|it| it.keyspace_misses.get()));
}

/// What went through sockets and event loops.
fn traffic(source: &Source<'_>, text: &mut Text) {
    let server = source.server;
    let total = |counter: fn(&WorkerStats) -> u64| server.total(counter);
    let micros = |ticks: u64| (ticks as f64 / ticks::per_microsecond()) as u64;
    let in_commands = |stats: &WorkerStats| stats.commands.iter().map(|it| it.ticks.get()).sum();
    // The first worker stands where the main thread does elsewhere; what the others do is done by I/O threads.
    let others = |counter: fn(&WorkerStats) -> u64| -> u64 {
        server.worker_stats().iter().skip(1).map(counter).sum()
    };
    text.field("total_reads_processed", total(|it| it.reads_processed.get()));
    text.field("total_writes_processed", total(|it| it.writes_processed.get()));
    text.field("io_threaded_reads_processed", others(|it| it.reads_processed.get()));
    text.field("io_threaded_writes_processed", others(|it| it.writes_processed.get()));
    text.field(
        "client_query_buffer_limit_disconnections",
        total(|it| it.query_buffer_limit_disconnections.get()),
    );
    text.field(
        "client_output_buffer_limit_disconnections",
        total(|it| it.output_buffer_limit_disconnections.get()),
    );
    text.zeros(&["reply_buffer_shrinks", "reply_buffer_expands"]);
    text.field("eventloop_cycles", total(|it| it.loop_turns.get()));
    text.field("eventloop_duration_sum", micros(total(|it| it.busy_ticks.get())));
    text.field("eventloop_duration_cmd_sum", micros(server.total(in_commands)));
    let gauges = &server.stats.gauges;
    text.field(
        "instantaneous_eventloop_cycles_per_sec",
        gauges.turns_per_second.load(Ordering::Relaxed),
    );
    text.field(
        "instantaneous_eventloop_duration_usec",
        gauges.turn_duration_us.load(Ordering::Relaxed),
    );
    for (name, reason) in REFUSALS {
        text.field(name, server.access.refusal_count(*reason));
    }
}

/// The counters of refusals, by what they are for.
const REFUSALS: &[(&str, Reason)] = &[
    ("acl_access_denied_auth", Reason::Auth),
    ("acl_access_denied_cmd", Reason::Command),
    ("acl_access_denied_key", Reason::Key),
    ("acl_access_denied_channel", Reason::Channel),
    ("acl_access_denied_tls_cert", Reason::TlsCertificate),
    ("acl_access_denied_db", Reason::Database),
];

/// Each worker, in the words for I/O threads.
pub(super) fn threads(source: &Source<'_>, text: &mut Text) {
    let clients = source.server.clients.list();
    for (index, stats) in source.server.worker_stats().iter().enumerate() {
        let served = clients.iter().filter(|it| it.worker == index).count();
        let commands: u64 = stats.commands.iter().map(|it| it.calls.get()).sum();
        text.field(
            &format!("io_thread_{index}"),
            format_args!(
                "clients={served},reads={},writes={},commands={commands}",
                stats.reads_processed.get(),
                stats.writes_processed.get(),
            ),
        );
    }
}

/// Each command that anybody has sent.
pub(super) fn commands(source: &Source<'_>, text: &mut Text) {
    let server = source.server;
    for entry in server.commands.all() {
        let total = |counter: fn(&CommandStats) -> u64| {
            server.total(|stats| counter(&stats.commands[entry.number]))
        };
        let calls = total(|it| it.calls.get());
        let rejected = total(|it| it.rejected_calls.get());
        let failed = total(|it| it.failed_calls.get());
        if calls == 0 && rejected == 0 && failed == 0 {
            continue;
        }
        let micros = total(|it| it.ticks.get()) as f64 / ticks::per_microsecond();
        text.field(
            &format!("cmdstat_{}", entry.full_name),
            format_args!(
                "calls={calls},usec={},usec_per_call={:.2},rejected_calls={rejected},failed_calls={failed}",
                micros as u64,
                micros / calls.max(1) as f64
            ),
        );
    }
}

/// How long each command takes, for the percentiles that the configuration names.
pub(super) fn latencies(source: &Source<'_>, text: &mut Text) {
    let server = source.server;
    let percentiles = &server.config.load().latency_tracking_info_percentiles;
    if !server.config.load().latency_tracking {
        return;
    }
    for entry in server.commands.all() {
        let mut counts = Vec::new();
        for stats in &server.stats.threads {
            if let Some(latency) = stats.commands[entry.number].latency.get() {
                latency.add_to(&mut counts);
            }
        }
        let shown: Vec<_> = percentiles
            .iter()
            .filter_map(|&percent| {
                let micros = percentile(&counts, percent)? as f64 / ticks::per_microsecond();
                Some(format!("p{percent}={micros:.3}"))
            })
            .collect();
        if !shown.is_empty() {
            let name = format!("latency_percentiles_usec_{}", entry.full_name);
            text.field(&name, shown.join(","));
        }
    }
}

/// What only developers look at.
pub(super) fn debug(source: &Source<'_>, text: &mut Text) {
    let server = source.server;
    let micros = |ticks: u64| (ticks as f64 / ticks::per_microsecond()) as u64;
    let most = |counter: fn(&WorkerStats) -> u64| server.stats.threads.iter().map(counter).max();
    text.field("eventloop_duration_aof_sum", 0);
    text.field("eventloop_duration_cron_sum", micros(server.total(|it| it.cron_ticks.get())));
    text.field("eventloop_duration_max", micros(most(|it| it.turn_ticks_max.get()).unwrap_or(0)));
    text.field("eventloop_cmd_per_cycle_max", most(|it| it.turn_commands_max.get()).unwrap_or(0));
}

/// Each error code that was replied.
pub(super) fn errors(source: &Source<'_>, text: &mut Text) {
    for (code, count) in ErrorStats::list(source.server.stats.threads.iter().map(|it| &it.errors)) {
        text.field(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}
