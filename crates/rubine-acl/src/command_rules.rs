//! The rules about commands: which ones they allow, and the rules themselves, in the order in which they are written
//! down again. Knows no keys and no channels.

use crate::commands::{CommandNumber, CommandSet, Commands};
use crate::rule::{RuleError, has_blanks};

/// What the rules about commands of one set of permissions amount to.
///
/// Invariant: applied to `base`, in their order, `rules` give all other fields.
#[derive(Clone, Debug)]
pub(crate) struct CommandRules {
    base: Base,
    /// No command was taken away since all were allowed.
    allows_all: bool,
    allowed: CommandSet,
    /// Commands that are not allowed but with one of these first arguments.
    first_arguments: Vec<(CommandNumber, Vec<Vec<u8>>)>,
    rules: Vec<CommandRule>,
}

#[derive(Clone, Copy, Debug)]
enum Base {
    All,
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug)]
struct CommandRule {
    effect: Effect,
    /// In small letters: `get`, `config|get`, `select|0`, `@read`.
    subject: Vec<u8>,
}

impl CommandRules {
    /// Nothing but what everybody may.
    pub(crate) fn nothing(commands: &Commands) -> Self {
        Self {
            base: Base::Nothing,
            allows_all: false,
            allowed: commands.always_allowed().clone(),
            first_arguments: Vec::new(),
            rules: Vec::new(),
        }
    }

    pub(crate) fn deny_all(&mut self, commands: &Commands) {
        *self = Self::nothing(commands);
    }

    pub(crate) fn allow_all(&mut self) {
        self.base = Base::All;
        self.allows_all = true;
        self.allowed.fill();
        self.first_arguments.clear();
        self.rules.clear();
    }

    /// Applies a rule that begins with `+` or `-`.
    pub(crate) fn apply(&mut self, commands: &Commands, rule: &[u8]) -> Result<(), RuleError> {
        let (effect, subject) = match rule {
            [b'+', subject @ ..] => (Effect::Allow, subject),
            [b'-', subject @ ..] => (Effect::Deny, subject),
            _ => return Err(RuleError::Syntax),
        };
        if let [b'@', category @ ..] = subject {
            if category.eq_ignore_ascii_case(b"all") {
                match effect {
                    Effect::Allow => self.allow_all(),
                    Effect::Deny => self.deny_all(commands),
                }
                return Ok(());
            }
            let numbers = commands.numbers_in_category(category).ok_or(RuleError::Unknown)?;
            numbers.for_each(|number| self.set(commands, number, effect));
        } else if let Some(number) = commands.find(subject) {
            self.set(commands, number, effect);
        } else if effect == Effect::Allow {
            self.allow_first_argument(commands, subject)?;
        } else {
            return Err(RuleError::Unknown);
        }
        self.remember(effect, subject.to_ascii_lowercase());
        Ok(())
    }

    /// Whether the command may be run with that first argument.
    #[inline]
    pub(crate) fn allows(&self, number: CommandNumber, first_argument: Option<&[u8]>) -> bool {
        self.allows_all
            || self.allowed.contains(number)
            || self.allows_first_argument(number, first_argument)
    }

    /// Whether the command may be run, whatever its first argument.
    #[inline]
    pub(crate) fn surely_allows(&self, number: CommandNumber) -> bool {
        self.allowed.contains(number)
    }

    pub(crate) fn allows_all(&self) -> bool {
        self.allows_all
    }

    /// The rules, each of which is one word unless it has blanks in it, which none has.
    pub(crate) fn words(&self) -> impl Iterator<Item = Vec<u8>> {
        let base = match self.base {
            Base::All => "+@all",
            Base::Nothing => "-@all",
        };
        let rules = self.rules.iter().map(|rule| {
            let sign = match rule.effect {
                Effect::Allow => b'+',
                Effect::Deny => b'-',
            };
            [&[sign], &rule.subject[..]].concat()
        });
        std::iter::once(base.as_bytes().to_vec()).chain(rules)
    }

    #[cold]
    fn allows_first_argument(&self, number: CommandNumber, argument: Option<&[u8]>) -> bool {
        let Some(argument) = argument else { return false };
        let mut known = self.first_arguments.iter();
        let allowed = known.find(|(command, _)| *command == number);
        allowed.is_some_and(|(_, them)| them.iter().any(|it| it.eq_ignore_ascii_case(argument)))
    }

    /// Allows or denies a command. What is said of a container is said of its subcommands.
    fn set(&mut self, commands: &Commands, number: CommandNumber, effect: Effect) {
        self.first_arguments.retain(|(command, _)| *command != number);
        for number in commands.subcommands(number).iter().copied().chain([number]) {
            match effect {
                Effect::Allow => self.allowed.insert(number),
                Effect::Deny => {
                    self.allows_all = false;
                    if !commands.needs_no_login(number) {
                        self.allowed.remove(number);
                    }
                }
            }
        }
    }

    /// Allows `select|0`: a command without subcommands, if its first argument is this one.
    fn allow_first_argument(
        &mut self,
        commands: &Commands,
        subject: &[u8],
    ) -> Result<(), RuleError> {
        let bar = subject.iter().rposition(|&byte| byte == b'|').ok_or(RuleError::Unknown)?;
        let number = commands.find(&subject[..bar]).ok_or(RuleError::Unknown)?;
        let argument = &subject[bar + 1..];
        if commands.is_subcommand(number) {
            return Err(RuleError::ArgumentOfSubcommand);
        }
        if argument.is_empty() {
            return Err(RuleError::Syntax);
        }
        if !commands.subcommands(number).is_empty() {
            return Err(RuleError::Unknown);
        }
        // A rule that is two words when it is read again would be another rule, or none.
        if has_blanks(argument) {
            return Err(RuleError::Syntax);
        }
        let place = self.first_arguments.iter().position(|(command, _)| *command == number);
        let place = place.unwrap_or_else(|| {
            self.first_arguments.push((number, Vec::new()));
            self.first_arguments.len() - 1
        });
        let arguments = &mut self.first_arguments[place].1;
        if !arguments.iter().any(|it| it.eq_ignore_ascii_case(argument)) {
            arguments.push(argument.to_vec());
        }
        Ok(())
    }

    /// Adds a rule at the end, in place of those that it makes void: itself, and rules about subcommands of its.
    fn remember(&mut self, effect: Effect, subject: Vec<u8>) {
        self.rules.retain(|rule| {
            let rest = rule.subject.strip_prefix(&subject[..]);
            !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"|"))
        });
        self.rules.push(CommandRule { effect, subject });
    }
}
