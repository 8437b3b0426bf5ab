//! Random rules and requests, for our users and for those of a real server: what is set, how it is written down, what it
//! allows and how a refusal reads must be the same. Passes with a message where no Valkey that knows rules about
//! databases is found: in `VALKEY_BIN_DIR`, in the folder of `cargo xtask compat`, or on the search path; and so for Redis,
//! of which only the files are compared.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rubine_acl::{
    Access, ChannelDefault, ChannelUse, CommandEntry, Commands, PermissionTexts, Request, User,
    Users,
};
use rubine_base::random::Random;
use rubine_testing::client::Client;
use rubine_testing::server::{Server, ServerOptions};
use rubine_testing::value::Value;

const STEPS: usize = 1_500;
const REQUESTS_PER_STEP: usize = 4;
const DATABASE_COUNT: u32 = 16;

#[test]
fn rules_mean_what_they_mean_elsewhere() {
    compare("resetchannels", ChannelDefault::Nothing, 1);
}

#[test]
fn rules_mean_what_they_mean_elsewhere_with_all_channels_by_default() {
    compare("allchannels", ChannelDefault::All, 2);
}

/// Redis writes its files in other words, which mean the same here.
#[test]
fn what_redis_writes_is_read_here() {
    let Some(server) = redis() else {
        return eprintln!("skipped: there is no redis-server that knows selectors");
    };
    let mut peer = server.client();
    let real = RealCommands::read(&mut peer);
    let commands = Arc::new(real.table());
    let mut random = Random::with_seed(3);
    for _ in 0..STEPS {
        let name = *pick(&mut random, &["a", "b", "c"]);
        let count = random.below(6) + 1;
        let rules: Vec<String> = (0..count).map(|_| rule(&mut random, &real)).collect();
        call(&mut peer, &[&["ACL", "SETUSER", name][..], &words(&rules)].concat());
        let mut users = Users::new(commands.clone(), ChannelDefault::Nothing);
        users.load("users.acl", &lines(&mut peer).join(&b'\n')).expect("Redis wrote these lines");
        let Some(user) = users.get(name.as_bytes()) else { continue };
        for _ in 0..REQUESTS_PER_STEP {
            let request = Sample::random(&mut random, &real);
            let (found, expected) = answers(&mut peer, user, &request);
            // Redis 7.0 calls every user "This user".
            let reason = |text: &str| text.split_once(" has ").map_or("OK", |it| it.1).to_owned();
            assert_eq!(
                reason(&found),
                reason(&expected),
                "{:?} of {}",
                request.words,
                text(&user.line())
            );
        }
    }
}

fn compare(channel_directive: &str, channels: ChannelDefault, seed: u64) {
    let Some(server) = peer(channel_directive) else {
        return eprintln!("skipped: there is no valkey-server that knows rules about databases");
    };
    let mut peer = server.client();
    let real = RealCommands::read(&mut peer);
    let commands = Arc::new(real.table());
    let mut users = Users::new(commands.clone(), channels);
    let mut random = Random::with_seed(seed);
    for _ in 0..STEPS {
        let name = *pick(&mut random, &["a", "b", "c"]);
        if random.below(40) == 0 {
            users.remove(&[name.as_bytes()]).expect("it is not the default user");
            call(&mut peer, &["ACL", "DELUSER", name]);
        }
        let count = random.below(6) + 1;
        let rules: Vec<String> = (0..count).map(|_| rule(&mut random, &real)).collect();
        compare_set(&mut peer, &mut users, name, &rules);
        compare_texts(&mut peer, &users, name);
        let Some(user) = users.get(name.as_bytes()) else { continue };
        for _ in 0..REQUESTS_PER_STEP {
            compare_request(&mut peer, user, &Sample::random(&mut random, &real));
        }
    }
    let lines = lines(&mut peer).join(&b'\n');
    let mut loaded = Users::new(commands, channels);
    loaded.load("users.acl", &lines).expect("a real server wrote these lines");
    assert_eq!(text(&loaded.to_file()), text(&[&lines[..], b"\n"].concat()));
    for _ in 0..STEPS {
        let name = *pick(&mut random, &["a", "b", "c", "default"]);
        let Some(user) = loaded.get(name.as_bytes()) else { continue };
        compare_request(&mut peer, user, &Sample::random(&mut random, &real));
    }
}

fn compare_set(peer: &mut Client, users: &mut Users, name: &str, rules: &[String]) {
    let args = [&["ACL", "SETUSER", name][..], &words(rules)].concat();
    let expected = match call(peer, &args) {
        Value::Status(_) => Ok(()),
        Value::Error(error) => Err(error),
        other => panic!("{args:?}: {other:?}"),
    };
    let result = users.set(name.as_bytes(), rules.iter().map(String::as_bytes));
    let result = result.map(drop).map_err(|error| format!("ERR {}", text(&error.text())));
    assert_eq!(result, expected, "{args:?}");
}

