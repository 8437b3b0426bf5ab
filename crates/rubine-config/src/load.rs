//! Reads the configuration from the command line, files and standard input, as redis-server takes
//! them: later lines win over earlier ones, and the command line over all files.

use std::io::Read;
use std::path::{Path, PathBuf};

use rubine_base::quote::{split_args, write_repr};

use super::environment::{self, Variable};
use rubine_alerts::RuleLine;

use super::line::{ConfigLine, SentinelLine, UserLine};
use super::quota::{QuotaRule, QuotaSubject};
use super::setting::utf8;
use super::table::Config;
use super::table::directive::{Directive, Traits, closest, find};
use super::values::reason;

/// Files that include each other in a circle stop here.
const INCLUDE_DEPTH_MAX: usize = 16;

/// A configuration file is written by people.
const FILE_SIZE_MAX: u64 = 16 << 20;

/// What the command line is called.
const COMMAND_LINE: &str = "the command line";

const UNBALANCED: &str = "Unbalanced quotes in configuration line";

/// A shorter stretch of the replication stream is of no use to anybody.
const REPL_BACKLOG_SIZE_MIN: u64 = 16 << 10;

/// Names that other servers read or skip. They have no value here, but a file may hold them.
const FOREIGN: [(&str, &str); 14] = [
    ("list-max-ziplist-entries", DROPPED),
    ("list-max-ziplist-value", DROPPED),
    ("lua-replicate-commands", DROPPED),
    ("io-threads-do-reads", DROPPED),
    ("events-per-io-thread", DROPPED),
    ("backup-sealed-ttl", LATER_REDIS),
    ("backupdirname", LATER_REDIS),
    ("hash-rdb-load-max-template-entries", LATER_REDIS),
    ("hash-rdb-load-min-template-entries", LATER_REDIS),
    ("hash-rdb-load-template-disassembly-threshold", LATER_REDIS),
    ("lookahead", LATER_REDIS),
    ("preload-file", LATER_REDIS),
    ("stream-idmp-duration", LATER_REDIS),
    ("stream-idmp-maxsize", LATER_REDIS),
];
const DROPPED: &str = "other servers dropped it long ago";
const LATER_REDIS: &str = "it came with a later version of Redis";

/// What a configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Server,
    /// It may have `sentinel` lines, and other defaults hold.
    Sentinel,
}

/// Where a Sentinel listens if nothing else is said.
const SENTINEL_PORT: u16 = 26_379;

/// Where the configuration came from, and what the log should say about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigSource {
    /// The configuration file, absolute: CONFIG REWRITE writes here.
    pub file: Option<PathBuf>,
    /// Sentences for the log: directives that were set and have no effect.
    pub notes: Vec<String>,
    /// Where each directive was set that was set at all, in words: the last place counts.
    pub origins: Vec<(&'static str, String)>,
}

/// Why the server cannot start with this configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The line that is wrong, when one is.
    pub line: Option<ConfigLine>,
    pub reason: String,
}

impl std::error::Error for ConfigError {}

/// The report in the shape that start scripts and test suites look for.
impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        writeln!(f, "*** FATAL CONFIG FILE ERROR (Version {version}) ***")?;
        if let Some(ConfigLine { origin, number, text }) = &self.line {
            writeln!(f, "Reading the configuration file, at line {number} of {origin}")?;
            writeln!(f, ">>> '{text}'")?;
        }
        f.write_str(&self.reason)
    }
}

impl Config {
    /// The configuration that a command line (without the program's name) asks for:
    /// `[file] [-] [--directive value ..] ..`, where `-` is standard input.
    pub fn from_args(args: &[Vec<u8>], mode: Mode) -> Result<(Self, ConfigSource), ConfigError> {
        let environment = std::env::vars_os().filter_map(environment::directive_of);
        let mut environment: Vec<Variable> = environment.collect();
        environment.sort();
        Self::from_all(args, &environment, mode, &mut std::io::stdin().lock())
    }

    #[cfg(test)]
    pub(super) fn from_args_and_input(
        args: &[Vec<u8>],
        mode: Mode,
        input: &mut dyn Read,
    ) -> Result<(Self, ConfigSource), ConfigError> {
        Self::from_all(args, &[], mode, input)
    }

