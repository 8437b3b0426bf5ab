//! A full sync: the master's dump takes the place of all data, either when it has come whole (`swapdb`), or while it comes,
//! when commands that need data are refused. Runs no command.

use std::io::{self, Read};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rubine_base::clock::unix_millis;
use rubine_cluster::migration::Migrations;
use rubine_config::{Config, ReplDisklessLoad};
use rubine_journal::{History, Origin, ReplicationOffset};
use rubine_keyspace::{Keyspace, ShardSet};
use rubine_replication::follower::{Beside, DumpForm, Event, FullSync, MARK_BYTES, Place};
use rubine_storage::sync::{Incoming, Taken, receive_file};
use rubine_storage::{Persistence, Storage, Trouble, load};

use super::driver::Driver;
use super::held::Held;
use super::wire::Feed;
use crate::persistence::load::{
    forget_copies, revive_libraries, wait_for_running_commands, wake_waiters,
};
use crate::process::identity::new_history_id;
use crate::server::Server;

/// How often a long step says that this side lives, and looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

/// The same where the stream comes meanwhile, and is to be taken from the master's hands.
const LOOK_BESIDE: Duration = Duration::from_millis(10);

/// A dump that is longer has keys, or enough else to be worth having.
const SHORT_DUMP_BYTES_MAX: usize = 16 * 1024;

/// What is filled beside what is there.
struct Spare {
    keyspace: Keyspace,
    persistence: Persistence,
}

/// Made when it is first needed, and empty between two syncs.
static SPARE: OnceLock<Spare> = OnceLock::new();

impl Driver {
    /// Takes the dump in, and begins the stream behind it.
    pub(super) fn sync(
        &mut self,
        sync: &FullSync,
        form: DumpForm,
        rest: Vec<u8>,
        beside: Option<Beside>,
    ) {
        let facts = &self.server.replication.following.syncs;
        let total_bytes = match form {
            DumpForm::Length(length) => length,
            DumpForm::Mark(_) => 0,
        };
        facts.full_count.fetch_add(1, Ordering::Relaxed);
        facts.total_bytes.store(total_bytes, Ordering::Relaxed);
        facts.read_bytes.store(0, Ordering::Relaxed);
        facts.heard_at.store(unix_millis(), Ordering::Relaxed);
        facts.last_reason.lock().clone_from(&sync.reason);
        tracing::info!("A full sync is needed: {}", sync.reason);
        {
            let mut wire = self.wire.lock();
            wire.rest = rest;
            wire.dump_left = match form {
                DumpForm::Length(length) => Some(length),
                DumpForm::Mark(_) => None,
            };
        }
        let config = self.server.config.load();
        let way = beside.as_ref().map(|it| it.way);
        self.database_beside = beside.as_ref().and_then(|it| it.database);
        if let Some(Beside { way, stream, .. }) = beside {
            self.wire.lock().begin_beside(Held::new(way, &config), stream);
        }
        let taken = match self.mode(&config) {
            _ if self.brings_nothing(sync, form, &config) => Err(self.refuse(sync)),
            Mode::Swap => self.swap(sync, form),
            Mode::Direct => self.load_from_link(sync, form),
            Mode::File => self.load_from_file(sync, form, &config),
        };
        self.wire.lock().end_dump();
        match taken {
            Ok(database) => {
                self.applier.select(database);
                let offset = sync.place.map_or(ReplicationOffset(0), |it| it.offset);
                self.begin_stream(offset);
                let loss = way.and_then(|way| self.apply_held(way));
                self.event(Event::Loaded);
                if let Some(loss) = loss {
                    self.event(Event::Lost(&loss));
                }
            }
            Err(reason) => {
                tracing::warn!(
                    "Failed trying to load the PRIMARY synchronization DB, check server logs."
                );
                facts.failed_count.fetch_add(1, Ordering::Relaxed);
                self.event(Event::NotLoaded(&reason));
            }
        }
    }

    /// Whether a master that is another process than before would leave nothing of what is here. It is looked at what is
    /// short enough to hold no keys; whatever goes wrong with that goes wrong again when the dump is read.
    fn brings_nothing(&self, sync: &FullSync, form: DumpForm, config: &Config) -> bool {
        let own = self.server.journal.point().history.id;
        let is_other = sync.place.is_none_or(|it| it.id != own);
        let may_be_lost = config.replica_refuse_empty_master
            && self.was_in_sync
            && is_other
            && !self.has_no_keys(config);
        may_be_lost
            && self
                .peek(form)
                .is_ok_and(|dump| dump.is_some_and(|it| rubine_storage::sync::has_no_keys(&it)))
    }

