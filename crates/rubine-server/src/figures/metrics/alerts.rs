//! Metrics of alerts and of history, and of what alerts need to know of the machine.

use std::sync::atomic::Ordering::Relaxed;

use rubine_alerts::State;
use rubine_metrics::Kind;
use rustix::fs::StatVfs;

use super::Look;
use super::row::{Row, counter, family, gauge, seconds};
use crate::alerting::Outcome;

pub(super) const ROWS: &[Row] = &[
    gauge(
        "rubine_alerts_pending",
        "Alerts whose condition is met, but not for long enough.",
        |it| it.server.operating.alerting.shown().count(State::Pending) as f64,
    ),
    gauge("rubine_alerts_firing", "Alerts that fire.", |it| {
        it.server.operating.alerting.shown().count(State::Firing) as f64
    }),
    family(
        Kind::Gauge,
        "rubine_alert",
        &["alertname", "severity", "state"],
        "1 for each alert, with its name, severity and state.",
        |it, family| {
            for alert in &it.server.operating.alerting.shown().alerts {
                let labels = [
                    ("alertname", alert.rule.clone().into()),
                    ("severity", alert.severity.name().into()),
                    ("state", alert.state.name().into()),
                ];
                let is_there = |it: &rubine_metrics::Sample| it.labels == labels;
                match family.samples.iter().position(is_there) {
                    // Alerts that differ by other labels are counted.
                    Some(place) => family.samples[place].value += 1.0,
                    None => family.add_with(labels, 1.0),
                }
            }
        },
    ),
    counter("rubine_alert_evaluations_total", "How often the rules were looked at.", |it| {
        it.server.operating.alerting.looks.load(Relaxed) as f64
    }),
    gauge("rubine_alert_evaluation_seconds", "How long the last look at all rules took.", |it| {
        seconds(it.server.operating.alerting.look_micros.load(Relaxed))
    }),
    family(
        Kind::Counter,
        "rubine_alert_deliveries_total",
        &["outcome"],
        "Messages to receivers of alerts, by what has become of them.",
        |it, family| {
            for outcome in Outcome::ALL {
                let count = it.server.operating.alerting.log.count(outcome) as f64;
                family.add_with([("outcome", outcome.name().into())], count);
            }
        },
    ),
    gauge("rubine_alert_messages_waiting", "Messages that receivers have yet to get.", |it| {
        it.server.operating.alerting.waiting() as f64
    }),
    gauge("rubine_history_series", "Series that a history is kept of.", |it| {
        it.server.operating.recording.size().0 as f64
    }),
    gauge("rubine_history_bytes", "Memory of the history of metrics.", |it| {
        it.server.operating.recording.size().2 as f64
    }),
    counter("rubine_history_write_errors_total", "Writes of its file that failed.", |it| {
        it.server.operating.recording.counts.errors.load(Relaxed) as f64
    }),
    gauge("rubine_disk_size_bytes", "Used and free bytes of the disk of the data folder.", |it| {
        // What is kept for others is neither, as df has it.
        disk(it, |it| (it.f_blocks.saturating_sub(it.f_bfree) + it.f_bavail) * it.f_frsize)
    }),
    gauge("rubine_disk_free_bytes", "What of it is free for the server.", |it| {
        disk(it, |it| it.f_bavail * it.f_frsize)
    }),
];

/// A figure of the disk of the data folder; nothing known is 0, by which nobody divides.
fn disk(look: &Look, figure: fn(&StatVfs) -> u64) -> f64 {
    rustix::fs::statvfs(look.config.dir.as_path()).map_or(0.0, |it| figure(&it) as f64)
}
