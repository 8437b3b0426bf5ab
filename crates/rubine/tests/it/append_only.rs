//! The append-only file as an operator meets it: a server is killed, its disk is full, its file is torn, and what was
//! acknowledged is there.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rubine_testing::client::{Client, Received};
use rubine_testing::server::{Server, ServerOptions};
use rubine_testing::value::Value;

use crate::support::{call, elements, info, number, options, random, send, wait_until};

/// Kills in one run of the suite. `RUBINE_KILLS` asks for more.
const KILLS: u64 = 4;
const WRITERS: u64 = 8;

fn durable() -> ServerOptions {
    options()
        .with("workers", "4")
        .with("appendonly", "yes")
        .with("appendfsync", "always")
        .with("auto-aof-rewrite-percentage", "0")
}

fn text(value: &Value) -> String {
    value.as_text().unwrap_or_else(|| panic!("text was due, not {value:?}"))
}

fn status(text: &str) -> Value {
    Value::Status(text.into())
}

fn folder(server: &Server) -> PathBuf {
    server.directory().join("appendonlydir")
}

/// The increment that is written now.
fn last_increment(server: &Server) -> PathBuf {
    let manifest = fs::read_to_string(folder(server).join("appendonly.aof.manifest"));
    let manifest = manifest.expect("there is a manifest");
    let line = manifest.lines().rfind(|it| it.ends_with("type i")).expect("an increment");
    folder(server).join(line.split(' ').nth(1).expect("a name"))
}

fn wait_for_rewrite(client: &mut Client) {
    wait_until("the end of a rewrite", || {
        info(client, "persistence", "aof_rewrite_in_progress") == "0"
    });
}

/// What one client has been told, kept where the test survives the server.
#[derive(Default)]
struct Acknowledged {
    counter: AtomicU64,
    pair: AtomicU64,
    list: AtomicU64,
    moved: AtomicU64,
}

/// Writes until the connection breaks. Every kind of write has an order in which it must be found again.
fn write_until_killed(mut client: Client, name: u64, done: &Acknowledged, first: u64) {
    for step in first.. {
        let requests = [
            vec![format!("INCR counter:{name}")],
            vec![
                "MULTI".to_owned(),
                format!("SET left:{name} {step}"),
                format!("SET right:{name} {step}"),
                "EXEC".to_owned(),
            ],
            vec![format!("RPUSH list:{name} {step}")],
            // The first is moved by whoever waits for it.
            vec![
                format!("LPUSH inbox:{name} {step}"),
                format!("BLMOVE inbox:{name} outbox:{name} RIGHT LEFT 0"),
            ],
        ];
        let told = [&done.counter, &done.pair, &done.list, &done.moved];
        for (requests, told) in requests.iter().zip(told) {
            for request in requests {
                let words: Vec<&str> = request.split(' ').collect();
                match client.call(&words) {
                    Ok(Value::Error(error)) => panic!("{request}: {error:?}"),
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
            told.store(step, Ordering::SeqCst);
        }
    }
}

/// What is there is what was acknowledged, and at most one step more of each kind.
fn check(client: &mut Client, name: u64, done: &Acknowledged) -> u64 {
    let read = |client: &mut Client, line: &str| match call(client, line) {
        Value::Nil => 0,
        value => number(&value) as u64,
    };
    let within = |found: u64, told: &AtomicU64, what: &str| {
        let told = told.load(Ordering::SeqCst);
        assert!(
            told <= found,
            "{what} of client {name}: {told} was acknowledged, {found} is there"
        );
        assert!(
            found <= told + 1,
            "{what} of client {name}: {found} is there, {told} was the last"
        );
        found
    };
    let counter =
        within(read(client, &format!("GET counter:{name}")), &done.counter, "the counter");
    let left = read(client, &format!("GET left:{name}"));
    let right = read(client, &format!("GET right:{name}"));
    assert_eq!(left, right, "half a transaction of client {name}");
    within(left, &done.pair, "the transaction");
    let list = call(client, &format!("LRANGE list:{name} 0 -1"));
    let list: Vec<u64> = elements(&list).iter().map(|it| number(it) as u64).collect();
    assert_eq!(list, (1..=list.len() as u64).collect::<Vec<_>>(), "the list of client {name}");
    within(list.len() as u64, &done.list, "the list");
    let outbox = call(client, &format!("LRANGE outbox:{name} 0 -1"));
    let outbox: Vec<u64> = elements(&outbox).iter().rev().map(|it| number(it) as u64).collect();
    assert_eq!(outbox, (1..=outbox.len() as u64).collect::<Vec<_>>(), "what client {name} moved");
    within(outbox.len() as u64, &done.moved, "what was moved");
    counter
}

/// Lets all clients of the next round begin where the last one was broken off.
fn settle(client: &mut Client, name: u64, step: u64, done: &Acknowledged) {
    let list: Vec<String> = (1..=step).map(|it| it.to_string()).collect();
    let lines = [
        format!("SET counter:{name} {step}"),
        format!("MSET left:{name} {step} right:{name} {step}"),
        format!("DEL list:{name} outbox:{name} inbox:{name}"),
    ];
    for line in lines {
        call(client, &line);
    }
    if !list.is_empty() {
        call(client, &format!("RPUSH list:{name} {}", list.join(" ")));
        call(client, &format!("LPUSH outbox:{name} {}", list.join(" ")));
    }
    for told in [&done.counter, &done.pair, &done.list, &done.moved] {
        told.store(step, Ordering::SeqCst);
    }
}

/// Kills the server again and again while clients write and the log is rewritten, or whatever else `command` does.
fn kill_and_check(kills: u64, directives: &[(&str, &str)], command: &str, seed: u64) {
    let mut options = durable();
    for (name, value) in directives {
        options = options.with(name, value);
    }
    let mut server = options.start().expect("it starts");
    let mut random = random(seed);
    let done: Vec<Acknowledged> = (0..WRITERS).map(|_| Acknowledged::default()).collect();
    for kill in 0..kills {
        let first = done[0].counter.load(Ordering::SeqCst);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (name, done) in done.iter().enumerate() {
                let client = server.client();
                let first = done.counter.load(Ordering::SeqCst) + 1;
                scope.spawn(move || write_until_killed(client, name as u64, done, first));
            }
            let mut rewriter = server.client();
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) && rewriter.run(command).is_ok() {
                    std::thread::sleep(Duration::from_millis(7));
                }
            });
            wait_until("a write", || first < done[0].counter.load(Ordering::SeqCst));
            std::thread::sleep(Duration::from_millis(random.below(400)));
            server.kill();
            is_over.store(true, Ordering::SeqCst);
        });
        server.restart().unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        let mut client = server.client();
        for (name, done) in done.iter().enumerate() {
            let counter = check(&mut client, name as u64, done);
            settle(&mut client, name as u64, counter, done);
        }
    }
}

