//! The last part of a message's way: into the output of this worker's clients that listen. What they do not read counts
//! towards their limits at once. Never sends to another worker.

use rubine_base::hash::HashMap;
use rubine_resp::writer::Reply;

use super::limits::enforce_after_push;
use super::schedule::schedule;
use crate::client::subscriptions::ChannelKind;
use crate::client::{Client, ClientFlags};
use crate::core::Core;
use crate::publication::Publication;

/// Gives a message to all clients of this worker that listen to its channel.
pub(super) fn deliver(
    core: &mut Core,
    clients: &mut [Option<Box<Client>>],
    slot_of: &HashMap<u64, usize>,
    scheduled: &mut Vec<usize>,
    publication: &Publication,
) {
    let subscribers = std::mem::take(&mut core.subscribers);
    let mut give = |kind: ChannelKind, name: &[u8], version: u64, message: &[&[u8]]| {
        for id in subscribers.listening(kind, name, version) {
            let Some(&slot) = slot_of.get(&id) else { continue };
            let Some(client) = &mut clients[slot] else { continue };
            if client.flags.contains(ClientFlags::CLOSE_NOW) {
                continue;
            }
            append(client, message);
            enforce_after_push(core, client);
            schedule(scheduled, client, slot);
        }
    };
    let Publication { kind, channel, payload, version, patterns, patterns_version } = publication;
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

/// Appends a message that is no reply: it comes whatever CLIENT REPLY says.
fn append(client: &mut Client, parts: &[&[u8]]) {
    let mut push = Reply::new(&mut client.output, client.protocol);
    push.push(parts.len());
    parts.iter().for_each(|part| push.bulk(part));
}
