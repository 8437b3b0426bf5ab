//! A random choice among elements that come by one after the other, for the commands that return random elements of a
//! collection. Never holds an element.

use rubine_base::random::Random;

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
