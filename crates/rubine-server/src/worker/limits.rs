//! Bounds on what one client may cost: requests that never end, replies that are never read, idleness. Decides and marks;
//! the worker closes. Never looks at what commands do.

use std::sync::atomic::Ordering;

use rubine_base::clock::monotonic_millis;

use super::handshakes;
use crate::client::line::{FIXED_OUTPUT_BYTES, log_line};
use crate::client::replica::ReplicaFeed;
use crate::client::suspension::Reason;
use crate::client::{Client, ClientFlags};
use crate::control::full_sync;
use crate::core::Core;
use crate::process::logging::user_data;
use rubine_config::OutputBufferLimit;
use rubine_journal::Hold;

/// Replies that a client which has never authenticated may leave unread.
const STRANGER_OUTPUT_BYTES_MAX: usize = 1024;
/// Bytes of a request that the log shows.
const SHOWN_QUERY_BYTES: usize = 64;
/// A buffer with no more room than this to spare is not worth making smaller.
const SPARE_BYTES_MIN: usize = 4 * 1024;
/// A query buffer up to this size is kept as it is while its client is busy.
const BUSY_QUERY_BYTES_MAX: usize = 32 * 1024;
/// After this time without a request a client gives back its buffers.
const IDLE_SECONDS: i64 = 2;

/// Marks a client to be closed that waits though the other side is gone: what it has sent and nobody has looked at may be
/// more than is read ahead, so that its end is not read.
#[inline]
pub(super) fn notice_end(client: &mut Client) {
    if client.input.is_read_closed && client.suspension().is_some_and(Reason::waits_for_others) {
        client.flags |= ClientFlags::CLOSE_NOW;
    }
}

/// Marks a client to be closed if its buffers have grown beyond their limits.
#[inline]
pub(super) fn enforce(core: &mut Core, client: &mut Client) {
    if core.settings.query_bytes_max < client.query_len() {
        enforce_query_limit(core, client);
    }
    if !client.output.is_empty() {
        enforce_output_limit(core, client);
    }
}

/// Marks a client to be closed if a message that it was sent is more than it may leave unread. Cheap, since a client
/// may get many before it can be written to.
pub(super) fn enforce_after_push(core: &mut Core, client: &mut Client) {
    let hard_bytes = output_limit(core, client).hard_bytes;
    if hard_bytes != 0 && hard_bytes <= client.output.buffered_bytes() as u64 {
        enforce_output_limit(core, client);
    }
}

#[cold]
fn enforce_query_limit(core: &mut Core, client: &mut Client) {
    // What is left may be many requests that have yet to run.
    let is_one_request = !client.input.may_parse || client.is_held();
    if !is_one_request || client.flags.contains(ClientFlags::CLOSE_NOW) {
        return;
    }
    client.flags |= ClientFlags::CLOSE_NOW;
    core.stats().query_buffer_limit_disconnections.add(1);
    let query = &client.input.query[client.input.query_start..];
    let shown = &query[..query.len().min(SHOWN_QUERY_BYTES)];
    let shown = user_data(&core.server.config.load(), shown);
    tracing::warn!(
        "Closing client that reached max query buffer length: {} (qbuf initial bytes: {shown})",
        line(core, client)
    );
}

/// Marks a client to be closed if it has left more unread than it may.
fn enforce_output_limit(core: &mut Core, client: &mut Client) {
    if exceeds_output_limit(core, client) {
        close_for_output(core, client);
    }
}

/// Marks a client to be closed that has left, or would have left, more unread than it may.
pub(super) fn close_for_output(core: &mut Core, client: &mut Client) {
    if client.flags.contains(ClientFlags::CLOSE_NOW) {
        return;
    }
    client.flags |= ClientFlags::CLOSE_NOW;
    core.stats().output_buffer_limit_disconnections.add(1);
    let line = line(core, client);
    tracing::warn!("Client {line} closed for overcoming of output buffer limits.");
}

/// How much a client may leave unread.
fn output_limit(core: &Core, client: &Client) -> OutputBufferLimit {
    if client.flags.contains(ClientFlags::PUBSUB) {
        core.settings.pubsub_output_limit
    } else if client.flags.contains(ClientFlags::MONITOR) {
        core.settings.monitor_output_limit()
    } else {
        core.settings.output_limit
    }
}

