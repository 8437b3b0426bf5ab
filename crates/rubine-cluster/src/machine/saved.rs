//! How the machine begins: anew, or with what was saved; and what of itself is saved.

use std::collections::BTreeMap;

use rubine_base::clock::Millis;
use rubine_base::random::Random;

use super::election::Election;
use super::faults::Faults;
use super::health::Health;
use super::links::Links;
use super::manual::ManualFailover;
use super::node::{Announced, Ground, Key, Node, Place, Verdict};
use super::promise::Fence;
use super::statistics::Statistics;
use super::table::Table;
use super::{Cluster, Todo, Turns};
use crate::config::Config;
use crate::effect::{Effects, Facts, Level};
use crate::id::{NodeId, ShardId};
use crate::message::NodeFlags;
use crate::slots::SlotSet;
use crate::text::Host;
use crate::view::Lease;

/// What is true of a node for longer than a process lives.
const SAVED_FLAGS: NodeFlags = NodeFlags::MYSELF
    .union(NodeFlags::PRIMARY)
    .union(NodeFlags::REPLICA)
    .union(NodeFlags::PFAIL)
    .union(NodeFlags::FAIL)
    .union(NodeFlags::NO_ADDRESS)
    .union(NodeFlags::NO_FAILOVER);
/// What every node of ours can do.
const ABILITIES: NodeFlags =
    NodeFlags::EXTENSIONS.union(NodeFlags::LIGHT_PUBLISH).union(NodeFlags::LIGHT_MODULE);

/// The configuration, as it is saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    pub current_epoch: u64,
    pub last_vote_epoch: u64,
    pub nodes: Vec<SavedNode>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedNode {
    pub id: NodeId,
    pub shard: Option<ShardId>,
    pub(crate) place: Place,
    pub(crate) announced: Announced,
    pub flags: NodeFlags,
    pub primary: Option<NodeId>,
    pub has_ping_sent: bool,
    pub has_pong_received: bool,
    pub config_epoch: u64,
    pub slots: SlotSet,
    pub migrating: Vec<(u16, NodeId)>,
    pub importing: Vec<(u16, NodeId)>,
}

/// Why a saved configuration cannot be gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavedError {
    #[error("none of the nodes is this one")]
    NoMyself,
}

/// A node without its relations to others.
fn node_of(saved: &SavedNode, random: &mut Random, now: Millis) -> Node {
    let mut bytes = [0; 20];
    random.fill(&mut bytes);
    let shard = saved.shard.unwrap_or_else(|| ShardId::from_random(bytes));
    let mut node = Node::new(saved.id, shard, saved.flags & SAVED_FLAGS, now);
    node.place = saved.place.clone();
    node.announced = saved.announced.clone();
    node.config_epoch = saved.config_epoch;
    if saved.has_ping_sent {
        node.times.ping_sent = now;
    }
    if saved.has_pong_received {
        node.times.pong_received = now;
    }
    if node.is(NodeFlags::NO_ADDRESS) {
        node.flags |= NodeFlags::FAIL;
    }
    if node.is(NodeFlags::FAIL | NodeFlags::PFAIL) {
        node.times.failed = now;
        node.verdict = Some(Verdict { at: now, ground: Ground::Remembered });
    }
    node
}

impl Cluster {
    /// One that knows nobody, with a new id. `seed` decides what is left to chance: ids, too, so nobody may guess it.
    pub fn new(config: Config, seed: u64, now: Millis) -> Self {
        let mut random = Random::with_seed(seed);
        let (mut id, mut shard) = ([0; 20], [0; 20]);
        random.fill(&mut id);
        random.fill(&mut shard);
        let flags = NodeFlags::MYSELF | NodeFlags::PRIMARY;
        let myself = Node::new(NodeId::from_random(id), ShardId::from_random(shard), flags, now);
        let text = format!("No cluster configuration found, I'm {}", myself.id);
        let mut cluster = Self::with_table(Table::new(myself), config, random, now);
        cluster.log(Level::Notice, text);
        cluster.todo |= Todo::SAVE_SYNCED;
        cluster
    }

    /// One that goes on with what was saved.
    pub fn restore(
        config: Config,
        saved: &Saved,
        seed: u64,
        now: Millis,
    ) -> Result<Self, SavedError> {
        let is_me = |it: &&SavedNode| it.flags.contains(NodeFlags::MYSELF);
        let me = saved.nodes.iter().find(is_me).ok_or(SavedError::NoMyself)?;
        let mut random = Random::with_seed(seed);
        let mut table = Table::new(node_of(me, &mut random, now));
        for saved in saved.nodes.iter().filter(|it| it.id != me.id) {
            table.add(node_of(saved, &mut random, now));
        }
        let mut cluster = Self::with_table(table, config, random, now);
        cluster.log(Level::Notice, format!("Node configuration loaded, I'm {}", me.id));
        for saved in &saved.nodes {
            cluster.restore_relations(saved);
        }
        // Whose primary is known belongs to its shard, whatever was saved.
        for key in cluster.table.keys() {
            let shard = cluster.table[key].primary.map(|it| cluster.table[it].shard);
            if let Some(shard) = shard.filter(|it| *it != cluster.table[key].shard) {
                cluster.table[key].shard = shard;
                cluster.todo |= Todo::SAVE;
            }
        }
        cluster.table.take_released();
        cluster.last_vote_epoch = saved.last_vote_epoch;
        cluster.current_epoch = saved.current_epoch.max(cluster.table.max_config_epoch());
        cluster.apply_announcements();
        cluster.apply_own_flags();
        // What was promised before it was stopped holds.
        if let Some(primary) = cluster.table.myself().primary
            && cluster.table[primary].is_failed()
        {
            cluster.lose_primary(primary);
        }
        Ok(cluster)
    }

