//! MIGRATE from one server to another: what has arrived is gone here, and nothing is ever lost on the way.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::RwLock;
use rubine_testing::client::Client;
use rubine_testing::server::{Server, free_port};
use rubine_testing::value::Value;

use crate::support::{call, elements, info, integer, number, options, parallel_server, send};

/// Two servers: from the first, keys go to the second.
fn pair() -> (Server, Server) {
    (parallel_server(), parallel_server())
}

/// The beginning of a request to move `key` there.
fn migrate(to: &Server, rest: &str) -> String {
    format!("MIGRATE 127.0.0.1 {} {rest}", to.address().port())
}

fn ok() -> Value {
    Value::Status("OK".to_owned())
}

fn text(value: &str) -> Value {
    Value::Bulk(value.as_bytes().to_vec())
}

/// Expects an error that contains `part`.
fn fails(reply: &Value, part: &str) {
    assert!(matches!(reply, Value::Error(text) if text.contains(part)), "{part}: {reply:?}");
}

#[test]
fn a_key_moves_with_its_deadline() {
    let (from, to) = pair();
    let (mut here, mut there) = (from.client(), to.client());
    call(&mut here, "SET plain value");
    call(&mut here, "SET timed value PX 100000");
    assert_eq!(call(&mut here, &migrate(&to, "plain 0 5000")), ok());
    assert_eq!(call(&mut here, &migrate(&to, "timed 3 5000")), ok());
    assert_eq!(integer(&call(&mut here, "EXISTS plain timed")), 0);
    assert_eq!(call(&mut there, "GET plain"), text("value"));
    assert_eq!(integer(&call(&mut there, "PTTL plain")), -1);
    call(&mut there, "SELECT 3");
    assert_eq!(call(&mut there, "GET timed"), text("value"));
    assert!((90_000..=100_000).contains(&integer(&call(&mut there, "PTTL timed"))));
    assert_eq!(info(&mut here, "stats", "migrate_cached_sockets"), "1");
}

#[test]
fn every_type_arrives_as_it_was() {
    let (from, to) = pair();
    let (mut here, mut there) = (from.client(), to.client());
    let lines = [
        "SET text abc",
        "SET number 42",
        "RPUSH list a b 3",
        "SADD ints 1 2 3",
        "SADD words a b",
        "ZADD scores 1.5 a -inf b",
        "HSET hash f v",
        "HSET timed f v",
        "HPEXPIREAT timed 4102444800123 FIELDS 1 f",
        "XADD stream 1-1 f v",
        "XGROUP CREATE stream group 0",
        "XREADGROUP GROUP group alice STREAMS stream >",
    ];
    lines.iter().for_each(|line| drop(call(&mut here, line)));
    let keys = "text number list ints words scores hash timed stream";
    let digests = call(&mut here, &format!("DEBUG DIGEST-VALUE {keys}"));
    assert_eq!(call(&mut here, &migrate(&to, &format!("\"\" 0 5000 KEYS {keys}"))), ok());
    assert_eq!(integer(&call(&mut here, "DBSIZE")), 0);
    assert_eq!(call(&mut there, &format!("DEBUG DIGEST-VALUE {keys}")), digests);
}

#[test]
fn lists_of_keys_go_as_far_as_they_are_taken() {
    let (from, to) = pair();
    let (mut here, mut there) = (from.client(), to.client());
    call(&mut here, "MSET a 1 b 2 c 3 d 4");
    call(&mut there, "SET b taken");
    let reply = call(&mut here, &migrate(&to, "\"\" 0 5000 KEYS missing a b c a"));
    fails(&reply, "ERR Target instance replied with error: BUSYKEY");
    assert_eq!(call(&mut here, "MGET a b c d"), call(&mut here, "MGET no b no d"));
    assert_eq!(call(&mut there, "MGET a b c d"), call(&mut there, "MGET a b c no"));
    assert_eq!(call(&mut there, "GET b"), text("taken"));
    let copied = call(&mut here, &migrate(&to, "\"\" 0 5000 COPY REPLACE KEYS b d"));
    assert_eq!(copied, ok());
    assert_eq!(integer(&call(&mut here, "EXISTS b d")), 2);
    assert_eq!(call(&mut there, "GET b"), text("2"));
    assert_eq!(call(&mut here, &migrate(&to, "\"\" 0 5000 REPLACE KEYS b b d")), ok());
    assert_eq!(integer(&call(&mut here, "DBSIZE")), 0);
    assert_eq!(integer(&call(&mut there, "DBSIZE")), 4);
    let nothing = call(&mut here, &migrate(&to, "\"\" 0 5000 KEYS b d"));
    assert_eq!(nothing, Value::Status("NOKEY".to_owned()));
}

