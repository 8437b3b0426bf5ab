//! `rubine-check-rdb`: whether a dump file can be loaded, where it is damaged if not, and what is in it: types, sizes, the
//! largest keys. Looks at every value, on all cores; changes nothing. The lines that scripts look for are those of Redis.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use rubine_base::clock::unix_millis;
use rubine_persistence::encryption::{Input, KeyRing};
use rubine_rdb::ValueLimits;
use rubine_rdb::error::{Damage, Fault, ReadError};
use rubine_rdb::read::{Batch, Entry, Item, Reader};
use rubine_rdb::version::VersionCheck;

use self::stats::{Counted, Format, Stats};

mod stats;

const USAGE: &str = "Usage: rubine-check-rdb <rdb-file-name> [--format table|info|csv] [--stats] [--output <file>] \
                     [--encryption-key-file <file>]";

/// How many of the largest keys are named.
const LARGEST_SHOWN: usize = 10;
/// Bytes of a key or a remark that are shown.
const SHOWN_BYTES_MAX: usize = 64;
/// Batches that may wait for a thread, for each of these.
const BATCHES_AHEAD_MAX: usize = 4;

/// What is counted of the keys of one type.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    keys: u64,
    bytes: u64,
}

/// A large key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Large {
    bytes: usize,
    key: Vec<u8>,
    db: u64,
    type_name: &'static str,
}

/// What was found.
#[derive(Clone, Debug, Default)]
struct Tally {
    by_type: BTreeMap<&'static str, Counts>,
    /// The largest first, [`LARGEST_SHOWN`] at most.
    largest: Vec<Large>,
    with_deadline: u64,
    expired: u64,
    /// Values without elements, which are not loaded.
    empty: u64,
    functions: u64,
    /// Keys beside which modules kept something, which is not loaded.
    keys_with_meta: u64,
    /// The first damage inside a value, and the key, if it can be read.
    damage: Option<(Damage, Vec<u8>)>,
    /// By database and type, if that is asked for.
    stats: Option<Stats>,
}

impl Tally {
    fn new(with_stats: bool) -> Self {
        Self { stats: with_stats.then(Stats::default), ..Self::default() }
    }

    fn add(&mut self, entry: &Entry<'_>, db: u64, now: i64) {
        let type_name = entry.kind.type_name();
        let bytes = entry.value_bytes();
        let counts = self.by_type.entry(type_name).or_default();
        counts.keys += 1;
        counts.bytes += bytes as u64;
        if let Some(deadline) = entry.attributes.deadline {
            self.with_deadline += 1;
            self.expired += u64::from(deadline < now);
        }
        let is_large = self.largest.len() < LARGEST_SHOWN
            || self.largest.last().is_some_and(|smallest| smallest.bytes < bytes);
        let checked = entry.key().and_then(|key| {
            let value = entry.decode(&ValueLimits::default());
            if let Some(stats) = &mut self.stats {
                let deadline = entry.attributes.deadline;
                let counted = Counted {
                    db,
                    type_name,
                    key_bytes: key.len(),
                    has_deadline: deadline.is_some(),
                    is_expired: deadline.is_some_and(|it| it < now),
                };
                stats.add(&counted, value.as_ref().ok());
            }
            if is_large {
                self.note_large(Large { bytes, key: key.into_owned(), db, type_name });
            }
            value
        });
        match checked {
            Ok(_) => {}
            Err(Damage { fault: Fault::Empty(_), .. }) => self.empty += 1,
            Err(damage) => {
                let key = entry.key().unwrap_or_default().into_owned();
                self.note_damage(damage, key);
            }
        }
    }

    fn note_large(&mut self, large: Large) {
        self.largest.push(large);
        self.largest.sort_by(|a, b| b.cmp(a));
        self.largest.truncate(LARGEST_SHOWN);
    }

    /// Of several, the first in the file counts, whichever thread has met it.
    fn note_damage(&mut self, damage: Damage, key: Vec<u8>) {
        let is_first = self.damage.as_ref().is_none_or(|known| damage.offset < known.0.offset);
        if is_first {
            self.damage = Some((damage, key));
        }
    }

    fn merge(&mut self, other: Self) {
        for (type_name, counts) in other.by_type {
            let sum = self.by_type.entry(type_name).or_default();
            sum.keys += counts.keys;
            sum.bytes += counts.bytes;
        }
        self.with_deadline += other.with_deadline;
        self.expired += other.expired;
        self.empty += other.empty;
        self.functions += other.functions;
        other.largest.into_iter().for_each(|large| self.note_large(large));
        other.damage.into_iter().for_each(|(damage, key)| self.note_damage(damage, key));
        if let (Some(stats), Some(others)) = (&mut self.stats, other.stats) {
            stats.merge(others);
        }
    }

