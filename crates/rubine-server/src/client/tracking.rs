//! How a client is told of changes of keys that it keeps copies of, as far as it has asked for that beyond its flags.

use std::collections::BTreeSet;

/// What a name takes here, about; the name itself is kept where all clients' prefixes are.
const PREFIX_BYTES: usize = 24;

/// A client that keeps copies of keys.
#[derive(Debug, Default)]
pub(crate) struct ClientTracking {
    /// The number of the client that gets its notices; 0 for itself.
    pub(crate) redirection: u64,
    /// It is told of all keys with one of these.
    pub(crate) prefixes: BTreeSet<Box<[u8]>>,
}

impl ClientTracking {
    /// Memory that it takes, about.
    pub(crate) fn byte_count(&self) -> usize {
        size_of::<Self>() + self.prefixes.len() * PREFIX_BYTES
    }
}
