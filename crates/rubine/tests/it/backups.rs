//! Backups: what was made comes back on another machine, a bad one never passes for a good one, and whatever fails, the last
//! good one stays. Each rule has a test that would have caught what went wrong with it elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rubine_testing::client::Client;
use rubine_testing::server::{ServerOptions, free_port};
use rubine_testing::value::Value;

use crate::support::{call, elements, info, integer, options, send, wait_until};

/// A folder of a test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("rubine-backups-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the folder is made");
        Self(path)
    }

    fn url(&self) -> String {
        format!("file://{}", self.0.display())
    }

    /// All objects, by their names.
    fn names(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("it can be read").flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    let path = entry.path();
                    let name = path.strip_prefix(&self.0).expect("it is inside");
                    found.push(name.to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        found
    }

    fn dump_of(&self, id: &str) -> PathBuf {
        self.0.join("sets").join(id).join("dump.rdb.zst")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn backed(folder: &Folder) -> ServerOptions {
    options()
        .with("workers", "2")
        .with("enable-debug-command", "yes")
        .with("enable-protected-configs", "yes")
        .with("backup-url", &folder.url())
}

fn fill(client: &mut Client) {
    call(client, "DEBUG POPULATE 3000 key 64");
    call(client, "HSET hash a 1 b 2");
    call(client, "SELECT 9");
    call(client, "RPUSH list x y z");
    call(client, "SELECT 0");
}

fn digest(client: &mut Client) -> String {
    call(client, "DEBUG DIGEST").as_text().expect("a digest is text")
}

/// Makes a backup and gives its id.
fn back_up(client: &mut Client) -> String {
    let reply = call(client, "BACKUP NOW WAIT");
    reply
        .as_text()
        .filter(|_| matches!(reply, Value::Bulk(_)))
        .unwrap_or_else(|| panic!("no backup: {reply:?}"))
}

fn failure(value: &Value) -> String {
    match value {
        Value::Error(text) => format!("{text:?}"),
        other => panic!("an error was due, not {other:?}"),
    }
}

/// All texts and numbers of a reply.
fn said(value: &Value) -> String {
    match (value.as_elements(), value.as_text()) {
        (Some(elements), _) => elements.iter().map(said).collect::<Vec<_>>().join(" "),
        (None, Some(text)) => text,
        (None, None) => format!("{value:?}"),
    }
}

/// What a list has of each backup: its id and state, the newest first.
fn listed(client: &mut Client) -> Vec<(String, String)> {
    let reply = call(client, "BACKUP REMOTE LIST");
    let of = |entry: &Value| {
        let fields = elements(entry);
        (fields[1].as_text().expect("an id"), fields[3].as_text().expect("a state"))
    };
    elements(&reply).iter().map(of).collect()
}

/// Starts the program with these arguments, and waits for its end.
fn run(args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_rubine-server");
    Command::new(program).args(args).output().expect("the program starts")
}

/// A server that begins with a backup. Killed when it is dropped.
struct Restored {
    child: std::process::Child,
    client: Client,
}

impl Restored {
    fn start(address: &str, folder: &Path, more: &[&str]) -> Self {
        let port = free_port().expect("there is a port");
        let child = Command::new(env!("CARGO_BIN_EXE_rubine-server"))
            .args(["--restore", address, "--restore-dir"])
            .arg(folder)
            .args(["--port", &port.to_string(), "--save", "", "--enable-debug-command", "yes"])
            .args(["--workers", "2", "--logfile", "/dev/null"])
            .args(more)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut client = None;
        wait_until("the restored server", || {
            client = Client::connect(([127, 0, 0, 1], port).into()).ok();
            client.is_some()
        });
        let mut client = client.expect("it was just there");
        wait_until("the end of loading", || {
            call(&mut client, "PING") == Value::Status("PONG".into())
        });
        Self { child, client }
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn refused(address: &str, folder: &Path, more: &[&str]) -> String {
    let folder = folder.to_string_lossy().into_owned();
    let mut args = vec!["--restore", address, "--restore-dir", &folder, "--port", "0"];
    args.extend(more);
    let output = run(&args);
    assert!(!output.status.success(), "it was restored: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_backup_comes_back_on_another_machine() {
    let folder = Folder::new("comes-back");
    let server = backed(&folder).start().expect("it starts");
    let mut client = server.client();
    fill(&mut client);
    let before = digest(&mut client);
    let id = back_up(&mut client);
    call(&mut client, "SET later 1");
    let later = digest(&mut client);
    let second = back_up(&mut client);
    assert_eq!(
        listed(&mut client),
        [(second.clone(), "verified".to_owned()), (id.clone(), "verified".to_owned())]
    );
    let details = said(&call(&mut client, &format!("BACKUP REMOTE INFO {id}")));
    assert!(details.contains("sha256") && details.contains("3002"), "{details}");
    assert_eq!(integer(&call(&mut client, &format!("BACKUP REMOTE VERIFY {id}"))), 3002);
    assert_eq!(info(&mut client, "backup", "backups_kept"), "2");
    assert_eq!(info(&mut client, "backup", "backup_last_status"), "ok");
    assert!(folder.names().iter().all(|it| !it.contains("uploads") && !it.contains("probe")));

    for (which, expected) in [("", &later), ("@latest", &later), (&*format!("@{id}"), &before)] {
        for appendonly in ["no", "yes"] {
            let place = Folder::new("comes-back-place");
            let address = format!("{}{which}", folder.url());
            let mut restored = Restored::start(&address, &place.0, &["--appendonly", appendonly]);
            assert_eq!(&digest(&mut restored.client), expected, "{which}, appendonly {appendonly}");
            assert!(!place.0.join("restoring.tmp").exists());
        }
    }
}

/// A server started empty because the store refused access (dragonfly#4840), and took "there is no backup" for "there cannot
/// be read any".
#[test]
fn a_restore_that_cannot_be_ends_the_start() {
    let folder = Folder::new("no-restore");
    let place = Folder::new("no-restore-place");
    let address = folder.url();
    let empty = refused(&address, &place.0, &[]);
    assert!(empty.contains("there is no backup in file://"), "{empty}");
    let missing = refused("file:///nowhere/at/all", &place.0, &[]);
    assert!(missing.contains("cannot be reached"), "{missing}");
    let closed = refused(
        "s3://bucket/x",
        &place.0,
        &[
            "--backup-endpoint",
            "http://127.0.0.1:1",
            "--backup-access-key",
            "a",
            "--backup-secret-key",
            "b",
            "--backup-region",
            "r",
            "--backup-timeout",
            "1",
        ],
    );
    assert!(closed.contains("cannot be reached"), "{closed}");

    let server = backed(&folder).start().expect("it starts");
    let mut client = server.client();
    fill(&mut client);
    let id = back_up(&mut client);
    // Nothing is written over what is there.
    fs::write(place.0.join("dump.rdb"), "mine").expect("it is written");
    let full = refused(&address, &place.0, &[]);
    assert!(full.contains("is not empty"), "{full}");
    assert_eq!(fs::read(place.0.join("dump.rdb")).expect("it is there"), b"mine");
    fs::remove_file(place.0.join("dump.rdb")).expect("it was there");
    // What does not fit is told before anything is fetched.
    let databases = refused(&address, &place.0, &["--databases", "4"]);
    assert!(databases.contains("10 databases"), "{databases}");
    let memory = refused(&address, &place.0, &["--maxmemory", "1000"]);
    assert!(memory.contains("maxmemory is 1000"), "{memory}");
    let unknown = refused(&format!("{address}@20200101T000000Z-00000000"), &place.0, &[]);
    assert!(unknown.contains("no backup with the id"), "{unknown}");
    let past = refused(&format!("{address}@2020-01-01T00:00:00Z"), &place.0, &[]);
    assert!(past.contains("the first good backup is"), "{past}");
    assert!(fs::read_dir(&place.0).expect("it is there").next().is_none());

    // A restore that broke off: the server does not start empty in its place.
    let dump = folder.dump_of(&id);
    let content = fs::read(&dump).expect("it is there");
    let mut spoilt = content.clone();
    spoilt[content.len() / 2] ^= 0x55;
    fs::write(&dump, &spoilt).expect("it is written");
    let damaged = refused(&address, &place.0, &[]);
    assert!(damaged.contains("is damaged"), "{damaged}");
    let started = run(&["--dir", &place.0.to_string_lossy(), "--port", "0"]);
    let said = String::from_utf8_lossy(&started.stderr).into_owned()
        + &String::from_utf8_lossy(&started.stdout);
    assert!(!started.status.success() && said.contains("was not finished"), "{said}");
    fs::write(&dump, &content).expect("it is written");
    let mut restored = Restored::start(&address, &place.0, &[]);
    assert_eq!(digest(&mut restored.client), digest(&mut client));
}

/// Three months of dumps were invalid, and nobody knew (redis#12037).
#[test]
fn a_damaged_backup_is_found_out_and_never_counts() {
    let folder = Folder::new("damaged");
    let server = backed(&folder).start().expect("it starts");
    let mut client = server.client();
    fill(&mut client);
    let good = back_up(&mut client);
    call(&mut client, "SET later 1");
    let bad = back_up(&mut client);
    let dump = folder.dump_of(&bad);
    let mut content = fs::read(&dump).expect("it is there");
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&dump, &content).expect("it is written");
    let verified = failure(&call(&mut client, &format!("BACKUP REMOTE VERIFY {bad}")));
    assert!(verified.contains("is damaged"), "{verified}");
    assert_eq!(
        listed(&mut client),
        [(bad.clone(), "damaged".to_owned()), (good.clone(), "verified".to_owned())]
    );
    let place = Folder::new("damaged-place");
    let told = refused(&format!("{}@{bad}", folder.url()), &place.0, &[]);
    assert!(told.contains("is damaged"), "{told}");
    let mut restored = Restored::start(&folder.url(), &place.0, &[]);
    assert_eq!(call(&mut restored.client, "EXISTS later"), Value::Integer(0));
    drop(restored);
    // It is the last good one, so it stays.
    let deleted = failure(&call(&mut client, &format!("BACKUP REMOTE DELETE {good}")));
    assert!(deleted.contains("the last good backup"), "{deleted}");
    call(&mut client, &format!("BACKUP REMOTE DELETE {bad}"));
    assert_eq!(listed(&mut client), [(good, "verified".to_owned())]);
}

/// An empty server wrote over the good dump (redis#12762).
#[test]
fn an_empty_data_set_is_kept_apart_and_removes_nothing() {
    let folder = Folder::new("empty");
    let server = backed(&folder).with("backup-retention", "1").start().expect("it starts");
    let mut client = server.client();
    fill(&mut client);
    let good = back_up(&mut client);
    call(&mut client, "FLUSHALL");
    for keys in [0, 5] {
        for number in 0..keys {
            call(&mut client, &format!("SET few:{number} 1"));
        }
        let id = back_up(&mut client);
        assert_eq!(listed(&mut client).len(), if keys == 0 { 2 } else { 3 });
        assert_eq!(listed(&mut client)[0], (id.clone(), "suspect".to_owned()));
        assert!(folder.names().contains(&format!("suspects/{id}/manifest.json")));
    }
    assert_eq!(info(&mut client, "backup", "backup_pruning_stopped"), "1");
    let plan = said(&call(&mut client, "BACKUP REMOTE PRUNE DRYRUN"));
    assert!(plan.contains("is suspect"), "{plan}");
    let place = Folder::new("empty-place");
    let mut restored = Restored::start(&folder.url(), &place.0, &[]);
    assert_eq!(integer(&call(&mut restored.client, "DBSIZE")), 3001);
    drop(restored);
    // Somebody knows why it is so small: then it counts, and what is old goes.
    let newest = listed(&mut client)[0].0.clone();
    call(&mut client, &format!("BACKUP REMOTE ACCEPT {newest}"));
    call(&mut client, "BACKUP REMOTE PRUNE");
    assert_eq!(listed(&mut client), [(newest, "verified".to_owned())]);
    assert!(folder.names().iter().all(|it| !it.contains(&good)));
}

/// A disk was full of backups (dragonfly#2824); and files beside them are nobody's business.
#[test]
fn old_backups_go_and_nothing_else_does() {
    let folder = Folder::new("retention");
    fs::write(folder.0.join("other.txt"), "mine").expect("it is written");
    fs::create_dir_all(folder.0.join("sets/other")).expect("it is made");
    fs::write(folder.0.join("sets/other/file"), "mine").expect("it is written");
    let server = backed(&folder).with("backup-retention", "2").start().expect("it starts");
    let mut client = server.client();
    fill(&mut client);
    let ids: Vec<String> = (0..4).map(|_| back_up(&mut client)).collect();
    let kept: Vec<String> = listed(&mut client).into_iter().map(|it| it.0).collect();
    assert_eq!(kept, [ids[3].clone(), ids[2].clone()]);
    assert_eq!(info(&mut client, "backup", "pruned_backups_total"), "2");
    let names = folder.names();
    assert!(
        names.contains(&"other.txt".to_owned()) && names.contains(&"sets/other/file".to_owned())
    );
    // Whole ones only are left: two objects and a mark of each.
    assert_eq!(names.len(), 2 + 3 * 2, "{names:?}");
}

#[test]
fn backups_are_encrypted_as_other_files_are() {
    let folder = Folder::new("encrypted");
    let keys = Folder::new("encrypted-keys");
    let key_file = keys.0.join("keys");
    fs::write(&key_file, format!("one {}\n", "ab".repeat(32))).expect("it is written");
    let key_file = key_file.to_string_lossy().into_owned();
    let server = backed(&folder).with("encryption-key-file", &key_file).start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "SET secret in-plain-words-that-are-not-to-be-seen");
    let id = back_up(&mut client);
    let dump = folder.0.join("sets").join(&id).join("dump.rdb.zst.enc");
    assert!(fs::read(dump).expect("it is there").starts_with(b"RBNCRYP1"));
    let place = Folder::new("encrypted-place");
    let without = refused(&folder.url(), &place.0, &[]);
    assert!(without.contains("no encryption-key-file is given"), "{without}");
    let more = ["--encryption-key-file", &key_file];
    let mut restored = Restored::start(&folder.url(), &place.0, &more);
    assert_eq!(digest(&mut restored.client), digest(&mut client));
    assert!(fs::read(place.0.join("dump.rdb")).expect("it is there").starts_with(b"RBNCRYP1"));
}

#[test]
fn a_bad_target_is_told_of_and_stops_nothing() {
    let folder = Folder::new("bad-target");
    let server = backed(&folder)
        .with("backup-url", &format!("{}/not-mounted", folder.url()))
        .start()
        .expect("it starts");
    let mut client = server.client();
    wait_until("the check of the target", || info(&mut client, "backup", "backup_target") == "err");
    let said = info(&mut client, "backup", "backup_target_error");
    assert!(said.contains("is not there"), "{said}");
    assert!(failure(&call(&mut client, "BACKUP TEST")).contains("is not there"));
    assert!(failure(&call(&mut client, "BACKUP NOW WAIT")).contains("is not there"));
    assert_eq!(info(&mut client, "backup", "failed_backups_total"), "1");
    assert!(!folder.0.join("not-mounted").exists());
    for (name, value) in
        [("backup-url", "http://x"), ("backup-url", "file://x"), ("backup-schedule", "often")]
    {
        failure(&call(&mut client, &format!("CONFIG SET {name} {value}")));
    }
    call(&mut client, &format!("CONFIG SET backup-url {}", folder.url()));
    wait_until("the check of the target", || info(&mut client, "backup", "backup_target") == "ok");
    assert_eq!(call(&mut client, "BACKUP TEST"), Value::Status("OK".into()));
    call(&mut client, "SET a 1");
    back_up(&mut client);
    call(&mut client, "CONFIG SET backup-url ''");
    assert!(failure(&call(&mut client, "BACKUP NOW")).contains("no backup-url"));
}

/// Nothing of a server that is loading, or was never in sync, takes the place of what is good.
#[test]
fn what_is_not_complete_is_not_uploaded() {
    let folder = Folder::new("not-complete");
    let server = backed(&folder).with("replicaof", "127.0.0.1 1").start().expect("it starts");
    let mut client = server.client();
    let told = failure(&call(&mut client, "BACKUP NOW WAIT"));
    assert!(told.contains("has not been in sync"), "{told}");
    drop(server);
    let server = backed(&folder).with("backup-jitter", "0").start().expect("it starts");
    let (mut client, mut loader) = (server.client(), server.client());
    fill(&mut client);
    call(&mut client, "SAVE");
    call(&mut client, "CONFIG SET key-load-delay 100000");
    send(&mut loader, "DEBUG RELOAD NOSAVE");
    wait_until("loading", || info(&mut client, "persistence", "loading") == "1");
    assert!(failure(&call(&mut client, "BACKUP NOW WAIT")).contains("LOADING"));
    // One that is due by the clock is not held up by what holds clients up.
    call(&mut client, "CONFIG SET backup-schedule '* * * * * *'");
    wait_until("a backup that is due", || {
        info(&mut client, "backup", "failed_backups_total") != "0"
    });
    let error = info(&mut client, "backup", "backup_last_error");
    assert!(error.contains("data is being loaded"), "{error}");
    let names = folder.names();
    assert!(names.iter().all(|it| !it.ends_with("manifest.json")), "{names:?}");
}

/// Killed at any moment: what was good stays so, and what was not finished is no backup.
#[test]
fn a_killed_server_leaves_what_was_good_and_nothing_half() {
    let kills: u32 = std::env::var("RUBINE_KILLS").ok().and_then(|it| it.parse().ok()).unwrap_or(6);
    let folder = Folder::new("killed");
    let mut server = backed(&folder)
        .with("backup-retention", "2")
        .with("backup-rate-limit", "3mb")
        .with("backup-compression-level", "0")
        .with("save", "3600 1")
        .start()
        .expect("it starts");
    let mut client = server.client();
    call(&mut client, "DEBUG POPULATE 8000 key 64");
    call(&mut client, "SAVE");
    let first = back_up(&mut client);
    for round in 0..kills {
        call(&mut client, "BACKUP NOW");
        // At other moments each time: of the upload, of reading back, of what follows.
        std::thread::sleep(std::time::Duration::from_millis(u64::from(round) * 130));
        server.kill();
        server.restart().expect("it starts");
        client = server.client();
        wait_until("the check of the target", || {
            info(&mut client, "backup", "backup_target") == "ok"
        });
        let list = listed(&mut client);
        assert!(list.iter().any(|it| it.1 == "verified"), "no good one is left: {list:?}");
        for (id, state) in &list {
            assert!(["verified", "unverified"].contains(&state.as_str()), "{id} is {state}");
            let keys = call(&mut client, &format!("BACKUP REMOTE VERIFY {id}"));
            assert_eq!(integer(&keys), 8000, "{id}");
        }
        let names = folder.names();
        let has_unfinished =
            names.iter().any(|it| it.contains(".unfinished-") && it.contains("dump"));
        assert!(!has_unfinished && !names.iter().any(|it| it.starts_with("uploads/")), "{names:?}");
    }
    call(&mut client, "CONFIG SET backup-rate-limit 0");
    let last = back_up(&mut client);
    assert_ne!(first, last);
    let place = Folder::new("killed-place");
    let mut restored = Restored::start(&folder.url(), &place.0, &[]);
    assert_eq!(integer(&call(&mut restored.client, "DBSIZE")), 8000);
}

fn integer_of(text: &str) -> i64 {
    text.parse().expect("a number")
}

/// The log brings back what was there at the end of any second that it covers, and no other.
#[test]
fn any_second_comes_back() {
    let folder = Folder::new("any-second");
    let mut server = backed(&folder)
        .with("backup-pitr", "yes")
        .with("backup-pitr-interval", "1")
        .start()
        .expect("it starts");
    let mut client = server.client();
    call(&mut client, "SET before 1");
    wait_until("an image for the log", || info(&mut client, "backup", "backups_total") == "1");
    call(&mut client, "SET first 1");
    call(&mut client, "MULTI");
    call(&mut client, "SELECT 3");
    call(&mut client, "SET second 2");
    call(&mut client, "EXEC");
    let seconds = |client: &mut Client| {
        let time = call(client, "TIME");
        elements(&time)[0].as_text().expect("a number").parse::<i64>().expect("a number")
    };
    let moment = seconds(&mut client);
    let before = digest(&mut client);
    wait_until("the next second", || moment < seconds(&mut client));
    call(&mut client, "FLUSHALL");
    call(&mut client, "SET wrong 1");
    let after = digest(&mut client);
    let flushed = seconds(&mut client);
    wait_until("the log to be there", || {
        flushed <= integer_of(&info(&mut client, "backup", "backup_log_covers_until"))
    });
    let stamp = |second: i64| format!("{}@{}", folder.url(), utc(second));
    let far = refused(&stamp(flushed + 86_400), &Folder::new("any-second-far").0, &[]);
    assert!(far.contains("reaches to"), "{far}");
    // The end of the server ships what is left.
    call(&mut client, "SET last 1");
    let last = digest(&mut client);
    server.terminate().expect("it ends");
    for (address, expected) in
        [(stamp(moment), &before), (stamp(flushed), &after), (folder.url(), &last)]
    {
        let place = Folder::new("any-second-place");
        let mut restored = Restored::start(&address, &place.0, &[]);
        assert_eq!(&digest(&mut restored.client), expected, "{address}");
    }
    // A gap is none of what is there.
    let segments: Vec<_> = folder.names().into_iter().filter(|it| it.starts_with("log/")).collect();
    assert!(2 < segments.len(), "{segments:?}");
    fs::remove_file(folder.0.join(&segments[1])).expect("it was there");
    let torn = refused(&stamp(flushed), &Folder::new("any-second-torn").0, &[]);
    assert!(torn.contains("reaches to"), "{torn}");
}

/// As RFC 3339 has it.
fn utc(second: i64) -> String {
    let output = Command::new("date")
        .args(["-u", "-d", &format!("@{second}"), "+%Y-%m-%dT%H:%M:%SZ"])
        .output();
    String::from_utf8(output.expect("there is date").stdout).expect("text").trim().to_owned()
}

#[test]
fn backups_are_made_when_they_are_due() {
    let folder = Folder::new("due");
    let server = backed(&folder)
        .with("backup-schedule", "* * * * * *")
        .with("backup-jitter", "0")
        .with("backup-retention", "2")
        .start()
        .expect("it starts");
    let mut client = server.client();
    call(&mut client, "SET a 1");
    wait_until("three backups", || 3 <= integer_of(&info(&mut client, "backup", "backups_total")));
    assert!(0 < integer_of(&info(&mut client, "backup", "backup_next_time")));
}

fn set_state(client: &mut Client) -> String {
    elements(&call(client, "BACKUP STATUS"))[1].as_text().expect("a state")
}

/// A set of Redis's form is an append-only file: base, increment and manifest, up to the moment it was sealed.
#[test]
fn a_sealed_set_is_an_append_only_file() {
    for appendonly in ["no", "yes"] {
        let server = options().with("workers", "2").with("enable-debug-command", "yes");
        let server = server.with("appendonly", appendonly).start().expect("it starts");
        let mut client = server.client();
        let folder = server.directory().join("backupdir");
        let ok = Value::Status("OK".into());
        assert!(failure(&call(&mut client, "BACKUP ABORT")).contains("No backup in progress"));
        assert!(failure(&call(&mut client, "BACKUP SEAL")).contains("No backup ready to seal"));
        assert_eq!(call(&mut client, "BACKUP CLEANUP"), ok);
        fs::create_dir(&folder).expect("it is made");
        fs::write(folder.join("stale"), "mine").expect("it is written");
        assert!(failure(&call(&mut client, "BACKUP START")).contains("not empty"));
        fs::remove_file(folder.join("stale")).expect("it was there");

        call(&mut client, "DEBUG POPULATE 1000 key 20");
        assert_eq!(call(&mut client, "BACKUP START"), ok);
        wait_until("the base", || set_state(&mut client) == "incrementing");
        assert_eq!(info(&mut client, "persistence", "backup_in_progress"), "1");
        assert_eq!(elements(&call(&mut client, "BACKUP LIST")).len(), 1);
        assert!(failure(&call(&mut client, "BACKUP START")).contains("already in progress"));
        assert!(failure(&call(&mut client, "BACKUP CLEANUP")).contains("in progress"));
        call(&mut client, "SET inside 1");
        call(&mut client, "SELECT 3");
        call(&mut client, "SET elsewhere 1");
        call(&mut client, "SELECT 0");
        let sealed = digest(&mut client);
        assert_eq!(call(&mut client, "BACKUP SEAL"), ok);
        assert_eq!(set_state(&mut client), "sealed");
        call(&mut client, "SET outside 1");
        let paths = call(&mut client, "BACKUP LIST");
        assert_eq!(elements(&paths).len(), 3);

        let place = Folder::new("sealed-set");
        fs::create_dir(place.0.join("appendonlydir")).expect("it is made");
        for path in elements(&paths) {
            let path = PathBuf::from(path.as_text().expect("a path"));
            assert!(path.is_absolute());
            let to = place.0.join("appendonlydir").join(path.file_name().expect("a name"));
            fs::copy(&path, to).expect("it is copied");
        }
        let started = options()
            .with("appendonly", "yes")
            .with("enable-debug-command", "yes")
            .with("dir", &place.0.to_string_lossy())
            .start()
            .expect("it starts");
        assert_eq!(digest(&mut started.client()), sealed);
        drop(started);

        assert_eq!(call(&mut client, "BACKUP CLEANUP"), ok);
        assert_eq!(set_state(&mut client), "idle");
        assert!(fs::read_dir(&folder).expect("it is there").next().is_none());
        // One that is given up leaves nothing, and one that is sealed goes when its time is over.
        assert_eq!(call(&mut client, "BACKUP START"), ok);
        assert_eq!(call(&mut client, "BACKUP ABORT"), ok);
        assert_eq!(set_state(&mut client), "failed");
        wait_until("nothing to be left", || {
            fs::read_dir(&folder).expect("it is there").next().is_none()
        });
        assert_eq!(call(&mut client, "BACKUP START"), ok);
        wait_until("the base", || set_state(&mut client) == "incrementing");
        assert_eq!(call(&mut client, "BACKUP SEAL"), ok);
        call(&mut client, "CONFIG SET backup-sealed-ttl 1");
        wait_until("the set to go", || set_state(&mut client) == "idle");
        assert!(fs::read_dir(&folder).expect("it is there").next().is_none());
    }
}
