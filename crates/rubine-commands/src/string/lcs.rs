//! LCS: the longest common subsequence of two strings. What takes long is worked out in slices while the client waits
//! for its reply, so never under a lock.

use rubine_base::SharedBytes;
use rubine_resp::writer::{Progress, Reply, ReplyStream};
use rubine_structures::value::ValueRef;

use super::{StringRef, expect_string};
use crate::args::Args;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};

/// So many cells of the table are worked out at once: well below a millisecond.
const CELLS_PER_SLICE: usize = 128 * 1024;

pub(super) const LCS: Command = Command::new("LCS", lcs)
    .summary("Returns the longest common subsequence of two strings, its length or its places.")
    .syntax("key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]")
    .since("7.0.0")
    .complexity("O(N*M) with N and M the lengths of the strings.")
    .arity(-3)
    .reads()
    .key_range(1, 2, 1, "RO ACCESS");

fn lcs(cx: &mut Context<'_, '_>) -> CommandResult {
    let options = Options::parse(cx.args);
    let a = operand(cx, 1)?;
    let b = operand(cx, 2)?;
    let options = options?;

    let (a_len, b_len) = (a.bytes().len(), b.bytes().len());
    let len_max = u32::MAX as usize - 1;
    if len_max <= a_len || len_max <= b_len {
        return Err(CommandError::text("ERR String too long for LCS"));
    }
    // The whole table counts, even where two rows of it suffice: it bounds the time too.
    let table_bytes = (a_len as u128 + 1) * (b_len as u128 + 1) * size_of::<u32>() as u128;
    if u128::from(cx.limits.string_len_max) < table_bytes {
        let text = "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
        return Err(CommandError::text(text));
    }
    let mut search = Search::new(a, b, options);
    if a_len * b_len <= CELLS_PER_SLICE {
        search.fill(&mut cx.reply, 0);
    } else {
        cx.reply.stream(Box::new(search));
    }
    Ok(())
}

/// The string under a key, empty if there is none.
fn operand(cx: &mut Context<'_, '_>, index: usize) -> Result<Text, CommandError> {
    let Some(record) = cx.keys.find(cx.key(index)) else { return Ok(Text::Owned(Vec::new())) };
    let wrong_type = "ERR The specified keys must contain string values";
    match expect_string(record) {
        Ok(StringRef(ValueRef::Shared(bytes))) => Ok(Text::Shared(SharedBytes::clone(bytes))),
        Ok(string) => Ok(Text::Owned(string.text().into_owned())),
        Err(_) => Err(CommandError::text(wrong_type)),
    }
}

/// What the reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Text,
    Len,
    Places,
}

#[derive(Clone, Copy, Debug)]
struct Options {
    answer: Answer,
    /// Shorter matches are not told.
    match_len_min: usize,
    tells_match_len: bool,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut parsed = Self { answer: Answer::Text, match_len_min: 0, tells_match_len: false };
        let (mut wants_len, mut wants_places) = (false, false);
        let mut options = args.options(3);
        while !options.is_at_end() {
            if options.keyword("IDX") {
                wants_places = true;
            } else if options.keyword("LEN") {
                wants_len = true;
            } else if options.keyword("WITHMATCHLEN") {
                parsed.tells_match_len = true;
            } else if options.keyword("MINMATCHLEN") {
                parsed.match_len_min = options.integer()?.max(0) as usize;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if wants_len && wants_places {
            let text = "ERR If you want both the length and indexes, please just use IDX.";
            return Err(CommandError::text(text));
        }
        if wants_len {
            parsed.answer = Answer::Len;
        } else if wants_places {
            parsed.answer = Answer::Places;
        }
        Ok(parsed)
    }
}

/// A string that outlives the locks.
enum Text {
    Shared(SharedBytes),
    Owned(Vec<u8>),
}

impl Text {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// The search while it goes on: dynamic programming over the lengths of what prefixes have in common.
struct Search {
    a: Text,
    b: Text,
    options: Options,
    /// Row by row, `row_len` cells each: cell (i, j) is the length for the first i bytes of `a` and j of `b`. Where
    /// only the last cell matters there are two rows, used in turn.
    table: Vec<u32>,
    row_len: usize,
    row_count: usize,
    /// The cell that is worked out next.
    row: usize,
    column: usize,
}

/// A stretch that both strings have.
#[derive(Clone, Copy)]
struct Match {
    a_start: usize,
    b_start: usize,
    len: usize,
}

impl Search {
    fn new(a: Text, b: Text, options: Options) -> Self {
        let row_len = b.bytes().len() + 1;
        let row_count = if options.answer == Answer::Len { 2 } else { a.bytes().len() + 1 };
        let table = vec![0; row_len * row_count];
        Self { a, b, options, table, row_len, row_count, row: 1, column: 1 }
    }

