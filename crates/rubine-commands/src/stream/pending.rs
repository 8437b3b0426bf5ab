//! XPENDING, and rows about pending entries as replies show them. Never changes a group.

use rubine_resp::writer::{Progress, Reply, ReplyStream};
use rubine_structures::stream::{Group, StreamId};

use super::entries::write_id;
use super::{find, no_group, parse_end, parse_start};
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};

pub(super) const XPENDING: Command = Command::new("XPENDING", xpending)
    .summary("Tells which entries are pending, for whom and since when.")
    .syntax("key group [[IDLE min-idle-time] start end count [consumer]]")
    .since("5.0.0")
    .complexity("O(log(N)+M) with N the pending entries and M those looked at, or M the number of consumers.")
    .tips("nondeterministic_output")
    .arity(-3)
    .reads()
    .key("RO ACCESS");

fn xpending(cx: &mut Context<'_, '_>) -> CommandResult {
    let rows = match cx.args.len() {
        3 => None,
        6..=9 => Some(Rows::parse(cx)?),
        _ => return Err(CommandError::Syntax),
    };
    let (key, name, now) = (cx.key(1), cx.args.at(2), cx.now);
    let group = find(&mut cx.keys, key)?.and_then(|it| it.group(name));
    let group = group.ok_or_else(|| no_group(key.bytes(), name))?;
    match rows {
        None => write_summary(&mut cx.reply, group),
        Some(rows) => match rows.find(group, now) {
            Some(ids) => write_rows(&mut cx.reply, group, ids, Layout::Idle { now }),
            None => cx.reply.array(0),
        },
    }
    Ok(())
}

fn write_summary(reply: &mut Reply<'_>, group: &Group) {
    reply.array(4);
    reply.integer(group.pending_count() as i64);
    let (Some(first), Some(last)) = (group.first_pending(), group.last_pending()) else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    write_id(reply, first);
    write_id(reply, last);
    let header = reply.array_deferred();
    let mut count = 0;
    for (_, consumer) in group.consumers().filter(|it| 0 < it.1.pending_count()) {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk_integer(consumer.pending_count() as i64);
        count += 1;
    }
    reply.set_array_len(header, count);
}

/// Which entries are asked for.
struct Rows<'a> {
    min_idle: i64,
    start: StreamId,
    end: StreamId,
    count_max: u64,
    consumer: Option<&'a [u8]>,
}

impl<'a> Rows<'a> {
    fn parse(cx: &Context<'a, '_>) -> Result<Self, CommandError> {
        let mut options = cx.args.options(3);
        let mut min_idle = 0;
        if options.keyword("IDLE") {
            min_idle = options.integer()?;
            if options.remaining() < 3 {
                return Err(CommandError::Syntax);
            }
        }
        let at = options.index();
        let count_max = cx.args.integer(at + 2)?.max(0) as u64;
        let (start, end) = (parse_start(cx.args.at(at))?, parse_end(cx.args.at(at + 1))?);
        Ok(Self { min_idle, start, end, count_max, consumer: cx.args.get(at + 3) })
    }

    /// The entries; `None` if there is no such consumer.
    fn find(&self, group: &Group, now: i64) -> Option<Vec<StreamId>> {
        let consumer = match self.consumer {
            Some(name) => Some(group.consumer(group.find_consumer(name)?)),
            None => None,
        };
        let own = consumer.into_iter().flat_map(|it| it.pending_from(self.start));
        let all = group.pending_from(self.start).map(|it| it.0);
        let all = consumer.is_none().then_some(all).into_iter().flatten();
        let is_idle = |id: &StreamId| {
            let pending = group.pending(*id);
            pending.is_some_and(|it| self.min_idle <= now.saturating_sub(it.delivered_at))
        };
        let ids = own.chain(all).take_while(|id| *id <= self.end);
        let ids = ids.filter(|id| self.min_idle == 0 || is_idle(id));
        Some(ids.take(usize::try_from(self.count_max).unwrap_or(usize::MAX)).collect())
    }
}

/// What is told of each pending entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layout {
    /// Its owner, and how long ago it was delivered.
    Idle { now: i64 },
    /// Its owner, and when it was delivered.
    Owner,
    /// When it was delivered.
    Plain,
}

/// Rows that are written at once; a stream writes those beyond.
const ROWS_AT_ONCE_MAX: usize = 512;

/// Replies with an array of what is to be told of these entries, which are pending.
pub(super) fn write_rows(reply: &mut Reply<'_>, group: &Group, ids: Vec<StreamId>, layout: Layout) {
    reply.array(ids.len());
    if ROWS_AT_ONCE_MAX < ids.len() {
        let (group, ids) = (group.clone(), ids.into_iter());
        reply.stream(Box::new(RowsReply { group, ids, layout }));
    } else {
        ids.into_iter().for_each(|id| write_row(reply, group, id, layout));
    }
}

fn write_row(reply: &mut Reply<'_>, group: &Group, id: StreamId, layout: Layout) {
    let pending = group.pending(id).expect("the rows are those of pending entries");
    reply.array(if matches!(layout, Layout::Plain) { 3 } else { 4 });
    write_id(reply, id);
    if !matches!(layout, Layout::Plain) {
        reply.bulk(pending.owner().map_or(b"", |it| group.consumer(it).name()));
    }
    match layout {
        Layout::Idle { .. } if pending.owner().is_none() => reply.integer(-1),
        Layout::Idle { now } => reply.integer(now.saturating_sub(pending.delivered_at).max(0)),
        Layout::Owner | Layout::Plain => reply.integer(pending.delivered_at),
    }
    reply.integer(pending.delivery_count as i64);
}

/// Rows that are still to be written.
struct RowsReply {
    group: Group,
    ids: std::vec::IntoIter<StreamId>,
    layout: Layout,
}

impl ReplyStream for RowsReply {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        const ROW_BYTES: usize = 80;
        for id in self.ids.by_ref().take(budget_bytes.div_ceil(ROW_BYTES)) {
            write_row(reply, &self.group, id, self.layout);
        }
        if self.ids.len() == 0 { Progress::Done } else { Progress::More }
    }

    fn pinned_bytes(&self) -> usize {
        self.ids.len() * size_of::<StreamId>()
    }
}
