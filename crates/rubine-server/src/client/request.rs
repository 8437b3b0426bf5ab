//! Requests that outlive the buffer they were read into, as they came: with their framing, which counts as theirs.

use rubine_commands::{Args, ArgsApart};
use rubine_resp::command::{INTO_MEMORY, write_argument, write_header};
use rubine_resp::parser::ArgRange;

/// Arguments that outlive the query buffer.
#[derive(Clone, Debug)]
pub(crate) struct OwnedArgs {
    /// The request.
    bytes: Box<[u8]>,
    ranges: Box<[ArgRange]>,
    /// Those that lay apart from their request, and go on to do so.
    apart: ArgsApart,
}

impl OwnedArgs {
    pub(crate) fn of(args: Args<'_>) -> Self {
        let (bytes, ranges) = args.parts();
        let apart = args.apart().cloned().unwrap_or_default();
        Self { bytes: bytes.into(), ranges: ranges.into(), apart }
    }

    /// As [`Self::of`], with all arguments in one buffer, for whoever looks into it.
    pub(crate) fn together(args: Args<'_>) -> Self {
        let (bytes, ranges) = encode(args.from(0));
        Self { bytes: bytes.into(), ranges: ranges.into(), apart: ArgsApart::default() }
    }

    /// The bytes of all arguments.
    pub(crate) fn byte_count(&self) -> usize {
        self.ranges.iter().map(|range| range.len).sum()
    }

    pub(crate) fn as_args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.ranges).with_apart(&self.apart)
    }
}

/// A request of these arguments, and where they lie in it.
pub(crate) fn encode<'a>(
    arguments: impl ExactSizeIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Vec<ArgRange>) {
    const LINE_END: usize = 2;
    let (mut bytes, mut ranges) = (Vec::new(), Vec::with_capacity(arguments.len()));
    write_header(b'*', arguments.len() as u64, &mut bytes).expect(INTO_MEMORY);
    for argument in arguments {
        write_argument(argument, &mut bytes).expect(INTO_MEMORY);
        let start = bytes.len() - LINE_END - argument.len();
        ranges.push(ArgRange { start, len: argument.len() });
    }
    (bytes, ranges)
}

#[cfg(test)]
mod tests {
    use rubine_base::SharedBytes;

    use super::*;

    /// HOTKEYS and the log of large requests count the bytes of a request that had to wait as those of any other.
    #[test]
    fn a_request_is_kept_as_it_came() {
        let sent = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$40000\r\n\r\n";
        let ranges = [
            ArgRange { start: 8, len: 3 },
            ArgRange { start: 17, len: 1 },
            ArgRange::apart(0, 40_000),
        ];
        let apart = ArgsApart(vec![SharedBytes::new(vec![b'x'; 40_000])]);
        let args = Args::new(sent, &ranges).with_apart(&apart);
        for kept in [OwnedArgs::of(args), OwnedArgs::together(args)] {
            assert_eq!(kept.as_args().request_bytes(), sent.len() + 40_000);
            assert!(kept.as_args().from(0).eq(args.from(0)));
            assert_eq!(kept.byte_count(), 40_004);
        }
        assert!(OwnedArgs::of(args).as_args().shared(2).is_some(), "it is not copied");
        assert!(OwnedArgs::together(args).as_args().are_together());
    }
}
