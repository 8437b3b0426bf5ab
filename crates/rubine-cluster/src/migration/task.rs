//! `CLUSTER MIGRATION`, Redis's way to move slots: whoever is to have them is asked, and has their owners begin migrations. Opens
//! no connection: it says who is to be asked for what, and finds what comes of it among the migrations.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use rubine_base::clock::Millis;
use rubine_base::number::parse_i64;
use thiserror::Error;

use super::job::{Job, Operation, SlotRanges, Stage};
use super::{JobId, MigrationAction, Migrations};
use crate::id::{MigrationId, NodeId};
use crate::slots::{SLOT_COUNT, SlotSet};
use crate::view::View;

/// What was asked of this node by one command.
pub type TaskId = MigrationId;

/// So many owners are asked at a time; the others wait.
const ASKED_MAX: usize = 16;

const CANCELLED: &str = "Cancelled due to user request";

/// Why IMPORT is refused. Nothing has happened, then.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImportError {
    #[error("ERR Invalid or out of range slot")]
    InvalidSlot,
    #[error("ERR start slot number {0} is greater than end slot number {1}")]
    Backwards(u16, u16),
    #[error("ERR Slot {0} specified multiple times")]
    Twice(u16),
    #[error("ERR slot migration not allowed on replica.")]
    NotAPrimary,
    #[error("ERR all slot states must be STABLE to start a slot migration task.")]
    MovedByHand,
    #[error("ERR overlapping import exists for slot range: {0}-{1}")]
    Overlaps(u16, u16),
    #[error("ERR slot has no owner: {0}")]
    NotServed(u16),
    #[error("ERR this node is already the owner of the slot range")]
    Mine,
    #[error("ERR slots belong to different source nodes")]
    PartlyMine,
}

/// What comes of asking an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It begins.
    Agreed,
    /// It does not, for this reason.
    Refused(String),
    /// The connection broke, for this reason, so that it may begin or not.
    Unknown(String),
}

/// What one owner is asked for.
#[derive(Clone, Debug)]
pub(super) struct Task {
    id: TaskId,
    source: NodeId,
    target: NodeId,
    slots: SlotRanges,
    state: TaskState,
    created: Millis,
    updated: Millis,
    /// The owner may begin still what is not wanted any more.
    refuses: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TaskState {
    /// Enough others are being asked.
    Waiting,
    Asking,
    /// The owner will begin.
    Agreed,
    /// It goes on, or is over, as the migration of this name.
    Begun(JobId),
    Failed(String),
    Cancelled,
}

/// What STATUS shows of one. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskReport {
    pub id: TaskId,
    pub slots: String,
    /// Unknown to those who are only told of it.
    pub source: Option<NodeId>,
    pub target: Option<NodeId>,
    pub operation: Operation,
    pub state: &'static str,
    pub last_error: String,
    pub created: Millis,
    pub started: Option<Millis>,
    pub ended: Option<Millis>,
    /// How long writes were held on the source, if the slots have gone.
    pub write_pause: Millis,
}

impl Task {
    fn is_over(&self) -> bool {
        matches!(self.state, TaskState::Failed(_) | TaskState::Cancelled)
    }

    fn is_open(&self) -> bool {
        matches!(self.state, TaskState::Waiting | TaskState::Asking | TaskState::Agreed)
    }

    fn is_of(&self, source: NodeId, slots: &SlotSet) -> bool {
        self.source == source && self.slots.set() == *slots
    }

    fn enter(&mut self, state: TaskState, now: Millis) {
        (self.state, self.updated) = (state, now);
    }

    /// It has failed, and what the owner begins of it from now on is refused.
    fn give_up(&mut self, reason: String, now: Millis) {
        self.refuses = true;
        self.enter(TaskState::Failed(reason), now);
    }

    /// What the owner is sent.
    fn command(&self) -> Vec<Vec<u8>> {
        let mut command: Vec<Vec<u8>> =
            ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE"].map(Vec::from).into();
        for range in self.slots.ranges() {
            command.extend([range.start(), range.end()].map(|it| it.to_string().into_bytes()));
        }
        command.extend([b"NODE".to_vec(), self.target.as_bytes().to_vec()]);
        command
    }

    /// `None` if its migration is remembered no more.
    fn report(&self, job: Option<&Job>) -> Option<TaskReport> {
        let (state, error) = match &self.state {
            TaskState::Waiting => ("none", ""),
            TaskState::Asking => ("connecting", ""),
            TaskState::Agreed => ("syncslots-reply", ""),
            TaskState::Failed(error) => ("failed", error.as_str()),
            TaskState::Cancelled => ("canceled", CANCELLED),
            TaskState::Begun(_) => {
                let report = report_of(job?);
                return Some(TaskReport { id: self.id, created: self.created, ..report });
            }
        };
        Some(TaskReport {
            id: self.id,
            slots: self.slots.to_string(),
            source: Some(self.source),
            target: Some(self.target),
            operation: Operation::Import,
            state,
            last_error: error.to_owned(),
            created: self.created,
            started: None,
            ended: self.is_over().then_some(self.updated),
            write_pause: 0,
        })
    }
}

