//! The append-only file as bytes: its manifest, the commands in its increments, time marks, and what checks and repairs
//! it. Works on `Read` and `Write`: it opens no file, starts no thread, reads no clock and decides no schedule.

#![forbid(unsafe_code)]

pub mod check;
pub mod encryption;
pub mod fuzz;
pub mod log;
pub mod manifest;
pub mod place;
pub mod rewrite;
pub mod timestamp;
