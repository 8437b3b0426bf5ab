//! A user: a value that never changes. Who changes a user makes another one of it.

use crate::check::{Access, ChannelUse, Denial, Request};
use crate::commands::{CommandNumber, Commands};
use crate::password::PasswordHash;
use crate::permissions::{ChannelDefault, PermissionTexts, Permissions};
use crate::rule::{RuleError, SetUserError, has_blanks, join_selectors};

/// A user, with a root set of permissions and one for each selector.
#[derive(Clone, Debug)]
pub struct User {
    name: Box<[u8]>,
    is_enabled: bool,
    takes_any_password: bool,
    /// Invariant: each once.
    passwords: Vec<PasswordHash>,
    root: Permissions,
    selectors: Vec<Permissions>,
    /// Nothing can be refused. Invariant: what the permissions of `root` say.
    is_unrestricted: bool,
}

/// A user as ACL GETUSER shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFields {
    pub flags: Vec<&'static str>,
    /// Hashes, in hexadecimal digits.
    pub passwords: Vec<Vec<u8>>,
    pub root: PermissionTexts,
    pub selectors: Vec<PermissionTexts>,
}

impl User {
    /// A user who may nothing, and cannot log in.
    pub(crate) fn new(commands: &Commands, channels: ChannelDefault, name: &[u8]) -> Self {
        Self {
            name: name.into(),
            is_enabled: false,
            takes_any_password: false,
            passwords: Vec::new(),
            root: Permissions::new(commands, channels),
            selectors: Vec::new(),
            is_unrestricted: false,
        }
    }

    pub fn name(&self) -> &[u8] {
        &self.name
    }

    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// Whether `nopass` is set. A new client is the default user at once if that user has it.
    pub fn takes_any_password(&self) -> bool {
        self.takes_any_password
    }

