//! Writes commands as arrays of bulk strings: for the log, for dumps as commands and for other servers. Never decides what
//! a command is; [`crate::parser`] reads it back.

use std::io::{self, Write};

/// Why writing into memory is expected to succeed.
pub const INTO_MEMORY: &str = "memory takes what is written";

/// The most that an argument has around it: `$`, the length and two ends of line.
pub const FRAME_BYTES_MAX: usize = 1 + 20 + 2 + 2;

/// Writes one command.
pub fn write_command(arguments: &[&[u8]], out: &mut impl Write) -> io::Result<()> {
    write_header(b'*', arguments.len() as u64, out)?;
    arguments.iter().try_for_each(|it| write_argument(it, out))
}

/// How long a command of these arguments is when it is written.
pub fn command_len<'a>(arguments: impl Iterator<Item = &'a [u8]>) -> usize {
    let header = |number: usize| 1 + number.checked_ilog10().unwrap_or(0) as usize + 1 + 2;
    let (count, bytes) = arguments
        .fold((0, 0), |(count, bytes), it| (count + 1, bytes + header(it.len()) + it.len() + 2));
    header(count) + bytes
}

/// Writes one argument of a command whose count was announced.
#[inline]
pub fn write_argument(argument: &[u8], out: &mut impl Write) -> io::Result<()> {
    write_header(b'$', argument.len() as u64, out)?;
    out.write_all(argument)?;
    out.write_all(b"\r\n")
}

/// Writes `kind`, the number and the end of the line: what announces a count or a length. Nearly every number has one or
/// two digits, so those are stored as one small array.
#[inline]
pub fn write_header(kind: u8, number: u64, out: &mut impl Write) -> io::Result<()> {
    let digit = |value: u64| b'0' + value as u8;
    match number {
        0..10 => out.write_all(&[kind, digit(number), b'\r', b'\n']),
        10..100 => out.write_all(&[kind, digit(number / 10), digit(number % 10), b'\r', b'\n']),
        _ => {
            out.write_all(&[kind])?;
            out.write_all(itoa::Buffer::new().format(number).as_bytes())?;
            out.write_all(b"\r\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::{Limits, Parsed, Parser, Sender};

    #[test]
    fn what_is_written_is_read_back() {
        let limits = Limits { bulk_bytes_max: i64::MAX, sender: Sender::Primary };
        for len in [0, 1, 9, 10, 99, 100, 12_345] {
            let (mut bytes, argument) = (Vec::new(), vec![b'\n'; len]);
            let words: Vec<&[u8]> = vec![&argument; len.clamp(1, 120)];
            write_command(&words, &mut bytes).expect(INTO_MEMORY);
            assert_eq!(command_len(words.iter().copied()), bytes.len());
            let mut args = Vec::new();
            let parsed = Parser::new().parse_command(&bytes, &mut args, &limits);
            let (consumed, arg_count) = (bytes.len(), words.len());
            assert_eq!(parsed, Ok(Parsed::Request { consumed, arg_count, repeats: false }));
            assert!(args.iter().all(|it| it.of(&bytes) == argument));
        }
    }
}
