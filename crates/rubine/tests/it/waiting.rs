//! What comes while somebody waits, or does not come: ends of keys, of pauses, of connections, of the clock's hours.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use rubine_base::clock::monotonic_millis;
use rubine_testing::client::{Client, Received};
use rubine_testing::server::Server;
use rubine_testing::value::Value;

use crate::support::{call, elements, info, integer, options, send, wait_for_blocked, wait_until};

fn server() -> Server {
    options().with("workers", "2").with("enable-debug-command", "yes").start().expect("it starts")
}

fn status(text: &str) -> Value {
    Value::Status(text.to_owned())
}

fn has_nothing(client: &mut Client) -> bool {
    client.receive(Duration::from_millis(50)).expect("it lives") == Received::Nothing
}

/// Keeps the worker of a client busy, by a transaction that sends a key to a server which does not answer. Returns when it is.
fn occupy(client: &mut Client, milliseconds: u32) -> (TcpListener, TcpStream) {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = silent.local_addr().expect("an address").port();
    call(client, "MULTI");
    call(client, "SET moving v");
    call(client, &format!("MIGRATE 127.0.0.1 {port} moving 0 {milliseconds}"));
    send(client, "EXEC");
    let (stream, _) = silent.accept().expect("a connection");
    (silent, stream)
}

/// A stream that falls due takes its group with it: whoever waits for the group hears it, though no client comes by.
#[test]
fn active_expiry_wakes_those_who_wait() {
    let server = server();
    let mut waiter = server.client();
    call(&mut waiter, "XGROUP CREATE stream group $ MKSTREAM");
    call(&mut waiter, "PEXPIRE stream 200");
    let reply = call(&mut waiter, "XREADGROUP GROUP group one BLOCK 0 STREAMS stream >");
    assert!(matches!(&reply, Value::Error(text) if text.starts_with("NOGROUP")), "{reply:?}");
}

/// A wait that comes to an end by the clock does not change data while nothing may.
#[test]
fn a_pause_holds_what_comes_by_the_clock() {
    let server = server();
    let (mut control, mut waiter) = (server.client(), server.client());
    call(&mut control, "XADD stream 1-1 f v");
    call(&mut control, "XGROUP CREATE stream group 0");
    call(&mut control, "XREADGROUP GROUP group one STREAMS stream >");
    send(&mut waiter, "XREADGROUP GROUP group two BLOCK 0 CLAIM 300 STREAMS stream >");
    wait_for_blocked(&mut control, 1);
    call(&mut control, "CLIENT PAUSE 60000 WRITE");
    std::thread::sleep(Duration::from_millis(600));
    assert!(has_nothing(&mut waiter));
    call(&mut control, "CLIENT UNPAUSE");
    assert_eq!(elements(&waiter.reply().expect("the entry")).len(), 1);
}

#[test]
fn a_pause_begins_when_what_runs_has_ended() {
    let server = server();
    let (mut busy, mut control) = (server.client(), server.client());
    let _silent = occupy(&mut busy, 1_000);
    send(&mut control, "CLIENT PAUSE 60000 WRITE");
    assert!(has_nothing(&mut control), "a transaction is running");
    assert_eq!(control.reply().expect("the pause"), status("OK"));
    let ended = busy.receive(Duration::from_millis(1)).expect("it lives");
    assert!(matches!(ended, Received::Value(Value::Array(_))), "{ended:?}");
    call(&mut control, "CLIENT UNPAUSE");
}

/// Whoever was paused waits for his key when UNPAUSE is answered, so that UNBLOCK finds him.
#[test]
fn who_was_paused_can_be_unblocked_at_once() {
    let server = server();
    let (mut control, mut waiter) = (server.client(), server.client());
    let id = integer(&call(&mut waiter, "CLIENT ID"));
    for _ in 0..50 {
        call(&mut control, "CLIENT PAUSE 60000 WRITE");
        send(&mut waiter, "BLPOP queue 0");
        wait_for_blocked(&mut control, 1);
        assert_eq!(integer(&call(&mut control, &format!("CLIENT UNBLOCK {id}"))), 0);
        call(&mut control, "CLIENT UNPAUSE");
        assert_eq!(integer(&call(&mut control, &format!("CLIENT UNBLOCK {id}"))), 1);
        assert_eq!(waiter.reply().expect("an end"), Value::NilArray);
    }
}