    /// Whether [`User::check`] allows everything, so that there is nothing to be prepared for it.
    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        self.is_unrestricted
    }

    /// Whether the user may make the request. One set of permissions has to allow all of it.
    #[inline]
    pub fn check<R: Request>(&self, request: &R) -> Result<(), Denial> {
        if self.is_unrestricted {
            return Ok(());
        }
        let Err(denial) = self.root.check(request) else { return Ok(()) };
        if self.selectors.is_empty() { Err(denial) } else { self.check_selectors(request, denial) }
    }

    /// Whether [`User::check`] allows a request with one key that names no channel. It answers quickly for nearly all that
    /// are allowed: no means that nothing is known.
    #[inline]
    pub fn surely_allows(&self, command: CommandNumber, key: &[u8], access: Access) -> bool {
        self.root.surely_allows(command, key, access)
    }

    /// Whether the user may make the request and, by the same set of permissions, use any key so: what SORT asks,
    /// whose patterns name keys that nobody can list.
    pub fn may_with_every_key<R: Request>(&self, request: &R, access: Access) -> bool {
        self.all_permissions().any(|it| it.check(request).is_ok() && it.allows_every_key(access))
    }

    /// Whether the user may use a key so, in whatever command.
    pub fn may_use_key(&self, key: &[u8], access: Access) -> bool {
        self.all_permissions().any(|it| it.allows_key(key, access))
    }

    /// Whether the user may use a channel, in whatever command.
    pub fn may_use_channel(&self, channel: &[u8], usage: ChannelUse) -> bool {
        self.all_permissions().any(|it| it.allows_channel(channel, usage))
    }

    /// Whether somebody who could listen as `before` might listen to what this user may not. If not, there is no
    /// need to look at subscriptions, each of which must be asked about otherwise ([`User::may_use_channel`]).
    pub fn withdraws_channels_of(&self, before: &Self) -> bool {
        if self.all_permissions().any(Permissions::allows_every_channel) {
            return false;
        }
        let is_kept = |pattern: &[u8]| {
            let mut patterns = self.all_permissions().flat_map(Permissions::channel_patterns);
            patterns.any(|it| it == pattern)
        };
        before.all_permissions().any(|it| {
            it.allows_every_channel() || it.channel_patterns().any(|pattern| !is_kept(pattern))
        })
    }

    /// What ACL GETUSER shows.
    pub fn fields(&self) -> UserFields {
        UserFields {
            flags: self.flags().collect(),
            passwords: self.passwords.iter().map(|it| it.to_hex()).collect(),
            root: self.root.texts(),
            selectors: self.selectors.iter().map(Permissions::texts).collect(),
        }
    }

    /// The line of ACL LIST, which a file has as well: `user NAME ...`.
    pub fn line(&self) -> Vec<u8> {
        self.words().join(&b' ')
    }

    /// The words of that line, of which a selector is one, for who has to quote them.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let mut words = vec![b"user".to_vec(), self.name.to_vec()];
        words.extend(self.flags().map(|flag| flag.as_bytes().to_vec()));
        words.extend(self.passwords.iter().map(|hash| [b"#", &*hash.to_hex()].concat()));
        words.extend(self.root.words());
        words.extend(self.selectors.iter().map(Permissions::selector_text));
        words
    }

    /// Whether somebody with that password is this user.
    pub(crate) fn accepts(&self, password: &PasswordHash) -> bool {
        let matches = self.passwords.iter().filter(|it| it.is(password)).count();
        self.is_enabled && (self.takes_any_password || 0 < matches)
    }

    /// This user with the rules of ACL SETUSER applied: all of them, or none.
    pub(crate) fn with_rules<'a>(
        &self,
        commands: &Commands,
        channels: ChannelDefault,
        rules: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, SetUserError> {
        let rules = join_selectors(rules).map_err(|word| SetUserError::Unclosed(word.to_vec()))?;
        let mut user = self.clone();
        for rule in rules {
            if let Err(error) = user.apply(commands, channels, &rule) {
                return Err(SetUserError::Rule(rule, error));
            }
        }
        Ok(user)
    }

    /// Applies one rule. After an error it may be half applied.
    pub(crate) fn apply(
        &mut self,
        commands: &Commands,
        channels: ChannelDefault,
        rule: &[u8],
    ) -> Result<(), RuleError> {
        match &*rule.to_ascii_lowercase() {
            // Values are checked wherever they come from, so there is nothing to choose.
            b"" | b"skip-sanitize-payload" | b"sanitize-payload" => {}
            b"on" => self.is_enabled = true,
            b"off" => self.is_enabled = false,
            b"nopass" => {
                self.takes_any_password = true;
                self.passwords.clear();
            }
            b"resetpass" => {
                self.takes_any_password = false;
                self.passwords.clear();
            }
            [b'>', ..] => self.add_password(PasswordHash::of(&rule[1..])),
            [b'#', ..] => self.add_password(PasswordHash::parse(&rule[1..])?),
            [b'<', ..] => self.remove_password(PasswordHash::of(&rule[1..]))?,
            [b'!', ..] => self.remove_password(PasswordHash::parse(&rule[1..])?)?,
            [b'(', .., b')'] => {
                self.selectors.push(Permissions::parse(commands, channels, rule)?);
            }
            b"clearselectors" => self.selectors.clear(),
            b"reset" => *self = Self::new(commands, channels, &self.name),
            _ => self.root.apply(commands, rule)?,
        }
        self.is_unrestricted = self.root.is_unrestricted();
        Ok(())
    }

    #[cold]
    fn check_selectors<R: Request>(&self, request: &R, denial: Denial) -> Result<(), Denial> {
        let mut worst = denial;
        for selector in &self.selectors {
            match selector.check(request) {
                Ok(()) => return Ok(()),
                Err(denial) => worst = worst.max(denial),
            }
        }
        Err(worst)
    }

    fn all_permissions(&self) -> impl Iterator<Item = &Permissions> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    fn flags(&self) -> impl Iterator<Item = &'static str> {
        let enabled = if self.is_enabled { "on" } else { "off" };
        std::iter::once(enabled).chain(self.takes_any_password.then_some("nopass"))
    }

    fn add_password(&mut self, hash: PasswordHash) {
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
        self.takes_any_password = false;
    }

    fn remove_password(&mut self, hash: PasswordHash) -> Result<(), RuleError> {
        let place = self.passwords.iter().position(|it| *it == hash);
        self.passwords.remove(place.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }
}

/// Whether a user can have that name.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !has_blanks(name)
}
