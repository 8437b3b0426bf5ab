//! What the reader of logs makes of whole, torn and damaged files, however their bytes arrive.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

/// A source that gives a few bytes at a time.
struct Dripping<'a>(&'a [u8], usize);

impl Read for Dripping<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.0.len().min(self.1).min(out.len());
        out[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

fn describe(bytes: &[u8], step: usize) -> String {
    let mut reader = LogReader::new(Dripping(bytes, step), 0);
    let mut shown = String::new();
    loop {
        match reader.next_unit() {
            Ok(None) => break,
            Ok(Some(unit)) => {
                let commands = unit.commands().map(|(bytes, args)| {
                    let words = args.iter().map(|it| String::from_utf8_lossy(it.of(bytes)));
                    words.collect::<Vec<_>>().join(" ")
                });
                let commands: Vec<String> = commands.collect();
                write!(shown, "{}-{}", unit.start, unit.end).unwrap();
                if let Some(second) = unit.second {
                    write!(shown, "@{second}").unwrap();
                }
                let (open, close) = if unit.is_transaction { ("{", "}") } else { ("", "") };
                write!(shown, " {open}{}{close}; ", commands.join(", ")).unwrap();
            }
            Err(error) => return format!("{shown}{error}"),
        }
    }
    format!("{shown}end {} line {}", reader.position(), reader.lines())
}

/// `text` has `|` for an end of line.
fn check(text: &str, expected: &str) {
    let bytes = text.replace('|', "\r\n");
    for step in [1, 2, 7, usize::MAX] {
        assert_eq!(describe(bytes.as_bytes(), step), expected, "{text} by {step}");
    }
}

#[test]
fn units_are_whole() {
    check("", "end 0 line 0");
    check("*2|$3|DEL|$1|a|*1|$4|PING|", "0-20 DEL a; 20-34 PING; end 34 line 8");
    check(
        "*1|$5|multi|*1|$1|a|*2|$1|b|$1|c|*1|$4|EXEC|*1|$1|d|",
        "0-58 {a, b c}; 58-69 d; end 69 line 17",
    );
    check("*1|$5|MULTI|*1|$4|EXEC|", "0-29 {}; end 29 line 6");
    check("*2|$5|MULTI|$1|x|", "0-22 MULTI x; end 22 line 5");
}

#[test]
fn marks_belong_to_what_follows() {
    check("#TS:5|*1|$1|a|*1|$1|b|", "0-18@5 a; 18-29@5 b; end 29 line 7");
    check("#TS:5|#TS:6|*1|$1|a|#TS:7|", "0-25@6 a; end 32 line 6");
    check("# hello|*1|$1|a|", "0-20 a; end 20 line 4");
    check("*1|$5|MULTI|#TS:9|*1|$1|a|*1|$4|EXEC|", "0-47@9 {a}; end 47 line 10");
}

#[test]
fn a_torn_end_is_told_from_damage() {
    check("*1|$1|a|*1|$1|", "0-11 a; the file ends within a command that begins at offset 11");
    check("*1|$1|a|*", "0-11 a; the file ends within a command that begins at offset 11");
    check("*1|$1|a|#TS:", "0-11 a; the file ends within a command that begins at offset 11");
    let multi = "*1|$1|a|*1|$5|MULTI|*1|$1|b|";
    let torn = "0-11 a; the file ends within a transaction that begins at offset 11";
    check(multi, torn);
    check(&format!("{multi}*1|$4|EXE"), torn);
    check("!!!", "no command begins with byte 0x21 at offset 0, line 1");
    check("*1|$1|a|\0", "0-11 a; no command begins with byte 0x00 at offset 11, line 4");
    check("*0|", "a command has no arguments at offset 0, line 1");
    check("*-1|", "a command has no arguments at offset 0, line 1");
    check("*x|", "Protocol error: invalid multibulk length at offset 0, line 1");
    check("*1|+OK|", "Protocol error: expected '$', got '+' at offset 0, line 1");
    check("*1|$1|ab|", "Protocol error: invalid CRLF in request at offset 0, line 1");
    check("*1|$4|EXEC|", "EXEC without MULTI at offset 0, line 4");
    check("*1|$5|MULTI|*1|$5|MULTI|", "MULTI within a transaction at offset 15, line 7");
    let long = format!("#{}", "x".repeat(timestamp::LINE_BYTES_MAX));
    check(&long, "an annotation does not end at offset 0, line 1");
}

#[test]
fn a_tail_of_every_length_gives_whole_units_only() {
    let text = "*2|$3|DEL|$1|a|#TS:7|*1|$5|MULTI|*1|$1|b|*1|$1|c|*1|$4|EXEC|*1|$4|PING|";
    let bytes = text.replace('|', "\r\n").into_bytes();
    // The mark alone is whole as well.
    let ends = [0, 20, 27, 78, 92];
    assert_eq!(bytes.len(), 92);
    for len in 0..=bytes.len() {
        let mut reader = LogReader::new(&bytes[..len], 0);
        let error = loop {
            match reader.next_unit() {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        match error {
            None => assert!(ends.contains(&len), "{len} bytes are torn"),
            Some(LogError::Torn { valid_up_to, .. }) => {
                assert!(!ends.contains(&len));
                let whole = [0, 20, 78].into_iter().filter(|it| *it <= len).max();
                assert_eq!(Some(valid_up_to as usize), whole, "{len} bytes");
            }
            Some(other) => panic!("{len} bytes: {other}"),
        }
    }
}

/// What fuzzers look for, from a good log and a good manifest on.
#[test]
fn no_mutation_breaks_a_promise() {
    let log =
        "*2|$6|SELECT|$1|0|#TS:5|*3|$3|SET|$1|a|$2|bc|*1|$5|MULTI|*2|$4|INCR|$1|n|*1|$4|EXEC|"
            .replace('|', "\r\n");
    let manifest = b"file a.2.base.rdb seq 2 type b\nfile a.1.incr.aof seq 1 type h\n\
                     file \"a\\x20b\" seq 4 type i\nfile a.9.incr.aof seq 9 type i\n";
    for seed in 0..6 {
        rubine_testing::mutate::for_each(log.as_bytes(), seed, crate::fuzz::log);
        rubine_testing::mutate::for_each(manifest, seed, crate::fuzz::manifest);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_safe(
        bytes in proptest::collection::vec(
            prop_oneof![Just(b'*'), Just(b'$'), Just(b'1'), Just(b'\r'), Just(b'\n'), Just(b'#'), any::<u8>()],
            0..200,
        ),
        step in 1_usize..20,
    ) {
        crate::fuzz::log(&bytes);
        prop_assert_eq!(describe(&bytes, step), describe(&bytes, usize::MAX));
    }
}
