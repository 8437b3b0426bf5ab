//! A whole server inside the test process, so that what clients cannot see can be held against what they did: its
//! journal and its snapshots.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rubine_base::random::Random;
use rubine_commands::{Args, ClientFacts, Occasion, Runner, shards_of};
use rubine_journal::replay::Replay;
use rubine_journal::{Hold, Reader, Start};
use rubine_keyspace::{DueKeys, Key, Keyspace, ScanCursor, Snapshot, ViewOptions};
use rubine_persistence::log::LogReader;
use rubine_resp::parser::ArgRange;
use rubine_resp::writer::{Output, Protocol, Reply};
use rubine_storage::Apply as _;
use rubine_structures::record::RecordRef;
use rubine_structures::value::ValueRef;
use rubine_testing::client::Client;
use rubine_testing::server::free_port;
use rubine_testing::value::{self, Value};
use rubine_testing::words;

use super::{Modes, Server, build, listener, start_workers};
use crate::command_table::Run;
use crate::persistence::{Finder, Replayer};
use rubine_config::{Config, Mode};

/// A server of three workers, which lives until the test process ends.
fn start() -> (&'static Server, SocketAddr) {
    let port = free_port().expect("a free port");
    let port_text = port.to_string();
    let args = [
        "--port",
        &port_text,
        "--bind",
        "127.0.0.1",
        "--workers",
        "3",
        "--enable-debug-command",
        "yes",
    ];
    let args: Vec<_> = args.iter().map(|it| it.as_bytes().to_vec()).collect();
    let (config, source) = Config::from_args(&args, Mode::Server).expect("the arguments are right");

    let listeners = listener::open_all(&config).expect("the port is free");
    let (server, handlers, polls) =
        build(config, source, None, listeners, Modes::default()).expect("it can be built");
    start_workers(server, handlers, polls).expect("threads can be started");
    (server, SocketAddr::from(([127, 0, 0, 1], port)))
}

