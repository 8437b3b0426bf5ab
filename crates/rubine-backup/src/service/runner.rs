//! The thread that makes, verifies and removes backups, one thing after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rubine_base::clock::unix_millis;
use rubine_base::random::seed_from_os;

use super::{Answer, OnAnswer, Request, Service, Setup, probe_name, queries};
use crate::backup::{Maker, abort_unfinished, mark_entry};
use crate::catalog::{Catalog, Entry, Known};
use crate::chain::Chain;
use crate::error::BackupError;
use crate::figures::{Phase, TargetState};
use crate::layout::{self, BackupId};
use crate::manifest::Mark;
use crate::retention::{self, LEFTOVER_AGE_MS, Plan};
use crate::schedule::delay;
use crate::source::Source;
use crate::store::{Store, probe};

/// How long it sleeps at most.
const SLEEP: Duration = Duration::from_secs(1);
/// What failed is tried again after so long; twice as long after each further failure.
const RETRY_MS_MIN: i64 = 60_000;
const RETRY_MS_MAX: i64 = 60 * 60_000;
/// How often it is looked whether there is data yet that a log could go on from.
const DATA_LOOK_MS: i64 = 10_000;

/// Runs until the server ends.
pub(super) fn run(service: &'static Service, source: &'static dyn Source) {
    let mut runner = Runner::new(service, source);
    while !source.is_ending() {
        let order = runner.wait();
        match (order, runner.setup.clone()) {
            (Some((request, on_answer)), Some(setup)) => {
                let answer = runner.obey(&setup, request);
                on_answer(answer);
            }
            (Some((_, on_answer)), None) => on_answer(Err(BackupError::NotConfigured)),
            (None, Some(setup)) => runner.look(&setup, unix_millis()),
            (None, None) => {}
        }
    }
    let orders = std::mem::take(&mut service.state.lock().orders);
    for (_, on_answer) in orders {
        on_answer(Err(BackupError::Ending));
    }
}

pub(super) struct Runner {
    service: &'static Service,
    source: &'static dyn Source,
    setup: Option<Arc<Setup>>,
    known: Known,
    plan: Times,
}

/// When what is due, Unix milliseconds.
#[derive(Default)]
struct Times {
    /// The target is to be checked.
    check_at: Option<i64>,
    backup_at: Option<i64>,
    /// An image for the log was tried last, or failed so often.
    image_not_before: i64,
    failures: u32,
}

/// Why a backup is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Asked,
    Scheduled,
    /// The log needs an image to go on from.
    Log,
}

impl Runner {
    pub(super) fn new(service: &'static Service, source: &'static dyn Source) -> Self {
        let (known, plan) = (Known::default(), Times::default());
        Self { service, source, setup: None, known, plan }
    }

    /// Returns with the next order, or when it is time to look around.
    fn wait(&mut self) -> Option<(Request, OnAnswer)> {
        let mut state = self.service.state.lock();
        if state.orders.is_empty() && !state.is_new {
            self.service.changed.wait_for(&mut state, SLEEP);
        }
        if std::mem::take(&mut state.is_new) {
            let before = std::mem::replace(&mut self.setup, state.setup.clone());
            drop(state);
            self.begin(before.as_deref());
            return None;
        }
        state.orders.pop_front()
    }

    /// Another setup is in force. Where the place is the same, the log goes on.
    fn begin(&mut self, before: Option<&Setup>) {
        let place = |it: &Setup| (it.target.clone(), it.options.access.clone(), it.options.has_log);
        if before.map(place) != self.setup.as_deref().map(place) {
            self.known = Known::default();
            self.service.shipping.clear();
        }
        let now = unix_millis();
        self.plan = Times { check_at: Some(now), ..Times::default() };
        if let Some(setup) = self.setup.clone() {
            tracing::info!("Backups are kept in {}", setup.target.shown());
            self.plan_next(&setup, now);
        } else {
            self.service.figures.next_at.store(0, Ordering::Relaxed);
        }
    }

