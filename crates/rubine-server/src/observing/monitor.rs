//! MONITOR: every command as a line of text, and who wants the lines. Sends nothing itself.
//!
//! A worker writes the lines of the commands that it runs into its feed. What has come together by the end of a batch
//! goes, as one message, to each worker that has clients who watch.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rubine_base::clock::unix_micros;
use rubine_base::quote::write_repr;
use rubine_commands::{Args, Spec};
use rubine_system::ticks;

use super::REDACTED;

/// After this many ticks' worth of microseconds, the wall clock is read again.
const CLOCK_MAX_US: f64 = 100_000.0;
/// So much room a feed keeps from batch to batch.
const FEED_KEPT_BYTES: usize = 64 * 1024;

/// Who watches, at some moment.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    /// Counts the changes: whoever began to watch with one gets no lines that were written before it.
    pub(crate) version: u64,
    /// Workers that have clients who watch, each once, and how many.
    counts: Vec<(usize, usize)>,
}

impl Watching {
    pub(crate) fn workers(&self) -> impl Iterator<Item = usize> {
        self.counts.iter().map(|it| it.0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

/// The clients that watch, as far as workers need to know of those of others.
#[derive(Debug, Default)]
pub(crate) struct Monitors(ArcSwap<Watching>);

impl Monitors {
    pub(crate) fn current(&self) -> Arc<Watching> {
        self.0.load_full()
    }

    /// A client of the worker begins to watch. Returns with which version.
    pub(crate) fn add(&self, worker: usize) -> u64 {
        self.change(worker, |count| count + 1)
    }

    /// A client of the worker has ceased to watch.
    pub(crate) fn remove(&self, worker: usize) {
        self.change(worker, |count| count.saturating_sub(1));
    }

    fn change(&self, worker: usize, change: impl Fn(usize) -> usize) -> u64 {
        let mut version = 0;
        self.0.rcu(|old| {
            version = old.version + 1;
            let before = old.counts.iter().find(|it| it.0 == worker).map_or(0, |it| it.1);
            let others = old.counts.iter().copied().filter(|it| it.0 != worker);
            let counts = others.chain([(worker, change(before))]).filter(|it| it.1 != 0).collect();
            Watching { version, counts }
        });
        version
    }
}

/// Lines for those who watch.
#[derive(Debug)]
pub(crate) struct Lines {
    /// Who began to watch with a later version does not get them.
    pub(crate) version: u64,
    pub(crate) bytes: Box<[u8]>,
}

/// The command of a line.
pub(crate) struct Shown<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) args: Args<'a>,
    pub(crate) db: usize,
    /// The client's address, or what stands in its place.
    pub(crate) source: &'a str,
}

/// The lines that a worker has written and not yet sent.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    bytes: Vec<u8>,
    /// Bytes that were sent before these.
    sent: u64,
    /// What the wall clock said, in microseconds, and the ticks at that moment.
    clock: Option<(i64, u64)>,
}

/// A moment of a feed, to go back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeedMark(u64);

impl Feed {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds the line of a command that ended at `ticks`.
    pub(crate) fn add(&mut self, shown: &Shown<'_>, ticks: u64) {
        let micros = self.unix_micros_at(ticks);
        write_line(&mut self.bytes, shown, micros);
    }

    fn unix_micros_at(&mut self, ticks: u64) -> i64 {
        let per_us = ticks::per_microsecond();
        let since = |start: u64| (ticks.saturating_sub(start)) as f64 / per_us;
        match self.clock {
            Some((micros, start)) if since(start) < CLOCK_MAX_US => micros + since(start) as i64,
            _ => {
                let micros = unix_micros();
                self.clock = Some((micros, ticks));
                micros
            }
        }
    }

    pub(crate) fn mark(&self) -> FeedMark {
        FeedMark(self.sent + self.bytes.len() as u64)
    }

    /// Takes back the lines since `mark`, as far as they have not been sent.
    pub(crate) fn truncate_to(&mut self, FeedMark(mark): FeedMark) {
        if let Some(len) = mark.checked_sub(self.sent) {
            self.bytes.truncate(len as usize);
        }
    }

    /// Takes all lines out.
    pub(crate) fn take(&mut self) -> Box<[u8]> {
        let bytes = Box::from(&self.bytes[..]);
        self.sent += self.bytes.len() as u64;
        self.bytes.clear();
        self.bytes.shrink_to(FEED_KEPT_BYTES);
        bytes
    }
}

