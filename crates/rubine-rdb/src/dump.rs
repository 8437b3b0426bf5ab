//! The payloads of DUMP and RESTORE: one value with its type, and a footer that says in which version it is.
//!
//! ```text
//! | type (1) | value | version (2) | checksum of all before (8) |
//! ```

use rubine_base::crc::crc64;
use rubine_structures::value::{Value, ValueRef};

use crate::cursor::Cursor;
use crate::decode::{self, ValueLimits};
use crate::encode::{Encoder, Options};
use crate::error::{Damage, Fault, WriteError};
use crate::kind::Kind;
use crate::opcode;
use crate::read::{KEY_META_CLASS_BYTES, KEY_META_SINCE};
use crate::version::{Version, VersionCheck};

const VERSION_BYTES: usize = 2;
const CHECKSUM_BYTES: usize = 8;
/// What ends a file whose checksum is not looked at.
const FILE_END: [u8; 9] = [0xff, 0, 0, 0, 0, 0, 0, 0, 0];

/// What is asked of a payload before it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Which versions are read.
    pub version: VersionCheck,
    /// Whether the checksum has to be right; tests switch that off.
    pub checksum: bool,
}

impl Default for Checks {
    fn default() -> Self {
        Self { version: VersionCheck::Strict, checksum: true }
    }
}

/// A payload cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// It is no payload, or of a version that is not known, or not what was written.
    #[error("DUMP payload version or checksum are wrong")]
    Footer,
    /// It is what was written, but no value.
    #[error(transparent)]
    Damaged(#[from] Damage),
}

/// The payload of a value. It fails only if the version cannot hold the value.
pub fn encode(value: ValueRef<'_>, version: Version) -> Result<Vec<u8>, WriteError> {
    let mut payload = Vec::new();
    Encoder::new(Options { version, compresses: true }).typed_value(&mut payload, value)?;
    payload.extend_from_slice(&version.number().to_le_bytes());
    let checksum = crc64(0, &payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
    Ok(payload)
}

/// The payload of FUNCTION DUMP: the pieces of a dump file that hold libraries, with the end of a payload.
pub fn encode_libraries<'a>(
    codes: impl Iterator<Item = &'a [u8]>,
    version: Version,
) -> std::io::Result<Vec<u8>> {
    let options = crate::write::Options { version, compresses: true, sums: false };
    let mut writer = crate::write::Writer::new(Vec::new(), options)?;
    for code in codes {
        writer.function(code)?;
    }
    let file = writer.finish()?;
    let pieces = &file[version.magic().len()..file.len() - FILE_END.len()];
    let mut payload = pieces.to_vec();
    payload.extend_from_slice(&version.number().to_le_bytes());
    let checksum = crc64(0, &payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
    Ok(payload)
}

/// Why a payload holds no libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LibrariesError {
    /// It is no payload, or of a version that is not known, or not what was written.
    #[error("DUMP payload version or checksum are wrong")]
    Footer,
    /// From a preview of Redis 7.
    #[error("Pre-GA function format not supported")]
    OldFormat,
    #[error("given type is not a function")]
    NotFunction,
    #[error("failed loading the given functions payload")]
    Damaged,
}

/// The code of the libraries in what FUNCTION DUMP makes.
pub fn decode_libraries(payload: &[u8], checks: Checks) -> Result<Vec<Vec<u8>>, LibrariesError> {
    let (body, _) = without_end(payload, checks).map_err(|_| LibrariesError::Footer)?;
    let mut cursor = Cursor::new(body);
    let mut codes = Vec::new();
    while let Ok(kind) = cursor.byte() {
        match kind {
            opcode::FUNCTION => {}
            opcode::FUNCTION_PRE_GA => return Err(LibrariesError::OldFormat),
            _ => return Err(LibrariesError::NotFunction),
        }
        let code = cursor.string().map_err(|_| LibrariesError::Damaged)?;
        codes.push(code.into_owned());
    }
    Ok(codes)
}

/// A payload without its end, and the version that stands there.
fn without_end(payload: &[u8], checks: Checks) -> Result<(&[u8], Version), DumpError> {
    let (rest, checksum) = payload.split_last_chunk::<CHECKSUM_BYTES>().ok_or(DumpError::Footer)?;
    let (body, number) = rest.split_last_chunk::<VERSION_BYTES>().ok_or(DumpError::Footer)?;
    let version = Version::from_number(u16::from_le_bytes(*number)).ok_or(DumpError::Footer)?;
    let is_whole = !checks.checksum || crc64(0, rest) == u64::from_le_bytes(*checksum);
    if is_whole && version.is_read(checks.version) {
        Ok((body, version))
    } else {
        Err(DumpError::Footer)
    }
}

/// The value of a payload that any server of the family made. A payload says its version but not who wrote it; the
/// numbers of Redis and Valkey are far enough apart to tell.
pub fn decode(
    payload: &[u8],
    checks: Checks,
    limits: &ValueLimits,
) -> Result<Value<'static>, DumpError> {
    let (body, version) = without_end(payload, checks)?;
    let mut cursor = Cursor::new(body);
    let mut byte = cursor.byte()?;
    if byte == opcode::KEY_META_OR_SLOT_IMPORT && version.has_redis(KEY_META_SINCE) {
        for _ in 0..cursor.length()? {
            cursor.take(KEY_META_CLASS_BYTES)?;
            decode::pass_module_data(&mut cursor)?;
        }
        byte = cursor.byte()?;
    }
    let kind = Kind::of(byte, version).ok_or_else(|| Fault::UnknownType(byte).at(0))?;
    let value = decode::value(kind, &mut cursor, &decode::Templates::default(), limits)?;
    cursor.finish()?;
    Ok(value)
}

#[cfg(test)]
mod tests;
