//! What users, databases and prefixes of keys may take.

use std::time::Duration;

use rubine_base::clock::monotonic_millis;
use rubine_testing::client::{Client, Received};
use rubine_testing::server::Server;
use rubine_testing::value::Value;

use crate::support::{call, elements, info, integer, options, wait_until};

fn start(quotas: &[&str]) -> Server {
    let users = "user app on >pw ~* &* +@all\nuser other on >pw ~* &* +@all\n";
    let lines: String = quotas.iter().map(|it| format!("quota {it}\n")).collect();
    let with = options().with("workers", "2").with_file(&format!("{users}{lines}"));
    with.start().expect("it starts")
}

fn client_as(server: &Server, user: &str) -> Client {
    let mut client = server.client();
    assert_eq!(call(&mut client, &format!("AUTH {user} pw")), Value::Status("OK".into()));
    client
}

/// The text of a refusal, or nothing.
fn refusal(value: &Value) -> String {
    match value {
        Value::Error(text) => text.clone(),
        _ => String::new(),
    }
}

/// A field of QUOTA USAGE.
fn usage(client: &mut Client, quota: &str, field: &str) -> i64 {
    let usage = call(client, &format!("QUOTA USAGE {quota}"));
    let fields = elements(&usage);
    let at = fields.iter().position(|it| *it == Value::Bulk(field.into())).expect("a field");
    integer(&fields[at + 1])
}

#[test]
fn a_rate_slows_whoever_exceeds_it_and_nobody_else() {
    let server = start(&["user app ops=500/s burst=10"]);
    let (mut app, mut second) = (client_as(&server, "app"), client_as(&server, "app"));
    let mut other = client_as(&server, "other");
    let mut admin = server.client();
    let begin = monotonic_millis();
    for round in 0..100 {
        assert_eq!(call(&mut app, "INCR n"), Value::Integer(3 * round + 1));
        assert_eq!(call(&mut second, "INCR n"), Value::Integer(3 * round + 2));
        assert_eq!(call(&mut other, "INCR n"), Value::Integer(3 * round + 3));
    }
    let taken_ms = monotonic_millis() - begin;
    // 200 commands, of which 10 come at once.
    assert!(370 < taken_ms, "{taken_ms}");
    assert!(50 < usage(&mut admin, "user app", "delayed"));
    assert_eq!(usage(&mut admin, "user app", "ops"), 200);
    assert_eq!(usage(&mut admin, "user app", "clients"), 2);
    let list = call(&mut admin, "CLIENT LIST FLAGS q").as_text().expect("lines");
    assert!(list.contains("user=app") && !list.contains("user=other"), "{list}");
    // What is about the connection, and what is for administrators, is free.
    let begin = monotonic_millis();
    for _ in 0..500 {
        assert_eq!(call(&mut app, "PING"), Value::Status("PONG".into()));
    }
    assert_eq!(usage(&mut admin, "user app", "ops"), 200);
    call(&mut app, "QUOTA SET user app mode=exempt");
    for _ in 0..500 {
        call(&mut app, "GET n");
    }
    let taken_ms = monotonic_millis() - begin;
    assert!(taken_ms < 2000, "{taken_ms}");
}

#[test]
fn requests_of_a_pipeline_are_slowed_in_their_order() {
    let server = start(&["user app ops=1000/s burst=50"]);
    let mut app = client_as(&server, "app");
    let mut pipeline = Vec::new();
    for number in 0..400 {
        pipeline.extend(format!("RPUSH list {number}\r\nGET {number}\r\n").into_bytes());
    }
    app.send_raw(&pipeline).expect("it is sent");
    for number in 0..400 {
        assert_eq!(app.reply().expect("a reply"), Value::Integer(number + 1));
        assert_eq!(app.reply().expect("a reply"), Value::Nil);
    }
    let list = call(&mut app, "LRANGE list 0 -1");
    let numbers = elements(&list).iter().enumerate();
    numbers.for_each(|(at, it)| assert_eq!(*it, Value::Bulk(at.to_string().into())));
}

