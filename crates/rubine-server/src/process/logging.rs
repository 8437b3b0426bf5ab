//! The log: lines in Valkey's shape, to a file, standard output and syslog. Never reports its own
//! failures, since there is nowhere left to report them, and never stops whoever logs.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;
use rubine_base::clock::{Millis, unix_millis};
use rubine_base::quote::quote_repr;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use rubine_config::{Config, LogFormat, LogLevel, LogTimestampFormat, SyslogFacility};

/// The levels under the names that users of Redis know: `log::notice!("Ready")`.
pub mod log {
    pub use tracing::{debug as verbose, info as notice, trace as debug, warn as warning};
}

/// Longer messages are cut.
const MESSAGE_SIZE_MAX: usize = 16 << 10;

const SYSLOG_SOCKET: &str = "/dev/log";

/// What this process is, as a letter or a word of each line shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    Primary,
    Replica,
    Sentinel,
}

/// Where lines go and what they look like. Everything can change while the server runs.
pub struct Logger {
    settings: ArcSwap<Settings>,
    role: AtomicU8,
    time_zone: TimeZone,
    syslog_socket: PathBuf,
}

struct Settings {
    level_max: LevelFilter,
    /// None: standard output.
    file: Option<PathBuf>,
    format: LogFormat,
    timestamp_format: LogTimestampFormat,
    syslog: Option<Syslog>,
}

struct Syslog {
    ident: String,
    facility: SyslogFacility,
    /// None where no socket could be had; then there is no syslog.
    socket: Option<UnixDatagram>,
}

/// One line before it is written.
struct Line<'a> {
    pid: u32,
    role: Role,
    time: Millis,
    level: Level,
    message: &'a str,
}

/// Begins to log as `config` says. To be called once in a process. Fails when the log file cannot be
/// opened, so that a server never starts mute by mistake.
pub fn install(config: &Config) -> std::io::Result<Arc<Logger>> {
    let logger = Arc::new(Logger::new(config, Path::new(SYSLOG_SOCKET)));
    if let Some(path) = &logger.settings.load().file {
        open_to_append(path)?;
    }
    tracing::subscriber::set_global_default(Arc::clone(&logger)).map_err(std::io::Error::other)?;
    Ok(logger)
}

/// What a log line may show of a user's data: nothing, if `hide-user-data-from-log` says so.
pub fn user_data(config: &Config, bytes: &[u8]) -> Cow<'static, str> {
    if config.hide_user_data_from_log {
        Cow::Borrowed("*redacted*")
    } else {
        Cow::Owned(quote_repr(bytes))
    }
}

impl Logger {
    fn new(config: &Config, syslog_socket: &Path) -> Self {
        Self {
            settings: ArcSwap::from_pointee(Settings::of(config)),
            role: AtomicU8::new(Role::Primary as u8),
            time_zone: TimeZone::system(),
            syslog_socket: syslog_socket.to_owned(),
        }
    }

    /// Logs as `config` says from now on.
    pub fn apply(&self, config: &Config) {
        self.settings.store(Arc::new(Settings::of(config)));
        tracing::callsite::rebuild_interest_cache();
    }

    /// Opens what is open anew: the log file may have been moved away, and syslog started again.
    pub fn reopen(&self) {
        let settings = self.settings.load();
        if let Some(path) = &settings.file {
            // Whether it can be opened is seen again with each line.
            let _ = open_to_append(path);
        }
        if let Some(Syslog { ident, facility, .. }) = &settings.syslog {
            let syslog = Syslog {
                ident: ident.clone(),
                facility: *facility,
                socket: unblocking_socket().ok(),
            };
            let (file, syslog) = (settings.file.clone(), Some(syslog));
            self.settings.store(Arc::new(Settings { file, syslog, ..**settings }));
        }
    }

    pub fn set_role(&self, role: Role) {
        self.role.store(role as u8, Ordering::Relaxed);
    }

    fn role(&self) -> Role {
        match self.role.load(Ordering::Relaxed) {
            role if role == Role::Replica as u8 => Role::Replica,
            role if role == Role::Sentinel as u8 => Role::Sentinel,
            _ => Role::Primary,
        }
    }