    /// The whole dump, if it is a short one. It comes again when it is read.
    fn peek(&self, form: DumpForm) -> io::Result<Option<Vec<u8>>> {
        let mut feed = Feed::new(&self.wire);
        let mut bytes = Vec::new();
        let is_whole = loop {
            let mut chunk = [0; 1024];
            let count = feed.read(&mut chunk)?;
            bytes.extend_from_slice(&chunk[..count]);
            let has_mark = matches!(form, DumpForm::Mark(mark) if bytes.ends_with(&mark));
            if count == 0 || has_mark {
                break true;
            }
            if SHORT_DUMP_BYTES_MAX < bytes.len() {
                break false;
            }
        };
        drop(feed);
        let mut wire = self.wire.lock();
        if let Some(left) = &mut wire.dump_left {
            *left += bytes.len() as u64;
        }
        wire.rest.splice(..0, bytes.iter().copied());
        Ok(is_whole.then_some(bytes))
    }

    fn refuse(&self, sync: &FullSync) -> String {
        let id = sync.place.map_or_else(|| "unknown".to_owned(), |it| it.id.to_string());
        let text = format!(
            "the master has come back as another process ({id}) and without any keys, and replica-refuse-empty-master is \
             yes: what is here is kept. REPLICAOF, given again, is obeyed"
        );
        *self.server.replication.following.syncs.refusal.lock() = Some(text.clone());
        text
    }

    fn has_no_keys(&self, config: &Config) -> bool {
        (0..config.databases as usize).all(|db| self.server.keyspace.is_empty(db))
    }

    fn mode(&self, config: &Config) -> Mode {
        match config.repl_diskless_load {
            ReplDisklessLoad::Swapdb => Mode::Swap,
            ReplDisklessLoad::FlushBeforeLoad => Mode::Direct,
            ReplDisklessLoad::OnEmptyDb if self.has_no_keys(config) => Mode::Direct,
            ReplDisklessLoad::OnEmptyDb | ReplDisklessLoad::Disabled => Mode::File,
        }
    }

    /// Fills another keyspace while the old data answers, and exchanges the two in one step.
    fn swap(&mut self, sync: &FullSync, form: DumpForm) -> Result<usize, String> {
        let server = self.server;
        let spare = SPARE.get_or_init(|| Spare {
            // What is freed there is freed on this thread.
            keyspace: Keyspace::new().0,
            persistence: Persistence::new(unix_millis()),
        });
        let storage = Storage {
            keyspace: &spare.keyspace,
            persistence: &spare.persistence,
            ..server.storage()
        };
        say_how_it_comes(form, "parser");
        tracing::info!("PRIMARY <-> REPLICA sync: Loading DB in memory");
        let facts = &server.replication.following.syncs;
        facts.is_swapping.store(true, Ordering::Release);
        self.forget_imports();
        let taken = self.receive_into(storage, form);
        facts.is_swapping.store(false, Ordering::Release);
        let exchanged = taken.and_then(|taken| {
            tracing::info!("PRIMARY <-> REPLICA sync: Swapping active DB with loaded DB");
            let mut locked = server.keyspace.lock(&ShardSet::All);
            self.check_order()?;
            let mut others = spare.keyspace.lock(&ShardSet::All);
            locked.exchange(&mut others, unix_millis());
            locked.forget_readers();
            adopt(server, sync.place, self.database_at(&taken));
            let functions = &server.persistence.saves.functions;
            let all = spare.persistence.saves.functions.all();
            functions.replace(all.iter().map(|(name, code)| (name.as_slice(), code.as_slice())));
            Ok(taken)
        });
        let is_swapped = exchanged.is_ok();
        server.keyspace.discard_all_of(&spare.keyspace);
        spare.persistence.saves.functions.clear();
        match exchanged {
            Ok(taken) => {
                debug_assert!(is_swapped, "nothing failed");
                self.settle(&taken)
            }
            Err(reason) => {
                tracing::info!("PRIMARY <-> REPLICA sync: Discarding temporary DB in background");
                self.forget_imports();
                Err(reason)
            }
        }
    }

