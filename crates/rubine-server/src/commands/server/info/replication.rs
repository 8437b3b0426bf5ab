//! INFO's section about replication.

use super::Source;
use super::text::Text;

pub(super) fn replication(source: &Source<'_>, text: &mut Text) {
    let server = source.server;
    if server.replication.following.is_replica() {
        as_replica(source, text);
    } else {
        text.field("role", "master");
    }
    as_master(source, text);
}

/// What there is to say of the master.
fn as_replica(_source: &Source<'_>, text: &mut Text) {
    text.field("role", "slave");
}

/// What there is to say of replicas, and of what is kept for them.
fn as_master(source: &Source<'_>, text: &mut Text) {
    let server = source.server;
    let point = server.journal.point();
    text.field("connected_slaves", 0);
    text.field("replicas_waiting_psync", 0);
    text.field("master_failover_state", "no-failover");
    text.field("master_replid", point.history.id);
    let previous = point.history.previous;
    match previous {
        Some(previous) => text.field("master_replid2", previous.id),
        None => text.field("master_replid2", "0".repeat(40)),
    }
    text.field("master_repl_offset", 0);
    let second = previous.map_or(-1, |it| it.until.0 as i64 + 1);
    text.field("second_repl_offset", second);
    text.field("repl_backlog_active", 0);
    text.field("repl_backlog_size", server.config.load().repl_backlog_size);
    text.field("repl_backlog_first_byte_offset", 0);
    text.field("repl_backlog_histlen", 0);
}
