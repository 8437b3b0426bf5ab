//! `rubine-check-aof`: whether an append-only file can be loaded, how far it is good, and cutting off what is not, or
//! what was written after a moment. Says what is lost before it changes anything. The lines that scripts look for are
//! those of Redis.

use std::fs::File;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rubine_persistence::check::{Finding, Tally, scan};
use rubine_persistence::encryption::{Ending, Input, KeyRing};
use rubine_persistence::log::is_rdb;
use rubine_persistence::manifest::{LogFile, MANIFEST_BYTES_MAX, Manifest};
use rubine_rdb::ValueLimits;
use rubine_rdb::read::{Item, Reader};
use rubine_rdb::version::VersionCheck;

use crate::log_end::truncate;
use rubine_config::path_of;

const USAGE: &str = "Usage: rubine-check-aof [--fix | --truncate-to-timestamp SECONDS] \
                     [--encryption-key-file FILE] <file.manifest | file.aof>";

/// As many bytes as say what a file is.
const BEGINNING_BYTES: u64 = 16;

/// What is to be done about what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Look,
    Fix,
    /// Cut off what was written after this Unix second.
    TruncateTo(u64),
}

struct Checker {
    task: Task,
    keys: Option<KeyRing>,
    out: io::Stdout,
}

/// Why it ends: what is left to be said. The exit code is 1.
struct Stop(String);

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Checks the file that `args` name.
pub fn main(args: &[Vec<u8>]) -> ExitCode {
    let mut out = io::stdout();
    // Nothing is left to be done about a closed standard output.
    let mut say = |text: &str| drop(writeln!(out, "{text}"));
    if let [only] = args
        && (only == b"-v" || only == b"--version")
    {
        say(&format!("rubine-check-aof {}", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    let (mut checker, path) = match parse(args) {
        Ok(parsed) => parsed,
        Err(Stop(reason)) => {
            say(&reason);
            return ExitCode::FAILURE;
        }
    };
    match checker.run(&path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop(reason)) => {
            say(&reason);
            ExitCode::FAILURE
        }
    }
}

fn parse(args: &[Vec<u8>]) -> Result<(Checker, PathBuf), Stop> {
    let usage = || Stop(USAGE.to_owned());
    let mut checker = Checker { task: Task::Look, keys: None, out: io::stdout() };
    let (path, options) = args.split_last().ok_or_else(usage)?;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match option.as_slice() {
            b"--fix" if checker.task == Task::Look => checker.task = Task::Fix,
            b"--truncate-to-timestamp" if checker.task == Task::Look => {
                let text = std::str::from_utf8(options.next().ok_or_else(usage)?).ok();
                let second = text.and_then(|it| it.parse().ok());
                let invalid = || Stop("Invalid timestamp, aborting...".to_owned());
                checker.task = Task::TruncateTo(second.ok_or_else(invalid)?);
            }
            b"--encryption-key-file" => {
                let path = path_of(options.next().ok_or_else(usage)?);
                let keys = super::check_rdb::read_keys(&path);
                checker.keys = Some(keys.map_err(Stop)?);
            }
            _ => return Err(usage()),
        }
    }
    Ok((checker, path_of(path)))
}

/// A file's place among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Inner,
    Last,
}

impl Checker {
    fn say(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
    }

    fn run(&mut self, path: &Path) -> Result<(), Stop> {
        let mut beginning = Vec::new();
        let opened =
            File::open(path).and_then(|it| it.take(MANIFEST_BYTES_MAX).read_to_end(&mut beginning));
        opened.map_err(|error| Stop(format!("Cannot open file {}: {error}", path.display())))?;
        if is_manifest(&beginning) {
            return self.check_all(path, &beginning);
        }
        self.say("Start checking Old-Style AOF");
        let name = path.display().to_string();
        self.check_file(path, &name, "AOF", Role::Last)
    }

