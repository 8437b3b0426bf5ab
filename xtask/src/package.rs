//! `cargo xtask package`: the Debian package, with manual pages and completions made from the declarations. `--check` takes it
//! through its life in a clean root.

mod check;
mod manual;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::build;
use crate::process::{find_program, output, root, run, target_directory};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Packs this program instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where the package goes; else to `target/package`
    #[arg(long)]
    out: Option<PathBuf>,
    /// Installs, starts, upgrades and removes it in a clean root, and follows the guide for upgrading; needs root, debootstrap
    /// and Debian's packages
    #[arg(long)]
    check: bool,
    /// The clean root, if there is one already; it is copied
    #[arg(long)]
    root: Option<PathBuf>,
}

/// Names that the program goes by.
const NAMES: [&str; 3] = ["rubine-sentinel", "rubine-check-aof", "rubine-check-rdb"];

/// What of the configuration is otherwise where systemd runs the server.
const CONFIGURED: [(&str, &str); 3] = [
    ("bind * -::*", "bind 127.0.0.1 -::1"),
    ("supervised no", "supervised systemd"),
    ("dir ./", "dir /var/lib/rubine"),
];

const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

pub(crate) fn run_package(options: &Options) -> Result<(), Failure> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build::server("release")?,
    };
    let out = options.out.clone().unwrap_or_else(|| target_directory().join("package"));
    fs::create_dir_all(&out)?;
    check_files()?;
    let package = build_deb(&binary, &out, "1")?;
    println!("{}", package.display());
    if options.check {
        let next = build_deb(&binary, &out.join("next"), "2")?;
        check::run_check(&package, &next, options.root.as_deref(), &out)?;
    }
    Ok(())
}

/// Looks at the files beside the package: what Prometheus and systemd say of them, where they are at hand.
fn check_files() -> Result<(), Failure> {
    let packaging = root().join("packaging");
    if let Some(promtool) = find_program("promtool") {
        let rules = packaging.join("prometheus/rubine.rules.yml");
        output(Command::new(promtool).args(["check", "rules"]).arg(rules))?;
    }
    Ok(())
}

