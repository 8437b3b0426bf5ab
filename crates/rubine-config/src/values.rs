//! The types of configuration values that are more than a number, a flag or a text.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rubine_base::number::{parse_f64, parse_i64};
use rubine_base::quote::quote_repr;
use rubine_rdb::version::{Version, VersionCheck};

use super::setting::{Rule, Setting, choose, format_memory, named_enum, only, parse_memory, utf8};

named_enum! {
    /// What a full memory does to a write.
    MaxmemoryPolicy {
        VolatileLru = "volatile-lru",
        VolatileLfu = "volatile-lfu",
        VolatileRandom = "volatile-random",
        VolatileTtl = "volatile-ttl",
        AllkeysLru = "allkeys-lru",
        AllkeysLfu = "allkeys-lfu",
        AllkeysRandom = "allkeys-random",
        Noeviction = "noeviction",
    }
}

named_enum! {
    /// The `facility` of lines sent to syslog.
    SyslogFacility {
        User = "user",
        Local0 = "local0",
        Local1 = "local1",
        Local2 = "local2",
        Local3 = "local3",
        Local4 = "local4",
        Local5 = "local5",
        Local6 = "local6",
        Local7 = "local7",
    }
}

named_enum! {
    /// The least important lines that are logged.
    LogLevel {
        Debug = "debug",
        Verbose = "verbose",
        Notice = "notice",
        Warning = "warning",
        Nothing = "nothing",
    }
}

named_enum! {
    /// The shape of a log line.
    LogFormat { Legacy = "legacy", Logfmt = "logfmt", Json = "json" }
}

named_enum! {
    /// The shape of a log line's time.
    LogTimestampFormat {
        Legacy = "legacy",
        Iso8601 = "iso8601",
        Milliseconds = "milliseconds",
    }
}

named_enum! {
    /// Who waits to hear that the server is ready.
    Supervised { Upstart = "upstart", Systemd = "systemd", Auto = "auto", No = "no" }
}

named_enum! {
    /// Whom a busy script keeps from what they ask for.
    BusyReplyScope { Held = "held", All = "all" }
}

named_enum! {
    /// When the append-only file is forced to disk.
    Appendfsync { Everysec = "everysec", Always = "always", No = "no" }
}

named_enum! {
    /// How a replica takes in a full synchronisation.
    ReplDisklessLoad {
        Disabled = "disabled",
        OnEmptyDb = "on-empty-db",
        Swapdb = "swapdb",
        FlushBeforeLoad = "flush-before-load" | "flushdb",
    }
}

named_enum! {
    /// Whether a TLS client must show a certificate.
    TlsAuthClients { No = "no", Yes = "yes", Optional = "optional" }
}

named_enum! {
    /// The field of a client's certificate that names its user.
    TlsAuthClientsUser { Cn = "CN", Uri = "URI", Off = "off" }
}

named_enum! {
    /// Whether the kernel is told how expendable this process is.
    OomScoreAdj { No = "no", Relative = "yes" | "relative", Absolute = "absolute" }
}

named_enum! {
    /// The channels that a new user may use.
    AclPubsubDefault { Allchannels = "allchannels", Resetchannels = "resetchannels" }
}

named_enum! {
    /// Who may do something dangerous.
    ProtectedAction { No = "no", Yes = "yes", Local = "local" }
}

impl ProtectedAction {
    /// Whether a client may do it.
    pub fn allows(self, is_local: bool) -> bool {
        match self {
            Self::No => false,
            Self::Yes => true,
            Self::Local => is_local,
        }
    }
}

named_enum! {
    /// How a cluster node names itself in redirections.
    ClusterPreferredEndpointType {
        Ip = "ip",
        Hostname = "hostname",
        UnknownEndpoint = "unknown-endpoint",
    }
}

named_enum! {
    /// What the primaries of a cluster share evenly by themselves.
    ClusterAutoRebalance { No = "no", Slots = "slots", Memory = "memory", Load = "load" }
}

named_enum! {
    /// What happens when the cluster's state file cannot be written.
    ClusterConfigSaveBehavior { Sync = "sync", BestEffort = "best-effort" }
}

named_enum! {
    /// What an error while a replicated command is applied leads to.
    PropagationErrorBehavior {
        Ignore = "ignore",
        Panic = "panic",
        PanicOnReplicas = "panic-on-replicas",
    }
}

