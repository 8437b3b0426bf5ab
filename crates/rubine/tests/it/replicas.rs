//! The server as a master: what replicas are sent, byte by byte, by a replica that is written here.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rubine_testing::client::{Client, Received};
use rubine_testing::server::{Server, ServerOptions};
use rubine_testing::value::Value;

use crate::support::{call, info, integer, options, send, wait_until};

/// A replica that does what it is told.
pub(crate) struct Replica {
    pub(crate) stream: TcpStream,
    /// What was received and not looked at.
    input: Vec<u8>,
    pub(crate) id: String,
    /// Up to where it has everything.
    pub(crate) offset: u64,
}

/// What a replica was told about what it asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Full,
    Partial,
}

impl Replica {
    pub(crate) fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).expect("a master that answers");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a master that answers");
        Self { stream, input: Vec::new(), id: "?".to_owned(), offset: 0 }
    }

    /// One that has everything of a history up to there.
    pub(crate) fn at(server: &Server, id: &str, offset: u64) -> Self {
        Self { id: id.to_owned(), offset, ..Self::connect(server) }
    }

    /// The same replica over a new link, without what it has not looked at.
    pub(crate) fn again(self, server: &Server) -> Self {
        Self::at(server, &self.id, self.offset)
    }

    fn say(&mut self, words: &[&str]) {
        let mut bytes = Vec::new();
        rubine_testing::value::encode_request(words, &mut bytes);
        self.stream.write_all(&bytes).expect("a master that answers");
    }

    /// Asks, and has the answer.
    fn ask(&mut self, words: &[&str]) -> String {
        self.say(words);
        self.line()
    }

    fn fill(&mut self) {
        let mut bytes = vec![0; 64 * 1024];
        let count = self.stream.read(&mut bytes).expect("a master that answers");
        assert_ne!(count, 0, "the master has closed the link");
        self.input.extend_from_slice(&bytes[..count]);
    }

    /// The next line, past empty ones, which only say that there is somebody.
    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.input.iter().position(|&it| it == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                let text =
                    String::from_utf8(line).expect("a master that answers").trim_end().to_owned();
                if !text.is_empty() {
                    return text;
                }
                continue;
            }
            self.fill();
        }
    }

    /// Introduces itself and asks to go on.
    pub(crate) fn synchronize(&mut self, port: u16) -> Answer {
        let port = port.to_string();
        assert_eq!(self.ask(&["REPLCONF", "listening-port", &port]), "+OK");
        assert_eq!(self.ask(&["REPLCONF", "capa", "eof", "capa", "psync2"]), "+OK");
        let next = if self.id == "?" { "-1".to_owned() } else { (self.offset + 1).to_string() };
        let id = self.id.clone();
        let answer = self.ask(&["PSYNC", &id, &next]);
        let words: Vec<&str> = answer.split(' ').collect();
        match words[..] {
            ["+FULLRESYNC", id, offset] => {
                (self.id, self.offset) =
                    (id.to_owned(), offset.parse().expect("a master that answers"));
                Answer::Full
            }
            ["+CONTINUE", id] => {
                id.clone_into(&mut self.id);
                Answer::Partial
            }
            _ => panic!("{answer}"),
        }
    }

    /// Takes the dump, whatever form it has.
    pub(crate) fn take_dump(&mut self) -> Vec<u8> {
        let header = self.line();
        if let Some(mark) = header.strip_prefix("$EOF:") {
            assert_eq!(mark.len(), 40);
            while !self.input.ends_with(mark.as_bytes()) {
                self.fill();
            }
            let len = self.input.len() - mark.len();
            let dump = self.input.drain(..).take(len).collect();
            self.acknowledge();
            return dump;
        }
        let len: usize = header
            .strip_prefix('$')
            .expect("a master that answers")
            .parse()
            .expect("a master that answers");
        while self.input.len() < len {
            self.fill();
        }
        self.input.drain(..len).collect()
    }

    fn acknowledge(&mut self) {
        let offset = self.offset.to_string();
        self.say(&["REPLCONF", "ACK", &offset]);
    }

    /// The next command of the stream that is not a ping or the like.
    pub(crate) fn command(&mut self) -> Vec<String> {
        loop {
            let Some((value, len)) =
                rubine_testing::value::decode(&self.input).expect("a master that answers")
            else {
                self.fill();
                continue;
            };
            self.input.drain(..len);
            self.offset += len as u64;
            let words = value.as_elements().expect("a master that answers").iter();
            let words: Vec<String> = words.filter_map(Value::as_text).collect();
            match words[0].as_str() {
                "PING" | "SELECT" => {}
                "REPLCONF" => self.acknowledge(),
                _ => return words,
            }
        }
    }
}

