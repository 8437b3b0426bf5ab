//! The model of data: all writes in their order. Notices a write that comes twice, out of order or in half.

use rubine_journal::Effects;
use rubine_resp::parser::ArgRange;

/// One command of a transaction, which may be its only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) db: u32,
    /// Numbers ascend as time passes, whoever writes.
    pub(crate) number: u64,
    pub(crate) part: u8,
    pub(crate) part_count: u8,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Data {
    pub(crate) writes: Vec<Write>,
    /// Of all writes and their order.
    pub(crate) hash: u64,
}

const HEADER_BYTES: usize = 8;
const WRITE_BYTES: usize = 14;
/// A value of that size is put into the journal by reference.
const SHARED_BYTES_MIN: usize = 16 * 1024;

impl Write {
    /// Adds it to a unit, with a value of so many bytes.
    pub(crate) fn note(self, value_bytes: usize, effects: &mut Effects) {
        let value = vec![b'v'; value_bytes];
        let mut writer = effects.begin(self.db, 5);
        writer.argument(b"PUT").integer(self.number as i64);
        writer.integer(i64::from(self.part)).integer(i64::from(self.part_count));
        if value_bytes < SHARED_BYTES_MIN {
            writer.argument(&value);
        } else {
            writer.shared(&rubine_base::SharedBytes::new(value));
        }
    }

    /// Reads it from a command of a stream.
    pub(crate) fn of(args: &[ArgRange], bytes: &[u8], db: u32) -> Option<Self> {
        let [_, number, part, part_count, _] = args else { return None };
        let number_in = |arg: &ArgRange| -> Option<u64> {
            std::str::from_utf8(arg.of(bytes)).ok()?.parse().ok()
        };
        Some(Self {
            db,
            number: number_in(number)?,
            part: number_in(part)? as u8,
            part_count: number_in(part_count)? as u8,
        })
    }

    fn encode(self, out: &mut Vec<u8>) {
        out.extend(self.db.to_le_bytes());
        out.extend(self.number.to_le_bytes());
        out.extend([self.part, self.part_count]);
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            db: u32::from_le_bytes(bytes[..4].try_into().expect("four bytes")),
            number: u64::from_le_bytes(bytes[4..12].try_into().expect("eight bytes")),
            part: bytes[12],
            part_count: bytes[13],
        }
    }

    /// The hash of what was there before, with this behind it.
    pub(crate) fn hash_after(self, hash: u64) -> u64 {
        let parts = [u64::from(self.db), self.number, u64::from(self.part)];
        parts.iter().fold(hash, |hash, it| {
            (hash ^ it).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ 0x51
        })
    }
}

impl Data {
    pub(crate) fn push(&mut self, write: Write) -> Result<(), String> {
        let follows = match self.writes.last() {
            None => write.part == 0,
            Some(last) if last.part + 1 < last.part_count => {
                write.number == last.number && write.part == last.part + 1
            }
            Some(last) => last.number < write.number && write.part == 0,
        };
        if !follows {
            return Err(format!("{write:?} follows {:?}", self.writes.last()));
        }
        self.hash = write.hash_after(self.hash);
        self.writes.push(write);
        Ok(())
    }

    /// Whether no transaction is there in half.
    pub(crate) fn is_whole(&self) -> bool {
        self.writes.last().is_none_or(|it| it.part + 1 == it.part_count)
    }

    /// A dump, which finds its own end.
    pub(crate) fn encode(&self, database: u32) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(database.to_le_bytes());
        out.extend((self.writes.len() as u32).to_le_bytes());
        self.writes.iter().for_each(|it| it.encode(&mut out));
        out
    }

    /// Reads a dump if all of it is there, with the database that it names, and says how long it was.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<(Self, u32, usize)>, String> {
        if bytes.len() < HEADER_BYTES {
            return Ok(None);
        }
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
        let len = HEADER_BYTES + number(4) as usize * WRITE_BYTES;
        let Some(writes) = bytes.get(HEADER_BYTES..len) else { return Ok(None) };
        let mut data = Self::default();
        for write in writes.chunks(WRITE_BYTES) {
            data.push(Write::decode(write))?;
        }
        Ok(Some((data, number(0), len)))
    }
}
