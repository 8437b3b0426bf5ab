//! Transcripts: command tests as text in redis-cli notation. This page is the format; `parse` reads it, `run` plays it.
//! A transcript never names a port, a process or a Rust type, so one file serves every target.
//!
//! ```text
//! # A comment. Blank lines end a reply and are otherwise ignored.
//! > SET k "a\x00b" PX 1500         a request, with redis-cli's quoting
//! OK                               its reply, as redis-cli prints it on a terminal
//! @advance 1500ms                  time passes: a fake clock in-process, a real wait over TCP
//! > GET k
//! (nil)                            also accepts a null array; `(nil array)` accepts only that
//! > BLPOP k 0
//! ...                              no reply yet
//! @client b                        goes on as another connection; the first is called `main`
//! > RPUSH k v
//! (integer) 1
//! @client main
//! <                                a further reply or push arrives, without a request
//! 1) "k"
//! 2) "v"
//! > QUIT
//! OK
//! <
//! (closed)                         the server closed the connection; the next request opens a new one
//! @resp 3                          this connection speaks RESP3 from here
//! @config set maxmemory 1mb        until `@fresh` or the end of the file
//! @fresh                           empties the server, restores its configuration, closes all connections
//! @unordered                       the next reply's elements may come in any order, at every depth
//! @unordered pairs                 the same, two by two
//! > OBJECT IDLETIME k
//! @match (integer) *               one line as a pattern of `*` and `?`; alone, it covers the whole reply
//! @only redis 8.4 DELEX is Redis's word     up to `@end`, of all peers only Redis from 8.4 on is asked
//! > DELEX k                        (`@only rubine ..`: no peer is); Rubine always is
//! (integer) 0
//! @end
//! > HELLO 2 SETNAME "a b"
//! (error) ERR ours
//! @differs valkey 9.0 a reason     the same request's reply from Valkey since 9.0, where it is not ours
//! (error) ERR theirs
//! ```
//!
//! A request without a reply below it fails, except under `UPDATE=1`, which writes what the target answered.

mod compare;
mod parse;
mod run;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

pub use run::{Failure, Outcome, Scope, run};

use crate::target::{Identity, Target, Version};

/// Real time passes over TCP, so one file may not ask for more of it at once.
pub const ADVANCE_MAX: Duration = Duration::from_secs(10);

/// One file, parsed.
#[derive(Debug)]
pub struct Transcript {
    /// As shown in failures.
    pub name: String,
    lines: Vec<String>,
    steps: Vec<Step>,
}

/// A line that is not in the format.
#[derive(Debug, PartialEq, Eq)]
pub struct ParseError {
    pub name: String,
    /// Counted from one.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.name, self.line, self.what)
    }
}

impl std::error::Error for ParseError {}

#[derive(Debug)]
struct Step {
    /// Index of its line.
    line_index: usize,
    /// The peers that are asked; all when there is no `@only`.
    only: Option<Peer>,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Request { args: Vec<Vec<u8>>, expected: Expectation },
    Arrival { expected: Expectation },
    Advance(Duration),
    Resp(String),
    Configure { name: String, value: String },
    Client(String),
    Fresh,
}

/// Where in the file the expected reply stands.
#[derive(Debug)]
struct Expectation {
    lines: Range<usize>,
    differs: Vec<(Peer, Range<usize>)>,
    order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Exact,
    Any,
    AnyPairs,
}

/// A server by name, from a version on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Peer {
    name: String,
    since: Version,
}

impl Peer {
    fn is(&self, identity: &Identity) -> bool {
        self.name == identity.name && self.since <= identity.version
    }
}

impl Transcript {
    /// Parses a file's text.
    pub fn parse(name: &str, text: &str) -> Result<Self, ParseError> {
        parse::parse(name, text)
    }

    /// The arguments of all requests.
    pub fn requests(&self) -> impl Iterator<Item = &[Vec<u8>]> {
        self.steps.iter().filter_map(|step| match &step.action {
            Action::Request { args, .. } => Some(args.as_slice()),
            _ => None,
        })
    }

    /// The directives that it sets, with their values.
    pub fn configured(&self) -> impl Iterator<Item = (&str, &str)> {
        self.steps.iter().filter_map(|step| match &step.action {
            Action::Configure { name, value } => Some((name.as_str(), value.as_str())),
            _ => None,
        })
    }

    /// Whether some steps are for the peer of this name only.
    pub fn has_steps_only_for(&self, name: &str) -> bool {
        self.steps.iter().any(|step| step.only.as_ref().is_some_and(|peer| peer.name == name))
    }
}

/// Every `.txt` file under `root`, in the order of their paths.
pub fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "txt") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// What playing several files gave.
#[derive(Debug, Default)]
pub struct Summary {
    pub files: usize,
    /// Replies compared.
    pub checked: usize,
    pub failures: Vec<String>,
    pub updated: Vec<PathBuf>,
}

/// Plays the files under `root` whose path contains `filter`, each on a fresh server; rewrites expectations if `update`.
pub fn run_files(
    root: &Path,
    filter: &str,
    update: bool,
    scope: Scope,
    target: &mut dyn Target,
) -> io::Result<Summary> {
    let mut summary = Summary::default();
    let here = std::env::current_dir()?;
    for path in files(root)? {
        let name = path.strip_prefix(&here).unwrap_or(&path).display().to_string();
        let relative = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        if !relative.contains(filter) {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let transcript = match Transcript::parse(&name, &text) {
            Ok(transcript) => transcript,
            Err(error) => {
                summary.failures.push(error.to_string());
                continue;
            }
        };
        if scope == Scope::OnlyNamed && !transcript.has_steps_only_for(&target.identity().name) {
            continue;
        }
        let outcome = run(&transcript, target, scope, update);
        summary.files += 1;
        summary.checked += outcome.checked;
        summary.failures.extend(outcome.failures.iter().map(ToString::to_string));
        if let Some(new_text) = outcome.updated.filter(|new_text| *new_text != text) {
            fs::write(&path, new_text)?;
            summary.updated.push(path);
        }
    }
    Ok(summary)
}

/// For a test: plays every transcript under `root` and panics with all failures. Obeys `UPDATE=1`.
pub fn check_directory(root: &Path, target: &mut dyn Target) {
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let summary =
        run_files(root, "", update, Scope::All, target).expect("transcripts are readable");
    let Summary { files, checked, failures, .. } = &summary;
    assert!(failures.is_empty(), "{}\n{checked} replies of {files} files", failures.join("\n"));
}
