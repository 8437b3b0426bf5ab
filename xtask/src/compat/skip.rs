//! The skip list: what of a family's suite is not expected to pass, with a reason a line. Runs nothing.

use rubine_testing::glob;

/// `tests/compat/skip.txt`, or the other family's.
#[derive(Debug, Default)]
pub(crate) struct SkipList {
    entries: Vec<Entry>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// A unit's name; `*` stands for any text.
    unit: String,
    /// A test's name or a `/regular expression/`; the whole unit when missing.
    pub(crate) test: Option<String>,
    pub(crate) reason: String,
}

/// Stands before the name of a tag: blocks of tests that bear it are not run at all.
const TAG: &str = "tag:";
/// Stands before a part of the message with which a unit ends before its end.
const ABORT: &str = "abort:";

impl SkipList {
    /// Reads lines of the form `"unit" : reason`, `"unit :: test or /regex/" : reason`, `"unit :: tag:name" : reason`
    /// and `"unit :: abort:text" : reason`.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut entries = Vec::new();
        for (idx, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = Entry::parse(line).ok_or_else(|| {
                format!("{name}:{}: expected `\"unit :: test\" : reason`", idx + 1)
            })?;
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    /// Why a whole unit is skipped, if it is.
    pub(crate) fn unit_reason(&self, unit: &str) -> Option<&str> {
        let mut whole = self.entries.iter().filter(|entry| entry.test.is_none());
        whole.find(|entry| glob::matches(&entry.unit, unit)).map(|entry| entry.reason.as_str())
    }

    /// The single tests of a unit that are skipped.
    pub(crate) fn tests(&self, unit: &str) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.test.is_some() && !entry.is_about_more())
            .filter(move |entry| glob::matches(&entry.unit, unit))
    }

    /// Whether a unit may end with this message.
    pub(crate) fn expects_abort(&self, unit: &str, message: &str) -> bool {
        let mut entries = self.entries.iter().filter(|entry| glob::matches(&entry.unit, unit));
        entries.any(|entry| entry.abort().is_some_and(|text| message.contains(text)))
    }

    /// The tags whose tests a unit leaves out, as the suite's own `--tags` takes them.
    pub(crate) fn denied_tags(&self, unit: &str) -> String {
        let entries = self.entries.iter().filter(|entry| glob::matches(&entry.unit, unit));
        entries.filter_map(Entry::tag).map(|tag| format!("-{tag} ")).collect()
    }

    /// The lines of the suite's own `--skipfile` for a unit.
    pub(crate) fn skipfile(&self, unit: &str) -> String {
        let mut lines = String::new();
        for entry in self.tests(unit) {
            match (entry.expression(), &entry.test) {
                (Some(expression), _) => lines.extend(["/", expression, "\n"]),
                (None, Some(test)) => lines.extend([test, "\n"]),
                (None, None) => {}
            }
        }
        lines
    }
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let (name, reason) = line.strip_prefix('"')?.split_once("\" : ")?;
        let (unit, test) = match name.split_once(" :: ") {
            Some((unit, test)) => (unit, Some(test.to_owned())),
            None => (name, None),
        };
        let is_complete = !unit.is_empty() && !reason.trim().is_empty();
        is_complete.then(|| Self { unit: unit.to_owned(), test, reason: reason.trim().to_owned() })
    }

    /// Whether it is about something else than single tests.
    fn is_about_more(&self) -> bool {
        self.tag().is_some() || self.abort().is_some()
    }

    fn abort(&self) -> Option<&str> {
        self.test.as_deref()?.strip_prefix(ABORT)
    }

    fn tag(&self) -> Option<&str> {
        self.test.as_deref()?.strip_prefix(TAG)
    }

    /// The regular expression that the entry is, if it is one.
    pub(crate) fn expression(&self) -> Option<&str> {
        self.test.as_deref()?.strip_prefix('/')?.strip_suffix('/')
    }

    /// Whether the entry names this test; an expression is left to the suite and matches none here.
    pub(crate) fn names(&self, test: &str) -> bool {
        self.test.as_deref() == Some(test)
    }
}

#[cfg(test)]
mod tests {
    use super::SkipList;

    const TEXT: &str = "\
# a comment

\"unit/moduleapi/*\" : no module API
\"unit/other :: a : \"b\" test\" : first reason
\"unit/other :: /^SORT.*/\" : second reason
\"* :: tag:cluster\" : third reason
\"unit/other :: tag:repl\" : fourth reason
\"unit/other :: abort:'replicaof'\" : fifth reason
";

    #[test]
    fn units_and_tests() {
        let list = SkipList::parse("skip.txt", TEXT).expect("well formed");
        assert_eq!(list.unit_reason("unit/moduleapi/hooks"), Some("no module API"));
        assert_eq!(list.unit_reason("unit/other"), None);
        assert_eq!(list.skipfile("unit/other"), "a : \"b\" test\n/^SORT.*\n");
        assert!(list.tests("unit/other").any(|entry| entry.names("a : \"b\" test")));
        assert_eq!(list.tests("unit/sort").count(), 0);
        assert_eq!(list.denied_tags("unit/other"), "-cluster -repl ");
        assert_eq!(list.denied_tags("unit/sort"), "-cluster ");
        assert_eq!(list.unit_reason("unit/sort"), None);
        assert!(list.expects_abort("unit/other", "ERR unknown command 'replicaof'"));
        assert!(!list.expects_abort("unit/sort", "ERR unknown command 'replicaof'"));
    }

    #[test]
    fn a_reason_is_required() {
        for line in ["\"unit/a\"", "\"unit/a\" : ", "unit/a : b", "\"\" : b"] {
            SkipList::parse("skip.txt", line).expect_err(line);
        }
    }
}
