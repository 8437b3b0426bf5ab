//! The 24 access bits of a record: an LRU clock, or an LFU counter with its decay time. Never reads a clock.
//!
//! Layouts and arithmetic are Redis's, so that OBJECT IDLETIME, OBJECT FREQ, RESTORE and dump files agree:
//! LRU is seconds modulo 2^24; LFU is 16 bits of minutes and an 8-bit logarithmic counter.

use rubine_base::random::Random;

const LRU_MASK: u32 = (1 << 24) - 1;
const LFU_INITIAL: u32 = 5;
const LFU_MAX: u32 = u8::MAX as u32;
const MINUTES_MASK: u32 = 0xffff;

/// How accesses are noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessPolicy {
    Lru,
    Lfu { log_factor: u32, decay_minutes: u32 },
}

/// The policy together with the moment.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    pub policy: AccessPolicy,
    /// Unix seconds.
    pub now_seconds: u32,
}

impl Access {
    pub fn new(policy: AccessPolicy, now_ms: i64) -> Self {
        Self { policy, now_seconds: (now_ms / 1000) as u32 }
    }

    /// The bits of a key that is created now.
    #[inline]
    pub fn initial(self) -> u32 {
        match self.policy {
            AccessPolicy::Lru => self.now_seconds & LRU_MASK,
            AccessPolicy::Lfu { .. } => self.minutes() << 8 | LFU_INITIAL,
        }
    }

    /// The bits after an access.
    #[inline]
    pub fn touched(self, bits: u32, random: &mut Random) -> u32 {
        match self.policy {
            AccessPolicy::Lru => self.now_seconds & LRU_MASK,
            AccessPolicy::Lfu { log_factor, .. } => {
                let counter = lfu_increment(self.frequency(bits), log_factor, random);
                self.minutes() << 8 | counter
            }
        }
    }

    /// Seconds since the last access, for LRU bits.
    pub fn idle_seconds(self, bits: u32) -> u32 {
        self.now_seconds.wrapping_sub(bits) & LRU_MASK
    }

    /// The LFU counter as it has decayed until now.
    pub fn frequency(self, bits: u32) -> u32 {
        let counter = bits & LFU_MAX;
        let AccessPolicy::Lfu { decay_minutes, .. } = self.policy else { return counter };
        if decay_minutes == 0 {
            return counter;
        }
        let elapsed = self.minutes().wrapping_sub(bits >> 8) & MINUTES_MASK;
        counter.saturating_sub(elapsed / decay_minutes)
    }

    /// LRU bits that stand for an idle time, as RESTORE sets them.
    pub fn with_idle_seconds(self, idle: u32) -> u32 {
        self.now_seconds.wrapping_sub(idle) & LRU_MASK
    }

    /// LFU bits that stand for a counter, as RESTORE sets them.
    pub fn with_frequency(self, frequency: u8) -> u32 {
        self.minutes() << 8 | u32::from(frequency)
    }

    fn minutes(self) -> u32 {
        (self.now_seconds / 60) & MINUTES_MASK
    }
}

/// Counts an access with a probability that falls as the counter rises.
fn lfu_increment(counter: u32, log_factor: u32, random: &mut Random) -> u32 {
    if counter == LFU_MAX {
        return counter;
    }
    let base = counter.saturating_sub(LFU_INITIAL);
    let probability = 1.0 / (f64::from(base) * f64::from(log_factor) + 1.0);
    counter + u32::from(random.next_f64() < probability)
}
