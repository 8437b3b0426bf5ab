//! The source's side of a migration. Sends no key: it says when.

use rubine_base::clock::Millis;
use thiserror::Error;

use super::job::{Job, Operation, Stage};
use super::wire::{Establish, SyntaxError, Word, parse_ranges};
use super::{JobId, MigrationAction, Migrations};
use crate::effect::Level;
use crate::id::{MigrationId, NodeId};
use crate::slots::SlotSet;
use crate::view::View;

/// For so many times the timeout of a failover by hand, writes are held while the target takes over.
const PAUSE_TIMEOUTS: Millis = 2;

/// For so long, or longer, writes are held once the target may take over: the time that its word takes to get around.
const GRANT_TIMEOUT: Millis = 2000;

/// Why MIGRATESLOTS is refused. Nothing has happened, then.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MigrateError {
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    #[error("ERR Slot migration can only be used on primary nodes.")]
    NotAPrimary,
    #[error("ERR Slots are being manually imported")]
    ImportedByHand,
    #[error("ERR Slots are being manually migrated")]
    MigratedByHand,
    #[error("ERR Slots are not served by this node.")]
    NotServedHere,
    #[error("ERR I am already migrating slot {0}.")]
    AlreadyMigrating(u16),
    #[error("ERR Slot ranges in migrations overlap")]
    Overlap,
    #[error("ERR Invalid node name: {0}")]
    InvalidNode(String),
    #[error("ERR Unknown node name: {0}")]
    UnknownNode(String),
    #[error("ERR Target node can not be this node.")]
    TargetIsMyself,
    /// Of CANCELSLOTMIGRATIONS.
    #[error("ERR No migrations ongoing")]
    NoneOngoing,
}

/// Whether a migration may begin on this node, at either end.
pub(super) fn check_node(view: &View) -> Result<(), MigrateError> {
    match () {
        () if view.is_replica() => Err(MigrateError::NotAPrimary),
        () if !view.importing.is_empty() => Err(MigrateError::ImportedByHand),
        () if !view.migrating.is_empty() => Err(MigrateError::MigratedByHand),
        () => Ok(()),
    }
}

impl Migrations {
    /// Begins the migrations that the arguments behind MIGRATESLOTS ask for, all or none. Names are made of the random bytes
    /// that `random` gives. `asker` is how the log names the client.
    pub fn migrate(
        &mut self,
        args: &[&[u8]],
        view: &View,
        now: Millis,
        mut random: impl FnMut() -> [u8; 20],
        asker: &str,
    ) -> Result<(), MigrateError> {
        self.now = now;
        check_node(view)?;
        let mut new: Vec<Job> = Vec::new();
        let mut at = 0;
        while at < args.len() {
            let (slots, target, next) = self.parse_one(args, at, view, &new)?;
            at = next;
            let id = MigrationId::from_random(random());
            let mut job = Job::new(id, Operation::Export, Stage::Connecting, slots, now);
            (job.source, job.target) = (Some(view.myself().id), Some(target));
            new.push(job);
        }
        for job in new {
            let (id, to) = (job.id, job.target.expect("it was named"));
            self.jobs.push_front(job);
            let text = "initiated through CLUSTER MIGRATESLOTS command";
            self.note(id, &format!("{text} (user request from '{asker}')"));
            self.job_mut(id).is_connected = true;
            self.actions.push(MigrationAction::Connect { job: id, to });
        }
        Ok(())
    }

    /// `SLOTSRANGE start end ... NODE id`, from `args[at]` on.
    fn parse_one(
        &self,
        args: &[&[u8]],
        at: usize,
        view: &View,
        before: &[Job],
    ) -> Result<(super::SlotRanges, NodeId, usize), MigrateError> {
        let is = |at: usize, name: &str| {
            args.get(at).is_some_and(|it| it.eq_ignore_ascii_case(name.as_bytes()))
        };
        if !is(at, "SLOTSRANGE") {
            return Err(SyntaxError::Syntax.into());
        }
        let (slots, owner, at) = parse_ranges(args, at + 1, view)?;
        if owner != view.myself().id {
            return Err(MigrateError::NotServedHere);
        }
        if let Some(slot) = slots.iter().find(|it| self.is_exporting(*it)) {
            return Err(MigrateError::AlreadyMigrating(slot));
        }
        if before.iter().any(|job| slots.iter().any(|it| job.slots.contains(it))) {
            return Err(MigrateError::Overlap);
        }
        let (true, Some(name)) = (is(at, "NODE"), args.get(at + 1)) else {
            return Err(SyntaxError::Syntax.into());
        };
        let shown = || String::from_utf8_lossy(name).into_owned();
        if name.len() != crate::id::ID_SIZE {
            return Err(MigrateError::InvalidNode(shown()));
        }
        let target = NodeId::parse(name).filter(|id| view.nodes.iter().any(|it| it.id == *id));
        let target = target.ok_or_else(|| MigrateError::UnknownNode(shown()))?;
        if target == view.myself().id {
            return Err(MigrateError::TargetIsMyself);
        }
        Ok((slots, target, at + 2))
    }

