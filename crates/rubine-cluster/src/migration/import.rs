//! The target's side of a migration, and that of its replicas and logs, which are told of it. Stores no key: it says which of
//! those that come are to be seen.

use rubine_base::clock::Millis;
use thiserror::Error;

use super::export::{MigrateError, check_node, owner_of_all};
use super::job::{Job, Operation, Stage};
use super::wire::{Establish, Finish, FinishError, SyntaxError, Word};
use super::{JobId, MigrationAction, Migrations};
use crate::id::NodeId;
use crate::view::View;

/// Why a migration cannot begin on its target. It is the target who says so, but whoever asked the source reads it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EstablishError {
    #[error(transparent)]
    Node(#[from] MigrateError),
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR Target node does not know the source node")]
    UnknownSource,
    #[error("ERR Source node is target node itself")]
    SourceIsMyself,
    #[error("ERR Slot is already being imported on the target by a different migration")]
    AlreadyImporting,
    #[error("ERR Target node does not agree about current slot ownership")]
    NotTheOwner,
    #[error("ERR Slot migration was cancelled on the target node")]
    Unwanted,
}

impl From<SyntaxError> for EstablishError {
    fn from(error: SyntaxError) -> Self {
        match error {
            SyntaxError::Syntax => Self::Syntax,
            error => Self::Node(error.into()),
        }
    }
}

/// Who tells of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    BySource,
    ByPrimary,
}

impl Migrations {
    /// A source begins a migration, on the connection that carries it from now on.
    pub fn establish_import(
        &mut self,
        establish: Establish,
        view: &View,
        now: Millis,
    ) -> Result<JobId, EstablishError> {
        self.now = now;
        let source = establish.source.ok_or(EstablishError::Syntax)?;
        let slots = establish.slots.set();
        let begun = self.begin_if_possible(establish, source, view);
        self.note_begun(source, &slots, begun.clone().map_err(|error| error.to_string()));
        begun
    }

    fn begin_if_possible(
        &mut self,
        establish: Establish,
        source: NodeId,
        view: &View,
    ) -> Result<JobId, EstablishError> {
        check_node(view)?;
        if self.is_unwanted(source, &establish.slots.set()) {
            return Err(EstablishError::Unwanted);
        }
        if !view.nodes.iter().any(|it| it.id == source) {
            return Err(EstablishError::UnknownSource);
        }
        if source == view.myself().id {
            return Err(EstablishError::SourceIsMyself);
        }
        self.check_slots(&establish)?;
        if Some(source) != establish.owner {
            return Err(EstablishError::NotTheOwner);
        }
        Ok(self.begin_import(establish, Told::BySource, view))
    }

    /// This node's primary, or a log of a time when it had none, tells of one.
    pub fn track_import(
        &mut self,
        establish: Establish,
        view: &View,
        now: Millis,
    ) -> Result<JobId, EstablishError> {
        self.now = now;
        self.check_slots(&establish)?;
        Ok(self.begin_import(establish, Told::ByPrimary, view))
    }

    fn check_slots(&self, establish: &Establish) -> Result<(), EstablishError> {
        let is_known = self.jobs.iter().any(|it| it.id == establish.id && !it.is_over());
        if is_known || establish.slots.iter().any(|it| self.is_importing(it)) {
            return Err(EstablishError::AlreadyImporting);
        }
        Ok(())
    }

    fn begin_import(&mut self, establish: Establish, told: Told, view: &View) -> JobId {
        let Establish { source, id, slots, .. } = establish;
        let stage = match told {
            Told::BySource => Stage::WaitingForAck,
            Told::ByPrimary => Stage::OccurringOnPrimary,
        };
        let mut job = Job::new(id, Operation::Import, stage, slots, self.now);
        job.is_tracked = told == Told::ByPrimary;
        job.is_connected = told == Told::BySource;
        job.source = source.filter(|_| told == Told::BySource);
        job.target = (told == Told::BySource).then(|| view.myself().id);
        let hide = MigrationAction::Hide { job: id, slots: job.slots.set() };
        let establish = Establish::command(&job);
        // A name stands for one.
        self.jobs.retain(|it| it.id != id);
        self.jobs.push_front(job);
        self.note(id, "begins: slots are being taken in.");
        self.actions.push(hide);
        if told == Told::BySource {
            self.actions.push(MigrationAction::Propagate { command: establish });
        }
        id
    }

    pub(super) fn received_snapshot_end(&mut self, id: JobId) {
        if self.job_mut(id).stage != Stage::ReceivingSnapshot {
            self.warn(id, "got the end of a snapshot, but is not receiving one");
            return self.fail(id, "Unexpected state machine transition");
        }
        self.note(id, "successfully received slot snapshot. Beginning incremental stream...");
        self.say(id, Word::RequestPause);
        self.enter(id, Stage::WaitingForPaused);
    }