#[test]
fn the_target_asks_for_a_password() {
    let (from, to) = pair();
    let (mut here, mut there) = (from.client(), to.client());
    call(&mut there, "CONFIG SET requirepass secret");
    call(&mut here, "SET k v");
    fails(&call(&mut here, &migrate(&to, "k 0 5000")), "replied with error: NOAUTH");
    fails(&call(&mut here, &migrate(&to, "k 0 5000 AUTH wrong")), "replied with error: WRONGPASS");
    // A connection that is open for others serves nobody who does not know the password.
    assert_eq!(call(&mut here, &migrate(&to, "k 0 5000 AUTH secret COPY")), ok());
    fails(&call(&mut here, &migrate(&to, "k 0 5000 REPLACE")), "NOAUTH");
    fails(&call(&mut here, &migrate(&to, "k 99 5000 AUTH secret")), "DB index is out of range");
    assert_eq!(integer(&call(&mut here, "EXISTS k")), 1);
    let moved = call(&mut here, &migrate(&to, "k 0 5000 REPLACE AUTH2 default secret"));
    assert_eq!(moved, ok());
    assert_eq!(call(&mut there, "GET k"), text("v"));
}

#[test]
fn a_target_may_go_and_come_back() {
    let from = parallel_server();
    let mut to = parallel_server();
    let mut here = from.client();
    for round in 0..3 {
        call(&mut here, &format!("SET k {round}"));
        assert_eq!(call(&mut here, &migrate(&to, "k 0 5000")), ok());
        to.restart().expect("it starts again");
    }
    call(&mut here, "SET k last");
    to.kill();
    fails(&call(&mut here, &migrate(&to, "k 0 5000")), "IOERR error or timeout");
    fails(&call(&mut here, "MIGRATE no.such.host.invalid 1 k 0 100"), "connecting to the client");
    assert_eq!(call(&mut here, "GET k"), text("last"));
}

/// A listener that takes connections and says nothing, and its port.
fn silent_target() -> (TcpListener, u16) {
    let port = free_port().expect("a port is free");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it can be listened on");
    (listener, port)
}

#[test]
fn a_silent_target_holds_up_nobody_else() {
    const WAITING: usize = 40;
    let (_listener, port) = silent_target();
    let from = options().with("workers", "1").with("timeout", "1").start().expect("it starts");
    let mut here = from.client();
    let mut waiting: Vec<Client> = (0..WAITING).map(|_| from.client()).collect();
    for (number, client) in waiting.iter_mut().enumerate() {
        call(client, &format!("SET k:{number} v"));
        send(client, &format!("MIGRATE 127.0.0.1 {port} k:{number} 0 2500"));
        send(client, "PING");
    }
    // They have not waited one after the other, and neither does anybody for them.
    for number in 0..WAITING {
        assert_eq!(integer(&call(&mut here, &format!("APPEND k:{number} w"))), 2);
    }
    let stuck = call(&mut here, "CLIENT LIST").as_text().expect("it is text");
    assert_eq!(stuck.matches("cmd=migrate").count(), WAITING, "all of them still wait: {stuck}");
    for client in &mut waiting {
        fails(&client.reply().expect("a reply"), "IOERR error or timeout reading");
        assert_eq!(client.reply().expect("a reply"), Value::Status("PONG".to_owned()));
    }
    assert_eq!(integer(&call(&mut from.client(), "DBSIZE")), WAITING as i64);
}

