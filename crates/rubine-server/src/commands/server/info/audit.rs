//! The section of INFO about the audit log.

use std::sync::atomic::Ordering;

use super::{Source, Text};

pub(super) fn audit(source: &Source<'_>, text: &mut Text) {
    let audit = &source.server.observing.audit;
    text.field("audit_log_enabled", u8::from(audit.audited().is_some()));
    text.field("audit_lines_written", audit.counts.written.load(Ordering::Relaxed));
    text.field("audit_lines_dropped", audit.counts.dropped.load(Ordering::Relaxed));
    text.field("audit_write_errors", audit.counts.errors.load(Ordering::Relaxed));
    text.field("audit_waiting_bytes", audit.waiting_bytes());
}
