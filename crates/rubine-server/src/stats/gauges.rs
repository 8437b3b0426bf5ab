//! Rates that INFO shows.

use std::sync::atomic::{AtomicI64, AtomicU64};

/// Rates that INFO shows, as of the last second or so.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) operations_per_second: AtomicU64,
    pub(crate) input_bytes_per_second: AtomicU64,
    /// From a master.
    pub(crate) master_bytes_per_second: AtomicU64,
    pub(crate) output_bytes_per_second: AtomicU64,
    pub(crate) turns_per_second: AtomicU64,
    /// Time of a turn, in microseconds.
    pub(crate) turn_duration_us: AtomicU64,
    /// Part of the keys that were due among those looked at, in 1/10,000, as the first worker sees it.
    pub(crate) stale_per_myriad: AtomicU64,
    /// When the counters began anew from which the rates are made, in monotonic milliseconds.
    pub(crate) reset_at: AtomicI64,
}