#[test]
fn clients_that_go_leave_their_keys_here() {
    let (listener, port) = silent_target();
    let from = parallel_server();
    let mut here = from.client();
    call(&mut here, "SET k v");
    let mut victim = from.client();
    let id = integer(&call(&mut victim, "CLIENT ID"));
    send(&mut victim, &format!("MIGRATE 127.0.0.1 {port} k 0 60000"));
    drop(listener.accept().expect("it connects"));
    fails(&victim.reply().expect("a reply"), "IOERR");
    send(&mut victim, &format!("MIGRATE 127.0.0.1 {port} k 0 60000"));
    let held = listener.accept().expect("it connects");
    assert_eq!(integer(&call(&mut here, &format!("CLIENT KILL ID {id}"))), 1);
    drop(held);
    assert_eq!(call(&mut here, "GET k"), text("v"));
    assert_eq!(call(&mut here, "PING"), Value::Status("PONG".to_owned()));
}

/// A target that lets `change` happen after a key has arrived and before it is acknowledged. Takes `rounds` keys of
/// which nothing is left out, and returns all that it was sent.
fn slow_target(rounds: usize, mut change: impl FnMut(usize)) -> (u16, impl FnOnce() -> String) {
    let (listener, port) = silent_target();
    let serve = move || {
        let (mut stream, _) = listener.accept().expect("it connects");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        let mut sent = Vec::new();
        let mut room = [0; 4096];
        // SELECT is the first, then one key at a time.
        for round in 0..=rounds {
            let count = stream.read(&mut room).expect("something is sent");
            sent.extend_from_slice(&room[..count]);
            if 0 < round {
                change(round);
            }
            stream.write_all(b"+OK\r\n").expect("it can be written");
        }
        String::from_utf8_lossy(&sent).into_owned()
    };
    (port, serve)
}

#[test]
fn what_is_changed_on_the_way_is_sent_again() {
    let from = parallel_server();
    let (mut here, mut other) = (from.client(), from.client());
    call(&mut here, "SET k first");
    let (port, serve) = slow_target(4, move |round| {
        let line = ["SET k second", "PEXPIRE k 100000", "DEL k", "SET unconcerned x"][round - 1];
        call(&mut other, line);
    });
    let sent = thread::scope(|scope| {
        let served = scope.spawn(serve);
        let line = format!("MIGRATE 127.0.0.1 {port} k 0 20000");
        assert_eq!(call(&mut here, &line), ok());
        served.join().expect("the target has served")
    });
    // Only the first time it must not replace what is there, and what was deleted here is deleted there.
    let words: Vec<&str> =
        sent.split("\r\n").filter(|it| ["RESTORE", "REPLACE", "DEL"].contains(it)).collect();
    assert_eq!(words, ["RESTORE", "RESTORE", "REPLACE", "RESTORE", "REPLACE", "DEL"]);
    assert!(sent.contains("first") && sent.contains("second"), "{sent}");
    assert_eq!(integer(&call(&mut here, "EXISTS k")), 0);
}

/// Whoever changes a key all the time has to wait in the end.
#[test]
fn what_is_always_changed_moves_all_the_same() {
    const WRITERS: usize = 3;
    let (from, to) = pair();
    let (mut here, mut there) = (from.client(), to.client());
    call(&mut here, "SET k 0");
    let is_over = AtomicBool::new(false);
    let counts: Vec<i64> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let (mut client, is_over) = (from.client(), &is_over);
                scope.spawn(move || {
                    let mut count = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        if number == 0 {
                            let lines = ["MULTI", "INCR k", "EXEC"];
                            lines.iter().for_each(|line| drop(call(&mut client, line)));
                        } else {
                            call(&mut client, "INCR k");
                        }
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(50));
        assert_eq!(call(&mut here, &migrate(&to, "k 0 5000")), ok());
        is_over.store(true, Ordering::Relaxed);
        writers.into_iter().map(|it| it.join().expect("a writer")).collect()
    });
    let mut count = number(&call(&mut there, "GET k"));
    if integer(&call(&mut here, "EXISTS k")) == 1 {
        count += number(&call(&mut here, "GET k"));
    }
    assert_eq!(count, counts.iter().sum::<i64>());
}

