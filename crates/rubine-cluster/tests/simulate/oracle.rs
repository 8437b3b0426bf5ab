//! What must hold.

use std::collections::{BTreeMap, BTreeSet};

use rubine_cluster::id::NodeId;
use rubine_cluster::message::{Body, Message, NodeFlags};
use rubine_cluster::slots::SLOT_COUNT;
use rubine_cluster::{NO_NODE, State};

use crate::server::{Name, Op, WriteId};
use crate::world::World;

#[derive(Default)]
pub(crate) struct Oracle {
    /// Whom a node has voted for in an epoch.
    votes: BTreeSet<(NodeId, u64)>,
    /// Who has claimed which slots in an epoch.
    claims: BTreeMap<u64, (NodeId, Vec<u16>)>,
    /// Epochs that somebody has given himself without asking.
    pub(crate) taken: BTreeSet<u64>,
    pub(crate) acknowledged: Vec<(u16, WriteId)>,
    pub(crate) written: u64,
    pub(crate) elected: u64,
    pub(crate) moved: u64,
    /// How often somebody was allowed to move slots.
    pub(crate) turns: u64,
}

impl Oracle {
    pub(crate) fn hear(&mut self, text: &str) {
        self.elected += u64::from(text.starts_with("Failover election won"));
        let is_taken =
            text.starts_with("New configEpoch") || text.starts_with("configEpoch collision");
        let number = text.rsplit(' ').next().and_then(|it| it.parse::<u64>().ok());
        self.taken.extend(number.filter(|_| is_taken));
    }
}

impl World {
    /// What is said to others is on disk.
    pub(crate) fn check_sent(&mut self, who: Name, message: &Message) -> Result<(), String> {
        let Message::Full { header, body } = message else { return Ok(()) };
        let server = &self.servers[who];
        if server.disk.is_none() {
            return Err(format!("{who} speaks before anything is on disk"));
        }
        let (epoch, id) = (header.current_epoch, header.sender);
        match body {
            Body::FailoverAuthAck => {
                if server.saved_epochs.vote != epoch {
                    return Err(format!("{who} votes in epoch {epoch}, which is not on disk"));
                }
                if !self.oracle.votes.insert((id, epoch)) {
                    return Err(format!("{who} votes twice in epoch {epoch}"));
                }
            }
            Body::FailoverAuthRequest if server.saved_epochs.current < epoch => {
                return Err(format!("{who} asks for votes in epoch {epoch}, which is not on disk"));
            }
            _ => {}
        }
        if header.primary.is_some() || !header.flags.contains(NodeFlags::PRIMARY) {
            return Ok(());
        }
        let own = self.servers[who].saved_epochs.own;
        if own < header.config_epoch {
            return Err(format!(
                "{who} claims epoch {}, and {own} is on disk",
                header.config_epoch
            ));
        }
        self.check_claim(id, header.config_epoch, header)
    }

    /// No two nodes claim a slot in the same epoch, unless somebody has given himself one without asking.
    fn check_claim(
        &mut self,
        id: NodeId,
        epoch: u64,
        header: &rubine_cluster::message::Header,
    ) -> Result<(), String> {
        if self.settings.has_force || self.oracle.taken.contains(&epoch) {
            return Ok(());
        }
        let hot = self.hot_slots.iter().copied().filter(|it| header.slots.contains(*it)).collect();
        match self.oracle.claims.get(&epoch) {
            Some((other, slots)) if *other != id => {
                let both: Vec<_> = slots.iter().filter(|it| header.slots.contains(**it)).collect();
                if !both.is_empty() {
                    return Err(format!("{id} and {other} claim {both:?} in epoch {epoch}"));
                }
            }
            _ => {
                self.oracle.claims.insert(epoch, (id, hot));
            }
        }
        Ok(())
    }

