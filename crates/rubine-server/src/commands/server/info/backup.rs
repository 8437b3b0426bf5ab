//! The section of INFO about backups.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rubine_backup::figures::{Phase, TargetState};

use super::{Source, Text};

/// A text that came from elsewhere, as it can stand in a line.
fn line(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

pub(super) fn backup(source: &Source<'_>, text: &mut Text) {
    let figures = &source.server.operating.backups.service.figures;
    let texts = figures.texts();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let seconds = |moment: &AtomicI64| moment.load(Ordering::Relaxed) / 1000;
    text.field(
        "backup_target",
        match figures.target() {
            TargetState::Off => "off",
            TargetState::Checking => "checking",
            TargetState::Good => "ok",
            TargetState::Bad => "err",
        },
    );
    text.field("backup_target_error", line(&texts.target_error));
    text.field(
        "backup_phase",
        match figures.phase() {
            Phase::Idle => "idle",
            Phase::Uploading => "uploading",
            Phase::Verifying => "verifying",
            Phase::Pruning => "pruning",
        },
    );
    text.field("backup_current_bytes", count(&figures.current_bytes));
    text.field("backup_current_keys", count(&figures.current_keys));
    text.field("backup_last_status", if texts.error.is_empty() { "ok" } else { "err" });
    text.field("backup_last_error", line(&texts.error));
    text.field("backup_last_id", &texts.id);
    text.field("backup_last_end_time", seconds(&figures.last_end_at));
    text.field("backup_last_duration_ms", figures.last_duration_ms.load(Ordering::Relaxed));
    text.field("backup_last_upload_ms", figures.last_upload_ms.load(Ordering::Relaxed));
    text.field("backup_last_good_time", seconds(&figures.last_good_at));
    text.field("backup_last_good_keys", count(&figures.last_good_keys));
    text.field("backup_last_good_bytes", count(&figures.last_good_bytes));
    text.field("backup_last_failure_time", seconds(&figures.last_failure_at));
    text.field("backup_next_time", seconds(&figures.next_at));
    text.field("backups_kept", count(&figures.kept));
    text.field("backups_total", count(&figures.made));
    text.field("failed_backups_total", count(&figures.failed));
    text.field("suspect_backups_total", count(&figures.suspect));
    text.field("verified_backups_total", count(&figures.verified));
    text.field("backup_verify_failures_total", count(&figures.verify_failed));
    text.field("pruned_backups_total", count(&figures.pruned));
    text.field("backup_pruning_stopped", figures.is_pruning_stopped.load(Ordering::Relaxed));
    text.field("backup_uploaded_bytes", count(&figures.uploaded_bytes));
    text.field("backup_log_segments", count(&figures.log_segments));
    text.field("backup_log_bytes", count(&figures.log_bytes));
    text.field("backup_log_breaks", count(&figures.log_breaks));
    text.field("backup_log_failures", count(&figures.log_failures));
    text.field("backup_log_covers_until", seconds(&figures.log_covers_until));
}
