//! Alerts as receivers get them: each state in each format, over links that break, are slow, lead elsewhere or are not trusted.

#[expect(clippy::unwrap_used, reason = "a receiver that cannot be made has failed the test")]
mod receiver;
mod topics;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use rubine_testing::client::Client;
use rubine_testing::papers::Papers;
use rubine_testing::server::{CONFIG_FILE, Server};
use rubine_testing::value::Value;

use self::receiver::{Answer, Receiver, Request};
use crate::support::{call, elements, info, options, wait_until};

/// Time passes so much as quickly for the rules of these tests.
const SPEED: u32 = 100;

/// A server that looks at rules, of which one is about keys, and tells `webhooks`.
fn start(webhooks: &str, file: &str) -> (Server, Client) {
    let lines: String = webhooks.lines().map(|it| format!("alert-webhook {it}\n")).collect();
    let rule = "alert Keys 'redis_db_keys{db=\"db0\"} > 0' for 30s severity critical \
                summary \"There are {{ $value }} keys\" description 'In {{ $labels.db }}'\n";
    // What is true of the machine that the test runs on.
    let off: String = ["DiskAlmostFull", "SystemMemoryHigh", "SlowCommands", "WorkerStuck"]
        .map(|it| format!("alert {it} off\n"))
        .concat();
    let server = options()
        .with("enable-debug-command", "yes")
        .with("alerts", "yes")
        .with("alert-instance", "here:1")
        .with("alert-labels", "env=test")
        .with("save", "")
        .with_file(&format!("{rule}{off}{lines}{file}"))
        .start()
        .expect("it starts");
    let mut client = server.client();
    call(&mut client, &format!("DEBUG ALERT-SPEED {SPEED}"));
    (server, client)
}

/// The fields of a map, as RESP2 has it.
fn fields(value: &Value) -> BTreeMap<String, String> {
    let text = |it: &Value| {
        let number = it.as_integer().map(|it| it.to_string());
        it.as_text().or(number).unwrap_or_default()
    };
    elements(value).chunks(2).map(|it| (text(&it[0]), text(&it[1]))).collect()
}

/// Entries of the log of deliveries, the newest first.
fn deliveries(client: &mut Client) -> Vec<BTreeMap<String, String>> {
    elements(&call(client, "ALERT LOG 100")).iter().map(fields).collect()
}

/// The alerts of a rule, by state.
fn state_of(client: &mut Client, rule: &str) -> Option<String> {
    let alerts = call(client, "ALERT LIST");
    let mut alerts = elements(&alerts).iter().map(fields);
    alerts.find(|it| it["name"] == rule).map(|it| it["state"].clone())
}

/// Waits until a path has got a message that is so.
fn wait_for(
    receiver: &Receiver,
    path: &str,
    what: &str,
    is_it: impl Fn(&Request) -> bool,
) -> Request {
    let mut found = None;
    wait_until(&format!("{what} at {path}"), || {
        found = receiver.requests(path).into_iter().find(|it| is_it(it));
        found.is_some()
    });
    found.expect("it was found")
}