/// Appends a line as Redis writes it: when, from whom, and the arguments between quotes.
fn write_line(out: &mut Vec<u8>, shown: &Shown<'_>, micros: i64) {
    let Shown { spec, args, db, source } = *shown;
    let micros = micros.max(0) as u64;
    let mut digits = itoa::Buffer::new();
    out.push(b'+');
    out.extend_from_slice(digits.format(micros / 1_000_000).as_bytes());
    out.push(b'.');
    // The digit in front stands for the zeros that a number does not begin with.
    out.extend_from_slice(&digits.format(1_000_000 + micros % 1_000_000).as_bytes()[1..]);
    out.extend_from_slice(b" [");
    out.extend_from_slice(digits.format(db).as_bytes());
    out.push(b' ');
    out.extend_from_slice(source.as_bytes());
    out.push(b']');
    let mut secrets = Vec::new();
    spec.for_each_secret(args, |index| secrets.push(index));
    for (index, argument) in args.from(0).enumerate() {
        out.push(b' ');
        let is_secret = !secrets.is_empty() && secrets.contains(&index);
        write_repr(out, if is_secret { REDACTED } else { argument });
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rubine_base::quote::split_args;
    use rubine_commands::Command;
    use rubine_resp::parser::ArgRange;

    use super::{Args, Feed, Monitors, Shown, write_line};

    const PLAIN: Command = Command::new("PLAIN", |_| Ok(()));
    const SECRET: Command = Command::new("SECRET", |_| Ok(()))
        .hides(|args, visit| (1..args.len()).step_by(2).for_each(visit));

    fn line(command: &Command, args: &[Vec<u8>], micros: i64) -> Vec<u8> {
        let mut ranges = Vec::new();
        let mut start = 0;
        for argument in args {
            ranges.push(ArgRange { start, len: argument.len() });
            start += argument.len();
        }
        let buffer = args.concat();
        let args = Args::new(&buffer, &ranges);
        let mut out = Vec::new();
        let shown = Shown { spec: &command.spec, args, db: 3, source: "127.0.0.1:5" };
        write_line(&mut out, &shown, micros);
        out
    }

    #[test]
    fn a_line_is_that_of_redis() {
        let args = ["keys", "*\"\n\u{e9}"].map(|it| it.as_bytes().to_vec());
        let text = line(&PLAIN, &args, 1_339_518_083_007_412);
        let expected = b"+1339518083.007412 [3 127.0.0.1:5] \"keys\" \"*\\\"\\n\\xc3\\xa9\"\r\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn secrets_do_not_show() {
        let args = ["auth", "me", "no", "secret"].map(|it| it.as_bytes().to_vec());
        let text = String::from_utf8(line(&SECRET, &args, 0)).expect("lines are ASCII");
        let expected =
            "+0.000000 [3 127.0.0.1:5] \"auth\" \"(redacted)\" \"no\" \"(redacted)\"\r\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_feed_takes_back_what_was_not_sent() {
        let shown = || Shown { spec: &PLAIN.spec, args: Args::new(b"", &[]), db: 0, source: "lua" };
        let mut feed = Feed::default();
        let start = feed.mark();
        feed.add(&shown(), 0);
        let (middle, len) = (feed.mark(), feed.len());
        feed.add(&shown(), 0);
        feed.truncate_to(middle);
        assert_eq!(feed.take().len(), len);
        feed.add(&shown(), 0);
        feed.truncate_to(start);
        assert_eq!(feed.len(), len, "what was sent before is no part of it");
        feed.truncate_to(middle);
        assert_eq!(feed.len(), 0);
    }

    #[test]
    fn workers_are_known_while_somebody_watches_there() {
        let monitors = Monitors::default();
        let workers = || monitors.current().workers().collect::<Vec<_>>();
        assert_eq!([monitors.add(1), monitors.add(0), monitors.add(1)], [1, 2, 3]);
        monitors.remove(1);
        assert_eq!(workers(), [0, 1]);
        monitors.remove(1);
        assert_eq!(workers(), [0]);
        monitors.remove(0);
        assert!(monitors.current().is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_one_line_and_read_back(args: Vec<Vec<u8>>, micros in 0..i64::MAX) {
            let text = line(&PLAIN, &args, micros);
            let body = text.strip_suffix(b"\r\n").expect("a line has an end");
            prop_assert!(body.iter().all(|byte| (b' '..=b'~').contains(byte)));
            let quoted = body.splitn(2, |&it| it == b']').nth(1).expect("a bracket stands before");
            prop_assert_eq!(split_args(quoted), Ok(args));
        }
    }
}
