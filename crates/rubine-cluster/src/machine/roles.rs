//! Who is a primary, and who follows whom: this node's own role, what it knows of those of others, and their shards.

use super::node::Key;
use super::{Cluster, Todo};
use crate::effect::{Action, History, Level};
use crate::id::ShardId;
use crate::message::NodeFlags;

/// What becomes of slots that are being moved by hand when this node follows another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenSlots {
    Keep,
    Close,
}

impl Cluster {
    /// A node that was a replica is a primary now.
    pub(crate) fn make_primary(&mut self, key: Key) {
        if self.table[key].is_primary() {
            return;
        }
        let text = format!(
            "Reconfiguring node {} as primary for shard {}",
            self.named(key),
            self.table[key].shard
        );
        self.log(Level::Notice, text);
        let is_me = key == self.table.me;
        let had_primary = self.table.leave_primary(key).is_some();
        let node = &mut self.table[key];
        node.flags -= NodeFlags::REPLICA;
        node.flags |= NodeFlags::PRIMARY;
        if had_primary && !is_me {
            node.flags |= NodeFlags::MIGRATE_TO;
        }
        if is_me {
            self.do_it(Action::Promote);
            self.keep_promise();
        }
        self.todo |= Todo::SAVE | Todo::UPDATE_STATE;
    }

    /// This node follows another one from now on. Slots that it may have are nobody's then.
    pub(crate) fn follow(&mut self, primary: Key, open_slots: OpenSlots, history: History) {
        debug_assert!(primary != self.table.me, "nobody follows itself");
        self.table.release_all(self.table.me);
        let myself = self.table.myself_mut();
        if myself.is_primary() {
            myself.flags -= NodeFlags::PRIMARY | NodeFlags::MIGRATE_TO;
            myself.flags |= NodeFlags::REPLICA;
        }
        if open_slots == OpenSlots::Close {
            self.close_slots();
        }
        let me = self.table.me;
        self.table.set_primary(me, primary);
        let shard = self.table[primary].shard;
        self.set_shard(me, shard);
        self.replicate_from(primary, history);
        self.table.release_what_others_serve();
        self.reset_manual_failover();
        self.election.forget();
        self.keep_promise();
        if self.table[primary].is_failed() {
            self.lose_primary(primary);
        }
    }

    /// Has the server replicate from where a node is.
    pub(crate) fn replicate_from(&mut self, primary: Key, history: History) {
        let place = &self.table[primary].place;
        let port = place.main_port(self.config.tls_replication);
        let Some(host) = place.host.clone() else { return };
        // Until the server says how it stands, so that nobody asks again, or takes data of another shard for this one's.
        self.facts.is_following = true;
        if history == History::Foreign {
            self.facts.offset = 0;
        }
        self.do_it(Action::Follow { primary: host, port, history });
    }

    pub(crate) fn close_slots(&mut self) {
        self.table.migrating.clear();
        self.table.importing.clear();
    }

    /// Takes in which shard a node says that it belongs to. That of a replica is its primary's.
    pub(crate) fn set_shard(&mut self, key: Key, shard: ShardId) {
        let own = self.table[self.table.top(key)].shard;
        if self.table[key].is_replica() && own != shard {
            let id = self.table[key].id;
            let text = format!(
                "Shard id {shard} update request for node id {id} diverges from existing primary shard id {own}, rejecting!"
            );
            return self.log(Level::Notice, text);
        }
        let node = &mut self.table[key];
        if node.shard != shard {
            node.shard = shard;
            self.todo |= Todo::SAVE;
        }
        let is_my_primary = key != self.table.me && self.table.myself().primary == Some(key);
        let myself = self.table.myself_mut();
        if is_my_primary && myself.shard != shard {
            myself.shard = shard;
            self.todo |= Todo::SAVE_SYNCED;
        }
    }
}
