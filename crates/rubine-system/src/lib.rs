//! What needs the operating system by hand: memory accounting, locales, the process itself and its title, reading into
//! several buffers.
//! Beside the structures, the only crate with unsafe code.

pub mod allocator;
pub mod collation;
pub mod process;
pub mod scatter;
pub mod ticks;
pub mod title;
