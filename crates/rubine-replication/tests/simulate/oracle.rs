//! Knows which data every place of every history stands for, and who has ever had what.

use std::collections::{BTreeMap, BTreeSet};

use rubine_journal::{Point, Previous, ReplicationOffset};

use crate::data::{Data, Write};
use crate::server::Port;

#[derive(Default)]
pub(crate) struct Oracle {
    histories: BTreeMap<[u8; 40], Known>,
    /// Who has ever had a write.
    holders: BTreeMap<u64, BTreeSet<Port>>,
    pub(crate) counts: Counts,
}

/// What has happened.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) full_syncs: u64,
    pub(crate) partial_syncs: u64,
    pub(crate) too_late: u64,
    pub(crate) new_names: u64,
    pub(crate) promotions: u64,
    pub(crate) hand_overs: u64,
    pub(crate) confirmed: u64,
    pub(crate) resumed: u64,
    /// Full syncs over two connections.
    pub(crate) beside: u64,
}

#[derive(Default)]
struct Known {
    previous: Option<Previous>,
    /// The hash of the data from an offset on.
    hashes: BTreeMap<u64, u64>,
    /// Where changes were made that have no offset: what follows is other data.
    gaps: BTreeSet<u64>,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.full_syncs += other.full_syncs;
        self.partial_syncs += other.partial_syncs;
        self.too_late += other.too_late;
        self.new_names += other.new_names;
        self.promotions += other.promotions;
        self.hand_overs += other.hand_overs;
        self.confirmed += other.confirmed;
        self.resumed += other.resumed;
        self.beside += other.beside;
    }

    /// Whether there was enough of each.
    pub(crate) fn are_worth_it(&self) -> bool {
        let often = [self.full_syncs, self.partial_syncs, self.promotions, self.confirmed];
        let sometimes = [self.too_late, self.new_names, self.hand_overs, self.resumed, self.beside];
        often.iter().all(|it| 20 <= *it) && sometimes.iter().all(|it| 2 <= *it)
    }
}

impl Oracle {
    /// A server is at this point, with this data.
    pub(crate) fn see(&mut self, point: &Point, data: &Data) -> Result<(), String> {
        if !data.is_whole() {
            return Err("a transaction is there in half".to_owned());
        }
        let id: [u8; 40] = point.history.id.as_bytes().try_into().expect("40 characters");
        let is_new = !self.histories.contains_key(&id);
        let known = self.histories.entry(id).or_default();
        if is_new {
            known.previous = point.history.previous;
        }
        if !point.is_complete {
            known.gaps.insert(point.offset.0);
            return Ok(());
        }
        if is_new {
            known.hashes.insert(point.offset.0, data.hash);
        }
        let id = self.origin(id, point.offset);
        let Known { hashes, gaps, .. } = self.histories.entry(id).or_default();
        if let Some((offset, hash)) = hashes.range(..=point.offset.0).next_back()
            && *hash != data.hash
            && gaps.range(offset..&point.offset.0).next().is_none()
        {
            return Err(format!(
                "{} at {} is not what there was at {offset}: {} writes, the last {:?}",
                point.history.id,
                point.offset.0,
                data.writes.len(),
                data.writes.last()
            ));
        }
        hashes.entry(point.offset.0).or_insert(data.hash);
        Ok(())
    }

    /// A master has written and is at this point.
    pub(crate) fn see_written(&mut self, point: &Point, data: &Data) -> Result<(), String> {
        let id: [u8; 40] = point.history.id.as_bytes().try_into().expect("40 characters");
        if point.is_complete
            && let Some(known) = self.histories.get_mut(&id)
            && let Some(last) = known.hashes.last_key_value()
            && point.offset.0 <= *last.0
        {
            let (id, offset) = (point.history.id, point.offset.0);
            return Err(format!("{id} is written at {offset}, where it has been: {}", last.0));
        }
        if point.is_complete {
            self.histories.entry(id).or_default().hashes.insert(point.offset.0, data.hash);
        }
        Ok(())
    }

    /// The history in which an offset came to be.
    fn origin(&self, id: [u8; 40], offset: ReplicationOffset) -> [u8; 40] {
        let mut id = id;
        while let Some(previous) = self.histories.get(&id).and_then(|it| it.previous)
            && offset <= previous.until
        {
            id = previous.id.as_bytes().try_into().expect("40 characters");
        }
        id
    }

    pub(crate) fn hold(&mut self, who: Port, writes: &[Write]) {
        for write in writes {
            self.holders.entry(write.number).or_default().insert(who);
        }
    }

    /// A master has promised that so many replicas have a write.
    pub(crate) fn confirm(
        &mut self,
        master: Port,
        number: u64,
        replica_count: usize,
    ) -> Result<(), String> {
        self.counts.confirmed += 1;
        let holders = self.holders.get(&number).into_iter().flatten();
        let found = holders.filter(|it| **it != master).count();
        if found < replica_count {
            return Err(format!(
                "{master} promises write {number} at {replica_count} replicas, and {found} had it"
            ));
        }
        Ok(())
    }

    /// A replica that is asked to take over has had everything.
    pub(crate) fn check_holder(&self, who: Port, number: u64) -> Result<(), String> {
        if self.holders.get(&number).is_some_and(|it| it.contains(&who)) {
            return Ok(());
        }
        Err(format!("{who} is to take over, and has never had write {number}"))
    }
}
