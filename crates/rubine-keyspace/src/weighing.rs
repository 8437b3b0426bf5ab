//! A walk that looks at every record, for whoever adds up what keys take. Never changes anything.

use rubine_structures::record::RecordRef;

use crate::key::SHARD_COUNT;
use crate::keyspace::Keyspace;
use crate::shard_set::ShardSet;
use crate::tables::TableAt;

/// Records that one step looks at, about.
const STEP_RECORDS: usize = 64;

/// A walk through some of the shards that goes round and round.
#[derive(Debug)]
pub struct WeighingWalk {
    /// The shards of this walk: `first`, `first + step`, ...
    first: usize,
    step: usize,
    shard: usize,
    /// `None` after the last of the shard.
    at: Option<TableAt>,
    table_hash: u64,
}

/// Where a step has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighed {
    /// A part of a shard.
    Part,
    /// The last part of that shard.
    Shard(usize),
    /// That shard was busy, and is passed by: what was seen of it is not all.
    Busy(usize),
    /// The last shard: the next step is at the first one again.
    Round,
}

impl WeighingWalk {
    /// A walk through the shards `first`, `first + step`, ...
    pub fn new(first: usize, step: usize) -> Self {
        Self { first, step, shard: first, at: Some(TableAt::default()), table_hash: 0 }
    }

    /// Shows some records of one shard, with their databases, while it is locked.
    pub fn step(
        &mut self,
        keyspace: &Keyspace,
        mut visit: impl FnMut(usize, RecordRef<'_>),
    ) -> Weighed {
        let number = self.shard;
        if SHARD_COUNT <= number {
            self.shard = self.first;
            return Weighed::Round;
        }
        let Ok(locked) = keyspace.try_lock(&ShardSet::of_shard(number)) else {
            self.next_shard();
            return Weighed::Busy(number);
        };
        let shard = locked.shards().next().expect("one shard was locked");
        let mut room = STEP_RECORDS;
        while 0 < room
            && let Some(at) = self.at
        {
            let table = shard.table_at(at).filter(|it| !it.is_empty());
            let next = table.and_then(|table| {
                table.scan(self.table_hash, room, |record| {
                    room = room.saturating_sub(1);
                    visit(at.db, record);
                })
            });
            if next.is_none() {
                self.at = shard.table_after(at);
            }
            self.table_hash = next.unwrap_or(0);
        }
        if self.at.is_some() {
            return Weighed::Part;
        }
        self.next_shard();
        Weighed::Shard(number)
    }

    fn next_shard(&mut self) {
        (self.shard, self.at) = (self.shard + self.step, Some(TableAt::default()));
        self.table_hash = 0;
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use rubine_base::hash::HashMap;
    use rubine_structures::value::Value;

    use super::{Weighed, WeighingWalk};
    use crate::key::Key;
    use crate::keyspace::Keyspace;
    use crate::shard_set::ShardSet;

    #[test]
    fn two_walks_see_every_record_once_a_round() {
        let (keyspace, _garbage) = Keyspace::new();
        for number in 0..5000 {
            let text = number.to_string();
            let key = Key::new(text.as_bytes());
            let mut locked = keyspace.lock(&ShardSet::of(key));
            let shard = locked.shards_mut().next().expect("one shard was locked");
            let value = Value::text(b"some text");
            let table = shard.table_mut(number % 3, key.table_hash());
            table.store(key.table_hash(), key.bytes(), value, None, |_| 0);
        }
        let mut walks = [WeighingWalk::new(0, 2), WeighingWalk::new(1, 2)];
        for _ in 0..2 {
            let mut seen: HashMap<(usize, Vec<u8>), usize> = HashMap::default();
            for walk in &mut walks {
                let mut shards = 0;
                loop {
                    let step = walk.step(&keyspace, |db, record| {
                        *seen.entry((db, record.key().to_vec())).or_default() += 1;
                    });
                    match step {
                        Weighed::Round => break,
                        Weighed::Shard(_) => shards += 1,
                        Weighed::Part => {}
                        Weighed::Busy(shard) => panic!("nobody else locks shard {shard}"),
                    }
                }
                assert_eq!(shards, crate::key::SHARD_COUNT / 2);
            }
            assert_eq!(seen.len(), 5000);
            assert!(seen.iter().all(|((db, key), count)| {
                let number: usize = std::str::from_utf8(key).unwrap().parse().unwrap();
                number % 3 == *db && *count == 1
            }));
        }
    }
}
