//! RESP2 and RESP3: an incremental parser of requests, a writer of replies, a writer of commands, and a decoder of replies
//! for tools and tests. Does no I/O, allocates nothing per argument, never panics on input.

#![forbid(unsafe_code)]

pub mod command;
pub mod decode;
pub mod fuzz;
pub mod parser;
pub mod writer;
