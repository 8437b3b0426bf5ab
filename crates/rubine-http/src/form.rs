//! Names and values as browsers send them, in addresses and bodies: bytes, not text, since keys are. Never fails: what is
//! malformed stands for itself.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode, percent_encode};

/// Fields in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form(Vec<(Vec<u8>, Vec<u8>)>);

/// Fields of one form that are looked at.
const FIELDS_MAX: usize = 2000;

impl Form {
    pub(crate) fn parse(text: &[u8]) -> Self {
        let fields = text.split(|it| *it == b'&').filter(|it| !it.is_empty()).take(FIELDS_MAX);
        let split = |field: &[u8]| {
            let at = field.iter().position(|it| *it == b'=').unwrap_or(field.len());
            (decode(&field[..at]), decode(field.get(at + 1..).unwrap_or_default()))
        };
        Self(fields.map(split).collect())
    }

    /// The first value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|(it, _)| it == name.as_bytes());
        found.map(|(_, value)| value.as_slice())
    }

    /// The first value of a name; nothing where there is none.
    pub(crate) fn bytes(&self, name: &str) -> &[u8] {
        self.get(name).unwrap_or_default()
    }

    /// The same, as text.
    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(self.bytes(name)).into_owned()
    }

    /// The number of a name.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        std::str::from_utf8(self.get(name)?).ok()?.trim().parse().ok()
    }

    /// Whether there is such a name, with any value but 0 or nothing.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|it| !it.is_empty() && it != b"0")
    }
}

fn decode(text: &[u8]) -> Vec<u8> {
    let text: Vec<u8> = text.iter().map(|&it| if it == b'+' { b' ' } else { it }).collect();
    percent_decode(&text).collect()
}

/// Bytes as they stand in an address.
pub(crate) fn encode(bytes: &[u8]) -> String {
    percent_encode(bytes, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::{Form, encode};

    #[test]
    fn bytes_come_through() {
        let key: Vec<u8> = (0..=255).collect();
        let form = Form::parse(format!("a=1&key={}&a=2&b&c=%zz&d=x+y", encode(&key)).as_bytes());
        assert_eq!(form.get("key"), Some(key.as_slice()));
        assert_eq!((form.get("b"), form.get("nothing")), (Some(&b""[..]), None));
        assert_eq!((form.text("c"), form.text("d")), ("%zz".to_owned(), "x y".to_owned()));
        assert_eq!((form.number("a"), form.number("d")), (Some(1), None));
        assert!(!form.has("b") && form.has("a"));
        assert_eq!(Form::parse(b""), Form::default());
    }
}
