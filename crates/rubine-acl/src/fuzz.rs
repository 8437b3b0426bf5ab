//! What the fuzzer and the property tests call: plain functions that panic if a promise of this crate is broken.
//! Never called by the server.

use std::sync::Arc;

use crate::commands::{CommandEntry, Commands};
use crate::permissions::ChannelDefault;
use crate::users::Users;

/// Gives the lines of `data` to a user as rules. What the user has become must be read again from its own line.
pub fn fuzz_rules(data: &[u8]) {
    let mut users = Users::new(Arc::new(sample_commands()), channel_default(data));
    let before = users.to_file();
    match users.set(b"u", data.split(|&byte| byte == b'\n')) {
        Ok(change) => assert_eq!(change.after.name(), b"u"),
        Err(error) => {
            assert!(!error.text().is_empty());
            assert_eq!(users.to_file(), before, "an error changes nothing");
        }
    }
    check_reload(&users, channel_default(data));
}

/// Reads `data` as a file of users. What was read must be read again from what is written of it.
pub fn fuzz_file(data: &[u8]) {
    let mut users = Users::new(Arc::new(sample_commands()), channel_default(data));
    let before = users.to_file();
    match users.load("users.acl", data) {
        Ok(()) => check_reload(&users, channel_default(data)),
        Err(errors) => {
            assert!(!errors.errors.is_empty());
            assert_eq!(users.to_file(), before, "an error changes nothing");
        }
    }
}

/// Commands of every kind that rules tell apart.
pub(crate) fn sample_commands() -> Commands {
    const READ: u64 = 1;
    const WRITE: u64 = 1 << 1;
    const ADMIN: u64 = 1 << 2;
    const SLOW: u64 = 1 << 3;
    let entries = [
        ("get", READ),
        ("set", WRITE | SLOW),
        ("copy", WRITE | SLOW),
        ("publish", 0),
        ("psubscribe", SLOW),
        ("select", 0),
        ("flushall", WRITE | SLOW),
        ("config", SLOW),
        ("config|get", ADMIN | SLOW),
        ("config|set", ADMIN | SLOW),
        ("auth", 0),
    ];
    let entry = |(name, categories): (&str, u64)| CommandEntry {
        full_name: name.into(),
        categories,
        needs_no_login: name == "auth",
    };
    Commands::new(&["read", "write", "admin", "slow"], entries.map(entry).into())
}

fn channel_default(data: &[u8]) -> ChannelDefault {
    if data.len().is_multiple_of(2) { ChannelDefault::All } else { ChannelDefault::Nothing }
}

fn check_reload(users: &Users, channels: ChannelDefault) {
    let mut again = Users::new(Arc::new(sample_commands()), channels);
    let text = users.to_file();
    let loaded = again.load("users.acl", &text);
    assert!(loaded.is_ok(), "{loaded:?} of {}", text.escape_ascii());
    assert_eq!(again.to_file().escape_ascii().to_string(), text.escape_ascii().to_string());
    for (user, read) in users.iter().zip(again.iter()) {
        assert_eq!(user.is_unrestricted(), read.is_unrestricted());
    }
}
