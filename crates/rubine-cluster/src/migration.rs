//! Slots that move from node to node by themselves: `CLUSTER MIGRATESLOTS`, and what source, target and the target's replicas
//! say to each other about it by `CLUSTER SYNCSLOTS`. States, words and texts are Valkey's, since its nodes are at either end.
//!
//! It is apart from the machine of the node, which it asks for nothing: whoever drives both shows it the view, and does what
//! its actions say, in their order. It sends no key: how keys get from here to there is the driver's.

mod export;
mod import;
mod job;
mod log;
mod task;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::VecDeque;

use rubine_base::clock::Millis;

pub use self::export::MigrateError;
pub use self::import::EstablishError;
pub use self::job::{Job, JobReport, Operation, SlotRanges, Stage};
pub use self::task::{Answer, ImportError, TaskId, TaskReport};
pub use self::wire::{Establish, Finish, FinishError, SyntaxError, Word};

use self::task::Task;
use crate::effect::Level;
use crate::id::{MigrationId, NodeId};
use crate::slots::SlotSet;
use crate::view::View;

/// The directives that migrations work by. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationConfig {
    /// `repl-timeout`: a migration without a word for longer has failed.
    pub timeout: Millis,
    /// `cluster-manual-failover-timeout`.
    pub failover_timeout: Millis,
    /// `slot-migration-max-failover-repl-bytes`: writes are paused when no more is left to be sent; negative for at once.
    pub failover_bytes_max: i64,
    /// `cluster-slot-migration-log-max-len`: finished migrations are remembered up to so many.
    pub log_len_max: usize,
    /// Whether there is a password to give to the other node (`primaryauth`).
    pub has_password: bool,
}

/// Connections are named after the migration that they serve.
pub type JobId = MigrationId;

/// One thing to be done for a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MigrationAction {
    /// Connect to the other node, for [`Migrations::connected`] or [`Migrations::closed`].
    Connect {
        job: JobId,
        to: NodeId,
    },
    /// Ask a slots' owner for a migration, by this command, for [`Migrations::answered`], which every such action has to get.
    Ask {
        task: TaskId,
        to: NodeId,
        command: Vec<Vec<u8>>,
    },
    /// Give the password, for [`Migrations::authenticated`].
    Authenticate {
        job: JobId,
    },
    /// Send these bytes. On a source that sends keys, behind what is to be sent already.
    Send {
        job: JobId,
        bytes: Vec<u8>,
    },
    /// Send all keys of these slots, and then, without a gap and without a thing twice, what changes in them, until the
    /// connection ends. To be answered by [`Migrations::snapshot_sent`].
    SendKeys {
        job: JobId,
        slots: SlotSet,
    },
    /// Hold writes to these slots from now on, until then at most. To be answered by [`Migrations::paused`] as soon as all that
    /// was written before is on its way.
    Pause {
        job: JobId,
        slots: SlotSet,
        until: Millis,
    },
    /// Writes are held until then at most.
    ProlongPause {
        job: JobId,
        until: Millis,
    },
    /// Hold writes no longer.
    Resume {
        job: JobId,
    },
    /// These slots will be another's: [`crate::Cluster::grant_slots`], or, taken back, [`crate::Cluster::revoke_slots`].
    Grant {
        slots: SlotSet,
    },
    Revoke {
        slots: SlotSet,
    },
    /// Keep what comes for these slots out of everybody's sight, and out of the way of what is there.
    Hide {
        job: JobId,
        slots: SlotSet,
    },
    /// What was kept out of sight is the slots' data from now on. On a primary the slots are this node's in the same moment
    /// ([`crate::Cluster::take_slots_over`]), if [`Migrations::taken_over`] says so then: the migration may have failed since.
    Show {
        job: JobId,
        slots: SlotSet,
        takes_over: bool,
    },
    /// Drop what was kept out of sight. If replicas and the log are to hear of it from this node, [`Migrations::cleaned_up`]
    /// is the answer then; else they hear what this node has heard.
    Drop {
        job: JobId,
        slots: SlotSet,
        propagates: bool,
    },
    /// For the own replicas and the log on disk.
    Propagate {
        command: Vec<Vec<u8>>,
    },
    /// The connection is of no use any more.
    Close {
        job: JobId,
    },
    Log {
        level: Level,
        text: String,
    },
}

/// All migrations of this node, those that are over among them.
#[derive(Debug)]
pub struct Migrations {
    /// The newest first.
    jobs: VecDeque<Job>,
    /// What this node was asked to take in, the newest first.
    tasks: VecDeque<Task>,
    /// How many owners are being asked.
    asked: usize,
    config: MigrationConfig,
    actions: Vec<MigrationAction>,
    now: Millis,
    stops: Stops,
}

/// Where tests want migrations to stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stops {
    /// A source does not hold writes.
    pub before_pause: bool,
    /// A target does not take the slots that it may take.
    pub before_takeover: bool,
}

impl Migrations {
    pub fn new(config: MigrationConfig) -> Self {
        let (jobs, tasks, asked, actions, stops) = Default::default();
        Self { jobs, tasks, asked, config, actions, now: 0, stops }
    }

