//! A family's source package, from Debian's newest suite into the cache, and its programs built there once, as Debian builds
//! them where its allocator can be had: with the one that the source brings along, small allocations round up to less.
//! Never touches the machine's own package state: apt works on lists and caches of our own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Family;
use crate::Failure;
use crate::peer::cache_directory;
use crate::process::{find_program, output, run};

const SUITE: &str = "sid";
const MIRROR_DEFAULT: &str = "http://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What `libjemalloc-dev` installs.
const ALLOCATOR_HEADER: &str = "/usr/include/jemalloc/jemalloc.h";
/// What `libssl-dev` installs.
const TLS_HEADER: &str = "/usr/include/openssl/ssl.h";
/// Patches under this name say where a package's files are installed.
const PACKAGING_PATCHES: &str = "debian-packaging/";

/// The folder of the family's source with its programs built in `src/`: the one that `VALKEY_BIN_DIR` or `REDIS_BIN_DIR`
/// lies in, else the cache's, where what is missing is fetched and built.
pub(crate) fn prepare(family: Family) -> Result<PathBuf, Failure> {
    let chosen = std::env::var_os(family.variable()).map(PathBuf::from);
    let built_elsewhere =
        chosen.as_deref().and_then(Path::parent).filter(|source| source.join("runtest").is_file());
    if let Some(source) = built_elsewhere {
        return Ok(source.to_owned());
    }
    let source = family.source();
    if !source.join("runtest").is_file() {
        fetch(family, &source)?;
    }
    if !family.is_built(&source) {
        build(family, &source)?;
    }
    Ok(source)
}

fn fetch(family: Family, source: &Path) -> Result<(), Failure> {
    require(&["apt-get", "tar", "patch"], "fetch a source package")?;
    let apt = cache_directory().join("apt");
    let downloads = cache_directory().join("download");
    for folder in ["lists/partial", "cache/archives/partial", "state"] {
        fs::create_dir_all(apt.join(folder))?;
    }
    fs::create_dir_all(&downloads)?;
    fs::write(apt.join("sources.list"), source_line(&configured_mirror()))?;
    fs::write(apt.join("apt.conf"), apt_configuration(&apt))?;

    let apt_get = || {
        let mut command = Command::new("apt-get");
        command.env("APT_CONFIG", apt.join("apt.conf")).current_dir(&downloads);
        command
    };
    eprintln!("fetching {}'s source from Debian {SUITE}", family.title());
    output(apt_get().arg("update"))?;
    output(apt_get().args(["source", "--download-only", family.name()]))?;

    // Unpacked under another name first, so that a broken run leaves nothing that looks complete.
    let unpacked = source.with_extension("new");
    fs::remove_dir_all(&unpacked).or_else(ignore_missing)?;
    fs::create_dir_all(&unpacked)?;
    unpack(&downloaded(&downloads, family, ".orig.tar.")?, 1, &unpacked)?;
    unpack(&downloaded(&downloads, family, ".debian.tar.")?, 0, &unpacked)?;
    apply_patches(&unpacked)?;
    fs::rename(&unpacked, source)?;
    Ok(())
}

/// The family's newest file with this in its name.
fn downloaded(downloads: &Path, family: Family, part: &str) -> Result<PathBuf, Failure> {
    let names =
        fs::read_dir(downloads)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let start = format!("{}_", family.name());
    let newest = names.filter(|name| name.starts_with(&start) && name.contains(part)).max();
    let name = newest.ok_or_else(|| format!("apt-get fetched no file {start}*{part}*"))?;
    Ok(downloads.join(name))
}

/// Unpacks without the first folders of each path.
fn unpack(tarball: &Path, stripped: u32, into: &Path) -> Result<(), Failure> {
    let strip = format!("--strip-components={stripped}");
    run(Command::new("tar").args(["--extract", &strip, "--file"]).arg(tarball).arg("-C").arg(into))
}

fn apply_patches(source: &Path) -> Result<(), Failure> {
    let folder = Path::new("debian/patches");
    for name in patches_in(&fs::read_to_string(source.join(folder).join("series"))?) {
        let mut patch = Command::new("patch");
        patch.current_dir(source).args(["--silent", "-p1", "--input"]).arg(folder.join(name));
        run(&mut patch)?;
    }
    Ok(())
}