/// Behind its request it has sent more than is read ahead, so nobody reads up to its end.
#[test]
fn who_is_gone_gets_no_element() {
    let server = server();
    let mut control = server.client();
    let mut waiter = server.client();
    let mut bytes = b"BLPOP queue 0\r\n".to_vec();
    bytes.extend(b"PING\r\n".repeat(20_000));
    waiter.send_raw(&bytes).expect("sent");
    wait_for_blocked(&mut control, 1);
    drop(waiter);
    wait_for_blocked(&mut control, 0);
    call(&mut control, "RPUSH queue only");
    assert_eq!(integer(&call(&mut control, "LLEN queue")), 1);
}

/// Everybody's time stands still, as in a server of one thread that hangs.
#[test]
fn a_sleep_holds_all() {
    let server = server();
    let mut clients = [server.client(), server.client(), server.client()];
    send(&mut clients[0], "DEBUG SLEEP 1");
    std::thread::sleep(Duration::from_millis(300));
    for client in &mut clients[1..] {
        send(client, "PING");
        assert!(has_nothing(client));
    }
    for (client, expected) in clients.iter_mut().zip(["OK", "PONG", "PONG"]) {
        assert_eq!(client.reply().expect("a reply"), status(expected));
    }
}

/// What is set behind a command that took long has its whole time.
#[test]
fn deadlines_count_from_the_command() {
    let server = server();
    let mut client = server.client();
    client.send_raw(b"DEBUG SLEEP 1.2\r\nSET k v EX 1\r\n").expect("sent");
    assert_eq!(client.reply().expect("a sleep"), status("OK"));
    assert_eq!(client.reply().expect("a key"), status("OK"));
    assert_eq!(integer(&call(&mut client, "EXISTS k")), 1);
}

/// Somebody sets the wall clock: no wait and no pause ends sooner or later for that.
#[test]
fn a_clock_that_is_set_ends_no_wait() {
    const SHIM: &str = r#"
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/syscall.h>
        #include <time.h>
        #include <unistd.h>
        int clock_gettime(clockid_t id, struct timespec *out) {
            int result = syscall(SYS_clock_gettime, id, out);
            FILE *file = id == CLOCK_REALTIME ? fopen(getenv("CLOCK_STEP"), "r") : NULL;
            long step = 0;
            if (file) {
                if (fscanf(file, "%ld", &step) == 1) out->tv_sec += step;
                fclose(file);
            }
            return result;
        }
    "#;
    let folder = std::env::temp_dir().join(format!("rubine-clock-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (source, shim) = (folder.join("clock.c"), folder.join("clock.so"));
    let step = folder.join("step");
    let set = |seconds: i64| std::fs::write(&step, seconds.to_string()).expect("written");
    std::fs::write(&source, SHIM).expect("written");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&shim, &source]).status();
    assert!(built.expect("a linker is there, or nothing could be built").success());
    let preload = format!("LD_PRELOAD={}", shim.display());
    let server = options().behind(&["env", &preload, &format!("CLOCK_STEP={}", step.display())]);
    let server = server.start().expect("it starts");
    let (mut main, mut other) = (server.client(), server.client());
    let seconds = |client: &mut Client| -> i64 {
        elements(&call(client, "TIME"))[0].as_text().expect("a number").parse().expect("a number")
    };
    let before = seconds(&mut main);
    set(3600);
    assert!(before + 3600 <= seconds(&mut main), "the clock cannot be set");
    for (now, later) in [(0, 3600), (3600, 0)] {
        set(now);
        call(&mut main, "PING");
        let start = monotonic_millis();
        send(&mut other, "BLPOP nothing 0.7");
        wait_for_blocked(&mut main, 1);
        set(later);
        std::thread::sleep(Duration::from_millis(300));
        assert!(has_nothing(&mut other), "its time is not over, from {now} to {later}");
        assert_eq!(other.reply().expect("a reply"), Value::NilArray);
        let waited = monotonic_millis() - start;
        assert!((700..3000).contains(&waited), "{waited} ms, from {now} to {later}");

        set(now);
        call(&mut main, "CLIENT PAUSE 700 WRITE");
        let start = monotonic_millis();
        send(&mut other, "SET k v");
        set(later);
        std::thread::sleep(Duration::from_millis(300));
        assert!(has_nothing(&mut other), "the pause is not over, from {now} to {later}");
        let left = info(&mut main, "clients", "paused_timeout_milliseconds");
        assert!((1..=700).contains(&left.parse::<i64>().expect("a number")), "{left}");
        assert_eq!(other.reply().expect("a reply"), status("OK"));
        let waited = monotonic_millis() - start;
        assert!((600..3000).contains(&waited), "{waited} ms, from {now} to {later}");
    }
    std::fs::remove_dir_all(&folder).expect("removed");
}

