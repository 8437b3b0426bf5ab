//! Sentinel as a state machine: events and the time go in, actions come out. Knows no socket, no thread, no file and no
//! clock, so that a simulator can run whole groups of it. Whoever drives it does what the actions say, in their order,
//! and has the configuration on disk before any of them where that is asked for.
//!
//! Words, texts and times are those of the Sentinels of Redis and Valkey, since they form one group with this one.

#![forbid(unsafe_code)]

mod address;
mod commands;
mod config;
mod effect;
mod flags;
pub mod fuzz;
mod hello;
mod info;
mod instance;
mod link;
mod machine;
mod scripts;
mod timings;

pub use commands::{Facts, Handler, MasterFacts, Outcome, Request, Unsaved};
pub use config::ConfigError;
pub use effect::{Action, Effects, JobId, Level, Notice};
pub use link::LinkId;
pub use machine::{Event, Identity, Sentinel};
