//! How far loading has come, for INFO. Loads nothing itself.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Progress of the load that goes on, and the outcome of the last.
#[derive(Debug, Default)]
pub struct Loading {
    /// Unix milliseconds.
    started_at: AtomicI64,
    total_bytes: AtomicU64,
    /// What the file says that its data took in memory.
    used_memory: AtomicU64,
    loaded_bytes: AtomicU64,
    keys: AtomicU64,
    expired_keys: AtomicU64,
    /// How long the last load took, in milliseconds.
    last_ms: AtomicI64,
}

/// The progress at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Unix seconds.
    pub started_at: i64,
    pub total_bytes: u64,
    pub used_memory: u64,
    pub loaded_bytes: u64,
    pub percent: f64,
    pub seconds_left: i64,
    pub keys_per_second: u64,
    pub bytes_per_second: u64,
}

impl Loading {
    /// A load of a file of `total_bytes` begins; 0 if nobody knows.
    pub fn begin(&self, total_bytes: u64, now: i64) {
        self.started_at.store(now, Ordering::Relaxed);
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
        let counters = [&self.used_memory, &self.loaded_bytes, &self.keys, &self.expired_keys];
        counters.iter().for_each(|it| it.store(0, Ordering::Relaxed));
    }

    pub fn end(&self, now: i64) {
        let started_at = self.started_at.load(Ordering::Relaxed);
        self.last_ms.store((now - started_at).max(0), Ordering::Relaxed);
    }

    pub fn set_used_memory(&self, bytes: u64) {
        self.used_memory.store(bytes, Ordering::Relaxed);
    }

    pub fn set_loaded_bytes(&self, bytes: u64) {
        self.loaded_bytes.store(bytes, Ordering::Relaxed);
    }

    pub fn add_keys(&self, loaded: u64, expired: u64) {
        self.keys.fetch_add(loaded, Ordering::Relaxed);
        self.expired_keys.fetch_add(expired, Ordering::Relaxed);
    }

    /// Keys that this load, or the last, has brought.
    pub fn keys(&self) -> u64 {
        self.keys.load(Ordering::Relaxed)
    }

    /// Keys that were due already and were left out.
    pub fn expired_keys(&self) -> u64 {
        self.expired_keys.load(Ordering::Relaxed)
    }

    /// Keys and bytes a second of the last load.
    pub fn last_rates(&self) -> (u64, u64) {
        let elapsed_ms = self.last_ms.load(Ordering::Relaxed);
        if self.started_at.load(Ordering::Relaxed) == 0 {
            return (0, 0);
        }
        let bytes = self.loaded_bytes.load(Ordering::Relaxed);
        (per_second(self.keys(), elapsed_ms), per_second(bytes, elapsed_ms))
    }

    pub fn progress(&self, now: i64) -> Progress {
        let started_at = self.started_at.load(Ordering::Relaxed);
        let loaded_bytes = self.loaded_bytes.load(Ordering::Relaxed);
        let total_bytes = self.total_bytes.load(Ordering::Relaxed);
        let used_memory = self.used_memory.load(Ordering::Relaxed);
        let elapsed_ms = (now - started_at).max(0);
        let seconds = elapsed_ms / 1000;
        // Without a total, what the data took in memory is a guess, of which nothing is known to be left at the end.
        let (whole, most) =
            if total_bytes != 0 { (total_bytes, 100.0) } else { (used_memory, 99.99) };
        let left = whole.saturating_sub(loaded_bytes).max(1) as i64;
        let percent = loaded_bytes as f64 * 100.0 / whole.max(1) as f64;
        let seconds_left =
            if seconds == 0 { 1 } else { seconds * left / (loaded_bytes as i64 + 1) };
        Progress {
            started_at: started_at / 1000,
            total_bytes,
            used_memory,
            loaded_bytes,
            percent: percent.min(most),
            seconds_left,
            keys_per_second: per_second(self.keys(), elapsed_ms),
            bytes_per_second: per_second(loaded_bytes, elapsed_ms),
        }
    }
}

/// So many in so many milliseconds, in a second.
pub fn per_second(count: u64, elapsed_ms: i64) -> u64 {
    (u128::from(count) * 1000 / elapsed_ms.max(1) as u128) as u64
}

#[cfg(test)]
mod tests {
    use super::Loading;

    #[test]
    fn progress_tells_what_is_left() {
        let loading = Loading::default();
        loading.begin(1_000, 10_000);
        loading.set_loaded_bytes(250);
        loading.add_keys(100, 1);
        let progress = loading.progress(12_000);
        assert_eq!((progress.started_at, progress.seconds_left), (10, 5));
        assert!((progress.percent - 25.0).abs() < f64::EPSILON);
        assert_eq!((progress.keys_per_second, progress.bytes_per_second), (50, 125));
        loading.set_loaded_bytes(1_000);
        loading.end(14_000);
        assert_eq!(loading.last_rates(), (25, 250));
    }

    #[test]
    fn a_load_of_unknown_length_is_never_quite_done() {
        let loading = Loading::default();
        loading.begin(0, 0);
        loading.set_used_memory(10);
        loading.set_loaded_bytes(20);
        assert!(loading.progress(1).percent < 100.0);
    }
}
