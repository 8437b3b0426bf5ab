//! Sorting in slices, for what is too much to be sorted at once, and in part, as Redis does it for LIMIT and COUNT.
//! Knows nothing of what it sorts.

use std::cmp::Ordering;
use std::ops::Range;

/// Items that are sorted at once. More of them are sorted in runs of so many, and merged while they are read.
pub(crate) const RUN_LEN: usize = 4096;

/// Items in runs, none of which takes long to sort.
#[derive(Debug)]
pub(crate) struct Runs<T> {
    /// Invariant: none but the last is shorter than [`RUN_LEN`].
    runs: Vec<Vec<T>>,
}

impl<T> Runs<T> {
    pub(crate) fn new() -> Self {
        Self { runs: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.runs.last().map_or(0, |last| (self.runs.len() - 1) * RUN_LEN + last.len())
    }

    /// Number of the run that the next item goes to.
    pub(crate) fn next_run(&self) -> usize {
        self.len() / RUN_LEN
    }

    /// Adds an item. Returns the run that it has completed, which may be sorted now.
    pub(crate) fn push(&mut self, item: T) -> Option<&mut Vec<T>> {
        if self.next_run() == self.runs.len() {
            self.runs.push(Vec::new());
        }
        let run = self.runs.last_mut().expect("there is a run to add to");
        run.push(item);
        (run.len() == RUN_LEN).then_some(run)
    }

    /// The last run, unless it is complete.
    pub(crate) fn incomplete(&mut self) -> Option<&mut Vec<T>> {
        self.runs.last_mut().filter(|run| run.len() < RUN_LEN)
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.runs.len() * RUN_LEN * size_of::<T>()
    }
}

/// Sorted runs, read as one. Of equal items, those of an earlier run come first: together with a stable sort of each run,
/// the whole is stable. Every call takes the same order.
#[derive(Debug)]
pub(crate) struct Merge<T> {
    runs: Vec<std::vec::IntoIter<T>>,
    /// The first item of each run that has any, with the number of the run. Invariant: a heap, the least on top.
    heap: Vec<(T, usize)>,
}

impl<T: Copy> Merge<T> {
    pub(crate) fn new(runs: Runs<T>, order: impl Fn(&T, &T) -> Ordering) -> Self {
        let mut runs: Vec<_> = runs.runs.into_iter().map(Vec::into_iter).collect();
        let heap =
            runs.iter_mut().enumerate().filter_map(|(index, run)| Some((run.next()?, index)));
        let mut merge = Self { heap: heap.collect(), runs };
        for parent in (0..merge.heap.len() / 2).rev() {
            merge.sift_down(parent, &order);
        }
        merge
    }

    /// The next item.
    pub(crate) fn next(&mut self, order: impl Fn(&T, &T) -> Ordering) -> Option<T> {
        let (least, run) = *self.heap.first()?;
        match self.runs[run].next() {
            Some(item) => self.heap[0].0 = item,
            None => {
                self.heap.swap_remove(0);
            }
        }
        self.sift_down(0, &order);
        Some(least)
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.runs.len() * RUN_LEN * size_of::<T>()
    }

