//! A message to those who listen, on its way from worker to worker.

use std::sync::Arc;

use rubine_journal::Offset;

use crate::client::subscriptions::ChannelKind;

/// Memory of a message beyond its bytes, about.
const FIXED_BYTES: usize = 128;

/// One message, on its way to the workers.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) kind: ChannelKind,
    pub(crate) channel: Arc<[u8]>,
    pub(crate) payload: Box<[u8]>,
    pub(crate) version: u64,
    /// The patterns that match, and the version of all patterns.
    pub(crate) patterns: Vec<Arc<[u8]>>,
    pub(crate) patterns_version: u64,
    /// Nobody hears of it before the disk has the journal up to here.
    pub(crate) durable_offset: Offset,
}

impl Publication {
    /// Memory that it takes, about.
    pub(crate) fn byte_count(&self) -> usize {
        FIXED_BYTES + self.channel.len() + self.payload.len()
    }

    /// Visits all names under which clients get it, with the version of each.
    pub(crate) fn for_each_name(&self, mut visit: impl FnMut(ChannelKind, &Arc<[u8]>, u64)) {
        visit(self.kind, &self.channel, self.version);
        for pattern in &self.patterns {
            visit(ChannelKind::Pattern, pattern, self.patterns_version);
        }
    }
}
