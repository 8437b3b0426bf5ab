//! What an append costs: with nobody listening, with one AOF-like reader, on one thread and on two.
//! Prints nanoseconds; never judges them.

#![expect(clippy::print_stdout, reason = "its figures are its output")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rubine_journal::{Effects, Hold, Journal, Start};

const APPEND_COUNT: usize = 1_000_000;

/// Appends to a turn, as in a pipeline.
const TURN_COUNT: usize = 64;

fn main() {
    report("inactive, one thread", &Journal::new(0, 0), 1, false);
    report("backlog of 1 MB, one thread", &Journal::new(0, 1 << 20), 1, false);
    report("one reader, one thread", &Journal::new(0, 0), 1, true);
    report("backlog of 1 MB, two threads", &Journal::new(0, 1 << 20), 2, false);
    report("one reader, two threads", &Journal::new(0, 0), 2, true);
}

fn report(name: &str, journal: &Arc<Journal>, thread_count: usize, has_reader: bool) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if has_reader {
            let mut reader =
                journal.open_reader(Start::End, Hold::Everything).expect("the end is in range");
            let is_over = &is_over;
            scope.spawn(move || {
                let mut slices = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    reader.wait(Duration::from_millis(10));
                    while reader.read(1 << 20, &mut slices).expect("it holds everything") != 0 {
                        black_box(&slices);
                        slices.clear();
                    }
                }
            });
        }
        let threads: Vec<_> =
            (0..thread_count).map(|_| scope.spawn(|| nanoseconds_per_append(journal))).collect();
        for thread in threads {
            println!("{name}: {:.1} ns", thread.join().expect("no panic"));
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

fn nanoseconds_per_append(journal: &Journal) -> f64 {
    let mut effects = Effects::new();
    let value = [b'v'; 64];
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let start = std::time::Instant::now();
    for index in 0..APPEND_COUNT {
        if black_box(journal).is_active() {
            effects.command(0, &[b"SET", b"key:000000000001", &value]);
            journal.append(&mut effects, 1_000);
        }
        if index % TURN_COUNT == 0 {
            journal.notify();
        }
    }
    start.elapsed().as_nanos() as f64 / APPEND_COUNT as f64
}
