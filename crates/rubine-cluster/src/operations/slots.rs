//! Operations on slots: giving them to this node, taking them away, moving them by hand.

use std::fmt::Write;

use rubine_base::clock::Millis;

use super::OperationError;
use crate::effect::{History, Level};
use crate::id::NodeId;
use crate::machine::node::Key;
use crate::machine::{Cluster, OpenSlots, Todo};
use crate::slots::{SLOT_COUNT, SlotSet};

/// What CLUSTER SETSLOT does. Ids are as they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetSlot<'a> {
    Migrating(&'a [u8]),
    Importing(&'a [u8]),
    Stable,
    Node(&'a [u8]),
}

/// What is known of the slot and of whoever asks, when SETSLOT is checked and done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetSlotFacts {
    /// It came from the primary, by its stream.
    pub is_from_primary: bool,
    /// There are keys in the slot.
    pub has_keys: bool,
    /// Whether slots are moving by themselves.
    pub moving: Option<Moving>,
}

/// Slots move by themselves, and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moving {
    In,
    Out,
}

/// A SETSLOT that may be done.
#[derive(Clone, Copy, Debug)]
enum Checked {
    Migrating(Key),
    Importing(Key),
    Stable,
    Node(Key),
}

impl Cluster {
    /// ADDSLOTS, ADDSLOTSRANGE: all of them, or none.
    pub fn add_slots(
        &mut self,
        ranges: &[std::ops::RangeInclusive<u16>],
        now: Millis,
    ) -> Result<(), OperationError> {
        self.begin(now);
        let slots = self.check_slots(ranges, |table, slot| {
            let is_busy = table.owner(slot).is_some();
            is_busy.then_some(OperationError::AlreadyBusy(slot))
        })?;
        let me = self.table.me;
        for slot in slots.iter() {
            self.table.importing.remove(&slot);
            self.table.assign(slot, me);
        }
        self.todo |= Todo::SAVE | Todo::UPDATE_STATE;
        Ok(())
    }

    /// DELSLOTS, DELSLOTSRANGE: all of them, or none.
    pub fn delete_slots(
        &mut self,
        ranges: &[std::ops::RangeInclusive<u16>],
        now: Millis,
    ) -> Result<(), OperationError> {
        self.begin(now);
        let slots = self.check_slots(ranges, |table, slot| {
            let is_free = table.owner(slot).is_none();
            is_free.then_some(OperationError::AlreadyUnassigned(slot))
        })?;
        for slot in slots.iter() {
            self.table.importing.remove(&slot);
            self.table.release(slot);
        }
        self.todo |= Todo::SAVE | Todo::UPDATE_STATE;
        Ok(())
    }

    fn check_slots(
        &self,
        ranges: &[std::ops::RangeInclusive<u16>],
        refuse: impl Fn(&crate::machine::table::Table, u16) -> Option<OperationError>,
    ) -> Result<SlotSet, OperationError> {
        let mut slots = SlotSet::new();
        for slot in ranges.iter().cloned().flatten() {
            if let Some(error) = refuse(&self.table, slot) {
                return Err(error);
            }
            if !slots.insert(slot) {
                return Err(OperationError::SpecifiedTwice(slot));
            }
        }
        Ok(slots)
    }

    /// FLUSHSLOTS.
    pub fn flush_slots(&mut self, now: Millis) -> Result<(), OperationError> {
        self.begin(now);
        if !self.facts.is_empty {
            return Err(OperationError::NotEmpty);
        }
        self.table.release_all(self.table.me);
        self.todo |= Todo::SAVE | Todo::UPDATE_STATE;
        Ok(())
    }

    /// Whether a SETSLOT may be done. A primary with replicas asks before it sends it to them, and does it when they have it.
    pub fn check_set_slot(
        &self,
        slot: u16,
        what: SetSlot<'_>,
        facts: SetSlotFacts,
    ) -> Result<(), OperationError> {
        self.checked_set_slot(slot, what, facts).map(|_| ())
    }