    fn restore_relations(&mut self, saved: &SavedNode) {
        let Some(key) = self.table.find(saved.id) else { return };
        if let Some(primary) = saved.primary.map(|it| self.find_or_add(it)).filter(|it| *it != key)
        {
            self.table.set_primary(key, primary);
            self.table[key].config_epoch = 0;
        }
        for slot in saved.slots.iter() {
            self.table.assign(slot, key);
        }
        for (slot, id) in &saved.migrating {
            let to = self.find_or_add(*id);
            self.table.migrating.insert(*slot, to);
        }
        for (slot, id) in &saved.importing {
            let from = self.find_or_add(*id);
            self.table.importing.insert(*slot, from);
        }
    }

    /// A node that others are said to have to do with.
    pub(crate) fn find_or_add(&mut self, id: NodeId) -> Key {
        if let Some(key) = self.table.find(id) {
            return key;
        }
        let shard = self.new_shard_id();
        let node = Node::new(id, shard, NodeFlags::empty(), self.now);
        self.table.add(node).unwrap_or(self.table.me)
    }

    /// What is to be saved now.
    pub fn saved(&self) -> Saved {
        let known = self.table.iter().filter(|(_, node)| !node.is_in_handshake());
        Saved {
            current_epoch: self.current_epoch,
            last_vote_epoch: self.last_vote_epoch,
            nodes: known.map(|(key, node)| self.save_node(key, node)).collect(),
        }
    }

    fn save_node(&self, key: Key, node: &Node) -> SavedNode {
        let open = |slots: &BTreeMap<u16, Key>| {
            let is_me = key == self.table.me;
            let slots = slots.iter().filter(|_| is_me);
            slots.map(|(slot, it)| (*slot, self.table[*it].id)).collect()
        };
        SavedNode {
            id: node.id,
            shard: Some(node.shard),
            place: node.place.clone(),
            announced: node.announced.clone(),
            flags: node.flags,
            primary: node.primary.map(|it| self.table[it].id),
            has_ping_sent: node.times.ping_sent != 0,
            has_pong_received: node.times.pong_received != 0,
            config_epoch: self.table.epoch(key),
            slots: node.slots.clone(),
            migrating: open(&self.table.migrating),
            importing: open(&self.table.importing),
        }
    }

    fn with_table(table: Table, config: Config, random: Random, now: Millis) -> Self {
        let lease = Lease::new(now + config.node_timeout);
        let mut cluster = Self {
            now,
            config,
            facts: Facts::default(),
            random,
            table,
            links: Links::default(),
            current_epoch: 0,
            last_vote_epoch: 0,
            health: Health::new(now),
            election: Election::default(),
            manual: ManualFailover::default(),
            banned: BTreeMap::new(),
            suspects: Vec::new(),
            statistics: Statistics::default(),
            turns: Turns::default(),
            todo: Todo::UPDATE_STATE,
            effects: Effects::default(),
            saving: super::Saving::default(),
            granted: SlotSet::new(),
            fence: Fence::Open,
            claim: None,
            faults: Faults::default(),
            is_ip_announced: false,
            is_ip_confirmed: false,
            lease,
            view_version: 0,
            shown_owners: None,
            is_view_stale: true,
        };
        cluster.apply_announcements();
        cluster.apply_own_flags();
        cluster
    }

    /// This node is where, and what, its settings say.
    pub(crate) fn apply_announcements(&mut self) {
        let announce = &self.config.announce;
        let announced = Announced {
            hostname: announce.hostname.as_str().into(),
            human_nodename: announce.human_nodename.as_str().into(),
            client_ipv4: announce.client_ipv4.as_str().into(),
            client_ipv6: announce.client_ipv6.as_str().into(),
            client_port: announce.client_port,
            client_tls_port: announce.client_tls_port,
            availability_zone: announce.availability_zone.as_str().into(),
        };
        let host = Host::parse(&announce.ip);
        let (port, tls_port, bus_port) = (announce.port, announce.tls_port, announce.bus_port);
        let was_announced = self.is_ip_announced;
        self.is_ip_announced = host.is_some();
        let myself = self.table.myself_mut();
        myself.announced = announced;
        let place = &mut myself.place;
        (place.port, place.tls_port, place.bus_port) = (port, tls_port, bus_port);
        // Without one, it is found out from those who connect.
        if host.is_some() || was_announced {
            place.host = host;
        }
        self.is_view_stale = true;
    }

    pub(crate) fn apply_own_flags(&mut self) {
        let no_failover = self.config.replica_no_failover;
        let myself = self.table.myself_mut();
        myself.flags |= ABILITIES;
        myself.flags.set(NodeFlags::NO_FAILOVER, no_failover);
    }

    /// The name of this node.
    pub fn my_id(&self) -> NodeId {
        self.table.myself().id
    }

    pub fn my_shard(&self) -> ShardId {
        self.table.myself().shard
    }
}
