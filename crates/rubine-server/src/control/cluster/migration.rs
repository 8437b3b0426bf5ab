//! Slots that move by themselves: what the state machine of migrations wants to be done. Decides nothing, and sends no key:
//! each connection has a thread for that.

mod ask;
mod carrier;
mod export;
pub(crate) mod import;

use std::net::SocketAddr;

use rubine_base::clock::Millis;
use rubine_cluster::id::NodeId;
use rubine_cluster::migration::{
    Answer, JobId, MigrationAction, MigrationConfig, Migrations, TaskId,
};
use rubine_cluster::slots::SlotSet;
use rubine_cluster::{NodeView, View};
use rubine_config::Config;
use rubine_keyspace::ShardSet;

use super::effects::log;
use super::{Driver, cluster_data};
use crate::cluster::Order;
use crate::mailbox::Message;

/// Rounds of actions of actions.
const ROUNDS_MAX: usize = 100;
/// How often the time passes for migrations, milliseconds.
pub(super) const PERIOD_MS: Millis = 100;

/// What the directives mean for migrations.
pub(super) fn config_of(config: &Config) -> MigrationConfig {
    MigrationConfig {
        timeout: Millis::from(config.repl_timeout).saturating_mul(1000),
        failover_timeout: config.cluster_manual_failover_timeout as Millis,
        failover_bytes_max: config.slot_migration_max_failover_repl_bytes,
        log_len_max: usize::try_from(config.cluster_slot_migration_log_max_len)
            .unwrap_or(usize::MAX),
        has_password: config.primaryauth.as_ref().is_some_and(|it| !it.is_empty()),
    }
}

impl Driver {
    pub(super) fn tell_migrations<T>(
        &self,
        tell: impl FnOnce(&mut Migrations, &View, Millis) -> T,
    ) -> T {
        self.cluster.tell_migrations(&self.server.journal, tell)
    }

    /// Lets time pass for migrations, if any are known of: those that are over are forgotten in time.
    pub(super) fn take_turn_of_migrations(&mut self) {
        let now = self.cluster.now();
        if now < self.migrations_turn_at {
            return;
        }
        self.migrations_turn_at = now + PERIOD_MS;
        let migrations = &self.cluster.migrations;
        if !migrations.ask(Migrations::is_empty) {
            let journal = &self.server.journal;
            let remaining = |job| migrations.remaining_bytes(job, journal);
            self.tell_migrations(|machine, view, now| machine.tick(view, now, remaining));
        }
    }

