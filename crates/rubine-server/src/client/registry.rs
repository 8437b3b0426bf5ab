//! All connected clients, by number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rubine_base::hash::HashMap;

use super::info::ClientInfo;

/// The connected clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    next_id: AtomicU64,
    connected: Mutex<HashMap<u64, Arc<ClientInfo>>>,
    count: AtomicUsize,
}

impl Clients {
    /// A number that no client has had.
    pub(crate) fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn add(&self, info: Arc<ClientInfo>) {
        let mut connected = self.connected.lock();
        connected.insert(info.id, info);
        self.count.store(connected.len(), Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, id: u64) {
        let mut connected = self.connected.lock();
        connected.remove(&id);
        self.count.store(connected.len(), Ordering::Relaxed);
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<ClientInfo>> {
        self.connected.lock().get(&id).cloned()
    }

    /// All clients, by number.
    pub(crate) fn list(&self) -> Vec<Arc<ClientInfo>> {
        let mut clients: Vec<_> = self.connected.lock().values().cloned().collect();
        clients.sort_by_key(|it| it.id);
        clients
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}