fn compare_texts(peer: &mut Client, users: &Users, name: &str) {
    let ours: Vec<_> = users.iter().map(|user| text(&user.line())).collect();
    let theirs: Vec<_> = lines(peer).iter().map(|line| text(line)).collect();
    assert_eq!(ours, theirs);
    let ours = users.get(name.as_bytes()).map_or(Value::Nil, |user| shown(user));
    assert_eq!(ours, call(peer, &["ACL", "GETUSER", name]));
}

fn compare_request(peer: &mut Client, user: &User, request: &Sample<'_>) {
    let (found, expected) = answers(peer, user, request);
    assert_eq!(found, expected, "{:?} of {}", request.words, text(&user.line()));
    let keys: Vec<_> = request.keys().collect();
    if let ([(index, access)], None) = (&keys[..], request.channels().next()) {
        let key = request.argument(*index).expect("it is an argument");
        let is_sure = user.surely_allows(request.command(), key, *access);
        assert!(!is_sure || found == "OK", "{:?} of {}", request.words, text(&user.line()));
    }
}

/// What our user and that of the server are told.
fn answers(peer: &mut Client, user: &User, request: &Sample<'_>) -> (String, String) {
    let name = text(user.name());
    let args = [&["ACL", "DRYRUN", &name][..], &words(&request.words)].concat();
    let expected = match call(peer, &args) {
        Value::Status(status) => status,
        Value::Bulk(refusal) => text(&refusal),
        other => panic!("{args:?}: {other:?}"),
    };
    let found = match user.check(request) {
        Ok(()) => "OK".to_owned(),
        Err(denial) => {
            let object = request.argument(denial.argument).expect("a denial names an argument");
            let full_name = &request.real.entries[request.command].full_name;
            text(&denial.detailed_text(user.name(), full_name, object))
        }
    };
    (found, expected)
}

/// A running Valkey, if there is one that knows what is compared.
fn peer(channel_directive: &str) -> Option<Server> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let cache = std::env::var_os("RUBINE_COMPAT_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| target.join("compat")).join("valkey/src");
    let program = program("valkey-server", "VALKEY_BIN_DIR", Some(cache))?;
    let options = ServerOptions::new(&program).with("acl-pubsub-default", channel_directive);
    let server = options.start().expect("the server starts");
    let probe = call(&mut server.client(), &["ACL", "SETUSER", "probe", "alldbs"]);
    call(&mut server.client(), &["ACL", "DELUSER", "probe"]);
    matches!(probe, Value::Status(_)).then_some(server)
}

/// A running Redis, if there is one that knows selectors.
fn redis() -> Option<Server> {
    let program = program("redis-server", "REDIS_BIN_DIR", None)?;
    let server = ServerOptions::new(&program).start().expect("the server starts");
    let probe = call(&mut server.client(), &["ACL", "SETUSER", "probe", "()"]);
    call(&mut server.client(), &["ACL", "DELUSER", "probe"]);
    matches!(probe, Value::Status(_)).then_some(server)
}

