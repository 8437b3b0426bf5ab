//! Two keyspaces exchange all they hold, in one step for everybody. Moves tables, never a record.

use super::{Garbage, Keyspace, Locked};
use crate::shard_set::ShardSet;

impl Locked<'_> {
    /// Exchanges all databases with those of another keyspace, of which all shards are locked as well. Here, the watches on
    /// keys break that are, not due, in either, and those who wait for keys look again. There, nobody watches or waits.
    ///
    /// # Panics
    /// If a shard of one of them is not locked.
    pub fn exchange(&mut self, other: &mut Locked<'_>, now: i64) {
        assert!(self.is_whole() && other.is_whole(), "all databases change in one step");
        for (shard, other) in self.shards_mut().zip(other.shards_mut()) {
            shard.exchange(other, now);
        }
    }
}

impl Keyspace {
    /// Has all databases of another keyspace freed on the background thread of this one.
    pub fn discard_all_of(&self, other: &Self) {
        let tables = other.lock(&ShardSet::All).take_tables(None);
        if !tables.is_empty() {
            self.discard(Garbage::Tables(tables.into_iter().map(|it| it.table).collect()));
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::sync::Arc;

    use rubine_structures::record::Record;
    use rubine_structures::value::Value;

    use crate::watch::Watch;
    use crate::{Key, Keyspace, ShardSet};

    fn filled(keys: &[&str]) -> Keyspace {
        let (keyspace, _) = Keyspace::new();
        for key in keys {
            let place = Key::new(key.as_bytes()).place();
            let record = Record::new(key.as_bytes(), Value::Int(1), None, 0);
            let records = [(3, place.table_hash(), record)];
            keyspace.load(place.shard(), records.into_iter(), false, |_, _| panic!("it is new"));
        }
        keyspace
    }

    #[test]
    fn what_was_there_is_here() {
        let (here, there) = (filled(&["a", "b"]), filled(&["b", "c", "d"]));
        let watches = ["a", "c", "x"].map(|key| {
            let watch = Arc::new(Watch::default());
            let mut locked = here.lock(&ShardSet::of(Key::new(key.as_bytes())));
            locked.watch(3, key.as_bytes(), &watch, 0);
            watch
        });
        {
            let mut locked = here.lock(&ShardSet::All);
            locked.exchange(&mut there.lock(&ShardSet::All), 0);
        }
        assert_eq!((here.len(3), there.len(3)), (3, 2));
        let broken = watches.map(|it| it.is_broken());
        assert_eq!(broken, [true, true, false], "a key that is in neither has not changed");
        here.discard_all_of(&there);
        assert_eq!((here.len(3), there.len(3)), (3, 0));
    }
}
