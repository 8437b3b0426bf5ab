//! Who this server says it is: the versions that it tells, and the names of its runs.

use rubine_base::random::{Random, seed_from_os};
use rubine_journal::HistoryId;

/// The version of Redis that clients take this server for: they choose by it what they may use.
pub(crate) const REDIS_VERSION: &str = "8.0.6";

/// The version of Valkey that scripts are told.
pub(crate) const VALKEY_VERSION: &str = "9.1.2";

/// The name and version line of `--version`. Tools take the major version of Redis from the `v=`.
pub(crate) fn version_line() -> String {
    format!(
        "Rubine server v={REDIS_VERSION} rubine={} sha=00000000:0 malloc=jemalloc bits=64 build=release",
        env!("CARGO_PKG_VERSION")
    )
}

/// 40 hexadecimal digits.
pub(crate) fn new_run_id() -> String {
    new_history_id().to_string()
}

/// A name that no other history has.
pub(crate) fn new_history_id() -> HistoryId {
    let mut random = Random::with_seed(seed_from_os());
    let mut bytes = [0; 20];
    random.fill(&mut bytes);
    HistoryId::from_random(bytes)
}
