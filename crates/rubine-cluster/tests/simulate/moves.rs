//! Slots that are moved by hand, as valkey-cli does it: step by step, while things go wrong.

use rubine_cluster::id::NodeId;
use rubine_cluster::{SetSlot, SetSlotFacts};

use crate::server::{Name, Op, Server};
use crate::world::World;

/// Where a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Begun,
    /// The keys are at the target; it waits until replicas have them, too.
    Copied,
    /// They are nowhere else any more.
    Removed,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Move {
    slot: u16,
    from: Name,
    to: Name,
    step: Step,
    /// How long the log of source and target was when the step was done.
    logs: [usize; 2],
}

impl World {
    /// Begins to move a slot that clients write to.
    pub(crate) fn begin_to_move(&mut self) -> Result<(), String> {
        if self.moves.is_some() {
            return Ok(());
        }
        let index = self.random.below(self.hot_slots.len() as u64) as usize;
        let slot = self.hot_slots[index];
        let now = self.now;
        let sources = self.which(|it| it.takes_writes(slot, now));
        let targets = self.which(|it| {
            it.view.as_ref().is_some_and(|view| {
                view.is_ok()
                    && !view.is_replica()
                    && !view.is_mine(slot)
                    && view.importing.is_empty()
            })
        });
        let (Some(from), Some(to)) = (self.any(&sources), self.any(&targets)) else {
            return Ok(());
        };
        let (source, target) = (self.id_of(from), self.id_of(to));
        self.tell(&format!("slot {slot} is to go from {from} to {to}"));
        let is_begun = self.set_slot(to, slot, SetSlot::Importing(source.as_bytes()))?
            && self.set_slot(from, slot, SetSlot::Migrating(target.as_bytes()))?;
        if is_begun {
            self.moves = Some(Move { slot, from, to, step: Step::Begun, logs: [0, 0] });
        }
        Ok(())
    }

    fn id_of(&self, who: Name) -> NodeId {
        self.servers[who].id().expect("it runs")
    }

    /// SETSLOT, at the replicas first. Returns whether it was done.
    fn set_slot(&mut self, who: Name, slot: u16, what: SetSlot<'_>) -> Result<bool, String> {
        let has_keys = self.servers[who].data.contains_key(&slot);
        let facts = SetSlotFacts { has_keys, ..SetSlotFacts::default() };
        let is_allowed = self.operate(who, |it, _| it.check_set_slot(slot, what, facts).is_ok())?;
        if is_allowed != Some(true) {
            return Ok(false);
        }
        let history = self.servers[who].history;
        for replica in 0..self.servers.len() {
            let is_linked = self.servers[replica].linked_to == Some((who, history));
            if is_linked && self.servers[replica].is_awake(self.now) {
                let has_keys = self.servers[replica].data.contains_key(&slot);
                let facts = SetSlotFacts { has_keys, is_from_primary: true, moving: None };
                self.operate(replica, |it, now| it.set_slot(slot, what, facts, now).is_ok())?;
            }
        }
        let is_done = self.operate(who, |it, now| it.set_slot(slot, what, facts, now).is_ok())?;
        Ok(is_done == Some(true))
    }

    /// The next step of a move, if nothing has come between.
    pub(crate) fn go_on_moving(&mut self) -> Result<(), String> {
        let Some(mut it) = self.moves else { return Ok(()) };
        let now = self.now;
        let (source, target) = (&self.servers[it.from], &self.servers[it.to]);
        let is_cut = self.cuts.contains(&(it.from, it.to)) || self.cuts.contains(&(it.to, it.from));
        let can_go_on = source.is_awake(now)
            && target.is_awake(now)
            && !is_cut
            && source.view.as_ref().is_some_and(|view| {
                view.is_ok() && view.migrating.contains_key(&it.slot) && !view.is_replica()
            })
            && target.view.as_ref().is_some_and(|view| {
                view.is_ok() && view.importing.contains_key(&it.slot) && !view.is_replica()
            });
        if !can_go_on {
            self.tell(&format!("the move of slot {} is given up", it.slot));
            self.moves = None;
            return Ok(());
        }
        match it.step {
            Step::Begun => {
                self.copy_keys(it.slot, it.from, it.to);
                it.logs[1] = self.servers[it.to].log.len();
                it.step = Step::Copied;
            }
            Step::Copied if self.is_replicated(it.to, it.logs[1]) => {
                self.remove_keys(it.slot, it.from);
                it.logs[0] = self.servers[it.from].log.len();
                it.step = Step::Removed;
            }
            Step::Removed if self.is_replicated(it.from, it.logs[0]) => {
                let id = self.id_of(it.to);
                let node = SetSlot::Node(id.as_bytes());
                if self.set_slot(it.to, it.slot, node)? && self.set_slot(it.from, it.slot, node)? {
                    self.oracle.moved += 1;
                    self.tell(&format!("slot {} has gone from {} to {}", it.slot, it.from, it.to));
                }
                self.moves = None;
                return Ok(());
            }
            _ => {}
        }
        self.moves = Some(it);
        Ok(())
    }

    fn copy_keys(&mut self, slot: u16, from: Name, to: Name) {
        let ids = self.servers[from].data.get(&slot).cloned().unwrap_or_default();
        for id in ids {
            self.servers[to].append(Op::Add { slot, id });
        }
    }

    fn remove_keys(&mut self, slot: u16, from: Name) {
        let ids = self.servers[from].data.get(&slot).cloned().unwrap_or_default();
        for id in ids {
            self.servers[from].append(Op::Remove { slot, id });
        }
    }

    /// Whether enough replicas have a log up to there.
    fn is_replicated(&self, who: Name, end: usize) -> bool {
        let count = self.servers[who].acks.values().filter(|it| end <= **it).count();
        self.settings.write_quorum as usize <= count
    }

    /// As `valkey-cli --cluster fix` does it: keys go to whoever has the slot, and nothing is open any more.
    pub(crate) fn fix_open_slots(&mut self) -> Result<(), String> {
        let mut open: Vec<u16> = Vec::new();
        for view in self.servers.iter().filter_map(|it| it.view.as_ref()) {
            open.extend(view.migrating.keys().chain(view.importing.keys()));
        }
        open.sort_unstable();
        open.dedup();
        for slot in open {
            let owner = self.servers.iter().position(|it| {
                it.view.as_ref().is_some_and(|view| view.is_mine(slot) && !view.is_replica())
            });
            let Some(owner) = owner else { return Err(format!("nobody has slot {slot}")) };
            self.tell(&format!("slot {slot} is fixed: it is {owner}'s"));
            for other in self.which(Server::is_primary) {
                if other != owner {
                    self.copy_keys(slot, other, owner);
                    self.remove_keys(slot, other);
                }
            }
            for who in self.which(Server::is_primary) {
                self.set_slot(who, slot, SetSlot::Stable)?;
            }
            // Replicas that were not linked when it was set.
            for who in self.which(|it| !it.is_primary()) {
                let facts = SetSlotFacts { is_from_primary: true, ..SetSlotFacts::default() };
                self.operate(who, |it, now| {
                    it.set_slot(slot, SetSlot::Stable, facts, now).is_ok()
                })?;
            }
        }
        Ok(())
    }
}
