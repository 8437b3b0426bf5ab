//! Replies that are too long for a transcript: what a stream writes of a large hash, or chance.

use std::collections::BTreeMap;
use std::io::IoSlice;

use rubine_base::random::Random;
use rubine_resp::writer::{Output, Protocol, Reply};
use rubine_structures::hash::{Hash, HashLimits};
use rubine_structures::trie::Deadline;

use super::Sight;
use super::random::{write_distinct, write_repeated};
use super::walk::{Layout, write_fields};

const LIMITS: HashLimits = HashLimits { entries: 512, value_bytes: 64 };
const NOW: i64 = 1000;
const SIGHT: Sight = Sight { due_until: NOW };
/// What a client's turn lets a stream write.
const BUDGET_BYTES: usize = 1000;

/// A hash of `count` fields, every `nth_due`-th of them due. The value of field `f<N>` is `v<N>`.
fn hash_of(count: usize, nth_due: Option<usize>) -> Hash {
    let mut hash = Hash::new();
    for index in 0..count {
        let is_due = nth_due.is_some_and(|nth| index.is_multiple_of(nth));
        let deadline = if is_due { Deadline::At(NOW) } else { Deadline::Never };
        hash.set(format!("f{index}").as_bytes(), format!("v{index}").as_bytes(), deadline, LIMITS);
    }
    hash
}