fn kills() -> u64 {
    std::env::var("RUBINE_KILLS").ok().and_then(|it| it.parse().ok()).unwrap_or(KILLS)
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    kill_and_check(kills(), &[], "BGREWRITEAOF", 1);
}

#[test]
fn what_was_acknowledged_survives_a_kill_with_time_marks_and_a_base_of_commands() {
    let directives = [("aof-timestamp-enabled", "yes"), ("aof-use-rdb-preamble", "no")];
    kill_and_check(kills().div_ceil(2), &directives, "BGREWRITEAOF", 2);
}

#[test]
fn what_was_acknowledged_survives_a_kill_amid_saves_and_automatic_rewrites() {
    let directives = [
        ("auto-aof-rewrite-percentage", "1"),
        ("auto-aof-rewrite-min-size", "1kb"),
        ("save", "1 1"),
    ];
    kill_and_check(kills().div_ceil(2), &directives, "BGSAVE", 4);
}

/// What the log holds after rewrites under load, with all types, is what the server has.
#[test]
fn a_log_that_is_rewritten_under_load_has_everything() {
    for preamble in ["yes", "no"] {
        let options = durable().with("aof-use-rdb-preamble", preamble).with("appendfsync", "no");
        let mut server = options.with("enable-debug-command", "yes").start().expect("it starts");
        let is_over = AtomicBool::new(false);
        let server_ref = &server;
        std::thread::scope(|scope| {
            for name in 0..4 {
                let is_over = &is_over;
                scope.spawn(move || change_all_types(server_ref.client(), name, is_over));
            }
            let mut client = server_ref.client();
            for round in 1..=3 {
                // Slow enough that much is written meanwhile.
                call(&mut client, "CONFIG SET rdb-key-save-delay 5");
                call(&mut client, "BGREWRITEAOF");
                wait_until("a rewrite", || {
                    info(&mut client, "persistence", "aof_rewrites") == round.to_string()
                });
            }
            is_over.store(true, Ordering::SeqCst);
        });
        let mut client = server.client();
        let before = call(&mut client, "DEBUG DIGEST");
        assert_ne!(info(&mut client, "persistence", "aof_last_rewrite_keys_per_sec"), "0");
        assert_ne!(info(&mut client, "persistence", "aof_last_rewrite_bytes_per_sec"), "0");
        assert_eq!(call(&mut client, "DEBUG LOADAOF"), status("OK"));
        assert_eq!(call(&mut client, "DEBUG DIGEST"), before, "preamble {preamble}");
        server.terminate().expect("it ends");
        server.restart().expect("it starts again");
        assert_eq!(call(&mut server.client(), "DEBUG DIGEST"), before, "preamble {preamble}");
    }
}

/// Changes values of every type, some by what the server chooses.
fn change_all_types(mut client: Client, seed: u64, is_over: &AtomicBool) {
    let mut random = random(seed);
    while !is_over.load(Ordering::SeqCst) {
        let (key, number) = (random.below(50), random.below(1000));
        let line = match random.below(12) {
            0 => format!("SET text:{key} {number} PX 900000"),
            1 => format!("INCRBYFLOAT float:{key} 0.5"),
            2 => format!("RPUSH list:{key} {number} b"),
            3 => format!("LPOP list:{key}"),
            4 => format!("SADD set:{key} {number} m{number}"),
            5 => format!("SPOP set:{key}"),
            6 => format!("HSET hash:{key} f{number} {number}"),
            7 => format!("HPEXPIRE hash:{key} 900000 FIELDS 1 f{number}"),
            8 => format!("ZINCRBY sorted:{key} 0.25 m{number}"),
            9 => format!("XADD stream:{key} MAXLEN ~ 100 * f {number}"),
            10 => format!("APPEND raw:{key} {number}"),
            _ => format!("UNLINK list:{key} set:{key}"),
        };
        call(&mut client, &line);
    }
}