    /// Files, then the environment, then the command line: what comes later counts.
    pub(super) fn from_all(
        args: &[Vec<u8>],
        environment: &[Variable],
        mode: Mode,
        input: &mut dyn Read,
    ) -> Result<(Self, ConfigSource), ConfigError> {
        let command_line = CommandLine::parse(args);
        let mut loader = Loader::new(mode);
        loader.assign_line(&[b"dir".to_vec(), b".".to_vec()]).map_err(ConfigError::without_line)?;
        loader.mentioned.clear();
        loader.origins.clear();

        let mut source = ConfigSource::default();
        if let Some(name) = command_line.file {
            let path = utf8(name).map_err(ConfigError::without_line)?;
            loader.load_file(Path::new(path), 0)?;
            // What was just read exists, so only a race can make this fail.
            source.file = std::path::absolute(path).ok();
        }
        if command_line.reads_input {
            let text = read_bounded(input).map_err(|error| {
                ConfigError::without_line(format!("Can't read the configuration: {error}"))
            })?;
            loader.load_text(&text, "standard input", 0)?;
        }
        environment.iter().try_for_each(|it| loader.load_variable(it))?;
        loader.load_text(&command_line.options, COMMAND_LINE, 0)?;
        source.notes = loader.notes();
        source.origins = std::mem::take(&mut loader.origins);
        let mut config = loader.config;
        config.settle()?;
        // That a node follows another one is the cluster's to say, and later on it may.
        if config.cluster_enabled && config.replicaof.is_some() {
            let text = "replicaof directive not allowed in cluster mode";
            return Err(ConfigError::without_line(text.to_owned()));
        }
        Ok((config, source))
    }

    /// How many databases there are.
    pub fn database_count(&self) -> u32 {
        if self.cluster_enabled { self.cluster_databases } else { self.databases }
    }

    /// Brings values that are hints into their range, and refuses those that contradict each other.
    pub(super) fn settle(&mut self) -> Result<(), ConfigError> {
        self.hz = self.hz.clamp(1, 500);
        if self.watchdog_period != 0 {
            self.watchdog_period = self.watchdog_period.max(2 * (1000 / self.hz));
        }
        self.repl_backlog_size = self.repl_backlog_size.max(REPL_BACKLOG_SIZE_MIN);
        let db_count = self.database_count();
        let is_beyond =
            |it: &QuotaRule| matches!(it.subject, QuotaSubject::Db(db) if db_count <= db);
        if self.quotas.iter().any(is_beyond) {
            let text = "a quota is about a database that there is not";
            return Err(ConfigError::without_line(text.to_owned()));
        }
        Ok(())
    }
}

impl ConfigError {
    fn without_line(reason: String) -> Self {
        Self { line: None, reason }
    }
}

struct CommandLine<'a> {
    file: Option<&'a [u8]>,
    reads_input: bool,
    /// The options as lines of a configuration file.
    options: Vec<u8>,
}

impl<'a> CommandLine<'a> {
    /// An argument that starts with `--` begins a new directive if the one before it has a value by
    /// now; otherwise it is that value. `--save` and `--sentinel` need none.
    fn parse(args: &'a [Vec<u8>]) -> Self {
        let mut command_line = Self { file: None, reads_input: false, options: Vec::new() };
        let mut rest = args;
        if let [first, tail @ ..] = args
            && !first.starts_with(b"-")
        {
            command_line.file = Some(first);
            rest = tail;
        }
        let options = &mut command_line.options;
        let mut has_value = true;
        for (idx, argument) in rest.iter().enumerate() {
            let next = rest.get(idx + 1);
            let is_at_an_end = std::ptr::eq(argument, &raw const args[0]) || next.is_none();
            if argument == b"-" && is_at_an_end {
                command_line.reads_input = true;
            } else if has_value && let Some(name) = argument.strip_prefix(b"--") {
                if !options.is_empty() {
                    options.push(b'\n');
                }
                options.extend(name);
                options.push(b' ');
                let holds_only_a_name = split_args(argument).is_ok_and(|words| words.len() == 1);
                let next_is_a_name = next.is_none_or(|next| next.starts_with(b"--"));
                has_value = !holds_only_a_name;
                if argument.eq_ignore_ascii_case(b"--save") && next_is_a_name {
                    options.extend(b"\"\"");
                    has_value = true;
                } else if argument.eq_ignore_ascii_case(b"--sentinel") && next_is_a_name {
                    has_value = true;
                }
            } else {
                write_repr(options, argument);
                options.push(b' ');
                has_value = true;
            }
        }
        command_line
    }
}

