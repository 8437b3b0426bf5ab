//! What the server keeps in its dump file: that it comes back whole, is of one instant, and that nothing stands in the
//! way of anybody while it is written or read.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rubine_testing::client::{Client, Received};
use rubine_testing::server::{Server, ServerOptions};
use rubine_testing::value::Value;

use crate::support::{call, info, integer, number, options, random, send, wait_until};

fn saving_options() -> ServerOptions {
    options().with("workers", "4").with("enable-debug-command", "yes")
}

fn ok() -> Value {
    Value::Status("OK".into())
}

/// Some of every type, small and large, with and without deadlines.
fn fill(client: &mut Client) {
    call(client, "DEBUG POPULATE 5000 key 64");
    let mut random = random(17);
    for number in 0..60 {
        let long = "x".repeat(random.below(3_000) as usize);
        call(client, &format!("SET text:{number} {number}-{long}"));
        call(client, &format!("SET number:{number} {number} PX 3600000"));
        for collection in ["small", "large"] {
            let count = if collection == "small" { 1 + random.below(8) } else { 150 };
            let mut members = String::new();
            let mut pairs = String::new();
            for member in 0..count {
                members.extend([" m".to_owned(), format!("{member}-{}", random.below(1000))]);
                pairs.extend([" ".to_owned(), format!("{member} m{member}")]);
            }
            call(client, &format!("RPUSH list:{collection}:{number}{members}"));
            call(client, &format!("SADD set:{collection}:{number}{members}"));
            call(client, &format!("SADD integers:{collection}:{number} 1 2 {number} 70000"));
            call(client, &format!("HSET hash:{collection}:{number}{pairs}"));
            call(client, &format!("ZADD sorted:{collection}:{number}{pairs}"));
        }
        call(client, &format!("HPEXPIRE hash:large:{number} 3600000 FIELDS 2 1 2"));
    }
    call(client, "SELECT 9");
    call(client, "SET elsewhere yes");
    call(client, "SELECT 0");
}

fn digest(client: &mut Client) -> String {
    call(client, "DEBUG DIGEST").as_text().expect("a digest is text")
}

fn wait_for_save(client: &mut Client) {
    wait_until("the save's end", || info(client, "persistence", "rdb_bgsave_in_progress") == "0");
}

/// A dump and a payload keep what producers have added, so that they can add it once more. Both lost it, and a save never
/// said so.
#[test]
fn producers_and_what_was_given_back_are_saved() {
    let server = options().with("enable-debug-command", "yes").start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "XADD s 1-1 f v");
    call(&mut client, "XCFGSET s IDMP-DURATION 1000 IDMP-MAXSIZE 50");
    call(&mut client, "XADD s IDMP p a * f v");
    let added = call(&mut client, "XADD s IDMP p b * f v");
    call(&mut client, "XADD s IDMP q a * f v");
    let check = |client: &mut Client, key: &str| {
        let length = call(client, &format!("XLEN {key}"));
        let again = call(client, &format!("XADD {key} IDMP p b * f v"));
        assert_eq!(again, added, "{key}");
        assert_eq!(call(client, &format!("XLEN {key}")), length, "{key}");
    };
    let payload = call(&mut client, "DUMP s");
    let Value::Bulk(payload) = payload else { panic!("no payload: {payload:?}") };
    let restored = client.call(&[b"RESTORE".as_slice(), b"copy", b"0", &payload]);
    assert_eq!(restored.expect("a reply"), ok());
    check(&mut client, "copy");
    assert_eq!(call(&mut client, "DEBUG RELOAD"), ok());
    check(&mut client, "s");
    check(&mut client, "copy");

    // With entries that belong to no consumer, beside deadlines of fields.
    call(&mut client, "XGROUP CREATE s g 0");
    call(&mut client, "XREADGROUP GROUP g c STREAMS s >");
    call(&mut client, "XNACK s g FAIL IDS 1 1-1");
    call(&mut client, "HSET h f v");
    call(&mut client, "HEXPIRE h 1000 FIELDS 1 f");
    assert_eq!(call(&mut client, "DEBUG RELOAD"), ok());
    check(&mut client, "s");
    let pending = format!("{:?}", call(&mut client, "XPENDING s g"));
    assert!(pending.contains("Integer(4)"), "{pending}");

    // A version that cannot hold it says so.
    call(&mut client, "CONFIG SET rdb-version 11");
    assert!(matches!(call(&mut client, "SAVE"), Value::Error(_)));
    assert!(matches!(call(&mut client, "DUMP s"), Value::Error(_)));
}