named_enum! {
    /// Which dump formats are taken in.
    RdbVersionCheck { Strict = "strict", Relaxed = "relaxed" }
}

named_enum! {
    /// Whether dump payloads are examined before they are loaded.
    SanitizeDumpPayload { No = "no", Yes = "yes", Clients = "clients" }
}

impl RdbVersionCheck {
    /// What it means for whoever reads.
    pub fn meaning(self) -> VersionCheck {
        match self {
            Self::Strict => VersionCheck::Strict,
            Self::Relaxed => VersionCheck::Relaxed,
        }
    }
}

/// A snapshot is due when so many changes happened in so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    pub seconds: u64,
    pub changes: u64,
}

/// An empty argument removes all points, others are added. (Not a shape of its own for "replace":
/// who wants that assigns the empty argument first.)
impl Setting for Vec<SavePoint> {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        if arguments == [b""] {
            self.clear();
            return Ok(());
        }
        let point = |pair: &[&[u8]]| match pair {
            [seconds, changes] => Some(SavePoint {
                seconds: u64::try_from(parse_i64(seconds)?).ok().filter(|it| *it != 0)?,
                changes: u64::try_from(parse_i64(changes)?).ok()?,
            }),
            _ => None,
        };
        let points: Option<Vec<SavePoint>> = arguments.chunks(2).map(point).collect();
        self.extend(points.ok_or("Invalid save parameters")?);
        Ok(())
    }

    fn text(&self, _: Rule) -> Vec<u8> {
        join(self.iter().map(|point| format!("{} {}", point.seconds, point.changes)))
    }

    fn lines(&self, rule: Rule) -> Vec<Vec<u8>> {
        vec![if self.is_empty() { b"\"\"".to_vec() } else { self.text(rule) }]
    }
}

/// How much unread output a client may pile up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputBufferLimit {
    /// The client is closed at once above so many bytes. 0: no limit.
    pub hard_bytes: u64,
    /// The client is closed when it stays above so many bytes .. 0: no limit.
    pub soft_bytes: u64,
    /// .. for so many seconds.
    pub soft_seconds: u64,
}

/// The limits of each class of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputBufferLimits {
    pub normal: OutputBufferLimit,
    pub replica: OutputBufferLimit,
    pub pubsub: OutputBufferLimit,
}

impl OutputBufferLimits {
    pub(super) const DEFAULT: Self = Self {
        normal: OutputBufferLimit { hard_bytes: 0, soft_bytes: 0, soft_seconds: 0 },
        replica: OutputBufferLimit {
            hard_bytes: 256 << 20,
            soft_bytes: 64 << 20,
            soft_seconds: 60,
        },
        pubsub: OutputBufferLimit { hard_bytes: 32 << 20, soft_bytes: 8 << 20, soft_seconds: 60 },
    };
}

impl Setting for OutputBufferLimits {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        let arguments = if arguments == [b""] { &[] } else { arguments };
        let (limits, []) = arguments.as_chunks::<4>() else {
            return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
        };
        for [class, hard, soft, seconds] in limits {
            let limit = match class.to_ascii_lowercase().as_slice() {
                b"normal" => &mut self.normal,
                b"slave" | b"replica" => &mut self.replica,
                b"pubsub" => &mut self.pubsub,
                _ => {
                    let text = "Invalid client class specified in buffer limit configuration.";
                    return Err(text.to_owned());
                }
            };
            let seconds = parse_i64(seconds).and_then(|it| u64::try_from(it).ok());
            let (Some(hard_bytes), Some(soft_bytes), Some(soft_seconds)) =
                (parse_memory(hard), parse_memory(soft), seconds)
            else {
                let text =
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
                return Err(text.to_owned());
            };
            *limit = OutputBufferLimit { hard_bytes, soft_bytes, soft_seconds };
        }
        Ok(())
    }

    /// Programs that read this know the class of replicas by its old name only.
    fn text(&self, _: Rule) -> Vec<u8> {
        let classes = [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)];
        join(classes.into_iter().map(|(class, limit)| {
            let OutputBufferLimit { hard_bytes, soft_bytes, soft_seconds } = limit;
            format!("{class} {hard_bytes} {soft_bytes} {soft_seconds}")
        }))
    }

    fn lines(&self, _: Rule) -> Vec<Vec<u8>> {
        let classes = [("normal", self.normal), ("replica", self.replica), ("pubsub", self.pubsub)];
        let line = |(class, limit): (&str, OutputBufferLimit)| {
            let [hard, soft] = [limit.hard_bytes, limit.soft_bytes].map(format_memory);
            format!("{class} {hard} {soft} {}", limit.soft_seconds).into_bytes()
        };
        classes.into_iter().map(line).collect()
    }
}