struct Loader {
    mode: Mode,
    config: Config,
    /// Names and aliases of directives that some line sets.
    mentioned: Vec<&'static str>,
    /// Where each of them was set last, and where what is read now stands.
    origins: Vec<(&'static str, String)>,
    place: String,
    /// Sentences about lines that belong to other servers.
    foreign: Vec<String>,
}

impl Loader {
    fn new(mode: Mode) -> Self {
        let mut config = Config::default();
        if mode == Mode::Sentinel {
            config.port = SENTINEL_PORT;
            // The others have to reach it.
            config.protected_mode = false;
        }
        let (mentioned, origins, place, foreign) = Default::default();
        Self { mode, config, mentioned, origins, place, foreign }
    }

    fn load_file(&mut self, path: &Path, depth: usize) -> Result<(), ConfigError> {
        let failed = |error: &std::io::Error| {
            let (path, reason) = (path.display(), reason(error));
            let text = format!("Fatal error, can't open config file '{path}': {reason}");
            ConfigError::without_line(text)
        };
        let mut file = std::fs::File::open(path).map_err(|error| failed(&error))?;
        let text = read_bounded(&mut file).map_err(|error| failed(&error))?;
        self.load_text(&text, &path.display().to_string(), depth)
    }

    /// Takes a directive from the environment.
    fn load_variable(&mut self, variable: &Variable) -> Result<(), ConfigError> {
        let failed = |reason: String| {
            ConfigError::without_line(format!("{} of the environment: {reason}", variable.name))
        };
        let value = variable.read().map_err(failed)?;
        let origin = format!("{} of the environment", variable.name);
        let takes_many = |it: &&Directive| it.traits.contains(Traits::MANY_ARGUMENTS);
        let mut words = vec![variable.directive.name.as_bytes().to_vec()];
        if takes_many(&variable.directive) && !value.is_empty() {
            words.extend(split_args(&value).map_err(|_| failed(UNBALANCED.to_owned()))?);
        } else {
            words.push(value);
        }
        self.place = origin;
        self.assign_line(&words).map_err(failed)
    }

    fn load_text(&mut self, text: &[u8], origin: &str, depth: usize) -> Result<(), ConfigError> {
        for (idx, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let at_this_line = |reason: String| ConfigError {
                line: Some(ConfigLine {
                    origin: origin.to_owned(),
                    number: idx + 1,
                    text: String::from_utf8_lossy(line).into_owned(),
                }),
                reason,
            };
            let words = split_args(line).map_err(|_| at_this_line(UNBALANCED.to_owned()))?;
            self.place = match origin {
                COMMAND_LINE => origin.to_owned(),
                _ => format!("line {} of {origin}", idx + 1),
            };
            match words.as_slice() {
                [] => {}
                [name, pattern] if name.eq_ignore_ascii_case(b"include") => {
                    if depth == INCLUDE_DEPTH_MAX {
                        return Err(at_this_line("Too many includes inside includes".to_owned()));
                    }
                    for path in self.included(pattern).map_err(at_this_line)? {
                        self.load_file(&path, depth + 1).map_err(|error| match error.line {
                            Some(_) => error,
                            None => at_this_line(error.reason),
                        })?;
                    }
                }
                [name, user @ ..] if name.eq_ignore_ascii_case(b"user") && !user.is_empty() => {
                    let line = at_this_line(String::new()).line;
                    self.config.users.push(UserLine { words: user.to_vec(), line });
                }
                [name, quota @ ..] if name.eq_ignore_ascii_case(b"quota") && !quota.is_empty() => {
                    self.set_quota(quota).map_err(at_this_line)?;
                }
                [name, alert @ ..] if name.eq_ignore_ascii_case(b"alert") && !alert.is_empty() => {
                    self.set_alert(alert).map_err(at_this_line)?;
                }
                [name, words @ ..]
                    if name.eq_ignore_ascii_case(b"sentinel") && self.mode == Mode::Sentinel =>
                {
                    // The option that asks for the mode has nothing behind it.
                    if !words.is_empty() {
                        let line = at_this_line(String::new()).line;
                        self.config.sentinel.push(SentinelLine { words: words.to_vec(), line });
                    }
                }
                words => self.assign_line(words).map_err(at_this_line)?,
            }
        }
        Ok(())
    }