    fn checked_set_slot(
        &self,
        slot: u16,
        what: SetSlot<'_>,
        facts: SetSlotFacts,
    ) -> Result<Checked, OperationError> {
        let me = self.table.me;
        let is_replica = self.table.myself().is_replica();
        if is_replica && !facts.is_from_primary {
            return Err(OperationError::NotAPrimary);
        }
        match facts.moving {
            Some(Moving::In) => return Err(OperationError::ImportInProgress),
            Some(Moving::Out) => return Err(OperationError::ExportInProgress),
            None => {}
        }
        let is_mine = self.table.owner(slot) == Some(me);
        match what {
            SetSlot::Migrating(_) if !is_replica && !is_mine => {
                Err(OperationError::NotTheOwner(slot))
            }
            SetSlot::Importing(_) if is_mine => Err(OperationError::AlreadyTheOwner(slot)),
            SetSlot::Migrating(name) => self.other_primary(name).map(Checked::Migrating),
            SetSlot::Importing(name) => self.other_primary(name).map(Checked::Importing),
            SetSlot::Stable => Ok(Checked::Stable),
            SetSlot::Node(name) => {
                let key = self.find_named(name)?;
                if self.table[key].is_replica() {
                    return Err(OperationError::TargetIsNoPrimary);
                }
                if is_mine && key != me && facts.has_keys {
                    return Err(OperationError::StillHasKeys(slot));
                }
                Ok(Checked::Node(key))
            }
        }
    }

    fn other_primary(&self, name: &[u8]) -> Result<Key, OperationError> {
        let shown = || String::from_utf8_lossy(name).into_owned();
        let key = self.find_named(name).map_err(|_| OperationError::DontKnowNode(shown()))?;
        if key == self.table.me {
            return Err(OperationError::TargetIsMyself);
        }
        if self.table[key].is_replica() {
            return Err(OperationError::TargetIsNoPrimary);
        }
        Ok(key)
    }

    /// SETSLOT.
    pub fn set_slot(
        &mut self,
        slot: u16,
        what: SetSlot<'_>,
        facts: SetSlotFacts,
        now: Millis,
    ) -> Result<(), OperationError> {
        self.begin(now);
        match self.checked_set_slot(slot, what, facts)? {
            Checked::Migrating(to) => {
                let text = format!("Migrating slot {slot} to node {}", self.named(to));
                self.log(Level::Notice, text);
                self.table.migrating.insert(slot, to);
            }
            Checked::Importing(from) => {
                let text = format!("Importing slot {slot} from node {}", self.named(from));
                self.log(Level::Notice, text);
                self.table.importing.insert(slot, from);
            }
            Checked::Stable => {
                self.log(Level::Notice, format!("Marking slot {slot} stable"));
                self.table.importing.remove(&slot);
                self.table.migrating.remove(&slot);
            }
            Checked::Node(to) => self.give_slot(slot, to, facts.has_keys),
        }
        self.todo |= Todo::SAVE | Todo::UPDATE_STATE;
        Ok(())
    }

    /// A slot that was moved by hand has its new owner.
    fn give_slot(&mut self, slot: u16, to: Key, has_keys: bool) {
        let text = format!("Assigning slot {slot} to node {}", self.named_in_shard(to));
        self.log(Level::Notice, text);
        if !has_keys {
            self.table.migrating.remove(&slot);
        }
        let me = self.table.me;
        let my_primary = self.table.top(me);
        let was_ours = self.table.owner(slot) == Some(my_primary);
        self.table.assign(slot, to);
        let is_empty = was_ours && to != my_primary && self.table[my_primary].slot_count == 0;
        if is_empty && self.config.allow_replica_migration {
            let text = format!(
                "Lost my last slot during slot migration. Reconfiguring myself as a replica of {}",
                self.named_in_shard(to)
            );
            self.log(Level::Notice, text);
            if to != me {
                self.follow(to, OpenSlots::Close, History::Foreign);
                self.todo |= Todo::SAVE_SYNCED | Todo::BROADCAST;
            }
        } else if is_empty && self.table.myself().is_primary() {
            self.log_empty_primary(to);
        }
        let is_ours_now = to == me || self.table.myself().primary == Some(to);
        if is_ours_now && self.table.importing.remove(&slot).is_some() && to == me {
            // Others believe it by the new epoch.
            if self.bump_epoch() {
                self.log(Level::Notice, format!("ConfigEpoch updated after importing slot {slot}"));
            }
            self.todo |= Todo::BROADCAST;
        }
    }

