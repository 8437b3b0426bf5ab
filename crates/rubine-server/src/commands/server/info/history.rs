//! The section of INFO about the history of metrics.

use std::sync::atomic::Ordering;

use super::{Source, Text};

pub(super) fn history(source: &Source<'_>, text: &mut Text) {
    let recording = &source.server.operating.recording;
    let (series, refused, bytes) = recording.size();
    text.field("history_enabled", u8::from(recording.is_on()));
    text.field("history_series", series);
    text.field("history_series_refused", refused);
    text.field("history_bytes", bytes);
    text.field("history_file_writes", recording.counts.writes.load(Ordering::Relaxed));
    text.field("history_file_errors", recording.counts.errors.load(Ordering::Relaxed));
    let written_at = recording.counts.written_at.load(Ordering::Relaxed);
    text.field("history_file_written_at", written_at / 1000);
}
