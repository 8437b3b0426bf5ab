//! What becomes of the buffers of clients that ask for nothing.

use std::sync::atomic::{AtomicBool, AtomicI64};

/// After this time without a request a client gives back its buffers.
pub(crate) const IDLE_SECONDS: i64 = 2;

/// What becomes of the buffers of clients that ask for nothing, as DEBUG REPLYBUFFER says.
#[derive(Debug)]
pub(crate) struct Resting {
    /// After this time without a request, the peak of a client's output is forgotten.
    pub(crate) peak_ms: AtomicI64,
    /// Whether room for output is given back.
    pub(crate) shrinks_output: AtomicBool,
}

impl Resting {
    pub(crate) const PEAK_MS: i64 = IDLE_SECONDS * 1000;
}

impl Default for Resting {
    fn default() -> Self {
        Self { peak_ms: AtomicI64::new(Self::PEAK_MS), shrinks_output: AtomicBool::new(true) }
    }
}
