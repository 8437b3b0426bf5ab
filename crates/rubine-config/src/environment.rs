//! Directives from the environment: `RUBINE_PORT` is `port`, and `RUBINE_REQUIREPASS_FILE` names a file that holds
//! `requirepass`. Sets nothing by itself.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use super::table::directive::{Directive, find};
use super::values::reason;

const PREFIX: &str = "RUBINE_";
const FILE: &str = "_FILE";
/// A value in a file is no longer.
const VALUE_BYTES_MAX: u64 = 64 << 10;

/// A directive that the environment sets. In order of name.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) directive: &'static Directive,
    /// What the variable holds: the value, or the name of a file.
    content: Vec<u8>,
    is_file: bool,
}

impl PartialEq for Variable {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Variable {}

impl PartialOrd for Variable {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Variable {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name.cmp(&other.name)
    }
}

/// The directive that a variable of the environment is about, if it is about one.
pub(super) fn directive_of((name, content): (OsString, OsString)) -> Option<Variable> {
    let name = name.into_string().ok()?;
    let content = content.into_vec();
    let word = name.strip_prefix(PREFIX)?;
    // A service of Kubernetes that is called "rubine" has its address put there.
    if word == "PORT" && content.starts_with(b"tcp://") {
        return None;
    }
    let directive = |word: &str| find(word.to_ascii_lowercase().replace('_', "-").as_bytes());
    // Some directives end in "-file" themselves.
    let (directive, is_file) = match (directive(word), word.strip_suffix(FILE)) {
        (Some(directive), _) => (directive, false),
        (None, Some(word)) => (directive(word)?, true),
        (None, None) => return None,
    };
    Some(Variable { name, directive, content, is_file })
}

impl Variable {
    /// The value. One end of line behind it, in a file, is no part of it.
    pub(super) fn read(&self) -> Result<Vec<u8>, String> {
        if !self.is_file {
            return Ok(self.content.clone());
        }
        let path = String::from_utf8_lossy(&self.content).into_owned();
        let failed = |error: &std::io::Error| format!("can't read '{path}': {}", reason(error));
        let file = std::fs::File::open(&path).map_err(|error| failed(&error))?;
        let mut value = Vec::new();
        let mut bounded = file.take(VALUE_BYTES_MAX + 1);
        bounded.read_to_end(&mut value).map_err(|error| failed(&error))?;
        if VALUE_BYTES_MAX < value.len() as u64 {
            return Err(format!("'{path}' is too large for a value"));
        }
        let line = value.strip_suffix(b"\n").unwrap_or(&value);
        Ok(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::directive_of;
    use crate::load::Mode;
    use crate::table::Config;

    fn load(variables: &[(&str, &str)], args: &[&str]) -> Result<(Config, Vec<String>), String> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let mut variables: Vec<_> = variables.filter_map(directive_of).collect();
        variables.sort();
        let args: Vec<Vec<u8>> = args.iter().map(|it| it.as_bytes().to_vec()).collect();
        let file = &mut &b"port 1000\nmaxmemory 1mb\ntimeout 5"[..];
        let (config, source) = Config::from_all(&args, &variables, Mode::Server, file)
            .map_err(|error| error.to_string())?;
        let origins = source.origins.into_iter().map(|(name, origin)| format!("{name}: {origin}"));
        Ok((config, origins.collect()))
    }

    #[test]
    fn the_environment_counts_more_than_files_and_less_than_the_command_line() {
        let variables = [
            ("RUBINE_PORT", "2000"),
            ("RUBINE_MAXMEMORY", "2mb"),
            ("RUBINE_SAVE", "900 1 300 10"),
            ("RUBINE_NOTHING", "x"),
            ("PORT", "1"),
        ];
        let (config, origins) = load(&variables, &["-", "--port", "3000"]).unwrap();
        assert_eq!((config.port, config.maxmemory, config.timeout), (3000, 2 << 20, 5));
        assert_eq!(config.save.len(), 2);
        let expected = [
            "timeout: line 3 of standard input",
            "maxmemory: RUBINE_MAXMEMORY of the environment",
            "save: RUBINE_SAVE of the environment",
            "port: the command line",
        ];
        assert_eq!(origins, expected);
    }

    #[test]
    fn secrets_come_from_files() {
        let path = std::env::temp_dir().join(format!("rubine-secret-{}", std::process::id()));
        let file = path.display().to_string();
        std::fs::write(&path, "se cret\r\n").unwrap();
        let (config, _) = load(&[("RUBINE_REQUIREPASS_FILE", &file)], &["-"]).unwrap();
        assert_eq!(config.requirepass.as_deref(), Some(&b"se cret"[..]));
        // This one is a directive of that name.
        let (config, _) = load(&[("RUBINE_TLS_KEY_FILE", "/keys/a")], &["-"]).unwrap();
        assert_eq!(config.tls_key_file.as_deref(), Some("/keys/a"));
        std::fs::remove_file(&path).unwrap();
        let fault = load(&[("RUBINE_REQUIREPASS_FILE", &file)], &["-"]).unwrap_err();
        assert!(
            fault.contains("RUBINE_REQUIREPASS_FILE of the environment: can't read"),
            "{fault}"
        );
    }

    #[test]
    fn what_is_wrong_names_its_variable() {
        let fault = load(&[("RUBINE_PORT", "x")], &["-"]).unwrap_err();
        assert!(fault.contains("RUBINE_PORT of the environment: "), "{fault}");
        let kubernetes =
            [("RUBINE_PORT", "tcp://10.0.0.1:6379"), ("RUBINE_SERVICE_HOST", "10.0.0.1")];
        assert_eq!(load(&kubernetes, &["-"]).unwrap().0.port, 1000);
    }
}
