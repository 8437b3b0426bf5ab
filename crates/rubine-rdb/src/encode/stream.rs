//! Streams, in the newest generation that the version has and all of its readers know. The drawing is in
//! `decode/stream.rs`.

use std::io::Write;

use rubine_structures::stream::{Block, Consumer, Group, Producers, Stream, StreamId};

use super::Encoder;
use crate::decode::stream::{DELETED, ENTRY_ITEMS, SAME_NAMES, UNKNOWN_COUNT, UNKNOWN_TIME};
use crate::error::WriteError;
use crate::listpack::{Ambiguous, Builder};
use crate::version::{Version, has_given_back};
use crate::wire::write_length;

/// The generation that `stream` is written in.
pub(super) fn generation(stream: &Stream, version: Version) -> Result<u8, WriteError> {
    if has_given_back(stream) {
        if version.has_redis(14) {
            return Ok(5);
        }
        let what = "pending entries of a stream that belong to no consumer";
        return Err(WriteError::Unrepresentable { version, what });
    }
    if stream.producers().is_some() {
        if version.has_redis(13) {
            return Ok(4);
        }
        let what = "what is known of a stream's producers";
        return Err(WriteError::Unrepresentable { version, what });
    }
    Ok(if version.has_redis(11) {
        3
    } else if version.has_redis(10) {
        2
    } else {
        1
    })
}

impl Encoder {
    pub(super) fn stream<W: Write>(
        &mut self,
        out: &mut W,
        stream: &Stream,
        generation: u8,
    ) -> Result<(), WriteError> {
        write_length(out, stream.block_count() as u64)?;
        for block in stream.blocks() {
            self.strings.write_blob(out, &bytes_of(block.id()))?;
            let listpack = self.block(block)?;
            self.strings.write_blob(out, &listpack)?;
        }
        write_length(out, stream.len())?;
        write_id(out, stream.last_id())?;
        if 2 <= generation {
            write_id(out, stream.first_id())?;
            write_id(out, stream.max_deleted_id())?;
            write_length(out, stream.entries_added())?;
        }
        write_length(out, stream.group_count() as u64)?;
        for (name, group) in stream.groups() {
            self.group(out, name, group, generation)?;
        }
        if 4 <= generation {
            match stream.producers() {
                Some(producers) => self.producers(out, producers)?,
                None => self.producers(out, &Producers::default())?,
            }
        }
        Ok(())
    }

    fn producers<W: Write>(
        &mut self,
        out: &mut W,
        producers: &Producers,
    ) -> Result<(), WriteError> {
        let retention = producers.retention();
        write_length(out, retention.duration)?;
        write_length(out, retention.count_max)?;
        let records: Vec<_> = producers.records().collect();
        write_length(out, records.chunk_by(|one, other| one.0 == other.0).count() as u64)?;
        for of_one in records.chunk_by(|one, other| one.0 == other.0) {
            self.strings.write(out, of_one[0].0)?;
            write_length(out, of_one.len() as u64)?;
            for &(_, token, id) in of_one {
                self.strings.write(out, token)?;
                write_id(out, id)?;
            }
        }
        write_length(out, producers.added)?;
        Ok(write_length(out, producers.duplicates)?)
    }

    fn block(&self, block: &Block) -> Result<Vec<u8>, WriteError> {
        let ambiguous = if self.version.is_valkey() { Ambiguous::Narrow } else { Ambiguous::Wide };
        let mut builder = Builder::with_ambiguous(ambiguous);
        for count in [block.live(), block.deleted(), block.names().len()] {
            builder.push_integer(count as i64);
        }
        block.names().for_each(|name| builder.push(name));
        builder.push_integer(0);
        for entry in block.entries() {
            let flags = if entry.is_deleted { DELETED } else { 0 };
            let names = if entry.has_block_names { SAME_NAMES } else { 0 };
            builder.push_integer(flags | names);
            builder.push_integer(entry.id.ms.wrapping_sub(block.id().ms) as i64);
            builder.push_integer(entry.id.seq.wrapping_sub(block.id().seq) as i64);
            let mut items = ENTRY_ITEMS + entry.field_count();
            if !entry.has_block_names {
                builder.push_integer(entry.field_count() as i64);
                items += 1 + entry.field_count();
            }
            for (name, value) in entry.fields() {
                if !entry.has_block_names {
                    builder.push(name);
                }
                builder.push(value);
            }
            builder.push_integer(items as i64);
        }
        let what = "a stream's block of more than 4 GB";
        builder.finish_for_some().ok_or(WriteError::Unrepresentable { version: self.version, what })
    }

    fn group<W: Write>(
        &mut self,
        out: &mut W,
        name: &[u8],
        group: &Group,
        generation: u8,
    ) -> Result<(), WriteError> {
        self.strings.write(out, name)?;
        write_id(out, group.last_id)?;
        if 2 <= generation {
            write_length(out, group.entries_read.unwrap_or(UNKNOWN_COUNT))?;
        }
        write_length(out, group.pending_count() as u64)?;
        for (id, pending) in group.pending_from(StreamId::MIN) {
            out.write_all(&bytes_of(id))?;
            out.write_all(&pending.delivered_at.to_le_bytes())?;
            write_length(out, pending.delivery_count)?;
        }
        write_length(out, group.consumer_count() as u64)?;
        for (_, consumer) in group.consumers() {
            self.consumer(out, consumer, generation)?;
        }
        if 5 <= generation {
            let given_back =
                || group.pending_from(StreamId::MIN).filter(|(_, it)| it.owner().is_none());
            write_length(out, given_back().count() as u64)?;
            for (id, _) in given_back() {
                out.write_all(&bytes_of(id))?;
            }
        }
        Ok(())
    }

    fn consumer<W: Write>(
        &mut self,
        out: &mut W,
        consumer: &Consumer,
        generation: u8,
    ) -> Result<(), WriteError> {
        self.strings.write(out, consumer.name())?;
        out.write_all(&consumer.seen_at.to_le_bytes())?;
        if 3 <= generation {
            out.write_all(&consumer.active_at.unwrap_or(UNKNOWN_TIME).to_le_bytes())?;
        }
        write_length(out, consumer.pending_count() as u64)?;
        for id in consumer.pending_from(StreamId::MIN) {
            out.write_all(&bytes_of(id))?;
        }
        Ok(())
    }
}

fn write_id<W: Write>(out: &mut W, id: StreamId) -> Result<(), WriteError> {
    write_length(out, id.ms)?;
    Ok(write_length(out, id.seq)?)
}

fn bytes_of(id: StreamId) -> [u8; 16] {
    (u128::from(id.ms) << 64 | u128::from(id.seq)).to_be_bytes()
}
