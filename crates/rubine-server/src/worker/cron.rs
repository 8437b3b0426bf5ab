//! What happens by the clock: expiry of keys nobody asks for, idle clients, limits on output, the gauges of INFO.
//! Never sleeps.

use std::sync::atomic::Ordering;

use rubine_keyspace::ExpiryCycle;
use rubine_structures::table::free_what_waits;

use super::period::Period;
use super::schedule::schedule;
use super::weighing::Weighing;
use crate::client::{Client, ClientFlags};
use crate::control::{defrag, failover, full_sync, tls};
use crate::core::Core;
use crate::core::due::tell_due;
use crate::core::eviction::Need;
use crate::observing::latency::LatencyEvent;
use rubine_storage::dumps;
use rubine_system::process::{self, Whose};
use rubine_system::{allocator, ticks};

/// How often the clock's work is done.
const PERIOD_MS: i64 = 100;
/// One turn's part of expiry, so that clients are served in between.
const EXPIRY_SLICE_US: f64 = 500.0;
/// Time that it takes after keys were loaded, before clients are served.
const EXPIRY_LOADED_US: f64 = 25_000.0;

/// The clock's work of one worker.
pub(crate) struct Cron {
    period: Period,
    /// When clients are looked after.
    care: Period,
    expiry: ExpiryCycle,
    weighing: Weighing,
    /// Time that expiry may still take in this period, in microseconds.
    expiry_budget_us: f64,
    /// Keys removed and steps made since the budget was last worked out.
    removed: usize,
    examined: usize,
    is_behind: bool,
    sampled: Sample,
    /// Where looking after clients has come to.
    next_client: usize,
}

/// How hard expiry works, as `active-expire-effort` says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Effort {
    /// Time that it takes in a period when little is due, in microseconds.
    quiet_us: f64,
    /// Time that it may take while much is due.
    behind_us: f64,
    /// Above this part of due keys among those looked at, much is due.
    stale_max: f64,
}

impl Effort {
    /// Of 1, the least, to 10.
    fn of(effort: u32) -> Self {
        /// Of the time of a period, with the least effort, and for each step.
        const SHARE_PERCENT: f64 = 25.0;
        const SHARE_STEP_PERCENT: f64 = 2.0;
        const QUIET_US: f64 = 500.0;
        const STALE_MAX: f64 = 0.02;
        let steps = f64::from(effort.saturating_sub(1));
        Self {
            quiet_us: QUIET_US * (1.0 + steps / 4.0),
            behind_us: PERIOD_MS as f64 * 10.0 * (SHARE_PERCENT + SHARE_STEP_PERCENT * steps),
            stale_max: STALE_MAX * (1.0 - steps / 10.0),
        }
    }
}

/// What a walk of expiry did.
struct Walk {
    spent_us: f64,
    /// It came round.
    was_round: bool,
}

/// Totals at a moment, from which rates are made.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// In monotonic milliseconds.
    at: i64,
    commands: u64,
    input_bytes: u64,
    output_bytes: u64,
    master_bytes: u64,
    turns: u64,
    busy_ticks: u64,
}

impl Cron {
    pub(crate) fn new(core: &Core) -> Self {
        Self {
            period: Period::new(PERIOD_MS),
            care: Period::new(PERIOD_MS),
            expiry: ExpiryCycle::new(core.index, core.server.workers.len()),
            weighing: Weighing::new(core.index, core.server.workers.len()),
            expiry_budget_us: 0.0,
            removed: 0,
            examined: 0,
            is_behind: false,
            sampled: Sample::default(),
            next_client: 0,
        }
    }

    /// How long nothing is due.
    pub(crate) fn sleep_ms(&self) -> i64 {
        if self.is_behind && 0.0 < self.expiry_budget_us { 0 } else { PERIOD_MS }
    }

    /// Does what is due that needs no client.
    pub(crate) fn run(&mut self, core: &mut Core) {
        if core.server.switches.is_cron_paused.load(Ordering::Relaxed) {
            return;
        }
        if core.index == 0 && core.server.shutdown.is_asked() {
            crate::control::shutdown::begin_asked(core.server);
        }
        if self.period.has_begun(core.now) {
            self.start_period(core);
        }
        if 0.0 < self.expiry_budget_us {
            self.expire(core);
        }
        if core.must_evict_more {
            core.make_room(Need::None);
        }
        if core.must_wake_waiters {
            core.wake_all_waiters();
        }
    }

