//! Metrics of clients: who is connected, what they wait for, whom they listen to, what was refused them.

use rubine_acl::Reason;

use super::row::{Row, counter, gauge};
use crate::client::subscriptions::ChannelKind;

pub(super) const ROWS: &[Row] = &[
    gauge("redis_connected_clients", "Clients that are connected, without replicas.", |it| {
        it.clients.connected as f64
    }),
    gauge("redis_blocked_clients", "Clients that wait in a command such as BLPOP.", |it| {
        it.total(|it| it.blocked_clients.get())
    }),
    gauge("redis_max_clients", "Clients that may be connected at a time.", |it| {
        f64::from(it.config.maxclients)
    }),
    gauge("redis_tracking_clients", "Clients that keep copies of keys.", |it| {
        it.server.trackers.len() as f64
    }),
    gauge("redis_pubsub_clients", "Clients that listen to channels.", |it| {
        it.clients.listening as f64
    }),
    gauge("redis_watching_clients", "Clients that WATCH keys.", |it| it.clients.watching as f64),
    gauge("redis_clients_in_timeout_table", "Clients that wait and will give up.", |it| {
        it.total(|it| it.timed_waits.get())
    }),
    gauge("redis_total_watched_keys", "Keys under WATCH.", |it| it.shards.watched_keys as f64),
    gauge("redis_total_blocking_keys", "Keys that clients wait for.", |it| {
        it.shards.waited_keys as f64
    }),
    gauge(
        "redis_total_blocking_keys_on_nokey",
        "Keys whose removal clients wait for, too.",
        |it| it.shards.needed_keys as f64,
    ),
    gauge(
        "redis_client_recent_max_input_buffer_bytes",
        "The largest query buffer of any client.",
        |it| it.clients.input_max as f64,
    ),
    gauge(
        "redis_client_recent_max_output_buffer_bytes",
        "The largest output of any client.",
        |it| it.clients.output_max as f64,
    ),
    counter("redis_connections_received_total", "Connections that were accepted.", |it| {
        it.total(|it| it.connections_received.get())
    }),
    counter("redis_rejected_connections_total", "Connections refused due to maxclients.", |it| {
        it.total(|it| it.rejected_connections.get())
    }),
    counter("redis_evicted_clients_total", "Clients closed due to maxmemory-clients.", |it| {
        it.total(|it| it.evicted_clients.get())
    }),
    counter(
        "redis_client_query_buffer_limit_disconnections_total",
        "Clients closed because their queries were too long.",
        |it| it.total(|it| it.query_buffer_limit_disconnections.get()),
    ),
    counter(
        "redis_client_output_buffer_limit_disconnections_total",
        "Clients closed because their output was too long.",
        |it| it.total(|it| it.output_buffer_limit_disconnections.get()),
    ),
    counter("redis_reply_buffer_shrinks_total", "0, since reply buffers are not resized.", |_| 0.0),
    counter("redis_reply_buffer_expands_total", "0, since reply buffers are not resized.", |_| 0.0),
    gauge("redis_pubsub_channels", "Channels that anybody listens to.", |it| {
        it.server.pubsub.len(ChannelKind::Channel) as f64
    }),
    gauge("redis_pubsub_patterns", "Patterns that anybody listens to.", |it| {
        it.server.pubsub.len(ChannelKind::Pattern) as f64
    }),
    gauge("redis_pubsubshard_channels", "Shard channels that anybody listens to.", |it| {
        it.server.pubsub.len(ChannelKind::ShardChannel) as f64
    }),
    gauge("redis_tracking_total_keys", "Keys of which clients keep copies.", |it| {
        it.server.keyspace.tracked().keys() as f64
    }),
    gauge("redis_tracking_total_items", "Copies of keys that clients keep.", |it| {
        it.server.keyspace.tracked().items() as f64
    }),
    gauge("redis_tracking_total_prefixes", "Prefixes of keys of which clients are told.", |it| {
        it.server.trackers.prefix_count() as f64
    }),
    counter("redis_acl_access_denied_auth_total", "Refused logins.", |it| {
        it.server.access.refusal_count(Reason::Auth) as f64
    }),
    counter("redis_acl_access_denied_cmd_total", "Commands that users may not run.", |it| {
        it.server.access.refusal_count(Reason::Command) as f64
    }),
    counter("redis_acl_access_denied_key_total", "Keys that users may not touch.", |it| {
        it.server.access.refusal_count(Reason::Key) as f64
    }),
    counter("redis_acl_access_denied_channel_total", "Channels that users may not use.", |it| {
        it.server.access.refusal_count(Reason::Channel) as f64
    }),
];
