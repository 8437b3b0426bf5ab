//! Requests by example, and any request cut anywhere.

use proptest::prelude::*;

use super::{
    APART_BYTES_MIN, ArgRange, LINE_BYTES_MAX, Limits, Parsed, Parser, ProtocolError, Sender,
    WANT_TRUSTED, read_length, small_length,
};
use crate::fuzz::{check_request, parse_all};

const CLIENT: Limits = Limits { bulk_bytes_max: 512 * 1024 * 1024, sender: Sender::Client };
const STRANGER: Limits = Limits { sender: Sender::Stranger, ..CLIENT };
const PRIMARY: Limits = Limits { sender: Sender::Primary, ..CLIENT };

fn parse(buf: &[u8], limits: Limits) -> Result<Parsed, ProtocolError> {
    Parser::new().parse(&mut buf.to_vec(), &mut Vec::new(), &limits)
}

fn check(request: &[u8], expected: &[&[u8]]) {
    let mut buf = request.to_vec();
    let mut args = vec![ArgRange { start: 7, len: 7 }];
    let parsed = Parser::new().parse(&mut buf, &mut args, &CLIENT);
    let arg_count = expected.len();
    assert_eq!(parsed, Ok(Parsed::Request { consumed: request.len(), arg_count, repeats: false }));
    let found: Vec<&[u8]> = args[1..].iter().map(|arg| arg.of(&buf)).collect();
    assert_eq!(found, expected);
}

fn check_refused(request: &[u8], limits: Limits, expected: ProtocolError) {
    assert_eq!(parse(request, limits), Err(expected), "{}", request.escape_ascii());
}

