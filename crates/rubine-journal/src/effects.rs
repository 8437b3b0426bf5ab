//! Writes the effects of one unit of work as commands in the wire format, into a buffer that is used
//! again and again. Never decides what the effects are.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rubine_base::SharedBytes;
use rubine_resp::command::{self, FRAME_BYTES_MAX, INTO_MEMORY, write_header};

use crate::audience::{Audience, Side};
use crate::log::{COPIED_BYTES_MAX, Log, write_select};

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// A shared value of at least this size goes into the log by reference.
const SHARED_BYTES_MIN: usize = 16 * 1024;

/// A unit of at least this size gives its buffer to the log rather than have it copied.
const OWNED_BYTES_MIN: usize = 64 * 1024;

/// The effects of one unit: what reaches the log in one piece, with nothing of others in between.
pub struct Effects {
    /// Invariant: begins with `MULTI`, which the log takes only if `is_transaction`, and then in front of a SELECT that may
    /// be needed. So the wrapping can be decided at the end, when the number of effects is known.
    bytes: Vec<u8>,
    /// Large values that belong between the bytes, in ascending order of place.
    shared: Vec<SharedPart>,
    /// Where others are meant than before, in ascending order of place. Up to the first one, all is for both sides.
    turns: Vec<Turn>,
    /// For whom the next command is.
    audience: Audience,
    first_database: u32,
    last_database: u32,
    command_count: usize,
    is_transaction: bool,
}

struct SharedPart {
    /// The value stands before `bytes[place]`.
    place: usize,
    value: SharedBytes,
}

/// From here on the commands are for `audience`.
struct Turn {
    /// Before `bytes[place]`, between two commands.
    place: usize,
    audience: Audience,
}

/// A place between two commands of a unit, for [`Effects::truncate_to`].
#[derive(Clone, Copy, Debug)]
pub struct EffectsMark {
    bytes_len: usize,
    shared_len: usize,
    turns_len: usize,
    last_database: u32,
    command_count: usize,
}

/// Lets [`Bytes`] refer to a shared value.
struct SharedOwner(SharedBytes);

impl AsRef<[u8]> for SharedOwner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Default for Effects {
    fn default() -> Self {
        Self::new()
    }
}

impl Effects {
    pub fn new() -> Self {
        Self {
            bytes: MULTI.to_vec(),
            shared: Vec::new(),
            turns: Vec::new(),
            audience: Audience::Both,
            first_database: 0,
            last_database: 0,
            command_count: 0,
            is_transaction: false,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.command_count == 0
    }

    /// How many commands were written, those that wrap or select not counted.
    pub fn command_count(&self) -> usize {
        self.command_count
    }

    /// How many bytes they come to for a reader, those that wrap them included.
    pub fn byte_count(&self) -> usize {
        let wrapping = if self.is_transaction { 0 } else { MULTI.len() };
        let shared: usize = self.shared.iter().map(|it| it.value.len()).sum();
        self.bytes.len() - wrapping + shared
    }

    /// For whom the commands from here on are. It stays so until it is said anew, in later units too.
    pub fn set_audience(&mut self, audience: Audience) {
        self.audience = audience;
    }

    pub fn audience(&self) -> Audience {
        self.audience
    }

    /// Writes one command whose arguments are at hand.
    pub fn command(&mut self, database: u32, arguments: &[&[u8]]) {
        let mut writer = self.begin(database, arguments.len());
        for argument in arguments {
            writer.argument(argument);
        }
    }

    /// Writes one command that a client sent as an array of bulk strings and that is its own effect.
    pub fn encoded(&mut self, database: u32, command: &[u8]) {
        assert!(command.first() == Some(&b'*'), "an inline command is not an effect");
        self.count_command(database);
        self.bytes.extend_from_slice(command);
    }

    /// Starts a command of `argument_count` arguments, its name included.
    pub fn begin(&mut self, database: u32, argument_count: usize) -> CommandWriter<'_> {
        assert!(0 < argument_count, "a command has a name");
        self.count_command(database);
        write_header(b'*', argument_count as u64, &mut self.bytes).expect(INTO_MEMORY);
        CommandWriter { effects: self, argument_count_left: argument_count }
    }

