//! Keys that are changed whenever they have been sent: who wants to change them waits, so that they can arrive. Only a
//! help: whether a key is removed is decided by what it holds, under its lock.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rubine_base::hash::HashMap;
use rubine_commands::{Args, Shipment};

use crate::client::Client;
use crate::command_table::Entry;
use crate::mailbox::Message;
use crate::pause::may_change_data;
use crate::server::Server;
use crate::transaction;

/// The keys, of whatever database, and how many shipments hold each.
#[derive(Default)]
pub(super) struct Held {
    keys: Mutex<HashMap<Box<[u8]>, usize>>,
    /// How many there are, for those who need not look.
    count: AtomicUsize,
}

/// The keys of one shipment, until it is dropped.
pub(crate) struct Hold {
    server: &'static Server,
    keys: Vec<Box<[u8]>>,
}

impl Hold {
    pub(super) fn new(server: &'static Server, shipment: &Shipment) -> Self {
        let keys: Vec<_> = shipment.parcels.iter().map(|it| it.key.clone()).collect();
        let held = &server.migrations.held;
        let mut counts = held.keys.lock();
        for key in &keys {
            *counts.entry(key.clone()).or_default() += 1;
        }
        held.count.store(counts.len(), Ordering::Release);
        drop(counts);
        Self { server, keys }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let held = &self.server.migrations.held;
        let mut counts = held.keys.lock();
        for key in &self.keys {
            if let Some(count) = counts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(key);
                }
            }
        }
        held.count.store(counts.len(), Ordering::Release);
        drop(counts);
        for worker in &self.server.workers {
            worker.send(Message::PauseChanged);
        }
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl super::Migrations {
    /// Whether any key is held.
    #[inline]
    pub(crate) fn holds_any(&self) -> bool {
        self.held.count.load(Ordering::Acquire) != 0
    }

    /// Whether a request would change a key that is held for another client.
    #[inline]
    pub(crate) fn holds(&self, entry: &Entry, client: &Client, args: Args<'_>) -> bool {
        self.holds_any() && self.holds_one_of(entry, client, args)
    }

    #[cold]
    fn holds_one_of(&self, entry: &Entry, client: &Client, args: Args<'_>) -> bool {
        if client.hold.is_some() || !may_change_data(entry, client) {
            return false;
        }
        let held = self.held.keys.lock();
        let mut found = false;
        let mut look = |entry: &Entry, args: Args<'_>| {
            entry.spec.for_each_key(args, |index| found |= held.contains_key(args.at(index)));
        };
        look(entry, args);
        transaction::for_each_queued(entry, client, look);
        found
    }
}
