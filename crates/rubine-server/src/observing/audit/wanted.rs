//! What the audit log shall have: `audit-log-events`, worked out for the commands of this server.

use rubine_commands::{Acl, Flags};

use crate::command_table::{CommandTable, Entry, Run};

/// Commands that change users.
const USERS: &[&str] = &["acl|deluser", "acl|load", "acl|save", "acl|setuser"];
/// The event of such a command.
pub(crate) const USERS_EVENT: &str = "users";
/// Commands that change how the server works.
const CONFIG: &[&str] =
    &["config|resetstat", "config|rewrite", "config|set", "quota|del", "quota|reset", "quota|set"];

/// What is written down.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "events that are chosen one by one")]
pub(crate) struct Audited {
    pub(crate) logins: bool,
    pub(crate) refusals: bool,
    pub(crate) connections: bool,
    /// As what each command is written down, by number.
    commands: Box<[Option<&'static str>]>,
    /// One of them is a command about data: all commands have to be looked at.
    pub(crate) has_data_commands: bool,
}

impl Audited {
    /// What these words of `audit-log-events` stand for.
    pub(crate) fn of(words: &[String], table: &CommandTable) -> Result<Self, String> {
        let mut audited = Self {
            logins: false,
            refusals: false,
            connections: false,
            commands: vec![None; table.len()].into(),
            has_data_commands: false,
        };
        for word in words {
            match word.to_ascii_lowercase().as_str() {
                "logins" => audited.logins = true,
                "refusals" => audited.refusals = true,
                "connections" => audited.connections = true,
                "users" => audited.add(table, USERS_EVENT, |it| USERS.contains(&&*it.full_name)),
                "config" => audited.add(table, "config", |it| CONFIG.contains(&&*it.full_name)),
                "@all" => audited.add(table, "command", |_| true),
                word => {
                    let category = word.strip_prefix('@').and_then(category);
                    let category = category.ok_or_else(|| format!("there is no event '{word}'"))?;
                    audited.add(table, "command", |it| it.acl().intersects(category));
                }
            }
        }
        Ok(audited)
    }

    /// As what a command is written down, if it is.
    pub(crate) fn event_of(&self, entry: &Entry) -> Option<&'static str> {
        self.commands[entry.number]
    }

    fn add(
        &mut self,
        table: &CommandTable,
        event: &'static str,
        is_meant: impl Fn(&Entry) -> bool,
    ) {
        for entry in table.all().iter().filter(|it| is_meant(it)) {
            // AUTH has events of its own.
            let is_login = entry.spec.flags.contains(Flags::NO_AUTH);
            let event_before = &mut self.commands[entry.number];
            if !is_login && event_before.is_none() {
                *event_before = Some(event);
                self.has_data_commands |= matches!(entry.run, Run::Data(_));
            }
        }
    }
}

/// The category that rules know by that name.
fn category(name: &str) -> Option<Acl> {
    let mut all = Acl::all().iter_names();
    all.find(|(it, _)| it.to_ascii_lowercase().replace('_', "") == name).map(|it| it.1)
}
