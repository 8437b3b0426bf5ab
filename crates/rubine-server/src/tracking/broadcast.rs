//! Keys that were changed, for clients that are told of all keys with a prefix: noted by prefix and worker, and told
//! together. Never sends anything but a sign that there is something.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::client::inbox::Notice;
use crate::mailbox::{Mailbox, Message};

/// Bytes of keys that are noted at once. Instead of more, clients are told to give up all copies.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// What is noted of a key beyond its name, about.
const ENTRY_BYTES: usize = size_of::<Entry>();

/// Who is told of which prefixes, and what.
#[derive(Debug)]
pub(super) struct Broadcasts {
    prefixes: RwLock<Prefixes>,
    prefix_count: AtomicUsize,
    /// By worker.
    due: Vec<Due>,
}

/// Prefixes for which keys are noted.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Due {
    are_any: AtomicBool,
    prefixes: Mutex<Vec<Arc<Prefix>>>,
}

#[derive(Debug, Default)]
struct Prefixes {
    by_name: BTreeMap<Arc<[u8]>, Arc<Prefix>>,
    /// How many prefixes have which length.
    lens: BTreeMap<usize, usize>,
}

#[derive(Debug)]
struct Prefix {
    name: Arc<[u8]>,
    /// By worker.
    parts: Vec<Part>,
}

/// What concerns one worker's clients.
#[derive(Debug, Default)]
struct Part {
    listener_count: AtomicUsize,
    batch: Mutex<Batch>,
}

/// Keys that are to be told to some clients.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The numbers of the clients.
    pub(super) listeners: Vec<u32>,
    /// The names of the keys, one behind the other.
    names: Vec<u8>,
    entries: Vec<Entry>,
    /// There were too many.
    is_all: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where the name ends.
    end: usize,
    /// The client that changed it, 0 for none.
    writer: u64,
}

impl Broadcasts {
    pub(super) fn new(worker_count: usize) -> Self {
        let (prefixes, prefix_count) = Default::default();
        Self { prefixes, prefix_count, due: (0..worker_count).map(|_| Due::default()).collect() }
    }

    pub(super) fn prefix_count(&self) -> usize {
        self.prefix_count.load(Ordering::Relaxed)
    }

    /// Has a client of `worker` told of keys with a prefix.
    pub(super) fn add(&self, name: &[u8], worker: usize, reader: u32) {
        let mut prefixes = self.prefixes.write();
        if !prefixes.by_name.contains_key(name) {
            let name: Arc<[u8]> = name.into();
            let parts = self.due.iter().map(|_| Part::default()).collect();
            let prefix = Arc::new(Prefix { name: Arc::clone(&name), parts });
            *prefixes.lens.entry(name.len()).or_default() += 1;
            prefixes.by_name.insert(name, prefix);
            self.prefix_count.store(prefixes.by_name.len(), Ordering::Relaxed);
        }
        let part = &prefixes.by_name[name].parts[worker];
        let mut batch = part.batch.lock();
        if !batch.listeners.contains(&reader) {
            batch.listeners.push(reader);
            part.listener_count.store(batch.listeners.len(), Ordering::Relaxed);
        }
    }

    /// Ends what [`Self::add`] began.
    pub(super) fn remove(&self, name: &[u8], worker: usize, reader: u32) {
        let mut prefixes = self.prefixes.write();
        let Some(prefix) = prefixes.by_name.get(name) else { return };
        let part = &prefix.parts[worker];
        let mut batch = part.batch.lock();
        batch.listeners.retain(|it| *it != reader);
        part.listener_count.store(batch.listeners.len(), Ordering::Relaxed);
        drop(batch);
        if prefix.parts.iter().any(|it| it.listener_count.load(Ordering::Relaxed) != 0) {
            return;
        }
        prefixes.by_name.remove(name);
        let count = prefixes.lens.get_mut(&name.len()).expect("it was counted in");
        *count -= 1;
        if *count == 0 {
            prefixes.lens.remove(&name.len());
        }
        self.prefix_count.store(prefixes.by_name.len(), Ordering::Relaxed);
    }

    /// Notes keys that one unit has changed, each with the client that has, or 0. They are told together. Workers that have
    /// something to tell are woken, but for the one that calls: it looks at the end of its turn.
    pub(super) fn note<'k>(
        &self,
        workers: &[Mailbox],
        keys: impl Iterator<Item = (&'k [u8], u64)>,
        own_worker: Option<usize>,
    ) {
        let prefixes = self.prefixes.read();
        for (key, writer) in keys {
            for &len in prefixes.lens.keys().take_while(|it| **it <= key.len()) {
                let Some(prefix) = prefixes.by_name.get(&key[..len]) else { continue };
                for worker in prefix.add(key, writer) {
                    let due = &self.due[worker];
                    due.prefixes.lock().push(Arc::clone(prefix));
                    let was_due = due.are_any.swap(true, Ordering::AcqRel);
                    if !was_due && own_worker != Some(worker) {
                        workers[worker].send(Message::Broadcast);
                    }
                }
            }
        }
    }

    #[inline]
    pub(super) fn are_due(&self, worker: usize) -> bool {
        self.due[worker].are_any.load(Ordering::Acquire)
    }

