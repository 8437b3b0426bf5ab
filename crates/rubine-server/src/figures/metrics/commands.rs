//! Metrics of commands: how often each ran, how long it took, what it was refused for, and the logs of commands.

use rubine_metrics::{Family, Kind};

use super::Look;
use super::row::{Row, counter, family, gauge, micros_of_ticks};
use crate::command_table::Entry;
use crate::observing::command_log::LogKind;
use crate::stats::CommandStats;
use crate::stats::errors::ErrorStats;
use crate::stats::histogram::{cumulative, percentile};
use rubine_system::ticks;

const CMD: &[&str] = &["cmd"];
const EVENT: &[&str] = &["event_name"];

pub(super) const ROWS: &[Row] = &[
    counter("redis_commands_processed_total", "Commands that ran.", |it| {
        it.server.commands_processed() as f64
    }),
    family(Kind::Counter, "redis_commands_total", CMD, "Calls of each command.", |it, family| {
        for_each_command(it, family, |it| it.calls);
    }),
    family(
        Kind::Counter,
        "redis_commands_duration_seconds_total",
        CMD,
        "Time spent in each command.",
        |it, family| for_each_command(it, family, |it| it.micros.floor() / 1e6),
    ),
    family(
        Kind::Counter,
        "redis_commands_rejected_calls_total",
        CMD,
        "Calls of each command that were refused before they ran.",
        |it, family| for_each_command(it, family, |it| it.rejected_calls),
    ),
    family(
        Kind::Counter,
        "redis_commands_failed_calls_total",
        CMD,
        "Calls of each command that ran and failed.",
        |it, family| for_each_command(it, family, |it| it.failed_calls),
    ),
    family(
        Kind::Histogram,
        "redis_commands_latencies_usec",
        CMD,
        "How long calls of each command took, in microseconds.",
        histograms,
    ),
    family(
        Kind::Summary,
        "redis_latency_percentiles_usec",
        CMD,
        "Percentiles of how long calls of each command took, in microseconds.",
        percentiles,
    ),
    family(
        Kind::Counter,
        "redis_errors_total",
        &["err"],
        "Error replies by their first word.",
        |it, family| {
            for (code, count) in
                ErrorStats::list(it.server.stats.threads.iter().map(|it| &it.errors))
            {
                family.add_with([("err", code.into())], count as f64);
            }
        },
    ),
    counter("redis_total_error_replies", "Error replies.", |it| {
        it.total(|it| it.error_replies.get())
    }),
    counter("redis_unexpected_error_replies", "0: what fails in a log is told in the log.", |_| {
        0.0
    }),
    counter("redis_dump_payload_sanitizations", "0, since all payloads are examined.", |_| 0.0),
    family(
        Kind::Gauge,
        "redis_latency_spike_last",
        EVENT,
        "When each event last took longer than latency-monitor-threshold, Unix seconds.",
        |it, family| for_each_event(it, family, |at, _| at as f64),
    ),
    family(
        Kind::Gauge,
        "redis_latency_spike_duration_seconds",
        EVENT,
        "How long each event took when it last took longer than latency-monitor-threshold.",
        |it, family| for_each_event(it, family, |_, millis| millis as f64 / 1000.0),
    ),
    gauge("redis_slowlog_length", "Entries of the log of slow commands.", |it| {
        len_of(it, LogKind::Slow)
    }),
    gauge("redis_slowlog_last_id", "Number of the newest slow command.", |it| {
        newest_slow(it).map_or(0.0, |(id, _)| id as f64)
    }),
    gauge(
        "redis_last_slow_execution_duration_seconds",
        "How long the newest slow command took.",
        |it| newest_slow(it).map_or(0.0, |(_, micros)| micros as f64 / 1e6),
    ),
    gauge("redis_commandlog_slow_length", "Entries of the log of slow commands.", |it| {
        len_of(it, LogKind::Slow)
    }),
    gauge("redis_commandlog_large_request_length", "Entries of the log of large requests.", |it| {
        len_of(it, LogKind::LargeRequest)
    }),
    gauge("redis_commandlog_large_reply_length", "Entries of the log of large replies.", |it| {
        len_of(it, LogKind::LargeReply)
    }),
];