/// Entries that were deleted may be pending still, and what was given back belongs to nobody: a log that was rewritten as
/// commands had neither.
#[test]
fn what_is_pending_survives_a_rewrite_as_commands() {
    let options = durable().with("aof-use-rdb-preamble", "no").with("enable-debug-command", "yes");
    let server = options.start().expect("it starts");
    let mut client = server.client();
    for key in ["trimmed", "deleted", "emptied"] {
        for id in 1..=6 {
            call(&mut client, &format!("XADD {key} {id}-1 f v"));
        }
        call(&mut client, &format!("XGROUP CREATE {key} g 0"));
        call(&mut client, &format!("XREADGROUP GROUP g c COUNT 5 STREAMS {key} >"));
        call(&mut client, &format!("XNACK {key} g FAIL IDS 2 2-1 5-1"));
    }
    call(&mut client, "XTRIM trimmed MAXLEN 2");
    call(&mut client, "XDEL deleted 1-1 2-1 4-1 6-1");
    call(&mut client, "XTRIM emptied MAXLEN 0");
    let look = |client: &mut Client| {
        let mut seen = Vec::new();
        for key in ["trimmed", "deleted", "emptied"] {
            let Value::Array(mut pending) = call(client, &format!("XPENDING {key} g - + 9")) else {
                panic!("there is no list of what is pending")
            };
            for row in &mut pending {
                // How long ago it was delivered.
                let Value::Array(row) = row else { panic!("a row is a list") };
                row.remove(2);
            }
            assert_eq!(pending.len(), 5, "{key}");
            seen.push(Value::Array(pending));
            for question in ["XINFO STREAM {}", "XINFO GROUPS {}", "XRANGE {} - +"] {
                seen.push(call(client, &question.replace("{}", key)));
            }
        }
        seen
    };
    let before = look(&mut client);
    call(&mut client, "BGREWRITEAOF");
    wait_for_rewrite(&mut client);
    assert_eq!(call(&mut client, "DEBUG LOADAOF"), status("OK"));
    assert_eq!(look(&mut client), before);
}

#[test]
fn a_rewrite_says_how_far_it_is() {
    for preamble in ["yes", "no"] {
        let options = durable().with("aof-use-rdb-preamble", preamble);
        let server = options.with("enable-debug-command", "yes").start().expect("it starts");
        let mut client = server.client();
        call(&mut client, "DEBUG POPULATE 300 key 100");
        call(&mut client, "CONFIG SET rdb-key-save-delay 1000");
        call(&mut client, "BGREWRITEAOF");
        if preamble == "yes" {
            wait_until("some keys", || {
                info(&mut client, "persistence", "current_save_keys_processed") != "0"
            });
            assert_eq!(info(&mut client, "persistence", "current_save_keys_total"), "300");
        }
        wait_for_rewrite(&mut client);
        assert_eq!(info(&mut client, "persistence", "current_save_keys_total"), "0");
        assert_ne!(info(&mut client, "persistence", "aof_last_rewrite_bytes_per_sec"), "0");
    }
}

#[test]
fn a_torn_end_costs_what_was_torn_and_no_more() {
    let mut server = durable().start().expect("it starts");
    let mut client = server.client();
    for line in ["SET a 1", "RPUSH l x y", "MULTI", "SET b 2", "SET c 3", "EXEC", "SET d 4"] {
        call(&mut client, line);
    }
    server.kill();
    let path = last_increment(&server);
    let whole = fs::read(&path).expect("the increment");
    let find = |text: &str| {
        let place = whole.windows(text.len()).position(|it| it == text.as_bytes());
        place.expect("it was written")
    };
    let (multi, last) = (find("*1\r\n$5\r\nMULTI"), find("*3\r\n$3\r\nSET\r\n$1\r\nd"));
    // `RUBINE_FAULTS=1` tries every length.
    let stride = std::env::var("RUBINE_FAULTS").ok().and_then(|it| it.parse().ok()).unwrap_or(13);
    for len in (multi - 3..whole.len()).step_by(stride).chain([multi, last, whole.len()]) {
        fs::write(&path, &whole[..len]).expect("written");
        server.restart().unwrap_or_else(|error| panic!("{len} bytes: {error}"));
        let mut client = server.client();
        let found = call(&mut client, "MGET a b c d");
        let found: Vec<bool> = elements(&found).iter().map(|it| *it != Value::Nil).collect();
        let has_transaction = last <= len;
        let expected = [true, has_transaction, has_transaction, len == whole.len()];
        assert_eq!(found, expected, "{len} of {} bytes", whole.len());
        // What is appended now stands behind what is whole.
        assert_eq!(call(&mut client, "SET e 5"), status("OK"));
        server.restart().unwrap_or_else(|error| panic!("again at {len} bytes: {error}"));
        assert_eq!(text(&call(&mut server.client(), "GET e")), "5", "{len} bytes");
    }
}

