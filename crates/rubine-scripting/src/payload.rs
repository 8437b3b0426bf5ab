//! The payloads of FUNCTION DUMP and FUNCTION RESTORE: libraries as in a dump file, with a version and a checksum. Runs
//! no code.

use rubine_base::crc::crc64;
use rubine_rdb::read::{Item, Reader};
use rubine_rdb::write::{Options, Writer};
use rubine_rdb::{Version, VersionCheck};

use crate::error::ScriptError;
use crate::functions::Libraries;

const VERSION_BYTES: usize = 2;
const CHECKSUM_BYTES: usize = 8;
/// What ends a file: a byte, and a checksum that is not looked at.
const END: [u8; 1 + CHECKSUM_BYTES] = [0xff, 0, 0, 0, 0, 0, 0, 0, 0];

/// FUNCTION DUMP
pub fn dump(libraries: &Libraries, version: Version) -> Vec<u8> {
    let options = Options { version, compresses: true, sums: false };
    let write = || {
        let mut writer = Writer::new(Vec::new(), options)?;
        for library in libraries.iter() {
            writer.function(&library.code)?;
        }
        writer.finish()
    };
    let file: Vec<u8> = write().expect("memory takes everything");
    let body = &file[version.magic().len()..file.len() - END.len()];
    let mut payload = [body, &version.number().to_le_bytes()].concat();
    payload.extend_from_slice(&crc64(0, &payload).to_le_bytes());
    payload
}

/// The code of each library in a payload of FUNCTION DUMP, of whichever server.
pub fn unpack(payload: &[u8], check: VersionCheck) -> Result<Vec<Vec<u8>>, ScriptError> {
    let footer = ScriptError::text("ERR DUMP payload version or checksum are wrong");
    let split = payload.split_last_chunk::<CHECKSUM_BYTES>();
    let Some((rest, checksum)) = split else { return Err(footer) };
    let Some((body, number)) = rest.split_last_chunk::<VERSION_BYTES>() else {
        return Err(footer);
    };
    let version = Version::from_number(u16::from_le_bytes(*number)).filter(|it| it.is_read(check));
    let Some(version) = version else { return Err(footer) };
    if crc64(0, rest) != u64::from_le_bytes(*checksum) {
        return Err(footer);
    }
    let file = [&version.magic()[..], body, &END].concat();
    let damaged = |_| ScriptError::text("ERR failed loading the given functions payload");
    let mut reader = Reader::new(&file[..], VersionCheck::Relaxed).map_err(damaged)?;
    let mut codes = Vec::new();
    while let Some(item) = reader.next_item().map_err(damaged)? {
        let Item::Function(code) = item else {
            return Err(ScriptError::text("ERR given type is not a function"));
        };
        codes.push(code);
    }
    Ok(codes)
}
