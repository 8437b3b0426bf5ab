//! What is counted of backups, for INFO, metrics and alerts. One struct, which anybody may read at any time.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;

/// Whether the target does what it is asked, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TargetState {
    /// There is none.
    Off = 0,
    Checking = 1,
    Good = 2,
    Bad = 3,
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    Idle = 0,
    /// The image is written out and uploaded.
    Uploading = 1,
    /// What was uploaded is read back.
    Verifying = 2,
    /// Old ones are removed.
    Pruning = 3,
}

/// Counters and moments. Times are Unix milliseconds, 0 for never.
#[derive(Debug, Default)]
pub struct Figures {
    target: AtomicU8,
    phase: AtomicU8,
    pub made: AtomicU64,
    pub failed: AtomicU64,
    pub suspect: AtomicU64,
    pub verified: AtomicU64,
    pub verify_failed: AtomicU64,
    pub pruned: AtomicU64,
    pub uploaded_bytes: AtomicU64,
    /// Of what is under way.
    pub current_bytes: AtomicU64,
    pub current_keys: AtomicU64,
    pub began_at: AtomicI64,
    /// When the image of the last good backup was made: verified, and not suspect.
    pub last_good_at: AtomicI64,
    pub last_good_bytes: AtomicU64,
    pub last_good_keys: AtomicU64,
    pub last_duration_ms: AtomicI64,
    /// Of it, until the manifest was there.
    pub last_upload_ms: AtomicI64,
    /// When the last attempt ended.
    pub last_end_at: AtomicI64,
    pub last_failure_at: AtomicI64,
    /// When the next one is due by the schedule.
    pub next_at: AtomicI64,
    /// Good backups in the target, when it was last looked at.
    pub kept: AtomicU64,
    /// Whether the newest backup is suspect, so that nothing is removed: 0 or 1.
    pub is_pruning_stopped: AtomicU8,
    pub log_segments: AtomicU64,
    pub log_bytes: AtomicU64,
    /// How often a part of the log was lost before it was uploaded, so that another image was needed.
    pub log_breaks: AtomicU64,
    pub log_failures: AtomicU64,
    /// All that happened up to this moment is in the target.
    pub log_covers_until: AtomicI64,
    last: Mutex<LastTexts>,
}

/// Texts of the last outcome.
#[derive(Clone, Debug, Default)]
pub struct LastTexts {
    pub id: String,
    /// Empty where the last attempt went well.
    pub error: String,
    pub target_error: String,
}

impl Figures {
    pub fn target(&self) -> TargetState {
        match self.target.load(Ordering::Relaxed) {
            1 => TargetState::Checking,
            2 => TargetState::Good,
            3 => TargetState::Bad,
            _ => TargetState::Off,
        }
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            1 => Phase::Uploading,
            2 => Phase::Verifying,
            3 => Phase::Pruning,
            _ => Phase::Idle,
        }
    }

    pub fn texts(&self) -> LastTexts {
        self.last.lock().clone()
    }

    pub(crate) fn set_target(&self, state: TargetState, error: &str) {
        self.target.store(state as u8, Ordering::Relaxed);
        error.clone_into(&mut self.last.lock().target_error);
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(crate) fn note_begin(&self, now: i64) {
        self.began_at.store(now, Ordering::Relaxed);
        self.current_bytes.store(0, Ordering::Relaxed);
        self.current_keys.store(0, Ordering::Relaxed);
    }

    pub(crate) fn note_end(&self, now: i64, outcome: Result<&str, &str>) {
        let began_at = self.began_at.load(Ordering::Relaxed);
        self.last_duration_ms.store((now - began_at).max(0), Ordering::Relaxed);
        self.last_end_at.store(now, Ordering::Relaxed);
        let mut last = self.last.lock();
        match outcome {
            Ok(id) => {
                self.made.fetch_add(1, Ordering::Relaxed);
                id.clone_into(&mut last.id);
                last.error.clear();
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.last_failure_at.store(now, Ordering::Relaxed);
                error.clone_into(&mut last.error);
            }
        }
        drop(last);
        self.enter(Phase::Idle);
    }

    pub(crate) fn note_good(&self, taken_at_ms: i64, bytes: u64, keys: u64) {
        self.last_good_at.store(taken_at_ms, Ordering::Relaxed);
        self.last_good_bytes.store(bytes, Ordering::Relaxed);
        self.last_good_keys.store(keys, Ordering::Relaxed);
    }
}
