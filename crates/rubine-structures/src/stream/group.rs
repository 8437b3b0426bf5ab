//! Consumer groups: how far each has read, what was delivered and not acknowledged, and to whom. A clone takes constant
//! time, and a change of one in a million pending entries copies some nodes at most.

use std::ops::Bound;
use std::sync::Arc;

use super::id::StreamId;
use crate::ordered_map::{OrderedMap, Weigh};

/// A consumer's number in its group. Numbers are not used again while the group lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConsumerId(u64);

impl ConsumerId {
    /// Stands for no consumer.
    const NONE: Self = Self(u64::MAX);
}

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Unix milliseconds.
    pub delivered_at: i64,
    pub delivery_count: u64,
    /// Invariant: the entry is in the consumer's own list.
    owner: ConsumerId,
}

impl Weigh for Pending {}

impl Pending {
    /// Whose it is; nobody's if it was given back.
    pub fn owner(&self) -> Option<ConsumerId> {
        (self.owner != ConsumerId::NONE).then_some(self.owner)
    }
}

/// One who reads on behalf of a group.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Arc<[u8]>,
    /// When it last tried something, Unix milliseconds.
    pub seen_at: i64,
    /// When it last got something, Unix milliseconds.
    pub active_at: Option<i64>,
    /// Invariant: these are the entries in the group's list that it owns.
    pending: OrderedMap<StreamId, ()>,
}

impl Weigh for Consumer {}

impl Consumer {
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// How many entries it has not acknowledged.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// The entries that it has not acknowledged, from `start` on.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = StreamId> {
        self.pending.iter_from(Bound::Included(&start)).map(|(id, ())| *id)
    }
}

impl Weigh for ConsumerId {}

#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The last entry that was delivered.
    pub last_id: StreamId,
    /// How many entries, from the first ever, are not behind `last_id`, if that is known.
    pub entries_read: Option<u64>,
    pending: OrderedMap<StreamId, Pending>,
    consumers: OrderedMap<ConsumerId, Consumer>,
    /// Invariant: the names of the consumers.
    names: OrderedMap<Arc<[u8]>, ConsumerId>,
    /// Invariant: what is pending, by time of delivery. Kept from the first time on that somebody asks for it.
    by_time: Option<OrderedMap<(i64, StreamId), ()>>,
}

impl Weigh for triomphe::Arc<Group> {}

impl Group {
    pub fn new(last_id: StreamId, entries_read: Option<u64>) -> Self {
        Self { last_id, entries_read, ..Self::default() }
    }

    pub fn consumer_count(&self) -> usize {
        self.names.len()
    }

    /// The consumers by name.
    pub fn consumers(&self) -> impl Iterator<Item = (ConsumerId, &Consumer)> {
        self.names.iter().map(|(_, id)| (*id, self.consumer(*id)))
    }

    pub fn find_consumer(&self, name: &[u8]) -> Option<ConsumerId> {
        self.names.get(name).copied()
    }

    /// The consumer of this number.
    ///
    /// # Panics
    /// If it was removed.
    pub fn consumer(&self, id: ConsumerId) -> &Consumer {
        self.consumers.get(&id).expect("who holds the number has not removed the consumer")
    }

    /// Changes a consumer's times.
    pub fn note_seen(&mut self, id: ConsumerId, seen_at: i64) {
        self.consumers.edit(&id, |it| it.seen_at = seen_at);
    }

    /// As [`Group::note_seen`], of one who got something.
    pub fn note_active(&mut self, id: ConsumerId, active_at: i64) {
        self.consumers.edit(&id, |it| it.active_at = Some(active_at));
    }

    /// Adds a consumer, whose name is not there yet.
    pub fn add_consumer(&mut self, name: &[u8], seen_at: i64) -> ConsumerId {
        let id = ConsumerId(self.consumers.last().map_or(0, |last| last.0.0 + 1));
        let name: Arc<[u8]> = name.into();
        let old = self.names.insert(Arc::clone(&name), id);
        assert!(old.is_none(), "the caller has looked for the name");
        let pending = OrderedMap::new();
        self.consumers.insert(id, Consumer { name, seen_at, active_at: None, pending });
        id
    }

