//! A map in the order of its keys: a B+-tree whose branches count and weigh what is below them. A node that somebody
//! else holds is copied before it is changed, and nothing else is, so a clone takes constant time and stays as it was.
//! Never knows what its values mean.

mod iter;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::ops::Bound;

use triomphe::Arc;

pub use iter::{Iter, IterBack};

/// Entries of a leaf, and branches of a node. Copying a shared node touches each of them.
const NODE_MAX: usize = 48;

/// Neighbours are joined when removals have left so little in both.
const JOINED_MAX: usize = NODE_MAX / 2;

/// What a value counts for in [`OrderedMap::weight`].
pub trait Weigh {
    fn weight(&self) -> u64 {
        1
    }
}

impl Weigh for () {}
impl Weigh for u64 {}

#[derive(Clone)]
pub struct OrderedMap<K, V> {
    /// Invariant: every leaf is equally deep, none is empty, and a node on top has at least two branches.
    root: Option<Child<K, V>>,
    size: Size,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    count: usize,
    weight: u64,
}

type Leaf<K, V> = Vec<(K, V)>;

enum Child<K, V> {
    Leaf(Arc<Leaf<K, V>>),
    Node(Arc<Vec<Branch<K, V>>>),
}

/// Invariant: key and size are those of the child's first entry and of all its entries.
#[derive(Clone)]
struct Branch<K, V> {
    first: K,
    size: Size,
    child: Child<K, V>,
}

impl<K, V> Clone for Child<K, V> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(leaf) => Self::Leaf(Arc::clone(leaf)),
            Self::Node(node) => Self::Node(Arc::clone(node)),
        }
    }
}

impl<K, V> Default for OrderedMap<K, V> {
    fn default() -> Self {
        Self { root: None, size: Size::default() }
    }
}

impl<K, V> OrderedMap<K, V> {
    pub fn new() -> Self {
        Self::default()
    }

    /// How many entries there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.size.count
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.size.count == 0
    }

    /// The sum of the values' weights.
    #[inline]
    pub fn weight(&self) -> u64 {
        self.size.weight
    }

    pub fn first(&self) -> Option<(&K, &V)> {
        let mut child = self.root.as_ref()?;
        loop {
            match child {
                Child::Leaf(leaf) => return leaf.first().map(|(key, value)| (key, value)),
                Child::Node(node) => child = &node.first()?.child,
            }
        }
    }

    #[inline]
    pub fn last(&self) -> Option<(&K, &V)> {
        let mut child = self.root.as_ref()?;
        loop {
            match child {
                Child::Leaf(leaf) => return leaf.last().map(|(key, value)| (key, value)),
                Child::Node(node) => child = &node.last()?.child,
            }
        }
    }

    /// The leaf with the first entries.
    fn first_run(&self) -> &[(K, V)] {
        self.root.as_ref().map_or(&[], Child::first_leaf)
    }

    /// About how many allocations there are.
    pub fn allocations(&self) -> usize {
        // Leaves that were filled at their end are full; others are half full at least, as a rule.
        2 * self.len().div_ceil(NODE_MAX / 2)
    }

    /// Bytes of the nodes, estimated; what the entries point to is not among them.
    pub fn heap_bytes(&self) -> usize {
        const ARC_AND_VEC: usize = size_of::<usize>() + size_of::<Vec<u8>>();
        let leaves = self.len().div_ceil(NODE_MAX);
        self.len() * size_of::<(K, V)>() + leaves * (ARC_AND_VEC + size_of::<Branch<K, V>>())
    }

    /// Whether somebody else holds all of it, too.
    pub fn is_shared(&self) -> bool {
        match &self.root {
            None => false,
            Some(Child::Leaf(leaf)) => !Arc::is_unique(leaf),
            Some(Child::Node(node)) => !Arc::is_unique(node),
        }
    }
}

