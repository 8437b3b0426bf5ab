//! Asking the processor for memory before it is needed. Reads nothing itself.

/// The unit in which memory is fetched, in bytes.
pub(crate) const LINE: usize = 64;

/// Asks for the line at `address`, which need not be valid.
#[inline]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "the intrinsic is unsafe by declaration only")]
    // SAFETY: a prefetch reads nothing and never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for `count` lines from the one at `start` on, which need not be valid.
#[inline]
pub(crate) fn prefetch_lines(start: *const u8, count: usize) {
    for line in 0..count {
        prefetch(start.wrapping_add(line * LINE));
    }
}

/// Asks for all lines of `it`, which begins with one, but for nothing that it points to.
#[inline]
pub fn prefetch_whole<T>(it: &T) {
    prefetch_lines(std::ptr::from_ref(it).cast(), size_of::<T>().div_ceil(LINE));
}

/// Asks for the lines that `bytes` lie on.
#[inline]
pub(crate) fn prefetch_all(bytes: &[u8]) {
    let misaligned = bytes.as_ptr().addr() % LINE;
    for offset in (0..misaligned + bytes.len()).step_by(LINE) {
        prefetch(bytes.as_ptr().wrapping_sub(misaligned).wrapping_add(offset));
    }
}
