//! The thread that looks at the server's metrics as time goes by: for alerts. No worker waits for it.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use rubine_alerts::{Values, Visit};
use rubine_base::clock::{monotonic_millis, monotonic_nanos};
use rubine_config::{Config, Refusal};
use rubine_metrics::{Kind, Samples};

use super::history;
use crate::alerting::{self, Prepared};
use crate::figures::metrics;
use crate::process::affinity;
use crate::server::Server;

/// Begins what the configuration asks for at the start.
pub(crate) fn begin(server: &'static Server) -> Result<(), String> {
    let config = server.config.load();
    if server.sentinel.is_some() && (config.alerts || config.history) {
        tracing::warn!(
            "A Sentinel has neither alerts nor a history: both are about a server's data."
        );
    }
    let receivers = alerting::prepare(&config).map_err(|it| format!("alert-webhook: {it}"))?;
    server.operating.alerting.set_receivers(receivers)?;
    switch(server, &config)?;
    history::switch(server, &config)
}

/// Looks whether the receivers of a new configuration can be told, if they are others than before.
pub(super) fn prepare(
    new: &Config,
    is_changed: &impl Fn(&str) -> bool,
) -> Result<Option<Vec<Prepared>>, Refusal> {
    if !is_changed("alert-webhook") {
        return Ok(None);
    }
    let prepared = alerting::prepare(new);
    let refuse = |reason| Refusal { directive: "alert-webhook", reason };
    prepared.map(Some).map_err(refuse)
}

/// Takes over what a new configuration says of alerts and of history.
pub(super) fn turn(server: &'static Server, new: &Config, receivers: Option<Vec<Prepared>>) {
    let set = receivers.map_or(Ok(()), |it| server.operating.alerting.set_receivers(it));
    if let Err(reason) = set.and_then(|()| switch(server, new)) {
        tracing::warn!("Alerts are not as they are configured: {reason}");
    }
    if let Err(reason) = history::switch(server, new) {
        tracing::warn!("History is not kept: {reason}");
    }
}

/// Has rules looked at, or not, as the configuration says. A Sentinel has no data that rules could be about.
fn switch(server: &'static Server, config: &Config) -> Result<(), String> {
    let is_on = config.alerts && server.sentinel.is_none();
    if !server.operating.alerting.switch(is_on, config) {
        return Ok(());
    }
    let watch = move || {
        affinity::pin(server.config.load().bio_cpulist.as_deref());
        watch(server);
    };
    let started = std::thread::Builder::new().name("alerts".to_owned()).spawn(watch);
    started.map(drop).map_err(|error| format!("Can't start a thread: {error}"))
}

fn watch(server: &'static Server) {
    let mut next_ms = monotonic_millis();
    while server.operating.alerting.wait_until(next_ms) {
        let began = monotonic_nanos();
        let config = server.config.load();
        let samples = Sampled(metrics::collect(server));
        server.operating.alerting.look(&config, &samples, server.persistence.is_loading());
        let micros = (monotonic_nanos() - began) / 1000;
        server.operating.alerting.look_micros.store(micros, Ordering::Relaxed);
        // A look that came late is not made up for.
        next_ms = (next_ms + server.operating.alerting.interval_ms()).max(monotonic_millis());
    }
}

/// The metrics of one moment, as rules look at them.
struct Sampled(Samples);

impl Values for Sampled {
    fn visit(&self, metric: &str, visit: &mut Visit<'_>) -> bool {
        let mut is_known = is_declared(metric);
        for sample in self.0.select(metric, &[]) {
            is_known = true;
            let labels = sample.labels.iter().map(|(name, value)| (*name, value.as_ref()));
            visit(&labels.collect::<Vec<_>>(), sample.value);
        }
        is_known
    }
}

/// Whether there is a metric of that name, with samples or without.
fn is_declared(name: &str) -> bool {
    static KINDS: LazyLock<BTreeMap<&'static str, Kind>> =
        LazyLock::new(|| metrics::declared().map(|it| (it.name, it.kind)).collect());
    let has_parts = |it: &Kind| matches!(it, Kind::Histogram | Kind::Summary);
    let is_part = |suffix: &str| {
        name.strip_suffix(suffix).and_then(|it| KINDS.get(it)).is_some_and(has_parts)
    };
    KINDS.contains_key(name) || ["_bucket", "_sum", "_count"].into_iter().any(is_part)
}

#[cfg(test)]
mod tests {
    use super::is_declared;
    use rubine_alerts::{Alerts, Backups, Identity, Situation};

    #[test]
    fn built_in_rules_look_at_metrics_that_there_are() {
        let situation = Situation {
            save_seconds_max: Some(60),
            has_maxmemory: true,
            is_node: true,
            backups: Some(Backups { seconds_max: Some(60), has_log: true }),
        };
        let alerts = Alerts::new(Identity::default(), Vec::new(), situation).unwrap();
        for report in alerts.rules() {
            let rule = report.rule.unwrap();
            for metric in rule.expression.metrics() {
                assert!(is_declared(metric), "{} looks at {metric}", rule.name);
            }
        }
    }

    /// The names in a text that begin as those of metrics do.
    fn metrics_in(text: &str) -> Vec<&str> {
        let is_of_name = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == ':';
        let words = text.split(|it| !is_of_name(it));
        words.filter(|it| it.starts_with("redis_") || it.starts_with("rubine_")).collect()
    }

    #[test]
    fn dashboards_and_rules_look_at_metrics_that_there_are() {
        let dashboard = include_str!("../../../../packaging/grafana/rubine.json");
        let parsed: serde_json::Value = serde_json::from_str(dashboard).unwrap();
        let panels = parsed["panels"].as_array().unwrap();
        let ids: std::collections::BTreeSet<_> =
            panels.iter().map(|it| it["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len());
        let rules = include_str!("../../../../packaging/prometheus/rubine.rules.yml");
        for text in [dashboard, rules] {
            let names = metrics_in(text);
            assert!(15 < names.len());
            for name in names {
                assert!(is_declared(name), "there is no metric {name}");
            }
        }
    }

    #[test]
    fn parts_of_histograms_are_known() {
        assert!(is_declared("redis_commands_latencies_usec_bucket"));
        assert!(!is_declared("redis_connected_clients_sum"));
        assert!(!is_declared("redis_nothing"));
    }
}