/// A program: in the folder that the variable names, in `cache`, or on the search path.
fn program(name: &str, variable: &str, cache: Option<PathBuf>) -> Option<PathBuf> {
    let chosen = std::env::var_os(variable).map(PathBuf::from);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let folders = chosen.into_iter().chain(cache).chain(std::env::split_paths(&paths));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

fn call(peer: &mut Client, args: &[&str]) -> Value {
    peer.call(args).expect("the server answers")
}

fn lines(peer: &mut Client) -> Vec<Vec<u8>> {
    elements(&call(peer, &["ACL", "LIST"])).iter().map(bytes).collect()
}

fn elements(value: &Value) -> &[Value] {
    match value {
        Value::Array(elements) => elements,
        other => panic!("no array: {other:?}"),
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    value.as_bytes().expect("a string").to_vec()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn words<S: AsRef<str>>(words: &[S]) -> Vec<&str> {
    words.iter().map(AsRef::as_ref).collect()
}

fn pick<'a, T>(random: &mut Random, choices: &'a [T]) -> &'a T {
    &choices[random.below(choices.len() as u64) as usize]
}

/// A user as the reply of ACL GETUSER.
fn shown(user: &User) -> Value {
    let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
    let permissions = |texts: &PermissionTexts| {
        let fields = [
            ("commands", &texts.commands),
            ("keys", &texts.keys),
            ("channels", &texts.channels),
            ("databases", &texts.databases),
        ];
        fields.map(|(name, text)| [bulk(name), Value::Bulk(text.clone())]).concat()
    };
    let fields = user.fields();
    let mut reply = vec![
        bulk("flags"),
        Value::Array(fields.flags.iter().map(|flag| bulk(flag)).collect()),
        bulk("passwords"),
        Value::Array(fields.passwords.into_iter().map(Value::Bulk).collect()),
    ];
    reply.extend(permissions(&fields.root));
    let selectors = fields.selectors.iter().map(|it| Value::Array(permissions(it))).collect();
    reply.extend([bulk("selectors"), Value::Array(selectors)]);
    Value::Array(reply)
}

/// The commands that the real server says it has.
struct RealCommands {
    categories: Vec<String>,
    entries: Vec<CommandEntry>,
}

impl RealCommands {
    fn read(peer: &mut Client) -> Self {
        let names = call(peer, &["ACL", "CAT"]);
        let categories = elements(&names).iter().map(|it| text(&bytes(it))).collect();
        let mut commands = Self { categories, entries: Vec::new() };
        let replies = call(peer, &["COMMAND"]);
        elements(&replies).iter().for_each(|it| commands.add(it));
        commands
    }

    fn add(&mut self, reply: &Value) {
        let fields = elements(reply);
        let words = |index: usize| elements(&fields[index]).iter().map(|it| text(&bytes(it)));
        let category = |name: String| {
            let name = name.trim_start_matches('@');
            1 << self.categories.iter().position(|it| it == name).expect("ACL CAT has all")
        };
        self.entries.push(CommandEntry {
            full_name: text(&bytes(&fields[0])).into(),
            categories: words(6).map(category).sum(),
            needs_no_login: words(2).any(|flag| flag == "no_auth"),
        });
        elements(&fields[9]).iter().for_each(|it| self.add(it));
    }

    fn table(&self) -> Commands {
        Commands::new(&words(&self.categories), self.entries.clone())
    }

    fn is_in(&self, command: usize, category: &str) -> bool {
        let index = self.categories.iter().position(|it| it == category).expect("it is one");
        self.entries[command].categories >> index & 1 == 1
    }
}

/// One rule of any kind, now and then a wrong one.
fn rule(random: &mut Random, real: &RealCommands) -> String {
    let fixed = [
        "on",
        "OFF",
        "nopass",
        "resetpass",
        "reset",
        "clearselectors",
        "sanitize-payload",
        ">p",
        ">q",
        "<p",
        "#ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
        "!ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
        "#CA97",
        "blub",
        "",
        "()",
        "(~a",
        "+get)",
        ")",
        "(on)",
        "(~a (~b))",
    ];
    match random.below(20) {
        0..3 => (*pick(random, &fixed)).to_owned(),
        3..6 => {
            let count = random.below(5);
            let rules: Vec<_> = (0..count).map(|_| permission(random, real)).collect();
            format!("({})", rules.join(" "))
        }
        _ => permission(random, real),
    }
}

/// One rule that a selector may have, too.
fn permission(random: &mut Random, real: &RealCommands) -> String {
    let scopes = [
        "~*",
        "allkeys",
        "resetkeys",
        "RESETKEYS",
        "resetkeys",
        "&*",
        "resetchannels",
        "allchannels",
        "resetchannels",
        "alldbs",
        "resetdbs",
        "db=0",
        "db=0,1,2",
        "DB=3,1,1",
        "db=",
        "db=1,x",
        "db=-1",
        "db=0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "db=9999999999",
        "db=+1",
    ];
    let commands = [
        "+@all",
        "-@all",
        "allcommands",
        "nocommands",
        "+select|0",
        "+SELECT|1",
        "+config|get|x",
        "+get|a",
        "+get|",
        "-select|0",
        "+config|blub",
        "+blub",
        "-@blub",
        "+",
        "-",
        "+@",
        "+auth",
        "-auth",
        "+ping|X",
    ];
    match random.below(12) {
        0..3 => {
            let sign =
                *pick(random, &["~", "%R~", "%W~", "%RW~", "%r~", "%wr~", "%X~", "%RR~", "%"]);
            format!("{sign}{}", pick(random, &["a", "b", "a*", "?b", "[ab]c", "", "x\\*"]))
        }
        3 => "%R~*".to_owned(),
        4 => format!("&{}", pick(random, &["a", "b*", "c?", "", "b*"])),
        5 => (*pick(random, &scopes)).to_owned(),
        6 => (*pick(random, &commands)).to_owned(),
        7 | 8 => {
            let sign = *pick(random, &["+@", "-@", "+@"]);
            format!("{sign}{}", pick(random, &real.categories))
        }
        _ => {
            let sign = *pick(random, &["+", "-", "+"]);
            let used = *pick(random, &REQUESTS);
            let used = used.split_once(' ').map_or(used, |(command, _)| command);
            let any = &pick(random, &real.entries).full_name;
            let name = if random.below(3) == 0 { any } else { used };
            let name = if random.below(8) == 0 { name.to_uppercase() } else { name.to_owned() };
            format!("{sign}{name}")
        }
    }
}

/// Requests: keys as `r:`, `w:`, `rw:` and `n:` (whatever is done with them), channels as `c:` and `p:`, databases as
/// `d:`. `*` behind a name stands for a request that touches all databases.
const REQUESTS: [&str; 36] = [
    "get r:",
    "set w: v",
    "set rw: v get",
    "del w: w:",
    "mget r: r:",
    "mset w: 1 w: 2",
    "copy r: w:",
    "copy r: w: db d:",
    "rename rw: w:",
    "move rw: d:",
    "select d:",
    "swapdb d: d:",
    "flushall*",
    "flushdb",
    "publish c: m",
    "spublish c: m",
    "subscribe c: c:",
    "psubscribe p: p:",
    "ssubscribe c:",
    "unsubscribe a",
    "config|get x",
    "config|set x y",
    "object|encoding n:",
    "exists n:",
    "expire w: 1",
    "lpush w: 1",
    "lmove rw: w: left right",
    "sunionstore w: r: r:",
    "ping",
    "ping x",
    "auth x",
    "acl|whoami",
    "client|id",
    "keys x",
    "dbsize",
    "append w: x",
];

/// A request in words.
struct Sample<'a> {
    real: &'a RealCommands,
    command: usize,
    kinds: Vec<&'static str>,
    words: Vec<String>,
    touches_all_databases: bool,
}