/// Puts the package together. `revision` is what stands behind the version.
fn build_deb(binary: &Path, out: &Path, revision: &str) -> Result<PathBuf, Failure> {
    let staged = out.join("root");
    if staged.exists() {
        fs::remove_dir_all(&staged)?;
    }
    stage_programs(binary, &staged)?;
    stage_files(&staged)?;
    manual::write(&staged)?;
    let version = format!("{}-{revision}", env!("CARGO_PKG_VERSION"));
    let architecture = output(Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    write_changelog(&staged, &version)?;
    write_control(&staged, &version, architecture, &depends(binary)?)?;
    let package = out.join(format!("rubine_{version}_{architecture}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--build", "--root-owner-group", "-Zxz"]).arg(&staged).arg(&package);
    output(&mut build)?;
    Ok(package)
}

fn stage_programs(binary: &Path, staged: &Path) -> Result<(), Failure> {
    let folder = staged.join("usr/bin");
    fs::create_dir_all(&folder)?;
    let program = folder.join("rubine-server");
    fs::copy(binary, &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    // Names of functions stay, for reports of crashes.
    if let Some(strip) = find_program("strip") {
        run(Command::new(strip).arg("--strip-debug").arg(&program))?;
    }
    for name in NAMES {
        symlink("rubine-server", folder.join(name))?;
    }
    Ok(())
}

fn stage_files(staged: &Path) -> Result<(), Failure> {
    let packaging = root().join("packaging");
    let put = |from: &Path, to: &str| -> Result<(), Failure> {
        write(&staged.join(to), &fs::read(from)?, 0o644)
    };
    for unit in ["rubine-server.service", "rubine-sentinel.service"] {
        put(&packaging.join("systemd").join(unit), &format!("lib/systemd/system/{unit}"))?;
    }
    write(&staged.join("etc/rubine/rubine.conf"), configuration()?.as_bytes(), 0o640)?;
    let docs = "usr/share/doc/rubine";
    put(&packaging.join("debian/copyright"), &format!("{docs}/copyright"))?;
    put(&root().join("docs/upgrading.md"), &format!("{docs}/upgrading.md"))?;
    put(&root().join("docs/alerts.md"), &format!("{docs}/alerts.md"))?;
    let examples = format!("{docs}/examples");
    put(&packaging.join("grafana/rubine.json"), &format!("{examples}/grafana-dashboard.json"))?;
    let rules = packaging.join("prometheus/rubine.rules.yml");
    put(&rules, &format!("{examples}/prometheus.rules.yml"))?;
    let changes = staged.join(docs).join("changelog");
    write(&changes, &fs::read(root().join("CHANGELOG.md"))?, 0o644)?;
    compress(&changes)?;
    put(&packaging.join("debian/lintian-overrides"), "usr/share/lintian/overrides/rubine")
}

/// The changelog of the package, whose one entry points to that of the program.
fn write_changelog(staged: &Path, version: &str) -> Result<(), Failure> {
    let debian = fs::read_to_string(root().join("packaging/debian/control"))?;
    let maintainer = debian.lines().find_map(|it| it.strip_prefix("Maintainer: "));
    let maintainer = maintainer.ok_or("the package has no maintainer")?;
    // The time of the commit, so that the same commit makes the same package.
    let mut time = Command::new("git");
    let time = output(time.current_dir(root()).args(["log", "-1", "--format=%cD"]))?;
    let text = format!(
        "rubine ({version}) unstable; urgency=medium\n\n  * What changes for users is in changelog.gz.\n\n -- {maintainer}  {time}"
    );
    let path = staged.join("usr/share/doc/rubine/changelog.Debian");
    write(&path, text.as_bytes(), 0o644)?;
    compress(&path)
}

/// `rubine.conf` with what is otherwise for a service.
fn configuration() -> Result<String, Failure> {
    let mut text = fs::read_to_string(root().join("rubine.conf"))?;
    for (from, to) in CONFIGURED {
        let line = format!("\n{from}\n");
        if text.matches(&line).count() != 1 {
            return Err(format!("rubine.conf has no line '{from}', or several").into());
        }
        text = text.replace(&line, &format!("\n{to}\n"));
    }
    Ok(text)
}

fn write_control(
    staged: &Path,
    version: &str,
    architecture: &str,
    depends: &str,
) -> Result<(), Failure> {
    let debian = root().join("packaging/debian");
    let size: u64 =
        files(staged)?.iter().filter_map(|it| it.metadata().ok()).map(|it| it.len()).sum();
    let control = fs::read_to_string(debian.join("control"))?
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@SIZE@", &size.div_ceil(1024).to_string())
        .replace("@DEPENDS@", depends);
    let mut sums = Vec::new();
    for file in files(staged)? {
        let name = file.strip_prefix(staged)?.display().to_string();
        if !name.starts_with("etc/") && !file.is_symlink() {
            let sum = output(Command::new("md5sum").arg(&file))?;
            let sum = sum.split(' ').next().unwrap_or_default();
            sums.push(format!("{sum}  {name}\n"));
        }
    }
    let folder = staged.join("DEBIAN");
    write(&folder.join("control"), control.as_bytes(), 0o644)?;
    write(&folder.join("conffiles"), &fs::read(debian.join("conffiles"))?, 0o644)?;
    write(&folder.join("md5sums"), sums.concat().as_bytes(), 0o644)?;
    for script in SCRIPTS {
        write(&folder.join(script), &fs::read(debian.join(script))?, 0o755)?;
    }
    Ok(())
}

/// The libraries that a program is bound to, as packages: those of C and of its compiler, with the oldest version that has
/// all that it asks for.
fn depends(binary: &Path) -> Result<String, Failure> {
    const MARK: &[u8] = b"GLIBC_2.";
    let bytes = fs::read(binary)?;
    let minor = |at: usize| {
        let digits = bytes[at + MARK.len()..].iter().take_while(|it| it.is_ascii_digit());
        let digits: Vec<u8> = digits.copied().collect();
        String::from_utf8_lossy(&digits).parse::<u32>().ok()
    };
    let found = bytes.windows(MARK.len()).enumerate().filter(|it| it.1 == MARK);
    let newest = found.filter_map(|(at, _)| minor(at)).max();
    let newest = newest.ok_or("the program is bound to no library of C")?;
    Ok(format!("libc6 (>= 2.{newest}), libgcc-s1 (>= 3.0)"))
}

/// All files of a folder, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Writes a file, and the folders that it is in.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// Puts a compressed file in place of a file, the same bytes each time.
fn compress(path: &Path) -> Result<(), Failure> {
    run(Command::new("gzip").args(["-9", "-n", "-f"]).arg(path))
}
