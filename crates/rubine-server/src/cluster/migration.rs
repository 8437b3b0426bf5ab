//! Slots that move by themselves, as this node knows of them: the state machine, the connections that carry them, and the
//! keyspace in which what comes is kept until it is all there. Opens no connection and runs no command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mio::Waker;
use parking_lot::Mutex;
use rubine_base::clock::unix_millis;
use rubine_cluster::migration::{JobId, MigrationAction, MigrationConfig, Migrations};
use rubine_cluster::slots::SlotSet;
use rubine_commands::Args;
use rubine_journal::{Effects, Journal, Offset};
use rubine_keyspace::{Keyspace, Locked, ShardSet, SlotImport, Snapshot};

use super::hidden::is_about;
use crate::command_table::Entry;

/// The migrations of this node.
pub(crate) struct SlotMigrations {
    /// A leaf among locks.
    state: Mutex<State>,
    /// Where what comes is kept out of everybody's sight. Whoever locks shards of it has locked those of the data before, if
    /// both are needed.
    beside: Arc<Keyspace>,
    /// Slots whose keys are kept there.
    hidden: Mutex<SlotSet>,
    has_hidden: AtomicBool,
    links: Mutex<Vec<Arc<MigrationLink>>>,
    /// Bytes that came from sources, and that went to targets.
    pub(crate) import_bytes: AtomicU64,
    pub(crate) export_bytes: AtomicU64,
}

struct State {
    machine: Migrations,
    /// What the thread of the cluster is to do, in this order.
    actions: Vec<MigrationAction>,
    /// What whoever has told what a primary or a log tells is to do at once.
    told: Vec<MigrationAction>,
}

impl SlotMigrations {
    pub(crate) fn new(config: MigrationConfig) -> Self {
        Self {
            state: Mutex::new(State {
                machine: Migrations::new(config),
                actions: Vec::new(),
                told: Vec::new(),
            }),
            // What is freed there is freed by whoever frees it.
            beside: Arc::new(Keyspace::new().0),
            hidden: Mutex::new(SlotSet::new()),
            has_hidden: AtomicBool::new(false),
            links: Mutex::default(),
            import_bytes: AtomicU64::new(0),
            export_bytes: AtomicU64::new(0),
        }
    }

    /// Asks the machine something, which leads to nothing.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(&Migrations) -> T) -> T {
        question(&self.state.lock().machine)
    }

    /// Tells the machine something. What replicas and the log are to hear is in the journal afterwards, before anybody else
    /// tells the machine anything; for the rest there is [`Self::take_actions`]. Returns whether there is any.
    pub(crate) fn tell<T>(
        &self,
        journal: &Journal,
        second: u64,
        tell: impl FnOnce(&mut Migrations) -> T,
    ) -> (T, bool) {
        let mut state = self.state.lock();
        let answer = tell(&mut state.machine);
        for action in state.machine.take_actions() {
            match action {
                MigrationAction::Hide { slots, .. } => self.hide(&slots),
                MigrationAction::Propagate { command } => append(journal, &command, second),
                action @ (MigrationAction::Show { takes_over: false, .. }
                | MigrationAction::Drop { propagates: false, .. }) => state.told.push(action),
                action => state.actions.push(action),
            }
        }
        (answer, !state.actions.is_empty())
    }

    pub(crate) fn take_actions(&self) -> Vec<MigrationAction> {
        std::mem::take(&mut self.state.lock().actions)
    }

    /// Where what comes is kept.
    pub(crate) fn beside(&self) -> &Arc<Keyspace> {
        &self.beside
    }

    /// Does what follows from what a primary or a log has told. All shards are locked, so that nobody sees a part of it.
    pub(crate) fn obey(&self, keyspace: &Keyspace, locked: &mut Locked<'_>) {
        for action in std::mem::take(&mut self.state.lock().told) {
            let (slots, is_shown) = match action {
                MigrationAction::Show { slots, .. } => (slots, true),
                MigrationAction::Drop { slots, .. } => (slots, false),
                _ => continue,
            };
            let numbers: Vec<u16> = slots.iter().collect();
            let mut beside = self.beside.lock(&ShardSet::of_slots(slots.iter()));
            if is_shown {
                locked.exchange_slots(&mut beside, &numbers, unix_millis());
            }
            keyspace.discard_slots_of(&mut beside, &numbers);
            drop(beside);
            self.unhide(&slots);
        }
    }

    /// Whether a command is about keys that are kept out of sight.
    pub(crate) fn hides(&self, entry: &Entry, args: Args<'_>) -> bool {
        self.has_hidden.load(Ordering::Acquire) && is_about(entry, args, &self.hidden.lock())
    }

    /// Whether the keys of a slot are kept out of sight.
    pub(crate) fn hides_slot(&self, slot: u16) -> bool {
        self.has_hidden.load(Ordering::Acquire) && self.hidden.lock().contains(slot)
    }

    /// Adds what is kept out of sight to an image. All shards are locked, so that no migration begins or ends meanwhile.
    pub(crate) fn add_to(&self, image: &mut Snapshot) {
        let imports: Vec<SlotImport> = self.ask(|machine| {
            let imports = machine.imports().map(|(id, slots)| SlotImport {
                name: id.as_bytes().to_vec(),
                ranges: slots.ranges().iter().map(|it| (*it.start(), *it.end())).collect(),
            });
            imports.collect()
        });
        if !imports.is_empty() {
            let hidden = self.beside.lock(&ShardSet::All).snapshot();
            image.add_hidden(hidden, imports);
        }
    }

    fn hide(&self, slots: &SlotSet) {
        let mut hidden = self.hidden.lock();
        slots.iter().for_each(|slot| {
            hidden.insert(slot);
        });
        self.has_hidden.store(true, Ordering::Release);
    }

    /// Nothing of these slots is kept beside any more.
    pub(crate) fn unhide(&self, slots: &SlotSet) {
        let mut hidden = self.hidden.lock();
        slots.iter().for_each(|slot| {
            hidden.remove(slot);
        });
        self.has_hidden.store(!hidden.is_empty(), Ordering::Release);
    }

    pub(crate) fn add_link(&self, link: Arc<MigrationLink>) {
        self.links.lock().push(link);
    }

    pub(crate) fn remove_link(&self, job: JobId) {
        self.links.lock().retain(|it| it.job != job);
    }

    /// The connection that carries a migration, if it has one.
    pub(crate) fn link(&self, job: JobId) -> Option<Arc<MigrationLink>> {
        self.links.lock().iter().find(|it| it.job == job).cloned()
    }

    /// Bytes that are to be sent still for a migration.
    pub(crate) fn remaining_bytes(&self, job: JobId, journal: &Journal) -> u64 {
        self.link(job).map_or(0, |it| it.remaining_bytes(journal.end()))
    }

    /// Has the machine know how many bytes are to be sent still for each migration.
    pub(crate) fn note_remaining(&self, journal: &Journal) {
        let links = self.links.lock().clone();
        let mut state = self.state.lock();
        for link in links {
            state.machine.note_remaining(link.job, link.remaining_bytes(journal.end()));
        }
    }

    /// CONFIG RESETSTAT.
    pub(crate) fn reset_stats(&self) {
        self.import_bytes.store(0, Ordering::Relaxed);
        self.export_bytes.store(0, Ordering::Relaxed);
    }

    /// Bytes that the connections of which this node is that end keep, together.
    pub(crate) fn link_bytes(&self, side: Side) -> u64 {
        let links = self.links.lock();
        let ours = links.iter().filter(|it| it.side == side);
        ours.map(|it| it.kept_bytes.load(Ordering::Relaxed)).sum()
    }
}

