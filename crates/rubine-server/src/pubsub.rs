//! Publish and subscribe: who listens to what, and the way of a message to them. Never writes to a client: the worker
//! that owns one does.
//!
//! The registry says how many clients of which worker listen to a channel; each worker knows its own clients by name
//! (`local`). A message goes, while its channel's section is locked, to the mailbox of every worker that has listeners.
//! So all clients see the messages of one channel in one order, and whoever publishes to another channel waits for
//! nobody.

mod local;
mod patterns;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rubine_base::hash::HashMap;
use rubine_base::{glob, hash};
use rubine_journal::Offset;

use self::patterns::Patterns;
use crate::client::subscriptions::ChannelKind;
use crate::mailbox::Mailbox;
use crate::publication::Publication;

pub(crate) use self::local::LocalSubscribers;

/// Locks among which channels are spread.
const SECTION_COUNT: usize = 64;

/// Who listens, of all workers.
#[derive(Debug)]
pub(crate) struct Registry {
    channels: Directory,
    shard_channels: Directory,
    patterns: Patterns,
    /// What may wait in a mailbox under one name; 0 for no bound. As much as a client may leave unread that listens.
    bytes_max: AtomicU64,
}

/// A message before it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notice<'a> {
    pub(crate) kind: ChannelKind,
    pub(crate) channel: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// Nobody hears of it before the disk has the journal up to here.
    pub(crate) durable_offset: Offset,
}

/// Listeners of one name: a worker and how many of its clients.
type Counts = Vec<(usize, usize)>;

/// Names and their listeners, in sections.
#[derive(Debug)]
struct Directory {
    sections: Vec<Section>,
    /// Names that somebody listens to.
    len: AtomicUsize,
}

/// On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Section {
    listeners: Mutex<Listeners>,
}

#[derive(Debug, Default)]
struct Listeners {
    /// Counts those who have begun to listen here. Whoever has come when it was at N gets the messages that were sent
    /// when it was N or more, and none that were sent before and are still on their way.
    version: u64,
    by_name: HashMap<Box<[u8]>, Counts>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            channels: Directory::new(),
            shard_channels: Directory::new(),
            patterns: Patterns::default(),
            bytes_max: AtomicU64::new(0),
        }
    }
}

impl Registry {
    /// Whether anybody might hear of events of keys.
    #[inline]
    pub(crate) fn has_listeners(&self) -> bool {
        0 < self.channels.len() || 0 < self.patterns.len()
    }

    /// Whether anybody listens to anything.
    pub(crate) fn is_listened_to(&self) -> bool {
        ChannelKind::ALL.iter().any(|kind| 0 < self.len(*kind))
    }

    /// How many names of a kind somebody listens to.
    pub(crate) fn len(&self, kind: ChannelKind) -> usize {
        match kind {
            ChannelKind::Channel => self.channels.len(),
            ChannelKind::Pattern => self.patterns.len(),
            ChannelKind::ShardChannel => self.shard_channels.len(),
        }
    }

    /// Adds a client of `worker`; returns the version from which on messages are for it.
    pub(crate) fn add(&self, kind: ChannelKind, name: &[u8], worker: usize) -> u64 {
        match self.directory(kind) {
            Some(directory) => directory.add(name, worker),
            None => self.patterns.add(name, worker),
        }
    }

    pub(crate) fn remove(&self, kind: ChannelKind, name: &[u8], worker: usize) {
        match self.directory(kind) {
            Some(directory) => directory.remove(name, worker),
            None => self.patterns.remove(name, worker),
        }
    }

    /// How many clients listen to exactly this channel.
    pub(crate) fn listener_count(&self, kind: ChannelKind, name: &[u8]) -> usize {
        let Some(directory) = self.directory(kind) else { return 0 };
        let listeners = directory.section(name).listeners.lock();
        listeners.by_name.get(name).map_or(0, total)
    }

    /// The channels that somebody listens to and `pattern` matches.
    pub(crate) fn names(&self, kind: ChannelKind, pattern: Option<&[u8]>) -> Vec<Box<[u8]>> {
        let Some(directory) = self.directory(kind) else { return Vec::new() };
        let is_wanted = |name: &[u8]| {
            pattern.is_none_or(|pattern| glob::matches(pattern, name, glob::Case::Sensitive))
        };
        let mut names = Vec::new();
        for section in &directory.sections {
            let listeners = section.listeners.lock();
            names.extend(listeners.by_name.keys().filter(|name| is_wanted(name)).cloned());
        }
        names
    }

