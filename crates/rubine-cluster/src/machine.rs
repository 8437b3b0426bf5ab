//! The machine: all that one node knows of its cluster, what happens by the clock, and what happens when something comes.

mod cron;
mod election;
mod failover;
mod failure;
mod faults;
mod gossip;
mod handshake;
mod health;
mod hosts;
mod links;
mod manual;
mod migration;
pub(crate) mod node;
mod ownership;
mod packet;
mod promise;
mod roles;
mod saved;
mod sending;
mod share;
pub(crate) mod statistics;
pub(crate) mod table;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use bitflags::bitflags;
use rubine_base::clock::Millis;
use rubine_base::random::Random;

use self::election::Election;
pub(crate) use self::election::Obstacle;
pub use self::faults::Fault;
use self::faults::Faults;
use self::health::Health;
use self::links::Links;
use self::manual::ManualFailover;
use self::node::Key;
use self::promise::Fence;
pub(crate) use self::roles::OpenSlots;
pub use self::saved::{Saved, SavedError, SavedNode};
use self::share::Claim;
pub use self::share::{Turn, Unwell};
use self::statistics::Statistics;
use self::table::Table;
use crate::config::{Config, SaveBehavior};
use crate::effect::{Action, Effects, Event, Facts, Level, Save};
use crate::id::{NodeId, ShardId};
use crate::slots::{SLOT_COUNT, SlotSet};
use crate::view::Lease;

/// How the configuration gets on disk.
#[derive(Debug, Default)]
struct Saving {
    /// What was decided has to be there, or this node ends: more than a client's wish.
    is_due: bool,
    failure_logged_at: Option<Millis>,
}

/// One node of a cluster.
///
/// Its time is in milliseconds since the Unix epoch when the process began, and goes on by a clock that nobody sets: a wall
/// clock that jumps makes nobody fail.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) now: Millis,
    pub(crate) config: Config,
    pub(crate) facts: Facts,
    random: Random,
    pub(crate) table: Table,
    pub(crate) links: Links,
    pub(crate) current_epoch: u64,
    pub(crate) last_vote_epoch: u64,
    pub(crate) health: Health,
    pub(crate) election: Election,
    manual: ManualFailover,
    /// Nodes that were forgotten, and until when they are not taken in again.
    pub(crate) banned: BTreeMap<NodeId, Millis>,
    /// Nodes that do not answer, as of the last turn: they are told of in every ping.
    suspects: Vec<NodeId>,
    pub(crate) statistics: Statistics,
    turns: Turns,
    pub(crate) todo: Todo,
    pub(crate) effects: Effects,
    saving: Saving,
    /// Slots whose new owner is believed whatever its epoch is: this node has let go of them.
    pub(crate) granted: SlotSet,
    fence: Fence,
    /// Whether this node wants to move slots, or does.
    claim: Option<Claim>,
    faults: Faults,
    is_ip_announced: bool,
    /// Whether the own address was seen to be right in the life of this process.
    is_ip_confirmed: bool,
    lease: Lease,
    view_version: u64,
    /// The owners that the last view has shown, and as of which version of the table.
    shown_owners: Option<(u64, Arc<[u16; SLOT_COUNT]>)>,
    is_view_stale: bool,
}

bitflags! {
    /// What is due before anything is sent.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Todo: u8 {
        const UPDATE_STATE = 1;
        const SAVE = 1 << 1;
        const SYNC = 1 << 2;
        const FAILOVER = 1 << 3;
        const MANUAL_FAILOVER = 1 << 4;
        /// All others shall know what this node is now.
        const BROADCAST = 1 << 5;
        const SAVE_SYNCED = Self::SAVE.bits() | Self::SYNC.bits();
    }
}

/// When turns happen.
#[derive(Clone, Copy, Debug, Default)]
struct Turns {
    count: u64,
    next_at: Millis,
    /// When the clock was last heard of.
    last_at: Millis,
}

/// Turns are so far apart.
pub(crate) const TURN_MS: Millis = 100;
/// While this node waits for the last bytes of its primary, or for the moment of an election, it looks this often.
const IMPATIENT_TURN_MS: Millis = 5;
/// So long nothing is said again of a configuration that cannot be saved.
const UNSAVED_LOG_PERIOD_MS: Millis = 30_000;

impl Cluster {
    /// Tells how the server stands now.
    pub fn set_facts(&mut self, facts: Facts) {
        if facts.offset != self.facts.offset && self.manual.waits_for_offset() {
            self.todo |= Todo::MANUAL_FAILOVER;
        }
        // What was asked for, and is not done yet, is as good as done.
        let will_follow = self.effects.actions.iter().any(|it| matches!(it, Action::Follow { .. }));
        self.facts = facts;
        self.facts.is_following |= will_follow;
    }

    /// New settings, all of them. They hold at once.
    pub fn configure(&mut self, config: Config, now: Millis) {
        self.now = now;
        if config == self.config {
            return;
        }
        self.config = config;
        self.apply_announcements();
        self.apply_own_flags();
        self.todo |= Todo::SAVE | Todo::UPDATE_STATE;
    }

