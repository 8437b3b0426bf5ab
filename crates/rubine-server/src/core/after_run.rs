//! What happens after every command, wherever it came from: it is counted, with its time and its outcome.

use rubine_commands::{Args, CommandError, CommandResult};
use rubine_resp::writer::{Mark, Reply};
use rubine_system::ticks;

use super::Core;
use crate::client::Client;
use crate::command_table::Entry;
use crate::stats::histogram::Histogram;

/// A command that has run to its end, or has begun to wait.
pub(crate) struct RanCommand<'a, 'r> {
    pub(crate) entry: &'static Entry,
    pub(crate) client: &'a mut Client,
    pub(crate) caller: Caller,
    pub(crate) args: Args<'a>,
    /// What it replied begins at `reply_start`.
    pub(crate) reply: &'a mut Reply<'r>,
    pub(crate) reply_start: Mark,
    pub(crate) result: CommandResult,
}

/// Whose request a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Client,
    /// That of an EXEC, which takes what its commands take.
    Transaction,
    /// A script's, which its client runs.
    Script,
}

impl Core {
    /// Counts a command, with the time that it took since the last one ended, less what it waited for locks, and what was
    /// done for clients that waited.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "passing it all costs as much as what is done here")]
    pub(crate) fn after_run(&mut self, ran: RanCommand<'_, '_>) {
        let RanCommand { entry, client, caller, args, reply, reply_start, result } = ran;
        let now = ticks::now();
        let spent_ticks = now.wrapping_sub(self.ticks).saturating_sub(self.lock_ticks);
        self.ticks = now;
        self.lock_ticks = 0;
        let stats = &self.stats().commands[entry.number];
        stats.calls.add(1);
        stats.ticks.add(spent_ticks);
        if self.settings.tracks_latency {
            stats.latency.get_or_init(Histogram::default).record(spent_ticks);
        }
        if self.notable.is_met(spent_ticks, args, reply, reply_start) {
            let (client, reply, result) = (&mut *client, &mut *reply, Ok(()));
            let mut ran = RanCommand { entry, client, caller, args, reply, reply_start, result };
            self.observe(&mut ran, spent_ticks);
        }
        // Who waits has not run to the end.
        client.traffic.commands += u64::from(client.suspended.is_none());
        if let Err(error) = result {
            self.count_failure(entry, error);
        }
    }

    /// Looks at a command that has begun to wait for a key. It counts when it has a reply, and not if it is refused then.
    #[cold]
    pub(crate) fn after_beginning_to_wait(&mut self, mut ran: RanCommand<'_, '_>) {
        let now = ticks::now();
        let spent_ticks = now.wrapping_sub(self.ticks).saturating_sub(self.lock_ticks);
        self.start_clock();
        if self.notable.is_met(spent_ticks, ran.args, ran.reply, ran.reply_start) {
            self.observe(&mut ran, spent_ticks);
        }
    }

    /// Counts a command that has waited for a key, and has its reply.
    pub(super) fn count_waited(&mut self, entry: &'static Entry, spent_ticks: u64) {
        let stats = &self.stats().commands[entry.number];
        stats.calls.add(1);
        stats.ticks.add(spent_ticks);
        if self.settings.tracks_latency {
            stats.latency.get_or_init(Histogram::default).record(spent_ticks);
        }
    }

    /// Counts the failure of a command that is counted itself.
    #[cold]
    #[expect(clippy::needless_pass_by_value, reason = "nobody but this has to drop it")]
    pub(crate) fn count_failure(&mut self, entry: &'static Entry, error: CommandError) {
        self.stats().commands[entry.number].failed_calls.add(1);
        self.count_error(&error);
    }

    /// Counts an error that a command was answered with before or instead of running.
    pub(crate) fn count_rejection(&mut self, entry: &'static Entry, error: &CommandError) {
        self.stats().commands[entry.number].rejected_calls.add(1);
        self.count_error(error);
    }

    pub(crate) fn count_error(&mut self, error: &CommandError) {
        self.stats().error_replies.add(1);
        self.stats().errors.count(error);
    }

    /// Adds up what the commands of a turn did. A unit may be under way: nothing else of it is touched.
    pub(crate) fn flush_counts(&mut self) {
        let stats = self.stats();
        stats.timed_waits.set(self.deadlines.len() as u64);
        let changes = &mut self.runner.changes;
        stats.keyspace_hits.add(std::mem::take(&mut changes.hits));
        stats.keyspace_misses.add(std::mem::take(&mut changes.misses));
        stats.expired_keys.add(std::mem::take(&mut changes.expired_count));
        stats.expired_fields.add(std::mem::take(&mut changes.expired_fields));
        changes.forget_spare();
    }
}
