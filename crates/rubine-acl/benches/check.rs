//! What a check costs: for a user who may everything, for one with a pattern among 20, and for one who is refused.
//! Prints nanoseconds, the best of several rounds; never judges them.

#![expect(clippy::print_stdout, reason = "its figures are its output")]

use std::hint::black_box;
use std::sync::Arc;

use rubine_acl::{Access, ChannelDefault, ChannelUse, CommandEntry, Commands, Request, Users};
use rubine_base::clock::monotonic_nanos;

const ROUND_COUNT: usize = 20;
const CHECK_COUNT: usize = 200_000;

fn main() {
    let patterns = |shape: &str| -> Vec<String> {
        (0..20).map(|number| shape.replace('#', &format!("{number:02}"))).collect()
    };
    let all = vec!["+@all".to_owned(), "~*".to_owned()];
    let some = |shape| [vec!["+@all".to_owned(), "-@0".to_owned()], patterns(shape)].concat();
    for (name, rules, key) in [
        ("everything", [all.clone(), vec!["&*".to_owned()]].concat(), "key:1234"),
        ("all commands and keys", all, "key:1234"),
        ("the first of 20 prefixes", some("~app#:*"), "app00:user:1234"),
        ("the last of 20 prefixes", some("~app#:*"), "app19:user:1234"),
        ("the last of 20 globs", some("~app#:*:user:*"), "app19:eu:user:1234"),
        ("none of 20 prefixes", some("~app#:*"), "app20:user:1234"),
    ] {
        println!("{name}: {:.1} ns", nanoseconds_per_check(&rules, key));
    }
}

fn nanoseconds_per_check(rules: &[String], key: &str) -> f64 {
    let mut users = Users::new(Arc::new(commands()), ChannelDefault::Nothing);
    let change = users.set(b"user", rules.iter().map(String::as_bytes));
    let user = change.expect("the rules are valid").after;
    let request = Get { key: key.as_bytes() };
    let round = || {
        let start = monotonic_nanos();
        for _ in 0..CHECK_COUNT {
            let _ = black_box(black_box(&user).check(black_box(&request)));
        }
        (monotonic_nanos() - start) as f64 / CHECK_COUNT as f64
    };
    (0..ROUND_COUNT).map(|_| round()).fold(f64::MAX, f64::min)
}

/// As many commands as a server has.
fn commands() -> Commands {
    let entry = |number: usize| CommandEntry {
        full_name: format!("command{number}").into(),
        categories: u64::from(number == 0),
        needs_no_login: false,
    };
    Commands::new(&["0"], (0..450).map(entry).collect())
}

/// One that reads a key.
struct Get<'a> {
    key: &'a [u8],
}

impl Request for Get<'_> {
    fn command(&self) -> usize {
        300
    }

    fn argument(&self, index: usize) -> Option<&[u8]> {
        [b"get", self.key].get(index).copied()
    }

    fn keys(&self) -> impl Iterator<Item = (usize, Access)> {
        std::iter::once((1, Access::READ))
    }

    fn channels(&self) -> impl Iterator<Item = (usize, ChannelUse)> {
        std::iter::empty()
    }

    fn databases(&self) -> impl Iterator<Item = (usize, u32)> {
        std::iter::once((0, 0))
    }
}
