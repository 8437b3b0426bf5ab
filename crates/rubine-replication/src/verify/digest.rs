//! The digest of a key and what it holds: equal for equal content, whatever its order where that is free, its encoding, or the
//! server that makes it. What two servers need not agree on is left out: when a key was last used, when consumers were
//! last seen, and what is due.

use rubine_base::number::DoubleText;
use rubine_structures::record::RecordRef;
use rubine_structures::stream::{Direction, Group, Stream, StreamId};
use rubine_structures::value::ValueRef;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::BUCKETS;
use super::words::RunId;

/// Elements between two looks at whether to go on.
const LOOK_EVERY: usize = 128;

/// What stands for no deadline.
const NO_DEADLINE: i64 = -1;

/// Makes digests for one comparison: those of another are made with another seed.
#[derive(Clone, Copy, Debug)]
pub struct Digester {
    seed: u64,
    /// What is due at this moment, in Unix milliseconds, does not count.
    now: i64,
}

/// A chain of hashes: what goes in matters, and its order.
#[derive(Clone, Copy)]
struct Chain(u64);

impl Chain {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    fn id(&mut self, id: StreamId) {
        self.number(id.ms);
        self.number(id.seq);
    }
}

/// Calls what somebody wants to be called now and then.
struct Looks<'a> {
    look: &'a mut dyn FnMut(),
    elements: usize,
}

impl Looks<'_> {
    fn count(&mut self) {
        self.elements += 1;
        if self.elements.is_multiple_of(LOOK_EVERY) {
            (self.look)();
        }
    }
}

impl Digester {
    pub fn new(run: RunId, now: i64) -> Self {
        Self { seed: run.0, now }
    }

    /// The bucket that a key belongs to.
    pub fn bucket_of(&self, db: u32, key: &[u8]) -> u16 {
        let mut chain = self.chain(db.into());
        chain.bytes(key);
        (chain.0 % BUCKETS as u64) as u16
    }

    /// The digest of a key of `db` and what it holds; `None` if it does not count. `look` is called now and then while there
    /// are many elements.
    pub fn digest(&self, db: u32, record: RecordRef<'_>, look: &mut dyn FnMut()) -> Option<u64> {
        if record.deadline().is_some_and(|it| it <= self.now) {
            return None;
        }
        let mut chain = self.chain(db.into());
        chain.bytes(record.key());
        chain.number(record.deadline().unwrap_or(NO_DEADLINE) as u64);
        let mut looks = Looks { look, elements: 0 };
        self.value(record.value(), &mut chain, &mut looks)?;
        Some(chain.0)
    }

    fn chain(&self, start: u64) -> Chain {
        let mut chain = Chain(self.seed);
        chain.number(start);
        chain
    }

    fn value(&self, value: ValueRef<'_>, chain: &mut Chain, looks: &mut Looks<'_>) -> Option<()> {
        // The type is part of it: an empty sum looks the same in each.
        chain.bytes(value.type_of().name().as_bytes());
        match value {
            ValueRef::Int(number) => chain.bytes(itoa::Buffer::new().format(number).as_bytes()),
            ValueRef::Bytes { bytes, .. } => chain.bytes(bytes),
            ValueRef::Shared(bytes) => chain.bytes(bytes),
            ValueRef::List(list) => {
                chain.number(list.len() as u64);
                for item in list {
                    chain.bytes(item);
                    looks.count();
                }
            }
            ValueRef::Set(set) => {
                let (mut sum, mut text) = (0_u64, Vec::new());
                for member in set.iter() {
                    let mut element = self.chain(1);
                    element.bytes(member.text_in(&mut text));
                    sum = sum.wrapping_add(element.0);
                    looks.count();
                }
                chain.number(set.len());
                chain.number(sum);
            }
            ValueRef::SortedSet(set) => {
                let mut sum = 0_u64;
                for (member, score) in set.iter() {
                    let mut element = self.chain(2);
                    element.bytes(member);
                    // As it goes through the stream: the two zeros are one there.
                    element.bytes(DoubleText::of(score + 0.0).as_bytes());
                    sum = sum.wrapping_add(element.0);
                    looks.count();
                }
                chain.number(set.len());
                chain.number(sum);
            }
            ValueRef::Hash(hash) => {
                let (mut sum, mut count) = (0_u64, 0);
                for field in hash.iter() {
                    looks.count();
                    if field.deadline.is_some_and(|it| it <= self.now) {
                        continue;
                    }
                    let mut element = self.chain(3);
                    element.bytes(field.key);
                    element.bytes(field.value);
                    element.number(field.deadline.unwrap_or(NO_DEADLINE) as u64);
                    sum = sum.wrapping_add(element.0);
                    count += 1;
                }
                // A hash whose fields are all due is as good as gone.
                if count == 0 {
                    return None;
                }
                chain.number(count);
                chain.number(sum);
            }
            ValueRef::Stream(stream) => self.stream(stream, chain, looks),
        }
        Some(())
    }

