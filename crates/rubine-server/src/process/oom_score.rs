//! What the kernel is told of how expendable this process is when memory is out. Touches nothing unless it is asked to.

use std::fs;

use parking_lot::Mutex;

use rubine_config::{Config, OomScoreAdj};

const FILE: &str = "/proc/self/oom_score_adj";

/// The kernel takes no other values.
const SCORE_MAX: i32 = 1000;

/// The score before it was first changed; `None` while it is as it was.
#[derive(Debug, Default)]
pub(crate) struct OomScore {
    before: Mutex<Option<i32>>,
}

impl OomScore {
    /// Brings the score to what `config` says, or back to what it was. Tells the log why when that fails; then it is as
    /// it was.
    pub(crate) fn apply(&self, config: &Config) -> Result<(), Unchanged> {
        let mut before = self.before.lock();
        // There is no child process, for which the third value is.
        let [as_primary, as_replica, _] = config.oom_score_adj_values;
        let wanted = if config.replicaof.is_some() { as_replica } else { as_primary };
        let base = match (*before, config.oom_score_adj) {
            (None, OomScoreAdj::No) => return Ok(()),
            (Some(base), _) => base,
            (None, _) => read()?,
        };
        let score = match config.oom_score_adj {
            OomScoreAdj::No => base,
            OomScoreAdj::Absolute => wanted,
            OomScoreAdj::Relative => wanted + base,
        };
        write(score.clamp(-SCORE_MAX, SCORE_MAX))?;
        *before = (config.oom_score_adj != OomScoreAdj::No).then_some(base);
        Ok(())
    }
}

/// The score could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unchanged;

/// Tells of values that may be refused later: without privileges, a process can only make itself more expendable.
pub(crate) fn check(config: &Config) {
    if !config.oom_score_adj_values.is_sorted() {
        tracing::warn!(
            "The oom-score-adj-values configuration may not work for non-privileged processes! \
             Please consult the documentation."
        );
    }
}

fn read() -> Result<i32, Unchanged> {
    let text = fs::read_to_string(FILE).map_err(|error| told("read", &error))?;
    Ok(text.trim().parse().unwrap_or(0))
}

fn write(score: i32) -> Result<(), Unchanged> {
    fs::write(FILE, format!("{score}\n")).map_err(|error| told("write", &error))
}

fn told(what: &str, error: &std::io::Error) -> Unchanged {
    tracing::warn!("Unable to {what} oom_score_adj: {error}");
    Unchanged
}