/// None of those that move a key at once takes the removal of another for its own client's wish.
#[test]
fn a_key_that_several_move_arrives() {
    const MOVERS: usize = 4;
    const ROUNDS: usize = 100;
    let (from, to) = pair();
    let (mut here, mut there) = (from.client(), to.client());
    let mut movers: Vec<Client> = (0..MOVERS).map(|_| from.client()).collect();
    for round in 0..ROUNDS {
        call(&mut here, &format!("MSET k {round} l {round}"));
        let lists = ["k l", "l k", "k", "l k l"];
        for (mover, keys) in movers.iter_mut().zip(lists) {
            send(mover, &migrate(&to, &format!("\"\" 0 20000 REPLACE KEYS {keys}")));
        }
        for mover in &mut movers {
            let reply = mover.reply().expect("a reply");
            assert!(reply == ok() || reply == Value::Status("NOKEY".to_owned()), "{reply:?}");
        }
        let value = text(&round.to_string());
        assert_eq!(call(&mut there, "MGET k l"), Value::Array(vec![value.clone(), value]));
        assert_eq!(integer(&call(&mut here, "EXISTS k l")), 0);
    }
}

#[test]
fn what_changes_in_the_end_too_stays() {
    const ROUNDS: usize = 16;
    let from = parallel_server();
    let (mut here, mut other) = (from.client(), from.client());
    call(&mut here, "SET k even");
    call(&mut here, "SWAPDB 0 1");
    call(&mut here, "SET k odd");
    // It names no key, so it waits for none.
    let (port, serve) = slow_target(ROUNDS, move |_| drop(call(&mut other, "SWAPDB 0 1")));
    thread::scope(|scope| {
        let served = scope.spawn(serve);
        let reply = call(&mut here, &format!("MIGRATE 127.0.0.1 {port} k 0 20000"));
        fails(&reply, "ERR Keys were changed each time");
        served.join().expect("the target has served");
    });
    assert_eq!(call(&mut here, "GET k"), text("odd"));
    assert_eq!(call(&mut here, "SET k any"), ok());
}

#[test]
fn a_pause_holds_the_removal_back() {
    let from = parallel_server();
    let (mut here, mut other) = (from.client(), from.client());
    call(&mut here, "SET k v");
    let (port, serve) = slow_target(1, move |_| drop(call(&mut other, "CLIENT PAUSE 60000 WRITE")));
    thread::scope(|scope| {
        let served = scope.spawn(serve);
        let mut mover = from.client();
        send(&mut mover, &format!("MIGRATE 127.0.0.1 {port} k 0 20000"));
        served.join().expect("the target has served");
        thread::sleep(Duration::from_millis(200));
        assert_eq!(integer(&call(&mut here, "EXISTS k")), 1);
        call(&mut here, "CLIENT UNPAUSE");
        // It is not sent again, which the target would refuse.
        assert_eq!(mover.reply().expect("a reply"), ok());
        assert_eq!(integer(&call(&mut here, "EXISTS k")), 0);
    });
}

