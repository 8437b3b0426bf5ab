//! Slots go to other nodes, or the cluster fails: clients that wait for keys there, or listen to channels there, are told.

use rubine_base::crc::slot_of;
use rubine_cluster::slots::SlotSet;
use rubine_commands::CommandError;
use rubine_resp::writer::{Output, Reply};

use super::Core;
use crate::client::Client;
use crate::client::request::encode;
use crate::client::subscriptions::ChannelKind;

impl Core {
    /// Ends a client's wait for keys that are another node's now, or nobody's, with the error that tells so. Returns whether
    /// it waited for such.
    pub(crate) fn answer_moved(&mut self, client: &mut Client) -> bool {
        let Some(error) = self.place_of_waiting(client) else { return false };
        let Some(blocked) = self.stop_waiting(client) else { return false };
        if let Some(entry) = self.server.commands.all().get(client.traffic.last_command) {
            self.count_rejection(entry, &error);
        }
        self.answer_given_up(client, &blocked, |reply| error.write(reply));
        true
    }

    /// Where the command of a client belongs that waits for keys, if not here.
    fn place_of_waiting(&self, client: &Client) -> Option<CommandError> {
        let view = self.view.as_ref()?;
        let waiter = &client.blocked()?.waiter;
        let key = &waiter.args[*waiter.keys.first()?];
        if view.is_ok() && view.importing.contains_key(&slot_of(key)) {
            // Whoever waits there has said ASKING.
            return None;
        }
        let entry = self.server.commands.find(&waiter.args[0])?;
        let (bytes, ranges) = encode(waiter.args.iter().map(|it| &**it));
        self.look_for_place(client, entry, rubine_commands::Args::new(&bytes, &ranges))
    }

    /// Ends a client's listening to sharded channels in `slots`, and tells it. Returns whether there were any.
    pub(crate) fn end_listening(&mut self, client: &mut Client, slots: &SlotSet) -> bool {
        let kind = ChannelKind::ShardChannel;
        let Some(subscriptions) = &client.subscriptions else { return false };
        let mut names = subscriptions.names(kind);
        names.retain(|name| slots.contains(slot_of(name)));
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, client.protocol);
        for name in &names {
            self.unsubscribe(client, kind, name);
            let left = client.subscriptions.as_ref().map_or(0, |it| it.len(kind));
            reply.push(3);
            reply.bulk(b"sunsubscribe");
            reply.bulk(name);
            reply.integer(left as i64);
        }
        client.output.append(output);
        !names.is_empty()
    }
}