/// A log is run side by side, and leaves what it would leave one command after the other: commands of several keys find
/// what came before them, those of all keys come after everything before, transactions select databases for themselves.
/// What failed when it was written fails again, is counted, and changes nothing.
#[test]
fn a_log_means_what_it_says_in_its_order() {
    const ROUNDS: usize = 400;
    let mut server = durable().start().expect("it starts");
    call(&mut server.client(), "SET first 1");
    server.kill();
    let mut log = Vec::new();
    let mut write = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        log.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            log.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
    };
    for line in ["SELECT 0", "MSET lost 1 gone 2", "SELECT 3", "SET kept 1", "SELECT 0", "FLUSHDB"]
    {
        write(line);
    }
    for round in 0..ROUNDS {
        // Each of these needs what the one before has left in another shard.
        for line in [
            format!("SET a:{round} {round}"),
            format!("RENAME a:{round} b:{round}"),
            format!("COPY b:{round} c:{round}"),
            format!("INCR c:{round}"),
            format!("RPUSH list {round}"),
            "LMOVE list other LEFT RIGHT".to_owned(),
        ] {
            write(&line);
        }
        if round % 100 == 0 {
            write(&format!("INCR text:{round}"));
            write(&format!("APPEND text:{round} x"));
            write(&format!("INCR text:{round}"));
        }
    }
    for line in ["MULTI", "SELECT 2", "SET in:2 1", "SELECT 1", "SET in:1 1", "EXEC", "SET in:1 2"]
    {
        write(line);
    }
    write("MULTI");
    write("SET never 1");
    fs::write(last_increment(&server), &log).expect("written");

    server.restart().expect("it starts again");
    let mut client = server.client();
    let mut ask = |line: &str| call(&mut client, line);
    for round in 0..ROUNDS {
        let found = ask(&format!("MGET a:{round} b:{round} c:{round}"));
        let found: Vec<_> = elements(&found).iter().map(Value::as_text).collect();
        let expected = [None, Some(round.to_string()), Some((round + 1).to_string())];
        assert_eq!(found, expected, "round {round}");
    }
    let moved: Vec<String> = elements(&ask("LRANGE other 0 -1")).iter().map(text).collect();
    assert_eq!(moved, (0..ROUNDS).map(|it| it.to_string()).collect::<Vec<_>>());
    assert_eq!(ask("EXISTS lost gone first never list"), Value::Integer(0));
    for (db, key, value) in [(1, "in:1", "2"), (2, "in:2", "1"), (3, "kept", "1")] {
        ask(&format!("SELECT {db}"));
        assert_eq!(text(&ask(&format!("GET {key}"))), value);
        assert_eq!(ask("DBSIZE"), Value::Integer(1), "database {db}");
    }
    let told = format!("{} commands of the append-only file failed", ROUNDS / 100);
    assert!(server.log().contains(&told), "{}", server.log());
}

#[test]
fn what_fell_due_is_gone_before_anybody_looks() {
    let options = durable().with("enable-debug-command", "yes");
    let mut server = options.start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "DEBUG SET-ACTIVE-EXPIRE 0");
    for key in 0..50 {
        call(&mut client, &format!("HSET hash:{key} lasting 1"));
        call(&mut client, &format!("HSETEX hash:{key} PX 1 FIELDS 1 short 1"));
        call(&mut client, &format!("SET string:{key} x PX 1"));
    }
    std::thread::sleep(Duration::from_millis(5));
    // The second time, the first has left it out of the log.
    for gone in [50, 0] {
        server.kill();
        server.restart().expect("it starts again");
        let mut client = server.client();
        call(&mut client, "DEBUG SET-ACTIVE-EXPIRE 0");
        assert_eq!(call(&mut client, "DBSIZE"), Value::Integer(50));
        assert_eq!(info(&mut client, "stats", "expired_keys"), gone.to_string());
        assert_eq!(info(&mut client, "stats", "expired_fields"), gone.to_string());
        // What is acknowledged has everything before it on disk.
        call(&mut client, "HINCRBY hash:0 lasting 1");
    }
}

/// Tests that look at a server while it loads ask it to take its time, with a log as with a dump, until they have looked.
#[test]
fn loading_takes_as_long_as_is_asked_for() {
    let server = durable().with("enable-debug-command", "yes").start().expect("it starts");
    let (mut main, mut loader) = (server.client(), server.client());
    for number in 0..100 {
        call(&mut main, &format!("SET key:{number} v"));
    }
    call(&mut main, "CONFIG SET key-load-delay 1000000");
    send(&mut loader, "DEBUG LOADAOF");
    wait_until("loading", || info(&mut main, "persistence", "loading") == "1");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(info(&mut main, "persistence", "loading"), "1");
    call(&mut main, "CONFIG SET key-load-delay 0");
    let end = loader.receive(Duration::from_secs(20)).expect("it lives");
    assert_eq!(end, Received::Value(Value::Status("OK".into())));
    assert_eq!(call(&mut main, "DBSIZE"), Value::Integer(100));
}

