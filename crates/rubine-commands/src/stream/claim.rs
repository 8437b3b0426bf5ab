//! XCLAIM and XAUTOCLAIM: what is pending for one consumer becomes another's.

use rubine_base::number::parse_i64;
use rubine_structures::stream::{ConsumerId, Group, Pending, StreamId, StreamIdText};

use super::consume::Place;
use super::entries::{write_each, write_id};
use super::{find, known, no_group, parse_id, parse_start};
use crate::args::Args;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, shown};

/// Entries that XAUTOCLAIM claims if it is not told how many.
const COUNT_DEFAULT: u64 = 100;
/// Entries that it looks at, as a multiple of those that it may claim.
const LOOKS_PER_CLAIM: u64 = 10;
const COUNT_MAX: i64 = i64::MAX / 16;

pub(super) const XCLAIM: Command = Command::new("XCLAIM", xclaim)
    .summary("Makes pending entries those of another consumer.")
    .syntax(
        "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] \
         [JUSTID] [LASTID lastid]",
    )
    .since("5.0.0")
    .complexity("O(log(N)) for each entry, with N the number of those pending.")
    .tips("nondeterministic_output")
    .arity(-6)
    .writes()
    .fast()
    .key("RW UPDATE");

fn xclaim(cx: &mut Context<'_, '_>) -> CommandResult {
    cx.replicate_nothing();
    let place = Place { key: cx.key(1), group: cx.args.at(2) };
    find_group(cx, place)?;
    let options = Options::parse(cx.args, cx.now)?;
    let consumer = place.consumer(cx, cx.args.at(3));
    let is_ahead = place.edit(cx, |group| {
        let is_ahead = group.last_id < options.last_id;
        group.last_id = group.last_id.max(options.last_id);
        is_ahead
    });

    let mut claims = Claims::default();
    let now = cx.now;
    for &id in &options.ids {
        let stream = known(&mut cx.keys, place.key);
        let (exists, found) = (stream.contains(id), pending_in(stream.group(place.group), id));
        let mut one = Claims::default();
        match found {
            Some(_) if !exists => one.gone.push(id),
            Some(it) if is_too_fresh(&it, options.min_idle, now) => {}
            Some(it) => one.add(id, options.count_after(it.delivery_count)),
            None if exists && options.forces => one.add(id, options.count_after(1)),
            None => {}
        }
        // At once, since an identifier may be named twice.
        one.apply(cx, place, consumer, options.delivered_at);
        claims.append(one);
    }
    let has_claims = !claims.claimed.is_empty();
    claims.replicate(cx, place, consumer, options.delivered_at);
    if is_ahead {
        cx.keys.add_dirty(1);
        if !has_claims {
            let group = known(&mut cx.keys, place.key).group(place.group).cloned();
            place.replicate_progress(cx, &group.unwrap_or_default());
        }
    }
    claims.reply(cx, place, options.just_ids);
    Ok(())
}

struct Options {
    min_idle: i64,
    ids: Vec<StreamId>,
    delivered_at: i64,
    retry_count: Option<u64>,
    forces: bool,
    just_ids: bool,
    last_id: StreamId,
}