#[test]
fn what_was_saved_is_there_after_a_restart() {
    let mut server = saving_options().start().expect("it starts");
    let mut client = server.client();
    fill(&mut client);
    let before = digest(&mut client);
    assert_eq!(call(&mut client, "SAVE"), ok());
    assert_eq!(info(&mut client, "persistence", "rdb_changes_since_last_save"), "0");
    server.restart().expect("it loads what it saved");
    client = server.client();
    assert_eq!(digest(&mut client), before);
    // Again, with other threads and every choice of the file's form.
    for (name, value) in [
        ("rdbcompression", "no"),
        ("rdb-version", "80"),
        ("rdb-version", "12"),
        ("rdb-save-threads", "5"),
        ("rdb-save-incremental-fsync", "no"),
        ("maxmemory-policy", "allkeys-lfu"),
    ] {
        call(&mut client, &format!("CONFIG SET {name} {value}"));
        assert_eq!(call(&mut client, "SAVE"), ok(), "{name} {value}");
        assert_eq!(call(&mut client, "DEBUG RELOAD NOSAVE"), ok(), "{name} {value}");
        assert_eq!(digest(&mut client), before, "{name} {value}");
    }
    // What has deadlines of fields is refused rather than saved in part, and the file stays.
    call(&mut client, "CONFIG SET rdb-version 11");
    assert_eq!(call(&mut client, "SAVE"), Value::Error("ERR".into()));
    server.restart().expect("the old file is whole");
    assert_eq!(digest(&mut server.client()), before);
}

/// The first bytes of the file tell its version: one that most servers load, as long as that is possible.
#[test]
fn the_version_follows_the_data() {
    let server = saving_options().start().expect("it starts");
    let mut client = server.client();
    let magic = |client: &mut Client| {
        assert_eq!(call(client, "SAVE"), ok());
        let bytes = fs::read(server.directory().join("dump.rdb")).expect("a file");
        String::from_utf8_lossy(&bytes[..9]).into_owned()
    };
    call(&mut client, "HSET hash field value other value");
    assert_eq!(magic(&mut client), "REDIS0011");
    call(&mut client, "HEXPIRE hash 1000 FIELDS 1 field");
    assert_eq!(magic(&mut client), "VALKEY080");
    call(&mut client, "HPERSIST hash FIELDS 1 field");
    assert_eq!(magic(&mut client), "REDIS0011");
}

/// Pairs of keys that are always written together are equal in the file, whatever happens while it is written.
#[test]
fn a_save_is_of_one_instant() {
    const PAIRS: u64 = 2_000;
    let mut server = saving_options().with("rdb-save-threads", "3").start().expect("it starts");
    let mut control = server.client();
    let address = server.address();
    for pair in 0..PAIRS {
        call(&mut control, &format!("MSET left:{pair} 0 right:{pair} 0"));
    }
    let is_over = AtomicBool::new(false);
    let write = |seed: u64| {
        let mut client = Client::connect(address).expect("it listens");
        let mut random = random(seed);
        let mut round = 0_u64;
        while !is_over.load(Ordering::Relaxed) {
            let pair = random.below(PAIRS);
            round += 1;
            call(
                &mut client,
                &format!("MSET left:{pair} {seed}:{round} right:{pair} {seed}:{round}"),
            );
            call(&mut client, "RPUSH list a b");
        }
    };
    let write = &write;
    thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || write(seed));
        }
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(100));
            // Slow enough that much is written meanwhile.
            call(&mut control, "CONFIG SET rdb-key-save-delay 50");
            assert_eq!(
                call(&mut control, "BGSAVE"),
                Value::Status("Background saving started".into())
            );
            assert_eq!(
                call(&mut control, "BGSAVE"),
                Value::Error("ERR Background save already in progress".into())
            );
            wait_for_save(&mut control);
        }
        assert_ne!(info(&mut control, "persistence", "rdb_last_cow_size"), "0");
        is_over.store(true, Ordering::Relaxed);
    });
    server.restart().expect("it loads");
    let mut client = server.client();
    for pair in 0..PAIRS {
        let left = call(&mut client, &format!("GET left:{pair}"));
        assert_eq!(left, call(&mut client, &format!("GET right:{pair}")), "pair {pair} is torn");
        assert_ne!(left, Value::Nil);
    }
    assert_eq!(integer(&call(&mut client, "LLEN list")) % 2, 0);
}

