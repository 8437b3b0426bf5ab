//! The encodings by example, and the queue against one long Vec.

use std::io::IoSlice;
use std::sync::Arc;

use proptest::prelude::*;
use rubine_base::SharedBytes;

use super::{Output, Progress, Protocol, Reply, ReplyStream, SHARED_BYTES_MIN};
use crate::decode::{Value, decode};

/// Takes everything from `out` as a socket would that accepts `write_bytes` at a time.
fn drain(out: &mut Output, write_bytes: usize) -> Vec<u8> {
    let mut received = Vec::new();
    while !out.is_empty() {
        let mut slices = [IoSlice::new(&[]); 4];
        let slice_count = out.front_slices(&mut slices, usize::MAX);
        if slice_count == 0 {
            assert!(out.pump(1000));
            continue;
        }
        let front = slices[..slice_count].iter().flat_map(|slice| slice.iter().copied());
        let before = received.len();
        received.extend(front.take(write_bytes));
        out.advance(received.len() - before);
    }
    assert_eq!(out.buffered_bytes(), 0);
    received
}

fn encoded(protocol: Protocol, write: impl FnOnce(&mut Reply<'_>)) -> Vec<u8> {
    let mut out = Output::new();
    write(&mut Reply::new(&mut out, protocol));
    drain(&mut out, usize::MAX)
}

fn check(write: impl Fn(&mut Reply<'_>), resp2: &str, resp3: &str) {
    assert_eq!(encoded(Protocol::Resp2, &write).escape_ascii().to_string(), resp2);
    assert_eq!(encoded(Protocol::Resp3, &write).escape_ascii().to_string(), resp3);
}

fn check_same(write: impl Fn(&mut Reply<'_>), expected: &str) {
    check(write, expected, expected);
}

#[test]
fn types_that_both_protocols_have() {
    check_same(
        |reply| {
            reply.ok();
        },
        r"+OK\r\n",
    );
    check_same(|reply| reply.simple("QUEUED"), r"+QUEUED\r\n");
    check_same(|reply| reply.error("ERR a\r\nb"), r"-ERR a  b\r\n");
    check_same(|reply| reply.integer(0), r":0\r\n");
    check_same(|reply| reply.integer(42), r":42\r\n");
    check_same(|reply| reply.integer(-1), r":-1\r\n");
    check_same(|reply| reply.integer(i64::MIN), r":-9223372036854775808\r\n");
    check_same(|reply| reply.integer(i64::MAX), r":9223372036854775807\r\n");
    check_same(|reply| reply.bulk(b""), r"$0\r\n\r\n");
    check_same(|reply| reply.bulk(b"\r\n"), r"$2\r\n\r\n\r\n");
    check_same(|reply| reply.bulk(&[b'x'; 11]), r"$11\r\nxxxxxxxxxxx\r\n");
    check_same(|reply| reply.bulk_integer(-120), r"$4\r\n-120\r\n");
    check_same(|reply| reply.array(3), r"*3\r\n");
    check_same(|reply| reply.array(1000), r"*1000\r\n");
    check_same(|reply| reply.shared(&Arc::new(b"short".to_vec())), r"$5\r\nshort\r\n");
}

#[test]
fn types_that_differ() {
    check(
        |reply| {
            reply.null();
        },
        r"$-1\r\n",
        r"_\r\n",
    );
    check(
        |reply| {
            reply.null_array();
        },
        r"*-1\r\n",
        r"_\r\n",
    );
    check(|reply| reply.map(7), r"*14\r\n", r"%7\r\n");
    check(|reply| reply.set(2), r"*2\r\n", r"~2\r\n");
    check(|reply| reply.push(2), r"*2\r\n", r">2\r\n");
    check(
        |reply| assert_eq!(reply.attribute(1), reply.protocol() == Protocol::Resp3),
        "",
        r"|1\r\n",
    );
    check(|reply| reply.boolean(true), r":1\r\n", r"#t\r\n");
    check(|reply| reply.boolean(false), r":0\r\n", r"#f\r\n");
    check(|reply| reply.double(1.5), r"$3\r\n1.5\r\n", r",1.5\r\n");
    check(|reply| reply.double(f64::NEG_INFINITY), r"$4\r\n-inf\r\n", r",-inf\r\n");
    check(|reply| reply.big_number("123"), r"$3\r\n123\r\n", r"(123\r\n");
    check(|reply| reply.verbatim(*b"txt", b"ab"), r"$2\r\nab\r\n", r"=6\r\ntxt:ab\r\n");
}

#[test]
fn lengths_can_be_set_late() {
    let nested = |reply: &mut Reply<'_>| {
        let outer = reply.array_deferred();
        reply.bulk(b"key");
        let inner = reply.array_deferred();
        for number in 0..12 {
            reply.integer(number % 2);
        }
        reply.set_array_len(inner, 12);
        reply.set_map_len(outer, 1);
        let empty = reply.array_deferred();
        reply.set_set_len(empty, 0);
    };
    let numbers = r":0\r\n:1\r\n".repeat(6);
    check(
        nested,
        &format!(r"*2\r\n$3\r\nkey\r\n*12\r\n{numbers}*0\r\n"),
        &format!(r"%1\r\n$3\r\nkey\r\n*12\r\n{numbers}~0\r\n"),
    );
}

#[test]
fn a_late_length_finds_its_block() {
    let shared: SharedBytes = Arc::new(vec![b's'; SHARED_BYTES_MIN]);
    let bytes = encoded(Protocol::Resp2, |reply| {
        reply.ok();
        let deferred = reply.array_deferred();
        for _ in 0..5000 {
            reply.bulk(b"0123456789");
        }
        reply.shared(&shared);
        reply.set_array_len(deferred, 5001);
        reply.ok();
    });
    let mut rest = &bytes[..];
    let mut next = || {
        let (value, len) = decode(rest).unwrap().unwrap();
        rest = &rest[len..];
        value
    };
    assert_eq!(next(), Value::Simple(b"OK".to_vec()));
    let Value::Array(values) = next() else { panic!("no array") };
    assert_eq!(values.len(), 5001);
    assert_eq!(values[5000], Value::Bulk(shared.to_vec()));
    assert_eq!(next(), Value::Simple(b"OK".to_vec()));
    assert!(rest.is_empty());
}

#[test]
fn a_long_value_is_sent_from_where_it_is() {
    let value: SharedBytes = Arc::new(vec![7; SHARED_BYTES_MIN]);
    let mut out = Output::new();
    Reply::new(&mut out, Protocol::Resp2).shared(&value);
    let mut slices = [IoSlice::new(&[]); 4];
    assert_eq!(out.front_slices(&mut slices, usize::MAX), 3);
    assert_eq!(slices[1].as_ptr(), value.as_ptr());
    // The line end goes with the value, and the header of the next one with that, but not the value itself.
    let mut two = Output::new();
    Reply::new(&mut two, Protocol::Resp2).shared(&value);
    Reply::new(&mut two, Protocol::Resp2).shared(&value);
    assert_eq!(two.front_slices(&mut [IoSlice::new(&[]); 8], 10), 3);
    assert_eq!(two.front_slices(&mut [IoSlice::new(&[]); 8], usize::MAX), 5);
    drop(two);
    assert_eq!(out.buffered_bytes(), "$16384\r\n\r\n".len());
    assert_eq!(out.pinned_bytes(), 0, "the keyspace holds it too");
    drop(value);
    assert_eq!(out.pinned_bytes(), SHARED_BYTES_MIN);
    assert_eq!(drain(&mut out, 1000).len(), SHARED_BYTES_MIN + "$16384\r\n\r\n".len());
}

#[test]
fn a_big_reply_leaves_a_small_buffer() {
    let mut out = Output::new();
    for _ in 0..100_000 {
        Reply::new(&mut out, Protocol::Resp2).bulk(b"0123456789012345678901234567890123456789");
    }
    Reply::new(&mut out, Protocol::Resp2).bulk(&vec![0; 1_000_000]);
    drain(&mut out, 100_000);
    assert!(out.allocated_bytes() <= 40_000, "{}", out.allocated_bytes());
    out.shrink();
    assert_eq!(out.allocated_bytes(), 0);
}

/// What lies between long values took a block of full size each: a client that reads nothing cost half as much again.
#[test]
fn what_lies_between_long_values_takes_little() {
    const MESSAGES: usize = 100;
    let value = vec![7; 64 * 1024];
    let mut out = Output::new();
    for _ in 0..MESSAGES {
        let mut reply = Reply::new(&mut out, Protocol::Resp3);
        reply.push(2);
        reply.bulk(b"invalidate");
        reply.array(1);
        reply.raw(&value);
    }
    let bytes = MESSAGES * value.len();
    assert!(out.allocated_bytes() < bytes + bytes / 50, "{}", out.allocated_bytes());
}

/// Counts down from `left`, some numbers a turn, nothing on every third.
struct CountDown {
    left: i64,
    turns: usize,
}

impl ReplyStream for CountDown {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        self.turns += 1;
        if self.turns.is_multiple_of(3) {
            return Progress::More;
        }
        for _ in 0..(budget_bytes / 10).min(self.left as usize) {
            reply.double(self.left as f64);
            self.left -= 1;
        }
        if self.left == 0 { Progress::Done } else { Progress::More }
    }

    fn pinned_bytes(&self) -> usize {
        100
    }
}

#[test]
fn streams_keep_their_place_and_protocol() {
    let mut out = Output::new();
    let mut reply = Reply::new(&mut out, Protocol::Resp3);
    reply.array(1000);
    reply.stream(Box::new(CountDown { left: 1000, turns: 0 }));
    let mut reply = Reply::new(&mut out, Protocol::Resp2);
    reply.ok();
    reply.stream(Box::new(CountDown { left: 10, turns: 0 }));
    reply.integer(1);
    assert!(out.has_stream());
    assert_eq!(out.pinned_bytes(), 200);
    let mut expected = "*1000\r\n".to_owned();
    expected.extend((1..=1000).rev().map(|number| format!(",{number}\r\n")));
    expected += "+OK\r\n";
    expected.extend((1..=10).rev().map(|number| {
        let text = number.to_string();
        format!("${}\r\n{text}\r\n", text.len())
    }));
    expected += ":1\r\n";
    assert_eq!(String::from_utf8(drain(&mut out, 777)).unwrap(), expected);
    assert!(!out.has_stream());
}

#[test]
fn a_stream_waits_for_a_reader() {
    let mut out = Output::new();
    Reply::new(&mut out, Protocol::Resp2).stream(Box::new(CountDown { left: 1_000_000, turns: 0 }));
    for _ in 0..1000 {
        out.pump(4096);
    }
    assert!(out.buffered_bytes() < 32 * 1024, "{}", out.buffered_bytes());
}

/// Something a handler does to its output.
#[derive(Clone, Debug)]
enum Action {
    Bulk(usize),
    Shared(usize),
    Stream(i64),
    Failed(Vec<Action>),
    /// Writes the second and puts the first in front of it.
    Inserted(Vec<Action>, Vec<Action>),
    Advance(prop::sample::Index),
    Pump,
}

fn any_action() -> impl Strategy<Value = Action> {
    let size = prop_oneof![0_usize..200, 10_000_usize..40_000];
    let write = prop_oneof![
        6 => size.clone().prop_map(Action::Bulk),
        2 => size.prop_map(Action::Shared),
        1 => (1_i64..300).prop_map(Action::Stream),
    ];
    prop_oneof![
        4 => write.clone(),
        1 => prop::collection::vec(write.clone(), 0..6).prop_map(Action::Failed),
        1 => (prop::collection::vec(write.clone(), 0..4), prop::collection::vec(write, 0..4))
            .prop_map(|(first, second)| Action::Inserted(first, second)),
        2 => any::<prop::sample::Index>().prop_map(Action::Advance),
        1 => Just(Action::Pump),
    ]
}

fn write(out: &mut Output, action: &Action, expected: &mut Vec<u8>) {
    let mut reply = Reply::new(out, Protocol::Resp3);
    match action {
        Action::Bulk(len) => reply.bulk(&vec![b'b'; *len]),
        Action::Shared(len) => reply.shared(&Arc::new(vec![b'b'; *len])),
        Action::Stream(left) => reply.stream(Box::new(CountDown { left: *left, turns: 0 })),
        _ => unreachable!("only these write"),
    }
    match action {
        Action::Bulk(len) | Action::Shared(len) => {
            expected.extend_from_slice(format!("${len}\r\n{}\r\n", "b".repeat(*len)).as_bytes());
        }
        Action::Stream(left) => {
            let numbers = (1..=*left).rev().map(|number| format!(",{number}\r\n"));
            expected.extend(numbers.flat_map(String::into_bytes));
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn the_queue_behaves_as_one_long_vec(actions in prop::collection::vec(any_action(), 0..40)) {
        let (mut out, mut expected, mut received) = (Output::new(), Vec::new(), Vec::new());
        for action in &actions {
            match action {
                Action::Failed(writes) => {
                    let mark = out.mark();
                    for action in writes { write(&mut out, action, &mut Vec::new()); }
                    out.truncate_to(mark);
                    prop_assert_eq!(out.mark(), mark);
                }
                Action::Inserted(first, second) => {
                    let mark = out.mark();
                    let (mut other, mut behind) = (Output::new(), Vec::new());
                    for action in second { write(&mut out, action, &mut behind); }
                    for action in first { write(&mut other, action, &mut expected); }
                    out.insert(mark, other);
                    expected.extend(behind);
                }
                Action::Advance(index) => {
                    let mut slices = [IoSlice::new(&[]); 3];
                    let slice_count = out.front_slices(&mut slices, usize::MAX);
                    let front: Vec<u8> =
                        slices[..slice_count].iter().flat_map(|slice| slice.to_vec()).collect();
                    let sent = index.index(front.len() + 1);
                    received.extend_from_slice(&front[..sent]);
                    out.advance(sent);
                }
                Action::Pump => {
                    out.pump(500);
                }
                _ => write(&mut out, action, &mut expected),
            }
        }
        received.extend(drain(&mut out, 5000));
        prop_assert!(received == expected);
        prop_assert_eq!(out.pinned_bytes(), 0);
    }
}
