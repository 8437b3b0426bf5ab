//! Keyed hashing: one fast hash for every table, seeded at start so that nobody outside can aim for collisions.

use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

use foldhash::SharedSeed;

/// A map with this program's keyed hasher.
#[expect(clippy::disallowed_types, reason = "this alias is what the lint points to")]
pub type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// A set with this program's keyed hasher.
#[expect(clippy::disallowed_types, reason = "this alias is what the lint points to")]
pub type HashSet<T> = std::collections::HashSet<T, foldhash::fast::RandomState>;

/// A 64-bit hash function with a seed. All bits of the result are usable.
#[derive(Clone, Debug)]
pub struct KeyHasher {
    seed: u64,
    /// Secret as well: with foldhash's published constants in its place, whoever knows them can
    /// write keys that collide under every `seed`.
    constants: SharedSeed,
}

impl KeyHasher {
    /// The hash function that belongs to `seed`: the same seed gives the same function in one build.
    pub fn with_seed(seed: u64) -> Self {
        Self { seed, constants: SharedSeed::from_u64(seed) }
    }

    /// Hashes `bytes`.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        self.hash_again(0, bytes)
    }

    /// Another function of the family for every `tweak`, to tell apart what [`KeyHasher::hash`] cannot.
    #[inline]
    pub fn hash_again(&self, tweak: u64, bytes: &[u8]) -> u64 {
        let mut hasher =
            foldhash::quality::FoldHasher::with_seed(self.seed ^ tweak, &self.constants);
        hasher.write(bytes);
        hasher.finish()
    }
}

static GLOBAL: OnceLock<KeyHasher> = OnceLock::new();

/// Chooses the hash function of this process by a text: the same text gives the same function in one build. Has to come
/// before anything is hashed.
pub fn seed_global(text: &[u8]) {
    let seed = foldhash::quality::FixedState::with_seed(0).hash_one(text);
    let is_first = GLOBAL.set(KeyHasher::with_seed(seed)).is_ok();
    assert!(is_first, "what was hashed by another function could not be found again");
}

/// The hash function of this process, with a seed nobody knows unless [`seed_global`] has chosen one: for structures that
/// are cloned and created everywhere and hence carry no function of their own.
#[inline]
pub fn global() -> &'static KeyHasher {
    GLOBAL.get_or_init(|| {
        KeyHasher::with_seed(foldhash::quality::RandomState::default().hash_one(0_u64))
    })
}

#[cfg(test)]
mod tests {
    use super::KeyHasher;

    #[test]
    fn seed_decides_the_function() {
        let [a, b] = [1, 2].map(KeyHasher::with_seed);
        assert_eq!(a.hash(b"key"), KeyHasher::with_seed(1).hash(b"key"));
        assert_ne!(a.hash(b"key"), b.hash(b"key"));
        assert_ne!(a.hash_again(1, b"key"), a.hash(b"key"));
    }

    #[test]
    fn published_constants_do_not_help() {
        // Under foldhash's fixed constants, one half of a 16-byte key can be chosen so that the
        // other half does not matter.
        let constants = format!("{:?}", foldhash::SharedSeed::global_fixed());
        let published = constants
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|digits| digits.parse::<u64>().ok());
        let hasher = KeyHasher::with_seed(7);
        for half in published {
            let hashes = [1_u64, 2].map(|other| {
                [[half, other], [other, half]]
                    .map(|[a, b]| hasher.hash(&[a.to_le_bytes(), b.to_le_bytes()].concat()))
            });
            assert_ne!(hashes[0][0], hashes[1][0]);
            assert_ne!(hashes[0][1], hashes[1][1]);
        }
    }
}
