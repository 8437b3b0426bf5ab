//! Our server as a replica: of a master made up here, which says what no real one says twice, and of our own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rubine_base::clock::monotonic_millis;
use rubine_testing::client::{Client, Received};
use rubine_testing::server::Server;
use rubine_testing::value::Value;

use crate::support::{
    call, elements, info, integer, options, parallel_server, send, wait_for_blocked, wait_until,
};

/// Of sockets of this machine.
pub(crate) const WORKS: &str = "a local connection works";
pub(crate) const ID: &str = "0123456789012345678901234567890123456789";
const NEXT_ID: &str = "abcdefghijabcdefghijabcdefghijabcdefghij";
pub(crate) const MARK: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn";

/// A master that says what a test has it say.
pub(crate) struct Master {
    listener: TcpListener,
}

/// One connection of a replica to it.
pub(crate) struct Line {
    input: BufReader<TcpStream>,
}

impl Master {
    pub(crate) fn new() -> Self {
        Self { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect(WORKS) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().expect(WORKS).port()
    }

    /// Waits for the next connection.
    pub(crate) fn accept(&self) -> Line {
        let (stream, _) = self.listener.accept().expect(WORKS);
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect(WORKS);
        stream.set_nodelay(true).expect(WORKS);
        Line { input: BufReader::new(stream) }
    }

    /// Waits for the next connection, and talks until the replica asks for data. Returns how it asks.
    pub(crate) fn asked(&self) -> (Line, String) {
        let mut line = self.accept();
        let asked = line.introduce(b"+OK\r\n");
        (line, asked)
    }

    /// Begins with a full sync of these keys, at offset 1000.
    pub(crate) fn synced(&self, keys: &[(&str, &str)]) -> Line {
        let (mut line, _) = self.asked();
        line.say(format!("+FULLRESYNC {ID} 1000\r\n").as_bytes());
        let dump = dump(keys);
        line.say(format!("${}\r\n", dump.len()).as_bytes());
        line.say(&dump);
        assert_eq!(line.acknowledged(), 1000);
        line
    }
}

impl Line {
    /// The next command, as words.
    pub(crate) fn hear(&mut self) -> String {
        let mut read = || {
            let mut line = String::new();
            self.input.read_line(&mut line).expect(WORKS);
            line.trim_end().to_owned()
        };
        let mut header = read();
        // It says that it is alive.
        while header.is_empty() {
            header = read();
        }
        let count: usize = header.strip_prefix('*').expect("a command").parse().expect(WORKS);
        let words = (0..count).map(|_| {
            read();
            read()
        });
        words.collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.input.get_mut().write_all(bytes).expect(WORKS);
    }

    /// Answers all that a replica says of itself with `answer`. Returns how it asks for data.
    pub(crate) fn introduce(&mut self, answer: &[u8]) -> String {
        assert_eq!(self.hear(), "PING");
        self.say(b"+PONG\r\n");
        loop {
            let heard = self.hear();
            if heard.starts_with("PSYNC") {
                return heard;
            }
            assert!(heard.starts_with("REPLCONF"), "{heard}");
            self.say(answer);
        }
    }

    /// The offset of the next acknowledgement.
    pub(crate) fn acknowledged(&mut self) -> u64 {
        let heard = self.hear();
        let offset = heard.strip_prefix("REPLCONF ACK ").unwrap_or_else(|| panic!("{heard}"));
        offset.split(' ').next().expect(WORKS).parse().expect(WORKS)
    }

