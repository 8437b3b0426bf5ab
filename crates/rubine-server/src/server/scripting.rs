//! What all workers know of scripts: their sources, the function libraries, and which of them run now.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rubine_base::clock::monotonic_millis;
use rubine_commands::Args;
use rubine_config::Config;
use rubine_keyspace::ShardSet;
use rubine_resp::writer::Reply;
use rubine_scripting::{
    Called, Host, LibraryRegistry, LogLevel, Permission, Request, Scripts, Settings, Verdict, text,
};

use super::script_threads::{ScriptKind, ScriptThreads};
use crate::command_table::Entry;
use crate::process::identity::{REDIS_VERSION, VALKEY_VERSION};

/// How long the code of a library may run while it is loaded.
const LOADING_MS_MAX: u64 = 500;

/// The scripts of a server.
#[derive(Default)]
pub(crate) struct Scripting {
    pub(crate) scripts: Scripts,
    pub(crate) libraries: LibraryRegistry,
    pub(crate) threads: Arc<ScriptThreads>,
    /// Runs the scripts of a log.
    pub(crate) logged: OnceLock<RunLogged>,
    running: Mutex<Vec<Arc<Running>>>,
    /// How many of `running` have run for longer than `busy-reply-threshold`.
    busy: AtomicUsize,
}

/// Runs commands of a log in a database as one unit, scripts among them.
pub(crate) type RunLogged =
    Box<dyn Fn(usize, &[(&'static Entry, Args<'_>)]) -> Result<(), String> + Send + Sync>;

/// A script that has run for long enough to be seen by others.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) kind: ScriptKind,
    /// The name of a function; empty for scripts.
    pub(crate) name: Vec<u8>,
    /// The command that runs it, as it came.
    pub(crate) command: Vec<Vec<u8>>,
    /// Monotonic milliseconds.
    pub(crate) started_ms: u64,
    /// What it keeps others from.
    shards: Mutex<ShardSet>,
    /// It has run for longer than others wait.
    is_busy: AtomicBool,
    /// It has changed something.
    has_written: AtomicBool,
    /// Whether it shall end, and how.
    wish: AtomicU8,
}

/// Whether a running script shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Wish {
    GoesOn,
    Killed,
    /// It ends, and what it wrote is put back.
    Undone,
}

/// Why no script was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotKilled {
    NoneRuns,
    /// One of the other kind runs.
    OtherKind,
    /// It has written already.
    HasWritten,
}

impl Running {
    pub(crate) fn new(
        kind: ScriptKind,
        name: Vec<u8>,
        command: Vec<Vec<u8>>,
        started_ms: u64,
        shards: ShardSet,
    ) -> Self {
        let (is_busy, has_written) = Default::default();
        let wish = AtomicU8::new(Wish::GoesOn as u8);
        let shards = Mutex::new(shards);
        Self { kind, name, command, started_ms, shards, is_busy, has_written, wish }
    }

    /// It has come to hold these.
    pub(crate) fn note_shards(&self, shards: ShardSet) {
        *self.shards.lock() = shards;
    }

    pub(crate) fn note_write(&self) {
        self.has_written.store(true, Ordering::Release);
    }

    pub(crate) fn wish(&self) -> Wish {
        match self.wish.load(Ordering::Acquire) {
            0 => Wish::GoesOn,
            1 => Wish::Killed,
            _ => Wish::Undone,
        }
    }
}

impl Scripting {
    /// Makes a script known to those who may want to end it, until it is taken off the list.
    pub(crate) fn enter(&self, running: Arc<Running>) {
        self.running.lock().push(running);
    }

    pub(crate) fn leave(&self, running: &Arc<Running>) {
        self.running.lock().retain(|it| !Arc::ptr_eq(it, running));
        if running.is_busy.load(Ordering::Relaxed) {
            self.busy.fetch_sub(1, Ordering::Release);
        }
    }

    /// A script has run for longer than others wait for it. Returns whether that is news.
    pub(crate) fn note_busy(&self, running: &Running) -> bool {
        let is_news = !running.is_busy.swap(true, Ordering::Relaxed);
        if is_news {
            self.busy.fetch_add(1, Ordering::Release);
        }
        is_news
    }

