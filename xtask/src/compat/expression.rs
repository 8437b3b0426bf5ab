//! The skip list's regular expressions, matched as the suite itself matches them: by Tcl. Judges nothing.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Failure;

/// Reads an expression and then names, a line each; prints 1 or 0 for every name.
const SCRIPT: &str = "\
fconfigure stdin -encoding utf-8
gets stdin expression
while {[gets stdin name] >= 0} {puts [regexp -- $expression $name]}
exit
";

/// Those of `names` that the expression matches. The script is kept in `folder`, which no other thread uses.
pub(crate) fn matching<'a>(
    tclsh: &Path,
    folder: &Path,
    expression: &str,
    names: &[&'a str],
) -> Result<Vec<&'a str>, Failure> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let script = folder.join("matching.tcl");
    std::fs::write(&script, SCRIPT)?;
    let mut child =
        Command::new(tclsh).arg(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let lines: String =
        std::iter::once(&expression).chain(names).map(|line| format!("{line}\n")).collect();
    let mut input = child.stdin.take().ok_or("a pipe was asked for")?;
    // Both pipes have a limit: whoever only writes would wait for a reader that waits too.
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| "writing to Tcl panicked")??;
    let answers = String::from_utf8_lossy(&output.stdout).into_owned();
    if answers.lines().count() != names.len() {
        return Err(format!("Tcl does not take the expression `{expression}`").into());
    }
    let is_match = answers.lines().map(|answer| answer == "1");
    Ok(names
        .iter()
        .zip(is_match)
        .filter(|(_, is_match)| *is_match)
        .map(|(name, _)| *name)
        .collect())
}
