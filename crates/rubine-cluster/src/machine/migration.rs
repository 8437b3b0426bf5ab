//! A replica that its primary can do without goes to a primary that has lost all of its own.

use rubine_base::clock::Millis;

use super::node::{Key, Node};
use super::roles::OpenSlots;
use super::{Cluster, Todo};
use crate::effect::{History, Level};
use crate::message::NodeFlags;
use crate::view::State;

/// A primary has to be without replicas for so long: after a failover the others take a while to follow.
const ORPHANED_MS: Millis = 5000;

/// What a turn sees of replicas, on its way through all nodes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReplicaCensus {
    /// Primaries with slots that have lost all their replicas.
    pub(crate) orphaned: usize,
    /// The most working replicas that any primary has, and how many that of this replica has.
    pub(crate) most: usize,
    pub(crate) ours: usize,
}

impl ReplicaCensus {
    /// Whether this replica is one of those that others may need.
    pub(crate) fn suggests_migration(&self) -> bool {
        0 < self.orphaned && 2 <= self.most && self.ours == self.most
    }
}

impl Cluster {
    pub(crate) fn count_replicas(&self, key: Key, census: &mut ReplicaCensus) {
        let node = &self.table[key];
        if !self.table.myself().is_replica() || !node.is_primary() || node.is_failed() {
            return;
        }
        let working = self.table.working_replicas(key);
        if working == 0 && node.slot_count != 0 && node.is(NodeFlags::MIGRATE_TO) {
            census.orphaned += 1;
        }
        census.most = census.most.max(working);
        if self.table.myself().primary == Some(key) {
            census.ours = working;
        }
    }

    /// Whether enough other replicas have all that this one has: under `write-quorum` it may have acknowledged writes.
    fn is_dispensable(&self, my_primary: Key) -> bool {
        let others = self.table[my_primary].replicas.iter().filter(|it| **it != self.table.me);
        let as_far = others.filter(|it| self.facts.offset <= self.table[**it].offset).count();
        self.config.write_quorum as usize <= as_far
    }

    /// Goes to an orphaned primary if this is the replica to do so: the one with the smallest id of those whose primaries
    /// have the most.
    pub(crate) fn consider_migration(&mut self, most: usize) {
        let Some(my_primary) = self.table.myself().primary else { return };
        let is_well = |node: &Node| !node.is(NodeFlags::FAIL | NodeFlags::PFAIL);
        let replicas = &self.table[my_primary].replicas;
        let well = replicas.iter().filter(|it| is_well(&self.table[**it])).count();
        if self.health.state != State::Ok || well <= self.config.migration_barrier as usize {
            return;
        }
        if !self.is_dispensable(my_primary) {
            return;
        }
        let mut target = None;
        let mut candidate = self.table.me;
        for key in self.table.keys() {
            let is_primary = self.table[key].is_primary();
            let working = if is_primary { self.table.working_replicas(key) } else { 0 };
            let node = &mut self.table[key];
            let is_orphaned = !node.is_replica()
                && !node.is_failed()
                && node.is(NodeFlags::MIGRATE_TO)
                && working == 0;
            if !is_orphaned {
                node.times.orphaned = 0;
            } else if node.times.orphaned == 0 {
                node.times.orphaned = self.now;
            }
            if is_orphaned && target.is_none() && node.slot_count != 0 {
                target = Some(key);
            }
            if working == most {
                let first = self.table[key].replicas.first().copied();
                if let Some(first) = first
                    && self.table[first].id < self.table[candidate].id
                {
                    candidate = first;
                }
            }
        }
        let Some(target) = target.filter(|it| {
            candidate == self.table.me && ORPHANED_MS < self.now - self.table[*it].times.orphaned
        }) else {
            return;
        };
        let text = format!("Migrating to orphaned primary {}", self.named_in_shard(target));
        self.log(Level::Notice, text);
        self.follow(target, OpenSlots::Close, History::Foreign);
        self.todo |= Todo::SAVE_SYNCED | Todo::BROADCAST;
    }
}