    /// What must be true when nothing has gone wrong for long.
    pub(crate) fn check_peace(&mut self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for who in 0..self.servers.len() {
            let server = &self.servers[who];
            let view = server.view.as_ref().ok_or("no view")?;
            if view.state != State::Ok {
                return Err(format!("{who} thinks the cluster to be {:?}", view.state));
            }
            if !view.migrating.is_empty() || !view.importing.is_empty() {
                return Err(format!("{who} has open slots"));
            }
            let owners: Vec<Option<NodeId>> =
                (0..SLOT_COUNT as u16).map(|it| view.owner(it).map(|it| it.id)).collect();
            let nodes: Vec<_> = view
                .nodes
                .iter()
                .map(|it| {
                    let primary =
                        (it.primary != NO_NODE).then(|| view.nodes[usize::from(it.primary)].id);
                    let role = it.flags & (NodeFlags::PRIMARY | NodeFlags::REPLICA);
                    let failing = it.flags & (NodeFlags::FAIL | NodeFlags::PFAIL);
                    let epoch = if it.flags.contains(NodeFlags::PRIMARY) { it.epoch } else { 0 };
                    (it.id, role.bits(), primary, failing.bits(), epoch, it.shard, it.ip.clone())
                })
                .collect();
            seen.insert((owners, nodes));
        }
        if let [first, .., last] = &seen.iter().collect::<Vec<_>>()[..] {
            let differences: Vec<String> = first
                .1
                .iter()
                .zip(&last.1)
                .filter(|(a, b)| a != b)
                .map(|(a, b)| format!("{a:?}\n     rather {b:?}"))
                .collect();
            let slots = first.0.iter().zip(&last.0).filter(|(a, b)| a != b).count();
            differences.iter().for_each(|it| self.tell(it));
            return Err(format!("{} views, that differ in {slots} slots", seen.len()));
        }
        let (_, nodes) = seen.first().expect("there is one");
        if nodes.len() != self.servers.len() {
            return Err(format!(
                "{} nodes are known, there are {}",
                nodes.len(),
                self.servers.len()
            ));
        }
        let epochs: Vec<u64> = nodes.iter().map(|it| it.4).filter(|it| *it != 0).collect();
        if epochs.iter().collect::<BTreeSet<_>>().len() != epochs.len() {
            return Err(format!("two primaries have the same epoch: {epochs:?}"));
        }
        if self.oracle.turns == 0 {
            return Err("nobody could move slots when all was well".to_owned());
        }
        self.check_data()
    }

    fn check_data(&mut self) -> Result<(), String> {
        for server in self.servers.iter().filter(|it| !it.is_primary()) {
            let primary = self.servers.iter().find(|it| Some(it.ip) == server.follows);
            let Some(primary) = primary else {
                return Err(format!("{} follows nobody", server.name));
            };
            // The last writes may be under way.
            let behind = primary.log.len().saturating_sub(server.log.len());
            if 100 < behind || server.log[..] != primary.log[..server.log.len()] {
                return Err(format!("{} does not have what {} has", server.name, primary.name));
            }
        }
        for (slot, id) in self.oracle.acknowledged.clone() {
            let has = |it: &&crate::server::Server| {
                it.is_primary() && it.data.get(&slot).is_some_and(|ids| ids.contains(&id))
            };
            let holders: Vec<Name> = self.servers.iter().filter(has).map(|it| it.name).collect();
            let owner = self.servers.iter().find(|it| {
                it.is_primary() && it.view.as_ref().is_some_and(|view| view.is_mine(slot))
            });
            if holders != owner.iter().map(|it| it.name).collect::<Vec<_>>() {
                let owner = owner.map(|it| it.name);
                self.tell_of_write(slot, id);
                return Err(format!("write {id} of slot {slot}, {owner:?}'s, is at {holders:?}"));
            }
        }
        Ok(())
    }

    /// Where a write was, for the story.
    fn tell_of_write(&mut self, slot: u16, id: WriteId) {
        let mut lines = Vec::new();
        for server in &self.servers {
            for (at, op) in server.log.iter().enumerate() {
                let concerns = match op {
                    Op::Add { id: other, .. } | Op::Remove { id: other, .. } => *other == id,
                    Op::DropSlot { slot: other } => *other == slot,
                };
                if concerns {
                    lines.push(format!("{} has at {at}: {op:?}", server.name));
                }
            }
        }
        lines.iter().for_each(|it| self.tell(it));
    }
}