impl Options {
    fn parse(args: Args<'_>, now: i64) -> Result<Self, CommandError> {
        let integer = |argument: Option<&[u8]>, text| {
            argument.and_then(parse_i64).ok_or(CommandError::text(text))
        };
        let min_idle = integer(args.get(4), "ERR Invalid min-idle-time argument for XCLAIM")?;
        let ids: Vec<_> = args.from(5).map_while(|it| parse_id(it, 0).ok()).collect();
        let mut options = args.options(5 + ids.len());
        let mut parsed = Self {
            min_idle: min_idle.max(0),
            ids,
            delivered_at: now,
            retry_count: None,
            forces: false,
            just_ids: false,
            last_id: StreamId::MIN,
        };
        while !options.is_at_end() {
            let has_argument = 2 <= options.remaining();
            if options.keyword("FORCE") {
                parsed.forces = true;
            } else if options.keyword("JUSTID") {
                parsed.just_ids = true;
            } else if has_argument && options.keyword("IDLE") {
                let text = "ERR Invalid IDLE option argument for XCLAIM";
                parsed.delivered_at = now.wrapping_sub(integer(options.next(), text)?);
            } else if has_argument && options.keyword("TIME") {
                let text = "ERR Invalid TIME option argument for XCLAIM";
                parsed.delivered_at = integer(options.next(), text)?;
            } else if has_argument && options.keyword("RETRYCOUNT") {
                let text = "ERR Invalid RETRYCOUNT option argument for XCLAIM";
                parsed.retry_count = u64::try_from(integer(options.next(), text)?).ok();
            } else if has_argument && options.keyword("LASTID") {
                parsed.last_id = parse_id(options.required()?, 0)?;
            } else {
                let option = shown(options.required()?);
                let text: [&[u8]; 3] = [b"ERR Unrecognized XCLAIM option '", option, b"'"];
                return Err(CommandError::quoting(&text));
            }
        }
        // Clients whose clock is ahead are not to fail for it.
        if !(0..=now).contains(&parsed.delivered_at) {
            parsed.delivered_at = now;
        }
        Ok(parsed)
    }

    /// How often an entry counts as delivered once it is claimed.
    fn count_after(&self, before: u64) -> u64 {
        let counted = before.wrapping_add(u64::from(!self.just_ids));
        self.retry_count.unwrap_or(counted)
    }
}

pub(super) const XAUTOCLAIM: Command = Command::new("XAUTOCLAIM", xautoclaim)
    .summary("Makes entries that have been pending for long those of another consumer.")
    .syntax("key group consumer min-idle-time start [COUNT count] [JUSTID]")
    .since("6.2.0")
    .complexity("O(M*log(N)) with M the entries looked at and N those pending.")
    .tips("nondeterministic_output")
    .arity(-6)
    .writes()
    .fast()
    .key("RW DELETE");

