//! A cheap clock for measuring commands: the processor's time stamp counter where there is one. Never the wall clock.

use std::sync::OnceLock;

use rubine_base::clock::monotonic_nanos;

/// Reads the counter.
#[inline]
pub fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "the intrinsic is unsafe by declaration only")]
    // SAFETY: reading the counter touches no memory.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    monotonic_nanos()
}

/// Counter steps in a microsecond. The first call takes ten milliseconds.
pub fn per_microsecond() -> f64 {
    static RATE: OnceLock<f64> = OnceLock::new();
    *RATE.get_or_init(|| {
        const SPAN_NANOS: u64 = 10_000_000;
        let (start, start_ticks) = (monotonic_nanos(), now());
        let mut elapsed = 0;
        while elapsed < SPAN_NANOS {
            std::hint::spin_loop();
            elapsed = monotonic_nanos() - start;
        }
        (now() - start_ticks) as f64 * 1000.0 / elapsed as f64
    })
}
