//! How evenly slots are shared: what this node does about it, and a node that is to be empty.

use rubine_cluster::message::NodeFlags;
use rubine_cluster::{NO_NODE, View};
use rubine_commands::{CommandError, CommandResult};

use super::cluster_of;
use crate::core::Session;

/// REBALANCE STATUS.
pub(super) fn rebalance(session: &mut Session<'_>) -> CommandResult {
    let cluster = cluster_of(session)?;
    if !session.args.at(2).eq_ignore_ascii_case(b"STATUS") {
        return Err(CommandError::Syntax);
    }
    let report = cluster.balancing.report();
    let metric = session.core.server.config.load().cluster_auto_rebalance.name();
    let reply = &mut session.reply;
    reply.map(7);
    let mut text = |name: &str, value: &str| {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    };
    text("metric", metric);
    text("state", report.doing.name());
    text("reason", &report.doing.reason());
    text("last_failure", &report.last_failure);
    let numbers = [
        ("moves", report.moves),
        ("moved_slots", report.moved_slots),
        ("failed_moves", report.failed_moves),
    ];
    for (name, value) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(value as i64);
    }
    Ok(())
}

/// DRAIN, for this node alone: only its owner can have slots go.
pub(super) fn drain(session: &mut Session<'_>) -> CommandResult {
    let cluster = cluster_of(session)?;
    let (view, args) = (cluster.view(), session.args);
    if 3 < args.len() {
        return Err(CommandError::Syntax);
    }
    match args.get(2) {
        Some(word) if word.eq_ignore_ascii_case(b"CANCEL") => {
            if !cluster.balancing.drain(false) {
                return Err(CommandError::text("ERR This node is not being drained"));
            }
            cluster.wake();
            session.reply.ok();
            return Ok(());
        }
        Some(word) if word.eq_ignore_ascii_case(b"STATUS") => {
            let lines = status(
                &view,
                cluster.balancing.is_draining(),
                &cluster.balancing.report().doing.reason(),
            );
            session.reply.array(lines.len());
            lines.iter().for_each(|it| session.reply.bulk(it.as_bytes()));
            return Ok(());
        }
        Some(name) => check_name(&view, name)?,
        None => {}
    }
    check_node(&view)?;
    cluster.balancing.drain(true);
    cluster.wake();
    session.reply.ok();
    Ok(())
}

/// Whether a name is this node's. It is told where the other one is otherwise.
fn check_name(view: &View, name: &[u8]) -> Result<(), CommandError> {
    let node = view.nodes.iter().find(|it| it.id.as_bytes() == name);
    let Some(node) = node else {
        return Err(CommandError::quoting(&[b"ERR Unknown node ", name]));
    };
    if node.id == view.myself().id {
        return Ok(());
    }
    let text =
        format!("ERR A node is drained by itself: send CLUSTER DRAIN to {}:{}", node.ip, node.port);
    Err(CommandError::Other(text.into()))
}

fn check_node(view: &View) -> Result<(), CommandError> {
    let other = |(index, node): (usize, &rubine_cluster::NodeView)| {
        index != usize::from(view.me) && node.flags.contains(NodeFlags::PRIMARY)
    };
    if view.is_replica() {
        return Err(CommandError::text("ERR This node is a replica and has no slots: it may go"));
    }
    if !view.nodes.iter().enumerate().any(other) {
        return Err(CommandError::text("ERR There is no other primary that could take the slots"));
    }
    Ok(())
}

/// How far it is, in plain words.
fn status(view: &View, is_draining: bool, reason: &str) -> Vec<String> {
    let slots = (0..view.owners.len() as u16).filter(|it| view.is_mine(*it)).count();
    let followers = || {
        let ours = view.nodes.iter().filter(|it| it.primary == view.me && it.primary != NO_NODE);
        ours.map(|it| it.id.to_string())
    };
    if !is_draining {
        return vec![format!("This node is not being drained. It has {slots} slots.")];
    }
    if 0 < slots {
        return vec![format!("{slots} slots have to go. {reason}").trim_end().to_owned()];
    }
    if view.is_replica() || followers().next().is_none() {
        return vec!["This node has no slots: it may go.".to_owned()];
    }
    let follow =
        |it| format!("{it} follows this node still: CLUSTER REPLICATE has it follow another.");
    followers().map(follow).collect()
}
