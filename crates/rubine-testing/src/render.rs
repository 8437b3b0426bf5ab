//! Replies as redis-cli prints them on a terminal. Three forms go beyond redis-cli, because they differ on the wire:
//! `(verbatim) "txt:.."`, `(big number) ..`, and `1> ..` for a push.

use crate::value::Value;

/// The lines that redis-cli would print, without the last newline.
pub fn render(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, "", &mut out);
    out
}

/// A string in double quotes, as redis-cli shows it: printable ASCII as it is, all else escaped.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend(['\\', char::from(byte)]),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.extend(["\\x", &format!("{byte:02x}")]),
        }
    }
    out.push('"');
    out
}

fn write_value(value: &Value, indent: &str, out: &mut String) {
    match value {
        Value::Status(text) => out.push_str(text),
        Value::Error(text) => out.extend(["(error) ", text]),
        Value::Integer(number) => out.extend(["(integer) ", &number.to_string()]),
        Value::Bulk(bytes) => out.push_str(&quote(bytes)),
        Value::Nil => out.push_str("(nil)"),
        Value::NilArray => out.push_str("(nil array)"),
        Value::Double(text) => out.extend(["(double) ", text]),
        Value::BigNumber(text) => out.extend(["(big number) ", text]),
        Value::Boolean(is_true) => out.push_str(if *is_true { "(true)" } else { "(false)" }),
        Value::Verbatim(bytes) => out.extend(["(verbatim) ", &quote(bytes)]),
        Value::Array(elements) => write_elements(elements, "(empty array)", ')', indent, out),
        Value::Set(elements) => write_elements(elements, "(empty set)", '~', indent, out),
        Value::Push(elements) => write_elements(elements, "(empty push)", '>', indent, out),
        Value::Map(pairs) => write_pairs(pairs, "(empty hash)", '#', indent, out),
        Value::Attribute(pairs, about) => {
            write_pairs(pairs, "(empty attribute)", '|', indent, out);
            out.extend(["\n", indent]);
            write_value(about, indent, out);
        }
    }
}

fn write_elements(elements: &[Value], empty: &str, mark: char, indent: &str, out: &mut String) {
    if elements.is_empty() {
        out.push_str(empty);
    }
    let width = elements.len().to_string().len();
    let inner = format!("{indent}{}", " ".repeat(width + 2));
    for (idx, element) in elements.iter().enumerate() {
        if idx > 0 {
            out.extend(["\n", indent]);
        }
        out.extend([format!("{:width$}", idx + 1), format!("{mark} ")]);
        write_value(element, &inner, out);
    }
}

fn write_pairs(pairs: &[(Value, Value)], empty: &str, mark: char, indent: &str, out: &mut String) {
    if pairs.is_empty() {
        out.push_str(empty);
    }
    let width = pairs.len().to_string().len();
    let inner = format!("{indent}{}", " ".repeat(width + 2));
    for (idx, (key, value)) in pairs.iter().enumerate() {
        if idx > 0 {
            out.extend(["\n", indent]);
        }
        out.extend([format!("{:width$}", idx + 1), format!("{mark} ")]);
        write_value(key, &inner, out);
        // redis-cli leaves a space at the end of the line, which editors would take away from a transcript.
        if spans_lines(value) {
            out.extend([" =>\n", &inner]);
        } else {
            out.push_str(" => ");
        }
        write_value(value, &inner, out);
    }
}

fn spans_lines(value: &Value) -> bool {
    match value {
        Value::Array(elements) | Value::Set(elements) | Value::Push(elements) => {
            elements.len() > 1 || elements.iter().any(spans_lines)
        }
        Value::Map(pairs) => pairs.len() > 1 || pairs.iter().any(|(_, value)| spans_lines(value)),
        Value::Attribute(..) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{quote, render};
    use crate::value::Value;

    #[test]
    fn nested_replies_are_indented() {
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let value = Value::Array(vec![
            bulk("0"),
            Value::Array(vec![bulk("a"), Value::Array(vec![Value::Integer(1), Value::Nil])]),
            Value::Map(vec![
                (bulk("k"), Value::Set(vec![bulk("x"), bulk("y")])),
                (bulk("l"), Value::Array(vec![])),
            ]),
        ]);
        let expected = "\
1) \"0\"
2) 1) \"a\"
   2) 1) (integer) 1
      2) (nil)
3) 1# \"k\" =>
      1~ \"x\"
      2~ \"y\"
   2# \"l\" => (empty array)";
        assert_eq!(render(&value), expected);
    }

    #[test]
    fn indexes_are_aligned() {
        let value = Value::Array((1..=10).map(Value::Integer).collect());
        let text = render(&value);
        assert!(text.starts_with(" 1) (integer) 1\n 2) "), "{text}");
        assert!(text.ends_with("\n10) (integer) 10"), "{text}");
    }

    #[test]
    fn strings_are_quoted() {
        assert_eq!(quote(b"a\"\\\n\r\t\x07\x08\x00\xff"), r#""a\"\\\n\r\t\a\b\x00\xff""#);
    }
}