/// Memory as a number of bytes or as a share of `maxmemory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryOrPercent {
    Bytes(u64),
    Percent(u8),
}

impl Setting for MemoryOrPercent {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        let argument = only(arguments)?;
        if let Some(bytes) = parse_memory(argument) {
            if i64::try_from(bytes).is_err() {
                return Err("percentage argument must be less or equal to 100".to_owned());
            }
            *self = Self::Bytes(bytes);
            return Ok(());
        }
        let percent = argument.strip_suffix(b"%").and_then(parse_i64).filter(|it| 0 <= *it);
        *self = match percent {
            Some(0) => Self::Bytes(0),
            Some(percent @ 1..=100) => Self::Percent(percent as u8),
            Some(_) => return Err("percentage argument must be less or equal to 100".to_owned()),
            None => return Err("argument must be a memory or percent value".to_owned()),
        };
        Ok(())
    }

    fn text(&self, _: Rule) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.to_string().into_bytes(),
            Self::Percent(percent) => format!("{percent}%").into_bytes(),
        }
    }

    fn lines(&self, rule: Rule) -> Vec<Vec<u8>> {
        vec![match self {
            Self::Bytes(bytes) => format_memory(*bytes).into_bytes(),
            Self::Percent(_) => self.text(rule),
        }]
    }
}

/// The version of the dump files that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RdbVersion {
    /// The newest that the most servers load and that can hold the data.
    Auto,
    Fixed(Version),
}

impl RdbVersion {
    /// The version, unless it depends on the data.
    pub fn version(self) -> Option<Version> {
        match self {
            Self::Auto => None,
            Self::Fixed(version) => Some(version),
        }
    }
}

impl Setting for RdbVersion {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        let argument = only(arguments)?;
        if argument.eq_ignore_ascii_case(b"auto") {
            *self = Self::Auto;
            return Ok(());
        }
        let number = parse_i64(argument).and_then(|it| u16::try_from(it).ok());
        let version = number.and_then(Version::from_number).filter(|it| it.is_written());
        *self = version.map(Self::Fixed).ok_or(
            "argument must be 'auto', a version of Redis from 9 to 15, or 80 for Valkey's own",
        )?;
        Ok(())
    }

    fn text(&self, _: Rule) -> Vec<u8> {
        match self {
            Self::Auto => b"auto".to_vec(),
            Self::Fixed(version) => version.number().to_string().into_bytes(),
        }
    }
}

bitflags::bitflags! {
    /// The options of the SHUTDOWN that a signal stands for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ShutdownOptions: u8 {
        const SAVE = 1;
        const NOSAVE = 1 << 1;
        const NOW = 1 << 2;
        const FORCE = 1 << 3;
        const SAFE = 1 << 4;
        const FAILOVER = 1 << 5;
    }
}

const SHUTDOWN_OPTIONS: &[(&str, ShutdownOptions)] = &[
    ("default", ShutdownOptions::empty()),
    ("save", ShutdownOptions::SAVE),
    ("nosave", ShutdownOptions::NOSAVE),
    ("now", ShutdownOptions::NOW),
    ("force", ShutdownOptions::FORCE),
    ("safe", ShutdownOptions::SAFE),
    ("failover", ShutdownOptions::FAILOVER),
];

impl Setting for ShutdownOptions {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        if arguments.is_empty() {
            choose(SHUTDOWN_OPTIONS, b"")?;
        }
        let mut options = Self::empty();
        for argument in arguments {
            options |= choose(SHUTDOWN_OPTIONS, argument)?;
        }
        if options.contains(Self::SAVE | Self::NOSAVE) {
            let text = "shutdown options SAVE and NOSAVE can't be used simultaneously";
            return Err(text.to_owned());
        }
        *self = options;
        Ok(())
    }

    fn text(&self, _: Rule) -> Vec<u8> {
        if self.is_empty() {
            return b"default".to_vec();
        }
        let set = SHUTDOWN_OPTIONS[1..].iter().filter(|(_, option)| self.contains(*option));
        join(set.map(|(name, _)| (*name).to_owned()))
    }
}

