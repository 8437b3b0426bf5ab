//! ZADD and ZINCRBY: members get scores. Never removes a member.

use std::cmp::Ordering;

use rubine_keyspace::Key;
use rubine_structures::sorted_set::{SortedSet, SortedSetLimits};
use rubine_structures::value::Value;

use super::{find_mut, form_limits};
use crate::args::Args;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

const NX_AND_XX: CommandError =
    CommandError::text("ERR XX and NX options at the same time are not compatible");
const OPTIONS: [&str; 6] = ["NX", "XX", "CH", "INCR", "GT", "LT"];
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
    let (conditions, first) = parse(cx.args)?;
    let key = cx.key(1);
    let outcome = add(cx, key, conditions, pairs(cx.args, first))?;
    let Some(outcome) = outcome else {
        if conditions.increments {
            cx.reply.null();
        } else {
            cx.reply.integer(0);
        }
        return Ok(());
    };
    if conditions.increments {
        match outcome.score {
            Some(score) => cx.reply.double(score),
            None => cx.reply.null(),
        }
    } else {
        let updated = if conditions.counts_updated { outcome.updated } else { 0 };
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
    const FIRST: usize = 2;
    // Redis takes the options of ZADD here too, and then finds that the pair is not complete.
    if OPTIONS.iter().any(|option| cx.args.at(FIRST).eq_ignore_ascii_case(option.as_bytes())) {
        return Err(CommandError::Syntax);
    }
    let conditions = Conditions { increments: true, ..Conditions::default() };
    check_scores(cx.args, FIRST)?;
    let key = cx.key(1);
    let outcome = add(cx, key, conditions, pairs(cx.args, FIRST))?;
    let score = outcome.and_then(|it| it.score).expect("nothing keeps ZINCRBY from its member");
    cx.reply.double(score);
    Ok(())
}

/// What ZADD was asked for, but for the members.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command")]
pub(crate) struct Conditions {
    pub(crate) only_new: bool,
    pub(crate) only_known: bool,
    only_greater: bool,
    only_less: bool,
    pub(crate) counts_updated: bool,
    increments: bool,
}

/// Reads the options, and checks the scores. Returns the number of the argument that is the first score, too.
fn parse(args: Args<'_>) -> Result<(Conditions, usize), CommandError> {
    let mut parsed = Conditions::default();
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
    let first = options.index();
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
    check_scores(args, first)?;
    Ok((parsed, first))
}

fn check_scores(args: Args<'_>, first: usize) -> CommandResult {
    (first..args.len()).step_by(2).try_for_each(|index| args.float(index).map(|_| ()))
}

/// The scores, which were checked, and the members.
fn pairs(args: Args<'_>, first: usize) -> impl ExactSizeIterator<Item = (f64, &[u8])> + Clone {
    (first..args.len())
        .step_by(2)
        .map(move |index| (args.float(index).expect("the scores were checked"), args.at(index + 1)))
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) added: u64,
    pub(crate) updated: u64,
    /// The score of the last member, unless a condition kept it from getting one.
    score: Option<f64>,
}

/// Gives scores to members as the conditions say; `None` if there is no set and none is to be made.
pub(crate) fn add<'m>(
    cx: &mut Context<'_, '_>,
    key: Key<'_>,
    conditions: Conditions,
    pairs: impl ExactSizeIterator<Item = (f64, &'m [u8])> + Clone,
) -> Result<Option<Outcome>, CommandError> {
    let limits = form_limits(cx.limits);
    let count = pairs.len();
    let longest = pairs.clone().map(|(_, member)| member.len()).max().unwrap_or(0);
    let outcome = match find_mut(&mut cx.keys, key)? {
        Some(set) => {
            set.expect(count, longest, limits);
            apply(set, conditions, pairs, limits)?
        }
        None if conditions.only_known => return Ok(None),
        None => {
            let mut set = SortedSet::new();
            set.expect(count, longest, limits);
            let outcome = apply(&mut set, conditions, pairs, limits)?;
            cx.keys.store(key, Value::SortedSet(set), None);
            cx.notify(key, Event::NEW);
            outcome
        }
    };
    note_updated(cx, key, conditions, outcome);
    Ok(Some(outcome))
}

fn apply<'m>(
    set: &mut SortedSet,
    conditions: Conditions,
    pairs: impl Iterator<Item = (f64, &'m [u8])>,
    limits: SortedSetLimits,
) -> Result<Outcome, CommandError> {
    let mut outcome = Outcome::default();
    for (score, member) in pairs {
        outcome.score = None;
        let old = set.score(member);
        let wanted = match old {
            Some(_) if conditions.only_new => continue,
            None if conditions.only_known => continue,
            Some(old) if conditions.increments => old + score,
            _ => score,
        };
        // Only a single increment can come to this, so nothing was changed yet.
        if wanted.is_nan() {
            return Err(NOT_A_NUMBER);
        }
        let order = old.and_then(|old| wanted.partial_cmp(&old));
        let is_refused = order.is_some_and(|it| {
            conditions.only_less && it.is_ge() || conditions.only_greater && it.is_le()
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

fn note_updated(cx: &mut Context<'_, '_>, key: Key<'_>, conditions: Conditions, outcome: Outcome) {
    let changes = outcome.added + outcome.updated;
    if 0 < changes {
        cx.touched(key, if conditions.increments { Event::ZINCR } else { Event::ZADD });
        cx.keys.add_dirty(changes - 1);
    }
}
