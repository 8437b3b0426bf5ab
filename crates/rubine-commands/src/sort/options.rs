//! The options of SORT. Never looks at a key.

use rubine_base::crc::slot_of_pattern;
use rubine_structures::sorted_set::Direction;

use super::pattern::{Pattern, Subject};
use crate::args::Args;
use crate::error::CommandError;

/// Whether there is a STORE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    MayStore,
    ReadOnly,
}

/// Which keys whoever asks may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    EveryKey,
    SomeKeys,
    /// Every one, in a cluster in which this is the slot of the command: others may be elsewhere.
    EveryKeyOfSlot(u16),
}

impl Readable {
    /// The words that refuse a pattern by which an option names keys, if they may not be read or may be elsewhere.
    fn refuses(self, pattern: &[u8]) -> Option<&'static str> {
        match self {
            Self::EveryKey => None,
            Self::SomeKeys => Some("due to insufficient ACL permissions."),
            Self::EveryKeyOfSlot(slot) if slot_of_pattern(pattern) == Some(slot) => None,
            Self::EveryKeyOfSlot(_) => {
                Some("in Cluster mode when keys formed by the pattern may be in different slots.")
            }
        }
    }
}

fn denied(option: &str, why: &str) -> CommandError {
    CommandError::Other(format!("ERR {option} option of SORT denied {why}").into())
}

/// What elements are sorted by.
#[derive(Clone, Debug)]
pub(super) enum By {
    Element,
    /// The values of other keys.
    Pattern(Pattern),
    /// They stay in their order.
    Nothing,
}

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) by: By,
    pub(super) gets: Vec<Subject>,
    offset: i64,
    /// Negative for all.
    count_max: i64,
    pub(super) direction: Direction,
    /// By text rather than by number.
    pub(super) alpha: bool,
    /// A set is sorted, though it was not asked for: what comes of it has to be the same wherever it is computed, and a set
    /// has no order of its own.
    pub(super) orders_sets: bool,
    /// Number of the argument that is the key to store under.
    pub(super) destination: Option<usize>,
}

impl Options {
    /// Reads the options. Where not every key may be read, those are refused that could name one.
    pub(super) fn parse(
        args: Args<'_>,
        form: Form,
        readable: Readable,
    ) -> Result<Self, CommandError> {
        let mut parsed = Self {
            by: By::Element,
            gets: Vec::new(),
            offset: 0,
            count_max: -1,
            direction: Direction::Ascending,
            alpha: false,
            orders_sets: false,
            destination: None,
        };
        let mut options = args.options(2);
        while !options.is_at_end() {
            let has_value = 2 <= options.remaining();
            if options.keyword("ASC") {
                parsed.direction = Direction::Ascending;
            } else if options.keyword("DESC") {
                parsed.direction = Direction::Descending;
            } else if options.keyword("ALPHA") {
                parsed.alpha = true;
            } else if 3 <= options.remaining() && options.keyword("LIMIT") {
                (parsed.offset, parsed.count_max) = (options.integer()?, options.integer()?);
            } else if form == Form::MayStore && has_value && options.keyword("STORE") {
                parsed.destination = Some(options.index());
                parsed.orders_sets = true;
                options.skip(1);
            } else if has_value && options.keyword("BY") {
                // What is the same for all elements has nothing to say about their order, nor does what comes after it.
                let given = options.required()?;
                let pattern = Pattern::parse(given);
                if pattern.is_some()
                    && let Some(why) = readable.refuses(given)
                {
                    return Err(denied("BY", why));
                }
                if !matches!(parsed.by, By::Nothing) {
                    parsed.by = pattern.map_or(By::Nothing, By::Pattern);
                }
            } else if has_value && options.keyword("GET") {
                let given = options.required()?;
                let is_element = given == b"#" && readable != Readable::SomeKeys;
                if !is_element && let Some(why) = readable.refuses(given) {
                    return Err(denied("GET", why));
                }
                parsed.gets.push(Subject::parse(given));
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(parsed)
    }

    /// Whether the values of keys are needed that only the elements name.
    pub(super) fn needs_other_keys(&self) -> bool {
        self.patterns().next().is_some()
    }

    /// Whether fields of hashes are among them.
    pub(super) fn reads_fields(&self) -> bool {
        self.patterns().any(Pattern::names_field)
    }

    /// Whether the values of keys are needed beyond those that it is sorted by.
    pub(super) fn gets_other_keys(&self) -> bool {
        self.gets.iter().any(|subject| subject.pattern().is_some())
    }

    /// Which of `len` elements in order are wanted.
    pub(super) fn range(&self, len: usize) -> std::ops::Range<usize> {
        let start = usize::try_from(self.offset).unwrap_or(0).min(len);
        let count = usize::try_from(self.count_max).unwrap_or(usize::MAX).min(len - start);
        start..start + count
    }

    fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        let by = match &self.by {
            By::Pattern(pattern) => Some(pattern),
            By::Element | By::Nothing => None,
        };
        by.into_iter().chain(self.gets.iter().filter_map(Subject::pattern))
    }
}