fn xautoclaim(cx: &mut Context<'_, '_>) -> CommandResult {
    const INVALID_IDLE: CommandError =
        CommandError::text("ERR Invalid min-idle-time argument for XAUTOCLAIM");
    const INVALID_COUNT: CommandError = CommandError::text("ERR COUNT must be > 0");
    cx.replicate_nothing();
    let min_idle = parse_i64(cx.args.at(4)).ok_or(INVALID_IDLE)?;
    let start = parse_start(cx.args.at(5))?;
    let (mut count_max, mut just_ids) = (COUNT_DEFAULT, false);
    let mut options = cx.args.options(6);
    while !options.is_at_end() {
        if 2 <= options.remaining() && options.keyword("COUNT") {
            let count = options.integer().ok().filter(|it| (1..=COUNT_MAX).contains(it));
            count_max = count.ok_or(INVALID_COUNT)? as u64;
        } else if options.keyword("JUSTID") {
            just_ids = true;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let place = Place { key: cx.key(1), group: cx.args.at(2) };
    find_group(cx, place)?;
    let consumer = place.consumer(cx, cx.args.at(3));
    let now = cx.now;
    let stream = known(&mut cx.keys, place.key);
    let mut claims = Claims::default();
    let mut looks = count_max.saturating_mul(LOOKS_PER_CLAIM);
    let mut next = StreamId::MIN;
    for (id, it) in stream.group(place.group).into_iter().flat_map(|it| it.pending_from(start)) {
        if looks == 0 || claims.len() as u64 == count_max {
            next = id;
            break;
        }
        looks -= 1;
        if !stream.contains(id) {
            claims.gone.push(id);
        } else if !is_too_fresh(it, min_idle.max(0), now) {
            claims.add(id, it.delivery_count.wrapping_add(u64::from(!just_ids)));
        }
    }
    claims.apply(cx, place, consumer, now);
    claims.replicate(cx, place, consumer, now);
    cx.reply.array(3);
    write_id(&mut cx.reply, next);
    claims.reply(cx, place, just_ids);
    cx.reply.array(claims.gone.len());
    for &id in &claims.gone {
        write_id(&mut cx.reply, id);
    }
    Ok(())
}

/// An error if there is no such group.
fn find_group(cx: &mut Context<'_, '_>, place: Place<'_>) -> CommandResult {
    match find(&mut cx.keys, place.key)?.and_then(|it| it.group(place.group)) {
        Some(_) => Ok(()),
        None => Err(no_group(place.key.bytes(), place.group)),
    }
}

fn pending_in(group: Option<&Group>, id: StreamId) -> Option<Pending> {
    group?.pending(id).copied()
}

/// Whether an entry has not been pending for so long. What nobody owns may be had at once.
fn is_too_fresh(pending: &Pending, min_idle: i64, now: i64) -> bool {
    let idle = now.saturating_sub(pending.delivered_at);
    0 < min_idle && pending.owner().is_some() && idle < min_idle
}

/// What is claimed.
#[derive(Default)]
pub(super) struct Claims {
    /// With how often each was delivered then.
    claimed: Vec<(StreamId, u64)>,
    /// Pending, but no longer in the stream.
    pub(super) gone: Vec<StreamId>,
}

impl Claims {
    pub(super) fn add(&mut self, id: StreamId, delivery_count: u64) {
        self.claimed.push((id, delivery_count));
    }

    fn len(&self) -> usize {
        self.claimed.len() + self.gone.len()
    }

    fn append(&mut self, other: Self) {
        self.claimed.extend(other.claimed);
        self.gone.extend(other.gone);
    }

    pub(super) fn apply(
        &self,
        cx: &mut Context<'_, '_>,
        place: Place<'_>,
        consumer: ConsumerId,
        delivered_at: i64,
    ) {
        if self.len() == 0 {
            return;
        }
        let now = cx.now;
        place.edit(cx, |group| {
            for &(id, count) in &self.claimed {
                group.assign(id, Some(consumer), delivered_at, count);
            }
            for &id in &self.gone {
                group.acknowledge(id);
            }
            if !self.claimed.is_empty() {
                group.note_active(consumer, now);
            }
        });
        cx.keys.add_dirty(self.len() as u64);
    }

    /// Tells the journal what each entry has become.
    pub(super) fn replicate(
        &self,
        cx: &mut Context<'_, '_>,
        place: Place<'_>,
        consumer: ConsumerId,
        delivered_at: i64,
    ) {
        if !cx.effects.is_journalled || self.len() == 0 {
            return;
        }
        let group = known(&mut cx.keys, place.key).group(place.group).cloned().unwrap_or_default();
        let name = group.consumer(consumer).name();
        for run in self.claimed.chunk_by(|one, other| one.1 == other.1) {
            let ids: Vec<_> = run.iter().map(|it| it.0).collect();
            place.replicate_claim(cx, name, &ids, delivered_at, run[0].1, group.last_id);
        }
        if !self.gone.is_empty() {
            let ids: Vec<_> = self.gone.iter().map(|id| id.text()).collect();
            let mut args: Vec<&[u8]> = vec![b"XACK", place.key.bytes(), place.group];
            args.extend(ids.iter().map(StreamIdText::as_bytes));
            cx.replicate(&args);
        }
    }

    fn reply(&self, cx: &mut Context<'_, '_>, place: Place<'_>, just_ids: bool) {
        let ids = self.claimed.iter().map(|it| it.0);
        if just_ids {
            cx.reply.array(self.claimed.len());
            ids.for_each(|id| write_id(&mut cx.reply, id));
        } else {
            let stream = known(&mut cx.keys, place.key);
            write_each(&mut cx.reply, stream, ids.collect());
        }
    }
}
