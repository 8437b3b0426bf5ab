//! The keyspace: shards behind their locks, databases, expiry, watches, waiters, snapshots.
//! Knows no command and formats no reply.
//!
//! The set of shards that a command needs is known before it runs; [`Keyspace::lock`] takes their locks in ascending
//! order, all at once, and what runs under them sees the keys through a [`View`]. Nothing else locks a shard.

#![forbid(unsafe_code)]

mod access;
mod busy;
mod changes;
mod counts;
mod db_map;
mod defrag;
mod eviction;
mod expiry;
mod hand_off;
#[cfg(all(test, shuttle))]
mod interleavings;
mod key;
mod keyspace;
mod shard;
mod shard_set;
mod sizes;
mod slots;
mod snapshot;
mod survey;
mod sync;
mod tables;
mod tracking;
mod undo;
mod view;
mod waiters;
mod watch;
mod weighing;

pub use self::access::{Access, AccessPolicy};
pub use self::busy::{Standing, Tell, Ticket};
pub use self::changes::{Changes, ChangesMark};
pub use self::counts::COUNTED_DBS;
pub use self::defrag::{DefragStep, DefragWalk};
pub use self::eviction::{Candidate, EvictionOrder, EvictionRule};
pub use self::expiry::{Due, ExpiryCycle, ExpiryStep, remove_due};
pub use self::hand_off::{OwedHandOffs, Serve, complete_hand_offs, lock_in_turn};
pub use self::key::{Key, Place, SHARD_COUNT, ScanCursor, is_placed_by_slot, place_by_slot};
pub use self::keyspace::{Discarded, Garbage, GarbageCounts, Keyspace, Locked};
pub use self::shard::Shard;
pub use self::shard_set::ShardSet;
pub use self::sizes::{SIZE_BINS, SizeBins, SizedType, Sizes};
pub use self::slots::SlotImage;
pub use self::snapshot::{SlotImport, Snapshot};
pub use self::survey::Survey;
pub use self::tracking::{Readers, Stale, TrackedCounts, Tracking};
pub use self::view::{DueKeys, View, ViewOptions};
pub use self::waiters::{Awaited, Waiter, WaiterState};
pub use self::watch::Watch;
pub use self::weighing::{Weighed, WeighingWalk};
pub use rubine_structures::table::{Hint, Reading};
