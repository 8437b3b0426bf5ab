//! Random requests for all data commands, by the syntax that COMMAND DOCS gives: what an argument is called says what to
//! put there. Sends nothing.

use rubine_base::random::Random;
use rubine_testing::value::Value;

use super::words;

/// One request in so many is sent by a script, of groups whose replies have an order and whose values have no forms that
/// depend on who has set them.
const SCRIPTED_ONE_IN: u64 = 8;
const SCRIPTED_GROUPS: &[&str] = &["list", "sorted-set", "stream", "bitmap", "geo", "hyperloglog"];
/// Words in front of a request that a script sends.
const SCRIPT_WORDS: usize = 3;
/// How deep arguments nest before the rest is left out, and how often one that may repeat does.
const DEPTH_MAX: usize = 8;
const REPEATS_MAX: u64 = 4;

/// One request in so many is spoilt, and one value in so many is an odd one.
const SPOILT_ONE_IN: u64 = 10;
const ODD_ONE_IN: u64 = 24;

/// Groups of commands whose replies follow from the requests alone.
const GROUPS: &[&str] = &[
    "string",
    "list",
    "set",
    "sorted-set",
    "hash",
    "stream",
    "bitmap",
    "hyperloglog",
    "geo",
    "generic",
];

/// Commands that cannot be compared: they are about the server, or the time, or talk to a third one (MIGRATE, which
/// `cargo xtask exchange` and its own tests try).
const LEFT_OUT: &[&str] = &[
    "MIGRATE",
    "WAIT",
    "WAITAOF",
    "OBJECT FREQ",
    "OBJECT IDLETIME",
    "OBJECT REFCOUNT",
    "OBJECT HELP",
    "XGROUP HELP",
    "XINFO HELP",
    "PFSELFTEST",
    "PFDEBUG",
    "RESTORE",
    "CLUSTERSCAN",
];

/// Further requests, which are about databases and transactions.
const OTHERS: &[&str] = &[
    "MULTI",
    "MULTI",
    "EXEC",
    "EXEC",
    "EXEC",
    "DISCARD",
    "SELECT 0",
    "SELECT 0",
    "SELECT 1",
    "SWAPDB 0 1",
    "DBSIZE",
    "FLUSHDB",
    "WATCH s0 l0",
    "UNWATCH",
    "HELLO 2",
    "HELLO 3",
];

/// One request, as words.
pub(super) type Request = Vec<Vec<u8>>;

#[derive(Debug)]
struct Argument {
    name: String,
    kind: Kind,
    token: Option<String>,
    is_optional: bool,
    repeats: bool,
    repeats_token: bool,
}

#[derive(Debug)]
enum Kind {
    Key,
    PureToken,
    OneOf(Vec<Argument>),
    Block(Vec<Argument>),
    Value,
}

/// A command, or one of a container's.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) name: Vec<String>,
    group: String,
    arguments: Vec<Argument>,
}

