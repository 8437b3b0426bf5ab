//! What a replica promises when its primary has failed: that it takes nothing more of it. Where writes are acknowledged on the
//! word of replicas (`write-quorum`), the best of a shard is found by what its replicas say that they have; so none of them
//! may acknowledge a write behind the backs of the others.

use std::collections::BTreeMap;

use rubine_base::clock::Millis;

use super::node::Key;
use super::{Cluster, Todo};
use crate::effect::Action;
use crate::id::NodeId;
use crate::message::NodeFlags;

/// An election that rests on a promise is over after so many node timeouts, and at least so long.
const HELD_TIMEOUTS: Millis = 8;
const HELD_MS_MIN: Millis = 8000;

/// Whether something is taken of the primary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fence {
    #[default]
    Open,
    Closed,
    /// The primary works again. The promise holds until the other replicas know that it does not: so many answers of each
    /// are awaited still, or until nobody can be elected on it any more.
    Lifting {
        awaited: BTreeMap<NodeId, u8>,
        until: Millis,
    },
}

impl Cluster {
    /// If a node that has failed is this replica's primary, the others of the shard shall know that it says so, and how
    /// far it is.
    pub(crate) fn lose_primary(&mut self, failed: Key) {
        let myself = self.table.myself();
        if !myself.is_replica() || myself.primary != Some(failed) {
            return;
        }
        self.todo |= Todo::FAILOVER;
        if self.config.write_quorum == 0 {
            self.table.myself_mut().flags |= NodeFlags::MY_PRIMARY_FAIL;
            return;
        }
        match std::mem::replace(&mut self.fence, Fence::Closed) {
            Fence::Open => self.do_it(Action::FencePrimary { is_fenced: true }),
            // Nothing was taken meanwhile.
            Fence::Lifting { .. } => self.fenced(self.facts.offset),
            Fence::Closed => {}
        }
    }

    /// Nothing of the primary is taken any more, and this is how far it has come.
    pub(crate) fn fenced(&mut self, offset: u64) {
        if self.fence != Fence::Closed {
            return;
        }
        self.facts.offset = offset;
        self.table.myself_mut().flags |= NodeFlags::MY_PRIMARY_FAIL;
        self.pong_replicas();
        self.todo |= Todo::FAILOVER;
    }

    /// There is another primary, or none: the promise is kept by that.
    pub(crate) fn keep_promise(&mut self) {
        self.table.myself_mut().flags -= NodeFlags::MY_PRIMARY_FAIL;
        if std::mem::take(&mut self.fence) != Fence::Open {
            self.do_it(Action::FencePrimary { is_fenced: false });
        }
    }

    /// The primary works again.
    pub(crate) fn withdraw_promise(&mut self) {
        self.table.myself_mut().flags -= NodeFlags::MY_PRIMARY_FAIL;
        if self.fence != Fence::Closed {
            return;
        }
        let shard = self.table.myself().shard;
        let mut awaited = BTreeMap::new();
        for key in self.table.keys() {
            let node = &self.table[key];
            let may_stand = node.is_replica() && node.shard == shard && key != self.table.me;
            if may_stand {
                // The next answer may be one to what was asked before.
                let count = if node.times.ping_sent == 0 { 1 } else { 2 };
                awaited.insert(node.id, count);
                self.ping(key);
            }
        }
        let held = self.config.node_timeout.saturating_mul(HELD_TIMEOUTS).max(HELD_MS_MIN);
        self.fence = Fence::Lifting { awaited, until: self.now.saturating_add(held) };
        self.lift_fence();
    }

    /// Another replica has answered, and so knows what has been said before.
    pub(crate) fn note_answer(&mut self, key: Key) {
        let id = self.table[key].id;
        let Fence::Lifting { awaited, .. } = &mut self.fence else { return };
        if let Some(count) = awaited.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                awaited.remove(&id);
            }
        }
        self.lift_fence();
    }

    pub(crate) fn lift_fence(&mut self) {
        if let Fence::Lifting { awaited, until } = &self.fence
            && (awaited.is_empty() || *until <= self.now)
        {
            self.keep_promise();
        }
    }
}
