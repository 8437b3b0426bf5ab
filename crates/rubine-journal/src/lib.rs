//! The one ordered log of what changed. Every change is appended, as the command that reproduces it,
//! while its shard locks are held, so log order is a valid serial order; the byte offset is the
//! replication offset. Never knows what a command means, never does I/O, never reads a clock.
//!
//! A worker collects the effects of one unit (a command, a script, a MULTI block) in [`Effects`] and
//! appends them before it unlocks. A [`Reader`] (the AOF writer, a replica, a slot migration) takes
//! bytes out by reference at its own pace. [`Progress`] and [`Acknowledgements`] hold back replies
//! until the log has reached some place at some offset.

#![forbid(unsafe_code)]

mod audience;
mod effects;
mod history;
mod journal;
mod log;
mod progress;
mod reader;
pub mod replay;
mod sync;

pub use audience::{Audience, Side};
pub use effects::{CommandWriter, Effects, EffectsMark};
pub use history::{History, HistoryId, Origin, Point, Previous, ReplicationOffset};
pub use journal::{Journal, JournalStatus, Misplaced};
pub use log::{Hold, Slice};
pub use progress::{Acknowledgements, Park, Progress};
pub use reader::{Lost, NotShared, OutOfRange, Reader, ReplicaStart, Start};

/// A place in the log, counted in bytes since the history began.
pub type Offset = u64;