/// A request as it is written: words with blanks between them.
pub(super) fn line(text: &str) -> Request {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// What requests are made of.
#[derive(Debug)]
pub(super) struct Grammar {
    commands: Vec<Command>,
}

impl Grammar {
    /// What the documents of one server describe and another, which has the commands of `known`, understands. Commands
    /// about data, and those of `more_groups`.
    pub(super) fn new(docs: &Value, known: &[String], more_groups: &[&str]) -> Self {
        let mut commands = Vec::new();
        add_commands(docs, &[], "", &mut commands);
        commands.retain(|it| {
            let full = it.name.join(" ");
            let group = it.group.as_str();
            (GROUPS.contains(&group) || more_groups.contains(&group))
                && !LEFT_OUT.contains(&full.as_str())
                && known.contains(&it.name.join("|"))
        });
        Self { commands }
    }

    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    /// A request that need not be one that can be compared, but does not fail for its form: which keys are in one that
    /// does is nobody's business.
    pub(super) fn well_formed_request(&self, random: &mut Random) -> Request {
        self.any_command(random).well_formed_request(random)
    }

    /// The name of a command as rules have it: `config|get`.
    pub(super) fn any_name(&self, random: &mut Random) -> String {
        self.any_command(random).name.join("|").to_lowercase()
    }

    fn any_command(&self, random: &mut Random) -> &Command {
        &self.commands[random.below(self.commands.len() as u64) as usize]
    }

    /// A sequence of requests: a few groups of commands, so that they meet, on small and on large forms.
    pub(super) fn sequence(&self, random: &mut Random, len: usize) -> Vec<Request> {
        let mut sequence = vec![];
        if random.below(2) == 0 {
            sequence.push(line("HELLO 3"));
        }
        if random.below(2) == 0 {
            sequence.extend(words::SMALL_LIMITS.iter().map(|it| line(it)));
        }
        let group_count = 1 + random.below(3);
        let groups: Vec<&str> = match random.below(4) {
            0 => GROUPS.to_vec(),
            _ => (0..group_count).map(|_| pick(random, GROUPS)).collect(),
        };
        let chosen: Vec<&Command> =
            self.commands.iter().filter(|it| groups.contains(&it.group.as_str())).collect();
        while sequence.len() < len && !chosen.is_empty() {
            if random.below(14) == 0 {
                sequence.push(line(pick(random, OTHERS)));
                continue;
            }
            let command = chosen[random.below(chosen.len() as u64) as usize];
            let request = command.request(random);
            if is_comparable(&request) {
                let is_scripted = SCRIPTED_GROUPS.contains(&command.group.as_str())
                    && random.below(SCRIPTED_ONE_IN) == 0;
                sequence.push(if is_scripted { scripted(request, random) } else { request });
            }
        }
        // SORT makes the sorted set that it reads a large one in Valkey, and only large ones have a negative zero.
        if sequence.iter().any(|it| it[0].starts_with(b"SORT")) {
            sequence.retain(|it| !it.iter().any(|word| word == b"-0"));
        }
        // What was begun is ended, so that the state can be looked at.
        sequence.extend([line("EXEC"), line("SELECT 0")]);
        sequence
    }
}

impl Command {
    fn request(&self, random: &mut Random) -> Request {
        let mut request = self.well_formed_request(random);
        if random.below(SPOILT_ONE_IN) == 0 {
            spoil(&mut request, self.name.len(), random);
        }
        request
    }

    fn well_formed_request(&self, random: &mut Random) -> Request {
        let mut request: Request = self.name.iter().map(|it| it.clone().into_bytes()).collect();
        let mut writer = Writer { command: self, random, request: &mut request, announced: None };
        writer.write_all(&self.arguments, DEPTH_MAX);
        request
    }

    fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name[0].as_str())
    }
}

/// Writes the arguments of one request.
struct Writer<'a> {
    command: &'a Command,
    random: &'a mut Random,
    request: &'a mut Request,
    /// How many arguments a number of keys or fields has announced.
    announced: Option<u64>,
}

impl Writer<'_> {
    fn write_all(&mut self, arguments: &[Argument], depth: usize) {
        for argument in arguments {
            if depth == 0 || (argument.is_optional && self.random.below(5) < 3) {
                continue;
            }
            let times = match (argument.repeats, self.announced) {
                (true, Some(count)) => count,
                (true, None) => 1 + self.random.below(REPEATS_MAX),
                (false, _) => 1,
            };
            for time in 0..times {
                if let Some(token) = &argument.token
                    && (time == 0 || argument.repeats_token)
                {
                    self.request.push(token.clone().into_bytes());
                }
                self.write_one(argument, depth);
            }
            let ends_announcement =
                argument.repeats && !argument.name.contains("key") || self.command.is(&["MSETEX"]);
            if ends_announcement {
                self.announced = None;
            }
        }
    }

    fn write_one(&mut self, argument: &Argument, depth: usize) {
        match &argument.kind {
            Kind::PureToken => {}
            Kind::Block(arguments) => self.write_all(arguments, depth - 1),
            Kind::OneOf(arguments) if arguments.is_empty() => {}
            Kind::OneOf(arguments) => {
                let index = self.random.below(arguments.len() as u64) as usize;
                self.write_all(&arguments[index..=index], depth - 1);
            }
            Kind::Key => {
                let key = words::key(&self.command.name[0], &self.command.group, self.random);
                self.request.push(key);
            }
            Kind::Value if argument.name.starts_with("num") && argument.name != "num-matches" => {
                let count = 1 + self.random.below(3);
                self.announced = Some(count);
                self.request.push(count.to_string().into_bytes());
            }
            Kind::Value if argument.name == "score" && self.request[1].starts_with(b"y") => {
                self.request.push(b"0".to_vec());
            }
            Kind::Value => {
                let command = self.command.name.join(" ");
                let word = match self.random.below(ODD_ONE_IN) {
                    0 => words::odd(self.random),
                    _ => words::value(&argument.name, &command, &self.command.group, self.random),
                };
                self.request.push(word);
            }
        }
    }
}