#[test]
fn a_kill_during_a_save_leaves_the_old_file() {
    let mut server = saving_options().start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "DEBUG POPULATE 1000 key 64");
    assert_eq!(call(&mut client, "SAVE"), ok());
    let before = digest(&mut client);
    call(&mut client, "DEBUG POPULATE 1000 other 64");
    call(&mut client, "CONFIG SET rdb-key-save-delay 100000");
    call(&mut client, "BGSAVE");
    wait_until("keys that are saved", || {
        info(&mut client, "persistence", "current_save_keys_processed") != "0"
    });
    server.restart().expect("it loads the old file");
    assert_eq!(digest(&mut server.client()), before);
}

#[test]
fn a_save_can_be_cancelled_and_a_flush_does() {
    let server = saving_options().start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "DEBUG POPULATE 1000 key 64");
    for end in ["BGSAVE CANCEL", "FLUSHALL"] {
        call(&mut client, "CONFIG SET rdb-key-save-delay 1000000");
        call(&mut client, "SET some thing");
        call(&mut client, "BGSAVE");
        assert_eq!(info(&mut client, "persistence", "rdb_bgsave_in_progress"), "1");
        call(&mut client, end);
        assert_eq!(info(&mut client, "persistence", "rdb_bgsave_in_progress"), "0");
        assert_eq!(info(&mut client, "persistence", "rdb_last_bgsave_status"), "ok");
        assert_ne!(info(&mut client, "persistence", "rdb_changes_since_last_save"), "0");
        let has_files = || {
            let mut files = fs::read_dir(server.directory()).expect("a directory").flatten();
            files.any(|it| it.path().extension().is_some_and(|it| it == "rdb"))
        };
        wait_until("the end of the file", || !has_files());
    }
    let error = "ERR Background saving is currently not in progress or scheduled";
    assert_eq!(call(&mut client, "BGSAVE CANCEL"), Value::Error(error.into()));
    // In a transaction, it is one that has all of it.
    call(&mut client, "CONFIG SET rdb-key-save-delay 0");
    call(&mut client, "MULTI");
    call(&mut client, "BGSAVE");
    call(&mut client, "SET after it");
    call(&mut client, "EXEC");
    wait_until("the save of the transaction", || {
        info(&mut client, "persistence", "rdb_changes_since_last_save") == "0"
    });
}

/// A save and a rewrite of the log do not run at the same time; what is put off comes.
#[test]
fn a_save_waits_for_a_rewrite_if_asked_to() {
    let server = saving_options().with("appendonly", "yes").start().expect("it starts");
    let mut client = server.client();
    let simple = |text: &str| Value::Status(text.into());
    let saves = |client: &mut Client| info(client, "persistence", "rdb_saves");
    call(&mut client, "DEBUG POPULATE 80 key 64");
    let mut rewrite = || {
        call(&mut client, "CONFIG SET rdb-key-save-delay 10000");
        call(&mut client, "BGREWRITEAOF");
        wait_until("a rewrite", || {
            info(&mut client, "persistence", "current_save_keys_processed") != "0"
        });
        let Value::Error(refusal) = call(&mut client, "BGSAVE") else { panic!("one is enough") };
        assert!(format!("{refusal:?}").contains("Use BGSAVE SCHEDULE"), "{refusal:?}");
        let scheduled = simple("Background saving scheduled");
        assert_eq!(call(&mut client, "BGSAVE SCHEDULE"), scheduled);
    };
    rewrite();
    rewrite_ends(&server);
    let mut control = server.client();
    wait_until("the save", || saves(&mut control) == "1");
    wait_for_save(&mut control);
    let last = integer(&call(&mut control, "LASTSAVE"));
    assert_eq!(last.to_string(), info(&mut control, "persistence", "rdb_last_save_time"));
    // One that is taken back does not come.
    rewrite();
    let cancelled = simple("Scheduled background saving cancelled");
    assert_eq!(call(&mut control, "BGSAVE CANCEL"), cancelled);
    rewrite_ends(&server);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(saves(&mut control), "1");
}

