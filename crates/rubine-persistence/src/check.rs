//! Looks at a whole log file without running it: how far it is good, and what of it was written after a moment. Changes
//! nothing.

use std::io::Read;

use crate::log::{LogError, LogReader};

/// What was found in a file.
#[derive(Debug, Default)]
pub struct Finding {
    /// Whole units end here.
    pub valid_up_to: u64,
    /// Lines up to there.
    pub valid_lines: u64,
    /// Why it cannot be read on.
    pub problem: Option<LogError>,
    /// What is there up to the moment that was asked for; all, if none was.
    pub kept: Tally,
    /// What was written later.
    pub later: Tally,
    /// Where the first thing stands that was written later.
    pub later_from: Option<u64>,
}

/// Some of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub commands: u64,
    /// Commands before the first time mark.
    pub unmarked_commands: u64,
    /// Unix seconds of the first and the last time mark.
    pub first_second: Option<u64>,
    pub last_second: Option<u64>,
}

impl Tally {
    /// Takes in what comes after it.
    pub fn add(&mut self, other: &Self) {
        self.commands += other.commands;
        self.unmarked_commands += other.unmarked_commands;
        self.first_second = self.first_second.or(other.first_second);
        self.last_second = other.last_second.or(self.last_second);
    }
}

/// Reads a log whose first byte stands at `position` of the file. What follows the first time mark behind `until` is
/// later, whatever marks come then: the clock may have been set back.
pub fn scan(source: impl Read, position: u64, until: Option<u64>) -> Finding {
    let mut reader = LogReader::new(source, position);
    let mut finding = Finding { valid_up_to: position, ..Finding::default() };
    loop {
        match reader.next_unit() {
            Ok(Some(unit)) => {
                let is_later = unit.second.zip(until).is_some_and(|(second, until)| until < second);
                if is_later {
                    finding.later_from.get_or_insert(unit.start);
                }
                let has_later = finding.later_from.is_some();
                let tally = if has_later { &mut finding.later } else { &mut finding.kept };
                tally.commands += unit.commands().len() as u64;
                if unit.second.is_none() {
                    tally.unmarked_commands += unit.commands().len() as u64;
                }
                tally.first_second = tally.first_second.or(unit.second);
                tally.last_second = unit.second.or(tally.last_second);
                finding.valid_up_to = unit.end;
            }
            Ok(None) => {
                // A mark at the very end says that the log went on to then, though nothing was written.
                if reader.second().zip(until).is_some_and(|(second, until)| until < second) {
                    finding.later_from.get_or_insert(finding.valid_up_to);
                }
                finding.valid_up_to = reader.position();
                finding.valid_lines = reader.lines();
                return finding;
            }
            Err(error) => {
                finding.problem = Some(error);
                return finding;
            }
        }
        finding.valid_lines = reader.lines();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, until: Option<u64>, expected: &str) {
        let bytes = text.replace('|', "\r\n");
        let finding = scan(bytes.as_bytes(), 0, until);
        let tally = |it: Tally| {
            let Tally { commands, unmarked_commands, first_second, last_second } = it;
            let second = |it: Option<u64>| it.map_or("-".to_owned(), |it| it.to_string());
            let (first, last) = (second(first_second), second(last_second));
            format!("{commands} ({unmarked_commands} unmarked) {first}..{last}")
        };
        let Finding { valid_up_to, valid_lines, kept, later, later_from, problem } = finding;
        let later_from =
            later_from.map_or(String::new(), |at| format!(", from {at} {}", tally(later)));
        let problem = problem.map_or(String::new(), |it| format!(", {it}"));
        let found =
            format!("{valid_up_to} line {valid_lines}: {}{later_from}{problem}", tally(kept));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_file_is_measured() {
        let text = "*1|$1|a|#TS:5|*1|$1|b|#TS:7|*1|$1|c|#TS:6|*1|$1|d|";
        check("", None, "0 line 0: 0 (0 unmarked) -..-");
        check(text, None, "65 line 15: 4 (1 unmarked) 5..6");
        check(text, Some(7), "65 line 15: 4 (1 unmarked) 5..6");
        check(text, Some(6), "65 line 15: 2 (1 unmarked) 5..5, from 29 2 (0 unmarked) 7..6");
        check(text, Some(4), "65 line 15: 1 (1 unmarked) -..-, from 11 3 (0 unmarked) 5..6");
        check(
            "#TS:5|*1|$1|a|#TS:8|",
            Some(7),
            "25 line 5: 1 (0 unmarked) 5..5, from 18 0 (0 unmarked) -..-",
        );
        check(
            &format!("{text}!"),
            None,
            "65 line 15: 4 (1 unmarked) 5..6, no command begins with byte 0x21 at offset 65, line 16",
        );
        check(
            "*1|$1|a|*1|$5|MULTI|*1|$1|b|",
            None,
            "11 line 3: 1 (1 unmarked) -..-, the file ends within a transaction that begins at offset 11",
        );
    }
}
