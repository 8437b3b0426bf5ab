//! The reasons to put a request off before it runs. Never refuses one, and never changes anything.

use rubine_commands::{Args, Flags};
use rubine_replication::failover::Phase;

use super::{Request, is_queued};
use crate::client::queue::Transaction;
use crate::client::slot::RequestSlot;
use crate::client::{Client, ClientFlags};
use crate::command_table::Entry;
use crate::core::Core;
use crate::core::scripts::flags_of;

type Delay = fn(Request<'_>) -> bool;

/// Every reason, in order.
const DELAYS: &[Delay] =
    &[log_is_behind, relay_is_behind, is_paused, slots_move, keys_move, master_changes];

/// Whether there is anything that any reason looks for, which is rare: one look in place of one for each of them.
#[inline]
pub(super) fn may_hold(core: &Core, client: &Client) -> bool {
    core.is_throttled
        || core.is_relay_behind
        || client.flags.contains(ClientFlags::CAPA_REDIRECT)
        || core.server.pause.in_force(core.monotonic_ms).is_some()
        || (core.view.is_some() && core.server.pause.holds_slots())
        || core.server.aside.moving.has_contested()
}

/// Whether a request has to wait.
#[cold]
pub(super) fn hold(request: Request<'_>) -> bool {
    DELAYS.iter().any(|delay| delay(request))
}

/// Whether a request writes, or might, or runs queued ones that do.
fn may_change_data(request: Request<'_>) -> bool {
    let Request { core, client, entry, args } = request;
    let changing = Flags::WRITE | Flags::MAY_REPLICATE;
    client.runs_any(entry, changing)
        && (client.queue_of(entry).is_some()
            || flags_of(core.server, entry, args).intersects(changing))
}

/// The append-only file is so far behind that no more may be written now.
fn log_is_behind(request: Request<'_>) -> bool {
    request.core.is_throttled && may_change_data(request)
}

/// So many messages wait for the thread of the cluster that no more may be published now.
fn relay_is_behind(request: Request<'_>) -> bool {
    let Request { core, client, entry, .. } = request;
    core.is_relay_behind && client.runs_any(entry, Flags::MAY_REPLICATE)
}

/// Clients are paused, or those that write.
fn is_paused(request: Request<'_>) -> bool {
    let core = request.core;
    let in_force = core.server.pause.in_force(core.monotonic_ms);
    in_force.is_some_and(|(is_total, _)| is_total || may_change_data(request))
}

/// It would write to a slot that is about to be another node's, or might.
fn slots_move(request: Request<'_>) -> bool {
    let Request { core, client, entry, args } = request;
    let Some(held) = core.server.pause.held_slots() else { return false };
    if client.identity.is_trusted() || is_queued(client, entry) || !may_change_data(request) {
        return false;
    }
    let queue = client.queue_of(entry);
    match queue.map_or_else(|| RequestSlot::of(entry.spec, args), Transaction::slot) {
        RequestSlot::One(slot) => held.contains(slot),
        // It may be about any.
        RequestSlot::Any => {
            flags_of(core.server, entry, args).contains(Flags::WRITE)
                || client.runs_any(entry, Flags::WRITE)
        }
        RequestSlot::Several => false,
    }
}

/// Whether a client that can be told where a request belongs has it at a replica, and it belongs to the master.
pub(super) fn is_elsewhere(request: Request<'_>) -> bool {
    let Request { core, client, entry, .. } = request;
    client.flags.contains(ClientFlags::CAPA_REDIRECT)
        && core.server.replication.following.is_replica()
        && (client.runs_any(entry, Flags::WRITE)
            || (client.runs_any(entry, Flags::READONLY)
                && !client.flags.contains(ClientFlags::READONLY)))
}

/// Whether another server is about to become the master in this one's place: until it is, it would send clients back.
pub(super) fn is_handing_over(core: &Core) -> bool {
    core.server.replication.failover.lock().phase() == Phase::InProgress
}

/// It belongs to a master that is not one yet.
fn master_changes(request: Request<'_>) -> bool {
    is_elsewhere(request) && is_handing_over(request.core)
}

/// It would change a key that nobody may change now but the client that moves it.
fn keys_move(request: Request<'_>) -> bool {
    let Request { core, client, entry, args } = request;
    let moving = &core.server.aside.moving;
    let may_be_held = moving.has_contested() && !client.moves_keys() && may_change_data(request);
    if !may_be_held || is_queued(client, entry) {
        return false;
    }
    moving.holds_one_of(|look| {
        let mut look_at = |entry: &Entry, args: Args<'_>| {
            entry.spec.for_each_key(args, |index| look(args.at(index)));
        };
        look_at(entry, args);
        if let Some(queue) = client.queue_of(entry) {
            queue.commands().for_each(|(entry, args)| look_at(entry, args));
        }
    })
}
