//! The command log: the last commands that took long, and those whose requests or replies were large. Never decides
//! which these are.
//!
//! One list of each kind, for all workers, behind a lock that is taken for a command only when it is put in.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use rubine_commands::{Args, Spec};

use super::REDACTED;
use crate::settings::{LogLimits, Shows};

/// What a command is remembered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogKind {
    Slow,
    LargeRequest,
    LargeReply,
}

impl LogKind {
    pub(crate) const ALL: [Self; 3] = [Self::Slow, Self::LargeRequest, Self::LargeReply];

    /// The kind that COMMANDLOG calls so.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        let names = ["slow", "large-request", "large-reply"];
        let index = names.iter().position(|it| it.as_bytes().eq_ignore_ascii_case(name));
        index.map(|it| Self::ALL[it])
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// A command as it is remembered, whatever for.
#[derive(Clone, Debug)]
pub(crate) struct LoggedCommand {
    /// Unix seconds.
    pub(crate) at: i64,
    /// As they are shown.
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) address: String,
    pub(crate) client_name: Vec<u8>,
}

/// An entry of one log.
#[derive(Debug)]
pub(crate) struct LogEntry {
    pub(crate) id: u64,
    /// Microseconds, or bytes.
    pub(crate) value: u64,
    pub(crate) command: LoggedCommand,
}

/// Every log.
#[derive(Debug, Default)]
pub(crate) struct CommandLogs {
    logs: [CommandLog; LogKind::ALL.len()],
}

/// One log.
#[derive(Debug, Default)]
pub(crate) struct CommandLog(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    next_id: u64,
    /// The newest first.
    list: VecDeque<Arc<LogEntry>>,
}

impl CommandLogs {
    pub(crate) fn of(&self, kind: LogKind) -> &CommandLog {
        &self.logs[kind.index()]
    }

    /// Forgets what is more than each log may have now. One that takes nothing stays as it is.
    pub(crate) fn trim(&self, limits: &[LogLimits; LogKind::ALL.len()]) {
        for (log, limits) in self.logs.iter().zip(limits).filter(|(_, it)| it.is_on()) {
            log.0.lock().list.truncate(limits.len_max);
        }
    }
}

impl CommandLog {
    /// Remembers a command, and forgets the oldest beyond `len_max`.
    pub(crate) fn push(&self, value: u64, command: LoggedCommand, len_max: usize) {
        let mut entries = self.0.lock();
        let id = entries.next_id;
        entries.next_id += 1;
        entries.list.push_front(Arc::new(LogEntry { id, value, command }));
        entries.list.truncate(len_max);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().list.len()
    }

    /// Up to `count` entries, the newest first.
    pub(crate) fn newest(&self, count: usize) -> Vec<Arc<LogEntry>> {
        self.0.lock().list.iter().take(count).cloned().collect()
    }

    /// Forgets everything; numbers go on.
    pub(crate) fn clear(&self) {
        let list = std::mem::take(&mut self.0.lock().list);
        drop(list);
    }
}

/// A command's arguments as an entry shows them: not all, not to their ends, and no secrets.
pub(crate) fn shown_args(spec: &Spec, args: Args<'_>, shows: Shows) -> Vec<Vec<u8>> {
    let Shows { args_max, arg_bytes_max } = shows;
    let mut secrets = Vec::new();
    spec.for_each_secret(args, |index| secrets.push(index));
    let shown_count = if args.len() <= args_max { args.len() } else { args_max - 1 };
    let mut shown: Vec<Vec<u8>> = Vec::with_capacity(args_max.min(args.len()));
    for (index, argument) in args.from(0).take(shown_count).enumerate() {
        let is_secret = secrets.contains(&index);
        shown.push(if is_secret { REDACTED.to_vec() } else { cut(argument, arg_bytes_max) });
    }
    if shown_count < args.len() {
        let more = args.len() - shown_count;
        shown.push(format!("... ({more} more arguments)").into_bytes());
    }
    shown
}

/// An argument, or the beginning of it and how much more there is.
pub(crate) fn cut(argument: &[u8], bytes_max: usize) -> Vec<u8> {
    match argument.split_at_checked(bytes_max) {
        Some((shown, rest)) if !rest.is_empty() => {
            [shown, format!("... ({} more bytes)", rest.len()).as_bytes()].concat()
        }
        _ => argument.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::{CommandLog, LoggedCommand, cut};

    fn command(name: &str) -> LoggedCommand {
        let args = vec![name.as_bytes().to_vec()];
        LoggedCommand { at: 0, args, address: String::new(), client_name: Vec::new() }
    }

    #[test]
    fn the_newest_come_first_and_the_oldest_go() {
        let log = CommandLog::default();
        for (value, name) in ["a", "b", "c"].into_iter().enumerate() {
            log.push(value as u64, command(name), 2);
        }
        let ids = |count| log.newest(count).iter().map(|it| it.id).collect::<Vec<_>>();
        assert_eq!(ids(usize::MAX), [2, 1]);
        assert_eq!(ids(1), [2]);
        log.clear();
        assert_eq!(log.len(), 0);
        log.push(0, command("d"), 2);
        assert_eq!(ids(1), [3]);
    }

    #[test]
    fn long_arguments_are_cut() {
        assert_eq!(cut(b"", 128), b"");
        assert_eq!(cut(&[b'a'; 128], 128), [b'a'; 128]);
        assert_eq!(cut(b"abc", 0), b"... (3 more bytes)");
        let shown = cut(&[b'a'; 130], 128);
        assert_eq!(shown, [&[b'a'; 128][..], b"... (2 more bytes)"].concat());
    }
}
