//! What XREADGROUP gives to a consumer: what is new to the group, what has been pending for too long, or once more what is
//! pending for the consumer.

use rubine_structures::stream::{ConsumerId, Direction, Group, Pending, Stream, StreamId};

use super::budget::Budget;
use super::claim::Claims;
use super::consume::Place;
use super::entries::{Delivered, Wanted, write_delivered, write_each, write_range};
use super::known;
use super::read_options::{Options, Served};
use crate::context::Context;

/// Delivers what is new to the group, if there is anything, and before that what it may claim.
pub(super) fn serve_new(
    cx: &mut Context<'_, '_>,
    options: &Options<'_>,
    place: Place<'_>,
    consumer: ConsumerId,
    served: &mut Served,
    budget: &mut Budget,
) {
    let mut rows = Vec::new();
    if let Some(min_idle) = options.claim_min_idle {
        rows = claim(cx, place, consumer, min_idle, options.count_max, budget);
    }
    let count_max = options.count_max - rows.len() as u64;
    let ids = take_new(cx, options, place, consumer, count_max, budget);
    if rows.is_empty() && ids.is_empty() {
        return;
    }
    cx.keys.add_dirty(1);
    served.begin(cx, place.key);
    let stream = known(&mut cx.keys, place.key);
    if options.claim_min_idle.is_some() {
        rows.extend(ids.into_iter().map(|id| Delivered { id, idle: 0, count: 0 }));
        write_delivered(&mut cx.reply, stream, rows);
    } else if let Some(&first) = ids.first() {
        write_range(&mut cx.reply, stream, Wanted::from(first, ids.len() as u64));
    }
}

/// Makes what is new to the group the consumer's. Returns what that is.
fn take_new(
    cx: &mut Context<'_, '_>,
    options: &Options<'_>,
    place: Place<'_>,
    consumer: ConsumerId,
    count_max: u64,
    budget: &mut Budget,
) -> Vec<StreamId> {
    let stream = known(&mut cx.keys, place.key);
    let group = stream.group(place.group);
    let Some((group, first)) = group.and_then(|it| Some((it, it.last_id.next()?))) else {
        return Vec::new();
    };
    let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
    let range = stream.range(first, StreamId::MAX, Direction::Ascending).take(count_max);
    let ids: Vec<_> = range.take_while(|it| budget.admits(Some(it))).map(|it| it.id).collect();
    let Some(&last_id) = ids.last() else { return ids };
    let entries_read = entries_read_after(stream, group, &ids);
    let now = cx.now;
    place.edit(cx, |group| {
        (group.last_id, group.entries_read) = (last_id, entries_read);
        if !options.leaves_nothing_pending {
            for &id in &ids {
                group.assign(id, Some(consumer), now, 1);
            }
            group.note_active(consumer, now);
        }
    });
    if cx.effects.is_journalled {
        let group = known(&mut cx.keys, place.key).group(place.group).cloned().unwrap_or_default();
        if !options.leaves_nothing_pending {
            let name = group.consumer(consumer).name();
            place.replicate_claim(cx, name, &ids, now, 1, last_id);
        }
        place.replicate_progress(cx, &group);
    }
    ids
}

/// How many entries, from the first ever, a group has read when it has got these.
fn entries_read_after(stream: &Stream, group: &Group, ids: &[StreamId]) -> Option<u64> {
    let (mut last_id, mut entries_read) = (group.last_id, group.entries_read);
    for &id in ids {
        let is_counted = stream.first_id() <= last_id && !stream.may_have_gap_from(last_id);
        entries_read = match entries_read {
            // A restored group may claim any number.
            Some(count) if is_counted => Some(count.wrapping_add(1)),
            before if stream.entries_added() == 0 => before,
            _ => stream.entries_until(id),
        };
        last_id = id;
    }
    entries_read
}

/// Makes what was delivered long ago the consumer's, the longest ago first. Returns what that is, and what was known of
/// it before.
fn claim(
    cx: &mut Context<'_, '_>,
    place: Place<'_>,
    consumer: ConsumerId,
    min_idle: i64,
    count_max: u64,
    budget: &mut Budget,
) -> Vec<Delivered> {
    let now = cx.now;
    let until = now.saturating_sub(min_idle);
    // The order of time is kept from now on, before the group is shared.
    place.edit(cx, |group| _ = group.pending_until(until).next());
    let stream = known(&mut cx.keys, place.key);
    let mut group = stream.group(place.group).cloned().unwrap_or_default();
    let (mut rows, mut claims) = (Vec::new(), Claims::default());
    for (id, &Pending { delivered_at, delivery_count, .. }) in group.pending_until(until) {
        if count_max <= rows.len() as u64 {
            break;
        }
        let entry = stream.get(id);
        if entry.is_none() {
            claims.gone.push(id);
            continue;
        }
        if !budget.admits(entry.as_ref()) {
            break;
        }
        let idle = now.saturating_sub(delivered_at);
        rows.push(Delivered { id, idle, count: delivery_count });
        claims.add(id, delivery_count.saturating_add(1));
    }
    drop(group);
    claims.apply(cx, place, consumer, now);
    claims.replicate(cx, place, consumer, now);
    rows
}

/// Delivers once more what is pending for the consumer.
pub(super) fn serve_history(
    cx: &mut Context<'_, '_>,
    place: Place<'_>,
    consumer: ConsumerId,
    first: StreamId,
    count_max: u64,
    budget: &mut Budget,
) {
    let now = cx.now;
    let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
    let stream = known(&mut cx.keys, place.key);
    let Some(group) = stream.group(place.group) else { return };
    let pending = group.consumer(consumer).pending_from(first).take(count_max);
    let pending = pending.take_while(|&id| budget.admits(stream.get(id).as_ref()));
    let ids: Vec<StreamId> = pending.collect();
    let counted = ids.iter().filter(|&&id| stream.contains(id));
    let counts = counted.map(|&id| {
        let before = group.pending(id).map_or(0, |it| it.delivery_count);
        (id, before.wrapping_add(1))
    });
    let counts: Vec<(StreamId, u64)> = counts.collect();
    place.edit(cx, |group| {
        for &(id, count) in &counts {
            group.assign(id, Some(consumer), now, count);
        }
    });
    if cx.effects.is_journalled {
        let group = known(&mut cx.keys, place.key).group(place.group).cloned().unwrap_or_default();
        let name = group.consumer(consumer).name();
        for run in counts.chunk_by(|one, other| one.1 == other.1) {
            let ids: Vec<_> = run.iter().map(|it| it.0).collect();
            place.replicate_claim(cx, name, &ids, now, run[0].1, group.last_id);
        }
    }
    write_each(&mut cx.reply, known(&mut cx.keys, place.key), ids);
}
