//! Finds the end of a value by its lengths alone. Looks at no content.

use std::io::Read;

use crate::cursor::{Head, PART_BYTES_MAX};
use crate::decode::Templates;
use crate::error::{Fault, ReadError};
use crate::kind::Kind;
use crate::opcode::{encoded, module};
use crate::source::Source;

/// Text lengths of a score that stand for no text: NaN, infinity and minus infinity.
pub(crate) const SCORE_SPECIAL_MIN: u8 = 253;

/// What an element of an array is.
const ELEMENT_STRING: u64 = 0;
const ELEMENT_INTEGER: u64 = 1;
const ELEMENT_DOUBLE: u64 = 2;
const ELEMENT_SHORT_STRING: u64 = 3;

const DEADLINE_BYTES: u64 = 8;
const SCORE_BYTES: u64 = 8;
const TIME_BYTES: u64 = 8;
const ENTRY_ID_BYTES: u64 = 16;

impl<R: Read> Source<R> {
    /// Keeps the value that is next.
    pub(crate) fn keep_value(
        &mut self,
        kind: Kind,
        templates: &Templates,
    ) -> Result<(), ReadError> {
        match kind {
            Kind::String
            | Kind::HashZipmap
            | Kind::ListZiplist
            | Kind::SetIntset
            | Kind::SortedSetZiplist
            | Kind::HashZiplist
            | Kind::HashListpack
            | Kind::SortedSetListpack
            | Kind::SetListpack
            | Kind::HashListpackExOld
            | Kind::HashTemplateListpackRef => self.keep_string(),
            Kind::List | Kind::Set | Kind::ListQuicklist => self.keep_each(Self::keep_string),
            Kind::Hash => self.keep_each(Self::keep_pair),
            Kind::SortedSetText => self.keep_each(|source| {
                source.keep_string()?;
                source.keep_score_text()
            }),
            Kind::SortedSet => self.keep_each(|source| {
                source.keep_string()?;
                source.keep(SCORE_BYTES)
            }),
            Kind::HashDeadlines => self.keep_each(|source| {
                source.keep_pair()?;
                source.keep(DEADLINE_BYTES)
            }),
            Kind::HashMetadataOld => self.keep_each(Self::keep_length_and_pair),
            Kind::HashMetadata => {
                self.keep(DEADLINE_BYTES)?;
                self.keep_each(Self::keep_length_and_pair)
            }
            Kind::HashListpackEx => {
                self.keep(DEADLINE_BYTES)?;
                self.keep_string()
            }
            Kind::ListQuicklist2 => self.keep_each(|source| {
                source.keep_length()?;
                source.keep_string()
            }),
            Kind::Stream(generation) => self.keep_stream(generation),
            Kind::Module => {
                self.keep_length()?;
                self.keep_module_data()
            }
            Kind::ModuleOld => Err(self.fault(Fault::OldModule)),
            Kind::Array => self.keep_array(),
            Kind::HashTemplateListpack => {
                self.keep_names()?;
                self.keep_string()
            }
            Kind::HashTemplateArray => {
                let count = self.keep_names()?;
                (0..count).try_for_each(|_| self.keep_string())
            }
            Kind::HashTemplateArrayRef => {
                let offset = self.offset();
                let number = self.keep_length()?;
                let count = templates.get(&number).map(|it| it.0.len());
                let missing = || ReadError::damaged(offset, Fault::Template(number));
                (0..count.ok_or_else(missing)?).try_for_each(|_| self.keep_string())
            }
        }
    }

    /// Keeps one string.
    #[inline]
    pub(crate) fn keep_string(&mut self) -> Result<(), ReadError> {
        self.keep_string_up_to(u64::MAX)
    }

    /// Keeps a key.
    #[inline]
    pub(crate) fn keep_key(&mut self) -> Result<(), ReadError> {
        self.keep_string_up_to(PART_BYTES_MAX)
    }

    fn keep_string_up_to(&mut self, bytes_max: u64) -> Result<(), ReadError> {
        let offset = self.offset();
        let len = match self.keep_head()? {
            Head::Length(length) => length,
            Head::Encoded(encoded::INT_8) => 1,
            Head::Encoded(encoded::INT_16) => 2,
            Head::Encoded(encoded::INT_32) => 4,
            Head::Encoded(encoded::LZF) => {
                let compressed_len = self.keep_length()?;
                self.keep_length()?;
                compressed_len
            }
            Head::Encoded(other) => {
                return Err(ReadError::damaged(offset, Fault::StringEncoding(other)));
            }
        };
        if bytes_max < len {
            return Err(ReadError::damaged(offset, Fault::LongString(len)));
        }
        self.keep(len)
    }

