//! All nodes, and which of them serves which slot: the facts, and that they agree with each other. Decides nothing.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use rubine_base::random::Random;

use crate::id::NodeId;
use crate::machine::node::{Key, Node};
use crate::message::NodeFlags;
use crate::slots::{SLOT_COUNT, SlotSet};
use crate::view::{NO_NODE, nobody};

/// So many nodes are known at most; others are not taken in. Real clusters have a thousand.
pub(crate) const NODES_MAX: usize = 10_000;

#[derive(Clone, Debug)]
pub(crate) struct Table {
    nodes: Vec<Option<Box<Node>>>,
    free: Vec<Key>,
    by_id: BTreeMap<NodeId, Key>,
    pub(crate) me: Key,
    /// The key of whoever serves a slot, or `NO_NODE`.
    owners: Box<[u16; SLOT_COUNT]>,
    /// Slots whose owner said that they are not its own, while nobody else has said so: nothing is told of them to others.
    pub(crate) unclaimed: SlotSet,
    pub(crate) migrating: BTreeMap<u16, Key>,
    pub(crate) importing: BTreeMap<u16, Key>,
    /// Changes with the owners of slots, and with the order of nodes.
    version: u64,
    /// Slots that this node or its primary has served since they were last asked for, and does not any more.
    released: SlotSet,
    /// Whether there may be any.
    has_released: bool,
}

impl Index<Key> for Table {
    type Output = Node;

    fn index(&self, key: Key) -> &Node {
        self.nodes[usize::from(key.0)].as_ref().expect("a key is forgotten with its node")
    }
}

impl IndexMut<Key> for Table {
    fn index_mut(&mut self, key: Key) -> &mut Node {
        self.nodes[usize::from(key.0)].as_mut().expect("a key is forgotten with its node")
    }
}

impl Table {
    /// With nobody but this node.
    pub(crate) fn new(myself: Node) -> Self {
        let mut table = Self {
            nodes: Vec::new(),
            free: Vec::new(),
            by_id: BTreeMap::new(),
            me: Key(0),
            owners: nobody(),
            unclaimed: SlotSet::new(),
            migrating: BTreeMap::new(),
            importing: BTreeMap::new(),
            version: 0,
            released: SlotSet::new(),
            has_released: false,
        };
        table.add(myself).expect("a new table has room");
        table
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn find(&self, id: NodeId) -> Option<Key> {
        self.by_id.get(&id).copied()
    }

    /// The keys of all, in the order of their ids.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.by_id.values().copied().collect()
    }

