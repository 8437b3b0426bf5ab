//! `CLUSTER SYNCSLOTS` as bytes and as arguments. Knows no migration.

use std::ops::RangeInclusive;

use rubine_base::number::parse_i64;
use rubine_resp::command::write_command;
use thiserror::Error;

use super::job::{Job, SlotRanges, Stage};
use crate::id::{MigrationId, NodeId};
use crate::slots::SLOT_COUNT;
use crate::view::View;

/// What the two nodes say to each other without arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Ack,
    SnapshotEof,
    RequestPause,
    Paused,
    RequestFailover,
    FailoverGranted,
}

impl Word {
    const ALL: [Self; 6] = [
        Self::Ack,
        Self::SnapshotEof,
        Self::RequestPause,
        Self::Paused,
        Self::RequestFailover,
        Self::FailoverGranted,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ack => "ACK",
            Self::SnapshotEof => "SNAPSHOT-EOF",
            Self::RequestPause => "REQUEST-PAUSE",
            Self::Paused => "PAUSED",
            Self::RequestFailover => "REQUEST-FAILOVER",
            Self::FailoverGranted => "FAILOVER-GRANTED",
        }
    }

    /// The word that is the argument behind SYNCSLOTS.
    pub fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|it| name.eq_ignore_ascii_case(it.name().as_bytes()))
    }

    /// The whole command.
    pub fn encoded(self) -> Vec<u8> {
        encoded(&[b"CLUSTER", b"SYNCSLOTS", self.name().as_bytes()])
    }
}

fn encoded(command: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_command(command, &mut bytes).expect("memory takes all bytes");
    bytes
}

/// Arguments that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SyntaxError {
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR Invalid or out of range slot")]
    InvalidSlot,
    #[error("ERR No end slot for final slot range")]
    NoEndSlot,
    #[error("ERR Start slot number {0} is greater than end slot number {1}.")]
    Backwards(u16, u16),
    #[error("ERR Slot {0} has no node served.")]
    NotServed(u16),
    #[error("ERR Requested slots span multiple shards")]
    SeveralOwners,
    #[error("ERR Slot range {0}-{1} overlaps with previous range {2}-{3}.")]
    Overlaps(u16, u16, u16, u16),
    #[error("ERR No slot ranges specified")]
    NoRanges,
}

/// The ranges that begin at `args[at]`, the owner of all their slots, and where what follows begins.
pub(super) fn parse_ranges(
    args: &[&[u8]],
    at: usize,
    view: &View,
) -> Result<(SlotRanges, NodeId, usize), SyntaxError> {
    let mut owner = None;
    let (ranges, at) = parse_ranges_of(args, at, |slot| {
        let found = view.owner(slot).ok_or(SyntaxError::NotServed(slot))?.id;
        if *owner.get_or_insert(found) == found { Ok(()) } else { Err(SyntaxError::SeveralOwners) }
    })?;
    let owner = owner.ok_or(SyntaxError::NoRanges)?;
    Ok((ranges, owner, at))
}

/// As [`parse_ranges`], with each slot looked at by `check`.
fn parse_ranges_of(
    args: &[&[u8]],
    mut at: usize,
    mut check: impl FnMut(u16) -> Result<(), SyntaxError>,
) -> Result<(SlotRanges, usize), SyntaxError> {
    let slot = |at: usize| {
        let number =
            args.get(at).and_then(|it| parse_i64(it)).and_then(|it| u16::try_from(it).ok());
        number.filter(|it| usize::from(*it) < SLOT_COUNT).ok_or(SyntaxError::InvalidSlot)
    };
    let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
    while args.get(at).is_some_and(|it| parse_i64(it).is_some()) {
        let start = slot(at)?;
        if args.len() <= at + 1 {
            return Err(SyntaxError::NoEndSlot);
        }
        let end = slot(at + 1)?;
        if end < start {
            return Err(SyntaxError::Backwards(start, end));
        }
        (start..=end).try_for_each(&mut check)?;
        let overlapped = ranges.iter().find(|it| *it.start() <= end && start <= *it.end());
        if let Some(it) = overlapped {
            return Err(SyntaxError::Overlaps(start, end, *it.start(), *it.end()));
        }
        ranges.push(start..=end);
        at += 2;
    }
    if ranges.is_empty() { Err(SyntaxError::NoRanges) } else { Ok((SlotRanges(ranges), at)) }
}

/// What begins a migration on its target, and tells the target's replicas and logs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Establish {
    pub(super) source: Option<NodeId>,
    pub(super) id: MigrationId,
    pub(super) slots: SlotRanges,
    /// Whose the slots are, as this node knows; nobody looks where it is only told.
    pub(super) owner: Option<NodeId>,
}

impl Establish {
    /// Reads the arguments behind ESTABLISH, in any order, as a source sends them.
    pub fn parse(args: &[&[u8]], view: &View) -> Result<Self, SyntaxError> {
        Self::parse_with(args, |at| {
            parse_ranges(args, at, view).map(|(slots, owner, at)| (slots, Some(owner), at))
        })
    }