/// Writes a command into the journal that is about no database.
fn append(journal: &Journal, command: &[Vec<u8>], second: u64) {
    if !journal.is_active() {
        return;
    }
    let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
    let mut effects = Effects::new();
    effects.command(0, &words);
    journal.append(&mut effects, second);
}

/// A connection that carries a migration, with a thread of its own, in the eyes of others.
pub(crate) struct MigrationLink {
    pub(crate) job: JobId,
    pub(crate) side: Side,
    orders: Mutex<Vec<Order>>,
    waker: Waker,
    is_closed: AtomicBool,
    /// Bytes that wait to be sent.
    unsent_bytes: AtomicU64,
    /// What the journal has from there on waits, too; [`NOT_BEHIND`] if it does not.
    behind_from: AtomicU64,
    /// Memory of its buffers.
    pub(crate) kept_bytes: AtomicU64,
    pub(crate) progress: Progress,
}

/// Nothing of the journal waits.
const NOT_BEHIND: u64 = u64::MAX;

/// Which end of a connection this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Target,
}

/// How far a migration is that sends or takes in keys.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Keys of the image that have left, and all of them.
    pub(crate) keys: AtomicU64,
    pub(crate) keys_total: AtomicU64,
    /// Bytes that have left, or come.
    pub(crate) bytes: AtomicU64,
    /// Commands that were run.
    pub(crate) commands: AtomicU64,
}

/// What the thread of a connection is to do.
pub(crate) enum Order {
    /// Say who we are.
    Authenticate,
    Send(Vec<u8>),
    /// Send all keys of these slots, and then what changes in them.
    SendKeys(SlotSet),
    /// Writes to these slots are held: say when all that was written before is on its way.
    ReachPause(SlotSet),
}

impl MigrationLink {
    pub(crate) fn new(job: JobId, side: Side, waker: Waker) -> Self {
        let (orders, is_closed, unsent_bytes, kept_bytes, progress) = Default::default();
        let behind_from = AtomicU64::new(NOT_BEHIND);
        Self {
            job,
            side,
            orders,
            waker,
            is_closed,
            unsent_bytes,
            behind_from,
            kept_bytes,
            progress,
        }
    }

    pub(crate) fn order(&self, order: Order) {
        self.orders.lock().push(order);
        self.wake();
    }

    pub(crate) fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut self.orders.lock())
    }

    /// Shows how much waits to be sent, and from where on what the journal has waits behind it.
    pub(crate) fn show_remaining(&self, unsent: usize, behind_from: Option<Offset>) {
        self.unsent_bytes.store(unsent as u64, Ordering::Relaxed);
        self.behind_from.store(behind_from.unwrap_or(NOT_BEHIND), Ordering::Relaxed);
    }

    /// Bytes that are to be sent still, with a journal that ends there.
    pub(crate) fn remaining_bytes(&self, end: Offset) -> u64 {
        let behind = end.saturating_sub(self.behind_from.load(Ordering::Relaxed));
        self.unsent_bytes.load(Ordering::Relaxed) + behind
    }

    /// Nothing more of it counts from now on.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    pub(crate) fn wake(&self) {
        // A queue of events that cannot be woken is gone, and its thread with it.
        let _ = self.waker.wake();
    }
}
