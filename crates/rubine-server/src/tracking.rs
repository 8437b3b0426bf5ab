//! Who keeps copies of keys, and the way of an invalidation to them. Never writes to a client: the worker that owns one
//! does.
//!
//! Of clients that are told of keys which they have read, the readers lie beside the keys of each shard
//! (`rubine_keyspace`), by numbers that are looked up here. Others are told of all keys with a prefix (`broadcast`).
//! Notices are posted while the shard of the change is locked, so whoever locks it later finds them posted
//! (`docs/design/028`).

mod broadcast;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use parking_lot::RwLock;
use rubine_base::hash::HashMap;
use rubine_keyspace::{Readers, Stale, Tracking};

use self::broadcast::Broadcasts;
use crate::client::inbox::{Notice, Posted};
use crate::client::{ClientFlags, ClientInfo};
use crate::mailbox::{Mailbox, Message};

/// Memory of a notice where it waits, about, without the name of a key.
const POSTED_BYTES: usize = 2 * size_of::<Posted>();

/// After this time clients have been sent what they are told, or are slow.
const EVICTED_MS: i64 = 100;

/// What whoever changes a key has while it tells others.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// The worker, if it is one.
    worker: Option<usize>,
    /// The client whose command runs; 0 for none.
    pub(crate) writer: u64,
    /// What that client is told after its reply.
    pub(crate) own: Vec<Posted>,
    /// Memory of what was posted since [`Self::begin_to_count`], about.
    pub(crate) posted_bytes: usize,
    /// What it takes in the outputs of those who are told.
    pub(crate) told_bytes: usize,
    /// Clients of the same worker for whom there is something.
    pub(crate) near: Vec<u64>,
}

impl Outbox {
    pub(crate) fn new(worker: Option<usize>) -> Self {
        Self {
            worker,
            writer: 0,
            own: Vec::new(),
            posted_bytes: 0,
            told_bytes: 0,
            near: Vec::new(),
        }
    }

    /// Counts anew what is posted.
    pub(crate) fn begin_to_count(&mut self) {
        (self.posted_bytes, self.told_bytes) = (0, 0);
    }

    pub(crate) fn post(&mut self, workers: &[Mailbox], to: &ClientInfo, posted: Posted) {
        self.posted_bytes += POSTED_BYTES;
        self.told_bytes += posted.notice.byte_count();
        if to.id == self.writer {
            self.own.push(posted);
        } else if to.inbox.post(posted) {
            if self.worker == Some(to.worker) {
                self.near.push(to.id);
            } else {
                workers[to.worker].send(Message::Notified { client: to.id });
            }
        }
    }
}

/// A client that is told of changes.
#[derive(Debug)]
pub(crate) struct Tracker {
    pub(crate) info: Arc<ClientInfo>,
    /// Who gets its notices, if another client does.
    pub(crate) redirection: Option<Arc<ClientInfo>>,
    /// It is told of all keys with its prefixes, not of those that it has read.
    pub(crate) is_broadcast: bool,
    /// It is not told of what it has changed itself.
    pub(crate) omits_own: bool,
}

impl Tracker {
    fn send(&self, workers: &[Mailbox], notice: Notice, outbox: &mut Outbox) {
        let (to, notice, is_redirected) = match &self.redirection {
            None => (&self.info, notice, false),
            Some(gone) if is_gone(gone) => (&self.info, Notice::BrokenRedirection(gone.id), false),
            Some(other) => (other, notice, true),
        };
        outbox.post(workers, to, Posted { notice, is_redirected });
    }
}

fn is_gone(info: &ClientInfo) -> bool {
    let ends = ClientFlags::CLOSE_AFTER_REPLY | ClientFlags::CLOSE_NOW;
    let is_over = info.is_killed.load(Ordering::Acquire) || info.is_closed.load(Ordering::Acquire);
    is_over || info.flags().intersects(ends)
}