    /// Takes over what may wait for clients that listen; 0 for no bound.
    pub(crate) fn set_bytes_max(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// How many a message would be sent to.
    pub(crate) fn receiver_count(&self, kind: ChannelKind, channel: &[u8]) -> usize {
        let mut receivers = Receivers::default();
        if kind == ChannelKind::Channel && 0 < self.patterns.len() {
            self.patterns.matching(channel, |_, counts| receivers.add(counts));
        }
        receivers.count + self.listener_count(kind, channel)
    }

    /// Sends a message to all who listen; returns how many they are.
    pub(crate) fn publish(&self, workers: &[Mailbox], notice: Notice<'_>) -> usize {
        let Notice { kind, channel, payload, durable_offset } = notice;
        let directory = self.directory(kind).expect("nobody publishes to a pattern");
        let has_patterns = kind == ChannelKind::Channel && 0 < self.patterns.len();
        if directory.len() == 0 && !has_patterns {
            return 0;
        }
        let mut receivers = Receivers::default();
        let (mut patterns, mut patterns_version) = (Vec::new(), 0);
        if has_patterns {
            patterns_version = self.patterns.matching(channel, |pattern, counts| {
                receivers.add(counts);
                patterns.push(Arc::clone(pattern));
            });
        }
        let listeners = directory.section(channel).listeners.lock();
        if let Some(counts) = listeners.by_name.get(channel) {
            receivers.add(counts);
        }
        if receivers.count == 0 {
            return 0;
        }
        let publication = Arc::new(Publication {
            kind,
            channel: channel.into(),
            payload: payload.into(),
            version: listeners.version,
            patterns,
            patterns_version,
            durable_offset,
        });
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        // While the section is locked, so that no later message of the channel overtakes this one.
        for worker in receivers.workers {
            workers[worker].publish(&publication, bytes_max);
        }
        receivers.count
    }

    fn directory(&self, kind: ChannelKind) -> Option<&Directory> {
        match kind {
            ChannelKind::Channel => Some(&self.channels),
            ChannelKind::ShardChannel => Some(&self.shard_channels),
            ChannelKind::Pattern => None,
        }
    }
}

/// To whom a message goes.
#[derive(Default)]
struct Receivers {
    count: usize,
    workers: Vec<usize>,
}

impl Receivers {
    fn add(&mut self, counts: &Counts) {
        for &(worker, count) in counts {
            self.count += count;
            if !self.workers.contains(&worker) {
                self.workers.push(worker);
            }
        }
    }
}

impl Directory {
    fn new() -> Self {
        let sections = (0..SECTION_COUNT).map(|_| Section::default()).collect();
        Self { sections, len: AtomicUsize::new(0) }
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    fn section(&self, name: &[u8]) -> &Section {
        &self.sections[hash::global().hash(name) as usize % SECTION_COUNT]
    }

    fn add(&self, name: &[u8], worker: usize) -> u64 {
        let mut listeners = self.section(name).listeners.lock();
        listeners.version += 1;
        if let Some(counts) = listeners.by_name.get_mut(name) {
            count_in(counts, worker);
        } else {
            listeners.by_name.insert(name.into(), vec![(worker, 1)]);
            self.len.fetch_add(1, Ordering::Release);
        }
        listeners.version
    }

    fn remove(&self, name: &[u8], worker: usize) {
        let mut listeners = self.section(name).listeners.lock();
        let counts = listeners.by_name.get_mut(name).expect("somebody listens to it");
        count_out(counts, worker);
        if counts.is_empty() {
            listeners.by_name.remove(name);
            self.len.fetch_sub(1, Ordering::Release);
        }
    }
}

fn total(counts: &Counts) -> usize {
    counts.iter().map(|(_, count)| count).sum()
}

/// Counts one more client of `worker`.
fn count_in(counts: &mut Counts, worker: usize) {
    match counts.iter_mut().find(|(it, _)| *it == worker) {
        Some((_, count)) => *count += 1,
        None => counts.push((worker, 1)),
    }
}

/// Counts one client of `worker` less.
fn count_out(counts: &mut Counts, worker: usize) {
    let index = counts.iter().position(|(it, _)| *it == worker).expect("it was counted in");
    counts[index].1 -= 1;
    if counts[index].1 == 0 {
        counts.swap_remove(index);
    }
}