    fn keys(&self) -> u64 {
        self.by_type.values().map(|it| it.keys).sum()
    }
}

/// Checks the file that `args` name.
pub fn main(args: &[Vec<u8>]) -> ExitCode {
    let say = |text: &str| drop(writeln!(io::stdout(), "{text}"));
    if matches!(args, [only] if only == b"-v" || only == b"--version") {
        say(&format!("rubine-check-rdb {}", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    let Some(options) = Options::of(args) else {
        say(USAGE);
        return ExitCode::FAILURE;
    };
    match check(&options, &say) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            say(&reason);
            ExitCode::FAILURE
        }
    }
}

/// What was asked for.
#[derive(Debug, Default)]
struct Options {
    path: PathBuf,
    keys: Option<PathBuf>,
    stats: bool,
    format: Format,
    /// Where statistics are written, instead of among the rest.
    output: Option<PathBuf>,
}

impl Options {
    fn of(args: &[Vec<u8>]) -> Option<Self> {
        let path_of = |arg: &[u8]| PathBuf::from(OsStr::from_bytes(arg));
        let mut options = Self::default();
        let mut paths = Vec::new();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_slice() {
                b"--stats" => options.stats = true,
                b"--format" => options.format = Format::named(args.next()?)?,
                b"--output" => options.output = Some(path_of(args.next()?)),
                b"--encryption-key-file" => options.keys = Some(path_of(args.next()?)),
                option if option.starts_with(b"--") => return None,
                path => paths.push(path_of(path)),
            }
        }
        let [path] = paths.try_into().ok()?;
        options.path = path;
        Some(options)
    }
}

pub(crate) fn read_keys(path: &Path) -> Result<KeyRing, String> {
    let fail = |reason: String| format!("Cannot read the keys in {}: {reason}", path.display());
    let text = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    KeyRing::parse(&text).map_err(|error| fail(error.to_string()))
}

/// Reads the whole file and tells of it. The error is the last line.
fn check(options: &Options, say: &impl Fn(&str)) -> Result<(), String> {
    let path = &options.path;
    let keys = options.keys.as_deref().map(read_keys).transpose()?;
    let fail = |error: io::Error| format!("Cannot open file {}: {error}", path.display());
    let file = File::open(path).map_err(fail)?;
    let total_bytes = file.metadata().map_err(fail)?.len();
    say(&format!("[offset 0] Checking RDB file {}", path.display()));
    let progress = progress_bar(total_bytes);
    let started_at = unix_millis();
    let source: Box<dyn Read + Send> = Box::new(file);
    let input = Input::new(source, keys.as_ref()).map_err(fail)?;
    let mut tally = Tally::new(options.stats);
    let read = read_all(input, &progress, say, &mut tally);
    progress.finish_and_clear();
    tell(&tally, say);
    if let Some(stats) = &tally.stats {
        tell_stats(&stats.text(options.format), options.output.as_deref())?;
    }
    // What is wrong with a value is known with its place; what is wrong with the file may follow from it.
    let offset = match (read, &tally.damage) {
        (_, Some((damage, key))) => {
            say(&format!(
                "--- RDB ERROR DETECTED ---\n[offset {}] {}\n[additional info] Reading key '{}'",
                damage.offset,
                damage.fault,
                shown(key)
            ));
            return Err(format!("The file is good up to offset {}", damage.offset));
        }
        (Err(error), None) => {
            say("--- RDB ERROR DETECTED ---");
            return Err(describe(&error));
        }
        (Ok(offset), None) => offset,
    };
    let seconds = (unix_millis() - started_at).max(1) as f64 / 1000.0;
    let rate = total_bytes as f64 / 1_048_576.0 / seconds;
    say(&format!("[info] {total_bytes} bytes in {seconds:.2} seconds: {rate:.0} MB/s"));
    say(&format!("[offset {offset}] \\o/ RDB looks OK! \\o/"));
    Ok(())
}

fn describe(error: &ReadError) -> String {
    match error {
        ReadError::Damaged(Damage { offset, fault }) => {
            format!("[offset {offset}] {fault}\nThe file is good up to there at most")
        }
        ReadError::Io { .. } => error.to_string(),
    }
}

/// Drawn on a terminal only: in a file it would be noise.
fn progress_bar(total_bytes: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    ProgressBar::new(total_bytes).with_style(style)
}