/// The same request, sent by a script: its reply goes through Lua and back. Errors are caught, since what is said of where they
/// were raised differs (`docs/families.md`).
fn scripted(request: Request, random: &mut Random) -> Request {
    const SCRIPTS: &[&str] = &[
        "return redis.pcall(unpack(ARGV))",
        "redis.setresp(3) return redis.pcall(unpack(ARGV))",
        "local reply = redis.pcall(unpack(ARGV)) return {type(reply), reply}",
        "local reply = redis.pcall(unpack(ARGV)) return {redis.pcall('DBSIZE'), type(reply), reply}",
    ];
    let head: [_; SCRIPT_WORDS] =
        ["EVAL", pick(random, SCRIPTS), "0"].map(|it| it.as_bytes().to_vec());
    head.into_iter().chain(request).collect()
}

/// What [`scripted`] has sent by a script, if this is such a request.
pub(super) fn sent_by_script(request: &[Vec<u8>]) -> Option<&[Vec<u8>]> {
    let is_eval = request.first().is_some_and(|it| it == b"EVAL");
    request.get(SCRIPT_WORDS..).filter(|_| is_eval)
}

/// Whether two servers must give the same reply, and give one at all, soon.
fn is_comparable(request: &Request) -> bool {
    /// A reply repeats as many elements as are asked for.
    const REPETITIONS_MIN: i64 = -1000;
    let name = String::from_utf8_lossy(&request[0]).to_uppercase();
    let numbers =
        || request[1..].iter().filter_map(|it| std::str::from_utf8(it).ok()?.parse::<f64>().ok());
    let has = |word: &[u8]| request.iter().any(|it| it.eq_ignore_ascii_case(word));
    let waits = has(b"BLOCK") || name.starts_with('B') && !name.starts_with("BIT");
    if falls_due_soon(&name, request) {
        return false;
    }
    match name.as_str() {
        name if name.ends_with("RANDMEMBER") || name == "HRANDFIELD" => {
            numbers().all(|it| REPETITIONS_MIN as f64 <= it)
        }
        // Valkey takes an index for one of 32 bits.
        "LSET" | "LINDEX" => numbers().all(|it| it.abs() < f64::from(i32::MAX)),
        // The keys that are asked for by the alphabet hold one score.
        "ZADD" | "ZINCRBY" if request.get(1).is_some_and(|it| it.starts_with(b"y")) => {
            numbers().all(|it| it == 0.0)
        }
        // Valkey sets memory aside for as many as may come, and refuses what it has no memory for.
        "XAUTOCLAIM" => numbers().all(|it| it < 1e6),
        // Valkey takes a number of fields that twice is more than 64 bits hold for what is left of it.
        _ if has(b"FIELDS") && numbers().any(|it| 4e18 < it.abs()) => false,
        // Valkey takes a key of this name for the option.
        "HGETEX" | "HSETEX" => !request.get(1).is_some_and(|it| it.eq_ignore_ascii_case(b"FIELDS")),
        // A cursor means something to the server alone that gave it.
        "SCAN" => is_first_cursor(request.get(1)),
        "SSCAN" | "HSCAN" | "ZSCAN" => is_first_cursor(request.get(2)),
        // Where scores differ, nothing is said about an order of members.
        name if name.contains("LEX") || has(b"BYLEX") => {
            let holds_one_score = |it: &Vec<u8>| it.starts_with(b"y");
            request.iter().skip(1).take(2).any(holds_one_score)
        }
        // What has the same weight keeps the order of the collection, and that of a set is nobody's business.
        "SORT" | "SORT_RO" if has(b"BY") => {
            let key = request.get(1).and_then(|it| it.first()).copied().unwrap_or_default();
            key == b'l' || b"zgy".contains(&key) && !has(b"ALPHA")
        }
        // Where a group is said to have read what is not there, Valkey counts what it lags behind below zero; here it is as in
        // Redis (`docs/families.md`).
        "XGROUP" if has(b"ENTRIESREAD") => false,
        // Redis has this way to add up, and Valkey has not.
        _ if follows(request, b"AGGREGATE", b"COUNT") => false,
        // Valkey finds nothing in a polygon whose centre is beyond the map.
        _ if has_corner_near_pole(request) => false,
        // The last entry of a stream whose last identifier is beyond it: here it is found, as in Redis.
        "XREAD" if has(b"+") => false,
        // Identifiers by the clock differ.
        "XADD" => !has(b"*"),
        // Whoever waits waits for ever, or for too long.
        _ if waits => numbers().all(|it| it != 0.0 && it < 20.0),
        _ => true,
    }
}