/// FLUSHALL is answered when the file is empty. Until then its worker serves others, even if a save goes on meanwhile.
#[test]
fn a_flush_holds_up_its_client_alone() {
    let options = options().with("workers", "2").with("save", "3600 1");
    let server = options.with("rdb-key-save-delay", "1000").start().expect("it starts");
    let (mut flusher, mut saver, mut other) = (server.client(), server.client(), server.client());
    for key in 0..2_000 {
        call(&mut saver, &format!("SET key:{key} v"));
    }
    send(&mut saver, "SAVE");
    wait_for_blocked(&mut other, 1);
    send(&mut flusher, "FLUSHALL");
    wait_until("the flush", || integer(&call(&mut other, "DBSIZE")) == 0);
    assert!(has_nothing(&mut flusher), "the file is not empty yet");
    assert_eq!(call(&mut other, "PING"), status("PONG"));
    assert_eq!(flusher.reply().expect("the flush"), status("OK"));
    let name = server.directory().join("dump.rdb");
    assert!(std::fs::metadata(name).expect("a file").len() < 300);
    assert_eq!(saver.reply().expect("the save"), status("OK"));
}

/// Connections that find no descriptor are taken when there is one, though no further one comes.
#[test]
fn connections_wait_for_descriptors() {
    let server = server();
    let pid = server.pid().to_string();
    let limit = |files: &str| {
        let set =
            Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}:")]).status();
        assert!(set.expect("prlimit is there").success());
    };
    let mut control = server.client();
    // The one that looked whether the server answers.
    wait_until("a single client", || info(&mut control, "clients", "connected_clients") == "1");
    let directory = format!("/proc/{pid}/fd");
    let open = std::fs::read_dir(directory).expect("its descriptors");
    let open: Vec<_> = open.map(|it| it.expect("one").file_name()).collect();
    let is_free = |number: &u32| !open.iter().any(|it| *it == *number.to_string());
    limit(&(0..1024).find(is_free).expect("a number").to_string());
    let mut late = server.client();
    send(&mut late, "PING");
    wait_until("the refusal", || server.log().contains("Accepting client connection"));
    assert!(has_nothing(&mut late));
    assert_eq!(call(&mut control, "PING"), status("PONG"));
    limit("1024");
    assert_eq!(late.reply().expect("a reply"), status("PONG"));
    let told = server.log().matches("Accepting client connection").count();
    assert_eq!(told, 1, "once is enough");
}

/// A worker that is stuck gets no more messages than those who listen may leave unread; then they are cut, as they would be
/// if they had them. Who listens to something else is not.
#[test]
fn a_flood_of_messages_to_a_stuck_worker() {
    const MEGABYTE: usize = 1 << 20;
    let limit = "pubsub 1mb 0 0";
    let options = options().with("workers", "2").with("client-output-buffer-limit", limit);
    let server = options.start().expect("it starts");
    let (mut flooded, mut publisher) = (server.client(), server.client());
    let (mut busy, _) = (server.client(), server.client());
    let mut quiet = server.client();
    call(&mut flooded, "SUBSCRIBE flood");
    call(&mut quiet, "PSUBSCRIBE qui*");
    let _silent = occupy(&mut busy, 3_000);
    let mut most = 0;
    let line = format!("PUBLISH flood {}", "x".repeat(20_000));
    for _ in 0..500 {
        assert_eq!(integer(&call(&mut publisher, &line)), 1);
        let waiting = info(&mut publisher, "memory", "mem_messages_on_their_way");
        most = most.max(waiting.parse::<usize>().expect("a number"));
    }
    assert_eq!(integer(&call(&mut publisher, "PUBLISH quiet hello")), 1);
    assert!((MEGABYTE / 2..=MEGABYTE + MEGABYTE / 8).contains(&most), "{most} bytes");
    busy.reply().expect("its end");
    let field = "client_output_buffer_limit_disconnections";
    wait_until("the cut", || info(&mut publisher, "stats", field) == "1");
    assert_eq!(elements(&quiet.reply().expect("a message"))[3].as_text().as_deref(), Some("hello"));
    assert_eq!(info(&mut publisher, "memory", "mem_messages_on_their_way"), "0");
    assert_eq!(integer(&call(&mut publisher, "PUBLISH flood x")), 0);
}

