//! The global allocator: jemalloc, and a count of what it has handed out. Never allocates itself.
//!
//! Each thread counts on a cache line of its own; whoever asks adds them up. Sizes are counted as the allocator's size
//! classes, so that `used_memory` means what it means in Redis. The workspace builds jemalloc with classes 8 bytes apart
//! up to 64 (`JEMALLOC_SYS_WITH_LG_QUANTUM` in `.cargo/config.toml`), which records and packs are cut for.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicIsize, AtomicU64, AtomicUsize, Ordering};

use rubine_structures::pack::allocation_class;
use tikv_jemallocator::Jemalloc;

use crate::ticks;

/// Threads that count alone at one time; further ones share the last line.
const LINES: usize = 128;
/// What other threads have allocated is looked at so seldom, where an estimate will do.
const ESTIMATE_US: f64 = 50.0;

#[repr(align(128))]
struct Line(AtomicIsize);

static COUNTS: [Line; LINES] = [const { Line(AtomicIsize::new(0)) }; LINES];
static NEXT_LINE: AtomicUsize = AtomicUsize::new(0);

/// A bit for each line whose thread has ended. What it has counted stays there; the next thread goes on with it.
static GIVEN_BACK: [AtomicU64; LINES / 64] = [const { AtomicU64::new(0) }; LINES / 64];

thread_local! {
    static LINE: Cell<usize> = const { Cell::new(usize::MAX) };
    static TENANCY: Tenancy = const { Tenancy };
}

/// Gives the line of a thread back when that ends.
struct Tenancy;

impl Drop for Tenancy {
    fn drop(&mut self) {
        // What is freed after this is counted where all do.
        let line = LINE.replace(LINES - 1);
        if line + 1 < LINES {
            GIVEN_BACK[line / 64].fetch_or(1 << (line % 64), Ordering::Release);
        }
    }
}

/// Bytes that are allocated now.
pub fn used_memory() -> usize {
    let used = NEXT_LINE.load(Ordering::Relaxed).min(LINES - 1);
    let lines = COUNTS[..used].iter().chain(&COUNTS[LINES - 1..]);
    let sum: isize = lines.map(|line| line.0.load(Ordering::Relaxed)).sum();
    sum.max(0) as usize
}

/// Bytes that are allocated, about: what this thread has is exact, what others have is as of some microseconds ago. For one
/// thread, which asks before every command.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimate {
    others: isize,
    /// When others were looked at, in ticks.
    looked_at: u64,
}

impl Estimate {
    /// Bytes that are allocated now, as far as is known.
    #[inline]
    pub fn used(&mut self) -> usize {
        let age = ticks::now().wrapping_sub(self.looked_at);
        if (ESTIMATE_US * ticks::per_microsecond()) as u64 <= age {
            self.look();
        }
        (self.others + own()).max(0) as usize
    }

    /// As [`used_memory`], for what is asked next, too.
    #[cold]
    pub fn look(&mut self) -> usize {
        let used = used_memory();
        self.others = used as isize - own();
        self.looked_at = ticks::now();
        used
    }
}

/// What the calling thread has allocated and not freed.
#[inline]
fn own() -> isize {
    let line = LINE.get();
    // Whoever shares a line has nothing of its own.
    if line + 1 < LINES { COUNTS[line].0.load(Ordering::Relaxed) } else { 0 }
}

/// What jemalloc itself says, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// What was asked for, rounded up to size classes.
    pub allocated: u64,
    /// Pages that hold any of it.
    pub active: u64,
    /// Pages that the allocator keeps in physical memory.
    pub resident: u64,
}

/// Asks jemalloc, which takes some tens of microseconds.
pub fn stats() -> Stats {
    use tikv_jemalloc_ctl::{epoch, stats};
    // Without a new epoch the figures are old; without an answer they are 0.
    let _ = epoch::advance();
    Stats {
        allocated: stats::allocated::read().unwrap_or(0) as u64,
        active: stats::active::read().unwrap_or(0) as u64,
        resident: stats::resident::read().unwrap_or(0) as u64,
    }
}

/// Bytes of a report that are kept.
const REPORT_BYTES_MAX: usize = 1 << 20;

/// Everything that jemalloc says of itself, as text.
pub fn report() -> Vec<u8> {
    use tikv_jemalloc_ctl::stats_print::{Options, stats_print};
    let mut text = Vec::new();
    // Writing to memory cannot fail.
    let _ = stats_print(&mut text, Options::default());
    text.truncate(REPORT_BYTES_MAX);
    text
}

