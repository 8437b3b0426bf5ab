//! The entries of an ordered map one after another, leaf by leaf. Never changes one.

use std::ops::Bound;

use super::OrderedMap;

/// Entries in ascending order.
pub struct Iter<'a, K, V> {
    map: &'a OrderedMap<K, V>,
    /// What is left of the current leaf.
    run: &'a [(K, V)],
}

/// Entries in descending order.
pub struct IterBack<'a, K, V> {
    map: &'a OrderedMap<K, V>,
    /// What is left of the current leaf.
    run: &'a [(K, V)],
}

impl<'a, K, V> Iter<'a, K, V> {
    pub(super) fn new(map: &'a OrderedMap<K, V>, run: &'a [(K, V)]) -> Self {
        Self { map, run }
    }
}

impl<'a, K, V> IterBack<'a, K, V> {
    pub(super) fn new(map: &'a OrderedMap<K, V>, run: &'a [(K, V)]) -> Self {
        Self { map, run }
    }
}

impl<'a, K: Ord, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let ((key, value), rest) = self.run.split_first()?;
        self.run = rest;
        if rest.is_empty() {
            self.run = self.map.run_from(Bound::Excluded(key));
        }
        Some((key, value))
    }
}

impl<'a, K: Ord, V> Iterator for IterBack<'a, K, V> {
    type Item = (&'a K, &'a V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let ((key, value), rest) = self.run.split_last()?;
        self.run = rest;
        if rest.is_empty() {
            self.run = self.map.run_until(Bound::Excluded(key));
        }
        Some((key, value))
    }
}
