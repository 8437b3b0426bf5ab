//! How a file of the log ends, and cutting it off. Runs nothing that is in it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use rubine_persistence::encryption::{Encryptor, KeyRing, Place, find_cut, is_encrypted};

/// How the last file ends, for whoever appends to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// It has nothing yet.
    Empty,
    Plain,
    /// A further segment belongs behind this.
    Encrypted(Place),
    /// Nothing can follow.
    Complete,
}

/// Keeps the first `plain_len` bytes of what a file holds.
pub(crate) fn truncate(path: &Path, keys: Option<&KeyRing>, plain_len: u64) -> io::Result<Tail> {
    let mut file = File::options().read(true).append(true).open(path)?;
    let mut beginning = Vec::new();
    (&file).take(16).read_to_end(&mut beginning)?;
    let Some(keys) = keys.filter(|_| is_encrypted(&beginning)) else {
        file.set_len(plain_len)?;
        file.sync_all()?;
        return Ok(Tail::Plain);
    };
    let cut = find_cut(File::open(path)?, keys, plain_len)?;
    file.set_len(cut.len)?;
    let mut place = cut.place;
    if !cut.rest.is_empty() {
        let mut sealed = Vec::new();
        let mut encryptor = Encryptor::begin(keys, place, &mut sealed)?;
        encryptor.seal(&cut.rest, &mut sealed);
        file.write_all(&sealed)?;
        place = encryptor.place();
    }
    file.sync_all()?;
    Ok(Tail::Encrypted(place))
}
