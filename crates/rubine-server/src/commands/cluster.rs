//! CLUSTER: what this node knows of its cluster, and orders about it. What they mean, the machine of `rubine-cluster` knows.
//!
//! What only shows something is answered by the worker. An order is carried out by the thread of the cluster, since its
//! effects may have to be on disk before it is answered; no worker waits for that.

mod balance;
mod change;
mod migrate;
mod set_slot;
mod show;
mod slots;
mod task;

use rubine_base::clock::Millis;
use rubine_cluster::{Asker, Cluster as Machine, OperationError};
use rubine_commands::{CommandError, CommandResult, Databases, Flags};

use super::connection::NO_CLUSTER;
use crate::cluster::{Answer, Cluster, Job};
use crate::core::{ServerCommand, Session, SessionHandler};

pub(crate) const COMMANDS: &[ServerCommand] = &[CLUSTER];

/// What all forms have that only show something.
const SHOWS: Flags = Flags::LOADING.union(Flags::STALE);

/// What all orders have. In a transaction they would be carried out later than the commands around them.
const CHANGES: Flags = Flags::NO_ASYNC_LOADING
    .union(Flags::ADMIN)
    .union(Flags::STALE)
    .union(Flags::NO_MULTI)
    .union(Flags::NOSCRIPT);

/// What all forms have that are about slots which move by themselves.
const MIGRATES: Flags = Flags::NO_ASYNC_LOADING.union(Flags::ADMIN).union(Flags::STALE);

/// A connection that brings slots is no client any more, so it cannot become one within a transaction or a script.
const SYNCS: Flags =
    MIGRATES.union(Flags::MAY_REPLICATE).union(Flags::NO_MULTI).union(Flags::NOSCRIPT);

const CLUSTER: ServerCommand = ServerCommand::container(
    "CLUSTER",
    super::server::never_runs,
    &[
        order("ADDSLOTS", -3, slots::add)
            .summary("Has this node serve slots that nobody serves.")
            .syntax("slot [slot ...]")
            .complexity("O(N) with N the number of slots."),
        order("ADDSLOTSRANGE", -4, slots::add_ranges)
            .summary("Has this node serve ranges of slots that nobody serves.")
            .syntax("start-slot end-slot [start-slot end-slot ...]")
            .since("7.0.0")
            .complexity("O(N) with N the number of slots."),
        order("BUMPEPOCH", 2, change::bump_epoch)
            .summary("Gives this node an epoch that is higher than all others."),
        migrates("CANCELSLOTMIGRATIONS", 2, migrate::cancel)
            .databases(Databases::All)
            .summary("Ends all migrations of slots from this node.")
            .complexity("O(N) with N the number of migrations."),
        show("COUNT-FAILURE-REPORTS", 3, change::count_failure_reports)
            .summary("Returns how many nodes have told that a node does not answer.")
            .syntax("node-id")
            .flag(Flags::ADMIN),
        order("DELSLOTS", -3, slots::delete)
            .summary("Forgets who serves slots.")
            .syntax("slot [slot ...]")
            .complexity("O(N) with N the number of slots."),
        order("DELSLOTSRANGE", -4, slots::delete_ranges)
            .summary("Forgets who serves ranges of slots.")
            .syntax("start-slot end-slot [start-slot end-slot ...]")
            .since("7.0.0")
            .complexity("O(N) with N the number of slots."),
        migrates("DRAIN", -2, balance::drain)
            .summary("Has all slots of this node go to others, so that it may go itself.")
            .syntax("[node-id | CANCEL | STATUS]"),
        show("EXPLAIN", -2, show::explain)
            .summary("Tells in words why the cluster, or a node of it, is as it is.")
            .syntax("[node-id]"),
        order("FAILOVER", -2, change::failover)
            .summary("Has this replica take its primary's place.")
            .syntax("[FORCE | TAKEOVER]"),
        order("FLUSHSLOTS", 2, slots::flush).summary("Forgets which slots this node serves."),
        order("FORGET", 3, change::forget)
            .summary("Forgets a node, and does not take it in again for a while.")
            .syntax("node-id"),
        migrates("GETSLOTMIGRATIONS", 2, migrate::get)
            .summary("Returns the migrations of slots from and to this node that go on, or were over lately.")
            .complexity("O(N) with N the number of migrations."),
        show("INFO", 2, show::info).summary("Returns the state of the cluster."),
        show("LINKS", 2, show::links)
            .summary("Returns the connections of the bus.")
            .since("7.0.0")
            .complexity("O(N) with N the number of nodes."),
        order("MEET", -4, change::meet)
            .summary("Has this node get to know another one, and by it the rest of a cluster.")
            .syntax("ip port [cluster-bus-port]"),
        migrates("MIGRATESLOTS", -4, migrate::migrate)
            .databases(Databases::All)
            .summary("Moves slots with all their keys to other nodes, in one step for clients.")
            .syntax(
                "<SLOTSRANGE start-slot end-slot [start-slot end-slot ...] NODE node-id> \
                 [SLOTSRANGE start-slot end-slot [start-slot end-slot ...] NODE node-id ...]",
            )
            .complexity("O(N) with N the number of slots."),
        migrates("MIGRATION", -4, task::migration)
            .databases(Databases::All)
            .summary("Has slots with all their keys come from other nodes, shows how far that is, and ends it.")
            .syntax(
                "<IMPORT start-slot end-slot [start-slot end-slot ...] | CANCEL <ID task-id | ALL> | \
                 STATUS <ID task-id | ALL>>",
            )
            .since("8.4.0")
            .complexity("O(N) with N the number of slots."),
        show("MYID", 2, show::my_id).summary("Returns the id of this node."),
        show("MYSHARDID", 2, show::my_shard_id)
            .summary("Returns the id of the shard that this node belongs to.")
            .since("7.2.0"),
        show("NODES", 2, show::nodes)
            .summary("Returns all nodes, in the format of the configuration file.")
            .complexity("O(N) with N the number of nodes."),
        show("REBALANCE", 3, balance::rebalance)
            .summary("Returns what this node does to share slots evenly.")
            .syntax("STATUS"),
        show("REPLICAS", 3, show::replicas)
            .summary("Returns the replicas of a primary.")
            .syntax("node-id")
            .since("5.0.0")
            .complexity("O(N) with N the number of replicas.")
            .flag(Flags::ADMIN),
        order("REPLICATE", -3, change::replicate)
            .summary("Makes this node the replica of a primary, or an empty primary.")
            .syntax("node-id | NO ONE"),
        order("RESET", -2, change::reset)
            .summary("Forgets the cluster.")
            .syntax("[HARD | SOFT]")
            .complexity("O(N) with N the number of nodes, and of keys if it is a replica."),
        order("SAVECONFIG", 2, change::save_config)
            .summary("Writes the configuration of the cluster to disk."),
        order("SET-CONFIG-EPOCH", 3, change::set_config_epoch)
            .summary("Gives a node that knows no other its first epoch.")
            .syntax("config-epoch"),
        order("SETSLOT", -4, set_slot::run)
            .summary("Says where a slot is, or that it is being moved.")
            .syntax(
                "slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE> [TIMEOUT milliseconds]",
            ),
        show("SHARDS", 2, show::shards)
            .summary("Returns the shards, with their slots and nodes.")
            .since("7.0.0")
            .complexity("O(N) with N the number of nodes."),
        show("SLAVES", 3, show::replicas)
            .summary("Returns the replicas of a primary.")
            .syntax("node-id")
            .complexity("O(N) with N the number of replicas.")
            .flag(Flags::ADMIN),
        show("SLOTS", 2, show::slots)
            .summary("Returns which nodes serve which ranges of slots.")
            .complexity("O(N) with N the number of nodes."),
        ServerCommand::declare("SYNCSLOTS", migrate::sync)
            .summary("What nodes say to each other while slots move.")
            .syntax("subcommand [argument ...]")
            .since("9.0.0")
            .complexity("Depends on the subcommand.")
            .arity(-3)
            .flag(SYNCS),
    ],
)
.summary("A container for commands about the cluster.")
.since("3.0.0")
.complexity("Depends on the subcommand.");

