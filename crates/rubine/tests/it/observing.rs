//! What can be seen of commands, over several workers: MONITOR, the command log, HOTKEYS.

use std::thread;
use std::time::Duration;

use rubine_base::clock::monotonic_millis;
use rubine_testing::client::Client;

use crate::support::{call, elements, info, integer, options, parallel_server, send, wait_until};

/// The next line for a client that watches.
fn line(watcher: &mut Client) -> String {
    watcher.reply().expect("a line").as_text().expect("a line is text")
}

/// A client that watches.
fn watch(mut client: Client) -> Client {
    call(&mut client, "MONITOR");
    client
}

/// Clients of all workers send at the same time. Each of two watchers sees every command once, and those of each client in
/// the order in which it sent them.
#[test]
fn each_client_is_shown_in_its_order() {
    const CLIENTS: usize = 6;
    const COMMANDS: usize = 500;
    let server = parallel_server();
    let mut watchers = [watch(server.client()), watch(server.client())];
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.client();
                for index in 0..COMMANDS {
                    send(&mut client, &format!("SET k:{number} {index}"));
                }
                for _ in 0..COMMANDS {
                    client.reply().expect("a reply");
                }
            });
        }
        for watcher in &mut watchers {
            scope.spawn(move || {
                let mut next = [0; CLIENTS];
                for _ in 0..CLIENTS * COMMANDS {
                    let line = line(watcher);
                    let text = line.split("\"SET\" \"k:").nth(1).expect("a SET");
                    let number: usize = text[..1].parse().expect("a client");
                    assert!(line.ends_with(&format!("\"{}\"", next[number])), "{line}: {next:?}");
                    next[number] += 1;
                }
            });
        }
    });
}

/// Whoever has been told that it watches sees what is sent after that, on whatever worker, and nothing from before.
#[test]
fn watching_begins_when_it_is_answered() {
    const ROUNDS: usize = 40;
    let server = parallel_server();
    let mut clients: Vec<Client> = (0..4).map(|_| server.client()).collect();
    let mut other_watcher = watch(server.client());
    for round in 0..ROUNDS {
        for client in &mut clients {
            call(client, "PING before");
        }
        let mut watcher = watch(server.client());
        let client = &mut clients[round % 4];
        call(client, &format!("PING {round}"));
        let shown = line(&mut watcher);
        assert!(shown.ends_with(&format!("\"PING\" \"{round}\"")), "{shown}");
    }
    for _ in 0..ROUNDS * 5 {
        line(&mut other_watcher);
    }
}

/// A watcher that reads nothing is cut, by the limit on what may wait for it, and nobody waits for it.
#[test]
fn a_watcher_that_does_not_read_is_cut() {
    let limit = "normal 1mb 0 0";
    let options = options().with("workers", "2").with("client-output-buffer-limit", limit);
    let server = options.start().expect("it starts");
    let watcher = watch(server.client());
    let mut client = server.client();
    let has_watcher = |client: &mut Client| {
        let list = call(client, "CLIENT LIST").as_text().expect("a list");
        list.contains(" flags=O ")
    };
    assert!(has_watcher(&mut client));
    let value = "v".repeat(10_000);
    wait_until("the watcher is cut", || {
        for _ in 0..100 {
            call(&mut client, &format!("SET k {value}"));
        }
        !has_watcher(&mut client)
    });
    drop(watcher);
}

/// A script that runs for long begins anew on another thread, and is shown once all the same, before its commands.
#[test]
fn a_long_script_is_shown_once() {
    const CALLS: usize = 30_000;
    let server = parallel_server();
    let mut client = server.client();
    let mut watcher = watch(server.client());
    let script = "for i = 1, tonumber(ARGV[1]) do redis.call('incr', KEYS[1]) end";
    for key in ["a", "b"] {
        call(&mut client, &format!("EVAL \"{script}\" 1 {key} {CALLS}"));
        call(&mut client, "PING");
        let first = line(&mut watcher);
        assert!(first.contains("\"EVAL\""), "{first}");
        for _ in 0..CALLS {
            let line = line(&mut watcher);
            assert!(line.ends_with(&format!(" lua] \"incr\" \"{key}\"")), "{line}");
        }
        let last = line(&mut watcher);
        assert!(last.ends_with("\"PING\""), "{last}");
    }
}

/// A reply that is produced while its client reads it is remembered with its whole size.
#[test]
fn a_streamed_reply_is_remembered_as_large() {
    let server =
        options().with("commandlog-reply-larger-than", "100000").start().expect("it starts");
    let mut client = server.client();
    let elements_wanted: Vec<String> = (100_000..150_000).map(|it| it.to_string()).collect();
    for part in elements_wanted.chunks(1000) {
        call(&mut client, &format!("RPUSH l {}", part.join(" ")));
    }
    let reply = call(&mut client, "LRANGE l 0 -1");
    assert_eq!(elements(&reply).len(), elements_wanted.len());
    let log = call(&mut client, "COMMANDLOG GET -1 large-reply");
    let [entry] = elements(&log) else { panic!("one entry was due, not {log:?}") };
    let bytes = "*50000\r\n".len() + elements_wanted.len() * "$6\r\n100000\r\n".len();
    assert_eq!(integer(&elements(entry)[2]), bytes as i64);
    assert_eq!(elements(&elements(entry)[3])[0].as_text().as_deref(), Some("LRANGE"));
}

