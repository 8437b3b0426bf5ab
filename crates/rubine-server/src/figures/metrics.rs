//! Metrics: every one that the server has, declared once, with where its value comes from. Values come from counters and
//! from what has been published; no key is searched for, no lock is waited for that a worker holds for long, and nothing is
//! measured here.
//!
//! Names that begin with `redis_` are those that `redis_exporter` made common, with its types and labels, so that dashboards
//! and alerts work as they are. What only this server has begins with `rubine_`.

mod alerts;
mod backups;
mod clients;
mod cluster;
mod commands;
mod config;
mod keys;
mod memory;
mod own;
mod persistence;
mod replication;
mod row;
mod sentinel;
mod server;

use std::sync::Arc;

use rubine_base::clock::unix_millis;
use rubine_config::Config;
use rubine_journal::{JournalStatus, Point};
use rubine_metrics::{Family, Samples};

use self::row::{Row, Value};
use super::clients::ClientFacts;
use super::memory::MemoryFacts;
use super::saving::SavingFacts;
use super::{Shards, Source};
use crate::server::Server;
use crate::stats::WorkerStats;

/// All metrics, by topic.
const TABLES: &[&[Row]] = &[
    server::ROWS,
    clients::ROWS,
    memory::ROWS,
    keys::ROWS,
    commands::ROWS,
    persistence::ROWS,
    replication::ROWS,
    config::ROWS,
    own::ROWS,
    own::QUOTAS,
    alerts::ROWS,
    cluster::ROWS,
    backups::ROWS,
    sentinel::ROWS,
];

/// The samples of all metrics at this moment.
pub(crate) fn collect(server: &'static Server) -> Samples {
    let look = Look::at(server);
    let mut samples = Samples::default();
    for row in TABLES.iter().copied().flatten() {
        let mut family = Family::new(&row.metric);
        match row.value {
            Value::One(value) => family.add(value(&look)),
            Value::OneIf(is_there, value) if is_there(&look) => family.add(value(&look)),
            Value::OneIf(..) => {}
            Value::Many(add) => add(&look, &mut family),
        }
        samples.push(family);
    }
    samples
}

/// Every metric as it is declared.
pub(crate) fn declared() -> impl Iterator<Item = &'static rubine_metrics::Metric> {
    TABLES.iter().copied().flatten().map(|it| &it.metric)
}

/// What metrics are made from, gathered once for all of them.
struct Look {
    server: &'static Server,
    /// Unix milliseconds.
    now: i64,
    config: Arc<Config>,
    clients: ClientFacts,
    memory: MemoryFacts,
    saving: SavingFacts,
    journal: JournalStatus,
    point: Point,
    shards: keys::ShardFacts,
    cluster: Option<cluster::ClusterFacts>,
}

impl Look {
    fn at(server: &'static Server) -> Self {
        let now = unix_millis();
        let source = Source { server, now, shards: Shards::Free };
        let clients = ClientFacts::gather(&source);
        Self {
            server,
            now,
            config: server.config.load(),
            memory: MemoryFacts::gather(&source, &clients),
            clients,
            saving: SavingFacts::gather(&source),
            journal: server.journal.status(),
            point: server.journal.point(),
            shards: keys::ShardFacts::gather(server, now),
            cluster: cluster::ClusterFacts::gather(server),
        }
    }

    /// A counter of all workers, added up.
    fn total(&self, counter: impl Fn(&WorkerStats) -> u64) -> f64 {
        self.server.total(counter) as f64
    }

    fn is_replica(&self) -> bool {
        self.server.replication.following.is_replica()
    }
}
#[cfg(test)]
mod tests;
