//! A log that is begun while the server runs: nothing is durable before its base is there, and whatever became of others that
//! were begun before, it goes on.

use std::time::Duration;

use rubine_testing::value::Value;

use crate::support::{call, elements, info, integer, options, send};

/// What is written while the base is made is of no use without it, and was told to be on disk.
#[test]
fn waitaof_waits_for_the_base_of_a_log() {
    let server = options().with("enable-debug-command", "yes").with("appendfsync", "always");
    let server = server.start().expect("it starts");
    let mut client = server.client();
    // So the base takes a second or more.
    assert_eq!(call(&mut client, "DEBUG POPULATE 4000 key 10"), Value::Status("OK".to_owned()));
    assert_eq!(
        call(&mut client, "CONFIG SET rdb-key-save-delay 1000"),
        Value::Status("OK".to_owned())
    );
    call(&mut client, "CONFIG SET appendonly yes");
    call(&mut client, "SET a 1");
    let both = |local| Value::Array(vec![Value::Integer(local), Value::Integer(0)]);
    assert_eq!(call(&mut client, "WAITAOF 1 0 50"), both(0));
    assert_eq!(call(&mut client, "WAITAOF 1 0 0"), both(1));
    assert_eq!(info(&mut client, "persistence", "aof_rewrite_in_progress"), "0");
}

/// Whatever rewrites were cancelled before they had begun, the log goes on.
#[test]
fn a_log_that_is_given_up_and_begun_again_goes_on() {
    let server = options().with("workers", "4").start().expect("it starts");
    let (mut client, mut other) = (server.client(), server.client());
    let keys: Vec<String> = (0..3000).map(|it| format!("key:{it}")).collect();
    let busy = format!("EVAL \"for i = 1, 4000000 do end\" {} {}", keys.len(), keys.join(" "));
    for round in 0..12 {
        call(&mut client, "CONFIG SET appendonly yes");
        // While it runs, it has nearly all shards, and no rewrite can begin.
        send(&mut other, &busy);
        for _ in 0..3 {
            call(&mut client, "CONFIG SET appendonly no");
            std::thread::sleep(Duration::from_millis(2 * (round % 4)));
            call(&mut client, "CONFIG SET appendonly yes");
            std::thread::sleep(Duration::from_millis(2 * (round % 3)));
        }
        other.reply().expect("a reply");
        for _ in 0..3 {
            call(&mut client, "SET a 1");
            let done = call(&mut client, "WAITAOF 1 0 30000");
            assert_eq!(integer(&elements(&done)[0]), 1, "{}", server.log());
        }
    }
}
