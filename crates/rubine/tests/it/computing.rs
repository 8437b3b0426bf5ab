//! Commands that are computed apart from the shards: for whoever looks on, each still happens at one instant.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rubine_testing::client::Client;
use rubine_testing::value::Value;

use crate::support::{call, elements, integer, parallel_server, send, wait_until};

/// Enough that nothing is computed under the locks.
const MEMBERS: usize = 5_000;

/// Fills a set with `PREFIX:0`, `PREFIX:1` ..
fn fill(client: &mut Client, key: &str, prefix: &str) {
    const MEMBERS_PER_REQUEST: usize = 1_000;
    for start in (0..MEMBERS).step_by(MEMBERS_PER_REQUEST) {
        let members = (start..start + MEMBERS_PER_REQUEST).map(|it| format!("{prefix}:{it}"));
        let request: Vec<String> =
            ["SADD".to_owned(), key.to_owned()].into_iter().chain(members).collect();
        client.call(&request).expect("SADD");
    }
}

/// Two sets without a common member, under `a` and `b`.
fn fill_both(client: &mut Client) {
    fill(client, "a", "left");
    fill(client, "b", "right");
}

#[test]
fn replies_keep_their_order_and_see_what_came_before() {
    let server = parallel_server();
    let mut client = server.client();
    fill_both(&mut client);
    let lines = [
        "SET text before",
        "SUNIONSTORE union a b",
        "SCARD union",
        "ZUNIONSTORE sorted 2 a b WEIGHTS 2 3",
        "ZSCORE sorted right:7",
        "ZRANGESTORE part sorted 10 -10",
        "ZCARD part",
        "ZREMRANGEBYRANK part 1 -2",
        "ZCARD part",
        "ZINTERCARD 2 sorted a",
        "SINTERSTORE common union a",
        "SDIFFSTORE rest union a",
        "SPOP union 8000",
        "SCARD union",
        "SET text after GET",
    ];
    lines.iter().for_each(|line| send(&mut client, line));
    let mut replies =
        lines.map(|line| client.reply().unwrap_or_else(|error| panic!("{line}: {error}")));
    let popped = std::mem::replace(&mut replies[12], Value::Nil);
    assert_eq!(elements(&popped).len(), 8_000);
    let [n, both] = [MEMBERS, 2 * MEMBERS].map(|it| Value::Integer(it as i64));
    let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
    let part = || Value::Integer(2 * MEMBERS as i64 - 19);
    let expected = [
        Value::Status("OK".to_owned()),
        both.clone(),
        both.clone(),
        both.clone(),
        bulk("3"),
        part(),
        part(),
        Value::Integer(2 * MEMBERS as i64 - 21),
        Value::Integer(2),
        n.clone(),
        n.clone(),
        n.clone(),
        Value::Nil,
        Value::Integer(2 * MEMBERS as i64 - 8_000),
        bulk("before"),
    ];
    for ((line, reply), expected) in lines.iter().zip(replies).zip(expected) {
        assert_eq!(reply, expected, "{line}");
    }
}

/// A member that wanders between two sets is in one of them at every instant.
#[test]
fn a_union_is_that_of_one_instant() {
    const ROUNDS: usize = 4;
    let server = parallel_server();
    let mut client = server.client();
    fill_both(&mut client);
    call(&mut client, "SADD a wanderer");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.client();
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(integer(&call(&mut client, "SMOVE a b wanderer")), 1);
                assert_eq!(integer(&call(&mut client, "SMOVE b a wanderer")), 1);
            }
        });
        let mut seen = Vec::new();
        for _ in 0..ROUNDS {
            for line in
                ["SUNIONSTORE union a b", "SISMEMBER union wanderer", "ZUNIONSTORE sorted 2 a b"]
            {
                seen.push(integer(&call(&mut client, line)));
            }
        }
        is_over.store(true, Ordering::Relaxed);
        let count = 2 * MEMBERS as i64 + 1;
        assert_eq!(seen, [count, 1, count].repeat(ROUNDS));
    });
}

