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
use rubine_rdb::Limits;
use rubine_rdb::error::{Damage, Fault, ReadError};
use rubine_rdb::read::{Batch, Entry, Item, Reader};
use rubine_rdb::version::VersionCheck;

const USAGE: &str = "Usage: rubine-check-rdb [--encryption-key-file FILE] <rdb-file-name>";

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
}

impl Tally {
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
            if is_large {
                self.note_large(Large { bytes, key: key.into_owned(), db, type_name });
            }
            entry.decode(&Limits::default())
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
    }

    fn keys(&self) -> u64 {
        self.by_type.values().map(|it| it.keys).sum()
    }
}

/// Checks the file that `args` name.
pub(super) fn main(args: &[Vec<u8>]) -> ExitCode {
    let say = |text: &str| drop(writeln!(io::stdout(), "{text}"));
    if matches!(args, [only] if only == b"-v" || only == b"--version") {
        say(&format!("rubine-check-rdb {}", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    let (keys, path) = match args {
        [path] => (None, path),
        [option, keys, path] if option == b"--encryption-key-file" => (Some(keys), path),
        _ => {
            say(USAGE);
            return ExitCode::FAILURE;
        }
    };
    let path = PathBuf::from(OsStr::from_bytes(path));
    let keys = keys.map(|it| read_keys(Path::new(OsStr::from_bytes(it)))).transpose();
    let checked = keys.and_then(|keys| check(&path, keys.as_ref(), &say));
    match checked {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            say(&reason);
            ExitCode::FAILURE
        }
    }
}

pub(super) fn read_keys(path: &Path) -> Result<KeyRing, String> {
    let fail = |reason: String| format!("Cannot read the keys in {}: {reason}", path.display());
    let text = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    KeyRing::parse(&text).map_err(|error| fail(error.to_string()))
}

/// Reads the whole file and tells of it. The error is the last line.
fn check(path: &Path, keys: Option<&KeyRing>, say: &impl Fn(&str)) -> Result<(), String> {
    let fail = |error: io::Error| format!("Cannot open file {}: {error}", path.display());
    let file = File::open(path).map_err(fail)?;
    let total_bytes = file.metadata().map_err(fail)?.len();
    say(&format!("[offset 0] Checking RDB file {}", path.display()));
    let progress = progress_bar(total_bytes);
    let started_at = unix_millis();
    let source: Box<dyn Read + Send> = Box::new(file);
    let input = Input::new(source, keys).map_err(fail)?;
    let mut tally = Tally::default();
    let read = read_all(input, &progress, say, &mut tally);
    progress.finish_and_clear();
    tell(&tally, say);
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
    let shared = Mutex::new(Tally::default());
    let (sender, batches) = sync_channel(threads * BATCHES_AHEAD_MAX);
    let batches = Mutex::new(batches);
    let read: Result<u64, ReadError> = std::thread::scope(|scope| {
        // Threads end when this one is dropped.
        let sender = sender;
        for _ in 0..threads {
            scope.spawn(|| {
                let found = look_into(&batches, now);
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
fn look_into(batches: &Mutex<Receiver<Batch>>, now: i64) -> Tally {
    let mut tally = Tally::default();
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