    fn start_period(&mut self, core: &mut Core) {
        let stale = self.removed as f64 / self.examined.max(1) as f64;
        let effort = Effort::of(core.settings.expiry_effort);
        self.is_behind = effort.stale_max < stale;
        self.expiry_budget_us = if self.is_behind { effort.behind_us } else { effort.quiet_us };
        (self.removed, self.examined) = (0, 0);
        let stats = core.stats();
        if self.is_behind {
            stats.expiry_cap_reached.add(1);
        }
        if core.quotas.table().measures_memory() {
            self.weighing.go_on(core);
        }
        core.look_after_tracked();
        core.drop_flushed_scripts();
        // Little of it would go by itself where tables change little.
        free_what_waits();
        let time = process::cpu_time(Whose::Thread);
        stats.user_us.set(time.user_us);
        stats.system_us.set(time.system_us);
        if core.index == 0 {
            let share = (stale * 10_000.0) as u64;
            core.server.stats.gauges.stale_per_myriad.store(share, Ordering::Relaxed);
            self.sample(core);
            let following = &core.server.replication.following;
            let expires = core.server.switches.expires_actively.load(Ordering::Relaxed);
            if following.own_keys.are_any() && expires {
                if following.is_replica() {
                    core.remove_own_due();
                } else {
                    // They are keys like others now.
                    following.own_keys.clear();
                }
            }
            dumps::look(core.server.storage(), core.now);
            defrag::look(core.server, PERIOD_MS as u64);
            full_sync::look(core.server);
            failover::look(core.server, core.handlers);
        }
    }

    /// Removes what fell due before the keys were loaded, while no client is served yet: a round of the walk, unless
    /// that takes too long.
    pub(crate) fn remove_loaded_due(&mut self, core: &mut Core) {
        // What a master has told to keep goes when it says so.
        let is_replica = core.server.replication.following.is_replica();
        if !core.settings.import_mode && !is_replica {
            self.walk(core, EXPIRY_LOADED_US);
        }
    }

    /// One slice of expiry.
    fn expire(&mut self, core: &mut Core) {
        let server = core.server;
        let is_stopped = !server.switches.expires_actively.load(Ordering::Relaxed)
            || core.settings.import_mode
            || server.replication.following.is_replica()
            || server.pause.stops_writes(core.monotonic_ms)
            || server.persistence.is_loading();
        if is_stopped {
            self.expiry_budget_us = 0.0;
            return;
        }
        let Walk { spent_us, was_round } =
            self.walk(core, EXPIRY_SLICE_US.min(self.expiry_budget_us));
        self.expiry_budget_us =
            if was_round && self.removed == 0 { 0.0 } else { self.expiry_budget_us - spent_us };
    }

    /// Removes what is due for so many microseconds, or until it has been everywhere.
    fn walk(&mut self, core: &mut Core, limit_us: f64) -> Walk {
        let server = core.server;
        let per_us = ticks::per_microsecond();
        let start = ticks::now();
        let limit = (limit_us * per_us) as u64;
        core.begin_unit();
        let mut was_round = false;
        loop {
            let (now, monotonic_ms) = (core.now, core.monotonic_ms);
            let stats = core.stats();
            let (effects, outbox) = (&mut core.runner.effects, &mut core.outbox);
            let is_stopped = || server.pause.stops_writes(monotonic_ms);
            let step = self.expiry.step(&server.keyspace, now, is_stopped, |due| {
                tell_due(server, stats, effects, outbox, now, &due);
            });
            self.removed += step.removed_count;
            self.examined += step.examined_count;
            if let Some(shard) = step.pending {
                core.complete_hand_offs(vec![shard]);
                core.begin_unit();
            }
            let is_over = limit <= ticks::now().wrapping_sub(start);
            // One round in a period is enough where nothing was found.
            let is_idle = step.is_round && std::mem::replace(&mut was_round, true);
            if is_over || is_idle {
                break;
            }
        }
        let spent_ticks = ticks::now().wrapping_sub(start);
        core.stats().expiry_ticks.add(spent_ticks);
        core.note_latency(LatencyEvent::ExpireCycle, spent_ticks);
        Walk { spent_us: spent_ticks as f64 / per_us, was_round }
    }

