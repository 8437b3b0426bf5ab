//! Who shares slots evenly with whom, and whose turn it is to move some. What should move, `rebalance.rs` knows.
//!
//! One node at a time moves slots. Who wants to says so in its packets, and asks all others: an answer to a ping that was sent after
//! that comes from one who knows, and says whether it wants to as well. Of two who want to in the same moment, each learns of the
//! other before it may begin, and the one with the smaller id stays. So nobody has to be elected, and nothing has to be on disk: who
//! begins anew wants nothing.

use rubine_base::clock::Millis;

use super::node::{Key, Node};
use super::{Cluster, Todo};
use crate::id::NodeId;
use crate::message::{Metric, NodeFlags, Share};
use crate::rebalance::Member;
use crate::view::State;

/// Whether this node may move slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may, until it says that it has done, or until the cluster is not well any more.
    Ours,
    /// Others are being asked.
    Asking,
    /// Another node moves slots, or was first to want to.
    Of(NodeId),
    /// Nobody should move anything now.
    Unwell(Unwell),
}

/// Why nobody should move slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwell {
    /// The cluster does not serve requests, as far as this node can say.
    Down,
    /// A primary does not answer.
    Silent(NodeId),
    /// Slots are being moved by hand, from here or to here.
    ByHand,
    /// This node is a replica.
    Replica,
}

/// That this node wants to move slots.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Claim {
    /// Others are told.
    Made { at: Millis },
    /// All others know, and nobody else wants to.
    Held,
}

impl Cluster {
    /// What this node says of itself from now on. Whether it moves slots, [`Self::claim_turn`] and [`Self::end_turn`] say.
    pub fn set_share(&mut self, metric: Option<Metric>, weight: u64, is_draining: bool) {
        let moves = self.claim.is_some();
        let share = Share { metric, weight, is_draining, moves };
        let before = std::mem::replace(&mut self.table.myself_mut().share, share);
        if (before.metric, before.is_draining) != (metric, is_draining) {
            self.todo |= Todo::BROADCAST;
        }
    }

    /// The primaries that slots can go to and come from: those that say that they take part, by the same metric, and, for slots,
    /// those that have some already. Who is new and says nothing may be meant to be a replica.
    pub fn members(&self, metric: Metric) -> Vec<Member> {
        let takes_part = |node: &Node| {
            let says = node.share.metric == Some(metric);
            says || node.share.is_draining || metric == Metric::Slots && node.slot_count != 0
        };
        let primaries = self.primaries().map(|(_, node)| node);
        let member = |node: &Node| {
            let slots = node.slot_count as u64;
            let weight = if metric == Metric::Slots { slots } else { node.share.weight };
            Member { id: node.id, slots, weight, is_draining: node.share.is_draining }
        };
        primaries.filter(|it| takes_part(it)).map(member).collect()
    }

    /// This node wants to move slots: whether it may. To be asked again until it may, and again and again while slots move, as
    /// the answer changes when the cluster is unwell.
    pub fn claim_turn(&mut self, now: Millis) -> Turn {
        self.begin(now);
        if let Some(unwell) = self.find_unwell() {
            self.end_turn();
            return Turn::Unwell(unwell);
        }
        let other = self.other_mover();
        match self.claim {
            Some(Claim::Held) => return Turn::Ours,
            Some(Claim::Made { at }) => match other {
                // It does not wait for one of a greater id.
                Some(other) if other < self.table.myself().id => {
                    self.end_turn();
                    return Turn::Of(other);
                }
                None if self.is_known_to_all(at) => {
                    self.claim = Some(Claim::Held);
                    return Turn::Ours;
                }
                _ => {}
            },
            None => match other {
                Some(other) => return Turn::Of(other),
                None => self.claim = Some(Claim::Made { at: now }),
            },
        }
        self.table.myself_mut().share.moves = true;
        self.ask_all();
        other.map_or(Turn::Asking, Turn::Of)
    }

    /// This node does not move slots, and does not want to.
    pub fn end_turn(&mut self) {
        if self.claim.take().is_some() {
            self.table.myself_mut().share.moves = false;
            self.todo |= Todo::BROADCAST;
        }
    }

    /// Another node that moves slots, or wants to. Packets on two connections may overtake each other, so its last answer counts as
    /// well as its last word.
    fn other_mover(&self) -> Option<NodeId> {
        let others = self.others().map(|it| &self.table[it]);
        let movers = others.filter(|it| it.share.moves || it.has_answered_moves);
        movers.map(|it| it.id).min()
    }

    fn find_unwell(&self) -> Option<Unwell> {
        let silent = |(_, node): &(Key, &Node)| node.is(NodeFlags::FAIL | NodeFlags::PFAIL);
        match () {
            () if self.table.myself().is_replica() => Some(Unwell::Replica),
            () if self.health.state != State::Ok => Some(Unwell::Down),
            () if !self.table.migrating.is_empty() || !self.table.importing.is_empty() => {
                Some(Unwell::ByHand)
            }
            () => self.primaries().find(silent).map(|(_, node)| Unwell::Silent(node.id)),
        }
    }

    fn primaries(&self) -> impl Iterator<Item = (Key, &Node)> {
        self.table.iter().filter(|(_, node)| node.is_primary() && !node.is_in_handshake())
    }

    fn others(&self) -> impl Iterator<Item = Key> {
        self.primaries().map(|(key, _)| key).filter(|it| *it != self.table.me)
    }

    /// Whether all primaries have answered since this node wants to move slots.
    fn is_known_to_all(&self, claimed_at: Millis) -> bool {
        self.others().all(|it| claimed_at < self.table[it].times.answered_ping_sent)
    }

    /// Pings all who may not know yet that this node wants to move slots, and those who may not want to any more.
    fn ask_all(&mut self) {
        let Some(Claim::Made { at }) = self.claim else { return };
        let others: Vec<Key> = self.others().collect();
        for key in others {
            let node = &self.table[key];
            let is_asked = node.times.ping_sent != 0;
            let is_open = node.times.answered_ping_sent <= at || node.has_answered_moves;
            if is_open && !is_asked {
                self.ping(key);
            }
        }
    }
}
