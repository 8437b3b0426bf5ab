//! A quota: what a user, a database or the keys with a prefix may take, as a line of the configuration or QUOTA SET says
//! it. Counts nothing, and knows no clients.

use rubine_base::number::parse_i64;

use super::setting::{format_memory, parse_memory, utf8};

/// How long a request is put off at most, unless the quota says something else.
const DELAY_MS: u32 = 1000;
/// And at the very most.
const DELAY_MS_MAX: u32 = 60_000;

/// Whom a quota is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaSubject {
    User(Vec<u8>),
    Db(u32),
    /// All keys that begin so.
    Prefix(Vec<u8>),
}

/// What becomes of a request that exceeds a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaMode {
    /// It waits.
    Delay,
    /// It is refused.
    Error,
    /// It is only counted; so is what exceeds anything else.
    Observe,
    /// No quota is about this user.
    Exempt,
}

/// A number in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub count: u64,
    pub per: Per,
}

/// The stretches of time that rates are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    Second,
    Minute,
    Hour,
}

/// A quota, with what it limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaRule {
    pub subject: QuotaSubject,
    /// Commands.
    pub ops: Option<Rate>,
    /// Commands that may come at once, after a pause.
    pub burst: Option<u64>,
    /// Bytes of requests.
    pub input: Option<Rate>,
    /// Bytes of replies.
    pub output: Option<Rate>,
    /// Connections at a time.
    pub clients: Option<u64>,
    /// Bytes of keys and values.
    pub memory: Option<u64>,
    /// Bytes of one argument of a command that writes.
    pub value: Option<u64>,
    pub mode: QuotaMode,
    /// How long a request waits at most, if that is said.
    pub delay_ms_max: Option<u32>,
}

impl QuotaSubject {
    /// The subject of that kind and name.
    pub fn parse(kind: &[u8], name: &[u8]) -> Result<Self, String> {
        let kind = kind.to_ascii_lowercase();
        match kind.as_slice() {
            b"user" | b"prefix" if name.is_empty() => {
                Err("a quota needs the name of a user or a prefix of keys".to_owned())
            }
            b"user" => Ok(Self::User(name.to_vec())),
            b"prefix" => Ok(Self::Prefix(name.to_vec())),
            b"db" => {
                let number = parse_i64(name).and_then(|it| u32::try_from(it).ok());
                number.map(Self::Db).ok_or_else(|| "a database is named by its number".to_owned())
            }
            _ => Err("a quota is about a 'user', a 'db' or a 'prefix'".to_owned()),
        }
    }

    /// The kind, as it is written.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Db(_) => "db",
            Self::Prefix(_) => "prefix",
        }
    }

    pub fn name(&self) -> Vec<u8> {
        match self {
            Self::User(name) | Self::Prefix(name) => name.clone(),
            Self::Db(number) => number.to_string().into_bytes(),
        }
    }
}

impl QuotaMode {
    /// The mode, as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Error => "error",
            Self::Observe => "observe",
            Self::Exempt => "exempt",
        }
    }
}

impl Rate {
    pub fn per_second(self) -> f64 {
        let seconds = match self.per {
            Per::Second => 1.0,
            Per::Minute => 60.0,
            Per::Hour => 3600.0,
        };
        self.count as f64 / seconds
    }

    fn parse(text: &str, number: impl Fn(&[u8]) -> Option<u64>) -> Option<Self> {
        let (count, per) = text.split_once('/').unwrap_or((text, "s"));
        let per = match per {
            "s" => Per::Second,
            "m" => Per::Minute,
            "h" => Per::Hour,
            _ => return None,
        };
        let count = number(count.as_bytes()).filter(|&it| 0 < it)?;
        Some(Self { count, per })
    }

    fn text(self, number: impl Fn(u64) -> String) -> String {
        let per = match self.per {
            Per::Second => "s",
            Per::Minute => "m",
            Per::Hour => "h",
        };
        format!("{}/{per}", number(self.count))
    }
}

