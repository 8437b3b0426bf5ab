//! The section of INFO about what is kept on disk. Fields that Redis and Valkey do not have tell rates.

use std::sync::atomic::Ordering;

use super::{Source, Text};
use crate::figures::saving::SavingFacts;
use rubine_storage::loading::Progress;

pub(super) fn persistence(source: &Source<'_>, text: &mut Text) {
    let server = source.server;
    let persistence = &server.persistence;
    let is_loading = persistence.is_loading();
    let is_swapping = server.replication.following.syncs.is_swapping.load(Ordering::Acquire);
    text.field("loading", u8::from(is_loading));
    text.field("async_loading", u8::from(is_swapping));
    let saving = SavingFacts::gather(source);
    write_saving(source, &saving, text);
    text.field("rdb_last_load_keys_expired", persistence.loading.expired_keys());
    text.field("rdb_last_load_keys_loaded", persistence.loading.keys());
    let (keys_per_second, bytes_per_second) = persistence.loading.last_rates();
    text.field("rdb_last_load_keys_per_sec", keys_per_second);
    text.field("rdb_last_load_bytes_per_sec", bytes_per_second);
    append_only_file(source, &saving, text);
    if is_loading {
        loading(&persistence.loading.progress(source.now), text);
    }
}

fn append_only_file(source: &Source<'_>, saving: &SavingFacts, text: &mut Text) {
    let aof = &source.server.aof;
    let facts = &aof.facts;
    let number = |it: &std::sync::atomic::AtomicU64| it.load(Ordering::Relaxed);
    let status = |is_ok: bool| if is_ok { "ok" } else { "err" };
    text.field("aof_enabled", u8::from(aof.is_enabled()));
    text.field("aof_rewrite_in_progress", u8::from(saving.is_rewriting));
    text.field("aof_rewrite_scheduled", u8::from(saving.is_rewrite_scheduled));
    text.field("aof_last_rewrite_time_sec", number(&facts.last_rewrite_seconds) as i64 - 1);
    text.field("aof_current_rewrite_time_sec", saving.rewrite_seconds);
    let is_rewritten = !facts.last_rewrite_failed.load(Ordering::Relaxed);
    text.field("aof_last_bgrewrite_status", status(is_rewritten));
    text.field("aof_rewrites", number(&facts.rewrites));
    let failures = facts.rewrite_failures.load(Ordering::Relaxed);
    text.field("aof_rewrites_consecutive_failures", failures);
    text.field("aof_last_write_status", status(aof.error().is_none()));
    text.field("aof_last_cow_size", facts.rewrite_copied_bytes.load(Ordering::Relaxed));
    text.field("aof_last_rewrite_keys_per_sec", number(&facts.rewritten_keys_per_second));
    text.field("aof_last_rewrite_bytes_per_sec", number(&facts.rewritten_bytes_per_second));
    let is_backing_up = source.server.operating.backups.set.status().phase.is_under_way();
    text.field("backup_in_progress", u8::from(is_backing_up));
    // There are no modules that could fork.
    text.field("module_fork_in_progress", 0);
    text.field("module_fork_last_cow_size", 0);
    if aof.is_enabled() {
        text.field("aof_current_size", facts.total_bytes());
        text.field("aof_base_size", number(&facts.rewritten_bytes));
        text.field("aof_pending_rewrite", 0);
        text.field("aof_buffer_length", aof.lag_bytes(source.server.journal.end()));
        let is_syncing = facts.is_syncing.load(Ordering::Relaxed);
        text.field("aof_pending_bio_fsync", u8::from(is_syncing));
        text.field("aof_delayed_fsync", number(&facts.delayed_syncs));
    }
}

fn write_saving(source: &Source<'_>, saving: &SavingFacts, text: &mut Text) {
    let saves = &source.server.persistence.saves;
    let (report, percent) = (&saving.report, saving.percent());
    let seconds = |it: Option<i64>| it.unwrap_or(-1);
    // What was copied for the image stands where the memory of a forked process stands elsewhere.
    text.field("current_cow_peak", report.copied_bytes);
    text.field("current_cow_size", report.copied_bytes);
    text.field("current_cow_size_age", 0);
    text.field("current_fork_perc", format_args!("{percent:.2}"));
    text.field("current_save_keys_processed", report.keys_done);
    text.field("current_save_keys_total", report.keys_total);
    text.field("current_save_keys_per_sec", report.keys_per_second);
    text.field("current_save_bytes_per_sec", report.bytes_per_second);
    text.field("rdb_changes_since_last_save", source.server.storage().unsaved_changes());
    text.field("rdb_bgsave_in_progress", u8::from(saving.is_saving));
    text.field("rdb_last_save_time", saves.last_saved_at());
    text.field("rdb_last_bgsave_status", if report.last_failed { "err" } else { "ok" });
    text.field("rdb_last_bgsave_time_sec", seconds(report.last_seconds));
    text.field("rdb_current_bgsave_time_sec", seconds(report.current_seconds));
    text.field("rdb_saves", saves.started());
    text.field("rdb_last_cow_size", report.last_copied_bytes);
    text.field("rdb_last_save_keys_per_sec", report.last_keys_per_second);
    text.field("rdb_last_save_bytes_per_sec", report.last_bytes_per_second);
}

fn loading(progress: &Progress, text: &mut Text) {
    text.field("loading_start_time", progress.started_at);
    text.field("loading_total_bytes", progress.total_bytes);
    text.field("loading_rdb_used_mem", progress.used_memory);
    text.field("loading_loaded_bytes", progress.loaded_bytes);
    text.field("loading_loaded_perc", format_args!("{:.2}", progress.percent));
    text.field("loading_eta_seconds", progress.seconds_left);
    text.field("loading_keys_per_sec", progress.keys_per_second);
    text.field("loading_bytes_per_sec", progress.bytes_per_second);
}