    /// Which slots are being moved by hand, as a full sync tells a replica (`cluster-slot-states` of dump files); empty if
    /// none is.
    pub fn open_slots(&self) -> String {
        let mut text = String::new();
        let both = [('<', &self.table.importing), ('>', &self.table.migrating)];
        for (direction, slots) in both {
            for (slot, key) in slots {
                // Writing to a string cannot fail.
                let _ = write!(text, "{slot}{direction}{},", self.table[*key].id);
            }
        }
        text
    }

    /// Takes in what a primary has said of that. Returns whether it could be read; up to where it could not, it holds.
    pub fn take_open_slots(&mut self, text: &str, now: Millis) -> bool {
        self.begin(now);
        for entry in text.split_terminator(',') {
            let Some(at) = entry.find(['<', '>']) else { return false };
            let (slot, name) = entry.split_at(at);
            let slot = slot.parse().ok().filter(|it| usize::from(*it) < SLOT_COUNT);
            let (Some(slot), Some(id)) = (slot, NodeId::parse(&name.as_bytes()[1..])) else {
                return false;
            };
            let key = self.find_or_add(id);
            if key == self.table.me {
                continue;
            }
            let is_import = name.starts_with('<');
            let slots =
                if is_import { &mut self.table.importing } else { &mut self.table.migrating };
            slots.insert(slot, key);
            self.todo |= Todo::SAVE;
        }
        true
    }

    /// Slots that were moved to this node by themselves are its own, at once and in a new epoch.
    pub fn take_slots_over(&mut self, slots: &SlotSet, now: Millis) {
        self.begin(now);
        let me = self.table.me;
        for slot in slots.iter() {
            self.table.assign(slot, me);
        }
        self.bump_epoch();
        self.todo |= Todo::SAVE_SYNCED | Todo::UPDATE_STATE | Todo::BROADCAST;
    }

    /// This node has let go of slots, which are being moved away by themselves: their new owner is believed whatever its
    /// epoch is, until this is taken back.
    pub fn grant_slots(&mut self, slots: &SlotSet) {
        for slot in slots.iter() {
            self.granted.insert(slot);
        }
    }

    pub fn revoke_slots(&mut self, slots: &SlotSet) {
        for slot in slots.iter() {
            self.granted.remove(slot);
        }
    }

    /// In which slots there are keys, as [`crate::Action::VerifyKeys`] asks: those of slots that others serve are dropped,
    /// slots that nobody serves are this node's.
    pub fn verify_keys(&mut self, populated: &SlotSet, now: Millis) {
        self.begin(now);
        if self.table.myself().is_replica() {
            return;
        }
        let me = self.table.me;
        let mut dropped = SlotSet::new();
        for slot in populated.iter() {
            let owner = self.table.owner(slot);
            if owner == Some(me) || self.table.importing.contains_key(&slot) {
                continue;
            }
            self.todo |= Todo::SAVE_SYNCED;
            let text = if owner.is_none() {
                self.table.assign(slot, me);
                format!("I have keys for unassigned slot {slot}. Taking responsibility for it.")
            } else {
                dropped.insert(slot);
                format!(
                    "I have keys for slot {slot}, but the slot is assigned to another node. Deleting keys in the slot."
                )
            };
            self.log(Level::Notice, text);
        }
        if !dropped.is_empty() {
            self.do_it(crate::effect::Action::DropKeys { slots: dropped });
        }
    }
}
