//! Backups to a local folder: how long one takes beside BGSAVE until it is there, and until it was read back; and how long a
//! restore takes beside loading the dump. Real servers have nothing of the kind, so ours is held against itself.

use std::fs;
use std::time::Duration;

use super::start;
use crate::Failure;
use crate::bench::load::{fill, info_number};
use crate::bench::persistence::saving::{STRINGS, time_load};
use crate::bench::{Bench, verdict};
use crate::clock::Stopwatch;

const BACKUP_RATIO_MAX: f64 = 1.1;
const RESTORE_RATIO_MAX: f64 = 1.2;
/// The least of so many counts: other work on the machine only adds.
const RUNS: usize = 3;

pub(super) fn run(bench: &Bench) -> Result<(), Failure> {
    let keys = bench.scaled(bench.keys);
    let Some(ours) = bench.contenders.iter().find(|it| it.own_directives) else { return Ok(()) };
    println!("persistence: backups of {keys} {}", STRINGS.name);
    let place = std::env::temp_dir().join(format!("rubine-bench-backups-{}", std::process::id()));
    fs::create_dir_all(&place)?;
    let url = format!("file://{}", place.display());
    let mut server = start(ours, &[("backup-url", &url), ("backup-retention", "1")])?;
    fill(server.address(), 0..keys, STRINGS.request)?;
    let mut client = server.client();
    let (mut save, mut upload, mut whole) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        let stopwatch = Stopwatch::start();
        client.run("BGSAVE")?;
        while info_number(&mut client, "rdb_bgsave_in_progress")? != 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        save = save.min(stopwatch.elapsed());
        let stopwatch = Stopwatch::start();
        let made = client.run("BACKUP NOW WAIT")?;
        if !made.starts_with('"') {
            return Err(format!("BACKUP NOW: {made}").into());
        }
        whole = whole.min(stopwatch.elapsed());
        let uploaded = number(&client.run("INFO backup")?, "backup_last_upload_ms")?;
        upload = upload.min(Duration::from_millis(uploaded));
    }
    let file = server.directory().join("dump.rdb");
    let load = time_load(&mut server, &file)?;
    drop(server);
    let into = place.join("restored");
    let stopwatch = Stopwatch::start();
    let into_text = into.display().to_string();
    let restored = start(ours, &[("restore", &url), ("restore-dir", &into_text)])?;
    let restore = stopwatch.elapsed();
    drop(restored);
    fs::remove_dir_all(&place)?;
    let ratio = |part: Duration, whole: Duration| part.as_secs_f64() / whole.as_secs_f64();
    let (backup, restored) = (ratio(upload, save), ratio(restore, load));
    println!(
        "BGSAVE {:.2} s, backup there after {:.2} s, read back after {:.2} s; load {:.2} s, restore {:.2} s",
        save.as_secs_f64(),
        upload.as_secs_f64(),
        whole.as_secs_f64(),
        load.as_secs_f64(),
        restore.as_secs_f64()
    );
    println!(
        "backup: {backup:.2} of BGSAVE's time   {} (≤ {BACKUP_RATIO_MAX})",
        verdict(backup <= BACKUP_RATIO_MAX)
    );
    println!(
        "restore: {restored:.2} of loading's time   {} (≤ {RESTORE_RATIO_MAX})",
        verdict(restored <= RESTORE_RATIO_MAX)
    );
    Ok(())
}

/// A field of a section that has no other use here.
fn number(section: &str, name: &str) -> Result<u64, Failure> {
    let rest = section.split(name).nth(1).and_then(|it| it.strip_prefix(':'));
    let digits: String =
        rest.unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().map_err(|_| format!("INFO has no {name}").into())
}
