//! Holds the keys of one side against those of the other, counts what differs and names as much of it as there is room for.

use rubine_base::hash::HashMap;

use super::words::KeyDigest;

/// How a key differs, as seen from the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The replica has something else.
    Other,
    /// The replica does not have it.
    Missing,
    /// Only the replica has it.
    Extra,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Missing => "missing",
            Self::Extra => "extra",
        }
    }
}

/// A key that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub db: u32,
    pub key: Box<[u8]>,
    pub kind: Kind,
    /// The number of the replica.
    pub replica: usize,
}

/// What differs: all of it in numbers, and the first keys by name.
#[derive(Clone, Debug)]
pub struct Differences {
    named: Vec<Difference>,
    /// Room for so many names, and for so many bytes of them.
    named_max: usize,
    bytes_left: usize,
    total: u64,
}

impl Differences {
    pub fn new(named_max: usize, bytes_max: usize) -> Self {
        Self { named: Vec::new(), named_max, bytes_left: bytes_max, total: 0 }
    }

    fn add(&mut self, db: u32, key: &[u8], kind: Kind, replica: usize) {
        self.total += 1;
        if self.named.len() < self.named_max && key.len() <= self.bytes_left {
            self.bytes_left -= key.len();
            self.named.push(Difference { db, key: key.into(), kind, replica });
        }
    }

    pub fn named(&self) -> &[Difference] {
        &self.named
    }

    /// How many there are, named or not.
    pub fn total(&self) -> u64 {
        self.total
    }
}

/// How many keys of one replica differ in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub other: u64,
    pub missing: u64,
    pub extra: u64,
}

/// The keys of some buckets on this side, held against those that a replica lists.
#[derive(Debug)]
pub struct Comparison {
    /// By database: what the replica has not named yet.
    ours: HashMap<u32, HashMap<Box<[u8]>, u64>>,
    replica: usize,
    counts: Counts,
}

impl Comparison {
    /// With the replica of this number.
    pub fn new(replica: usize) -> Self {
        Self { ours: HashMap::default(), replica, counts: Counts::default() }
    }

    /// This side has a key.
    pub fn add_ours(&mut self, it: KeyDigest<'_>) {
        self.ours.entry(it.db).or_default().insert(it.key.into(), it.digest);
    }

    /// The replica has a key.
    pub fn add_theirs(&mut self, it: KeyDigest<'_>, differences: &mut Differences) {
        let kind = match self.ours.get_mut(&it.db).and_then(|keys| keys.remove(it.key)) {
            Some(digest) if digest == it.digest => return,
            Some(_) => Kind::Other,
            None => Kind::Extra,
        };
        self.note(it.db, it.key, kind, differences);
    }

    /// The replica has no more keys.
    pub fn end(mut self, differences: &mut Differences) -> Counts {
        for (db, keys) in std::mem::take(&mut self.ours) {
            for key in keys.keys() {
                self.note(db, key, Kind::Missing, differences);
            }
        }
        self.counts
    }

    fn note(&mut self, db: u32, key: &[u8], kind: Kind, differences: &mut Differences) {
        match kind {
            Kind::Other => self.counts.other += 1,
            Kind::Missing => self.counts.missing += 1,
            Kind::Extra => self.counts.extra += 1,
        }
        differences.add(db, key, kind, self.replica);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_counted_and_some_of_it_named() {
        let mut comparison = Comparison::new(2);
        let entry = |db, key, digest| KeyDigest { db, key, digest };
        for (key, digest) in [(b"same", 1), (b"othr", 2), (b"miss", 3)] {
            comparison.add_ours(entry(0, key, digest));
        }
        let mut differences = Differences::new(2, 100);
        comparison.add_theirs(entry(0, b"same", 1), &mut differences);
        comparison.add_theirs(entry(0, b"othr", 9), &mut differences);
        // Of another database, and so another key.
        comparison.add_theirs(entry(1, b"miss", 3), &mut differences);
        let counts = comparison.end(&mut differences);
        assert_eq!(counts, Counts { other: 1, missing: 1, extra: 1 });
        let named: Vec<_> =
            differences.named().iter().map(|it| (it.db, &*it.key, it.kind.name())).collect();
        assert_eq!(named, [(0, &b"othr"[..], "other"), (1, b"miss", "extra")]);
        assert_eq!(differences.total(), 3);
    }

    #[test]
    fn names_have_so_much_room() {
        let mut comparison = Comparison::new(0);
        let mut differences = Differences::new(10, 5);
        for key in [&b"long key"[..], b"abc", b"abd"] {
            let entry = KeyDigest { db: 0, key, digest: 0 };
            comparison.add_theirs(entry, &mut differences);
        }
        assert_eq!((differences.named().len(), differences.total()), (1, 3));
    }
}