    /// Makes the unit one transaction for those who replay it. A single command is one by itself.
    pub fn wrap_in_transaction(&mut self) {
        if 1 < self.command_count && !self.is_transaction {
            let is_for_one_side = self.only_side().is_some();
            if !is_for_one_side && self.last_audience() != Audience::Both {
                self.turns.push(Turn { place: self.bytes.len(), audience: Audience::Both });
            }
            self.bytes.extend_from_slice(EXEC);
            self.is_transaction = true;
        }
    }

    /// The end of what was written so far.
    pub fn mark(&self) -> EffectsMark {
        EffectsMark {
            bytes_len: self.bytes.len(),
            shared_len: self.shared.len(),
            turns_len: self.turns.len(),
            last_database: self.last_database,
            command_count: self.command_count,
        }
    }

    /// Takes back the commands that were written since `mark`, which is one of this unit.
    pub fn truncate_to(&mut self, mark: &EffectsMark) {
        assert!(!self.is_transaction, "a unit that is wrapped is complete");
        assert!(mark.bytes_len <= self.bytes.len(), "a mark is one of the same unit");
        self.bytes.truncate(mark.bytes_len);
        self.shared.truncate(mark.shared_len);
        self.turns.truncate(mark.turns_len);
        self.last_database = mark.last_database;
        self.command_count = mark.command_count;
    }

    pub fn clear(&mut self) {
        if OWNED_BYTES_MIN < self.bytes.capacity() || self.bytes.is_empty() {
            self.bytes = MULTI.to_vec();
        }
        self.bytes.truncate(MULTI.len());
        self.shared.clear();
        self.turns.clear();
        self.command_count = 0;
        self.is_transaction = false;
    }

    /// Takes the buffer out if copying it would keep others waiting. What is left can only be
    /// pushed, with what was taken, and cleared.
    pub(crate) fn take_large(&mut self) -> Option<Bytes> {
        let is_large = OWNED_BYTES_MIN <= self.bytes.len();
        is_large.then(|| Bytes::from(std::mem::take(&mut self.bytes)))
    }

    /// The side that all commands are for, if they are for one only.
    pub(crate) fn only_side(&self) -> Option<Side> {
        match self.turns.as_slice() {
            [Turn { place, audience: Audience::Only(side) }] if *place == MULTI.len() => {
                Some(*side)
            }
            _ => None,
        }
    }

    /// Appends the unit: `large` if the buffer was taken, else its own.
    pub(crate) fn append_to(&mut self, large: Option<&Bytes>, log: &mut Log, second: u64) {
        if let Some(side) = self.only_side() {
            return self.append_part_to(side, large, log, second);
        }
        log.begin_unit(self.opening(), self.first_database, second);
        let mut start = MULTI.len();
        let mut audience = Audience::Both;
        for turn in std::mem::take(&mut self.turns) {
            self.push_part_to(audience, start..turn.place, large, log);
            (start, audience) = (turn.place, turn.audience);
        }
        let is_for_both = start == MULTI.len();
        self.push_part_to(audience, start..self.end(large), large, log);
        log.end_unit(self.last_database);
        if !is_for_both {
            // The two sides have seen different commands last, and maybe of different databases.
            log.select_before_next();
        }
    }

    /// Appends what of the unit is for one side, for that side only.
    pub(crate) fn append_part_to(
        &mut self,
        side: Side,
        large: Option<&Bytes>,
        log: &mut Log,
        second: u64,
    ) {
        if self.only_side().is_some_and(|it| it != side) {
            return;
        }
        let part_start = log.begin_part(side, self.opening(), self.first_database, second);
        let mut start = MULTI.len();
        let mut audience = Audience::Both;
        for turn in std::mem::take(&mut self.turns) {
            self.push_to(audience.includes(side), start..turn.place, large, log);
            (start, audience) = (turn.place, turn.audience);
        }
        let is_for_one_side = start == MULTI.len();
        self.push_to(audience.includes(side), start..self.end(large), large, log);
        log.end_part(side, self.last_database, part_start);
        if !is_for_one_side {
            // The last database may be one that only the other side was to hear of.
            log.select_before_next();
        }
    }

