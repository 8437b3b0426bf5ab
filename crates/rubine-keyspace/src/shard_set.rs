//! Which shards something needs. Takes no lock.

use smallvec::SmallVec;

use crate::key::{Key, SHARD_COUNT};

/// The shards that something needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardSet {
    /// What most commands need.
    One(u16),
    /// None, or several: sorted, each once.
    Some(SmallVec<[u16; 4]>),
    All,
}

impl Default for ShardSet {
    fn default() -> Self {
        Self::Some(SmallVec::new())
    }
}

impl ShardSet {
    /// The shard of one key.
    #[inline]
    pub fn of(key: Key<'_>) -> Self {
        Self::of_shard(key.shard())
    }

    #[inline]
    pub fn of_shard(shard: usize) -> Self {
        Self::One(shard as u16)
    }

    /// The same shards, as a set of several even if it is one: under these locks more can be added.
    #[must_use]
    pub fn several(self) -> Self {
        match self {
            Self::One(shard) => Self::Some([shard].into_iter().collect()),
            several => several,
        }
    }

    /// Adds the shard of `key`.
    #[inline]
    pub fn add(&mut self, key: Key<'_>) {
        let shard = key.shard() as u16;
        match self {
            Self::One(one) if *one == shard => {}
            Self::One(one) => {
                *self = Self::Some([shard.min(*one), shard.max(*one)].into_iter().collect());
            }
            Self::Some(shards) if shards.is_empty() => *self = Self::One(shard),
            Self::Some(shards) => {
                if let Err(at) = shards.binary_search(&shard) {
                    shards.insert(at, shard);
                }
            }
            Self::All => {}
        }
    }

    /// Adds all shards of `other`.
    pub fn add_all(&mut self, other: &Self) {
        if *self == Self::All || *other == Self::All {
            *self = Self::All;
            return;
        }
        let mut shards: SmallVec<[u16; 4]> = SmallVec::from_slice(self.listed());
        shards.extend_from_slice(other.listed());
        shards.sort_unstable();
        shards.dedup();
        *self = match *shards {
            [one] => Self::One(one),
            _ => Self::Some(shards),
        };
    }

    /// The shards of a set that has not all.
    fn listed(&self) -> &[u16] {
        match self {
            Self::One(shard) => std::slice::from_ref(shard),
            Self::Some(shards) => shards,
            Self::All => &[],
        }
    }

    /// Whether a shard is in the set.
    pub fn contains(&self, shard: u16) -> bool {
        *self == Self::All || self.listed().binary_search(&shard).is_ok()
    }

    /// Visits all shards, ascending.
    pub(crate) fn each(&self) -> impl Iterator<Item = u16> {
        let all = if *self == Self::All { 0..SHARD_COUNT as u16 } else { 0..0 };
        all.chain(self.listed().iter().copied())
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Some(shards) if shards.is_empty())
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
