//! What a client is to be told of copies of keys that it keeps, on its way from whoever changed the keys. Never writes to
//! the client: its worker does, before the reply of any command that could have seen the changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// What may wait here. Instead of more, the client is told to give up all copies.
const BYTES_MAX: usize = 16 << 20;
/// Memory of a notice beyond its bytes, about.
const FIXED_BYTES: usize = 48;

/// What a client is told.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// The copy of this key is out of date.
    Key(Arc<[u8]>),
    /// The copies of several keys are: an array of their names, as it is sent.
    Keys(Arc<[u8]>),
    /// All copies are.
    All,
    /// The client of this number, to which its notices go, is gone.
    BrokenRedirection(u64),
}

impl Notice {
    /// Memory that it takes, about.
    pub(crate) fn byte_count(&self) -> usize {
        let bytes = match self {
            Self::Key(bytes) | Self::Keys(bytes) => bytes.len(),
            Self::All | Self::BrokenRedirection(_) => 0,
        };
        FIXED_BYTES + bytes
    }
}

/// A notice and for whom it is.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) notice: Notice,
    /// It is about the copies of another client, which has its notices sent here.
    pub(crate) is_redirected: bool,
}

/// Notices that a client has yet to be told, in order.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    has_notices: AtomicBool,
    notices: Mutex<Notices>,
}

#[derive(Debug, Default)]
struct Notices {
    posted: Vec<Posted>,
    bytes: usize,
}

impl Inbox {
    /// Whether something waits. Whoever has taken a shard's lock sees what was posted while it was held before.
    #[inline]
    pub(crate) fn has_notices(&self) -> bool {
        self.has_notices.load(Ordering::Acquire)
    }

    /// Puts a notice in. Returns whether nothing was there before: then the client's worker has to be told.
    pub(crate) fn post(&self, posted: Posted) -> bool {
        let mut notices = self.notices.lock();
        let is_first = notices.posted.is_empty();
        notices.add(posted);
        self.has_notices.store(true, Ordering::Release);
        is_first
    }

    /// Takes out what waits, unless it `is_early`. Whoever has posted something has seen to that before.
    pub(crate) fn take_unless(&self, is_early: impl FnOnce() -> bool) -> Vec<Posted> {
        let mut notices = self.notices.lock();
        if is_early() {
            return Vec::new();
        }
        self.has_notices.store(false, Ordering::Release);
        notices.bytes = 0;
        std::mem::take(&mut notices.posted)
    }
}

impl Notices {
    fn add(&mut self, posted: Posted) {
        self.bytes += posted.notice.byte_count();
        self.posted.push(posted);
        if BYTES_MAX < self.bytes {
            self.make_it_all();
        }
    }

    /// Has the client give up all copies, instead of those of so many keys.
    #[cold]
    fn make_it_all(&mut self) {
        let was = std::mem::take(&mut self.posted);
        for is_redirected in [false, true] {
            if was.iter().any(|it| it.is_redirected == is_redirected) {
                self.posted.push(Posted { notice: Notice::All, is_redirected });
            }
        }
        let is_broken = |it: &Posted| matches!(it.notice, Notice::BrokenRedirection(_));
        self.posted.extend(was.into_iter().rfind(is_broken));
        self.bytes = self.posted.iter().map(|it| it.notice.byte_count()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_is_all() {
        let inbox = Inbox::default();
        let name: Arc<[u8]> = vec![b'k'; 1 << 20].into();
        let post = |notice, is_redirected| inbox.post(Posted { notice, is_redirected });
        assert!(post(Notice::BrokenRedirection(7), false));
        for _ in 0..20 {
            assert!(!post(Notice::Key(Arc::clone(&name)), true));
        }
        let taken = inbox.take_unless(|| false);
        let kinds: Vec<_> =
            taken.iter().map(|it| (it.notice.byte_count(), it.is_redirected)).collect();
        // One for what its own would have been, one for the others', the broken redirection, and what came after.
        assert_eq!(kinds[..3], [(48, false), (48, true), (48, false)]);
        assert!(kinds.len() < 9, "{kinds:?}");
        assert!(!inbox.has_notices() && inbox.take_unless(|| false).is_empty());
        assert!(post(Notice::All, false), "it is empty again");
    }
}