fn has_corner_near_pole(request: &Request) -> bool {
    const NEAR: f64 = 75.0;
    let words = request.iter().skip_while(|it| !it.eq_ignore_ascii_case(b"BYPOLYGON"));
    // Behind the name and the number of corners come longitudes and latitudes.
    let latitudes = words.skip(3).step_by(2).map(|it| String::from_utf8_lossy(it).parse::<f64>());
    latitudes.map_while(Result::ok).any(|it| NEAR < it.abs())
}

/// Whether the second word stands behind the first one somewhere.
fn follows(request: &Request, first: &[u8], second: &[u8]) -> bool {
    let is_pair = |pair: &[Vec<u8>]| {
        pair[0].eq_ignore_ascii_case(first) && pair[1].eq_ignore_ascii_case(second)
    };
    request.windows(2).any(is_pair)
}

/// Whether a scan begins with this, or fails.
fn is_first_cursor(cursor: Option<&Vec<u8>>) -> bool {
    let cursor = cursor.and_then(|it| rubine_base::number::parse_u64_loosely(it));
    cursor.is_none_or(|it| it == 0)
}

/// Whether something falls due while a sequence is played: on one server earlier than on the other. What MSETEX writes may
/// be due already, and goes when somebody, RANDOMKEY for one, comes upon it.
fn falls_due_soon(name: &str, request: &Request) -> bool {
    /// Seconds or milliseconds.
    const SOON: i64 = 100;
    let is_soon = |word: &Vec<u8>| {
        let number = std::str::from_utf8(word).ok().and_then(|it| it.trim().parse::<i64>().ok());
        number.is_some_and(|it| 0 < it && it < SOON)
    };
    let is_unit =
        |word: &[u8]| word.eq_ignore_ascii_case(b"EX") || word.eq_ignore_ascii_case(b"PX");
    let has_time = name.ends_with("EXPIRE") || name.ends_with("SETEX");
    let is_behind_unit = request.windows(2).any(|pair| is_unit(&pair[0]) && is_soon(&pair[1]));
    let is_instant =
        |word: &Vec<u8>| word.eq_ignore_ascii_case(b"EXAT") || word.eq_ignore_ascii_case(b"PXAT");
    let is_due = name == "MSETEX" && request.iter().any(is_instant);
    is_due || is_behind_unit || has_time && request.get(2).is_some_and(is_soon)
}

/// Changes something behind the name.
fn spoil(request: &mut Request, name_count: usize, random: &mut Random) {
    let count = request.len().saturating_sub(name_count) as u64;
    if count == 0 {
        request.push(words::odd(random));
        return;
    }
    let index = name_count + random.below(count) as usize;
    let other = name_count + random.below(count) as usize;
    match random.below(8) {
        0 => drop(request.remove(index)),
        1 => request.truncate(index),
        2 => request.swap(index, other),
        3 => request.insert(index, request[other].clone()),
        4 => request.insert(index, words::odd(random)),
        5 => request[index] = words::any_key(random),
        _ => request[index] = words::odd(random),
    }
}

fn add_commands(docs: &Value, parents: &[String], group: &str, commands: &mut Vec<Command>) {
    for pair in docs.as_elements().unwrap_or_default().chunks_exact(2) {
        let full = pair[0].as_text().unwrap_or_default().to_uppercase();
        let own = full.rsplit('|').next().unwrap_or_default().to_owned();
        let name = [parents, &[own]].concat();
        let group = field(&pair[1], "group").and_then(Value::as_text).unwrap_or(group.to_owned());
        if let Some(subcommands) = field(&pair[1], "subcommands") {
            add_commands(subcommands, &name, &group, commands);
            continue;
        }
        let arguments = field(&pair[1], "arguments").map(arguments).unwrap_or_default();
        commands.push(Command { name, group, arguments });
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
    let text = |name: &str| field(description, name).and_then(Value::as_text);
    let nested = || field(description, "arguments").map(arguments).unwrap_or_default();
    let flags = field(description, "flags").and_then(Value::as_elements).unwrap_or_default();
    let has = |flag: &str| flags.iter().any(|it| it.as_text().as_deref() == Some(flag));
    Argument {
        name: text("name").unwrap_or_default(),
        kind: match text("type").unwrap_or_default().as_str() {
            "key" => Kind::Key,
            "pure-token" => Kind::PureToken,
            "oneof" => Kind::OneOf(nested()),
            "block" => Kind::Block(nested()),
            _ => Kind::Value,
        },
        token: text("token"),
        is_optional: has("optional"),
        repeats: has("multiple"),
        repeats_token: has("multiple_token"),
    }
}

fn pick<T: Copy>(random: &mut Random, all: &[T]) -> T {
    all[random.below(all.len() as u64) as usize]
}
