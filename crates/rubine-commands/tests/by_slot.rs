//! Plays the transcripts in a process that places keys by their hash slots, as a node of a cluster does: those about slots,
//! and all others, which must not notice.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use rubine_testing::in_process::{Expiry, InProcess};
use rubine_testing::transcript::{Scope, Transcript, files, run};

/// Those of more than these are not among the transcripts.
const DATABASES: usize = 16;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests")
}

fn place_by_slot() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| rubine_keyspace::place_by_slot(DATABASES));
}

/// Plays what can be played under `folder`.
fn play(folder: &Path, server: impl Fn() -> InProcess) {
    place_by_slot();
    let mut failures = Vec::new();
    for path in files(folder).expect("the folder is readable") {
        let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        let text = fs::read_to_string(&path).expect("the transcript is readable");
        let transcript = Transcript::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
        let mut target = server();
        if target.unknown_in(&transcript).is_some() {
            continue;
        }
        let outcome = run(&transcript, &mut target, Scope::All, false);
        failures.extend(outcome.failures.iter().map(ToString::to_string));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn what_is_about_slots_holds() {
    play(&root().join("transcripts-by-slot"), || InProcess::new(Expiry::Active).in_cluster());
}

/// Of commands on keys of all types, lookups are everyone's.
#[test]
fn all_else_holds_too() {
    for folder in ["keys", "list", "string", "transactions"] {
        play(&root().join("transcripts").join(folder), || InProcess::new(Expiry::Active));
    }
}

#[test]
fn what_is_taken_back_leaves_nothing_behind() {
    let in_cluster = || InProcess::rehearsing(Expiry::Active).in_cluster();
    play(&root().join("transcripts-by-slot"), in_cluster);
    play(&root().join("transcripts/keys"), || InProcess::rehearsing(Expiry::Active));
}
