//! One server: its machine with what it has on disk, and a model of its data. The data is a log of what was done; a replica
//! has a part of its primary's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rubine_base::random::Random;
use rubine_cluster::id::NodeId;
use rubine_cluster::message::NodeFlags;
use rubine_cluster::nodes_conf;
use rubine_cluster::slots::SlotSet;
use rubine_cluster::{Announce, Cluster, Config, Facts, LinkId, Saved, View};

use crate::world::Settings;

pub(crate) const PORT: u16 = 6379;
pub(crate) const BUS_PORT: u16 = 16_379;

pub(crate) type Name = usize;
/// A write: which it is.
pub(crate) type WriteId = u64;

/// What a log consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Add { slot: u16, id: WriteId },
    Remove { slot: u16, id: WriteId },
    DropSlot { slot: u16 },
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SavedEpochs {
    pub(crate) current: u64,
    pub(crate) vote: u64,
    /// Of this node's slots.
    pub(crate) own: u64,
}

impl SavedEpochs {
    pub(crate) fn of(saved: &Saved) -> Self {
        let myself = saved.nodes.iter().find(|it| it.flags.contains(NodeFlags::MYSELF));
        Self {
            current: saved.current_epoch,
            vote: saved.last_vote_epoch,
            own: myself.map_or(0, |it| it.config_epoch),
        }
    }
}

/// Whether a node moves slots by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moving {
    No,
    /// It wants to.
    Wanted,
    /// It may.
    Allowed,
}

pub(crate) struct Server {
    pub(crate) name: Name,
    pub(crate) ip: IpAddr,
    pub(crate) machine: Option<Cluster>,
    /// How often it was started. Plans of an earlier run are void.
    pub(crate) run: u64,
    /// Its nodes.conf.
    pub(crate) disk: Option<String>,
    /// The epochs in it.
    pub(crate) saved_epochs: SavedEpochs,
    pub(crate) view: Option<Arc<View>>,
    /// Its clock is so far from that of the world.
    pub(crate) skew: i64,
    pub(crate) frozen_until: i64,
    pub(crate) links: BTreeMap<LinkId, u64>,
    pub(crate) log: Vec<Op>,
    pub(crate) data: BTreeMap<u16, BTreeSet<WriteId>>,
    /// Changes when what is in the log is not what was there before.
    pub(crate) history: u64,
    pub(crate) follows: Option<IpAddr>,
    /// With whose history the log is one, if the link is up.
    pub(crate) linked_to: Option<(Name, u64)>,
    /// Nothing of it may be kept in the next sync.
    pub(crate) must_sync_fully: bool,
    pub(crate) has_data: bool,
    pub(crate) heard_at: i64,
    pub(crate) is_fenced: bool,
    pub(crate) paused_until: i64,
    pub(crate) moving: Moving,
    /// How much of the log each replica has acknowledged.
    pub(crate) acks: BTreeMap<Name, usize>,
    /// Writes that wait for replicas: where in the log they end, and which they are.
    pub(crate) waiting: Vec<(usize, u16, WriteId)>,
}

pub(crate) fn saved_in(text: &str) -> Saved {
    let saved = nodes_conf::parse(text.as_bytes(), false).expect("we have written it");
    saved.expect("it is not empty")
}

pub(crate) fn ip_of(name: Name, generation: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, generation, (name / 250) as u8, (name % 250) as u8 + 1))
}

pub(crate) fn hostname(name: Name) -> String {
    format!("node-{name}.example")
}

