//! The sources of scripts, by their digest: what EVAL, EVALSHA and SCRIPT share among workers. Compiles nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rubine_base::hash::HashMap;
use sha1::{Digest as _, Sha1};

use crate::api::hex;
use crate::error::ScriptError;
use crate::shebang::{ScriptFlags, parse_script};

/// So many scripts that were only run by EVAL are kept.
pub const EVALED_SCRIPTS_MAX: usize = 500;

/// A script's SHA1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sha(pub [u8; 20]);

/// A script with what its shebang says.
#[derive(Debug)]
pub struct Script {
    pub sha: Sha,
    pub text: Box<[u8]>,
    pub flags: ScriptFlags,
    /// Where the code begins.
    pub(crate) code_start: usize,
    /// It was loaded, so it stays.
    is_loaded: AtomicBool,
    /// It is in the registry no longer.
    is_gone: AtomicBool,
    /// When it was used last, by the registry's clock; odd if that was after it came.
    used: AtomicU64,
}

/// How a script comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By EVAL: it may go when many others come.
    Eval,
    /// By SCRIPT LOAD: it stays.
    Load,
}

/// The scripts of a server.
#[derive(Debug, Default)]
pub struct Scripts {
    by_sha: Mutex<Inner>,
    /// Counts up with every script that comes.
    clock: AtomicU64,
    /// Changes when all scripts go.
    generation: AtomicU64,
    evicted: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    scripts: HashMap<Sha, Arc<Script>>,
    evaled: usize,
    text_bytes: usize,
}

/// What each byte is as a hexadecimal digit; more than 15 if it is none.
const DIGITS: [u8; 256] = {
    let mut digits = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        digits[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

impl Sha {
    pub fn of(text: &[u8]) -> Self {
        Self(Sha1::digest(text).into())
    }

    /// Reads forty hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text: &[u8; 40] = text.try_into().ok()?;
        let (mut sha, mut wrong) = ([0; 20], 0);
        for (byte, digits) in sha.iter_mut().zip(text.as_chunks::<2>().0) {
            let (high, low) = (DIGITS[usize::from(digits[0])], DIGITS[usize::from(digits[1])]);
            *byte = high << 4 | low & 15;
            wrong |= high | low;
        }
        (wrong < 16).then_some(Self(sha))
    }

    /// Forty digits in lower case.
    pub fn to_hex(self) -> [u8; 40] {
        hex(&self.0)
    }
}

impl Script {
    pub(crate) fn parse(text: &[u8], sha: Sha) -> Result<Self, ScriptError> {
        let (flags, code_start) = parse_script(text)?;
        Ok(Self {
            sha,
            text: text.into(),
            flags,
            code_start,
            is_loaded: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            used: AtomicU64::new(0),
        })
    }

    pub(crate) fn code(&self) -> &[u8] {
        &self.text[self.code_start..]
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }
}

impl Scripts {
    pub fn new() -> Self {
        Self::default()
    }

    /// SCRIPT EXISTS, SCRIPT SHOW
    pub fn find(&self, sha: Sha) -> Option<Arc<Script>> {
        self.by_sha.lock().scripts.get(&sha).cloned()
    }

    /// SCRIPT FLUSH
    pub fn flush(&self) {
        let flushed = std::mem::take(&mut *self.by_sha.lock());
        flushed.scripts.values().for_each(|it| it.is_gone.store(true, Ordering::Release));
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub fn len(&self) -> usize {
        self.by_sha.lock().scripts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// CONFIG RESETSTAT
    pub fn reset_evicted_count(&self) {
        self.evicted.store(0, Ordering::Relaxed);
    }

    /// How many were dropped because others came.
    pub fn evicted_count(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// What the sources take, about.
    pub fn memory(&self) -> usize {
        let inner = self.by_sha.lock();
        inner.text_bytes + inner.scripts.len() * (size_of::<Script>() + size_of::<(Sha, usize)>())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Takes in a script that compiles, unless there is one of its digest, which is returned then.
    pub(crate) fn insert(&self, script: Script, origin: Origin) -> Arc<Script> {
        let mut inner = self.by_sha.lock();
        let now = self.clock.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(known) = inner.scripts.get(&script.sha).cloned() {
            inner.note_origin(&known, origin);
            return known;
        }
        if origin == Origin::Eval {
            while EVALED_SCRIPTS_MAX <= inner.evaled {
                inner.evict();
                self.evicted.fetch_add(1, Ordering::Relaxed);
            }
            inner.evaled += 1;
        }
        script.used.store(now * 2, Ordering::Relaxed);
        script.is_loaded.store(origin == Origin::Load, Ordering::Relaxed);
        let script = Arc::new(script);
        inner.text_bytes += script.text.len();
        inner.scripts.insert(script.sha, Arc::clone(&script));
        script
    }

    /// Notes that a script that is known was loaded, so it stays from now on.
    pub(crate) fn note_loaded(&self, script: &Script) {
        self.by_sha.lock().note_origin(script, Origin::Load);
    }

    /// Notes that a script runs.
    pub(crate) fn touch(&self, script: &Script) {
        if !script.is_loaded.load(Ordering::Relaxed) {
            script.used.store(self.clock.load(Ordering::Relaxed) * 2 + 1, Ordering::Relaxed);
        }
    }
}

impl Inner {
    fn note_origin(&mut self, script: &Script, origin: Origin) {
        let is_promoted = origin == Origin::Load && !script.is_loaded.swap(true, Ordering::Relaxed);
        if is_promoted && !script.is_gone() {
            self.evaled -= 1;
        }
    }

    /// Drops the script that was used least recently of those that may go.
    fn evict(&mut self) {
        let oldest = self
            .scripts
            .values()
            .filter(|it| !it.is_loaded.load(Ordering::Relaxed))
            .min_by_key(|it| it.used.load(Ordering::Relaxed))
            .map(|it| it.sha);
        self.evaled -= 1;
        if let Some(script) = oldest.and_then(|it| self.scripts.remove(&it)) {
            self.text_bytes -= script.text.len();
            script.is_gone.store(true, Ordering::Release);
        }
    }
}
