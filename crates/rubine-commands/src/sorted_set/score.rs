//! ZADD and ZINCRBY: members get scores. Never removes a member.

use std::cmp::Ordering;

use rubine_keyspace::Key;
use rubine_structures::sorted_set::{Limits as FormLimits, SortedSet};
use rubine_structures::value::Value;

use super::{find_mut, form_limits};
use crate::args::Args;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

const NX_AND_XX: CommandError =
    CommandError::text("ERR XX and NX options at the same time are not compatible");
const GT_LT_NX: CommandError =
    CommandError::text("ERR GT, LT, and/or NX options at the same time are not compatible");
const INCR_OF_MANY: CommandError =
    CommandError::text("ERR INCR option supports a single increment-element pair");
const NOT_A_NUMBER: CommandError = CommandError::text("ERR resulting score is not a number (NaN)");

pub(super) const ZADD: Command = Command::new("ZADD", zadd)
    .summary("Adds members with their scores to a sorted set, or gives members new scores.")
    .syntax("key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]")
    .since("1.2.0")
    .complexity("O(log(N)) for each member, with N the number of members.")
    .arity(-4)
    .writes()
    .denies_oom()
    .fast()
    .key("RW UPDATE")
    .members(3, 2);

fn zadd(cx: &mut Context<'_, '_>) -> CommandResult {
    let options = Options::parse(cx.args)?;
    let Some(outcome) = update(cx, &options)? else {
        if options.increments {
            cx.reply.null();
        } else {
            cx.reply.integer(0);
        }
        return Ok(());
    };
    if options.increments {
        match outcome.score {
            Some(score) => cx.reply.double(score),
            None => cx.reply.null(),
        }
    } else {
        let updated = if options.counts_updated { outcome.updated } else { 0 };
        cx.reply.integer((outcome.added + updated) as i64);
    }
    Ok(())
}

pub(super) const ZINCRBY: Command = Command::new("ZINCRBY", zincrby)
    .summary("Adds to the score of a member, which is 0 if there is no such member.")
    .syntax("key increment member")
    .since("1.2.0")
    .complexity("O(log(N)) with N the number of members.")
    .arity(4)
    .writes()
    .denies_oom()
    .fast()
    .key("RW ACCESS UPDATE")
    .members(3, 2);

fn zincrby(cx: &mut Context<'_, '_>) -> CommandResult {
    let options = Options { increments: true, ..Options::of_pairs(2) };
    options.check_scores(cx.args)?;
    let outcome = update(cx, &options)?;
    let score = outcome.and_then(|it| it.score).expect("nothing keeps ZINCRBY from its member");
    cx.reply.double(score);
    Ok(())
}

/// What ZADD was asked for.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command")]
struct Options {
    /// The number of the argument that is the first score.
    first: usize,
    only_new: bool,
    only_known: bool,
    only_greater: bool,
    only_less: bool,
    counts_updated: bool,
    increments: bool,
}

impl Options {
    fn of_pairs(first: usize) -> Self {
        Self {
            first,
            only_new: false,
            only_known: false,
            only_greater: false,
            only_less: false,
            counts_updated: false,
            increments: false,
        }
    }

    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut parsed = Self::of_pairs(0);
        let mut options = args.options(2);
        loop {
            if options.keyword("NX") {
                parsed.only_new = true;
            } else if options.keyword("XX") {
                parsed.only_known = true;
            } else if options.keyword("CH") {
                parsed.counts_updated = true;
            } else if options.keyword("INCR") {
                parsed.increments = true;
            } else if options.keyword("GT") {
                parsed.only_greater = true;
            } else if options.keyword("LT") {
                parsed.only_less = true;
            } else {
                break;
            }
        }
        parsed.first = options.index();
        let count = options.remaining();
        if count == 0 || !count.is_multiple_of(2) {
            return Err(CommandError::Syntax);
        }
        if parsed.only_new && parsed.only_known {
            return Err(NX_AND_XX);
        }
        let conditions = [parsed.only_new, parsed.only_greater, parsed.only_less];
        if 1 < conditions.into_iter().filter(|&it| it).count() {
            return Err(GT_LT_NX);
        }
        if parsed.increments && 2 < count {
            return Err(INCR_OF_MANY);
        }
        parsed.check_scores(args)?;
        Ok(parsed)
    }

    fn check_scores(&self, args: Args<'_>) -> CommandResult {
        (self.first..args.len()).step_by(2).try_for_each(|index| args.float(index).map(|_| ()))
    }

    /// The scores, which were checked, and the members.
    fn pairs<'a>(&self, args: Args<'a>) -> impl Iterator<Item = (f64, &'a [u8])> + use<'a> {
        (self.first..args.len()).step_by(2).map(move |index| {
            (args.float(index).expect("the scores were checked"), args.at(index + 1))
        })
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    added: u64,
    updated: u64,
    /// The score of the last member, unless a condition kept it from getting one.
    score: Option<f64>,
}

/// Does what the options say; `None` if there is no set and none is to be made.
fn update(cx: &mut Context<'_, '_>, options: &Options) -> Result<Option<Outcome>, CommandError> {
    let key = cx.key(1);
    let limits = form_limits(cx.limits);
    let args = cx.args;
    let count = (args.len() - options.first) / 2;
    let longest = options.pairs(args).map(|(_, member)| member.len()).max().unwrap_or(0);
    let outcome = match find_mut(&mut cx.keys, key)? {
        Some(set) => {
            set.expect(count, longest, limits);
            apply(set, options, args, limits)?
        }
        None if options.only_known => return Ok(None),
        None => {
            let mut set = SortedSet::new();
            set.expect(count, longest, limits);
            let outcome = apply(&mut set, options, args, limits)?;
            cx.keys.store(key, Value::SortedSet(set), None);
            cx.notify(key, Event::NEW);
            outcome
        }
    };
    note_updated(cx, key, options, outcome);
    Ok(Some(outcome))
}

fn apply(
    set: &mut SortedSet,
    options: &Options,
    args: Args<'_>,
    limits: FormLimits,
) -> Result<Outcome, CommandError> {
    let mut outcome = Outcome::default();
    for (score, member) in options.pairs(args) {
        outcome.score = None;
        let old = set.score(member);
        let wanted = match old {
            Some(_) if options.only_new => continue,
            None if options.only_known => continue,
            Some(old) if options.increments => old + score,
            _ => score,
        };
        // Only a single increment can come to this, so nothing was changed yet.
        if wanted.is_nan() {
            return Err(NOT_A_NUMBER);
        }
        let order = old.and_then(|old| wanted.partial_cmp(&old));
        let is_refused = order.is_some_and(|it| {
            options.only_less && it.is_ge() || options.only_greater && it.is_le()
        });
        if is_refused {
            continue;
        }
        outcome.score = Some(wanted);
        if order != Some(Ordering::Equal) {
            set.replace(member, old, wanted, limits);
            outcome.added += u64::from(old.is_none());
            outcome.updated += u64::from(old.is_some());
        }
    }
    Ok(outcome)
}

fn note_updated(cx: &mut Context<'_, '_>, key: Key<'_>, options: &Options, outcome: Outcome) {
    let changes = outcome.added + outcome.updated;
    if 0 < changes {
        cx.touched(key, if options.increments { Event::ZINCR } else { Event::ZADD });
        cx.keys.add_dirty(changes - 1);
    }
}