    /// Puts what comes over the link in the place of what is there, while it comes.
    fn load_from_link(&mut self, sync: &FullSync, form: DumpForm) -> Result<usize, String> {
        let storage = self.server.storage();
        say_how_it_comes(form, "parser");
        let feed = Feed::new(&self.wire);
        let incoming = Incoming::from_link(storage, Box::new(feed), total_bytes(form));
        let incoming = incoming.inspect_err(|_| {
            tracing::info!(
                "PRIMARY <-> REPLICA sync: RDB version or signature incompatible, old data preserved"
            );
        })?;
        self.replace(sync, |driver| {
            let taken = incoming.load(storage)?;
            driver.end_dump(taken, form)
        })
    }

    /// Receives the dump as a file, in place of the one that is there, and loads that.
    fn load_from_file(
        &mut self,
        sync: &FullSync,
        form: DumpForm,
        config: &Config,
    ) -> Result<usize, String> {
        let storage = self.server.storage();
        say_how_it_comes(form, "disk");
        let mut feed = Feed::new(&self.wire);
        let mark = match &form {
            DumpForm::Mark(mark) => Some(&mark[..]),
            DumpForm::Length(_) => None,
        };
        receive_file(storage, &mut feed, mark)?;
        drop(feed);
        self.wire.lock().end_dump();
        let removes_file =
            config.rdb_del_sync_files && !config.appendonly && config.save.is_empty();
        let loaded = Incoming::from_file(storage).and_then(|incoming| {
            self.replace(sync, |driver| driver.keeping_alive(|| incoming.load(storage)))
        });
        if removes_file {
            tracing::info!(
                "Removing the RDB file obtained from the primary. This replica has persistence disabled"
            );
            if let Err(error) = std::fs::remove_file(&config.dbfilename) {
                tracing::warn!("The file {} cannot be removed: {error}", config.dbfilename);
            }
        }
        loaded
    }