impl<K: Ord, V> OrderedMap<K, V> {
    /// All entries in ascending order.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::new(self, self.first_run())
    }

    #[inline]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut child = self.root.as_ref()?;
        loop {
            match child {
                Child::Leaf(leaf) => {
                    let index = leaf.binary_search_by(|(it, _)| it.borrow().cmp(key)).ok()?;
                    return Some(&leaf[index].1);
                }
                Child::Node(node) => child = &node[branch_of(node, key)].child,
            }
        }
    }

    pub fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The last entry whose key is not behind `key`.
    pub fn last_until<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.run_until(Bound::Included(key)).last().map(|(key, value)| (key, value))
    }

    /// The entries from a key on, in ascending order.
    pub fn iter_from<Q: Ord + ?Sized>(&self, start: Bound<&Q>) -> Iter<'_, K, V>
    where
        K: Borrow<Q>,
    {
        Iter::new(self, self.run_from(start))
    }

    /// The entries up to a key, in descending order.
    pub fn iter_back_from<Q: Ord + ?Sized>(&self, end: Bound<&Q>) -> IterBack<'_, K, V>
    where
        K: Borrow<Q>,
    {
        IterBack::new(self, self.run_until(end))
    }

    /// What all entries before `key` weigh together.
    pub fn weight_before<Q: Ord + ?Sized>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        V: Weigh,
    {
        let Some(mut child) = self.root.as_ref() else { return 0 };
        let mut before = 0;
        loop {
            match child {
                Child::Leaf(leaf) => {
                    let index = leaf.partition_point(|(it, _)| it.borrow() < key);
                    return before + leaf[..index].iter().map(|it| it.1.weight()).sum::<u64>();
                }
                Child::Node(node) => {
                    let at = branch_of(node, key);
                    before += node[..at].iter().map(|it| it.size.weight).sum::<u64>();
                    child = &node[at].child;
                }
            }
        }
    }

    /// The entry in which the sum of weights exceeds `weight`, and what those before it weigh.
    pub fn at_weight(&self, weight: u64) -> Option<(&K, &V, u64)>
    where
        V: Weigh,
    {
        let mut child = self.root.as_ref().filter(|_| weight < self.size.weight)?;
        let mut before = 0;
        loop {
            match child {
                Child::Leaf(leaf) => {
                    for (key, value) in leaf.iter() {
                        if weight < before + value.weight() {
                            return Some((key, value, before));
                        }
                        before += value.weight();
                    }
                    return None;
                }
                Child::Node(node) => {
                    let mut branches = node.iter();
                    let mut branch = branches.next()?;
                    while before + branch.size.weight <= weight {
                        before += branch.size.weight;
                        branch = branches.next()?;
                    }
                    child = &branch.child;
                }
            }
        }
    }

    /// Entries in one leaf, the first of which is the first from `start` on. Empty only if there are none.
    fn run_from<Q: Ord + ?Sized>(&self, start: Bound<&Q>) -> &[(K, V)]
    where
        K: Borrow<Q>,
    {
        let Some(mut child) = self.root.as_ref() else { return &[] };
        let (key, is_before): (_, fn(&Q, &Q) -> bool) = match start {
            Bound::Unbounded => return self.first_run(),
            Bound::Included(key) => (key, |it, key| it < key),
            Bound::Excluded(key) => (key, |it, key| it <= key),
        };
        let mut following = None;
        loop {
            match child {
                Child::Leaf(leaf) => {
                    let index = leaf.partition_point(|(it, _)| is_before(it.borrow(), key));
                    let rest = &leaf[index..];
                    return match following {
                        Some(child) if rest.is_empty() => Child::first_leaf(child),
                        _ => rest,
                    };
                }
                Child::Node(node) => {
                    let at = branch_of(node, key);
                    if let Some(next) = node.get(at + 1) {
                        following = Some(&next.child);
                    }
                    child = &node[at].child;
                }
            }
        }
    }

    /// Entries in one leaf, the last of which is the last up to `end`. Empty only if there are none.
    fn run_until<Q: Ord + ?Sized>(&self, end: Bound<&Q>) -> &[(K, V)]
    where
        K: Borrow<Q>,
    {
        let Some(mut child) = self.root.as_ref() else { return &[] };
        let is_inside = |it: &Q| match end {
            Bound::Unbounded => true,
            Bound::Included(key) => it <= key,
            Bound::Excluded(key) => it < key,
        };
        loop {
            match child {
                Child::Leaf(leaf) => {
                    return &leaf[..leaf.partition_point(|(it, _)| is_inside(it.borrow()))];
                }
                Child::Node(node) => {
                    let count = node.partition_point(|it| is_inside(it.first.borrow()));
                    let Some(at) = count.checked_sub(1) else { return &[] };
                    child = &node[at].child;
                }
            }
        }
    }
}

