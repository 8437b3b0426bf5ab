//! What this node knows of its cluster, as Valkey shows it.

use rubine_cluster::Viewer;
use rubine_commands::{CommandError, CommandResult};

use super::cluster_of;
use crate::core::Session;

pub(super) fn nodes(session: &mut Session<'_>) -> CommandResult {
    let (cluster, viewer) = (cluster_of(session)?, viewer(session));
    let text = cluster.ask(|machine, _| machine.nodes_text(viewer));
    session.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

pub(super) fn slots(session: &mut Session<'_>) -> CommandResult {
    let (cluster, viewer) = (cluster_of(session)?, viewer(session));
    cluster.ask(|machine, _| machine.reply_slots(viewer, &mut session.reply));
    Ok(())
}

pub(super) fn shards(session: &mut Session<'_>) -> CommandResult {
    let (cluster, viewer) = (cluster_of(session)?, viewer(session));
    cluster.ask(|machine, _| machine.reply_shards(viewer, &mut session.reply));
    Ok(())
}

pub(super) fn links(session: &mut Session<'_>) -> CommandResult {
    cluster_of(session)?.ask(|machine, _| machine.reply_links(&mut session.reply));
    Ok(())
}

pub(super) fn info(session: &mut Session<'_>) -> CommandResult {
    let text = cluster_of(session)?.ask(|machine, _| machine.info_text());
    session.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

pub(super) fn my_id(session: &mut Session<'_>) -> CommandResult {
    let view = cluster_of(session)?.view();
    session.reply.bulk(view.myself().id.to_string().as_bytes());
    Ok(())
}

pub(super) fn my_shard_id(session: &mut Session<'_>) -> CommandResult {
    let view = cluster_of(session)?.view();
    session.reply.bulk(view.myself().shard.to_string().as_bytes());
    Ok(())
}

pub(super) fn replicas(session: &mut Session<'_>) -> CommandResult {
    let (cluster, viewer) = (cluster_of(session)?, viewer(session));
    let lines = cluster.ask(|machine, _| machine.replica_lines(session.args.at(2), viewer));
    let lines = lines.map_err(|error| CommandError::Other(error.to_string().into()))?;
    session.reply.array(lines.len());
    lines.iter().for_each(|it| session.reply.bulk(it.as_bytes()));
    Ok(())
}

pub(super) fn explain(session: &mut Session<'_>) -> CommandResult {
    if 3 < session.args.len() {
        return Err(CommandError::Arity("cluster|explain".into()));
    }
    let cluster = cluster_of(session)?;
    let lines = match session.args.get(2) {
        None => Ok(cluster.ask(rubine_cluster::Cluster::explain)),
        Some(name) => cluster.ask(|machine, now| machine.explain_node(name, now)),
    };
    let lines = lines.map_err(|error| CommandError::Other(error.to_string().into()))?;
    session.reply.array(lines.len());
    lines.iter().for_each(|it| session.reply.bulk(it.as_bytes()));
    Ok(())
}

/// Which ports and addresses are meant for a client.
fn viewer(session: &Session<'_>) -> Viewer {
    let client = &session.client;
    Viewer { is_tls: client.socket.tls().is_some(), is_ipv6: client.info.address.starts_with('[') }
}
