//! Users with random rules, and random commands of which both servers have to say whether those users may run them.
//! No command is run.

use rubine_base::random::Random;

use super::requests::{Grammar, Request, line};
use super::words;

/// Groups of commands beyond those about data, which are asked about as well.
pub(super) const GROUPS: &[&str] =
    &["pubsub", "scripting", "transactions", "connection", "server", "cluster"];

const USERS: &[&str] = &["anna", "bert", "carl"];

const NO_USERS: &str = "ACL DELUSER anna bert carl";

/// A user is given so many rules at a time, and then asked about so many commands.
const RULES_MAX: u64 = 5;
const QUESTIONS: usize = 12;

/// Patterns that some of the keys fit which requests have. Of `*`, the two servers write down differently what may be read
/// and written.
const PATTERNS: &[&str] =
    &["s*", "l1", "?0", "[tz]*", "h[^1]", "*1", "x*", "", "c*", "p\\*", "g?", "b1"];

const CHANNELS: &[&str] = &["c*", "c1", "?2", "news", "*", "c1*"];

const OTHER_RULES: &[&str] = &[
    "on",
    "OFF",
    "nopass",
    "resetpass",
    ">word",
    "<word",
    "!abc",
    "reset",
    "clearselectors",
    "allkeys",
    "~*",
    "%R~*",
    "%R~*",
    "resetkeys",
    "resetkeys",
    "RESETKEYS",
    "allchannels",
    "resetchannels",
    "resetchannels",
    "alldbs",
    "resetdbs",
    "db=0",
    "db=0,1",
    "db=1,2,7",
    "db=-1",
    "db=x",
    "+@all",
    "+@all",
    "allcommands",
    "-@all",
    "nocommands",
    "+select|1",
    "+nosuch",
    "-@nosuch",
    "nonsense",
    "",
];

/// Commands whose arguments the grammar has no idea of.
const QUESTIONS_BY_HAND: &[&str] = &[
    "FLUSHALL",
    "FLUSHDB",
    "SELECT 0",
    "SELECT 1",
    "SELECT 99",
    "SELECT x",
    "SWAPDB 0 1",
    "SWAPDB 1 99",
    "MOVE s1 1",
    "MOVE s1 0",
    "COPY s1 s2 DB 1",
    "COPY s1 l1 REPLACE DB 7 DB 0",
    "COPY s1 l1 DB 1 NONSENSE",
    "SUBSCRIBE c1 c2",
    "SUBSCRIBE news",
    "PSUBSCRIBE c*",
    "PSUBSCRIBE c1",
    "SSUBSCRIBE c1",
    "UNSUBSCRIBE c1",
    "PUBLISH c1 x",
    "SPUBLISH news x",
    "MIGRATE host 1 s1 0 100",
    "MIGRATE host 1 \"\" 0 100 KEYS s1 l1",
    "MIGRATE host 1 \"\" 0 100 COPY AUTH x KEYS t1 z2",
    "SORT l1 BY w* GET # STORE s1",
    "SORT l1 STORE s1 STORE l2",
    "SORT_RO z1 BY s*",
    "EVAL code 2 s1 l1 x",
    "EVAL code 9 s1",
    "EVALSHA_RO sha 1 h0",
    "FCALL f 1 x1",
    "GEORADIUS g1 0 0 1 m STORE s1",
    "GEORADIUS g1 0 0 1 m STOREDIST s1 STORE l1",
    "GEORADIUSBYMEMBER g1 m 1 m STORE x1",
    "BITFIELD b1 GET u8 0",
    "BITFIELD b1 GET u8 0 SET u8 0 1",
    "SET s1 v",
    "SET s1 v GET",
    "SET s1 v NX GET EX 10",
    "XREAD COUNT 1 STREAMS x1 x2 0 0",
    "XREADGROUP GROUP STREAMS c STREAMS x1 >",
    "ZUNIONSTORE z0 2 z1 t1",
    "OBJECT ENCODING s1",
    "MEMORY USAGE s1",
    "DEBUG SLEEP 0",
    "CONFIG GET x",
    "CONFIG SET x y",
    "ACL LIST",
    "ACL WHOAMI",
    "CLIENT LIST",
    "CLIENT KILL TYPE normal",
    "COMMAND",
    "COMMAND GETKEYS GET s1",
    "AUTH x",
    "HELLO 3",
    "QUIT",
    "MULTI",
    "EXEC",
    "PING",
    "KEYS *",
    "DBSIZE",
    "SCAN 0",
    "RANDOMKEY",
    "INFO",
    "WAIT 0 0",
    "NOSUCH x",
    "GET",
];

/// A sequence of about `len` requests, at whose end the users are gone.
pub(super) fn sequence(grammar: &Grammar, random: &mut Random, len: usize) -> Vec<Request> {
    let mut sequence = vec![];
    if random.below(2) == 0 {
        sequence.push(line("HELLO 3"));
    }
    sequence.push(line(NO_USERS));
    while sequence.len() < len {
        let user = pick(random, USERS);
        let mut change = line(&format!("ACL SETUSER {user}"));
        let count = random.below(RULES_MAX);
        change.extend((0..count).map(|_| rule(grammar, random)));
        sequence.extend([change, line(&format!("ACL GETUSER {user}")), line("ACL LIST")]);
        for _ in 0..QUESTIONS {
            let question = match random.below(2) {
                0 => line(pick(random, QUESTIONS_BY_HAND)),
                _ => grammar.well_formed_request(random),
            };
            if is_answered_alike(&question) {
                let asked = line(&format!("ACL DRYRUN {user}"));
                sequence.push(asked.into_iter().chain(question).collect());
            }
        }
    }
    sequence.push(line(NO_USERS));
    sequence
}

fn is_answered_alike(question: &Request) -> bool {
    match (&*question[0], question.get(1).map(Vec::as_slice)) {
        // They take an argument more or less. Of the last one, the grammar announces more keys than it writes, and then
        // nobody can say where they are.
        (b"SCRIPT" | b"FUNCTION", Some(b"KILL" | b"DEBUG")) | (b"MSETEX", _) => false,
        // Valkey finds no key in it, and lets anybody make one.
        (b"PFMERGE", _) => 2 < question.len(),
        _ => true,
    }
}

fn rule(grammar: &Grammar, random: &mut Random) -> Vec<u8> {
    if random.below(8) != 0 {
        return permission(grammar, random);
    }
    let count = random.below(4);
    let rules: Vec<_> = (0..count).map(|_| permission(grammar, random)).collect();
    [b"(", &*rules.join(&b' '), b")"].concat()
}

/// A rule that a selector may have, too.
fn permission(grammar: &Grammar, random: &mut Random) -> Vec<u8> {
    let rule = match random.below(10) {
        0..3 => {
            let sign = pick(random, &["~", "%R~", "%W~", "%RW~", "%r~", "%X~"]);
            format!("{sign}{}", pick(random, PATTERNS))
        }
        3 => format!("&{}", pick(random, CHANNELS)),
        4 | 5 => pick(random, OTHER_RULES).to_owned(),
        6 | 7 => {
            let sign = pick(random, &["+@", "+@", "-@"]);
            format!("{sign}{}", pick(random, words::CATEGORIES))
        }
        _ => {
            let sign = pick(random, &["+", "+", "-"]);
            format!("{sign}{}", grammar.any_name(random))
        }
    };
    rule.into_bytes()
}

fn pick<'a>(random: &mut Random, choices: &[&'a str]) -> &'a str {
    choices[random.below(choices.len() as u64) as usize]
}
