//! Clients begin and cease to listen to channels and patterns.

use std::sync::Arc;

use super::Core;
use crate::client::subscriptions::{ChannelKind, NAME_BYTES};
use crate::client::{Client, ClientFlags};

impl Core {
    /// Lets a client listen to a name, if it does not already.
    pub(crate) fn subscribe(&mut self, client: &mut Client, kind: ChannelKind, name: &[u8]) {
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
    pub(crate) fn unsubscribe(&mut self, client: &mut Client, kind: ChannelKind, name: &[u8]) {
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
        for kind in ChannelKind::ALL {
            let Some(subscriptions) = &client.subscriptions else { return };
            for name in subscriptions.names(kind) {
                self.unsubscribe(client, kind, &name);
            }
        }
    }
}
