//! Plays the transcripts in this process: all those that take nothing but data commands. What is left out here is
//! played against the whole server.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use rubine_testing::in_process::{Expiry, InProcess};
use rubine_testing::transcript::{Scope, Transcript, files, run};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts")
}

/// Plays what can be played under `folder`; returns how many replies were checked.
fn play(folder: &Path, server: impl Fn() -> InProcess) -> usize {
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let filter = std::env::var("FILTER").unwrap_or_default();
    let (mut checked, mut failures) = (0, Vec::new());
    for path in files(folder).expect("the folder is readable") {
        let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        if !name.contains(&filter) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("the transcript is readable");
        let transcript = Transcript::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
        let mut target = server();
        if let Some(unknown) = target.unknown_in(&transcript) {
            eprintln!("{name} takes a server: {unknown}");
            continue;
        }
        eprintln!("{name}");
        let outcome = run(&transcript, &mut target, Scope::All, update);
        checked += outcome.checked;
        failures.extend(outcome.failures.iter().map(ToString::to_string));
        if let Some(text) = outcome.updated {
            fs::write(&path, text).expect("the transcript is writable");
        }
    }
    assert!(failures.is_empty(), "{}\n{checked} replies", failures.join("\n"));
    checked
}

#[test]
fn all_hold() {
    let checked = play(&root(), || InProcess::new(Expiry::Active));
    eprintln!("{checked} replies");
}

/// Keys that are due and still there must look as if they were not. Strings suffice: the lookup is everyone's.
#[test]
fn strings_hold_while_what_is_due_stays() {
    play(&root().join("string"), || InProcess::new(Expiry::Lazy));
}

/// What is taken back leaves nothing behind: every command runs and is taken back before it runs.
#[test]
fn all_hold_though_each_command_was_taken_back_before() {
    play(&root(), || InProcess::rehearsing(Expiry::Active));
}
