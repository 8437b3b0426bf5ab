//! Counters that INFO adds up. Each worker writes its own, on cache lines of its own; nobody waits for anybody.

pub(crate) mod errors;
pub(crate) mod gauges;
pub(crate) mod histogram;
pub(crate) mod memory;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use self::errors::ErrorStats;
use self::histogram::Histogram;

/// A counter that one thread writes and others read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Only the owning thread calls this.
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        if count != 0 {
            self.0.store(self.0.load(Ordering::Relaxed) + count, Ordering::Relaxed);
        }
    }

    /// Raises the counter to `value`. Only the owning thread calls this.
    pub(crate) fn raise_to(&self, value: u64) {
        if self.get() < value {
            self.set(value);
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the counter, as a gauge or to start anew. A concurrent [`Self::add`] may win.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// What happened to one command.
#[derive(Debug, Default)]
pub(crate) struct CommandStats {
    pub(crate) calls: Counter,
    /// Time in the handler, in steps of [`rubine_system::ticks`].
    pub(crate) ticks: Counter,
    /// Refused before it ran.
    pub(crate) rejected_calls: Counter,
    /// Ran and replied with an error.
    pub(crate) failed_calls: Counter,
    /// Made when the command is first measured: most commands are never sent.
    pub(crate) latency: OnceLock<Histogram>,
}

/// The counters of one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerStats {
    pub(crate) errors: ErrorStats,
    pub(crate) commands: Vec<CommandStats>,
    pub(crate) connections_received: Counter,
    pub(crate) rejected_connections: Counter,
    pub(crate) input_bytes: Counter,
    pub(crate) output_bytes: Counter,
    /// Those to replicas, which are among the others too.
    pub(crate) replica_output_bytes: Counter,
    pub(crate) keyspace_hits: Counter,
    pub(crate) keyspace_misses: Counter,
    pub(crate) expired_keys: Counter,
    pub(crate) expired_fields: Counter,
    pub(crate) evicted_keys: Counter,
    pub(crate) evicted_clients: Counter,
    /// Memory of the worker's clients that may be evicted.
    pub(crate) client_bytes: Counter,
    pub(crate) dirty: Counter,
    pub(crate) error_replies: Counter,
    pub(crate) query_buffer_limit_disconnections: Counter,
    pub(crate) output_buffer_limit_disconnections: Counter,
    pub(crate) reads_processed: Counter,
    pub(crate) writes_processed: Counter,
    pub(crate) loop_turns: Counter,
    /// The number of the command that ran last or runs now.
    pub(crate) last_command: Counter,
    pub(crate) blocked_clients: Counter,
    /// Clients that wait and will give up.
    pub(crate) timed_waits: Counter,
    /// Clients that wait for the disk, and how many different ones have done so in about a millisecond.
    pub(crate) waiting_for_disk: Counter,
    pub(crate) waited_for_disk: Counter,
    /// Requests that stood at a busy shard, and for how long altogether.
    pub(crate) shard_waits: Counter,
    pub(crate) shard_wait_ticks: Counter,
    /// Memory of the interpreter, for scripts and for functions.
    pub(crate) script_bytes: Counter,
    pub(crate) function_bytes: Counter,
    /// Time between two sleeps.
    pub(crate) busy_ticks: Counter,
    /// Processor time of the thread, in microseconds.
    pub(crate) user_us: Counter,
    pub(crate) system_us: Counter,
    /// Time that was spent on expiry nobody asked for, and how often it was not enough.
    pub(crate) expiry_ticks: Counter,
    pub(crate) expiry_cap_reached: Counter,
    /// Time of what happens by the clock, and the most that a turn has been.
    pub(crate) cron_ticks: Counter,
    pub(crate) turn_ticks_max: Counter,
    /// When the turn began, in ticks; 0 while the worker sleeps.
    pub(crate) turn_start: Counter,
    pub(crate) turn_commands_max: Counter,
}

impl WorkerStats {
    /// Lets everything start anew that is not a state of the moment.
    pub(crate) fn reset(&self) {
        for command in &self.commands {
            let CommandStats { calls, ticks, rejected_calls, failed_calls, latency } = command;
            if let Some(latency) = latency.get() {
                latency.reset();
            }
            for counter in [calls, ticks, rejected_calls, failed_calls] {
                counter.set(0);
            }
        }
        let counters = [
            &self.connections_received,
            &self.rejected_connections,
            &self.input_bytes,
            &self.output_bytes,
            &self.replica_output_bytes,
            &self.keyspace_hits,
            &self.keyspace_misses,
            &self.expired_keys,
            &self.expired_fields,
            &self.evicted_keys,
            &self.evicted_clients,
            &self.error_replies,
            &self.query_buffer_limit_disconnections,
            &self.output_buffer_limit_disconnections,
            &self.reads_processed,
            &self.writes_processed,
            &self.shard_waits,
            &self.shard_wait_ticks,
            &self.loop_turns,
            &self.busy_ticks,
            &self.expiry_ticks,
            &self.expiry_cap_reached,
            &self.cron_ticks,
            &self.turn_ticks_max,
            &self.turn_commands_max,
        ];
        self.errors.clear();
        for counter in counters {
            counter.set(0);
        }
    }

    pub(crate) fn new(command_count: usize) -> Self {
        let commands = (0..command_count).map(|_| CommandStats::default()).collect();
        let stats = Self { commands, ..Self::default() };
        stats.last_command.set(u64::MAX);
        stats
    }
}
