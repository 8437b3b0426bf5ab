//! Which node serves which slot: the claim with the greater epoch wins, and no two nodes keep the same epoch.

use super::node::Key;
use super::roles::OpenSlots;
use super::{Cluster, Todo};
use crate::effect::{Action, History, Level};
use crate::message::Body;
use crate::slots::{SLOT_COUNT, SlotSet};

/// What a claim has changed.
#[derive(Default)]
struct Changes {
    /// Whoever claims was this node's replica, and is its successor.
    is_successor: bool,
    /// Whoever claims has slots of this node's shard now.
    takes_ours: bool,
    our_slots_taken: usize,
    /// Slots that were this node's own.
    lost: SlotSet,
    /// Runs of slots that went from one shard to another: the last one, as it is not logged yet.
    run: Option<(u16, u16, Key)>,
}

impl Cluster {
    /// A node claims slots, with an epoch: those that nobody claims, or somebody with a smaller one, are its own now. If
    /// nothing is left to this node or its primary thereby, it follows the one who claims.
    ///
    /// A successor of this node is believed with the same epoch, too. If this node had given itself one, and was stopped
    /// before it could tell, the others have voted for its successor in that epoch.
    pub(crate) fn take_claim(
        &mut self,
        claimer: Key,
        epoch: u64,
        claimed: &SlotSet,
        is_successor: bool,
    ) {
        if claimer == self.table.me {
            return self.log(Level::Notice, "Discarding UPDATE message about myself.".to_owned());
        }
        let Some(our_primary) = self.table.my_primary() else {
            return self.take_claimed_slots(claimer, epoch, claimed, None, &mut Changes::default());
        };
        let mut changes = Changes { is_successor, ..Changes::default() };
        self.take_claimed_slots(claimer, epoch, claimed, Some(our_primary), &mut changes);
        self.log_run(claimer, changes.run.take());
        let me = self.table.me;
        let is_same_shard = self.table.are_in_same_shard(claimer, me);
        let replaces_an_empty_one = !changes.takes_ours
            && self.table.myself().primary != Some(claimer)
            && claimed.is_empty()
            && self.table.myself().slot_count == 0
            && self.table.epoch(me) < epoch
            && is_same_shard;
        let has_new_primary = changes.takes_ours || replaces_an_empty_one;
        let is_primary = self.table.myself().is_primary();
        let mut drops_lost = false;
        if has_new_primary && self.table[our_primary].slot_count == 0 {
            if self.config.allow_replica_migration || is_same_shard {
                self.change_primary(claimer, is_same_shard);
            } else if is_primary && changes.our_slots_taken <= claimed.len() {
                self.log_empty_primary(claimer);
                drops_lost = true;
            }
        } else {
            drops_lost = true;
        }
        if drops_lost && !changes.lost.is_empty() {
            self.do_it(Action::DropKeys { slots: changes.lost });
        }
    }

    fn change_primary(&mut self, claimer: Key, is_same_shard: bool) {
        let text = format!(
            "Configuration change detected. Reconfiguring myself as a replica of node {}",
            self.named_in_shard(claimer)
        );
        self.log(Level::Notice, text);
        // Whoever was replaced within its shard goes on with what is open there, and has the same history.
        let (open_slots, history) = if is_same_shard {
            (OpenSlots::Keep, History::Shared)
        } else {
            (OpenSlots::Close, History::Foreign)
        };
        self.follow(claimer, open_slots, history);
        self.todo |= Todo::SAVE_SYNCED | Todo::UPDATE_STATE | Todo::BROADCAST;
    }

    pub(crate) fn log_empty_primary(&mut self, taker: Key) {
        let text = format!(
            "My last slot was migrated to node {}. I am now an empty primary.",
            self.named_in_shard(taker)
        );
        self.log(Level::Notice, text);
    }

    fn take_claimed_slots(
        &mut self,
        claimer: Key,
        epoch: u64,
        claimed: &SlotSet,
        our_primary: Option<Key>,
        changes: &mut Changes,
    ) {
        for slot in 0..SLOT_COUNT as u16 {
            if claimed.contains(slot) {
                self.take_claimed_slot(claimer, epoch, slot, our_primary, changes);
            } else {
                self.take_unclaimed_slot(claimer, epoch, slot);
            }
        }
    }

