//! The paths that a Rust source names, read from its text: comments, literals and what only tests compile are left out.
//! Knows of no other file, so it does not know which names are modules.

/// What one file says about other modules.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) paths: Vec<NamedPath>,
    /// What `use` makes known under another or the same name, with the path it stands for.
    pub(super) bindings: Vec<Binding>,
    /// Child modules that only tests compile.
    pub(super) test_modules: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedPath {
    /// The modules within the file that it stands in.
    pub(super) within: Vec<String>,
    /// As it is written: `crate`, `super` and `self` among them.
    pub(super) words: Vec<String>,
    /// The line, counted from one.
    pub(super) line: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) path: NamedPath,
}

pub(super) fn read(text: &str) -> Source {
    let tokens = tokens(text);
    let mut reader = Reader { tokens: &tokens, at: 0, open: Vec::new(), source: Source::default() };
    reader.read();
    reader.source
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    /// `::`
    Separator,
    Mark(char),
}

/// Words and marks with their lines; literals leave nothing behind.
fn tokens(text: &str) -> Vec<(Token<'_>, usize)> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let mut token = None;
        let word = rest.find(|c: char| !is_part_of_word(c)).unwrap_or(rest.len());
        let literal = literal_size(rest);
        let size = if 0 < literal {
            literal
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment_size(rest)
        } else if 0 < word {
            token = Some(Token::Word(&rest[..word]));
            word
        } else if rest.starts_with("::") {
            token = Some(Token::Separator);
            2
        } else {
            token = (!first.is_whitespace()).then_some(Token::Mark(first));
            first.len_utf8()
        };
        tokens.extend(token.map(|token| (token, line)));
        line += rest[..size].matches('\n').count();
        rest = &rest[size..];
    }
    tokens
}

fn is_part_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Bytes of the string or character that the text starts with; nothing if it starts with something else.
fn literal_size(text: &str) -> usize {
    let prefix = ["br", "cr", "b", "c", "r"].into_iter().find(|it| {
        let after = text.strip_prefix(it);
        after.is_some_and(|it| it.starts_with('"') || it.starts_with("#\"") || it.starts_with("##"))
    });
    let prefix = prefix.unwrap_or_default();
    let body = &text[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let end = format!("\"{}", &body[..hashes]);
        let start = prefix.len() + hashes + 1;
        return text[start..].find(&end).map_or(text.len(), |at| start + at + end.len());
    }
    if body.starts_with('"') {
        return prefix.len() + quoted_size(body);
    }
    // A lifetime has no second quote behind its first letter.
    let mut letters = text.chars();
    let is_character = letters.next() == Some('\'')
        && (letters.next() == Some('\\') || letters.next() == Some('\''));
    if is_character { quoted_size(text) } else { 0 }
}

/// Bytes up to and with the quote that closes the one which the text starts with.
fn quoted_size(text: &str) -> usize {
    let quote = text.chars().next();
    let mut is_escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        if Some(letter) == quote && !is_escaped {
            return at + letter.len_utf8();
        }
        is_escaped = letter == '\\' && !is_escaped;
    }
    text.len()
}

/// Bytes of the comment, with those inside it.
fn block_comment_size(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let pair = text.as_bytes().get(at..at + 2).unwrap_or_default();
        match pair {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

struct Reader<'a> {
    tokens: &'a [(Token<'a>, usize)],
    at: usize,
    /// The braces that are open, with the names of those that are modules.
    open: Vec<Option<&'a str>>,
    source: Source,
}

impl<'a> Reader<'a> {
    fn read(&mut self) {
        while let Some(token) = self.peek(0) {
            match token {
                Token::Mark('#') if self.peek(1) == Some(Token::Mark('[')) => self.attribute(),
                Token::Mark('{') => self.open(None),
                Token::Mark('}') => {
                    self.open.pop();
                    self.at += 1;
                }
                Token::Word("mod") if self.peek(2) == Some(Token::Mark('{')) => {
                    let Some(Token::Word(name)) = self.peek(1) else { unreachable!("`mod {{`") };
                    self.at += 2;
                    self.open(Some(name));
                }
                Token::Word("use") if self.peek(1) != Some(Token::Mark('<')) => {
                    self.at += 1;
                    let line = self.line();
                    self.use_tree(&[], line);
                }
                Token::Word("crate" | "super" | "self")
                    if self.peek(1) == Some(Token::Separator) =>
                {
                    self.path();
                }
                _ => self.at += 1,
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).map(|(token, _)| *token)
    }

    fn next_is(&mut self, token: Token<'_>) -> bool {
        let is_next = self.peek(0) == Some(token);
        self.at += usize::from(is_next);
        is_next
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |(_, line)| *line)
    }

    fn open(&mut self, module: Option<&'a str>) {
        self.open.push(module);
        self.at += 1;
    }

    fn named(&self, words: Vec<String>, line: usize) -> NamedPath {
        let within = self.open.iter().flatten().map(|&name| name.to_owned()).collect();
        NamedPath { within, words, line }
    }