impl QuotaRule {
    /// The quota that these words ask for: kind, name, and `option=value` for each option.
    pub fn parse(words: &[&[u8]]) -> Result<Self, String> {
        let [kind, name, options @ ..] = words else {
            return Err("a quota is given as: user|db|prefix name option=value ...".to_owned());
        };
        let subject = QuotaSubject::parse(kind, name)?;
        let mut rule = Self::without_limits(subject);
        let mut seen: Vec<String> = Vec::new();
        let mut mode = None;
        for option in options {
            let text = utf8(option)?.to_ascii_lowercase();
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| format!("'{text}' is no option of a quota: option=value"))?;
            if seen.iter().any(|it| it == name) {
                return Err(format!("the option '{name}' is given twice"));
            }
            seen.push(name.to_owned());
            let wrong = |needs: &str| format!("'{name}' needs {needs}, not '{value}'");
            let size = || bytes(value.as_bytes());
            let rate_of_bytes = || Rate::parse(value, bytes);
            match name {
                "ops" => {
                    let rate = Rate::parse(value, number);
                    rule.ops = Some(rate.ok_or_else(|| wrong("a rate such as 5000/s"))?);
                }
                "burst" => {
                    let burst = number(value.as_bytes());
                    rule.burst = Some(burst.ok_or_else(|| wrong("a positive number"))?);
                }
                "in" => {
                    rule.input =
                        Some(rate_of_bytes().ok_or_else(|| wrong("a rate such as 10mb/s"))?);
                }
                "out" => {
                    rule.output =
                        Some(rate_of_bytes().ok_or_else(|| wrong("a rate such as 10mb/s"))?);
                }
                "clients" => {
                    let clients = number(value.as_bytes());
                    rule.clients = Some(clients.ok_or_else(|| wrong("a positive number"))?);
                }
                "memory" => rule.memory = Some(size().ok_or_else(|| wrong("a size such as 1gb"))?),
                "value" => rule.value = Some(size().ok_or_else(|| wrong("a size such as 1mb"))?),
                "mode" => {
                    let modes =
                        [QuotaMode::Delay, QuotaMode::Error, QuotaMode::Observe, QuotaMode::Exempt];
                    let found = modes.into_iter().find(|it| it.name() == value);
                    mode = Some(found.ok_or_else(|| wrong("delay, error, observe or exempt"))?);
                }
                "max-delay" => {
                    let millis = millis(value).filter(|it| (1..=DELAY_MS_MAX).contains(it));
                    let needs = "a time of up to a minute, such as 50ms";
                    rule.delay_ms_max = Some(millis.ok_or_else(|| wrong(needs))?);
                }
                _ => return Err(format!("'{name}' is no option of a quota")),
            }
        }
        rule.mode = mode.unwrap_or(QuotaMode::Delay);
        rule.check()?;
        Ok(rule)
    }

    /// How long a request waits at most.
    pub fn delay_ms_max(&self) -> u32 {
        self.delay_ms_max.unwrap_or(DELAY_MS)
    }

    /// The options that are set, each with its value as it is written.
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let count = |it: u64| it.to_string();
        let mut options = Vec::new();
        let mut put = |name: &'static str, value: Option<String>| {
            options.extend(value.map(|it| (name, it)));
        };
        put("ops", self.ops.map(|it| it.text(count)));
        put("burst", self.burst.map(count));
        put("in", self.input.map(|it| it.text(format_memory)));
        put("out", self.output.map(|it| it.text(format_memory)));
        put("clients", self.clients.map(count));
        put("memory", self.memory.map(format_memory));
        put("value", self.value.map(format_memory));
        put("mode", Some(self.mode.name().to_owned()));
        put("max-delay", self.delay_ms_max.map(|it| format!("{it}ms")));
        options
    }

    /// The words that [`Self::parse`] makes the same quota of.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let mut words = vec![self.subject.kind().as_bytes().to_vec(), self.subject.name()];
        let options = self.options().into_iter();
        words.extend(options.map(|(name, value)| format!("{name}={value}").into_bytes()));
        words
    }

    fn without_limits(subject: QuotaSubject) -> Self {
        Self {
            subject,
            ops: None,
            burst: None,
            input: None,
            output: None,
            clients: None,
            memory: None,
            value: None,
            mode: QuotaMode::Delay,
            delay_ms_max: None,
        }
    }

    /// Refuses what would have no meaning.
    fn check(&self) -> Result<(), String> {
        let is_user = matches!(self.subject, QuotaSubject::User(_));
        let has_rates = self.ops.is_some() || self.input.is_some() || self.output.is_some();
        let has_limits =
            has_rates || self.clients.is_some() || self.memory.is_some() || self.value.is_some();
        let reason = match self.mode {
            QuotaMode::Exempt if !is_user => "only a user can be exempt",
            QuotaMode::Exempt
                if has_limits || self.burst.is_some() || self.delay_ms_max.is_some() =>
            {
                "who is exempt has no limits"
            }
            QuotaMode::Exempt => return Ok(()),
            _ if is_user && self.memory.is_some() => {
                "keys belong to no user: 'memory' is a limit of a db or of a prefix"
            }
            _ if !is_user && self.clients.is_some() => "'clients' is a limit of a user",
            _ if !has_limits => "a quota needs a limit: ops, in, out, clients, memory or value",
            _ if self.burst.is_some() && self.ops.is_none() => "'burst' needs 'ops'",
            QuotaMode::Error | QuotaMode::Observe if self.delay_ms_max.is_some() => {
                "'max-delay' needs mode=delay"
            }
            QuotaMode::Delay if self.delay_ms_max.is_some() && !has_rates => {
                "'max-delay' needs a rate: ops, in or out"
            }
            _ => return Ok(()),
        };
        Err(reason.to_owned())
    }
}

