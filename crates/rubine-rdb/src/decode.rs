//! Values from the bytes of an entry. Every encoding that was ever written is read; what is wrong is told with its
//! place. Takes memory only for what is there, and never recurses.

mod hash;
mod list;
mod set;
mod sorted_set;
pub(crate) mod stream;

use std::borrow::Cow;
use std::sync::Arc;

use rubine_base::SharedBytes;
use rubine_structures::hash::HashLimits;
use rubine_structures::list::ChunkLimit;
use rubine_structures::ordered_map::{OrderedMap, Weigh};
use rubine_structures::set::SetLimits;
use rubine_structures::sorted_set::SortedSetLimits;
use rubine_structures::value::{INLINE_LEN_MAX, Value};

use crate::cursor::{Cursor, Head};
use crate::error::{Damage, Fault};
use crate::kind::Kind;
use crate::opcode::{encoded, module};

/// Which collections stay small: the directives `hash-max-listpack-entries` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueLimits {
    pub hash: HashLimits,
    pub list: ChunkLimit,
    pub set: SetLimits,
    pub sorted_set: SortedSetLimits,
}

impl Default for ValueLimits {
    /// Those of Redis.
    fn default() -> Self {
        Self {
            hash: HashLimits { entries: 512, value_bytes: 64 },
            list: ChunkLimit::default(),
            set: SetLimits { intset_entries: 512, listpack_entries: 128, value_bytes: 64 },
            sorted_set: SortedSetLimits { entries: 128, value_bytes: 64 },
        }
    }
}

/// Field names that hashes of one file share, by number. Every batch has a handle of those that came before it, so that
/// a file may go on to tell of others.
pub(crate) type Templates = OrderedMap<u64, Template>;

/// Field names that hashes share.
#[derive(Clone, Debug)]
pub(crate) struct Template(pub(crate) Arc<[Vec<u8>]>);

impl Weigh for Template {}

/// The value of this kind that `cursor` is at.
pub(crate) fn value(
    kind: Kind,
    cursor: &mut Cursor<'_>,
    templates: &Templates,
    limits: &ValueLimits,
) -> Result<Value<'static>, Damage> {
    match kind {
        Kind::String => string(cursor),
        Kind::List => list::plain(cursor, limits.list).map(Value::List),
        Kind::ListZiplist => list::ziplist(cursor, limits.list).map(Value::List),
        Kind::ListQuicklist => list::quicklist(cursor, limits.list).map(Value::List),
        Kind::ListQuicklist2 => list::quicklist_2(cursor, limits.list).map(Value::List),
        Kind::Set => set::plain(cursor, limits.set).map(Value::Set),
        Kind::SetIntset => set::intset(cursor, limits.set).map(Value::Set),
        Kind::SetListpack => set::listpack(cursor, limits.set).map(Value::Set),
        Kind::SortedSetText | Kind::SortedSet => {
            sorted_set::plain(kind, cursor, limits.sorted_set).map(Value::SortedSet)
        }
        Kind::SortedSetZiplist | Kind::SortedSetListpack => {
            sorted_set::packed(kind, cursor, limits.sorted_set).map(Value::SortedSet)
        }
        Kind::Hash | Kind::HashDeadlines | Kind::HashMetadata | Kind::HashMetadataOld => {
            hash::plain(kind, cursor, limits.hash).map(Value::Hash)
        }
        Kind::HashZipmap => hash::zipmap(cursor, limits.hash).map(Value::Hash),
        Kind::HashZiplist | Kind::HashListpack => {
            hash::packed(kind, cursor, limits.hash).map(Value::Hash)
        }
        Kind::HashListpackEx | Kind::HashListpackExOld => {
            hash::packed_with_deadlines(kind, cursor, limits.hash).map(Value::Hash)
        }
        Kind::Module => Err(refuse_module(cursor)),
        Kind::ModuleOld => Err(cursor.fault(Fault::OldModule)),
        Kind::HashTemplateListpack
        | Kind::HashTemplateListpackRef
        | Kind::HashTemplateArray
        | Kind::HashTemplateArrayRef => {
            hash::of_template(kind, cursor, templates, limits.hash).map(Value::Hash)
        }
        Kind::Stream(generation) => stream::stream(generation, cursor).map(Value::Stream),
        Kind::Array => Err(cursor.fault(Fault::Foreign(kind.type_name()))),
    }
}

fn string(cursor: &mut Cursor<'_>) -> Result<Value<'static>, Damage> {
    let start = cursor.offset();
    let mut ahead = cursor.clone();
    if let Head::Encoded(encoding) = ahead.head()?
        && encoding != encoded::LZF
    {
        *cursor = ahead;
        return cursor.integer(encoding, start).map(Value::Int);
    }
    Ok(match cursor.long_string()? {
        Cow::Owned(bytes) if INLINE_LEN_MAX < bytes.len() => Value::Shared(SharedBytes::new(bytes)),
        bytes => Value::string(&bytes).into_owned(),
    })
}

/// Passes over what a module wrote, up to its end.
pub(crate) fn pass_module_data(cursor: &mut Cursor<'_>) -> Result<(), Damage> {
    loop {
        match cursor.length()? {
            module::END => return Ok(()),
            module::SIGNED | module::UNSIGNED => {
                cursor.length()?;
            }
            module::FLOAT => drop(cursor.take(4)?),
            module::DOUBLE => drop(cursor.take(8)?),
            module::STRING => drop(cursor.long_string()?),
            _ => return Err(cursor.fault(Fault::ModuleData)),
        }
    }
}

/// Which module it is: its identity is nine characters of six bits, before ten bits of a version.
fn refuse_module(cursor: &mut Cursor<'_>) -> Damage {
    match cursor.length() {
        Ok(identity) => cursor.fault(Fault::Module(module_name(identity))),
        Err(damage) => damage,
    }
}

/// The name in the identity of a module's type.
pub(crate) fn module_name(identity: u64) -> String {
    const CHARACTERS: &[u8; 64] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (1..=9)
        .map(|place| {
            let bits = identity >> (u64::BITS - 6 * place) & 0x3f;
            char::from(CHARACTERS[bits as usize])
        })
        .collect()
}
