//! What follows from a packet.

use super::handshake::Introduction;
use super::node::{Key, Node};
use super::roles::OpenSlots;
use super::{Cluster, Todo};
use crate::effect::{Action, History, Level, LinkId};
use crate::id::NodeId;
use crate::message::{Body, Dialect, Header, Message, MessageFlags, NodeFlags, Ping, Relayed};
use crate::slots::SlotSet;

/// What the sender of a packet says that it can do.
const ABILITIES: NodeFlags =
    NodeFlags::LIGHT_PUBLISH.union(NodeFlags::LIGHT_MODULE).union(NodeFlags::MY_PRIMARY_FAIL);

impl Cluster {
    /// A packet has come, whether or not it can be read.
    pub fn count_received(&mut self, kind: u16, size: usize) {
        if let Some(count) = self.statistics.received.get_mut(usize::from(kind)) {
            *count += 1;
            self.statistics.received_bytes.count(kind, size as u64);
        }
    }

    pub(crate) fn received(&mut self, id: LinkId, message: &Message, size: usize) {
        let kind = message.kind();
        self.count_received(kind, size);
        if self.links.get(id).is_none() {
            return;
        }
        if self.drops(id, kind) {
            return;
        }
        match message {
            Message::Full { header, body } => self.received_full(id, header, body),
            Message::Light(relayed) => self.received_light(id, relayed),
        }
    }

    fn received_light(&mut self, id: LinkId, relayed: &Relayed) {
        let node = self.links.get(id).and_then(|it| it.node);
        let Some(sender) = node.filter(|it| !self.table[*it].is_in_handshake()) else {
            let text = "Closing link for a node that sent a lightweight message as its first message on the link";
            self.log(Level::Notice, text.to_owned());
            return self.close(id);
        };
        self.table[sender].times.data_received = self.now;
        self.take_relayed(relayed);
    }

    fn take_relayed(&mut self, relayed: &Relayed) {
        let (channel, message, is_sharded) = match relayed {
            Relayed::Publish { channel, message } => (channel, message, false),
            Relayed::PublishShard { channel, message } => (channel, message, true),
            Relayed::Module { .. } => return,
        };
        let (channel, message) = (channel.clone(), message.clone());
        self.do_it(Action::Publish { channel, message, is_sharded });
    }

    fn received_full(&mut self, id: LinkId, header: &Header, body: &Body) {
        let sender = self.sender_of(id, header.sender);
        if let (Some(link), true) =
            (self.links.get_mut(id), header.message_flags.contains(MessageFlags::EXTENSIONS))
        {
            link.takes_extensions = true;
        }
        if let (Some(link), Body::Ping { extensions, .. }) = (self.links.get_mut(id), body) {
            match Dialect::of(header.flags, extensions) {
                // It says nothing new by what it leaves out.
                Dialect::Common => {}
                dialect => link.dialect = dialect,
            }
        }
        if let Some(sender) = sender {
            self.take_header(id, sender, header);
        }
        match (body, sender) {
            (Body::Ping { kind, .. }, _) => {
                if *kind != Ping::Pong {
                    self.answer(id, sender, header, body);
                }
                self.take_configuration(id, sender, header, body);
            }
            (Body::Fail { node }, None) => {
                let text = format!(
                    "Ignoring FAIL message from unknown node {} about {node}",
                    header.sender
                );
                self.log(Level::Notice, text);
            }
            (_, None) => {}
            (Body::Fail { node }, Some(sender)) => self.take_fail(sender, *node),
            (Body::Relayed(relayed), Some(_)) => self.take_relayed(relayed),
            (Body::FailoverAuthRequest, Some(sender)) => self.consider_vote(sender, header),
            (Body::FailoverAuthAck, Some(sender)) => self.take_vote(sender, header.current_epoch),
            (Body::MfStart, Some(sender)) => {
                self.take_manual_failover(sender);
                // It carries the offset at which the clients were stopped.
                if self.manual.replica == Some(sender) {
                    self.send_ping(id, Ping::Ping);
                }
            }
            (Body::Update { config_epoch, node, slots }, Some(sender)) => {
                self.take_update(sender, *node, *config_epoch, slots);
            }
            (Body::Unknown { kind }, Some(_)) => {
                self.log(Level::Warning, format!("Received unknown packet type: {kind}"));
            }
        }
    }