    /// Removes a consumer and all that is pending for it. Says how much that was.
    pub fn remove_consumer(&mut self, id: ConsumerId) -> usize {
        let Some(consumer) = self.consumers.remove(&id) else { return 0 };
        self.names.remove(&*consumer.name);
        if consumer.pending.len() == self.pending.len() {
            self.pending.clear();
            self.by_time = None;
        }
        for (entry, ()) in &consumer.pending {
            if let Some(old) = self.pending.remove(entry)
                && let Some(by_time) = &mut self.by_time
            {
                by_time.remove(&(old.delivered_at, *entry));
            }
        }
        consumer.pending.len()
    }

    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// The entries that are pending, from `start` on.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = (StreamId, &Pending)> {
        self.pending.iter_from(Bound::Included(&start)).map(|(id, it)| (*id, it))
    }

    pub fn first_pending(&self) -> Option<StreamId> {
        self.pending.first().map(|it| *it.0)
    }

    pub fn last_pending(&self) -> Option<StreamId> {
        self.pending.last().map(|it| *it.0)
    }

    pub fn pending(&self, id: StreamId) -> Option<&Pending> {
        self.pending.get(&id)
    }

    /// What was delivered until `time`, the longest ago first.
    pub fn pending_until(&mut self, time: i64) -> impl Iterator<Item = (StreamId, &Pending)> {
        let pending = &self.pending;
        let by_time = self.by_time.get_or_insert_with(|| {
            let mut keys: Vec<_> = pending.iter().map(|(id, it)| (it.delivered_at, *id)).collect();
            keys.sort_unstable();
            OrderedMap::of(keys.into_iter().map(|key| (key, ())))
        });
        let due = by_time.iter().take_while(move |it| it.0.0 <= time);
        due.filter_map(|((_, id), ())| pending.get(id).map(|it| (*id, it)))
    }

    /// Makes an entry pending for a consumer, whoever had it before. `None` gives it back to the group.
    pub fn assign(
        &mut self,
        id: StreamId,
        owner: Option<ConsumerId>,
        delivered_at: i64,
        delivery_count: u64,
    ) {
        let owner = owner.unwrap_or(ConsumerId::NONE);
        let old = self.pending.insert(id, Pending { delivered_at, delivery_count, owner });
        let old_owner = old.map_or(ConsumerId::NONE, |it| it.owner);
        if let Some(by_time) = &mut self.by_time {
            if let Some(old) = old {
                by_time.remove(&(old.delivered_at, id));
            }
            by_time.insert((delivered_at, id), ());
        }
        if old_owner != owner {
            self.disown(id, old_owner);
            self.consumers.edit(&owner, |it| it.pending.insert(id, ()));
        }
    }

    /// Removes an entry from what is pending; false if it was not.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(old) = self.pending.remove(&id) else { return false };
        if let Some(by_time) = &mut self.by_time {
            by_time.remove(&(old.delivered_at, id));
        }
        self.disown(id, old.owner);
        true
    }

    fn disown(&mut self, id: StreamId, owner: ConsumerId) {
        if owner != ConsumerId::NONE {
            self.consumers.edit(&owner, |it| it.pending.remove(&id));
        }
    }

    /// How many allocations there are, estimated.
    pub(super) fn allocations(&self) -> usize {
        2 * self.pending.allocations() + 2 * self.consumers.allocations() + self.names.allocations()
    }

    /// Bytes on the heap, estimated.
    pub(super) fn heap_bytes(&self) -> usize {
        const NAME_HEADER: usize = 2 * size_of::<usize>();
        let consumers = self.consumers.iter().map(|(_, it)| NAME_HEADER + it.name.len());
        self.pending.heap_bytes()
            + self.pending.len() * size_of::<(StreamId, ())>()
            + self.consumers.heap_bytes()
            + self.names.heap_bytes()
            + consumers.take(1000).sum::<usize>()
    }
}

#[cfg(test)]
impl Group {
    /// Panics if the lists of the group and of the consumers disagree.
    pub(super) fn check(&self) {
        assert_eq!(self.names.len(), self.consumers.len());
        if let Some(by_time) = &self.by_time {
            assert_eq!(by_time.len(), self.pending.len());
            let holds = |(id, it): (&StreamId, &Pending)| by_time.contains(&(it.delivered_at, *id));
            assert!(self.pending.iter().all(holds));
        }
        for (name, id) in &self.names {
            assert_eq!(name, &self.consumer(*id).name);
        }
        let owned = self.pending.iter().filter(|it| it.1.owner().is_some()).count();
        let pending: usize = self.consumers.iter().map(|it| it.1.pending.len()).sum();
        assert_eq!(owned, pending);
        for (id, it) in &self.pending {
            if let Some(owner) = it.owner() {
                assert!(self.consumer(owner).pending.contains(id));
            }
        }
    }
}