impl<K: Ord + Clone, V: Clone + Weigh> OrderedMap<K, V> {
    /// A map of these entries, whose keys ascend.
    pub fn of(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            debug_assert!(map.last().is_none_or(|(last, _)| *last < key));
            map.insert(key, value);
        }
        map
    }

    /// Puts a value under a key. Returns what was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let weight = value.weight();
        let Some(root) = &mut self.root else {
            self.root = Some(Child::Leaf(Arc::new(vec![(key, value)])));
            self.size = Size { count: 1, weight };
            return None;
        };
        let Inserted { old, sibling } = root.insert(key, value, true);
        if let Some(sibling) = sibling {
            let mut node = Vec::with_capacity(NODE_MAX);
            node.extend(self.root.take().map(Branch::of));
            node.push(Branch::of(sibling));
            self.root = Some(Child::Node(Arc::new(node)));
        }
        self.size.weight += weight;
        match &old {
            Some(old) => self.size.weight -= old.weight(),
            None => self.size.count += 1,
        }
        old
    }

    /// Changes the value under a key.
    pub fn edit<Q: Ord + ?Sized, R>(
        &mut self,
        key: &Q,
        change: impl FnOnce(&mut V) -> R,
    ) -> Option<R>
    where
        K: Borrow<Q>,
    {
        // Looked for first, so that nothing is copied in vain.
        let is_shared = self.is_shared();
        if is_shared && !self.contains(key) {
            return None;
        }
        let root = self.root.as_mut()?;
        let (result, by) = root.edit(Place::Key(key), change)?;
        self.size.weight = self.size.weight.wrapping_add(by);
        Some(result)
    }

    /// Changes the last value.
    #[inline]
    pub fn edit_last<R>(&mut self, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        let root = self.root.as_mut()?;
        let (result, by) = root.edit(Place::<K>::Last, change)?;
        self.size.weight = self.size.weight.wrapping_add(by);
        Some(result)
    }

    /// Changes a value by its number, in a way that leaves its weight; not if another map holds it, too.
    pub fn edit_own(&mut self, mut number: usize, change: impl FnOnce(&mut V)) {
        let Some(mut child) = self.root.as_mut() else { return };
        loop {
            match child {
                Child::Leaf(leaf) => {
                    let leaf = Arc::get_mut(leaf);
                    if let Some((_, value)) = leaf.and_then(|it| it.get_mut(number)) {
                        change(value);
                    }
                    return;
                }
                Child::Node(node) => {
                    let Some(branches) = Arc::get_mut(node) else { return };
                    let found = branches.iter_mut().find(|it| {
                        let here = number < it.size.count;
                        number -= if here { 0 } else { it.size.count };
                        here
                    });
                    let Some(branch) = found else { return };
                    child = &mut branch.child;
                }
            }
        }
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if self.is_shared() && !self.contains(key) {
            return None;
        }
        let old = self.root.as_mut()?.remove(key)?;
        self.size.count -= 1;
        self.size.weight -= old.weight();
        self.drop_levels();
        Some(old)
    }

    /// Removes all entries before `key`.
    pub fn remove_before<Q: Ord + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if self.first().is_none_or(|(first, _)| key <= first.borrow()) {
            return;
        }
        if let Some(root) = &mut self.root {
            root.remove_before(key);
            self.size = root.size();
            self.drop_levels();
        }
    }

    pub fn clear(&mut self) {
        *self = Self::new();
    }

    fn drop_levels(&mut self) {
        while let Some(root) = &mut self.root {
            match root {
                _ if self.size.count == 0 => self.root = None,
                Child::Node(node) if node.len() == 1 => {
                    let only = Arc::make_mut(node).pop().expect("there is one");
                    self.root = Some(only.child);
                }
                _ => return,
            }
        }
    }
}

