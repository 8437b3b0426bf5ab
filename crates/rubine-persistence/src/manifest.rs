//! The manifest: which files make up the log, in which order. Never opens one of them.
//!
//! ```text
//! file appendonly.aof.2.base.rdb seq 2 type b      the keys at one instant
//! file appendonly.aof.1.incr.aof seq 1 type h      what the base has replaced, to be deleted
//! file appendonly.aof.4.incr.aof seq 4 type i      what happened since, in this order
//! file appendonly.aof.5.incr.aof seq 5 type i
//! ```

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rubine_base::number::parse_i64;
use rubine_base::quote::{split_args, write_repr};
use thiserror::Error;

/// Longest line, its end included.
const LINE_BYTES_MAX: usize = 1024;
/// Longest manifest that is believed to be one.
pub const MANIFEST_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What a file of the log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Base,
    History,
    Increment,
}

impl Kind {
    fn letter(self) -> char {
        match self {
            Self::Base => 'b',
            Self::History => 'h',
            Self::Increment => 'i',
        }
    }
}

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// A name without a directory.
    pub name: Vec<u8>,
    pub sequence: i64,
}

impl LogFile {
    pub fn path_in(&self, directory: &Path) -> PathBuf {
        directory.join(OsStr::from_bytes(&self.name))
    }

    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

/// How a base is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseFormat {
    Rdb,
    Commands,
}

/// The files of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub base: Option<LogFile>,
    /// Invariant: ascending sequence numbers.
    pub increments: Vec<LogFile>,
    pub history: Vec<LogFile>,
    base_sequence: i64,
    increment_sequence: i64,
}

/// Why a manifest cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    #[error("Found an empty AOF manifest")]
    Empty,
    #[error("The AOF manifest file contains too long line")]
    LineTooLong,
    #[error("Invalid AOF manifest file format")]
    Format,
    #[error("File can't be a path, just a filename")]
    Path,
    #[error("Found duplicate base file information")]
    SecondBase,
    #[error("Found a non-monotonic sequence number")]
    Order,
    #[error("Unknown AOF file type")]
    Kind,
}

/// Where a manifest cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{problem} (line {line}: '{}')", text.escape_ascii())]
pub struct ManifestError {
    pub problem: Problem,
    /// Counted from 1.
    pub line: usize,
    pub text: Vec<u8>,
}

