//! Sessions that clients may resume: so many, for so long. Knows nothing of what is in them.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use rubine_base::clock::monotonic_nanos;
use rubine_base::hash::HashMap;
use rustls::server::StoresServerSessions;

/// What the number 0 of `tls-session-cache-size`, no limit, is taken for: strangers fill this.
const SESSIONS_MAX: usize = 1 << 20;

/// Sessions by their names. The oldest goes first.
pub(super) struct Sessions {
    size_max: usize,
    kept_nanos: u64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The contents, and when they were put here.
    by_name: HashMap<Vec<u8>, (Vec<u8>, u64)>,
    /// Names in the order of coming. Invariant: holds all of `by_name`, and others that were taken.
    order: VecDeque<(Vec<u8>, u64)>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("size_max", &self.size_max).finish_non_exhaustive()
    }
}

impl Sessions {
    pub(super) fn new(size: u32, seconds: u32) -> Self {
        let size_max = if size == 0 { SESSIONS_MAX } else { (size as usize).min(SESSIONS_MAX) };
        let kept_nanos = Duration::from_secs(seconds.into()).as_nanos() as u64;
        Self { size_max, kept_nanos, kept: Mutex::default() }
    }

    fn is_fresh(&self, since: u64) -> bool {
        monotonic_nanos().saturating_sub(since) < self.kept_nanos
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, name: Vec<u8>, contents: Vec<u8>) -> bool {
        let now = monotonic_nanos();
        let Kept { by_name, order } = &mut *self.kept.lock();
        while let Some((oldest, since)) = order.front() {
            if order.len() < self.size_max && self.is_fresh(*since) {
                break;
            }
            // The same name may have come again since.
            if by_name.get(oldest).is_some_and(|it| it.1 == *since) {
                by_name.remove(oldest);
            }
            order.pop_front();
        }
        order.push_back((name.clone(), now));
        by_name.insert(name, (contents, now));
        true
    }

    fn get(&self, name: &[u8]) -> Option<Vec<u8>> {
        let kept = self.kept.lock();
        let (contents, since) = kept.by_name.get(name)?;
        self.is_fresh(*since).then(|| contents.clone())
    }

    fn take(&self, name: &[u8]) -> Option<Vec<u8>> {
        let (contents, since) = self.kept.lock().by_name.remove(name)?;
        self.is_fresh(since).then_some(contents)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use rustls::server::StoresServerSessions;

    use super::Sessions;

    #[test]
    fn so_many_for_so_long() {
        let sessions = Sessions::new(2, 300);
        for name in [b"a", b"b", b"a", b"c"] {
            assert!(sessions.put(name.to_vec(), b"contents".to_vec()));
        }
        assert_eq!(sessions.get(b"b"), None);
        assert_eq!(sessions.take(b"a"), Some(b"contents".to_vec()));
        assert_eq!(sessions.take(b"a"), None);
        assert_eq!(sessions.get(b"c"), Some(b"contents".to_vec()));
        for number in 0..1000_u32 {
            sessions.put(number.to_le_bytes().to_vec(), Vec::new());
        }
        let kept = sessions.kept.lock();
        assert_eq!((kept.by_name.len(), kept.order.len()), (2, 2));
        let short = Sessions::new(2, 0);
        short.put(b"a".to_vec(), Vec::new());
        assert_eq!(short.take(b"a"), None);
    }
}
