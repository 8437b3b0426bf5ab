//! What goes on in the background for somebody: each job has a connection of its own, logged in as who began it, and says how
//! far it is. Their number is bounded, and so is what they remember.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

/// Jobs that are remembered, and those of them that may run.
const JOBS_MAX: usize = 32;
const RUNNING_MAX: usize = 4;

/// How far a job is.
#[derive(Debug, Default)]
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) user: String,
    /// What it does, for people.
    pub(crate) title: String,
    pub(crate) looked_at: AtomicU64,
    /// Keys there were when it began.
    pub(crate) all: AtomicU64,
    pub(crate) found: AtomicU64,
    pub(crate) done: AtomicU64,
    pub(crate) is_cancelled: AtomicBool,
    pub(crate) state: Mutex<State>,
}

/// How it is, and what has come of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) is_over: bool,
    pub(crate) fault: Option<String>,
    /// Names of keys, for a look.
    pub(crate) examples: Vec<Vec<u8>>,
    pub(crate) sizes: Option<Sizes>,
}

/// What keys take, by prefix, and the largest of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sizes {
    /// Prefix, keys and bytes of the sample.
    pub(crate) prefixes: Vec<(Vec<u8>, u64, u64)>,
    /// Type and bytes of the largest keys.
    pub(crate) largest: Vec<(Vec<u8>, String, u64)>,
    pub(crate) bytes: u64,
}

/// All jobs, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    next_id: AtomicU64,
    list: Mutex<Vec<Arc<Job>>>,
}

impl Jobs {
    /// A new job, if there is room for one that runs.
    pub(crate) fn begin(&self, user: String, title: String) -> Option<Arc<Job>> {
        let mut list = self.list.lock();
        if RUNNING_MAX <= list.iter().filter(|it| !it.is_over()).count() {
            return None;
        }
        if JOBS_MAX <= list.len()
            && let Some(oldest) = list.iter().position(|it| it.is_over())
        {
            list.remove(oldest);
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let job = Arc::new(Job { id, user, title, ..Job::default() });
        list.push(Arc::clone(&job));
        Some(job)
    }

    /// The jobs of a user, the newest first.
    pub(crate) fn of_user(&self, user: &str) -> Vec<Arc<Job>> {
        let list = self.list.lock();
        list.iter().rev().filter(|it| it.user == user).cloned().collect()
    }

    pub(crate) fn find(&self, id: u64, user: &str) -> Option<Arc<Job>> {
        self.list.lock().iter().find(|it| it.id == id && it.user == user).cloned()
    }
}

impl Job {
    pub(crate) fn is_over(&self) -> bool {
        self.state.lock().is_over
    }

    pub(crate) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn goes_on(&self) -> bool {
        !self.is_cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn end(&self, fault: Option<String>) {
        let mut state = self.state.lock();
        state.is_over = true;
        state.fault = fault;
    }

    /// How much of what it has to do is done, in percent.
    pub(crate) fn percent(&self) -> f64 {
        let all = self.all.load(Ordering::Relaxed).max(1);
        let looked_at = self.looked_at.load(Ordering::Relaxed);
        if self.is_over() { 100.0 } else { (looked_at as f64 * 100.0 / all as f64).min(99.9) }
    }
}
