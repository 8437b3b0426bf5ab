//! How often each error was replied.

use parking_lot::Mutex;
use rubine_base::hash::HashMap;
use rubine_commands::CommandError;

/// Error codes beyond this many are not counted apart: a client could make them up.
const ERROR_CODES_MAX: usize = 128;

/// How often each error code was replied.
#[derive(Debug, Default)]
pub(crate) struct ErrorStats {
    counts: Mutex<HashMap<String, u64>>,
}

impl ErrorStats {
    /// Counts an error reply by its code.
    #[cold]
    pub(crate) fn count(&self, error: &CommandError) {
        let text = error.to_string();
        let code = text.split(' ').next().unwrap_or("ERR");
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(code) {
            *count += 1;
        } else if counts.len() < ERROR_CODES_MAX {
            counts.insert(code.to_owned(), 1);
        }
    }

    /// The counts, by code.
    pub(crate) fn list(&self) -> Vec<(String, u64)> {
        let mut counts: Vec<_> =
            self.counts.lock().iter().map(|(code, count)| (code.clone(), *count)).collect();
        counts.sort();
        counts
    }

    pub(crate) fn clear(&self) {
        self.counts.lock().clear();
    }
}
