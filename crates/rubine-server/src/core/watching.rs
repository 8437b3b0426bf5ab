//! What MONITOR shows: lines of this worker's commands on their way to those who watch, and this worker's clients who do.

use std::sync::Arc;

use rubine_commands::{Args, Flags};
use rubine_system::ticks;

use super::Core;
use super::after_run::Caller;
use crate::client::suspension::Brought;
use crate::client::{Client, ClientFlags};
use crate::command_table::Entry;
use crate::observing::monitor::{Feed, FeedMark, Lines, Shown, Watching};

/// A feed is sent when it is this long, though its command runs on.
const FEED_BYTES_MAX: usize = 1024 * 1024;
/// It is sent at the end of a batch when it is this long, or begun so long ago: whoever reads is not woken for each line.
const FEED_BYTES_USUAL: usize = 16 * 1024;
const FEED_AGE_MAX_US: f64 = 1000.0;

/// What a worker has for MONITOR.
#[derive(Default)]
pub(crate) struct Watch {
    /// Who watches, of all workers.
    watching: Arc<Watching>,
    feed: Feed,
    /// When the first of these lines was written, in ticks.
    feed_since: u64,
    /// Clients of this worker that watch, and with which version they began to.
    own: Vec<(u64, u64)>,
}

impl Watch {
    pub(super) fn is_on(&self) -> bool {
        !self.watching.is_empty()
    }

    /// Clients of this worker that get lines of `version`.
    pub(crate) fn watchers(&self, version: u64) -> impl Iterator<Item = u64> {
        self.own.iter().filter(move |it| it.1 <= version).map(|it| it.0)
    }
}

impl Core {
    /// Takes over who watches now. Those who have just begun do not get what was written before.
    pub(super) fn refresh_watching(&mut self) {
        let current = self.server.observing.monitors.current();
        if current.version != self.watch.watching.version {
            self.send_lines();
            self.watch.watching = current;
        }
    }

    /// Lets a client watch. Returns false if it does so already.
    pub(crate) fn start_watching(&mut self, client: &mut Client) -> bool {
        if client.flags.contains(ClientFlags::MONITOR) {
            return false;
        }
        client.flags |= ClientFlags::MONITOR;
        let version = self.server.observing.monitors.add(self.index);
        self.watch.own.push((client.id, version));
        self.tell_workers();
        true
    }

    /// A client watches no more, if it did.
    pub(crate) fn stop_watching(&mut self, client: &mut Client) {
        if client.flags.contains(ClientFlags::MONITOR) {
            client.flags -= ClientFlags::MONITOR;
            self.watch.own.retain(|it| it.0 != client.id);
            self.server.observing.monitors.remove(self.index);
            self.tell_workers();
        }
    }

    /// Workers look at who watches when the version of the settings changes, before they run what they have read.
    fn tell_workers(&mut self) {
        self.server.settings.renew();
        self.refresh_settings();
    }

    /// Shows a command that has run, unless it is one that nobody is shown, or that was shown before it ran.
    pub(super) fn show(
        &mut self,
        client: &Client,
        caller: Caller,
        entry: &'static Entry,
        args: Args<'_>,
    ) {
        let hidden = Flags::SKIP_MONITOR | Flags::ADMIN;
        if self.watch.is_on() && !entry.spec.flags.intersects(hidden) {
            self.write_line(client, caller, entry, args);
        }
    }

    /// Shows a command that runs others, which come after it.
    pub(super) fn show_before(&mut self, client: &Client, entry: &'static Entry, args: Args<'_>) {
        let goes_on = matches!(client.brought, Some(Brought::Ran(..)));
        if entry.spec.flags.contains(Flags::SKIP_MONITOR) && !goes_on {
            self.write_line(client, Caller::Client, entry, args);
        }
    }

    /// Shows that a transaction is over which will not run.
    #[cold]
    pub(crate) fn show_refused(&mut self, client: &Client, entry: &'static Entry, args: Args<'_>) {
        if self.watch.is_on() && entry.spec.flags.contains(Flags::RUNS_QUEUE) {
            self.write_line(client, Caller::Client, entry, args);
        }
    }

    #[cold]
    fn write_line(
        &mut self,
        client: &Client,
        caller: Caller,
        entry: &'static Entry,
        args: Args<'_>,
    ) {
        let unix;
        let source = match caller {
            Caller::Script => "lua",
            _ if client.flags.contains(ClientFlags::UNIX_SOCKET) => {
                let address = &client.info.address;
                unix = format!("unix:{}", address.strip_suffix(":0").unwrap_or(address));
                &unix
            }
            Caller::Client | Caller::Transaction => &client.info.address,
        };
        let shown = Shown { spec: entry.spec, args, db: client.db, source };
        if self.watch.feed.len() == 0 {
            self.watch.feed_since = self.ticks;
        }
        self.watch.feed.add(&shown, self.ticks);
        if FEED_BYTES_MAX <= self.watch.feed.len() {
            self.send_lines();
        }
    }

    /// This moment, to which [`Self::unshow`] goes back.
    pub(crate) fn shown(&self) -> FeedMark {
        self.watch.feed.mark()
    }

    /// What was shown since `mark` has not happened: it runs again.
    pub(crate) fn unshow(&mut self, mark: FeedMark) {
        self.watch.feed.truncate_to(mark);
    }

    /// Whether lines wait to be sent.
    #[inline]
    pub(crate) fn has_lines(&self) -> bool {
        self.watch.feed.len() != 0
    }

    /// Shows what can be shown by now: at the end of a batch, before its replies leave. Lines are sent if they are many, or
    /// old.
    #[inline]
    pub(crate) fn show_observed(&mut self) {
        self.log_waited();
        if self.has_lines() {
            let age = ticks::now().saturating_sub(self.watch.feed_since) as f64;
            let is_old = FEED_AGE_MAX_US * ticks::per_microsecond() <= age;
            if is_old || FEED_BYTES_USUAL <= self.watch.feed.len() {
                self.send_lines();
            }
        }
    }

    /// Sends what was written to the workers whose clients watch.
    #[cold]
    pub(super) fn send_lines(&mut self) {
        if !self.has_lines() {
            return;
        }
        let version = self.watch.watching.version;
        let lines = Arc::new(Lines { version, bytes: self.watch.feed.take() });
        let bytes_max = self.settings.monitor_output_limit().hard_bytes as usize;
        for worker in self.watch.watching.workers() {
            self.server.workers[worker].send_lines(&lines, bytes_max);
        }
    }
}
