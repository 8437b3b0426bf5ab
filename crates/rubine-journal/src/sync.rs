//! The synchronisation primitives of this crate: `parking_lot` and std, or shuttle's look-alikes when
//! its scheduler explores the interleavings (`--cfg shuttle`). Never holds logic of its own.

#[cfg(not(shuttle))]
pub(crate) use self::real::{AtomicBool, AtomicU64, Mutex, MutexGuard, Thread, park_timeout, this};
#[cfg(shuttle)]
pub(crate) use self::simulated::{
    AtomicBool, AtomicU64, Mutex, MutexGuard, Thread, park_timeout, this,
};

#[cfg(not(shuttle))]
mod real {
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
    pub(crate) use std::thread::{Thread, current as this, park_timeout};
}

#[cfg(shuttle)]
mod simulated {
    pub(crate) use shuttle::sync::MutexGuard;
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64};
    pub(crate) use shuttle::thread::{Thread, current as this};

    /// Time does not pass under shuttle, so that a lost wake shows as a deadlock.
    pub(crate) fn park_timeout(_timeout: std::time::Duration) {
        shuttle::thread::park();
    }

    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a panic fails the shuttle run before anyone locks again")
        }
    }
}
