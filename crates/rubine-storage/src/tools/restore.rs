//! `--restore-to`: makes a new folder with the log as it was at a moment, and has the server start from there. Never
//! changes a file of the log that it reads.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rubine_persistence::check::{Finding, Tally, scan};
use rubine_persistence::encryption::{Input, KeyRing};
use rubine_persistence::log::is_rdb;
use rubine_persistence::manifest::{LogFile, Manifest};
use rubine_rdb::read::{Item, Reader};
use rubine_rdb::version::VersionCheck;

use crate::aof::read_keys;
use crate::log_end::truncate;
use rubine_config::{Config, WorkingDirectory, path_of};

/// What is to be restored.
#[derive(Clone, Debug)]
pub struct Request {
    /// Unix seconds: everything up to the end of this one.
    second: u64,
    /// The new folder; by default one that is named for the moment.
    folder: Option<PathBuf>,
}

/// Takes `--restore-to MOMENT` and `--restore-dir FOLDER` out of the arguments of the server.
pub fn take_request(args: &mut Vec<Vec<u8>>) -> Result<Option<Request>, String> {
    let moment = take_option(args, b"--restore-to")?;
    let folder = take_option(args, b"--restore-dir")?.map(|it| path_of(&it));
    let Some(moment) = moment else {
        let is_alone = folder.is_some();
        return if is_alone {
            Err("--restore-dir needs --restore-to".to_owned())
        } else {
            Ok(None)
        };
    };
    let text = String::from_utf8_lossy(&moment).into_owned();
    let second = parse_moment(&text).ok_or_else(|| {
        format!("--restore-to takes a time as 2026-11-21T10:00:00Z or a Unix time, not '{text}'")
    })?;
    Ok(Some(Request { second, folder }))
}

fn take_option(args: &mut Vec<Vec<u8>>, name: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let Some(at) = args.iter().position(|it| it == name) else { return Ok(None) };
    args.remove(at);
    if args.len() <= at {
        return Err(format!("{} needs a value", String::from_utf8_lossy(name)));
    }
    Ok(Some(args.remove(at)))
}

/// A Unix time, or a moment as RFC 3339 writes it.
fn parse_moment(text: &str) -> Option<u64> {
    let second = match text.parse::<i64>() {
        Ok(second) => second,
        Err(_) => text.parse::<jiff::Timestamp>().ok()?.as_second(),
    };
    u64::try_from(second).ok()
}

