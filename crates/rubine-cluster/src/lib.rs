//! What the nodes of a cluster say to each other, and what follows from it: `(state, event, now) -> actions`. Knows no
//! socket, no thread, no file and no clock, so that a simulator can run whole clusters of it. Whoever drives it does what the
//! effects say, in their order.
//!
//! Packets, files and times are those of Valkey and Redis, since their nodes are in one cluster with ours.

#![forbid(unsafe_code)]

mod config;
mod effect;
pub mod fuzz;
pub mod id;
mod machine;
pub mod message;
pub mod migration;
pub mod nodes_conf;
mod operations;
pub mod rebalance;
mod report;
pub mod slots;
pub mod text;
mod view;

pub use config::{Announce, Config, PreferredEndpoint, SaveBehavior};
pub use effect::{Action, Effects, Event, Facts, History, Level, LinkId, Save};
pub use machine::{Cluster, Fault, Saved, SavedError, SavedNode, Turn, Unwell};
pub use operations::{
    Asker, Direction, Failover, Moving, OperationError, Reset, SetSlot, SetSlotFacts,
};
pub use report::Viewer;
pub use view::{FailReason, NO_NODE, NodeView, State, View};