    /// Takes a quota in place of an earlier one of the same subject.
    fn set_quota(&mut self, words: &[Vec<u8>]) -> Result<(), String> {
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let rule = QuotaRule::parse(&words)?;
        self.config.quotas.retain(|it| it.subject != rule.subject);
        self.config.quotas.push(rule);
        Ok(())
    }

    /// Takes what an `alert` line says in place of an earlier one of the same name.
    fn set_alert(&mut self, words: &[Vec<u8>]) -> Result<(), String> {
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let line = RuleLine::parse(&words)?;
        self.config.alert_rules.retain(|it| it.name() != line.name());
        self.config.alert_rules.push(line);
        Ok(())
    }

    /// The files that an `include` names. A pattern may match none; a plain name must exist.
    fn included(&self, pattern: &[u8]) -> Result<Vec<PathBuf>, String> {
        let base = self.config.dir.as_path();
        let pattern = utf8(pattern)?;
        if pattern.contains(['*', '?', '[']) {
            super::include::matching_files(base, pattern)
        } else {
            Ok(vec![base.join(pattern)])
        }
    }

    fn assign_line(&mut self, words: &[Vec<u8>]) -> Result<(), String> {
        let (name, arguments) = words.split_first().expect("empty lines are skipped");
        let Some(directive) = find(name) else {
            return self.assign_special_line(name, arguments);
        };
        let takes_many = directive.traits.contains(Traits::MANY_ARGUMENTS);
        if !takes_many && arguments.len() != 1 {
            return Err("wrong number of arguments".to_owned());
        }
        self.origins.retain(|(name, _)| *name != directive.name);
        self.origins.push((directive.name, self.place.clone()));
        let is_first = !self.mentioned.contains(&directive.name);
        if is_first {
            self.mentioned.push(directive.name);
            if directive.traits.contains(Traits::ACCUMULATES) {
                directive.assign(&mut self.config, &[b""])?;
            }
        }
        let split = match arguments {
            [only] if takes_many && !only.is_empty() => {
                Some(split_args(only).map_err(|_| UNBALANCED)?)
            }
            _ => None,
        };
        let arguments = split.as_deref().unwrap_or(arguments);
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        directive.assign(&mut self.config, &arguments)
    }

    /// A line that is not a directive with a value: commands to the loader, and what is unknown.
    fn assign_special_line(&mut self, name: &[u8], arguments: &[Vec<u8>]) -> Result<(), String> {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if let Some(reason) = why_foreign(&name)
            && arguments.len() == 1
        {
            self.foreign.push(format!("'{name}' is accepted without effect: {reason}"));
            return Ok(());
        }
        match (name.as_str(), arguments) {
            ("rename-command", [old, new]) => {
                self.config.renamed_commands.push((old.clone(), new.clone()));
                Ok(())
            }
            ("loadmodule", [module, ..]) => {
                let module = String::from_utf8_lossy(module);
                Err(format!("Modules in C cannot be loaded: {module}"))
            }
            ("sentinel", [_, ..]) => {
                Err("sentinel directive while not in sentinel mode".to_owned())
            }
            (
                "include" | "rename-command" | "user" | "quota" | "alert" | "loadmodule"
                | "sentinel",
                _,
            ) => Err("Bad directive or wrong number of arguments".to_owned()),
            _ => Err(unknown_directive(&name)),
        }
    }

    fn notes(&self) -> Vec<String> {
        let directives = self.mentioned.iter().filter_map(|name| find(name.as_bytes()));
        let mut notes: Vec<String> =
            directives.filter_map(|directive| directive.note(&self.config)).collect();
        notes.extend(self.foreign.iter().cloned());
        notes
    }
}

/// Why a directive that only other servers know has no effect here. None: nobody knows it.
pub(super) fn why_foreign(name: &str) -> Option<&'static str> {
    FOREIGN.iter().find(|(foreign, _)| *foreign == name).map(|(_, reason)| *reason)
}

fn unknown_directive(name: &str) -> String {
    let suggestion = match closest(name) {
        Some(nearest) => format!("; did you mean '{nearest}'?"),
        None => String::new(),
    };
    format!("Bad directive or wrong number of arguments: '{name}' is unknown{suggestion}")
}

fn read_bounded(input: &mut dyn Read) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    input.take(FILE_SIZE_MAX + 1).read_to_end(&mut text)?;
    if FILE_SIZE_MAX < text.len() as u64 {
        return Err(std::io::Error::other("the file is too large for a configuration"));
    }
    Ok(text)
}
