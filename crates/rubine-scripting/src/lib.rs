//! Lua scripts and function libraries: interpreters behind a trait that runs commands. Opens no socket, starts no
//! thread, reads no clock, and knows no command.
//!
//! A worker has an [`Interpreter`]; all share [`Scripts`] and a [`LibraryRegistry`]. To run something, it is prepared
//! first, so that its flags can be looked at, and then run with a [`Host`].

mod api;
mod bits;
mod convert;
mod debugger;
mod error;
mod functions;
pub mod fuzz;
mod host;
mod interpreter;
mod json;
mod msgpack;
mod random;
#[expect(unsafe_code, reason = "Lua is written in C")]
mod raw;
mod run;
mod sandbox;
mod scripts;
mod shebang;
mod structs;

pub use debugger::Console;
pub use error::ScriptError;
pub use functions::{Function, Libraries, Library, LibraryRegistry, Policy};
pub use host::{Called, Host, LogLevel, Permission, Replication, Request, Verdict, text};
pub use interpreter::{Call, Interpreter, Outcome, Prepared, Retired, Source};
pub use sandbox::Settings;
pub use scripts::{EVALED_SCRIPTS_MAX, Origin, Script, Scripts, Sha};
pub use shebang::{FLAGS, ScriptFlags, script_flags};

#[cfg(test)]
mod tests;
