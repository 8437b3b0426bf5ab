//! One unit of the suite: runs it within a time limit and reads what it printed. Judges nothing.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Family;
use crate::Failure;
use crate::clock::Stopwatch;

const POLL: Duration = Duration::from_millis(100);

/// Makes the suite print a line when it has one, so that a run that is cut short leaves its trace.
const START_SCRIPT: &str = "fconfigure stdout -buffering line\nsource tests/test_helper.tcl\n";

/// How many lines of a failure's message are kept.
const MESSAGE_LINES_MAX: usize = 6;

/// What a suite that ran to its end prints before it sums up.
const END: &str = "\n                   The End\n";

/// What the suite says when it looks for a server that it has already given up.
const STUMBLE: &str = "key \"pid\" not known in dictionary";

/// How to run it.
pub(crate) struct Run<'a> {
    pub(crate) family: Family,
    pub(crate) unit: &'a str,
    /// A copy of the suite's tree that no other run uses at this time.
    pub(crate) tree: &'a Path,
    pub(crate) tclsh: &'a Path,
    /// Where the server and its relatives are.
    pub(crate) programs: &'a Path,
    pub(crate) log: &'a Path,
    pub(crate) skipfile: &'a Path,
    /// Tags whose tests are left out, in the suite's own form.
    pub(crate) denied_tags: &'a str,
    /// Only these tests, if any are named.
    pub(crate) only: &'a [String],
    /// Whether it is run through TLS.
    pub(crate) tls: bool,
    pub(crate) port_first: u16,
    pub(crate) port_count: u16,
    pub(crate) limit: Duration,
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Results {
    pub(crate) passed: Vec<String>,
    pub(crate) failed: Vec<Failed>,
    pub(crate) skipped: Vec<String>,
    /// Why the unit did not run to its end.
    pub(crate) abort: Option<String>,
    pub(crate) seconds: u64,
}

/// A test that failed, and the first lines of why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) test: String,
    pub(crate) message: Vec<String>,
}

impl Run<'_> {
    pub(crate) fn run(&self) -> Result<Results, Failure> {
        let script = self.tree.join("start.tcl");
        fs::write(&script, START_SCRIPT)?;
        let log = File::create(self.log)?;
        let stopwatch = Stopwatch::start();
        let mut child = Command::new(self.tclsh)
            .arg("start.tcl")
            .args(["--single", self.unit, "--clients", "1", "--durable"])
            .args(self.family.arguments())
            // The suites look for BUSY with commands that need no key of the script's.
            .args(["--config", "busy-reply-scope", "all"])
            .args(["--baseport", &self.port_first.to_string()])
            .args(["--portcount", &self.port_count.to_string()])
            .args(["--timeout", &self.limit.as_secs().to_string()])
            .args(self.tls.then_some("--tls"))
            .args(self.only.iter().flat_map(|test| ["--only", test]))
            .args(["--tags", self.denied_tags])
            .arg("--skipfile")
            .arg(self.skipfile)
            .current_dir(self.tree)
            .env(self.family.variable(), self.programs)
            .env("TERM", "dumb")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if stopwatch.elapsed() > self.limit {
                break None;
            }
            std::thread::sleep(POLL);
        };
        // Servers and helpers that a cut-short run left behind are in its process group.
        let group = format!("-{}", child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        child.wait()?;

        let printed = String::from_utf8_lossy(&fs::read(self.log)?).into_owned();
        let mut results = parse(&printed);
        results.seconds = stopwatch.elapsed().as_secs();
        let last = results.passed.last().map_or("the start", String::as_str);
        if status.is_none() {
            results.abort =
                Some(format!("time limit of {} s; last passed: {last}", self.limit.as_secs()));
        } else if results.abort.is_none() && !printed.contains(END) {
            results.abort = Some(format!("ended without a summary; last passed: {last}"));
        }
        Ok(results)
    }
}