/// Workers count keys on their own; whoever asks gets the sums.
#[test]
fn hot_keys_are_those_of_all_workers() {
    const CLIENTS: usize = 4;
    let server = parallel_server();
    let mut main = server.client();
    call(&mut main, "HOTKEYS START METRICS 2 CPU NET COUNT 2");
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.client();
                for index in 0..300 {
                    call(&mut client, "SET hot 12345");
                    call(&mut client, &format!("GET cold:{number}:{index}"));
                }
            });
        }
    });
    call(&mut main, "HOTKEYS STOP");
    call(&mut main, "SET hot 12345");
    let reply = call(&mut main, "HOTKEYS GET");
    let [report] = elements(&reply) else { panic!("one report was due, not {reply:?}") };
    let fields = elements(report);
    let field = |name: &str| {
        let at = fields.iter().position(|it| it.as_text().as_deref() == Some(name));
        &fields[at.unwrap_or_else(|| panic!("{name} is missing")) + 1]
    };
    let by_bytes = elements(field("by-net-bytes"));
    assert_eq!(by_bytes[0].as_text().as_deref(), Some("hot"));
    let set = "*3\r\n$3\r\nSET\r\n$3\r\nhot\r\n$5\r\n12345\r\n+OK\r\n".len() as i64;
    assert_eq!(integer(&by_bytes[1]), CLIENTS as i64 * 300 * set);
    assert_eq!(by_bytes.len(), 4);
    assert_eq!(elements(field("by-cpu-time-us"))[0].as_text().as_deref(), Some("hot"));
    assert_eq!(integer(field("tracking-active")), 0);
}

/// What had to wait has the bytes that its client sent.
#[test]
fn a_request_that_waits_counts_as_any_other() {
    let server = options().with("commandlog-request-larger-than", "1").start().expect("it starts");
    let (mut main, mut other) = (server.client(), server.client());
    call(&mut main, "HOTKEYS START METRICS 1 NET");
    let bytes_of = |main: &mut Client, wanted: &str| {
        let reply = call(main, "HOTKEYS GET");
        let fields = elements(&elements(&reply)[0]).to_vec();
        let at = fields.iter().position(|it| it.as_text().as_deref() == Some("by-net-bytes"));
        let ranking = elements(&fields[at.expect("keys are ranked") + 1]).to_vec();
        let at = ranking.iter().position(|it| it.as_text().as_deref() == Some(wanted));
        integer(&ranking[at.expect("the key is known") + 1])
    };
    call(&mut main, "CLIENT PAUSE 60000 WRITE");
    send(&mut other, "SET paused 12345");
    wait_until("it waits", || info(&mut main, "clients", "paused_actions") == "write");
    thread::sleep(Duration::from_millis(50));
    call(&mut main, "CLIENT UNPAUSE");
    other.reply().expect("a reply");
    let set = "*3\r\n$3\r\nSET\r\n$6\r\npaused\r\n$5\r\n12345\r\n";
    assert_eq!(bytes_of(&mut main, "paused"), (set.len() + "+OK\r\n".len()) as i64);

    send(&mut other, "BLPOP list 0");
    wait_until("it waits", || info(&mut main, "clients", "blocked_clients") == "1");
    call(&mut main, "LPUSH list element");
    other.reply().expect("a reply");
    let push = "*3\r\n$5\r\nLPUSH\r\n$4\r\nlist\r\n$7\r\nelement\r\n:1\r\n";
    let pop = "*3\r\n$5\r\nBLPOP\r\n$4\r\nlist\r\n$1\r\n0\r\n";
    let popped = "*2\r\n$4\r\nlist\r\n$7\r\nelement\r\n";
    let sum = push.len() + pop.len() + popped.len();
    assert_eq!(bytes_of(&mut main, "list"), sum as i64);

    let log = call(&mut main, "COMMANDLOG GET -1 large-request");
    for (name, bytes) in [("BLPOP", pop.len()), ("SET", set.len())] {
        let entry = elements(&log)
            .iter()
            .find(|it| elements(&elements(it)[3])[0].as_text().as_deref() == Some(name));
        assert_eq!(integer(&elements(entry.expect("it is logged"))[2]), bytes as i64, "{name}");
    }
}

/// What is freed in the background is counted by keys, not by tables.
#[test]
fn keys_that_are_freed_are_counted() {
    let server = options().with("enable-debug-command", "yes").start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "DEBUG POPULATE 20000");
    call(&mut client, "FLUSHALL");
    let freed = |client: &mut Client| info(client, "memory", "lazyfreed_objects");
    wait_until("all are freed", || freed(&mut client) == "20000");
    assert_eq!(info(&mut client, "memory", "lazyfree_pending_objects"), "0");
    call(&mut client, "CONFIG RESETSTAT");
    assert_eq!(freed(&mut client), "0");
}

/// Rates are of the last second, though the counters that they are made from have begun anew in it.
#[test]
fn rates_outlive_a_reset() {
    let server = options().start().expect("it starts");
    let (mut client, mut other) = (server.client(), server.client());
    let until = monotonic_millis() + 6000;
    thread::scope(|scope| {
        scope.spawn(|| {
            while monotonic_millis() < until {
                call(&mut other, "PING");
            }
        });
        let mut rate = || -> u64 {
            info(&mut client, "stats", "instantaneous_ops_per_sec").parse().expect("a number")
        };
        wait_until("a rate", || 100 < rate());
        let mut control = server.client();
        for round in 0..16 {
            if round % 6 == 0 {
                call(&mut control, "CONFIG RESETSTAT");
            }
            let found = rate();
            assert!(100 < found, "{found} in round {round}");
            thread::sleep(Duration::from_millis(250));
        }
    });
}
