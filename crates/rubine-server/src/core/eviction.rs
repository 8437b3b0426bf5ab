//! Making room when memory is used up: which keys go, by the policy that the configuration names. Runs before a
//! command has taken its locks, never while any is held.

use rubine_commands::{Event, Flags};
use rubine_keyspace::{
    Access, Candidate, EvictionOrder, EvictionRule, Key, Locked, SHARD_COUNT, ShardSet,
};

use crate::client::Client;
use crate::command_table::Entry;
use crate::core::Core;
use crate::observing::latency::LatencyEvent;
use rubine_config::MaxmemoryPolicy;
use rubine_system::ticks;

/// Candidates that a worker keeps from one eviction to the next.
const POOL_LEN_MAX: usize = 16;
/// Keys that go between two looks at the clock.
const KEYS_PER_LOOK: usize = 16;
/// How often the background thread is waited for, and how long.
const WAITS_MAX: usize = 5;
const WAIT_US: u64 = 100;
/// For so long it is remembered that no key could go, so that not every command looks at all shards again.
const REST_US: f64 = 10_000.0;

/// The best candidates that samples have brought up so far.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Best last.
    candidates: Vec<Candidate>,
    /// By what they were compared.
    rule: Option<EvictionRule>,
    /// Since when no key can go, in ticks, if that was so when it was looked for.
    vain_since: Option<u64>,
}

/// Who asks for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A command that would be refused without it.
    Urgent,
    /// A command that runs in any case, or the clock.
    None,
}

impl Pool {
    fn add(&mut self, candidate: Candidate) {
        let is_known = |it: &Candidate| it.db == candidate.db && it.key == candidate.key;
        if self.candidates.iter().any(is_known) {
            return;
        }
        let at = self.candidates.partition_point(|it| it.score <= candidate.score);
        self.candidates.insert(at, candidate);
        if POOL_LEN_MAX < self.candidates.len() {
            self.candidates.remove(0);
        }
    }
}

impl Core {
    /// Looks before a command whether memory is used up, and evicts if it is.
    #[cold]
    pub(crate) fn look_at_memory(&mut self, client: &Client, entry: &Entry) {
        let is_exempt = self.settings.replica_ignores_maxmemory
            && self.server.replication.following.is_replica();
        if is_exempt || self.has_room() {
            self.is_out_of_memory = false;
            self.server.stats.memory.over_limit.note(false, self.now);
            return;
        }
        let is_urgent = client.runs_any(entry, Flags::DENYOOM);
        let has_room = self.make_room(if is_urgent { Need::Urgent } else { Need::None });
        self.is_out_of_memory = !has_room && is_urgent;
    }

    /// Evicts keys until memory is below its limit or the time for it is over; then it goes on in the next turn.
    /// Returns false if nothing can go and memory is above its limit.
    pub(crate) fn make_room(&mut self, need: Need) -> bool {
        self.must_evict_more = false;
        // Whoever is to evict, or is refused, is so by what is true now.
        self.memory.look();
        if self.has_room() {
            self.server.stats.memory.over_limit.note(false, self.now);
            return true;
        }
        self.server.stats.memory.over_limit.note(true, self.now);
        if self.is_eviction_paused() {
            return true;
        }
        match rule_of(self.settings.eviction) {
            Some(rule) if !self.settings.import_mode => self.evict(rule, need),
            _ => false,
        }
    }

    fn evict(&mut self, rule: EvictionRule, need: Need) -> bool {
        self.outbox.begin_to_count();
        let has_room = self.evict_until_there_is_room(rule, need);
        if self.outbox.told_bytes != 0 {
            self.server.trackers.note_evicted(self.outbox.told_bytes, self.now);
        }
        has_room
    }

    fn evict_until_there_is_room(&mut self, rule: EvictionRule, need: Need) -> bool {
        if self.is_in_vain(rule, need) {
            return false;
        }
        let start = ticks::now();
        let outcome = self.evict_for_a_while(rule, need, start);
        self.note_latency(LatencyEvent::EvictionCycle, ticks::now().wrapping_sub(start));
        outcome
    }

