//! The last part of a message's way: into the output of this worker's clients that listen. What they do not read counts
//! towards their limits at once. Never sends to another worker.

use rubine_base::hash::HashMap;
use rubine_resp::writer::Reply;
use smallvec::SmallVec;

use super::limits::{close_for_output, enforce_after_push};
use super::schedule::schedule;
use crate::client::subscriptions::ChannelKind;
use crate::client::{Client, ClientFlags, ReplyMode};
use crate::core::Core;
use crate::core::tracking::hear_now;
use crate::observing::monitor::Lines;
use crate::publication::Publication;

/// A client that has so much unread is told nothing more of copies of keys until it has read: what comes then waits in its
/// inbox, which is bounded.
const UNHEARD_BYTES_MAX: usize = 16 << 20;

/// Gives a message to all clients of this worker that listen to its channel.
pub(super) fn deliver(
    core: &mut Core,
    clients: &mut [Option<Box<Client>>],
    slot_of: &HashMap<u64, usize>,
    scheduled: &mut Vec<usize>,
    publication: &Publication,
) {
    let Publication { kind, channel, payload, version, patterns, .. } = publication;
    let Publication { patterns_version, durable_offset, .. } = publication;
    let subscribers = std::mem::take(&mut core.subscribers);
    let mut give = |kind: ChannelKind, name: &[u8], version: u64, message: &[&[u8]]| {
        for id in subscribers.listening(kind, name, version) {
            let Some(&slot) = slot_of.get(&id) else { continue };
            let Some(client) = &mut clients[slot] else { continue };
            if client.flags.contains(ClientFlags::CLOSE_NOW) {
                continue;
            }
            append(client, message);
            client.disk.durable_offset = client.disk.durable_offset.max(*durable_offset);
            enforce_after_push(core, client);
            schedule(scheduled, client, slot);
        }
    };
    let word: &[u8] = if *kind == ChannelKind::ShardChannel { b"smessage" } else { b"message" };
    give(*kind, channel, *version, &[word, channel, payload]);
    for pattern in patterns {
        give(
            ChannelKind::Pattern,
            pattern,
            *patterns_version,
            &[b"pmessage", pattern, channel, payload],
        );
    }
    core.subscribers = subscribers;
}

/// Tells a client of copies of keys what waits for it, unless it has left too much unread.
pub(super) fn tell(core: &mut Core, client: &mut Client) {
    let is_over = client.flags.contains(ClientFlags::CLOSE_NOW);
    let reads = client.output.buffered_bytes() < UNHEARD_BYTES_MAX;
    let may_hear = client.info.inbox.has_notices() && reads && !is_over;
    if may_hear && hear_now(client) {
        enforce_after_push(core, client);
    }
}

/// Cuts all clients of this worker that have listened to a name since `version` or before: more came than may wait.
pub(super) fn cut(
    core: &mut Core,
    clients: &mut [Option<Box<Client>>],
    slot_of: &HashMap<u64, usize>,
    scheduled: &mut Vec<usize>,
    (kind, name, version): (ChannelKind, &[u8], u64),
) {
    let listening: Vec<u64> = core.subscribers.listening(kind, name, version).collect();
    for id in listening {
        let Some(&slot) = slot_of.get(&id) else { continue };
        let Some(client) = &mut clients[slot] else { continue };
        close_for_output(core, client);
        schedule(scheduled, client, slot);
    }
}

/// Gives lines to all clients of this worker that watch.
pub(super) fn deliver_lines(
    core: &mut Core,
    clients: &mut [Option<Box<Client>>],
    slot_of: &HashMap<u64, usize>,
    scheduled: &mut Vec<usize>,
    lines: &Lines,
) {
    let watchers: SmallVec<[u64; 4]> = core.watch.watchers(lines.version).collect();
    for id in watchers {
        let Some(&slot) = slot_of.get(&id) else { continue };
        let Some(client) = &mut clients[slot] else { continue };
        let is_gone = client.flags.contains(ClientFlags::CLOSE_NOW);
        if is_gone || client.sending.reply_mode == ReplyMode::Off {
            continue;
        }
        Reply::new(&mut client.output, client.protocol).raw(&lines.bytes);
        enforce_after_push(core, client);
        schedule(scheduled, client, slot);
    }
}

/// Cuts all clients of this worker that have watched since `version` or before.
pub(super) fn cut_watchers(
    core: &mut Core,
    clients: &mut [Option<Box<Client>>],
    slot_of: &HashMap<u64, usize>,
    scheduled: &mut Vec<usize>,
    version: u64,
) {
    let watchers: SmallVec<[u64; 4]> = core.watch.watchers(version).collect();
    for id in watchers {
        let Some(&slot) = slot_of.get(&id) else { continue };
        let Some(client) = &mut clients[slot] else { continue };
        close_for_output(core, client);
        schedule(scheduled, client, slot);
    }
}

/// Appends a message that is no reply: it comes whatever CLIENT REPLY says.
fn append(client: &mut Client, parts: &[&[u8]]) {
    let mut push = Reply::new(&mut client.output, client.protocol);
    push.push(parts.len());
    parts.iter().for_each(|part| push.bulk(part));
}
