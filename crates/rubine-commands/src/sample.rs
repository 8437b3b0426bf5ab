//! A random choice among elements that come by one after the other, for the commands that return random elements of a
//! collection. Never holds an element.

use rubine_base::random::Random;

use crate::args::Args;
use crate::error::CommandError;

/// How many elements a client wants: if negative, the same may come again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SampleRequest {
    pub(crate) count: i64,
    /// With what belongs to each, a value or a score.
    pub(crate) is_paired: bool,
}

impl SampleRequest {
    /// Reads `[count [KEYWORD]]` from argument 2 on; `None` where no count is given.
    pub(crate) fn parse(args: Args<'_>, keyword: &str) -> Result<Option<Self>, CommandError> {
        if args.len() == 2 {
            return Ok(None);
        }
        let count = args.integer(2)?;
        if count == i64::MIN {
            return Err(CommandError::NotSymmetric);
        }
        let mut options = args.options(3);
        let is_paired = options.keyword(keyword);
        options.expect_end()?;
        if is_paired && i64::MAX.unsigned_abs() / 2 < count.unsigned_abs() {
            return Err(CommandError::OutOfRange);
        }
        Ok(Some(Self { count, is_paired }))
    }
}

/// What is asked for: so many elements, each choice of them equally likely.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) count: u64,
    pub(crate) random: Random,
}

/// Which of the elements that come by are taken.
#[derive(Debug)]
pub(crate) struct Choice {
    /// Elements that will come by.
    remaining: u64,
    /// Elements that are to be taken of them. Invariant: `wanted <= remaining`
    wanted: u64,
    /// Needed only while `wanted < remaining`.
    random: Option<Random>,
}

impl Choice {
    /// Of `count` elements that will come by, those of the sample, or all.
    pub(crate) fn new(count: u64, sample: Option<Sample>) -> Self {
        match sample {
            Some(Sample { count: wanted, random }) => {
                Self { remaining: count, wanted: wanted.min(count), random: Some(random) }
            }
            None => Self { remaining: count, wanted: count, random: None },
        }
    }

    /// How many elements are yet to be taken.
    pub(crate) fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Whether the element that comes by is taken: each choice of `wanted` elements is equally likely.
    pub(crate) fn takes(&mut self) -> bool {
        let taken = match &mut self.random {
            Some(random) if self.wanted < self.remaining => {
                random.below(self.remaining) < self.wanted
            }
            _ => 0 < self.wanted,
        };
        self.remaining -= 1;
        self.wanted -= u64::from(taken);
        taken
    }
}
