//! Clients that keep copies of keys, over several workers: no reply shows a new value before the copy of the old one is
//! taken back, and no copy stays that is out of date.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rubine_testing::client::{Client, Received};
use rubine_testing::server::Server;
use rubine_testing::value::Value;

use crate::support::{call, elements, info, integer, options, parallel_server, random, send};

const KEYS: u64 = 12;
const WRITERS: u64 = 4;
const WRITES: usize = 2500;

/// A client with copies of keys.
struct Cache {
    client: Client,
    copies: BTreeMap<String, Value>,
    /// Copies that this client itself has found gone, for which it will be told so.
    found_gone: BTreeSet<String>,
    invalidations: usize,
    is_told_of_own: bool,
}

impl Cache {
    fn new(server: &Server, mode: &str) -> Self {
        let mut client = server.client();
        call(&mut client, "HELLO 3");
        call(&mut client, &format!("CLIENT TRACKING ON {mode}"));
        let (copies, found_gone) = Default::default();
        let is_told_of_own = mode != "NOLOOP";
        Self { client, copies, found_gone, invalidations: 0, is_told_of_own }
    }

    /// The next reply, after all that is told before it.
    fn reply(&mut self) -> Value {
        loop {
            let value = self.client.reply().expect("a reply");
            if !self.take_back(&value) {
                return value;
            }
        }
    }

    /// Takes copies back, if that is what it says.
    fn take_back(&mut self, value: &Value) -> bool {
        let Value::Push(parts) = value else { return false };
        assert_eq!(parts[0].as_text().as_deref(), Some("invalidate"));
        self.invalidations += 1;
        if let Some(keys) = parts[1].as_elements() {
            for key in keys.iter().filter_map(Value::as_text) {
                self.copies.remove(&key);
                self.found_gone.remove(&key);
            }
        } else {
            self.copies.clear();
            self.found_gone.clear();
        }
        true
    }

    /// A reply has shown what a key holds.
    fn see(&mut self, key: &str, value: &Value) {
        if let Some(copy) = self.copies.get(key)
            && copy != value
        {
            // A key that is due goes when it is read, and whoever reads it is told after the reply.
            assert_eq!(*value, Value::Nil, "{key} was {copy:?}, and nobody has said so");
            if self.is_told_of_own {
                self.found_gone.insert(key.to_owned());
            }
        }
        self.copies.insert(key.to_owned(), value.clone());
    }

    /// Reads keys in one of several ways, always of the server.
    fn read(&mut self, way: u64, keys: [&str; 2]) {
        let [first, second] = keys;
        match way {
            0 => {
                // Several at once, so that what is told comes between the replies.
                for key in [first, second, first] {
                    send(&mut self.client, &format!("GET {key}"));
                }
                for key in [first, second, first] {
                    let value = self.reply();
                    self.see(key, &value);
                }
            }
            1 => {
                send(&mut self.client, &format!("MGET {first} {second}"));
                let values = self.reply();
                self.see(first, &elements(&values)[0]);
                self.see(second, &elements(&values)[1]);
            }
            2 => {
                let lines = ["MULTI", &format!("GET {first}"), &format!("MGET {second}"), "EXEC"]
                    .map(String::from);
                lines.iter().for_each(|it| send(&mut self.client, it));
                (0..3).for_each(|_| drop(self.reply()));
                let values = self.reply();
                self.see(first, &elements(&values)[0]);
                self.see(second, &elements(&elements(&values)[1])[0]);
            }
            _ => {
                let script = "return redis.call('get', KEYS[1])";
                send(&mut self.client, &format!("EVAL \"{script}\" 1 {first}"));
                let value = self.reply();
                self.see(first, &value);
            }
        }
    }

    /// Changes a key itself: it knows that its copy is out of date.
    fn write(&mut self, key: &str, number: usize) {
        send(&mut self.client, &format!("SET {key} {number}"));
        self.reply();
        self.copies.remove(key);
    }

    /// Hears all that it is told until nothing more comes.
    fn settle(&mut self) {
        send(&mut self.client, "PING");
        self.reply();
        while let Ok(Received::Value(value)) = self.client.receive(Duration::from_millis(500)) {
            assert!(self.take_back(&value), "a reply to nothing: {value:?}");
        }
    }
}

