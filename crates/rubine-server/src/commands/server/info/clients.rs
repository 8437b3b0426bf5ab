//! The section of INFO about clients.

use rubine_base::clock::monotonic_millis;

use super::{Source, Text};
use crate::figures::clients::ClientFacts;
use crate::pause::Hold;

pub(super) fn clients(source: &Source<'_>, text: &mut Text) {
    let server = source.server;
    let facts = ClientFacts::gather(source);
    let (mut watched_keys, mut waited_keys, mut needed_keys) = (0, 0, 0);
    source.for_each_shard(|shard| {
        watched_keys += shard.watched_key_count();
        waited_keys += shard.waited_key_count();
        needed_keys += shard.needed_key_count();
    });

    text.field("connected_clients", facts.connected);
    text.field("cluster_connections", server.cluster.as_ref().map_or(0, |it| it.links().0));
    text.field("maxclients", server.config.load().maxclients);
    text.field("client_recent_max_input_buffer", facts.input_max);
    text.field("client_recent_max_output_buffer", facts.output_max);
    text.field("blocked_clients", server.total(|it| it.blocked_clients.get()));
    text.field("tracking_clients", server.trackers.len());
    text.field("pubsub_clients", facts.listening);
    text.field("watching_clients", facts.watching);
    text.field("clients_in_timeout_table", server.total(|it| it.timed_waits.get()));
    text.field("total_watched_keys", watched_keys);
    text.field("total_blocking_keys", waited_keys);
    text.field("total_blocking_keys_on_nokey", needed_keys);
    let now = monotonic_millis() as i64;
    let why = match server.pause.held_for() {
        Some(Hold::Shutdown) => "shutdown_in_progress",
        Some(Hold::Failover | Hold::Takeover) => "failover_in_progress",
        None => "client_pause",
    };
    let (reason, actions, until) = match server.pause.in_force(now) {
        None if server.pause.holds_slots() => ("slot_migration_in_progress", "write", now),
        None => ("none", "none", now),
        Some((true, until)) => (why, "all", until),
        Some((false, until)) => (why, "write", until),
    };
    text.field("paused_reason", reason);
    text.field("paused_actions", actions);
    text.field("paused_timeout_milliseconds", until - now);
}
