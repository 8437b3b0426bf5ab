//! Who has read which keys, as whoever holds locks sees it, and walks that forget it. Never tells anybody.

use rubine_base::random::Random;

use super::{Keyspace, Locked};
use crate::key::{Key, SHARD_COUNT};
use crate::shard_set::ShardSet;
use crate::tracking::{Readers, TrackedCounts, TrackedKeys};

impl Locked<'_> {
    /// Remembers that a client reads a key, by the client's number as a reader.
    pub fn add_reader(&mut self, key: Key<'_>, reader: u32) {
        let counts = &self.keyspace.tracked;
        let tracked = &mut self.shard_mut(key).tracked;
        tracked.get_or_insert_with(|| Box::new(TrackedKeys::new())).add(key, reader, counts);
    }

    /// Takes the readers of a key that was changed.
    pub fn take_readers(&mut self, key: Key<'_>) -> Option<Readers> {
        let counts = &self.keyspace.tracked;
        self.shard_mut(key).take_readers(key, counts)
    }

    /// Forgets the readers of all keys of the locked shards.
    pub fn forget_readers(&mut self) {
        let keyspace = self.keyspace;
        let tracked = self.shards_mut().filter_map(|it| it.tracked.take());
        let tables = tracked.map(|it| it.into_table(&keyspace.tracked)).collect();
        keyspace.discard_tables(tables);
    }

    /// The change that readers were taken for is taken back: they are readers still.
    pub(crate) fn put_back(&mut self, readers: &Readers) {
        let key = Key::new(readers.key());
        readers.numbers().for_each(|it| self.add_reader(key, it));
    }
}

impl Keyspace {
    /// How many keys have readers, and how many.
    pub fn tracked(&self) -> &TrackedCounts {
        &self.tracked
    }

    /// Forgets the readers of some keys, chosen by chance, and hands them out while the key's shard is locked. Passes busy
    /// shards by. Returns whether there are more than `keys_max` such keys after `steps`.
    pub fn trim_tracked(
        &self,
        keys_max: usize,
        steps: usize,
        random: &mut Random,
        mut forgotten: impl FnMut(&Readers),
    ) -> bool {
        let first = random.below(SHARD_COUNT as u64) as usize;
        let mut steps = steps;
        // A round without any: those that are left are in busy shards.
        let mut empty_count = 0;
        for index in (0..SHARD_COUNT).cycle().skip(first) {
            if steps == 0 || self.tracked.keys() <= keys_max || empty_count == SHARD_COUNT {
                break;
            }
            empty_count += 1;
            let Ok(mut locked) = self.try_lock(&ShardSet::of_shard(index)) else { continue };
            for shard in locked.shards_mut() {
                let Some(tracked) = &mut shard.tracked else { continue };
                if let Some(readers) = tracked.take_any(random, &self.tracked) {
                    forgotten(&readers);
                    (steps, empty_count) = (steps - 1, 0);
                }
            }
        }
        keys_max < self.tracked.keys()
    }

    /// Forgets all readers, shard by shard, as long as there is `nobody` to be told, which is asked under each lock. Passes
    /// busy shards by.
    pub fn forget_tracked(&self, nobody: impl Fn() -> bool) {
        for index in 0..SHARD_COUNT {
            if let Ok(mut locked) = self.try_lock(&ShardSet::of_shard(index))
                && nobody()
            {
                locked.forget_readers();
            }
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
