//! The one place where a command meets its keys: for clients, transactions, those who have waited, logs and tests alike.
//! What differs between them is said by an [`Occasion`]. Takes no lock, and sends nothing anywhere.

use rubine_base::random::Random;
use rubine_keyspace::{
    Access, AccessPolicy, Changes, ChangesMark, Keyspace, Locked, View, ViewOptions,
};
use rubine_resp::writer::Reply;

use crate::args::Args;
use crate::command::Command;
use crate::context::{ClientFacts, Context, Effects, EffectsMark};
use crate::error::CommandResult;
use crate::event::Event;
use crate::execute::run;
use crate::limits::Limits;

/// On what occasion a command runs: for whom, when, and by which settings.
#[derive(Clone, Copy)]
pub struct Occasion<'a> {
    /// The selected database.
    pub db: usize,
    /// The instant of the command, Unix milliseconds.
    pub now: i64,
    pub limits: &'a Limits,
    /// How looks at a key are remembered.
    pub access: AccessPolicy,
    pub view: ViewOptions,
    pub client: ClientFacts,
}

/// What runs commands one after the other, and what they have done that is still to be carried out.
pub struct Runner {
    pub effects: Effects,
    pub changes: Changes,
    /// For commands that choose by chance.
    pub random: Random,
    /// For what is by chance in remembering a look at a key.
    access_random: Random,
}

/// A moment between two commands of a unit of work, to which all that it did can be brought back.
#[derive(Clone, Copy, Debug)]
pub struct RunnerMark {
    changes: ChangesMark,
    effects: EffectsMark,
}

impl Runner {
    pub fn new(seed: u64) -> Self {
        Self {
            effects: Effects::default(),
            changes: Changes::default(),
            random: Random::with_seed(seed),
            access_random: Random::with_seed(seed.wrapping_add(1)),
        }
    }

    /// Runs a command whose shards are locked. On an error the reply is the error. What was changed is noted in
    /// `changes`, and what else is to be done about it in `effects`, for the caller to carry out before the locks are
    /// given back.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "passing the arguments costs as much as what is done here"
    )]
    pub fn run(
        &mut self,
        command: &Command,
        occasion: &Occasion<'_>,
        reply: &mut Reply<'_>,
        args: Args<'_>,
        locked: &mut Locked<'_>,
    ) -> CommandResult {
        let Occasion { db, now, limits, access, view, client } = *occasion;
        let access = Access::new(access, now);
        let random = &mut self.access_random;
        let keys = View::new(locked, db, now, access, view, random, &mut self.changes);
        let mut context = Context {
            args,
            keys,
            reply: Reply::reborrow(reply),
            effects: &mut self.effects,
            limits,
            random: &mut self.random,
            client,
            now,
        };
        let result = run(command, &mut context);
        for (db, key) in self.changes.missed.drain(..) {
            self.effects.events.push((Event::KEYMISS, db, key));
        }
        result
    }

    /// From now on, what commands do can be taken back, until [`Self::keep_all`]. They are to run as in a script: none may
    /// wait, and each computes at once what it computes, since what others have been handed is not taken back.
    pub fn begin_undo(&mut self) -> RunnerMark {
        self.changes.begin_undo();
        self.mark()
    }

    /// What was done stands. Best called when the locks are given back.
    pub fn keep_all(&mut self, keyspace: &Keyspace) {
        self.changes.keep_all(keyspace);
    }

    /// This moment of the unit, between two commands.
    ///
    /// # Panics
    /// If [`Self::begin_undo`] was not called.
    pub fn mark(&mut self) -> RunnerMark {
        debug_assert!(self.changes.expired.is_empty(), "each command tells what it found due");
        RunnerMark { changes: self.changes.mark(), effects: self.effects.mark() }
    }

    /// Takes back what was done since `mark`: keys, counts, what was to go to the journal, and events, if nobody has sent
    /// them yet. The locks are those under which it was done, or more. The reply is the caller's to cut.
    pub fn undo_to(&mut self, mark: &RunnerMark, locked: &mut Locked<'_>) {
        locked.undo_to(&mut self.changes, &mark.changes);
        self.effects.truncate_to(&mark.effects);
    }
}
