//! Requests that outlive the buffer they were read into.

use rubine_commands::Args;
use rubine_resp::parser::ArgRange;

/// Arguments that outlive the query buffer.
#[derive(Clone, Debug)]
pub(crate) struct OwnedArgs {
    bytes: Box<[u8]>,
    ranges: Box<[ArgRange]>,
}

impl OwnedArgs {
    pub(crate) fn of(args: Args<'_>) -> Self {
        let mut bytes = Vec::with_capacity(args.byte_count());
        let mut ranges = Vec::with_capacity(args.len());
        for argument in args.from(0) {
            ranges.push(ArgRange { start: bytes.len(), len: argument.len() });
            bytes.extend_from_slice(argument);
        }
        Self { bytes: bytes.into(), ranges: ranges.into() }
    }

    /// The bytes of all arguments.
    pub(crate) fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn as_args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.ranges)
    }
}
