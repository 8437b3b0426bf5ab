//! BITOP: bitwise operations on several strings, stored as another one. A source never changes, unless it is
//! the destination too; long ones are combined without the locks.

use rubine_structures::bitmap::{Operation, combine};
use rubine_structures::value::Value;
use smallvec::SmallVec;

use crate::command::Command;
use crate::computation::Computation;
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

/// Bytes that are combined in the time of a step of a computation.
const COMBINED_PER_STEP: usize = 1024;

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

    let Some(result) = cx.compute(Combination { operation, sources }) else { return Ok(()) };
    let result = result.ok_or(CommandError::StringTooLong)?;
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

/// Strings to be combined. The result is as long as the longest.
struct Combination {
    operation: Operation,
    sources: SmallVec<[StringHandle; SOURCES_INLINE]>,
}

impl Computation for Combination {
    /// `None` if there is not so much memory.
    type Output = Option<Vec<u8>>;

    fn steps(&self) -> u64 {
        let bytes: usize = self.sources.iter().map(|source| source.len()).sum();
        (bytes / COMBINED_PER_STEP) as u64
    }

    fn is_same(&self, other: &Self) -> bool {
        let mut sources = self.sources.iter().zip(&other.sources);
        sources.all(|(source, other)| source.is_same(other))
    }

    fn compute(&self) -> Self::Output {
        let sources: SmallVec<[&[u8]; SOURCES_INLINE]> =
            self.sources.iter().map(|it| &**it).collect();
        let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
        let mut result = Vec::new();
        result.try_reserve_exact(len).ok()?;
        combine(self.operation, &sources, 0, len, &mut result);
        Some(result)
    }
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
