//! The synchronisation primitives of this crate: `parking_lot` and std, or shuttle's look-alikes when its scheduler
//! explores the interleavings (`--cfg shuttle`). Never holds logic of its own.

#[cfg(not(shuttle))]
pub(crate) use self::real::{AtomicBool, AtomicU8, Mutex, MutexGuard};
#[cfg(shuttle)]
pub(crate) use self::simulated::{AtomicBool, AtomicU8, Mutex, MutexGuard};

#[cfg(not(shuttle))]
mod real {
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8};
}

#[cfg(shuttle)]
mod simulated {
    pub(crate) use shuttle::sync::MutexGuard;
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU8};

    #[derive(Debug)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a panic fails the shuttle run before anyone locks again")
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}
