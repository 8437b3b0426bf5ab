//! This server's part in a cluster: the state machine, what workers know of it, and what clients have ordered; the
//! connections of its bus, and its file. Decides nothing, and knows no key.

mod balance;
pub(crate) mod hidden;
mod links;
mod messages;
mod migration;
mod nodes_file;
pub(crate) mod told;
mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use arc_swap::ArcSwap;
use mio::{Poll, Waker};
use parking_lot::{Mutex, MutexGuard};
use rubine_base::clock::{Millis, monotonic_millis, unix_millis};
use rubine_cluster::message::Relayed;
use rubine_cluster::migration::{MigrationConfig, Migrations};
use rubine_cluster::{Cluster as Machine, Effects, View};
use rubine_commands::{SlotOwners, SlotUsage};
use rubine_journal::{HistoryId, Journal, Offset};
use rubine_keyspace::{Keyspace, ShardSet, SlotImage};
use rubine_net::listener::Listener;
use rubine_resp::writer::Protocol;

pub(crate) use self::balance::{Balancing, Doing};
pub(crate) use self::links::Links;
use self::messages::Messages;
pub(crate) use self::migration::{MigrationLink, Order, Side, SlotMigrations};
pub(crate) use self::nodes_file::NodesFile;
pub(crate) use self::usage::SlotUsages;

/// A node's part in its cluster.
pub(crate) struct Cluster {
    /// A leaf among locks: whoever holds it takes no shard's, and waits for nobody.
    machine: Mutex<Machine>,
    views: Arc<Views>,
    /// That of the view, written after it.
    version: AtomicU64,
    /// Orders that the thread of the cluster has not taken yet: one of each client at most, since clients wait for what comes of
    /// them, and those of the server itself.
    jobs: Mutex<Vec<Job>>,
    /// What clients have published, and the thread of the cluster has yet to pass on.
    pub(crate) messages: Messages,
    waker: Waker,
    /// What the machine's clock is ahead of the monotonic one, milliseconds.
    clock_ahead: Millis,
    /// Where the bus listens, wherever clients are by now.
    bus_port: u16,
    /// The history of data that is another shard's, until the primary's has come in its place.
    foreign: Mutex<Option<HistoryId>>,
    /// What the machine wants done to begin with.
    first: Mutex<Effects>,
    /// Taken by the thread of the cluster, when it starts.
    bus: Mutex<Option<Bus>>,
    /// How many connections the bus has, and the memory that they take.
    link_count: AtomicUsize,
    link_memory: AtomicUsize,
    /// Slots that move by themselves.
    pub(crate) migrations: SlotMigrations,
    /// Slots that should be elsewhere.
    pub(crate) balancing: Balancing,
}

/// What the thread of the cluster begins with.
pub(crate) struct Bus {
    pub(crate) poll: Poll,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) file: NodesFile,
    pub(crate) port: u16,
}

/// What is known by now, for those who need no more than that.
#[derive(Debug)]
struct Views {
    view: ArcSwap<View>,
    usages: SlotUsages,
    /// Where keys are that nobody sees yet.
    beside: Arc<Keyspace>,
}

impl SlotOwners for Views {
    fn last_of_owner(&self, slot: u16) -> u16 {
        let view = self.view.load();
        let from = usize::from(slot);
        let rest = &view.owners[from..];
        let len = rest.iter().take_while(|it| **it == rest[0]).count();
        slot + (len - 1) as u16
    }

    fn is_of_our_shard(&self, slot: u16) -> bool {
        let view = self.view.load();
        view.owners[usize::from(slot)] == view.my_primary()
    }

    fn hidden_len(&self, db: usize, slot: u16) -> usize {
        self.beside.slot_len(db, slot).unwrap_or_else(|_| {
            let locked = self.beside.lock(&ShardSet::of_slot(slot));
            locked.shards().map(|shard| shard.slot_len(db, slot)).sum()
        })
    }

    fn hidden_image(&self, db: usize, slot: u16) -> Option<SlotImage> {
        if self.hidden_len(db, slot) == 0 {
            return None;
        }
        let mut locked = self.beside.lock(&ShardSet::of_slot(slot));
        locked.snapshot_slots(&[slot]).into_iter().find(|it| it.db == db)
    }

