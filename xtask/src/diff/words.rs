//! What arguments are made of: few keys, members and numbers, so that commands meet, and values at the edges.

use rubine_base::random::Random;

/// Limits that let a handful of elements take the large forms.
pub(super) const SMALL_LIMITS: &[&str] = &[
    "CONFIG SET hash-max-listpack-entries 4",
    "CONFIG SET set-max-listpack-entries 4",
    "CONFIG SET set-max-intset-entries 3",
    "CONFIG SET zset-max-listpack-entries 4",
    "CONFIG SET list-max-listpack-size 3",
    "CONFIG SET hll-sparse-max-bytes 60",
    "CONFIG SET stream-node-max-entries 3",
];

/// Back to what the servers start with.
pub(super) const USUAL_LIMITS: &[&str] = &[
    "CONFIG SET hash-max-listpack-entries 512",
    "CONFIG SET set-max-listpack-entries 128",
    "CONFIG SET set-max-intset-entries 512",
    "CONFIG SET zset-max-listpack-entries 128",
    "CONFIG SET list-max-listpack-size -2",
    "CONFIG SET hll-sparse-max-bytes 3000",
    "CONFIG SET stream-node-max-entries 100",
];

/// Categories of commands in rules about users.
pub(super) const CATEGORIES: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

const PREFIXES: &[(&str, &[&str])] = &[
    ("string", &["s", "s", "s", "b"]),
    ("list", &["l"]),
    ("set", &["t"]),
    ("sorted-set", &["z", "z", "z", "z", "t", "g"]),
    ("hash", &["h"]),
    ("stream", &["x"]),
    ("bitmap", &["b", "b", "s"]),
    ("hyperloglog", &["p", "p", "p", "s"]),
    ("geo", &["g", "g", "g", "z"]),
    ("generic", &["s", "l", "t", "z", "h", "x", "b", "p", "g"]),
];

/// There is no zero byte among them: numbers and quoted words end there in Valkey.
const ODD: &[&[u8]] = &[
    b"",
    b"0",
    b"1",
    b"-1",
    b"2",
    b"10",
    b"100",
    b"-0",
    b"+1",
    b" 1",
    b"1 ",
    b"01",
    b"0x10",
    b"1.5",
    b"-1.5",
    b"1e3",
    b"1e400",
    b"-1e400",
    b"1e-400",
    b"inf",
    b"-inf",
    b"+inf",
    b"nan",
    b"127",
    b"128",
    b"255",
    b"32768",
    b"16777216",
    b"2147483647",
    b"2147483648",
    b"-2147483648",
    b"-2147483649",
    b"4294967295",
    b"4294967296",
    b"9223372036854775807",
    b"9223372036854775806",
    b"-9223372036854775808",
    b"-9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"99999999999999999999999999999999",
    b"9223372036854775",
    b"9223372036854776",
    b"-",
    b"+",
    b"?",
    b"(1",
    b"[1",
    b"(",
    b"[",
    b"$",
    b">",
    b"#",
    b"=",
    b"~",
    b"\r\n",
    b"\xff\xfe",
    b"1-1",
    b"0-0",
    b"u8",
    b"i64",
    b"FIELDS",
    b"COUNT",
    b"LIMIT",
    b"MATCH",
    b"GET",
    b"NX",
    b"XX",
    b"KEEPTTL",
    b"WITHSCORES",
    b"STREAMS",
    b"WEIGHTS",
    b"AGGREGATE",
    b"left",
    b"before",
];

/// A word that hardly ever fits.
pub(super) fn odd(random: &mut Random) -> Vec<u8> {
    pick(random, ODD).to_vec()
}

/// A key that most likely holds what a command is about. Those that begin with y are of sorted sets whose scores are all
/// the same.
pub(super) fn key(command: &str, group: &str, random: &mut Random) -> Vec<u8> {
    let by_member = command.contains("LEX") || command == "ZADD" || command.starts_with("ZRANGE");
    if by_member && (command.contains("LEX") || random.below(4) == 0) {
        return format!("y{}", random.below(2)).into_bytes();
    }
    if random.below(16) == 0 {
        return any_key(random);
    }
    let prefixes = PREFIXES.iter().find(|it| it.0 == group).map_or(&["s"][..], |it| it.1);
    format!("{}{}", pick(random, prefixes), random.below(3)).into_bytes()
}

