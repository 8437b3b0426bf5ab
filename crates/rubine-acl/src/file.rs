//! The file of users: a line for each, in the form of ACL LIST. Opens no file.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::commands::Commands;
use crate::permissions::ChannelDefault;
use crate::rule::{RuleError, join_selectors};
use crate::user::{User, is_name};

pub(crate) type UsersByName = BTreeMap<Box<[u8]>, Arc<User>>;

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Counted from 1.
    pub line: usize,
    /// As servers of the family write it, with the file's name and the line in it.
    pub text: Vec<u8>,
}

/// Reads all lines. Whatever is wrong anywhere is collected.
pub(crate) fn parse(
    commands: &Commands,
    channels: ChannelDefault,
    file_name: &str,
    text: &[u8],
) -> Result<UsersByName, Vec<LineError>> {
    let mut users = UsersByName::new();
    let mut errors = Vec::new();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = trim(line, b" \t\r");
        if line.is_empty() {
            continue;
        }
        let place = Place { file_name, line: index + 1 };
        let words: Vec<_> = line.split(|&byte| byte == b' ').collect();
        let [b"user", name, rules @ ..] = &words[..] else {
            let text = b" should start with user keyword followed by the username.";
            errors.push(place.error(&[text]));
            continue;
        };
        if !is_name(name) {
            errors.push(place.bad_name(name));
        } else if users.contains_key(*name) {
            errors.push(place.duplicate(name));
        } else {
            let mut user = User::new(commands, channels, name);
            errors.extend(apply_line(commands, channels, &mut user, &place, rules));
            users.insert((*name).into(), Arc::new(user));
        }
    }
    if errors.is_empty() { Ok(users) } else { Err(errors) }
}

/// The place of what is wrong.
struct Place<'a> {
    file_name: &'a str,
    line: usize,
}

impl Place<'_> {
    fn error(&self, pieces: &[&[u8]]) -> LineError {
        let place = format!("{}:{}", self.file_name, self.line).into_bytes();
        LineError { line: self.line, text: [place, pieces.concat()].concat() }
    }

    /// With a quote in front that is never closed, as everywhere.
    fn bad_name(&self, name: &[u8]) -> LineError {
        let LineError { line, text } =
            self.error(&[b": username '", name, b"' contains invalid characters."]);
        LineError { line, text: [b"'", &text[..]].concat() }
    }

    fn duplicate(&self, name: &[u8]) -> LineError {
        let found = format!("' found on line {}.", self.line).into_bytes();
        LineError {
            line: self.line,
            text: [b"WARNING: Duplicate user '", name, &found[..]].concat(),
        }
    }
}

/// Applies the rules of one line. Names that are not known are all told, of other errors only the first, since what
/// follows may be wrong because of it, and may show a password.
fn apply_line(
    commands: &Commands,
    channels: ChannelDefault,
    user: &mut User,
    place: &Place<'_>,
    rules: &[&[u8]],
) -> Vec<LineError> {
    let Ok(rules) = join_selectors(rules.iter().copied()) else {
        return vec![place.error(&[b": Unmatched parenthesis in selector definition."])];
    };
    let mut errors = Vec::new();
    let mut has_other_error = false;
    for rule in &rules {
        let rule = trim(rule, b"\t\r");
        let Err(error) = user.apply(commands, channels, rule) else { continue };
        let reason = error.to_string();
        if error == RuleError::Unknown {
            let pieces: [&[u8]; 4] =
                [b": Error in applying operation '", rule, b"': ", reason.as_bytes()];
            errors.push(place.error(&[&pieces.concat(), b"."]));
        } else if !has_other_error {
            has_other_error = true;
            errors.push(place.error(&[b": ", reason.as_bytes(), b"."]));
        }
    }
    errors
}

/// `text` without any of `bytes` at its ends.
fn trim<'a>(text: &'a [u8], bytes: &[u8]) -> &'a [u8] {
    let is_kept = |byte: &u8| !bytes.contains(byte);
    let Some(start) = text.iter().position(is_kept) else { return &[] };
    let end = text.iter().rposition(is_kept).map_or(start, |last| last + 1);
    &text[start..end]
}