    /// Reads what a primary or a log tells. Whose the slots were then is not what this node knows of them.
    pub fn parse_told(args: &[&[u8]]) -> Result<Self, SyntaxError> {
        Self::parse_with(args, |at| {
            parse_ranges_of(args, at, |_| Ok(())).map(|(slots, at)| (slots, None, at))
        })
    }

    fn parse_with(
        args: &[&[u8]],
        ranges: impl Fn(usize) -> Result<(SlotRanges, Option<NodeId>, usize), SyntaxError>,
    ) -> Result<Self, SyntaxError> {
        let (mut source, mut id, mut slots) = (None, None, None);
        let mut at = 0;
        while at < args.len() {
            let is = |name: &str| args[at].eq_ignore_ascii_case(name.as_bytes());
            let value = args.get(at + 1).copied().unwrap_or_default();
            if is("SOURCE") && source.is_none() {
                source = Some(NodeId::parse(value).ok_or(SyntaxError::Syntax)?);
                at += 2;
            } else if is("NAME") && id.is_none() {
                id = Some(MigrationId::parse(value).ok_or(SyntaxError::Syntax)?);
                at += 2;
            } else if is("SLOTSRANGE") && slots.is_none() {
                let (found, owner, next) = ranges(at + 1)?;
                slots = Some((found, owner));
                at = next;
            } else {
                return Err(SyntaxError::Syntax);
            }
        }
        let (Some(id), Some((slots, owner))) = (id, slots) else { return Err(SyntaxError::Syntax) };
        Ok(Self { source, id, slots, owner })
    }

    /// What a dump tells of slots that its server was taking in. `None` if there cannot be such.
    pub fn told_of(name: &[u8], ranges: &[(u16, u16)]) -> Option<Self> {
        let numbers = ranges.iter().flat_map(|(first, last)| [first.to_string(), last.to_string()]);
        let numbers: Vec<String> = numbers.collect();
        let mut args: Vec<&[u8]> = vec![b"NAME", name, b"SLOTSRANGE"];
        args.extend(numbers.iter().map(String::as_bytes));
        Self::parse_told(&args).ok()
    }

    /// The command that a source sends, and that a target passes on.
    pub(super) fn command(job: &Job) -> Vec<Vec<u8>> {
        let mut command: Vec<Vec<u8>> = ["CLUSTER", "SYNCSLOTS", "ESTABLISH"].map(Vec::from).into();
        if let Some(source) = job.source {
            command.extend([b"SOURCE".to_vec(), source.as_bytes().to_vec()]);
        }
        command.extend([b"NAME".to_vec(), job.id.as_bytes().to_vec(), b"SLOTSRANGE".to_vec()]);
        for range in job.slots.ranges() {
            command.extend([range.start(), range.end()].map(|it| it.to_string().into_bytes()));
        }
        command
    }

    pub(super) fn encoded(job: &Job) -> Vec<u8> {
        let command = Self::command(job);
        encoded(&command.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }
}

/// How a migration has ended, as a target's replicas and logs are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    pub(super) id: MigrationId,
    pub(super) is_success: bool,
    pub(super) message: String,
}

/// Why FINISH is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FinishError {
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    #[error("ERR No such slot migration job")]
    Unknown,
}

impl Finish {
    /// Reads the arguments behind FINISH, in any order.
    pub fn parse(args: &[&[u8]]) -> Result<Self, SyntaxError> {
        let (mut state, mut id, mut message) = (None, None, None);
        for pair in args.chunks(2) {
            let &[name, value] = pair else { return Err(SyntaxError::Syntax) };
            let is = |it: &str| name.eq_ignore_ascii_case(it.as_bytes());
            if is("STATE") && state.is_none() {
                state = Some(value);
            } else if is("NAME") && id.is_none() {
                id = Some(MigrationId::parse(value).ok_or(SyntaxError::Syntax)?);
            } else if is("MESSAGE") && message.is_none() {
                message = Some(String::from_utf8_lossy(value).into_owned());
            } else {
                return Err(SyntaxError::Syntax);
            }
        }
        let (Some(id), Some(state)) = (id, state) else { return Err(SyntaxError::Syntax) };
        let is_success = match () {
            () if state.eq_ignore_ascii_case(b"success") => true,
            () if state.eq_ignore_ascii_case(b"failed") => false,
            () => return Err(SyntaxError::Syntax),
        };
        Ok(Self { id, is_success, message: message.unwrap_or_default() })
    }

    /// The migration that it is about.
    pub fn id(&self) -> MigrationId {
        self.id
    }

    pub(super) fn of(job: &Job) -> Self {
        let is_success = job.stage == Stage::Success;
        Self { id: job.id, is_success, message: job.message.clone() }
    }

    pub(crate) fn command(&self) -> Vec<Vec<u8>> {
        let state = if self.is_success { "SUCCESS" } else { "FAILED" };
        let words = ["CLUSTER", "SYNCSLOTS", "FINISH", "STATE", state, "NAME", self.id.as_str()];
        let mut command: Vec<Vec<u8>> = words.map(Vec::from).into();
        if !self.message.is_empty() {
            command.extend([b"MESSAGE".to_vec(), self.message.clone().into_bytes()]);
        }
        command
    }
}
