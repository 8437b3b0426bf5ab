//! Bodies as receivers get them, to the letter.

use serde_json::{Value, json};

use super::{payload_of, utc};
use crate::labels::Labels;
use crate::machine::{Alert, Group, Notification, State};
use crate::rule::Severity;
use crate::webhook::Webhook;

const START: i64 = 1_796_032_800_123;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn alert(rule: &str, severity: Severity, state: State) -> Alert {
    Alert {
        rule: rule.to_owned(),
        severity,
        state,
        labels: labels(&[
            ("alertname", rule),
            ("instance", "h:1"),
            ("severity", severity.name()),
            ("db", "<0>"),
        ]),
        annotations: labels(&[("summary", "A & B"), ("description", "1 < 2")]),
        value: 1.0,
        starts_at: START,
        ends_at: (state == State::Resolved).then_some(START + 60_000),
        is_silenced: false,
    }
}

fn body(notification: &Notification, webhook: &str) -> Option<Value> {
    let words: Vec<&str> = webhook.split(' ').collect();
    let webhook = Webhook::parse(&words).unwrap();
    let payload = payload_of(notification, &webhook)?;
    Some(serde_json::from_str(&payload.body).unwrap())
}

fn group() -> Notification {
    let alerts = vec![
        alert("A", Severity::Critical, State::Firing),
        alert("B", Severity::Warning, State::Resolved),
    ];
    Notification::Group(Group { instance: "h:1".to_owned(), alerts })
}

#[test]
fn moments_are_in_utc() {
    assert_eq!(utc(START), "2026-11-30T10:00:00.123Z");
    assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(utc(i64::MAX), "1970-01-01T00:00:00.000Z");
}

#[test]
fn alertmanager_v2() {
    let mut firing = alert("A", Severity::Critical, State::Firing);
    firing.ends_at = Some(START + 240_000);
    let resolved = alert("B", Severity::Warning, State::Resolved);
    let told = body(&Notification::Refresh(vec![firing, resolved]), "http://x format=alertmanager");
    let annotations = json!({ "summary": "A & B", "description": "1 < 2" });
    let expected = json!([
        {
            "labels": { "alertname": "A", "instance": "h:1", "severity": "critical", "db": "<0>" },
            "annotations": annotations,
            "startsAt": "2026-11-30T10:00:00.123Z",
            "endsAt": "2026-11-30T10:04:00.123Z",
        },
        {
            "labels": { "alertname": "B", "instance": "h:1", "severity": "warning", "db": "<0>" },
            "annotations": annotations,
            "startsAt": "2026-11-30T10:00:00.123Z",
            "endsAt": "2026-11-30T10:01:00.123Z",
        },
    ]);
    assert_eq!(told, Some(expected));
}

#[test]
fn webhook_version_4() {
    let told = body(&group(), "https://x.example/secret").unwrap();
    let annotations = json!({ "summary": "A & B", "description": "1 < 2" });
    let fingerprint = |index: usize| told["alerts"][index]["fingerprint"].clone();
    let expected = json!({
        "version": "4",
        "groupKey": "{}:{instance=\"h:1\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "https://x.example",
        "groupLabels": { "instance": "h:1" },
        "commonLabels": { "instance": "h:1", "db": "<0>" },
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [
            {
                "status": "firing",
                "labels": { "alertname": "A", "instance": "h:1", "severity": "critical", "db": "<0>" },
                "annotations": annotations,
                "startsAt": "2026-11-30T10:00:00.123Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "",
                "fingerprint": fingerprint(0),
            },
            {
                "status": "resolved",
                "labels": { "alertname": "B", "instance": "h:1", "severity": "warning", "db": "<0>" },
                "annotations": annotations,
                "startsAt": "2026-11-30T10:00:00.123Z",
                "endsAt": "2026-11-30T10:01:00.123Z",
                "generatorURL": "",
                "fingerprint": fingerprint(1),
            },
        ],
    });
    assert_eq!(told, expected);
    let is_hex = |it: &Value| {
        it.as_str().is_some_and(|it| it.len() == 16 && it.bytes().all(|it| it.is_ascii_hexdigit()))
    };
    assert!(is_hex(&fingerprint(0)) && is_hex(&fingerprint(1)));
}

#[test]
fn slack() {
    let told = body(&group(), "http://x format=slack").unwrap();
    assert_eq!(told["text"], "[FIRING:1] [RESOLVED:1] h:1");
    let expected = json!({
        "color": "danger",
        "fallback": "firing A: A &amp; B",
        "title": "A: A &amp; B",
        "text": "1 &lt; 2",
        "fields": [
            { "title": "state", "value": "firing", "short": true },
            { "title": "severity", "value": "critical", "short": true },
            { "title": "db", "value": "&lt;0&gt;", "short": true },
        ],
        "ts": START / 1000,
    });
    assert_eq!(told["attachments"][0], expected);
    assert_eq!(told["attachments"][1]["color"], "good");
    assert_eq!(told["attachments"][1]["ts"], START / 1000 + 60);
}

#[test]
fn receivers_get_what_they_want() {
    let only_critical = body(&group(), "http://x severity=critical").unwrap();
    assert_eq!(only_critical["alerts"].as_array().map(Vec::len), Some(1));
    let only_ends = Notification::Group(Group {
        instance: "h:1".to_owned(),
        alerts: vec![alert("B", Severity::Warning, State::Resolved)],
    });
    assert_eq!(body(&only_ends, "http://x").unwrap()["status"], "resolved");
    assert_eq!(body(&only_ends, "http://x resolved=no"), None);
    assert_eq!(body(&only_ends, "http://x severity=critical"), None);
    assert_eq!(body(&group(), "http://x format=alertmanager"), None);
    assert_eq!(body(&Notification::Refresh(Vec::new()), "http://x"), None);
}
