//! One set of permissions: commands, keys, channels, databases. A user has one, and one for each selector. Knows no
//! passwords.

use rubine_base::quote;

use crate::check::{Access, ChannelUse, Denial, Reason, Request};
use crate::command_rules::CommandRules;
use crate::commands::{CommandNumber, Commands};
use crate::pattern::{Pattern, Subject};
use crate::rule::{RuleError, has_blanks};

/// What `acl-pubsub-default` says: the channels of new users and selectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelDefault {
    All,
    #[default]
    Nothing,
}

/// A set of permissions. A request is allowed by one set, or by none: what several allow together counts for nothing.
#[derive(Clone, Debug)]
pub(crate) struct Permissions {
    commands: CommandRules,
    keys: Scope<KeyPattern>,
    channels: Scope<Pattern>,
    /// Invariant: ascending, each once.
    databases: Scope<u32>,
}

/// All of a kind, or those that are listed.
#[derive(Clone, Debug)]
enum Scope<T> {
    All,
    Only(Vec<T>),
}

#[derive(Clone, Debug)]
struct KeyPattern {
    pattern: Pattern,
    access: Access,
}

/// A set of permissions as ACL GETUSER shows it, a text for each field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionTexts {
    pub commands: Vec<u8>,
    pub keys: Vec<u8>,
    pub channels: Vec<u8>,
    pub databases: Vec<u8>,
}

impl Permissions {
    /// No commands, no keys, every database.
    pub(crate) fn new(commands: &Commands, channels: ChannelDefault) -> Self {
        Self {
            commands: CommandRules::nothing(commands),
            keys: Scope::NOTHING,
            channels: match channels {
                ChannelDefault::All => Scope::All,
                ChannelDefault::Nothing => Scope::NOTHING,
            },
            databases: Scope::All,
        }
    }

    /// The permissions of a selector's text, which has its parentheses around it.
    pub(crate) fn parse(
        commands: &Commands,
        channels: ChannelDefault,
        selector: &[u8],
    ) -> Result<Self, RuleError> {
        let rules = selector.strip_prefix(b"(").and_then(|it| it.strip_suffix(b")"));
        let rules = rules.ok_or(RuleError::Syntax)?;
        let mut permissions = Self::new(commands, channels);
        for rule in quote::split_args(rules).map_err(|_| RuleError::Syntax)? {
            permissions.apply(commands, &rule)?;
        }
        Ok(permissions)
    }

    /// Applies one rule. After an error it may be half applied.
    pub(crate) fn apply(&mut self, commands: &Commands, rule: &[u8]) -> Result<(), RuleError> {
        match &*rule.to_ascii_lowercase() {
            b"allkeys" | b"~*" => self.keys = Scope::All,
            b"resetkeys" => self.keys = Scope::NOTHING,
            b"allchannels" | b"&*" => self.channels = Scope::All,
            b"resetchannels" => self.channels = Scope::NOTHING,
            b"alldbs" => self.databases = Scope::All,
            b"resetdbs" => self.databases = Scope::NOTHING,
            b"allcommands" => self.commands.allow_all(),
            b"nocommands" => self.commands.deny_all(commands),
            [b'd', b'b', b'=', list @ ..] => self.databases = Scope::Only(parse_databases(list)?),
            [b'~' | b'%', ..] => self.add_key_pattern(rule)?,
            [b'&', ..] => self.add_channel_pattern(&rule[1..])?,
            [b'+' | b'-', ..] => self.commands.apply(commands, rule)?,
            _ => return Err(RuleError::Syntax),
        }
        Ok(())
    }

    /// Whether nothing can be refused.
    pub(crate) fn is_unrestricted(&self) -> bool {
        self.commands.allows_all()
            && self.keys.is_all()
            && self.channels.is_all()
            && self.databases.is_all()
    }

    pub(crate) fn check<R: Request>(&self, request: &R) -> Result<(), Denial> {
        if let Scope::Only(allowed) = &self.databases {
            let mut touched = request.databases();
            let refused = touched.find(|(_, number)| allowed.binary_search(number).is_err());
            refuse(Reason::Database, refused.map(|(argument, _)| argument))?;
        }
        if !self.commands.allows(request.command(), request.argument(1)) {
            return Err(Denial::COMMAND);
        }
        if let Scope::Only(patterns) = &self.keys {
            let refused = request.keys().find(|(argument, access)| {
                request.argument(*argument).is_some_and(|key| !any_allows(patterns, key, *access))
            });
            refuse(Reason::Key, refused.map(|(argument, _)| argument))?;
        }
        if !self.channels.is_all() {
            let refused = request.channels().find(|(argument, usage)| {
                request.argument(*argument).is_some_and(|it| !self.allows_channel(it, *usage))
            });
            refuse(Reason::Channel, refused.map(|(argument, _)| argument))?;
        }
        Ok(())
    }