/// Whoever has been told that a rewrite begins finds it begun.
#[test]
fn a_save_finds_a_rewrite_that_was_asked_for() {
    let server = saving_options().start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "DEBUG POPULATE 80 key 64");
    call(&mut client, "CONFIG SET rdb-key-save-delay 10000");
    send(&mut client, "BGREWRITEAOF");
    send(&mut client, "BGSAVE SCHEDULE");
    for text in ["Background append only file rewriting started", "Background saving scheduled"] {
        assert_eq!(client.reply().expect("a reply"), Value::Status(text.into()));
    }
    rewrite_ends(&server);
    wait_until("the save", || info(&mut client, "persistence", "rdb_saves") == "1");
}

/// Lets keys take no more time, and waits for the end of the rewrite.
fn rewrite_ends(server: &Server) {
    let mut client = server.client();
    wait_until("the rewrite's end", || {
        info(&mut client, "persistence", "aof_rewrite_in_progress") == "0"
    });
    call(&mut client, "CONFIG SET rdb-key-save-delay 0");
}

/// What SHUTDOWN saves, by its words and by the save points.
#[test]
fn a_shutdown_saves_as_it_is_told() {
    let cases = [
        ("", "SHUTDOWN", false),
        ("", "SHUTDOWN SAVE", true),
        ("3600 1", "SHUTDOWN", true),
        ("3600 1", "SHUTDOWN NOSAVE", false),
        ("3600 1", "SHUTDOWN NOW FORCE", true),
    ];
    for (points, words, is_saved) in cases {
        let mut server = saving_options().with("save", points).start().expect("it starts");
        let mut client = server.client();
        call(&mut client, "SET k v");
        send(&mut client, words);
        assert_eq!(client.receive(Duration::from_secs(30)).expect("an end"), Received::Closed);
        server.restart().expect("it starts again");
        let found = call(&mut server.client(), "EXISTS k");
        assert_eq!(integer(&found) == 1, is_saved, "{words} with save '{points}'");
    }
    let server = saving_options().start().expect("it starts");
    let mut client = server.client();
    for words in ["SHUTDOWN SAVE NOSAVE", "SHUTDOWN ABORT NOW", "SHUTDOWN LATER"] {
        assert_eq!(call(&mut client, words), Value::Error("ERR syntax error".into()), "{words}");
    }
    // FORCE goes where nothing can be saved.
    fs::create_dir(server.directory().join("dump.rdb")).expect("a directory in its place");
    let failure = Value::Error("ERR Errors trying to SHUTDOWN. Check logs.".into());
    assert_eq!(call(&mut client, "SHUTDOWN SAVE"), failure);
    send(&mut client, "SHUTDOWN SAVE FORCE");
    assert_eq!(client.receive(Duration::from_secs(30)).expect("an end"), Received::Closed);
}

/// The reply to FLUSHALL came before the file was without the keys: a crash in between brought them back.
#[test]
fn what_was_flushed_does_not_come_back() {
    let mut server = saving_options().with("save", "3600 1").start().expect("it starts");
    for flush in ["FLUSHALL", "FLUSHALL ASYNC", "EXEC"] {
        let mut client = server.client();
        call(&mut client, "SET k v");
        call(&mut client, "SAVE");
        call(&mut client, "SET k other");
        // It waits for its turn, or has to be ended.
        call(&mut client, "BGSAVE");
        if flush == "EXEC" {
            call(&mut client, "MULTI");
            call(&mut client, "FLUSHALL");
        }
        call(&mut client, flush);
        assert_eq!(info(&mut client, "persistence", "rdb_changes_since_last_save"), "0", "{flush}");
        server.kill();
        server.restart().expect("it starts again");
        assert_eq!(call(&mut server.client(), "DBSIZE"), Value::Integer(0), "{flush}");
    }
}