#[test]
fn damage_stops_the_start_and_is_named() {
    let mut server = durable().start().expect("it starts");
    call(&mut server.client(), "SET a 1");
    server.kill();
    let path = last_increment(&server);
    let whole = fs::read(&path).expect("the increment");
    let mut bytes = whole.clone();
    bytes.extend_from_slice(b"!!!");
    fs::write(&path, &bytes).expect("written");
    assert!(server.restart().is_err(), "damage is no torn end");
    let place = format!("no command begins with byte 0x21 at offset {}", whole.len());
    assert!(server.log().contains(&place), "{}", server.log());
    server.set_directive("aof-load-corrupt-tail-max-size", "2");
    assert!(server.restart().is_err(), "more is no command than may be cut off");
    server.set_directive("aof-load-corrupt-tail-max-size", "3");
    server.restart().expect("it starts without what is no command");
    assert_eq!(call(&mut server.client(), "GET a"), Value::Bulk(b"1".to_vec()));
    call(&mut server.client(), "SET b 2");
    server.kill();
    let whole = fs::read(&path).expect("the increment");

    fs::write(&path, &whole[..whole.len() - 1]).expect("written");
    server.set_directive("aof-load-truncated", "no");
    assert!(server.restart().is_err(), "a torn end was not to be cut");
    assert!(server.log().contains("Unexpected end of file reading the append only file"));
    server.set_directive("aof-load-truncated", "yes");
    fs::remove_file(folder(&server).join("appendonly.aof.1.incr.aof")).expect("removed");
    assert!(server.restart().is_err(), "a file is missing");
}

/// A file that may not grow stands for a disk that is full.
#[test]
fn a_full_disk_refuses_writes_and_is_recovered_from() {
    const SHELL: &str = "trap '' XFSZ; ulimit -S -f 64; exec \"$0\" \"$@\"";
    for policy in ["always", "everysec"] {
        let mut server = durable()
            .with("appendfsync", policy)
            .behind(&["sh", "-c", SHELL])
            .start()
            .expect("it starts");
        let mut other = server.client();
        let mut client = server.client();
        let value = "x".repeat(1000);
        let mut written = 0;
        let refusal = loop {
            send(&mut client, &format!("SET key:{written} {value}"));
            match client.receive(Duration::from_secs(3)).expect("a connection") {
                Received::Value(Value::Error(error)) => break Some(format!("{error:?}")),
                Received::Value(_) => written += 1,
                Received::Nothing => break None,
                Received::Closed => panic!("it keeps its clients"),
            }
            assert!(written < 10_000, "the disk is full some day");
        };
        // With `always`, the write that met the full disk is not acknowledged; others are refused.
        let refused = "MISCONF Errors writing to the AOF file: File too large";
        if policy == "everysec" {
            assert!(refusal.expect("everysec acknowledges first").contains(refused));
        } else {
            assert_eq!(refusal, None);
        }
        wait_until("the refusal", || other.run("SET more 1").expect("a reply").contains(refused));
        assert!(other.run("PING").expect("a reply").contains(refused));
        assert_eq!(text(&call(&mut other, "GET key:0")), value);
        assert_eq!(info(&mut other, "persistence", "aof_last_write_status"), "err");

        let pid = server.pid().to_string();
        let grown = Command::new("prlimit").args(["--fsize=unlimited", "--pid", &pid]).status();
        assert!(grown.expect("prlimit is there").success());
        if policy == "always" {
            assert_eq!(client.reply().expect("it is acknowledged late"), status("OK"));
            written += 1;
        }
        wait_until("the recovery", || call(&mut other, "SET more 1") == status("OK"));
        assert_eq!(info(&mut other, "persistence", "aof_last_write_status"), "ok");
        if policy == "everysec" {
            assert_eq!(elements(&call(&mut other, "WAITAOF 1 0 5000")).len(), 2);
        }
        server.kill();
        // Without the limit.
        server.set_prefix(&[]);
        server.restart().expect("it starts again");
        let mut client = server.client();
        for number in 0..written {
            assert_eq!(text(&call(&mut client, &format!("GET key:{number}"))), value);
        }
        assert_eq!(text(&call(&mut client, "GET more")), "1");
    }
}