fn master() -> ServerOptions {
    options().with("repl-diskless-sync-delay", "0").with("workers", "2")
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_replica_gets_everything_and_what_follows() {
    for diskless in ["yes", "no"] {
        let server = master().with("repl-diskless-sync", diskless).start().unwrap();
        let mut client = server.client();
        call(&mut client, "SET before 1");
        let mut replica = Replica::connect(&server);
        assert_eq!(replica.synchronize(7000), Answer::Full);
        let dump = replica.take_dump();
        assert!(dump.starts_with(b"REDIS0011"), "a version that is read everywhere");
        assert!(dump.windows(6).any(|it| it == b"before"));
        call(&mut client, "SET after 2");
        assert_eq!(replica.command(), words("SET after 2"));
        call(&mut client, "PUBLISH channel message");
        assert_eq!(replica.command(), words("PUBLISH channel message"));
        // The link breaks, and the missing bytes come, and no others.
        drop(replica.stream);
        call(&mut client, "SET missed 3");
        let stream = TcpStream::connect(server.address()).unwrap();
        let input = Vec::new();
        let mut replica = Replica { stream, input, ..replica };
        assert_eq!(replica.synchronize(7000), Answer::Partial);
        assert_eq!(replica.command(), words("SET missed 3"));
        assert_eq!(info(&mut client, "stats", "sync_full"), "1");
        assert_eq!(info(&mut client, "stats", "sync_partial_ok"), "1");
        let offset = info(&mut client, "replication", "master_repl_offset");
        assert_eq!(offset, replica.offset.to_string());
    }
}

/// What is removed with its values is removed by name, as a client of the replica would do it.
#[test]
fn replicas_hear_which_fields_were_named() {
    let server = master().start().unwrap();
    let mut client = server.client();
    let mut replica = Replica::connect(&server);
    replica.synchronize(7000);
    replica.take_dump();
    call(&mut client, "HSET k a 1 b 2 c 3");
    assert_eq!(replica.command(), words("HSET k a 1 b 2 c 3"));
    call(&mut client, "HGETDEL k FIELDS 2 x y");
    call(&mut client, "HGETDEL k FIELDS 3 a x b");
    assert_eq!(replica.command(), words("HDEL k a x b"));
    call(&mut client, "HGETDEL k FIELDS 1 c");
    assert_eq!(replica.command(), words("HDEL k c"));
}

#[test]
fn what_is_not_kept_is_not_made_up() {
    let server = master().with("repl-backlog-size", "16kb").start().unwrap();
    let mut client = server.client();
    let mut replica = Replica::connect(&server);
    replica.synchronize(7000);
    replica.take_dump();
    drop(replica.stream);
    let value = "v".repeat(1000);
    for number in 0..300 {
        call(&mut client, &format!("SET key:{number} {value}"));
    }
    let behind = replica.offset;
    let stream = TcpStream::connect(server.address()).unwrap();
    let mut replica = Replica { stream, input: Vec::new(), ..replica };
    assert_eq!(replica.synchronize(7000), Answer::Full);
    let why = info(&mut client, "replication", "last_full_sync_reason");
    assert!(why.starts_with(&format!("it has got to offset {behind}, and the backlog")), "{why}");
    assert_eq!(info(&mut client, "replication", "last_full_sync_replica"), "127.0.0.1:7000");
    // One that was never here, and one that is ahead.
    for (id, offset, expected) in
        [("f".repeat(40), 10, "of history"), (replica.id.clone(), 1 << 40, "it has got to offset")]
    {
        let mut other = Replica::connect(&server);
        (other.id, other.offset) = (id, offset);
        assert_eq!(other.synchronize(7001), Answer::Full);
        let why = info(&mut client, "replication", "last_full_sync_reason");
        assert!(why.contains(expected), "{why}");
    }
    assert_eq!(info(&mut client, "stats", "sync_partial_err"), "3");
}

#[test]
fn clients_wait_for_replicas() {
    let server = master().start().unwrap();
    let mut client = server.client();
    let mut replica = Replica::connect(&server);
    replica.synchronize(7000);
    replica.take_dump();
    call(&mut client, "SET k v");
    assert_eq!(integer(&call(&mut client, "WAIT 1 50")), 0, "it has said nothing");
    replica.command();
    replica.acknowledge();
    assert_eq!(integer(&call(&mut client, "WAIT 1 0")), 1);
    call(&mut client, "SET k w");
    send(&mut client, "WAIT 1 300");
    replica.command();
    let far = (replica.offset + 1000).to_string();
    replica.say(&["REPLCONF", "ACK", &far, "FACK", &far]);
    assert_eq!(integer(&client.reply().unwrap()), 0, "what is not there yet is not acknowledged");
}

#[test]
fn who_waits_for_a_replica_that_goes_is_told() {
    let server = master().start().unwrap();
    let mut client = server.client();
    let mut replica = Replica::connect(&server);
    replica.synchronize(7000);
    replica.take_dump();
    call(&mut client, "SET k v");
    send(&mut client, "WAIT 1 200");
    replica.command();
    drop(replica);
    assert_eq!(integer(&client.reply().unwrap()), 0);
}

#[test]
fn writes_need_replicas_where_the_configuration_says_so() {
    let server = master().with("min-replicas-to-write", "1").start().unwrap();
    let mut client = server.client();
    let refused = Value::Error("NOREPLICAS Not enough good replicas to write.".to_owned());
    assert_eq!(call(&mut client, "SET k v"), refused);
    let mut replica = Replica::connect(&server);
    replica.synchronize(7000);
    replica.take_dump();
    wait_until("a good replica", || {
        info(&mut client, "replication", "min_slaves_good_slaves") == "1"
    });
    assert_eq!(call(&mut client, "SET k v").as_text().as_deref(), Some("OK"));
    drop(replica);
    wait_until("no replica", || info(&mut client, "replication", "connected_slaves") == "0");
    wait_until("a refusal", || call(&mut client, "SET k v") == refused);
}

#[test]
fn a_replica_that_does_not_read_slows_nobody_and_is_cut() {
    let server = master()
        .with("client-output-buffer-limit", "replica 20mb 0 0")
        .with("repl-backlog-size", "1mb")
        .start()
        .unwrap();
    let mut client = server.client();
    let (mut slow, mut quick) = (Replica::connect(&server), Replica::connect(&server));
    for replica in [&mut slow, &mut quick] {
        replica.synchronize(7000);
        replica.take_dump();
    }
    wait_until("two replicas", || online(&mut client) == 2);
    let reader = std::thread::spawn(move || {
        while quick.command()[1] != "last" {}
        quick
    });
    let value = "v".repeat(100_000);
    for number in 0..600 {
        call(&mut client, &format!("SET key:{} {value}", number % 10));
    }
    call(&mut client, "SET last 1");
    let quick = reader.join().unwrap();
    wait_until("the slow one is cut", || online(&mut client) == 1);
    assert!(server.log().contains("overcoming of output buffer limits"));
    wait_until("no more than a piece is kept beyond the backlog", || {
        let beyond = info(&mut client, "memory", "mem_not_counted_for_evict");
        beyond.parse::<u64>().unwrap() < 200_000
    });
    drop(quick);
}

fn online(client: &mut Client) -> usize {
    let text = call(client, "INFO replication").as_text().expect("INFO is text");
    text.lines().filter(|it| it.starts_with("slave") && it.contains("state=online")).count()
}

#[test]
fn a_replica_that_takes_its_time_with_the_dump_slows_no_other() {
    let server = master().with("repl-diskless-sync-max-replicas", "2");
    let server = server.with("repl-diskless-sync-delay", "60").start().unwrap();
    let mut client = server.client();
    call(&mut client, "CONFIG SET rdbcompression no");
    for number in 0..50 {
        call(&mut client, &format!("SETRANGE key:{number} 1048575 x"));
    }
    let slow = std::thread::spawn({
        let mut replica = Replica::connect(&server);
        move || {
            assert_eq!(replica.synchronize(7000), Answer::Full);
            replica
        }
    });
    wait_until("one waits", || info(&mut client, "replication", "connected_slaves") == "1");
    let mut quick = Replica::connect(&server);
    assert_eq!(quick.synchronize(7001), Answer::Full);
    let dump = quick.take_dump();
    assert!(50 << 20 < dump.len());
    call(&mut client, "SET after 1");
    assert_eq!(quick.command(), words("SET after 1"));
    let mut slow = slow.join().unwrap();
    assert!(slow.take_dump() == dump, "both get the same");
    assert_eq!(slow.command(), words("SET after 1"));
    assert_eq!(server.log().matches("Starting BGSAVE for SYNC").count(), 1);
}

#[test]
fn a_replica_asks_for_nothing_but_the_stream() {
    let server = master().start().unwrap();
    let mut client = server.client();
    let mut replica = Replica::connect(&server);
    replica.synchronize(7000);
    replica.take_dump();
    wait_until("a replica", || online(&mut client) == 1);
    replica.say(&["GET", "k"]);
    let mut bytes = [0; 64];
    loop {
        match replica.stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}"),
        }
    }
    wait_until("it is cut", || info(&mut client, "replication", "connected_slaves") == "0");
}