    /// Evicts until there is room or the time for it, which has begun at `start`, is over.
    fn evict_for_a_while(&mut self, rule: EvictionRule, need: Need, start: u64) -> bool {
        let limit_us = time_limit_us(self.settings.eviction_tenacity);
        let mut evicted = 0;
        while !self.has_room_beside(self.outbox.posted_bytes) {
            if !self.evict_one(rule) {
                if self.is_eviction_paused() {
                    return true;
                }
                self.eviction_pool.vain_since = Some(ticks::now());
                return need == Need::Urgent && self.wait_for_garbage();
            }
            evicted += 1;
            // Others may have freed enough by now.
            self.memory.look();
            let elapsed = ticks::now().wrapping_sub(start) as f64 / ticks::per_microsecond();
            if evicted % KEYS_PER_LOOK == 0 && limit_us < elapsed {
                self.must_evict_more = true;
                return true;
            }
        }
        self.server.stats.memory.over_limit.note(false, self.now);
        true
    }

    /// Whether no key could go a moment ago. Whoever would be refused for that looks whether there is one now, by the counts
    /// that are known without locks.
    fn is_in_vain(&mut self, rule: EvictionRule, need: Need) -> bool {
        let Some(since) = self.eviction_pool.vain_since else { return false };
        let is_over = REST_US * ticks::per_microsecond() <= ticks::now().wrapping_sub(since) as f64;
        let is_other_rule = self.eviction_pool.rule != Some(rule);
        let may_go = || {
            let (keys, volatile) = self.server.keyspace.total_key_counts();
            0 < if rule.only_volatile { volatile } else { keys }
        };
        if is_over || is_other_rule || need == Need::Urgent && may_go() {
            self.eviction_pool.vain_since = None;
        }
        self.eviction_pool.vain_since.is_some()
    }

    /// Whether the data shall not change: what must not wait may use more memory meanwhile.
    fn is_eviction_paused(&self) -> bool {
        self.server.pause.stops_writes(self.monotonic_ms)
    }

    /// Whether memory is below its limit, or will be when all is freed that nobody has any more.
    fn has_room(&mut self) -> bool {
        self.has_room_beside(0)
    }

    /// As [`Self::has_room`], where some bytes do not count.
    fn has_room_beside(&mut self, bytes: usize) -> bool {
        let limit = self.settings.maxmemory;
        if limit == 0 {
            return true;
        }
        let garbage = self.server.keyspace.garbage();
        let on_their_way = self.server.trackers.evicted_bytes(self.now);
        let behind = self.server.replication.replicas.behind_bytes();
        let uncounted = garbage.pending_bytes() + on_their_way + behind + bytes;
        let used = self.memory.used().saturating_sub(uncounted);
        used as u64 <= limit || garbage.has_pending_databases()
    }

    /// What is being freed in the background may be enough.
    fn wait_for_garbage(&mut self) -> bool {
        for _ in 0..WAITS_MAX {
            if self.server.keyspace.garbage().pending() == 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_micros(WAIT_US));
        }
        self.memory.look();
        self.has_room()
    }

    /// Removes the best candidate. Returns false if there is none, or if a pause has begun meanwhile.
    fn evict_one(&mut self, rule: EvictionRule) -> bool {
        if self.eviction_pool.rule != Some(rule) {
            self.eviction_pool.candidates.clear();
            self.eviction_pool.rule = Some(rule);
        }
        // Candidates may have gone since they were chosen.
        for _ in 0..=POOL_LEN_MAX {
            if !self.fill_pool(rule) {
                return false;
            }
            while let Some(candidate) = self.eviction_pool.candidates.pop() {
                if self.remove(&candidate, rule) {
                    return true;
                }
                if self.is_eviction_paused() {
                    return false;
                }
            }
        }
        false
    }

    /// Samples shards, from a random one on, until there are candidates. Returns whether there are any.
    fn fill_pool(&mut self, rule: EvictionRule) -> bool {
        let access = Access::new(self.settings.access, self.now);
        let samples = match rule.order {
            EvictionOrder::Random => 1,
            _ => self.settings.eviction_samples,
        };
        let first = self.runner.random.below(SHARD_COUNT as u64) as usize;
        let mut found = 0;
        for offset in 0..SHARD_COUNT {
            let index = (first + offset) % SHARD_COUNT;
            let Ok(locked) = self.server.keyspace.try_lock(&ShardSet::of_shard(index)) else {
                continue;
            };
            let (random, pool) = (&mut self.runner.random, &mut self.eviction_pool);
            for shard in locked.shards() {
                shard.sample_for_eviction(rule, access, samples, random, |candidate| {
                    found += 1;
                    pool.add(candidate);
                });
            }
            if samples <= found {
                break;
            }
        }
        !self.eviction_pool.candidates.is_empty()
    }

    fn remove(&mut self, candidate: &Candidate, rule: EvictionRule) -> bool {
        let key = Key::new(&candidate.key);
        let Some(mut locked) = self.lock_idle(key) else { return false };
        let start = ticks::now();
        self.begin_unit();
        // A transaction that this waited for may have lowered the limit and then begun a pause.
        if self.is_eviction_paused() || !locked.evict(candidate.db, key, rule) {
            return false;
        }
        if self.runner.effects.is_journalled {
            self.runner.effects.journal.command(candidate.db as u32, &[b"UNLINK", &candidate.key]);
        }
        if self.runner.effects.listened.is_some_and(|it| it.contains(Event::EVICTED.class)) {
            self.runner.effects.events.push((Event::EVICTED, candidate.db, candidate.key.clone()));
        }
        if self.server.trackers.has_any() {
            let (server, readers) = (self.server, locked.take_readers(key));
            let outbox = &mut self.outbox;
            let (workers, readers) = (&server.workers, readers.as_ref());
            server.trackers.invalidate_gone(workers, key.bytes(), readers, outbox);
        }
        self.stats().evicted_keys.add(1);
        self.end_unit(locked);
        self.note_latency(LatencyEvent::EvictionDel, ticks::now().wrapping_sub(start));
        true
    }
}

