//! Bytes, numbers and times for people. Never fails: what is no text is shown with escapes.

use std::fmt::Write;

use rubine_resp::decode::Value;

/// Bytes of one value that a page shows.
pub(crate) const SHOWN_BYTES_MAX: usize = 64 << 10;

/// Text as it is, and other bytes as `\x00`.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\n' | '\t' => shown.push(char),
                '\\' => shown.push_str("\\\\"),
                _ if char.is_control() => {
                    escape(&mut shown, char.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => shown.push(char),
            }
        }
        escape(&mut shown, chunk.invalid());
    }
    shown
}

fn escape(shown: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(shown, "\\x{byte:02x}");
    }
}

/// The same in at most so many bytes, and whether that is all.
pub(crate) fn cut(bytes: &[u8], bytes_max: usize) -> String {
    match bytes.get(..bytes_max) {
        Some(part) if part.len() < bytes.len() => {
            format!("{}… ({} bytes)", text(part), bytes.len())
        }
        _ => text(bytes),
    }
}

/// A dump in rows of sixteen bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut dump = String::new();
    for (row, part) in bytes.chunks(16).enumerate() {
        let digits: Vec<String> = part.iter().map(|it| format!("{it:02x}")).collect();
        let shown: String = part
            .iter()
            .map(|&it| if it.is_ascii_graphic() || it == b' ' { char::from(it) } else { '.' })
            .collect();
        // As above.
        let _ = writeln!(dump, "{:08x}  {:<47}  {shown}", row * 16, digits.join(" "));
    }
    dump
}

/// JSON with indents, if it is JSON.
pub(crate) fn json(bytes: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    (value.is_object() || value.is_array()).then(|| format!("{value:#}"))
}

/// A number of bytes, as `1.5 MB`.
pub(crate) fn size(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let mut value = bytes;
    let mut unit = 0;
    while 1024.0 <= value.abs() && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{value:.0} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A number with a thin space between thousands.
pub(crate) fn count(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push('\u{2009}');
        }
        shown.push(digit);
    }
    if value < 0.0 { format!("-{shown}") } else { shown }
}

/// A span of time, as `2 d 3 h`.
pub(crate) fn span(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// A reply as redis-cli shows it.
pub(crate) fn reply(value: &Value) -> String {
    let mut shown = String::new();
    write_reply(&mut shown, value, 0);
    shown
}

fn write_reply(out: &mut String, value: &Value, depth: usize) {
    let line = match value {
        Value::Array(items) | Value::Set(items) | Value::Push(items) => {
            return write_list(out, items, depth);
        }
        Value::Map(pairs) | Value::Attribute(pairs) => {
            let items: Vec<Value> =
                pairs.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect();
            return write_list(out, &items, depth);
        }
        Value::Bulk(bytes) if depth == 0 => cut(bytes, SHOWN_BYTES_MAX),
        Value::Bulk(bytes) => format!("\"{}\"", cut(bytes, SHOWN_BYTES_MAX)),
        Value::Simple(bytes) | Value::Verbatim { text: bytes, .. } | Value::BigNumber(bytes) => {
            text(bytes)
        }
        Value::Error(bytes) | Value::BulkError(bytes) => format!("(error) {}", text(bytes)),
        Value::Integer(number) => format!("(integer) {number}"),
        Value::Null | Value::NullArray => "(nil)".to_owned(),
        Value::Boolean(is_true) => format!("({is_true})"),
        Value::Double(bytes) => format!("(double) {}", text(bytes)),
    };
    out.push_str(&line);
}

fn write_list(out: &mut String, items: &[Value], depth: usize) {
    if items.is_empty() {
        out.push_str("(empty)");
    }
    for (index, item) in items.iter().enumerate() {
        if index != 0 {
            out.push('\n');
            out.push_str(&"   ".repeat(depth));
        }
        // As above.
        let _ = write!(out, "{}) ", index + 1);
        write_reply(out, item, depth + 1);
    }
}

#[cfg(test)]
mod tests {
    use rubine_resp::decode::Value;

    use super::{count, cut, hex, json, reply, size, span, text};

    #[test]
    fn bytes_are_readable() {
        assert_eq!(text("a\\ü\n".as_bytes()), "a\\\\ü\n");
        assert_eq!(text(b"\x00\xff<b>"), "\\x00\\xff<b>");
        assert_eq!(
            (cut(b"abc", 2), cut(b"abc", 3)),
            ("ab… (3 bytes)".to_owned(), "abc".to_owned())
        );
        assert_eq!(
            hex(b"hello\x00"),
            "00000000  68 65 6c 6c 6f 00                                hello.\n"
        );
        assert_eq!(json(b"{\"a\":[1]}").unwrap(), "{\n  \"a\": [\n    1\n  ]\n}");
        assert_eq!((json(b"1"), json(b"{")), (None, None));
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            (size(0.0), size(1536.0), size(1e9)),
            ("0 B".into(), "1.5 KB".into(), "953.7 MB".into())
        );
        assert_eq!(
            (count(999.0), count(1_234_567.0)),
            ("999".into(), "1\u{2009}234\u{2009}567".into())
        );
        assert_eq!((span(59.0), span(90_061.0)), ("59 s".into(), "1 d 1 h".into()));
    }

    #[test]
    fn replies_show_as_redis_cli_shows_them() {
        let value = Value::Array(vec![
            Value::Integer(1),
            Value::Array(vec![Value::Bulk(b"x".to_vec()), Value::Null]),
            Value::Map(vec![]),
        ]);
        assert_eq!(reply(&value), "1) (integer) 1\n2) 1) \"x\"\n   2) (nil)\n3) (empty)");
    }
}