    /// What a worker's clients are to be told, by prefix. What `reader` alone has changed is left, if one is given.
    pub(super) fn take(&self, worker: usize, reader: Option<u64>) -> Vec<Batch> {
        let due = &self.due[worker];
        // Whoever notes keys has noted all of its unit.
        let _nobody_notes = self.prefixes.write();
        due.are_any.store(false, Ordering::Release);
        let mut prefixes = std::mem::take(&mut *due.prefixes.lock());
        prefixes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut left = Vec::new();
        let mut batches = Vec::new();
        for prefix in prefixes {
            let mut batch = prefix.parts[worker].batch.lock();
            if reader.is_some_and(|it| batch.is_all_by(it)) {
                left.push(Arc::clone(&prefix));
            } else {
                batches.push(batch.take());
            }
        }
        if !left.is_empty() {
            due.prefixes.lock().append(&mut left);
            due.are_any.store(true, Ordering::Release);
        }
        batches
    }
}

impl Prefix {
    /// Adds a key for all who listen. Returns the workers for whose clients it is the first.
    fn add(&self, key: &[u8], writer: u64) -> impl Iterator<Item = usize> {
        let parts = self.parts.iter().enumerate();
        parts.filter_map(move |(worker, part)| {
            let has_listeners = part.listener_count.load(Ordering::Relaxed) != 0;
            (has_listeners && part.batch.lock().add(key, writer)).then_some(worker)
        })
    }
}

impl Batch {
    /// Adds a key. Returns whether it is the first.
    fn add(&mut self, key: &[u8], writer: u64) -> bool {
        if self.is_all {
            return false;
        }
        self.names.extend_from_slice(key);
        self.entries.push(Entry { end: self.names.len(), writer });
        if BATCH_BYTES_MAX < self.names.len() + self.entries.len() * ENTRY_BYTES {
            (self.names, self.entries, self.is_all) = (Vec::new(), Vec::new(), true);
            return false;
        }
        self.entries.len() == 1
    }

    fn is_all_by(&self, writer: u64) -> bool {
        !self.is_all && self.entries.iter().all(|it| it.writer == writer)
    }

    /// Takes the keys out, for those who listen now.
    fn take(&mut self) -> Self {
        let listeners = self.listeners.clone();
        std::mem::replace(self, Self { listeners, ..Self::default() })
    }

    /// The keys, each once, with who changed it last; ascending.
    pub(super) fn into_keys(self) -> Keys {
        let Self { names, entries, is_all, .. } = self;
        let starts = std::iter::once(0).chain(entries.iter().map(|it| it.end));
        let mut entries: Vec<(usize, Entry)> = starts.zip(entries.iter().copied()).collect();
        let name = |&(start, entry): &(usize, Entry)| &names[start..entry.end];
        // Of one name, the last comes first.
        entries.sort_unstable_by(|a, b| name(a).cmp(name(b)).then(b.0.cmp(&a.0)));
        entries.dedup_by(|later, kept| name(later) == name(kept));
        Keys { names, entries, is_all }
    }
}

/// Keys that are to be told.
pub(super) struct Keys {
    names: Vec<u8>,
    /// Where each name begins, and ends.
    entries: Vec<(usize, Entry)>,
    is_all: bool,
}

impl Keys {
    /// What clients are told: of all keys, or of those that `reader` has not changed last, if there are any.
    pub(super) fn notice(&self, reader: Option<u64>) -> Option<Notice> {
        if self.is_all {
            return Some(Notice::All);
        }
        let told = || self.entries.iter().filter(|(_, entry)| Some(entry.writer) != reader);
        let count = told().count();
        if count == 0 {
            return None;
        }
        let mut array = format!("*{count}\r\n").into_bytes();
        for &(start, Entry { end, .. }) in told() {
            array.extend_from_slice(format!("${}\r\n", end - start).as_bytes());
            array.extend_from_slice(&self.names[start..end]);
            array.extend_from_slice(b"\r\n");
        }
        Some(Notice::Keys(array.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(notice: Option<Notice>) -> String {
        match notice {
            Some(Notice::Keys(keys)) => String::from_utf8_lossy(&keys).replace("\r\n", " "),
            Some(Notice::All) => "all".to_owned(),
            _ => "nothing".to_owned(),
        }
    }

    #[test]
    fn keys_are_told_once_and_in_order() {
        let mut batch = Batch::default();
        let added = ["b", "a", "b", "ab"].map(|it| batch.add(it.as_bytes(), 7));
        assert_eq!(added, [true, false, false, false]);
        assert!(batch.is_all_by(7));
        batch.add(b"a", 8);
        assert!(!batch.is_all_by(7));
        let keys = batch.take().into_keys();
        assert_eq!(text(keys.notice(None)), "*3 $1 a $2 ab $1 b ");
        assert_eq!(text(keys.notice(Some(7))), "*1 $1 a ");
        assert_eq!(text(keys.notice(Some(8))), "*2 $2 ab $1 b ");
        assert!(batch.add(b"x", 1));
        assert_eq!(text(batch.take().into_keys().notice(Some(1))), "nothing");
    }

    #[test]
    fn too_many_keys_are_all() {
        let mut batch = Batch::default();
        let name = vec![b'k'; 1 << 20];
        assert_eq!((0..20).filter(|_| batch.add(&name, 1)).count(), 1);
        assert!(!batch.is_all_by(1));
        assert_eq!(text(batch.take().into_keys().notice(Some(1))), "all");
    }
}
