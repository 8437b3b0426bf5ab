//! A message to those who listen, on its way from worker to worker.

use std::sync::Arc;

use crate::client::subscriptions::ChannelKind;

/// One message, on its way to the workers.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) kind: ChannelKind,
    pub(crate) channel: Box<[u8]>,
    pub(crate) payload: Box<[u8]>,
    pub(crate) version: u64,
    /// The patterns that match, and the version of all patterns.
    pub(crate) patterns: Vec<Arc<[u8]>>,
    pub(crate) patterns_version: u64,
}
