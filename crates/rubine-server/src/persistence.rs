//! What is kept on disk: the append-only file. Never decides what a command means.

pub(crate) mod aof;
