//! Clients become users, and are cut when these go, or when something is taken from them that they listen to.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use rubine_acl::{ChannelUse, User, Users};
use rubine_base::clock::monotonic_millis;
use rubine_base::hash::HashSet;
use rubine_commands::CommandError;

use super::Core;
use crate::client::subscriptions::ChannelKind;
use crate::client::{Client, ClientFlags};
use crate::mailbox::Message;

/// For so long is waited that other workers have cut whoever listens to what it no longer may, in milliseconds.
const CUT_MS_MAX: u64 = 50;

impl Core {
    /// Makes a client the user whose password it has told. Returns whether it is the right one. It is refused where that
    /// user has as many clients as it may have.
    pub(crate) fn log_in(
        &self,
        client: &mut Client,
        name: &[u8],
        password: &[u8],
    ) -> Result<bool, CommandError> {
        self.become_user(client, |users| users.authenticate(name, password))
    }

    /// Makes a client the user that is found. Returns whether one is. It may be refused as above.
    pub(super) fn become_user(
        &self,
        client: &mut Client,
        find: impl Fn(&Users) -> Option<&Arc<User>>,
    ) -> Result<bool, CommandError> {
        let before = (client.identity.clone(), client.info.names.lock().user.clone());
        loop {
            let users = self.server.access.users();
            let Some(user) = find(&users) else {
                // It may have been that user for a moment, which has gone in between.
                (client.identity, client.info.names.lock().user) = before;
                return Ok(false);
            };
            client.identity.log_in(Arc::clone(user), &users);
            client.info.names.lock().user = user.name().to_vec();
            // Whoever removes a user looks for its clients when it is gone: it has found this one, or shows here.
            if self.server.access.generation() != users.generation() {
                continue;
            }
            return match self.bind(client) {
                Ok(()) => Ok(true),
                Err(error) => {
                    (client.identity, client.info.names.lock().user) = before;
                    self.bind_again(client);
                    Err(error)
                }
            };
        }
    }

    /// Closes the clients of users that are there no more. `client` asks for it, and hears of it first.
    pub(crate) fn cut_clients_of(&self, client: &mut Client, users: &Users, gone: &[Arc<User>]) {
        let gone: HashSet<&[u8]> = gone.iter().map(|it| it.name()).collect();
        if gone.is_empty() {
            return;
        }
        for info in self.server.clients.list() {
            if !gone.contains(&*info.names.lock().user) {
                continue;
            }
            if info.id == client.id {
                self.server.clients.remove(info.id);
                client.identity.lose_user(users);
                client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
            } else {
                self.server.kill(&info);
            }
        }
    }

    /// Closes clients that listen to what their users no longer may. `changed` are those of whom something was taken.
    /// `client` asks for it. Unless it must not wait, it goes on when other workers have done the same.
    pub(crate) fn cut_listeners(
        &self,
        client: &mut Client,
        changed: Vec<Box<[u8]>>,
        may_wait: bool,
    ) {
        if changed.is_empty() || !self.server.pubsub.is_listened_to() {
            return;
        }
        let changed: Arc<[Box<[u8]>]> = changed.into();
        let (sender, done) = mpsc::channel();
        for (index, worker) in self.server.workers.iter().enumerate() {
            if index != self.index {
                let (users, done) = (Arc::clone(&changed), sender.clone());
                worker.send(Message::ChannelsWithdrawn { users, done });
            }
        }
        drop(sender);
        self.cut_own_listeners(&changed, Some(client));
        let until = monotonic_millis() + CUT_MS_MAX;
        let mut left = may_wait;
        while left {
            let rest = until.saturating_sub(monotonic_millis());
            // It ends with the last of the others, or when one of them takes long.
            left = 0 < rest && done.recv_timeout(Duration::from_millis(rest)).is_ok();
        }
    }

    /// The part of [`Self::cut_listeners`] that concerns this worker's clients.
    pub(crate) fn cut_own_listeners(&self, changed: &[Box<[u8]>], mut asker: Option<&mut Client>) {
        let users = self.server.access.users();
        let mut cut = HashSet::default();
        for kind in ChannelKind::ALL {
            let usage = match kind {
                ChannelKind::Pattern => ChannelUse::Pattern,
                ChannelKind::Channel | ChannelKind::ShardChannel => ChannelUse::Literal,
            };
            for (name, listeners) in &self.subscribers.by_name[kind.index()] {
                for id in
                    listeners.keys().filter(|id| !cut.contains(*id)).copied().collect::<Vec<_>>()
                {
                    let Some(info) = self.server.clients.get(id) else { continue };
                    let user = info.names.lock().user.clone();
                    let may_listen = !changed.contains(&user.clone().into())
                        || users.get(&user).is_some_and(|it| it.may_use_channel(name, usage));
                    if may_listen {
                        continue;
                    }
                    cut.insert(id);
                    match &mut asker {
                        Some(asker) if asker.id == id => {
                            self.server.clients.remove(id);
                            asker.flags |= ClientFlags::CLOSE_AFTER_REPLY;
                        }
                        _ => self.server.kill(&info),
                    }
                }
            }
        }
    }
}
