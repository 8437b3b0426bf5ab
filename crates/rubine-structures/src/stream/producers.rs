//! What producers have added lately, by the names that they gave to it: one who is not sure whether an entry has arrived
//! adds it once more, and gets the identifier of the first. Never reads a clock.

use std::ops::Bound;
use std::sync::Arc;

use super::id::StreamId;
use crate::ordered_map::{OrderedMap, Weigh};

/// What is kept of each producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Seconds.
    pub duration: u64,
    pub count_max: u64,
}

/// What Redis keeps if it is not told otherwise.
impl Default for Retention {
    fn default() -> Self {
        Self { duration: 100, count_max: 100 }
    }
}

impl Retention {
    /// Whether an entry was added too long ago.
    fn is_over(self, id: StreamId, now: u64) -> bool {
        id.ms.saturating_add(self.duration * 1000) <= now
    }
}

#[derive(Clone, Debug, Default)]
pub struct Producers {
    retention: Retention,
    by_name: OrderedMap<Arc<[u8]>, Producer>,
    /// How many entries were recorded ever, and how many were found to be there already.
    pub added: u64,
    pub duplicates: u64,
}

/// Invariant: both maps have the same entries.
#[derive(Clone, Debug, Default)]
struct Producer {
    by_token: OrderedMap<Arc<[u8]>, StreamId>,
    /// In the order in which they were added.
    by_id: OrderedMap<StreamId, Arc<[u8]>>,
}

impl Producer {
    fn record(&mut self, token: &[u8], id: StreamId, now: u64, retention: Retention) {
        let token: Arc<[u8]> = token.into();
        if let Some(old) = self.by_token.insert(Arc::clone(&token), id) {
            self.by_id.remove(&old);
        }
        self.by_id.insert(id, token);
        while let Some((&first, token)) = self.by_id.first() {
            let is_surplus = retention.count_max < self.by_id.len() as u64;
            if !is_surplus && !retention.is_over(first, now) {
                break;
            }
            let token = Arc::clone(token);
            self.by_token.remove(&*token);
            self.by_id.remove(&first);
        }
    }
}

impl Weigh for Producer {
    fn weight(&self) -> u64 {
        self.by_id.len() as u64
    }
}

impl Weigh for StreamId {}
impl Weigh for Arc<[u8]> {}

impl Producers {
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// Changes how much is kept, and forgets all if that is something else.
    pub fn set_retention(&mut self, retention: Retention) {
        if self.retention != retention {
            self.retention = retention;
            self.by_name.clear();
        }
    }

    /// How many producers there are.
    pub fn producer_count(&self) -> usize {
        self.by_name.len()
    }

    /// How many entries are known, of all producers.
    pub fn record_count(&self) -> u64 {
        self.by_name.weight()
    }

    /// All that is known: producer, token and entry.
    pub fn records(&self) -> impl Iterator<Item = (&[u8], &[u8], StreamId)> {
        self.by_name.iter().flat_map(|(name, producer)| {
            producer.by_id.iter().map(move |(id, token)| (&**name, &**token, *id))
        })
    }

    /// The entry that a producer has added under this token, unless that was too long ago.
    pub fn find(&self, name: &[u8], token: &[u8], now: u64) -> Option<StreamId> {
        let id = *self.by_name.get(name)?.by_token.get(token)?;
        (!self.retention.is_over(id, now)).then_some(id)
    }

    /// Keeps in mind what a producer has added. What was too long ago, or is too much, is forgotten.
    pub fn record(&mut self, name: &[u8], token: &[u8], id: StreamId, now: u64) {
        if !self.by_name.contains(name) {
            self.by_name.insert(name.into(), Producer::default());
        }
        let retention = self.retention;
        self.by_name.edit(name, |producer| producer.record(token, id, now, retention));
        self.added += 1;
        self.forget_idle(now);
    }

    /// Forgets some producers of whom all is too long ago.
    fn forget_idle(&mut self, now: u64) {
        const LOOKS: usize = 2;
        let start = self.added as usize % self.by_name.len().max(1);
        let first = self.by_name.at_weight(start as u64).map(|it| Arc::clone(it.0));
        let start = first.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let looked_at = self.by_name.iter_from(start).take(LOOKS);
        let idle = looked_at.filter(|(_, producer)| {
            producer.by_id.last().is_none_or(|(last, _)| self.retention.is_over(*last, now))
        });
        let idle: Vec<_> = idle.map(|it| Arc::clone(it.0)).collect();
        for name in idle {
            self.by_name.remove(&*name);
        }
    }

    /// Bytes on the heap, estimated.
    pub(super) fn heap_bytes(&self) -> usize {
        const TOKEN_BYTES: usize = 40;
        let per_record = TOKEN_BYTES + 2 * size_of::<(StreamId, Arc<[u8]>)>();
        self.by_name.heap_bytes() + self.record_count() as usize * per_record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1000;

    fn producers(duration: u64, count_max: u64) -> Producers {
        let mut producers = Producers::default();
        producers.set_retention(Retention { duration, count_max });
        producers
    }

    #[test]
    fn what_is_too_long_ago_or_too_much_is_forgotten() {
        let mut producers = producers(10, 3);
        for number in 1..=4_u64 {
            let token = number.to_string();
            producers.record(b"p", token.as_bytes(), StreamId::new(number * SECOND, 0), 0);
        }
        let find = |producers: &Producers, token: &[u8], now| producers.find(b"p", token, now);
        assert_eq!(find(&producers, b"1", 0), None);
        assert_eq!(find(&producers, b"2", 0), Some(StreamId::new(2 * SECOND, 0)));
        assert_eq!(find(&producers, b"2", 12 * SECOND), None);
        assert_eq!(find(&producers, b"4", 12 * SECOND), Some(StreamId::new(4 * SECOND, 0)));
        assert_eq!(producers.find(b"q", b"4", 0), None);
        assert_eq!((producers.producer_count(), producers.record_count()), (1, 3));
        let clone = producers.clone();
        for number in 0..20 {
            producers.record(b"q", b"t", StreamId::new(100 * SECOND, number), 100 * SECOND);
        }
        assert_eq!((producers.producer_count(), producers.record_count()), (1, 1));
        assert_eq!((clone.producer_count(), clone.record_count()), (1, 3));
        producers.set_retention(producers.retention());
        assert_eq!(producers.record_count(), 1);
        producers.set_retention(Retention { duration: 10, count_max: 4 });
        assert_eq!(producers.record_count(), 0);
    }
}