    /// Whether a command may be run with one key, as far as that is soon known.
    #[inline]
    pub(crate) fn surely_allows(&self, command: CommandNumber, key: &[u8], access: Access) -> bool {
        self.databases.is_all()
            && self.commands.surely_allows(command)
            && self.allows_key(key, access)
    }

    #[inline]
    pub(crate) fn allows_key(&self, key: &[u8], access: Access) -> bool {
        match &self.keys {
            Scope::All => true,
            Scope::Only(patterns) => any_allows(patterns, key, access),
        }
    }

    /// Whether any key at all may be used so, whatever its name.
    pub(crate) fn allows_every_key(&self, access: Access) -> bool {
        match &self.keys {
            Scope::All => true,
            Scope::Only(patterns) => {
                patterns.iter().any(|it| it.access.contains(access) && it.pattern.text() == b"*")
            }
        }
    }

    pub(crate) fn allows_channel(&self, channel: &[u8], usage: ChannelUse) -> bool {
        match &self.channels {
            Scope::All => true,
            Scope::Only(patterns) => patterns.iter().any(|pattern| match usage {
                ChannelUse::Literal => pattern.matches(Subject::new(channel)),
                ChannelUse::Pattern => pattern.text() == channel,
            }),
        }
    }

    pub(crate) fn allows_every_channel(&self) -> bool {
        self.channels.is_all()
    }

    /// The patterns of channels, as they are written. None if every channel is allowed.
    pub(crate) fn channel_patterns(&self) -> impl Iterator<Item = &[u8]> {
        self.channels.listed().iter().map(Pattern::text)
    }

    /// The fields that ACL GETUSER shows.
    pub(crate) fn texts(&self) -> PermissionTexts {
        PermissionTexts {
            commands: self.commands.words().collect::<Vec<_>>().join(&b' '),
            keys: self.key_words().join(&b' '),
            channels: self.channel_words().join(&b' '),
            databases: match &self.databases {
                Scope::All => b"alldbs".to_vec(),
                Scope::Only(numbers) if numbers.is_empty() => Vec::new(),
                Scope::Only(numbers) => database_list(numbers),
            },
        }
    }

    /// The rules that make these permissions, as they are written behind a user's name.
    pub(crate) fn words(&self) -> Vec<Vec<u8>> {
        let mut words = self.key_words();
        if !self.channels.is_all() {
            words.push(b"resetchannels".to_vec());
        }
        words.extend(self.channel_words());
        match &self.databases {
            // It is what servers that know no such rules do.
            Scope::All => {}
            Scope::Only(numbers) if numbers.is_empty() => words.push(b"resetdbs".to_vec()),
            Scope::Only(numbers) => words.push(database_list(numbers)),
        }
        words.extend(self.commands.words());
        words
    }

    /// The words of a selector with its parentheses, such that they can be read again.
    pub(crate) fn selector_text(&self) -> Vec<u8> {
        let words: Vec<_> = self.words().iter().map(|word| quoted_if_needed(word)).collect();
        [b"(", &*words.join(&b' '), b")"].concat()
    }

    fn add_key_pattern(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let Scope::Only(patterns) = &mut self.keys else { return Err(RuleError::KeysAreAll) };
        let (access, text) = match rule {
            [b'~', text @ ..] => (Access::all(), text),
            _ => parse_access(&rule[1..])?,
        };
        if has_blanks(text) {
            return Err(RuleError::Syntax);
        }
        match patterns.iter_mut().find(|it| it.pattern.text() == text) {
            Some(known) => known.access |= access,
            None => patterns.push(KeyPattern { pattern: Pattern::new(text), access }),
        }
        Ok(())
    }