    fn usage(&self, slot: u16) -> Option<SlotUsage> {
        self.usages.of(slot)
    }
}

/// An order to the machine, for the thread of the cluster.
pub(crate) struct Job {
    /// Who waits for the answer, if anybody does, and on which worker.
    pub(crate) client: Option<u64>,
    pub(crate) worker: usize,
    pub(crate) protocol: Protocol,
    /// What has to be confirmed before it is carried out.
    pub(crate) after: Option<Confirmation>,
    pub(crate) change: Change,
}

impl Job {
    /// One that nobody waits for.
    pub(crate) fn unasked(
        change: impl FnOnce(&mut Machine, Millis) -> Result<Answer, String> + Send + 'static,
    ) -> Self {
        let (client, worker, after) = (None, 0, None);
        Self { client, worker, protocol: Protocol::Resp2, after, change: Box::new(change) }
    }
}

/// What an order does to the machine. An error is the reply.
pub(crate) type Change = Box<dyn FnOnce(&mut Machine, Millis) -> Result<Answer, String> + Send>;

/// What a client is told when the effects of its order are done.
#[derive(Debug)]
pub(crate) enum Answer {
    Ok,
    /// OK if the configuration was saved, else an error.
    IfSaved,
    Status(String),
    /// Nobody is answered, but somebody waits.
    Tells(Sender<()>),
}

/// So many replicas must have the log up to an offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Confirmation {
    pub(crate) offset: Offset,
    pub(crate) replicas: usize,
    /// Until when, Unix milliseconds; `None` for ever.
    pub(crate) deadline: Option<i64>,
}

impl Cluster {
    /// A part in a cluster that `machine` knows, and a thread that is woken by `waker`.
    pub(crate) fn new(
        mut machine: Machine,
        migrations: MigrationConfig,
        waker: Waker,
        clock_ahead: Millis,
        bus: Bus,
    ) -> Self {
        let mut first = machine.take_effects();
        let view = first.view.take().expect("a machine begins with a view");
        let migrations = SlotMigrations::new(migrations);
        let beside = Arc::clone(migrations.beside());
        Self {
            version: AtomicU64::new(view.version),
            views: Arc::new(Views {
                view: ArcSwap::new(view),
                usages: SlotUsages::default(),
                beside,
            }),
            machine: Mutex::new(machine),
            jobs: Mutex::default(),
            messages: Messages::default(),
            waker,
            clock_ahead,
            bus_port: bus.port,
            foreign: Mutex::default(),
            first: Mutex::new(first),
            bus: Mutex::new(Some(bus)),
            link_count: AtomicUsize::new(0),
            link_memory: AtomicUsize::new(0),
            migrations,
            balancing: Balancing::default(),
        }
    }

    /// What the machine's clock is ahead of the monotonic one if it begins now.
    pub(crate) fn clock_from_now() -> Millis {
        unix_millis() - monotonic_millis() as Millis
    }

    /// The machine's time at a moment of the monotonic clock.
    pub(crate) fn time_at(&self, monotonic_ms: i64) -> Millis {
        monotonic_ms + self.clock_ahead
    }

    pub(crate) fn now(&self) -> Millis {
        self.time_at(monotonic_millis() as i64)
    }

