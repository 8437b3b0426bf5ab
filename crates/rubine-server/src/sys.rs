//! What needs the operating system by hand: memory accounting, processor pinning, the process itself.
//! The only module of this crate with unsafe code.

pub mod allocator;
pub mod process;
pub mod ticks;