impl Migrations {
    /// Has the owners of the slots that the arguments behind IMPORT name begin to move them here: all of them, or none. The name is
    /// that of all that comes of it.
    pub fn import(
        &mut self,
        args: &[&[u8]],
        view: &View,
        now: Millis,
        random: [u8; 20],
    ) -> Result<TaskId, ImportError> {
        self.now = now;
        let ranges = parse_ranges(args)?;
        if view.is_replica() {
            return Err(ImportError::NotAPrimary);
        }
        if view.has_open_slots() {
            return Err(ImportError::MovedByHand);
        }
        let id = TaskId::from_random(random);
        for (source, slots) in self.owners_of(&ranges, view)? {
            let target = view.myself().id;
            let (state, created, updated, refuses) = (TaskState::Waiting, now, now, false);
            self.tasks.push_front(Task {
                id,
                source,
                target,
                slots,
                state,
                created,
                updated,
                refuses,
            });
        }
        self.ask_more();
        Ok(id)
    }

    /// The owners of ranges, with what each has of them.
    fn owners_of(
        &self,
        ranges: &[RangeInclusive<u16>],
        view: &View,
    ) -> Result<Vec<(NodeId, SlotRanges)>, ImportError> {
        let mut found: Vec<(NodeId, SlotRanges)> = Vec::new();
        for range in ranges {
            let is_coming = |slot: u16| {
                self.is_importing(slot)
                    || self.tasks.iter().any(|it| it.is_open() && it.slots.contains(slot))
            };
            if range.clone().any(is_coming) {
                return Err(ImportError::Overlaps(*range.start(), *range.end()));
            }
            let mut last = None;
            for slot in range.clone() {
                let owner = view.owner(slot).ok_or(ImportError::NotServed(slot))?.id;
                let known = found.iter().position(|(it, _)| *it == owner);
                let index = known.unwrap_or_else(|| {
                    found.push((owner, SlotRanges(Vec::new())));
                    found.len() - 1
                });
                let ranges = &mut found[index].1.0;
                match ranges.last_mut() {
                    Some(it) if last == Some(owner) => *it = *it.start()..=slot,
                    _ => ranges.push(slot..=slot),
                }
                last = Some(owner);
            }
        }
        let is_mine = |(owner, _): &(NodeId, SlotRanges)| *owner == view.myself().id;
        match found.iter().filter(|it| is_mine(it)).count() {
            0 => Ok(found),
            mine if mine == found.len() => Err(ImportError::Mine),
            _ => Err(ImportError::PartlyMine),
        }
    }

    /// Has owners asked that wait for it, the oldest first.
    fn ask_more(&mut self) {
        let now = self.now;
        for task in self.tasks.iter_mut().rev().filter(|it| it.state == TaskState::Waiting) {
            if ASKED_MAX <= self.asked {
                return;
            }
            self.asked += 1;
            task.enter(TaskState::Asking, now);
            let command = task.command();
            self.actions.push(MigrationAction::Ask { task: task.id, to: task.source, command });
        }
    }

    /// An owner was asked for what a task wants of it. What is told as having failed does not begin later.
    pub fn answered(&mut self, id: TaskId, source: NodeId, answer: Answer, now: Millis) {
        self.now = now;
        self.asked = self.asked.saturating_sub(1);
        if let Some(task) = self.tasks.iter_mut().find(|it| it.id == id && it.source == source) {
            let is_awaited = task.state == TaskState::Asking;
            match answer {
                Answer::Agreed if is_awaited => task.enter(TaskState::Agreed, now),
                Answer::Refused(reason) if is_awaited => task.enter(TaskState::Failed(reason), now),
                Answer::Refused(_) => task.refuses = false,
                Answer::Unknown(reason) if is_awaited => task.give_up(reason, now),
                Answer::Agreed | Answer::Unknown(_) => {}
            }
        }
        self.ask_more();
    }

    /// Whether a source begins what was wanted of it and is not wanted any more. It is told so once.
    pub(super) fn is_unwanted(&mut self, source: NodeId, slots: &SlotSet) -> bool {
        let unwanted = self.tasks.iter_mut().find(|it| it.refuses && it.is_of(source, slots));
        unwanted.is_some_and(|task| std::mem::take(&mut task.refuses))
    }

    /// A source has begun a migration, or was refused.
    pub(super) fn note_begun(
        &mut self,
        source: NodeId,
        slots: &SlotSet,
        begun: Result<JobId, String>,
    ) {
        let now = self.now;
        let task = self.tasks.iter_mut().find(|it| {
            matches!(it.state, TaskState::Asking | TaskState::Agreed) && it.is_of(source, slots)
        });
        if let Some(task) = task {
            task.enter(begun.map_or_else(TaskState::Failed, TaskState::Begun), now);
        }
    }