fn exceeds_output_limit(core: &Core, client: &mut Client) -> bool {
    let OutputBufferLimit { hard_bytes, soft_bytes, soft_seconds } = output_limit(core, client);
    let unsent = client.unsent_bytes().saturating_sub(FIXED_OUTPUT_BYTES);
    if !client.identity.was_authenticated && STRANGER_OUTPUT_BYTES_MAX < unsent {
        return true;
    }
    let unsent = unsent as u64;
    if hard_bytes != 0 && hard_bytes <= unsent {
        return true;
    }
    if soft_bytes == 0 || unsent < soft_bytes {
        client.sending.soft_limit_since = None;
        return false;
    }
    let since = *client.sending.soft_limit_since.get_or_insert(core.now / 1000);
    (soft_seconds as i64) < core.now / 1000 - since
}

/// Looks after a client that may have nothing to do: closes it if it has been idle for too long or does not read, and
/// takes memory back that it does not need.
pub(super) fn look_after(core: &mut Core, client: &mut Client) {
    let idle_seconds = core.now / 1000 - client.traffic.last_interaction / 1000;
    let idle_max = i64::from(core.settings.idle_seconds_max);
    let waits = client.blocked().is_some() || client.is_computing();
    let listens = ClientFlags::PUBSUB | ClientFlags::MONITOR | ClientFlags::REPLICA;
    let may_be_idle = waits || client.flags.intersects(listens);
    if idle_max != 0 && !may_be_idle && idle_max < idle_seconds {
        tracing::info!(target: "verbose", "Closing idle client");
        client.flags |= ClientFlags::CLOSE_NOW;
    }
    if let Some(replica) = &mut client.replica
        && is_too_slow(core, replica)
    {
        close_for_output(core, client);
    }
    handshakes::end_if_late(core, client);
    enforce(core, client);
    let is_idle = IDLE_SECONDS < idle_seconds;
    let before = (client.input.allocated_bytes(), client.output.allocated_bytes());
    shrink_query(client, is_idle);
    if is_idle {
        client.input.apart.rest();
    }
    let resting = &core.server.client_eviction.resting;
    if resting.peak_ms.load(Ordering::Relaxed) < core.now - client.traffic.last_interaction {
        client.sending.reply_peak = client.output.buffered_bytes();
    }
    if is_idle && client.output.is_empty() && resting.shrinks_output.load(Ordering::Relaxed) {
        client.output.shrink();
    }
    if before != (client.input.allocated_bytes(), client.output.allocated_bytes()) {
        client.publish();
        client.publish_output();
        core.count_client(client);
    }
}

/// Whether a replica is further behind than it may be for long, or has taken nothing for too long.
fn is_too_slow(core: &Core, replica: &mut ReplicaFeed) -> bool {
    let config = core.server.config.load();
    let now = monotonic_millis();
    let limit = config.client_output_buffer_limit.replica;
    let behind = replica.behind_bytes();
    if matches!(full_sync::hold(&config), Hold::UpTo(most) if most < behind) {
        return true;
    }
    if limit.soft_bytes == 0 || behind < limit.soft_bytes {
        replica.soft_limit_since = None;
    } else {
        let since = *replica.soft_limit_since.get_or_insert(now);
        if limit.soft_seconds * 1000 < now - since {
            return true;
        }
    }
    replica.has_pending() && u64::from(config.repl_timeout) * 1000 < now - replica.moved_at
}

fn shrink_query(client: &mut Client, is_idle: bool) {
    let peak = std::mem::replace(&mut client.input.query_peak, client.input.query.len());
    let capacity = client.input.query.capacity();
    if capacity - client.input.query.len() <= SPARE_BYTES_MIN {
        return;
    }
    if is_idle {
        client.input.keeps_query &= !client.input.query.is_empty();
        client.input.query.shrink_to_fit();
    } else if BUSY_QUERY_BYTES_MAX < capacity && peak < capacity / 2 {
        client.input.query.shrink_to(peak.max(client.input.query.len() + client.input.read_want));
    }
}

/// The client as the log shows it.
pub(super) fn line(core: &Core, client: &Client) -> String {
    client.publish();
    client.publish_output();
    log_line(&core.server.commands, &client.info, core.now, &core.server.config.load())
}
