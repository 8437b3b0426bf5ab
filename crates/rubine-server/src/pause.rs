//! CLIENT PAUSE: until when which commands wait. Never touches a client.

use std::sync::atomic::{AtomicI64, Ordering};

use rubine_commands::Flags;

use crate::client::Client;
use crate::command_table::Entry;

/// A pause of clients, in force until its moment.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    /// Unix milliseconds until which all commands wait; 0 for no pause.
    all_until: AtomicI64,
    /// Unix milliseconds until which commands that write wait; 0 for no pause.
    writes_until: AtomicI64,
}

impl Pause {
    /// Starts a pause or makes one longer or stricter; it never shortens one.
    pub(crate) fn start(&self, until: i64, only_writes: bool) {
        let moment = if only_writes { &self.writes_until } else { &self.all_until };
        moment.fetch_max(until, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.all_until.store(0, Ordering::Relaxed);
        self.writes_until.store(0, Ordering::Relaxed);
    }

    /// What waits at `now`, and until when: `(is everything paused, moment)`.
    pub(crate) fn in_force(&self, now: i64) -> Option<(bool, i64)> {
        let all = self.all_until.load(Ordering::Relaxed);
        let writes = self.writes_until.load(Ordering::Relaxed);
        if now < all {
            Some((true, all.max(writes)))
        } else if now < writes {
            Some((false, writes))
        } else {
            None
        }
    }

    /// Whether no keys may expire or be evicted: the data set shall not change.
    pub(crate) fn stops_writes(&self, now: i64) -> bool {
        self.in_force(now).is_some()
    }

    /// Whether a request has to wait.
    #[inline]
    pub(crate) fn holds(&self, now: i64, entry: &Entry, client: &Client, is_queued: bool) -> bool {
        let Some((is_total, _)) = self.in_force(now) else { return false };
        if entry.spec.flags.contains(Flags::NEVER_PAUSED) {
            return false;
        }
        is_total || (!is_queued && may_change_data(entry, client))
    }
}

/// Whether a command writes, or might, or runs queued ones that do.
fn may_change_data(entry: &Entry, client: &Client) -> bool {
    let changing = Flags::WRITE | Flags::MAY_REPLICATE;
    let is_exec = entry.spec.name == "EXEC";
    entry.spec.flags.intersects(changing)
        || (is_exec && client.transaction.as_ref().is_some_and(|it| it.has_any(changing)))
}
