//! `cargo xtask tidy`: what a person would forget, read from the sources. The same checks run as tests of this crate.

mod circles;
mod paths;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand};
use rubine_testing::transcript::{self, Transcript};

use crate::Failure;
use crate::process::root;

/// A file that grows past this becomes a folder by topic.
const FILE_LINES_MAX: usize = 1_000;

/// Words that mean "not finished". Written in halves, so that this file does not hold them.
const UNFINISHED: [&str; 5] = [
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("dbg", "!("),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

/// Crates whose modules are known to use each other in circles. A crate without any is taken off the list.
const CIRCLES_KNOWN: [&str; 2] = ["rubine-scripting", "rubine-structures"];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Shows one circle of modules of each crate that is known to have some, too
    #[arg(long)]
    circles: bool,
}

type Check = fn(&Path) -> Result<Vec<String>, Failure>;

/// Every check, by what it promises.
const CHECKS: [(&str, Check); 6] = [
    ("every file says what it is", headers),
    ("no file is too long", lengths),
    ("nothing unfinished is left", unfinished),
    ("crates depend on each other as ARCHITECTURE.md draws it", dependencies),
    ("modules with one parent use each other in one direction", circles),
    ("every command has a transcript, and every transcript a command", transcripts),
];

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut problems = Vec::new();
    if options.circles {
        for name in CIRCLES_KNOWN {
            problems.extend(circles::of_crate(&root(), &root().join("crates").join(name))?);
        }
    }
    for (promise, check) in CHECKS {
        let found = check(&root())?;
        problems.extend(found.iter().map(|problem| format!("{problem}  ({promise})")));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n").into()) }
}

fn headers(root: &Path) -> Result<Vec<String>, Failure> {
    each_file(root, |name, text| {
        let has_header = text.starts_with("//!");
        (!has_header).then(|| format!("{name}:1: does not open with `//!`")).into_iter().collect()
    })
}

fn lengths(root: &Path) -> Result<Vec<String>, Failure> {
    each_file(root, |name, text| {
        let count = text.lines().count();
        let is_long = FILE_LINES_MAX < count;
        is_long
            .then(|| format!("{name}: {count} lines, more than {FILE_LINES_MAX}"))
            .into_iter()
            .collect()
    })
}

fn unfinished(root: &Path) -> Result<Vec<String>, Failure> {
    each_file(root, |name, text| {
        let mut problems = Vec::new();
        for (idx, line) in text.lines().enumerate() {
            let found = UNFINISHED.iter().find(|word| has_word(line, word));
            problems.extend(found.map(|word| format!("{name}:{}: `{word}`", idx + 1)));
        }
        problems
    })
}

/// The edges between our crates are those of the drawing: lines `rubine-resp -> base` of ARCHITECTURE.md. Tests may
/// depend on anything.
fn dependencies(root: &Path) -> Result<Vec<String>, Failure> {
    let drawn = drawn_edges(&fs::read_to_string(root.join("ARCHITECTURE.md"))?);
    let metadata =
        MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().exec()?;
    let mut problems = Vec::new();
    for package in metadata.workspace_packages() {
        for dependency in &package.dependencies {
            let is_ours = dependency.path.is_some();
            let edge = (package.name.to_string(), dependency.name.clone());
            if is_ours && dependency.kind != DependencyKind::Development && !drawn.contains(&edge) {
                problems.push(format!("ARCHITECTURE.md draws no edge {} -> {}", edge.0, edge.1));
            }
        }
    }
    Ok(problems)
}

fn circles(root: &Path) -> Result<Vec<String>, Failure> {
    let mut problems = Vec::new();
    for folder in circles::crate_folders(root)? {
        let found = circles::of_crate(root, &folder)?;
        let known = CIRCLES_KNOWN.iter().find(|name| folder.ends_with(name));
        match known {
            Some(name) if found.is_empty() => {
                problems.push(format!("{name} has no circle any more: take it off CIRCLES_KNOWN"));
            }
            Some(_) => {}
            None => problems.extend(found),
        }
    }
    Ok(problems)
}

