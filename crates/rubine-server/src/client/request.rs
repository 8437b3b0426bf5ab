//! Requests that outlive the buffer they were read into.

use rubine_base::SharedBytes;
use rubine_commands::{Args, ArgsApart};
use rubine_resp::parser::ArgRange;

/// Arguments that outlive the query buffer.
#[derive(Clone, Debug)]
pub(crate) struct OwnedArgs {
    bytes: Box<[u8]>,
    ranges: Box<[ArgRange]>,
    /// Those that lay apart from their request, and go on to do so.
    apart: ArgsApart,
}

impl OwnedArgs {
    pub(crate) fn of(args: Args<'_>) -> Self {
        let is_within = |&index: &usize| args.shared(index).is_none();
        let within = (0..args.len()).filter(is_within).map(|index| args.at(index).len());
        let (mut bytes, mut apart) = (Vec::with_capacity(within.sum()), Vec::new());
        let mut ranges = Vec::with_capacity(args.len());
        for index in 0..args.len() {
            let argument = args.at(index);
            if let Some(shared) = args.shared(index) {
                ranges.push(ArgRange::apart(apart.len(), argument.len()));
                apart.push(SharedBytes::clone(shared));
            } else {
                ranges.push(ArgRange { start: bytes.len(), len: argument.len() });
                bytes.extend_from_slice(argument);
            }
        }
        Self { bytes: bytes.into(), ranges: ranges.into(), apart: ArgsApart(apart) }
    }

    /// As [`Self::of`], with all arguments in one buffer, for whoever looks into it.
    pub(crate) fn together(args: Args<'_>) -> Self {
        let (mut bytes, mut ranges) = (Vec::new(), Vec::with_capacity(args.len()));
        for argument in args.from(0) {
            ranges.push(ArgRange { start: bytes.len(), len: argument.len() });
            bytes.extend_from_slice(argument);
        }
        Self { bytes: bytes.into(), ranges: ranges.into(), apart: ArgsApart(Vec::new()) }
    }

    /// The bytes of all arguments.
    pub(crate) fn byte_count(&self) -> usize {
        self.ranges.iter().map(|range| range.len).sum()
    }

    pub(crate) fn as_args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.ranges).with_apart(&self.apart)
    }
}
