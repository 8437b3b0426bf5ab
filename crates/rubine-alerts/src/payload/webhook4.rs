//! Version 4 of the message that Alertmanager sends to webhooks, so that receivers made for it take ours.

use serde_json::{Value, json};

use super::utc;
use crate::labels::{Labels, fingerprint};
use crate::machine::{Alert, Group, State};

/// The end of what goes on.
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(super) fn body(group: &Group, receiver: &str) -> Value {
    let alerts: Vec<Value> = group.alerts.iter().map(one).collect();
    let group_labels = json!({ "instance": group.instance });
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{instance={:?}}}", group.instance),
        "truncatedAlerts": 0,
        "status": group.state().name(),
        "receiver": receiver,
        "groupLabels": group_labels,
        "commonLabels": common(&group.alerts, |it| &it.labels),
        "commonAnnotations": common(&group.alerts, |it| &it.annotations),
        "externalURL": "",
        "alerts": alerts,
    })
}

fn one(alert: &Alert) -> Value {
    let ends_at = match (alert.state, alert.ends_at) {
        (State::Resolved, Some(ends_at)) => utc(ends_at),
        _ => NEVER.to_owned(),
    };
    json!({
        "status": alert.state.name(),
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": utc(alert.starts_at),
        "endsAt": ends_at,
        "generatorURL": "",
        "fingerprint": format!("{:016x}", fingerprint(&alert.labels)),
    })
}

/// What all alerts have, with the same value.
fn common(alerts: &[Alert], of: impl Fn(&Alert) -> &Labels) -> Labels {
    let Some((first, others)) = alerts.split_first() else {
        return Labels::new();
    };
    let mut common = of(first).clone();
    common.retain(|name, value| others.iter().all(|it| of(it).get(name) == Some(value)));
    common
}
