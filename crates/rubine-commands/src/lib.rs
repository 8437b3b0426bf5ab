//! The data commands: each declared once, above its handler. Touches no socket, thread, file, clock, configuration or
//! lock: what a handler may use is in its [`Context`].

#![forbid(unsafe_code)]

mod args;
mod bitmap;
mod cluster;
mod command;
mod computation;
mod context;
mod deferral;
mod element_scan;
mod error;
mod event;
mod execute;
mod expiry;
mod geo;
mod hash;
mod hyperloglog;
mod keys;
mod limits;
mod list;
mod pop_source;
mod runner;
mod sample;
mod set;
mod shipment;
mod slot_filter;
mod slot_usage;
mod sort;
mod sorted_set;
mod sorting;
mod stream;
mod string;
mod table;

pub use self::args::{ArgCursor, Args, ArgsApart};
pub use self::command::{
    Acl, ArgFinder, Channels, Command, Databases, Flags, Group, Handler, KeyAccess, KeyFinder,
    KeyPositions, KeySpec, NumberFinder, Scope, Spec,
};
pub use self::computation::{Computation, Task};
pub use self::context::{ClientFacts, Context, Effects, EffectsMark, Nothing, Wait};
pub use self::error::{CommandError, CommandResult, shown};
pub use self::event::{Event, EventClass};
pub use self::execute::{awaited, check_lengths, shards_of};
pub use self::limits::{Limits, SlotOwners};
pub use self::runner::{Occasion, Runner, RunnerMark};
pub use self::shipment::{Parcel, Shipment, Target};
pub use self::slot_filter::{FilterError, SlotFilter};
pub use self::slot_usage::{SlotUsage, SlotUsageCounts};
pub use self::table::{FAMILIES, Family};
