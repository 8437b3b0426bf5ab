//! The thread that ships the log. There is one chain as a rule, and a second one while another image is being made, of which
//! nobody knows yet whether it will be good.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rubine_base::clock::unix_millis;

use super::{Service, Setup};
use crate::chain::{Chain, Lost};
use crate::error::StoreError;
use crate::layout::BackupId;
use crate::seal::Form;
use crate::source::Source;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How often the journal is read while there is a chain.
const READ_EVERY: Duration = Duration::from_millis(50);
/// How long it sleeps while there is none; whoever adds one wakes it.
const IDLE_SLEEP: Duration = Duration::from_secs(10);
/// What failed is tried again after so long, twice as long after each further failure.
const RETRY_MS_MIN: i64 = 500;
const RETRY_MS_MAX: i64 = 30_000;

/// The chains, and what is wanted of them.
#[derive(Default)]
pub(super) struct Shipping {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Chains that the thread has yet to take over.
    added: Vec<Chain>,
    /// The image of the chain that counts, where there is one.
    current: Option<BackupId>,
    /// Images of chains whose worth is not known yet.
    candidates: Vec<BackupId>,
    is_finishing: bool,
    is_finished: bool,
}

impl Shipping {
    /// A chain that may come to count.
    pub(super) fn add(&self, chain: Chain) {
        let mut state = self.state.lock();
        state.candidates.push(chain.id.clone());
        state.added.push(chain);
        self.changed.notify_all();
    }

    /// The image is good: its chain counts from now on, and that of before ends. A chain that was lost meanwhile does not.
    pub(super) fn promote(&self, id: &BackupId) {
        let mut state = self.state.lock();
        if let Some(at) = state.candidates.iter().position(|it| it == id) {
            state.candidates.remove(at);
            state.current = Some(id.clone());
        }
        self.changed.notify_all();
    }

    /// The image is of no use.
    pub(super) fn discard(&self, id: &BackupId) {
        self.state.lock().candidates.retain(|it| it != id);
        self.changed.notify_all();
    }

    /// Another target: nothing goes on.
    pub(super) fn clear(&self) {
        let mut state = self.state.lock();
        (state.current, state.candidates, state.added) = Default::default();
        self.changed.notify_all();
    }

    /// Whether there is a chain that counts.
    pub(super) fn has_chain(&self) -> bool {
        self.state.lock().current.is_some()
    }

    pub(super) fn is_shipping(&self, id: &BackupId) -> bool {
        self.state.lock().is_wanted(id)
    }

    /// Ships what there is, within a time.
    pub(super) fn finish(&self, wait_max: Duration) {
        let mut state = self.state.lock();
        if state.current.is_none() {
            return;
        }
        state.is_finishing = true;
        self.changed.notify_all();
        self.changed.wait_while_for(&mut state, |it| !it.is_finished, wait_max);
    }
}

impl State {
    fn is_wanted(&self, id: &BackupId) -> bool {
        self.current.as_ref() == Some(id) || self.candidates.contains(id)
    }

    fn forget(&mut self, id: &BackupId) {
        self.candidates.retain(|it| it != id);
        if self.current.as_ref() == Some(id) {
            self.current = None;
        }
    }
}

/// Runs until the log has been finished, or the process ends.
pub(super) fn run(service: &'static Service, source: &'static dyn Source) {
    let mut chains: Vec<Chain> = Vec::new();
    let (mut retry_at, mut failures) = (0, 0);
    loop {
        let is_finishing = {
            let shipping = &service.shipping;
            let mut state = shipping.state.lock();
            if !state.is_finishing && state.added.is_empty() {
                let sleep = if chains.is_empty() { IDLE_SLEEP } else { READ_EVERY };
                shipping.changed.wait_for(&mut state, sleep);
            }
            chains.append(&mut state.added);
            chains.retain(|it| state.is_wanted(&it.id));
            state.is_finishing
        };
        let setup = service.state.lock().setup.clone();
        if let Some(setup) = setup {
            let now = unix_millis();
            read_all(service, &mut chains, now);
            if retry_at <= now || is_finishing {
                match ship_due(service, &setup, source, &mut chains, is_finishing) {
                    Ok(()) => (retry_at, failures) = (0, 0),
                    Err(error) => {
                        if failures == 0 {
                            tracing::warn!(
                                "Backup: a part of the log could not be uploaded: {error}"
                            );
                        }
                        service.figures.log_failures.fetch_add(1, Ordering::Relaxed);
                        retry_at = now + (RETRY_MS_MIN << failures.min(6)).min(RETRY_MS_MAX);
                        failures += 1;
                    }
                }
            }
        }
        if is_finishing {
            service.shipping.state.lock().is_finished = true;
            service.shipping.changed.notify_all();
            return;
        }
    }
}

fn read_all(service: &Service, chains: &mut Vec<Chain>, now: i64) {
    chains.retain_mut(|chain| {
        let is_there = chain.read(now) != Err(Lost);
        if !is_there {
            tracing::warn!(
                "Backup: the log since {} has fallen too far behind or was begun anew, and ends. Another image is needed",
                chain.id
            );
            service.figures.log_breaks.fetch_add(1, Ordering::Relaxed);
            service.shipping.state.lock().forget(&chain.id);
        }
        is_there
    });
}

fn ship_due(
    service: &Service,
    setup: &Arc<Setup>,
    source: &dyn Source,
    chains: &mut [Chain],
    is_finishing: bool,
) -> Result<(), StoreError> {
    let interval_ms = i64::from(setup.options.log_interval_seconds) * 1000;
    let form = Form { keys: source.keys(), level: setup.options.level };
    for chain in chains {
        // At the end, what was read and what has come since: two segments at most, and as many as it takes to catch up.
        while chain.is_due(interval_ms, unix_millis()) || is_finishing {
            let store = setup.store().map_err(|it| StoreError::Failed(it.to_string()))?;
            let bytes = chain.ship(&*store, &form, unix_millis())?;
            let figures = &service.figures;
            figures.log_segments.fetch_add(1, Ordering::Relaxed);
            figures.log_bytes.fetch_add(bytes, Ordering::Relaxed);
            let is_current = service.shipping.state.lock().current.as_ref() == Some(&chain.id);
            if is_current {
                figures.log_covers_until.store(chain.covers * 1000, Ordering::Relaxed);
            }
            if is_finishing {
                // The journal is read to its end, since nobody writes any more.
                let has_more = chain.read(unix_millis()).is_ok() && chain.has_pending();
                if !has_more {
                    break;
                }
            } else if chain.read(unix_millis()).is_err() {
                // The next look finds it, too, and tells of it.
                break;
            }
        }
    }
    Ok(())
}
