//! How saves and rewrites are going, at one moment: for INFO and metrics. Only looks on.

use rubine_storage::loading::per_second;
use rubine_storage::saves::Report;

use super::Source;

/// The save or rewrite that goes on, and the last ones.
pub(crate) struct SavingFacts {
    /// Of a save, or of the rewrite of the log where that is what goes on: only one of both does.
    pub(crate) report: Report,
    /// A save in the background goes on, or a dump is made for replicas. The latter is one of the former elsewhere, and tools
    /// wait for its end by this.
    pub(crate) is_saving: bool,
    pub(crate) is_rewriting: bool,
    /// A rewrite was asked for, and waits for a save to end.
    pub(crate) is_rewrite_scheduled: bool,
    /// Seconds for which a rewrite has gone on; -1 if none does.
    pub(crate) rewrite_seconds: i64,
}

impl SavingFacts {
    pub(crate) fn gather(source: &Source<'_>) -> Self {
        let Source { server, now, .. } = *source;
        let saves = &server.persistence.saves;
        let mut report = saves.report(now);
        let rewrite = server.aof.rewrite_status();
        if let Some(started_at) = rewrite.started_at.filter(|_| !report.is_saving_in_background) {
            let elapsed_ms = now - started_at;
            report.copied_bytes = server.aof.rewrite_copied_bytes();
            (report.keys_done, report.keys_total) = (rewrite.keys_done, rewrite.keys_total);
            report.keys_per_second = per_second(rewrite.keys_done, elapsed_ms);
            report.bytes_per_second = per_second(rewrite.bytes_done, elapsed_ms);
        }
        // What was asked for begins at once, but for a save that goes on.
        let is_rewrite_scheduled = rewrite.is_requested && saves.is_busy();
        Self {
            is_saving: report.is_saving_in_background || server.replication.replicas.makes_dump(),
            is_rewriting: rewrite.is_running || (rewrite.is_requested && !is_rewrite_scheduled),
            is_rewrite_scheduled,
            rewrite_seconds: rewrite.started_at.map_or(-1, |it| (now - it).max(0) / 1000),
            report,
        }
    }

    /// Whether a save or a rewrite goes on.
    pub(crate) fn is_anything(&self) -> bool {
        self.is_saving || self.is_rewriting
    }

    /// How much of the keys is saved, in percent.
    pub(crate) fn percent(&self) -> f64 {
        self.report.keys_done as f64 * 100.0 / self.report.keys_total.max(1) as f64
    }
}
