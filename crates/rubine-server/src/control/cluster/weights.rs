//! How much each slot of this node weighs, by what is to be even. Weighs in intervals, and moves nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rubine_base::clock::Millis;
use rubine_cluster::View;
use rubine_cluster::message::Metric;
use rubine_cluster::slots::SLOT_COUNT;
use rubine_system::allocator;

use crate::cluster::{Cluster, SlotUsages};
use crate::server::Server;

/// How often slots are weighed.
const PERIOD_MS: Millis = 5000;
/// What is measured counts for one of so many parts, and what was known before for the others, so that a moment's peak moves little.
const LOAD_PARTS_MAX: u64 = 4;
/// Keys of so many databases count, those of which CLUSTER SLOT-STATS counts keys, too.
const DBS_MAX: usize = 16;
/// A load is known when it was measured so often.
const LOADS_MIN: u64 = 3;

/// What slots weigh.
#[derive(Default)]
pub(super) struct Weights {
    metric: Option<Metric>,
    weighed_at: Millis,
    /// By their numbers; empty where each weighs the same.
    of_slots: Vec<u64>,
    /// Whose slots they were then.
    owners: Option<Arc<[u16; SLOT_COUNT]>>,
    /// What requests had taken when they were last weighed, microseconds, and how often they were.
    us_before: Vec<u64>,
    load_count: u64,
}

impl Weights {
    /// Weighs slots, if it is time, or if something is another than before: what is to be even, or whose the slots are.
    pub(super) fn refresh(
        &mut self,
        metric: Option<Metric>,
        server: &Server,
        cluster: &Cluster,
        view: &View,
        now: Millis,
    ) {
        if self.metric != metric {
            *self = Self { metric, ..Self::default() };
        }
        let has_other_owners =
            !self.owners.as_ref().is_some_and(|it| Arc::ptr_eq(it, &view.owners));
        let is_due = self.weighed_at + PERIOD_MS <= now;
        match metric {
            Some(Metric::Memory) if is_due || has_other_owners => self.weigh_keys(server),
            Some(Metric::Load) if is_due => self.weigh_load(cluster.usages(), now),
            _ => return,
        }
        self.weighed_at = now;
        self.owners = Some(Arc::clone(&view.owners));
    }

    /// Whether they can be told to others.
    pub(super) fn are_known(&self) -> bool {
        self.metric != Some(Metric::Load) || LOADS_MIN <= self.load_count
    }

    /// Memory is not known slot by slot. Each key is taken to have its part of what all of them take.
    fn weigh_keys(&mut self, server: &Server) {
        let dbs = 0..(server.config.load().cluster_databases as usize).min(DBS_MAX);
        let keys = |slot| -> u64 {
            dbs.clone().map(|db| server.keyspace.slot_len(db, slot).unwrap_or(0) as u64).sum()
        };
        let keys: Vec<u64> = (0..SLOT_COUNT as u16).map(keys).collect();
        let total = keys.iter().sum::<u64>().max(1);
        let startup = server.stats.memory.startup.load(Ordering::Relaxed);
        let bytes = allocator::used_memory().saturating_sub(startup) as u64;
        let part = |keys: u64| (u128::from(bytes) * u128::from(keys) / u128::from(total)) as u64;
        self.of_slots = keys.into_iter().map(part).collect();
    }

    /// Microseconds a second.
    fn weigh_load(&mut self, usages: &SlotUsages, now: Millis) {
        let us = usages.cpu_us();
        if self.us_before.is_empty() {
            self.of_slots = vec![0; SLOT_COUNT];
        } else {
            self.load_count += 1;
            let parts = self.load_count.min(LOAD_PARTS_MAX);
            let passed_ms = (now - self.weighed_at).max(1) as u64;
            let loads = us.iter().zip(&self.us_before);
            let loads = loads.map(|(us, before)| us.saturating_sub(*before) * 1000 / passed_ms);
            for (weight, load) in self.of_slots.iter_mut().zip(loads) {
                *weight = (*weight * (parts - 1) + load) / parts;
            }
        }
        self.us_before = us;
    }

    /// The node's own slots, with what each of them weighs.
    pub(super) fn of_own_slots(&self, view: &View) -> Vec<(u16, u64)> {
        let own = (0..SLOT_COUNT as u16).filter(|it| view.is_mine(*it));
        own.map(|it| (it, self.of_slots.get(usize::from(it)).copied().unwrap_or(1))).collect()
    }

    /// What all of them weigh together.
    pub(super) fn of_node(&self, view: &View) -> u64 {
        self.of_own_slots(view).iter().map(|it| it.1).sum()
    }
}