    /// CANCELSLOTMIGRATIONS: ends all exports.
    pub fn cancel(&mut self, now: Millis) -> Result<(), MigrateError> {
        self.now = now;
        if !self.is_any(Operation::Export) {
            return Err(MigrateError::NoneOngoing);
        }
        for id in self.ids() {
            let job = self.job_mut(id);
            if job.operation == Operation::Export && job.is_in_progress() {
                self.end(id, Stage::Cancelled);
            }
        }
        Ok(())
    }

    /// Ends one export, if it goes on.
    pub fn cancel_one(&mut self, id: JobId, now: Millis) {
        self.now = now;
        let job = self.find_mut(id).filter(|it| it.operation == Operation::Export);
        if job.is_some_and(|it| it.is_in_progress()) {
            self.end(id, Stage::Cancelled);
        }
    }

    /// The connection to the target is there.
    pub fn connected(&mut self, id: JobId, now: Millis) {
        self.now = now;
        if self.find_mut(id).is_none_or(|it| it.stage != Stage::Connecting) {
            return;
        }
        self.note(id, "connection established.");
        if self.config.has_password {
            self.enter(id, Stage::ReadingAuthResponse);
            self.actions.push(MigrationAction::Authenticate { job: id });
        } else {
            self.establish(id);
        }
    }

    fn establish(&mut self, id: JobId) {
        let bytes = Establish::encoded(self.job_mut(id));
        self.actions.push(MigrationAction::Send { job: id, bytes });
        self.enter(id, Stage::ReadingEstablishResponse);
    }

    /// The target has replied, to the password or to what establishes the migration: with this line, its end left out.
    pub fn replied(&mut self, id: JobId, line: &str, now: Millis) {
        self.now = now;
        let job = self.find_mut(id).filter(|it| it.operation == Operation::Export);
        let Some(stage) = job.filter(|it| it.is_in_progress()).map(|it| it.stage) else { return };
        let refusal = line.strip_prefix('-').map(|_| line);
        match (stage, refusal) {
            (Stage::ReadingAuthResponse, None) => {
                self.note(id, "authenticated.");
                self.establish(id);
            }
            (Stage::ReadingAuthResponse, Some(line)) => {
                self.fail(id, &format!("Failed to AUTH to target node: {line}"));
            }
            (Stage::ReadingEstablishResponse, None) => self.begin_sending(id),
            (Stage::ReadingEstablishResponse, Some(line)) => {
                self.fail(id, &format!("Received error during handshake to target: {line}"));
            }
            _ => self.fail(id, "Unexpected state machine transition"),
        }
    }

    fn begin_sending(&mut self, id: JobId) {
        // It takes the target out of its wait, so that it says when it is unwell.
        self.say(id, Word::Ack);
        let slots = self.job_mut(id).slots.set();
        self.actions.push(MigrationAction::SendKeys { job: id, slots });
        self.enter(id, Stage::Snapshotting);
    }

    /// All keys are on their way; from here on, changes are.
    pub fn snapshot_sent(&mut self, id: JobId, now: Millis) {
        self.now = now;
        if self.find_mut(id).is_some_and(|it| it.stage == Stage::Snapshotting) {
            // Time that the keys took counts for nobody's silence.
            self.job_mut(id).last_ack = now;
            self.say(id, Word::SnapshotEof);
            self.enter(id, Stage::Replicating);
        }
    }

    /// The keys could not be sent.
    pub fn snapshot_failed(&mut self, id: JobId, now: Millis) {
        self.fail_at(id, now, "Failed to perform snapshot");
    }

    pub(super) fn received_pause_request(&mut self, id: JobId) {
        if self.job_mut(id).stage != Stage::Replicating {
            self.warn(id, "was asked to pause, but was not streaming incremental updates");
            return self.fail(id, "Unexpected state machine transition");
        }
        self.enter(id, Stage::WaitingToPause);
        self.pause_if_little_is_left(id);
    }