#[test]
fn save_points_save_and_failures_stop_writes() {
    let mut server = saving_options().with("save", "1 1").start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "SET k v");
    let path = server.directory().join("dump.rdb");
    wait_until("a save by itself", || path.exists());
    wait_for_save(&mut client);
    // Where a directory stands, no file can be put.
    fs::remove_file(&path).expect("a file");
    fs::create_dir(&path).expect("a directory in its place");
    assert_eq!(call(&mut client, "BGSAVE"), Value::Status("Background saving started".into()));
    wait_until("the failure", || {
        info(&mut client, "persistence", "rdb_last_bgsave_status") == "err"
    });
    let is_refused =
        |reply: Value| matches!(reply, Value::Error(text) if text.starts_with("MISCONF "));
    assert!(is_refused(call(&mut client, "SET k w")));
    assert!(is_refused(call(&mut client, "PING")));
    assert_eq!(call(&mut client, "GET k").as_text(), Some("v".into()));
    call(&mut client, "CONFIG SET stop-writes-on-bgsave-error no");
    assert_eq!(call(&mut client, "SET k w"), ok());
    call(&mut client, "MULTI");
    call(&mut client, "SET k x");
    let mut other = server.client();
    call(&mut other, "CONFIG SET stop-writes-on-bgsave-error yes");
    let abort = call(&mut client, "EXEC");
    assert!(matches!(abort, Value::Error(text) if text.starts_with("EXECABORT ")));
    assert_eq!(call(&mut client, "GET k").as_text(), Some("w".into()));
    // The end would lose what was not saved, so it does not come.
    let failure = Value::Error("ERR Errors trying to SHUTDOWN. Check logs.".into());
    assert_eq!(call(&mut client, "SHUTDOWN"), failure);
    fs::remove_dir(&path).expect("an empty directory");
    assert_eq!(call(&mut client, "SAVE"), ok());
    assert_eq!(call(&mut client, "SET k y"), ok());
    assert_eq!(server.terminate().expect("it ends").code(), Some(0));
    server.restart().expect("it loads what it saved at its end");
    assert_eq!(call(&mut server.client(), "GET k").as_text(), Some("y".into()));
}

/// Whatever was acknowledged before SHUTDOWN ends a server is in its file.
#[test]
fn the_last_save_has_every_acknowledged_write() {
    let mut server = saving_options().with("save", "3600 1").start().expect("it starts");
    let address = server.address();
    let mut control = server.client();
    call(&mut control, "DEBUG POPULATE 20000 key 64");
    let count = |seed: u64| {
        let mut client = Client::connect(address).expect("it listens");
        let mut acknowledged = 0;
        loop {
            send(&mut client, &format!("INCR count:{seed}"));
            match client.receive(Duration::from_secs(30)) {
                Ok(Received::Value(value)) => acknowledged = integer(&value),
                _ => return acknowledged,
            }
        }
    };
    let acknowledged: Vec<i64> = thread::scope(|scope| {
        let writers: Vec<_> = (0..4).map(|seed| scope.spawn(move || count(seed))).collect();
        thread::sleep(Duration::from_millis(300));
        send(&mut control, "SHUTDOWN");
        writers.into_iter().map(|it| it.join().expect("a writer")).collect()
    });
    server.restart().expect("it loads");
    let mut client = server.client();
    for (seed, acknowledged) in acknowledged.into_iter().enumerate() {
        let kept = number(&call(&mut client, &format!("GET count:{seed}")));
        assert!(0 < acknowledged && acknowledged <= kept, "{acknowledged} and {kept}");
    }
}

