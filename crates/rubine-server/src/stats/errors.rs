//! How often each error was replied. Each worker counts its own; whoever asks adds them up.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use parking_lot::Mutex;
use rubine_commands::CommandError;

/// Where there are so many error codes already, new ones of scripts are not counted apart: a client could make them up.
const ERROR_CODES_MAX: usize = 128;
/// What they are counted under.
const OVERFLOW: &str = "ERRORSTATS_OVERFLOW";
/// Bytes of a code that are told apart.
const CODE_BYTES_MAX: usize = 31;

/// How often each error code was replied by one worker, which alone waits for the lock as a rule.
#[derive(Debug, Default)]
pub(crate) struct ErrorStats {
    counts: Mutex<Vec<(Code, u64)>>,
}

/// The first word of an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Code {
    bytes: [u8; CODE_BYTES_MAX],
    len: u8,
}

impl Code {
    fn of(error: &CommandError) -> Self {
        let mut code = Self::default();
        // It ends by refusing what follows the first word.
        let _ = write!(code, "{error}");
        code
    }

    fn of_text(text: &str) -> Self {
        let mut code = Self::default();
        // As above.
        let _ = code.write_str(text);
        code
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes[..usize::from(self.len)]).into_owned()
    }
}

impl Write for Code {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // What scripts make up may have anything in it, and INFO has a line for each.
        let word = text.split([' ', '\r', '\n']).next().unwrap_or_default();
        let start = usize::from(self.len);
        let taken = word.len().min(CODE_BYTES_MAX - start);
        self.bytes[start..start + taken].copy_from_slice(&word.as_bytes()[..taken]);
        self.len += taken as u8;
        let is_whole = word.len() < text.len() || taken < word.len();
        if is_whole { Err(fmt::Error) } else { Ok(()) }
    }
}

impl ErrorStats {
    /// Counts an error reply by its code. There are not many of our own.
    #[cold]
    pub(crate) fn count(&self, error: &CommandError) {
        self.add(Code::of(error), usize::MAX);
    }

    /// Counts an error that a script has made up.
    #[cold]
    pub(crate) fn count_made_up(&self, error: &CommandError) {
        self.add(Code::of(error), ERROR_CODES_MAX);
    }

    fn add(&self, code: Code, codes_max: usize) {
        let mut counts = self.counts.lock();
        let is_known = |counts: &[(Code, u64)], code| counts.iter().any(|(it, _)| *it == code);
        let is_too_many = codes_max <= counts.len() && !is_known(&counts, code);
        let code = if is_too_many { Code::of_text(OVERFLOW) } else { code };
        match counts.iter_mut().find(|(it, _)| *it == code) {
            Some((_, count)) => *count += 1,
            None => counts.push((code, 1)),
        }
    }

    /// The counts of all workers, by code.
    pub(crate) fn list<'a>(workers: impl Iterator<Item = &'a Self>) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for worker in workers {
            for &(code, count) in worker.counts.lock().iter() {
                *sums.entry(code.text()).or_default() += count;
            }
        }
        sums
    }

    pub(crate) fn clear(&self) {
        self.counts.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scripts_make_up_is_bounded() {
        let stats = ErrorStats::default();
        for number in 0..ERROR_CODES_MAX + 10 {
            stats.count_made_up(&CommandError::Other(format!("{number} text").into()));
        }
        stats.count_made_up(&CommandError::text("7 text"));
        stats.count_made_up(&CommandError::text("8\r\nline:1"));
        stats.count(&CommandError::text("ERR ours"));
        let counts = ErrorStats::list(std::iter::once(&stats));
        assert_eq!(counts.get(OVERFLOW), Some(&10));
        assert_eq!(counts.get("7"), Some(&2));
        assert_eq!(counts.get("8"), Some(&2));
        assert_eq!(counts.get("ERR"), Some(&1));
        assert_eq!(counts.len(), ERROR_CODES_MAX + 2);
    }

    #[test]
    fn errors_are_counted_by_their_first_words() {
        let workers = [ErrorStats::default(), ErrorStats::default()];
        let long = "X".repeat(40);
        let texts = ["ERR one", "ERR", "WRONGTYPE a b", "ERR two", &long, ""];
        for (index, text) in texts.iter().enumerate() {
            workers[index % 2].count(&CommandError::Other((*text).to_owned().into()));
        }
        workers[0].count(&CommandError::Arity("get".to_owned()));
        let counts: Vec<_> = ErrorStats::list(workers.iter()).into_iter().collect();
        let expected = [("", 1), ("ERR", 4), ("WRONGTYPE", 1), (&long[..CODE_BYTES_MAX], 1)];
        assert_eq!(counts, expected.map(|(code, count)| (code.to_owned(), count)));
    }
}
