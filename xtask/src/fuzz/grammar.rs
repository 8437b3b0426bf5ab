//! Requests made up by the syntax that COMMAND DOCS gives, and then spoilt. Sends nothing.

use rubine_base::random::Random;
use rubine_testing::value::Value;

/// How deep arguments nest before the rest is left out, and how often one that may repeat does.
const DEPTH_MAX: usize = 8;
const REPEATS_MAX: u64 = 4;

/// Few keys, so that commands meet.
const KEYS: u64 = 24;

/// Values at and beyond the edges of what is allowed.
const EDGES: &[&[u8]] = &[
    b"",
    b"0",
    b"1",
    b"-1",
    b"2",
    b"10",
    b"100",
    b"1000",
    b"-0",
    b"+1",
    b" 1",
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
    b"256",
    b"32767",
    b"65535",
    b"65536",
    b"16777216",
    b"2147483647",
    b"-2147483648",
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
    b"*",
    b"?",
    b"[a-",
    b"[^\\",
    b"\\",
    b"(1",
    b"[1",
    b"$",
    b"#",
    b"\r\n",
    b"\0",
    b"\xff\xfe",
    b"yes",
    b"no",
    b"on",
    b"off",
    b"1-1",
    b"0-0",
    b"u8",
    b"i64",
    b"1gb",
    b"10%",
    b"FIELDS",
    b"COUNT",
    b"MATCH",
    b"GET",
    b"WITHVALUES",
    b"string",
    b"list",
    b"hash",
];

/// One argument of a command's syntax.
#[derive(Debug)]
struct Argument {
    kind: Kind,
    token: Option<String>,
    is_optional: bool,
    repeats: bool,
    repeats_token: bool,
}

#[derive(Debug)]
enum Kind {
    Key,
    Text,
    Integer,
    Double,
    UnixTime,
    Pattern,
    PureToken,
    OneOf(Vec<Argument>),
    Block(Vec<Argument>),
}

/// A command, or one of a container's.
#[derive(Debug)]
pub(super) struct Command {
    name: Vec<String>,
    arguments: Vec<Argument>,
}

impl Command {
    /// Whether its name, with its container's in front, is among `names` or its container is.
    pub(super) fn is_among(&self, names: &[&str]) -> bool {
        names.contains(&self.name.join(" ").as_str()) || names.contains(&self.name[0].as_str())
    }

    /// A request by the syntax, spoilt more or less.
    pub(super) fn request(&self, random: &mut Random) -> Vec<Vec<u8>> {
        let mut words: Vec<Vec<u8>> = self.name.iter().map(|it| it.clone().into_bytes()).collect();
        let name_count = words.len();
        write_all(&self.arguments, random, DEPTH_MAX, &mut words);
        if random.below(3) == 0 {
            for _ in 0..=random.below(3) {
                spoil(&mut words, name_count, random);
            }
        }
        if self.is_among(&["MIGRATE"]) {
            // It must never reach anybody.
            let target = [b"127.0.0.1".as_slice(), b"1"];
            words.iter_mut().skip(name_count).zip(target).for_each(|(it, to)| *it = to.to_vec());
        }
        words
    }
}

/// All commands that COMMAND DOCS describes.
pub(super) fn commands(docs: &Value) -> Vec<Command> {
    let mut commands = Vec::new();
    add_commands(docs, &[], &mut commands);
    commands
}

fn add_commands(docs: &Value, parents: &[String], commands: &mut Vec<Command>) {
    for pair in docs.as_elements().unwrap_or_default().chunks_exact(2) {
        let full = pair[0].as_text().unwrap_or_default().to_uppercase();
        let own = full.rsplit('|').next().unwrap_or_default().to_owned();
        let name = [parents, &[own]].concat();
        if let Some(subcommands) = field(&pair[1], "subcommands") {
            add_commands(subcommands, &name, commands);
            continue;
        }
        let arguments = field(&pair[1], "arguments").map(arguments).unwrap_or_default();
        commands.push(Command { name, arguments });
    }
}

fn field<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    let mut pairs = map.as_elements()?.chunks_exact(2);
    pairs.find(|pair| pair[0].as_bytes() == Some(name.as_bytes())).map(|pair| &pair[1])
}

