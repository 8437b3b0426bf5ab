//! Commands on strings as rows of bits: the list of them all, and what they share. A row that nobody else holds changes
//! where it lies, however long it is.

use rubine_base::number::parse_i64;
use rubine_keyspace::Key;
use rubine_structures::value::Value;

use crate::command::Command;
use crate::context::Context;
use crate::error::CommandError;
use crate::string::store;

mod bit;
mod combine;
mod count;
mod field;

pub(crate) const COMMANDS: &[Command] = &[
    count::BITCOUNT,
    field::BITFIELD,
    field::BITFIELD_RO,
    combine::BITOP,
    count::BITPOS,
    bit::GETBIT,
    bit::SETBIT,
];

/// Argument number `index` as the number of a bit that a string may have. With `#` in front, where a field has `width`
/// bits, it is the number of a field instead.
fn bit_offset(cx: &Context<'_, '_>, index: usize, width: Option<u32>) -> Result<u64, CommandError> {
    let argument = cx.args.at(index);
    let offset = match (argument.strip_prefix(b"#"), width) {
        (Some(field_index), Some(width)) => {
            parse_i64(field_index).and_then(|it| it.checked_mul(i64::from(width)))
        }
        _ => parse_i64(argument),
    };
    let offset = offset.and_then(|offset| u64::try_from(offset).ok());
    let is_allowed = |offset: u64| cx.client.is_trusted || offset / 8 < cx.limits.string_len_max;
    offset
        .filter(|&offset| is_allowed(offset))
        .ok_or(CommandError::text("ERR bit offset is not an integer or out of range"))
}

/// The key holds no string: stores one of `len` zeros, which `change` works on first.
fn create(
    cx: &mut Context<'_, '_>,
    key: Key<'_>,
    len: usize,
    change: impl FnOnce(&mut [u8]),
) -> Result<(), CommandError> {
    // What is as long as this is asked for first, in order to refuse what cannot be had. The allocator has zeros ready.
    const PROBED_LEN_MIN: usize = 64 * 1024 * 1024;
    if PROBED_LEN_MIN <= len {
        Vec::<u8>::new().try_reserve_exact(len).map_err(|_| CommandError::StringTooLong)?;
    }
    let mut bytes = vec![0; len];
    change(&mut bytes);
    store(cx, key, Value::raw(bytes), None);
    Ok(())
}