/// What [`drained`] says of what `write` writes.
fn written(protocol: Protocol, write: impl FnOnce(&mut Reply<'_>)) -> (usize, Vec<String>) {
    let mut output = Output::new();
    write(&mut Reply::new(&mut output, protocol));
    drained(output)
}

/// The length that the array or map in front announces, and the strings behind it.
fn drained(mut output: Output) -> (usize, Vec<String>) {
    let mut bytes = Vec::new();
    while !output.is_empty() {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = output.front_slices(&mut slices, usize::MAX);
        let start = bytes.len();
        slices[..count].iter().for_each(|slice| bytes.extend_from_slice(slice));
        output.advance(bytes.len() - start);
        let waiting = output.buffered_bytes();
        output.pump(BUDGET_BYTES);
        // One leaf of 64 short fields more than asked for, at most.
        let grown = output.buffered_bytes() - waiting;
        assert!(grown < BUDGET_BYTES + 64 * 64, "a slice of {grown} bytes");
    }
    let text = String::from_utf8(bytes).expect("fields and values are text");
    let (header, rest) = text.split_once("\r\n").expect("a reply has a line");
    let strings = rest.lines().filter(|line| line.starts_with(['f', 'v']));
    (header[1..].parse().expect("a length"), strings.map(str::to_owned).collect())
}

#[test]
fn a_walk_shows_every_field_that_is_seen() {
    for (count, nth_due) in
        [(3, None), (512, Some(2)), (513, None), (5000, None), (5000, Some(2)), (2000, Some(1))]
    {
        let hash = hash_of(count, nth_due);
        let seen = (0..count).filter(|index| nth_due.is_none_or(|nth| index % nth != 0));
        let expected: BTreeMap<_, _> =
            seen.map(|index| (format!("f{index}"), format!("v{index}"))).collect();
        let all = |layout: Layout, protocol: Protocol| {
            written(protocol, |reply| write_fields(reply, &hash, SIGHT, layout, None))
        };

        let (len, strings) = all(Layout::Map, Protocol::Resp2);
        assert_eq!(len, 2 * expected.len());
        let pairs: Vec<_> =
            strings.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        assert_eq!(pairs.len(), expected.len(), "no field twice");
        assert_eq!(pairs.into_iter().collect::<BTreeMap<_, _>>(), expected);

        let (len, mut fields) = all(Layout::Fields, Protocol::Resp3);
        fields.sort();
        assert_eq!(len, fields.len());
        assert!(fields.iter().eq(expected.keys()));

        assert_eq!(all(Layout::Map, Protocol::Resp3).0, expected.len());
        assert_eq!(all(Layout::Pairs, Protocol::Resp2).0, 2 * expected.len());
        let (len, strings) = all(Layout::Pairs, Protocol::Resp3);
        assert_eq!((len, strings.len()), (expected.len(), 2 * expected.len()));
    }
}

#[test]
fn a_stream_shows_the_hash_of_its_instant() {
    let mut hash = hash_of(3000, Some(3));
    let mut output = Output::new();
    let reply = &mut Reply::new(&mut output, Protocol::Resp2);
    write_fields(reply, &hash, SIGHT, Layout::Fields, None);
    assert_eq!(output.pinned_bytes(), 0, "all is shared still");
    for index in 0..3000 {
        hash.remove(format!("f{index}").as_bytes());
    }
    assert!(20_000 < output.pinned_bytes(), "{} bytes", output.pinned_bytes());
    let (len, fields) = drained(output);
    assert_eq!((len, fields.len()), (2000, 2000));
}

#[test]
fn different_fields_are_different_and_each_has_its_chance() {
    // Counts for each way of choosing: by walking through a small hash or a large one, and by single picks.
    for (len, count) in [(100, 10), (600, 300), (2000, 20), (2000, 700)] {
        for nth_due in [None, Some(2)] {
            let hash = hash_of(len, nth_due);
            let mut random = Random::with_seed(7);
            let mut hits: BTreeMap<String, usize> = BTreeMap::new();
            let rounds = 40_000 / count;
            for _ in 0..rounds {
                let (announced, mut fields) = written(Protocol::Resp2, |reply| {
                    let count = count as u64;
                    write_distinct(reply, &hash, SIGHT, Layout::Fields, count, &mut random);
                });
                let seen = if nth_due.is_some() { len / 2 } else { len };
                assert_eq!((announced, fields.len()), (count.min(seen), count.min(seen)));
                fields.sort();
                fields.dedup();
                assert_eq!(fields.len(), announced, "no field twice");
                for field in fields {
                    *hits.entry(field).or_default() += 1;
                }
            }
            let seen = if nth_due.is_some() { len / 2 } else { len };
            assert_eq!(hits.len(), seen, "every field was chosen once, and none that is due");
            let mean = rounds * count.min(seen) / seen;
            assert!(hits.values().all(|&hits| mean / 4 < hits && hits < mean * 3), "{hits:?}");
        }
    }
}

#[test]
fn repeated_fields_are_as_many_as_announced() {
    for (len, nth_due) in [(5, None), (100, Some(2)), (2000, None), (2000, Some(2))] {
        let hash = hash_of(len, nth_due);
        for count in [1, 10, 512, 513, 20_000] {
            let mut random = Random::with_seed(count);
            let (announced, strings) = written(Protocol::Resp3, |reply| {
                write_repeated(reply, &hash, SIGHT, Layout::Pairs, count, &mut random);
            });
            assert_eq!((announced as u64, strings.len() as u64), (count, 2 * count));
            for pair in strings.chunks(2) {
                assert_eq!(pair[0][1..], pair[1][1..], "a field with its own value");
                let number: usize = pair[0][1..].parse().expect("a number");
                assert!(
                    nth_due.is_none_or(|nth| !number.is_multiple_of(nth)),
                    "{} is due",
                    pair[0]
                );
            }
        }
    }
}

#[test]
fn where_all_is_due_nothing_is_chosen() {
    for len in [10, 1000] {
        let hash = hash_of(len, Some(1));
        let random = &mut Random::with_seed(1);
        for count in [1, 5, 600] {
            let nothing = (0, Vec::new());
            let distinct = written(Protocol::Resp2, |reply| {
                write_distinct(reply, &hash, SIGHT, Layout::Pairs, count, random);
            });
            assert_eq!(distinct, nothing);
            let repeated = written(Protocol::Resp2, |reply| {
                write_repeated(reply, &hash, SIGHT, Layout::Pairs, count, random);
            });
            assert_eq!(repeated, nothing);
        }
    }
}