#[test]
fn arrays() {
    check(b"*1\r\n$4\r\nPING\r\n", &[b"PING"]);
    check(b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", &[b"GET", b""]);
    check(b"*2\r\n$3\r\nGET\r\n$2\r\n\r\n\r\n", &[b"GET", b"\r\n"]);
    check(&[b"*1\r\n$12\r\n", &[b'x'; 12][..], b"\r\n"].concat(), &[&[b'x'; 12]]);
    check(&[b"*1\r\n$123\r\n", &[b'x'; 123][..], b"\r\n"].concat(), &[&[b'x'; 123]]);
    check(&[b"*1\r\n$12345\r\n", &[b'x'; 12345][..], b"\r\n"].concat(), &[&[b'x'; 12345]]);
    check(&[&b"*12\r\n"[..], &b"$1\r\nx\r\n".repeat(12)].concat(), &[&b"x"[..]; 12]);
}

#[test]
fn lines() {
    check(b"PING\r\n", &[b"PING"]);
    check(b"PING\n", &[b"PING"]);
    check(b" set key  \"a \\x41\\n\" 'b'\r\n", &[b"set", b"key", b"a A\n", b"b"]);
    check(b"$3\r\n", &[b"$3"]);
    assert_eq!(parse(b"\r\n", CLIENT), Ok(Parsed::Empty { consumed: 2 }));
    assert_eq!(parse(b"\nPING", CLIENT), Ok(Parsed::Empty { consumed: 1 }));
    assert_eq!(parse(b"  \r\n", CLIENT), Ok(Parsed::Empty { consumed: 4 }));
    assert_eq!(parse(b"\0PING\r\n", CLIENT), Ok(Parsed::Incomplete { want: 1 }));
}

/// A request whose long arguments are taken out as soon as they are seen, wherever that is.
#[test]
fn long_arguments_may_be_taken_out() {
    let long = |seed: u8| vec![seed; APART_BYTES_MIN + usize::from(seed)];
    let (a, b) = (long(b'a'), long(b'b'));
    let few: Vec<&[u8]> = vec![b"MSET", b"k", &a, b"l", b"short", b"m", &b];
    // More than are parsed again each time.
    let many: Vec<&[u8]> =
        few.iter().copied().chain([&b"x"[..]; 50]).chain([&a[..], b"end"]).collect();
    for expected in [few, many] {
        let mut request = format!("*{}\r\n", expected.len()).into_bytes();
        for arg in &expected {
            request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            request.extend_from_slice(arg);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
        for piece in [1000, 20_000] {
            check_taken_out(&request, piece, &expected);
        }
    }
}

fn check_taken_out(request: &[u8], piece: usize, expected: &[&[u8]]) {
    let (mut parser, mut args, mut apart) = (Parser::new(), Vec::new(), Vec::new());
    let (mut buf, mut at) = (Vec::new(), 0);
    let consumed = loop {
        match parser.parse(&mut buf, &mut args, &CLIENT) {
            Ok(Parsed::Request { consumed, .. }) => break consumed,
            Ok(Parsed::Incomplete { .. }) => {}
            other => panic!("{other:?}"),
        }
        if let Some(unfinished) = parser.unfinished() {
            let arrived = buf.len() - unfinished.start;
            buf.truncate(unfinished.start);
            let start = at - arrived;
            at = start + unfinished.len;
            apart.push(&request[start..at]);
            parser.take_out();
            continue;
        }
        let end = request.len().min(at + piece);
        buf.extend_from_slice(&request[at..end]);
        at = end;
    };
    assert_eq!(apart.len(), expected.iter().filter(|it| APART_BYTES_MIN <= it.len()).count());
    let found = args.iter().map(|arg| match arg.apart_index() {
        Some(index) => apart[index],
        None => arg.of(&buf),
    });
    assert!(found.eq(expected.iter().copied()));
    args.clear();
    buf.drain(..consumed);
    buf.extend_from_slice(&request[at..]);
    let parsed = parser.parse(&mut buf, &mut args, &CLIENT);
    assert!(matches!(parsed, Ok(Parsed::Request { arg_count: 1, .. })), "{parsed:?}");
}

#[test]
fn nothing_to_execute() {
    assert_eq!(parse(b"*0\r\n", CLIENT), Ok(Parsed::Empty { consumed: 4 }));
    assert_eq!(parse(b"*-1\r\nPING", CLIENT), Ok(Parsed::Empty { consumed: 5 }));
    assert_eq!(parse(b"*-10\r\n", STRANGER), Ok(Parsed::Empty { consumed: 6 }));
}

#[test]
fn refusals() {
    let too_long = |start: &[u8]| [start, &vec![b'1'; LINE_BYTES_MAX]].concat();
    check_refused(&too_long(b"x"), CLIENT, ProtocolError::BigInline);
    check_refused(&too_long(b"\0"), CLIENT, ProtocolError::BigInline);
    check_refused(&too_long(b"*"), CLIENT, ProtocolError::BigMultibulkCount);
    check_refused(&too_long(b"*1\r\n$"), CLIENT, ProtocolError::BigBulkCount);
    for count in ["", "x", "+1", "01", "1 ", "2147483648", "99999999999999999999", "1\n$4"] {
        let request = format!("*{count}\r\n");
        check_refused(request.as_bytes(), CLIENT, ProtocolError::MultibulkLength);
    }
    for len in ["", "x", "-1", "+1", "01", "536870913", "99999999999999999999"] {
        let request = format!("*1\r\n${len}\r\n");
        check_refused(request.as_bytes(), CLIENT, ProtocolError::BulkLength);
    }
    check_refused(b"*11\r\n", STRANGER, ProtocolError::UnauthenticatedMultibulkLength);
    check_refused(b"*1\r\n$16385\r\n", STRANGER, ProtocolError::UnauthenticatedBulkLength);
    check_refused(b"*1\r\nPING\r\n", CLIENT, ProtocolError::ExpectedDollar(b'P'));
    check_refused(b"*1\rx", CLIENT, ProtocolError::LineEnd);
    check_refused(b"*1\r\n$1\rx", CLIENT, ProtocolError::LineEnd);
    check_refused(b"*1\r\n$1\r\nxyz", CLIENT, ProtocolError::LineEnd);
    check_refused(b"set \"a\r\n", CLIENT, ProtocolError::UnbalancedQuotes);
}

#[test]
fn what_others_may_send() {
    for (limits, request) in [
        (STRANGER, &b"*10\r\n$16384\r\n"[..]),
        (CLIENT, b"*2147483647\r\n$536870912\r\n"),
        (PRIMARY, b"*1\r\n$536870913\r\n"),
        (PRIMARY, b"*1\r\n$9223372036854775807\r\n"),
    ] {
        assert!(matches!(parse(request, limits), Ok(Parsed::Incomplete { .. })), "{limits:?}");
    }
    let small = Limits { bulk_bytes_max: 3, ..CLIENT };
    check_refused(b"*1\r\n$4\r\n", small, ProtocolError::BulkLength);
}

#[test]
fn a_claim_alone_reserves_little() {
    let claim = b"*1\r\n$500000000\r\n";
    assert_eq!(parse(claim, CLIENT), Ok(Parsed::Incomplete { want: WANT_TRUSTED }));
    let arrived = [&claim[..], &vec![b'x'; 2_000_000]].concat();
    assert_eq!(parse(&arrived, CLIENT), Ok(Parsed::Incomplete { want: arrived.len() }));
    let nearly = &[&b"*1\r\n$9\r\n"[..], b"1234567"].concat();
    assert_eq!(parse(nearly, CLIENT), Ok(Parsed::Incomplete { want: 4 }));
}

#[test]
fn texts_are_contract() {
    let text = |error: ProtocolError| error.to_string();
    assert_eq!(text(ProtocolError::ExpectedDollar(b'x')), "Protocol error: expected '$', got 'x'");
    assert_eq!(text(ProtocolError::BigInline), "Protocol error: too big inline request");
    assert_eq!(text(ProtocolError::BulkLength), "Protocol error: invalid bulk length");
}

/// Each step of a long request that arrives in pieces must cost no more than the piece: with anything else
/// this test takes hours.
#[test]
fn a_long_request_in_small_pieces_is_parsed_once() {
    const ARG_COUNT: usize = 1_000_000;
    let whole =
        [format!("*{ARG_COUNT}\r\n").as_bytes(), &b"$1\r\nx\r\n".repeat(ARG_COUNT)].concat();
    let (mut parser, mut args, mut buf) = (Parser::new(), Vec::new(), Vec::new());
    for (index, piece) in whole.chunks(64).enumerate() {
        buf.extend_from_slice(piece);
        let parsed = parser.parse(&mut buf, &mut args, &CLIENT).unwrap();
        let is_last = (index + 1) * 64 >= whole.len();
        assert_eq!(is_last, matches!(parsed, Parsed::Request { arg_count: ARG_COUNT, .. }));
        assert!(is_last || args.is_empty());
    }
    assert_eq!(args.len(), ARG_COUNT);
    assert!(args.iter().all(|arg| arg.of(&buf) == b"x"));
}

fn any_request() -> impl Strategy<Value = Vec<u8>> {
    let array = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..50).prop_map(
        |args: Vec<Vec<u8>>| {
            let mut request = format!("*{}\r\n", args.len()).into_bytes();
            for arg in args {
                request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
                request.extend_from_slice(&arg);
                request.extend_from_slice(b"\r\n");
            }
            request
        },
    );
    prop_oneof![array, "[ a-z0-9\"'\\\\]{0,20}\r?\n".prop_map(String::into_bytes)]
}

proptest! {
    #[test]
    fn any_split_parses_as_the_whole(
        requests in prop::collection::vec(any_request(), 1..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = requests.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(parse_all(&bytes, &cuts, &CLIENT), parse_all(&bytes, &[], &CLIENT));
        let byte_by_byte: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(parse_all(&bytes, &byte_by_byte, &CLIENT), parse_all(&bytes, &[], &CLIENT));
    }

    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        check_request(&bytes);
    }

    #[test]
    fn near_requests_never_panic(text in "([*$][-0-9]{0,3}(\r\n|\r|\n)|[a-z\"'\\\\ ]{0,3}|\r\n){0,20}") {
        check_request(text.as_bytes());
    }
}

/// What is read a word at a time is what is read byte by byte, and what is not left to the careful way is.
#[test]
fn short_lines_are_read_as_any_other() {
    let carefully = |line: &[u8]| read_length(line, &CLIENT).ok().flatten();
    for number in (0..110).chain([999, 1000, 1234, 9999, 10_000, 65_536]) {
        let line = format!("${number}\r\nabcdefgh").into_bytes();
        let found = small_length(&line, b'$');
        assert_eq!(found, (number < 10_000).then(|| carefully(&line).expect("a length")));
        for at in 0..8 {
            for byte in 0..=u8::MAX {
                let mut changed = line.clone();
                changed[at] = byte;
                if let Some(found) = small_length(&changed, b'$') {
                    assert_eq!(Some(found), carefully(&changed), "{}", changed.escape_ascii());
                }
            }
        }
    }
}

#[test]
fn what_repeats_the_request_before() {
    let long = "x".repeat(20_000);
    let requests: &[(&[&str], bool)] = &[
        (&["GET", "a key"], false),
        (&["GET", "some longer key"], true),
        (&["GET", "a", "b"], false),
        (&["get", "a", "b"], false),
        (&["get", "a", &long], false),
        (&["get", "a", "b"], false),
        (&["get", "c", "d"], true),
        (&["GETRANGE", "a", "1", "100"], false),
        (&["GETRANGE", "a", "20", "3000"], true),
        (&["A_NAME_THAT_IS_LONG", "a"], false),
        (&["A_NAME_THAT_IS_LONG", "a"], false),
        (&["", "and no more than this"], false),
        (&["", "and no more than this"], true),
    ];
    let mut parser = Parser::new();
    for (words, repeats) in requests {
        let bulk = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
        let mut buf = format!("*{}\r\n", words.len()).into_bytes();
        buf.extend(words.iter().flat_map(|word| bulk(word).into_bytes()));
        let mut args = Vec::new();
        let expected =
            Parsed::Request { consumed: buf.len(), arg_count: words.len(), repeats: *repeats };
        assert_eq!(parser.parse(&mut buf, &mut args, &CLIENT), Ok(expected), "{words:?}");
        assert!(args.iter().zip(*words).all(|(arg, word)| arg.of(&buf) == word.as_bytes()));
    }
}