/// Lists that grow all the time move back and forth, and nothing that was pushed is lost.
#[test]
fn no_write_is_lost_between_two_servers() {
    const KEYS: usize = 4;
    const MOVES: usize = 20;
    const PUSHES_MAX: usize = 2000;
    let (one, two) = pair();
    let servers = [&one, &two];
    let is_over = AtomicBool::new(false);
    // From which server each list goes away; whoever asks holds it as long as the answer matters.
    let sources: Vec<RwLock<usize>> = (0..KEYS).map(|_| RwLock::new(0)).collect();
    let mut clients = servers.map(Server::client);
    for key in 0..KEYS {
        call(&mut clients[0], &format!("RPUSH list:{key} 0"));
    }
    let counts: Vec<usize> = thread::scope(|scope| {
        let mut writers = Vec::new();
        for (key, source) in sources.iter().enumerate() {
            let (mut clients, is_over) = (servers.map(Server::client), &is_over);
            writers.push(scope.spawn(move || {
                let mut next = 1;
                while !is_over.load(Ordering::Relaxed) && next < PUSHES_MAX {
                    let line = format!("RPUSHX list:{key} {next}");
                    let source = source.read();
                    // If it has gone away, it has arrived.
                    let is_here = integer(&call(&mut clients[*source], &line)) != 0;
                    if !is_here {
                        assert_ne!(integer(&call(&mut clients[1 - *source], &line)), 0);
                    }
                    next += 1;
                }
                next
            }));
        }
        for turn in 0..MOVES {
            let (here, there) = (turn % 2, 1 - turn % 2);
            for (key, source) in sources.iter().enumerate() {
                *source.write() = here;
                let line = migrate(servers[there], &format!("list:{key} 0 20000"));
                let mut reply = call(&mut clients[here], &line);
                while reply != ok() {
                    fails(&reply, "ERR Keys were changed each time");
                    reply = call(&mut clients[here], &format!("{line} REPLACE"));
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
        writers.into_iter().map(|it| it.join().expect("a writer")).collect()
    });
    for (key, count) in counts.into_iter().enumerate() {
        let list = call(&mut clients[MOVES % 2], &format!("LRANGE list:{key} 0 -1"));
        let expected: Vec<Value> = (0..count).map(|it| text(&it.to_string())).collect();
        assert!(elements(&list) == expected, "list:{key} is not that of {count} pushes");
    }
}

/// What is large takes long to write, to send and to read, and keeps nobody waiting.
#[test]
fn a_large_value_stalls_nobody() {
    const ITEMS: usize = 300_000;
    const PROBE: Duration = Duration::from_millis(1);
    let server = || options().with("workers", "1").start().expect("the server starts");
    let (from, to) = (server(), server());
    let (mut here, mut there) = (from.client(), to.client());
    for start in (0..ITEMS).step_by(1000) {
        let items = (start..start + 1000).map(|it| format!("item number {it}"));
        let request: Vec<String> =
            ["RPUSH".to_owned(), "large".to_owned()].into_iter().chain(items).collect();
        here.call(&request).expect("RPUSH");
    }
    let mut mover = from.client();
    send(&mut mover, &migrate(&to, "large 0 60000"));
    let mut probes = 0;
    while integer(&call(&mut here, "EXISTS large")) == 1 {
        call(&mut there, "PING");
        probes += 1;
        thread::sleep(PROBE);
    }
    assert_eq!(mover.reply().expect("a reply"), ok());
    assert_eq!(integer(&call(&mut there, "LLEN large")), ITEMS as i64);
    assert!(5 < probes, "it was over too soon for {probes} probes to tell anything");
}

#[test]
fn transactions_wait_for_the_target() {
    let (from, to) = pair();
    let (mut here, mut there) = (from.client(), to.client());
    call(&mut here, "SET k before");
    let migrate = migrate(&to, "k 0 5000");
    let lines = ["MULTI", "SET k inside", &migrate, "EXISTS k", &migrate, "EXEC"];
    lines.iter().for_each(|line| send(&mut here, line));
    lines[1..].iter().for_each(|_| drop(here.reply().expect("OK or QUEUED")));
    let expected = [ok(), ok(), Value::Integer(0), Value::Status("NOKEY".to_owned())];
    assert_eq!(elements(&here.reply().expect("EXEC")), expected);
    assert_eq!(call(&mut there, "GET k"), text("inside"));
}

#[test]
fn the_journal_has_what_was_removed() {
    let to = parallel_server();
    let mut from = options()
        .with("appendonly", "yes")
        .with("appendfsync", "always")
        .start()
        .expect("the server starts");
    let mut here = from.client();
    call(&mut here, "MSET a 1 b 2 c 3");
    call(&mut to.client(), "SET b taken");
    fails(&call(&mut here, &migrate(&to, "\"\" 0 5000 KEYS a b c")), "BUSYKEY");
    from.restart().expect("it starts again");
    assert_eq!(call(&mut from.client(), "KEYS *"), Value::Array(vec![text("b")]));
}
