//! CLUSTER SETSLOT: where a slot is, or that it is being moved key by key. Replicas hear of it first, so that none of them
//! takes the place of this node without knowing.

use rubine_cluster::migration::Operation;
use rubine_cluster::{Moving, SetSlot, SetSlotFacts};
use rubine_commands::{Args, CommandError, CommandResult};
use rubine_replication::leader::{Replica, State};

use super::cluster_of;
use super::slots::slot;
use crate::cluster::{Answer, Cluster, Confirmation, Job};
use crate::commands::connection::timeout_ms;
use crate::core::Session;
use crate::server::Server;

/// How long replicas may take to confirm, milliseconds, if nobody says otherwise.
const TIMEOUT_MS: i64 = 2000;
/// From this version on, replicas take SETSLOT from their primary.
const VERSION_MIN: u32 = 0x07_03_00;

/// What is asked for.
struct Order {
    slot: u16,
    action: Action,
    /// Until when replicas have to have confirmed, Unix milliseconds; `None` for ever.
    deadline: Option<i64>,
}

enum Action {
    Migrating(Vec<u8>),
    Importing(Vec<u8>),
    Stable,
    Node(Vec<u8>),
}

impl Order {
    fn parse(args: Args<'_>, now: i64) -> Result<Self, CommandError> {
        let slot = slot(args.at(2))?;
        let word = args.at(3);
        let node = args.get(4).map(<[u8]>::to_vec);
        let (action, mut at) = match node {
            Some(node) if word.eq_ignore_ascii_case(b"migrating") => (Action::Migrating(node), 5),
            Some(node) if word.eq_ignore_ascii_case(b"importing") => (Action::Importing(node), 5),
            Some(node) if word.eq_ignore_ascii_case(b"node") => (Action::Node(node), 5),
            _ if word.eq_ignore_ascii_case(b"stable") => (Action::Stable, 4),
            _ => {
                return Err(CommandError::text(
                    "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
                ));
            }
        };
        let mut deadline = Some(now + TIMEOUT_MS);
        while let Some(word) = args.get(at) {
            if word.eq_ignore_ascii_case(b"timeout") {
                let value = args.get(at + 1);
                let value = value.ok_or(CommandError::text("ERR Missing timeout value"))?;
                deadline = timeout_ms(value, now)?;
                at += 1;
            }
            at += 1;
        }
        Ok(Self { slot, action, deadline })
    }

    fn what(&self) -> SetSlot<'_> {
        match &self.action {
            Action::Migrating(node) => SetSlot::Migrating(node),
            Action::Importing(node) => SetSlot::Importing(node),
            Action::Stable => SetSlot::Stable,
            Action::Node(node) => SetSlot::Node(node),
        }
    }
}

pub(super) fn run(session: &mut Session<'_>) -> CommandResult {
    let cluster = cluster_of(session)?;
    let server = session.core.server;
    let is_from_primary = session.client.identity.is_trusted();
    let order = Order::parse(session.args, session.core.now)?;
    let facts = move |slot| facts(server, cluster, slot, is_from_primary);
    let checked = cluster
        .ask(|machine, _| machine.check_set_slot(order.slot, order.what(), facts(order.slot)));
    checked.map_err(|error| CommandError::Other(error.to_string().into()))?;
    let confirmation = if is_from_primary { None } else { tell_replicas(server, session, &order) };
    let Session { core, client, .. } = session;
    let job = Job {
        worker: core.index,
        client: (!is_from_primary).then_some(client.id),
        protocol: client.protocol,
        after: confirmation,
        change: Box::new(move |machine, now| {
            machine
                .set_slot(order.slot, order.what(), facts(order.slot), now)
                .map(|()| Answer::Ok)
                .map_err(|error| error.to_string())
        }),
    };
    cluster.submit(job);
    if is_from_primary {
        session.reply.ok();
    } else {
        core.block_until_answered(client);
    }
    Ok(())
}

/// Sends the order to the replicas that take it. Returns what has to be confirmed before it is carried out here.
fn tell_replicas(server: &Server, session: &Session<'_>, order: &Order) -> Option<Confirmation> {
    let takes_it = |version: Option<u32>| version.is_some_and(|it| VERSION_MIN <= it);
    let replicas = server.replication.replicas.with(|leader| {
        let takes_part =
            |it: &Replica| it.state == State::Online && takes_it(it.introduction.version);
        leader.replicas().filter(|(_, it)| takes_part(it)).count()
    });
    if replicas == 0 {
        return None;
    }
    let words: Vec<&[u8]> = session.args.from(0).collect();
    let second = (session.core.now / 1000) as u64;
    server.journal.tell_replicas(&words, second);
    let offset = server.journal.tell_replicas(&[b"REPLCONF", b"GETACK", b"*"], second);
    server.journal.notify();
    Some(Confirmation { offset, replicas, deadline: order.deadline })
}

/// What the machine has to know of a slot.
fn facts(server: &Server, cluster: &Cluster, slot: u16, is_from_primary: bool) -> SetSlotFacts {
    let has_keys = (0..server.settings.load().limits.databases)
        // A shard that somebody holds has keys, as far as is known.
        .any(|db| server.keyspace.slot_len(db, slot) != Ok(0));
    let moving = cluster.migrations.ask(|machine| match () {
        () if machine.is_any(Operation::Import) => Some(Moving::In),
        () if machine.is_any(Operation::Export) => Some(Moving::Out),
        () => None,
    });
    SetSlotFacts { is_from_primary, has_keys, moving }
}
