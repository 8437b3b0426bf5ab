//! Quotas: what users, databases and prefixes of keys may take, and what they have taken. Decides on no request.

pub(crate) mod bucket;
mod quota;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rubine_config::{QuotaRule, QuotaSubject};

pub(crate) use self::quota::{Bound, Kind, Quota, Seat, Shares, micros};
pub(crate) use self::table::QuotaTable;

/// The quotas of a server.
pub(crate) struct Quotas {
    /// Replaced as a whole.
    table: ArcSwap<QuotaTable>,
    /// Counts the changes of `table`.
    generation: AtomicU64,
    /// Held while they are changed.
    changing: Mutex<()>,
    worker_count: usize,
}

/// There are no more than this.
pub(crate) const QUOTAS_MAX: usize = 10_000;

impl Quotas {
    /// Those of the configuration.
    pub(crate) fn new(rules: &[QuotaRule], worker_count: usize) -> Self {
        let quota = |it: &QuotaRule| Arc::new(Quota::new(it.clone(), worker_count));
        let quotas = rules.iter().map(quota).collect();
        Self {
            table: ArcSwap::from_pointee(QuotaTable::new(quotas)),
            generation: AtomicU64::new(u64::from(!rules.is_empty())),
            changing: Mutex::new(()),
            worker_count,
        }
    }

    /// All of them, as they are now.
    pub(crate) fn table(&self) -> Arc<QuotaTable> {
        self.table.load_full()
    }

    /// Which state of them is in force.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Puts a quota in place of that of the same subject. Counts go on. Returns false where there are too many.
    pub(crate) fn set(&self, rule: QuotaRule) -> bool {
        let _changing = self.changing.lock();
        let table = self.table();
        let mut quotas: Vec<_> =
            table.quotas().iter().filter(|it| it.rule.subject != rule.subject).cloned().collect();
        let before = table.find(&rule.subject);
        if before.is_none() && QUOTAS_MAX <= quotas.len() {
            return false;
        }
        quotas.push(Arc::new(match before {
            Some(before) => before.with(rule),
            None => Quota::new(rule, self.worker_count),
        }));
        self.replace(quotas);
        true
    }

    /// Removes a quota. Returns whether there was one.
    pub(crate) fn remove(&self, subject: &QuotaSubject) -> bool {
        let _changing = self.changing.lock();
        let table = self.table();
        if table.find(subject).is_none() {
            return false;
        }
        let quotas = table.quotas().iter().filter(|it| it.rule.subject != *subject);
        self.replace(quotas.cloned().collect());
        true
    }

    fn replace(&self, quotas: Vec<Arc<Quota>>) {
        self.table.store(Arc::new(QuotaTable::new(quotas)));
        self.generation.fetch_add(1, Ordering::Release);
    }
}