    pub fn configure(&mut self, config: MigrationConfig) {
        self.config = config;
    }

    /// Where migrations stop from now on.
    pub fn set_stops(&mut self, stops: Stops) {
        self.stops = stops;
    }

    pub fn stops(&self) -> Stops {
        self.stops
    }

    /// What is to be done by now, in this order.
    pub fn take_actions(&mut self) -> Vec<MigrationAction> {
        std::mem::take(&mut self.actions)
    }

    /// Whether a slot is being taken in, in whatever way.
    pub fn is_importing(&self, slot: u16) -> bool {
        self.jobs_of(Operation::Import).any(|it| !it.is_over() && it.slots.contains(slot))
    }

    /// Whether a slot is being given away.
    pub fn is_exporting(&self, slot: u16) -> bool {
        self.jobs_of(Operation::Export).any(|it| !it.is_over() && it.slots.contains(slot))
    }

    /// Whether anything is being taken in, or given away.
    pub fn is_any(&self, operation: Operation) -> bool {
        self.jobs_of(operation).any(|it| !it.is_over())
    }

    /// Whether there are none, not even such as are over.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.tasks.is_empty()
    }

    /// Whether anything goes on at all, so that time has to pass here.
    pub fn is_busy(&self) -> bool {
        self.is_asking() || self.jobs.iter().any(|it| !it.is_over())
    }

    /// The slots of a migration that has not come to its end; `None` once it has.
    pub fn slots_of(&self, id: JobId) -> Option<SlotSet> {
        self.jobs.iter().find(|it| it.id == id && it.is_in_progress()).map(|it| it.slots.set())
    }

    /// What is being taken in, with the name of each: whoever makes an image of the data has to say so.
    pub fn imports(&self) -> impl Iterator<Item = (JobId, &SlotRanges)> {
        self.jobs_of(Operation::Import).filter(|it| !it.is_over()).map(|it| (it.id, &it.slots))
    }

    /// So much is to be sent still for a migration.
    pub fn note_remaining(&mut self, id: JobId, bytes: u64) {
        if let Some(job) = self.find_mut(id) {
            job.remaining_bytes = bytes;
        }
    }

    /// The replies of GETSLOTMIGRATIONS, the newest first.
    pub fn reports(&self) -> impl Iterator<Item = JobReport<'_>> {
        self.jobs.iter().map(Job::report)
    }

    /// Time passes: to be called ten times a second. `remaining` tells how many bytes are to be sent still for a migration.
    pub fn tick(&mut self, view: &View, now: Millis, remaining: impl Fn(JobId) -> u64) {
        self.now = now;
        for id in self.ids() {
            let job = self.job_mut(id);
            job.remaining_bytes = remaining(id);
            let last =
                if job.operation == Operation::Export { job.last_ack } else { job.last_heard };
            let waits_for_other = !job.is_over()
                && !matches!(
                    job.stage,
                    Stage::CleaningUp
                        | Stage::OccurringOnPrimary
                        | Stage::ImportGranted
                        | Stage::ExportGranted
                );
            if waits_for_other && self.config.timeout < now - last {
                self.warn(id, "got no word from the other node for too long");
                self.fail(id, "Timed out after too long with no interaction");
                continue;
            }
            self.proceed_export(id, view);
            self.take_over_if_granted(id);
            self.send_ack_if_due(id);
        }
        self.tick_tasks();
        self.trim_log();
    }

    /// The other node has sent one of its words, which its connection says the migration of.
    pub fn received(&mut self, id: JobId, word: Word, now: Millis) {
        self.now = now;
        let Some(job) = self.find_mut(id).filter(|it| it.is_in_progress()) else { return };
        job.last_heard = now;
        match (word, job.operation) {
            (Word::Ack, _) => self.received_ack(id),
            (Word::SnapshotEof, Operation::Import) => self.received_snapshot_end(id),
            (Word::Paused, Operation::Import) => self.received_paused(id),
            (Word::FailoverGranted, Operation::Import) => self.received_grant(id),
            (Word::RequestPause, Operation::Export) => self.received_pause_request(id),
            (Word::RequestFailover, Operation::Export) => self.received_failover_request(id),
            _ => self.fail(id, "Unexpected state machine transition"),
        }
    }

    /// The other node has sent a word that there is none of.
    pub fn received_unknown(&mut self, id: JobId, now: Millis) {
        self.fail_at(id, now, "Unknown SYNCSLOTS subcommand used");
    }

    /// Keys, or changes of keys, have come.
    pub fn heard(&mut self, id: JobId, now: Millis) {
        if let Some(job) = self.find_mut(id) {
            job.last_heard = now;
        }
    }

    /// The connection is gone, or could not be had.
    pub fn closed(&mut self, id: JobId, reason: &str, now: Millis) {
        self.now = now;
        let Some(job) = self.find_mut(id).filter(|it| it.is_connected && it.is_in_progress())
        else {
            return;
        };
        job.is_connected = false;
        let (stage, operation, is_granted) = (job.stage, job.operation, job.is_granted);
        self.note(id, "connection lost");
        match (stage, operation) {
            // The slots may be the other's by now. Writes wait until that is known, or for as long as they can.
            (Stage::ExportGranted, _) => {}
            // What was granted is being taken.
            (Stage::ImportGranted, _) if is_granted => {}
            (Stage::Connecting, _) => {
                self.fail(id, &format!("Unable to connect to target node: {reason}"));
            }
            (_, Operation::Export) => self.fail(
                id,
                "Connection lost to target. Check CLUSTER GETSLOTMIGRATIONS on the target node for more information.",
            ),
            (_, Operation::Import) => self.fail(
                id,
                "Connection lost to source. Check CLUSTER GETSLOTMIGRATIONS on the source node for more information.",
            ),
        }
    }

    /// A command that the other node has sent could not be run.
    pub fn command_failed(&mut self, id: JobId, now: Millis) {
        let message =
            "Failed to process command during slot migration. Check logs for more information";
        self.fail_at(id, now, message);
    }

    /// There is no memory for what the other node sends.
    pub fn out_of_memory(&mut self, id: JobId, now: Millis) {
        self.fail_at(id, now, "Ran out of memory (OOM) during slot import");
    }

    /// FLUSHALL or FLUSHDB has run on this node.
    pub fn flushed(&mut self, now: Millis) {
        self.now = now;
        for id in self.ids() {
            if self.job_mut(id).is_in_progress() {
                self.fail(id, "Data was flushed");
            }
        }
    }

    /// What is known of the cluster has changed.
    pub fn view_changed(&mut self, view: &View, now: Millis) {
        self.now = now;
        for id in self.ids() {
            match self.job_mut(id).operation {
                Operation::Export => self.check_export(id, view),
                Operation::Import => self.check_import(id, view),
            }
        }
    }

    fn jobs_of(&self, operation: Operation) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(move |it| it.operation == operation)
    }

    fn ids(&self) -> Vec<JobId> {
        self.jobs.iter().map(|it| it.id).collect()
    }

    fn find_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|it| it.id == id)
    }

    fn job_mut(&mut self, id: JobId) -> &mut Job {
        self.find_mut(id).expect("a migration stays until its log is trimmed")
    }

    fn received_ack(&mut self, id: JobId) {
        let now = self.now;
        let job = self.job_mut(id);
        job.last_ack = now;
        if job.stage == Stage::WaitingForAck {
            self.enter(id, Stage::ReceivingSnapshot);
        }
    }

    /// Both ends send a word each second, but where it would stand in the way of something else.
    fn send_ack_if_due(&mut self, id: JobId) {
        const ACK_INTERVAL: Millis = 1000;
        let now = self.now;
        let job = self.job_mut(id);
        let may_send = job.is_connected && job.is_in_progress() && job.stage.sends_acks();
        if may_send && ACK_INTERVAL <= now - job.last_ack_sent {
            job.last_ack_sent = now;
            self.say(id, Word::Ack);
        }
    }

    fn say(&mut self, id: JobId, word: Word) {
        self.actions.push(MigrationAction::Send { job: id, bytes: word.encoded() });
    }

    fn enter(&mut self, id: JobId, stage: Stage) {
        let now = self.now;
        let job = self.job_mut(id);
        let text = format!("state transition: {} -> {}", job.stage.name(), stage.name());
        job.stage = stage;
        job.updated = now;
        self.note(id, &text);
    }

    fn fail_at(&mut self, id: JobId, now: Millis, message: &str) {
        self.now = now;
        if self.find_mut(id).is_some_and(|it| it.is_in_progress()) {
            self.fail(id, message);
        }
    }

    fn fail(&mut self, id: JobId, message: &str) {
        message.clone_into(&mut self.job_mut(id).message);
        self.end(id, Stage::Failed);
    }

    /// A migration is over, or, if keys have come that have to go, will be.
    fn end(&mut self, id: JobId, stage: Stage) {
        let job = self.job_mut(id);
        let (was, operation, slots) = (job.stage, job.operation, job.slots.set());
        let is_tracked = job.is_tracked;
        if std::mem::take(&mut job.is_connected) {
            self.actions.push(MigrationAction::Close { job: id });
        }
        if operation == Operation::Export {
            self.stop_holding(id, stage);
        }
        let is_dropped = operation == Operation::Import && stage != Stage::Success;
        if is_dropped && was != Stage::CleaningUp {
            self.actions.push(MigrationAction::Drop { job: id, slots, propagates: !is_tracked });
            if !is_tracked {
                return self.enter(id, Stage::CleaningUp);
            }
        }
        self.enter(id, stage);
        let job = self.job_mut(id);
        let text = format!("finished. State: {}, Message: {}", stage.name(), job.message);
        if stage == Stage::Failed {
            self.warn(id, &text);
        } else {
            self.note(id, &text);
        }
        if operation == Operation::Import && !is_tracked {
            let finish = Finish::of(self.job_mut(id)).command();
            self.actions.push(MigrationAction::Propagate { command: finish });
        }
    }
}