    /// Has everything happen that is due. Returns after how many milliseconds it should be called again.
    pub fn tick(&mut self, now: Millis) -> Millis {
        self.now = now;
        let stood_still = self.notice_standstill();
        self.turns.last_at = now;
        if self.turns.next_at <= now {
            self.turns.next_at = now + TURN_MS;
            self.turns.count += 1;
            self.turn();
        } else {
            self.find_silent();
        }
        if self.is_election_due() {
            self.todo |= Todo::FAILOVER;
        }
        // Otherwise workers would rely on the old view until the new one is published.
        if !stood_still {
            self.lease.extend(now + self.config.node_timeout);
        }
        self.until_next_turn()
    }

    /// Takes in what has happened.
    pub fn handle(&mut self, event: Event, now: Millis) {
        self.now = now;
        match event {
            Event::Connected { link, local_ip } => self.connected(link, local_ip),
            Event::Accepted { link, peer_ip, local_ip } => {
                if !self.links.accept(link, peer_ip, local_ip, now) {
                    self.do_it(Action::Close { link });
                }
            }
            Event::Closed { link, reason } => self.closed(link, &reason),
            Event::Received { link, message, size } => self.received(link, &message, size),
            Event::Resolved { host, ip } => self.resolved(&host, ip),
            Event::Fenced { offset } => self.fenced(offset),
            Event::Paused { offset } => self.paused(offset),
            Event::Saved { is_safe } => self.was_saved(is_safe),
        }
    }

    /// What has to be done now. To be asked for after each call of anything else.
    pub fn take_effects(&mut self) -> Effects {
        self.settle();
        let mut effects = std::mem::take(&mut self.effects);
        if self.is_view_stale {
            self.is_view_stale = false;
            effects.view = Some(self.make_view());
        }
        effects
    }

    /// Does what is due before anything leaves: what was decided is saved, and told to the others after that.
    fn settle(&mut self) {
        let todo = std::mem::replace(&mut self.todo, Todo::empty());
        if todo.contains(Todo::UPDATE_STATE) {
            self.update_state();
        }
        if todo.contains(Todo::MANUAL_FAILOVER) {
            self.go_on_with_manual_failover();
        }
        if todo.intersects(Todo::FAILOVER | Todo::MANUAL_FAILOVER)
            && self.table.myself().is_replica()
        {
            self.go_on_with_failover();
        }
        let rest = std::mem::replace(&mut self.todo, Todo::empty());
        if rest.contains(Todo::UPDATE_STATE) {
            self.update_state();
        }
        // What a quorum has just made possible waits for no other event.
        self.todo = rest & (Todo::FAILOVER | Todo::MANUAL_FAILOVER);
        let todo = todo | rest;
        if todo.contains(Todo::SAVE) {
            let save = if todo.contains(Todo::SYNC) { Save::Synced } else { Save::Written };
            self.effects.save = self.effects.save.max(Some(save));
            self.saving.is_due = true;
            self.is_view_stale = true;
        }
        if let Some(released) = self.table.take_released() {
            self.do_it(Action::ReleaseSlots { slots: released });
        }
        if todo.contains(Todo::BROADCAST) {
            self.broadcast_pong();
        }
    }

    fn was_saved(&mut self, is_safe: bool) {
        let had_to = std::mem::replace(&mut self.saving.is_due, false);
        if is_safe || !had_to {
            return;
        }
        if self.config.save_behavior == SaveBehavior::Sync {
            let reason = "Fatal: can't update cluster config file.".to_owned();
            self.log(Level::Warning, reason.clone());
            return self.do_it(Action::Exit { reason });
        }
        let is_news =
            self.saving.failure_logged_at.is_none_or(|it| UNSAVED_LOG_PERIOD_MS < self.now - it);
        if is_news {
            self.saving.failure_logged_at = Some(self.now);
            let text = "Cluster config updated even though writing the cluster config file to disk failed.";
            self.log(Level::Warning, text.to_owned());
        }
    }

    fn until_next_turn(&self) -> Millis {
        let regular = self.turns.next_at - self.now;
        let election = self.election.starts_at().map_or(Millis::MAX, |it| it - self.now);
        let impatient =
            if self.manual.waits_for_offset() { IMPATIENT_TURN_MS } else { Millis::MAX };
        regular.min(election.max(1)).min(impatient).min(self.until_suspicion()).max(1)
    }

    // What all parts need.

    pub(crate) fn do_it(&mut self, action: Action) {
        self.effects.actions.push(action);
    }

    pub(crate) fn log(&mut self, level: Level, text: String) {
        self.do_it(Action::Log { level, text });
    }

    pub(crate) fn new_node_id(&mut self) -> NodeId {
        NodeId::from_random(self.random_bytes())
    }

    pub(crate) fn new_shard_id(&mut self) -> ShardId {
        ShardId::from_random(self.random_bytes())
    }

    fn random_bytes(&mut self) -> [u8; 20] {
        let mut bytes = [0; 20];
        self.random.fill(&mut bytes);
        bytes
    }

    /// A node as the log names it.
    pub(crate) fn named(&self, key: Key) -> String {
        let node = &self.table[key];
        format!("{} ({})", node.id, node.human_name(self.config.tls_cluster))
    }

    /// This node as the log names it.
    pub fn my_name_in_shard(&self) -> String {
        self.named_in_shard(self.table.me)
    }

    pub(crate) fn named_in_shard(&self, key: Key) -> String {
        format!("{} in shard {}", self.named(key), self.table[key].shard)
    }

    /// How many primaries are a majority.
    pub(crate) fn quorum(&self) -> usize {
        self.health.size / 2 + 1
    }
}
