//! The keys that a client watches for its next transaction.

use std::sync::Arc;

use rubine_base::hash::HashSet;
use rubine_keyspace::{Key, Keyspace, Locked, ShardSet, Watch};

/// The keys that a client watches.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    watch: Option<Arc<Watch>>,
    /// By database: few are watched in more than one.
    keys: Vec<(usize, HashSet<Box<[u8]>>)>,
    count: usize,
    /// Memory of `keys` and of what stands for them in their shards, about.
    key_bytes: usize,
}

/// What a watched key takes beyond its name, here and in its shard, about.
const WATCH_BYTES: usize = 128;

impl Watches {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Memory that the keys take, about.
    pub(crate) fn byte_count(&self) -> usize {
        self.key_bytes
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.watch.as_ref().is_some_and(|it| it.is_broken())
    }

    /// The shards of all watched keys.
    pub(crate) fn shards(&self) -> ShardSet {
        let mut shards = ShardSet::default();
        self.each().for_each(|(_, key)| shards.add(Key::new(key)));
        shards
    }

    /// Watches a key whose shard is locked.
    pub(crate) fn add(&mut self, db: usize, key: &[u8], locked: &mut Locked<'_>, now: i64) {
        let index = self.keys.iter().position(|it| it.0 == db).unwrap_or_else(|| {
            self.keys.push((db, HashSet::default()));
            self.keys.len() - 1
        });
        let keys = &mut self.keys[index].1;
        if keys.contains(key) {
            return;
        }
        let watch = self.watch.get_or_insert_with(Watch::new);
        locked.watch(db, key, watch, now);
        keys.insert(key.into());
        self.count += 1;
        self.key_bytes += key.len() * 2 + WATCH_BYTES;
    }

    /// Whether one of the keys, all of which are locked, has fallen due since it is watched.
    pub(crate) fn have_fallen_due(&self, locked: &Locked<'_>, now: i64) -> bool {
        let Some(watch) = &self.watch else { return false };
        self.each().any(|(db, key)| locked.fell_due(db, key, watch, now))
    }

    /// Watches the same keys, whose shards are locked, from now on: what the client itself has changed of them, and taken back,
    /// is no change.
    pub(crate) fn renew(&mut self, locked: &mut Locked<'_>, now: i64) {
        let Some(old) = self.watch.take() else { return };
        let new = Watch::new();
        for (db, key) in self.each() {
            locked.unwatch(db, key, &old);
            locked.watch(db, key, &new, now);
        }
        self.watch = Some(new);
    }

    /// Forgets all keys, whose shards are locked.
    pub(crate) fn clear(&mut self, locked: &mut Locked<'_>) {
        if let Some(watch) = self.watch.take() {
            self.each().for_each(|(db, key)| locked.unwatch(db, key, &watch));
        }
        *self = Self::default();
    }

    /// Forgets all keys. Waits for no shard.
    pub(crate) fn abandon(&mut self, keyspace: &Keyspace) {
        if let Some(watch) = self.watch.take() {
            keyspace.abandon_watch(self.each(), &watch);
        }
        *self = Self::default();
    }

    fn each(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.keys.iter().flat_map(|(db, keys)| keys.iter().map(|key| (*db, &**key)))
    }
}
