//! A disk that fails at any step of writing the log or a dump: nothing that was acknowledged is lost, no transaction is
//! there by half, and when the disk is well again the server is, too, without a restart.

use std::fs;
use std::time::Duration;

use rubine_testing::client::{Client, Received};
use rubine_testing::server::{Server, ServerOptions};
use rubine_testing::value::Value;

use crate::support::{call, info, integer, number, options, send, wait_until};

/// Every so many steps one is let fail. `RUBINE_FAULTS=1` does it for each.
const STRIDE: u64 = 5;
/// Rounds of writing that one fault meets.
const ROUNDS: u64 = 4;
/// More steps than the work has.
const STEPS_MAX: u64 = 10_000;
/// How long a reply is waited for that may never come.
const PATIENCE: Duration = Duration::from_millis(60);
/// How long one that has to come.
const LONG: Duration = Duration::from_secs(20);

fn stride() -> u64 {
    std::env::var("RUBINE_FAULTS").ok().and_then(|it| it.parse().ok()).unwrap_or(STRIDE)
}

fn server(directives: &[(&str, &str)]) -> ServerOptions {
    let mut options = options()
        .with("workers", "2")
        .with("enable-debug-command", "yes")
        .with("auto-aof-rewrite-percentage", "0");
    for (name, value) in directives {
        options = options.with(name, value);
    }
    options
}

fn durable() -> Vec<(&'static str, &'static str)> {
    vec![("appendonly", "yes"), ("appendfsync", "always")]
}

/// What was begun and what was acknowledged, of things that go up by one.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    begun: i64,
    acknowledged: i64,
}

impl Told {
    fn check(&mut self, found: i64, what: &str) {
        let is_right = self.acknowledged <= found && found <= self.begun;
        assert!(is_right, "{what}: {self:?}, and {found} is there");
        (self.begun, self.acknowledged) = (found, found);
    }
}

/// What a client wrote.
#[derive(Debug, Default)]
struct History {
    counter: Told,
    pair: Told,
    list: Told,
}

/// A reply that tells of success within the time.
fn succeeds(client: &mut Client, patience: Duration) -> bool {
    match client.receive(patience) {
        Ok(Received::Value(Value::Error(_)) | Received::Nothing) => false,
        Ok(Received::Value(_)) => true,
        other => panic!("it keeps its clients: {other:?}"),
    }
}

impl History {
    /// Writes until something is not acknowledged in time. Returns whether all was.
    fn write(&mut self, server: &Server, rounds: u64, patience: Duration) -> bool {
        let mut client = server.client();
        for _ in 0..rounds {
            self.counter.begun += 1;
            send(&mut client, "INCR counter");
            if !succeeds(&mut client, patience) {
                return false;
            }
            self.counter.acknowledged += 1;
            self.pair.begun += 1;
            let step = self.pair.begun;
            for line in ["MULTI", &format!("SET left {step}"), &format!("SET right {step}"), "EXEC"]
            {
                send(&mut client, line);
                if !succeeds(&mut client, patience) {
                    return false;
                }
            }
            self.pair.acknowledged += 1;
            self.list.begun += 1;
            // Longer than what is written at once.
            send(&mut client, &format!("RPUSH list {:0>5000}", self.list.begun));
            if !succeeds(&mut client, patience) {
                return false;
            }
            self.list.acknowledged += 1;
        }
        true
    }

    /// Compares what is there with it, and goes on from there.
    fn check(&mut self, client: &mut Client, what: &str) {
        let read = |client: &mut Client, key: &str| match call(client, &format!("GET {key}")) {
            Value::Nil => 0,
            value => number(&value),
        };
        self.counter.check(read(client, "counter"), what);
        let left = read(client, "left");
        assert_eq!(left, read(client, "right"), "{what}: half a transaction");
        self.pair.check(left, what);
        self.list.check(integer(&call(client, "LLEN list")), what);
        if 0 < self.list.begun {
            let last = number(&call(client, "LINDEX list -1"));
            assert_eq!(last, self.list.begun, "{what}: the list has a gap");
        }
    }
}

/// Writes before, during and after a rewrite.
fn work(server: &Server, history: &mut History) -> bool {
    let mut control = server.client();
    let mut order = |line: &str| {
        send(&mut control, line);
        control.receive(PATIENCE * 5).expect("it keeps its clients");
    };
    let mut goes_on = history.write(server, 1, PATIENCE);
    order("BGREWRITEAOF");
    goes_on = goes_on && history.write(server, ROUNDS, PATIENCE);
    std::thread::sleep(Duration::from_millis(10));
    goes_on && history.write(server, 1, PATIENCE)
}

/// Calls `round` with more and more steps that go well before a fault, until it replies that none was struck any more.
fn at_every_step(mut round: impl FnMut(u64) -> i64) {
    let mut skipped = 0;
    while round(skipped) != 0 {
        assert!(skipped < STEPS_MAX);
        skipped += stride();
    }
    assert!(0 < skipped, "something was written");
}

