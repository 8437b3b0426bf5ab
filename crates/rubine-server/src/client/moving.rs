//! The keys that move to another server now, each for one client at a time: two that move the same key at once would each
//! take the other's removal for a change. Where a key is changed whenever it has been sent, who wants to change it waits
//! too, so that it can arrive; that is only a help, since what is removed is decided by what a key holds, under its lock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rubine_base::hash::HashMap;
use rubine_commands::Shipment;

/// The keys that move, of whatever database.
pub(crate) struct MovingKeys {
    claims: Mutex<HashMap<Box<[u8]>, Claim>>,
    /// How many there are, and how many of them nobody else may change, for those who need not look.
    count: AtomicUsize,
    contested_count: AtomicUsize,
    /// Somebody waits until one of them is free.
    has_waiters: AtomicBool,
    /// Tells those who wait that a key is free.
    tell_waiters: Box<dyn Fn() + Send + Sync>,
}

/// Whose a key is.
struct Claim {
    client: u64,
    /// How often its command names it.
    count: usize,
    /// Nobody else may change it.
    is_contested: bool,
}

/// The keys of one client, until this is dropped.
pub(crate) struct Hold {
    moving: Arc<MovingKeys>,
    keys: Vec<Box<[u8]>>,
}

impl MovingKeys {
    pub(crate) fn new(tell_waiters: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            claims: Mutex::default(),
            count: AtomicUsize::new(0),
            contested_count: AtomicUsize::new(0),
            has_waiters: AtomicBool::new(false),
            tell_waiters: Box::new(tell_waiters),
        }
    }

    /// Whether any key moves.
    pub(crate) fn has_any(&self) -> bool {
        self.count.load(Ordering::Acquire) != 0
    }

    /// Whether there are keys that nobody may change but those who move them.
    #[inline]
    pub(crate) fn has_contested(&self) -> bool {
        self.contested_count.load(Ordering::Acquire) != 0
    }

    /// Whether one of the keys that `each_key` names may not be changed now. If so, its caller is told when that may be
    /// over.
    pub(crate) fn holds_one_of(&self, each_key: impl FnOnce(&mut dyn FnMut(&[u8]))) -> bool {
        let claims = self.claims.lock();
        let mut found = false;
        each_key(&mut |key| found |= claims.get(key).is_some_and(|it| it.is_contested));
        if found {
            self.has_waiters.store(true, Ordering::Release);
        }
        found
    }
}

impl Hold {
    /// Takes the keys of a shipment, while the locks are held under which they were looked up. `None` if one of them is
    /// another client's.
    pub(crate) fn new(moving: &Arc<MovingKeys>, client: u64, shipment: &Shipment) -> Option<Self> {
        let mut claims = moving.claims.lock();
        let is_others = |key: &[u8]| claims.get(key).is_some_and(|it| it.client != client);
        if shipment.parcels.iter().any(|it| is_others(&it.key)) {
            moving.has_waiters.store(true, Ordering::Release);
            return None;
        }
        let keys: Vec<_> = shipment.parcels.iter().map(|it| it.key.clone()).collect();
        for key in &keys {
            let free = Claim { client, count: 0, is_contested: false };
            claims.entry(key.clone()).or_insert(free).count += 1;
        }
        moving.count.store(claims.len(), Ordering::Release);
        Some(Self { moving: Arc::clone(moving), keys })
    }

    /// From now on nobody else changes the keys.
    pub(crate) fn contest(&self) {
        let mut claims = self.moving.claims.lock();
        for key in &self.keys {
            if let Some(claim) = claims.get_mut(key)
                && !std::mem::replace(&mut claim.is_contested, true)
            {
                self.moving.contested_count.fetch_add(1, Ordering::Release);
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let moving = &self.moving;
        let mut claims = moving.claims.lock();
        for key in &self.keys {
            let Some(claim) = claims.get_mut(key) else { continue };
            claim.count -= 1;
            if claim.count == 0 {
                let contested = usize::from(claim.is_contested);
                moving.contested_count.fetch_sub(contested, Ordering::Release);
                claims.remove(key);
            }
        }
        moving.count.store(claims.len(), Ordering::Release);
        drop(claims);
        if moving.has_waiters.swap(false, Ordering::AcqRel) {
            (moving.tell_waiters)();
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}
