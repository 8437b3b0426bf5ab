//! Two servers side by side, which get the same requests. Makes up no request of its own but those that look at the state,
//! and those that make a random choice of one the other's.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rubine_testing::client::{Client, Received};
use rubine_testing::render::{quote, render};
use rubine_testing::value::{Value, encode_request};

use super::compare::{Promise, is_accepted};
use super::requests::{Request, line};
use super::words;

/// How long a reply may take before the client is thought to wait for a key.
const SILENCE_MAX: Duration = Duration::from_millis(400);

/// Databases that requests select.
const DATABASES: usize = 3;

/// Requests that are sent before the first is answered.
const REQUESTS_AHEAD_MAX: usize = 24;

/// Calls of a scan after which it is thought to go in circles.
const SCAN_CALLS_MAX: usize = 10_000;

/// Where the servers listen: ours, then the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses(pub(super) [SocketAddr; 2]);

/// What differs, and after which request.
#[derive(Debug)]
pub(super) struct Difference {
    /// Its place in the sequence; behind the last one if the state differs.
    pub(super) index: usize,
    pub(super) about: String,
    pub(super) ours: String,
    pub(super) theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { about, ours, theirs, .. } = self;
        write!(formatter, "{about}\n--- ours\n{ours}\n--- theirs\n{theirs}")
    }
}

/// A connection to each.
struct Pair {
    clients: [Client; 2],
    /// The requests that are queued in a transaction.
    queued: Option<Vec<Request>>,
}

/// A reply of each; nothing where a client waits.
type Replies = [Option<Value>; 2];

/// Plays a sequence from an empty state; what differs first, if anything does.
pub(super) fn play(addresses: Addresses, sequence: &[Request]) -> io::Result<Option<Difference>> {
    let mut pair = Pair::connect(addresses)?;
    pair.clear()?;
    let mut sent = 0;
    for (index, request) in sequence.iter().enumerate() {
        if sent <= index {
            sent = pair.send_ahead(sequence, index)?;
        }
        let is_sent = index < sent;
        let replies = if is_sent { Some(pair.receive()?) } else { pair.ask(request)? };
        let Some([ours, theirs]) = replies else { continue };
        let is_same = match (&ours, &theirs) {
            (Some(ours), Some(theirs)) => {
                pair.is_same(request, ours, theirs) || is_accepted(request, ours, theirs)
            }
            // Both wait: the sequence is over, as far as this client is concerned.
            (None, None) => return Ok(None),
            _ => false,
        };
        if !is_same {
            let shown = |it: Option<Value>| it.map_or("(waits)".to_owned(), |it| render(&it));
            let about = as_line(request);
            let (ours, theirs) = (shown(ours), shown(theirs));
            return Ok(Some(Difference { index, about, ours, theirs }));
        }
        if let (Some(ours), Some(_)) = (&ours, &theirs) {
            pair.note(request, ours);
        }
    }
    pair.compare_states(sequence.len())
}

/// As redis-cli takes it.
pub(super) fn as_line(request: &Request) -> String {
    let is_plain = |word: &[u8]| {
        !word.is_empty() && word.iter().all(|it| it.is_ascii_graphic() && !b"\"'\\".contains(it))
    };
    let words = request.iter().map(|word| {
        if is_plain(word) { String::from_utf8_lossy(word).into_owned() } else { quote(word) }
    });
    words.collect::<Vec<_>>().join(" ")
}

impl Pair {
    fn connect(addresses: Addresses) -> io::Result<Self> {
        let [ours, theirs] = addresses.0;
        let clients = [Client::connect(ours)?, Client::connect(theirs)?];
        Ok(Self { clients, queued: None })
    }

    fn clear(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        encode_request(&["FLUSHALL"], &mut bytes);
        for limit in words::USUAL_LIMITS {
            encode_request(&line(limit), &mut bytes);
        }
        for client in &mut self.clients {
            client.send_raw(&bytes)?;
        }
        for _ in 0..=words::USUAL_LIMITS.len() {
            self.receive()?;
        }
        Ok(())
    }

    /// Sends some requests from `start` on to both, up to one that needs more than that. Returns where it stopped.
    fn send_ahead(&mut self, sequence: &[Request], start: usize) -> io::Result<usize> {
        let end = sequence.len().min(start + REQUESTS_AHEAD_MAX);
        let plain = sequence[start..end].iter().take_while(|it| !is_special(&name_of(it)));
        let mut bytes = Vec::new();
        let mut count = 0;
        for request in plain {
            encode_request(request, &mut bytes);
            count += 1;
        }
        for client in &mut self.clients {
            client.send_raw(&bytes)?;
        }
        Ok(start + count)
    }