    /// What stands in front of everything, a SELECT too.
    fn opening(&self) -> &'static [u8] {
        if self.is_transaction { MULTI } else { b"" }
    }

    fn end(&self, large: Option<&Bytes>) -> usize {
        large.map_or(self.bytes.len(), Bytes::len)
    }

    /// Pushes a range of the unit of both sides, for `audience`.
    fn push_part_to(
        &mut self,
        audience: Audience,
        range: Range<usize>,
        large: Option<&Bytes>,
        log: &mut Log,
    ) {
        let start = log.end();
        self.push_to(true, range, large, log);
        if let Audience::Only(side) = audience {
            log.add_part(side, start);
        }
    }

    /// Pushes a range of the bytes, with the shared values that belong into it, if it `is_wanted`.
    fn push_to(
        &mut self,
        is_wanted: bool,
        range: Range<usize>,
        large: Option<&Bytes>,
        log: &mut Log,
    ) {
        let mut start = range.start;
        let shared_count = self.shared.partition_point(|part| part.place < range.end);
        for part in self.shared.drain(..shared_count).filter(|_| is_wanted) {
            push_range(&self.bytes, large, start..part.place, log);
            log.push_owned(Bytes::from_owner(SharedOwner(part.value)));
            start = part.place;
        }
        if is_wanted {
            push_range(&self.bytes, large, start..range.end, log);
        }
    }

    fn last_audience(&self) -> Audience {
        self.turns.last().map_or(Audience::Both, |turn| turn.audience)
    }

    fn count_command(&mut self, database: u32) {
        assert!(!self.is_transaction, "nothing follows EXEC");
        let is_first = self.command_count == 0;
        let is_turn = self.audience != self.last_audience();
        if is_turn {
            self.turns.push(Turn { place: self.bytes.len(), audience: self.audience });
        }
        if is_first {
            self.first_database = database;
        } else if is_turn || self.last_database != database {
            // Whoever is meant now need not have been meant by the SELECT before.
            write_select(&mut self.bytes, database);
        }
        self.last_database = database;
        self.command_count += 1;
    }
}

/// Writes the arguments of one command. Dropping it ends the command.
pub struct CommandWriter<'a> {
    effects: &'a mut Effects,
    argument_count_left: usize,
}

impl CommandWriter<'_> {
    pub fn argument(&mut self, argument: &[u8]) -> &mut Self {
        self.count_argument();
        let bytes = &mut self.effects.bytes;
        bytes.reserve(argument.len() + FRAME_BYTES_MAX);
        command::write_argument(argument, bytes).expect(INTO_MEMORY);
        self
    }

    pub fn integer(&mut self, number: i64) -> &mut Self {
        self.argument(itoa::Buffer::new().format(number).as_bytes())
    }

    /// Writes a value that the store shares, by reference if it is large.
    pub fn shared(&mut self, value: &SharedBytes) -> &mut Self {
        if value.len() < SHARED_BYTES_MIN {
            return self.argument(value);
        }
        self.count_argument();
        let effects = &mut *self.effects;
        write_header(b'$', value.len() as u64, &mut effects.bytes).expect(INTO_MEMORY);
        let place = effects.bytes.len();
        effects.shared.push(SharedPart { place, value: Arc::clone(value) });
        effects.bytes.extend_from_slice(b"\r\n");
        self
    }

    fn count_argument(&mut self) {
        assert!(0 < self.argument_count_left, "more arguments than were announced");
        self.argument_count_left -= 1;
    }
}

impl Drop for CommandWriter<'_> {
    fn drop(&mut self) {
        let is_complete = self.argument_count_left == 0;
        assert!(is_complete || std::thread::panicking(), "fewer arguments than were announced");
    }
}