/// The disk dies at one step after the other; then the process is killed, and another disk is as the first was left.
fn dies_at_every_step(directives: &[(&str, &str)], fault: &str) {
    let mut server = server(directives).start().expect("it starts");
    let mut history = History::default();
    at_every_step(|skipped| {
        let words: Vec<&str> = fault.split(' ').collect();
        let (step, error) = (words[0], words[1..].join(" "));
        let what = format!("{fault} from step {skipped} on");
        let mut control = server.client();
        call(&mut control, &format!("DEBUG DISK-FAULT {step} {skipped} {STEPS_MAX} {error}"));
        work(&server, &mut history);
        let struck = integer(&call(&mut control, "DEBUG DISK-FAULT OFF"));
        // A fault that is over may be recovered from before the kill, which is right as well.
        server.kill();
        server.restart().unwrap_or_else(|error| panic!("{what}: {error}"));
        history.check(&mut server.client(), &what);
        struck
    });
}

#[test]
fn what_was_acknowledged_survives_a_disk_that_dies_at_any_step() {
    dies_at_every_step(&durable(), "ANY EIO");
}

#[test]
fn what_was_acknowledged_survives_a_disk_that_fills_up_at_any_write() {
    dies_at_every_step(&durable(), "WRITE ENOSPC SHORT");
}

#[test]
fn what_was_acknowledged_survives_names_that_are_not_durable() {
    dies_at_every_step(&durable(), "SYNC-FOLDER EIO");
}

/// One step after the other fails once, and the server recovers by itself.
fn recovers_at_every_step(directives: &[(&str, &str)], fault: &str) {
    let mut server = server(directives).start().expect("it starts");
    let mut history = History::default();
    at_every_step(|skipped| {
        let words: Vec<&str> = fault.split(' ').collect();
        let (step, error) = (words[0], words[1..].join(" "));
        let what = format!("{fault} at step {skipped}");
        let mut control = server.client();
        call(&mut control, &format!("DEBUG DISK-FAULT {step} {skipped} 1 {error}"));
        work(&server, &mut history);
        let struck = integer(&call(&mut control, "DEBUG DISK-FAULT OFF"));
        wait_until(&what, || info(&mut control, "persistence", "aof_last_write_status") == "ok");
        wait_until(&what, || info(&mut control, "persistence", "aof_rewrite_in_progress") == "0");
        history.check(&mut control, &what);
        assert!(history.write(&server, 1, LONG), "{what}: it writes again");
        // With the file that met the fault, and with the one after it.
        server.kill();
        server.restart().unwrap_or_else(|error| panic!("{what}: {error}"));
        history.check(&mut server.client(), &what);
        let mut control = server.client();
        call(&mut control, "BGREWRITEAOF");
        wait_until(&what, || info(&mut control, "persistence", "aof_rewrite_in_progress") == "0");
        assert_eq!(info(&mut control, "persistence", "aof_last_bgrewrite_status"), "ok", "{what}");
        assert!(history.write(&server, 1, LONG), "{what}: it writes again");
        server.kill();
        server.restart().unwrap_or_else(|error| panic!("{what}: {error}"));
        history.check(&mut server.client(), &what);
        struck
    });
}

#[test]
fn a_step_that_fails_once_is_recovered_from() {
    recovers_at_every_step(&durable(), "ANY EIO");
    recovers_at_every_step(&durable(), "WRITE ENOSPC SHORT");
}

#[test]
fn an_encrypted_log_survives_a_bad_disk() {
    let keys = std::env::temp_dir().join(format!("rubine-bad-disk-keys-{}", std::process::id()));
    fs::write(&keys, format!("a {}\n", "5".repeat(64))).expect("written");
    let mut directives = durable();
    directives.push(("encryption-key-file", keys.to_str().expect("a plain path")));
    dies_at_every_step(&directives, "ANY EIO");
    dies_at_every_step(&directives, "SYNC-FOLDER EIO");
    recovers_at_every_step(&directives, "WRITE ENOSPC SHORT");
    fs::remove_file(&keys).expect("removed");
}

/// A log is begun while the disk fails at one step after the other.
#[test]
fn a_log_is_begun_on_a_bad_disk() {
    let off = [("appendonly", "no"), ("appendfsync", "always")];
    let mut server = server(&off).start().expect("it starts");
    let mut history = History::default();
    at_every_step(|skipped| {
        let what = format!("step {skipped}");
        let mut control = server.client();
        history.write(&server, 1, LONG);
        call(&mut control, &format!("DEBUG DISK-FAULT ANY {skipped} 1 EIO"));
        call(&mut control, "CONFIG SET appendonly yes");
        history.write(&server, 1, LONG);
        // By itself, some time after the failure.
        wait_until(&what, || {
            info(&mut control, "persistence", "aof_rewrite_in_progress") == "0"
                && info(&mut control, "persistence", "aof_last_bgrewrite_status") == "ok"
                && info(&mut control, "persistence", "aof_last_write_status") == "ok"
        });
        let struck = integer(&call(&mut control, "DEBUG DISK-FAULT OFF"));
        history.check(&mut control, &what);
        assert!(history.write(&server, 1, LONG), "{what}: it writes");
        server.kill();
        server.set_directive("appendonly", "yes");
        server.restart().unwrap_or_else(|error| panic!("{what}: {error}"));
        history.check(&mut server.client(), &what);
        let files = fs::read_dir(server.directory().join("appendonlydir")).expect("a folder");
        let files: Vec<_> = files.flatten().map(|it| it.file_name()).collect();
        assert!(files.len() <= 4, "{what}: nothing is left behind, but {files:?}");
        // The log is given up again, so that the next round begins one.
        let mut control = server.client();
        assert_eq!(call(&mut control, "CONFIG SET appendonly no"), Value::Status("OK".into()));
        wait_until(&what, || info(&mut control, "persistence", "aof_enabled") == "0");
        struck
    });
}

