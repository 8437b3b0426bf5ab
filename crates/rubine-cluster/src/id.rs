//! Names of nodes, of shards and of migrations: 40 characters, which are the same in packets, in files and in replies. Never makes one up:
//! randomness is given.

use std::fmt;

/// Bytes of a name.
pub const ID_SIZE: usize = 40;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// Invariant: digits and small letters only, so that it can stand in any file and any reply.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_SIZE]);

        impl $name {
            /// A new one, of random bytes.
            pub fn from_random(bytes: [u8; ID_SIZE / 2]) -> Self {
                Self(hex(bytes))
            }

            /// As others write it; nothing if it is no name. Real nodes write hexadecimal digits, and take all letters.
            pub fn parse(text: &[u8]) -> Option<Self> {
                let id: [u8; ID_SIZE] = text.try_into().ok()?;
                let is_plain = |it: &u8| it.is_ascii_digit() || it.is_ascii_lowercase();
                id.iter().all(is_plain).then_some(Self(id))
            }

            pub fn as_bytes(&self) -> &[u8; ID_SIZE] {
                &self.0
            }

            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).expect("a name has digits and letters only")
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}

ids! {
    /// The name of a node.
    NodeId;
    /// The name of a shard: a primary with its replicas.
    ShardId;
    /// The name of a migration of slots.
    MigrationId;
}

fn hex(bytes: [u8; ID_SIZE / 2]) -> [u8; ID_SIZE] {
    let digit = |it: u8| b"0123456789abcdef"[usize::from(it)];
    let mut text = [0; ID_SIZE];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_forty_digits_and_small_letters() {
        let id = NodeId::from_random([0xa7; 20]);
        assert_eq!(id.as_str(), "a7".repeat(20));
        assert_eq!(NodeId::parse(id.as_bytes()), Some(id));
        for text in ["", "a", &"A".repeat(40), &"a".repeat(41), &"\0".repeat(40), &" ".repeat(40)] {
            assert_eq!(NodeId::parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
