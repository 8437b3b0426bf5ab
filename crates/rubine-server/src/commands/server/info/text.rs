//! The text of INFO: titles and `name:value` lines. Knows no section.

use std::fmt::{Display, Write};

/// The reply as it grows.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    /// Starts a section.
    pub(super) fn title(&mut self, title: &str) {
        if !self.0.is_empty() {
            self.0.push_str("\r\n");
        }
        self.0.push_str("# ");
        self.0.push_str(title);
        self.0.push_str("\r\n");
    }

    /// A line.
    pub(super) fn field(&mut self, name: &str, value: impl Display) {
        write!(self.0, "{name}:{value}\r\n").expect("writing to a string cannot fail");
    }

    /// Lines that are whole already.
    pub(super) fn lines(&mut self, lines: &str) {
        self.0.push_str(lines);
    }

    /// A number of bytes, and the same for people.
    pub(super) fn bytes(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.field(&format!("{name}_human"), human_bytes(bytes));
    }

    /// A ratio, with two decimals.
    pub(super) fn ratio(&mut self, name: &str, value: f64) {
        self.field(name, format_args!("{value:.2}"));
    }

    /// Lines that are always 0, since there is nothing here that could be counted.
    pub(super) fn zeros(&mut self, names: &[&str]) {
        for name in names {
            self.field(name, 0);
        }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// A number of bytes for people, as `1.50M`.
fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while 1024.0 <= value && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::human_bytes;

    #[test]
    fn bytes_are_readable() {
        let expected = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (971_632, "948.86K"),
            (25_276_510_208, "23.54G"),
            (u64::MAX, "16384.00P"),
        ];
        for (bytes, expected) in expected {
            assert_eq!(human_bytes(bytes), expected);
        }
    }
}
