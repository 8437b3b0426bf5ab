//! What the part that keeps data on disk asks of the server, and the parts that it gets.

use std::sync::atomic::Ordering;

use rubine_base::clock::unix_millis;
use rubine_cluster::migration::{Establish, Migrations};
use rubine_config::Config;
use rubine_keyspace::{AccessPolicy, Keyspace, SlotImport, Snapshot};
use rubine_storage::{Apply, Host, Stall, Storage};
use rubine_system::ticks;

use super::replay::Replayer;
use crate::mailbox::Message;
use crate::observing::latency::LatencyEvent;
use crate::process::affinity;
use crate::process::identity::REDIS_VERSION;
use crate::server::Server;
use crate::settings::Settings;
use crate::stats::{Counter, WorkerStats};

impl Server {
    /// The parts that what is kept on disk works on.
    #[inline]
    pub(crate) fn storage(&'static self) -> Storage {
        Storage {
            keyspace: &self.keyspace,
            journal: &self.journal,
            config: &self.config,
            aof: &self.aof,
            persistence: &self.persistence,
            host: self,
        }
    }
}

impl Host for Server {
    fn wake(&self, tokens: &[u64]) {
        for &worker in tokens {
            if let Some(mailbox) = self.workers.get(worker as usize) {
                mailbox.send(Message::Wake);
            }
        }
    }

    fn is_ending(&self) -> bool {
        self.shutdown.is_under_way.load(Ordering::Relaxed)
    }

    /// Whether fewer clients wait for the disk than three fifths of those who did in the last millisecond. Where they are
    /// few, a sync is not put off: they may be waiting for each other.
    fn lacks_waiters(&self) -> bool {
        const WAITERS_MIN: u64 = 9;
        let sum = |of: fn(&WorkerStats) -> &Counter| -> u64 {
            self.stats.threads.iter().map(|worker| of(worker).get()).sum()
        };
        let wanted = sum(|worker| &worker.waited_for_disk) * 3 / 5;
        WAITERS_MIN <= wanted && sum(|worker| &worker.waiting_for_disk) < wanted
    }

    fn changes(&self) -> u64 {
        self.total(|stats| stats.dirty.get())
    }

    fn note_stall(&self, stall: Stall, nanos: u64) {
        let event = match stall {
            Stall::AofWrite => LatencyEvent::AofWrite,
            Stall::AofFsync => LatencyEvent::AofFsync,
            Stall::AofFsyncAlways => LatencyEvent::AofFsyncAlways,
            Stall::AofRename => LatencyEvent::AofRename,
            Stall::Snapshot => LatencyEvent::Snapshot,
        };
        let ticks = (nanos as f64 / 1000.0 * ticks::per_microsecond()) as u64;
        self.observing.latency.note(event, ticks, unix_millis());
    }

    fn loaders(&self) -> usize {
        self.workers.len()
    }

    fn pin(&self, processors: Option<&str>) {
        affinity::pin(processors);
    }

    fn access_policy(&self, config: &Config) -> AccessPolicy {
        Settings::of(config).access
    }

    fn value_limits(&self, config: &Config) -> rubine_rdb::ValueLimits {
        Settings::of(config).limits.rdb()
    }

    fn followed_version(&self) -> &'static str {
        REDIS_VERSION
    }

    fn add_hidden(&self, image: &mut Snapshot) {
        if let Some(cluster) = &self.cluster {
            cluster.migrations.add_to(image);
        }
    }

    fn begin_reload(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.tell_at_once(&self.keyspace, &self.journal, Migrations::loading);
        }
    }

    fn note_import(&self, import: &SlotImport) {
        let told = Establish::told_of(&import.name, &import.ranges);
        let (Some(cluster), Some(establish)) = (&self.cluster, told) else {
            tracing::warn!(
                "The dump is of a node that was importing slots; their keys are taken for this server's."
            );
            return;
        };
        let tracked = cluster.tell_migrations(&self.journal, |machine, view, now| {
            machine.track_import(establish, view, now)
        });
        if let Err(error) = tracked {
            tracing::warn!("The dump tells of slots that are being imported: {error}");
        }
    }

    fn hidden(&self, slot: u16) -> Option<&Keyspace> {
        let migrations = &self.cluster.as_ref()?.migrations;
        migrations.hides_slot(slot).then_some(&**migrations.beside())
    }

    fn applier(&'static self) -> Result<Box<dyn Apply>, String> {
        Ok(Box::new(Replayer::new(self, &self.keyspace)?))
    }
}
