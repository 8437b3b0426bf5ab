//! A map by database and key that is looked up without an allocation, and is one word to look at where it is empty. Never
//! knows what it holds.

use rubine_base::hash::HashMap;

type KeyMap<V> = HashMap<Box<[u8]>, V>;

/// What some keys of some databases have beside them.
#[derive(Debug)]
pub(crate) struct DbMap<V> {
    /// Invariant: by database, ascending, and none is empty.
    maps: Vec<(usize, KeyMap<V>)>,
}

impl<V> Default for DbMap<V> {
    fn default() -> Self {
        Self { maps: Vec::new() }
    }
}

impl<V: Default> DbMap<V> {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.maps.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.maps.iter().map(|(_, map)| map.len()).sum()
    }

    pub(crate) fn get(&self, db: usize, key: &[u8]) -> Option<&V> {
        self.maps[self.index_of(db).ok()?].1.get(key)
    }

    pub(crate) fn get_mut(&mut self, db: usize, key: &[u8]) -> Option<&mut V> {
        let index = self.index_of(db).ok()?;
        self.maps[index].1.get_mut(key)
    }

    pub(crate) fn get_or_add(&mut self, db: usize, key: &[u8]) -> &mut V {
        let index = self.index_of(db).unwrap_or_else(|index| {
            self.maps.insert(index, (db, HashMap::default()));
            index
        });
        self.maps[index].1.entry(key.into()).or_default()
    }

    pub(crate) fn remove(&mut self, db: usize, key: &[u8]) {
        let Ok(index) = self.index_of(db) else { return };
        let map = &mut self.maps[index].1;
        map.remove(key);
        if map.is_empty() {
            self.maps.remove(index);
        }
    }

    /// The keys of a database.
    pub(crate) fn keys(&self, db: usize) -> impl Iterator<Item = &[u8]> {
        let map = self.index_of(db).ok().map(|index| &self.maps[index].1);
        map.into_iter().flat_map(HashMap::keys).map(|key| &**key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.maps.iter().flat_map(|(_, map)| map.values())
    }

    fn index_of(&self, db: usize) -> Result<usize, usize> {
        self.maps.binary_search_by_key(&db, |it| it.0)
    }
}