impl Manifest {
    /// Reads a manifest.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let mut manifest = Self::default();
        if text.is_empty() {
            return Err(ManifestError { problem: Problem::Empty, line: 0, text: Vec::new() });
        }
        for (index, line) in text.split_inclusive(|it| *it == b'\n').enumerate() {
            manifest.add_line(line).map_err(|problem| {
                let text = line[..line.len().min(LINE_BYTES_MAX)].trim_ascii().to_vec();
                ManifestError { problem, line: index + 1, text }
            })?;
        }
        Ok(manifest)
    }

    fn add_line(&mut self, line: &[u8]) -> Result<(), Problem> {
        if line.starts_with(b"#") {
            return Ok(());
        }
        if LINE_BYTES_MAX < line.len() || !line.ends_with(b"\n") {
            return Err(Problem::LineTooLong);
        }
        let words = split_args(line).map_err(|_| Problem::Format)?;
        // More pairs than are known may come with later versions.
        if words.len() < 6 || words.len() % 2 != 0 {
            return Err(Problem::Format);
        }
        let (mut name, mut sequence, mut kind) = (None, None, None);
        for pair in words.as_chunks::<2>().0 {
            let [key, value] = pair;
            match key.to_ascii_lowercase().as_slice() {
                b"file" => name = Some(checked_name(value)?),
                b"seq" => sequence = parse_i64(value).filter(|it| 0 < *it),
                b"type" => kind = value.first().copied(),
                _ => {}
            }
        }
        let (Some(name), Some(sequence), Some(kind)) = (name, sequence, kind) else {
            return Err(Problem::Format);
        };
        self.add(LogFile { name, sequence }, kind)
    }

    fn add(&mut self, file: LogFile, kind: u8) -> Result<(), Problem> {
        match kind {
            b'b' if self.base.is_some() => return Err(Problem::SecondBase),
            b'b' => {
                self.base_sequence = file.sequence;
                self.base = Some(file);
            }
            b'h' => self.history.push(file),
            b'i' if file.sequence <= self.increment_sequence => return Err(Problem::Order),
            b'i' => {
                self.increment_sequence = file.sequence;
                self.increments.push(file);
            }
            _ => return Err(Problem::Kind),
        }
        Ok(())
    }

    /// The text that [`Manifest::parse`] reads.
    pub fn format(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let base = self.base.iter().map(|it| (it, Kind::Base));
        let history = self.history.iter().map(|it| (it, Kind::History));
        let increments = self.increments.iter().map(|it| (it, Kind::Increment));
        for (file, kind) in base.chain(history).chain(increments) {
            out.extend_from_slice(b"file ");
            if needs_quotes(&file.name) {
                write_repr(&mut out, &file.name);
            } else {
                out.extend_from_slice(&file.name);
            }
            out.extend_from_slice(
                format!(" seq {} type {}\n", file.sequence, kind.letter()).as_bytes(),
            );
        }
        out
    }

    /// Whether there is neither a base nor an increment.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.increments.is_empty()
    }

    /// Base and increments in the order in which they are read.
    pub fn files(&self) -> impl Iterator<Item = &LogFile> {
        self.base.iter().chain(&self.increments)
    }

    /// Adds the next increment.
    pub fn add_increment(&mut self, prefix: &str) -> LogFile {
        self.increment_sequence += 1;
        let sequence = self.increment_sequence;
        let name = format!("{prefix}.{sequence}.incr.aof").into_bytes();
        let file = LogFile { name, sequence };
        self.increments.push(file.clone());
        file
    }

    /// Puts a new base in the place of the one that was there, which becomes history.
    pub fn replace_base(&mut self, prefix: &str, format: BaseFormat) -> LogFile {
        self.history.extend(self.base.take());
        self.base_sequence += 1;
        let sequence = self.base_sequence;
        let ending = match format {
            BaseFormat::Rdb => "rdb",
            BaseFormat::Commands => "aof",
        };
        let file =
            LogFile { name: format!("{prefix}.{sequence}.base.{ending}").into_bytes(), sequence };
        self.base = Some(file.clone());
        file
    }

    /// Lets what is added from now on have other names than what was added to `other`.
    pub fn skip_names_of(&mut self, other: &Self) {
        self.base_sequence = self.base_sequence.max(other.base_sequence);
        self.increment_sequence = self.increment_sequence.max(other.increment_sequence);
    }

    /// Makes all increments history up to the one before `first_kept`, since a new base has what they hold.
    pub fn retire_increments(&mut self, first_kept: i64) {
        let kept = self.increments.partition_point(|it| it.sequence < first_kept);
        self.history.extend(self.increments.drain(..kept));
    }

    /// A log of some of the files, without history.
    pub fn part(&self, is_wanted: impl Fn(&LogFile) -> bool) -> Self {
        let mut part = Self { history: Vec::new(), ..self.clone() };
        part.base = part.base.filter(|it| is_wanted(it));
        part.increments.retain(|it| is_wanted(it));
        part
    }

    /// A log that consists of one file of a version that knew no manifest.
    pub fn of_single_file(name: &str) -> Self {
        let base = LogFile { name: name.as_bytes().to_vec(), sequence: 1 };
        Self { base: Some(base), base_sequence: 1, ..Self::default() }
    }
}

fn checked_name(value: &[u8]) -> Result<Vec<u8>, Problem> {
    let is_plain = !value.is_empty() && !value.contains(&b'/') && value != b"." && value != b"..";
    if is_plain { Ok(value.to_vec()) } else { Err(Problem::Path) }
}

