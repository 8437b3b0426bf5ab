//! Who may do what: the users of a running server, and the log of what was refused them. Knows no client.

pub(crate) mod files;
pub(crate) mod request;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rubine_acl::{AclLog, ChannelDefault, CommandEntry, Commands, Incident, Reason, Users};
use rubine_base::clock::Millis;
use rubine_commands::{Acl, Flags};
use rubine_config::{AclPubsubDefault, Config};

use crate::command_table::CommandTable;

/// The users of a server, and what was refused them.
pub(crate) struct AccessControl {
    /// Replaced as a whole; whoever has taken it sees one state of all users.
    users: ArcSwap<Users>,
    /// That of `users`, to be compared before every command.
    generation: AtomicU64,
    /// Somebody among `users` may not do everything.
    restricts: AtomicBool,
    /// Held while users are changed.
    changing: Mutex<()>,
    log: Mutex<AclLog>,
}

/// Users of whom the default one may do everything: for what is trusted, as a log is.
pub(crate) fn trusted(table: &CommandTable, config: &Config) -> Users {
    Users::new(Arc::new(commands_of(table)), channel_default(config))
}

impl AccessControl {
    /// With the default user alone, who may do everything, and whose password is `requirepass`.
    pub(crate) fn new(table: &CommandTable, config: &Config) -> Self {
        let commands = Arc::new(commands_of(table));
        let mut users = Users::new(commands, channel_default(config));
        users.set_default_password(config.requirepass.as_deref());
        Self {
            generation: AtomicU64::new(users.generation()),
            users: ArcSwap::from_pointee(users),
            restricts: AtomicBool::new(false),
            changing: Mutex::new(()),
            log: Mutex::default(),
        }
    }

    /// All users, as they are now.
    pub(crate) fn users(&self) -> Arc<Users> {
        self.users.load_full()
    }

    /// Which state of the users is in force.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether there is anything that anybody may not do.
    #[inline]
    pub(crate) fn restricts(&self) -> bool {
        self.restricts.load(Ordering::Acquire)
    }

    /// Changes users: `change` works on a copy, which is in force when it returns.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Users) -> R) -> R {
        let _changing = self.changing.lock();
        let mut users = Users::clone(&self.users());
        let result = change(&mut users);
        let generation = users.generation();
        let restricts = users.iter().any(|it| !it.is_unrestricted());
        self.users.store(Arc::new(users));
        self.restricts.store(restricts, Ordering::Release);
        self.generation.store(generation, Ordering::Release);
        result
    }

    /// Takes over what the configuration says of users that are made from now on.
    pub(crate) fn set_channel_default(&self, config: &Config) {
        let default = channel_default(config);
        self.change(|users| users.set_channel_default(default));
    }

    /// Notes that something was refused.
    pub(crate) fn note(&self, incident: Incident, now: Millis, len_max: u64) {
        self.log.lock().add(incident, now, usize::try_from(len_max).unwrap_or(usize::MAX));
    }

    /// What was refused, as it is noted now.
    pub(crate) fn log(&self) -> AclLog {
        self.log.lock().clone()
    }

    /// How often something was refused for that reason.
    pub(crate) fn refusal_count(&self, reason: Reason) -> u64 {
        self.log.lock().count(reason)
    }

    pub(crate) fn reset_log(&self) {
        self.log.lock().reset();
    }
}

fn channel_default(config: &Config) -> ChannelDefault {
    match config.acl_pubsub_default {
        AclPubsubDefault::Allchannels => ChannelDefault::All,
        AclPubsubDefault::Resetchannels => ChannelDefault::Nothing,
    }
}

/// What rules need to know of the commands.
fn commands_of(table: &CommandTable) -> Commands {
    let categories: Vec<_> = Acl::all().iter_names().map(|(name, _)| category_name(name)).collect();
    let categories: Vec<&str> = categories.iter().map(String::as_str).collect();
    let entry = |it: &&'static crate::command_table::Entry| CommandEntry {
        full_name: it.full_name.as_str().into(),
        categories: u64::from(it.acl().bits()),
        needs_no_login: it.spec.flags.contains(Flags::NO_AUTH),
    };
    Commands::new(&categories, table.all().iter().map(entry).collect())
}

/// The name that rules have for a category: `sortedset` for `SORTED_SET`.
fn category_name(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "")
}