impl Server {
    pub(crate) fn new(name: Name) -> Self {
        Self {
            name,
            ip: ip_of(name, 0),
            machine: None,
            run: 0,
            disk: None,
            saved_epochs: SavedEpochs::default(),
            view: None,
            skew: 0,
            frozen_until: 0,
            links: BTreeMap::new(),
            log: Vec::new(),
            data: BTreeMap::new(),
            history: 0,
            follows: None,
            linked_to: None,
            must_sync_fully: false,
            has_data: true,
            heard_at: 0,
            is_fenced: false,
            paused_until: 0,
            moving: Moving::No,
            acks: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    pub(crate) fn config(&self, settings: &Settings) -> Config {
        let hostname = if settings.has_names { hostname(self.name) } else { String::new() };
        let announce = Announce { port: PORT, bus_port: BUS_PORT, hostname, ..Announce::default() };
        Config {
            node_timeout: settings.node_timeout,
            write_quorum: settings.write_quorum,
            migration_barrier: 1,
            allow_replica_migration: settings.allow_replica_migration,
            replica_validity_factor: 0,
            announce,
            ..Config::default()
        }
    }

    pub(crate) fn start(&mut self, settings: &Settings, now: i64, random: &mut Random) {
        self.run += 1;
        self.frozen_until = 0;
        self.skew = random.below(20_000) as i64 - 10_000;
        let config = self.config(settings);
        let (seed, now) = (random.next_u64(), now + self.skew);
        let machine = match &self.disk {
            Some(text) => {
                let saved = saved_in(text);
                self.saved_epochs = SavedEpochs::of(&saved);
                Cluster::restore(config, &saved, seed, now).expect("it was saved by us")
            }
            None => Cluster::new(config, seed, now),
        };
        self.machine = Some(machine);
        self.follows = None;
        self.linked_to = None;
        self.heard_at = now - self.skew;
        self.is_fenced = false;
        self.paused_until = 0;
        self.moving = Moving::No;
        self.waiting.clear();
        self.acks.clear();
        self.tell_facts();
    }

    pub(crate) fn stop(&mut self) {
        self.machine = None;
        self.view = None;
        self.links.clear();
        self.waiting.clear();
        self.linked_to = None;
    }

    pub(crate) fn is_awake(&self, now: i64) -> bool {
        self.machine.is_some() && self.frozen_until <= now
    }

    pub(crate) fn id(&self) -> Option<NodeId> {
        self.machine.as_ref().map(Cluster::my_id)
    }

    pub(crate) fn offset(&self) -> u64 {
        if self.has_data { self.log.len() as u64 + 1 } else { 0 }
    }

    pub(crate) fn tell_facts(&mut self) {
        let facts = Facts {
            offset: self.offset(),
            is_following: self.follows.is_some(),
            primary_heard_at: self.heard_at + self.skew,
            is_empty: self.data.is_empty(),
            is_loading: false,
        };
        if let Some(machine) = &mut self.machine {
            machine.set_facts(facts);
        }
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.view.as_ref().is_some_and(|it| !it.is_replica())
    }

    /// Whether a client may write to a slot here.
    pub(crate) fn takes_writes(&self, slot: u16, now: i64) -> bool {
        let Some(view) = self.view.as_ref().filter(|_| self.is_awake(now)) else { return false };
        view.is_ok()
            && view.is_current(now + self.skew)
            && view.is_mine(slot)
            && !view.is_replica()
            && !view.migrating.contains_key(&slot)
            && self.paused_until <= now
    }

    pub(crate) fn append(&mut self, op: Op) {
        self.log.push(op);
        self.apply(op);
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Add { slot, id } => {
                self.data.entry(slot).or_default().insert(id);
            }
            Op::Remove { slot, id } => {
                if let Some(ids) = self.data.get_mut(&slot) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        self.data.remove(&slot);
                    }
                }
            }
            Op::DropSlot { slot } => {
                self.data.remove(&slot);
            }
        }
    }

    /// Takes another log.
    pub(crate) fn replace_log(&mut self, log: Vec<Op>) {
        self.history += 1;
        self.data.clear();
        for op in &log {
            self.apply(*op);
        }
        self.log = log;
    }

    pub(crate) fn populated(&self) -> SlotSet {
        self.data.keys().copied().collect()
    }
}