    /// Lets the master know that this side lives, while it does something that has nothing to do with the link.
    fn keeping_alive<T>(&self, work: impl FnOnce() -> T) -> T {
        let is_over = AtomicBool::new(false);
        let look = if self.wire.lock().is_beside() { LOOK_BESIDE } else { LOOK };
        thread::scope(|scope| {
            let wire = &self.wire;
            let keeper = scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    let mut wire = wire.lock();
                    // A link that has gone is found out afterwards.
                    let _ = wire.keep_alive();
                    wire.keep_stream_beside();
                    drop(wire);
                    thread::park_timeout(look);
                }
            });
            let outcome = work();
            is_over.store(true, Ordering::Release);
            keeper.thread().unpark();
            outcome
        })
    }

    /// Empties the server and fills it. Commands that need data are refused meanwhile.
    fn replace(
        &mut self,
        sync: &FullSync,
        fill: impl FnOnce(&mut Self) -> Result<Taken, String>,
    ) -> Result<usize, String> {
        let server = self.server;
        tracing::info!("PRIMARY <-> REPLICA sync: Loading DB in memory");
        load::announce(server.storage(), 0);
        // It is begun anew with the new data. What it has of the old stays as long as there is nothing better.
        server.aof.set_wanted(false);
        let filled = self.empty().and_then(|()| fill(self)).and_then(|taken| {
            let locked = server.keyspace.lock(&ShardSet::All);
            self.check_order()?;
            adopt(server, sync.place, self.database_at(&taken));
            drop(locked);
            Ok(taken)
        });
        let outcome = match filled {
            Ok(taken) => {
                let settled = self.settle(&taken);
                server.aof.set_wanted(server.config.load().appendonly);
                settled
            }
            Err(reason) => {
                tracing::info!("PRIMARY <-> REPLICA sync: Discarding the half-loaded data");
                self.forget_all();
                Err(reason)
            }
        };
        server.persistence.set_trouble(Trouble::LOADING, false);
        wake_waiters(server);
        outcome
    }

    /// Waits until nobody sees the data any more, and drops it.
    fn empty(&mut self) -> Result<(), String> {
        let server = self.server;
        wait_for_running_commands(server);
        while server.scripting.is_any_long() {
            if self.wire.lock().is_outdated() {
                return Err(OUTDATED.to_owned());
            }
            let kept = self.wire.lock().keep_alive();
            kept.map_err(|error| error.to_string())?;
            thread::sleep(LOOK);
        }
        self.check_order()?;
        tracing::info!("PRIMARY <-> REPLICA sync: Flushing old data");
        self.forget_all();
        Ok(())
    }

    /// Drops all data. What is there then is of no history.
    fn forget_all(&self) {
        let server = self.server;
        self.forget_imports();
        server.persistence.saves.functions.clear();
        server.keyspace.clear();
        let nothing = History::new(new_history_id());
        server.journal.resume_history(nothing, ReplicationOffset(0), Origin::Here);
        let revived = revive_libraries(server);
        debug_assert!(revived.is_ok(), "no libraries are left");
        forget_copies(server);
    }

    /// Slots that the primary was taking in are told of anew.
    fn forget_imports(&self) {
        if let Some(cluster) = &self.server.cluster {
            cluster.tell_at_once(
                &self.server.keyspace,
                &self.server.journal,
                Migrations::synced_fully,
            );
        }
    }

    /// Reads a whole dump from the link.
    fn receive_into(&mut self, storage: Storage, form: DumpForm) -> Result<Taken, String> {
        let feed = Feed::new(&self.wire);
        let incoming = Incoming::from_link(storage, Box::new(feed), total_bytes(form))?;
        let taken = incoming.load(storage)?;
        self.end_dump(taken, form)
    }

    /// Reads what stands between the dump and the stream.
    fn end_dump(&self, taken: Taken, form: DumpForm) -> Result<Taken, String> {
        let lost = |error: io::Error| format!("the link broke at the end of the dump: {error}");
        match form {
            DumpForm::Length(_) => {
                let mut feed = Feed::new(&self.wire);
                io::copy(&mut feed, &mut io::sink()).map_err(lost)?;
            }
            DumpForm::Mark(mark) => {
                let mut wire = self.wire.lock();
                wire.rest.splice(..0, taken.rest.iter().copied());
                wire.dump_left = Some(MARK_BYTES as u64);
                drop(wire);
                let mut found = [0; MARK_BYTES];
                Feed::new(&self.wire).read_exact(&mut found).map_err(lost)?;
                if found != mark {
                    return Err("Replication stream EOF marker is broken".to_owned());
                }
            }
        }
        Ok(taken)
    }

    /// The data is the master's: lets everybody know.
    fn settle(&self, taken: &Taken) -> Result<usize, String> {
        let server = self.server;
        revive_libraries(server)?;
        forget_copies(server);
        wake_waiters(server);
        let databases = server.config.load().databases as usize;
        let database = self.database_at(taken).unwrap_or(0) as usize;
        Ok(if database < databases { database } else { 0 })
    }

    /// The database that is selected where the stream begins.
    fn database_at(&self, taken: &Taken) -> Option<u32> {
        self.database_beside.or(taken.remarks.database)
    }

    /// Whether this master is to be followed still. Asked with all locks, nobody gives another order meanwhile.
    fn check_order(&self) -> Result<(), String> {
        if self.wire.lock().is_outdated() { Err(OUTDATED.to_owned()) } else { Ok(()) }
    }
}

const OUTDATED: &str = "another master is to be followed, or none";

enum Mode {
    Swap,
    Direct,
    File,
}

/// The data is at this place of the master's history. All locks are held.
fn adopt(server: &Server, place: Option<Place>, database: Option<u32>) {
    let (id, offset) = match place {
        Some(Place { id, offset }) => (id, offset),
        // A master that knows no histories: nobody can go on from here.
        None => (new_history_id(), ReplicationOffset(0)),
    };
    server.journal.adopt_history(id, offset);
    server.aof.forget_changes();
    server.replication.following.own_keys.clear();
    server.journal.note_database(database);
}

fn total_bytes(form: DumpForm) -> u64 {
    match form {
        DumpForm::Length(length) => length,
        DumpForm::Mark(_) => 0,
    }
}

fn say_how_it_comes(form: DumpForm, to: &str) {
    match form {
        DumpForm::Length(length) => tracing::info!(
            "PRIMARY <-> REPLICA sync: receiving {length} bytes from primary to {to}"
        ),
        DumpForm::Mark(_) => tracing::info!(
            "PRIMARY <-> REPLICA sync: receiving streamed RDB from primary with EOF to {to}"
        ),
    }
}