    fn pause_if_little_is_left(&mut self, id: JobId) {
        let (now, bytes_max) = (self.now, self.config.failover_bytes_max);
        let prevented = self.stops.before_pause;
        let until = now + self.config.failover_timeout * PAUSE_TIMEOUTS;
        let job = self.job_mut(id);
        let is_little = u64::try_from(bytes_max).is_ok_and(|max| job.remaining_bytes <= max);
        if !prevented && job.held_until == 0 && (bytes_max < 0 || is_little) {
            (job.paused, job.held_until) = (now, until);
            let slots = job.slots.set();
            let (bytes, job) = (job.remaining_bytes, job.description());
            let text = format!(
                "Pausing writes (remaining_repl_size is {bytes}) to allow slot migration {job} to finalize failover."
            );
            self.actions.push(MigrationAction::Log { level: Level::Notice, text });
            self.actions.push(MigrationAction::Pause { job: id, slots, until });
        }
    }

    /// Writes are held, and all that was written before is on its way.
    pub fn paused(&mut self, id: JobId, now: Millis) {
        self.now = now;
        let is_awaited = self
            .find_mut(id)
            .is_some_and(|it| it.stage == Stage::WaitingToPause && it.held_until != 0);
        if is_awaited {
            self.say(id, Word::Paused);
            self.enter(id, Stage::FailoverPaused);
        }
    }

    pub(super) fn received_failover_request(&mut self, id: JobId) {
        let now = self.now;
        let job = self.job_mut(id);
        if job.stage != Stage::FailoverPaused {
            self.warn(id, "was asked for the slots, but was not in the paused state");
            return self.fail(id, "Unexpected state machine transition");
        }
        if job.held_until < now {
            self.warn(id, "was asked for the slots, but writes are not held any more");
            return self.fail(id, "Unpaused before failover completed");
        }
        job.is_granted = true;
        let slots = job.slots.set();
        if job.held_until < now + GRANT_TIMEOUT {
            let until = now + GRANT_TIMEOUT;
            job.held_until = until;
            self.actions.push(MigrationAction::ProlongPause { job: id, until });
        }
        self.actions.push(MigrationAction::Grant { slots });
        self.say(id, Word::FailoverGranted);
        self.enter(id, Stage::ExportGranted);
    }

    /// What passes with time alone.
    pub(super) fn proceed_export(&mut self, id: JobId, view: &View) {
        let now = self.now;
        let job = self.job_mut(id);
        let is_late = job.held_until != 0 && job.held_until < now;
        match job.stage {
            Stage::WaitingToPause if !is_late => self.pause_if_little_is_left(id),
            Stage::WaitingToPause | Stage::FailoverPaused if is_late => {
                self.warn(id, "timed out during slot failover.");
                self.fail(id, "Timed out before streaming completed");
            }
            Stage::ExportGranted if is_late => {
                self.warn(
                    id,
                    "may lose writes: the new owner did not say that the slots are its own before writes went on here",
                );
                self.fail(
                    id,
                    "Unpaused before migration completed (migration may have succeeded with lost writes)",
                );
            }
            Stage::ExportGranted => self.check_export(id, view),
            _ => {}
        }
    }

    /// Whether the slots are this node's still, or the target's.
    pub(super) fn check_export(&mut self, id: JobId, view: &View) {
        let job = self.job_mut(id);
        if !job.is_in_progress() {
            return;
        }
        let owner = owner_of_all(job, view);
        if owner.is_some() && owner == job.target {
            self.note(id, "slots are now owned by target node.");
            self.end(id, Stage::Success);
        } else if owner != Some(view.myself().id) {
            self.warn(id, "contains slots that are no longer all owned by myself");
            self.fail(id, "Slots are no longer owned by myself");
        }
    }

    /// Slots that a view says have gone where this node has let them go.
    pub fn given(&self, view: &View) -> SlotSet {
        let exports = self.jobs_of(Operation::Export).filter(|it| it.is_in_progress());
        let given = exports.filter(|it| it.is_granted && owner_of_all(it, view) == it.target);
        given.flat_map(|it| it.slots.iter()).collect()
    }

    /// The migration ends at `stage`: writes go on, here or there.
    pub(super) fn stop_holding(&mut self, id: JobId, stage: Stage) {
        let job = self.job_mut(id);
        let slots: SlotSet = job.slots.set();
        let was_granted = std::mem::take(&mut job.is_granted);
        let was_held = std::mem::take(&mut job.held_until) != 0;
        if was_granted && stage != Stage::Success {
            self.actions.push(MigrationAction::Revoke { slots });
        }
        if was_held {
            self.actions.push(MigrationAction::Resume { job: id });
        }
    }
}

/// The node that has all slots of a migration, if one has.
pub(super) fn owner_of_all(job: &Job, view: &View) -> Option<NodeId> {
    let mut owners = job.slots.iter().map(|slot| view.owner(slot).map(|it| it.id));
    let first = owners.next()??;
    owners.all(|it| it == Some(first)).then_some(first)
}
