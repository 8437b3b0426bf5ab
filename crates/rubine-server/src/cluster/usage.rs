//! What requests about each slot have taken on this node: a count for each thread that runs commands, added up by whoever
//! asks. Decides not what is counted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rubine_base::crc::SLOT_COUNT;
use rubine_commands::{SlotUsage, SlotUsageCounts};

/// What all threads have counted.
#[derive(Default)]
pub(crate) struct SlotUsages {
    is_on: AtomicBool,
    /// It is counted for people, too, and not only for a load that is to be even.
    is_shown: AtomicBool,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    /// By the numbers of the threads. One that has begun to count is never forgotten.
    threads: BTreeMap<usize, Arc<SlotUsageCounts>>,
    /// What each slot had taken when it was last set to nothing: nobody but its thread writes to a count. Empty at first.
    forgotten: Box<[SlotUsage]>,
}

impl fmt::Debug for SlotUsages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlotUsages")
    }
}

impl SlotUsages {
    /// Counts from now on, or no longer, and shows it, or does not. What was counted stays.
    pub(crate) fn turn(&self, is_on: bool, is_shown: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
        self.is_shown.store(is_shown, Ordering::Relaxed);
    }

    /// Where the thread of this number counts, if it is to.
    pub(crate) fn counts_of(&self, thread: usize) -> Option<Arc<SlotUsageCounts>> {
        let is_on = self.is_on.load(Ordering::Relaxed);
        is_on.then(|| Arc::clone(self.all.lock().threads.entry(thread).or_default()))
    }

    /// What requests about a slot have taken; `None` while it is not shown.
    pub(crate) fn of(&self, slot: u16) -> Option<SlotUsage> {
        self.is_shown.load(Ordering::Relaxed).then(|| self.all.lock().of(slot))
    }

    /// The microseconds of all slots, in the order of their numbers.
    pub(crate) fn cpu_us(&self) -> Vec<u64> {
        let all = self.all.lock();
        (0..SLOT_COUNT).map(|slot| all.of(slot).cpu_us).collect()
    }

    /// Slots have taken nothing so far.
    pub(crate) fn forget(&self, slots: impl Iterator<Item = u16>) {
        let mut all = self.all.lock();
        if all.threads.is_empty() {
            return;
        }
        if all.forgotten.is_empty() {
            all.forgotten = vec![SlotUsage::default(); usize::from(SLOT_COUNT)].into();
        }
        for slot in slots {
            all.forgotten[usize::from(slot)] = all.counted(slot);
        }
    }
}

impl All {
    fn of(&self, slot: u16) -> SlotUsage {
        let forgotten = self.forgotten.get(usize::from(slot)).copied().unwrap_or_default();
        self.counted(slot).minus(forgotten)
    }

    fn counted(&self, slot: u16) -> SlotUsage {
        let each = self.threads.values().map(|it| it.of(slot));
        each.fold(SlotUsage::default(), SlotUsage::plus)
    }
}

#[cfg(test)]
mod tests {
    use rubine_commands::SlotUsage;

    use super::SlotUsages;

    #[test]
    fn threads_are_added_up_and_what_was_before_is_forgotten() {
        let usages = SlotUsages::default();
        assert!(usages.counts_of(0).is_none());
        assert_eq!(usages.of(7), None);
        usages.turn(true, true);
        let (one, other) = (usages.counts_of(0).unwrap(), usages.counts_of(1).unwrap());
        let some = SlotUsage { cpu_us: 1, bytes_in: 20, bytes_out: 300 };
        one.add(7, some);
        other.add(7, some);
        other.add(8, some);
        assert_eq!(usages.of(7), Some(some.plus(some)));
        usages.forget([7].into_iter());
        assert_eq!(usages.of(7), Some(SlotUsage::default()));
        assert_eq!(usages.of(8), Some(some));
        one.add(7, some);
        assert_eq!(usages.of(7), Some(some));
        usages.turn(true, false);
        assert_eq!(usages.of(7), None);
        assert_eq!(usages.cpu_us()[7], 1);
    }
}