/// A log is begun, given up and begun again while clients write.
#[test]
fn a_log_is_begun_without_losing_a_write() {
    let mut server = durable().with("appendonly", "no").start().expect("it starts");
    let mut client = server.client();
    for round in 0..3 {
        let is_over = AtomicBool::new(false);
        let mut told = Vec::new();
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|name| {
                    let mut client = server.client();
                    let is_over = &is_over;
                    scope.spawn(move || {
                        let mut step = 0;
                        while !is_over.load(Ordering::SeqCst) {
                            step += 1;
                            call(&mut client, &format!("RPUSH list:{round}:{name} {step}"));
                        }
                        step
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(call(&mut client, "CONFIG SET appendonly yes"), status("OK"));
            wait_for_rewrite(&mut client);
            std::thread::sleep(Duration::from_millis(50));
            is_over.store(true, Ordering::SeqCst);
            told.extend(writers.into_iter().map(|it| it.join().expect("a writer")));
        });
        server.kill();
        server.set_directive("appendonly", "yes");
        server.restart().expect("it starts again");
        client = server.client();
        for (name, &steps) in told.iter().enumerate() {
            let list = call(&mut client, &format!("LRANGE list:{round}:{name} 0 -1"));
            let list: Vec<i64> = elements(&list).iter().map(number).collect();
            assert_eq!(list, (1..=steps).collect::<Vec<i64>>(), "list {name} of round {round}");
        }
        assert_eq!(call(&mut client, "CONFIG SET appendonly no"), status("OK"));
        server.set_directive("appendonly", "no");
        call(&mut client, "SET outside 1");
    }
}

#[test]
fn a_log_of_one_file_is_taken_over() {
    let mut server = options().start().expect("it starts");
    server.kill();
    let single = server.directory().join("appendonly.aof");
    fs::write(
        &single,
        "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n",
    )
    .expect("written");
    server.set_directive("appendonly", "yes");
    for _ in 0..2 {
        server.restart().expect("it starts");
        let mut client = server.client();
        call(&mut client, "SELECT 3");
        assert_eq!(text(&call(&mut client, "GET a")), "1");
    }
    assert!(!single.exists(), "it went into the folder");
    let manifest = fs::read_to_string(folder(&server).join("appendonly.aof.manifest"));
    let expected =
        "file appendonly.aof seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    assert_eq!(manifest.expect("a manifest"), expected);
}

#[test]
fn replies_keep_their_order_while_they_wait_for_the_disk() {
    let server = durable().start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "CONFIG SET appendonly yes");
    let mut expected = Vec::new();
    for number in 0..500 {
        send(&mut client, "INCR n");
        expected.push(Value::Integer(number + 1));
        send(&mut client, "PING");
        expected.push(status("PONG"));
        send(&mut client, "WAITAOF 1 0 0");
        expected.push(Value::Array(vec![Value::Integer(1), Value::Integer(0)]));
    }
    for expected in expected {
        assert_eq!(client.reply().expect("a reply"), expected);
    }
}

#[test]
fn waitaof_tells_when_the_disk_has_it() {
    let server = durable().with("appendfsync", "everysec").start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "SET a 1");
    let both = |local| Value::Array(vec![Value::Integer(local), Value::Integer(0)]);
    assert_eq!(call(&mut client, "WAITAOF 1 0 0"), both(1));
    assert_eq!(call(&mut client, "WAITAOF 1 0 1"), both(1), "nothing was written since");
    call(&mut client, "CONFIG SET appendfsync no");
    call(&mut client, "SET a 2");
    assert_eq!(call(&mut client, "WAITAOF 1 0 100"), both(0), "nobody forces it to disk");
    send(&mut client, "WAITAOF 1 0 0");
    let mut other = server.client();
    assert_eq!(call(&mut other, "CONFIG SET appendonly no"), status("OK"));
    let Value::Error(error) = client.reply().expect("it waits no longer") else {
        panic!("there is no log any more")
    };
    assert!(format!("{error:?}").contains("appendonly is disabled"));
}

#[test]
fn it_rewrites_by_itself_when_the_log_has_grown() {
    let mut server = durable()
        .with("appendfsync", "everysec")
        .with("auto-aof-rewrite-percentage", "100")
        .with("auto-aof-rewrite-min-size", "64kb")
        .start()
        .expect("it starts");
    let mut client = server.client();
    let value = "v".repeat(1000);
    wait_until("a rewrite", || {
        for _ in 0..100 {
            call(&mut client, &format!("SET k {value}"));
        }
        info(&mut client, "persistence", "aof_rewrites") != "0"
    });
    call(&mut client, "SET k last");
    wait_for_rewrite(&mut client);
    assert_eq!(elements(&call(&mut client, "WAITAOF 1 0 0")).len(), 2);
    server.restart().expect("it starts again");
    assert_eq!(text(&call(&mut server.client(), "GET k")), "last");
}

pub(crate) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER_KEY: &str = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff000102030405060708090a0b0c0d0e0f";

/// A file of keys that goes with the test.
pub(crate) struct KeyFile(PathBuf);

