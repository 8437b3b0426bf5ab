//! Lengths of time as people write them: `90s`, `1h30m`, `15d`. Reads no clock.

/// Units in falling order, in milliseconds.
const UNITS: [(&str, u64); 6] = [
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// No time here is longer: a hundred years.
const MAX_MS: u64 = 100 * 365 * 86_400_000;

/// Reads a length of time, in milliseconds. Units stand in falling order, each once; a number alone is in seconds.
pub fn parse_duration(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit()) {
        return text.parse::<u64>().ok()?.checked_mul(1000).filter(|it| *it <= MAX_MS);
    }
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        rest = tail;
    }
    (!text.is_empty() && total <= MAX_MS).then_some(total)
}

/// Writes a length of time so that it reads back as the same.
pub fn format_duration(millis: u64) -> String {
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut rest = millis;
    let mut text = String::new();
    for (unit, factor) in UNITS {
        let count = rest / factor;
        rest %= factor;
        if count != 0 {
            text.push_str(&count.to_string());
            text.push_str(unit);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{format_duration, parse_duration};

    #[test]
    fn what_is_written_reads_back_the_same() {
        for (text, millis, written) in [
            ("0s", 0, "0s"),
            ("0", 0, "0s"),
            ("90", 90_000, "1m30s"),
            ("90s", 90_000, "1m30s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("48h", 172_800_000, "2d"),
            ("1w1d1h1m1s1ms", 694_861_001, "1w1d1h1m1s1ms"),
            ("1500ms", 1500, "1s500ms"),
        ] {
            assert_eq!(parse_duration(text), Some(millis), "{text}");
            assert_eq!(format_duration(millis), written);
            assert_eq!(parse_duration(written), Some(millis));
        }
    }

    #[test]
    fn what_is_no_length_of_time_is_refused() {
        for text in [
            "",
            "m",
            "5x",
            "-5m",
            "5m5m",
            "5s5m",
            "5 m",
            "1e3",
            "99999999999999999999s",
            "9999w9",
            "9999999w",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