bitflags::bitflags! {
    /// The classes of keyspace notifications that are published.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct KeyspaceEvents: u32 {
        const GENERIC = 1;
        const STRING = 1 << 1;
        const LIST = 1 << 2;
        const SET = 1 << 3;
        const HASH = 1 << 4;
        const SORTED_SET = 1 << 5;
        const EXPIRED = 1 << 6;
        const EVICTED = 1 << 7;
        const STREAM = 1 << 8;
        const MODULE = 1 << 9;
        const NEW = 1 << 10;
        /// Publish to `__keyspace@N__:key`.
        const KEYSPACE = 1 << 11;
        /// Publish to `__keyevent@N__:event`.
        const KEYEVENT = 1 << 12;
        const MISSED = 1 << 13;
        /// What the letter `A` stands for.
        const ALL = (1 << 10) - 1;
    }
}

const EVENT_LETTERS: [(u8, KeyspaceEvents); 14] = [
    (b'g', KeyspaceEvents::GENERIC),
    (b'$', KeyspaceEvents::STRING),
    (b'l', KeyspaceEvents::LIST),
    (b's', KeyspaceEvents::SET),
    (b'h', KeyspaceEvents::HASH),
    (b'z', KeyspaceEvents::SORTED_SET),
    (b'x', KeyspaceEvents::EXPIRED),
    (b'e', KeyspaceEvents::EVICTED),
    (b't', KeyspaceEvents::STREAM),
    (b'd', KeyspaceEvents::MODULE),
    (b'n', KeyspaceEvents::NEW),
    (b'K', KeyspaceEvents::KEYSPACE),
    (b'E', KeyspaceEvents::KEYEVENT),
    (b'm', KeyspaceEvents::MISSED),
];

impl Setting for KeyspaceEvents {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        let mut events = Self::empty();
        for letter in only(arguments)? {
            events |= match EVENT_LETTERS.iter().find(|(it, _)| it == letter) {
                Some((_, class)) => *class,
                None if *letter == b'A' => Self::ALL,
                None => {
                    let text = "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
                    return Err(text.to_owned());
                }
            };
        }
        *self = events;
        Ok(())
    }

    /// Valkey forgets `n` beside `A`; here it stays, or CONFIG REWRITE would lose it.
    fn text(&self, _: Rule) -> Vec<u8> {
        let (mut text, rest) = if self.contains(Self::ALL) {
            (b"A".to_vec(), self.difference(Self::ALL))
        } else {
            (Vec::new(), *self)
        };
        let set = EVENT_LETTERS.iter().filter(|(_, class)| rest.contains(*class));
        text.extend(set.map(|(letter, _)| *letter));
        text
    }

    fn lines(&self, rule: Rule) -> Vec<Vec<u8>> {
        vec![quote_repr(&self.text(rule)).into_bytes()]
    }
}

const BIND_ADDRESSES_MAX: usize = 16;

/// Addresses to listen on: `*` is every IPv4 address, `::*` every IPv6 one, and a leading `-` allows
/// the address to be missing.
impl Setting for Vec<String> {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        if BIND_ADDRESSES_MAX < arguments.len() {
            return Err("Too many bind addresses specified.".to_owned());
        }
        let addresses = if arguments == [b""] { &[] } else { arguments };
        let addresses = addresses.iter().map(|it| utf8(it).map(str::to_owned));
        *self = addresses.collect::<Result<_, _>>()?;
        Ok(())
    }

    fn text(&self, _: Rule) -> Vec<u8> {
        join(self.iter().cloned())
    }

    fn lines(&self, rule: Rule) -> Vec<Vec<u8>> {
        vec![if self.is_empty() { b"\"\"".to_vec() } else { self.text(rule) }]
    }
}

/// The events that the audit log has, by name. Which there are, whoever writes it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvents(pub Vec<String>);

const AUDIT_EVENTS_MAX: usize = 64;