/// Those of a package's patches that change the programs, in their order.
fn patches_in(series: &str) -> impl Iterator<Item = &str> {
    let names = series.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| !name.starts_with('#') && !name.starts_with(PACKAGING_PATCHES))
}

fn build(family: Family, source: &Path) -> Result<(), Failure> {
    let title = family.title();
    require(&["make", "cc"], &format!("build {title}'s programs"))?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let log_path = cache_directory().join(format!("build-{}.log", family.name()));
    eprintln!("building {title}'s programs, once; log in {}", log_path.display());
    let log = File::create(&log_path)?;
    let mut make = Command::new("make");
    make.arg(format!("-j{jobs}")).current_dir(source).stdout(log.try_clone()?).stderr(log);
    if Path::new(ALLOCATOR_HEADER).is_file() {
        make.args(["USE_JEMALLOC=yes", "USE_SYSTEM_JEMALLOC=yes"]);
    } else {
        eprintln!("with the allocator that {title} brings along; Debian's needs `libjemalloc-dev`");
    }
    if Path::new(TLS_HEADER).is_file() {
        make.arg("BUILD_TLS=yes");
    }
    run(&mut make)
}

/// Refuses to go on without one of the programs.
fn require(programs: &[&str], purpose: &str) -> Result<(), Failure> {
    match programs.iter().find(|program| find_program(program).is_none()) {
        Some(missing) => Err(format!("`{missing}` is needed to {purpose}").into()),
        None => Ok(()),
    }
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn source_line(mirror: &str) -> String {
    let signed_by = if Path::new(KEYRING).is_file() {
        format!("[signed-by={KEYRING}] ")
    } else {
        String::new()
    };
    format!("deb-src {signed_by}{mirror} {SUITE} main\n")
}

fn apt_configuration(apt: &Path) -> String {
    let apt = apt.display();
    // The sandbox user that apt would become may not reach a cache in somebody's home.
    format!(
        "Dir::Etc::sourcelist \"{apt}/sources.list\";\n\
         Dir::Etc::sourceparts \"-\";\n\
         Dir::State::lists \"{apt}/lists\";\n\
         Dir::State::extended_states \"{apt}/state/extended_states\";\n\
         Dir::Cache \"{apt}/cache\";\n\
         APT::Sandbox::User \"\";\n\
         APT::Update::Post-Invoke-Success {{}};\n\
         #clear APT::Update::Post-Invoke-Success;\n\
         #clear DPkg::Post-Invoke;\n"
    )
}

/// The Debian mirror that this machine uses.
fn configured_mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(|entry| entry.ok().map(|entry| entry.path())));
    }
    files.sort();
    let mut texts = files.iter().filter_map(|path| fs::read_to_string(path).ok());
    texts.find_map(|text| mirror_in(&text)).unwrap_or_else(|| MIRROR_DEFAULT.to_owned())
}

/// The first address of a whole Debian archive, in the one-line form or the newer one of fields.
fn mirror_in(text: &str) -> Option<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let relevant = lines.filter(|line| line.starts_with("deb") || line.starts_with("URIs:"));
    let mut words = relevant.flat_map(str::split_whitespace);
    words
        .find(|word| word.contains("://") && word.trim_end_matches('/').ends_with("/debian"))
        .map(|word| word.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::{mirror_in, patches_in};

    #[test]
    fn patches_in_their_order() {
        let series =
            "debian-packaging/0001-paths.patch\n# later\n\n0001-a.patch -p1\n0002-b.patch\n";
        assert_eq!(patches_in(series).collect::<Vec<_>>(), ["0001-a.patch", "0002-b.patch"]);
    }

    #[test]
    fn mirrors() {
        let fields = "Types: deb\n# http://old.example/debian\nURIs: http://a.example/debian\nSuites: trixie\n";
        assert_eq!(mirror_in(fields).as_deref(), Some("http://a.example/debian"));
        let line = "deb [arch=amd64] https://b.example/debian/ trixie main\n";
        assert_eq!(mirror_in(line).as_deref(), Some("https://b.example/debian"));
        let other = "deb http://security.example/debian-security trixie main\n# deb http://c.example/debian x main\n";
        assert_eq!(mirror_in(other), None);
    }
}
