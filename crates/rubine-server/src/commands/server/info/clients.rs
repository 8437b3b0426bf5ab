//! The section of INFO about clients.

use std::sync::atomic::Ordering;

use rubine_base::clock::monotonic_millis;

use super::{Source, Text};
use crate::client::ClientFlags;
use crate::pause::Hold;

pub(super) fn clients(source: &Source<'_>, text: &mut Text) {
    let server = source.server;
    let clients = server.clients.list();
    let most = |size: &dyn Fn(&crate::client::ClientInfo) -> usize| {
        clients.iter().map(|it| size(it)).max().unwrap_or(0)
    };
    let input =
        most(&|it| it.query_len.load(Ordering::Relaxed) + it.query_free.load(Ordering::Relaxed));
    let output = most(&|it| it.output_bytes.load(Ordering::Relaxed));
    let watching = clients.iter().filter(|it| it.watching.load(Ordering::Relaxed) != 0).count();
    let listening = clients.iter().filter(|it| it.flags().contains(ClientFlags::PUBSUB)).count();
    let (mut watched_keys, mut waited_keys, mut needed_keys) = (0, 0, 0);
    source.for_each_shard(|shard| {
        watched_keys += shard.watched_key_count();
        waited_keys += shard.waited_key_count();
        needed_keys += shard.needed_key_count();
    });

    let replicas = clients.iter().filter(|it| it.flags().contains(ClientFlags::REPLICA)).count();
    text.field("connected_clients", clients.len() - replicas);
    text.field("cluster_connections", 0);
    text.field("maxclients", server.config.load().maxclients);
    text.field("client_recent_max_input_buffer", input);
    text.field("client_recent_max_output_buffer", output);
    text.field("blocked_clients", server.total(|it| it.blocked_clients.get()));
    text.field("tracking_clients", server.trackers.len());
    text.field("pubsub_clients", listening);
    text.field("watching_clients", watching);
    text.field("clients_in_timeout_table", server.total(|it| it.timed_waits.get()));
    text.field("total_watched_keys", watched_keys);
    text.field("total_blocking_keys", waited_keys);
    text.field("total_blocking_keys_on_nokey", needed_keys);
    let now = monotonic_millis() as i64;
    let why = match server.pause.held_for() {
        Some(Hold::Shutdown) => "shutdown_in_progress",
        Some(Hold::Failover) => "failover_in_progress",
        None => "client_pause",
    };
    let (reason, actions, until) = match server.pause.in_force(now) {
        None => ("none", "none", now),
        Some((true, until)) => (why, "all", until),
        Some((false, until)) => (why, "write", until),
    };
    text.field("paused_reason", reason);
    text.field("paused_actions", actions);
    text.field("paused_timeout_milliseconds", until - now);
}