fn key(number: u64) -> String {
    format!("key:{number}")
}

/// Changes keys in all ways, each time to something new.
fn change(server: &Server, seed: u64, numbers: &AtomicUsize) {
    let mut client = server.client();
    let mut random = random(seed);
    for _ in 0..WRITES {
        let (first, second) = (key(random.below(KEYS)), key(random.below(KEYS)));
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let lines = match random.below(16) {
            0 => vec![format!("SET {first} {number} PX {}", 1 + random.below(5))],
            1 => vec![format!("DEL {first}")],
            2 => vec![
                "MULTI".to_owned(),
                format!("SET {first} {number}"),
                format!("DEL {second}"),
                "EXEC".to_owned(),
            ],
            3 => vec![format!("EVAL \"redis.call('set', KEYS[1], ARGV[1])\" 1 {first} {number}")],
            4 => vec![format!("SET from {number}"), format!("RENAME from {first}")],
            5 => vec![format!("MSET {first} {number}a {second} {number}b")],
            6 if random.below(20) == 0 => vec!["FLUSHALL".to_owned()],
            6 if random.below(20) == 1 => vec!["SWAPDB 0 1".to_owned()],
            _ => vec![format!("SET {first} {number}")],
        };
        lines.iter().for_each(|it| send(&mut client, it));
        lines.iter().for_each(|_| drop(client.reply().expect("a reply")));
    }
}

/// Many clients keep copies, each in its way, while others change the keys.
#[test]
fn copies_are_taken_back_before_new_values_are_seen() {
    let modes =
        ["", "", "NOLOOP", "", "BCAST", "BCAST NOLOOP", "BCAST PREFIX from PREFIX key:", "OPTOUT"];
    let server = parallel_server();
    let (numbers, writers_left) = (AtomicUsize::new(1), AtomicUsize::new(WRITERS as usize));
    let keep = |index: usize, mode: &str| {
        let mut cache = Cache::new(&server, mode);
        let mut random = random(100 + index as u64);
        while 0 < writers_left.load(Ordering::Relaxed) {
            let keys = [key(random.below(KEYS)), key(random.below(KEYS))];
            if random.below(20) == 0 {
                cache.write(&keys[0], numbers.fetch_add(1, Ordering::Relaxed));
            } else {
                cache.read(random.below(4), [&keys[0], &keys[1]]);
            }
        }
        cache
    };
    let keep = &keep;
    let mut caches = thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (server, numbers, writers_left) = (&server, &numbers, &writers_left);
            scope.spawn(move || {
                change(server, writer, numbers);
                writers_left.fetch_sub(1, Ordering::Relaxed);
            });
        }
        let threads: Vec<_> = modes
            .iter()
            .enumerate()
            .map(|(index, mode)| scope.spawn(move || keep(index, mode)))
            .collect();
        threads.into_iter().map(|it| it.join().expect("a cache")).collect::<Vec<_>>()
    });
    let mut main = server.client();
    for (cache, mode) in caches.iter_mut().zip(modes) {
        cache.settle();
        assert!(cache.found_gone.is_empty(), "{mode}: not told of {:?}", cache.found_gone);
        assert!(100 < cache.invalidations, "{mode}: {} invalidations", cache.invalidations);
        for (key, copy) in &cache.copies {
            let now = call(&mut main, &format!("GET {key}"));
            let is_same = now.as_text() == copy.as_text();
            assert!(is_same, "{mode}: {key} is {now:?}, and the copy {copy:?}");
        }
    }
    assert_eq!(info(&mut main, "clients", "tracking_clients"), modes.len().to_string());
    drop(caches);
    crate::support::wait_until("readers are forgotten", || {
        info(&mut main, "stats", "tracking_total_items") == "0"
    });
}

