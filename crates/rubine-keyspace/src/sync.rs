//! The synchronisation primitives of this crate: `parking_lot` and std, or shuttle's look-alikes when its scheduler
//! explores the interleavings (`--cfg shuttle`). Never holds logic of its own.

#[cfg(not(shuttle))]
pub(crate) use self::real::{
    AtomicBool, AtomicU8, AtomicU32, Mutex, MutexGuard, fence_after_store, fence_after_unlock,
    pause,
};
#[cfg(shuttle)]
pub(crate) use self::simulated::{
    AtomicBool, AtomicU8, AtomicU32, Mutex, MutexGuard, fence_after_store, fence_after_unlock,
    pause,
};

#[cfg(not(shuttle))]
mod real {
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32};
    use std::sync::atomic::{Ordering, fence};

    /// Orders stores before it ahead of loads after it.
    #[inline]
    pub(crate) fn fence_after_store() {
        fence(Ordering::SeqCst);
    }

    /// Orders the unlocking of a [`Mutex`] before it ahead of loads after it.
    ///
    /// Unlocking writes by a read-modify-write of release order. On x86 that is a locked instruction, which orders
    /// everything, so only the compiler has to be kept from moving loads. Elsewhere a later load may be done before the
    /// store half of it, which takes a fence.
    #[inline]
    pub(crate) fn fence_after_unlock() {
        if cfg!(any(target_arch = "x86_64", target_arch = "x86")) {
            std::sync::atomic::compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    /// Lets some nanoseconds pass.
    #[inline]
    pub(crate) fn pause() {
        std::hint::spin_loop();
    }
}

#[cfg(shuttle)]
mod simulated {
    pub(crate) use shuttle::sync::MutexGuard;
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU32};

    /// What shuttle runs is sequentially consistent.
    pub(crate) fn fence_after_store() {}

    pub(crate) fn fence_after_unlock() {}

    pub(crate) fn pause() {
        shuttle::hint::spin_loop();
    }

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

        pub(crate) fn is_locked(&self) -> bool {
            self.try_lock().is_none()
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }
}