/// Gives unused pages of all arenas back to the system.
#[expect(unsafe_code, reason = "the library has no name for actions")]
pub fn purge() -> bool {
    /// The arena number that stands for all.
    const ALL: &std::ffi::CStr = c"arena.4096.purge";
    let nothing = std::ptr::null_mut();
    // SAFETY: the name ends with a zero, and the action takes and gives no value.
    unsafe {
        tikv_jemalloc_sys::mallctl(
            ALL.as_ptr(),
            nothing,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
        ) == 0
    }
}

/// Makes this thread do without a cache, so that what it frees does not come back to it at once: what it allocates lies
/// close together, and slabs that it empties are empty.
#[expect(unsafe_code, reason = "the library has no name for the setting")]
pub fn forgo_thread_cache() {
    // SAFETY: the name ends with a zero, and the value is of the type that it asks for. Without it, moving achieves less.
    let _ = unsafe { tikv_jemalloc_ctl::raw::write(b"thread.tcache.enabled\0", false) };
}

/// Whether `address`, of something that is allocated, is in a slab of which an eighth or more is free.
#[expect(unsafe_code, reason = "the library has no name for the question")]
pub fn is_thin(address: *const u8) -> bool {
    /// Free and all places of the slab, and its bytes.
    type Answer = [usize; 3];
    const THIN_PARTS: usize = 8;
    static NAME: OnceLock<Option<[usize; 3]>> = OnceLock::new();
    let name = NAME.get_or_init(|| {
        let mut name = [0; 3];
        let query = b"experimental.utilization.batch_query\0";
        tikv_jemalloc_ctl::raw::name_to_mib(query, &mut name).is_ok().then_some(name)
    });
    let Some(name) = name else { return false };
    let (mut address, mut answer): (_, Answer) = (address, [0; 3]);
    let mut answer_len = size_of::<Answer>();
    // SAFETY: the lengths are those of one address and of the answer to it; memory that the allocator does not know is
    // answered with zeros.
    let error = unsafe {
        tikv_jemalloc_sys::mallctlbymib(
            name.as_ptr(),
            name.len(),
            answer.as_mut_ptr().cast(),
            &raw mut answer_len,
            (&raw mut address).cast(),
            size_of_val(&address),
        )
    };
    let [free, all, _] = answer;
    error == 0 && 1 < all && all <= free * THIN_PARTS
}

/// jemalloc with a count.
pub struct CountingAllocator;