fn push_range(small: &[u8], large: Option<&Bytes>, range: Range<usize>, log: &mut Log) {
    match large {
        None => log.push(&small[range]),
        Some(large) if range.len() <= COPIED_BYTES_MAX => log.push(&large[range]),
        Some(large) => log.push_owned(large.slice(range)),
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    fn text(effects: &mut Effects) -> String {
        let mut log = Log::new(0, u64::MAX);
        let large = effects.take_large();
        log.push(effects.opening());
        effects.push_to(true, MULTI.len()..effects.end(large.as_ref()), large.as_ref(), &mut log);
        effects.clear();
        let bytes = log.contents();
        String::from_utf8(bytes).expect("the tests write text").replace("\r\n", " ")
    }

    #[test]
    fn one_command_is_never_wrapped() {
        let mut effects = Effects::new();
        effects.command(3, &[b"SET", b"k", b""]);
        effects.wrap_in_transaction();
        assert_eq!(text(&mut effects), "*3 $3 SET $1 k $0  ");
        assert!(effects.is_empty());
    }

    #[test]
    fn several_commands_are_wrapped_and_select_between_databases() {
        let mut effects = Effects::new();
        effects.begin(0, 3).argument(b"PEXPIREAT").argument(b"k").integer(-17);
        effects.encoded(12, b"*2\r\n$3\r\nDEL\r\n$1\r\nj\r\n");
        effects.command(12, &[b"DEL", b"i"]);
        effects.wrap_in_transaction();
        assert_eq!(effects.command_count(), 3);
        assert_eq!((effects.first_database, effects.last_database), (0, 12));
        assert_eq!(
            text(&mut effects),
            "*1 $5 MULTI *3 $9 PEXPIREAT $1 k $3 -17 *2 $6 SELECT $2 12 \
             *2 $3 DEL $1 j *2 $3 DEL $1 i *1 $4 EXEC "
        );
        effects.command(1, &[b"PING"]);
        assert_eq!(text(&mut effects), "*1 $4 PING ");
    }

    #[test]
    fn commands_after_a_mark_are_taken_back() {
        let value = Arc::new(vec![b'v'; SHARED_BYTES_MIN]);
        let mut effects = Effects::new();
        let start = effects.mark();
        effects.command(3, &[b"DEL", b"i"]);
        effects.truncate_to(&start);
        assert!(effects.is_empty());
        effects.command(2, &[b"DEL", b"j"]);
        let middle = effects.mark();
        effects.begin(5, 3).argument(b"SET").argument(b"k").shared(&value);
        effects.truncate_to(&middle);
        assert_eq!(Arc::strong_count(&value), 1);
        effects.command(2, &[b"DEL", b"l"]);
        effects.wrap_in_transaction();
        assert_eq!((effects.first_database, effects.last_database), (2, 2));
        assert_eq!(text(&mut effects), "*1 $5 MULTI *2 $3 DEL $1 j *2 $3 DEL $1 l *1 $4 EXEC ");
    }

    #[test]
    fn large_values_go_by_reference() {
        let value = Arc::new(vec![b'v'; SHARED_BYTES_MIN]);
        let filler = vec![b'f'; OWNED_BYTES_MIN];
        for filler in [&filler[..10], &filler] {
            let mut effects = Effects::new();
            effects.begin(0, 3).argument(b"SET").argument(b"k").shared(&value);
            effects.command(0, &[b"ECHO", filler]);
            assert_eq!(Arc::strong_count(&value), 2);
            let expected = format!(
                "*3 $3 SET $1 k ${} {} *2 $4 ECHO ${} {} ",
                value.len(),
                String::from_utf8_lossy(&value),
                filler.len(),
                String::from_utf8_lossy(filler)
            );
            assert_eq!(text(&mut effects), expected);
            assert_eq!(Arc::strong_count(&value), 1);
        }
    }

    #[test]
    #[should_panic(expected = "fewer arguments")]
    fn too_few_arguments_are_a_bug_of_ours() {
        Effects::new().begin(0, 2).argument(b"GET");
    }

    #[test]
    #[should_panic(expected = "more arguments")]
    fn too_many_arguments_are_a_bug_of_ours() {
        Effects::new().begin(0, 1).argument(b"GET").argument(b"k");
    }
}