/// All clients that are told of changes.
#[derive(Debug)]
pub(crate) struct Trackers {
    /// What a unit of work has to note, as [`mode_of`] says.
    mode: AtomicU8,
    len: AtomicUsize,
    last_number: AtomicU32,
    by_number: RwLock<HashMap<u32, Tracker>>,
    broadcasts: Broadcasts,
    /// What clients are told of keys that were evicted, in bytes, and how long it may be on its way, Unix milliseconds.
    evicted_bytes: AtomicUsize,
    evicted_until: AtomicI64,
}

impl Trackers {
    pub(crate) fn new(worker_count: usize) -> Self {
        let (mode, len, last_number, by_number) = Default::default();
        let (evicted_bytes, evicted_until) = Default::default();
        let broadcasts = Broadcasts::new(worker_count);
        Self { mode, len, last_number, by_number, broadcasts, evicted_bytes, evicted_until }
    }

    /// What a unit has to note of the keys that it changes. Asked under the locks of its shards: whoever has read one of its
    /// keys under the same lock before is among the trackers by then.
    #[inline]
    pub(crate) fn mode(&self) -> Tracking {
        mode_of(self.mode.load(Ordering::Relaxed))
    }

    /// Whether anybody tracks.
    #[inline]
    pub(crate) fn has_any(&self) -> bool {
        self.mode() != Tracking::Off
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(crate) fn prefix_count(&self) -> usize {
        self.broadcasts.prefix_count()
    }

    /// Keys were evicted, of which clients are told so many bytes.
    pub(crate) fn note_evicted(&self, bytes: usize, now: i64) {
        let sum = self.evicted_bytes(now) + bytes;
        self.evicted_bytes.store(sum, Ordering::Relaxed);
        self.evicted_until.store(now + EVICTED_MS, Ordering::Relaxed);
    }

    /// Bytes that are on their way to clients because keys were evicted. They are not worth further keys, of which clients
    /// would have to be told as well.
    pub(crate) fn evicted_bytes(&self, now: i64) -> usize {
        let is_sent = self.evicted_until.load(Ordering::Relaxed) <= now;
        if is_sent { 0 } else { self.evicted_bytes.load(Ordering::Relaxed) }
    }

    /// The number of a client as a reader: the same as long as it lives, and never that of another.
    pub(crate) fn number_of(&self, info: &ClientInfo) -> u32 {
        let known = info.reader.load(Ordering::Relaxed);
        if known != 0 {
            return known;
        }
        let trackers = self.by_number.read();
        loop {
            let number = self.last_number.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if number != 0 && !trackers.contains_key(&number) {
                info.reader.store(number, Ordering::Relaxed);
                return number;
            }
        }
    }

    /// A client begins to track, or goes on in another way; it is told of keys with `prefixes`, too.
    pub(crate) fn set<'a>(&self, tracker: Tracker, prefixes: impl Iterator<Item = &'a [u8]>) {
        let number = self.number_of(&tracker.info);
        let mut trackers = self.by_number.write();
        for prefix in prefixes {
            self.broadcasts.add(prefix, tracker.info.worker, number);
        }
        trackers.insert(number, tracker);
        self.note(&trackers);
    }

