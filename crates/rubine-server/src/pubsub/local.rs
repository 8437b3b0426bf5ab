//! The subscriptions of one worker's clients, from both sides: what a client listens to, and which clients listen to a
//! name. Never sends anything.

use std::sync::Arc;

use rubine_base::hash::{HashMap, HashSet};

use super::Kind;
use crate::client::{Client, ClientFlags};
use crate::dispatch::Core;

/// The names of each kind that a client listens to.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    names: [HashSet<Arc<[u8]>>; Kind::COUNT],
    /// Memory of `names` and of what stands for them elsewhere, about.
    bytes: usize,
}

/// What a name takes beyond its bytes, here and in the lists of listeners, about.
const NAME_BYTES: usize = 192;

impl Subscriptions {
    pub(crate) fn len(&self, kind: Kind) -> usize {
        self.names[kind.index()].len()
    }

    pub(crate) fn names(&self, kind: Kind) -> Vec<Arc<[u8]>> {
        self.names[kind.index()].iter().cloned().collect()
    }

    /// Memory that the names take, about.
    pub(crate) fn byte_count(&self) -> usize {
        self.bytes
    }

    fn is_empty(&self) -> bool {
        self.names.iter().all(HashSet::is_empty)
    }
}

/// Clients that listen to a name, each with the version from which on messages are for it.
type Listeners = HashMap<u64, u64>;

/// Which of a worker's clients listen to a name.
#[derive(Debug, Default)]
pub(crate) struct LocalSubscribers {
    by_name: [HashMap<Arc<[u8]>, Listeners>; Kind::COUNT],
}

impl LocalSubscribers {
    /// The clients that listen to a name since `version` or before.
    pub(super) fn listening(
        &self,
        kind: Kind,
        name: &[u8],
        version: u64,
    ) -> impl Iterator<Item = u64> {
        let clients = self.by_name[kind.index()].get(name).into_iter().flatten();
        clients.filter(move |&(_, &since)| since <= version).map(|(&client, _)| client)
    }
}

impl Core {
    /// Lets a client listen to a name, if it does not already.
    pub(crate) fn subscribe(&mut self, client: &mut Client, kind: Kind, name: &[u8]) {
        let subscriptions = client.subscriptions.get_or_insert_default();
        client.flags |= ClientFlags::PUBSUB;
        let names = &mut subscriptions.names[kind.index()];
        if names.contains(name) {
            return;
        }
        subscriptions.bytes += name.len() + NAME_BYTES;
        let by_name = &mut self.subscribers.by_name[kind.index()];
        let name = match by_name.get_key_value(name) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(name),
        };
        let since = self.server.pubsub.add(kind, &name, self.index);
        by_name.entry(Arc::clone(&name)).or_default().insert(client.id, since);
        names.insert(name);
    }

    /// Ends a client's listening to a name, if it does.
    pub(crate) fn unsubscribe(&mut self, client: &mut Client, kind: Kind, name: &[u8]) {
        let Some(subscriptions) = &mut client.subscriptions else { return };
        if !subscriptions.names[kind.index()].remove(name) {
            return;
        }
        subscriptions.bytes -= name.len() + NAME_BYTES;
        if subscriptions.is_empty() {
            client.flags -= ClientFlags::PUBSUB;
            client.subscriptions = None;
        }
        self.server.pubsub.remove(kind, name, self.index);
        let by_name = &mut self.subscribers.by_name[kind.index()];
        let clients = by_name.get_mut(name).expect("the client is one of them");
        clients.remove(&client.id);
        if clients.is_empty() {
            by_name.remove(name);
        }
    }

    /// Ends all of a client's listening.
    pub(crate) fn unsubscribe_all(&mut self, client: &mut Client) {
        for kind in Kind::ALL {
            let Some(subscriptions) = &client.subscriptions else { return };
            for name in subscriptions.names(kind) {
                self.unsubscribe(client, kind, &name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_before_is_for_nobody_who_came_later() {
        let mut subscribers = LocalSubscribers::default();
        let listeners = Listeners::from_iter([(7, 1), (8, 2), (9, 4)]);
        subscribers.by_name[Kind::Pattern.index()].insert(Arc::from(b"a*".as_slice()), listeners);
        for (version, expected) in [(0, vec![]), (1, vec![7]), (3, vec![7, 8]), (4, vec![7, 8, 9])]
        {
            let mut clients: Vec<_> =
                subscribers.listening(Kind::Pattern, b"a*", version).collect();
            clients.sort_unstable();
            assert_eq!(clients, expected, "sent at {version}");
        }
        assert_eq!(subscribers.listening(Kind::Channel, b"a*", 9).count(), 0);
    }
}