    /// Works out the next cells, at most `cells_max`; returns whether all are done.
    fn advance(&mut self, mut cells_max: usize) -> bool {
        let (a, b) = (self.a.bytes(), self.b.bytes());
        while self.row <= a.len() && !b.is_empty() {
            let above = (self.row - 1) % self.row_count * self.row_len;
            let here = self.row % self.row_count * self.row_len;
            let byte = a[self.row - 1];
            let end = self.row_len.min(self.column + cells_max);
            for column in self.column..end {
                self.table[here + column] = if byte == b[column - 1] {
                    self.table[above + column - 1] + 1
                } else {
                    self.table[above + column].max(self.table[here + column - 1])
                };
            }
            cells_max -= end - self.column;
            self.column = end;
            if end < self.row_len {
                return false;
            }
            (self.row, self.column) = (self.row + 1, 1);
        }
        true
    }

    fn cell(&self, row: usize, column: usize) -> u32 {
        self.table[row % self.row_count * self.row_len + column]
    }

    fn len(&self) -> u32 {
        self.cell(self.a.bytes().len(), self.b.bytes().len())
    }

    fn write(&self, reply: &mut Reply<'_>) {
        match self.options.answer {
            Answer::Len => reply.integer(self.len().into()),
            Answer::Text => {
                let mut text = Vec::with_capacity(self.len() as usize);
                self.trace_back(|found| {
                    let stretch = &self.a.bytes()[found.a_start..found.a_start + found.len];
                    text.extend(stretch.iter().rev());
                });
                text.reverse();
                reply.bulk(&text);
            }
            Answer::Places => self.write_places(reply),
        }
    }

    fn write_places(&self, reply: &mut Reply<'_>) {
        reply.map(2);
        reply.bulk(b"matches");
        let header = reply.array_deferred();
        let mut count = 0;
        self.trace_back(|found| {
            if found.len < self.options.match_len_min {
                return;
            }
            count += 1;
            reply.array(2 + usize::from(self.options.tells_match_len));
            for start in [found.a_start, found.b_start] {
                reply.array(2);
                reply.integer(start as i64);
                reply.integer((start + found.len - 1) as i64);
            }
            if self.options.tells_match_len {
                reply.integer(found.len as i64);
            }
        });
        reply.set_array_len(header, count);
        reply.bulk(b"len");
        reply.integer(self.len().into());
    }

    /// Visits the matches from the last to the first.
    fn trace_back(&self, mut visit: impl FnMut(Match)) {
        let (a, b) = (self.a.bytes(), self.b.bytes());
        let (mut row, mut column) = (a.len(), b.len());
        let mut len = 0;
        while 0 < row && 0 < column {
            if a[row - 1] == b[column - 1] {
                (row, column, len) = (row - 1, column - 1, len + 1);
                continue;
            }
            if 0 < len {
                visit(Match { a_start: row, b_start: column, len });
                len = 0;
            }
            if self.cell(row, column - 1) < self.cell(row - 1, column) {
                row -= 1;
            } else {
                column -= 1;
            }
        }
        if 0 < len {
            visit(Match { a_start: row, b_start: column, len });
        }
    }
}

impl ReplyStream for Search {
    fn fill(&mut self, reply: &mut Reply<'_>, _: usize) -> Progress {
        if !self.advance(CELLS_PER_SLICE) {
            return Progress::More;
        }
        self.write(reply);
        Progress::Done
    }

    fn pinned_bytes(&self) -> usize {
        self.table.len() * size_of::<u32>() + self.a.bytes().len() + self.b.bytes().len()
    }
}