/// What happened to one command, of all workers together.
struct Counts {
    calls: f64,
    micros: f64,
    rejected_calls: f64,
    failed_calls: f64,
}

impl Counts {
    /// Nothing for a command that nobody has sent.
    fn of(look: &Look, entry: &Entry) -> Option<Self> {
        let total = |counter: fn(&CommandStats) -> u64| {
            look.server.total(|stats| counter(&stats.commands[entry.number]))
        };
        let calls = total(|it| it.calls.get());
        let rejected_calls = total(|it| it.rejected_calls.get());
        let failed_calls = total(|it| it.failed_calls.get());
        (calls != 0 || rejected_calls != 0 || failed_calls != 0).then(|| Self {
            calls: calls as f64,
            micros: micros_of_ticks(total(|it| it.ticks.get())),
            rejected_calls: rejected_calls as f64,
            failed_calls: failed_calls as f64,
        })
    }
}

fn for_each_command(look: &Look, family: &mut Family, value: impl Fn(&Counts) -> f64) {
    for &entry in look.server.commands.all() {
        if let Some(counts) = Counts::of(look, entry) {
            family.add_with([("cmd", entry.full_name.as_str().into())], value(&counts));
        }
    }
}

/// Visits commands whose times are measured: the command, counts by bucket, calls, and microseconds altogether.
fn for_each_measured(look: &Look, mut visit: impl FnMut(&'static Entry, &[u64], f64, f64)) {
    if !look.config.latency_tracking {
        return;
    }
    for &entry in look.server.commands.all() {
        let mut counts = Vec::new();
        for stats in &look.server.stats.threads {
            if let Some(latency) = stats.commands[entry.number].latency.get() {
                latency.add_to(&mut counts);
            }
        }
        let calls: u64 = counts.iter().sum();
        if calls != 0 {
            let micros = Counts::of(look, entry).map_or(0.0, |it| it.micros.floor());
            visit(entry, &counts, calls as f64, micros);
        }
    }
}

fn histograms(look: &Look, family: &mut Family) {
    for_each_measured(look, |entry, counts, calls, micros| {
        let cmd = || ("cmd", entry.full_name.as_str().into());
        for (bound, count) in cumulative(counts, ticks::per_microsecond()) {
            let le = ("le", bound.to_string().into());
            family.add_part("_bucket", [cmd(), le], count as f64);
        }
        family.add_part("_bucket", [cmd(), ("le", "+Inf".into())], calls);
        family.add_part("_sum", [cmd()], micros);
        family.add_part("_count", [cmd()], calls);
    });
}

fn percentiles(look: &Look, family: &mut Family) {
    for_each_measured(look, |entry, counts, calls, micros| {
        let cmd = || ("cmd", entry.full_name.as_str().into());
        for &percent in &look.config.latency_tracking_info_percentiles {
            if let Some(value) = percentile(counts, percent) {
                // As dashboards ask for it: "99.9", not 0.999.
                let quantile = ("quantile", percent.to_string().into());
                family.add_with([cmd(), quantile], micros_of_ticks(value));
            }
        }
        family.add_part("_sum", [cmd()], micros);
        family.add_part("_count", [cmd()], calls);
    });
}

fn for_each_event(look: &Look, family: &mut Family, value: impl Fn(i64, u64) -> f64) {
    for (event, series) in look.server.observing.latency.all() {
        if let Some(last) = series.samples.last() {
            family.add_with([("event_name", event.name().into())], value(last.at, last.millis));
        }
    }
}

fn len_of(look: &Look, kind: LogKind) -> f64 {
    look.server.observing.logs.of(kind).len() as f64
}

/// Number and microseconds of the newest slow command.
fn newest_slow(look: &Look) -> Option<(u64, u64)> {
    let newest = look.server.observing.logs.of(LogKind::Slow).newest(1);
    newest.first().map(|it| (it.id, it.value))
}
