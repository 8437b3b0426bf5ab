//! Sockets, what listens on them, and what connects to others. Knows no command, no client and no protocol but RESP.

#![forbid(unsafe_code)]

pub mod link;
pub mod listener;
pub mod socket;
pub mod tls;
