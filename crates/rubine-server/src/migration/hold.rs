//! The keys that move now, each for one client at a time: two that move the same key at once would each take the other's
//! removal for a change. Where a key is changed whenever it has been sent, who wants to change it waits too, so that it
//! can arrive; that is only a help, since what is removed is decided by what a key holds, under its lock.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rubine_base::hash::HashMap;
use rubine_commands::{Args, Shipment};

use crate::client::Client;
use crate::command_table::Entry;
use crate::mailbox::Message;
use crate::pause::may_change_data;
use crate::server::Server;
use crate::transaction;

/// The keys, of whatever database.
#[derive(Default)]
pub(super) struct Held {
    keys: Mutex<HashMap<Box<[u8]>, Claim>>,
    /// How many there are, and how many of them nobody else may change, for those who need not look.
    count: AtomicUsize,
    contested_count: AtomicUsize,
    /// Somebody waits until one of them is free.
    has_waiters: AtomicBool,
}

/// Whose a key is.
struct Claim {
    client: u64,
    /// How often its command names it.
    count: usize,
    /// Nobody else may change it.
    is_contested: bool,
}

/// The keys of one client, until this is dropped.
pub(crate) struct Hold {
    server: &'static Server,
    keys: Vec<Box<[u8]>>,
}

impl Hold {
    /// Takes the keys of a shipment, while the locks are held under which they were looked up. `None` if one of them is
    /// another client's.
    pub(crate) fn new(server: &'static Server, client: u64, shipment: &Shipment) -> Option<Self> {
        let held = &server.migrations.held;
        let mut claims = held.keys.lock();
        let is_others = |key: &[u8]| claims.get(key).is_some_and(|it| it.client != client);
        if shipment.parcels.iter().any(|it| is_others(&it.key)) {
            held.has_waiters.store(true, Ordering::Release);
            return None;
        }
        let keys: Vec<_> = shipment.parcels.iter().map(|it| it.key.clone()).collect();
        for key in &keys {
            let free = Claim { client, count: 0, is_contested: false };
            claims.entry(key.clone()).or_insert(free).count += 1;
        }
        held.count.store(claims.len(), Ordering::Release);
        Some(Self { server, keys })
    }

    /// From now on nobody else changes the keys.
    pub(super) fn contest(&self) {
        let held = &self.server.migrations.held;
        let mut claims = held.keys.lock();
        for key in &self.keys {
            if let Some(claim) = claims.get_mut(key)
                && !std::mem::replace(&mut claim.is_contested, true)
            {
                held.contested_count.fetch_add(1, Ordering::Release);
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let held = &self.server.migrations.held;
        let mut claims = held.keys.lock();
        for key in &self.keys {
            let Some(claim) = claims.get_mut(key) else { continue };
            claim.count -= 1;
            if claim.count == 0 {
                held.contested_count.fetch_sub(usize::from(claim.is_contested), Ordering::Release);
                claims.remove(key);
            }
        }
        held.count.store(claims.len(), Ordering::Release);
        drop(claims);
        if held.has_waiters.swap(false, Ordering::AcqRel) {
            for worker in &self.server.workers {
                worker.send(Message::PauseChanged);
            }
        }
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl super::Migrations {
    /// Whether any key moves.
    pub(crate) fn holds_any(&self) -> bool {
        self.held.count.load(Ordering::Acquire) != 0
    }

    /// Whether a request would change a key that nobody may change but another client.
    #[inline]
    pub(crate) fn holds(&self, entry: &Entry, client: &Client, args: Args<'_>) -> bool {
        self.held.contested_count.load(Ordering::Acquire) != 0
            && self.holds_one_of(entry, client, args)
    }

    #[cold]
    fn holds_one_of(&self, entry: &Entry, client: &Client, args: Args<'_>) -> bool {
        if client.hold.is_some() || !may_change_data(entry, client) {
            return false;
        }
        let claims = self.held.keys.lock();
        let mut found = false;
        let mut look = |entry: &Entry, args: Args<'_>| {
            entry.spec.for_each_key(args, |index| {
                found |= claims.get(args.at(index)).is_some_and(|it| it.is_contested);
            });
        };
        look(entry, args);
        transaction::for_each_queued(entry, client, look);
        if found {
            self.held.has_waiters.store(true, Ordering::Release);
        }
        found
    }
}