#[inline]
fn count(bytes: isize) {
    let line = LINE.try_with(Cell::get).unwrap_or(LINES - 1);
    let line = if line == usize::MAX { claim_line() } else { line };
    let count = &COUNTS[line].0;
    if line + 1 < LINES {
        // The line belongs to this thread, so nothing comes between load and store.
        count.store(count.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    } else {
        count.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[cold]
fn claim_line() -> usize {
    let line = take_given_back().unwrap_or_else(|| {
        // Never more than there are, however many threads come.
        let next = NEXT_LINE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            (next + 1 < LINES).then_some(next + 1)
        });
        next.unwrap_or(LINES - 1)
    });
    let _ = LINE.try_with(|it| it.set(line));
    // To have it told of the end of the thread may allocate, which is counted on the line by now.
    let _ = TENANCY.try_with(|_| ());
    line
}

/// A line whose thread has ended.
fn take_given_back() -> Option<usize> {
    GIVEN_BACK.iter().enumerate().find_map(|(index, word)| {
        loop {
            let bits = word.load(Ordering::Relaxed);
            let bit = bits.trailing_zeros();
            if bit == u64::BITS {
                return None;
            }
            // What the former owner has counted is seen with its bit.
            if word.fetch_and(!(1 << bit), Ordering::Acquire) & (1 << bit) != 0 {
                return Some(index * 64 + bit as usize);
            }
        }
    })
}

/// The size class of an allocation of `size` bytes.
#[inline]
fn class(size: usize) -> isize {
    allocation_class(size.max(1)) as isize
}

/// With classes 8 bytes apart, only sizes that are multiples of a larger alignment are aligned to it.
#[inline]
fn aligned(layout: Layout) -> Layout {
    if layout.align() <= 8 { layout } else { layout.pad_to_align() }
}

// SAFETY: all memory comes from and goes back to jemalloc, every time with the same layout.
#[expect(unsafe_code, reason = "the allocator's interface is unsafe")]
unsafe impl GlobalAlloc for CountingAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let layout = aligned(layout);
        count(class(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { Jemalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let layout = aligned(layout);
        count(class(layout.size()));
        // SAFETY: as above.
        unsafe { Jemalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        let layout = aligned(layout);
        count(-class(layout.size()));
        // SAFETY: as above.
        unsafe { Jemalloc.dealloc(memory, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let layout = aligned(layout);
        let new_size =
            if layout.align() <= 8 { new_size } else { new_size.next_multiple_of(layout.align()) };
        count(class(new_size) - class(layout.size()));
        // SAFETY: as above; the caller's new size is the smaller one.
        unsafe { Jemalloc.realloc(memory, layout, new_size) }
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::{GlobalAlloc, Layout};

    use super::{
        COUNTS, CountingAllocator, Estimate, LINE, LINES, NEXT_LINE, class, count,
        forgo_thread_cache, is_thin,
    };

    /// Other tests of this process count on lines of their own.
    #[test]
    fn lines_of_ended_threads_are_given_back() {
        for _ in 0..10 * LINES {
            let line = std::thread::spawn(|| {
                count(8);
                count(-8);
                LINE.get()
            });
            let line = line.join().unwrap();
            assert!(line + 1 < LINES, "threads that have ended leave nothing over");
        }
        assert!(NEXT_LINE.load(std::sync::atomic::Ordering::Relaxed) < LINES);
    }

    #[test]
    fn an_estimate_has_all_of_its_own_thread() {
        count(0);
        let mut estimate = Estimate::default();
        estimate.look();
        let others = estimate.others;
        let own = COUNTS[LINE.get()].0.load(std::sync::atomic::Ordering::Relaxed);
        count(1 << 40);
        // Whether or not others were looked at again, who have far less.
        let used = estimate.used() as isize - (others + own);
        count(-(1 << 40));
        assert!((1 << 39) < used, "{used}");
    }

    #[test]
    fn classes_are_jemallocs() {
        let expected = [
            (1, 8),
            (8, 8),
            (9, 16),
            (17, 24),
            (33, 40),
            (65, 80),
            (128, 128),
            (129, 160),
            (256, 256),
            (257, 320),
            (512, 512),
            (513, 640),
            (4096, 4096),
            (4097, 5120),
            (8192, 8192),
            (14337, 16384),
        ];
        for (size, expected) in expected {
            assert_eq!(class(size), expected, "{size}");
        }
    }

    #[test]
    #[expect(unsafe_code, reason = "the allocator's interface is unsafe")]
    fn slabs_that_were_mostly_emptied_are_thin() {
        let layout = Layout::from_size_align(1792, 8).unwrap();
        let run = move || {
            forgo_thread_cache();
            // SAFETY: all is freed once, with the layout that it was allocated with.
            unsafe {
                let all: Vec<_> = (0..1000).map(|_| CountingAllocator.alloc(layout)).collect();
                let thin_before = all[100..900].iter().filter(|it| is_thin(**it)).count();
                let (kept, gone): (Vec<_>, Vec<_>) = (0..1000).partition(|index| index % 10 == 0);
                gone.iter().for_each(|index| CountingAllocator.dealloc(all[*index], layout));
                let thin = kept.iter().filter(|index| is_thin(all[**index])).count();
                kept.iter().for_each(|index| CountingAllocator.dealloc(all[*index], layout));
                (thin_before, thin, kept.len())
            }
        };
        let (thin_before, thin, kept) = std::thread::spawn(run).join().unwrap();
        assert_eq!(thin_before, 0);
        assert_eq!(thin, kept);
    }

    #[test]
    #[expect(unsafe_code, reason = "the allocator's interface is unsafe")]
    fn memory_is_aligned_though_classes_are_narrow() {
        for align in [1, 2, 4, 8, 16, 32, 64, 128] {
            for size in 1..300 {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the memory is not used, and freed with the layout that it was allocated with.
                let addresses = unsafe {
                    let memory = [(); 4].map(|()| CountingAllocator.alloc(layout));
                    memory.map(|it| {
                        let address = it.addr();
                        CountingAllocator.dealloc(it, layout);
                        address
                    })
                };
                assert!(addresses.iter().all(|it| it % align == 0), "{size} {align}");
            }
        }
    }
}