fn call(client: &mut Client, line: &str) -> Value {
    let words = words::split(line).expect("balanced quotes");
    client.call(&words).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// All that a reader has yet to read.
fn read_all(reader: &mut Reader) -> Vec<u8> {
    let (mut bytes, mut slices) = (Vec::new(), Vec::new());
    while 0 < reader.read(usize::MAX, &mut slices).expect("nothing was dropped") {
        slices.drain(..).for_each(|slice| bytes.extend_from_slice(&slice));
    }
    bytes
}

/// Runs a data command as one that comes from a journal: nothing is due.
fn run(server: &Server, keyspace: &Keyspace, db: usize, words: &[&[u8]], now: i64) -> Value {
    let mut bytes = Vec::new();
    let ranges: Vec<ArgRange> = words
        .iter()
        .map(|word| {
            bytes.extend_from_slice(word);
            ArgRange { start: bytes.len() - word.len(), len: word.len() }
        })
        .collect();
    let args = Args::new(&bytes, &ranges);
    let entry = server.commands.find(words[0]).expect("the journal holds known commands");
    let entry = words.get(1).and_then(|it| entry.subcommand(it)).unwrap_or(entry);
    let Run::Data(command) = entry.run else { panic!("{} is no data command", entry.full_name) };
    let settings = server.settings.load();
    let occasion = Occasion {
        db,
        now,
        limits: &settings.limits,
        access: settings.access,
        view: ViewOptions { notes_access: true, due_keys: DueKeys::Shown },
        client: ClientFacts {
            protocol: Protocol::Resp2,
            may_wait: false,
            is_script: false,
            is_trusted: true,
            reads_every_key: true,
            steps_at_once_max: u64::MAX,
        },
    };
    let mut output = Output::new();
    let mut locked = keyspace.lock(&shards_of(entry.spec, args, true));
    let mut reply = Reply::new(&mut output, Protocol::Resp2);
    let result = Runner::new(1).run(command, &occasion, &mut reply, args, &mut locked);
    assert!(result.is_ok(), "the journal holds what succeeded: {words:?}");
    drop(locked);
    drained(&mut output)
}

fn drained(output: &mut Output) -> Value {
    const PUMP_BYTES: usize = 64 * 1024;
    let mut bytes = Vec::new();
    while !output.is_empty() {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = output.front_slices(&mut slices, usize::MAX);
        let start = bytes.len();
        slices[..count].iter().for_each(|slice| bytes.extend_from_slice(slice));
        output.advance(bytes.len() - start);
        output.pump(PUMP_BYTES);
    }
    value::decode(&bytes).expect("RESP").expect("whole").0
}

/// Requests that meet on few keys, across shards and databases.
fn random_request(random: &mut Random) -> String {
    let mut below = |bound: u64| random.below(bound);
    let (one, other, number) = (below(20), below(20), below(100));
    let (list, target) = (below(6), below(6));
    match below(24) {
        0 => format!("SET key:{one} value:{number}"),
        1 => format!("SET key:{one} {number} PX {}", 1 + below(20)),
        2 => format!("SET key:{one} {number} EX 1000"),
        3 => format!("INCRBY count:{one} {number}"),
        4 => format!("APPEND key:{one} x"),
        5 => format!("MSET key:{one} {number} key:{other} {number}"),
        6 => format!("RENAME key:{one} key:{other}"),
        7 => format!("COPY key:{one} key:{other} REPLACE"),
        8 => format!("DEL key:{one} key:{other}"),
        9 => format!("PEXPIRE key:{one} {}", below(15)),
        10 => format!("RPUSH list:{list} {number} {one} {other}"),
        11 => format!("LMOVE list:{list} list:{target} LEFT RIGHT"),
        12 => format!("LPOP list:{list} 2"),
        13 => format!("BLMOVE list:{list} list:{target} LEFT RIGHT 0.002"),
        14 => format!("BLPOP list:{list} list:{target} 0.002"),
        15 => format!("HSET hash:{one} a {number} b {other}"),
        16 => format!("HPEXPIRE hash:{one} {} FIELDS 1 a", 1 + below(10)),
        17 => format!("HINCRBY hash:{one} b {number}"),
        18 => format!("MOVE key:{one} 1"),
        19 => format!("INCRBYFLOAT float:{one} 0.{number}"),
        20 => "SWAPDB 0 1".to_owned(),
        21 if number < 3 => "FLUSHDB".to_owned(),
        22 => format!("GETEX key:{one} PX {}", 1 + below(10)),
        _ => format!("GET key:{one}"),
    }
}

fn load(address: SocketAddr, seed: u64, requests: usize) {
    let mut client = Client::connect(address).expect("it listens");
    let mut random = Random::with_seed(seed);
    for _ in 0..requests {
        match random.below(12) {
            0 => drop(call(&mut client, &format!("SELECT {}", random.below(2)))),
            1 => {
                call(&mut client, "MULTI");
                for _ in 0..=random.below(4) {
                    call(&mut client, &random_request(&mut random));
                }
                call(&mut client, "EXEC");
            }
            _ => drop(call(&mut client, &random_request(&mut random))),
        }
    }
}

/// The journal is a serial order of what many clients did at once: replayed from the start it gives the same data.
#[test]
fn the_journal_replays_to_the_same_data() {
    const CLIENTS: u64 = 6;
    const REQUESTS: usize = 1_500;
    let (server, address) = start();
    let reader = server.journal.open_reader(Start::End, Hold::Everything);
    let mut reader = reader.expect("the end is always there");
    thread::scope(|scope| {
        for seed in 0..CLIENTS {
            scope.spawn(move || load(address, seed, REQUESTS));
        }
    });
    // What falls due soon shall have done so: it is for the journal to say, not for the clock of the replay.
    thread::sleep(Duration::from_millis(100));
    let mut client = Client::connect(address).expect("it listens");
    call(&mut client, "DEBUG SET-ACTIVE-EXPIRE 0");
    let digest = call(&mut client, "DEBUG DIGEST");
    let bytes = read_all(&mut reader);

    let (replayed, _garbage) = Keyspace::new();
    let now = rubine_base::clock::unix_millis();
    let mut replay = Replay::new(&bytes, 0, 0);
    let mut count = 0;
    for command in &mut replay {
        let command = command.expect("the journal writes commands");
        if matches!(command.arguments[0], b"MULTI" | b"EXEC") {
            continue;
        }
        run(server, &replayed, command.database as usize, &command.arguments, now);
        count += 1;
    }
    assert_eq!(replay.position(), bytes.len() as u64, "whole commands only");
    assert!(1_000 < count, "{count} commands are no load");
    let replayed_digest = run(server, &replayed, 0, &[b"DEBUG", b"DIGEST"], now);
    assert!(digest.as_text().is_some_and(|it| it.len() == 40), "{digest:?}");
    assert_eq!(replayed_digest.as_text(), digest.as_text());
    assert_eq!(digest_in_lanes(server, &bytes, now).as_text(), digest.as_text());
}

/// What a log leaves whose units are run side by side, as a digest.
fn digest_in_lanes(server: &'static Server, log: &[u8], now: i64) -> Value {
    let (keyspace, _garbage) = Keyspace::new();
    let keyspace = Box::leak(Box::new(keyspace));
    let mut replayer = Replayer::new(server, keyspace).expect("threads can be started");
    let mut reader = LogReader::new(log, 0);
    while let Some(unit) = reader.next_unit().expect("the journal writes commands") {
        replayer.unit(&unit).expect("the journal holds known commands");
    }
    assert_eq!(replayer.barrier(), Ok(0), "the journal holds what succeeded");
    run(server, keyspace, 0, &[b"DEBUG", b"DIGEST"], now)
}

/// A value as text; a list as its length.
fn shown(record: RecordRef<'_>) -> String {
    match record.value() {
        ValueRef::Int(number) => number.to_string(),
        ValueRef::Bytes { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::List(list) => format!("list of {}", list.len()),
        other => format!("{:?}", other.type_of()),
    }
}

fn content(snapshot: &Snapshot) -> Vec<(Vec<u8>, String)> {
    let mut content = Vec::new();
    let mut cursor = Some(ScanCursor::START);
    while let Some(position) = cursor {
        cursor = snapshot.scan(0, position, 100, |it| content.push((it.key().to_vec(), shown(it))));
    }
    content.sort_unstable();
    content
}

/// Keys that are always changed together are never seen apart in a snapshot, and a snapshot stays as it was.
/// A log, or a master, may have keys of a length that none can have here: that ended the server.
#[test]
fn commands_of_others_have_no_key_of_4_gib() {
    let (server, _) = start();
    // Nobody looks at most of these bytes, so they take no memory.
    let mut bytes = vec![0; u32::MAX as usize];
    bytes[..3].copy_from_slice(b"SET");
    let (name, long) =
        (ArgRange { start: 0, len: 3 }, ArgRange { start: 0, len: u32::MAX as usize });
    let find = |ranges: &[ArgRange]| {
        let found = Finder::new(server).find(Args::new(&bytes, ranges));
        found.map(|it| it.spec.name).map_err(|error| error.to_string())
    };
    assert_eq!(find(&[name, name, long]), Ok("SET"));
    let refused = find(&[name, long, name]).expect_err("no key is so long");
    assert_eq!(refused, "ERR a key or an element must be shorter than 4 GiB");
}

#[test]
fn a_snapshot_is_of_one_instant() {
    const PAIRS: u64 = 200;
    const ROUNDS: usize = 1_200;
    const SNAPSHOTS_MAX: usize = 5;
    let (server, address) = start();
    let is_over = AtomicBool::new(false);
    let write = |seed: u64| {
        let mut client = Client::connect(address).expect("it listens");
        let mut random = Random::with_seed(seed);
        for round in 0..ROUNDS {
            let pair = random.below(PAIRS);
            let line = match random.below(8) {
                0 => format!("DEL left:{pair} right:{pair}"),
                1 => "DEL list copy".to_owned(),
                2 | 3 => "RPUSH list a b".to_owned(),
                4 => "COPY list copy".to_owned(),
                _ => format!("MSET left:{pair} {seed}:{round} right:{pair} {seed}:{round}"),
            };
            call(&mut client, &line);
        }
    };
    let check = |snapshot: &Snapshot| {
        let find = |name: String| snapshot.find(0, Key::new(name.as_bytes())).map(shown);
        for pair in 0..PAIRS {
            assert_eq!(find(format!("left:{pair}")), find(format!("right:{pair}")), "torn");
        }
        for list in ["list", "copy"] {
            let Some(record) = snapshot.find(0, Key::new(list.as_bytes())) else { continue };
            let ValueRef::List(list) = record.value() else { panic!("a list was stored") };
            assert_eq!(list.len() % 2, 0);
        }
    };
    let look = |seed: u64| {
        let mut random = Random::with_seed(seed);
        let mut kept: Vec<(Snapshot, Vec<_>)> = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let snapshot = server.keyspace.snapshot();
            check(&snapshot);
            let seen = content(&snapshot);
            assert_eq!(seen.len(), snapshot.len(0));
            kept.push((snapshot, seen));
            if SNAPSHOTS_MAX < kept.len() {
                let (snapshot, seen) =
                    kept.swap_remove(random.below(SNAPSHOTS_MAX as u64) as usize);
                assert_eq!(content(&snapshot), seen, "it stays as it was");
            }
        }
        kept.into_iter().for_each(|(snapshot, seen)| assert_eq!(content(&snapshot), seen));
    };
    let (write, look) = (&write, &look);
    thread::scope(|scope| {
        for seed in 0..2 {
            scope.spawn(move || look(seed));
        }
        let writers: Vec<_> = (0..4).map(|seed| scope.spawn(move || write(seed))).collect();
        let results: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|it| it.expect("a writer"));
    });
}
