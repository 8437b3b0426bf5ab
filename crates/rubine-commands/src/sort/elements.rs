//! Elements in the order that was asked for, and what is got for each. Never writes a reply itself.

use std::ops::Range;
use std::sync::Arc;

use super::options::{By, Options};
use super::order::{Entry, Kind, Texts};
use super::pattern::{Found, Subject, Values};
use super::source::{Source, Walk};
use crate::error::CommandError;
use crate::sorting::{merge_sort, sort_part};
use rubine_base::collation::Collation;

const NOT_NUMBERS: CommandError =
    CommandError::text("ERR One or more scores can't be converted into double");

/// The elements that are wanted and were not given yet.
#[derive(Debug)]
pub(super) struct Elements {
    order: Order,
    count: usize,
}

#[derive(Debug)]
enum Order {
    Own(Walk),
    Sorted { entries: std::vec::IntoIter<Entry>, texts: Texts },
}

impl Elements {
    /// Sorts what is to be sorted: this takes long where [`steps`] says so.
    pub(super) fn new(
        source: &Source,
        options: &Options,
        collation: Option<&Arc<dyn Collation>>,
        values: &mut impl Values,
    ) -> Result<Self, CommandError> {
        let range = options.range(source.len());
        let count = range.len();
        if !is_sorted(source, options) {
            let order = Order::Own(Walk::new(source, range, options.direction));
            return Ok(Self { order, count });
        }
        let collation = collation.filter(|_| kind(options) == Kind::Collated);
        let mut texts = Texts::new(collation.cloned());
        let mut entries = load(source, options, values, &mut texts)?;
        let is_by_others = matches!(options.by, By::Pattern(_));
        sort(&mut entries, &texts, options, is_by_others, range.clone());
        entries.truncate(range.end);
        let mut entries = entries.into_iter();
        entries.by_ref().take(range.start).for_each(drop);
        Ok(Self { order: Order::Sorted { entries, texts }, count })
    }

    /// How many elements are left.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Gives what is got for the next elements, about as much as `budget_bytes`. Returns whether there are more.
    pub(super) fn give(
        &mut self,
        gets: &[Subject],
        values: &mut impl Values,
        budget_bytes: usize,
        mut give: impl FnMut(Found<'_>),
    ) -> bool {
        /// What an element costs beyond the bytes of its text, and finding a value.
        const ELEMENT_COST: usize = 24;
        const LOOKUP_COST: usize = 128;
        let mut spent = 0;
        let mut give_one = |element: &[u8]| {
            spent += ELEMENT_COST + element.len();
            if gets.is_empty() {
                give(Found::Text(element));
            }
            for subject in gets {
                spent += LOOKUP_COST;
                match subject {
                    Subject::Element => give(Found::Text(element)),
                    Subject::Nothing => give(Found::Nothing),
                    Subject::Value(pattern) => values.visit(pattern, element, |found| {
                        spent += found.len();
                        give(found);
                    }),
                }
            }
            spent
        };
        match &mut self.order {
            Order::Own(walk) => {
                let slice = budget_bytes / (ELEMENT_COST + gets.len() * LOOKUP_COST);
                let mut given = 0;
                walk.next_slice(slice.min(self.count).max(1), |element| {
                    given += 1;
                    give_one(element);
                });
                self.count -= given;
            }
            Order::Sorted { entries, texts } => {
                for entry in entries {
                    self.count -= 1;
                    if budget_bytes <= give_one(texts.element(&entry)) {
                        break;
                    }
                }
            }
        }
        0 < self.count
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match &self.order {
            Order::Own(walk) => walk.unshared_bytes(),
            Order::Sorted { entries, texts } => {
                entries.len() * size_of::<Entry>() + texts.heap_bytes()
            }
        }
    }
}

/// How long it takes to sort, in units of one element that is looked at.
pub(super) fn steps(source: &Source, options: &Options) -> u64 {
    /// Finding the value of another key is more than looking at an element.
    const LOOKUP_STEPS: u64 = 4;
    if !is_sorted(source, options) {
        return 0;
    }
    let per_element = if matches!(options.by, By::Pattern(_)) { LOOKUP_STEPS } else { 1 };
    source.len() as u64 * per_element
}

/// Whether elements are sorted at all.
fn is_sorted(source: &Source, options: &Options) -> bool {
    let is_set_to_order = options.orders_sets && matches!(source, Source::Set(_));
    !matches!(options.by, By::Nothing) || is_set_to_order
}

fn kind(options: &Options) -> Kind {
    // A set that has to be sorted though it was not asked for is sorted as text.
    let is_text = options.alpha || matches!(options.by, By::Nothing);
    match (is_text, options.destination) {
        (false, _) => Kind::Number,
        (true, None) => Kind::Collated,
        (true, Some(_)) => Kind::Bytes,
    }
}

fn load(
    source: &Source,
    options: &Options,
    values: &mut impl Values,
    texts: &mut Texts,
) -> Result<Vec<Entry>, CommandError> {
    let kind = kind(options);
    let mut entries = Vec::with_capacity(source.len());
    let mut all_are_numbers = true;
    source.for_each(|element| {
        let entry = match &options.by {
            By::Pattern(pattern) => {
                values.visit(pattern, element, |found| texts.add_by(element, found, kind))
            }
            By::Element | By::Nothing => texts.add(element, kind),
        };
        all_are_numbers &= entry.is_some();
        entries.extend(entry);
    });
    if all_are_numbers { Ok(entries) } else { Err(NOT_NUMBERS) }
}

/// Sorts as far as it is wanted.
fn sort(
    entries: &mut Vec<Entry>,
    texts: &Texts,
    options: &Options,
    is_by_others: bool,
    wanted: Range<usize>,
) {
    let kind = kind(options);
    let order = |a: &Entry, b: &Entry| texts.compare(kind, options.direction, a, b);
    let is_part = wanted != (0..entries.len());
    if is_by_others && is_part {
        // Redis leaves equal elements in another order then.
        sort_part(entries, wanted, order);
        return;
    }
    let is_total = kind != Kind::Collated && !is_by_others;
    if is_part && is_total && wanted.end < entries.len() {
        // Equal elements are the same, so it does not matter which come.
        entries.select_nth_unstable_by(wanted.end, order);
        entries.truncate(wanted.end);
    }
    if texts.has_collation() {
        merge_sort(entries, order);
    } else {
        entries.sort_by(order);
    }
}
