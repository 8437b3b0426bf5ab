//! The manifest of a backup, which is small, written last, and makes a folder one; and the marks beside it. Touches no store.

use serde::{Deserialize, Serialize};

use crate::layout::BackupId;

/// The form of manifests that is written, and the newest that is read.
pub const FORMAT: u32 = 1;
/// The longest manifest or mark that is believed to be one.
pub const MANIFEST_BYTES_MAX: u64 = 64 * 1024;

/// What a backup is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub id: String,
    /// When the image was made, Unix milliseconds.
    pub taken_at_ms: i64,
    /// The same for people.
    pub taken_at: String,
    /// The version of the program that made it.
    pub made_by: String,
    /// That run of the program.
    pub run_id: String,
    pub keys: u64,
    /// One more than the highest database with keys.
    pub databases: u32,
    /// What the data took in memory.
    pub memory_bytes: u64,
    pub dump: Dump,
    /// Why it is suspect, if it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub suspect: Option<String>,
    /// Whether a log follows it.
    pub has_log: bool,
}

/// The object with the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dump {
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The length of the dump file in it.
    pub plain_bytes: u64,
    /// Hexadecimal.
    pub sha256: String,
    pub compression: Compression,
    pub is_encrypted: bool,
}

/// How content is compressed, beneath encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    None,
    Zstd,
}

/// What is noted of a backup after it was made: that it was read back, that it is damaged, that somebody knows why it is so
/// small.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Unix milliseconds.
    pub at_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Keys that were read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub keys: Option<u64>,
}

/// An upload in parts that is under way: whoever finds it later, ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfinishedUpload {
    pub name: String,
    /// What the store calls it.
    pub token: String,
    pub run_id: String,
    pub begun_at_ms: i64,
}

impl Manifest {
    /// Reads the manifest of the backup `id`.
    pub fn parse(text: &[u8], id: &BackupId) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_slice(text).map_err(|it| it.to_string())?;
        if FORMAT < head.format {
            return Err(format!(
                "it has the form {}, and the newest known is {FORMAT}",
                head.format
            ));
        }
        let manifest: Self = serde_json::from_slice(text).map_err(|it| it.to_string())?;
        if manifest.id != id.as_str() {
            return Err(format!("it is that of another backup, {}", manifest.id));
        }
        let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"._-".contains(&it);
        let name = &manifest.dump.name;
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(is_plain) {
            return Err("it names no object of its folder".to_owned());
        }
        Ok(manifest)
    }
}

/// Any of these as it is stored.
pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("all maps have texts as keys");
    text.push(b'\n');
    text
}

/// A moment for people, Unix milliseconds.
pub fn shown(unix_ms: i64) -> String {
    let moment = jiff::Timestamp::from_millisecond(unix_ms);
    moment.map_or_else(|_| unix_ms.to_string(), |it| it.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn manifest(taken_at_ms: i64, keys: u64) -> Manifest {
        Manifest {
            format: FORMAT,
            id: BackupId::new(taken_at_ms, 7).to_string(),
            taken_at_ms,
            taken_at: shown(taken_at_ms),
            made_by: "0.1.0".to_owned(),
            run_id: "a".repeat(40),
            keys,
            databases: 1,
            memory_bytes: 1000,
            dump: Dump {
                name: "dump.rdb.zst".to_owned(),
                bytes: 100,
                plain_bytes: 200,
                sha256: "0".repeat(64),
                compression: Compression::Zstd,
                is_encrypted: false,
            },
            suspect: None,
            has_log: false,
        }
    }

    #[test]
    fn a_manifest_is_only_that_of_its_folder() {
        let manifest = manifest(1_796_032_800_123, 5);
        let id = BackupId::parse(&manifest.id).unwrap();
        let text = to_json(&manifest);
        assert_eq!(Manifest::parse(&text, &id), Ok(manifest.clone()));
        let other = BackupId::new(0, 0);
        assert!(Manifest::parse(&text, &other).unwrap_err().contains("another backup"));
        let newer = Manifest { format: FORMAT + 1, ..manifest.clone() };
        assert!(Manifest::parse(&to_json(&newer), &id).unwrap_err().contains("form 2"));
        for name in ["", "../x", ".x", "a/b"] {
            let mut bad = manifest.clone();
            name.clone_into(&mut bad.dump.name);
            assert!(Manifest::parse(&to_json(&bad), &id).is_err(), "{name}");
        }
        for end in 0..text.len() - 2 {
            assert!(Manifest::parse(&text[..end], &id).is_err(), "cut off at {end}");
        }
    }
}