    fn receive(&mut self) -> io::Result<Replies> {
        let [ours, theirs] = &mut self.clients;
        Ok([receive(ours)?, receive(theirs)?])
    }

    /// The replies to a special request; `None` if it is not worth asking here.
    fn ask(&mut self, request: &Request) -> io::Result<Option<Replies>> {
        match (name_of(request).as_str(), &self.queued) {
            ("SPOP", Some(_)) => Ok(None),
            ("SPOP", None) => self.pop_at_random(request).map(Some),
            (_, None) => self.scan(request).map(Some),
            (_, Some(_)) => {
                for client in &mut self.clients {
                    client.send(request)?;
                }
                self.receive().map(Some)
            }
        }
    }

    /// Pops members of ours and removes the same of the other.
    fn pop_at_random(&mut self, request: &Request) -> io::Result<Replies> {
        let [ours, theirs] = &mut self.clients;
        let reply = ours.call(request)?;
        let popped: Vec<Vec<u8>> = match &reply {
            Value::Bulk(member) => vec![member.clone()],
            value => {
                let members = value.as_elements().unwrap_or_default();
                members.iter().filter_map(|it| it.as_bytes().map(<[u8]>::to_vec)).collect()
            }
        };
        if popped.is_empty() {
            let other = theirs.call(request)?;
            return Ok([Some(reply), Some(other)]);
        }
        let count = Value::Integer(popped.len() as i64);
        let key = &request[1];
        let popped_count = popped.len();
        let removal: Request = [b"SREM".to_vec(), key.clone()].into_iter().chain(popped).collect();
        let other = theirs.call(&removal)?;
        keep_as_after_spop(theirs, key, popped_count)?;
        Ok([Some(count), Some(other)])
    }

    /// All elements that a scan visits, from its first call to its last, in order.
    fn scan(&mut self, request: &Request) -> io::Result<Replies> {
        let [ours, theirs] = &mut self.clients;
        Ok([Some(scan_all(ours, request)?), Some(scan_all(theirs, request)?)])
    }

    fn is_same(&self, request: &Request, ours: &Value, theirs: &Value) -> bool {
        let is_exec = request[0].eq_ignore_ascii_case(b"EXEC");
        let (Some(queued), true) = (&self.queued, is_exec) else {
            let is_queued = matches!(ours, Value::Status(text) if text == "QUEUED");
            let promise = if is_queued { Promise::Exact } else { Promise::of(request) };
            return promise.is_kept(ours, theirs);
        };
        match (ours.as_elements(), theirs.as_elements()) {
            (Some(ours), Some(theirs)) if ours.len() == theirs.len() => {
                let mut replies = queued.iter().zip(ours.iter().zip(theirs));
                replies.all(|(request, (ours, theirs))| {
                    Promise::of(request).is_kept(ours, theirs) || is_accepted(request, ours, theirs)
                })
            }
            _ => ours == theirs,
        }
    }

    /// Follows a transaction.
    fn note(&mut self, request: &Request, reply: &Value) {
        let is = |name: &[u8]| request[0].eq_ignore_ascii_case(name);
        let is_queued = matches!(reply, Value::Status(text) if text == "QUEUED");
        if is(b"EXEC") || is(b"DISCARD") {
            self.queued = None;
        } else if is(b"MULTI") && !matches!(reply, Value::Error(_)) {
            self.queued = Some(Vec::new());
        } else if let Some(queued) = &mut self.queued
            && is_queued
        {
            queued.push(request.clone());
        }
    }