    /// Time passes for what owners were asked for.
    pub(super) fn tick_tasks(&mut self) {
        let (now, timeout) = (self.now, self.config.timeout);
        for task in self.tasks.iter_mut().filter(|it| timeout < now - it.updated) {
            task.refuses = false;
            if matches!(task.state, TaskState::Asking | TaskState::Agreed) {
                let text = "The source has not begun in time. Check CLUSTER GETSLOTMIGRATIONS on the source node for more information.";
                task.give_up(text.to_owned(), now);
            }
        }
    }

    /// Forgets tasks whose migrations are forgotten, and the oldest of those that never began, if there are too many.
    pub(super) fn trim_tasks(&mut self) {
        let mut left = self.config.log_len_max;
        let jobs = &self.jobs;
        self.tasks.retain(|task| match &task.state {
            TaskState::Begun(id) => jobs.iter().any(|it| it.id == *id),
            _ if task.is_over() && !task.refuses => {
                let stays = 0 < left;
                left = left.saturating_sub(1);
                stays
            }
            _ => true,
        });
    }

    /// Whether something was asked of an owner, and is not known to go on yet.
    pub(super) fn is_asking(&self) -> bool {
        self.tasks.iter().any(|it| it.is_open() || it.refuses)
    }

    /// Ends the task or migration of a name, or all, at either end. Returns how many that were. What may be taken over is, in a moment.
    pub fn cancel_tasks(&mut self, name: Option<&[u8]>, now: Millis) -> usize {
        self.now = now;
        let is_meant = |id: &MigrationId| name.is_none_or(|it| it == id.as_bytes());
        let mut cancelled = BTreeSet::new();
        let mut jobs: Vec<(MigrationId, JobId)> =
            self.jobs.iter().filter(|it| is_meant(&it.id)).map(|it| (it.id, it.id)).collect();
        for task in self.tasks.iter_mut().filter(|it| is_meant(&it.id)) {
            if let TaskState::Begun(job) = task.state {
                jobs.retain(|(_, it)| *it != job);
                jobs.push((task.id, job));
            } else if task.is_open() {
                task.refuses = task.state != TaskState::Waiting;
                task.enter(TaskState::Cancelled, now);
                cancelled.insert(task.id);
            }
        }
        for (name, job) in jobs {
            if self.cancel_job(job) {
                cancelled.insert(name);
            }
        }
        cancelled.len()
    }

    fn cancel_job(&mut self, id: JobId) -> bool {
        let Some(job) = self.find_mut(id).filter(|it| it.is_in_progress()) else { return false };
        match job.stage {
            Stage::ImportGranted | Stage::ExportGranted | Stage::OccurringOnPrimary => {
                return false;
            }
            _ if job.operation == Operation::Export => self.end(id, Stage::Cancelled),
            _ => self.fail(id, CANCELLED),
        }
        true
    }

    /// What STATUS tells of the task or migration of a name, or of all: what goes on first, and the newest of it.
    pub fn task_reports(&self, name: Option<&[u8]>) -> Vec<TaskReport> {
        let job = |id: JobId| self.jobs.iter().find(|it| it.id == id);
        let mut named = BTreeSet::new();
        let mut reports = Vec::new();
        for task in &self.tasks {
            if let TaskState::Begun(id) = task.state {
                named.insert(id);
                reports.extend(task.report(job(id)));
            } else {
                reports.extend(task.report(None));
            }
        }
        reports.extend(self.jobs.iter().filter(|it| !named.contains(&it.id)).map(report_of));
        reports.retain(|it| name.is_none_or(|name| name == it.id.as_bytes()));
        reports.sort_by_key(|it| (it.ended.is_some(), -it.created));
        reports
    }
}

/// A migration as Redis shows it.
fn report_of(job: &Job) -> TaskReport {
    let has_moved = job.operation == Operation::Export && job.stage == Stage::Success;
    TaskReport {
        id: job.id,
        slots: job.slots.to_string(),
        source: job.source,
        target: job.target,
        operation: job.operation,
        state: if job.message == CANCELLED { "canceled" } else { job.stage.task_state() },
        last_error: job.message.clone(),
        created: job.created,
        started: Some(job.created),
        ended: job.is_over().then_some(job.updated),
        write_pause: if has_moved { job.updated - job.paused } else { 0 },
    }
}

/// Pairs of a first and a last slot. There is one at least.
fn parse_ranges(args: &[&[u8]]) -> Result<Vec<RangeInclusive<u16>>, ImportError> {
    let slot = |arg: &[u8]| {
        let number = parse_i64(arg).and_then(|it| u16::try_from(it).ok());
        number.filter(|it| usize::from(*it) < SLOT_COUNT).ok_or(ImportError::InvalidSlot)
    };
    let mut ranges = Vec::new();
    for pair in args.chunks(2) {
        let &[start, end] = pair else { return Err(ImportError::InvalidSlot) };
        ranges.push(slot(start)?..=slot(end)?);
    }
    let mut seen = SlotSet::new();
    for range in &ranges {
        if range.is_empty() {
            return Err(ImportError::Backwards(*range.start(), *range.end()));
        }
        if let Some(slot) = range.clone().find(|it| !seen.insert(*it)) {
            return Err(ImportError::Twice(slot));
        }
    }
    Ok(ranges)
}