/// After a failed fsync, the next one may succeed although the system has dropped what it could not write.
#[test]
fn a_log_that_could_not_be_forced_to_disk_is_made_anew() {
    let directives = [("appendonly", "yes"), ("appendfsync", "everysec")];
    let mut server = server(&directives).start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "DEBUG DISK-FAULT SYNC 0 1 EIO");
    call(&mut client, "SET a 1");
    wait_until("the failure", || server.log().contains("could not be forced to disk"));
    let waited = call(&mut client, "WAITAOF 1 0 0");
    assert_eq!(waited, Value::Array(vec![Value::Integer(1), Value::Integer(0)]));
    assert_eq!(info(&mut client, "persistence", "aof_rewrites"), "1", "from what is in memory");
    assert_eq!(info(&mut client, "persistence", "aof_last_write_status"), "ok");
    server.kill();
    server.restart().expect("it starts");
    assert_eq!(number(&call(&mut server.client(), "GET a")), 1);
}

/// The end of a server does not come while what was acknowledged is not in the log.
#[test]
fn a_log_that_cannot_be_written_holds_up_the_end() {
    let directives = [("appendonly", "yes"), ("appendfsync", "everysec")];
    let mut server = server(&directives).start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "DEBUG DISK-FAULT WRITE 0 1000000 ENOSPC");
    let mut acknowledged = 0;
    while let Value::Integer(count) = call(&mut client, "INCR n") {
        acknowledged = count;
    }
    assert!(0 < acknowledged);
    let failure = Value::Error("ERR Errors trying to SHUTDOWN. Check logs.".into());
    assert_eq!(call(&mut client, "SHUTDOWN"), failure);
    assert_eq!(call(&mut client, "SHUTDOWN NOSAVE"), failure);
    assert_eq!(number(&call(&mut client, "GET n")), acknowledged);
    call(&mut client, "DEBUG DISK-FAULT OFF");
    assert_eq!(server.terminate().expect("it ends").code(), Some(0));
    server.restart().expect("it starts");
    client = server.client();
    assert_eq!(number(&call(&mut client, "GET n")), acknowledged);
    call(&mut client, "DEBUG DISK-FAULT WRITE 0 1000000 ENOSPC");
    call(&mut client, "INCR n");
    send(&mut client, "SHUTDOWN FORCE");
    assert_eq!(client.receive(LONG).expect("an end"), Received::Closed);
}

/// A save either replaces the file by the whole of what there is, or fails and leaves a whole file.
#[test]
fn a_save_that_fails_at_any_step_leaves_a_whole_file() {
    let server = server(&[("rdb-save-threads", "2")]).start().expect("it starts");
    let mut client = server.client();
    let digest = |client: &mut Client| call(client, "DEBUG DIGEST").as_text().expect("text");
    call(&mut client, "DEBUG POPULATE 2000 key 200");
    assert_eq!(call(&mut client, "SAVE"), Value::Status("OK".into()));
    let mut before = digest(&mut client);
    for fault in ["ANY 1 EIO", "ANY 1000000 EIO", "WRITE 1000000 ENOSPC SHORT"] {
        for skipped in 0.. {
            let what = format!("{fault} at step {skipped}");
            call(&mut client, &format!("SET changed '{what}'"));
            let now = digest(&mut client);
            let (step, more) = fault.split_once(' ').expect("words");
            call(&mut client, &format!("DEBUG DISK-FAULT {step} {skipped} {more}"));
            let is_saved = call(&mut client, "SAVE") == Value::Status("OK".into());
            let struck = integer(&call(&mut client, "DEBUG DISK-FAULT OFF"));
            assert_eq!(is_saved, struck == 0, "{what}");
            assert_eq!(call(&mut client, "DEBUG RELOAD NOSAVE"), Value::Status("OK".into()));
            let found = digest(&mut client);
            assert!(found == now || (!is_saved && found == before), "{what}");
            before = found;
            if is_saved {
                break;
            }
        }
        // Whatever was left behind is overwritten by the next save.
        let files = fs::read_dir(server.directory()).expect("a directory").flatten();
        let left = files.filter(|it| it.file_name().to_string_lossy().starts_with("temp-")).count();
        assert_eq!(left, 0, "{fault}");
    }
}