    fn take_claimed_slot(
        &mut self,
        claimer: Key,
        epoch: u64,
        slot: u16,
        our_primary: Option<Key>,
        changes: &mut Changes,
    ) {
        let owner = self.table.owner(slot);
        if owner == Some(claimer) {
            self.table.unclaimed.remove(slot);
            return;
        }
        let is_unclaimed = self.table.is_unclaimed(slot);
        let is_newer = owner.is_none_or(|it| {
            let known = self.table[it].config_epoch;
            let succeeds_it = changes.is_successor && it == self.table.me;
            known < epoch || (succeeds_it && known == epoch)
        });
        if !is_unclaimed && !is_newer && !self.granted.contains(slot) {
            return;
        }
        if let Some(owner) = owner.filter(|_| !is_unclaimed)
            && !self.table.are_in_same_shard(owner, claimer)
        {
            self.note_run(claimer, slot, owner, changes);
        }
        if owner == Some(self.table.me) {
            changes.lost.insert(slot);
        }
        if owner.is_some() && owner == our_primary {
            changes.takes_ours = true;
            changes.our_slots_taken += 1;
        }
        self.settle_open_slot(claimer, slot);
        self.granted.remove(slot);
        self.table.assign(slot, claimer);
        self.todo |= Todo::SAVE_SYNCED | Todo::UPDATE_STATE;
    }

    /// A slot that is being moved by hand has got another owner.
    fn settle_open_slot(&mut self, claimer: Key, slot: u16) {
        let me = self.table.me;
        // In another shard it is what an operator wanted; in this one a failover, behind which the move goes on.
        if let Some(to) = self.table.migrating.get(&slot).copied()
            && !self.table.are_in_same_shard(claimer, me)
        {
            let text = format!(
                "Slot {slot} is no longer being migrated to node {}.",
                self.named_in_shard(to)
            );
            self.log(Level::Notice, text);
            self.table.migrating.remove(&slot);
        }
        let Some(from) = self.table.importing.get(&slot).copied().filter(|it| *it != claimer)
        else {
            return;
        };
        if self.table.are_in_same_shard(claimer, from) {
            let text = format!(
                "Failover occurred in migration source. Update importing source for slot {slot} to node {}.",
                self.named_in_shard(claimer)
            );
            self.log(Level::Verbose, text);
            self.table.importing.insert(slot, claimer);
        } else {
            let text = format!(
                "Slot {slot} is no longer being imported from node {}.",
                self.named_in_shard(from)
            );
            self.log(Level::Notice, text);
            self.table.importing.remove(&slot);
        }
    }

    /// A node does not claim a slot.
    fn take_unclaimed_slot(&mut self, sender: Key, epoch: u64, slot: u16) {
        let owner = self.table.owner(slot);
        if owner == Some(sender) {
            // It stays where it is until somebody claims it: clients are redirected once more, but get no error.
            self.table.unclaimed.insert(slot);
        }
        if let Some(to) = self.table.migrating.get(&slot).copied()
            && to != sender
            && (self.table[to].config_epoch < epoch || self.table[to].is_replica())
            && self.table.are_in_same_shard(to, sender)
        {
            let text = format!(
                "Failover occurred in migration target. Slot {slot} is now being migrated to node {}.",
                self.named_in_shard(sender)
            );
            self.log(Level::Verbose, text);
            self.table.migrating.insert(slot, sender);
            self.todo |= Todo::SAVE_SYNCED | Todo::UPDATE_STATE;
        }
        if self.table.myself().is_primary() && self.table.importing.get(&slot) == Some(&sender) {
            self.finish_import(sender, slot);
        }
    }

    /// The node that this one takes a slot from has let go of it: the end of the move was missed, by this node or by the
    /// primary that it has replaced.
    fn finish_import(&mut self, source: Key, slot: u16) {
        let text = format!(
            "Slot {slot} is no longer being imported from node {}; Clear my importing source for the slot.",
            self.named_in_shard(source)
        );
        self.log(Level::Notice, text);
        self.table.importing.remove(&slot);
        let me = self.table.me;
        if self.table.owner(slot) != Some(me) {
            self.table.assign(slot, me);
            self.bump_epoch();
            self.todo |= Todo::SAVE_SYNCED | Todo::UPDATE_STATE;
        }
    }

