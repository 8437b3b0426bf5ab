//! When memory is defragmented: `activedefrag` and what belongs to it. A thread of its own walks through the keyspace and
//! moves what lies in thinly used slabs, a little at a time. Never runs on a worker.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rubine_base::clock::unix_millis;
use rubine_keyspace::DefragWalk;
use rubine_structures::table::free_what_waits;

use crate::observing::latency::LatencyEvent;
use crate::server::Server;
use rubine_config::Config;
use rubine_system::allocator::{self, Stats};
use rubine_system::ticks;

/// A walk that moved a smaller part than this of what it saw has little to do: the next one can wait.
const MOVED_PERCENT_MIN: u64 = 2;
const REST_AFTER_IDLE_WALK: Duration = Duration::from_secs(10);

/// The clock's work, every `period_ms`: looks how much is wasted, and lets the thread work accordingly.
pub(crate) fn look(server: &'static Server, period_ms: u64) {
    let defrag = &server.aside.defrag;
    let config = server.config.load();
    let may_run = config.activedefrag && !server.persistence.is_loading();
    // A walk that has begun comes to its end, as fast as it was at its fastest.
    let share = match defrag.running() {
        _ if !may_run => 0,
        before => before.max(wanted_share(&config, allocator::stats())),
    };
    defrag.share_percent.store(share, Ordering::Relaxed);
    if share == 0 {
        defrag.current_ms.store(0, Ordering::Relaxed);
        return;
    }
    defrag.total_ms.fetch_add(period_ms, Ordering::Relaxed);
    defrag.current_ms.fetch_add(period_ms, Ordering::Relaxed);
    match defrag.thread.get() {
        Some(thread) => thread.unpark(),
        None => start(server),
    }
}

/// The part of a processor that the waste is worth, in percent; 0 if it is to be borne.
fn wanted_share(config: &Config, stats: Stats) -> u32 {
    let waste = stats.active.saturating_sub(stats.allocated);
    let waste_percent = (waste * 100 / stats.allocated.max(1)).min(u64::from(u32::MAX)) as u32;
    let (lower, upper) =
        (config.active_defrag_threshold_lower, config.active_defrag_threshold_upper);
    if waste < config.active_defrag_ignore_bytes as u64 || waste_percent < lower {
        return 0;
    }
    let (min, max) = (config.active_defrag_cycle_min, config.active_defrag_cycle_max);
    let span = upper.saturating_sub(lower).max(1);
    let above = (waste_percent - lower).min(span);
    let share =
        min + u64::from(max.saturating_sub(min)).saturating_mul(u64::from(above)) as u32 / span;
    share.min(max.max(min))
}

fn start(server: &'static Server) {
    let builder = std::thread::Builder::new().name("defrag".to_owned());
    match builder.spawn(move || serve(server)) {
        // The clock's work is done by one worker, so nobody else has set it.
        Ok(handle) => _ = server.aside.defrag.thread.set(handle.thread().clone()),
        Err(error) => tracing::warn!("Can't start the thread that defragments memory: {error}"),
    }
}

fn serve(server: &'static Server) {
    crate::process::affinity::pin(server.config.load().bio_cpulist.as_deref());
    // It does not give way to other threads as those that compute do: they would wait for the shard that it holds.
    allocator::forgo_thread_cache();
    let mut walk = DefragWalk::default();
    let (mut moved, mut seen) = (0, 0);
    loop {
        let share = u64::from(server.aside.defrag.running());
        if share == 0 {
            std::thread::park();
            continue;
        }
        let slice_us = u64::from(server.config.load().active_defrag_cycle_us.max(1));
        let slice_ticks = (slice_us as f64 * ticks::per_microsecond()) as u64;
        let start = ticks::now();
        let mut is_over = false;
        while !is_over && ticks::now().wrapping_sub(start) < slice_ticks {
            let step = walk.step(&server.keyspace, &mut allocator::is_thin);
            server.aside.defrag.count(step);
            (moved, seen) = (moved + step.moved, seen + step.moved + step.kept);
            is_over = step.is_over;
        }
        let spent = ticks::now().wrapping_sub(start);
        let latency = &server.observing.latency;
        latency.note(LatencyEvent::ActiveDefragCycle, spent, unix_millis());
        std::thread::sleep(Duration::from_micros(slice_us * (100 - share.min(99)) / share));
        if is_over {
            // Whether there shall be another one, the clock's work decides.
            server.aside.defrag.share_percent.store(0, Ordering::Relaxed);
            // Pages go back as the allocator lets them, in some ten seconds: all at once would stop whoever needs a page.
            free_what_waits();
            if moved * 100 < seen * MOVED_PERCENT_MIN {
                std::thread::sleep(REST_AFTER_IDLE_WALK);
            }
            (moved, seen) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::wanted_share;
    use rubine_config::Config;
    use rubine_system::allocator::Stats;

    #[test]
    fn the_share_grows_with_the_waste() {
        let config = Config::default();
        let mb = 1 << 20;
        let share = |allocated: u64, active: u64| {
            wanted_share(
                &config,
                Stats { allocated: allocated * mb, active: active * mb, resident: 0 },
            )
        };
        // Less than 100 MB, or less than a tenth.
        assert_eq!(share(50, 149), 0);
        assert_eq!(share(2000, 2190), 0);
        assert_eq!(share(2000, 2200), 1);
        assert_eq!(share(200, 310), 1 + 24 * 45 / 90);
        assert_eq!(share(200, 400), 25);
        assert_eq!(share(28, 258), 25);
    }
}