    fn sift_down(&mut self, mut parent: usize, order: &impl Fn(&T, &T) -> Ordering) {
        let is_less = |(a, run_a): &(T, usize), (b, run_b): &(T, usize)| {
            order(a, b).then(run_a.cmp(run_b)) == Ordering::Less
        };
        loop {
            let first = parent * 2 + 1;
            let children = first..(first + 2).min(self.heap.len());
            let least =
                children.reduce(|a, b| if is_less(&self.heap[b], &self.heap[a]) { b } else { a });
            match least {
                Some(child) if is_less(&self.heap[child], &self.heap[parent]) => {
                    self.heap.swap(parent, child);
                    parent = child;
                }
                _ => return,
            }
        }
    }
}

/// Puts the items that belong at `wanted` there, in order. Where items are equal, those that Redis would choose, in its
/// order: it partitions as the quicksort of Bentley and `McIlroy` does, but leaves alone what is not wanted.
pub(crate) fn sort_part<T: Clone>(
    items: &mut Vec<T>,
    wanted: Range<usize>,
    order: impl Fn(&T, &T) -> Ordering,
) {
    /// Comparisons for each item, far more than items cost that nobody has chosen with this in mind.
    const COMPARISONS_PER_ITEM: usize = 100;
    if wanted.is_empty() {
        return;
    }
    let original = items.clone();
    let mut comparisons_left = items.len().saturating_mul(COMPARISONS_PER_ITEM);
    let mut parts = Vec::new();
    parts.push(0..items.len());
    while let Some(part) = parts.pop() {
        let rest = Partition { items: &mut items[part.clone()], order: &order, comparisons: 0 };
        let (split, comparisons) = rest.run();
        if comparisons_left <= comparisons {
            *items = original;
            merge_sort(items, order);
            return;
        }
        comparisons_left -= comparisons;
        for side in split {
            let side = part.start + side.start..part.start + side.end;
            let is_wanted = side.start < wanted.end && wanted.start < side.end;
            if 1 < side.len() && is_wanted {
                parts.push(side);
            }
        }
    }
}

/// Sorts stably, by an order that may contradict itself: the standard library's sort may end the program then, which
/// nobody may be able to bring about by what he has stored.
pub(crate) fn merge_sort<T: Clone>(items: &mut Vec<T>, order: impl Fn(&T, &T) -> Ordering) {
    let len = items.len();
    let mut sorted_len = 1;
    while sorted_len < len {
        let mut merged = Vec::with_capacity(len);
        for pair in items.chunks(sorted_len * 2) {
            let (mut left, mut right) = pair.split_at(sorted_len.min(pair.len()));
            while let ([a, left_rest @ ..], [b, right_rest @ ..]) = (left, right) {
                if order(b, a) == Ordering::Less {
                    merged.push(b.clone());
                    right = right_rest;
                } else {
                    merged.push(a.clone());
                    left = left_rest;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        *items = merged;
        sorted_len *= 2;
    }
}

/// One step of quicksort.
struct Partition<'a, T, F> {
    items: &'a mut [T],
    order: &'a F,
    comparisons: usize,
}

impl<T, F: Fn(&T, &T) -> Ordering> Partition<'_, T, F> {
    /// Returns the two parts that are still to be sorted, and the number of comparisons that it took.
    fn run(mut self) -> ([Range<usize>; 2], usize) {
        /// Fewer items are sorted by insertion.
        const ITEMS_MIN: usize = 7;
        let len = self.items.len();
        if len < ITEMS_MIN {
            self.insert_all();
            return ([0..0, 0..0], self.comparisons);
        }
        let pivot = self.pivot();
        self.items.swap(0, pivot);
        // Items equal to the pivot are collected at both ends, up to `low_equal` and from behind `high_equal`.
        let (mut low_equal, mut low) = (1, 1);
        let (mut high_equal, mut high) = (len - 1, len - 1);
        loop {
            while low <= high {
                match self.compare(low, 0) {
                    Ordering::Greater => break,
                    Ordering::Equal => {
                        self.items.swap(low_equal, low);
                        low_equal += 1;
                    }
                    Ordering::Less => {}
                }
                low += 1;
            }
            while low <= high {
                match self.compare(high, 0) {
                    Ordering::Less => break,
                    Ordering::Equal => {
                        self.items.swap(high, high_equal);
                        high_equal -= 1;
                    }
                    Ordering::Greater => {}
                }
                high -= 1;
            }
            if high < low {
                break;
            }
            self.items.swap(low, high);
            low += 1;
            high -= 1;
        }
        // They belong in the middle.
        let (below, above) = (low - low_equal, high_equal - high);
        self.exchange(0, low, low_equal.min(below));
        self.exchange(low, len, above.min(len - high_equal - 1));
        ([0..below, len - above..len], self.comparisons)
    }

    /// Exchanges `count` items from `start` on with as many before `end`.
    fn exchange(&mut self, start: usize, end: usize, count: usize) {
        for offset in 0..count {
            self.items.swap(start + offset, end - count + offset);
        }
    }

    fn insert_all(&mut self) {
        for end in 1..self.items.len() {
            for at in (1..=end).rev() {
                if self.compare(at - 1, at) != Ordering::Greater {
                    break;
                }
                self.items.swap(at, at - 1);
            }
        }
    }

    /// The item to compare the others with: the middle one, or a median of three, or of nine.
    fn pivot(&mut self) -> usize {
        const MEDIAN_MIN: usize = 7;
        const MEDIAN_OF_NINE_MIN: usize = 40;
        let len = self.items.len();
        let (mut first, mut middle, mut last) = (0, len / 2, len - 1);
        if len <= MEDIAN_MIN {
            return middle;
        }
        if MEDIAN_OF_NINE_MIN < len {
            let step = len / 8;
            first = self.median(first, first + step, first + 2 * step);
            middle = self.median(middle - step, middle, middle + step);
            last = self.median(last - 2 * step, last - step, last);
        }
        self.median(first, middle, last)
    }

    fn median(&mut self, a: usize, b: usize, c: usize) -> usize {
        if self.compare(a, b) == Ordering::Less {
            if self.compare(b, c) == Ordering::Less {
                b
            } else if self.compare(a, c) == Ordering::Less {
                c
            } else {
                a
            }
        } else if self.compare(b, c) == Ordering::Greater {
            b
        } else if self.compare(a, c) == Ordering::Less {
            a
        } else {
            c
        }
    }

    fn compare(&mut self, a: usize, b: usize) -> Ordering {
        self.comparisons += 1;
        (self.order)(&self.items[a], &self.items[b])
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering::{Greater, Less};

    use proptest::prelude::*;

    use super::{Merge, RUN_LEN, Runs, merge_sort, sort_part};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn merged_runs_are_a_stable_sort(len in 0..RUN_LEN * 3, kinds in 1..100_usize, step in 1..1000_usize) {
            let items: Vec<(usize, usize)> = (0..len).map(|at| (at * step % kinds, at)).collect();
            let order = |a: &(usize, usize), b: &(usize, usize)| a.0.cmp(&b.0);
            let mut runs = Runs::new();
            for &item in &items {
                if let Some(run) = runs.push(item) {
                    run.sort_by(order);
                }
            }
            if let Some(run) = runs.incomplete() {
                run.sort_by(order);
            }
            prop_assert_eq!(runs.len(), len);
            let mut merge = Merge::new(runs, order);
            let merged: Vec<_> = std::iter::from_fn(|| merge.next(order)).collect();
            let mut expected = items;
            expected.sort_by(order);
            prop_assert_eq!(merged, expected);
        }

        #[test]
        fn merging_is_a_stable_sort(kinds in prop::collection::vec(0..20_u8, 0..200)) {
            let items: Vec<(u8, usize)> = kinds.into_iter().enumerate().map(|(at, kind)| (kind, at)).collect();
            let (mut merged, mut expected) = (items.clone(), items);
            merge_sort(&mut merged, |a, b| a.0.cmp(&b.0));
            expected.sort_unstable();
            prop_assert_eq!(merged, expected);
        }

        /// Nothing is lost, and nothing panics, whatever the order says.
        #[test]
        fn an_order_may_contradict_itself(len in 0..200_u32, answers in prop::collection::vec(any::<bool>(), 1..64)) {
            let mut items: Vec<u32> = (0..len).collect();
            let asked = std::cell::Cell::new(0);
            merge_sort(&mut items, |_, _| {
                asked.set(asked.get() + 1);
                if answers[asked.get() % answers.len()] { Less } else { Greater }
            });
            items.sort_unstable();
            prop_assert!(items.into_iter().eq(0..len));
        }

        #[test]
        fn a_part_is_what_a_whole_sort_puts_there(
            items in prop::collection::vec(0..1000_u32, 0..300),
            start in 0..300_usize,
            count in 0..300_usize,
        ) {
            let wanted = start.min(items.len())..(start + count).min(items.len());
            let (mut sorted, mut part) = (items.clone(), items);
            sorted.sort_unstable();
            sort_part(&mut part, wanted.clone(), Ord::cmp);
            prop_assert_eq!(&part[wanted.clone()], &sorted[wanted]);
            part.sort_unstable();
            prop_assert_eq!(part, sorted);
        }
    }

    #[test]
    fn what_would_take_for_ever_is_sorted_otherwise() {
        // The comparison decides as it goes what is less, so that every pivot turns out to be the least but one.
        use std::cell::{Cell, RefCell};
        const LEN: usize = 4000;
        let values = RefCell::new(vec![usize::MAX; LEN]);
        let (solid, candidate, count) = (Cell::new(0), Cell::new(0), Cell::new(0_usize));
        let order = |&a: &usize, &b: &usize| {
            count.set(count.get() + 1);
            let mut values = values.borrow_mut();
            if values[a] == usize::MAX && values[b] == usize::MAX {
                let fixed = if a == candidate.get() { a } else { b };
                values[fixed] = solid.replace(solid.get() + 1);
            }
            if values[a] == usize::MAX {
                candidate.set(a);
            } else if values[b] == usize::MAX {
                candidate.set(b);
            }
            values[a].cmp(&values[b])
        };
        let mut items: Vec<usize> = (0..LEN).collect();
        sort_part(&mut items, 0..LEN, order);
        assert!(count.get() < LEN * 300, "{} comparisons", count.get());
        assert!(items.is_sorted_by_key(|&item| values.borrow()[item]));
    }
}