fn needs_quotes(name: &[u8]) -> bool {
    name.iter().any(|it| !it.is_ascii_graphic() || matches!(it, b'"' | b'\'' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Result<&str, Problem>) {
        let parsed = Manifest::parse(text.as_bytes());
        let shown = parsed.as_ref().map(|it| String::from_utf8_lossy(&it.format()).into_owned());
        let shown = shown.map_err(|error| error.problem);
        assert_eq!(shown, expected.map(str::to_owned), "{text:?}");
    }

    #[test]
    fn what_is_written_by_others_is_read() {
        let whole = "file a.2.base.rdb seq 2 type b\nfile a.1.incr.aof seq 1 type h\n\
                     file a.4.incr.aof seq 4 type i\nfile a.9.incr.aof seq 9 type i\n";
        check(whole, Ok(whole));
        check("# note\nFILE a SEQ 1 TYPE i\n", Ok("file a seq 1 type i\n"));
        check("file a seq 1 type i startoffset 7\r\n", Ok("file a seq 1 type i\n"));
        check("seq 1 type i file 'a b'\n", Ok("file \"a b\" seq 1 type i\n"));
        check("file \"\\x01\\\"\" seq 1 type i\n", Ok("file \"\\x01\\\"\" seq 1 type i\n"));
        check("#\n", Ok(""));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = format!("file {} seq 1 type i\n", "a".repeat(LINE_BYTES_MAX));
        check("", Err(Problem::Empty));
        check("\n", Err(Problem::Format));
        check(&long, Err(Problem::LineTooLong));
        check("file a seq 1 type i", Err(Problem::LineTooLong));
        check("file a seq 1\n", Err(Problem::Format));
        check("file a seq 1 type\n", Err(Problem::Format));
        check("file a seq 0 type i\n", Err(Problem::Format));
        check("file a seq x type i\n", Err(Problem::Format));
        check("file 'a seq 1 type i\n", Err(Problem::Format));
        check("fila a seq 1 type i\n", Err(Problem::Format));
        check("file a/b seq 1 type i\n", Err(Problem::Path));
        check("file .. seq 1 type i\n", Err(Problem::Path));
        check("file a seq 1 type x\n", Err(Problem::Kind));
        check("file a seq 1 type b\nfile b seq 2 type b\n", Err(Problem::SecondBase));
        check("file a seq 2 type i\nfile b seq 2 type i\n", Err(Problem::Order));
        let error = Manifest::parse(b"file a seq 1 type b\n !!!\n").expect_err("no pairs");
        assert_eq!(error.to_string(), "Invalid AOF manifest file format (line 2: '!!!')");
    }

    #[test]
    fn a_rewrite_moves_what_it_replaces_into_history() {
        let mut manifest = Manifest::default();
        manifest.replace_base("a", BaseFormat::Rdb);
        manifest.add_increment("a");
        manifest.add_increment("a");
        let kept = manifest.add_increment("a");
        manifest.replace_base("a", BaseFormat::Commands);
        manifest.retire_increments(kept.sequence);
        let expected = "file a.2.base.aof seq 2 type b\nfile a.1.base.rdb seq 1 type h\n\
                        file a.1.incr.aof seq 1 type h\nfile a.2.incr.aof seq 2 type h\n\
                        file a.3.incr.aof seq 3 type i\n";
        assert_eq!(String::from_utf8_lossy(&manifest.format()), expected);
        let names: Vec<String> = manifest.files().map(LogFile::shown).collect();
        assert_eq!(names, ["a.2.base.aof", "a.3.incr.aof"]);
        assert_eq!(Manifest::parse(&manifest.format()), Ok(manifest));
    }

    proptest! {
        #[test]
        fn names_survive(name in proptest::collection::vec(1_u8.., 1..40)) {
            prop_assume!(checked_name(&name).is_ok());
            let file = LogFile { name, sequence: 1 };
            let manifest = Manifest { base: Some(file), base_sequence: 1, ..Manifest::default() };
            prop_assert_eq!(Manifest::parse(&manifest.format()), Ok(manifest));
        }

        #[test]
        fn any_text_is_safe(text in "(file|seq|type|a|1|b|i|h|'|\"|#| |\n|.){0,40}") {
            if let Ok(manifest) = Manifest::parse(text.as_bytes()) {
                prop_assert_eq!(Manifest::parse(&manifest.format()).is_err(), manifest.format().is_empty());
            }
        }
    }
}
