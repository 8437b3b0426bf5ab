//! Orders about which slots this node serves.

use std::ops::RangeInclusive;

use rubine_base::crc::SLOT_COUNT;
use rubine_base::number::parse_i64;
use rubine_commands::{CommandError, CommandResult};

use super::{cluster_of, order_that};
use crate::core::Session;

type Ranges = Vec<RangeInclusive<u16>>;

/// The number of a slot.
pub(super) fn slot(text: &[u8]) -> Result<u16, CommandError> {
    let slot = parse_i64(text).and_then(|it| u16::try_from(it).ok()).filter(|it| *it < SLOT_COUNT);
    slot.ok_or(CommandError::text("ERR Invalid or out of range slot"))
}

pub(super) fn add(session: &mut Session<'_>) -> CommandResult {
    let ranges = single(session)?;
    order_that(session, move |machine, _, now| machine.add_slots(&ranges, now))
}

pub(super) fn delete(session: &mut Session<'_>) -> CommandResult {
    let ranges = single(session)?;
    order_that(session, move |machine, _, now| machine.delete_slots(&ranges, now))
}

pub(super) fn add_ranges(session: &mut Session<'_>) -> CommandResult {
    let ranges = ranges(session, "cluster|addslotsrange")?;
    order_that(session, move |machine, _, now| machine.add_slots(&ranges, now))
}

pub(super) fn delete_ranges(session: &mut Session<'_>) -> CommandResult {
    let ranges = ranges(session, "cluster|delslotsrange")?;
    order_that(session, move |machine, _, now| machine.delete_slots(&ranges, now))
}

pub(super) fn flush(session: &mut Session<'_>) -> CommandResult {
    order_that(session, |machine, _, now| machine.flush_slots(now))
}

/// All arguments as slots.
fn single(session: &Session<'_>) -> Result<Ranges, CommandError> {
    cluster_of(session)?;
    session.args.from(2).map(|it| slot(it).map(|slot| slot..=slot)).collect()
}

/// All arguments as ranges of slots.
fn ranges(session: &Session<'_>, name: &'static str) -> Result<Ranges, CommandError> {
    cluster_of(session)?;
    let args = session.args;
    if args.len() % 2 == 1 {
        return Err(CommandError::Arity(name.into()));
    }
    let range = |at: usize| {
        let (start, end) = (slot(args.at(at))?, slot(args.at(at + 1))?);
        if end < start {
            let text =
                format!("ERR start slot number {start} is greater than end slot number {end}");
            return Err(CommandError::Other(text.into()));
        }
        Ok(start..=end)
    };
    (2..args.len()).step_by(2).map(range).collect()
}