    /// The machine, for its thread.
    pub(crate) fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock()
    }

    /// Asks the machine something, which has no effects.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(&mut Machine, Millis) -> T) -> T {
        let now = self.now();
        question(&mut self.machine.lock(), now)
    }

    /// Tells the machine of migrations something, and has the thread of the cluster do what follows.
    pub(crate) fn tell_migrations<T>(
        &self,
        journal: &Journal,
        tell: impl FnOnce(&mut Migrations, &View, Millis) -> T,
    ) -> T {
        let (view, now) = (self.view(), self.now());
        let second = (unix_millis() / 1000) as u64;
        let (answer, has_more) =
            self.migrations.tell(journal, second, |machine| tell(machine, &view, now));
        if has_more {
            self.wake();
        }
        answer
    }

    /// Tells the machine of migrations something of which what follows is done before anybody sees data again.
    pub(crate) fn tell_at_once(
        &self,
        keyspace: &Keyspace,
        journal: &Journal,
        tell: fn(&mut Migrations, Millis),
    ) {
        self.tell_migrations(journal, |machine, _, now| tell(machine, now));
        let mut locked = keyspace.lock(&ShardSet::All);
        self.migrations.obey(keyspace, &mut locked);
    }

    /// What was on disk is loaded. What was being taken in then does not go on, if this node is a primary.
    pub(crate) fn end_reload(&self, journal: &Journal) {
        self.tell_migrations(journal, |machine, view, now| {
            if !view.is_replica() {
                machine.restarted(now);
            }
        });
    }

    /// Has the thread of the cluster look what there is to do.
    pub(crate) fn wake(&self) {
        // A queue of events that cannot be woken is gone, and the process with it.
        let _ = self.waker.wake();
    }

    /// Has the thread of the cluster carry an order out.
    pub(crate) fn submit(&self, job: Job) {
        let mut jobs = self.jobs.lock();
        jobs.push(job);
        let is_first = jobs.len() == 1;
        drop(jobs);
        self.wake_if(is_first);
    }

    /// Has the other nodes get a message of a client, if not too many wait for that.
    pub(crate) fn relay(&self, message: Relayed) {
        let is_first = self.messages.push(message);
        self.wake_if(is_first);
    }

    fn wake_if(&self, is_first: bool) {
        if is_first {
            self.wake();
        }
    }

    /// The data is not that of this node's shard as long as its history is this one.
    pub(crate) fn set_foreign(&self, history: HistoryId) {
        *self.foreign.lock() = Some(history);
    }

    pub(crate) fn is_foreign(&self, history: HistoryId) -> bool {
        *self.foreign.lock() == Some(history)
    }

    /// Where the bus listens.
    pub(crate) fn bus_port(&self) -> u16 {
        self.bus_port
    }

    /// Has the configuration saved, and waits until it is, but no longer than `timeout`.
    pub(crate) fn save_and_wait(&self, timeout: Duration) {
        let (sender, saved) = channel();
        self.submit(Job::unasked(move |machine, _| {
            machine.save_config();
            Ok(Answer::Tells(sender))
        }));
        // Without an answer, the thread of the cluster has logged why.
        let _ = saved.recv_timeout(timeout);
    }

    /// What the machine wants done to begin with; nothing the second time.
    pub(crate) fn take_first(&self) -> Effects {
        std::mem::take(&mut *self.first.lock())
    }

    /// What the thread of the cluster begins with; nothing the second time.
    pub(crate) fn take_bus(&self) -> Option<Bus> {
        self.bus.lock().take()
    }

    /// Takes note of how many connections the bus has, and of the memory that they take.
    pub(crate) fn note_links(&self, count: usize, memory: usize) {
        self.link_count.store(count, Ordering::Relaxed);
        self.link_memory.store(memory, Ordering::Relaxed);
    }

    /// How many connections the bus has, and the memory that they take.
    pub(crate) fn links(&self) -> (usize, usize) {
        (self.link_count.load(Ordering::Relaxed), self.link_memory.load(Ordering::Relaxed))
    }

    /// The orders that have come.
    pub(crate) fn take_jobs(&self) -> Vec<Job> {
        std::mem::take(&mut *self.jobs.lock())
    }

    /// What is known by now.
    pub(crate) fn view(&self) -> Arc<View> {
        self.views.view.load_full()
    }

    /// What requests about each slot have taken.
    pub(crate) fn usages(&self) -> &SlotUsages {
        &self.views.usages
    }

    /// Who has which slots, for commands that walk through those of one owner.
    pub(crate) fn slot_owners(&self) -> Arc<dyn SlotOwners> {
        Arc::clone(&self.views) as Arc<dyn SlotOwners>
    }

    /// The version of the view. One load; a view that is taken afterwards is no older.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// From now on this is known. Workers find it with their next request.
    pub(crate) fn publish(&self, view: Arc<View>) {
        let version = view.version;
        self.views.view.store(view);
        self.version.store(version, Ordering::Release);
    }
}