    fn stream(&self, stream: &Stream, chain: &mut Chain, looks: &mut Looks<'_>) {
        chain.number(stream.len());
        for entry in stream.range(StreamId::MIN, StreamId::MAX, Direction::Ascending) {
            chain.id(entry.id);
            for (field, value) in entry.fields() {
                chain.bytes(field);
                chain.bytes(value);
            }
            looks.count();
        }
        chain.id(stream.last_id());
        chain.id(stream.max_deleted_id());
        chain.number(stream.entries_added());
        let mut sum = 0_u64;
        for (name, group) in stream.groups() {
            let mut element = self.chain(4);
            element.bytes(name);
            self.group(group, &mut element, looks);
            sum = sum.wrapping_add(element.0);
        }
        chain.number(sum);
    }

    fn group(&self, group: &Group, chain: &mut Chain, looks: &mut Looks<'_>) {
        chain.id(group.last_id);
        chain.number(group.entries_read.unwrap_or(u64::MAX));
        let mut sum = 0_u64;
        for (_, consumer) in group.consumers() {
            let mut element = self.chain(5);
            element.bytes(consumer.name());
            sum = sum.wrapping_add(element.0);
            looks.count();
        }
        chain.number(sum);
        for (id, pending) in group.pending_from(StreamId::MIN) {
            chain.id(id);
            chain.number(pending.delivered_at as u64);
            chain.number(pending.delivery_count);
            chain.bytes(pending.owner().map_or(b"", |owner| group.consumer(owner).name()));
            looks.count();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use rubine_structures::hash::{Hash, HashLimits};
    use rubine_structures::record::Record;
    use rubine_structures::set::{Set, SetLimits};
    use rubine_structures::trie::Deadline;
    use rubine_structures::value::Value;

    use super::*;

    const DIGESTER: Digester = Digester { seed: 5, now: 1000 };

    fn digest_at(digester: Digester, value: Value<'_>, deadline: Option<i64>) -> Option<u64> {
        let record = Record::new(b"k", value, deadline, 0);
        digester.digest(0, record.as_ref(), &mut || {})
    }

    fn digest(value: Value<'_>, deadline: Option<i64>) -> Option<u64> {
        digest_at(DIGESTER, value, deadline)
    }

    #[test]
    fn encoding_and_order_make_no_difference() {
        assert_eq!(digest(Value::Int(12), None), digest(Value::Bytes(Cow::Borrowed(b"12")), None));
        let set = |members: &[&[u8]], entries| {
            let limits =
                SetLimits { intset_entries: 0, listpack_entries: entries, value_bytes: 64 };
            let mut set = Set::new();
            members.iter().for_each(|it| _ = set.add(it, limits));
            Value::Set(set)
        };
        let small = digest(set(&[b"a", b"b", b"3"], 128), None);
        assert_eq!(small, digest(set(&[b"3", b"b", b"a"], 0), None));
        assert_ne!(small, digest(set(&[b"3", b"b"], 128), None));
    }

    #[test]
    fn deadlines_count_and_what_is_due_does_not() {
        let text = || Value::Bytes(Cow::Borrowed(b"v"));
        assert_ne!(digest(text(), None), digest(text(), Some(2000)));
        assert_ne!(digest(text(), Some(2001)), digest(text(), Some(2000)));
        assert_eq!(digest(text(), Some(1000)), None);
        let hash = |fields: &[(&[u8], Option<i64>)]| {
            let mut hash = Hash::new();
            let limits = HashLimits { entries: 8, value_bytes: 8 };
            for (field, deadline) in fields {
                let deadline = deadline.map_or(Deadline::Never, Deadline::At);
                hash.set(field, b"v", deadline, limits);
            }
            Value::Hash(hash)
        };
        let left = digest(hash(&[(b"f", None), (b"g", Some(1000))]), None);
        assert_eq!(left, digest(hash(&[(b"f", None)]), None));
        assert_ne!(left, digest(hash(&[(b"f", Some(1001))]), None));
        assert_eq!(digest(hash(&[(b"f", Some(999))]), None), None);
    }

    #[test]
    fn another_run_makes_other_digests() {
        let other = Digester::new(RunId(6), 1000);
        assert_ne!(digest_at(other, Value::Int(1), None), digest(Value::Int(1), None));
    }
}
