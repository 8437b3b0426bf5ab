//! What master and replica say to each other, and what follows from it: state machines of the form `(state, event, now) ->
//! actions`, which know no socket, no thread and no clock, so that a simulator can run many of them in one test. The server
//! drives them.

#![forbid(unsafe_code)]

pub mod failover;
pub mod follower;
pub mod fuzz;
pub mod leader;
pub mod stream;
pub mod verify;
