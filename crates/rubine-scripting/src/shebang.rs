//! The first line of a script or library: `#!lua flags=no-writes` and `#!lua name=mylib`. Knows nothing of Lua.

use bitflags::bitflags;
use rubine_base::quote::split_args;

use crate::error::ScriptError;

bitflags! {
    /// What a script or function says of itself.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ScriptFlags: u16 {
        /// It changes nothing.
        const NO_WRITES = 1;
        /// It may run where memory has run out.
        const ALLOW_OOM = 1 << 1;
        /// It may run on a replica that has lost its master.
        const ALLOW_STALE = 1 << 2;
        /// It must not run in a cluster.
        const NO_CLUSTER = 1 << 3;
        /// Its keys may be in several slots.
        const ALLOW_CROSS_SLOT_KEYS = 1 << 4;
        /// An error puts back what was written. Rubine's own.
        const ATOMIC = 1 << 5;
        /// There is no shebang, so it is treated as before there were flags.
        const COMPATIBLE = 1 << 15;
    }
}

/// Names of flags, in the order in which they are listed.
pub const FLAGS: [(&str, ScriptFlags); 6] = [
    ("no-writes", ScriptFlags::NO_WRITES),
    ("allow-oom", ScriptFlags::ALLOW_OOM),
    ("allow-stale", ScriptFlags::ALLOW_STALE),
    ("no-cluster", ScriptFlags::NO_CLUSTER),
    ("allow-cross-slot-keys", ScriptFlags::ALLOW_CROSS_SLOT_KEYS),
    ("atomic", ScriptFlags::ATOMIC),
];

impl ScriptFlags {
    /// The names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        FLAGS.into_iter().filter(move |(_, flag)| self.contains(*flag)).map(|(name, _)| name)
    }
}

/// What a script's shebang says, and where its code begins.
pub(crate) fn parse_script(text: &[u8]) -> Result<(ScriptFlags, usize), ScriptError> {
    if !text.starts_with(b"#!") {
        return Ok((ScriptFlags::COMPATIBLE, 0));
    }
    let Some((words, len)) = split_line(text) else {
        return Err(ScriptError::text("ERR Invalid script shebang"));
    };
    let words = words.ok_or(ScriptError::text("ERR Invalid engine in script shebang"))?;
    let Some(engine) = words.first().and_then(|it| it.strip_prefix(b"#!")) else {
        return Err(ScriptError::text("ERR Invalid engine in script shebang"));
    };
    let mut flags = ScriptFlags::empty();
    for word in &words[1..] {
        let Some(names) = word.strip_prefix(b"flags=") else {
            return Err(ScriptError::quoting("ERR Unknown lua shebang option: ", word));
        };
        if names.is_empty() {
            continue;
        }
        for name in names.split(|it| *it == b',') {
            let flag = FLAGS.iter().find(|(it, _)| it.as_bytes() == name);
            let Some((_, flag)) = flag else {
                let text = "ERR Unexpected flag in script shebang: ";
                return Err(ScriptError::quoting(text, name));
            };
            flags |= *flag;
        }
    }
    if !engine.eq_ignore_ascii_case(b"lua") {
        let text = [b"ERR Could not find scripting engine '", engine, b"'"].concat();
        return Err(ScriptError::Compile(text));
    }
    Ok((flags, len))
}

/// What a script says of itself in its first line, if that can be understood.
pub fn script_flags(text: &[u8]) -> Option<ScriptFlags> {
    parse_script(text).ok().map(|it| it.0)
}