    fn plan_next(&mut self, setup: &Setup, now: i64) {
        let next = setup.schedule.as_ref().and_then(|it| it.next(now));
        let jitter = delay(setup.options.jitter_seconds, seed_from_os());
        self.plan.backup_at = next.map(|it| it + jitter);
        let shown = self.plan.backup_at.unwrap_or(0);
        self.service.figures.next_at.store(shown, Ordering::Relaxed);
    }

    /// Does what is due by the clock.
    fn look(&mut self, setup: &Setup, now: i64) {
        if self.plan.check_at.is_some_and(|it| it <= now) {
            self.check(setup, now);
        }
        if self.plan.backup_at.is_some_and(|it| it <= now) {
            self.plan_next(setup, now);
            let result = self.make(setup, Cause::Scheduled);
            self.note_failures(&result);
        }
        let needs_image = setup.options.has_log && !self.service.shipping.has_chain();
        if needs_image && self.plan.image_not_before <= now && self.source.obstacle().is_none() {
            let result = self.make(setup, Cause::Log);
            if matches!(result, Err(BackupError::NotNow(_))) {
                self.plan.image_not_before = unix_millis() + DATA_LOOK_MS;
            } else {
                self.note_failures(&result);
            }
        }
    }

    /// A backup that failed is tried again before the next one is due, at longer and longer intervals.
    fn note_failures(&mut self, result: &Result<Entry, BackupError>) {
        if result.is_ok() {
            self.plan.failures = 0;
            return;
        }
        let now = unix_millis();
        let pause = (RETRY_MS_MIN << self.plan.failures.min(6)).min(RETRY_MS_MAX);
        self.plan.failures += 1;
        self.plan.image_not_before = now + pause;
        if let Some(backup_at) = &mut self.plan.backup_at {
            *backup_at = (*backup_at).min(now + pause);
            self.service.figures.next_at.store(*backup_at, Ordering::Relaxed);
        }
    }

    /// Checks that the target does what it is asked, and ends what an earlier run has left there.
    fn check(&mut self, setup: &Setup, now: i64) {
        self.plan.check_at = None;
        let result = (|| {
            let store = setup.store()?;
            probe(&*store, &probe_name())?;
            abort_unfinished(&*store, &setup.options.owner, now)?;
            let catalog = Catalog::read(&*store, &mut self.known)?;
            self.service.note(&catalog);
            Ok(())
        })();
        queries::note_probe(self.service, &result);
        if let Err(error) = result {
            tracing::warn!("Backups cannot be kept in {}: {error}", setup.target.shown());
            self.plan.check_at = Some(now + RETRY_MS_MIN);
        }
    }

    pub(super) fn obey(&mut self, setup: &Setup, request: Request) -> Result<Answer, BackupError> {
        match request {
            Request::Now => self.make(setup, Cause::Asked).map(|it| Answer::Made(Box::new(it))),
            Request::Verify(id) => self.verify(setup, &id).map(Answer::Verified),
            Request::Delete(id) => self.delete(setup, &id).map(|()| Answer::Done),
            Request::Accept(id) => self.accept(setup, &id).map(|()| Answer::Done),
            Request::Prune => self.prune(setup).map(Answer::Pruned),
            query => queries::answer(self.service, setup, self.source, &query),
        }
    }