/// A key of any type.
pub(super) fn any_key(random: &mut Random) -> Vec<u8> {
    let (_, prefixes) = PREFIXES[PREFIXES.len() - 1];
    format!("{}{}", pick(random, prefixes), random.below(3)).into_bytes()
}

/// A value for the argument that a command calls `name`.
pub(super) fn value(name: &str, command: &str, group: &str, random: &mut Random) -> Vec<u8> {
    let is_stream = group == "stream";
    let text = match name {
        "member" | "member1" | "member2" | "element" | "field" | "pivot" => {
            return element(random);
        }
        "value" if group == "bitmap" => return bit_value(command, random),
        "increment"
            if group == "bitmap" || command.ends_with("INCRBY") && group != "sorted-set" =>
        {
            small(random)
        }
        "score" | "weight" | "increment" => score(random),
        "min" | "max" => bound(command, random),
        "start" | "stop" | "end" if is_stream => stream_bound(random),
        "start" | "stop" if command == "ZRANGE" => bound(command, random),
        "start" | "stop" | "end" | "decrement" | "rank" | "index" | "entries-added"
        | "entriesread" => small(random),
        "offset" => offset(group, random),
        "bit" => random.below(2).to_string(),
        "encoding" => bit_encoding(random),
        "count" | "limit" | "len" | "min-match-len" | "num-matches" => {
            pick(random, &["0", "1", "2", "3", "5", "100", "-1", "-2"]).to_owned()
        }
        "timeout" => pick(random, &["0.001", "0.002", "-1", "x"]).to_owned(),
        "milliseconds" if is_stream => pick(random, &["1", "2", "-1"]).to_owned(),
        "seconds" | "ttl" => pick(random, &["100", "1000", "5000", "0", "-1"]).to_owned(),
        "milliseconds" | "ms" => {
            pick(random, &["100000", "1000000", "5000000", "0", "-1"]).to_owned()
        }
        "unix-time-seconds" => pick(random, &["4102444800", "4102444801", "1", "0"]).to_owned(),
        "unix-time-milliseconds" => {
            pick(random, &["4102444800000", "4102444800001", "1", "0"]).to_owned()
        }
        "db" | "destination-db" => pick(random, &["0", "1", "1", "2"]).to_owned(),
        "cursor" | "min-idle-time" => "0".to_owned(),
        "longitude" => pick(random, LONGITUDES).to_owned(),
        "latitude" => pick(random, LATITUDES).to_owned(),
        "radius" | "width" | "height" => {
            pick(random, &["0", "1", "100", "200.5", "1500", "6000000", "-1"]).to_owned()
        }
        "pattern" | "by-pattern" | "get-pattern" => {
            pick(random, &["*", "s*", "m[0-3]", "?1", "#", "h0->*", "s*", "h*->m1", "x"]).to_owned()
        }
        "type" => {
            pick(random, &["string", "list", "set", "zset", "hash", "stream", "none"]).to_owned()
        }
        "group" => format!("group{}", random.below(2)),
        "consumer" => format!("consumer{}", random.below(2)),
        "threshold" => pick(random, &["0", "1", "2", "5", "2-1", "3"]).to_owned(),
        "id" | "ID" | "lastid" | "last-id" | "max-deleted-id" => stream_id(command, random),
        _ => return string(random),
    };
    text.into_bytes()
}

const LONGITUDES: &[&str] =
    &["13.361389", "15.087269", "-180", "180", "0", "12.758489", "2.3522", "180.001", "-74.0060"];
const LATITUDES: &[&str] =
    &["38.115556", "37.502669", "85.05112878", "-85.05112878", "0", "86", "48.8566", "40.7128"];