#[test]
fn the_end_waits_for_replicas() {
    let mut server = master().start().unwrap();
    let mut client = server.client();
    let mut replica = Replica::connect(&server);
    replica.synchronize(7000);
    replica.take_dump();
    wait_until("a replica", || online(&mut client) == 1);
    call(&mut client, "SET k v");
    let reader = std::thread::spawn(move || {
        let command = replica.command();
        std::thread::sleep(Duration::from_millis(200));
        replica.acknowledge();
        (command, replica)
    });
    server.terminate().unwrap();
    assert_eq!(reader.join().unwrap().0, words("SET k v"));
    let log = server.log();
    assert!(log.contains("Waiting for replicas before shutting down."), "{log}");
    assert!(log.contains("1 of 1 replicas are in sync when shutting down."), "{log}");
}

#[test]
fn a_write_is_told_of_when_a_quorum_has_it() {
    let server = master()
        .with("write-quorum", "1")
        .with("write-quorum-timeout", "2000")
        .with_file("user other on nopass ~* &* +@all")
        .start()
        .unwrap();
    let mut client = server.client();
    assert!(
        matches!(call(&mut client, "SET k v"), Value::Error(text) if text.starts_with("NOREPLICAS"))
    );
    let mut replica = Replica::connect(&server);
    replica.synchronize(7000);
    replica.take_dump();
    wait_until("a replica", || online(&mut client) == 1);
    send(&mut client, "SET k v");
    assert_eq!(replica.command(), words("SET k v"));
    let early = client.receive(Duration::from_millis(100));
    assert!(matches!(early, Ok(Received::Nothing)), "{early:?}");
    replica.acknowledge();
    assert_eq!(client.reply().unwrap().as_text().as_deref(), Some("OK"));
    // Reads do not wait.
    assert_eq!(call(&mut client, "GET k").as_text().as_deref(), Some("v"));
    // Others need no quorum.
    let mut admin = server.client();
    call(&mut admin, "CONFIG SET write-quorum-users default");
    call(&mut admin, "AUTH other x");
    assert_eq!(call(&mut admin, "SET k w").as_text().as_deref(), Some("OK"));
    // What is not confirmed in time is not told of.
    send(&mut client, "SET k x");
    assert!(client.reply().is_err());
    assert_eq!(info(&mut admin, "replication", "write_quorum_timeouts"), "1");
}