    fn check_all(&mut self, path: &Path, text: &[u8]) -> Result<(), Stop> {
        self.say("Start checking Multi Part AOF");
        let manifest = Manifest::parse(text).map_err(|error| Stop(error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let count = manifest.files().count();
        let role = |index: usize| if index + 1 == count { Role::Last } else { Role::Inner };
        let path_of = |file: &LogFile| file.path_in(folder);
        if let Some(base) = &manifest.base {
            let is_rdb = self.begins_as_rdb(&path_of(base))?;
            let format = if is_rdb { "RDB" } else { "RESP" };
            self.say(&format!("Start to check BASE AOF ({format} format)."));
            self.check_file(&path_of(base), &base.shown(), "BASE AOF", role(0))?;
        }
        let first = usize::from(manifest.base.is_some());
        for (index, file) in manifest.increments.iter().enumerate() {
            if index == 0 {
                self.say("Start to check INCR files.");
            }
            self.check_file(&path_of(file), &file.shown(), "INCR AOF", role(first + index))?;
        }
        self.say("All AOF files and manifest are valid");
        Ok(())
    }

    fn begins_as_rdb(&self, path: &Path) -> Result<bool, Stop> {
        let mut beginning = Vec::new();
        self.open(path)?.take(BEGINNING_BYTES).read_to_end(&mut beginning)?;
        Ok(is_rdb(&beginning))
    }

    fn open(&self, path: &Path) -> Result<Input<File>, Stop> {
        let open = || Input::new(File::open(path)?, self.keys.as_ref());
        open().map_err(|error| Stop(format!("Cannot open file {}: {error}", path.display())))
    }

    fn check_file(&mut self, path: &Path, name: &str, kind: &str, role: Role) -> Result<(), Stop> {
        let size = std::fs::metadata(path)
            .map_err(|error| Stop(format!("Cannot open file {}: {error}", path.display())))?
            .len();
        if size == 0 {
            self.say(&format!("{kind} {name} is empty"));
            return Ok(());
        }
        let is_rdb = self.begins_as_rdb(path)?;
        let mut input = self.open(path)?;
        let mut start = 0;
        let mut rest = Vec::new();
        if is_rdb {
            let checked = check_rdb(input);
            let (read, beyond, end) = checked.map_err(|error| {
                Stop(format!("RDB preamble of AOF file is not sane, aborting: {error}"))
            })?;
            self.say("RDB preamble is OK, proceeding with AOF tail...");
            (input, rest, start) = (read, beyond, end);
        }
        let until = if let Task::TruncateTo(second) = self.task { Some(second) } else { None };
        let mut source = io::Cursor::new(rest).chain(input);
        let finding = scan(&mut source, start, until);
        let (_, input) = source.into_inner();
        let (plain_size, ends_badly) = plain_size(size, input, &finding, role);
        let file = Checked { path, name, kind, role, plain_size };
        match self.task {
            Task::TruncateTo(second) if finding.later_from.is_some() => {
                self.truncate_to(&file, &finding, second)
            }
            Task::TruncateTo(second) if finding.problem.is_none() && !ends_badly => {
                self.say(&format!("Truncate nothing in AOF {name} to timestamp {second}"));
                self.say(&format!("{kind} {name} is valid"));
                Ok(())
            }
            _ => self.judge(&file, &finding, ends_badly),
        }
    }

    fn truncate_to(
        &mut self,
        file: &Checked<'_>,
        finding: &Finding,
        second: u64,
    ) -> Result<(), Stop> {
        let Checked { path, name, role, plain_size, .. } = *file;
        let at = finding.later_from.unwrap_or(plain_size);
        if at == 0 {
            return Err(Stop(format!(
                "AOF {name} has nothing before timestamp {second}, aborting..."
            )));
        }
        if role == Role::Inner {
            return Err(Stop(format!(
                "Failed to truncate AOF {name} to timestamp {second} to offset {at} because it is not the last file.\n\
                 To go on nevertheless, take the files after this one out of the manifest first, or use rubine-server \
                 --restore-to, which leaves the log as it is."
            )));
        }
        self.say(&format!(
            "This will cut {} bytes off the AOF {name}: {}",
            plain_size - at,
            shown(&finding.later)
        ));
        let cut = truncate(path, self.keys.as_ref(), at);
        cut.map_err(|error| {
            Stop(format!("Failed to truncate AOF {name} to timestamp {second}: {error}"))
        })?;
        self.say(&format!("Successfully truncated AOF {name} to timestamp {second}"));
        Ok(())
    }

    fn judge(
        &mut self,
        file: &Checked<'_>,
        finding: &Finding,
        ends_badly: bool,
    ) -> Result<(), Stop> {
        let Checked { path, name, kind, role, plain_size } = *file;
        if let Some(problem) = &finding.problem {
            self.say(&problem.to_string());
        }
        let good = finding.valid_up_to;
        let lost = plain_size.saturating_sub(good);
        self.say(&format!(
            "AOF analyzed: filename={name}, size={plain_size}, ok_up_to={good}, ok_up_to_line={}, diff={lost}",
            finding.valid_lines + 1
        ));
        let is_good = finding.problem.is_none() && !ends_badly;
        if is_good {
            self.say(&format!("{kind} {name} is valid"));
            return Ok(());
        }
        if self.task != Task::Fix {
            return Err(Stop(format!(
                "AOF {name} is not valid. Use the --fix option to try fixing it."
            )));
        }
        if role == Role::Inner {
            return Err(Stop(format!(
                "Failed to truncate AOF {name} because it is not the last file"
            )));
        }
        self.say(&format!(
            "This will shrink the AOF {name} from {plain_size} bytes, with {lost} bytes, to {good} bytes. What is kept: \
             {}",
            shown(&finding.kept)
        ));
        let _ = write!(self.out, "Continue? [y/N]: ");
        let _ = self.out.flush();
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if !answer.starts_with(['y', 'Y']) {
            return Err(Stop("Aborting...".to_owned()));
        }
        let cut = truncate(path, self.keys.as_ref(), good);
        cut.map_err(|error| Stop(format!("Failed to truncate AOF {name}: {error}")))?;
        self.say(&format!("Successfully truncated AOF {name}"));
        Ok(())
    }
}

/// A file that was read.
#[derive(Clone, Copy)]
struct Checked<'a> {
    path: &'a Path,
    name: &'a str,
    kind: &'a str,
    role: Role,
    /// Bytes that it holds, decrypted.
    plain_size: u64,
}

/// The bytes that a file holds, and whether its end is not as it has to be although all commands are whole.
fn plain_size(size: u64, input: Input<File>, finding: &Finding, role: Role) -> (u64, bool) {
    let Input::Encrypted(mut input) = input else { return (size, false) };
    // What is behind the damage counts, as far as it can be decrypted.
    let mut rest = [0; 4096];
    while input.read(&mut rest).is_ok_and(|count| 0 < count) {}
    let plain = input.place().0.plain.max(finding.valid_up_to);
    let ends_badly = match input.ending() {
        Ending::Complete => false,
        Ending::Open | Ending::Unknown => role == Role::Inner,
        Ending::Torn(_) => true,
    };
    (plain, ends_badly)
}

/// Reads a whole RDB file, and says what comes behind it and where.
pub(crate) fn check_rdb(input: Input<File>) -> Result<(Input<File>, Vec<u8>, u64), String> {
    let mut reader =
        Reader::new(input, VersionCheck::Relaxed).map_err(|error| error.to_string())?;
    let limits = ValueLimits::default();
    while let Some(item) = reader.next_item().map_err(|error| error.to_string())? {
        if let Item::Entries(batch) = item {
            for entry in batch.entries() {
                entry.key().map_err(|error| error.to_string())?;
                entry.decode(&limits).map_err(|error| error.to_string())?;
            }
        }
    }
    let end = reader.offset();
    let (input, rest) = reader.into_rest();
    Ok((input, rest, end))
}

/// Comments, and then a line that begins as those of a manifest do.
fn is_manifest(text: &[u8]) -> bool {
    let mut lines = text.split(|it| *it == b'\n').filter(|it| !it.starts_with(b"#"));
    lines.next().is_some_and(|it| it.starts_with(b"file"))
}

fn shown(tally: &Tally) -> String {
    let commands = tally.commands;
    match (tally.first_second, tally.last_second) {
        (Some(first), Some(last)) => {
            format!("{commands} commands, from Unix second {first} to {last}")
        }
        _ => format!("{commands} commands"),
    }
}