    fn maker<'a>(&'a self, setup: &'a Setup, store: &'a dyn Store) -> Maker<'a> {
        Maker {
            store,
            source: self.source,
            figures: &self.service.figures,
            bytes_per_second: &self.service.bytes_per_second,
            level: setup.options.level,
            owner: &setup.options.owner,
        }
    }

    /// Makes a backup and tells of it.
    pub(super) fn make(&mut self, setup: &Setup, cause: Cause) -> Result<Entry, BackupError> {
        let figures = &self.service.figures;
        figures.note_begin(unix_millis());
        let result = self.try_make(setup, cause);
        let figures = &self.service.figures;
        match &result {
            Ok(entry) => {
                let (id, keys) = (&entry.id, entry.manifest.keys);
                tracing::info!(
                    "Backup {id} was made and verified: {keys} keys, {} bytes",
                    entry.manifest.dump.bytes
                );
                figures.set_target(TargetState::Good, "");
                figures.note_end(unix_millis(), Ok(id.as_str()));
            }
            // That there is nothing to keep yet is no failure.
            Err(BackupError::NotNow(_)) if cause == Cause::Log => figures.enter(Phase::Idle),
            Err(error) => {
                tracing::warn!("Backup failed: {error}");
                figures.note_end(unix_millis(), Err(&error.to_string()));
            }
        }
        result
    }

    fn try_make(&mut self, setup: &Setup, cause: Cause) -> Result<Entry, BackupError> {
        let store = setup.store()?;
        let catalog = Catalog::read(&*store, &mut self.known)?;
        let maker = self.maker(setup, &*store);
        let options = &setup.options;
        let mut begun =
            maker.begin(&catalog, options.has_log.then_some(options.log_buffer_bytes))?;
        let id = begun.id.clone();
        let reader = begun.image.log.take();
        if let Some(reason) = &begun.suspect {
            if cause == Cause::Log {
                return Err(BackupError::NotNow(reason.clone()));
            }
            tracing::warn!("Backup {id} is suspect and kept apart: {reason}");
            self.service.figures.suspect.fetch_add(1, Ordering::Relaxed);
        } else if let Some(reader) = reader {
            begun.has_log = true;
            self.service.shipping.add(Chain::new(id.clone(), reader, begun.image.taken_at_ms));
        }
        let made = maker.upload(begun).and_then(|mut entry| {
            let began_at = maker.figures.began_at.load(Ordering::Relaxed);
            let elapsed_ms = (unix_millis() - began_at).max(0);
            maker.figures.last_upload_ms.store(elapsed_ms, Ordering::Relaxed);
            maker.verify(&entry)?;
            entry.condition = crate::catalog::Condition::Verified;
            Ok(entry)
        });
        match &made {
            Ok(entry) if !entry.is_suspect() => self.service.shipping.promote(&id),
            _ => self.service.shipping.discard(&id),
        }
        let entry = made?;
        // The backup is there; that old ones could not be removed is told, and no failure of it.
        if let Err(error) = self.prune(setup) {
            tracing::warn!("Old backups could not be removed: {error}");
        }
        Ok(entry)
    }

    fn find(&mut self, store: &dyn Store, id: &BackupId) -> Result<(Catalog, Entry), BackupError> {
        let catalog = Catalog::read(store, &mut self.known)?;
        let entry = catalog.find(id).cloned();
        let entry = entry.ok_or_else(|| BackupError::NoSuchBackup(id.to_string()))?;
        Ok((catalog, entry))
    }

    fn verify(&mut self, setup: &Setup, id: &BackupId) -> Result<u64, BackupError> {
        let store = setup.store()?;
        let (_, entry) = self.find(&*store, id)?;
        self.service.figures.note_begin(unix_millis());
        let result = self.maker(setup, &*store).verify(&entry);
        self.service.figures.enter(Phase::Idle);
        if let Err(error) = &result {
            tracing::warn!("Backup {id} was not verified: {error}");
        }
        let catalog = Catalog::read(&*store, &mut self.known)?;
        self.service.note(&catalog);
        result
    }

    fn delete(&mut self, setup: &Setup, id: &BackupId) -> Result<(), BackupError> {
        let store = setup.store()?;
        let (catalog, entry) = self.find(&*store, id)?;
        if catalog.last_good().is_some_and(|it| it.id == entry.id) && catalog.good_count() == 1 {
            return Err(BackupError::Unfit(format!("{id} is the last good backup, and stays")));
        }
        if self.service.shipping.is_shipping(id) {
            return Err(BackupError::Unfit(format!("{id} is the image that the log goes on from")));
        }
        remove_backup(&*store, &catalog, &entry.folder)?;
        remove_log(&*store, id)?;
        let catalog = Catalog::read(&*store, &mut self.known)?;
        self.service.note(&catalog);
        Ok(())
    }

    fn accept(&mut self, setup: &Setup, id: &BackupId) -> Result<(), BackupError> {
        let store = setup.store()?;
        let (_, entry) = self.find(&*store, id)?;
        if entry.manifest.suspect.is_none() {
            return Err(BackupError::Unfit(format!("{id} is not suspect")));
        }
        let mark = Mark { at_ms: unix_millis(), reason: None, keys: None };
        mark_entry(&*store, &entry, layout::ACCEPTED, &mark)?;
        let catalog = Catalog::read(&*store, &mut self.known)?;
        self.service.note(&catalog);
        Ok(())
    }

    /// Removes what is not to be kept.
    fn prune(&mut self, setup: &Setup) -> Result<Plan, BackupError> {
        let store = setup.store()?;
        let figures = &self.service.figures;
        figures.enter(Phase::Pruning);
        let now = unix_millis();
        let catalog = Catalog::read(&*store, &mut self.known)?;
        let mut plan = retention::plan(&catalog, setup.options.retention, now);
        plan.backups.retain(|it| !self.service.shipping.is_shipping(it));
        for id in &plan.backups {
            let Some(entry) = catalog.find(id) else { continue };
            remove_backup(&*store, &catalog, &entry.folder)?;
            remove_log(&*store, id)?;
            figures.pruned.fetch_add(1, Ordering::Relaxed);
            tracing::info!(
                "Backup {id} was removed: {} good ones are kept",
                setup.options.retention
            );
        }
        for folder in &plan.leftovers {
            remove_backup(&*store, &catalog, folder)?;
        }
        if plan.stopped.is_none() {
            self.remove_lost_logs(&*store, &catalog, now)?;
        }
        let catalog = Catalog::read(&*store, &mut self.known)?;
        self.service.note(&catalog);
        self.service.figures.enter(Phase::Idle);
        Ok(plan)
    }

    /// Removes logs whose image is not there: it was never finished, or was removed before.
    fn remove_lost_logs(
        &self,
        store: &dyn Store,
        catalog: &Catalog,
        now: i64,
    ) -> Result<(), BackupError> {
        let objects = store.list(layout::LOG).map_err(BackupError::of(layout::LOG))?;
        let folder = |name: &str| name.split('/').nth(1).and_then(BackupId::parse);
        for group in objects.chunk_by(|a, b| folder(&a.name) == folder(&b.name)) {
            let Some(id) = folder(&group[0].name) else { continue };
            let newest = group.iter().map(|it| it.modified_at_ms).max().unwrap_or(0);
            // A manifest that cannot be read says that there is something of which nobody knows what it is.
            let has_image = catalog.find(&id).is_some()
                || catalog.others.iter().any(|it| it.folder.ends_with(id.as_str()));
            let is_lost = !has_image && !self.service.shipping.is_shipping(&id);
            if is_lost && newest < now - LEFTOVER_AGE_MS {
                remove_log(store, &id)?;
            }
        }
        Ok(())
    }
}

/// Removes a folder, its manifest first: what is left if that ends half way is no backup.
fn remove_backup(store: &dyn Store, catalog: &Catalog, folder: &str) -> Result<(), BackupError> {
    catalog
        .objects_of(folder)
        .into_iter()
        .try_for_each(|it| store.delete(&it.name).map_err(BackupError::of(&it.name)))
}

fn remove_log(store: &dyn Store, id: &BackupId) -> Result<(), BackupError> {
    let folder = layout::log_of(id);
    let segments = store.list(&folder).map_err(BackupError::of(&folder))?;
    // From the end, so that what is left has no gap.
    segments
        .iter()
        .rev()
        .try_for_each(|it| store.delete(&it.name).map_err(BackupError::of(&it.name)))
}
