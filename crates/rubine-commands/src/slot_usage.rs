//! What requests about each hash slot take, as a worker counts it. Knows no command.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use rubine_base::crc::SLOT_COUNT;

/// What requests about a slot have taken since the start, or since it was set to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotUsage {
    pub cpu_us: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl SlotUsage {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpu_us: self.cpu_us + other.cpu_us,
            bytes_in: self.bytes_in + other.bytes_in,
            bytes_out: self.bytes_out + other.bytes_out,
        }
    }

    /// What came after `before`.
    #[must_use]
    pub fn minus(self, before: Self) -> Self {
        Self {
            cpu_us: self.cpu_us.saturating_sub(before.cpu_us),
            bytes_in: self.bytes_in.saturating_sub(before.bytes_in),
            bytes_out: self.bytes_out.saturating_sub(before.bytes_out),
        }
    }
}

/// What one worker has counted of each slot. Only that worker adds to it, so it pays for no other; whoever asks adds up those
/// of all workers.
pub struct SlotUsageCounts(Box<[Counters]>);

#[derive(Default)]
struct Counters {
    cpu_us: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Default for SlotUsageCounts {
    fn default() -> Self {
        Self((0..SLOT_COUNT).map(|_| Counters::default()).collect())
    }
}

impl fmt::Debug for SlotUsageCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlotUsageCounts")
    }
}

impl SlotUsageCounts {
    /// Adds what a request about the slot took. Called by the worker whose counts these are alone.
    pub fn add(&self, slot: u16, usage: SlotUsage) {
        let counters = &self.0[usize::from(slot)];
        let add = |counter: &AtomicU64, more: u64| {
            counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        };
        add(&counters.cpu_us, usage.cpu_us);
        add(&counters.bytes_in, usage.bytes_in);
        add(&counters.bytes_out, usage.bytes_out);
    }

    pub fn of(&self, slot: u16) -> SlotUsage {
        let Counters { cpu_us, bytes_in, bytes_out } = &self.0[usize::from(slot)];
        let [cpu_us, bytes_in, bytes_out] =
            [cpu_us, bytes_in, bytes_out].map(|it| it.load(Ordering::Relaxed));
        SlotUsage { cpu_us, bytes_in, bytes_out }
    }
}
