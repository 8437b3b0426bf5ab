//! What SSCAN, HSCAN and ZSCAN are asked for: their options are the same but for one. Never scans anything.

use rubine_base::glob::{self, Case};

use crate::args::Args;
use crate::error::CommandError;

/// However many elements are asked for, one call holds the lock for no more than these.
const COUNT_MAX: u64 = 10_000;

/// The options behind key and cursor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ElementScan<'a> {
    /// `None` where every element matches.
    pattern: Option<&'a [u8]>,
    pub(crate) count: u64,
    /// Whether elements come with the values or scores that they have.
    pub(crate) with_values: bool,
}

/// What the elements have that an option leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    Nothing,
    Scores,
    Values,
}

impl<'a> ElementScan<'a> {
    /// Reads the options from argument 3 on.
    pub(crate) fn parse(args: Args<'a>, extra: Extra) -> Result<Self, CommandError> {
        let mut parsed = Self { pattern: None, count: 10, with_values: true };
        let mut options = args.options(3);
        while !options.is_at_end() {
            if options.keyword("NOVALUES") {
                if extra != Extra::Values {
                    return Err(CommandError::text(
                        "ERR NOVALUES option can only be used in HSCAN",
                    ));
                }
                parsed.with_values = false;
            } else if options.keyword("NOSCORES") {
                if extra != Extra::Scores {
                    return Err(CommandError::text(
                        "ERR NOSCORES option can only be used in ZSCAN",
                    ));
                }
                parsed.with_values = false;
            } else if options.keyword("COUNT") {
                let count = options.integer()?;
                let count = u64::try_from(count).ok().filter(|&count| 0 < count);
                parsed.count = count.ok_or(CommandError::Syntax)?.min(COUNT_MAX);
            } else if options.keyword("MATCH") {
                let pattern = options.required()?;
                parsed.pattern = (pattern != b"*").then_some(pattern);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(parsed)
    }

    pub(crate) fn matches(&self, element: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, element, Case::Sensitive))
    }
}
