//! All users by name. A value: who shares it among threads replaces it, or locks it.

use std::sync::Arc;

use crate::commands::Commands;
use crate::file::{self, LineError, UsersByName};
use crate::password::PasswordHash;
use crate::permissions::ChannelDefault;
use crate::rule::{RuleError, SetUserError};
use crate::user::{User, is_name};

/// The user that everybody is who has not logged in.
pub const DEFAULT_USER: &[u8] = b"default";

/// What the default user may unless it is told: everything.
const DEFAULT_RULES: [&[u8]; 5] = [b"+@all", b"~*", b"&*", b"on", b"nopass"];

/// The users of a server. A clone shares them.
#[derive(Clone, Debug)]
pub struct Users {
    commands: Arc<Commands>,
    channels: ChannelDefault,
    /// Invariant: the default user is among them.
    by_name: UsersByName,
    generation: u64,
}

/// A user that was set: what it was before, if it was there, and what it is now.
#[derive(Clone, Debug)]
pub struct Change {
    pub before: Option<Arc<User>>,
    pub after: Arc<User>,
}

/// Why the users of a file are not taken: everything that is wrong in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadErrors {
    /// By line.
    pub errors: Vec<LineError>,
}

impl LoadErrors {
    /// What ACL LOAD says behind `ERR`, in one line.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for error in &self.errors {
            text.extend_from_slice(&error.text);
            text.push(b' ');
        }
        text.extend_from_slice(
            b"WARNING: ACL errors detected, no change to the previously active ACL rules was performed",
        );
        text
    }
}

/// A `user` line of a configuration that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclarationError {
    /// Which of the lines that were given, counted from 0.
    pub index: usize,
    pub text: Vec<u8>,
}

impl Users {
    /// The default user alone.
    pub fn new(commands: Arc<Commands>, channels: ChannelDefault) -> Self {
        let mut users = Self { commands, channels, by_name: UsersByName::new(), generation: 0 };
        users.insert(users.new_default_user());
        users
    }

    /// Grows with every change, so that who holds a user knows when to look again.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn commands(&self) -> &Commands {
        &self.commands
    }

    pub fn get(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    pub fn default_user(&self) -> &Arc<User> {
        self.get(DEFAULT_USER).expect("the default user cannot be removed")
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.by_name.values()
    }

    /// The user of that name, if it is enabled and the password is one of its own. It takes the same time for a name
    /// that is not there.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<&Arc<User>> {
        let hash = PasswordHash::of(password);
        self.get(name).filter(|user| user.accepts(&hash))
    }

    /// ACL SETUSER: changes a user, or makes one, by all of the rules or by none.
    pub fn set<'a>(
        &mut self,
        name: &[u8],
        rules: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Change, SetUserError> {
        if !is_name(name) {
            return Err(SetUserError::Name);
        }
        let before = self.get(name).cloned();
        let user = match &before {
            Some(user) => user.with_rules(&self.commands, self.channels, rules),
            None => self.new_user(name).with_rules(&self.commands, self.channels, rules),
        };
        let after = Arc::new(user?);
        self.insert(after.clone());
        Ok(Change { before, after })
    }

    /// ACL DELUSER: removes those that are there, and returns them. Nothing, if the default user is among the names,
    /// which cannot be removed.
    pub fn remove(&mut self, names: &[&[u8]]) -> Option<Vec<Arc<User>>> {
        if names.contains(&DEFAULT_USER) {
            return None;
        }
        let removed: Vec<_> = names.iter().filter_map(|name| self.by_name.remove(*name)).collect();
        self.generation += u64::from(!removed.is_empty());
        Some(removed)
    }

    /// What `requirepass` means: the one password of the default user, or none, and then it needs none.
    pub fn set_default_password(&mut self, password: Option<&[u8]>) -> Change {
        let password = password.map(|password| [b">", password].concat());
        let rules: [&[u8]; 2] = [b"resetpass", password.as_deref().unwrap_or(b"nopass")];
        self.set(DEFAULT_USER, rules).expect("any password can be set")
    }

    /// What `acl-pubsub-default` means, for users and selectors that are made from now on.
    pub fn set_channel_default(&mut self, channels: ChannelDefault) {
        self.channels = channels;
    }

    /// Takes the users of a file in place of those that are there, if nothing is wrong in it. A file without the
    /// default user means the one that may everything.
    pub fn load(&mut self, file_name: &str, text: &[u8]) -> Result<(), LoadErrors> {
        let users = file::parse(&self.commands, self.channels, file_name, text);
        self.by_name = users.map_err(|errors| LoadErrors { errors })?;
        if !self.by_name.contains_key(DEFAULT_USER) {
            self.insert(self.new_default_user());
        }
        self.generation += 1;
        Ok(())
    }

    /// Takes the `user` lines of a configuration, each as its words behind `user`, if nothing is wrong in any.
    pub fn declare(&mut self, declarations: &[Vec<Vec<u8>>]) -> Result<(), Vec<DeclarationError>> {
        let mut users = self.clone();
        let mut errors = Vec::new();
        let mut declared: Vec<&[u8]> = Vec::new();
        for (index, words) in declarations.iter().enumerate() {
            if let Err(text) = users.declare_one(words, &declared) {
                errors.push(DeclarationError { index, text });
            }
            declared.extend(words.first().map(|name| &name[..]));
        }
        if errors.is_empty() {
            *self = users;
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// All users as lines of a file.
    pub fn to_file(&self) -> Vec<u8> {
        self.iter().flat_map(|user| [user.line(), b"\n".to_vec()].concat()).collect()
    }

    fn declare_one(&mut self, words: &[Vec<u8>], declared: &[&[u8]]) -> Result<(), Vec<u8>> {
        let error = |rule: &[u8], error: &str| {
            [b"Error in user declaration '", rule, b"': ", error.as_bytes()].concat()
        };
        let Some((name, rules)) = words.split_first() else {
            return Err(error(b"", &RuleError::Syntax.to_string()));
        };
        if declared.contains(&&name[..]) {
            return Err(error(name, &RuleError::DuplicateUser.to_string()));
        }
        let rules = std::iter::once(&b"reset"[..]).chain(rules.iter().map(|rule| &rule[..]));
        self.set(name, rules).map(drop).map_err(|failure| match failure {
            SetUserError::Name => error(name, "Spaces not allowed in ACL usernames"),
            SetUserError::Unclosed(_) => failure.text(),
            SetUserError::Rule(rule, reason) => error(&rule, &reason.to_string()),
        })
    }

    fn new_user(&self, name: &[u8]) -> User {
        User::new(&self.commands, self.channels, name)
    }

    fn new_default_user(&self) -> Arc<User> {
        let user = self.new_user(DEFAULT_USER);
        let user = user.with_rules(&self.commands, self.channels, DEFAULT_RULES);
        Arc::new(user.expect("these rules are valid"))
    }

    fn insert(&mut self, user: Arc<User>) {
        self.by_name.insert(user.name().into(), user);
        self.generation += 1;
    }
}