/// Whoever has added a member and then sees the result change finds the member in it: the result is not older than what
/// was seen before it.
#[test]
fn what_was_acknowledged_before_a_result_is_in_it() {
    const ROUNDS: usize = 25;
    let server = parallel_server();
    let mut client = server.client();
    fill_both(&mut client);
    call(&mut client, "SUNIONSTORE union a b");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.client();
            for round in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                call(&mut client, &format!("SADD b own:{round}"));
                call(&mut client, "SUNIONSTORE union a b");
            }
        });
        let mut is_late = false;
        for round in 0..ROUNDS {
            call(&mut client, &format!("SADD a added:{round}"));
            let mut look = || {
                let lines = ["SCARD union".to_owned(), format!("SISMEMBER union added:{round}")];
                let replies = transaction(&mut client, &lines);
                (integer(&replies[0]), integer(&replies[1]) == 1)
            };
            let (first, mut is_member) = look();
            while !is_member && !is_late {
                let (count, is_in) = look();
                is_member = is_in;
                is_late = !is_in && count != first;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(!is_late, "a result came that is older than what was seen before it");
    });
}

fn transaction(client: &mut Client, lines: &[String]) -> Vec<Value> {
    send(client, "MULTI");
    lines.iter().for_each(|line| send(client, line));
    send(client, "EXEC");
    for _ in 0..=lines.len() {
        client.reply().expect("OK or QUEUED");
    }
    elements(&client.reply().expect("EXEC")).to_vec()
}

#[test]
fn transactions_and_watches_know_no_difference() {
    let server = parallel_server();
    let (mut client, mut watcher) = (server.client(), server.client());
    fill_both(&mut client);
    let lines = ["SUNIONSTORE union a b", "SCARD union", "SDIFFSTORE union union a", "SCARD union"];
    let replies = transaction(&mut client, &lines.map(str::to_owned));
    let counts: Vec<i64> = replies.iter().map(integer).collect();
    assert_eq!(counts, [2, 2, 1, 1].map(|it| it * MEMBERS as i64));

    call(&mut watcher, "WATCH union");
    call(&mut client, "SUNIONSTORE union a b");
    send(&mut watcher, "MULTI");
    send(&mut watcher, "GET x");
    send(&mut watcher, "EXEC");
    watcher.reply().expect("OK");
    watcher.reply().expect("QUEUED");
    assert_eq!(watcher.reply().expect("EXEC"), Value::NilArray);
}

#[test]
fn a_command_whose_client_leaves_runs_to_its_end() {
    let server = parallel_server();
    let mut client = server.client();
    fill_both(&mut client);
    let mut leaver = server.client();
    send(&mut leaver, "SUNIONSTORE union a b");
    send(&mut leaver, "SET last word");
    drop(leaver);
    wait_until("the union", || integer(&call(&mut client, "EXISTS union last")) == 2);
    assert_eq!(integer(&call(&mut client, "SCARD union")), 2 * MEMBERS as i64);
}

#[test]
fn clients_can_be_killed_while_something_is_computed_for_them() {
    const VICTIMS: usize = 10;
    let server = parallel_server();
    let mut client = server.client();
    fill_both(&mut client);
    let mut victims: Vec<Client> = (0..VICTIMS).map(|_| server.client()).collect();
    for (number, victim) in victims.iter_mut().enumerate() {
        send(victim, &format!("ZUNIONSTORE killed:{number} 2 a b"));
    }
    call(&mut client, "CLIENT KILL TYPE normal SKIPME yes");
    assert_eq!(integer(&call(&mut client, "SUNIONSTORE union a b")), 2 * MEMBERS as i64);
    // A write that a pause is to hold back does not slip through because it began before.
    let mut writer = server.client();
    send(&mut writer, "SUNIONSTORE late a b");
    call(&mut client, "CLIENT PAUSE 60000 WRITE");
    let before = integer(&call(&mut client, "EXISTS late"));
    thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(integer(&call(&mut client, "EXISTS late")), before);
    call(&mut client, "CLIENT UNPAUSE");
    assert_eq!(integer(&writer.reply().expect("SUNIONSTORE")), 2 * MEMBERS as i64);
}
