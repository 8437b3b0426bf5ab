//! Loading that takes longer than it has to, for tests that want to look at it. Never longer than is asked for by now.

use std::time::Duration;

use rubine_base::clock::monotonic_nanos;

use crate::storage::Storage;

/// A delay is slept in steps, so that the end of the server does not wait for it, nor whoever asks for less.
const STEP_NANOS: u64 = 10_000_000;

/// Whether anything is to take longer.
pub(crate) fn is_wanted(storage: Storage) -> bool {
    storage.config.load().key_load_delay != 0
}

/// Lets so many keys or commands take longer, if that is wanted.
pub(crate) fn delay(storage: Storage, count: usize, must_stop: impl Fn() -> bool) {
    let start = monotonic_nanos();
    loop {
        let micros = i64::from(storage.config.load().key_load_delay);
        let total_us = match micros {
            0 => return,
            1.. => micros as u64 * count as u64,
            // One microsecond for so many.
            _ => count as u64 / micros.unsigned_abs(),
        };
        let left = (total_us * 1000).saturating_sub(monotonic_nanos() - start);
        if left == 0 || must_stop() {
            return;
        }
        std::thread::sleep(Duration::from_nanos(left.min(STEP_NANOS)));
    }
}