impl KeyFile {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let file = format!("rubine-keys-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(file);
        fs::write(&path, text).expect("written");
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("a plain path")
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn holds(server: &Server, text: &str) -> bool {
    let files = fs::read_dir(folder(server)).expect("a folder");
    files.into_iter().any(|file| {
        let bytes = fs::read(file.expect("an entry").path()).expect("a file");
        bytes.windows(text.len()).any(|it| it == text.as_bytes())
    })
}

#[test]
fn what_was_acknowledged_survives_a_kill_encrypted() {
    let keys = KeyFile::new("kill", &format!("a {KEY}\n"));
    let directives = [("encryption-key-file", keys.path())];
    kill_and_check(kills().div_ceil(2), &directives, "BGREWRITEAOF", 3);
}

#[test]
fn an_encrypted_log_opens_with_its_key_only() {
    let keys = KeyFile::new("only", &format!("a {KEY}\n"));
    let mut server = durable().with("encryption-key-file", keys.path()).start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "SET name something-secret");
    call(&mut client, "BGREWRITEAOF");
    wait_for_rewrite(&mut client);
    call(&mut client, "SET other something-secret");
    assert!(!holds(&server, "something-secret"));

    let mut refused = |text: &str, reason: &str| {
        fs::write(&keys.0, text).expect("written");
        assert!(server.restart().is_err(), "{reason}");
        assert!(server.log().contains(reason), "{reason}: {}", server.log());
    };
    refused(&format!("b {KEY}\n"), "encrypted with the key 'a', which is not in the");
    refused(&format!("a {OTHER_KEY}\n"), "encrypted with another key of the name 'a'");
    refused("", "there is no key");
    fs::write(&keys.0, format!("a {KEY}\n")).expect("written");
    let path = last_increment(&server);
    let whole = fs::read(&path).expect("the increment");
    let mut bytes = whole.clone();
    bytes[130] ^= 1;
    fs::write(&path, &bytes).expect("written");
    assert!(server.restart().is_err(), "a bit was flipped");
    assert!(server.log().contains("block 0 at offset 104 was changed"), "{}", server.log());
    // A torn block costs what is in it, and what is appended then stands behind what is whole.
    for len in [whole.len() - 1, 110, 100, 50] {
        fs::write(&path, &whole[..len]).expect("written");
        server.restart().unwrap_or_else(|error| panic!("{len} bytes: {error}"));
        let mut client = server.client();
        assert_eq!(text(&call(&mut client, "GET name")), "something-secret");
        assert_eq!(call(&mut client, "GET other"), Value::Nil, "{len} bytes");
        call(&mut client, "SET more 1");
        server.restart().unwrap_or_else(|error| panic!("again at {len} bytes: {error}"));
        assert_eq!(text(&call(&mut server.client(), "GET more")), "1");
    }
}

#[test]
fn keys_are_rotated_while_the_server_runs() {
    let keys = KeyFile::new("rotation", &format!("a {KEY}\n"));
    let options = durable().with("enable-protected-configs", "yes").with("rdbcompression", "no");
    let mut server = options.start().expect("it starts");
    let mut client = server.client();
    let mut expected = Vec::new();
    let mut write = |client: &mut Client| {
        for _ in 0..20 {
            let number = expected.len().to_string();
            call(client, &format!("RPUSH list secret-{number}"));
            expected.push(format!("secret-{number}"));
        }
        expected.clone()
    };
    write(&mut client);
    assert!(holds(&server, "secret-1"));
    let set = format!("CONFIG SET encryption-key-file {}", keys.path());
    let rotations =
        [format!("a {KEY}\n"), format!("b {OTHER_KEY}\na {KEY}\n"), format!("b {OTHER_KEY}\n")];
    for (round, text) in rotations.iter().enumerate() {
        fs::write(&keys.0, text).expect("written");
        assert_eq!(call(&mut client, &set), status("OK"), "round {round}");
        write(&mut client);
        wait_for_rewrite(&mut client);
        let expected = write(&mut client);
        assert!(!holds(&server, "secret-1"), "round {round}");
        server.kill();
        server.set_directive("encryption-key-file", keys.path());
        server.restart().unwrap_or_else(|error| panic!("round {round}: {error}"));
        client = server.client();
        let list = call(&mut client, "LRANGE list 0 -1");
        let list: Vec<String> = elements(&list).iter().map(self::text).collect();
        assert_eq!(list, expected, "round {round}");
    }
    // And back: what is written from now on is not encrypted.
    assert_eq!(call(&mut client, "CONFIG SET encryption-key-file \"\""), status("OK"));
    wait_for_rewrite(&mut client);
    assert!(holds(&server, "secret-1"));
    server.kill();
    server.set_directive("encryption-key-file", "");
    server.restart().expect("it starts without keys");
    assert_eq!(call(&mut server.client(), "LLEN list"), Value::Integer(140));
}

/// Runs `rubine-check-aof` and gives what it prints, and whether it was content.
fn check_aof(folder: &Path, args: &[&str], answer: &str) -> (String, bool) {
    let program = folder.join("rubine-check-aof");
    if !program.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rubine-server"), &program).expect("a link");
    }
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("piped").write_all(answer.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

#[test]
fn check_aof_says_what_is_wrong_and_what_is_lost() {
    let keys = KeyFile::new("check", &format!("a {KEY}\n"));
    for encryption in [false, true] {
        let mut options = durable().with("aof-timestamp-enabled", "yes");
        let mut key_args: Vec<&str> = Vec::new();
        if encryption {
            options = options.with("encryption-key-file", keys.path());
            key_args = vec!["--encryption-key-file", keys.path()];
        }
        let mut server = options.start().expect("it starts");
        let mut client = server.client();
        for line in ["SET a 1", "MULTI", "SET b 2", "SET c 3", "EXEC", "SET d 4"] {
            call(&mut client, line);
        }
        server.kill();
        let manifest = folder(&server).join("appendonly.aof.manifest");
        let manifest = manifest.to_str().expect("a plain path");
        let place = server.directory().to_owned();
        let run = |more: &[&str], answer: &str| {
            check_aof(&place, &[more, &key_args, &[manifest]].concat(), answer)
        };
        let (text, is_good) = run(&[], "");
        assert!(is_good && text.contains("All AOF files and manifest are valid"), "{text}");

        let path = last_increment(&server);
        let whole = fs::read(&path).expect("the increment");
        fs::write(&path, &whole[..whole.len() - 3]).expect("written");
        let (text, is_good) = run(&[], "");
        assert!(!is_good && text.contains("is not valid. Use the --fix option"), "{text}");
        let (text, is_good) = run(&["--fix"], "n\n");
        assert!(!is_good && text.contains("What is kept: 4 commands"), "{text}");
        assert!(text.contains("This will shrink the AOF"), "{text}");
        let (text, is_good) = run(&["--fix"], "y\n");
        assert!(is_good && text.contains("Successfully truncated AOF"), "{text}");
        assert!(run(&[], "").1);
        if encryption {
            assert!(!check_aof(&place, &[manifest], "").1, "without the key");
            let nowhere = ["--encryption-key-file", "/nowhere", manifest];
            let (text, is_good) = check_aof(&place, &nowhere, "");
            assert!(!is_good && text.contains("Cannot read the keys in /nowhere"), "{text}");
        }
        server.set_directive("aof-load-truncated", "no");
        server.restart().expect("what was fixed is whole");
        let found = call(&mut server.client(), "MGET a b c d");
        let found: Vec<bool> = elements(&found).iter().map(|it| *it != Value::Nil).collect();
        assert_eq!(found, [true, true, true, false]);
        server.kill();
        let (text, is_good) = run(&["--truncate-to-timestamp", "soon"], "");
        assert!(!is_good && text.contains("Invalid timestamp"), "{text}");
        let (text, is_good) = run(&["--truncate-to-timestamp", "1000"], "");
        assert!(!is_good && text.contains("aborting"), "{text}");
    }
}

#[test]
fn a_log_is_restored_to_a_second() {
    let keys = KeyFile::new("restore", &format!("a {KEY}\n"));
    for encryption in ["", keys.path()] {
        let mut server = durable()
            .with("aof-timestamp-enabled", "yes")
            .with("encryption-key-file", encryption)
            .start()
            .expect("it starts");
        let mut client = server.client();
        let mut seconds = Vec::new();
        for number in 0..3 {
            if number == 1 {
                call(&mut client, "BGREWRITEAOF");
                wait_for_rewrite(&mut client);
            }
            // All of one number falls into one second, the next one into another.
            let second = fresh_second(&mut client);
            call(&mut client, "MULTI");
            call(&mut client, &format!("MSET a {number} b {number}"));
            call(&mut client, &format!("RPUSH list {number}"));
            call(&mut client, "EXEC");
            seconds.push(second);
        }
        server.kill();
        let folder = server.directory().join(format!("back-{}", seconds[1]));
        server.set_directive("restore-dir", folder.to_str().expect("a plain path"));
        server.set_directive("restore-to", "1000");
        assert!(server.restart().is_err(), "the log does not reach back so far");
        assert!(server.log().contains("it does not reach back so far"), "{}", server.log());
        server.set_directive("restore-to", &seconds[1].to_string());
        server.restart().unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
        assert!(server.log().contains("Left out: 2 commands, from"), "{}", server.log());
        let mut client = server.client();
        assert_eq!(text(&call(&mut client, "GET a")), "1");
        assert_eq!(call(&mut client, "LLEN list"), Value::Integer(2));
        call(&mut client, "SET later 1");
        server.kill();
        assert!(server.restart().is_err(), "the folder is not empty any more");
        // The old log is as it was, and the new one has gone on.
        server.unset_directive("restore-to");
        server.unset_directive("restore-dir");
        server.restart().expect("the old log");
        let mut client = server.client();
        assert_eq!(text(&call(&mut client, "GET b")), "2");
        assert_eq!(call(&mut client, "GET later"), Value::Nil);
        server.kill();
        let manifest = folder.join("appendonlydir/appendonly.aof.manifest");
        let mut args = vec![manifest.to_str().expect("a plain path")];
        if !encryption.is_empty() {
            args = vec!["--encryption-key-file", encryption, args[0]];
        }
        let (text, is_good) = check_aof(server.directory(), &args, "");
        assert!(is_good, "{text}");
    }
}

/// Waits for the beginning of a second and gives it.
fn fresh_second(client: &mut Client) -> u64 {
    let mut now = || {
        let time = call(client, "TIME");
        let parts: Vec<i64> = elements(&time).iter().map(number).collect();
        (parts[0] as u64, parts[1])
    };
    let (begun, _) = now();
    loop {
        let (second, micros) = now();
        if begun < second && micros < 300_000 {
            return second;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_dump_is_encrypted_too() {
    let keys = KeyFile::new("dump", &format!("a {KEY}\n"));
    let mut server = options().with("encryption-key-file", keys.path()).start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "SET name something-secret");
    assert_eq!(call(&mut client, "SAVE"), status("OK"));
    let path = server.directory().join("dump.rdb");
    let whole = fs::read(&path).expect("a dump");
    assert!(whole.starts_with(b"RBNCRYP1"));
    assert!(!whole.windows(16).any(|it| it == b"something-secret"));
    server.restart().expect("it loads");
    assert_eq!(text(&call(&mut server.client(), "GET name")), "something-secret");
    let mut bytes = whole;
    bytes[120] ^= 1;
    fs::write(&path, bytes).expect("written");
    assert!(server.restart().is_err());
    assert!(server.log().contains("block 0 at offset 104 was changed"), "{}", server.log());
}
