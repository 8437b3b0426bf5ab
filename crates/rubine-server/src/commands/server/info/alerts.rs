//! The section of INFO about alerts.

use std::sync::atomic::Ordering;

use rubine_alerts::State;

use super::{Source, Text};
use crate::alerting::Outcome;

pub(super) fn alerts(source: &Source<'_>, text: &mut Text) {
    let alerting = &source.server.operating.alerting;
    let shown = alerting.shown();
    text.field("alerts_enabled", u8::from(alerting.is_on()));
    text.field("alert_rules", shown.rules.iter().filter(|it| it.rule.is_ok()).count());
    text.field(
        "alert_rules_without_data",
        shown.rules.iter().filter(|it| it.error.is_some()).count(),
    );
    text.field("alerts_pending", shown.count(State::Pending));
    text.field("alerts_firing", shown.count(State::Firing));
    text.field("alerts_silenced", shown.alerts.iter().filter(|it| it.is_silenced).count());
    text.field("alert_silences", shown.silences.len());
    text.field("alert_receivers", alerting.receiver_count());
    text.field("alert_evaluations", alerting.looks.load(Ordering::Relaxed));
    text.field("alert_evaluation_usec", alerting.look_micros.load(Ordering::Relaxed));
    for outcome in Outcome::ALL {
        text.field(&format!("alert_messages_{}", outcome.name()), alerting.log.count(outcome));
    }
    text.field("alert_messages_waiting", alerting.waiting());
    let firing = shown.alerts.iter().filter(|it| it.state == State::Firing);
    for (index, alert) in firing.enumerate() {
        let summary = alert.annotations.get("summary").map_or("", String::as_str);
        let (rule, severity, since) = (&alert.rule, alert.severity.name(), alert.starts_at / 1000);
        let summary = summary.replace(['\r', '\n', ',', '='], " ");
        let line = format!("name={rule},severity={severity},since={since},summary={summary}");
        text.field(&format!("alert{index}"), line);
    }
}