fn number(text: &[u8]) -> Option<u64> {
    parse_i64(text).and_then(|it| u64::try_from(it).ok()).filter(|&it| 0 < it)
}

fn bytes(text: &[u8]) -> Option<u64> {
    parse_memory(text).filter(|&it| 0 < it)
}

fn millis(text: &str) -> Option<u32> {
    let (digits, factor) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => (text.strip_suffix('s')?, 1000),
    };
    digits.parse::<u32>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::QuotaRule;

    fn parse(text: &str) -> Result<QuotaRule, String> {
        let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        QuotaRule::parse(&words)
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let cases = [
            ("user app ops=5000/s", "user app ops=5000/s mode=delay"),
            ("USER App OPS=60/m Mode=Error", "user App ops=60/m mode=error"),
            (
                "db 3 in=10mb out=50mb/s memory=1gb value=1mb max-delay=2s",
                "db 3 in=10mb/s out=50mb/s memory=1gb value=1mb mode=delay max-delay=2000ms",
            ),
            (
                "prefix t1: ops=1/h burst=10 mode=observe",
                "prefix t1: ops=1/h burst=10 mode=observe",
            ),
            ("user root mode=exempt", "user root mode=exempt"),
            ("user a clients=100", "user a clients=100 mode=delay"),
        ];
        for (text, expected) in cases {
            let rule = parse(text).unwrap();
            let words = rule.words();
            let written = String::from_utf8(words.join(&b' ')).unwrap();
            assert_eq!(written, expected);
            assert_eq!(parse(&written), Ok(rule));
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        let cases = [
            "user",
            "user app",
            "user  ops=1/s",
            "group app ops=1/s",
            "db x ops=1/s",
            "db -1 ops=1/s",
            "user app ops",
            "user app ops=0/s",
            "user app ops=-5",
            "user app ops=5/d",
            "user app ops=1/s ops=2/s",
            "user app burst=5",
            "user app memory=1gb",
            "db 0 clients=5",
            "db 0 mode=exempt",
            "user app mode=exempt ops=1/s",
            "user app ops=1/s mode=error max-delay=5ms",
            "user app clients=1 max-delay=5ms",
            "user app ops=1/s max-delay=0ms",
            "user app ops=1/s max-delay=5",
            "user app ops=1/s max-delay=61s",
            "user app in=18446744073709551616/s",
            "user app mode=delay",
            "user app speed=1/s",
        ];
        for text in cases {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
