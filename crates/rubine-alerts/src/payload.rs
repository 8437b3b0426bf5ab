//! What receivers get: bodies of JSON in the shapes of others. Sends nothing.

mod alertmanager;
mod slack;
mod webhook4;

use jiff::Timestamp;

use crate::machine::{Alert, Group, Notification, State};
use crate::webhook::{Format, Webhook};

/// A message for one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// JSON.
    pub body: String,
    /// How many alerts it tells of.
    pub alerts: usize,
    /// It says how everything is, so that a later one makes it needless.
    pub is_whole: bool,
}

/// What a receiver gets of a notification, if it is for it and not about nothing.
pub fn payload_of(notification: &Notification, webhook: &Webhook) -> Option<Payload> {
    let is_told = |it: &&Alert| {
        webhook.severity <= it.severity && (webhook.sends_resolved || it.state == State::Firing)
    };
    match (notification, webhook.format) {
        (Notification::Refresh(alerts), Format::Alertmanager) => {
            let alerts: Vec<&Alert> = alerts.iter().filter(is_told).collect();
            (!alerts.is_empty()).then(|| Payload {
                body: alertmanager::body(&alerts).to_string(),
                alerts: alerts.len(),
                is_whole: true,
            })
        }
        (Notification::Group(group), Format::Webhook4 | Format::Slack) => {
            let alerts = group.alerts.iter().filter(is_told).cloned().collect();
            let group = Group { instance: group.instance.clone(), alerts };
            if group.alerts.is_empty() {
                return None;
            }
            let body = match webhook.format {
                Format::Slack => slack::body(&group),
                _ => webhook4::body(&group, &webhook.shown()),
            };
            Some(Payload { body: body.to_string(), alerts: group.alerts.len(), is_whole: false })
        }
        _ => None,
    }
}

/// A moment as JSON has it, in UTC.
fn utc(unix_ms: i64) -> String {
    // A moment that is no moment is the first one.
    let timestamp = Timestamp::from_millisecond(unix_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    timestamp.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests;