    /// A path in an expression or a type.
    fn path(&mut self) {
        let line = self.line();
        let mut words = Vec::new();
        while let Some(Token::Word(word)) = self.peek(0) {
            words.push(word.to_owned());
            self.at += 1;
            if !self.next_is(Token::Separator) {
                break;
            }
        }
        let path = self.named(words, line);
        self.source.paths.push(path);
    }

    /// What stands behind `use`, or in its braces.
    fn use_tree(&mut self, prefix: &[String], line: usize) {
        let mut words = prefix.to_vec();
        self.next_is(Token::Separator);
        while let Some(Token::Word(word)) = self.peek(0).filter(|it| *it != Token::Word("as")) {
            words.push(word.to_owned());
            self.at += 1;
            if !self.next_is(Token::Separator) {
                break;
            }
        }
        if self.next_is(Token::Mark('{')) {
            while self.peek(0).is_some() && !self.next_is(Token::Mark('}')) {
                self.use_tree(&words, self.line());
                self.next_is(Token::Mark(','));
            }
            return;
        }
        let is_everything = self.next_is(Token::Mark('*'));
        // `{self}` in braces means what stands before them.
        if 1 < words.len() && words.last().is_some_and(|word| word == "self") {
            words.pop();
        }
        let mut name = words.last().cloned();
        if self.next_is(Token::Word("as")) {
            let Some(Token::Word(alias)) = self.peek(0) else { return };
            name = Some(alias.to_owned());
            self.at += 1;
        }
        if words.len() == prefix.len() && !is_everything && name.is_none() {
            // Nothing that could be the name of anything: go past it.
            self.at += 1;
            return;
        }
        let path = self.named(words, line);
        self.source.paths.push(path.clone());
        let name = name.filter(|_| !is_everything);
        self.source.bindings.extend(name.map(|name| Binding { name, path }));
    }

    /// Goes past an attribute, and past the item behind it if only tests compile that.
    fn attribute(&mut self) {
        let start = self.at;
        self.at += 1;
        self.skip_group();
        let words = || self.tokens[start..self.at].iter().map(|(token, _)| *token);
        let has = |word| words().any(|token| token == Token::Word(word));
        if has("cfg") && has("test") && !has("not") {
            self.skip_item();
        }
    }

    fn skip_item(&mut self) {
        while self.peek(0) == Some(Token::Mark('#')) {
            self.at += 1;
            self.skip_group();
        }
        while let Some(token) = self.peek(0) {
            match token {
                Token::Mark('}') => return,
                Token::Mark('{') => return self.skip_group(),
                Token::Mark('(' | '[') => self.skip_group(),
                Token::Mark(';') => {
                    self.at += 1;
                    return;
                }
                Token::Word("mod") => {
                    let name = self.peek(1).filter(|_| self.peek(2) == Some(Token::Mark(';')));
                    if let Some(Token::Word(name)) = name {
                        self.source.test_modules.push(name.to_owned());
                    }
                    self.at += 1;
                }
                _ => self.at += 1,
            }
        }
    }

    /// From an opening bracket past the one that closes it.
    fn skip_group(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.peek(0) {
            match token {
                Token::Mark('{' | '(' | '[') => depth += 1,
                Token::Mark('}' | ')' | ']') => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    fn paths(text: &str) -> Vec<String> {
        let source = read(text);
        let shown = source.paths.iter().map(|path| {
            let within: String = path.within.iter().map(|name| format!("{name}/")).collect();
            format!("{} {within}{}", path.line, path.words.join("::"))
        });
        shown.collect()
    }

    #[test]
    fn paths_of_uses_and_of_code() {
        let text = "use crate::a::{self, b as c,\n  d::{E, F}, g::*};\nfn f<'a>(x: &'a super::H) -> impl Sized + use<'a> {\n    self::i::j(crate::k)\n}\n";
        let expected = [
            "1 crate::a",
            "1 crate::a::b",
            "2 crate::a::d::E",
            "2 crate::a::d::F",
            "2 crate::a::g",
            "3 super::H",
            "4 self::i::j",
            "4 crate::k",
        ];
        assert_eq!(paths(text), expected);
    }

    #[test]
    fn comments_and_literals_name_nothing() {
        let text = "// crate::a::A\n/* crate::b /* */ crate::c */ const X: &str = \"\\\"crate::d\";\n\
                    const Y: &[u8] = br#\"crate::e\"#; const Z: [char; 2] = ['\"', '\\''];\nuse crate::f::F;\n";
        assert_eq!(paths(text), ["4 crate::f::F"]);
    }

    #[test]
    fn what_tests_compile_is_left_out() {
        let text = "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n#[cfg(test)]\n#[path = \"x\"]\nmod model;\n#[cfg(all(test, unix))]\nuse crate::b::{B, C};\n#[cfg(not(test))]\nuse crate::d::D;\n";
        assert_eq!(paths(text), ["11 crate::d::D"]);
        assert_eq!(read(text).test_modules, ["model"]);
    }

    #[test]
    fn modules_within_a_file() {
        assert_eq!(
            paths("mod real {\n    use super::a::A;\n}\nuse b::B;\n"),
            ["2 real/super::a::A", "4 b::B"]
        );
    }

    #[test]
    fn bindings() {
        let source = read("use crate::a::{A, B as C, *};\n");
        let names: Vec<_> = source.bindings.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["A", "C"]);
    }
}
