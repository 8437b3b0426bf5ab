//! What the keys of databases and prefixes take, for quotas of memory: measured by a walk through this worker's part of the
//! shards, a little in each period. Refuses nothing.

use std::sync::Arc;

use rubine_keyspace::{SHARD_COUNT, Weighed, WeighingWalk};
use rubine_system::ticks;
use smallvec::SmallVec;

use crate::core::Core;
use crate::quotas::{Quota, QuotaTable};

/// Time that it takes of a period, in microseconds: about one part in a hundred.
const BUDGET_US: f64 = 1000.0;
/// The same where a quota is nearly used up, so that it shows soon when it is.
const BUDGET_NEAR_US: f64 = 4000.0;
/// A quota is nearly used up from this part on.
const NEAR: f64 = 0.75;

/// The walk of one worker, and what it has found.
pub(super) struct Weighing {
    walk: WeighingWalk,
    /// The table that the numbers in `sums` are of.
    table: Arc<QuotaTable>,
    /// By number of the quota; nothing for those that limit no memory.
    sums: Vec<Option<Sum>>,
}

/// The bytes of one quota.
struct Sum {
    quota: Arc<Quota>,
    /// As far as the shard has been seen where the walk is.
    current: u64,
    /// By shard.
    of_shards: Box<[u64; SHARD_COUNT]>,
    /// Those of all shards of this walk.
    total: u64,
}

impl Weighing {
    pub(super) fn new(worker: usize, worker_count: usize) -> Self {
        let walk = WeighingWalk::new(worker, worker_count);
        Self { walk, table: Arc::default(), sums: Vec::new() }
    }

    /// Does a period's part of the walk.
    pub(super) fn go_on(&mut self, core: &Core) {
        if !Arc::ptr_eq(&self.table, core.quotas.table()) {
            self.begin(core);
        }
        let is_near = |it: &Sum| {
            let max = it.quota.rule.memory.unwrap_or(u64::MAX) as f64;
            max * NEAR <= it.quota.memory() as f64
        };
        let is_near = self.sums.iter().flatten().any(is_near);
        let budget_us = if is_near { BUDGET_NEAR_US } else { BUDGET_US };
        let budget = (budget_us * ticks::per_microsecond()) as u64;
        let start = ticks::now();
        while ticks::now().wrapping_sub(start) < budget {
            let Self { walk, table, sums } = self;
            let step = walk.step(&core.server.keyspace, |db, record| {
                let mut concerned: SmallVec<[usize; 4]> = table.of_db(db).into_iter().collect();
                table.for_each_of_key(record.key(), |it| concerned.push(it));
                let mut bytes = None;
                for number in concerned {
                    if let Some(sum) = &mut sums[number] {
                        sum.current +=
                            *bytes.get_or_insert_with(|| record.bytes_with_value() as u64);
                    }
                }
            });
            match step {
                Weighed::Part => {}
                Weighed::Shard(shard) => sums.iter_mut().flatten().for_each(|it| {
                    it.end_shard(shard, core.index);
                }),
                Weighed::Busy(_) => sums.iter_mut().flatten().for_each(|it| it.current = 0),
                // The next one begins with the next period.
                Weighed::Round => return,
            }
        }
    }

    /// Takes over other quotas. What is known of those that stay is kept.
    fn begin(&mut self, core: &Core) {
        self.table = Arc::clone(core.quotas.table());
        let mut before: Vec<Sum> = std::mem::take(&mut self.sums).into_iter().flatten().collect();
        let sum = |quota: &Arc<Quota>| {
            quota.rule.memory?;
            let same = |it: &Sum| it.quota.rule.subject == quota.rule.subject;
            let (of_shards, total) = match before.iter().position(same) {
                Some(index) => {
                    let Sum { of_shards, total, .. } = before.swap_remove(index);
                    (of_shards, total)
                }
                None => (Box::new([0; SHARD_COUNT]), 0),
            };
            quota.set_memory(core.index, total);
            Some(Sum { quota: Arc::clone(quota), current: 0, of_shards, total })
        };
        self.sums = self.table.quotas().iter().map(sum).collect();
        // What has been seen of a shard so far is not all for those that have come.
        self.walk = WeighingWalk::new(core.index, core.server.workers.len());
    }
}

impl Sum {
    fn end_shard(&mut self, shard: usize, worker: usize) {
        let bytes = std::mem::take(&mut self.current);
        let before = std::mem::replace(&mut self.of_shards[shard], bytes);
        self.total = self.total - before + bytes;
        self.quota.set_memory(worker, self.total);
    }
}