    /// Does what migrations want to be done, until they want nothing more.
    pub(super) fn settle_migrations(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let actions = self.cluster.migrations.take_actions();
            if actions.is_empty() {
                return;
            }
            actions.into_iter().for_each(|it| self.migrate(it));
        }
    }

    fn migrate(&mut self, action: MigrationAction) {
        let server = self.server;
        match action {
            MigrationAction::Ask { task, to, command } => self.ask_owner(task, to, command),
            MigrationAction::Connect { job, to } => self.connect_migration(job, to),
            MigrationAction::Authenticate { job } => self.order(job, Order::Authenticate),
            MigrationAction::Send { job, bytes } => self.order(job, Order::Send(bytes)),
            MigrationAction::SendKeys { job, slots } => self.order(job, Order::SendKeys(slots)),
            MigrationAction::Pause { job, slots, .. } => {
                server.pause.hold_slots(&slots);
                self.order(job, Order::ReachPause(slots.clone()));
                self.holding.push((job, slots));
            }
            // They are held until it is said that they are not.
            MigrationAction::ProlongPause { .. } => {}
            MigrationAction::Resume { job } => self.resume_slots(job),
            MigrationAction::Grant { slots } => self.cluster.machine().grant_slots(&slots),
            MigrationAction::Revoke { slots } => self.cluster.machine().revoke_slots(&slots),
            MigrationAction::Show { job, slots, .. } => self.take_over(job, slots),
            MigrationAction::Drop { job, slots, .. } => self.drop_hidden(job, &slots),
            MigrationAction::Close { job } => {
                if let Some(link) = self.cluster.migrations.link(job) {
                    link.close();
                }
            }
            MigrationAction::Log { level, text } => log(level, &text),
            MigrationAction::Hide { .. } | MigrationAction::Propagate { .. } => {
                unreachable!("they are done as soon as they are wanted")
            }
        }
    }

    fn order(&self, job: JobId, order: Order) {
        // Without a connection it is known that there is none, or will be.
        if let Some(link) = self.cluster.migrations.link(job) {
            link.order(order);
        }
    }

    /// It may have to wait for the disk, which this thread does not. All that came before the leave to do so is there, whether
    /// the connection is or not.
    fn take_over(&self, job: JobId, slots: SlotSet) {
        let (server, cluster) = (self.server, self.cluster);
        let run = move || import::take_over(server, cluster, job, slots);
        if let Err(error) = std::thread::Builder::new().name("slot-takeover".to_owned()).spawn(run)
        {
            tracing::warn!("Slots cannot be taken over: no thread can be started: {error}");
            self.tell_migrations(|machine, _, now| machine.out_of_memory(job, now));
        }
    }

    fn connect_migration(&mut self, job: JobId, to: NodeId) {
        let begun = self.address_of(to, "target").and_then(|address| {
            tracing::info!(
                "Connecting slot migration {job} (ip: {}, port {})",
                address.ip(),
                address.port()
            );
            export::start(self.server, self.cluster, job, address)
        });
        if let Err(reason) = begun {
            self.tell_migrations(|machine, _, now| machine.closed(job, &reason, now));
        }
    }

    fn ask_owner(&self, task: TaskId, to: NodeId, command: Vec<Vec<u8>>) {
        let (server, cluster) = (self.server, self.cluster);
        let answered = move |answer| {
            cluster.tell_migrations(&server.journal, |machine, _, now| {
                machine.answered(task, to, answer, now);
            });
        };
        let begun = self.address_of(to, "source").and_then(|address| {
            let run = move || answered(ask::ask(server, address, &command));
            let thread = std::thread::Builder::new().name("slot-ask".to_owned()).spawn(run);
            thread.map(drop).map_err(|error| error.to_string())
        });
        if let Err(reason) = begun {
            answered(Answer::Refused(reason));
        }
    }

    /// Where a node takes what other servers send: as replicas find it.
    fn address_of(&self, id: NodeId, role: &str) -> Result<SocketAddr, String> {
        let view = self.cluster.view();
        let node = view.nodes.iter().find(|it| it.id == id);
        let node: &NodeView = node.ok_or_else(|| format!("{role} node not found"))?;
        let unknown = |_| format!("the address of the {role} node is not known");
        let ip = node.ip.parse().map_err(unknown)?;
        let port = if self.config.tls_replication { node.tls_port } else { node.port };
        Ok(SocketAddr::new(ip, port))
    }

    /// Clients may write to the slots of a migration again, unless another one holds them.
    fn resume_slots(&mut self, job: JobId) {
        self.holding.retain(|(it, _)| *it != job);
        let held: SlotSet = self.holding.iter().flat_map(|(_, slots)| slots.iter()).collect();
        let server = self.server;
        server.pause.set_held_slots((!held.is_empty()).then_some(held));
        for worker in server.workers.iter() {
            worker.send(Message::PauseChanged);
        }
    }

    /// Drops what has come of slots that will not be this node's. Real nodes that follow this one keep it among their keys,
    /// so they are told slot by slot.
    fn drop_hidden(&mut self, job: JobId, slots: &SlotSet) {
        let numbers: Vec<u16> = slots.iter().collect();
        let migrations = &self.cluster.migrations;
        let shards = ShardSet::of_slots(numbers.iter().copied());
        // Whoever makes an image of all data finds all of this done, or nothing.
        let locked = self.server.keyspace.lock(&shards);
        let mut beside = migrations.beside().lock(&shards);
        let (emptied, _) = self.server.keyspace.discard_slots_of(&mut beside, &numbers);
        cluster_data::tell_emptied(self.server, &emptied);
        drop(beside);
        self.tell_migrations(|machine, _, now| machine.cleaned_up(job, now));
        migrations.unhide(slots);
        drop(locked);
        self.server.journal.notify();
    }
}
