//! Time marks of the log: lines that say in which second what follows was written. Never reads a clock.

use std::io::Write;

/// How a mark begins.
pub(crate) const PREFIX: &[u8] = b"#TS:";

/// Longest line of an annotation, its end included. A longer one is damage.
pub(crate) const LINE_BYTES_MAX: usize = 1024;

/// Decides where marks are due.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    last: u64,
}

impl Marks {
    /// Puts the mark that is due before what was written in `second` into `out`, if one is.
    pub fn write_due(&mut self, second: u64, out: &mut Vec<u8>) {
        if second <= self.last {
            return;
        }
        self.last = second;
        out.extend_from_slice(PREFIX);
        write!(out, "{second}\r\n").expect("memory takes what is written");
    }
}

/// The second of a mark, from its line without the end.
pub(crate) fn parse(line: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(line.strip_prefix(PREFIX)?).ok()?;
    let is_number = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stands_where_the_second_changes() {
        let mut marks = Marks::default();
        let mut out = Vec::new();
        for second in [0, 7, 7, 6, 8] {
            marks.write_due(second, &mut out);
            out.push(b'|');
        }
        assert_eq!(out, b"|#TS:7\r\n|||#TS:8\r\n|");
    }

    #[test]
    fn marks_are_read_back() {
        assert_eq!(parse(b"#TS:1628217470"), Some(1_628_217_470));
        for line in [&b"#TS:"[..], b"#TS:-1", b"#TS:1x", b"#TS:99999999999999999999", b"# comment"]
        {
            assert_eq!(parse(line), None);
        }
    }
}