fn drawn_edges(text: &str) -> BTreeSet<(String, String)> {
    let lines = text.lines().filter_map(|line| line.split_once("->"));
    let crates = lines.filter(|(from, _)| !from.trim().is_empty() && !from.trim().contains(' '));
    let full_name = |name: &str| {
        if name.starts_with("rubine") { name.to_owned() } else { format!("rubine-{name}") }
    };
    crates
        .flat_map(|(from, to)| {
            to.split_whitespace().map(move |to| (from.trim().to_owned(), full_name(to)))
        })
        .collect()
}

/// Transcripts are named after their command, with a topic behind a dot if there are several: `blpop.order.txt`.
fn transcripts(root: &Path) -> Result<Vec<String>, Failure> {
    let mut commands = BTreeSet::new();
    each_file(&root.join("crates"), |_, text| {
        commands.extend(listed_commands(text));
        Vec::new()
    })?;
    let mut covered = BTreeSet::new();
    let mut problems = Vec::new();
    for path in transcript::files(&root.join("tests/transcripts"))? {
        let name = path.strip_prefix(root)?.display().to_string();
        if let Err(error) = Transcript::parse(&name, &fs::read_to_string(&path)?) {
            problems.push(error.to_string());
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        let command = file.split('.').next().unwrap_or_default().to_owned();
        if !commands.contains(&command) {
            problems.push(format!("{name}: there is no command {command}"));
        }
        covered.insert(command);
    }
    let missing = commands.difference(&covered);
    problems.extend(missing.map(|command| format!("{command} has no transcript")));
    Ok(problems)
}

/// The names in a file's lists of commands: `const COMMANDS: &[Command] = &[APPEND, pop::LPOP];`
fn listed_commands(text: &str) -> Vec<String> {
    let lists = text.split("COMMANDS: &[").skip(1).filter_map(|rest| {
        let (_, rest) = rest.split_once("] =")?.1.split_once("&[")?;
        rest.split_once(']').map(|(list, _)| list)
    });
    let names = lists.flat_map(|list| list.split(',')).map(str::trim);
    let constants =
        names.filter_map(|name| name.rsplit("::").next()).filter(|name| !name.is_empty());
    constants.map(|constant| constant.replace('_', "-")).collect()
}

/// What `problems` finds in each of our Rust files, given its name and text.
fn each_file(
    root: &Path,
    mut problems: impl FnMut(&str, &str) -> Vec<String>,
) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() && !is_foreign(&path) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root)?.display().to_string();
                found.extend(problems(&name, &fs::read_to_string(&path)?));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Build results and hidden folders.
fn is_foreign(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name == "target" || name.starts_with('.')
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let after = &line[at + word.len()..];
        !is_part(line[..at].chars().next_back()) && !is_part(after.chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::{CHECKS, drawn_edges, has_word, listed_commands, root};

    #[test]
    fn the_repository_is_tidy() {
        for (promise, check) in CHECKS {
            let problems = check(&root()).expect("the sources are readable");
            assert!(problems.is_empty(), "{promise}:\n{}", problems.join("\n"));
        }
    }

    #[test]
    fn words_end_where_letters_end() {
        assert!(has_word("// WORDS: WORD", "WORD"));
        assert!(!has_word("WORDS(WORD_)", "WORD"));
    }

    #[test]
    fn edges() {
        let drawn =
            drawn_edges("text -> not a crate\nrubine-resp -> base\nrubine -> server rubine-base\n");
        let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let expected = [
            ("rubine", "rubine-base"),
            ("rubine", "rubine-server"),
            ("rubine-resp", "rubine-base"),
        ];
        assert!(expected.iter().all(|(from, to)| drawn.contains(&edge(from, to))), "{drawn:?}");
    }

    #[test]
    fn commands() {
        let text = "
pub(crate) const COMMANDS: &[Command] = &[
    SET, pop::LPOP,
    RESTORE_ASKING,
];
const OBJECT_FORMS: &[Command] = &[ENCODING];
pub(crate) const MEMORY_COMMANDS: &[Command<Handler>] =
    &[MEMORY];
";
        assert_eq!(listed_commands(text), ["SET", "LPOP", "RESTORE-ASKING", "MEMORY"]);
    }
}