    fn add_channel_pattern(&mut self, text: &[u8]) -> Result<(), RuleError> {
        let Scope::Only(patterns) = &mut self.channels else {
            return Err(RuleError::ChannelsAreAll);
        };
        if has_blanks(text) {
            return Err(RuleError::Syntax);
        }
        if !patterns.iter().any(|it| it.text() == text) {
            patterns.push(Pattern::new(text));
        }
        Ok(())
    }

    fn key_words(&self) -> Vec<Vec<u8>> {
        if self.keys.is_all() {
            return vec![b"~*".to_vec()];
        }
        let patterns = self.keys.listed();
        let word = |it: &KeyPattern| {
            let text = it.pattern.text();
            let sign: &[u8] = match (it.access == Access::READ, it.access == Access::WRITE) {
                (true, _) => b"%R~",
                (_, true) => b"%W~",
                // `~*` means all keys when it is read again, and no other pattern may stand behind it.
                _ if text == b"*" && patterns.len() != 1 => b"%RW~",
                _ => b"~",
            };
            [sign, text].concat()
        };
        patterns.iter().map(word).collect()
    }

    fn channel_words(&self) -> Vec<Vec<u8>> {
        if self.channels.is_all() {
            return vec![b"&*".to_vec()];
        }
        self.channel_patterns().map(|text| [b"&", text].concat()).collect()
    }
}

impl<T> Scope<T> {
    const NOTHING: Self = Self::Only(Vec::new());

    fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// What is listed: nothing, if all are meant.
    fn listed(&self) -> &[T] {
        match self {
            Self::All => &[],
            Self::Only(listed) => listed,
        }
    }
}

fn refuse(reason: Reason, argument: Option<usize>) -> Result<(), Denial> {
    argument.map_or(Ok(()), |argument| Err(Denial { reason, argument }))
}

/// One pattern must allow all of the access: one that reads and one that writes are no pattern that does both.
#[inline]
fn any_allows(patterns: &[KeyPattern], key: &[u8], access: Access) -> bool {
    let key = Subject::new(key);
    patterns.iter().any(|it| it.access.contains(access) && it.pattern.matches(key))
}

/// Reads what stands behind `%`: `R`, `W` or both, and a pattern behind `~`. Without `~` the pattern is empty.
fn parse_access(text: &[u8]) -> Result<(Access, &[u8]), RuleError> {
    let letters_len = text.iter().position(|&byte| byte == b'~').unwrap_or(text.len());
    let (letters, pattern) = text.split_at(letters_len);
    let mut access = Access::empty();
    for letter in letters {
        let added = match letter.to_ascii_uppercase() {
            b'R' => Access::READ,
            b'W' => Access::WRITE,
            _ => return Err(RuleError::Syntax),
        };
        if access.contains(added) {
            return Err(RuleError::Syntax);
        }
        access |= added;
    }
    if access.is_empty() {
        return Err(RuleError::Syntax);
    }
    Ok((access, pattern.strip_prefix(b"~").unwrap_or_default()))
}

/// Reads the numbers behind `db=`, which replace those that were there.
fn parse_databases(list: &[u8]) -> Result<Vec<u32>, RuleError> {
    if list.starts_with(b",") || list.ends_with(b",") {
        return Err(RuleError::Syntax);
    }
    let mut numbers =
        list.split(|&byte| byte == b',').map(parse_database).collect::<Result<Vec<_>, _>>()?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// Reads a number as C's `strtoll` does: with blanks and a sign before it. What is no number is another error than
/// one that is too large.
fn parse_database(text: &[u8]) -> Result<u32, RuleError> {
    let text = text.trim_ascii_start();
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(RuleError::Syntax);
    }
    let number = digits.iter().try_fold(0_i32, |number, digit| {
        number.checked_mul(10)?.checked_add(i32::from(digit - b'0'))
    });
    match number {
        Some(number) if number == 0 || !is_negative => Ok(number.unsigned_abs()),
        _ => Err(RuleError::DatabaseRange),
    }
}

fn database_list(numbers: &[u32]) -> Vec<u8> {
    let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
    format!("db={}", numbers.join(",")).into_bytes()
}

/// A word within a selector. Other servers never quote it, and lose the selector, or what is behind the word, when they
/// read it again; they do read what is quoted.
fn quoted_if_needed(word: &[u8]) -> Vec<u8> {
    let is_plain = !word.ends_with(b")") && !word.iter().any(|byte| matches!(byte, b'"' | b'\''));
    if is_plain { word.to_vec() } else { quote::quote_repr(word).into_bytes() }
}
