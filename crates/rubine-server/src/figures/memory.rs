//! What memory is used for, at one moment: for INFO, MEMORY STATS and metrics. Passes shards by that are busy.

use std::sync::atomic::Ordering;

use rubine_system::{allocator, process};

use super::Source;
use super::clients::ClientFacts;

/// Figures about memory at one moment, in bytes.
#[derive(Debug, Default)]
pub(crate) struct MemoryFacts {
    pub(crate) used: u64,
    pub(crate) peak: u64,
    pub(crate) startup: u64,
    pub(crate) resident_set: u64,
    pub(crate) allocator: allocator::Stats,
    /// Query and output buffers.
    pub(crate) clients: u64,
    /// Those of replicas.
    pub(crate) replicas: u64,
    /// What has come of a master's stream while its dump is loaded.
    pub(crate) held: u64,
    /// Directories and buckets of each database that was ever written, and its keys.
    pub(crate) databases: Vec<DatabaseFacts>,
}

/// Figures about one database.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DatabaseFacts {
    pub(crate) keys: u64,
    pub(crate) volatile_keys: u64,
    pub(crate) table_bytes: u64,
}

impl MemoryFacts {
    pub(crate) fn gather(source: &Source<'_>, clients: &ClientFacts) -> Self {
        let server = source.server;
        let used = allocator::used_memory();
        let peak = server.stats.memory.peak.fetch_max(used, Ordering::Relaxed).max(used);
        let mut databases: Vec<DatabaseFacts> = Vec::new();
        source.for_each_shard(|shard| {
            if databases.len() < shard.db_count() {
                databases.resize(shard.db_count(), DatabaseFacts::default());
            }
            for (db, facts) in databases.iter_mut().enumerate() {
                for table in shard.tables(db) {
                    facts.keys += table.len() as u64;
                    facts.volatile_keys += table.volatile_len() as u64;
                    facts.table_bytes += table.overhead_bytes() as u64;
                }
            }
        });
        Self {
            used: used as u64,
            peak: peak as u64,
            startup: server.stats.memory.startup.load(Ordering::Relaxed) as u64,
            resident_set: process::resident_bytes(),
            allocator: allocator::stats(),
            clients: clients.buffer_bytes,
            replicas: clients.replica_buffer_bytes,
            held: server.replication.following.syncs.held_bytes.load(Ordering::Relaxed),
            databases,
        }
    }

    /// What is not data: the server itself, its tables, its clients.
    pub(crate) fn overhead(&self) -> u64 {
        let tables: u64 = self.databases.iter().map(|it| it.table_bytes).sum();
        self.startup + self.clients + self.held + tables
    }

    pub(crate) fn dataset(&self) -> u64 {
        self.used.saturating_sub(self.overhead())
    }

    pub(crate) fn keys(&self) -> u64 {
        self.databases.iter().map(|it| it.keys).sum()
    }

    /// The data's part of what was added since the start, in percent.
    pub(crate) fn dataset_percent(&self) -> f64 {
        percent(self.dataset(), self.used.saturating_sub(self.startup))
    }

    pub(crate) fn peak_percent(&self) -> f64 {
        percent(self.used, self.peak)
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

/// How many times `part` the `whole` is.
pub(crate) fn ratio(whole: u64, part: u64) -> f64 {
    whole as f64 / part.max(1) as f64
}
