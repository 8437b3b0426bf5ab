//! Private keys from PEM files, also encrypted ones: PKCS#8, and the form that OpenSSL wrote before it. Keeps nothing.

use aes::{Aes128, Aes192, Aes256};
use base64ct::{Base64, Encoding};
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut, KeyIvInit};
use des::TdesEde3;
use md5::{Digest, Md5};
use pkcs8::EncryptedPrivateKeyInfo;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

/// Why a file gives no key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyError {
    /// No section of the file is a private key.
    NoKey,
    /// What is between the marks of a section cannot be read.
    Malformed,
    /// It is encrypted, and there is no passphrase.
    NoPassphrase,
    /// It cannot be read, or is encrypted in a way of before.
    NotPbes2,
    /// It is encrypted in a way that is not known here.
    UnknownCipher(String),
    /// The passphrase does not open it.
    WrongPassphrase,
}

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoKey => write!(f, "there is no private key in it"),
            Self::Malformed => write!(f, "the private key in it is damaged"),
            Self::NoPassphrase => write!(f, "it is encrypted, and there is no passphrase for it"),
            Self::NotPbes2 => write!(f, "it is damaged, or not encrypted by PBES2"),
            Self::UnknownCipher(name) => write!(f, "it is encrypted by {name}, which is not known"),
            Self::WrongPassphrase => write!(f, "the passphrase does not open it"),
        }
    }
}

/// A part of a PEM file.
struct Section<'a> {
    label: &'a str,
    /// Lines `name: value` above the contents.
    headers: Vec<(&'a str, &'a str)>,
    contents: Vec<u8>,
}

/// The first private key of a PEM file.
pub(super) fn parse_key(
    pem: &str,
    passphrase: Option<&[u8]>,
) -> Result<PrivateKeyDer<'static>, KeyError> {
    let mut lines = pem.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let label = line.strip_prefix("-----BEGIN ").and_then(|it| it.strip_suffix("-----"));
        let Some(label) = label.filter(|it| it.ends_with("PRIVATE KEY")) else { continue };
        return open(take_section(label, &mut lines)?, passphrase);
    }
    Err(KeyError::NoKey)
}

fn take_section<'a>(
    label: &'a str,
    lines: &mut impl Iterator<Item = &'a str>,
) -> Result<Section<'a>, KeyError> {
    let mut headers = Vec::new();
    let mut text = String::new();
    for line in lines {
        if line.starts_with("-----END ") {
            let contents = Base64::decode_vec(&text).map_err(|_| KeyError::Malformed)?;
            return Ok(Section { label, headers, contents });
        }
        match line.split_once(':') {
            Some((name, value)) => headers.push((name, value.trim())),
            None => text.push_str(line),
        }
    }
    Err(KeyError::Malformed)
}

fn open(
    section: Section<'_>,
    passphrase: Option<&[u8]>,
) -> Result<PrivateKeyDer<'static>, KeyError> {
    let Section { label, headers, contents } = section;
    if label == "ENCRYPTED PRIVATE KEY" {
        let passphrase = passphrase.ok_or(KeyError::NoPassphrase)?;
        return Ok(PrivatePkcs8KeyDer::from(open_pkcs8(&contents, passphrase)?).into());
    }
    let cipher = headers.iter().find(|(name, _)| *name == "DEK-Info").map(|it| it.1);
    let der = match cipher {
        Some(cipher) => {
            open_traditional(cipher, contents, passphrase.ok_or(KeyError::NoPassphrase)?)?
        }
        None => contents,
    };
    match label {
        "PRIVATE KEY" => Ok(PrivatePkcs8KeyDer::from(der).into()),
        "RSA PRIVATE KEY" => Ok(PrivatePkcs1KeyDer::from(der).into()),
        "EC PRIVATE KEY" => Ok(PrivateSec1KeyDer::from(der).into()),
        _ => Err(KeyError::NoKey),
    }
}

fn open_pkcs8(contents: &[u8], passphrase: &[u8]) -> Result<Vec<u8>, KeyError> {
    let info = EncryptedPrivateKeyInfo::try_from(contents).map_err(|_| KeyError::NotPbes2)?;
    let opened = info.decrypt(passphrase).map_err(|_| KeyError::WrongPassphrase)?;
    Ok(opened.as_bytes().to_vec())
}

/// Opens what `cipher`, a name and the initial vector in hexadecimal, has locked.
fn open_traditional(
    cipher: &str,
    mut contents: Vec<u8>,
    passphrase: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let unknown = || KeyError::UnknownCipher(cipher.to_owned());
    let (name, vector) = cipher.split_once(',').ok_or_else(unknown)?;
    let vector = from_hex(vector).ok_or(KeyError::Malformed)?;
    let len = match name {
        "AES-128-CBC" => decrypt::<Decryptor<Aes128>>(passphrase, &vector, &mut contents),
        "AES-192-CBC" => decrypt::<Decryptor<Aes192>>(passphrase, &vector, &mut contents),
        "AES-256-CBC" => decrypt::<Decryptor<Aes256>>(passphrase, &vector, &mut contents),
        "DES-EDE3-CBC" => decrypt::<Decryptor<TdesEde3>>(passphrase, &vector, &mut contents),
        _ => return Err(unknown()),
    }?;
    contents.truncate(len);
    Ok(contents)
}

/// Decrypts in place; returns how many bytes of it are the key.
fn decrypt<D: KeyIvInit + BlockDecryptMut>(
    passphrase: &[u8],
    vector: &[u8],
    contents: &mut [u8],
) -> Result<usize, KeyError> {
    let salt = vector.get(..8).ok_or(KeyError::Malformed)?;
    let key = stretch(passphrase, salt, D::key_size());
    let cipher = D::new_from_slices(&key, vector).map_err(|_| KeyError::Malformed)?;
    let plain = cipher.decrypt_padded_mut::<Pkcs7>(contents);
    plain.map(<[u8]>::len).map_err(|_| KeyError::WrongPassphrase)
}

/// What OpenSSL makes of a passphrase in this form: one round of MD5 for each 16 bytes of the key.
fn stretch(passphrase: &[u8], salt: &[u8], len: usize) -> Vec<u8> {
    let mut key = Vec::new();
    let mut last = Vec::new();
    while key.len() < len {
        last = Md5::new()
            .chain_update(&last)
            .chain_update(passphrase)
            .chain_update(salt)
            .finalize()
            .to_vec();
        key.extend_from_slice(&last);
    }
    key.truncate(len);
    key
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|it| u8::from_str_radix(std::str::from_utf8(it).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests;
