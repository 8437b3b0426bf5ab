//! The reference of commands, `docs/commands`, made of their declarations. `cargo xtask docs` has this test write the
//! pages; otherwise it fails where they are out of date. Never part of the server.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use rubine_commands::Group;

use super::describe::CATEGORIES;
use crate::command_table::Entry;
use crate::commands;

/// Set to anything, it has the pages written.
const UPDATE: &str = "RUBINE_UPDATE_DOCS";

const NOTE: &str =
    "Made by `cargo xtask docs` from the declarations; what is changed here is lost.";

#[test]
fn the_reference_is_fresh() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands");
    let pages = pages();
    if std::env::var_os(UPDATE).is_some() {
        // Pages of groups that are gone go too.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in &pages {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    let present: BTreeMap<String, String> = fs::read_dir(&folder)
        .expect("docs/commands is there")
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    for (name, text) in &pages {
        let is_fresh = present.get(name) == Some(text);
        assert!(is_fresh, "docs/commands/{name} is out of date: run `cargo xtask docs`");
    }
    assert!(present.keys().eq(pages.keys()), "run `cargo xtask docs`: {:?}", present.keys());
}

/// The pages by file name: one for each group, and a list of them all.
fn pages() -> BTreeMap<String, String> {
    let (table, _) = commands::command_table(&[]).expect("nothing is renamed");
    let (of_sentinel, _) = commands::sentinel_table(&[]).expect("nothing is renamed");
    let of_sentinel = of_sentinel.top_level().into_iter().filter(|it| it.group == Group::Sentinel);
    let mut groups: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in table.top_level().into_iter().chain(of_sentinel) {
        groups.entry(entry.group.name()).or_default().push(entry);
    }
    let mut list = format!(
        "# Commands\n\n{NOTE}\n\nA command's *since* is the version of Redis or Valkey that had it first.\n\n\
         | group | commands |\n|---|---|\n"
    );
    let mut pages = BTreeMap::new();
    for (group, entries) in groups {
        let names: Vec<_> = entries.iter().map(|it| format!("`{}`", it.spec.name)).collect();
        line(&mut list, &format!("| [{group}]({group}.md) | {} |", names.join(" ")));
        let mut page = format!("# Commands: {group}\n\n{NOTE}\n");
        for entry in entries {
            describe(&mut page, "##", entry.spec.name, entry);
            for subcommand in &entry.subcommands {
                let name = format!("{} {}", entry.spec.name, subcommand.spec.name);
                describe(&mut page, "###", &name, subcommand);
            }
        }
        pages.insert(format!("{group}.md"), page);
    }
    pages.insert("README.md".to_owned(), list);
    pages
}

fn describe(page: &mut String, level: &str, name: &str, entry: &Entry) {
    let spec = entry.spec;
    line(page, &format!("\n{level} {name}\n"));
    if entry.is_container() && !spec.takes(1) {
        line(page, "It is only a name in front of these:");
        return;
    }
    line(page, format!("    {name} {}", spec.syntax).trim_end());
    line(page, &format!("\n{}\n", spec.summary));
    let acl = spec.acl(entry.group);
    let categories = CATEGORIES.iter().filter(|it| acl.contains(it.0));
    let categories: Vec<_> = categories.map(|it| format!("@{}", it.1)).collect();
    line(page, "| since | complexity | ACL categories |\n|---|---|---|");
    let facts = [spec.since, spec.complexity, &categories.join(" ")];
    line(page, &format!("| {} |", facts.join(" | ")));
}

fn line(page: &mut String, text: &str) {
    writeln!(page, "{text}").expect("a string takes all that is written");
}
