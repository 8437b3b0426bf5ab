//! What an append costs: with nobody listening, with a backlog, with one AOF-like reader, on one
//! thread and on two. Prints nanoseconds, the best of several rounds; never judges them.

#![expect(clippy::print_stdout, reason = "its figures are its output")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rubine_journal::{Effects, Hold, Journal, Start};

const ROUND_COUNT: usize = 10;
const APPEND_COUNT: usize = 200_000;

/// Appends to a turn, as in a pipeline.
const TURN_COUNT: usize = 64;

fn main() {
    let backlog = 1 << 20;
    let inactive = Journal::new(0, 0);
    let rounds = || 0..ROUND_COUNT;
    let best = |times: &mut dyn Iterator<Item = f64>| times.fold(f64::MAX, f64::min);
    println!("encode only: {:.1} ns", best(&mut rounds().map(|_| nanoseconds_per_encoding())));
    for (name, thread_count, has_reader) in [
        ("inactive", 1, false),
        ("backlog, one thread", 1, false),
        ("backlog, two threads", 2, false),
        ("reader, one thread", 1, true),
        ("reader, two threads", 2, true),
    ] {
        let active = Journal::new(0, backlog);
        let journal = if name == "inactive" { &inactive } else { &active };
        let mut times = rounds().map(|_| measure(journal, thread_count, has_reader));
        println!("{name}: {:.1} ns", best(&mut times));
    }
}

/// The mean of the threads' nanoseconds per append.
fn measure(journal: &Arc<Journal>, thread_count: usize, has_reader: bool) -> f64 {
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
        let times = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        let mean = times.sum::<f64>() / thread_count as f64;
        is_over.store(true, Ordering::Relaxed);
        mean
    })
}

fn nanoseconds_per_encoding() -> f64 {
    let mut effects = Effects::new();
    let value = [b'v'; 64];
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let start = std::time::Instant::now();
    for _ in 0..APPEND_COUNT {
        effects.command(0, &[b"SET", b"key:000000000001", black_box(&value)]);
        black_box(&mut effects).clear();
    }
    start.elapsed().as_nanos() as f64 / APPEND_COUNT as f64
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
