//! Users and what they may do: the rules of ACL SETUSER, their text both ways, the check that a request passes, and the
//! log of refusals. Does no I/O, starts no thread, reads no clock, and knows a command only by name and number.

#![forbid(unsafe_code)]

mod check;
mod command_rules;
mod commands;
mod file;
pub mod fuzz;
mod log;
mod password;
mod pattern;
mod permissions;
mod rule;
#[cfg(test)]
mod tests;
mod user;
mod users;

pub use check::{Access, ChannelUse, Denial, Reason, Request};
pub use commands::{CommandEntry, CommandNumber, Commands};
pub use file::LineError;
pub use log::{AclLog, Context, Incident, LogEntry};
pub use password::{PASSWORD_BITS_DEFAULT, PASSWORD_BITS_MAX, password_len, write_password};
pub use permissions::{ChannelDefault, PermissionTexts};
pub use rule::{RuleError, SetUserError};
pub use user::{User, UserFields};
pub use users::{Change, DEFAULT_USER, DeclarationError, LoadErrors, Users};