    pub(super) fn received_paused(&mut self, id: JobId) {
        if self.job_mut(id).stage != Stage::WaitingForPaused {
            self.warn(id, "was told of a pause that it did not ask for");
            return self.fail(id, "Unexpected state machine transition");
        }
        self.say(id, Word::RequestFailover);
        self.enter(id, Stage::FailoverRequested);
    }

    pub(super) fn received_grant(&mut self, id: JobId) {
        if self.job_mut(id).stage != Stage::FailoverRequested {
            self.warn(id, "was granted what it did not ask for");
            return self.fail(id, "Unexpected state machine transition");
        }
        self.enter(id, Stage::ImportGranted);
        self.take_over_if_granted(id);
    }

    /// Takes the slots that this node may take, once.
    pub(super) fn take_over_if_granted(&mut self, id: JobId) {
        let may_take = !self.stops.before_takeover;
        let job = self.job_mut(id);
        if may_take
            && job.stage == Stage::ImportGranted
            && !std::mem::replace(&mut job.is_granted, true)
        {
            let slots = job.slots.set();
            self.actions.push(MigrationAction::Show { job: id, slots, takes_over: true });
        }
    }

    /// Whether what has come may be shown, which has to be done then: the slots are this node's. `false` if the migration has
    /// failed since it was granted them. To be asked where nobody sees the slots' data until that is done.
    #[must_use]
    pub fn taken_over(&mut self, id: JobId, now: Millis) -> bool {
        self.now = now;
        let is_granted = self.find_mut(id).is_some_and(|it| it.stage == Stage::ImportGranted);
        if is_granted {
            self.note(id, "completed successfully. This node is now the owner of the slots");
            self.end(id, Stage::Success);
        }
        is_granted
    }

    /// What had come is gone, here and from the own replicas.
    pub fn cleaned_up(&mut self, id: JobId, now: Millis) {
        self.now = now;
        if self.find_mut(id).is_some_and(|it| it.stage == Stage::CleaningUp) {
            self.end(id, Stage::Failed);
        }
    }

    /// This node's primary, or a log, tells how a migration has ended.
    pub fn finish_import(&mut self, finish: &Finish, now: Millis) -> Result<(), FinishError> {
        self.now = now;
        let id = finish.id;
        let job = self.find_mut(id).ok_or(FinishError::Unknown)?;
        if job.is_over() {
            return Ok(());
        }
        job.message.clone_from(&finish.message);
        let slots = job.slots.set();
        if finish.is_success {
            self.actions.push(MigrationAction::Show { job: id, slots, takes_over: false });
            self.end(id, Stage::Success);
        } else {
            self.end(id, Stage::Failed);
        }
        Ok(())
    }

    /// This node has become a primary: what its primary was taking in will not come to an end.
    pub fn promoted(&mut self, now: Millis) {
        self.fail_imports("A failover occurred during slot import", Told::BySource, now);
    }

    /// All data is about to be replaced by a primary's, which tells of its migrations anew.
    pub fn synced_fully(&mut self, now: Millis) {
        self.fail_imports("Full resynchronization occurred", Told::ByPrimary, now);
        self.jobs.retain(|it| !it.is_over());
    }

    /// All data is about to be replaced by what is on disk, and so is what is known of migrations that are over.
    pub fn loading(&mut self, now: Millis) {
        self.fail_imports("A new RDB is being loaded", Told::ByPrimary, now);
        self.jobs.retain(|it| !it.is_over());
    }

    /// What was on disk is loaded, and this node is a primary.
    pub fn restarted(&mut self, now: Millis) {
        self.fail_imports("Process restarted", Told::BySource, now);
    }

    /// Where nobody else will tell the own replicas how it ended, this node does, as if it had been told by the source.
    fn fail_imports(&mut self, message: &str, as_told: Told, now: Millis) {
        self.now = now;
        for id in self.ids() {
            let job = self.job_mut(id);
            if job.operation == Operation::Import && job.is_in_progress() {
                job.is_tracked = as_told == Told::ByPrimary;
                self.fail(id, message);
            }
        }
    }

    /// Whether the slots are the source's still, and this node a primary.
    pub(super) fn check_import(&mut self, id: JobId, view: &View) {
        let job = self.job_mut(id);
        if !job.is_in_progress() {
            return;
        }
        if view.is_replica() {
            // To clean up would part this node's data from its primary's. It may be told how it goes on by that one.
            if job.stage != Stage::OccurringOnPrimary {
                job.is_tracked = true;
                if std::mem::take(&mut job.is_connected) {
                    self.actions.push(MigrationAction::Close { job: id });
                }
                self.enter(id, Stage::OccurringOnPrimary);
            }
            return;
        }
        // While slots are taken over, they are the source's and then this node's.
        if job.source.is_none() || job.stage == Stage::ImportGranted {
            return;
        }
        let owner = owner_of_all(job, view);
        if owner == Some(view.myself().id) {
            self.fail(id, "Slots were unexpectedly assigned to myself during import");
        } else if owner != job.source {
            self.fail(id, "Slots are no longer owned by source node");
        }
    }
}
