//! What needs the operating system by hand: memory accounting, locales, the process itself and its title.
//! The only module of this crate with unsafe code.

pub mod allocator;
pub mod collation;
pub mod process;
pub mod ticks;
pub mod title;