#[test]
fn an_error_says_when_to_come_back() {
    let server = start(&["user app ops=20/s burst=2 mode=error"]);
    let (mut app, mut admin) = (client_as(&server, "app"), server.client());
    call(&mut app, "SET k v");
    call(&mut app, "SET k v");
    let text = refusal(&call(&mut app, "SET k v"));
    let start = "THROTTLED quota user 'app': ops=20/s exceeded, retry after ";
    let millis: u64 = text
        .strip_prefix(start)
        .and_then(|it| it.strip_suffix(" ms")?.parse().ok())
        .unwrap_or_else(|| panic!("{text}"));
    assert!((1..=50).contains(&millis), "{text}");
    std::thread::sleep(Duration::from_millis(millis + 5));
    assert_eq!(call(&mut app, "GET k"), Value::Bulk("v".into()));
    assert_eq!(usage(&mut admin, "user app", "refused"), 1);
    assert_eq!(info(&mut admin, "quotas", "quota_refused"), "1");
    assert_eq!(info(&mut admin, "errorstats", "errorstat_THROTTLED"), "count=1");
    // Who could not wait that long is told so at once.
    call(&mut admin, "QUOTA SET user app ops=1/s burst=1 max-delay=10ms");
    call(&mut app, "GET k");
    let text = refusal(&call(&mut app, "GET k"));
    assert!(text.contains("ops=1/s exceeded, retry after "), "{text}");
    // Only counted.
    call(&mut admin, "QUOTA SET user app ops=1/s burst=1 mode=observe");
    for _ in 0..10 {
        assert_eq!(call(&mut app, "GET k"), Value::Bulk("v".into()));
    }
    assert_eq!(usage(&mut admin, "user app", "observed"), 9);
    assert_eq!(call(&mut admin, "QUOTA RESET user app"), Value::Status("OK".into()));
    assert_eq!(usage(&mut admin, "user app", "observed"), 0);
    assert_eq!(call(&mut admin, "QUOTA DEL user app"), Value::Integer(1));
    assert_eq!(call(&mut admin, "QUOTA DEL user app"), Value::Integer(0));
    assert_eq!(call(&mut admin, "QUOTA LIST"), Value::Array(Vec::new()));
}

#[test]
fn transactions_and_scripts_are_charged_as_a_whole() {
    let server = start(&["user app ops=1/h burst=100 mode=error"]);
    let (mut app, mut admin) = (client_as(&server, "app"), server.client());
    call(&mut app, "MULTI");
    for _ in 0..60 {
        assert_eq!(call(&mut app, "INCR n"), Value::Status("QUEUED".into()));
    }
    assert_eq!(elements(&call(&mut app, "EXEC")).len(), 60);
    assert_eq!(usage(&mut admin, "user app", "ops"), 60);
    // More than is left: all of it is refused.
    call(&mut app, "MULTI");
    for _ in 0..60 {
        assert_eq!(call(&mut app, "INCR n"), Value::Status("QUEUED".into()));
    }
    let text = refusal(&call(&mut app, "EXEC"));
    assert!(text.starts_with("EXECABORT") && text.contains("THROTTLED"), "{text}");
    assert_eq!(call(&mut admin, "GET n"), Value::Bulk("60".into()));
    // A script is let in as one command, and what it has run is owed.
    let script = "for i = 1, 200 do redis.call('INCR', KEYS[1]) end return 1";
    let reply = app.call(&["EVAL", script, "1", "n"]).expect("a reply");
    assert_eq!(reply, Value::Integer(1));
    assert!(refusal(&call(&mut app, "GET n")).starts_with("THROTTLED"));
    assert_eq!(usage(&mut admin, "user app", "ops"), 261);
    // What is thrown away was sent all the same.
    call(&mut admin, "QUOTA RESET");
    call(&mut app, "MULTI");
    call(&mut app, "INCR n");
    call(&mut app, "DISCARD");
    assert_eq!(usage(&mut admin, "user app", "ops"), 1);
}

#[test]
fn bytes_of_requests_and_replies() {
    let server = start(&["user app in=1mb/h out=2mb/h mode=error"]);
    let (mut app, mut admin) = (client_as(&server, "app"), server.client());
    let value = vec![b'v'; 500_000];
    for _ in 0..2 {
        let reply = app.call(&[b"SET".as_slice(), b"k", &value]).expect("a reply");
        assert_eq!(reply, Value::Status("OK".into()));
    }
    let reply = app.call(&[b"SET".as_slice(), b"k", &value]).expect("a reply");
    assert!(refusal(&reply).contains("in=1mb/h exceeded"), "{reply:?}");
    let mut replies = 0;
    let text = loop {
        let text = refusal(&call(&mut app, "GET k"));
        if !text.is_empty() {
            break text;
        }
        replies += 1;
    };
    assert!(text.contains("out=2mb/h exceeded"), "{text}");
    assert_eq!(replies, 5);
    assert!(2_500_000 < usage(&mut admin, "user app", "out_bytes"));
}

