//! Reads the line of arguments that a declaration has, as `key value [NX | XX] [EX seconds]`, into a tree.
//!
//! Words in capitals are tokens, and what follows one belongs to it. `[..]` may be left out, `<..>` groups, `|` parts
//! alternatives, `[x ...]` behind `x` lets it stand several times. A line is written by us: a test reads all of them.

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Argument {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The word in front of it, or that it is.
    pub(super) token: Option<String>,
    pub(super) is_optional: bool,
    pub(super) is_multiple: bool,
    /// Its token stands in front of every repetition, not only of the first.
    pub(super) is_token_multiple: bool,
}

/// What may stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf(Vec<Argument>),
    Block(Vec<Argument>),
}

impl Kind {
    /// The name in COMMAND DOCS.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Key => "key",
            Self::Pattern => "pattern",
            Self::UnixTime => "unix-time",
            Self::PureToken => "pure-token",
            Self::OneOf(_) => "oneof",
            Self::Block(_) => "block",
        }
    }

    /// What it is made of, if it is made of others.
    pub(super) fn parts(&self) -> Option<&[Argument]> {
        match self {
            Self::OneOf(parts) | Self::Block(parts) => Some(parts),
            _ => None,
        }
    }
}

/// The arguments of a line.
pub(super) fn parse(line: &str) -> Vec<Argument> {
    let mut spaced = String::with_capacity(line.len() * 2);
    for character in line.chars() {
        if "[]<>|".contains(character) {
            spaced.extend([' ', character, ' ']);
        } else {
            spaced.push(character);
        }
    }
    let mut words = spaced.split_whitespace().peekable();
    let arguments = alternatives(&mut words);
    match arguments {
        Group::Sequence(arguments) => arguments,
        Group::Choice(choices) => vec![one_of(choices)],
    }
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

/// What stands between two brackets.
enum Group {
    Sequence(Vec<Argument>),
    Choice(Vec<Argument>),
}

/// Reads up to the closing bracket.
fn alternatives(words: &mut Words<'_>) -> Group {
    let mut choices = vec![sequence(words)];
    while words.next_if(|it| *it == "|").is_some() {
        choices.push(sequence(words));
    }
    words.next_if(|it| *it == "]" || *it == ">");
    if choices.len() == 1 {
        return Group::Sequence(choices.remove(0));
    }
    Group::Choice(choices.into_iter().map(block).collect())
}

/// Reads arguments up to a closing bracket or the next alternative.
fn sequence(words: &mut Words<'_>) -> Vec<Argument> {
    let mut arguments: Vec<Argument> = Vec::new();
    while let Some(word) = words.next_if(|it| !["]", ">", "|"].contains(it)) {
        match word {
            "[" => {
                let group = alternatives(words);
                optional(&mut arguments, group);
            }
            "<" => arguments.push(match alternatives(words) {
                Group::Sequence(parts) => block(parts),
                Group::Choice(choices) => one_of(choices),
            }),
            "..." => {
                if let Some(last) = arguments.last_mut() {
                    last.is_multiple = true;
                }
            }
            word if is_token(word) => {
                let values = values_of_token(words);
                arguments.push(with_token(word, values));
            }
            word => arguments.push(plain(word)),
        }
    }
    arguments
}

/// The words behind a token that belong to it: up to the next token or bracket, but with the repetition of the last.
fn values_of_token(words: &mut Words<'_>) -> Vec<Argument> {
    let mut values: Vec<Argument> = Vec::new();
    loop {
        let is_word = |it: &&str| !"[]<>|".contains(*it) && *it != "..." && !is_token(it);
        if let Some(word) = words.next_if(is_word) {
            values.push(plain(word));
            continue;
        }
        let first = values.last().map(|it| it.name.clone());
        let mut ahead = words.clone();
        let repeats = ahead.next() == Some("[") && {
            let next = ahead.next();
            next.is_some() && values.iter().any(|it| Some(it.name.as_str()) == next)
        };
        if first.is_none() || !repeats {
            return values;
        }
        words.next();
        let group = alternatives(words);
        optional(&mut values, group);
    }
}

/// Adds what stood in square brackets: the repetition of what is in front of it, or something that may be left out.
fn optional(arguments: &mut Vec<Argument>, group: Group) {
    let mut parts = match group {
        Group::Choice(choices) => {
            let mut choice = one_of(choices);
            choice.is_optional = true;
            return arguments.push(choice);
        }
        Group::Sequence(parts) => parts,
    };
    let start = arguments.len().checked_sub(parts.len());
    let is_repetition = !parts.is_empty()
        && parts.last().is_some_and(|it| it.is_multiple)
        && start.is_some_and(|start| {
            arguments[start..].iter().zip(&parts).all(|(before, again)| before.name == again.name)
        });
    if is_repetition {
        let repeated = arguments.split_off(start.unwrap_or(0));
        let mut repeated = block(repeated);
        repeated.is_multiple = true;
        repeated.is_token_multiple = repeated.token.is_some();
        return arguments.push(repeated);
    }
    let mut part = if parts.len() == 1 { parts.remove(0) } else { block(parts) };
    part.is_optional = true;
    arguments.push(part);
}

fn one_of(choices: Vec<Argument>) -> Argument {
    let names: Vec<_> = choices.iter().map(|it| it.name.as_str()).collect();
    argument(names.join("-or-"), Kind::OneOf(choices))
}

/// Several arguments that go together; one alone is itself.
fn block(mut parts: Vec<Argument>) -> Argument {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let name = parts.first().map_or_else(|| "block".to_owned(), |it| format!("{}-block", it.name));
    argument(name, Kind::Block(parts))
}

fn with_token(token: &str, values: Vec<Argument>) -> Argument {
    let mut argument = match values.len() {
        0 => argument(token.to_ascii_lowercase(), Kind::PureToken),
        1 => block(values),
        _ => argument(token.to_ascii_lowercase(), Kind::Block(values)),
    };
    argument.token = Some(token.to_owned());
    argument
}

fn plain(word: &str) -> Argument {
    argument(word.to_owned(), kind_of(word))
}

fn argument(name: String, kind: Kind) -> Argument {
    Argument {
        name,
        kind,
        token: None,
        is_optional: false,
        is_multiple: false,
        is_token_multiple: false,
    }
}

/// Whether a word stands for itself: capitals, a digit, or the empty string in quotes.
fn is_token(word: &str) -> bool {
    if word == "\"\"" {
        return true;
    }
    let has_small = word.bytes().any(|it| it.is_ascii_lowercase());
    !has_small && word.bytes().any(|it| it.is_ascii_alphanumeric())
}

/// What a word asks for, by the names that declarations use.
fn kind_of(word: &str) -> Kind {
    match word {
        "key" | "key1" | "key2" | "newkey" | "source" | "destination" | "srckey" | "destkey" => {
            Kind::Key
        }
        "pattern" => Kind::Pattern,
        "timeout" | "increment-by-float" | "longitude" | "latitude" | "score" | "radius"
        | "width" | "height" => Kind::Double,
        "count" | "index" | "index1" | "index2" | "seconds" | "milliseconds" | "offset"
        | "start" | "end" | "stop" | "increment" | "decrement" | "db" | "destination-db"
        | "numkeys" | "numfields" | "cursor" | "rank" | "num-matches" | "len" | "samples"
        | "min-match-len" | "exactly" | "size" | "port" | "bit" | "numreplicas" | "numlocal" => {
            Kind::Integer
        }
        word if word.starts_with("unix-time") => Kind::UnixTime,
        _ => Kind::String,
    }
}

#[cfg(test)]
mod tests {
    use super::{Argument, Kind, parse};

    /// The tree in one line: `?` may be left out, `+` stands several times, `*` too, and its token with it.
    fn show(arguments: &[Argument]) -> String {
        arguments.iter().map(show_one).collect::<Vec<_>>().join(" ")
    }

    fn show_one(argument: &Argument) -> String {
        let token = match (&argument.token, &argument.kind) {
            (Some(token), Kind::PureToken) => return format!("{token}{}", marks(argument)),
            (Some(token), _) => format!("{token}="),
            (None, _) => String::new(),
        };
        let kind = match &argument.kind {
            Kind::OneOf(parts) => {
                let parts: Vec<_> = parts.iter().map(show_one).collect();
                format!("<{}>", parts.join("|"))
            }
            Kind::Block(parts) => format!("{{{}}}", show(parts)),
            kind => format!("{}:{}", argument.name, kind.name()),
        };
        format!("{token}{kind}{}", marks(argument))
    }

    fn marks(argument: &Argument) -> String {
        let mut marks = String::new();
        if argument.is_optional {
            marks.push('?');
        }
        if argument.is_multiple {
            marks.push(if argument.is_token_multiple { '*' } else { '+' });
        }
        marks
    }

    #[test]
    fn lines_become_trees() {
        let expected = [
            ("", ""),
            ("key value", "key:key value:string"),
            ("key [key ...]", "key:key+"),
            ("[section [section ...]]", "section:string?+"),
            ("[key ...]", "key:key?+"),
            ("key value [key value ...]", "{key:key value:string}+"),
            (
                "numkeys key value [key value ...] [NX | XX]",
                "numkeys:integer {key:key value:string}+ <NX|XX>?",
            ),
            (
                "key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
                "key:key seconds:integer <NX|XX|GT|LT>? FIELDS={numfields:integer field:string+}",
            ),
            (
                "cursor [MATCH pattern] [COUNT count]",
                "cursor:integer MATCH=pattern:pattern? COUNT=count:integer?",
            ),
            ("key [count [WITHVALUES]]", "key:key {count:integer WITHVALUES?}?"),
            (
                "source destination <LEFT | RIGHT> [<COUNT count | EXACTLY exactly> <OBO | BULK>]",
                "source:key destination:key <LEFT|RIGHT> {<COUNT=count:integer|EXACTLY=exactly:integer> <OBO|BULK>}?",
            ),
            ("[[NOSAVE | SAVE] [NOW] | ABORT]", "<{<NOSAVE|SAVE>? NOW?}|ABORT>?"),
            ("0|1", "<0|1>"),
            ("<key | \"\"> [KEYS key [key ...]]", "<key:key|\"\"> KEYS=key:key?+"),
            ("[GET pattern [GET pattern ...]]", "GET=pattern:pattern?*"),
            (
                "[GET encoding offset [GET encoding offset ...]]",
                "GET={encoding:string offset:integer}?*",
            ),
        ];
        for (line, tree) in expected {
            assert_eq!(show(&parse(line)), tree, "{line}");
        }
    }
}