    /// Compares all keys: their values, their encodings, their deadlines.
    fn compare_states(&mut self, index: usize) -> io::Result<Option<Difference>> {
        let difference = |about: &str, [ours, theirs]: [String; 2]| {
            Ok(Some(Difference { index, about: about.to_owned(), ours, theirs }))
        };
        for database in 0..DATABASES {
            let [ours, theirs] = self.each(&line(&format!("SELECT {database}")))?;
            assert!(ours == theirs, "both have {DATABASES} databases");
            let keys = self.each(&line("KEYS *"))?;
            if !Promise::Elements.is_kept(&keys[0], &keys[1]) {
                let about = format!("the keys of database {database}");
                return difference(&about, keys.map(|it| render(&it)));
            }
            let keys = keys[0].as_elements().unwrap_or_default().to_vec();
            for key in keys.iter().filter_map(Value::as_bytes) {
                for (words, promise) in LOOKS {
                    let request: Request = line(words).into_iter().chain([key.to_vec()]).collect();
                    let [ours, theirs] = self.each(&request)?;
                    let is_same =
                        promise.is_kept(&ours, &theirs) || is_accepted(&request, &ours, &theirs);
                    if !is_same {
                        let about = format!("{} afterwards", as_line(&request));
                        return difference(&about, [ours, theirs].map(|it| render(&it)));
                    }
                }
            }
        }
        Ok(None)
    }

    fn each(&mut self, request: &Request) -> io::Result<[Value; 2]> {
        let [ours, theirs] = &mut self.clients;
        Ok([ours.call(request)?, theirs.call(request)?])
    }
}

/// Where few members of a large set stay, SPOP makes a new set of them, which is small then; SREM leaves it as it was.
fn keep_as_after_spop(client: &mut Client, key: &[u8], popped: usize) -> io::Result<()> {
    /// If so many times more go than stay.
    const GOING_PER_STAYING_MIN: usize = 5;
    const NO_NUMBER: &[u8] = b"none";
    let mut call = |name: &str, arguments: &[&[u8]]| {
        let words = name.split(' ').map(str::as_bytes).chain(arguments.iter().copied());
        client.call(&words.map(<[u8]>::to_vec).collect::<Request>())
    };
    let members = call("SMEMBERS", &[key])?;
    let members = members.as_elements().unwrap_or_default();
    let members: Vec<&[u8]> = members.iter().filter_map(Value::as_bytes).collect();
    let [first, others @ ..] = members.as_slice() else { return Ok(()) };
    let is_large = call("OBJECT ENCODING", &[key])?.as_bytes() == Some(b"hashtable");
    if !is_large || popped < GOING_PER_STAYING_MIN * members.len() {
        return Ok(());
    }
    let deadline = call("PEXPIRETIME", &[key])?;
    call("DEL", &[key])?;
    call("SADD", &[key, NO_NUMBER, first])?;
    call("SREM", &[key, NO_NUMBER])?;
    if !others.is_empty() {
        call("SADD", &[&[key], others].concat())?;
    }
    if let Value::Integer(deadline @ 0..) = deadline {
        call("PEXPIREAT", &[key, deadline.to_string().as_bytes()])?;
    }
    Ok(())
}

fn name_of(request: &Request) -> String {
    String::from_utf8_lossy(&request[0]).to_uppercase()
}

/// Commands that take more than one request and one reply to compare.
fn is_special(name: &str) -> bool {
    matches!(name, "SPOP" | "SCAN" | "SSCAN" | "HSCAN" | "ZSCAN")
}

/// How a key is looked at, the key coming last, and what is promised of the reply.
const LOOKS: &[(&str, Promise)] = &[
    ("TYPE", Promise::Exact),
    ("OBJECT ENCODING", Promise::Exact),
    ("PEXPIRETIME", Promise::Time),
    ("DEBUG DIGEST-VALUE", Promise::Exact),
];

fn receive(client: &mut Client) -> io::Result<Option<Value>> {
    match client.receive(SILENCE_MAX)? {
        Received::Value(value) => Ok(Some(value)),
        Received::Nothing => Ok(None),
        Received::Closed => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a server hung up")),
    }
}

fn scan_all(client: &mut Client, request: &Request) -> io::Result<Value> {
    let cursor_at = if request[0].eq_ignore_ascii_case(b"SCAN") { 1 } else { 2 };
    let mut request = request.clone();
    let mut all = Vec::new();
    for _ in 0..SCAN_CALLS_MAX {
        let reply = client.call(&request)?;
        let Some([cursor, elements]) = reply.as_elements() else { return Ok(reply) };
        all.extend(elements.as_elements().unwrap_or_default().iter().map(render));
        let cursor = cursor.as_bytes().unwrap_or_default();
        if cursor == b"0" {
            all.sort();
            return Ok(Value::Array(all.into_iter().map(|it| Value::Bulk(it.into())).collect()));
        }
        request[cursor_at] = cursor.to_vec();
    }
    Err(io::Error::other("a scan does not end"))
}