    /// Whose packet it is, if that is known.
    fn sender_of(&mut self, id: LinkId, name: NodeId) -> Option<Key> {
        let link = self.links.get(id)?;
        if let Some(key) = link.node.filter(|it| !self.table[*it].is_in_handshake()) {
            return Some(key);
        }
        let is_unbound = link.node.is_none();
        let sender = self.table.find(name).filter(|it| *it != self.table.me)?;
        if is_unbound {
            self.bind_inbound(sender, id);
        }
        Some(sender)
    }

    /// What every packet of a node tells.
    fn take_header(&mut self, id: LinkId, sender: Key, header: &Header) {
        let takes_extensions = self.links.get(id).is_some_and(|it| it.takes_extensions);
        let now = self.now;
        let node = &mut self.table[sender];
        if takes_extensions {
            node.flags |= NodeFlags::EXTENSIONS;
        }
        let had_lost_primary = node.is(NodeFlags::MY_PRIMARY_FAIL);
        node.flags -= ABILITIES;
        node.flags |= header.flags & ABILITIES;
        node.times.data_received = now;
        if node.is_in_handshake() {
            return;
        }
        // Whether it can be read from is shown to clients.
        self.is_view_stale |= (node.offset == 0) != (header.offset == 0);
        node.offset = header.offset;
        node.share = header.share;
        let has_lost_primary = node.is(NodeFlags::MY_PRIMARY_FAIL);
        let primary = node.primary;
        let is_sibling = primary.is_some() && primary == self.table.myself().primary;
        if is_sibling && has_lost_primary != had_lost_primary {
            self.todo |= Todo::FAILOVER;
        }
        self.current_epoch = self.current_epoch.max(header.current_epoch);
        let node = &mut self.table[sender];
        if header.primary.is_none() && node.config_epoch < header.config_epoch {
            node.config_epoch = header.config_epoch;
            self.todo |= Todo::SAVE_SYNCED;
            self.give_up_lost_election(sender);
        }
        let is_paused_primary = self.table.myself().primary == Some(sender)
            && header.message_flags.contains(MessageFlags::PAUSED);
        if is_paused_primary {
            self.take_paused_offset(header.offset);
        }
    }

    /// PING and MEET are answered, whoever they are from.
    fn answer(&mut self, id: LinkId, sender: Option<Key>, header: &Header, body: &Body) {
        let Body::Ping { kind, gossip, .. } = body else { return };
        let is_meet = *kind == Ping::Meet;
        self.learn_own_address(id, is_meet);
        if is_meet {
            match sender {
                Some(sender) => self.take_needless_meet(sender, id),
                // A node that meets itself, by whatever address.
                None if header.sender == self.table.myself().id => {}
                None if self.is_unaware_of_ban(header, gossip) => {}
                None => {
                    self.take_meet(id, header);
                    // It is trusted, as somebody has asked for this.
                    let introduced = self.links.get(id).and_then(|it| it.node);
                    self.take_gossip(introduced, gossip);
                }
            }
        }
        self.send_ping(id, Ping::Pong);
    }

    /// What a ping says of its sender's place, role and slots, and of others.
    fn take_configuration(
        &mut self,
        id: LinkId,
        sender: Option<Key>,
        header: &Header,
        body: &Body,
    ) {
        let Body::Ping { kind, gossip, extensions } = body else { return };
        if let Some(sender) = sender.filter(|it| self.table[*it].is(NodeFlags::MEET)) {
            self.table[sender].flags -= NodeFlags::MEET;
            let text = format!("Successfully completed handshake with {}", self.named(sender));
            self.log(Level::Notice, text);
        }
        let Some(link) = self.links.get(id) else { return };
        let outbound = link.node.filter(|_| !link.is_inbound);
        if let Some(key) = outbound {
            if header.sender == self.table.myself().id {
                return self.end_meeting_with_self(key, id);
            }
            if self.check_introduction(id, key, sender, header) == Introduction::Ended {
                return;
            }
        }
        if let Some(sender) = sender {
            let node = &mut self.table[sender];
            if node.is(NodeFlags::NO_FAILOVER) != header.flags.contains(NodeFlags::NO_FAILOVER) {
                node.flags.toggle(NodeFlags::NO_FAILOVER);
                self.todo |= Todo::SAVE;
            }
            if *kind == Ping::Ping && !self.table[sender].is_in_handshake() {
                self.update_address(sender, id, header);
            }
        }
        if let Some(key) = outbound.filter(|_| *kind == Ping::Pong) {
            self.table[key].has_answered_moves = header.share.moves;
            self.take_pong(key);
        }
        let Some(sender) = sender else { return };
        let before = &self.table[sender];
        let was_replica = before.is_replica();
        let was_ours = before.primary == Some(self.table.me);
        if !self.take_role(sender, header) {
            return;
        }
        self.take_slots(sender, header, was_replica, was_ours);
        self.take_gossip(Some(sender), gossip);
        self.take_extensions(sender, extensions);
    }

