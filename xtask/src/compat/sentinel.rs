//! Valkey's suite of Sentinel, with our program as Sentinel and Valkey's as the servers. It is run as it is, in a tree of
//! its own, but for the ports, which another run may have taken.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Family, Options, PORTS_PER_JOB, Ports};
use crate::Failure;
use crate::process::run as run_program;

const TOOLS: [&str; 4] = ["valkey-server", "valkey-cli", "valkey-check-aof", "valkey-check-rdb"];

/// Runs the units whose names contain one of those that were asked for, or all.
pub(super) fn run(
    options: &Options,
    source: &Path,
    tclsh: &Path,
    program: &Path,
) -> Result<(), Failure> {
    if options.family != Family::Valkey {
        return Err("only Valkey's suite of Sentinel is known".into());
    }
    let ports = Ports::take(options)?;
    let servers = options.servers.then_some(program);
    let tree = prepare(source, (program, servers), ports.first)?;
    let log = tree.join("log");
    let mut command = Command::new(tclsh);
    command.arg("tests/sentinel/run.tcl").current_dir(&tree);
    command.args(options.units.iter().flat_map(|unit| ["--single", unit]));
    command.env("VALKEY_BIN_DIR", tree.join("bin"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let printed = BufReader::new(child.stdout.take().expect("it was asked for"));
    let (mut unit, mut passed, mut failed) = (String::new(), 0, Vec::new());
    let mut text = String::new();
    for line in printed.lines() {
        let line = without_colours(&line?);
        if let Some(name) = line.strip_prefix("Testing unit: ") {
            name.clone_into(&mut unit);
        } else if line.ends_with(": OK") || line.ends_with(" OK") {
            passed += 1;
        } else if line.contains("FAILED") {
            println!("{unit}: {line}");
            failed.push(format!("{unit}: {line}"));
        }
        text += &line;
        text.push('\n');
    }
    let status = child.wait()?;
    fs::write(&log, text)?;
    println!(
        "compat of Sentinel: {passed} passed, {} failed; log in {}",
        failed.len(),
        log.display()
    );
    if status.success() && failed.is_empty() {
        Ok(())
    } else {
        Err("tests of Sentinel failed".into())
    }
}

/// A copy of the suite beside the programs that it runs: a Sentinel, and servers, if not those of the suite.
fn prepare(
    source: &Path,
    (program, servers): (&Path, Option<&Path>),
    port: u16,
) -> Result<PathBuf, Failure> {
    let tree = Family::Valkey.run_folder("sentinel");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    let programs = tree.join("bin");
    fs::create_dir_all(&programs)?;
    for tool in TOOLS {
        match servers {
            Some(program) if tool == "valkey-server" => {
                fs::copy(program, programs.join(tool))?;
            }
            _ => symlink(source.join("src").join(tool), programs.join(tool))?,
        }
    }
    // It is a Sentinel by this name.
    fs::copy(program, programs.join("valkey-sentinel"))?;
    run_program(Command::new("cp").arg("-r").arg(source.join("tests")).arg(&tree))?;
    fs::create_dir_all(tree.join("tests/sentinel/tmp"))?;
    let instances = tree.join("tests/instances.tcl");
    let half = PORTS_PER_JOB / 2;
    let text = fs::read_to_string(&instances)?
        .replace("sentinel_base_port 20000", &format!("sentinel_base_port {port}"))
        .replace("valkey_base_port 30000", &format!("valkey_base_port {}", port + half))
        .replace("valkey_port_count 1024", &format!("valkey_port_count {}", half - 100));
    fs::write(&instances, text)?;
    Ok(tree)
}

/// A line as it would be without the terminal's orders.
fn without_colours(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain += before;
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::without_colours;

    #[test]
    fn colours_are_left_out() {
        assert_eq!(without_colours("a: \u{1b}[0;32;49mOK\u{1b}[0m"), "a: OK");
        assert_eq!(without_colours("plain"), "plain");
    }
}
