//! One migration as its node sees it: where it stands, and what is shown of it. Decides nothing.

use std::fmt;
use std::ops::RangeInclusive;

use rubine_base::clock::Millis;

use crate::id::{MigrationId, NodeId};
use crate::slots::SlotSet;

/// On which side of it this node is. A replica of the target is on the target's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Export,
    Import,
}

impl Operation {
    /// The name in replies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Export => "EXPORT",
            Self::Import => "IMPORT",
        }
    }
}

/// How far a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    // On the target.
    WaitingForAck,
    ReceivingSnapshot,
    WaitingForPaused,
    FailoverRequested,
    ImportGranted,
    CleaningUp,
    /// On a replica of the target, or where a log or a dump tells of it.
    OccurringOnPrimary,
    // On the source.
    Connecting,
    ReadingAuthResponse,
    ReadingEstablishResponse,
    Snapshotting,
    Replicating,
    /// The target wants writes to pause, but too much is left to be sent, or not all that was written is on its way yet.
    WaitingToPause,
    FailoverPaused,
    ExportGranted,
    // On both.
    Success,
    Cancelled,
    Failed,
}

impl Stage {
    /// The name in replies and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::WaitingForAck => "waiting-for-ack",
            Self::ReceivingSnapshot => "receiving-snapshot",
            Self::WaitingForPaused => "waiting-for-paused",
            Self::FailoverRequested => "failover-requested",
            Self::ImportGranted | Self::ExportGranted => "failover-granted",
            Self::CleaningUp => "cleaning-up",
            Self::OccurringOnPrimary => "occurring-on-primary",
            Self::Connecting => "connecting",
            Self::ReadingAuthResponse => "reading-auth-response",
            Self::ReadingEstablishResponse => "reading-establish-response",
            Self::Snapshotting => "snapshotting",
            Self::Replicating => "replicating",
            Self::WaitingToPause => "waiting-to-pause",
            Self::FailoverPaused => "failover-paused",
            Self::Success => "success",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// What Redis calls it, or what stands there in its place.
    pub(super) fn task_state(self) -> &'static str {
        match self {
            Self::WaitingForAck => "syncslots-reply",
            Self::ReceivingSnapshot => "accumulate-buffer",
            Self::WaitingForPaused => "streaming-buffer",
            Self::FailoverRequested => "wait-stream-eof",
            Self::ImportGranted => "takeover",
            Self::OccurringOnPrimary => "none",
            Self::Connecting => "connecting",
            Self::ReadingAuthResponse => "auth-reply",
            Self::ReadingEstablishResponse => "wait-rdbchannel",
            Self::Snapshotting => "send-bulk-and-stream",
            Self::Replicating => "send-stream",
            Self::WaitingToPause => "handoff-prep",
            Self::FailoverPaused => "handoff",
            Self::ExportGranted => "stream-eof",
            Self::Success => "completed",
            Self::Cancelled => "canceled",
            Self::CleaningUp | Self::Failed => "failed",
        }
    }

    /// Not while the reply to a command is read, nor, on a real source, while its child sends the snapshot.
    pub(super) fn sends_acks(self) -> bool {
        !matches!(
            self,
            Self::WaitingForAck
                | Self::OccurringOnPrimary
                | Self::Connecting
                | Self::ReadingAuthResponse
                | Self::ReadingEstablishResponse
                | Self::Snapshotting
                | Self::ExportGranted
        )
    }
}

/// Ranges of slots, in the order in which somebody named them.
///
/// Invariant: not empty, and no slot is in two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRanges(pub(super) Vec<RangeInclusive<u16>>);

impl SlotRanges {
    pub fn contains(&self, slot: u16) -> bool {
        self.0.iter().any(|it| it.contains(&slot))
    }

    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().cloned().flatten()
    }

    pub fn ranges(&self) -> &[RangeInclusive<u16>] {
        &self.0
    }

    pub fn set(&self) -> SlotSet {
        self.iter().collect()
    }
}

impl fmt::Display for SlotRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            write!(f, "{gap}{}-{}", range.start(), range.end())?;
        }
        Ok(())
    }
}

/// One migration.
#[derive(Clone, Debug)]
pub struct Job {
    pub(super) id: MigrationId,
    pub(super) operation: Operation,
    pub(super) stage: Stage,
    pub(super) slots: SlotRanges,
    /// The nodes at both ends; unknown to those who are only told of it.
    pub(super) source: Option<NodeId>,
    pub(super) target: Option<NodeId>,
    /// It goes on elsewhere: on the primary of this node, or when a log was written.
    pub(super) is_tracked: bool,
    pub(super) is_connected: bool,
    pub(super) created: Millis,
    pub(super) updated: Millis,
    pub(super) last_ack: Millis,
    pub(super) last_ack_sent: Millis,
    pub(super) last_heard: Millis,
    /// Why it is over, or empty.
    pub(super) message: String,
    /// Since when writes are held, or were held last; 0 if they never were.
    pub(super) paused: Millis,
    /// Until when writes are held; 0 if they are not.
    pub(super) held_until: Millis,
    /// Whether the target has got our leave to take the slots, or, on the target, makes use of it.
    pub(super) is_granted: bool,
    pub(super) remaining_bytes: u64,
}

/// What GETSLOTMIGRATIONS shows of one. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobReport<'a> {
    pub id: MigrationId,
    pub operation: Operation,
    pub slot_ranges: String,
    /// Target and source, unless it goes on elsewhere.
    pub nodes: Option<(NodeId, NodeId)>,
    pub create_time: i64,
    pub last_update_time: i64,
    pub last_ack_time: i64,
    pub state: &'static str,
    pub message: &'a str,
    /// Bytes that are to be sent still.
    pub remaining_bytes: u64,
}

impl Job {
    pub(super) fn new(
        id: MigrationId,
        operation: Operation,
        stage: Stage,
        slots: SlotRanges,
        now: Millis,
    ) -> Self {
        Self {
            id,
            operation,
            stage,
            slots,
            source: None,
            target: None,
            is_tracked: false,
            is_connected: false,
            created: now,
            updated: now,
            last_ack: now,
            last_ack_sent: now,
            last_heard: now,
            message: String::new(),
            paused: 0,
            held_until: 0,
            is_granted: false,
            remaining_bytes: 0,
        }
    }

    /// It is only a line of the log.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Success | Stage::Cancelled | Stage::Failed)
    }

    /// It may come to its end still.
    pub(super) fn is_in_progress(&self) -> bool {
        !self.is_over() && self.stage != Stage::CleaningUp
    }

    pub(super) fn report(&self) -> JobReport<'_> {
        JobReport {
            id: self.id,
            operation: self.operation,
            slot_ranges: self.slots.to_string(),
            nodes: self.target.zip(self.source).filter(|_| !self.is_tracked),
            create_time: self.created / 1000,
            last_update_time: self.updated / 1000,
            last_ack_time: self.last_ack / 1000,
            state: self.stage.name(),
            message: &self.message,
            remaining_bytes: if self.is_connected { self.remaining_bytes } else { 0 },
        }
    }

    /// As the log names it.
    pub(super) fn description(&self) -> String {
        let (operation, role, other) = match self.operation {
            Operation::Export => ("export", "target_node", self.target),
            Operation::Import => ("import", "source_node", self.source),
        };
        let other = other.map_or_else(|| "unknown".to_owned(), |it| it.to_string());
        let (id, slots) = (self.id, &self.slots);
        format!("{{name: {id}, operation: {operation}, {role}_id: {other}, slots: {slots}}}")
    }
}
