//! Passes on what a log says of the keys of some hash slots, and nothing else. Reads bytes and writes bytes: it runs nothing,
//! and whoever appends to the log knows nothing of it.

use rubine_base::crc::{SLOT_COUNT, slot_of};
use rubine_base::hash::HashMap;
use rubine_base::number::parse_u64;
use rubine_resp::command::{INTO_MEMORY, write_command};
use rubine_resp::parser::{ArgRange, Limits, Parsed, Parser, ProtocolError, Sender};
use thiserror::Error;

use crate::args::Args;
use crate::cluster::slot_at;
use crate::command::{Command, Flags, Scope};
use crate::table::FAMILIES;

/// Whatever was appended is understood.
const LIMITS: Limits = Limits { bulk_bytes_max: i64::MAX, sender: Sender::Primary };

/// Longer names are no commands.
const NAME_LEN_MAX: usize = 32;

/// Why nothing more can be passed on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FilterError {
    #[error("what the log has is no command: {0}")]
    Malformed(ProtocolError),
    #[error("SELECT of no database")]
    NoDatabase,
    /// All data has changed, or two databases were exchanged.
    #[error("{0} has changed all keys")]
    Everything(&'static str),
    /// A command changes keys of these slots and of others, which a script may in a cluster. It cannot be cut in two.
    #[error("{0} has changed keys of slots that move and of others at once")]
    Torn(&'static str),
}

impl From<ProtocolError> for FilterError {
    fn from(error: ProtocolError) -> Self {
        Self::Malformed(error)
    }
}

/// A filter for one reader of a log.
pub struct SlotFilter {
    slots: Box<[bool]>,
    commands: HashMap<&'static [u8], &'static Command>,
    parser: Parser,
    args: Vec<ArgRange>,
    /// A command of which a part has come.
    unfinished: Vec<u8>,
    /// The database that the log's next command is about; none before it selects one.
    database: Option<usize>,
    /// The one that is selected in what was passed on.
    passed_database: Option<usize>,
}

/// What becomes of a command.
enum Verdict {
    Passes,
    Drops,
    Selects(usize),
}

impl SlotFilter {
    /// A filter for a log in which `database` is selected, for somebody who has `passed_database` selected.
    pub fn new(
        slots: impl Iterator<Item = u16>,
        database: Option<usize>,
        passed_database: Option<usize>,
    ) -> Self {
        let mut is_wanted = vec![false; usize::from(SLOT_COUNT)].into_boxed_slice();
        slots.for_each(|slot| is_wanted[usize::from(slot)] = true);
        let commands = FAMILIES.iter().flat_map(|family| family.commands);
        Self {
            slots: is_wanted,
            commands: commands.map(|it| (it.spec.name.as_bytes(), it)).collect(),
            parser: Parser::new(),
            args: Vec::new(),
            unfinished: Vec::new(),
            database,
            passed_database,
        }
    }

    /// Takes the next bytes of the log, cut anywhere, and appends to `out` those commands that are about the slots.
    ///
    /// Transactions are taken apart: nobody sees the keys before all have come.
    pub fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        if self.unfinished.is_empty() {
            let taken = self.pass_whole(bytes, out)?;
            self.unfinished.extend_from_slice(&bytes[taken..]);
            return Ok(());
        }
        self.unfinished.extend_from_slice(bytes);
        let mut unfinished = std::mem::take(&mut self.unfinished);
        let taken = self.pass_whole(&unfinished, out)?;
        unfinished.drain(..taken);
        self.unfinished = unfinished;
        Ok(())
    }

    /// Takes all commands that are there as a whole. Returns how many bytes they were.
    fn pass_whole(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, FilterError> {
        let mut at = 0;
        loop {
            self.args.clear();
            let rest = &bytes[at..];
            match self.parser.parse_command(rest, &mut self.args, &LIMITS)? {
                Parsed::Incomplete { .. } => return Ok(at),
                Parsed::Empty { consumed } => at += consumed,
                Parsed::Request { consumed, .. } => {
                    let command = &rest[..consumed];
                    at += consumed;
                    match self.judge(Args::new(command, &self.args))? {
                        Verdict::Drops => {}
                        Verdict::Selects(database) => self.database = Some(database),
                        Verdict::Passes => {
                            self.select(out);
                            out.extend_from_slice(command);
                        }
                    }
                }
            }
        }
    }

    /// Lets the receiver select what the log has selected.
    fn select(&mut self, out: &mut Vec<u8>) {
        let database = self.database.unwrap_or(0);
        if self.passed_database != Some(database) {
            self.passed_database = Some(database);
            let mut digits = itoa::Buffer::new();
            write_command(&[b"SELECT", digits.format(database).as_bytes()], out)
                .expect(INTO_MEMORY);
        }
    }

    fn judge(&self, args: Args<'_>) -> Result<Verdict, FilterError> {
        let mut name = [0; NAME_LEN_MAX];
        let Some(name) = name.get_mut(..args.at(0).len()) else { return Ok(Verdict::Drops) };
        name.copy_from_slice(args.at(0));
        name.make_ascii_uppercase();
        if *name == *b"SELECT" {
            let database = args.get(1).and_then(parse_u64).and_then(|it| usize::try_from(it).ok());
            return database.map(Verdict::Selects).ok_or(FilterError::NoDatabase);
        }
        let Some(command) = self.commands.get(&*name) else { return Ok(Verdict::Drops) };
        let form = args.get(1).and_then(|form| {
            let mut forms = command.subcommands.iter();
            forms.find(|it| form.eq_ignore_ascii_case(it.spec.name.as_bytes()))
        });
        let spec = &form.unwrap_or(command).spec;
        let (mut wanted, mut others) = (0, 0);
        let mut count = |slot: u16| {
            let is_wanted = self.slots[usize::from(slot)];
            *if is_wanted { &mut wanted } else { &mut others } += 1;
        };
        match spec.scope {
            Scope::Slot(at) => slot_at(args, at).into_iter().for_each(count),
            Scope::All if spec.flags.contains(Flags::WRITE) => {
                return Err(FilterError::Everything(spec.name));
            }
            _ => spec.for_each_key(args, |index| count(slot_of(args.at(index)))),
        }
        match (wanted, others) {
            (0, _) => Ok(Verdict::Drops),
            (_, 0) => Ok(Verdict::Passes),
            _ => Err(FilterError::Torn(spec.name)),
        }
    }
}

impl std::fmt::Debug for SlotFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlotFilter").field("database", &self.database).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rubine_base::crc::slot_of;
    use rubine_resp::command::write_command;

    use super::{FilterError, SlotFilter};

    /// The commands of a text, one a line, as a log has them.
    fn log(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in text.lines().map(str::trim).filter(|it| !it.is_empty()) {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            write_command(&words, &mut bytes).unwrap();
        }
        bytes
    }

    fn filter() -> SlotFilter {
        SlotFilter::new([slot_of(b"a"), slot_of(b"b")].into_iter(), None, None)
    }

    const MIXED: &str = "
        SELECT 0
        SET a 1
        SET x 1
        MULTI
        set {a}2 1
        INCRBY y 2
        EXEC
        SELECT 3
        DEL z
        UNLINK b {b}1
        SELECT 0
        XGROUP CREATE {b}s g $
        PUBLISH a b
        CLUSTER FLUSHSLOT 1
        PFMERGE a {a}1 {a}2
        FUNCTION LOAD x";

    const PASSED: &str = "
        SELECT 0
        SET a 1
        set {a}2 1
        SELECT 3
        UNLINK b {b}1
        SELECT 0
        XGROUP CREATE {b}s g $
        PFMERGE a {a}1 {a}2";

    proptest! {
        #[test]
        fn what_is_about_the_slots_passes_however_it_is_cut(cuts in prop::collection::vec(1..40_usize, 0..60)) {
            let (mut filter, mut out) = (filter(), Vec::new());
            let bytes = log(MIXED);
            let mut rest = &bytes[..];
            for cut in cuts {
                let (part, after) = rest.split_at(cut.min(rest.len()));
                filter.pass(part, &mut out).unwrap();
                rest = after;
            }
            filter.pass(rest, &mut out).unwrap();
            prop_assert_eq!(out, log(PASSED));
        }

        #[test]
        fn no_bytes_harm(bytes: Vec<u8>) {
            let _ = filter().pass(&bytes, &mut Vec::new());
        }
    }

    #[test]
    fn a_slot_that_was_emptied_is_emptied_there() {
        let request = format!("CLUSTER FLUSHSLOT {}", slot_of(b"a"));
        let mut out = Vec::new();
        let mut filter = SlotFilter::new([slot_of(b"a")].into_iter(), Some(2), Some(2));
        filter.pass(&log(&request), &mut out).unwrap();
        assert_eq!(out, log(&request));
    }

    #[test]
    fn what_cannot_be_filtered_is_told() {
        let check = |text: &str| filter().pass(&log(text), &mut Vec::new());
        assert_eq!(check("FLUSHALL"), Err(FilterError::Everything("FLUSHALL")));
        assert_eq!(check("FLUSHDB ASYNC"), Err(FilterError::Everything("FLUSHDB")));
        assert_eq!(check("MSET a 1 x 2"), Err(FilterError::Torn("MSET")));
        assert_eq!(check("SELECT x"), Err(FilterError::NoDatabase));
    }
}
