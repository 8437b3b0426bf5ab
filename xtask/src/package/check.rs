//! The life of the package in a clean root: installed, started, upgraded, removed, purged; and the guide for upgrading from
//! Debian's redis-server, line by line. Everything happens inside that root, which has no systemd: a small program stands
//! in for what the guide asks of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::process::{find_program, output, output_of_both, root as repository, run};

/// What stands in for systemd: it starts and stops servers as the units say, as the user that they say.
const SYSTEMCTL: &str = include_str!("check/systemctl.sh");
/// What is done with the package, step by step; each step ends the script where it fails.
const LIFE: &str = include_str!("check/life.sh");
/// A server of Debian's with data of every type, before the guide, and what must be there after it.
const BEFORE: &str = include_str!("check/before.sh");
const AFTER: &str = include_str!("check/after.sh");

pub(super) fn run_check(
    package: &Path,
    next: &Path,
    prepared: Option<&Path>,
    out: &Path,
) -> Result<(), Failure> {
    let clean = match prepared {
        Some(prepared) => prepared.to_owned(),
        None => bootstrap(out)?,
    };
    for (name, scripts) in [
        ("life", vec![LIFE.to_owned()]),
        ("upgrade", vec![BEFORE.to_owned(), guide()?, AFTER.to_owned()]),
    ] {
        let room = Room::new(&clean, out.join(format!("room-{name}")))?;
        room.put(package, "/tmp/rubine.deb")?;
        room.put(next, "/tmp/rubine-next.deb")?;
        room.write("/usr/local/bin/systemctl", SYSTEMCTL)?;
        for script in scripts {
            let printed = room.sh(&script)?;
            println!("{name}: {}", printed.trim().replace('\n', &format!("\n{name}: ")));
        }
    }
    Ok(())
}

/// A small Debian, with its redis-server.
fn bootstrap(out: &Path) -> Result<PathBuf, Failure> {
    let debootstrap = find_program("debootstrap").ok_or("there is no debootstrap")?;
    let clean = out.join("clean");
    if !clean.join("bin/sh").exists() {
        let codename =
            output(Command::new("sh").args(["-c", ". /etc/os-release; echo $VERSION_CODENAME"]))?;
        let mut make = Command::new(debootstrap);
        make.args(["--variant=minbase", "--include=adduser,redis-server,ca-certificates"]);
        run(make.arg(codename.trim()).arg(&clean))?;
    }
    Ok(clean)
}

/// The lines of the guide that a shell is to run.
fn guide() -> Result<String, Failure> {
    let text = fs::read_to_string(repository().join("docs/upgrading.md"))?;
    let mut lines = vec!["set -eu"];
    let mut is_inside = false;
    for line in text.lines() {
        match line {
            "```sh" => is_inside = true,
            "```" => is_inside = false,
            line if is_inside => lines.push(line),
            _ => {}
        }
    }
    if lines.len() < 5 {
        return Err("the guide has no lines to run".into());
    }
    Ok(lines.join("\n"))
}

/// A copy of the clean root, which goes with this.
struct Room {
    folder: PathBuf,
}

impl Room {
    fn new(clean: &Path, folder: PathBuf) -> Result<Self, Failure> {
        let room = Self { folder };
        room.clear();
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(clean).arg(&room.folder))?;
        room.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")?;
        run(Command::new("mount").args(["-t", "proc", "proc"]).arg(room.folder.join("proc")))?;
        Ok(room)
    }

    fn put(&self, from: &Path, to: &str) -> Result<(), Failure> {
        fs::copy(from, self.inside(to))?;
        Ok(())
    }

    fn write(&self, to: &str, text: &str) -> Result<(), Failure> {
        super::write(&self.inside(to), text.as_bytes(), 0o755)
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.folder.join(path.trim_start_matches('/'))
    }

    /// Runs a script inside.
    fn sh(&self, script: &str) -> Result<String, Failure> {
        let mut shell = Command::new("chroot");
        shell.arg(&self.folder).args(["/bin/bash", "-c", script]);
        shell.env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        shell.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        output_of_both(&mut shell)
    }

    /// Ends what was started inside, by the numbers that were noted, and removes the room.
    fn clear(&self) {
        if !self.folder.exists() {
            return;
        }
        let end = "for file in /run/*.unit; do [ -f \"$file\" ] && kill \"$(cat \"$file\")\"; done; sleep 1; true";
        // What has ended by itself is no fault.
        let _ = self.sh(end);
        let _ = Command::new("umount").arg(self.folder.join("proc")).status();
        let is_mounted =
            fs::read_dir(self.folder.join("proc")).is_ok_and(|mut it| it.next().is_some());
        if !is_mounted {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.clear();
    }
}