    /// Waits until the replica says that it has got there.
    pub(crate) fn wait_for(&mut self, offset: u64) {
        while self.acknowledged() != offset {}
    }
}

/// A dump of strings in database 0.
pub(crate) fn dump(keys: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = b"REDIS0009\xfe\x00".to_vec();
    for text in keys.iter().flat_map(|(key, value)| [key, value]).enumerate() {
        if text.0 % 2 == 0 {
            bytes.push(0);
        }
        bytes.push(text.1.len() as u8);
        bytes.extend_from_slice(text.1.as_bytes());
    }
    bytes.push(0xff);
    bytes.extend_from_slice(&[0; 8]);
    bytes
}

/// A command as a master sends it.
pub(crate) fn command(words: &str) -> Vec<u8> {
    let words: Vec<&str> = words.split(' ').collect();
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

pub(crate) fn replica_of(port: u16, directives: &[(&str, &str)]) -> Server {
    let mut options = options()
        .with("workers", "4")
        .with("enable-debug-command", "yes")
        .with("replicaof", &format!("127.0.0.1 {port}"));
    for (name, value) in directives {
        options = options.with(name, value);
    }
    options.start().expect("the server starts")
}

pub(crate) fn text(value: &str) -> Value {
    Value::Bulk(value.as_bytes().to_vec())
}

pub(crate) fn get(client: &mut Client, key: &str) -> Value {
    call(client, &format!("GET {key}"))
}

/// Expects an error that begins so.
fn fails(reply: &Value, start: &str) {
    assert!(matches!(reply, Value::Error(text) if text.starts_with(start)), "{start}: {reply:?}");
}

#[test]
fn a_master_that_knows_little_and_sends_byte_by_byte() {
    for mode in ["disabled", "swapdb", "flush-before-load", "on-empty-db"] {
        let master = Master::new();
        let replica = replica_of(master.port(), &[("repl-diskless-load", mode)]);
        let mut line = master.accept();
        assert_eq!(line.introduce(b"-ERR Unrecognized REPLCONF option\r\n"), "PSYNC ? -1");
        let dump = dump(&[("a", "1"), ("b", "2")]);
        let mut said = format!("\n\n+FULLRESYNC {ID} 70\r\n\n\n\n$EOF:{MARK}\r\n").into_bytes();
        said.extend_from_slice(&dump);
        said.extend_from_slice(MARK.as_bytes());
        for byte in said {
            line.say(&[byte]);
        }
        assert_eq!(line.acknowledged(), 70, "{mode}");
        let stream =
            [command("SELECT 3"), command("SET c 3"), command("REPLCONF GETACK *")].concat();
        for byte in &stream {
            line.say(&[*byte]);
        }
        let before = (70 + stream.len() - command("REPLCONF GETACK *").len()) as u64;
        line.wait_for(before);
        line.wait_for(70 + stream.len() as u64);
        let mut client = replica.client();
        assert_eq!(get(&mut client, "b"), text("2"), "{mode}");
        call(&mut client, "SELECT 3");
        assert_eq!(get(&mut client, "c"), text("3"), "{mode}");
        assert_eq!(info(&mut client, "replication", "master_link_status"), "up");
    }
}

#[test]
fn what_is_cut_is_applied_whole_or_not_at_all() {
    let master = Master::new();
    let replica = replica_of(master.port(), &[]);
    let mut line = master.synced(&[("n", "0")]);
    let mut client = replica.client();
    let select = command("SELECT 0");
    let unit = [command("MULTI"), command("INCR n"), command("INCR m"), command("EXEC")].concat();
    line.say(&select);
    let mut offset = 1000 + select.len();
    // It is cut at each byte of a transaction, and begins again before it.
    for cut in (0..unit.len()).step_by(7) {
        line.say(&unit[..cut]);
        line.wait_for(offset as u64);
        drop(line);
        let asked;
        (line, asked) = master.asked();
        assert_eq!(asked, format!("PSYNC {ID} {}", offset + 1), "cut at {cut}");
        assert_eq!(get(&mut client, "n"), text("0"), "cut at {cut}");
        line.say(b"+CONTINUE\r\n");
    }
    line.say(&unit);
    offset += unit.len();
    line.wait_for(offset as u64);
    assert_eq!(get(&mut client, "n"), text("1"));
    assert_eq!(get(&mut client, "m"), text("1"));
    drop(line);
    // Another has been promoted to be the master, and its name comes with the answer.
    let (mut line, asked) = master.asked();
    assert_eq!(asked, format!("PSYNC {ID} {}", offset + 1));
    line.say(format!("+CONTINUE {NEXT_ID}\r\n").as_bytes());
    line.say(&command("INCR n"));
    offset += command("INCR n").len();
    line.wait_for(offset as u64);
    assert_eq!(get(&mut client, "n"), text("2"));
    assert_eq!(info(&mut client, "replication", "master_replid"), NEXT_ID);
    assert_eq!(info(&mut client, "replication", "master_replid2"), ID);
    assert_eq!(info(&mut client, "replication", "replica_full_syncs"), "1");
}

#[test]
fn a_dump_that_breaks_leaves_the_old_data_in_swap_mode() {
    let master = Master::new();
    let replica = replica_of(master.port(), &[("repl-diskless-load", "swapdb")]);
    drop(master.synced(&[("old", "1")]));
    let mut client = replica.client();
    for _ in 0..2 {
        let (mut line, _) = master.asked();
        line.say(format!("+FULLRESYNC {NEXT_ID} 5\r\n$300\r\n").as_bytes());
        line.say(&dump(&[("new", "1")])[..20]);
        let syncs = |client: &mut Client| info(client, "replication", "master_sync_in_progress");
        wait_until("the dump is read", || syncs(&mut client) == "1");
        assert_eq!(get(&mut client, "old"), text("1"));
    }
    let (mut line, asked) = master.asked();
    assert_eq!(asked, format!("PSYNC {ID} 1001"), "what it has is still of the first history");
    line.say(format!("+FULLRESYNC {NEXT_ID} 5\r\n$EOF:{MARK}\r\n").as_bytes());
    line.say(&dump(&[("new", "1")]));
    line.say(MARK.as_bytes());
    assert_eq!(line.acknowledged(), 5);
    assert_eq!(get(&mut client, "old"), Value::Nil);
    assert_eq!(get(&mut client, "new"), text("1"));
}

#[test]
fn a_slow_sync_can_be_left_at_once() {
    for mode in ["disabled", "swapdb"] {
        let (master, other) = (Master::new(), Master::new());
        let replica = replica_of(master.port(), &[("repl-diskless-load", mode)]);
        drop(master.synced(&[("old", "1")]));
        let mut client = replica.client();
        let (mut line, _) = master.asked();
        line.say(format!("+FULLRESYNC {NEXT_ID} 5\r\n$300\r\n").as_bytes());
        line.say(&dump(&[("new", "1")])[..20]);
        let syncs = |client: &mut Client| info(client, "replication", "master_sync_in_progress");
        wait_until("the sync", || syncs(&mut client) == "1");
        let start = monotonic_millis();
        call(&mut client, &format!("REPLICAOF 127.0.0.1 {}", other.port()));
        assert!(monotonic_millis() - start < 1000, "{mode}");
        let (mut line, _) = other.asked();
        line.say(format!("+FULLRESYNC {NEXT_ID} 5\r\n$300\r\n").as_bytes());
        wait_until("the sync", || syncs(&mut client) == "1");
        call(&mut client, "REPLICAOF NO ONE");
        assert_eq!(info(&mut client, "replication", "role"), "master");
        assert_eq!(get(&mut client, "old"), text("1"), "{mode}");
        assert_eq!(call(&mut client, "SET mine 1"), Value::Status("OK".to_owned()));
    }
}

#[test]
fn a_master_that_comes_back_empty_is_not_followed_unless_it_is_asked_for() {
    let master = Master::new();
    let replica = replica_of(master.port(), &[]);
    drop(master.synced(&[("old", "1")]));
    let mut client = replica.client();
    let (mut line, _) = master.asked();
    let empty = dump(&[]);
    line.say(format!("+FULLRESYNC {NEXT_ID} 0\r\n${}\r\n", empty.len()).as_bytes());
    line.say(&empty);
    wait_until("the refusal", || {
        !info(&mut client, "replication", "replica_sync_refused").is_empty()
    });
    assert_eq!(get(&mut client, "old"), text("1"));
    drop(line);
    call(&mut client, &format!("REPLICAOF 127.0.0.1 {}", master.port()));
    // An attempt of before may come first.
    let mut line = loop {
        let (mut line, _) = master.asked();
        line.say(format!("+FULLRESYNC {NEXT_ID} 0\r\n${}\r\n", empty.len()).as_bytes());
        line.say(&empty);
        let mut first = [0; 1];
        if line.input.read(&mut first).unwrap_or(0) == 1 {
            break line;
        }
    };
    wait_until("obedience", || integer(&call(&mut client, "DBSIZE")) == 0);
    line.say(&command("PING"));
}

#[test]
fn clients_that_wait_or_queue_are_told_that_the_server_has_changed() {
    let master = Master::new();
    let server = parallel_server();
    let (mut client, mut waiting, mut queueing) =
        (server.client(), server.client(), server.client());
    send(&mut waiting, "BLPOP list 0");
    wait_for_blocked(&mut client, 1);
    call(&mut queueing, "MULTI");
    call(&mut queueing, "SET k v");
    call(&mut client, &format!("REPLICAOF 127.0.0.1 {}", master.port()));
    fails(&waiting.reply().expect(WORKS), "UNBLOCKED");
    fails(&call(&mut queueing, "EXEC"), "EXECABORT Transaction discarded because of: READONLY");
    fails(&call(&mut client, "SET k v"), "READONLY");
    fails(&call(&mut client, "EVAL \"return redis.call('SET', 'k', 'v')\" 0"), "READONLY");
    let mut line = master.synced(&[("a", "1")]);
    line.say(&command("RPUSH list x"));
    wait_until("the list", || integer(&call(&mut client, "LLEN list")) == 1);
    call(&mut client, "CONFIG SET replica-serve-stale-data no");
    assert_eq!(get(&mut client, "a"), text("1"));
    drop(line);
    drop(master);
    wait_until("the link is down", || {
        info(&mut client, "replication", "master_link_status") == "down"
    });
    fails(&get(&mut client, "a"), "MASTERDOWN");
    fails(&call(&mut client, "EVAL \"return 1\" 0"), "MASTERDOWN");
    call(&mut client, "REPLICAOF NO ONE");
    assert_eq!(get(&mut client, "a"), text("1"));
}

#[test]
fn what_the_stream_changes_is_told_as_what_clients_change() {
    let master = Master::new();
    let replica = replica_of(master.port(), &[("notify-keyspace-events", "KEA")]);
    let mut line = master.synced(&[("k", "1")]);
    let (mut client, mut listener) = (replica.client(), replica.client());
    let (mut tracker, mut reader) = (replica.client(), replica.client());
    call(&mut listener, "SUBSCRIBE news __keyevent@0__:set");
    listener.reply().expect(WORKS);
    call(&mut tracker, "HELLO 3");
    call(&mut tracker, "CLIENT TRACKING ON");
    call(&mut tracker, "GET k");
    send(&mut reader, "XREAD BLOCK 0 STREAMS s 0");
    wait_for_blocked(&mut client, 1);
    line.say(&[command("SELECT 0"), command("PUBLISH news hello"), command("SET k 2")].concat());
    line.say(&command("XADD s 1-1 f v"));
    let heard = |client: &mut Client| match client.receive(Duration::from_secs(20)).expect(WORKS) {
        Received::Value(value) => value,
        other => panic!("nothing came but {other:?}"),
    };
    for (channel, message) in [("news", "hello"), ("__keyevent@0__:set", "k")] {
        let expected = [text("message"), text(channel), text(message)];
        assert_eq!(elements(&heard(&mut listener)), expected, "each comes once");
    }
    assert!(matches!(heard(&mut tracker), Value::Push(_)));
    assert_eq!(elements(&reader.reply().expect(WORKS)).len(), 1, "who waits is served");
    assert_eq!(get(&mut client, "k"), text("2"));
}

#[test]
fn keys_that_are_due_are_hidden_and_stay() {
    let master = Master::new();
    let replica = replica_of(master.port(), &[]);
    let mut line = master.synced(&[]);
    let mut client = replica.client();
    let set = command("SET due v PXAT 1000000000000");
    line.say(&[command("SELECT 0"), set].concat());
    wait_until("the key", || integer(&call(&mut client, "DBSIZE")) == 1);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(get(&mut client, "due"), Value::Nil);
    assert_eq!(integer(&call(&mut client, "EXISTS due")), 0);
    assert_eq!(integer(&call(&mut client, "DBSIZE")), 1, "nobody but the master removes it");
    line.say(&[command("PERSIST due"), command("APPEND due w")].concat());
    wait_until("the master's word", || get(&mut client, "due") == text("vw"));
}

/// Waits until two servers have the same. Keys may fall due between two looks, which the replica hears of a moment later.
pub(crate) fn wait_for_equal(master: &mut Client, replica: &mut Client) {
    wait_until("equality", || {
        let offset = info(master, "replication", "master_repl_offset");
        offset == info(replica, "replication", "slave_repl_offset")
            && call(master, "DEBUG DIGEST") == call(replica, "DEBUG DIGEST")
    });
}

#[test]
fn a_chain_of_ours_goes_on_after_a_promotion() {
    let start = || {
        options()
            .with("workers", "4")
            .with("enable-debug-command", "yes")
            .with("repl-diskless-sync-delay", "0")
    };
    let [first, second, third] =
        [start(), start(), start()].map(|it| it.start().expect("the server starts"));
    let follow = |client: &mut Client, of: &Server| {
        call(client, &format!("REPLICAOF 127.0.0.1 {}", of.address().port()));
    };
    let [mut a, mut b, mut c] = [&first, &second, &third].map(Server::client);
    for number in 0..200 {
        call(&mut a, &format!("SET key:{number} {number}"));
    }
    call(
        &mut a,
        "FUNCTION LOAD \"#!lua name=lib\\nredis.register_function{function_name='f', callback=function() return 1 end, flags={'no-writes'}}\"",
    );
    follow(&mut b, &first);
    follow(&mut c, &second);
    let is_up = |client: &mut Client| info(client, "replication", "master_link_status") == "up";
    wait_until("links", || is_up(&mut b) && is_up(&mut c));
    for number in 0..200 {
        call(&mut a, &format!("SELECT {}", number % 4));
        call(&mut a, &format!("RPUSH list:{number} a b {number}"));
        call(&mut a, &format!("HSET hash f{number} {number}"));
    }
    call(&mut a, "EVAL \"redis.call('SET', 'x', 1) redis.call('SET', 'y', 2)\" 0");
    wait_for_equal(&mut a, &mut b);
    wait_for_equal(&mut b, &mut c);
    assert_eq!(integer(&call(&mut c, "FCALL_RO f 0")), 1);
    call(&mut b, "REPLICAOF NO ONE");
    call(&mut b, "SET promoted 1");
    follow(&mut a, &second);
    wait_until("links", || is_up(&mut a) && is_up(&mut c));
    wait_for_equal(&mut b, &mut a);
    wait_for_equal(&mut b, &mut c);
    for (client, full) in [(&mut a, "0"), (&mut c, "1")] {
        assert_eq!(
            info(client, "replication", "replica_full_syncs"),
            full,
            "it goes on where it was"
        );
    }
}

#[test]
fn a_restart_of_either_side_is_gone_on_from() {
    let start = |directives: &[(&str, &str)]| {
        let mut options = options()
            .with("workers", "4")
            .with("enable-debug-command", "yes")
            .with("repl-diskless-sync-delay", "0")
            .with("save", "900 1");
        for (name, value) in directives {
            options = options.with(name, value);
        }
        options.start().expect("the server starts")
    };
    let mut master = start(&[]);
    let of = format!("127.0.0.1 {}", master.address().port());
    let mut replica = start(&[("replicaof", &of)]);
    let (mut a, mut b) = (master.client(), replica.client());
    let is_up = |client: &mut Client| info(client, "replication", "master_link_status") == "up";
    wait_until("the link", || is_up(&mut b));
    call(&mut a, "SELECT 3");
    for number in 0..50 {
        call(&mut a, &format!("SET key:{number} {number} PX {}", 100 + number * 20));
        call(&mut a, &format!("HSET hash f{number} {number}"));
    }
    wait_for_equal(&mut a, &mut b);
    replica.terminate().expect("it ends");
    call(&mut a, "SET meanwhile 1");
    replica.restart().expect("it starts again");
    b = replica.client();
    wait_until("the link", || is_up(&mut b));
    assert_eq!(info(&mut b, "replication", "replica_full_syncs"), "0");
    wait_for_equal(&mut a, &mut b);
    // What falls due while the master is away is gone when it comes back, for both.
    master.terminate().expect("it ends");
    thread::sleep(Duration::from_millis(500));
    master.restart().expect("it starts again");
    a = master.client();
    wait_until("the link", || is_up(&mut b));
    assert_eq!(info(&mut b, "replication", "replica_full_syncs"), "0");
    call(&mut a, "SELECT 3");
    call(&mut a, "SET after 1");
    wait_for_equal(&mut a, &mut b);
}

#[test]
fn the_log_of_a_replica_is_its_masters() {
    let start =
        || options().with("enable-debug-command", "yes").with("repl-diskless-sync-delay", "0");
    let master = start().start().expect("the server starts");
    let of = format!("127.0.0.1 {}", master.address().port());
    let mut replica = start()
        .with("appendonly", "yes")
        .with("appendfsync", "always")
        .start()
        .expect("the server starts");
    let (mut a, mut b) = (master.client(), replica.client());
    call(&mut b, "SET own 1");
    call(&mut b, &format!("REPLICAOF {of}"));
    let is_up = |client: &mut Client| info(client, "replication", "master_link_status") == "up";
    wait_until("the link", || is_up(&mut b));
    for number in 0..100 {
        call(&mut a, &format!("SELECT {}", number % 5));
        call(&mut a, &format!("RPUSH list{} {number}", number % 7));
        call(&mut a, &format!("PUBLISH news {number}"));
    }
    wait_for_equal(&mut a, &mut b);
    assert_eq!(integer(&elements(&call(&mut a, "WAITAOF 0 1 20000"))[1]), 1);
    let digest = call(&mut b, "DEBUG DIGEST");
    drop(b);
    replica.restart().expect("it starts again");
    b = replica.client();
    assert_eq!(call(&mut b, "DEBUG DIGEST"), digest);
    // Ended in order, a log says where in the master's history it is.
    call(&mut b, &format!("REPLICAOF {of}"));
    wait_until("the link", || is_up(&mut b));
    replica.set_directive("replicaof", &of);
    // Without a base, it would not end.
    wait_until("the base", || {
        let is_idle = info(&mut b, "persistence", "aof_rewrite_in_progress") == "0";
        is_idle && info(&mut b, "persistence", "aof_base_size") != "0"
    });
    thread::sleep(Duration::from_millis(300));
    replica.terminate().expect("it ends");
    call(&mut a, "SET meanwhile 1");
    replica.restart().expect("it starts again");
    b = replica.client();
    wait_until("the link", || is_up(&mut b));
    assert_eq!(info(&mut b, "replication", "replica_full_syncs"), "0");
    wait_for_equal(&mut a, &mut b);
}
