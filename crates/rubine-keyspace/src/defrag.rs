//! A walk that moves what lies in thinly used memory, so that the allocator can give pages back. Never changes what keys
//! hold, and never decides what is thinly used.

use rubine_structures::relocation::Relocation;

use crate::key::{SHARD_COUNT, table_hash};
use crate::keyspace::Keyspace;
use crate::shard_set::ShardSet;
use crate::tables::TableAt;

/// Where the walk is.
#[derive(Debug)]
pub struct DefragWalk {
    shard: usize,
    at: TableAt,
    /// Where in the table the next segment is; `None` after the last.
    table_hash: Option<u64>,
    /// Large collections of the segment that was visited last, and where in each the walk has come to.
    unfinished: Vec<(Box<[u8]>, u64)>,
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefragStep {
    /// Allocations that were moved, and others that were looked at.
    pub moved: u64,
    pub kept: u64,
    /// Keys of which something was moved, and others that were looked at.
    pub moved_keys: u64,
    pub kept_keys: u64,
    /// The walk has been everywhere.
    pub is_over: bool,
}

impl Default for DefragWalk {
    fn default() -> Self {
        Self { shard: 0, at: TableAt::default(), table_hash: Some(0), unfinished: Vec::new() }
    }
}

impl DefragWalk {
    /// Looks at one segment of one table, or at a part of one large collection, while its shard is locked. `is_thin`
    /// says of an address whether what lies there shall move. What a snapshot may look at stays.
    pub fn step(
        &mut self,
        keyspace: &Keyspace,
        is_thin: &mut dyn FnMut(*const u8) -> bool,
    ) -> DefragStep {
        if SHARD_COUNT <= self.shard {
            *self = Self::default();
            return DefragStep { is_over: true, ..DefragStep::default() };
        }
        let mut locked = keyspace.lock(&ShardSet::of_shard(self.shard));
        let shard = locked.shards_mut().next().expect("one shard was locked");
        let mut step = DefragStep::default();
        let mut relocation = Relocation::new(is_thin);
        let table_after = shard.table_after(self.at);
        if shard.table_at(self.at).is_none() {
            (self.table_hash, self.unfinished) = (None, Vec::new());
        } else if let Some((key, position)) = self.unfinished.pop() {
            let table = shard.table_at_mut(self.at);
            // The key may hold something else by now, of which a part is looked at twice or not at all.
            let position = if table.has_snapshots() {
                0
            } else {
                let record = table.find_mut(table_hash(&key), &key);
                record.map_or(0, |it| it.into_value_mut().relocate(position, &mut relocation))
            };
            if position != 0 {
                self.unfinished.push((key, position));
            }
        } else if let Some(table_hash) = self.table_hash {
            let table = shard.table_at_mut(self.at);
            self.table_hash =
                table.relocate(table_hash, &mut relocation, |record, position, moved| {
                    step.moved_keys += u64::from(0 < moved);
                    step.kept_keys += u64::from(moved == 0);
                    if position != 0 {
                        self.unfinished.push((record.key().into(), position));
                    }
                });
        }
        (step.moved, step.kept) = (relocation.moved(), relocation.kept());
        drop(locked);
        if self.table_hash.is_none() && self.unfinished.is_empty() {
            self.table_hash = Some(0);
            (self.shard, self.at) = match table_after {
                Some(at) => (self.shard, at),
                None => (self.shard + 1, TableAt::default()),
            };
        }
        step
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use rubine_structures::hash::{Hash, HashLimits};
    use rubine_structures::trie::Deadline;
    use rubine_structures::value::Value;

    use super::DefragWalk;
    use crate::key::Key;
    use crate::keyspace::Keyspace;
    use crate::shard_set::ShardSet;

    #[test]
    fn a_walk_looks_at_every_key_once_and_at_all_of_large_ones() {
        let (keyspace, _garbage) = Keyspace::new();
        let limits = HashLimits { entries: 8, value_bytes: 64 };
        let large = || {
            let mut large = Hash::new();
            for field in 0..5000 {
                large.set(field.to_string().as_bytes(), b"value", Deadline::Never, limits);
            }
            Value::Hash(large)
        };
        for number in 0..1000 {
            let text = number.to_string();
            let key = Key::new(text.as_bytes());
            let mut locked = keyspace.lock(&ShardSet::of(key));
            let shard = locked.shards_mut().next().expect("one shard was locked");
            let value = match number % 100 {
                0 => large(),
                _ => Value::text(b"some text"),
            };
            let table = shard.table_mut(number % 3, key.table_hash());
            table.store(key.table_hash(), key.bytes(), value, None, |_| 0);
        }
        let mut walk = DefragWalk::default();
        for round in 0..2 {
            let (mut looked_at, mut kept_keys, mut moved_keys) = (0, 0, 0);
            loop {
                let step = walk.step(&keyspace, &mut |_| {
                    looked_at += 1;
                    round == 1
                });
                (kept_keys, moved_keys) =
                    (kept_keys + step.kept_keys, moved_keys + step.moved_keys);
                if step.is_over {
                    break;
                }
            }
            let expected = if round == 0 { (1000, 0) } else { (0, 1000) };
            assert_eq!((kept_keys, moved_keys), expected);
            assert!(1000 < looked_at, "{looked_at}");
        }
        for number in 0..1000 {
            let text = number.to_string();
            let key = Key::new(text.as_bytes());
            let locked = keyspace.lock(&ShardSet::of(key));
            let shard = locked.shards().next().expect("one shard was locked");
            assert!(shard.find(number % 3, key.bytes()).is_some());
        }
    }
}
