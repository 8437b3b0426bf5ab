//! What a client has queued between MULTI and EXEC. Never runs it.

use rubine_commands::{Args, Databases, Flags, Group, Limits};

use super::request::OwnedArgs;
use super::slot::RequestSlot;
use crate::access::request::database;
use crate::command_table::Entry;

/// The commands that a client has queued.
#[derive(Debug)]
pub(crate) struct Transaction {
    queued: Vec<(&'static Entry, OwnedArgs)>,
    /// Flags that any of them has, and those that all have.
    any_flags: Flags,
    all_flags: Flags,
    byte_count: usize,
    /// The last database that one of them selects.
    selected_db: Option<usize>,
    /// That of all their keys, in a cluster.
    slot: RequestSlot,
    /// One of them runs a script, which may have to run again.
    runs_scripts: bool,
    /// One of them was refused: EXEC will refuse all.
    is_spoiled: bool,
}

impl Default for Transaction {
    fn default() -> Self {
        Self {
            queued: Vec::new(),
            any_flags: Flags::empty(),
            all_flags: Flags::all(),
            byte_count: 0,
            selected_db: None,
            slot: RequestSlot::Any,
            runs_scripts: false,
            is_spoiled: false,
        }
    }
}

impl Transaction {
    pub(crate) fn len(&self) -> usize {
        self.queued.len()
    }

    /// The queued commands, in the order in which they came.
    pub(crate) fn commands(&self) -> impl Iterator<Item = (&'static Entry, Args<'_>)> {
        self.queued.iter().map(|(entry, args)| (*entry, args.as_args()))
    }

    /// The command of a number, from 0 on.
    pub(crate) fn command(&self, number: usize) -> Option<(&'static Entry, Args<'_>)> {
        self.queued.get(number).map(|(entry, args)| (*entry, args.as_args()))
    }

    /// Queues a command; `flags` say what it may do, and `limits` how many databases there are, and whether slots matter.
    pub(crate) fn push(
        &mut self,
        entry: &'static Entry,
        flags: Flags,
        args: Args<'_>,
        limits: &Limits,
    ) {
        if limits.cluster {
            self.slot = self.slot.with(RequestSlot::of(entry.spec, args));
        }
        if let Databases::Selects(find) = entry.spec.databases {
            find(args, &mut |index| {
                let selected = database(args.get(index), limits.databases).map(|it| it as usize);
                self.selected_db = selected.or(self.selected_db);
            });
        }
        self.any_flags |= flags;
        self.all_flags &= flags;
        self.runs_scripts |= entry.group == Group::Scripting;
        let args = OwnedArgs::of(args);
        self.byte_count += args.byte_count();
        self.queued.push((entry, args));
    }

    /// The database in which a command is that is queued next, if it is another than the client's.
    pub(crate) fn selected_db(&self) -> Option<usize> {
        self.selected_db
    }

    /// The slot of all their keys, in a cluster.
    pub(crate) fn slot(&self) -> RequestSlot {
        self.slot
    }

    pub(crate) fn spoil(&mut self) {
        self.is_spoiled = true;
    }

    pub(crate) fn is_spoiled(&self) -> bool {
        self.is_spoiled
    }

    /// Whether one of them runs a script.
    pub(crate) fn runs_scripts(&self) -> bool {
        self.runs_scripts
    }

    /// The bytes of all queued arguments.
    pub(crate) fn byte_count(&self) -> usize {
        self.byte_count
    }

    /// Whether any queued command has any of `flags`.
    pub(crate) fn has_any(&self, flags: Flags) -> bool {
        self.any_flags.intersects(flags)
    }

    /// Whether all queued commands have all of `flags`.
    pub(crate) fn have_all(&self, flags: Flags) -> bool {
        self.all_flags.contains(flags)
    }
}