#[test]
fn clients_are_told_while_data_is_loaded() {
    let mut server = saving_options().start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "DEBUG POPULATE 30000 key 64");
    call(&mut client, "SET due soon PX 1");
    thread::sleep(Duration::from_millis(5));
    call(&mut client, "CONFIG SET key-load-delay 100");
    call(&mut client, "SAVE");
    let mut loader = server.client();
    send(&mut loader, "DEBUG RELOAD NOSAVE");
    wait_until("loading", || info(&mut client, "persistence", "loading") == "1");
    let refusal = Value::Error("LOADING Rubine is loading the dataset in memory".into());
    assert_eq!(call(&mut client, "GET key:1"), refusal);
    assert_eq!(call(&mut client, "PING"), refusal);
    assert_ne!(info(&mut client, "persistence", "loading_total_bytes"), "0");
    assert_eq!(loader.reply().expect("its end"), ok());
    assert_eq!(info(&mut client, "persistence", "rdb_last_load_keys_loaded"), "30000");
    assert_eq!(integer(&call(&mut client, "DBSIZE")), 30_000);
    // A server that is to end while it loads does so, and leaves the file as it was.
    let before = fs::read(server.directory().join("dump.rdb")).expect("a file");
    send(&mut loader, "DEBUG RELOAD NOSAVE");
    wait_until("loading", || info(&mut client, "persistence", "loading") == "1");
    call(&mut client, "CONFIG SET save '1 1'");
    assert_eq!(server.terminate().expect("it ends").code(), Some(0));
    assert!(before == fs::read(server.directory().join("dump.rdb")).expect("a file"));
}

/// What is done to a file.
type Damage = fn(&mut Vec<u8>);

#[test]
fn a_damaged_file_stops_the_start() {
    let mut server = saving_options().start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "DEBUG POPULATE 1000 key 64");
    call(&mut client, "SAVE");
    server.kill();
    let path = server.directory().join("dump.rdb");
    let whole = fs::read(&path).expect("a file");
    let cases: [(Damage, &str); 4] = [
        (|bytes| bytes[0] = b'X', "wrong signature"),
        (|bytes| bytes.truncate(bytes.len() / 2), "the data ends too early"),
        (|bytes| *bytes.last_mut().expect("some bytes") ^= 1, "CRC error"),
        (|bytes| bytes[5..9].copy_from_slice(b"0987"), "Can't handle RDB format version 987"),
    ];
    for (damage, word) in cases {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&path, &bytes).expect("written");
        let error = server.restart().expect_err(word);
        assert!(error.to_string().contains("ended at once"), "{error}");
        let log = server.log();
        let tail: Vec<&str> = log.lines().rev().take(4).collect();
        assert!(tail.iter().any(|line| line.contains(word)), "{word}: {tail:?}");
        assert!(tail.iter().any(|line| line.contains("Fatal error loading the DB")), "{tail:?}");
    }
    fs::write(&path, &whole).expect("written");
    server.restart().expect("a whole file is loaded");
    assert_eq!(integer(&call(&mut server.client(), "DBSIZE")), 1000);
}

/// A server is there as long as SHUTDOWN can be taken back.
#[test]
fn a_shutdown_can_be_aborted() {
    let server: Server = saving_options().with("save", "3600 1").start().expect("it starts");
    let mut client = server.client();
    assert_eq!(
        call(&mut client, "SHUTDOWN ABORT"),
        Value::Error("ERR No shutdown in progress.".into())
    );
    call(&mut client, "DEBUG POPULATE 1000 key 64");
    call(&mut client, "CONFIG SET rdb-key-save-delay 100000");
    let mut asker = server.client();
    send(&mut asker, "SHUTDOWN");
    let temporary = server.directory().join(format!("temp-{}.rdb", server.pid()));
    wait_until("the last save", || temporary.exists());
    // Reads are served meanwhile, writes wait.
    assert_eq!(integer(&call(&mut client, "DBSIZE")), 1000);
    let mut writer = server.client();
    send(&mut writer, "SET written after");
    assert_eq!(call(&mut client, "SHUTDOWN ABORT"), ok());
    let failure = Value::Error("ERR Errors trying to SHUTDOWN. Check logs.".into());
    assert_eq!(asker.reply().expect("a reply"), failure);
    assert_eq!(writer.reply().expect("a reply"), ok());
    assert!(!temporary.exists());
    send(&mut asker, "SHUTDOWN NOSAVE");
    assert_eq!(asker.receive(Duration::from_secs(30)).expect("an end"), Received::Closed);
}

