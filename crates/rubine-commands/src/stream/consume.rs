//! What reading on behalf of a group and claiming have in common: consumers that come into being, and how a change of
//! what is pending is told to the journal.

use rubine_keyspace::Key;
use rubine_structures::stream::{ConsumerId, Group, StreamId, StreamIdText};

use super::edit_group;
use crate::context::Context;
use crate::event::Event;

/// A group, and where it is.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) key: Key<'a>,
    pub(super) group: &'a [u8],
}

impl Place<'_> {
    pub(super) fn edit<R>(
        &self,
        cx: &mut Context<'_, '_>,
        change: impl FnOnce(&mut Group) -> R,
    ) -> R {
        edit_group(cx, self.key, self.group, change)
    }

    /// The consumer of this name, which comes into being if there is none, and was seen now.
    pub(super) fn consumer(&self, cx: &mut Context<'_, '_>, name: &[u8]) -> ConsumerId {
        let now = cx.now;
        let (id, is_new) = self.edit(cx, |group| match group.find_consumer(name) {
            Some(id) => {
                group.note_seen(id, now);
                (id, false)
            }
            None => (group.add_consumer(name, now), true),
        });
        if is_new {
            cx.keys.add_dirty(1);
            cx.notify(self.key, Event::XGROUP_CREATECONSUMER);
            cx.replicate(&[b"XGROUP", b"CREATECONSUMER", self.key.bytes(), self.group, name]);
        }
        id
    }

    /// Tells the journal how far the group has read.
    pub(super) fn replicate_progress(&self, cx: &mut Context<'_, '_>, group: &Group) {
        let entries_read = group.entries_read.map_or(-1, |it| it as i64).to_string();
        let last_id = group.last_id.text();
        cx.replicate(&[
            b"XGROUP",
            b"SETID",
            self.key.bytes(),
            self.group,
            last_id.as_bytes(),
            b"ENTRIESREAD",
            entries_read.as_bytes(),
        ]);
    }

    /// Tells the journal that entries are pending for a consumer since `delivered_at`.
    pub(super) fn replicate_claim(
        &self,
        cx: &mut Context<'_, '_>,
        consumer: &[u8],
        ids: &[StreamId],
        delivered_at: i64,
        delivery_count: u64,
        last_id: StreamId,
    ) {
        cx.effects.replaces_command = true;
        if !cx.effects.is_journalled || ids.is_empty() {
            return;
        }
        let (time, count) = (delivered_at.to_string(), delivery_count.to_string());
        let ids: Vec<_> = ids.iter().map(|id| id.text()).collect();
        let last_id = last_id.text();
        let mut args: Vec<&[u8]> = vec![b"XCLAIM", self.key.bytes(), self.group, consumer, b"0"];
        args.extend(ids.iter().map(StreamIdText::as_bytes));
        let rest: [&[u8]; 8] = [
            b"TIME",
            time.as_bytes(),
            b"RETRYCOUNT",
            count.as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            last_id.as_bytes(),
        ];
        args.extend(rest);
        cx.replicate(&args);
    }
}
