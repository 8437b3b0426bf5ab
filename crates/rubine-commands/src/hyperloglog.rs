//! HyperLogLog commands: the list of them all, and what they share. A HyperLogLog is a string with a header of its own;
//! anything else under its key is refused, and so is one that is corrupted, wherever that shows.

use rubine_structures::hyperloglog::{Corrupted, Encoding, encoding};
use rubine_structures::record::RecordRef;

use crate::command::Command;
use crate::error::CommandError;
use crate::string::{StringRef, expect_string};

mod add;
mod count;
mod debug;

pub(crate) const COMMANDS: &[Command] =
    &[add::PFADD, count::PFCOUNT, debug::PFDEBUG, count::PFMERGE, debug::PFSELFTEST];

const CORRUPTED: CommandError = CommandError::text("INVALIDOBJ Corrupted HLL object detected");

impl From<Corrupted> for CommandError {
    fn from(_: Corrupted) -> Self {
        CORRUPTED
    }
}

/// The HyperLogLog in `record`, as far as its header tells; an error if there is something else.
fn expect_hll(record: RecordRef<'_>) -> Result<(StringRef<'_>, Encoding), CommandError> {
    let string = expect_string(record)?;
    let encoding = encoding(&string.text())
        .ok_or(CommandError::text("WRONGTYPE Key is not a valid HyperLogLog string value."))?;
    Ok((string, encoding))
}
