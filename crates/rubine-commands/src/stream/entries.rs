//! Entries as a reply shows them: at once if they are few, else by a stream over a handle of the value. Never changes
//! one.

use rubine_resp::writer::{Progress, Reply, ReplyStream};
use rubine_structures::stream::{Direction, Entry, Stream, StreamCursor, StreamId};

/// Entries of a reply that are written at once; a stream writes those beyond.
const COUNT_AT_ONCE_MAX: u64 = 512;
/// Bytes of entries that are written at once.
const BYTES_AT_ONCE_MAX: usize = 64 * 1024;

/// A range of entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) start: StreamId,
    pub(super) end: StreamId,
    pub(super) direction: Direction,
    pub(super) count_max: u64,
}

impl Wanted {
    /// All entries from `start` on, at most `count_max`.
    pub(super) fn from(start: StreamId, count_max: u64) -> Self {
        Self { start, end: StreamId::MAX, direction: Direction::Ascending, count_max }
    }
}

pub(super) fn write_id(reply: &mut Reply<'_>, id: StreamId) {
    reply.bulk(id.text().as_bytes());
}

pub(super) fn write_entry(reply: &mut Reply<'_>, entry: &Entry<'_>) {
    reply.array(2);
    write_id(reply, entry.id);
    write_fields(reply, entry);
}

fn write_fields(reply: &mut Reply<'_>, entry: &Entry<'_>) {
    reply.array(2 * entry.field_count());
    for (name, value) in entry.fields() {
        reply.bulk(name);
        reply.bulk(value);
    }
}

/// Replies with an array of the entries.
pub(super) fn write_range(reply: &mut Reply<'_>, stream: &Stream, wanted: Wanted) {
    let Wanted { start, end, direction, count_max } = wanted;
    let header = reply.array_deferred();
    let (mut count, mut bytes) = (0, 0);
    for entry in stream.range(start, end, direction) {
        if count_max <= count {
            break;
        }
        if COUNT_AT_ONCE_MAX <= count || BYTES_AT_ONCE_MAX <= bytes {
            let (mut start, mut end) = (start, end);
            match direction {
                Direction::Ascending => start = entry.id,
                Direction::Descending => end = entry.id,
            }
            let cursor = StreamCursor::new(stream, start, end, direction, count_max - count);
            reply.set_array_len(header, (count + cursor.remaining()) as usize);
            reply.stream(Box::new(Range(cursor)));
            return;
        }
        write_entry(reply, &entry);
        (count, bytes) = (count + 1, bytes + entry.body_bytes());
    }
    reply.set_array_len(header, count as usize);
}

/// The entries of a range that are still to be written.
struct Range(StreamCursor);

/// A short entry costs more than its bytes.
const ENTRY_BYTES_MIN: usize = 48;

impl ReplyStream for Range {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        let count_max = budget_bytes / ENTRY_BYTES_MIN;
        let has_more =
            self.0.next_slice(count_max, budget_bytes, |entry| write_entry(reply, entry));
        if has_more { Progress::More } else { Progress::Done }
    }

    fn pinned_bytes(&self) -> usize {
        self.0.unshared_bytes()
    }
}

/// Replies with an array of the entries with these identifiers; those that are not there have no fields.
pub(super) fn write_each(reply: &mut Reply<'_>, stream: &Stream, ids: Vec<StreamId>) {
    reply.array(ids.len());
    let is_long = COUNT_AT_ONCE_MAX < ids.len() as u64;
    let mut each = Each { stream: stream.clone(), ids: ids.into_iter() };
    if is_long {
        reply.stream(Box::new(each));
    } else {
        each.fill(reply, usize::MAX);
    }
}

/// Entries that are still to be written, one by one.
struct Each {
    stream: Stream,
    ids: std::vec::IntoIter<StreamId>,
}

impl ReplyStream for Each {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        let mut bytes = 0;
        while bytes < budget_bytes {
            let Some(id) = self.ids.next() else { return Progress::Done };
            bytes += ENTRY_BYTES_MIN;
            if let Some(entry) = self.stream.get(id) {
                bytes += entry.body_bytes();
                write_entry(reply, &entry);
            } else {
                reply.array(2);
                write_id(reply, id);
                reply.null_array();
            }
        }
        Progress::More
    }

    fn pinned_bytes(&self) -> usize {
        self.ids.len() * size_of::<StreamId>() + self.stream.unshared_bytes()
    }
}

/// An entry of which is told how it was delivered before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivered {
    pub(super) id: StreamId,
    /// Milliseconds since then.
    pub(super) idle: i64,
    pub(super) count: u64,
}

/// Replies with an array of entries that are in the stream.
pub(super) fn write_delivered(reply: &mut Reply<'_>, stream: &Stream, rows: Vec<Delivered>) {
    reply.array(rows.len());
    let is_long = COUNT_AT_ONCE_MAX < rows.len() as u64;
    let mut rest = DeliveredReply { stream: stream.clone(), rows: rows.into_iter() };
    if is_long {
        reply.stream(Box::new(rest));
    } else {
        rest.fill(reply, usize::MAX);
    }
}

/// Such entries that are still to be written.
struct DeliveredReply {
    stream: Stream,
    rows: std::vec::IntoIter<Delivered>,
}

impl ReplyStream for DeliveredReply {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        let mut bytes = 0;
        while bytes < budget_bytes {
            let Some(Delivered { id, idle, count }) = self.rows.next() else {
                return Progress::Done;
            };
            let entry = self.stream.get(id).expect("the handle is of the instant of the look-up");
            bytes += ENTRY_BYTES_MIN + entry.body_bytes();
            reply.array(4);
            write_id(reply, id);
            write_fields(reply, &entry);
            reply.integer(idle);
            reply.integer(count as i64);
        }
        Progress::More
    }

    fn pinned_bytes(&self) -> usize {
        self.rows.len() * size_of::<Delivered>() + self.stream.unshared_bytes()
    }
}