#[test]
fn connections_of_a_user() {
    let server = start(&["user app clients=2", "user default clients=4"]);
    let mut admin = server.client();
    let (first, _second) = (client_as(&server, "app"), client_as(&server, "app"));
    let mut third = server.client();
    let text = refusal(&call(&mut third, "AUTH app pw"));
    assert_eq!(text, "THROTTLED quota user 'app': clients=2 reached, there may be no more");
    // It stays who it was.
    assert_eq!(call(&mut third, "ACL WHOAMI"), Value::Bulk("default".into()));
    assert_eq!(usage(&mut admin, "user default", "clients"), 2);
    drop(first);
    wait_until("a place", || usage(&mut admin, "user app", "clients") == 1);
    assert_eq!(call(&mut third, "HELLO 2 AUTH app pw"), call(&mut third, "HELLO 2"));
    assert_eq!(usage(&mut admin, "user default", "clients"), 1);
    let _more = [server.client(), server.client(), server.client()];
    wait_until("they are there", || usage(&mut admin, "user default", "clients") == 4);
    let mut beyond = server.client();
    match beyond.receive(Duration::from_secs(20)).expect("something comes") {
        Received::Value(value) => assert!(refusal(&value).starts_with("THROTTLED"), "{value:?}"),
        _ => panic!("it is told why"),
    }
    assert!(matches!(beyond.receive(Duration::from_secs(20)), Ok(Received::Closed)));
}

#[test]
fn databases_and_prefixes() {
    let server = start(&["db 3 ops=5/h mode=error", "prefix t1: value=100 ops=1000/h mode=error"]);
    let (mut app, mut admin) = (client_as(&server, "app"), server.client());
    for _ in 0..20 {
        call(&mut app, "SET k v");
    }
    call(&mut app, "SELECT 3");
    let refused = (0..8).filter(|_| !refusal(&call(&mut app, "GET k")).is_empty()).count();
    assert_eq!(refused, 3);
    call(&mut app, "SELECT 0");
    assert_eq!(call(&mut app, "MSET t1:a 1 t1:b 2 t2:c 3"), Value::Status("OK".into()));
    assert_eq!(usage(&mut admin, "prefix t1:", "ops"), 1);
    let long = "x".repeat(101);
    let text = refusal(&call(&mut app, &format!("SET t1:a {long}")));
    assert!(text.contains("value=100 exceeded by an argument of 101 bytes"), "{text}");
    assert_eq!(call(&mut app, &format!("SET t2:a {long}")), Value::Status("OK".into()));
}

#[test]
fn memory_refuses_what_adds_and_nothing_else() {
    let server = start(&["db 2 memory=1mb", "prefix t1: memory=500kb mode=observe"]);
    let (mut app, mut admin) = (client_as(&server, "app"), server.client());
    call(&mut app, "SELECT 2");
    let value = vec![b'v'; 100_000];
    let mut stored = 0;
    wait_until("it is full", || {
        let key = format!("t1:{stored}");
        let reply = app.call(&[b"SET".as_slice(), key.as_bytes(), &value]).expect("a reply");
        stored += 1;
        let text = refusal(&reply);
        assert!(text.is_empty() || text.contains("memory=1mb used up, nothing may be added"));
        !text.is_empty()
    });
    assert!(1 << 20 <= usage(&mut admin, "db 2", "memory_bytes"));
    assert!(1 << 20 <= usage(&mut admin, "prefix t1:", "memory_bytes"));
    assert_eq!(call(&mut admin, "SET t1:more v"), Value::Status("OK".into()));
    assert!(0 < usage(&mut admin, "prefix t1:", "observed"));
    assert_eq!(call(&mut app, "STRLEN t1:0"), Value::Integer(100_000));
    assert_eq!(call(&mut app, "DEL t1:0"), Value::Integer(1));
    call(&mut app, "FLUSHDB");
    wait_until("there is room", || refusal(&call(&mut app, "SET k v")).is_empty());
}

#[test]
fn quotas_are_kept_by_config_rewrite() {
    let mut server = start(&["user app ops=5/s", "db 1 in=1mb/s"]);
    let mut admin = server.client();
    for line in [
        "QUOTA SET user app ops=7/m burst=3 mode=error",
        "QUOTA SET prefix \"a b\\\"\\x00:\" value=1mb",
        "QUOTA DEL db 1",
        "CONFIG REWRITE",
    ] {
        assert!(refusal(&call(&mut admin, line)).is_empty(), "{line}");
    }
    let before = call(&mut admin, "QUOTA LIST");
    assert_eq!(elements(&before).len(), 2);
    server.terminate().expect("it ends");
    server.restart().expect("it starts");
    assert_eq!(call(&mut server.client(), "QUOTA LIST"), before);
    let errors = ["SET user app", "SET user app memory=1gb", "SET db 99 ops=1/s", "GET group x"];
    for form in errors {
        let text = refusal(&call(&mut server.client(), &format!("QUOTA {form}")));
        assert!(text.starts_with("ERR "), "{form}: {text}");
    }
}
