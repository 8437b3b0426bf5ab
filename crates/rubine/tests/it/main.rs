//! The server as its users meet it: a child process, its sockets, its files. Never looks inside.

#![forbid(unsafe_code)]

mod append_only;
mod blocking;
mod computing;
mod histories;
mod isolation;
mod life;
mod limits;
mod listening;
mod messages;
mod process;
mod saving;
mod starting;
mod support;
mod transcripts;