impl<'a> Sample<'a> {
    fn random(random: &mut Random, real: &'a RealCommands) -> Self {
        let template = *pick(random, &REQUESTS);
        let (name, args) = template.split_once(' ').unwrap_or((template, ""));
        let touches_all_databases = name.ends_with('*');
        let name = name.trim_end_matches('*');
        let command = real.entries.iter().position(|it| &*it.full_name == name);
        let mut request = Self {
            real,
            command: command.unwrap_or_else(|| panic!("the server has no {name}")),
            kinds: Vec::new(),
            words: Vec::new(),
            touches_all_databases,
        };
        for word in name.split('|').chain(args.split_terminator(' ')) {
            let (kind, word) = word.split_once(':').unwrap_or(("", word));
            let word = match kind {
                "" => word.to_owned(),
                "d" => random.below(u64::from(DATABASE_COUNT)).to_string(),
                "c" | "p" => (*pick(random, &["a", "bx", "cx", "b*", "", "d"])).to_owned(),
                _ => (*pick(random, &["a", "b", "ab", "ac", "x*", "", "y"])).to_owned(),
            };
            request.kinds.push(kind);
            request.words.push(word);
        }
        request
    }

    fn of<T: Copy>(&self, kinds: &[(&str, T)]) -> Vec<(usize, T)> {
        let found = self.kinds.iter().enumerate().filter_map(|(index, kind)| {
            kinds.iter().find(|(name, _)| name == kind).map(|(_, meaning)| (index, *meaning))
        });
        found.collect()
    }
}

impl Request for Sample<'_> {
    fn command(&self) -> usize {
        self.command
    }

    fn argument(&self, index: usize) -> Option<&[u8]> {
        self.words.get(index).map(String::as_bytes)
    }

    fn keys(&self) -> impl Iterator<Item = (usize, Access)> {
        let kinds = [
            ("n", Access::empty()),
            ("r", Access::READ),
            ("w", Access::WRITE),
            ("rw", Access::all()),
        ];
        self.of(&kinds).into_iter()
    }

    fn channels(&self) -> impl Iterator<Item = (usize, ChannelUse)> {
        self.of(&[("c", ChannelUse::Literal), ("p", ChannelUse::Pattern)]).into_iter()
    }

    fn databases(&self) -> impl Iterator<Item = (usize, u32)> {
        let number = |index: usize| self.words[index].parse().expect("it is a number");
        let named = self.of(&[("d", ())]);
        let mut databases: Vec<_> =
            named.into_iter().map(|(index, ())| (index, number(index))).collect();
        let has_keys = self.keys().next().is_some();
        let is_about_data =
            ["keyspace", "read", "write"].iter().any(|it| self.real.is_in(self.command, it));
        if self.touches_all_databases {
            databases.extend((0..DATABASE_COUNT).map(|number| (0, number)));
        } else if has_keys || (is_about_data && databases.is_empty()) {
            databases.push((0, 0));
        }
        databases.into_iter()
    }
}