const fn show(name: &'static str, arity: i32, run: SessionHandler) -> ServerCommand {
    ServerCommand::declare(name, run).since("3.0.0").complexity("O(1)").arity(arity).flag(SHOWS)
}

const fn migrates(name: &'static str, arity: i32, run: SessionHandler) -> ServerCommand {
    ServerCommand::declare(name, run).since("9.0.0").complexity("O(1)").arity(arity).flag(MIGRATES)
}

const fn order(name: &'static str, arity: i32, run: SessionHandler) -> ServerCommand {
    ServerCommand::declare(name, run).since("3.0.0").complexity("O(1)").arity(arity).flag(CHANGES)
}

/// This server's part in its cluster, if it is in one.
fn cluster_of(session: &Session<'_>) -> Result<&'static Cluster, CommandError> {
    session.core.server.cluster.as_ref().ok_or(NO_CLUSTER)
}

/// Has the machine do something, after which the client is answered. Who asks is named in the log.
fn order_to(
    session: &mut Session<'_>,
    change: impl FnOnce(&mut Machine, &str, Millis) -> Result<Answer, OperationError> + Send + 'static,
) -> CommandResult {
    let cluster = cluster_of(session)?;
    let asker = session.client.info.address.clone();
    let Session { core, client, .. } = session;
    // What the primary says in its stream is answered to nobody.
    let waits = !client.identity.is_trusted();
    cluster.submit(Job {
        worker: core.index,
        client: waits.then_some(client.id),
        protocol: client.protocol,
        after: None,
        change: Box::new(move |machine, now| {
            change(machine, &asker, now).map_err(|error| error.to_string())
        }),
    });
    if waits {
        core.block_until_answered(client);
    } else {
        session.reply.ok();
    }
    Ok(())
}

/// As [`order_to`], for what is answered with OK.
fn order_that(
    session: &mut Session<'_>,
    change: impl FnOnce(&mut Machine, Asker<'_>, Millis) -> Result<(), OperationError> + Send + 'static,
) -> CommandResult {
    order_to(session, |machine, asker, now| {
        change(machine, Asker::Client(asker), now).map(|()| Answer::Ok)
    })
}