#[test]
fn a_quorum_confirms_what_is_written_in_a_row() {
    let server = master().with("write-quorum", "1").start().unwrap();
    let address = format!("127.0.0.1 {}", server.address().port());
    let replica = options().with("replicaof", &address).start().unwrap();
    let mut client = server.client();
    wait_until("a good replica", || call(&mut client, "SET k v").as_text().is_some());
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let mut client = server.client();
            std::thread::spawn(move || {
                for round in 0..100 {
                    for number in 0..16 {
                        send(&mut client, &format!("SET key:{writer}:{number} {round}"));
                    }
                    for _ in 0..16 {
                        assert_eq!(client.reply().unwrap().as_text().as_deref(), Some("OK"));
                    }
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|it| it.join().unwrap());
    let mut reader = replica.client();
    // What was told of is there.
    for (writer, number) in (0..4).flat_map(|it| (0..16).map(move |number| (it, number))) {
        let value = call(&mut reader, &format!("GET key:{writer}:{number}"));
        assert_eq!(value.as_text().as_deref(), Some("99"));
    }
}

#[test]
fn a_script_says_who_hears_of_what_it_writes() {
    let server =
        master().with("appendonly", "yes").with("enable-debug-command", "yes").start().unwrap();
    let mut client = server.client();
    let mut replica = Replica::connect(&server);
    replica.synchronize(7000);
    replica.take_dump();
    let script = "local function set(key) redis.call('SET', key, 1) end \
        set('all') redis.set_repl(redis.REPL_NONE) set('none') redis.call('PUBLISH', 'c', 'none') \
        redis.set_repl(redis.REPL_AOF) set('log') redis.set_repl(redis.REPL_REPLICA) set('replicas')";
    call(&mut client, "MULTI");
    client.call(&["EVAL", script, "0"]).unwrap();
    call(&mut client, "SET after 1");
    call(&mut client, "EXEC");
    for expected in ["MULTI", "SET all 1", "SET replicas 1", "SET after 1", "EXEC"] {
        assert_eq!(replica.command(), words(expected));
    }
    // It ends with the script, whatever ends that.
    client.call(&["EVAL", "redis.set_repl(redis.REPL_NONE) error('it ends')", "0"]).unwrap();
    client
        .call(&["EVAL", "redis.set_repl(redis.REPL_AOF) redis.call('SET', 'log', 2)", "0"])
        .unwrap();
    call(&mut client, "SET last 1");
    assert_eq!(replica.command(), words("SET last 1"));
    let offset = info(&mut client, "replication", "master_repl_offset");
    assert_eq!(offset, replica.offset.to_string());
    assert_eq!(call(&mut client, "DEBUG LOADAOF"), Value::Status("OK".into()));
    let found = call(&mut client, "MGET all none log replicas after last");
    let found = found.as_elements().unwrap().iter().map(Value::as_text);
    let found: Vec<_> = found.map(Option::unwrap_or_default).collect();
    assert_eq!(found, ["1", "", "2", "", "1", "1"]);
}

#[test]
fn a_script_that_has_written_goes_on_without_its_replica() {
    let server = master().start().unwrap();
    let mut client = server.client();
    let mut replica = Replica::connect(&server);
    replica.synchronize(7000);
    replica.take_dump();
    call(&mut client, "SET known 1");
    replica.command();
    replica.acknowledge();
    wait_until("the replica is online", || online(&mut client) == 1);
    call(&mut client, "CONFIG SET min-replicas-to-write 1");
    let script = "redis.call('SET', KEYS[1], 1) \
        while not redis.call('INFO', 'replication'):find('connected_slaves:0') do end \
        redis.call('SET', KEYS[1], 2) return 1";
    client.send(&["EVAL", script, "1", "key"]).unwrap();
    let mut other = server.client();
    wait_until(
        "the script runs",
        || matches!(call(&mut other, "FUNCTION KILL"), Value::Error(text) if text.starts_with("BUSY")),
    );
    drop(replica);
    assert_eq!(client.reply().unwrap(), Value::Integer(1));
    assert!(
        matches!(call(&mut client, "SET key 3"), Value::Error(text) if text.starts_with("NOREPLICAS"))
    );
}