    /// Keeps what a module wrote, each piece behind a word that says what it is, and the word for the end.
    pub(crate) fn keep_module_data(&mut self) -> Result<(), ReadError> {
        loop {
            match self.keep_length()? {
                module::END => return Ok(()),
                module::SIGNED | module::UNSIGNED => {
                    self.keep_length()?;
                }
                module::FLOAT => self.keep(4)?,
                module::DOUBLE => self.keep(8)?,
                module::STRING => self.keep_string()?,
                _ => return Err(self.fault(Fault::ModuleData)),
            }
        }
    }

    fn keep_pair(&mut self) -> Result<(), ReadError> {
        self.keep_string()?;
        self.keep_string()
    }

    fn keep_length_and_pair(&mut self) -> Result<(), ReadError> {
        self.keep_length()?;
        self.keep_pair()
    }

    fn keep_score_text(&mut self) -> Result<(), ReadError> {
        let at = self.kept.len();
        self.keep(1)?;
        match self.kept[at] {
            SCORE_SPECIAL_MIN.. => Ok(()),
            len => self.keep(u64::from(len)),
        }
    }

    /// Keeps a number of elements, then each of them.
    fn keep_each(
        &mut self,
        mut keep: impl FnMut(&mut Self) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut left = self.keep_length()?;
        while 0 < left {
            keep(self)?;
            left -= 1;
        }
        Ok(())
    }

    /// The parts of a stream, which came one after another: see the drawing in `decode/stream.rs`.
    fn keep_stream(&mut self, generation: u8) -> Result<(), ReadError> {
        let has_counters = 2 <= generation;
        let has_active_time = 3 <= generation;
        let has_producers = 4 <= generation;
        let has_given_back = 5 <= generation;
        self.keep_each(Self::keep_pair)?;
        self.keep_lengths(3)?;
        if has_counters {
            self.keep_lengths(5)?;
        }
        self.keep_each(|source| {
            source.keep_string()?;
            source.keep_lengths(if has_counters { 3 } else { 2 })?;
            source.keep_each(|source| {
                source.keep(ENTRY_ID_BYTES + TIME_BYTES)?;
                source.keep_lengths(1)
            })?;
            source.keep_each(|source| {
                source.keep_string()?;
                source.keep(if has_active_time { 2 * TIME_BYTES } else { TIME_BYTES })?;
                source.keep_each(|source| source.keep(ENTRY_ID_BYTES))
            })?;
            if has_given_back {
                source.keep_each(|source| source.keep(ENTRY_ID_BYTES))
            } else {
                Ok(())
            }
        })?;
        if has_producers {
            self.keep_lengths(2)?;
            self.keep_each(|source| {
                source.keep_string()?;
                source.keep_each(|source| {
                    source.keep_string()?;
                    source.keep_lengths(2)
                })
            })?;
            self.keep_lengths(2)?;
        }
        Ok(())
    }

    /// Elements, each behind its index and a word that says what it is.
    fn keep_array(&mut self) -> Result<(), ReadError> {
        let count = self.keep_length()?;
        let has_cursor = self.keep_length()? != 0;
        self.keep_lengths(usize::from(has_cursor))?;
        let mut left = count;
        while 0 < left {
            self.keep_length()?;
            match self.keep_length()? {
                ELEMENT_STRING | ELEMENT_SHORT_STRING => self.keep_string()?,
                ELEMENT_INTEGER | ELEMENT_DOUBLE => self.keep(8)?,
                _ => return Err(self.fault(Fault::Foreign("array"))),
            }
            left -= 1;
        }
        Ok(())
    }

    /// The names of a hash's fields. Returns how many there are, if they came one by one.
    fn keep_names(&mut self) -> Result<u64, ReadError> {
        let start = self.kept.len();
        self.keep(1)?;
        if self.kept[start] == 0 {
            // Whoever wrote them so wrote the values so as well.
            self.keep_string()?;
            return Ok(0);
        }
        let count = self.keep_length()?;
        (0..count).try_for_each(|_| self.keep_string())?;
        Ok(count)
    }

    fn keep_lengths(&mut self, count: usize) -> Result<(), ReadError> {
        (0..count).try_for_each(|_| self.keep_length().map(drop))
    }
}