/// Nothing may go, until a key gets a deadline; then it goes at once.
#[test]
fn eviction_without_candidates() {
    let server = options().with("workers", "2").with("databases", "40").start().expect("it starts");
    let mut client = server.client();
    let mut writer = server.client();
    for key in 0..50 {
        call(&mut writer, &format!("SET key:{key} {}", "x".repeat(200_000)));
    }
    // Its buffers go with it.
    drop(writer);
    wait_until("a single client", || info(&mut client, "clients", "connected_clients") == "1");
    call(&mut client, "CONFIG SET maxmemory-policy volatile-lru");
    let used: u64 = info(&mut client, "memory", "used_memory").parse().expect("a number");
    call(&mut client, &format!("CONFIG SET maxmemory {}", used - 100_000));
    for round in 0..10 {
        for _ in 0..100 {
            let refused = call(&mut client, "SET small v");
            assert!(matches!(&refused, Value::Error(text) if text.starts_with("OOM")));
            assert_eq!(integer(&call(&mut client, "STRLEN key:49")), 200_000);
        }
        // What may go is found at once, also in a database that is not counted by itself.
        let db = if round % 2 == 0 { 0 } else { 39 };
        call(&mut client, &format!("MOVE key:{round} {db}"));
        call(&mut client, &format!("SELECT {db}"));
        call(&mut client, &format!("EXPIRE key:{round} 1000"));
        call(&mut client, "SELECT 0");
        assert_eq!(call(&mut client, "SET small v"), status("OK"));
        call(&mut client, &format!("SELECT {db}"));
        assert_eq!(integer(&call(&mut client, &format!("EXISTS key:{round}"))), 0);
        call(&mut client, "SELECT 0");
        let used: u64 = info(&mut client, "memory", "used_memory").parse().expect("a number");
        call(&mut client, &format!("CONFIG SET maxmemory {}", used - 100_000));
    }
    assert_eq!(info(&mut client, "stats", "evicted_keys"), "10");
}

/// Nobody hears of a write before it is on disk: neither by an event, nor by a message of whoever made it.
#[test]
fn listeners_hear_what_is_on_disk() {
    let options = options().with("workers", "2").with("appendonly", "yes");
    let options = options.with("appendfsync", "always").with("notify-keyspace-events", "KEA");
    let server = options.with("enable-debug-command", "yes").start().expect("it starts");
    let (mut listener, mut writer) = (server.client(), server.client());
    call(&mut listener, "PSUBSCRIBE __keyevent*:set news");
    call(&mut writer, "SET first v");
    listener.reply().expect("the second subscription");
    listener.reply().expect("an event");
    call(&mut writer, "DEBUG AOF-FLUSH-SLEEP 500000");
    let requests: [&[u8]; 3] = [
        b"SET k v\r\n",
        b"SADD s m\r\nPUBLISH news one\r\n",
        b"MULTI\r\nSADD s n\r\nPUBLISH news two\r\nEXEC\r\n",
    ];
    for (request, last) in requests.iter().zip(["k", "one", "two"]) {
        writer.send_raw(request).expect("sent");
        assert!(has_nothing(&mut listener), "{last}");
        let message = listener.reply().expect("a message");
        assert_eq!(elements(&message)[3].as_text().as_deref(), Some(last));
    }
}

/// A terminal that is closed takes nothing with it; whoever has moved a log file away gets a new one.
#[test]
fn a_hangup_opens_the_log_anew() {
    let server = options().with("logfile", "own.log").start().expect("it starts");
    let mut client = server.client();
    let path = server.directory().join("own.log");
    std::fs::rename(&path, server.directory().join("old.log")).expect("moved");
    let pid = server.pid().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill").success());
    wait_until("the new file", || path.exists());
    assert_eq!(call(&mut client, "PING"), status("PONG"));
}
