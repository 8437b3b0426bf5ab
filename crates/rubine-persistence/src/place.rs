//! Where in a history the data of a log is: a line that says so, which counts where nothing follows it. Whoever does not know it
//! passes over it, as over any line that begins with `#`.
//!
//! ```text
//! #REPL:0123456789012345678901234567890123456789:1234:0
//!       history                                  offset:selected database
//! ```

use std::io::Write;

/// How such a line begins.
const PREFIX: &[u8] = b"#REPL:";

/// A place in a history, as its master and replicas name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPlace {
    pub history: Vec<u8>,
    pub offset: u64,
    pub database: u32,
}

impl StreamPlace {
    /// The line.
    pub fn line(&self) -> Vec<u8> {
        let mut line = PREFIX.to_vec();
        line.extend_from_slice(&self.history);
        write!(line, ":{}:{}\r\n", self.offset, self.database)
            .expect("memory takes what is written");
        line
    }

    /// Reads a line without its end; `None` if it says something else.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let mut parts = line.strip_prefix(PREFIX)?.split(|it| *it == b':');
        let history = parts.next()?.to_vec();
        let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse().ok();
        let offset = number()?;
        let database = u32::try_from(number()?).ok()?;
        parts.next().is_none().then_some(Self { history, offset, database })
    }
}

#[cfg(test)]
mod tests {
    use super::StreamPlace;

    #[test]
    fn a_place_reads_back() {
        let place = StreamPlace { history: vec![b'a'; 40], offset: u64::MAX, database: 15 };
        let line = place.line();
        // A line of others is not longer than this.
        assert!(line.len() < 128);
        assert_eq!(StreamPlace::parse(line.trim_ascii_end()), Some(place));
        for line in [&b"#REPL:"[..], b"#REPL:x:1", b"#REPL:x:-1:0", b"#REPL:x:1:0:0", b"#TS:1"] {
            assert_eq!(StreamPlace::parse(line), None);
        }
    }
}