/// Which entry is meant.
enum Place<'a, Q: ?Sized> {
    Key(&'a Q),
    Last,
}

/// What an insertion leaves to be done by the node above.
struct Inserted<K, V> {
    old: Option<V>,
    /// What has to stand behind the child, which was full.
    sibling: Option<Child<K, V>>,
}

impl<K, V> Child<K, V> {
    fn first_leaf(&self) -> &[(K, V)] {
        let mut child = self;
        loop {
            match child {
                Self::Leaf(leaf) => return leaf,
                Self::Node(node) => child = &node[0].child,
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Node(node) => node.len(),
        }
    }
}

impl<K: Ord + Clone, V: Clone + Weigh> Child<K, V> {
    fn first_key(&self) -> &K {
        match self {
            Self::Leaf(leaf) => &leaf[0].0,
            Self::Node(node) => &node[0].first,
        }
    }

    fn size(&self) -> Size {
        let add = |sum: Size, it: Size| Size {
            count: sum.count + it.count,
            weight: sum.weight + it.weight,
        };
        match self {
            Self::Leaf(leaf) => {
                let weight = leaf.iter().map(|it| it.1.weight()).sum();
                Size { count: leaf.len(), weight }
            }
            Self::Node(node) => node.iter().map(|it| it.size).fold(Size::default(), add),
        }
    }

    /// `is_last` if nothing stands behind it.
    fn insert(&mut self, key: K, value: V, is_last: bool) -> Inserted<K, V> {
        match self {
            Self::Leaf(leaf) => {
                let leaf = Arc::make_mut(leaf);
                let is_append = leaf.last().is_some_and(|last| last.0 < key);
                let place = if is_append {
                    Err(leaf.len())
                } else {
                    leaf.binary_search_by(|it| it.0.cmp(&key))
                };
                let index = match place {
                    Ok(index) => {
                        let old = std::mem::replace(&mut leaf[index].1, value);
                        return Inserted { old: Some(old), sibling: None };
                    }
                    Err(index) => index,
                };
                leaf.insert(index, (key, value));
                let sibling = surplus(leaf, is_last && is_append);
                Inserted { old: None, sibling: sibling.map(|it| Self::Leaf(Arc::new(it))) }
            }
            Self::Node(node) => {
                let node = Arc::make_mut(node);
                let at = branch_of(node, &key);
                let is_end = is_last && at + 1 == node.len();
                let Inserted { old, sibling } = node[at].child.insert(key, value, is_end);
                node[at].refresh();
                if let Some(sibling) = sibling {
                    node.insert(at + 1, Branch::of(sibling));
                }
                let sibling = surplus(node, is_end).map(|it| Self::Node(Arc::new(it)));
                Inserted { old, sibling }
            }
        }
    }