/// Cuts the file, while other threads look into the pieces. Returns the offset of the end.
fn read_all(
    input: Input<Box<dyn Read + Send>>,
    progress: &ProgressBar,
    say: &impl Fn(&str),
    tally: &mut Tally,
) -> Result<u64, ReadError> {
    let now = unix_millis();
    let mut reader = Reader::new(input, VersionCheck::Relaxed)?;
    say(&format!("[info] RDB version {}", reader.version()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let with_stats = tally.stats.is_some();
    let shared = Mutex::new(Tally::new(with_stats));
    let (sender, batches) = sync_channel(threads * BATCHES_AHEAD_MAX);
    let batches = Mutex::new(batches);
    let read: Result<u64, ReadError> = std::thread::scope(|scope| {
        // Threads end when this one is dropped.
        let sender = sender;
        for _ in 0..threads {
            scope.spawn(|| {
                let found = look_into(&batches, now, with_stats);
                shared.lock().merge(found);
            });
        }
        while let Some(item) = reader.next_item()? {
            progress.set_position(reader.offset());
            let offset = reader.offset();
            match item {
                Item::Entries(batch) => drop(sender.send(batch)),
                other => remark(&other, offset, tally, say),
            }
        }
        Ok(reader.offset())
    });
    tally.merge(shared.into_inner());
    let offset = read?;
    if reader.is_unsummed() {
        say("[info] RDB file was saved with checksum disabled: no check performed.");
    }
    tally.keys_with_meta = reader.keys_with_meta();
    let (mut input, _) = reader.into_rest();
    io::copy(&mut input, &mut io::sink()).map_err(|error| ReadError::Io { offset, error })?;
    let is_complete = input.expect_complete().map_err(io::Error::other);
    is_complete.map_err(|error| ReadError::Io { offset, error })?;
    Ok(offset)
}

/// Looks into batches until there are no more.
fn look_into(batches: &Mutex<Receiver<Batch>>, now: i64, with_stats: bool) -> Tally {
    let mut tally = Tally::new(with_stats);
    loop {
        let received = batches.lock().recv();
        let Ok(batch) = received else { return tally };
        batch.entries().for_each(|entry| tally.add(&entry, batch.db(), now));
    }
}

/// Tells of what is not a key.
fn remark(item: &Item, offset: u64, tally: &mut Tally, say: &impl Fn(&str)) {
    match item {
        Item::Aux { key, value } => {
            say(&format!("[offset {offset}] AUX FIELD {} = '{}'", shown(key), shown(value)));
        }
        Item::SelectDb(db) => say(&format!("[offset {offset}] Selecting DB ID {db}")),
        Item::Function(_) => tally.functions += 1,
        Item::ModuleAux { module } => say(&format!("[offset {offset}] MODULE AUX for: {module}")),
        _ => {}
    }
}

fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let dots = if cut.len() < bytes.len() { ".." } else { "" };
    format!("{}{dots}", cut.escape_ascii())
}

/// What the file holds.
fn tell(tally: &Tally, say: &impl Fn(&str)) {
    say(&format!("[info] {} keys read", tally.keys()));
    say(&format!("[info] {} expires", tally.with_deadline));
    say(&format!("[info] {} already expired", tally.expired));
    say(&format!("[info] {} functions", tally.functions));
    if tally.empty != 0 {
        say(&format!("[info] {} values without elements, which are not loaded", tally.empty));
    }
    if tally.keys_with_meta != 0 {
        let keys = tally.keys_with_meta;
        say(&format!("[info] {keys} keys with something of modules, which is not loaded"));
    }
    let mut types: Vec<_> = tally.by_type.iter().collect();
    types.sort_by_key(|(_, counts)| Reverse(counts.bytes));
    for (type_name, Counts { keys, bytes }) in types {
        let mean = bytes / keys.max(&1);
        say(&format!("[info] {type_name}: {keys} keys, {bytes} bytes, {mean} each"));
    }
    for Large { bytes, key, db, type_name } in &tally.largest {
        say(&format!("[info] large: {bytes} bytes, {type_name} '{}' in DB {db}", shown(key)));
    }
}

fn tell_stats(text: &str, output: Option<&Path>) -> Result<(), String> {
    let Some(path) = output else {
        // Nobody may be reading.
        let _ = io::stdout().write_all(text.as_bytes());
        return Ok(());
    };
    let written = std::fs::write(path, text);
    written.map_err(|error| format!("Cannot write the output file {}: {error}", path.display()))
}