    /// All, in the order of their ids.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (Key, &Node)> {
        self.by_id.values().map(|key| (*key, &self[*key]))
    }

    /// One of them by chance, each as likely as the others.
    pub(crate) fn any(&self, random: &mut Random) -> Key {
        loop {
            let key = Key(random.below(self.nodes.len() as u64) as u16);
            if self.nodes[usize::from(key.0)].is_some() {
                return key;
            }
        }
    }

    /// Some of them, from a place by chance on: each is as likely as the others, and none comes twice.
    pub(crate) fn some(&self, count: usize, random: &mut Random) -> impl Iterator<Item = Key> {
        let len = self.nodes.len();
        let start = random.below(len as u64) as usize;
        let places = (0..len).map(move |it| (start + it) % len);
        places.filter(|it| self.nodes[*it].is_some()).take(count).map(|it| Key(it as u16))
    }

    pub(crate) fn myself(&self) -> &Node {
        &self[self.me]
    }

    pub(crate) fn myself_mut(&mut self) -> &mut Node {
        let me = self.me;
        &mut self[me]
    }

    /// Takes in a node, unless there are too many or there is one of that id.
    pub(crate) fn add(&mut self, node: Node) -> Option<Key> {
        if NODES_MAX <= self.len() || self.by_id.contains_key(&node.id) {
            return None;
        }
        let key = self.free.pop().unwrap_or(Key(self.nodes.len() as u16));
        self.by_id.insert(node.id, key);
        self.version += 1;
        match self.nodes.get_mut(usize::from(key.0)) {
            Some(place) => *place = Some(Box::new(node)),
            None => self.nodes.push(Some(Box::new(node))),
        }
        Some(key)
    }

    /// Forgets a node, in every respect that the table knows of. Its links are the caller's.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Node> {
        if key == self.me {
            return None;
        }
        self.migrating.retain(|_, it| *it != key);
        self.importing.retain(|_, it| *it != key);
        self.release_all(key);
        for replica in std::mem::take(&mut self[key].replicas) {
            self[replica].primary = None;
        }
        self.leave_primary(key);
        let node = self.nodes[usize::from(key.0)].take()?;
        self.by_id.remove(&node.id);
        self.version += 1;
        self.free.push(key);
        for other in self.nodes.iter_mut().flatten() {
            other.reports.remove(&node.id);
        }
        Some(*node)
    }

    /// Gives a node its right id. Returns whether that was free.
    pub(crate) fn rename(&mut self, key: Key, id: NodeId) -> bool {
        if self.by_id.contains_key(&id) {
            return false;
        }
        let old = std::mem::replace(&mut self[key].id, id);
        self.by_id.remove(&old);
        self.by_id.insert(id, key);
        self.version += 1;
        if let Some(primary) = self[key].primary {
            self.sort_replicas(primary);
        }
        true
    }

    // Primaries and replicas.

    /// Makes one node the replica of another, in the table.
    pub(crate) fn set_primary(&mut self, key: Key, primary: Key) {
        self.leave_primary(key);
        self[key].primary = Some(primary);
        let node = &mut self[primary];
        node.replicas.push(key);
        node.flags |= NodeFlags::MIGRATE_TO;
        self.sort_replicas(primary);
    }

    /// Makes it nobody's replica. Returns whose it was.
    pub(crate) fn leave_primary(&mut self, key: Key) -> Option<Key> {
        let primary = self[key].primary.take()?;
        let node = &mut self[primary];
        node.replicas.retain(|it| *it != key);
        if node.replicas.is_empty() {
            node.flags -= NodeFlags::MIGRATE_TO;
        }
        Some(primary)
    }

    fn sort_replicas(&mut self, primary: Key) {
        let mut replicas = std::mem::take(&mut self[primary].replicas);
        replicas.sort_by_key(|it| self[*it].id);
        self[primary].replicas = replicas;
    }

    /// The end of the chain of primaries that begins with a node: itself, if it follows nobody.
    pub(crate) fn top(&self, key: Key) -> Key {
        let mut top = key;
        // Replicas that follow each other are seen while a message is missing.
        for _ in 0..self.len() {
            match self[top].primary {
                Some(next) if next != key => top = next,
                _ => break,
            }
        }
        top
    }

    /// Whose slots this node serves, or keeps a copy of.
    pub(crate) fn my_primary(&self) -> Option<Key> {
        if self.myself().is_primary() { Some(self.me) } else { self.myself().primary }
    }

    /// The epoch of a node's slots, or of its primary's.
    pub(crate) fn epoch(&self, key: Key) -> u64 {
        self[self[key].primary.unwrap_or(key)].config_epoch
    }

    pub(crate) fn are_in_same_shard(&self, a: Key, b: Key) -> bool {
        self[a].shard == self[b].shard
    }

    pub(crate) fn working_replicas(&self, key: Key) -> usize {
        self[key].replicas.iter().filter(|it| !self[**it].is_failed()).count()
    }

    // Slots.

    pub(crate) fn owner(&self, slot: u16) -> Option<Key> {
        let key = self.owners[usize::from(slot)];
        (key != NO_NODE).then_some(Key(key))
    }

    /// Whether nobody stands up for a slot: there is no owner, or it has said that it is none.
    pub(crate) fn is_unclaimed(&self, slot: u16) -> bool {
        self.owner(slot).is_none() || self.unclaimed.contains(slot)
    }

    /// Gives a slot to a node, from whoever has it.
    pub(crate) fn assign(&mut self, slot: u16, key: Key) {
        self.release(slot);
        self.owners[usize::from(slot)] = key.0;
        self.version += 1;
        let is_first = self[key].slot_count == 0;
        let node = &mut self[key];
        node.slots.insert(slot);
        node.slot_count += 1;
        // A new primary is a place for replicas to go to, if there are any.
        if is_first && self.iter().any(|(_, it)| !it.is_replica() && !it.replicas.is_empty()) {
            self[key].flags |= NodeFlags::MIGRATE_TO;
        }
        if Some(key) == self.my_primary() {
            self.released.remove(slot);
        }
    }

    /// Takes a slot from whoever has it. Returns who that was.
    pub(crate) fn release(&mut self, slot: u16) -> Option<Key> {
        let owner = self.owner(slot)?;
        if Some(owner) == self.my_primary() {
            self.released.insert(slot);
            self.has_released = true;
        }
        self.version += 1;
        let node = &mut self[owner];
        node.slots.remove(slot);
        node.slot_count -= 1;
        self.owners[usize::from(slot)] = NO_NODE;
        self.unclaimed.remove(slot);
        Some(owner)
    }

    /// Takes all slots from a node. Returns how many they were.
    pub(crate) fn release_all(&mut self, key: Key) -> usize {
        let slots: Vec<u16> = self[key].slots.iter().collect();
        for slot in &slots {
            self.release(*slot);
        }
        slots.len()
    }

    /// Slots that were this node's or its primary's, and are not any more, since this was last asked.
    pub(crate) fn take_released(&mut self) -> Option<SlotSet> {
        if !std::mem::take(&mut self.has_released) {
            return None;
        }
        Some(std::mem::take(&mut self.released)).filter(|it| !it.is_empty())
    }

    /// Notes those as released that the primary of now does not serve: this node follows another one.
    pub(crate) fn release_what_others_serve(&mut self) {
        let mine = self.my_primary();
        for slot in 0..SLOT_COUNT as u16 {
            if self.owner(slot) != mine {
                self.released.insert(slot);
            }
        }
        self.has_released = true;
    }

    pub(crate) fn owners(&self) -> &[u16; SLOT_COUNT] {
        &self.owners
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Asserts what the table promises.
    pub(crate) fn check(&self) {
        let mut served = 0;
        for (key, node) in self.iter() {
            assert_eq!(node.slots.len(), node.slot_count, "slots of {} are counted", node.id);
            served += node.slot_count;
            for slot in node.slots.iter() {
                assert_eq!(self.owner(slot), Some(key), "slot {slot} has the owner who has it");
            }
            if let Some(primary) = node.primary {
                assert!(self[primary].replicas.contains(&key), "{} has a primary", node.id);
            }
            for replica in &node.replicas {
                assert_eq!(self[*replica].primary, Some(key), "{} has a replica", node.id);
            }
            assert_eq!(self.find(node.id), Some(key), "{} is found", node.id);
        }
        let owned = self.owners.iter().filter(|it| **it != NO_NODE).count();
        assert_eq!(owned, served, "each slot that has an owner is one of its");
        for key in self.migrating.values().chain(self.importing.values()) {
            assert!(self.nodes[usize::from(key.0)].is_some(), "slots move between nodes");
        }
        assert!(self.len() <= NODES_MAX, "nodes are bounded");
    }

    /// The greatest epoch of any node's slots.
    pub(crate) fn max_config_epoch(&self) -> u64 {
        self.iter().map(|(_, it)| it.config_epoch).max().unwrap_or(0)
    }
}
