//! When two replies to one request count as the same: where Redis promises no order, none is asked for, and what depends
//! on the moment may differ a little. Talks to nobody.

use rubine_base::glob::{self, Case};
use rubine_testing::render::render;
use rubine_testing::value::Value;

use super::requests::{Request, sent_by_script};

/// Milliseconds that may lie between the two servers' looks at the clock.
const CLOCK_TOLERANCE: i64 = 3_000;

/// A difference that is meant to be, by the shapes of the two replies as redis-cli prints them.
struct Accepted {
    command: &'static str,
    ours: &'static str,
    theirs: &'static str,
    #[expect(dead_code, reason = "for whoever reads the list")]
    reason: &'static str,
}

const ACCEPTED: &[Accepted] = &[
    Accepted {
        command: "OBJECT",
        ours: "\"raw\"",
        theirs: "\"embstr\"",
        reason: "Valkey 9 embeds by the length of key and value together; ours goes by Redis's 44 bytes",
    },
    Accepted {
        command: "OBJECT",
        ours: "\"embstr\"",
        theirs: "\"raw\"",
        reason: "as above, where the key is long",
    },
    Accepted {
        command: "OBJECT",
        ours: "\"listpack\"",
        theirs: "\"skiplist\"",
        reason: "SORT gives the sorted set that it reads the large form in Valkey",
    },
];

/// What a reply promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    Exact,
    /// Elements in any order.
    Elements,
    /// Pairs in any order, flat or as a map.
    Pairs,
    /// Chosen at random: as many, of the same kinds.
    Shape,
    /// Integers may differ by what the clock does between two servers.
    Time,
}

impl Promise {
    pub(super) fn of(request: &Request) -> Self {
        // A script promises what the request does that it sends.
        let name = sent_by_script(request).unwrap_or(request).first();
        let name = name.map(|it| String::from_utf8_lossy(it).to_uppercase()).unwrap_or_default();
        match name.as_str() {
            "SMEMBERS" | "SUNION" | "SINTER" | "SDIFF" | "KEYS" | "HKEYS" | "HVALS" => {
                Self::Elements
            }
            "HGETALL" => Self::Pairs,
            "SRANDMEMBER" | "HRANDFIELD" | "ZRANDMEMBER" | "RANDOMKEY" | "DUMP" | "SPOP"
            | "HELLO" | "SCAN" | "SSCAN" | "HSCAN" | "ZSCAN" => Self::Shape,
            "TTL" | "PTTL" | "EXPIRETIME" | "PEXPIRETIME" | "HTTL" | "HPTTL" | "HEXPIRETIME"
            | "HPEXPIRETIME" | "XINFO" | "XPENDING" => Self::Time,
            _ => Self::Exact,
        }
    }

    /// Whether both replies keep it.
    pub(super) fn is_kept(self, ours: &Value, theirs: &Value) -> bool {
        if ours == theirs {
            return true;
        }
        match self {
            Self::Exact => false,
            Self::Elements => sorted(elements(ours)) == sorted(elements(theirs)),
            Self::Pairs => sorted(pairs(ours)) == sorted(pairs(theirs)),
            Self::Shape => is_like(ours, theirs),
            Self::Time => is_near(ours, theirs),
        }
    }
}

/// Whether the list of differences that are meant to be has this one.
pub(super) fn is_accepted(request: &Request, ours: &Value, theirs: &Value) -> bool {
    let name = String::from_utf8_lossy(&request[0]).to_uppercase();
    let matches = |pattern: &str, value: &Value| {
        glob::matches(pattern.as_bytes(), render(value).as_bytes(), Case::Sensitive)
    };
    let mut accepted = ACCEPTED.iter().filter(|it| it.command == name || it.command == "*");
    accepted.any(|it| matches(it.ours, ours) && matches(it.theirs, theirs))
}

fn elements(value: &Value) -> Option<Vec<String>> {
    value.as_elements().map(|it| it.iter().map(render).collect())
}

fn pairs(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Map(pairs) => {
            Some(pairs.iter().map(|(key, it)| format!("{} {}", render(key), render(it))).collect())
        }
        Value::Array(elements) if elements.len().is_multiple_of(2) => {
            let pairs = elements.chunks_exact(2);
            Some(pairs.map(|pair| format!("{} {}", render(&pair[0]), render(&pair[1]))).collect())
        }
        _ => None,
    }
}

/// In order; what is no list is not like anything.
fn sorted(list: Option<Vec<String>>) -> Result<Vec<String>, ()> {
    let mut list = list.ok_or(())?;
    list.sort();
    Ok(list)
}

fn is_like(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) | (Value::Set(ours), Value::Set(theirs)) => {
            ours.len() == theirs.len()
        }
        (Value::Map(ours), Value::Map(theirs)) => ours.len() == theirs.len(),
        (Value::Error(ours), Value::Error(theirs)) => ours == theirs,
        (Value::Nil, _) | (_, Value::Nil) => false,
        _ => std::mem::discriminant(ours) == std::mem::discriminant(theirs),
    }
}

fn is_near(ours: &Value, theirs: &Value) -> bool {
    let all = |ours: &[Value], theirs: &[Value]| {
        let mut name = None;
        let mut is_near_behind = |ours, theirs| {
            let name = name.replace(ours);
            is_near(ours, theirs) || is_lag_of_empty_stream(name, ours, theirs)
        };
        ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(|(ours, theirs)| is_near_behind(ours, theirs))
    };
    match (ours, theirs) {
        (Value::Integer(ours), Value::Integer(theirs)) => {
            let is_time = 0 <= *ours && 0 <= *theirs;
            ours == theirs || is_time && ours.abs_diff(*theirs) <= CLOCK_TOLERANCE as u64
        }
        (Value::Array(ours), Value::Array(theirs)) => all(ours, theirs),
        (Value::Map(ours), Value::Map(theirs)) => {
            let mut pairs = ours.iter().zip(theirs);
            ours.len() == theirs.len()
                && pairs.all(|((name, ours), (same, theirs))| {
                    let is_lag = || is_lag_of_empty_stream(Some(name), ours, theirs);
                    name == same && (is_near(ours, theirs) || is_lag())
                })
        }
        _ => ours == theirs,
    }
}

/// What is under a name is how many entries of a stream a group has not read, and there are none: Valkey knows that of some
/// only, Redis of all (`docs/families.md`).
fn is_lag_of_empty_stream(name: Option<&Value>, ours: &Value, theirs: &Value) -> bool {
    let is_lag = name.and_then(Value::as_text).is_some_and(|it| it == "lag");
    is_lag && *ours == Value::Integer(0) && *theirs == Value::Nil
}
