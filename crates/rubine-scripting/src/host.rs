//! What a running script may ask of the server. Implemented by the server, and by maps in tests.

use rubine_resp::parser::ArgRange;
use rubine_resp::writer::Reply;

/// Where a script's commands, messages and questions go.
///
/// Texts of errors that a command gets from a script only are in [`text`].
pub trait Host {
    /// Runs a command and writes its reply, or its error, to `reply`, which speaks the protocol that the script has
    /// chosen. After [`Called::Stop`] the script runs no further instruction, whatever it does: the run ends with
    /// [`crate::Outcome::Stopped`], and nothing is written to its client.
    fn call(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Called;

    /// Asked every some thousand instructions, a few times a millisecond.
    fn poll(&mut self) -> Verdict;

    /// `redis.log`. Nobody reads it, unless somebody does.
    fn log(&mut self, _level: LogLevel, _text: &[u8]) {}

    /// `redis.acl_check_cmd`
    fn check_permission(&mut self, request: Request<'_>) -> Permission;

    /// `redis.set_repl`: who hears of what the script changes from here on.
    fn set_replication(&mut self, _replication: Replication) {}

    /// `os.clock`: processor time of the process. It stands still where code runs that measures nothing.
    fn cpu_seconds(&mut self) -> f64 {
        0.0
    }

    /// An error is in the script's reply that no command has counted.
    fn count_error(&mut self, _text: &[u8]) {}
}

/// A command with its arguments.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub buffer: &'a [u8],
    pub ranges: &'a [ArgRange],
}

impl<'a> Request<'a> {
    pub fn args(self) -> impl Iterator<Item = &'a [u8]> {
        self.ranges.iter().map(move |range| range.of(self.buffer))
    }
}

/// How a call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// There is a reply, or an error.
    Replied,
    /// The run ends here, and may be begun anew.
    Stop,
}

/// Whether a script may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    GoOn,
    /// It was killed: the run ends with an error that says so.
    Kill,
    /// The run ends, as after [`Called::Stop`].
    Stop,
}

/// Levels of `redis.log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
}

/// What the user who runs a script may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    Granted,
    Denied,
    /// There is no such command, or it takes other arguments.
    Invalid,
}

/// Who hears of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replication {
    pub to_log: bool,
    pub to_replicas: bool,
}

impl Replication {
    pub const ALL: Self = Self { to_log: true, to_replicas: true };
}

/// Errors of commands that are said differently within scripts. `redis.call` raises them as they are.
pub mod text {
    pub const UNKNOWN_COMMAND: &str = "ERR Unknown command called from script";
    pub const WRONG_ARITY: &str = "ERR Wrong number of args calling command from script";
    pub const NOT_ALLOWED: &str = "ERR This Valkey command is not allowed from script";
    /// Stands for `NOPERM ` at the start of an error.
    pub const NO_PERMISSION: &str = "ERR ACL failure in script: ";
    pub const READ_ONLY: &str = "ERR Write commands are not allowed from read-only scripts.";
    pub const NO_SCRIPT: &str = "NOSCRIPT No matching script.";
}
