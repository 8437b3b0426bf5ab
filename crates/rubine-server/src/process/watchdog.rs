//! Tells the log of a worker that does not end its turn, and at which command it is. Only looks on; takes no lock that a
//! worker takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::command_table::CommandTable;
use crate::stats::WorkerStats;
use rubine_system::ticks;

/// How often it looks in each period, and how rarely at most.
const LOOKS_PER_PERIOD: u64 = 4;
const LOOK_MS_MAX: u64 = 1000;

/// The watchdog, with or without a thread.
#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    /// Milliseconds; 0 while nobody wants it.
    period_ms: AtomicU64,
    is_awake: Mutex<bool>,
}

impl Watchdog {
    /// Looks for turns that are longer than `period_ms` from now on, or for none if that is 0.
    pub(crate) fn set(
        &'static self,
        stats: &'static [WorkerStats],
        commands: &'static CommandTable,
        period_ms: u32,
    ) {
        let mut is_awake = self.is_awake.lock();
        self.period_ms.store(u64::from(period_ms), Ordering::Relaxed);
        if period_ms == 0 || *is_awake {
            return;
        }
        let thread = std::thread::Builder::new().name("watchdog".to_owned());
        match thread.spawn(move || watch(self, stats, commands)) {
            Ok(_) => *is_awake = true,
            Err(error) => tracing::warn!("Can't start the watchdog's thread: {error}"),
        }
    }

    /// The period. Lets the thread end where there is none.
    fn period_ms(&self) -> Option<u64> {
        let mut is_awake = self.is_awake.lock();
        let period_ms = self.period_ms.load(Ordering::Relaxed);
        *is_awake = period_ms != 0;
        is_awake.then_some(period_ms)
    }
}

fn watch(watchdog: &Watchdog, stats: &[WorkerStats], commands: &CommandTable) {
    // The turns that were told of, by their beginnings.
    let mut told = vec![0; stats.len()];
    while let Some(period_ms) = watchdog.period_ms() {
        for (index, (stats, told)) in stats.iter().zip(&mut told).enumerate() {
            let turn_start = stats.turn_start.get();
            let turn_ms = elapsed_ms(turn_start);
            if turn_start != 0 && *told != turn_start && period_ms <= turn_ms {
                *told = turn_start;
                tell(commands, index, stats, turn_ms);
            }
        }
        let pause_ms = (period_ms / LOOKS_PER_PERIOD).clamp(1, LOOK_MS_MAX);
        std::thread::sleep(Duration::from_millis(pause_ms));
    }
}

fn elapsed_ms(turn_start: u64) -> u64 {
    let ticks = ticks::now().saturating_sub(turn_start);
    (ticks as f64 / ticks::per_microsecond() / 1000.0) as u64
}

fn tell(commands: &CommandTable, index: usize, stats: &WorkerStats, turn_ms: u64) {
    let number = stats.last_command.get() as usize;
    let command = commands.all().get(number).map_or("none yet", |it| &it.full_name);
    tracing::warn!(
        "--- WATCHDOG TIMER EXPIRED --- worker {index} has not ended its turn for {turn_ms} ms; \
         it runs '{command}', or that was its last command"
    );
}