    /// This node has connected to itself.
    fn end_meeting_with_self(&mut self, key: Key, id: LinkId) {
        if self.table[key].is_in_handshake() {
            self.log(Level::Verbose, "Handshake: this address is my own.".to_owned());
            self.forget_node(key);
        } else {
            self.close(id);
        }
    }

    fn take_pong(&mut self, key: Key) {
        let node = &mut self.table[key];
        node.times.pong_received = self.now;
        if node.times.ping_sent != 0 {
            node.times.answered_ping_sent = node.times.first_ping_sent;
        }
        node.times.ping_sent = 0;
        // It is where its name has led.
        node.last_place = None;
        self.acquit(key);
        self.note_answer(key);
    }

    /// Takes in whether a node is a primary or a replica, and whose. Returns whether the rest of the packet counts.
    fn take_role(&mut self, sender: Key, header: &Header) -> bool {
        let Some(primary) = header.primary else {
            // Of one that was told of by others only, nothing may be known.
            if !self.table[sender].is_primary() {
                // Others may have told of its failure. It is back, and nobody shall take its new place at once.
                self.acquit(sender);
                self.make_primary(sender);
            }
            return true;
        };
        let primary = self.table.find(primary).filter(|it| *it != sender);
        if !self.table[sender].is_primary() {
            self.table[sender].flags |= NodeFlags::REPLICA;
        }
        if self.table[sender].is_primary() && !self.demote(sender, primary, header.config_epoch) {
            return false;
        }
        if let Some(primary) = primary
            && self.table[sender].primary != Some(primary)
            && self.table[sender].is_replica()
        {
            self.attach(sender, primary);
        }
        true
    }

    /// A primary says that it is a replica now. Returns whether that is believed.
    fn demote(&mut self, sender: Key, primary: Option<Key>, epoch: u64) -> bool {
        let in_shard = primary.filter(|it| self.table.are_in_same_shard(*it, sender));
        if let Some(primary) = in_shard {
            let known = self.table.epoch(sender).max(self.table.epoch(primary));
            if epoch < known {
                let text = format!(
                    "Ignore stale message from {}; gossip config epoch: {epoch}, current config epoch: {known}",
                    self.named_in_shard(sender)
                );
                self.log(Level::Notice, text);
                return false;
            }
            if self.table[primary].is_replica() {
                // What we are ourselves is not for others to say.
                if primary == self.table.me {
                    return false;
                }
                self.succeed(sender, primary, epoch);
            }
        } else {
            self.leave_shard(sender, primary);
        }
        let node = &mut self.table[sender];
        node.flags -= NodeFlags::PRIMARY | NodeFlags::MIGRATE_TO;
        node.flags |= NodeFlags::REPLICA;
        self.todo |= Todo::SAVE_SYNCED | Todo::UPDATE_STATE;
        true
    }