    /// Works out the rates that INFO shows.
    fn sample(&mut self, core: &Core) {
        const SPAN_MS: i64 = 1000;
        let server = core.server;
        let reset_at = server.stats.gauges.reset_at.load(Ordering::Relaxed);
        if self.sampled.at <= reset_at {
            // All that is counted began anew.
            self.sampled = Sample { at: reset_at, ..Sample::default() };
        }
        let used = allocator::used_memory();
        if server.stats.memory.peak.fetch_max(used, Ordering::Relaxed) < used {
            server.stats.memory.last_peak_at.store(core.now / 1000, Ordering::Relaxed);
        }
        if core.monotonic_ms - self.sampled.at < SPAN_MS {
            return;
        }
        server.aside.migrations.close_idle();
        tls::look(server, core.now);
        let sample = Sample {
            at: core.monotonic_ms,
            commands: server.commands_processed(),
            master_bytes: server.replication.following.link.input_bytes.load(Ordering::Relaxed),
            input_bytes: server.net_input_bytes(),
            output_bytes: server.net_output_bytes(),
            turns: server.total(|it| it.loop_turns.get()),
            busy_ticks: server.total(|it| it.busy_ticks.get()),
        };
        let elapsed = (sample.at - self.sampled.at).max(1) as u64;
        let rate = |now: u64, before: u64| now.saturating_sub(before) * 1000 / elapsed;
        let gauges = &server.stats.gauges;
        let commands = rate(sample.commands, self.sampled.commands);
        gauges.operations_per_second.store(commands, Ordering::Relaxed);
        let input = rate(sample.input_bytes, self.sampled.input_bytes);
        gauges.input_bytes_per_second.store(input, Ordering::Relaxed);
        let master = rate(sample.master_bytes, self.sampled.master_bytes);
        gauges.master_bytes_per_second.store(master, Ordering::Relaxed);
        let output = rate(sample.output_bytes, self.sampled.output_bytes);
        gauges.output_bytes_per_second.store(output, Ordering::Relaxed);
        gauges.turns_per_second.store(rate(sample.turns, self.sampled.turns), Ordering::Relaxed);
        let turns = sample.turns.saturating_sub(self.sampled.turns).max(1);
        let busy = sample.busy_ticks.saturating_sub(self.sampled.busy_ticks) as f64;
        let turn_us = busy / ticks::per_microsecond() / turns as f64;
        gauges.turn_duration_us.store(turn_us as u64, Ordering::Relaxed);
        self.sampled = sample;
    }

    /// Looks after a part of the clients, so that each has its turn once a second.
    pub(crate) fn look_after(
        &mut self,
        core: &mut Core,
        clients: &mut [Option<Box<Client>>],
        scheduled: &mut Vec<usize>,
    ) {
        /// So few clients all have their turn in each period.
        const CLIENTS_MIN: usize = 32;
        let is_paused = core.server.switches.is_cron_paused.load(Ordering::Relaxed);
        if is_paused || clients.is_empty() || !self.care.has_begun(core.now) {
            return;
        }
        let periods = (1000 / PERIOD_MS) as usize;
        let count = clients.len().div_ceil(periods).max(CLIENTS_MIN).min(clients.len());
        for _ in 0..count {
            self.next_client = (self.next_client + 1) % clients.len();
            let Some(client) = &mut clients[self.next_client] else { continue };
            crate::worker::limits::look_after(core, client);
            if client.flags.contains(ClientFlags::CLOSE_NOW) {
                schedule(scheduled, client, self.next_client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Effort;

    #[test]
    fn effort_takes_time_and_leaves_less_behind() {
        let cases = [
            (1, 500.0, 25_000.0, 0.02),
            (5, 1000.0, 33_000.0, 0.012),
            (10, 1625.0, 43_000.0, 0.002),
        ];
        for (effort, quiet_us, behind_us, stale_max) in cases {
            let found = Effort::of(effort);
            assert!((found.quiet_us - quiet_us).abs() < 1e-6, "{effort}: {found:?}");
            assert!((found.behind_us - behind_us).abs() < 1e-6, "{effort}: {found:?}");
            assert!((found.stale_max - stale_max).abs() < 1e-6, "{effort}: {found:?}");
        }
    }
}