    fn write(&self, level: Level, message: &str) {
        let settings = self.settings.load();
        let line = Line {
            pid: std::process::id(),
            role: self.role(),
            time: unix_millis(),
            level,
            message,
        };
        let text = line.text(settings.format, settings.timestamp_format, &self.time_zone);
        // A line that cannot be written is lost; see the head of this file.
        let _ = match &settings.file {
            None => std::io::stdout().lock().write_all(text.as_bytes()),
            // Opened for each line, so that a file that was rotated away is followed at once.
            Some(path) => open_to_append(path).and_then(|mut file| file.write_all(text.as_bytes())),
        };
        if let Some(Syslog { ident, facility, socket: Some(socket) }) = &settings.syslog {
            let datagram = line.syslog_text(ident, *facility, &self.time_zone);
            let _ = socket.send_to(datagram.as_bytes(), &self.syslog_socket);
        }
    }
}

impl Settings {
    fn of(config: &Config) -> Self {
        let level_max = match config.loglevel {
            LogLevel::Debug => LevelFilter::TRACE,
            LogLevel::Verbose => LevelFilter::DEBUG,
            LogLevel::Notice => LevelFilter::INFO,
            LogLevel::Warning => LevelFilter::WARN,
            LogLevel::Nothing => LevelFilter::OFF,
        };
        let file = &config.logfile;
        Self {
            level_max,
            file: (!file.is_empty()).then(|| config.dir.as_path().join(file)),
            format: config.log_format,
            timestamp_format: config.log_timestamp_format,
            syslog: config.syslog_enabled.then(|| Syslog {
                ident: config.syslog_ident.clone(),
                facility: config.syslog_facility,
                socket: unblocking_socket().ok(),
            }),
        }
    }
}

/// A socket that drops a line rather than wait for a syslog that is stuck.
fn unblocking_socket() -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn open_to_append(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().append(true).create(true).open(path)
}

impl Subscriber for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.settings.load().level_max
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.settings.load().level_max)
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        self.write(*event.metadata().level(), &message.0);
    }

    // Spans are never enabled.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The text of an event: its message, then its other fields as `name=value`.
struct Message(String);

impl Message {
    fn push(&mut self, field: &Field, value: std::fmt::Arguments<'_>) {
        // Writing into a String cannot fail.
        let _ = match (field.name(), self.0.is_empty()) {
            ("message", _) => self.0.write_fmt(value),
            (name, true) => write!(self.0, "{name}={value}"),
            (name, false) => write!(self.0, " {name}={value}"),
        };
        let mut ends = (0..=self.0.len().min(MESSAGE_SIZE_MAX)).rev();
        let boundary = ends.find(|at| self.0.is_char_boundary(*at));
        self.0.truncate(boundary.expect("0 is a boundary"));
    }
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.push(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, format_args!("{value}"));
    }
}

impl Line<'_> {
    fn text(
        &self,
        format: LogFormat,
        timestamp_format: LogTimestampFormat,
        time_zone: &TimeZone,
    ) -> String {
        let Self { pid, message, .. } = self;
        let time = timestamp(self.time, timestamp_format, time_zone);
        let (sign, level, _) = level_names(self.level);
        let (letter, role) = match self.role {
            Role::Primary => ('M', "primary"),
            Role::Replica => ('S', "replica"),
            Role::Sentinel => ('X', "sentinel"),
        };
        match format {
            LogFormat::Legacy => format!("{pid}:{letter} {time} {sign} {message}\n"),
            LogFormat::Logfmt => {
                let message = message.replace('"', "'").replace(['\n', '\r'], " ");
                format!(
                    "pid={pid} role={role} timestamp=\"{time}\" level={level} \
                     message=\"{message}\"\n"
                )
            }
            LogFormat::Json => {
                let message = json_string(message);
                format!(
                    "{{\"pid\":{pid},\"role\":\"{role}\",\"timestamp\":\"{time}\",\
                     \"level\":\"{level}\",\"message\":{message}}}\n"
                )
            }
        }
    }

    /// The line as a datagram of the BSD syslog protocol, which every syslog daemon reads.
    fn syslog_text(&self, ident: &str, facility: SyslogFacility, time_zone: &TimeZone) -> String {
        let facility = match facility {
            SyslogFacility::User => 1,
            SyslogFacility::Local0 => 16,
            SyslogFacility::Local1 => 17,
            SyslogFacility::Local2 => 18,
            SyslogFacility::Local3 => 19,
            SyslogFacility::Local4 => 20,
            SyslogFacility::Local5 => 21,
            SyslogFacility::Local6 => 22,
            SyslogFacility::Local7 => 23,
        };
        let (_, _, severity) = level_names(self.level);
        let priority = facility * 8 + severity;
        let time = strftime(self.time, "%b %e %H:%M:%S", time_zone);
        format!("<{priority}>{time} {ident}[{}]: {}", self.pid, self.message)
    }
}

