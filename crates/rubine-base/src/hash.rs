//! Keyed hashing: one fast hash for every table, seeded at start so that nobody outside can aim for collisions.

use std::hash::{BuildHasher, Hasher};

/// A map with this program's keyed hasher.
#[expect(clippy::disallowed_types, reason = "this alias is what the lint points to")]
pub type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// A set with this program's keyed hasher.
#[expect(clippy::disallowed_types, reason = "this alias is what the lint points to")]
pub type HashSet<T> = std::collections::HashSet<T, foldhash::fast::RandomState>;

/// A 64-bit hash function with a seed. All bits of the result are usable.
#[derive(Clone, Debug)]
pub struct KeyHasher {
    state: foldhash::quality::FixedState,
}

impl KeyHasher {
    /// The hash function that belongs to `seed`: the same seed gives the same function in one build.
    pub fn with_seed(seed: u64) -> Self {
        Self { state: foldhash::quality::FixedState::with_seed(seed) }
    }

    /// Hashes `bytes`.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::KeyHasher;

    #[test]
    fn seed_decides_the_function() {
        let [a, b] = [1, 2].map(KeyHasher::with_seed);
        assert_eq!(a.hash(b"key"), KeyHasher::with_seed(1).hash(b"key"));
        assert_ne!(a.hash(b"key"), b.hash(b"key"));
    }
}
