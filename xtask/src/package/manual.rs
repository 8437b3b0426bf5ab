//! Manual pages and completions of shells, made from the declarations of directives and from what `rubine.conf` says of
//! them. Knows no directive.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, ValueHint};
use clap_complete::Shell;
use roff::{Roff, bold, italic, roman};
use rubine_config::{Config, DIRECTIVES, Directive, Support};

use super::{NAMES, compress, write as write_file};
use crate::Failure;
use crate::process::root;

const PROGRAM: &str = "rubine-server";

/// What the program can be asked beside directives: name, value, what it does.
const OPTIONS: [(&str, Option<&str>, &str); 7] = [
    ("version", None, "Says which version it is"),
    ("help", None, "Says how it is called"),
    ("check-system", None, "Looks whether the system is set up for it"),
    ("test-memory", Some("megabytes"), "Tests the memory of the machine"),
    ("sentinel", None, "Is a Sentinel, with the configuration of one"),
    (
        "restore-to",
        Some("time"),
        "Starts with what the append-only file held at a moment, as 2026-11-21T10:00:00Z, in a new folder",
    ),
    ("restore-dir", Some("folder"), "The new folder for that"),
];

/// Writes all of them below a staged root.
pub(super) fn write(staged: &Path) -> Result<(), Failure> {
    let conf = fs::read_to_string(root().join("rubine.conf"))?;
    let share = staged.join("usr/share");
    let mut page = Vec::new();
    clap_mangen::Man::new(program(None)).render(&mut page)?;
    page.extend(see_also());
    let first = share.join("man/man1/rubine-server.1");
    write_file(&first, &page, 0o644)?;
    compress(&first)?;
    for name in NAMES {
        symlink("rubine-server.1.gz", share.join(format!("man/man1/{name}.1.gz")))?;
    }
    let fifth = share.join("man/man5/rubine.conf.5");
    write_file(&fifth, manual_of_configuration(&conf)?.as_bytes(), 0o644)?;
    compress(&fifth)?;
    let places = [
        (Shell::Bash, "bash-completion/completions/rubine-server"),
        (Shell::Zsh, "zsh/vendor-completions/_rubine-server"),
        (Shell::Fish, "fish/vendor_completions.d/rubine-server.fish"),
    ];
    for (shell, place) in places {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut program(Some(&conf)), PROGRAM, &mut text);
        write_file(&share.join(place), &text, 0o644)?;
    }
    Ok(())
}

/// The program as its command line looks: with its options, and with every directive if what the configuration says of
/// them is there.
fn program(conf: Option<&str>) -> Command {
    let file = Arg::new("file").value_hint(ValueHint::FilePath).help("The configuration file");
    let mut program = Command::new(PROGRAM)
        .version(env!("CARGO_PKG_VERSION"))
        .about("an in-memory data store that speaks Redis")
        .long_about(
            "Serves the clients of Redis and Valkey, and takes their configuration files, dumps and append-only files. Every \
             directive of rubine.conf(5) is an option, too: --port 7000 --maxmemory 1gb. Under the names rubine-sentinel, \
             rubine-check-aof and rubine-check-rdb the program is a Sentinel, and looks at files.",
        )
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(file);
    for (name, value, help) in OPTIONS {
        let arg = Arg::new(name).long(name).help(help);
        program = program.arg(match value {
            Some(value) => arg.value_name(value),
            None => arg.action(ArgAction::SetTrue),
        });
    }
    let Some(conf) = conf else { return program };
    let default = Config::default();
    for directive in DIRECTIVES {
        let text = String::from_utf8_lossy(&directive.text(&default)).into_owned();
        let said = explanation(conf, directive).map(|it| first_sentence(&it));
        let mut arg = Arg::new(directive.name).long(directive.name).help(said.unwrap_or_default());
        if let Some(alias) = directive.alias {
            arg = arg.visible_alias(alias);
        }
        if ["yes", "no"].contains(&text.as_str()) {
            arg = arg.value_parser(PossibleValuesParser::new(["yes", "no"]));
        } else if ["file", "dir"].iter().any(|it| directive.name.ends_with(it)) {
            arg = arg.value_hint(ValueHint::AnyPath);
        }
        program = program.arg(arg);
    }
    program
}

fn see_also() -> Vec<u8> {
    let mut page = Roff::new();
    page.control("SH", ["FILES"]);
    page.text([italic("/etc/rubine/rubine.conf"), roman(", "), italic("/var/lib/rubine")]);
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("rubine.conf"), roman("(5), "), italic("/usr/share/doc/rubine/upgrading.md")]);
    page.render().into_bytes()
}

/// The page about the configuration: each directive with its default and what is said of it.
fn manual_of_configuration(conf: &str) -> Result<String, Failure> {
    let mut page = Roff::new();
    page.control("TH", ["rubine.conf", "5", "", "Rubine", "Configuration"]);
    page.control("SH", ["NAME"]);
    page.text([roman("rubine.conf - the configuration of rubine-server")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "A directive a line: a name and its value, which may stand in quotes. A line that begins with # is a comment. \
         Sizes may have units: k, m and g are powers of 1000, kb, mb and gb powers of 1024. CONFIG GET and CONFIG SET show and \
         set most of them while the server runs, and CONFIG REWRITE writes them back.",
    )]);
    page.control("SH", ["DIRECTIVES"]);
    let default = Config::default();
    for directive in DIRECTIVES {
        let said = explanation(conf, directive);
        let said = said.ok_or_else(|| format!("rubine.conf says nothing of {}", directive.name))?;
        let text = String::from_utf8_lossy(&directive.text(&default)).into_owned();
        page.control("TP", []);
        let shown = if text.is_empty() { "\"\"".to_owned() } else { text };
        page.text([bold(directive.name), roman(" "), italic(shown)]);
        page.text([roman(said)]);
        if let Some(alias) = directive.alias {
            page.text([roman("Also called "), bold(alias), roman(".")]);
        }
        if directive.support != Support::Works {
            page.text([roman("It is accepted without effect.")]);
        }
    }
    Ok(page.render())
}

/// What `rubine.conf` says above the place where a directive stands.
fn explanation(conf: &str, directive: &Directive) -> Option<String> {
    let stands_in = |line: &str| {
        let line = line.strip_prefix("# ").unwrap_or(line);
        line.strip_prefix(directive.name).is_some_and(|rest| rest.starts_with(' '))
    };
    let block = conf.split("\n\n").find(|block| block.lines().any(stands_in))?;
    let comment = block.lines().take_while(|line| !stands_in(line) && line.starts_with('#'));
    let words = comment.flat_map(|line| line.trim_start_matches('#').split_whitespace());
    Some(words.collect::<Vec<_>>().join(" "))
}

fn first_sentence(text: &str) -> String {
    let end = text.find(". ").map_or(text.len(), |it| it + 1);
    text[..end].trim_end_matches('.').to_owned()
}