#[test]
fn every_state_in_every_format() {
    let receiver = Receiver::start();
    let port = receiver.port;
    let webhooks = format!(
        "http://127.0.0.1:{port} format=alertmanager\nhttp://127.0.0.1:{port}/w4\n\
         http://127.0.0.1:{port}/slack format=slack"
    );
    let (_server, mut client) = start(&webhooks, "");
    call(&mut client, "SET key value");
    wait_until("a pending alert", || state_of(&mut client, "Keys").is_some());
    wait_until("firing", || state_of(&mut client, "Keys").as_deref() == Some("firing"));
    let place = "/api/v2/alerts";
    let firing = wait_for(&receiver, place, "a firing alert", |it| it.text.contains("\"Keys\""));
    let alert = firing.body()[0].clone();
    let labels = serde_json::json!({
        "alertname": "Keys", "db": "db0", "env": "test", "instance": "here:1", "severity": "critical",
    });
    let annotations = serde_json::json!({ "summary": "There are 1 keys", "description": "In db0" });
    assert_eq!((&alert["labels"], &alert["annotations"]), (&labels, &annotations));
    assert!(alert["startsAt"].as_str() < alert["endsAt"].as_str(), "{alert}");
    assert_eq!(firing.header("content-type"), Some("application/json"));
    let firing = wait_for(&receiver, "/w4", "a firing alert", |it| it.text.contains("\"Keys\""));
    let body = firing.body();
    assert_eq!((body["version"].as_str(), body["status"].as_str()), (Some("4"), Some("firing")));
    assert_eq!(body["alerts"][0]["labels"], labels);
    assert_eq!(body["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
    let firing = wait_for(&receiver, "/slack", "a firing alert", |it| it.text.contains("Keys"));
    assert_eq!(firing.body()["text"], "[FIRING:1] here:1");
    assert_eq!(info(&mut client, "alerts", "alerts_firing"), "1");

    call(&mut client, "DEL key");
    let is_over = |it: &Request| it.text.contains("resolved");
    let resolved = wait_for(&receiver, "/w4", "its end", is_over).body();
    assert_eq!(resolved["status"], "resolved");
    assert!(resolved["alerts"][0]["endsAt"].as_str().is_some_and(|it| it.starts_with("20")));
    let resolved = wait_for(&receiver, "/slack", "its end", is_over).body();
    assert_eq!(resolved["text"], "[RESOLVED:1] here:1");
    assert_eq!(resolved["attachments"][0]["color"], "good");
    // It is sent again and again, with an end that is past by then.
    let managers = receiver.requests(place);
    let ends: Vec<_> = managers.iter().map(|it| it.body()[0]["endsAt"].to_string()).collect();
    assert!(ends.last() < ends.iter().max(), "{ends:?}");
    assert_eq!(info(&mut client, "alerts", "alerts_firing"), "0");
    wait_until("everything told", || info(&mut client, "alerts", "alert_messages_waiting") == "0");
    assert_eq!(info(&mut client, "alerts", "alert_messages_failed"), "0");
}

#[test]
fn silences_and_rules_at_run_time() {
    let receiver = Receiver::start();
    let (server, mut client) = start(&format!("http://127.0.0.1:{}/w4", receiver.port), "");
    call(&mut client, "ALERT SILENCE 1h Keys env=test COMMENT moving");
    call(&mut client, "ALERT SET Other 'count(redis_db_keys > 0) > 0' severity info");
    call(&mut client, "SET key value");
    let told = wait_for(&receiver, "/w4", "the other alert", |it| it.text.contains("\"Other\""));
    wait_until("firing", || state_of(&mut client, "Keys").as_deref() == Some("firing"));
    assert!(!told.text.contains("\"Keys\""), "{}", told.text);
    assert_eq!(info(&mut client, "alerts", "alerts_silenced"), "1");
    call(&mut client, "ALERT UNSILENCE 1");
    wait_for(&receiver, "/w4", "what was silent", |it| it.text.contains("\"Keys\""));
    // What a rule that is gone has found is over.
    call(&mut client, "ALERT DEL Other");
    wait_for(&receiver, "/w4", "its end", |it| {
        let body = it.body();
        let alerts = body["alerts"].as_array().expect("there are alerts").clone();
        alerts.iter().any(|it| it["labels"]["alertname"] == "Other" && it["status"] == "resolved")
    });
    call(&mut client, "ALERT SET MemoryHigh threshold 75.5 for 1m");
    call(&mut client, "CONFIG REWRITE");
    let text = fs::read_to_string(server.directory().join(CONFIG_FILE)).expect("it has a file");
    assert!(text.contains("alert MemoryHigh threshold 75.5 for 1m\n"), "{text}");
    assert!(text.contains("alert Keys \"redis_db_keys{db=\\\"db0\\\"} > 0\" for 30s"), "{text}");
    // Nobody looks any more, and nothing is known to go on.
    call(&mut client, "CONFIG SET alerts no");
    assert_eq!(elements(&call(&mut client, "ALERT LIST")), []);
    call(&mut client, "CONFIG SET alerts yes");
    wait_until("firing", || state_of(&mut client, "Keys").as_deref() == Some("firing"));
}

#[test]
fn a_rule_without_data_pages() {
    let receiver = Receiver::start();
    let file = "alert Blind 'redis_nothing_of_the_kind > 5' severity warning\n";
    let (_server, mut client) = start(&format!("http://127.0.0.1:{}/w4", receiver.port), file);
    let told = wait_for(&receiver, "/w4", "the blind one", |it| it.text.contains("\"Blind\""));
    assert!(told.text.contains("there is no metric 'redis_nothing_of_the_kind'"), "{}", told.text);
    assert_eq!(info(&mut client, "alerts", "alert_rules_without_data"), "1");
    // The built-in ones all have data.
    let rules = call(&mut client, "ALERT RULES");
    let blind: Vec<_> =
        elements(&rules).iter().map(fields).filter(|it| it["state"] == "nodata").collect();
    assert_eq!(blind.len(), 1, "{blind:?}");
}

#[test]
fn what_is_lost_is_sent_again() {
    let receiver = Receiver::start();
    let (_server, mut client) = start(&format!("http://127.0.0.1:{}/w4", receiver.port), "");
    receiver.answer([
        Answer::Close,
        Answer::Status("500 Broken"),
        Answer::Status("429 Later\r\nRetry-After: 1"),
    ]);
    call(&mut client, "ALERT TEST");
    wait_until("a delivery", || info(&mut client, "alerts", "alert_messages_delivered") == "1");
    let requests = receiver.requests("/w4");
    let numbers: Vec<_> = requests.iter().map(|it| it.header("x-rubine-delivery")).collect();
    assert_eq!(requests.len(), 4);
    assert!(numbers.iter().all(|it| it.is_some() && *it == numbers[0]), "{numbers:?}");
    let log = deliveries(&mut client);
    let outcomes: Vec<_> = log.iter().rev().map(|it| it["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["retried", "retried", "retried", "delivered"]);
    let statuses: Vec<_> = log.iter().rev().map(|it| it["status"].as_str()).collect();
    assert_eq!(statuses, ["0", "500", "429", "200"]);
    assert_eq!(log[2]["reason"], "it answers 500 words");
    // What is wrong for good is not sent again.
    receiver.answer([Answer::Status("400 Bad")]);
    call(&mut client, "ALERT TEST");
    wait_until("a failure", || info(&mut client, "alerts", "alert_messages_failed") == "1");
    assert_eq!(receiver.requests("/w4").len(), 5);
}

#[test]
fn a_receiver_that_sends_elsewhere_is_not_followed() {
    let receiver = Receiver::start();
    let (_server, mut client) = start(&format!("http://127.0.0.1:{}/w4", receiver.port), "");
    receiver.answer([Answer::Status("307 There\r\nLocation: /elsewhere")]);
    call(&mut client, "ALERT TEST");
    wait_until("a failure", || info(&mut client, "alerts", "alert_messages_failed") == "1");
    assert_eq!(receiver.requests("/elsewhere").len(), 0);
    let reason = deliveries(&mut client)[0]["reason"].clone();
    assert_eq!(reason, "it sends elsewhere, which is not followed: /elsewhere");
}

#[test]
fn a_slow_receiver_keeps_nobody_waiting() {
    let (slow, quick) = (Receiver::start(), Receiver::start());
    let webhooks = format!(
        "http://127.0.0.1:{}/w4 timeout=500ms\nhttp://127.0.0.1:{}/w4 format=slack",
        slow.port, quick.port
    );
    let (_server, mut client) = start(&webhooks, "");
    slow.answer([Answer::Late(Duration::from_secs(60)), Answer::Late(Duration::from_secs(60))]);
    call(&mut client, "ALERT TEST");
    wait_for(&quick, "/w4", "the test", |_| true);
    wait_until("a delivery to both", || {
        info(&mut client, "alerts", "alert_messages_delivered") == "2"
    });
    let log = deliveries(&mut client);
    let late: Vec<_> = log.iter().filter(|it| it["outcome"] == "retried").collect();
    assert!(2 <= late.len() && late[0]["reason"].contains("timeout"), "{log:?}");
    assert_eq!(slow.requests("/w4").len(), 3);
}

#[test]
fn messages_are_signed() {
    let receiver = Receiver::start();
    let folder = std::env::temp_dir().join(format!("rubine-alerts-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder can be made");
    let (secret, auth) = (folder.join("secret"), folder.join("auth"));
    fs::write(&secret, "the secret\n").expect("a file can be written");
    fs::write(&auth, "Bearer abc\n").expect("a file can be written");
    let webhook = format!(
        "http://127.0.0.1:{}/w4 secret-file={} auth-file={}",
        receiver.port,
        secret.display(),
        auth.display()
    );
    let (_server, mut client) = start(&webhook, "");
    call(&mut client, "ALERT TEST");
    let request = wait_for(&receiver, "/w4", "the test", |_| true);
    assert_eq!(request.header("authorization"), Some("Bearer abc"));
    let time = request.header("x-rubine-timestamp").expect("the time is told");
    let signature = request.header("x-rubine-signature").expect("it is signed");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"the secret");
    let tag = ring::hmac::sign(&key, format!("{time}.{}", request.text).as_bytes());
    let expected: String = tag.as_ref().iter().map(|it| format!("{it:02x}")).collect();
    assert_eq!(signature, format!("sha256={expected}"));
    // A file that is not there is told when it is set.
    let reply = call(&mut client, "CONFIG SET alert-webhook 'http://a/ secret-file=/nowhere/x'");
    let reply = format!("{reply:?}");
    assert!(reply.contains("can't read '/nowhere/x': No such file or directory"), "{reply}");
    let value = call(&mut client, "CONFIG GET alert-webhook");
    let value = elements(&value)[1].as_text().expect("it has a value");
    assert!(value.contains("secret-file"), "{value}");
    fs::remove_dir_all(&folder).expect("it is there");
}

#[test]
fn tls_needs_somebody_who_vouches() {
    let (papers, others) = (Papers::new(), Papers::new());
    let receiver = Receiver::with_tls(&papers);
    let webhook = |papers: &Papers| {
        format!("https://localhost:{}/w4 ca-file={}", receiver.port, papers.path("ca.crt"))
    };
    let (_server, mut client) = start(&webhook(&papers), "");
    call(&mut client, "ALERT TEST");
    wait_until("a delivery", || info(&mut client, "alerts", "alert_messages_delivered") == "1");
    assert_eq!(receiver.requests("/w4").len(), 1);
    call(&mut client, &format!("CONFIG SET alert-webhook '{}'", webhook(&others)));
    call(&mut client, "ALERT TEST");
    wait_until("a refusal", || info(&mut client, "alerts", "alert_messages_retried") != "0");
    let reason = deliveries(&mut client)[0]["reason"].clone();
    assert!(reason.contains("certificate"), "{reason}");
    assert_eq!(receiver.requests("/w4").len(), 1);
}