fn element(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0..6 => format!("m{}", random.below(8)).into_bytes(),
        6..9 => small(random).into_bytes(),
        9 => format!("{}", random.below(100_000)).into_bytes(),
        10 => vec![b'a' + random.below(3) as u8; 30 + random.below(60) as usize],
        _ => string(random),
    }
}

fn string(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0 => Vec::new(),
        1..4 => small(random).into_bytes(),
        4 => score(random).into_bytes(),
        5 => {
            let mut bytes = vec![0; random.below(20) as usize];
            random.fill(&mut bytes);
            bytes
        }
        6 => vec![b'x'; random.below(300) as usize],
        _ => format!("v{}", random.below(6)).into_bytes(),
    }
}

/// An integer near zero, now and then one at an edge.
fn small(random: &mut Random) -> String {
    match random.below(16) {
        0 => {
            pick(random, &["9223372036854775807", "-9223372036854775808", "2147483648"]).to_owned()
        }
        _ => (random.below(16) as i64 - 5).to_string(),
    }
}

fn score(random: &mut Random) -> String {
    match random.below(12) {
        0 => "inf".to_owned(),
        1 => "-inf".to_owned(),
        2 => "-0".to_owned(),
        3 => format!("{}", (random.next_f64() - 0.5) * 1e6),
        4 => format!("{:e}", f64::from_bits(random.next_u64() & !(1 << 62))),
        5 => format!("{:.3}", random.next_f64() * 10.0),
        6 => "1e16".to_owned(),
        _ => small(random),
    }
}

/// An end of a range of ranks, scores or members.
fn bound(command: &str, random: &mut Random) -> String {
    let by_member = command.contains("LEX") || command.ends_with("RANGE") && random.below(3) == 0;
    if by_member || command == "ZRANGESTORE" && random.below(3) == 0 {
        let letter = pick(random, &["m1", "m3", "m7", "a", "", "5", "zz"]);
        return match random.below(6) {
            0 => "-".to_owned(),
            1 => "+".to_owned(),
            2 | 3 => format!("[{letter}"),
            _ => format!("({letter}"),
        };
    }
    match random.below(6) {
        0 => format!("({}", score(random)),
        1 => "-inf".to_owned(),
        2 => "+inf".to_owned(),
        _ => small(random),
    }
}

fn stream_bound(random: &mut Random) -> String {
    match random.below(8) {
        0 | 1 => "-".to_owned(),
        2 | 3 => "+".to_owned(),
        4 => format!("({}", stream_id("", random)),
        _ => stream_id("", random),
    }
}

fn stream_id(command: &str, random: &mut Random) -> String {
    match (command, random.below(10)) {
        ("XADD", 0..6) => format!("{}-*", 1 + random.below(9)),
        ("XREADGROUP", 0..6) => ">".to_owned(),
        ("XREAD" | "XGROUP CREATE" | "XGROUP SETID", 0..2) => "$".to_owned(),
        ("XREAD", 2) => "+".to_owned(),
        (_, 0..4) => random.below(10).to_string(),
        (_, 4) => "0".to_owned(),
        _ => format!("{}-{}", random.below(10), random.below(3)),
    }
}

fn offset(group: &str, random: &mut Random) -> String {
    match (group, random.below(20)) {
        ("bitmap", 0) => "4294967296".to_owned(),
        ("bitmap", 1) => format!("#{}", random.below(9)),
        ("bitmap", 2) => "7000".to_owned(),
        ("bitmap", _) => random.below(80).to_string(),
        ("string", 0) => "536870912".to_owned(),
        ("string", _) => (random.below(40) as i64 - 1).to_string(),
        _ => small(random),
    }
}

fn bit_value(command: &str, random: &mut Random) -> Vec<u8> {
    if command == "SETBIT" { random.below(2).to_string() } else { small(random) }.into_bytes()
}

fn bit_encoding(random: &mut Random) -> String {
    let sign = pick(random, &["u", "i"]);
    let bits = pick(random, &["1", "2", "5", "8", "16", "31", "32", "63", "64", "65", "0"]);
    format!("{sign}{bits}")
}

fn pick<T: Copy>(random: &mut Random, all: &[T]) -> T {
    all[random.below(all.len() as u64) as usize]
}