/// Makes the new folder, and lets the configuration name it. Returns what there is to be told.
pub fn restore(request: &Request, config: &mut Config) -> Result<Vec<String>, String> {
    let from = config.dir.as_path().join(&config.appenddirname);
    let manifest_name = format!("{}.manifest", config.appendfilename);
    let text = fs::read(from.join(&manifest_name)).map_err(|error| {
        format!("There is no log to restore from: {}: {error}", from.join(&manifest_name).display())
    })?;
    let manifest = Manifest::parse(&text).map_err(|error| error.to_string())?;
    let keys = read_keys(config)?;
    let plan = plan(request.second, &from, &manifest, keys.as_ref())?;

    let name = format!("restored-{}", request.second);
    let folder = request.folder.clone().unwrap_or_else(|| config.dir.as_path().join(name));
    let into = folder.join(&config.appenddirname);
    let fail = |error: io::Error| format!("Can't write to {}: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(fail)?;
    if fs::read_dir(&folder).map_err(fail)?.next().is_some() {
        return Err(format!("{} is not empty: nothing was restored", folder.display()));
    }
    fs::create_dir(&into).map_err(fail)?;
    let copied = copy(&plan, &from, &into, keys.as_ref()).and_then(|()| {
        // The manifest comes last: without it there is no log.
        let restored = manifest.part(|file| plan.files.contains(file));
        let path = into.join(&manifest_name);
        fs::write(&path, restored.format())?;
        [&path, &into, &folder].iter().try_for_each(|path| File::open(path)?.sync_all())
    });
    if let Err(error) = copied {
        // A half would only stand in the way of the next attempt.
        let _ = fs::remove_dir_all(&into);
        return Err(fail(error));
    }
    config.dir = WorkingDirectory::at(&folder).map_err(fail)?;
    config.appendonly = true;
    let mut told = plan.told;
    told.push(format!(
        "The log as it was then is in {}; the server goes on there.",
        into.display()
    ));
    Ok(told)
}

/// Copies what makes up the log, as far as it goes.
fn copy(plan: &Plan, from: &Path, into: &Path, keys: Option<&KeyRing>) -> io::Result<()> {
    for file in &plan.files {
        fs::copy(file.path_in(from), file.path_in(into))?;
    }
    if let Some((file, at)) = &plan.cut {
        truncate(&file.path_in(into), keys, *at)?;
    }
    plan.files.iter().try_for_each(|file| File::open(file.path_in(into))?.sync_all())
}

/// What makes up the log at a moment.
struct Plan {
    /// Base and increments.
    files: Vec<LogFile>,
    /// The last of them ends there.
    cut: Option<(LogFile, u64)>,
    told: Vec<String>,
}

fn plan(
    second: u64,
    from: &Path,
    manifest: &Manifest,
    keys: Option<&KeyRing>,
) -> Result<Plan, String> {
    let mut plan = Plan { files: Vec::new(), cut: None, told: Vec::new() };
    if let Some(base) = &manifest.base {
        let written = written_at(&base.path_in(from), keys)?;
        match written {
            Some(written) if second < written => {
                return Err(format!(
                    "The log begins with a base of {}, which is later than {}: it does not reach back so far.",
                    shown(written),
                    shown(second)
                ));
            }
            Some(_) => {}
            None => plan
                .told
                .push(format!("The base {} does not say when it was written.", base.shown())),
        }
        plan.files.push(base.clone());
    }
    let (mut kept, mut left_out) = (Tally::default(), Tally::default());
    let mut left_out_files = 0;
    for file in &manifest.increments {
        let is_over = plan.cut.is_some();
        // What comes after the cut is later, whatever its marks say.
        let until = if is_over { None } else { Some(second) };
        let finding = scan_file(&file.path_in(from), until, keys)?;
        if let Some(problem) = &finding.problem {
            plan.told.push(format!("{} cannot be read to its end: {problem}", file.shown()));
        }
        if is_over {
            left_out.add(&finding.kept);
            left_out_files += 1;
            continue;
        }
        kept.add(&finding.kept);
        left_out.add(&finding.later);
        plan.files.push(file.clone());
        let end = finding.later_from.or(finding.problem.is_some().then_some(finding.valid_up_to));
        plan.cut = end.map(|end| (file.clone(), end));
    }
    if kept.last_second.is_none() && left_out.first_second.is_none() && 0 < kept.commands {
        return Err("The log has no time marks: aof-timestamp-enabled was off.".to_owned());
    }
    plan.told.insert(0, format!("Restored to {}: {}", shown(second), tally(&kept)));
    if 0 < kept.unmarked_commands {
        plan.told.push(format!(
            "{} of them come before the first time mark: they may be later than that.",
            kept.unmarked_commands
        ));
    }
    plan.told.push(match (left_out.commands, left_out_files) {
        (0, 0) => "Nothing was left out.".to_owned(),
        (_, 0) => format!("Left out: {}", tally(&left_out)),
        (_, files) => format!("Left out: {}, among them {files} whole files", tally(&left_out)),
    });
    Ok(plan)
}

fn open(path: &Path, keys: Option<&KeyRing>) -> Result<Input<File>, String> {
    let open = || Input::new(File::open(path)?, keys);
    open().map_err(|error| format!("Can't read {}: {error}", path.display()))
}

fn scan_file(path: &Path, until: Option<u64>, keys: Option<&KeyRing>) -> Result<Finding, String> {
    Ok(scan(open(path, keys)?, 0, until))
}

/// When a base was written, Unix seconds, if it says so: an RDB file in a remark, another one in its first time mark.
fn written_at(path: &Path, keys: Option<&KeyRing>) -> Result<Option<u64>, String> {
    let mut beginning = Vec::new();
    let unreadable = |error: io::Error| format!("Can't read {}: {error}", path.display());
    open(path, keys)?.take(16).read_to_end(&mut beginning).map_err(unreadable)?;
    let input = open(path, keys)?;
    if !is_rdb(&beginning) {
        return Ok(scan(input.take(4096), 0, None).kept.first_second);
    }
    let damaged = |error| format!("Can't read {}: {error}", path.display());
    let mut reader = Reader::new(input, VersionCheck::Relaxed).map_err(damaged)?;
    while let Some(item) = reader.next_item().map_err(damaged)? {
        match item {
            Item::Aux { key, value } if key == b"ctime" => {
                let text = std::str::from_utf8(&value).unwrap_or_default();
                return Ok(text.parse().ok());
            }
            Item::Entries(_) => break,
            _ => {}
        }
    }
    Ok(None)
}

fn tally(tally: &Tally) -> String {
    let Tally { commands, first_second, last_second, .. } = *tally;
    match first_second.zip(last_second) {
        Some((first, last)) => {
            format!("{commands} commands, from {} to {}", shown(first), shown(last))
        }
        None => format!("{commands} commands"),
    }
}

fn shown(second: u64) -> String {
    let moment = i64::try_from(second).ok().and_then(|it| jiff::Timestamp::from_second(it).ok());
    moment.map_or_else(|| second.to_string(), |it| it.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let check =
            |text: &str, expected: Option<u64>| assert_eq!(parse_moment(text), expected, "{text}");
        check("1795255200", Some(1_795_255_200));
        check("2026-11-21T10:00:00Z", Some(1_795_255_200));
        check("2026-11-21T12:00:00+02:00", Some(1_795_255_200));
        check("2026-11-21 10:00:00.5Z", Some(1_795_255_200));
        check("2026-11-21T10:00:00", None);
        check("yesterday", None);
        check("-5", None);
        assert_eq!(shown(1_795_255_200), "2026-11-21T10:00:00Z");
    }

    #[test]
    fn the_request_is_taken_out_of_the_arguments() {
        let words =
            |text: &str| text.split(' ').map(|it| it.as_bytes().to_vec()).collect::<Vec<_>>();
        let mut args = words("a.conf --restore-to 5 --port 1 --restore-dir /x/y");
        let request = take_request(&mut args).unwrap().unwrap();
        assert_eq!((request.second, request.folder), (5, Some(PathBuf::from("/x/y"))));
        assert_eq!(args, words("a.conf --port 1"));
        assert!(take_request(&mut words("--port 1")).unwrap().is_none());
        assert!(take_request(&mut words("--restore-to")).is_err());
        assert!(take_request(&mut words("--restore-to never")).is_err());
        assert!(take_request(&mut words("--restore-dir x")).is_err());
    }
}
