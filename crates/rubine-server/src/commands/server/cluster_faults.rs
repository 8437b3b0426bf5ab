//! The forms of DEBUG that spoil the bus of a cluster for tests. A server without a cluster has nothing to spoil.

use rubine_base::number::parse_i64;
use rubine_cluster::{Direction, Fault};
use rubine_commands::{CommandError, CommandResult};

use crate::command_table::wrong_form;
use crate::core::{ServerCommand, Session};

pub(super) const CLOSE_ON_DROP: ServerCommand =
    super::form("CLOSE-CLUSTER-LINK-ON-PACKET-DROP", close_on_drop)
        .summary(
            "Decides whether a connection of the bus is closed when a packet of it is dropped.",
        )
        .syntax("0|1")
        .arity(3);

fn close_on_drop(session: &mut Session<'_>) -> CommandResult {
    set(session, Fault::CloseOnDrop)
}

pub(super) const DISABLE_RANDOM_PING: ServerCommand =
    super::form("DISABLE-CLUSTER-RANDOM-PING", disable_random_ping)
        .summary("Decides whether no node of the cluster is pinged by chance.")
        .syntax("0|1")
        .arity(3);

fn disable_random_ping(session: &mut Session<'_>) -> CommandResult {
    set(session, Fault::NoRandomPing)
}

pub(super) const DISABLE_RECONNECTION: ServerCommand =
    super::form("DISABLE-CLUSTER-RECONNECTION", disable_reconnection)
        .summary("Decides whether a connection of the bus that is gone is not made again.")
        .syntax("0|1")
        .arity(3);

fn disable_reconnection(session: &mut Session<'_>) -> CommandResult {
    set(session, Fault::NoReconnection)
}

pub(super) const DROP_PACKETS: ServerCommand =
    super::form("DROP-CLUSTER-PACKET-FILTER", drop_packets)
        .summary("Has packets of one kind be dropped as they come, of all (-2), or of none (-1).")
        .syntax("packet-type")
        .arity(3);

fn drop_packets(session: &mut Session<'_>) -> CommandResult {
    let kind = session.args.integer(2)?;
    apply(session, Fault::DropPackets(kind));
    Ok(())
}

pub(super) const CLUSTERLINK: ServerCommand = super::form("CLUSTERLINK", kill_links)
    .summary("Closes the connection to a node, the one that it has made, or both.")
    .syntax("KILL <to | from | all> node-id")
    .arity(5);

fn kill_links(session: &mut Session<'_>) -> CommandResult {
    let args = session.args;
    if !args.at(2).eq_ignore_ascii_case(b"kill") {
        return Err(wrong_form(args, "DEBUG"));
    }
    let Some(cluster) = &session.core.server.cluster else {
        return Err(CommandError::text(
            "ERR Debug option only available for cluster mode enabled setup!",
        ));
    };
    let direction = match args.at(3).to_ascii_lowercase().as_slice() {
        b"to" => Direction::To,
        b"from" => Direction::From,
        b"all" => Direction::All,
        other => return Err(CommandError::quoting(&[b"ERR Unknown direction ", other])),
    };
    // What is published next, perhaps in the same transaction, is not to be sent there any more. So the machine does it at
    // once, and its thread closes what the machine knows no more.
    let killed = cluster.ask(|machine, now| machine.kill_links(direction, args.at(4), now));
    killed.map_err(|error| CommandError::Other(error.to_string().into()))?;
    cluster.wake();
    session.reply.ok();
    Ok(())
}

/// A fault that argument 2 switches. As in C, all that is no number is 0.
fn set(session: &mut Session<'_>, fault: fn(bool) -> Fault) -> CommandResult {
    let is_on = parse_i64(session.args.at(2)).unwrap_or(0) != 0;
    apply(session, fault(is_on));
    Ok(())
}

fn apply(session: &mut Session<'_>, fault: Fault) {
    if let Some(cluster) = &session.core.server.cluster {
        cluster.ask(|machine, _| machine.set_fault(fault));
    }
    session.reply.ok();
}