/// A level's sign in a plain line, its name in a structured one, and its number in syslog.
fn level_names(level: Level) -> (char, &'static str, u8) {
    match level {
        Level::TRACE => ('.', "debug", 7),
        Level::DEBUG => ('-', "info", 6),
        Level::INFO => ('*', "notice", 5),
        Level::WARN | Level::ERROR => ('#', "warning", 4),
    }
}

fn timestamp(time: Millis, format: LogTimestampFormat, time_zone: &TimeZone) -> String {
    let millis = time.rem_euclid(1000);
    match format {
        LogTimestampFormat::Legacy => {
            format!("{}.{millis:03}", strftime(time, "%d %b %Y %H:%M:%S", time_zone))
        }
        LogTimestampFormat::Iso8601 => {
            let seconds = strftime(time, "%Y-%m-%dT%H:%M:%S", time_zone);
            format!("{seconds}.{millis:03}{}", strftime(time, "%:z", time_zone))
        }
        LogTimestampFormat::Milliseconds => time.to_string(),
    }
}

/// A moment as in RFC 3339, in universal time.
pub(crate) fn utc(time: Millis) -> String {
    timestamp(time, LogTimestampFormat::Iso8601, &TimeZone::UTC).replace("+00:00", "Z")
}

fn strftime(time: Millis, format: &str, time_zone: &TimeZone) -> String {
    // A clock outside the years that a calendar knows is shown as the epoch.
    let time = jiff::Timestamp::from_millisecond(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_zoned(time_zone.clone()).strftime(format).to_string()
}

/// A text as JSON has it.
pub(crate) fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c <= '\u{1f}' => {
                // Writing into a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use jiff::tz::{TimeZone, offset};
    use tracing::Level;

    use super::{Line, Logger, MESSAGE_SIZE_MAX, Role, log, user_data};
    use rubine_config::{Config, LogFormat, LogLevel, LogTimestampFormat, SyslogFacility};

    /// 2026-11-21 10:00:00.123 UTC.
    const TIME: i64 = 1_795_255_200_123;

    fn line(level: Level, message: &str) -> Line<'_> {
        Line { pid: 42, role: Role::Primary, time: TIME, level, message }
    }

    #[test]
    fn shapes_of_lines() {
        use LogFormat::{Json, Legacy, Logfmt};
        use LogTimestampFormat as Time;
        let check = |line: Line<'_>, format, time_format, expected: &str| {
            let zone = TimeZone::fixed(offset(2));
            assert_eq!(line.text(format, time_format, &zone), format!("{expected}\n"));
        };
        let hello = || line(Level::INFO, "Hello");
        check(hello(), Legacy, Time::Legacy, "42:M 21 Nov 2026 12:00:00.123 * Hello");
        check(hello(), Legacy, Time::Iso8601, "42:M 2026-11-21T12:00:00.123+02:00 * Hello");
        check(hello(), Legacy, Time::Milliseconds, "42:M 1795255200123 * Hello");
        let replica = Line { role: Role::Replica, ..line(Level::DEBUG, "x") };
        check(replica, Legacy, Time::Milliseconds, "42:S 1795255200123 - x");
        let sentinel = Line { role: Role::Sentinel, ..line(Level::TRACE, "x") };
        check(sentinel, Legacy, Time::Milliseconds, "42:X 1795255200123 . x");
        check(line(Level::ERROR, "x"), Legacy, Time::Milliseconds, "42:M 1795255200123 # x");
        check(
            line(Level::WARN, "a \"b\"\nc"),
            Logfmt,
            Time::Milliseconds,
            "pid=42 role=primary timestamp=\"1795255200123\" level=warning message=\"a 'b' c\"",
        );
        check(
            line(Level::DEBUG, "a \"b\"\n\u{1}\\ é"),
            Json,
            Time::Milliseconds,
            "{\"pid\":42,\"role\":\"primary\",\"timestamp\":\"1795255200123\",\"level\":\"info\",\
             \"message\":\"a \\\"b\\\"\\n\\u0001\\\\ é\"}",
        );
    }

    #[test]
    fn shape_of_a_syslog_datagram() {
        let line = line(Level::WARN, "Hello");
        let text = line.syslog_text("rubine", SyslogFacility::Local3, &TimeZone::UTC);
        assert_eq!(text, "<156>Nov 21 10:00:00 rubine[42]: Hello");
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("rubine-logging-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn config(folder: &Folder) -> Config {
        let file = folder.0.join("log").to_str().unwrap().to_owned();
        Config { logfile: file, ..Config::default() }
    }

    /// The messages in a log file, with the sign of their level.
    fn messages(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.splitn(6, ' ').nth(5).unwrap().to_owned()).collect()
    }

    #[test]
    fn the_level_can_change_and_the_file_can_be_rotated() {
        let folder = Folder::new("rotate");
        let mut config = config(&folder);
        let logger = Arc::new(Logger::new(&config, Path::new("")));
        tracing::subscriber::with_default(Arc::clone(&logger), || {
            let log_all = || {
                log::debug!("debug");
                log::verbose!("verbose");
                log::notice!(port = 7000, name = "a b", "notice {}", 1);
                log::warning!("warning");
            };
            log_all();
            std::fs::rename(folder.0.join("log"), folder.0.join("log.1")).unwrap();
            config.loglevel = LogLevel::Debug;
            logger.apply(&config);
            log_all();
            config.loglevel = LogLevel::Nothing;
            logger.apply(&config);
            log_all();
        });
        let notice = "* notice 1 port=7000 name=a b";
        assert_eq!(messages(&folder.0.join("log.1")), [notice, "# warning"]);
        let expected = [". debug", "- verbose", notice, "# warning"];
        assert_eq!(messages(&folder.0.join("log")), expected);
    }

    #[test]
    fn long_messages_are_cut() {
        let folder = Folder::new("long");
        let logger = Logger::new(&config(&folder), Path::new(""));
        tracing::subscriber::with_default(logger, || log::warning!("{}", "é".repeat(100_000)));
        let [message] = messages(&folder.0.join("log")).try_into().unwrap();
        assert_eq!(message.len(), "# ".len() + MESSAGE_SIZE_MAX);
    }

    #[test]
    fn syslog_gets_every_line_too() {
        let folder = Folder::new("syslog");
        let socket_path = folder.0.join("socket");
        let socket = UnixDatagram::bind(&socket_path).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let config = Config { syslog_enabled: true, ..config(&folder) };
        let logger = Logger::new(&config, &socket_path);
        tracing::subscriber::with_default(logger, || log::notice!("Hello"));
        let mut datagram = [0; 200];
        let len = socket.recv(&mut datagram).unwrap();
        let text = str::from_utf8(&datagram[..len]).unwrap();
        assert!(text.starts_with("<133>"), "{text}");
        assert!(text.ends_with(&format!(" rubine[{}]: Hello", std::process::id())), "{text}");
        assert_eq!(messages(&folder.0.join("log")), ["* Hello"]);
    }

    #[test]
    fn user_data_is_hidden_unless_allowed() {
        let mut config = Config::default();
        assert_eq!(user_data(&config, b"secret"), "*redacted*");
        config.hide_user_data_from_log = false;
        assert_eq!(user_data(&config, b"a\n"), "\"a\\n\"");
    }
}
