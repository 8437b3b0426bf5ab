//! Metrics of backups, as INFO backup has them.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use rubine_backup::figures::{Figures, Phase, TargetState};

use super::Look;
use super::row::{Row, counter, flag, gauge};

pub(super) const ROWS: &[Row] = &[
    gauge("rubine_backup_target_up", "1 if backups can be kept where they are to be.", |it| {
        flag(figures(it).target() != TargetState::Bad)
    })
    .only_if(is_on),
    gauge("rubine_backup_in_progress", "1 while a backup is made, read back or removed.", |it| {
        flag(figures(it).phase() != Phase::Idle)
    })
    .only_if(is_on),
    gauge("rubine_backup_last_status", "1 if the last backup was good.", |it| {
        flag(figures(it).texts().error.is_empty())
    })
    .only_if(is_on),
    gauge("rubine_backup_last_duration_seconds", "How long the last backup took.", |it| {
        figures(it).last_duration_ms.load(Relaxed) as f64 / 1000.0
    })
    .only_if(is_on),
    gauge(
        "rubine_backup_last_good_timestamp_seconds",
        "When the image of the last good backup was made, Unix seconds.",
        |it| moment(&figures(it).last_good_at) as f64 / 1000.0,
    )
    .only_if(|it| is_on(it) && moment(&figures(it).last_good_at) != 0),
    gauge("rubine_backup_last_good_size_bytes", "Bytes of the last good backup.", |it| {
        number(&figures(it).last_good_bytes)
    })
    .only_if(is_on),
    gauge("rubine_backup_kept", "Good backups that are kept.", |it| number(&figures(it).kept))
        .only_if(is_on),
    counter("rubine_backup_total", "Backups that were made.", |it| number(&figures(it).made))
        .only_if(is_on),
    counter("rubine_backup_failures_total", "Backups that have failed.", |it| {
        number(&figures(it).failed)
    })
    .only_if(is_on),
    counter("rubine_backup_uploaded_bytes_total", "Bytes that were uploaded.", |it| {
        number(&figures(it).uploaded_bytes)
    })
    .only_if(is_on),
    gauge(
        "rubine_backup_log_covers_until_timestamp_seconds",
        "What happened up to this moment can be restored, by the log or the last good backup, Unix seconds.",
        |it| covers_until(it) as f64 / 1000.0,
    )
    .only_if(|it| is_on(it) && it.config.backup_pitr && covers_until(it) != 0),
    counter(
        "rubine_backup_log_breaks_total",
        "How often a part of the log was lost before it was uploaded.",
        |it| number(&figures(it).log_breaks),
    )
    .only_if(is_on),
];

fn figures(look: &Look) -> &Figures {
    &look.server.operating.backups.service.figures
}

/// There is a place where backups are to be kept.
fn is_on(look: &Look) -> bool {
    figures(look).target() != TargetState::Off
}

/// A log that was never uploaded covers nothing beyond the image, and it is worth an alert that it was not.
fn covers_until(look: &Look) -> i64 {
    let figures = figures(look);
    moment(&figures.log_covers_until).max(moment(&figures.last_good_at))
}

/// Unix milliseconds, 0 for never.
fn moment(moment: &AtomicI64) -> i64 {
    moment.load(Relaxed)
}

fn number(counter: &AtomicU64) -> f64 {
    counter.load(Relaxed) as f64
}
