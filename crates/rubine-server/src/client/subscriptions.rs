//! The names that a client listens to.

use std::sync::Arc;

use rubine_base::hash::HashSet;

/// What a client subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelKind {
    Channel,
    /// All channels that it matches.
    Pattern,
    /// A channel of one shard of a cluster. Patterns do not see it.
    ShardChannel,
}

impl ChannelKind {
    pub(crate) const COUNT: usize = 3;
    pub(crate) const ALL: [Self; Self::COUNT] = [Self::Channel, Self::Pattern, Self::ShardChannel];

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// The names of each kind that a client listens to.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    pub(crate) names: [HashSet<Arc<[u8]>>; ChannelKind::COUNT],
    /// Memory of `names` and of what stands for them elsewhere, about.
    pub(crate) bytes: usize,
}

/// What a name takes beyond its bytes, here and in the lists of listeners, about.
pub(crate) const NAME_BYTES: usize = 192;

impl Subscriptions {
    pub(crate) fn len(&self, kind: ChannelKind) -> usize {
        self.names[kind.index()].len()
    }

    pub(crate) fn names(&self, kind: ChannelKind) -> Vec<Arc<[u8]>> {
        self.names[kind.index()].iter().cloned().collect()
    }

    /// Memory that the names take, about.
    pub(crate) fn byte_count(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.iter().all(HashSet::is_empty)
    }
}