    /// Changes the value at a place. Returns by how much its weight has grown, which wraps around.
    fn edit<Q: Ord + ?Sized, R>(
        &mut self,
        place: Place<'_, Q>,
        change: impl FnOnce(&mut V) -> R,
    ) -> Option<(R, u64)>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(leaf) => {
                let index = match place {
                    Place::Key(key) => find(leaf, key)?,
                    Place::Last => leaf.len().checked_sub(1)?,
                };
                let value = &mut Arc::make_mut(leaf)[index].1;
                let before = value.weight();
                let result = change(value);
                Some((result, value.weight().wrapping_sub(before)))
            }
            Self::Node(node) => {
                let at = match place {
                    Place::Key(key) => branch_of(node, key),
                    Place::Last => node.len() - 1,
                };
                let branches = Arc::make_mut(node);
                let (result, by) = branches[at].child.edit(place, change)?;
                let weight = &mut branches[at].size.weight;
                *weight = weight.wrapping_add(by);
                Some((result, by))
            }
        }
    }

    fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(leaf) => {
                let index = find(leaf, key)?;
                Some(Arc::make_mut(leaf).remove(index).1)
            }
            Self::Node(node) => {
                let node = Arc::make_mut(node);
                let at = branch_of(node, key);
                let old = node[at].child.remove(key)?;
                if node[at].child.len() == 0 {
                    node.remove(at);
                } else {
                    node[at].refresh();
                    join_thin(node, at);
                }
                Some(old)
            }
        }
    }

    fn remove_before<Q: Ord + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(leaf) => {
                let index = leaf.partition_point(|(it, _)| it.borrow() < key);
                if 0 < index {
                    Arc::make_mut(leaf).drain(..index);
                }
            }
            Self::Node(node) => {
                let node = Arc::make_mut(node);
                let at = branch_of(node, key);
                node.drain(..at);
                node[0].child.remove_before(key);
                if node[0].child.len() == 0 {
                    node.remove(0);
                } else {
                    node[0].refresh();
                }
            }
        }
    }

    /// Takes in what `next` holds if both together are small; false if they are not.
    fn take_over(&mut self, next: &mut Self) -> bool {
        if JOINED_MAX < self.len() + next.len() {
            return false;
        }
        match (self, next) {
            (Self::Leaf(ours), Self::Leaf(theirs)) => {
                Arc::make_mut(ours).append(Arc::make_mut(theirs));
                true
            }
            (Self::Node(ours), Self::Node(theirs)) => {
                Arc::make_mut(ours).append(Arc::make_mut(theirs));
                true
            }
            _ => false,
        }
    }
}

impl<K: Ord + Clone, V: Clone + Weigh> Branch<K, V> {
    fn of(child: Child<K, V>) -> Self {
        Self { first: child.first_key().clone(), size: child.size(), child }
    }

    /// The child has changed.
    fn refresh(&mut self) {
        if self.first != *self.child.first_key() {
            self.first = self.child.first_key().clone();
        }
        self.size = self.child.size();
    }
}

/// Which branch has the key, or would have it.
#[inline]
fn branch_of<K: Borrow<Q>, V, Q: Ord + ?Sized>(node: &[Branch<K, V>], key: &Q) -> usize {
    node.partition_point(|it| it.first.borrow() <= key).saturating_sub(1)
}

#[inline]
fn find<K: Borrow<Q>, V, Q: Ord + ?Sized>(leaf: &[(K, V)], key: &Q) -> Option<usize> {
    leaf.binary_search_by(|(it, _)| it.borrow().cmp(key)).ok()
}

/// What is too much for one node. Those that are filled at their end stay full.
fn surplus<T>(items: &mut Vec<T>, is_filled_at_end: bool) -> Option<Vec<T>> {
    if items.len() <= NODE_MAX {
        return None;
    }
    let kept = if is_filled_at_end { NODE_MAX } else { items.len() / 2 };
    let mut rest = Vec::with_capacity(NODE_MAX);
    rest.extend(items.drain(kept..));
    items.shrink_to(NODE_MAX);
    Some(rest)
}

/// Joins the branch at `at` with a neighbour when removals have left both small.
fn join_thin<K: Ord + Clone, V: Clone + Weigh>(node: &mut Vec<Branch<K, V>>, at: usize) {
    if NODE_MAX / 4 < node[at].child.len() {
        return;
    }
    for left in [at.checked_sub(1), Some(at)].into_iter().flatten() {
        if let [first, second, ..] = &mut node[left..]
            && first.child.take_over(&mut second.child)
        {
            first.refresh();
            node.remove(left + 1);
            return;
        }
    }
}

impl<K: std::fmt::Debug, V: std::fmt::Debug> std::fmt::Debug for OrderedMap<K, V>
where
    K: Ord + Clone,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'a, K: Ord, V> IntoIterator for &'a OrderedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}
