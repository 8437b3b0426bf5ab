//! BITOP: bitwise operations on several strings, stored as another one. A source never changes, unless it is
//! the destination too.

use rubine_structures::bitmap::{Operation, combine};
use rubine_structures::value::Value;
use smallvec::SmallVec;

use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;
use crate::string::{StringHandle, StringRef, expect_string, store};

pub(super) const BITOP: Command = Command::new("BITOP", bitop)
    .summary(
        "Combines strings bit by bit and stores the result, or deletes the key if that is empty.",
    )
    .syntax("AND|OR|XOR|NOT|DIFF|DIFF1|ANDOR|ONE destkey key [key ...]")
    .since("2.6.0")
    .complexity("O(N) with N the length of all strings together.")
    .arity(-4)
    .writes()
    .denies_oom()
    .key_at(2, "OW UPDATE")
    .key_range(3, -1, 1, "RO ACCESS");

/// Sources that are kept track of without an allocation.
const SOURCES_INLINE: usize = 16;

fn bitop(cx: &mut Context<'_, '_>) -> CommandResult {
    let (operation, name) = operation_of(cx.args.at(1))?;
    let source_count = cx.args.len() - 3;
    match operation {
        Operation::Not if source_count != 1 => {
            let text = "ERR BITOP NOT must be called with a single source key.";
            return Err(CommandError::text(text));
        }
        Operation::Diff | Operation::Diff1 | Operation::AndOr if source_count < 2 => {
            let text = format!("ERR BITOP {name} must be called with at least two source keys.");
            return Err(CommandError::Other(text.into()));
        }
        _ => {}
    }
    let mut sources = SmallVec::<[StringHandle; SOURCES_INLINE]>::new();
    for index in 3..cx.args.len() {
        let string = cx.keys.find(cx.key(index)).map(expect_string).transpose()?;
        sources.push(string.map_or_else(StringHandle::default, StringRef::handle));
    }

    let result = combined(operation, &sources)?;
    drop(sources);
    let key = cx.key(2);
    let len = result.len();
    if len > 0 {
        store(cx, key, Value::raw(result), None);
        cx.touched(key, Event::SET);
    } else if cx.keys.remove(key) {
        cx.touched(key, Event::DEL);
    }
    cx.reply.integer(len as i64);
    Ok(())
}

/// What comes out. It is as long as the longest source.
fn combined(operation: Operation, sources: &[StringHandle]) -> Result<Vec<u8>, CommandError> {
    let sources: SmallVec<[&[u8]; SOURCES_INLINE]> = sources.iter().map(|it| &**it).collect();
    let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
    let mut result = Vec::new();
    result.try_reserve_exact(len).map_err(|_| CommandError::StringTooLong)?;
    combine(operation, &sources, 0, len, &mut result);
    Ok(result)
}

/// The operation of this name, in capitals or not.
fn operation_of(name: &[u8]) -> Result<(Operation, &'static str), CommandError> {
    const OPERATIONS: [(Operation, &str); 8] = [
        (Operation::And, "AND"),
        (Operation::Or, "OR"),
        (Operation::Xor, "XOR"),
        (Operation::Not, "NOT"),
        (Operation::Diff, "DIFF"),
        (Operation::Diff1, "DIFF1"),
        (Operation::AndOr, "ANDOR"),
        (Operation::One, "ONE"),
    ];
    let found = OPERATIONS.into_iter().find(|(_, it)| name.eq_ignore_ascii_case(it.as_bytes()));
    found.ok_or(CommandError::Syntax)
}