/// The name that a library's shebang gives, and where its code begins.
pub(crate) fn parse_library(text: &[u8]) -> Result<(Vec<u8>, usize), ScriptError> {
    if !text.starts_with(b"#!") {
        return Err(ScriptError::text("ERR Missing library metadata"));
    }
    let invalid = ScriptError::text("ERR Invalid library metadata");
    let Some((Some(words), len)) = split_line(text) else { return Err(invalid) };
    let Some(engine) = words.first() else { return Err(invalid) };
    let mut name = None;
    for word in &words[1..] {
        let Some((prefix, value)) = word.split_at_checked(5) else {
            return Err(ScriptError::quoting("ERR Invalid metadata value given: ", word));
        };
        if !prefix.eq_ignore_ascii_case(b"name=") {
            return Err(ScriptError::quoting("ERR Invalid metadata value given: ", word));
        }
        if name.replace(value.to_vec()).is_some() {
            return Err(ScriptError::text(
                "ERR Invalid metadata value, name argument was given multiple times",
            ));
        }
    }
    let name = name.ok_or(ScriptError::text("ERR Library name was not given"))?;
    if !is_name(&name) {
        return Err(ScriptError::text(
            "ERR Library names can only contain letters, numbers, or underscores(_) and must be at \
             least one character long",
        ));
    }
    let engine = engine.get(2..).unwrap_or_default();
    if !engine.eq_ignore_ascii_case(b"lua") {
        let text = [b"ERR Engine '", engine, b"' not found"].concat();
        return Err(ScriptError::Compile(text));
    }
    Ok((name, len))
}

/// Whether libraries and functions may be called so.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|it| it.is_ascii_alphanumeric() || *it == b'_')
}

/// The words of the first line, if quotes in it are closed, and its length; `None` if no line ends.
fn split_line(text: &[u8]) -> Option<(Option<Vec<Vec<u8>>>, usize)> {
    let len = memchr::memchr(b'\n', text)?;
    Some((split_args(&text[..len]).ok().filter(|it| !it.is_empty()), len))
}

#[cfg(test)]
mod tests {
    use super::{ScriptFlags, parse_library, parse_script};

    #[test]
    fn scripts() {
        let check = |text: &str, expected: Result<(ScriptFlags, usize), &str>| {
            let parsed = parse_script(text.as_bytes());
            assert_eq!(
                parsed.map_err(|it| it.to_string()),
                expected.map_err(str::to_owned),
                "{text}"
            );
        };
        check("return 1", Ok((ScriptFlags::COMPATIBLE, 0)));
        check("#!lua\nreturn 1", Ok((ScriptFlags::empty(), 5)));
        check("#!LUA flags=\n", Ok((ScriptFlags::empty(), 12)));
        check(
            "#!lua flags=no-writes,atomic flags=allow-oom\n",
            Ok((ScriptFlags::NO_WRITES | ScriptFlags::ATOMIC | ScriptFlags::ALLOW_OOM, 44)),
        );
        check("#!lua", Err("ERR Invalid script shebang"));
        check("#!lua \"\n", Err("ERR Invalid engine in script shebang"));
        check("#!lua name=x\n", Err("ERR Unknown lua shebang option: name=x"));
        check("#!lua flags=x\n", Err("ERR Unexpected flag in script shebang: x"));
        check("#!not_lua\n", Err("ERR Could not find scripting engine 'not_lua'"));
    }

    #[test]
    fn libraries() {
        let check = |text: &str, expected: Result<(&str, usize), &str>| {
            let parsed = parse_library(text.as_bytes()).map_err(|it| it.to_string());
            let expected = expected.map(|(name, len)| (name.as_bytes().to_vec(), len));
            assert_eq!(parsed, expected.map_err(str::to_owned), "{text}");
        };
        check("#!lua name=a\nx", Ok(("a", 12)));
        check("#!LUA NAME=a_1\r\nx", Ok(("a_1", 15)));
        check("x", Err("ERR Missing library metadata"));
        check("#!lua name=a", Err("ERR Invalid library metadata"));
        check("#!lua\n", Err("ERR Library name was not given"));
        check("#!lua foo\n", Err("ERR Invalid metadata value given: foo"));
        check("#!x name=a\n", Err("ERR Engine 'x' not found"));
        check(
            "#!lua name=a name=b\n",
            Err("ERR Invalid metadata value, name argument was given multiple times"),
        );
    }
}
