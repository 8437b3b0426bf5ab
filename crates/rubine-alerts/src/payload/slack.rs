//! A message for incoming webhooks of Slack, which Mattermost, Rocket.Chat and others take, too.

use serde_json::{Value, json};

use crate::machine::{Alert, Group, State};
use crate::rule::Severity;

/// More attachments are not shown well; the text says how many there are.
const ATTACHMENTS_MAX: usize = 20;

pub(super) fn body(group: &Group) -> Value {
    let count = |state| group.alerts.iter().filter(|it| it.state == state).count();
    let (firing, resolved) = (count(State::Firing), count(State::Resolved));
    let mut parts = Vec::new();
    if firing != 0 {
        parts.push(format!("[FIRING:{firing}]"));
    }
    if resolved != 0 {
        parts.push(format!("[RESOLVED:{resolved}]"));
    }
    parts.push(escaped(&group.instance));
    if ATTACHMENTS_MAX < group.alerts.len() {
        parts.push(format!("(the first {ATTACHMENTS_MAX} are shown)"));
    }
    let attachments: Vec<Value> = group.alerts.iter().take(ATTACHMENTS_MAX).map(one).collect();
    json!({ "text": parts.join(" "), "attachments": attachments })
}

fn one(alert: &Alert) -> Value {
    let annotation = |name: &str| alert.annotations.get(name).map_or("", String::as_str);
    let color = match (alert.state, alert.severity) {
        (State::Resolved, _) => "good",
        (_, Severity::Critical) => "danger",
        (_, Severity::Warning) => "warning",
        (_, Severity::Info) => "#439fe0",
    };
    let title = match annotation("summary") {
        "" => alert.rule.clone(),
        summary => format!("{}: {summary}", alert.rule),
    };
    let is_own = |name: &str| !["alertname", "instance", "severity"].contains(&name);
    let labels = alert.labels.iter().filter(|it| is_own(it.0));
    let field = |title: &str, value: &str| json!({ "title": title, "value": escaped(value), "short": true });
    let mut fields =
        vec![field("state", alert.state.name()), field("severity", alert.severity.name())];
    fields.extend(labels.map(|(name, value)| field(name, value)));
    json!({
        "color": color,
        "fallback": escaped(&format!("{} {title}", alert.state.name())),
        "title": escaped(&title),
        "text": escaped(annotation("description")),
        "fields": fields,
        "ts": alert.ends_at.filter(|_| alert.state == State::Resolved).unwrap_or(alert.starts_at) / 1000,
    })
}

/// The three characters that have a meaning in its text.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