/// Reads the suite's output.
pub(crate) fn parse(printed: &str) -> Results {
    let mut results = Results::default();
    // The list of failures at the end repeats what was printed before.
    let printed = printed.split(END).next().unwrap_or_default();
    let mut lines = printed.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((status, text)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "))
        else {
            continue;
        };
        match status {
            "ok" => results.passed.push(without_duration(text).to_owned()),
            "skip" => results.skipped.push(text.to_owned()),
            "err" | "exception" | "TIMEOUT" => {
                let mut message = Vec::new();
                while let Some(line) = lines.next_if(|line| !starts_report(line)) {
                    // A server that does not start is shown with its configuration first; the reason comes last.
                    if line == "ERROR:" {
                        message.clear();
                    } else if !line.trim().is_empty() {
                        message.push(line.to_owned());
                    }
                }
                let message = without_backtrace(message);
                if status == "err" {
                    let test = text.rsplit_once(" in tests/").map_or(text, |(test, _)| test);
                    results.failed.push(Failed { test: test.to_owned(), message });
                } else {
                    // After an exception outside any test the suite stumbles over itself; the cause stands before.
                    let cause = match text.contains(STUMBLE).then(|| results.failed.pop()).flatten()
                    {
                        Some(Failed { test, message }) => format!("{test} {}", message.join(" | ")),
                        None => format!("{text} {}", message.join(" | ")),
                    };
                    let last = results.passed.last().map_or("the start", String::as_str);
                    results.abort = Some(format!("{}; last passed: {last}", cause.trim()));
                }
            }
            _ => {}
        }
    }
    results
}

/// Keeps what an exception says. Where in the suite it was raised, the log tells.
fn without_backtrace(mut lines: Vec<String>) -> Vec<String> {
    if let Some(backtrace) = lines.iter().position(|line| line.trim() == "while executing") {
        lines.truncate(backtrace);
    }
    // The suite prints an exception twice, first without its ten first letters.
    if 1 < lines.len() && lines[1].ends_with(&lines[0]) {
        lines.remove(0);
    }
    lines.truncate(MESSAGE_LINES_MAX);
    lines
}

fn starts_report(line: &str) -> bool {
    ["[ok]: ", "[err]: ", "[skip]: ", "[ignore]: ", "[exception]: ", "[TIMEOUT]: ", "[testing]: "]
        .iter()
        .any(|start| line.starts_with(start))
        || line.starts_with('[') && line.contains(" done]")
        || line.contains("The End")
}

fn without_duration(text: &str) -> &str {
    let ends_with_duration = text.ends_with(" ms)");
    if ends_with_duration { text.rsplit_once(" (").map_or(text, |(test, _)| test) } else { text }
}

#[cfg(test)]
mod tests {
    use super::{Failed, parse};

    #[test]
    fn output() {
        let printed = "\
Testing unit/type/x
[ok]: SET and GET (an item) (3 ms)
[skip]: slow one
[err]: LPOP in a list in tests/unit/type/x.tcl
n command 'x'
ERR unknown command 'x'
    while executing
r x
[ignore]: large: Tag
[ok]: last
[1/1 done]: unit/type/x (1 seconds)

                   The End

Test Summary: 2 passed, 1 failed

!!! WARNING The following tests failed:

*** [err]: LPOP in a list in tests/unit/type/x.tcl
";
        let results = parse(printed);
        assert_eq!(results.passed, ["SET and GET (an item)", "last"]);
        assert_eq!(results.skipped, ["slow one"]);
        let message = vec!["ERR unknown command 'x'".to_owned()];
        assert_eq!(results.failed, [Failed { test: "LPOP in a list".to_owned(), message }]);
        assert_eq!(results.abort, None);
    }

    #[test]
    fn the_cause_of_an_abort_stands_before_it() {
        let printed = "[err]: ERR y\n    while executing\n[exception]: z: key \"pid\" not known in dictionary.\n";
        let results = parse(printed);
        assert_eq!(
            (results.failed, results.abort.as_deref()),
            (vec![], Some("ERR y; last passed: the start"))
        );
    }

    #[test]
    fn an_exception_ends_the_unit() {
        let results =
            parse("[ok]: one (1 ms)\n[exception]: Executing test client: ERR x.\nERR x\n");
        let abort = results.abort.expect("aborted");
        assert!(abort.contains("ERR x") && abort.contains("last passed: one"), "{abort}");
    }
}
