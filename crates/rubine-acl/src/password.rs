//! Passwords, of which only hashes are kept, and new ones from random bytes. Draws no random numbers.

use ring::digest::{SHA256, digest};

use crate::rule::RuleError;

/// How many bits ACL GENPASS makes unless it is told.
pub const PASSWORD_BITS_DEFAULT: i64 = 256;

/// How many bits ACL GENPASS makes at most.
pub const PASSWORD_BITS_MAX: i64 = 4096;

/// The SHA-256 of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PasswordHash([u8; 32]);

impl PasswordHash {
    pub(crate) fn of(password: &[u8]) -> Self {
        let hash = digest(&SHA256, password);
        Self(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Reads 64 hexadecimal digits, of which letters are small.
    pub(crate) fn parse(hex: &[u8]) -> Result<Self, RuleError> {
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(RuleError::PasswordHash),
        };
        let mut hash = [0; 32];
        let (pairs, []) = hex.as_chunks::<2>() else { return Err(RuleError::PasswordHash) };
        if pairs.len() != hash.len() {
            return Err(RuleError::PasswordHash);
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = value(*high)? << 4 | value(*low)?;
        }
        Ok(Self(hash))
    }

    /// Whether both are the same, in a time that tells nothing about where they differ.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let differences = self.0.iter().zip(&other.0).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(differences) == 0
    }

    /// The 64 digits as files and GETUSER show them.
    pub(crate) fn to_hex(self) -> Vec<u8> {
        let mut hex = Vec::with_capacity(64);
        write_password(&mut hex, &self.0, 64);
        hex
    }
}

/// How long the password is that ACL GENPASS makes of so many bits: a digit has four. An error is its text behind `ERR`.
pub fn password_len(bits: i64) -> Result<usize, String> {
    if !(1..=PASSWORD_BITS_MAX).contains(&bits) {
        return Err(format!(
            "ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
             {PASSWORD_BITS_MAX}"
        ));
    }
    Ok((bits as usize).div_ceil(4))
}

/// Appends `len` hexadecimal digits made of `random`, which has at least half as many bytes.
pub fn write_password(out: &mut Vec<u8>, random: &[u8], len: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    assert!(len <= 2 * random.len(), "a byte makes two digits");
    let digits = random.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    out.extend(digits.take(len).map(|digit| HEX[usize::from(digit)]));
}