impl Core {
    /// Takes the lock of a key's shard if nobody holds it for long and no hand-off is due there.
    fn lock_idle(&mut self, key: Key<'_>) -> Option<Locked<'static>> {
        let shards = ShardSet::of(key);
        let locked = self.server.keyspace.try_lock(&shards).ok()?;
        let Some(shard) = locked.pending_hand_off() else { return Some(locked) };
        drop(locked);
        self.complete_hand_offs(vec![shard]);
        let locked = self.server.keyspace.try_lock(&shards).ok()?;
        locked.pending_hand_off().is_none().then_some(locked)
    }
}

fn rule_of(policy: MaxmemoryPolicy) -> Option<EvictionRule> {
    use EvictionOrder::{Deadline, Frequency, Idle, Random};
    let (order, only_volatile) = match policy {
        MaxmemoryPolicy::Noeviction => return None,
        MaxmemoryPolicy::AllkeysLru => (Idle, false),
        MaxmemoryPolicy::AllkeysLfu => (Frequency, false),
        MaxmemoryPolicy::AllkeysRandom => (Random, false),
        MaxmemoryPolicy::VolatileLru => (Idle, true),
        MaxmemoryPolicy::VolatileLfu => (Frequency, true),
        MaxmemoryPolicy::VolatileRandom => (Random, true),
        MaxmemoryPolicy::VolatileTtl => (Deadline, true),
    };
    Some(EvictionRule { order, only_volatile })
}

/// The time that one command may spend on eviction: 50 us for each step up to 10, then 15 % more for each, without end
/// at 100.
fn time_limit_us(tenacity: u8) -> f64 {
    const LINEAR_MAX: u8 = 10;
    match tenacity {
        0..=LINEAR_MAX => 50.0 * f64::from(tenacity),
        100.. => f64::INFINITY,
        _ => 500.0 * 1.15_f64.powi(i32::from(tenacity - LINEAR_MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Candidate, POOL_LEN_MAX, Pool, time_limit_us};

    #[test]
    fn the_pool_keeps_the_best() {
        let mut pool = Pool::default();
        for score in [3_u64, 50, 1, 7, 7, 99].into_iter().chain(10..30) {
            pool.add(Candidate { score, db: 0, key: score.to_string().into_bytes().into() });
        }
        let scores: Vec<_> = pool.candidates.iter().map(|it| it.score).collect();
        let expected: Vec<u64> = (16..30).chain([50, 99]).collect();
        assert_eq!(scores.len(), POOL_LEN_MAX);
        assert_eq!(scores, expected);
    }

    #[test]
    fn tenacity_is_time() {
        assert!(time_limit_us(0) < 1.0);
        assert!((time_limit_us(10) - 500.0).abs() < 1.0);
        assert!(100e6 < time_limit_us(99));
        assert!(time_limit_us(100).is_infinite());
    }
}
