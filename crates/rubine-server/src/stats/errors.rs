//! How often each error was replied. Each worker counts its own; whoever asks adds them up.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use parking_lot::Mutex;
use rubine_commands::CommandError;

/// Error codes beyond this many are not counted apart: a client could make them up.
const ERROR_CODES_MAX: usize = 128;
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

    fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes[..usize::from(self.len)]).into_owned()
    }
}

impl Write for Code {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let word = text.split(' ').next().unwrap_or_default();
        let start = usize::from(self.len);
        let taken = word.len().min(CODE_BYTES_MAX - start);
        self.bytes[start..start + taken].copy_from_slice(&word.as_bytes()[..taken]);
        self.len += taken as u8;
        let is_whole = word.len() < text.len() || taken < word.len();
        if is_whole { Err(fmt::Error) } else { Ok(()) }
    }
}

impl ErrorStats {
    /// Counts an error reply by its code.
    #[cold]
    pub(crate) fn count(&self, error: &CommandError) {
        let code = Code::of(error);
        let mut counts = self.counts.lock();
        if let Some((_, count)) = counts.iter_mut().find(|(it, _)| *it == code) {
            *count += 1;
        } else if counts.len() < ERROR_CODES_MAX {
            counts.push((code, 1));
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
