//! What a real server answers, and what must hold for any text.

use proptest::prelude::*;

use super::LongDouble;

fn human(value: LongDouble) -> String {
    let mut out = Vec::new();
    value.write_human(&mut out);
    String::from_utf8(out).unwrap()
}

fn sum(a: &str, b: &str) -> Option<String> {
    let [a, b] = [a, b].map(|text| LongDouble::parse(text.as_bytes()));
    Some(human(a? + b?))
}

#[test]
fn sums_read_as_a_person_would_write_them() {
    let check = |a: &str, b: &str, expected: &str| {
        assert_eq!(sum(a, b).as_deref(), Some(expected), "{a} + {b}");
    };
    check("10.5", "0.1", "10.6");
    check("0.1", "0.2", "0.3");
    check("3.0e3", "200", "3200");
    check("0", "3.141592653589793238462643383279", "3.14159265358979324");
    check("-0", "-0", "0");
    check("-1e-30", "0", "0");
    check("1e-17", "0", "0.00000000000000001");
    check("0x10", "0x.8p1", "17");
    check("9223372036854775807", "1", "9223372036854775808");
    check("5.", ".5", "5.5");
    check("17179869184", "1.5", "17179869185.5");
    check("inf", "1", "inf");
    check("-Infinity", "1", "-inf");
    check("inf", "-inf", "nan");
    check("1e20", "0.5", "100000000000000000000");
    check("1e40", "0", "9999999999999999999783686092270256259072");
}

#[test]
fn a_real_server_gives_the_same_sums() {
    let lines = include_str!("vectors.txt").lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let [a, b, expected] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let answer = match sum(a, b) {
            None => "bad".to_owned(),
            Some(text) if text.ends_with("inf") => "nan".to_owned(),
            Some(text) => text,
        };
        assert_eq!(answer, expected, "{line}");
    }
}

#[test]
fn malformed_text_is_refused() {
    for text in [
        "",
        " 1",
        "1 ",
        "nan",
        "-nan",
        "-",
        "+",
        ".",
        "1e",
        "1e+",
        "e5",
        "1..2",
        "0x",
        "0xg",
        "0x1p",
        "1p5",
        "1e5000",
        "-1e5000",
        "1e-5000",
        "1e99999999999999999999",
        "1e-99999999999999999999",
        "--1",
        "1_0",
        "infi",
    ] {
        assert_eq!(sum(text, "0"), None, "{text}");
    }
    assert_eq!(LongDouble::parse(&[b'1'; 5 * 1024]), None);
    assert_eq!(sum("0e99999999999999999999", "1").as_deref(), Some("1"));
}

#[test]
fn the_largest_number_has_all_its_digits() {
    let text = sum("1.18973149535723176502e4932", "0").unwrap();
    assert_eq!(text.len(), 4933);
    assert!(
        text.starts_with("1189731495357231765021263853030970205169063322294624200440323733"),
        "{text}"
    );
}

proptest! {
    #[test]
    fn integers_are_exact(value: i64) {
        prop_assert_eq!(human(LongDouble::from_i64(value)), value.to_string());
        prop_assert_eq!(LongDouble::parse(format!("{value}.0").as_bytes()), Some(LongDouble::from_i64(value)));
    }

    #[test]
    fn short_and_long_forms_agree(text in "[0-9]{0,10}\\.?[0-9]{0,10}") {
        let long = format!("{text}e0");
        prop_assert_eq!(LongDouble::parse(text.as_bytes()), LongDouble::parse(long.as_bytes()));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-+]?(0x)?[0-9a-f.]{0,40}([ep][-+]?[0-9]{0,9})?") {
        if let Some(value) = LongDouble::parse(text.as_bytes()) {
            let text = human(value);
            prop_assert!(LongDouble::parse(text.as_bytes()).is_some(), "{}", text);
        }
    }

    #[test]
    fn garbage_never_panics(text: Vec<u8>) {
        let _ = LongDouble::parse(&text);
    }
}
