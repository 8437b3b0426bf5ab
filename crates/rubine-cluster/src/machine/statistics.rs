//! What CLUSTER INFO counts of the bus.

use crate::message::KIND_NAMES;

/// Since the start, or since they were reset.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics {
    pub(crate) sent: [u64; KIND_NAMES.len()],
    pub(crate) received: [u64; KIND_NAMES.len()],
    pub(crate) sent_bytes: Bytes,
    pub(crate) received_bytes: Bytes,
    pub(crate) buffer_limit_exceeded: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bytes {
    pub(crate) all: u64,
    pub(crate) pubsub: u64,
    pub(crate) module: u64,
}

impl Bytes {
    pub(crate) fn count(&mut self, kind: u16, bytes: u64) {
        self.all += bytes;
        match KIND_NAMES.get(usize::from(kind)) {
            Some(&("publish" | "publishshard")) => self.pubsub += bytes,
            Some(&"module") => self.module += bytes,
            _ => {}
        }
    }
}
