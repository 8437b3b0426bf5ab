//! What the commands are told that take elements from the first collection there is among several keys. Never looks a
//! key up.

use std::ops::Range;

use crate::args::Args;
use crate::error::CommandError;

/// Keys to take from, from which end, and how much at most.
pub(crate) struct PopSource<End> {
    /// Numbers of the arguments that are the keys.
    pub(crate) keys: Range<usize>,
    pub(crate) end: End,
    pub(crate) count_max: usize,
}

impl<End> PopSource<End> {
    /// Reads `numkeys key [key ...] <END> [COUNT count]`, of which the first is argument `at`.
    pub(crate) fn parse(
        args: Args<'_>,
        at: usize,
        parse_end: fn(&[u8]) -> Result<End, CommandError>,
    ) -> Result<Self, CommandError> {
        let key_count = args.count(at).filter(|&it| 0 < it);
        let key_count = key_count.ok_or(CommandError::NumkeysNotPositive)?;
        let end_index = key_count.saturating_add(at + 1);
        let end = parse_end(args.get(end_index).ok_or(CommandError::Syntax)?)?;
        let mut options = args.options(end_index + 1);
        let mut count_max = 1;
        if !options.is_at_end() {
            if !options.keyword("COUNT") || options.is_at_end() {
                return Err(CommandError::Syntax);
            }
            count_max =
                options.count().filter(|&it| 0 < it).ok_or(CommandError::CountNotPositive)?;
            options.expect_end()?;
        }
        Ok(Self { keys: at + 1..end_index, end, count_max })
    }
}