impl Setting for AuditEvents {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        if AUDIT_EVENTS_MAX < arguments.len() {
            return Err("too many events".to_owned());
        }
        let events = arguments.iter().filter(|it| !it.is_empty());
        let events = events.map(|it| utf8(it).map(str::to_ascii_lowercase));
        self.0 = events.collect::<Result<_, _>>()?;
        Ok(())
    }

    fn text(&self, _: Rule) -> Vec<u8> {
        join(self.0.iter().cloned())
    }

    fn lines(&self, rule: Rule) -> Vec<Vec<u8>> {
        vec![if self.0.is_empty() { b"\"\"".to_vec() } else { self.text(rule) }]
    }
}

/// How expendable the process is as a primary, as a replica and while it saves.
impl Setting for [i32; 3] {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        let Ok(arguments) = <[&[u8]; 3]>::try_from(arguments) else {
            return Err("wrong number of arguments".to_owned());
        };
        for (value, argument) in self.iter_mut().zip(arguments) {
            let number = parse_i64(argument).filter(|it| (-2000..=2000).contains(it));
            *value = number
                .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?
                as i32;
        }
        Ok(())
    }

    fn text(&self, _: Rule) -> Vec<u8> {
        join(self.iter().map(i32::to_string))
    }
}

/// Percentiles between 0 and 100.
impl Setting for Vec<f64> {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        self.clear();
        let arguments = if arguments == [b""] { &[] } else { arguments };
        for argument in arguments {
            let percentile = parse_f64(argument)
                .ok_or("Invalid latency-tracking-info-percentiles parameters")?;
            if !(0.0..=100.0).contains(&percentile) {
                return Err("latency-tracking-info-percentiles parameters should sit between \
                            [0.0,100.0]"
                    .to_owned());
            }
            self.push(percentile);
        }
        Ok(())
    }

    fn text(&self, _: Rule) -> Vec<u8> {
        join(self.iter().map(|it| {
            let text = format!("{it:.6}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }))
    }

    fn lines(&self, rule: Rule) -> Vec<Vec<u8>> {
        vec![if self.is_empty() { b"\"\"".to_vec() } else { self.text(rule) }]
    }
}

/// The server whose copy this one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaOf {
    pub host: String,
    pub port: u16,
}

/// `no one`, or an empty argument, makes it a primary.
impl Setting for Option<ReplicaOf> {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        let [host, port] = arguments else {
            return Err("wrong number of arguments".to_owned());
        };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            *self = None;
            return Ok(());
        }
        let port = parse_i64(port).and_then(|it| u16::try_from(it).ok());
        let port = port.ok_or("Invalid primary port")?;
        *self = Some(ReplicaOf { host: utf8(host)?.to_owned(), port });
        Ok(())
    }

    fn text(&self, _: Rule) -> Vec<u8> {
        let text = self.as_ref().map(|it| format!("{} {}", it.host, it.port));
        text.unwrap_or_default().into_bytes()
    }

    fn lines(&self, rule: Rule) -> Vec<Vec<u8>> {
        self.iter().map(|_| self.text(rule)).collect()
    }
}

/// The folder that relative file names start from. Absolute once it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkingDirectory(PathBuf);

impl WorkingDirectory {
    pub(super) fn current() -> Self {
        Self(PathBuf::from("."))
    }

    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Another folder, which is there.
    pub fn at(path: &Path) -> std::io::Result<Self> {
        path.canonicalize().map(Self)
    }
}

/// A path of any bytes.
pub fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// A relative folder is taken from the folder before it, as changing into it would.
impl Setting for WorkingDirectory {
    fn assign(&mut self, arguments: &[&[u8]], _: Rule) -> Result<(), String> {
        let folder = utf8(only(arguments)?)?;
        if folder.is_empty() {
            return Err("dir can't be empty".to_owned());
        }
        let folder = self.0.join(folder).canonicalize().map_err(|error| reason(&error))?;
        if !folder.is_dir() {
            return Err("Not a directory".to_owned());
        }
        self.0 = folder;
        Ok(())
    }

    fn text(&self, _: Rule) -> Vec<u8> {
        self.0.as_os_str().as_encoded_bytes().to_vec()
    }

    fn lines(&self, rule: Rule) -> Vec<Vec<u8>> {
        vec![quote_repr(&self.text(rule)).into_bytes()]
    }
}

/// The reason in an I/O error as the C library words it, without the number behind it.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn join(words: impl Iterator<Item = String>) -> Vec<u8> {
    words.collect::<Vec<String>>().join(" ").into_bytes()
}