fn arguments(list: &Value) -> Vec<Argument> {
    list.as_elements().unwrap_or_default().iter().map(argument).collect()
}

fn argument(description: &Value) -> Argument {
    let nested = || field(description, "arguments").map(arguments).unwrap_or_default();
    let kind = field(description, "type").and_then(Value::as_text).unwrap_or_default();
    let flags = field(description, "flags").and_then(Value::as_elements).unwrap_or_default();
    let has = |flag: &str| flags.iter().any(|it| it.as_text().as_deref() == Some(flag));
    Argument {
        kind: match kind.as_str() {
            "key" => Kind::Key,
            "integer" => Kind::Integer,
            "double" => Kind::Double,
            "unix-time" => Kind::UnixTime,
            "pattern" => Kind::Pattern,
            "pure-token" => Kind::PureToken,
            "oneof" => Kind::OneOf(nested()),
            "block" => Kind::Block(nested()),
            _ => Kind::Text,
        },
        token: field(description, "token").and_then(Value::as_text),
        is_optional: has("optional"),
        repeats: has("multiple"),
        repeats_token: has("multiple_token"),
    }
}

fn write_all(arguments: &[Argument], random: &mut Random, depth: usize, words: &mut Vec<Vec<u8>>) {
    for argument in arguments {
        if depth == 0 || (argument.is_optional && random.below(2) == 0) {
            continue;
        }
        let times = if argument.repeats { 1 + random.below(REPEATS_MAX) } else { 1 };
        for time in 0..times {
            if let Some(token) = &argument.token
                && (time == 0 || argument.repeats_token)
            {
                words.push(token.clone().into_bytes());
            }
            write_one(&argument.kind, random, depth, words);
        }
    }
}

fn write_one(kind: &Kind, random: &mut Random, depth: usize, words: &mut Vec<Vec<u8>>) {
    const UNIX_TIME: u64 = 1_800_000_000;
    let is_edge = random.below(8) == 0;
    let word = match kind {
        Kind::PureToken => return,
        Kind::Block(arguments) => return write_all(arguments, random, depth - 1, words),
        Kind::OneOf(arguments) => {
            if let Some(index) = below_len(random, arguments.len()) {
                write_all(&arguments[index..=index], random, depth - 1, words);
            }
            return;
        }
        Kind::Key => key(random),
        _ if is_edge => edge(random),
        Kind::Text | Kind::Pattern => text(random),
        Kind::Integer => random.below(12).to_string().into_bytes(),
        Kind::Double => format!("{:.3}", random.next_f64() * 10.0).into_bytes(),
        Kind::UnixTime => (UNIX_TIME + random.below(UNIX_TIME)).to_string().into_bytes(),
    };
    words.push(word);
}

fn key(random: &mut Random) -> Vec<u8> {
    format!("key:{}", random.below(KEYS)).into_bytes()
}

fn text(random: &mut Random) -> Vec<u8> {
    const LONG: u64 = 20_000;
    match random.below(12) {
        0 => edge(random),
        1 => vec![b'x'; random.below(LONG) as usize],
        2 => {
            let mut bytes = vec![0; random.below(100) as usize];
            random.fill(&mut bytes);
            bytes
        }
        3 => key(random),
        _ => format!("v{}", random.below(20)).into_bytes(),
    }
}

fn edge(random: &mut Random) -> Vec<u8> {
    EDGES[random.below(EDGES.len() as u64) as usize].to_vec()
}

/// Changes something behind the name.
fn spoil(words: &mut Vec<Vec<u8>>, name_count: usize, random: &mut Random) {
    let count = (words.len() - name_count.min(words.len())) as u64;
    let Some(index) = below_len(random, count as usize).map(|it| it + name_count) else {
        words.push(edge(random));
        return;
    };
    let other = name_count + random.below(count) as usize;
    match random.below(8) {
        0 => drop(words.remove(index)),
        1 => words.truncate(index),
        2 => words.swap(index, other),
        3 => words.insert(index, words[other].clone()),
        4 => words.insert(index, edge(random)),
        5 => words[index] = key(random),
        6 => words[index] = text(random),
        _ => words[index] = edge(random),
    }
}

fn below_len(random: &mut Random, len: usize) -> Option<usize> {
    (0 < len).then(|| random.below(len as u64) as usize)
}
