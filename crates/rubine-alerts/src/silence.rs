//! Silences: what nobody is told for a while. They end by themselves.

use crate::labels::{Labels, Matcher};

/// What is not told, and until when.
#[derive(Clone, Debug)]
pub struct Silence {
    pub id: u64,
    /// All of them must be met.
    pub matchers: Vec<Matcher>,
    /// Unix milliseconds.
    pub starts_at: i64,
    pub ends_at: i64,
    /// Who asked for it, and why.
    pub author: String,
    pub comment: String,
}

impl Silence {
    /// Whether an alert with these labels is not told.
    pub fn covers(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|it| it.meets_labels(labels))
    }
}

/// The silences of a server.
#[derive(Debug, Default)]
pub(crate) struct Silences {
    all: Vec<Silence>,
    last_id: u64,
}

impl Silences {
    /// No more than these at a time.
    pub(crate) const MAX: usize = 100;

    pub(crate) fn add(&mut self, mut silence: Silence) -> Option<u64> {
        if Self::MAX <= self.all.len() {
            return None;
        }
        self.last_id += 1;
        silence.id = self.last_id;
        self.all.push(silence);
        Some(self.last_id)
    }

    /// Ends a silence. Returns whether there was one.
    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let before = self.all.len();
        self.all.retain(|it| it.id != id);
        self.all.len() < before
    }

    /// Forgets those that have ended.
    pub(crate) fn expire(&mut self, unix_ms: i64) {
        self.all.retain(|it| unix_ms < it.ends_at);
    }

    pub(crate) fn covers(&self, labels: &Labels) -> bool {
        self.all.iter().any(|it| it.covers(labels))
    }

    pub(crate) fn all(&self) -> &[Silence] {
        &self.all
    }
}
