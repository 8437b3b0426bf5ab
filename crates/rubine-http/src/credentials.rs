//! Names and passwords out of an `Authorization` header. Decides on nobody.

use base64ct::{Base64, Encoding};

/// Longer headers are not looked into.
const HEADER_BYTES_MAX: usize = 4096;

/// Who somebody says to be.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: Vec<u8>,
    pub(crate) password: Vec<u8>,
}

impl Credentials {
    /// Those of `Basic`, if that is what it is.
    pub(crate) fn of_header(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header).ok().filter(|it| it.len() <= HEADER_BYTES_MAX)?;
        let (scheme, encoded) = text.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = Base64::decode_vec(encoded.trim()).ok()?;
        let colon = decoded.iter().position(|it| *it == b':')?;
        let (user, password) = (decoded[..colon].to_vec(), decoded[colon + 1..].to_vec());
        Some(Self { user, password })
    }
}

#[cfg(test)]
mod tests {
    use super::Credentials;

    #[test]
    fn basic_is_read_and_nothing_else() {
        let read = |header: &str| {
            Credentials::of_header(header.as_bytes()).map(|it| (it.user, it.password))
        };
        let expected = Some((b"ann".to_vec(), b"se:cret".to_vec()));
        assert_eq!(read("Basic YW5uOnNlOmNyZXQ="), expected);
        assert_eq!(read("basic  YW5uOnNlOmNyZXQ= "), expected);
        assert_eq!(read("Basic Og=="), Some((Vec::new(), Vec::new())));
        for wrong in ["", "Basic", "Basic !", "Bearer YW5uOnNlOmNyZXQ=", "Basic YW5u"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert!(read(&format!("Basic {}", "Y".repeat(8000))).is_none());
    }
}
