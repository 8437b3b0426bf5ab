//! Metrics of what is kept on disk: loading, saves, the append-only file.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::Look;
use super::row::{Row, flag, gauge};

pub(super) const ROWS: &[Row] = &[
    gauge("redis_loading_dump_file", "1 while data is loaded.", |it| {
        flag(it.server.persistence.is_loading())
    }),
    gauge("redis_async_loading", "1 while a replica loads beside its old data.", |it| {
        flag(it.server.replication.following.syncs.is_swapping.load(Acquire))
    }),
    gauge("redis_rdb_changes_since_last_save", "Changes since the last save.", |it| {
        it.server.storage().unsaved_changes() as f64
    }),
    gauge("redis_rdb_bgsave_in_progress", "1 while a save in the background goes on.", |it| {
        flag(it.saving.is_saving)
    }),
    gauge(
        "redis_rdb_last_save_timestamp_seconds",
        "When the last save ended that was good, Unix seconds.",
        |it| it.server.persistence.saves.last_saved_at() as f64,
    ),
    gauge("redis_rdb_last_bgsave_status", "1 if the last save was good.", |it| {
        flag(!it.saving.report.last_failed)
    }),
    gauge(
        "redis_rdb_last_bgsave_duration_sec",
        "How long the last save took; -1 if there was none.",
        |it| it.saving.report.last_seconds.unwrap_or(-1) as f64,
    ),
    gauge(
        "redis_rdb_current_bgsave_duration_sec",
        "For how long a save has gone on; -1 if none does.",
        |it| it.saving.report.current_seconds.unwrap_or(-1) as f64,
    ),
    gauge("redis_rdb_saves_total", "Saves that were begun.", |it| {
        it.server.persistence.saves.started() as f64
    }),
    gauge("redis_rdb_last_cow_size_bytes", "Bytes that were copied for the last save.", |it| {
        it.saving.report.last_copied_bytes as f64
    }),
    gauge("redis_rdb_last_load_loaded_keys", "Keys that were loaded last.", |it| {
        it.server.persistence.loading.keys() as f64
    }),
    gauge("redis_rdb_last_load_expired_keys", "Keys that were due when they were loaded.", |it| {
        it.server.persistence.loading.expired_keys() as f64
    }),
    gauge("redis_rdb_current_size_bytes", "Bytes of the dump file; 0 if there is none.", |it| {
        let path = it.config.dir.as_path().join(&it.config.dbfilename);
        std::fs::metadata(path).map_or(0.0, |it| it.len() as f64)
    }),
    gauge("redis_aof_enabled", "1 if there is an append-only file.", |it| {
        flag(it.server.aof.is_enabled())
    }),
    gauge("redis_aof_rewrite_in_progress", "1 while the log is rewritten.", |it| {
        flag(it.saving.is_rewriting)
    }),
    gauge("redis_aof_rewrite_scheduled", "1 if a rewrite waits for a save to end.", |it| {
        flag(it.saving.is_rewrite_scheduled)
    }),
    gauge(
        "redis_aof_last_rewrite_duration_sec",
        "How long the last rewrite took; -1 if there was none.",
        |it| it.server.aof.facts.last_rewrite_seconds.load(Relaxed) as f64 - 1.0,
    ),
    gauge(
        "redis_aof_current_rewrite_duration_sec",
        "For how long a rewrite has gone on; -1 if none does.",
        |it| it.saving.rewrite_seconds as f64,
    ),
    gauge("redis_aof_last_bgrewrite_status", "1 if the last rewrite was good.", |it| {
        flag(!it.server.aof.facts.last_rewrite_failed.load(Relaxed))
    }),
    gauge("redis_aof_last_write_status", "1 if what is written reaches the disk.", |it| {
        flag(!it.server.aof.has_error())
    }),
    gauge("redis_aof_last_cow_size_bytes", "Bytes that were copied for the last rewrite.", |it| {
        it.server.aof.facts.rewrite_copied_bytes.load(Relaxed) as f64
    }),
    with_log("redis_aof_current_size_bytes", "Bytes of the append-only file.", |it| {
        it.server.aof.facts.total_bytes() as f64
    }),
    with_log("redis_aof_base_size_bytes", "Bytes of it after the last rewrite.", |it| {
        it.server.aof.facts.rewritten_bytes.load(Relaxed) as f64
    }),
    with_log("redis_aof_pending_rewrite", "0: a rewrite that is wanted begins.", |_| 0.0),
    with_log("redis_aof_buffer_length", "Bytes that have yet to be written.", |it| {
        it.server.aof.lag_bytes(it.server.journal.end()) as f64
    }),
    with_log("redis_aof_rewrite_buffer_length", "0: a rewrite needs no buffer.", |_| 0.0),
    with_log("redis_aof_pending_bio_fsync", "1 while the log is forced to disk.", |it| {
        flag(it.server.aof.facts.is_syncing.load(Relaxed))
    }),
    with_log("redis_aof_delayed_fsync", "How often the disk was too slow for everysec.", |it| {
        it.server.aof.facts.delayed_syncs.load(Relaxed) as f64
    }),
];

/// One that is there where there is an append-only file.
const fn with_log(name: &'static str, help: &'static str, value: fn(&Look) -> f64) -> Row {
    gauge(name, help, value).only_if(|it| it.server.aof.is_enabled())
}