    /// A client ends to track, by its number.
    pub(crate) fn remove<'a>(&self, info: &ClientInfo, prefixes: impl Iterator<Item = &'a [u8]>) {
        let number = self.number_of(info);
        let mut trackers = self.by_number.write();
        for prefix in prefixes {
            self.broadcasts.remove(prefix, info.worker, number);
        }
        trackers.remove(&number);
        self.note(&trackers);
    }

    fn note(&self, trackers: &HashMap<u32, Tracker>) {
        let mode = if trackers.is_empty() {
            Tracking::Off
        } else if self.broadcasts.prefix_count() == 0 {
            Tracking::Read
        } else {
            Tracking::Every
        };
        self.len.store(trackers.len(), Ordering::Relaxed);
        self.mode.store(mode as u8, Ordering::Relaxed);
    }

    /// Tells of the changes of a unit, while its shards are locked. Who is told of prefixes is told of all of them at once.
    pub(crate) fn invalidate(&self, workers: &[Mailbox], stale: &[Stale], outbox: &mut Outbox) {
        if self.broadcasts.prefix_count() != 0 {
            let keys = stale.iter().filter_map(|it| match it {
                Stale::Read { readers, by_time } => Some((readers.key(), *by_time)),
                Stale::Unread { key, by_time } => Some((&**key, *by_time)),
                Stale::All => None,
            });
            let writer = outbox.writer;
            let keys = keys.map(|(key, by_time)| (key, if by_time { 0 } else { writer }));
            self.broadcasts.note(workers, keys, outbox.worker);
        }
        for stale in stale {
            match stale {
                Stale::Read { readers, .. } => self.tell_readers(workers, readers, outbox),
                Stale::Unread { .. } => {}
                Stale::All => self.invalidate_all(workers, outbox),
            }
        }
    }

    /// Tells that a key has gone because it was due or memory was needed, while its shard is locked.
    pub(crate) fn invalidate_gone(
        &self,
        workers: &[Mailbox],
        key: &[u8],
        readers: Option<&Readers>,
        outbox: &mut Outbox,
    ) {
        if self.broadcasts.prefix_count() != 0 {
            self.broadcasts.note(workers, std::iter::once((key, 0)), outbox.worker);
        }
        if let Some(readers) = readers {
            self.tell_readers(workers, readers, outbox);
        }
    }

    /// Tells those who have read a key that copies of it are out of date.
    pub(crate) fn tell_readers(&self, workers: &[Mailbox], readers: &Readers, outbox: &mut Outbox) {
        let trackers = self.by_number.read();
        let mut key = None;
        for tracker in readers.numbers().filter_map(|it| trackers.get(&it)) {
            let is_own = tracker.omits_own && tracker.info.id == outbox.writer;
            if is_own || tracker.is_broadcast {
                continue;
            }
            let key = key.get_or_insert_with(|| {
                outbox.posted_bytes += readers.key().len();
                Arc::from(readers.key())
            });
            tracker.send(workers, Notice::Key(Arc::clone(key)), outbox);
        }
    }

    /// Tells all to give up their copies.
    pub(crate) fn invalidate_all(&self, workers: &[Mailbox], outbox: &mut Outbox) {
        for tracker in self.by_number.read().values() {
            tracker.send(workers, Notice::All, outbox);
        }
    }

    /// Whether keys are noted for clients of a worker that are told of prefixes.
    #[inline]
    pub(crate) fn has_broadcasts(&self, worker: usize) -> bool {
        self.broadcasts.are_due(worker)
    }

    /// Tells clients of a worker of the keys that were noted for them since the last time. For the sake of `reader`, a
    /// client of that worker, only of those that others than it have changed.
    pub(crate) fn broadcast(
        &self,
        workers: &[Mailbox],
        worker: usize,
        reader: Option<u64>,
        outbox: &mut Outbox,
    ) {
        let batches = self.broadcasts.take(worker, reader);
        let trackers = self.by_number.read();
        for mut batch in batches {
            let listeners = std::mem::take(&mut batch.listeners);
            let keys = batch.into_keys();
            let for_all = keys.notice(None);
            for tracker in listeners.iter().filter_map(|it| trackers.get(it)) {
                let notice = if tracker.omits_own {
                    keys.notice(Some(tracker.info.id))
                } else {
                    for_all.clone()
                };
                if let Some(notice) = notice {
                    tracker.send(workers, notice, outbox);
                }
            }
        }
    }
}

/// The mode that is stored as `number`.
fn mode_of(number: u8) -> Tracking {
    [Tracking::Off, Tracking::Read, Tracking::Every][usize::from(number)]
}
