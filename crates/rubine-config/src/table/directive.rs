//! What a directive is: its name, how its text is read, what may be done with it. Holds no value.

use rubine_base::hash::HashMap;
use std::sync::LazyLock;

use super::{Config, DIRECTIVES};
use crate::setting::{Rule, Setting};

/// One directive, declared once, in the table.
#[derive(Debug)]
pub struct Directive {
    /// The name under which it is documented and written.
    pub name: &'static str,
    /// A second name that files and CONFIG accept.
    pub alias: Option<&'static str>,
    /// How its numbers are read and printed.
    pub rule: Rule,
    /// What may be done with it.
    pub traits: Traits,
    /// Whether setting it does something.
    pub support: Support,
    pub(crate) check: Option<Check>,
    pub(crate) read: fn(&Config) -> &dyn Setting,
    pub(crate) write: fn(&mut Config) -> &mut dyn Setting,
}

/// A condition beyond the type, with the text of its refusal.
type Check = fn(&str) -> Result<(), &'static str>;

/// Whether setting a directive does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It takes effect.
    Works,
    /// It is accepted, kept and written back; what it steers is not there yet.
    NotYet(&'static str),
    /// It is accepted, kept and written back; this server has nothing that it could steer.
    NoMeaning(&'static str),
}

bitflags::bitflags! {
    /// What may be done with a directive.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Traits: u16 {
        /// Set at the start only.
        const IMMUTABLE = 1;
        /// CONFIG SET takes the value that is already there and no other.
        const FIXED = 1 << 1;
        /// CONFIG GET shows it when it is named, not to a pattern.
        const HIDDEN = 1 << 2;
        /// Its value is a secret, to be kept out of logs, MONITOR and the command log.
        const SENSITIVE = 1 << 3;
        /// CONFIG SET needs `enable-protected-configs`.
        const PROTECTED = 1 << 4;
        /// CONFIG SET is refused while a dataset is loaded.
        const NOT_WHILE_LOADING = 1 << 5;
        /// Setting it to the same value counts as a change (a file may have new content).
        const VOLATILE = 1 << 6;
        /// Takes any number of arguments.
        const MANY_ARGUMENTS = 1 << 7;
        /// CONFIG REWRITE writes it even where it equals the default.
        const ALWAYS_WRITTEN = 1 << 8;
        /// Each line of a file adds to the lines before it.
        const ACCUMULATES = 1 << 9;
    }
}

impl Directive {
    pub(crate) const fn new(
        name: &'static str,
        read: fn(&Config) -> &dyn Setting,
        write: fn(&mut Config) -> &mut dyn Setting,
    ) -> Self {
        Self {
            name,
            alias: None,
            rule: Rule::Plain,
            traits: Traits::empty(),
            support: Support::Works,
            check: None,
            read,
            write,
        }
    }

    pub(crate) const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    pub(crate) const fn number(mut self, min: i128, max: i128) -> Self {
        self.rule = Rule::Number { min, max };
        self
    }

    pub(crate) const fn memory(mut self, min: i128, max: i128) -> Self {
        self.rule = Rule::Memory { min, max };
        self
    }

    pub(crate) const fn signed_memory(mut self, min: i128, max: i128) -> Self {
        self.rule = Rule::SignedMemory { min, max };
        self
    }

    pub(crate) const fn octal(mut self, min: i128, max: i128) -> Self {
        self.rule = Rule::Octal { min, max };
        self
    }

    pub(crate) const fn checked(mut self, check: Check) -> Self {
        self.check = Some(check);
        self
    }

    pub(crate) const fn is(mut self, traits: Traits) -> Self {
        self.traits = self.traits.union(traits);
        self
    }

    pub(crate) const fn immutable(self) -> Self {
        self.is(Traits::IMMUTABLE)
    }

    pub(crate) const fn hidden(self) -> Self {
        self.is(Traits::HIDDEN)
    }

    pub(crate) const fn sensitive(self) -> Self {
        self.is(Traits::SENSITIVE)
    }

    pub(crate) const fn many(self) -> Self {
        self.is(Traits::MANY_ARGUMENTS)
    }

    pub(crate) const fn not_yet(mut self, reason: &'static str) -> Self {
        self.support = Support::NotYet(reason);
        self
    }

    pub(crate) const fn no_meaning(mut self, reason: &'static str) -> Self {
        self.support = Support::NoMeaning(reason);
        self
    }

    /// Whether its value is a secret, which no log and no MONITOR shows.
    pub fn is_sensitive(&self) -> bool {
        self.traits.contains(Traits::SENSITIVE)
    }

    /// Its value in `config`, as CONFIG GET prints it.
    pub fn text(&self, config: &Config) -> Vec<u8> {
        (self.read)(config).text(self.rule)
    }

    /// What a log should say when it is set to something that has no effect.
    pub fn note(&self, config: &Config) -> Option<String> {
        let reason = match self.support {
            Support::Works => return None,
            Support::NotYet(reason) | Support::NoMeaning(reason) => reason,
        };
        let is_default = self.text(config) == self.text(&Config::default());
        (!is_default).then(|| format!("'{}' is accepted without effect: {reason}", self.name))
    }

    /// Gives the directive a new value. On an error `config` may hold half of it: work on a copy.
    pub(crate) fn assign(&self, config: &mut Config, arguments: &[&[u8]]) -> Result<(), String> {
        if let Some(check) = self.check {
            let text = arguments.first().copied().unwrap_or_default();
            check(&String::from_utf8_lossy(text))?;
        }
        (self.write)(config).assign(arguments, self.rule)
    }
}

/// The directive that goes by `name`, in any case, as a name or as an alias.
pub fn find(name: &[u8]) -> Option<&'static Directive> {
    static BY_NAME: LazyLock<HashMap<&'static str, &'static Directive>> = LazyLock::new(|| {
        let names = |directive: &'static Directive| [Some(directive.name), directive.alias];
        let entries = DIRECTIVES.iter().flat_map(|directive| {
            names(directive).into_iter().flatten().map(move |name| (name, directive))
        });
        entries.collect()
    });
    let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
    BY_NAME.get(name.as_str()).copied()
}

/// Every name and alias, in the order of the table.
pub fn names() -> impl Iterator<Item = &'static str> {
    DIRECTIVES.iter().flat_map(|directive| [Some(directive.name), directive.alias]).flatten()
}

/// The known name nearest to `name`, if one is near enough to be what was meant.
pub fn closest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    // A third of the letters wrong is a slip of the hand; more is another word.
    let distance_max = name.len().clamp(3, NAME_LENGTH_MAX) / 3;
    if NAME_LENGTH_MAX < name.len() {
        return None;
    }
    let (distance, nearest) = names()
        .map(|candidate| (edit_distance(name.as_bytes(), candidate.as_bytes()), candidate))
        .min()?;
    (distance <= distance_max).then_some(nearest)
}

/// Longer words are not compared with the table: the work grows with the length.
const NAME_LENGTH_MAX: usize = 64;

/// How many letters must be inserted, removed or replaced to turn one word into the other.
fn edit_distance(from: &[u8], to: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (from_idx, from_byte) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = from_idx + 1;
        for (to_idx, to_byte) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(from_byte != to_byte);
            diagonal = row[to_idx + 1];
            row[to_idx + 1] = replaced.min(diagonal + 1).min(row[to_idx] + 1);
        }
    }
    row[to.len()]
}