/// A client that waits for a stream keeps what it was given, which is out of date at once: it is told so, and after its
/// reply.
#[test]
fn what_was_waited_for_is_tracked() {
    const ROUNDS: usize = 1500;
    let server = parallel_server();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = server.client();
                while !is_over.load(Ordering::Relaxed) {
                    // The second comes when the first has served whoever waits.
                    (0..2).for_each(|_| send(&mut client, "XADD stream * field value"));
                    (0..2).for_each(|_| drop(client.reply().expect("a reply")));
                    thread::sleep(Duration::from_micros(100));
                }
            });
        }
        let mut reader = Cache::new(&server, "");
        for _ in 0..ROUNDS {
            send(&mut reader.client, "XREAD BLOCK 0 STREAMS stream $");
            let reply = reader.reply();
            let Value::Map(streams) = &reply else { panic!("a map was due: {reply:?}") };
            // Whoever has the last one knows the stream, until it is told otherwise.
            reader.copies.insert("stream".to_owned(), streams[0].1.clone());
            while !reader.copies.is_empty() {
                let told = reader.client.reply().expect("it is told of what comes after");
                assert!(reader.take_back(&told), "a reply to nothing: {told:?}");
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Copies of a client are taken back by another, over workers; when that is gone, the first is told.
#[test]
fn notices_go_where_they_are_redirected() {
    let server = parallel_server();
    let mut main = server.client();
    let mut listeners: Vec<Client> = (0..4).map(|_| server.client()).collect();
    let mut readers = Vec::new();
    for listener in &mut listeners {
        let id = integer(&call(listener, "CLIENT ID"));
        call(listener, "SUBSCRIBE __redis__:invalidate");
        let mut reader = server.client();
        call(&mut reader, "HELLO 3");
        call(&mut reader, &format!("CLIENT TRACKING ON REDIRECT {id}"));
        readers.push((reader, id));
    }
    for (reader, _) in &mut readers {
        call(reader, "GET shared");
    }
    call(&mut main, "SET shared 1");
    for listener in &mut listeners {
        let message = listener.reply().expect("a message");
        assert_eq!(elements(&elements(&message)[2])[0].as_text().as_deref(), Some("shared"));
    }
    drop(listeners);
    crate::support::wait_until("the listeners are gone", || {
        info(&mut main, "clients", "pubsub_clients") == "0"
    });
    for (reader, id) in &mut readers {
        call(reader, "GET shared");
        call(&mut main, "SET shared 2");
        let told = reader.reply().expect("a push");
        assert_eq!(elements(&told)[0].as_text().as_deref(), Some("tracking-redir-broken"));
        assert_eq!(integer(&elements(&told)[1]), *id);
    }
}

/// A client that does not read what it is told costs a bounded amount of memory.
#[test]
fn who_does_not_read_costs_little() {
    let server = options().with("workers", "2").start().expect("the server starts");
    let mut deaf = server.client();
    call(&mut deaf, "HELLO 3");
    call(&mut deaf, "CLIENT TRACKING ON BCAST");
    let mut main = server.client();
    let before: usize = info(&mut main, "memory", "used_memory").parse().expect("a number");
    // 320 MB of names in all, many of them at once, and 160 MB one by one: each is a message of its own.
    let name = "k".repeat(64 * 1024);
    for _ in 0..25 {
        for number in 0..100 {
            send(&mut main, &format!("SET {name}{number} value"));
            send(&mut main, &format!("DEL {name}{number}"));
        }
        (0..200).for_each(|_| drop(main.reply().expect("a reply")));
    }
    for number in 0..1250 {
        call(&mut main, &format!("SET {name}{} value", number % 100));
        call(&mut main, &format!("DEL {name}{}", number % 100));
    }
    let after: usize = info(&mut main, "memory", "used_memory").parse().expect("a number");
    assert!(after < before + 128 * 1024 * 1024, "{before} bytes before, {after} after");
    // When it reads, it is told to give up all, and of what comes then.
    call(&mut main, "SET last 1");
    let mut has_all = false;
    loop {
        let told = deaf.reply().expect("a push");
        match elements(&told)[1].as_elements() {
            None => has_all = true,
            Some(keys) if keys.iter().any(|it| it.as_text().as_deref() == Some("last")) => break,
            Some(_) => {}
        }
        if has_all {
            break;
        }
    }
}
