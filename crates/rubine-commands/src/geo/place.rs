//! Commands about single places: GEOADD, GEODIST, GEOHASH, GEOPOS.

use rubine_structures::geohash::Point;

use super::{point, unit, write_distance, write_point};
use crate::args::Args;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::sorted_set::{self, Conditions};

pub(super) const GEOADD: Command = Command::new("GEOADD", geoadd)
    .summary("Adds members with their places to a sorted set, or moves members.")
    .syntax("key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]")
    .since("3.2.0")
    .complexity("O(log(N)) for each member, with N the number of members.")
    .arity(-5)
    .writes()
    .denies_oom()
    .key("RW UPDATE");

fn geoadd(cx: &mut Context<'_, '_>) -> CommandResult {
    let args = cx.args;
    let (conditions, first) = parse_conditions(args)?;
    let mut places = Vec::with_capacity((args.len() - first) / 3);
    for at in (first..args.len()).step_by(3) {
        places.push((point(args, at)?.score(), args.at(at + 2)));
    }
    let key = cx.key(1);
    let outcome = sorted_set::add(cx, key, conditions, places.iter().copied())?.unwrap_or_default();
    if 0 < outcome.added + outcome.updated {
        replicate_scores(cx, first, &places);
    }
    let updated = if conditions.counts_updated { outcome.updated } else { 0 };
    cx.reply.integer((outcome.added + updated) as i64);
    Ok(())
}

/// Reads the options in front of the places. Returns the number of the argument that is the first longitude.
fn parse_conditions(args: Args<'_>) -> Result<(Conditions, usize), CommandError> {
    let mut conditions = Conditions::default();
    let mut options = args.options(2);
    loop {
        if options.keyword("NX") {
            conditions.only_new = true;
        } else if options.keyword("XX") {
            conditions.only_known = true;
        } else if options.keyword("CH") {
            conditions.counts_updated = true;
        } else {
            break;
        }
    }
    let is_complete = !options.is_at_end() && options.remaining().is_multiple_of(3);
    if !is_complete || conditions.only_new && conditions.only_known {
        return Err(CommandError::Syntax);
    }
    Ok((conditions, options.index()))
}

/// Writes to the journal what scores the places have: whoever reads it need not calculate as we do.
fn replicate_scores(cx: &mut Context<'_, '_>, first: usize, places: &[(f64, &[u8])]) {
    if !cx.effects.is_journalled {
        return;
    }
    let scores: Vec<String> = places.iter().map(|(score, _)| format!("{score:.0}")).collect();
    let mut command: Vec<&[u8]> = vec![b"ZADD"];
    command.extend((1..first).map(|index| cx.args.at(index)));
    for (score, (_, member)) in scores.iter().zip(places) {
        command.extend([score.as_bytes(), member]);
    }
    cx.replicate(&command);
}

pub(super) const GEODIST: Command = Command::new("GEODIST", geodist)
    .summary("Returns the distance between two members.")
    .syntax("key member1 member2 [M | KM | FT | MI]")
    .since("3.2.0")
    .complexity("O(1)")
    .arity(-4)
    .reads()
    .key("RO ACCESS");

fn geodist(cx: &mut Context<'_, '_>) -> CommandResult {
    let args = cx.args;
    if 5 < args.len() {
        return Err(CommandError::Syntax);
    }
    let unit_meters = args.get(4).map_or(Ok(1.0), unit)?;
    let key = cx.key(1);
    let set = sorted_set::find(&mut cx.keys, key)?;
    let place_of = |index| set.and_then(|set| set.score(args.at(index))).map(Point::of_score);
    match (place_of(2), place_of(3)) {
        (Some(from), Some(to)) => {
            write_distance(&mut cx.reply, from.distance_to(to) / unit_meters);
        }
        _ => cx.reply.null(),
    }
    Ok(())
}

pub(super) const GEOHASH: Command = Command::new("GEOHASH", geohash)
    .summary("Returns the geohashes of members, as other programs know them.")
    .syntax("key [member [member ...]]")
    .since("3.2.0")
    .complexity("O(1) for each member.")
    .arity(-2)
    .reads()
    .key("RO ACCESS");

fn geohash(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let set = sorted_set::find(&mut cx.keys, key)?;
    let members = cx.args.from(2);
    cx.reply.array(members.len());
    for member in members {
        match set.and_then(|set| set.score(member)) {
            Some(score) => cx.reply.bulk(&Point::of_score(score).text()),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

pub(super) const GEOPOS: Command = Command::new("GEOPOS", geopos)
    .summary("Returns the longitude and latitude of members.")
    .syntax("key [member [member ...]]")
    .since("3.2.0")
    .complexity("O(1) for each member.")
    .arity(-2)
    .reads()
    .key("RO ACCESS");

fn geopos(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let set = sorted_set::find(&mut cx.keys, key)?;
    let members = cx.args.from(2);
    cx.reply.array(members.len());
    for member in members {
        match set.and_then(|set| set.score(member)) {
            Some(score) => write_point(&mut cx.reply, Point::of_score(score)),
            None => cx.reply.null_array(),
        }
    }
    Ok(())
}
