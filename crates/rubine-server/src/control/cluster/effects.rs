//! What the machine wants to be done, and that it is done in the order that was promised: what has to be on disk is there
//! before anything leaves.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use rubine_base::clock::Millis;
use rubine_base::crc::SLOT_COUNT;
use rubine_cluster::message::{Message, encode};
use rubine_cluster::migration::Migrations;
use rubine_cluster::text::Host;
use rubine_cluster::{Action, Effects, Event, Level, LinkId, Save, View, nodes_conf};

use super::super::cluster_data;
use super::Driver;

/// Rounds of effects of effects: what fails leads to new ones.
const ROUNDS_MAX: usize = 100;

impl Driver {
    /// Does what the machine wants to be done, until it wants nothing more. An error says why something could not be saved.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        let mut saved = Ok(());
        for _ in 0..ROUNDS_MAX {
            let effects = self.cluster.machine().take_effects();
            if effects.save.is_none() && effects.view.is_none() && effects.actions.is_empty() {
                break;
            }
            saved = saved.and(self.carry_out(effects));
        }
        saved
    }

    /// Does what follows from something. No lock is held meanwhile: workers that ask the machine something wait for no disk.
    pub(super) fn carry_out(&mut self, mut effects: Effects) -> Result<(), String> {
        let mut saved = Ok(());
        if let Some(save) = effects.save {
            saved = self.save(save);
            let (is_safe, now) = (saved.is_ok(), self.cluster.now());
            self.cluster.machine().handle(Event::Saved { is_safe }, now);
            if !is_safe {
                effects.forget_promises();
            }
        }
        if let Some(view) = effects.view {
            self.publish(view);
            self.tell_migrations(Migrations::view_changed);
        }
        for action in effects.actions {
            self.act(action);
        }
        self.flush();
        saved
    }

    /// Publishes a new view. Keys of slots that have moved by themselves go in the same step: whoever finds the slots
    /// elsewhere finds none of the keys here.
    fn publish(&mut self, view: Arc<View>) {
        let (server, cluster) = (self.server, self.cluster);
        let change = cluster_data::ViewChange::prepare(cluster, view);
        let given = cluster.migrations.ask(|machine| machine.given(change.view()));
        let dirty = cluster_data::slots_with_keys(server, given.iter());
        let publish = || cluster.publish(Arc::clone(change.view()));
        if dirty.is_empty() {
            publish();
        } else if let Err(error) = self.own.empty_slots(&dirty, publish) {
            tracing::warn!("Can't drop the keys of slots that have moved: {error}");
        }
        change.tell(server);
    }

    fn save(&mut self, save: Save) -> Result<(), String> {
        let saved = self.cluster.machine().saved();
        let text = nodes_conf::write(&saved);
        let disk = &self.server.persistence.disk;
        let outcome = self.file.save(disk, &text, save == Save::Synced);
        if let Err(reason) = &outcome {
            self.warn("save", reason);
        }
        outcome
    }

    /// Sends what was written.
    fn flush(&mut self) {
        let now = self.cluster.now();
        for (link, outcome) in self.links.flush(now) {
            match outcome {
                Ok(unsent) => self.cluster.machine().set_buffered(link, unsent),
                Err(reason) => self.drop_link(link, reason),
            }
        }
    }

    /// A connection is of no use any more, which the machine hears among the effects that are under way.
    fn drop_link(&mut self, link: LinkId, reason: String) {
        self.links.close(link);
        let now = self.cluster.now();
        self.cluster.machine().handle(Event::Closed { link, reason }, now);
    }

    fn act(&mut self, action: Action) {
        let server = self.server;
        match action {
            Action::Connect { link, to: Host::Ip(ip), port } => {
                self.connect(link, SocketAddr::new(ip, port));
            }
            Action::Connect { link, to: Host::Name(name), port } => {
                self.names.find_for(link, &name, port);
            }
            Action::Send { links, message } => self.send(&links, &message),
            Action::Close { link } => self.links.close(link),
            Action::Resolve { host } => self.names.find(host),
            Action::Log { level, text } => log(level, &text),
            Action::Follow { primary, port, history } => {
                let host = primary.to_string();
                let handlers = self.own.handlers();
                cluster_data::follow(server, self.cluster, handlers, (&host, port), history);
            }
            Action::Promote => {
                cluster_data::promote(server);
                self.tell_migrations(|machine, _, now| machine.promoted(now));
            }
            Action::DropAllKeys => cluster_data::drop_all_keys(&mut self.own),
            Action::DropKeys { slots } => {
                let dirty = cluster_data::slots_with_keys(server, slots.iter());
                let name = self.cluster.machine().my_name_in_shard();
                for slot in dirty.iter() {
                    tracing::info!("Deleting keys in dirty slot {slot} on node {name}");
                }
                cluster_data::drop_keys(&mut self.own, &dirty);
            }
            Action::VerifyKeys => {
                let populated = cluster_data::slots_with_keys(server, 0..SLOT_COUNT);
                let now = self.cluster.now();
                self.cluster.machine().verify_keys(&populated, now);
            }
            Action::PauseWrites { until } => self.pause_writes(until),
            Action::ResumeWrites => self.resume_writes(),
            Action::FencePrimary { is_fenced } => {
                let offset = cluster_data::fence(server, is_fenced);
                let now = self.cluster.now();
                if is_fenced {
                    self.cluster.machine().handle(Event::Fenced { offset }, now);
                }
            }
            Action::ReleaseSlots { slots } => cluster_data::release_slots(server, slots),
            Action::Publish { channel, message, is_sharded } => {
                cluster_data::publish(server, &channel, &message, is_sharded);
            }
            Action::Exit { reason } => {
                tracing::warn!("{reason}");
                std::process::exit(1);
            }
        }
    }

    fn send(&mut self, links: &[LinkId], message: &Message) {
        let packet = encode(message);
        let kind = message.kind();
        for &link in links {
            if let Err(reason) = self.links.send(link, &packet) {
                self.drop_link(link, reason);
            }
        }
        let bytes = (links.len() * packet.len()) as u64;
        self.cluster.machine().count_sent_bytes(kind, bytes);
    }

    fn connect(&mut self, link: LinkId, to: SocketAddr) {
        let source = self.source_address();
        let connected = source
            .and_then(|source| self.links.connect(link, to, source, self.server.tls_to_nodes()));
        if let Err(error) = connected {
            self.drop_link(link, error.to_string());
        }
    }

    /// The address that connections are made from, if one is set.
    fn source_address(&self) -> std::io::Result<Option<IpAddr>> {
        let source = self.config.bind_source_addr.as_deref().filter(|it| !it.is_empty());
        let Some(source) = source else { return Ok(None) };
        Ok((source, 0).to_socket_addrs()?.next().map(|it| it.ip()))
    }

    /// Connects to those whose names have been looked up.
    pub(super) fn connect_found(&mut self) {
        for (link, found) in self.names.take_found() {
            match found {
                // It was given up meanwhile.
                _ if !self.cluster.machine().has_link(link) => {}
                Ok(to) => self.connect(link, to),
                Err(reason) => self.drop_link(link, reason),
            }
        }
        let _ = self.settle();
    }

    fn pause_writes(&mut self, until: Millis) {
        if self.paused_until.replace(until).is_none() {
            cluster_data::pause_writes(self.server);
        }
        let (offset, now) = (self.server.journal.point().offset.0, self.cluster.now());
        self.cluster.machine().handle(Event::Paused { offset }, now);
    }

    pub(super) fn resume_writes(&mut self) {
        if self.paused_until.take().is_some() {
            cluster_data::resume_writes(self.server);
        }
    }
}

pub(super) fn log(level: Level, text: &str) {
    match level {
        Level::Debug => tracing::trace!("{text}"),
        Level::Verbose => tracing::debug!("{text}"),
        Level::Notice => tracing::info!("{text}"),
        Level::Warning => tracing::warn!("{text}"),
    }
}
