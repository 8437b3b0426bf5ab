//! Metrics of keys: how many there are, what was found and what fell due. Deadlines are estimated from one record of each
//! shard; no table is walked through.

use std::sync::atomic::Ordering::Relaxed;

use rubine_keyspace::{COUNTED_DBS, Survey};
use rubine_metrics::{Family, Kind};

use super::Look;
use super::row::{Row, counter, family, gauge, micros_of_ticks};
use crate::server::Server;

/// What shards know without looking at their keys.
#[derive(Default)]
pub(super) struct ShardFacts {
    pub(super) watched_keys: usize,
    pub(super) waited_keys: usize,
    pub(super) needed_keys: usize,
    /// Shards that somebody held.
    pub(super) busy: usize,
    /// Of the databases whose keys are counted.
    surveys: [Survey; COUNTED_DBS],
}

impl ShardFacts {
    pub(super) fn gather(server: &Server, now: i64) -> Self {
        let mut facts = Self::default();
        facts.busy = server.keyspace.for_each_free_shard(|_, shard| {
            facts.watched_keys += shard.watched_key_count();
            facts.waited_keys += shard.waited_key_count();
            facts.needed_keys += shard.needed_key_count();
            for (db, survey) in facts.surveys.iter_mut().enumerate() {
                shard.survey(db, 1, now, survey);
            }
        });
        facts
    }
}

const DB: &[&str] = &["db"];

pub(super) const ROWS: &[Row] = &[
    family(Kind::Gauge, "redis_db_keys", DB, "Keys of each database.", |it, family| {
        for_each_db(it, family, |_, keys, _| keys as f64);
    }),
    family(
        Kind::Gauge,
        "redis_db_keys_expiring",
        DB,
        "Keys of each database that have a deadline.",
        |it, family| for_each_db(it, family, |_, _, volatile| volatile as f64),
    ),
    family(
        Kind::Gauge,
        "redis_db_avg_ttl_seconds",
        DB,
        "Time that keys with a deadline have left on average, estimated.",
        |it, family| {
            for_each_db(it, family, |db, _, _| {
                let survey = it.shards.surveys.get(db).copied().unwrap_or_default();
                survey.time_left_ms as f64 / survey.volatile.max(1) as f64 / 1000.0
            });
        },
    ),
    counter("redis_keyspace_hits_total", "Look-ups that found a key.", |it| {
        it.total(|it| it.keyspace_hits.get())
    }),
    counter("redis_keyspace_misses_total", "Look-ups that found none.", |it| {
        it.total(|it| it.keyspace_misses.get())
    }),
    counter("redis_expired_keys_total", "Keys that fell due.", |it| {
        it.total(|it| it.expired_keys.get())
    }),
    counter("redis_expired_subkeys_total", "Fields of hashes that fell due.", |it| {
        it.total(|it| it.expired_fields.get())
    }),
    gauge(
        "redis_expired_stale_percentage",
        "Part of the keys that are due and still there, estimated.",
        |it| it.server.stats.gauges.stale_per_myriad.load(Relaxed) as f64 / 100.0,
    ),
    counter(
        "redis_expired_time_cap_reached_total",
        "How often there was more due than time to remove it.",
        |it| it.total(|it| it.expiry_cap_reached.get()),
    ),
    counter(
        "redis_expire_cycle_cpu_time_ms_total",
        "Milliseconds spent on removing what nobody asks for.",
        |it| (micros_of_ticks(it.server.total(|it| it.expiry_ticks.get())) / 1000.0).floor(),
    ),
    gauge(
        "redis_slave_expires_tracked_keys",
        "Keys with a deadline that clients of this replica have written.",
        |it| it.server.replication.following.own_keys.len() as f64,
    ),
];

/// Adds a sample for each database whose keys are counted, empty or not, and for those others that have keys.
fn for_each_db(look: &Look, family: &mut Family, value: impl Fn(usize, usize, usize) -> f64) {
    let walked = &look.memory.databases;
    for db in 0..walked.len().max(COUNTED_DBS).min(look.config.databases as usize) {
        let (keys, volatile) = if db < COUNTED_DBS {
            look.server.keyspace.key_counts(db)
        } else {
            walked.get(db).map_or((0, 0), |it| (it.keys as usize, it.volatile_keys as usize))
        };
        if db < COUNTED_DBS || keys != 0 {
            family.add_with([("db", format!("db{db}").into())], value(db, keys, volatile));
        }
    }
}