    /// A replica has replaced its primary, which tells us of it before the replica does.
    fn succeed(&mut self, old: Key, new: Key, epoch: u64) {
        let (slots, imports, exports) = self.hand_over_slots(old, new);
        self.make_primary(new);
        self.table[new].config_epoch = epoch;
        if slots != 0 {
            let text = format!(
                "A failover occurred in shard {}; node {} lost {slots} slot(s) and failed over to node {} \
                 with a config epoch of {epoch}",
                self.table[old].shard,
                self.named(old),
                self.named(new)
            );
            self.log(Level::Notice, text);
        }
        if imports != 0 {
            let text = format!(
                "A failover occurred in migration source. Update importing source of {imports} slot(s) to node {}.",
                self.named_in_shard(new)
            );
            self.log(Level::Notice, text);
        }
        if exports != 0 {
            let text = format!(
                "A failover occurred in migration target. Update migrating target of {exports} slot(s) to node {}.",
                self.named_in_shard(new)
            );
            self.log(Level::Notice, text);
        }
    }

    fn leave_shard(&mut self, sender: Key, primary: Option<Key>) {
        let slots = self.table.release_all(sender);
        let text = format!(
            "Node {} is no longer primary of shard {}; removed all {slots} slot(s) it used to own",
            self.named(sender),
            self.table[sender].shard
        );
        self.log(Level::Notice, text);
        if let Some(primary) = primary {
            let text = format!(
                "Node {} is now part of shard {}",
                self.named(sender),
                self.table[primary].shard
            );
            self.log(Level::Notice, text);
        }
    }

    /// A replica follows a primary that it did not follow before.
    fn attach(&mut self, replica: Key, primary: Key) {
        self.table.set_primary(replica, primary);
        let text = format!(
            "Node {} is now a replica of node {}",
            self.named(replica),
            self.named_in_shard(primary)
        );
        self.log(Level::Notice, text);
        // Before shards are: whether there is a common history shows by them.
        self.avoid_chain();
        let shard = self.table[primary].shard;
        self.set_shard(replica, shard);
        self.todo |= Todo::SAVE;
    }

    /// The primary of this replica is a replica itself by now: follow whom it follows.
    fn avoid_chain(&mut self) {
        let me = self.table.me;
        let Some(primary) = self.table.myself().primary else { return };
        let Some(top) = self.table[primary].primary.filter(|it| *it != me) else { return };
        let text = format!(
            "I'm a sub-replica! Reconfiguring myself as a replica of {} from {}",
            self.table[top].id, self.table[primary].id
        );
        self.log(Level::Notice, text);
        let is_same_shard = self.table.are_in_same_shard(top, me);
        let history = if is_same_shard { History::Shared } else { History::Foreign };
        self.follow(top, OpenSlots::Close, history);
        self.todo |= Todo::SAVE_SYNCED | Todo::UPDATE_STATE | Todo::BROADCAST;
    }

    /// Takes in which slots a primary claims, and tells it if it is wrong.
    fn take_slots(&mut self, sender: Key, header: &Header, was_replica: bool, was_ours: bool) {
        let node: &Node = &self.table[sender];
        let is_primary = node.is_primary() && header.primary.is_none();
        if is_primary && (was_replica || node.slots != header.slots) {
            let text = format!(
                "Mismatch in topology information for sender node {}",
                self.named_in_shard(sender)
            );
            self.log(Level::Notice, text);
            self.take_claim(sender, header.config_epoch, &header.slots, was_ours);
            self.correct_claim(sender, header.config_epoch, &header.slots);
        }
        let myself = self.table.myself();
        if self.table[sender].is_primary()
            && myself.is_primary()
            && header.config_epoch == myself.config_epoch
        {
            self.part_epochs(sender);
        }
    }

    /// A node tells of another one's slots.
    fn take_update(&mut self, sender: Key, about: NodeId, epoch: u64, slots: &SlotSet) {
        let Some(key) = self.table.find(about) else { return };
        let known = self.table[key].config_epoch;
        if epoch <= known {
            return;
        }
        if key == self.table.me {
            return self.log(Level::Notice, "Discarding UPDATE message about myself.".to_owned());
        }
        let text = format!(
            "Processing UPDATE message received from {} about node {}. old configEpoch {known}, new configEpoch {epoch}",
            self.named_in_shard(sender),
            self.named_in_shard(key)
        );
        self.log(Level::Notice, text);
        if self.table[key].is_replica() {
            self.make_primary(key);
        }
        self.table[key].config_epoch = epoch;
        self.todo |= Todo::SAVE_SYNCED;
        self.take_claim(key, epoch, slots, false);
    }
}
