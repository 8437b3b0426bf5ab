//! This process in the eyes of the system and of those who run it: its log, its name, its processors, who supervises it.
//! Knows no client.

pub(crate) mod affinity;
pub(crate) mod identity;
pub mod logging;
pub(crate) mod oom_score;
pub(crate) mod process_title;
pub(crate) mod restart;
pub(crate) mod stopping;
pub(crate) mod supervision;
pub(crate) mod watchdog;