/// Runs the program under another name, which decides what it is.
fn check_rdb(server: &Server, arguments: &[&str]) -> (bool, String) {
    let name = server.directory().join("rubine-check-rdb");
    if !name.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rubine-server"), &name).expect("a link");
    }
    let output = std::process::Command::new(name).args(arguments).output().expect("it runs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_tool_says_what_is_in_a_file_and_where_it_is_damaged() {
    let mut server = saving_options().with("rdbcompression", "no").start().expect("it starts");
    let mut client = server.client();
    fill(&mut client);
    call(&mut client, &format!("SET largest {}", "x".repeat(20_000)));
    call(&mut client, "SAVE");
    server.kill();
    let path = server.directory().join("dump.rdb");
    let shown = path.to_str().expect("a plain path").to_owned();
    let (is_good, text) = check_rdb(&server, &[&shown]);
    assert!(is_good, "{text}");
    for part in ["RDB looks OK", "string: 5122 keys", "'largest' in DB 0", "Selecting DB ID 9"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let whole = fs::read(&path).expect("a file");
    fs::write(&path, &whole[..whole.len() / 3]).expect("written");
    let (is_good, text) = check_rdb(&server, &[&shown]);
    assert!(!is_good && text.contains("ends too early"), "{text}");
    // A set that has a member twice, under the key "odd".
    let body = b"REDIS0004\x00\x04even\x01x\x02\x03odd\x02\x01x\x01x\xff";
    fs::write(&path, body).expect("written");
    let (is_good, text) = check_rdb(&server, &[&shown]);
    assert!(!is_good && text.contains("Duplicate set member"), "{text}");
    assert!(text.contains("Reading key 'odd'") && text.contains("string: 1 keys"), "{text}");
    let (is_good, text) = check_rdb(&server, &[]);
    assert!(!is_good && text.contains("Usage"), "{text}");
}

#[test]
fn an_encrypted_dump_opens_with_its_key_only() {
    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let mut server = saving_options().start().expect("it starts");
    let keys = server.directory().join("keys");
    fs::write(&keys, format!("a {KEY}\n")).expect("written");
    let keys = keys.to_str().expect("a plain path").to_owned();
    server.set_directive("encryption-key-file", &keys);
    server.restart().expect("it starts with the key");
    let mut client = server.client();
    call(&mut client, "DEBUG POPULATE 5000 key 64");
    call(&mut client, "SET name something-secret");
    assert_eq!(call(&mut client, "SAVE"), ok());
    let before = digest(&mut client);
    let path = server.directory().join("dump.rdb");
    let whole = fs::read(&path).expect("a file");
    assert!(whole.starts_with(b"RBNCRYP1"));
    assert!(!whole.windows(16).any(|it| it == b"something-secret"));
    server.restart().expect("it loads with the key");
    assert_eq!(digest(&mut server.client()), before);
    let shown = path.to_str().expect("a plain path").to_owned();
    let (is_good, text) = check_rdb(&server, &["--encryption-key-file", &keys, &shown]);
    assert!(is_good, "{text}");
    let cases: [Damage; 3] = [
        |bytes| bytes[40_000] ^= 1,
        |bytes| bytes.truncate(bytes.len() - 1),
        |bytes| bytes.truncate(bytes.len() - 30),
    ];
    for damage in cases {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&path, &bytes).expect("written");
        server.restart().expect_err("a block was changed or is missing");
        let (is_good, text) = check_rdb(&server, &["--encryption-key-file", &keys, &shown]);
        assert!(!is_good, "{text}");
    }
    fs::write(&path, &whole).expect("written");
    server.set_directive("encryption-key-file", "");
    server.restart().expect_err("there is no key");
}
