//! The body of `POST /api/v2/alerts`, as Alertmanager takes it from Prometheus.

use serde_json::{Value, json};

use super::utc;
use crate::machine::Alert;

pub(super) fn body(alerts: &[&Alert]) -> Value {
    let one = |alert: &&Alert| {
        let mut one = json!({
            "labels": alert.labels,
            "annotations": alert.annotations,
            "startsAt": utc(alert.starts_at),
        });
        // Without one it would go by its own time-out, which may be shorter than ours.
        if let Some(ends_at) = alert.ends_at {
            one["endsAt"] = utc(ends_at).into();
        }
        one
    };
    alerts.iter().map(one).collect()
}