    /// Whether a script has run for longer than others wait for it.
    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire) != 0
    }

    /// What kind of script it is that has run for longer than others wait for it, and holds one of `shards`; any, if none is
    /// named.
    pub(crate) fn busy_at(&self, shards: Option<&[usize]>) -> Option<ScriptKind> {
        let running = self.running.lock();
        let holds = |it: &Running| {
            let held = it.shards.lock();
            shards.is_none_or(|all| all.iter().any(|&shard| held.contains(shard as u16)))
        };
        let mut busy = running.iter().filter(|it| it.is_busy.load(Ordering::Relaxed));
        busy.find(|it| holds(it)).map(|it| it.kind)
    }

    /// Whether a script runs for long.
    pub(crate) fn is_any_long(&self) -> bool {
        self.threads.has_any() || !self.running.lock().is_empty()
    }

    /// Ends all scripts that have run for longer than others wait for them, or than the end of a server waits, and puts back
    /// what they wrote.
    pub(crate) fn end_busy(&self) {
        /// Where others wait for ever.
        const PATIENCE_MS: u64 = 5000;
        let now_ms = monotonic_millis();
        for script in self.running.lock().iter() {
            let is_old = PATIENCE_MS < now_ms.saturating_sub(script.started_ms);
            if is_old || script.is_busy.load(Ordering::Relaxed) {
                script.wish.store(Wish::Undone as u8, Ordering::Release);
            }
        }
    }

    /// The script that has run longest of those that have run for `age_ms` at `now_ms`.
    pub(crate) fn longest(&self, now_ms: u64, age_ms: u64) -> Option<Arc<Running>> {
        let running = self.running.lock();
        let oldest = running.iter().min_by_key(|it| it.started_ms)?;
        (age_ms <= now_ms.saturating_sub(oldest.started_ms)).then(|| Arc::clone(oldest))
    }

    /// Ends the scripts of a kind that run: those that have written only if what they wrote is put back.
    pub(crate) fn kill(&self, kind: ScriptKind, undoes: bool) -> Result<(), NotKilled> {
        let running = self.running.lock();
        if running.is_empty() {
            return Err(NotKilled::NoneRuns);
        }
        let mut of_kind = running.iter().filter(|it| it.kind == kind).peekable();
        if of_kind.peek().is_none() {
            return Err(NotKilled::OtherKind);
        }
        let mut is_killed = false;
        for script in of_kind {
            if undoes || !script.has_written.load(Ordering::Acquire) {
                let wish = if undoes { Wish::Undone } else { Wish::Killed };
                script.wish.store(wish as u8, Ordering::Release);
                is_killed = true;
            }
        }
        if is_killed { Ok(()) } else { Err(NotKilled::HasWritten) }
    }
}

/// What the code of a library may ask of the server while it is loaded: nothing but that it may go on.
pub(crate) struct LoadingHost {
    until_ms: u64,
}

impl LoadingHost {
    pub(crate) fn new() -> Self {
        Self { until_ms: monotonic_millis() + LOADING_MS_MAX }
    }
}

impl Host for LoadingHost {
    fn call(&mut self, _: Request<'_>, reply: &mut Reply<'_>) -> Called {
        reply.error(text::NOT_ALLOWED);
        Called::Replied
    }

    fn poll(&mut self) -> Verdict {
        let is_over = self.until_ms < monotonic_millis();
        if is_over { Verdict::Stop } else { Verdict::GoOn }
    }

    fn log(&mut self, level: LogLevel, text: &[u8]) {
        log_of_script(level, text);
    }

    fn check_permission(&mut self, _: Request<'_>) -> Permission {
        Permission::Invalid
    }
}

/// `redis.log`
pub(crate) fn log_of_script(level: LogLevel, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    match level {
        LogLevel::Debug => tracing::trace!("{text}"),
        LogLevel::Verbose => tracing::debug!("{text}"),
        LogLevel::Notice => tracing::info!("{text}"),
        LogLevel::Warning => tracing::warn!("{text}"),
    }
}

/// What an interpreter goes by.
pub(crate) fn interpreter_settings(config: &Config) -> Settings {
    Settings {
        redis_version: REDIS_VERSION.to_owned(),
        valkey_version: VALKEY_VERSION.to_owned(),
        server_name: "valkey".to_owned(),
        has_insecure_api: config.lua_enable_insecure_api,
        memory_limit: config.lua_memory_limit as usize,
    }
}