    fn note_run(&mut self, claimer: Key, slot: u16, owner: Key, changes: &mut Changes) {
        match &mut changes.run {
            Some((_, last, source)) if *source == owner && *last + 1 == slot => *last = slot,
            run => {
                let done = run.replace((slot, slot, owner));
                self.log_run(claimer, done);
            }
        }
    }

    fn log_run(&mut self, target: Key, run: Option<(u16, u16, Key)>) {
        let Some((first, last, source)) = run else { return };
        let text = format!(
            "Slot range [{first}, {last}] is migrated from node {} to node {}.",
            self.named_in_shard(source),
            self.named_in_shard(target)
        );
        self.log(Level::Notice, text);
    }

    /// The slots of a primary that was replaced within its shard are its successor's, also where they are being moved.
    /// Returns how many there were, and of how many it was source and target.
    pub(crate) fn hand_over_slots(&mut self, from: Key, to: Key) -> (usize, usize, usize) {
        let slots: Vec<u16> = self.table[from].slots.iter().collect();
        for slot in &slots {
            self.table.assign(*slot, to);
        }
        let rename = |slots: &mut std::collections::BTreeMap<u16, Key>| {
            let renamed = slots.values_mut().filter(|it| **it == from);
            renamed.map(|it| *it = to).count()
        };
        let imports = rename(&mut self.table.importing);
        let exports = rename(&mut self.table.migrating);
        (slots.len(), imports, exports)
    }

    /// A primary claims slots that belong to others with a greater epoch: it is told of one of them.
    pub(crate) fn correct_claim(&mut self, claimer: Key, epoch: u64, claimed: &SlotSet) {
        let newer = claimed.iter().find_map(|slot| {
            let owner = self.table.owner(slot).filter(|it| *it != claimer)?;
            let is_newer = !self.table.is_unclaimed(slot) && epoch < self.table[owner].config_epoch;
            is_newer.then_some(owner)
        });
        if let Some(owner) = newer {
            self.send_update(claimer, owner);
        }
    }

    /// Tells a node what another one serves.
    pub(crate) fn send_update(&mut self, to: Key, about: Key) {
        let text = format!(
            "Node {} has old slots configuration, sending an UPDATE message about {}",
            self.named(to),
            self.named(about)
        );
        self.log(Level::Verbose, text);
        let node = &self.table[about];
        let slots = node.slots.iter().filter(|it| !self.table.unclaimed.contains(*it)).collect();
        let body = Body::Update { config_epoch: node.config_epoch, node: node.id, slots };
        let link = self.table[to].link;
        self.send(link, body);
    }

    /// Gives this node the greatest epoch, without asking anybody. Returns whether it had not.
    pub(crate) fn bump_epoch(&mut self) -> bool {
        let max = self.table.max_config_epoch().max(self.current_epoch);
        let own = self.table.myself().config_epoch;
        if own != 0 && own == max {
            return false;
        }
        self.take_next_epoch();
        self.log(Level::Notice, format!("New configEpoch set to {}", self.current_epoch));
        true
    }

    fn take_next_epoch(&mut self) {
        self.current_epoch = self.current_epoch.saturating_add(1);
        self.table.myself_mut().config_epoch = self.current_epoch;
        self.todo |= Todo::SAVE_SYNCED | Todo::BROADCAST;
    }

    /// Another primary has this node's epoch: the one with the smaller id takes another.
    pub(crate) fn part_epochs(&mut self, other: Key) {
        let (other_node, myself) = (&self.table[other], self.table.myself());
        let is_ours_to_do = other_node.config_epoch == myself.config_epoch
            && other_node.is_primary()
            && myself.is_primary()
            && myself.id < other_node.id;
        if !is_ours_to_do {
            return;
        }
        self.take_next_epoch();
        let text = format!(
            "configEpoch collision with node {}. configEpoch set to {}",
            self.named(other),
            self.current_epoch
        );
        self.log(Level::Notice, text);
    }
}
