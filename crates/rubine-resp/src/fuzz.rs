//! What the fuzzer and the property tests call: plain functions that panic if a promise of this crate is broken.
//! Never called by the server.

use crate::parser::{Limits, Parsed, Parser, ProtocolError, Sender};

/// Parses arbitrary bytes as requests. The first bytes of `data` choose how the rest is cut into reads.
pub fn fuzz_request(data: &[u8]) {
    let Some((&[sender, piece], bytes)) = data.split_first_chunk() else { return };
    let sender = match sender % 3 {
        0 => Sender::Stranger,
        1 => Sender::Client,
        _ => Sender::Primary,
    };
    let limits = Limits { bulk_bytes_max: 1024 * 1024, sender };
    let cuts: Vec<usize> = (0..bytes.len()).step_by(usize::from(piece).max(1)).collect();
    assert_eq!(parse_all(bytes, &cuts, &limits), parse_all(bytes, &[], &limits));
    check_command(bytes, &limits);
}

/// Who takes only arrays reads them as who takes anything, and takes nothing else.
fn check_command(bytes: &[u8], limits: &Limits) {
    let (mut args, mut expected_args) = (Vec::new(), Vec::new());
    let parsed = Parser::new().parse_command(bytes, &mut args, limits);
    if bytes.first().is_none_or(|first| *first == b'*') {
        let expected = Parser::new().parse(&mut bytes.to_vec(), &mut expected_args, limits);
        assert_eq!((parsed, args), (expected, expected_args));
    } else {
        assert_eq!((parsed, args), (Err(ProtocolError::MultibulkLength), expected_args));
    }
}

/// Decodes arbitrary bytes as replies: a value that is found lies within the bytes.
pub fn fuzz_reply(data: &[u8]) {
    if let Ok(Some((_, consumed))) = crate::decode::decode(data) {
        assert!(0 < consumed && consumed <= data.len());
    }
}

/// All that arrives in one stream of requests: the requests up to an error or to the end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    requests: Vec<Vec<Vec<u8>>>,
    end: Result<(), ProtocolError>,
    bytes_consumed: usize,
}

/// Parses `bytes` as they would arrive if reads ended at each of `cuts`, which ascend.
pub(crate) fn parse_all(bytes: &[u8], cuts: &[usize], limits: &Limits) -> Stream {
    let (mut parser, mut args, mut buf) = (Parser::new(), Vec::new(), Vec::new());
    let mut stream = Stream { requests: Vec::new(), end: Ok(()), bytes_consumed: 0 };
    let mut arrived = 0;
    for &cut in cuts.iter().chain([&bytes.len()]) {
        buf.extend_from_slice(&bytes[arrived..cut]);
        arrived = cut;
        loop {
            args.clear();
            let consumed = match parser.parse(&mut buf, &mut args, limits) {
                Ok(Parsed::Request { consumed, arg_count, repeats }) => {
                    assert!(arg_count == args.len() && 0 < arg_count);
                    let before = stream.requests.last().map(|it| (it.len(), it[0].as_slice()));
                    assert!(!repeats || before == Some((arg_count, args[0].of(&buf))));
                    stream.requests.push(args.iter().map(|arg| arg.of(&buf).to_vec()).collect());
                    consumed
                }
                Ok(Parsed::Empty { consumed }) => consumed,
                Ok(Parsed::Incomplete { want }) => {
                    assert!(0 < want && args.is_empty());
                    break;
                }
                Err(error) => {
                    assert!(args.is_empty());
                    stream.end = Err(error);
                    return stream;
                }
            };
            assert!(0 < consumed && consumed <= buf.len());
            stream.bytes_consumed += consumed;
            buf.drain(..consumed);
        }
    }
    stream
}

/// The promises that hold for any bytes, under every limit.
#[cfg(test)]
pub(crate) fn check_request(bytes: &[u8]) {
    for sender in 0..3 {
        for piece in [1, 3, 255] {
            fuzz_request(&[&[sender, piece], bytes].concat());
        }
    }
    fuzz_reply(bytes);
}
