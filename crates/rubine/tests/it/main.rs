//! The server as its users meet it: a child process, its sockets, its files. Never looks inside.

#![forbid(unsafe_code)]

mod blocking;
mod histories;
mod isolation;
mod life;
mod messages;
mod support;
