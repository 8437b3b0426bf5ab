//! The backlog on disk: replicas that were away for long, restarts of the master, disks that fail and files that are spoilt.

use std::fs;
use std::path::PathBuf;

use rubine_testing::client::Client;
use rubine_testing::server::{Server, ServerOptions};

use crate::append_only::{KEY, KeyFile};
use crate::replicas::{Answer, Replica};
use crate::support::{call, info, options, wait_until};

const VALUE_BYTES: usize = 500_000;

fn master(disk_size: &str) -> ServerOptions {
    options()
        .with("repl-diskless-sync-delay", "0")
        .with("workers", "2")
        .with("enable-debug-command", "yes")
        .with("repl-backlog-size", "1mb")
        .with("repl-backlog-disk-size", disk_size)
}

fn field(client: &mut Client, name: &str) -> u64 {
    info(client, "replication", name).parse().expect("a number")
}

/// A replica that has had a full sync and all that followed it.
fn synced(server: &Server, client: &mut Client) -> Replica {
    let mut replica = Replica::connect(server);
    assert_eq!(replica.synchronize(7000), Answer::Full);
    replica.take_dump();
    call(client, "SET first 1");
    assert_eq!(replica.command()[1], "first");
    wait_until("the files", || info(client, "replication", "repl_backlog_disk_active") == "1");
    replica
}

fn write(client: &mut Client, numbers: std::ops::Range<u64>) {
    let value = "v".repeat(VALUE_BYTES);
    for number in numbers {
        call(client, &format!("SET key:{} {number}:{value}", number % 10));
    }
}

/// Takes what `write` has written.
fn expect(replica: &mut Replica, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let command = replica.command();
        assert_eq!(command[1], format!("key:{}", number % 10));
        assert!(command[2].starts_with(&format!("{number}:")), "{number}");
    }
}

/// Waits until everything is in files.
fn settle(client: &mut Client) {
    wait_until("the disk", || {
        let end = field(client, "repl_backlog_disk_first_byte_offset") - 1
            + field(client, "repl_backlog_disk_histlen");
        field(client, "master_repl_offset") == end
    });
}

fn files(server: &Server) -> Vec<PathBuf> {
    let entries = fs::read_dir(server.directory()).expect("a folder");
    let paths = entries.map(|it| it.expect("an entry").path());
    let mut files: Vec<_> =
        paths.filter(|it| it.extension().is_some_and(|it| it == "rbl")).collect();
    files.sort();
    files
}

#[test]
fn a_replica_that_was_away_for_long_goes_on() {
    let keys = KeyFile::new("backlog", &format!("a {KEY}\n"));
    for key_file in ["", keys.path()] {
        let server = master("1gb").with("encryption-key-file", key_file).start().unwrap();
        let mut client = server.client();
        let replica = synced(&server, &mut client);
        let mut replica = replica.again(&server);
        write(&mut client, 0..300);
        let has_secret =
            |path: &PathBuf| fs::read(path).expect("a file").windows(20).any(|it| it == [b'v'; 20]);
        settle(&mut client);
        assert_eq!(files(&server).iter().any(has_secret), key_file.is_empty());
        assert_eq!(replica.synchronize(7000), Answer::Partial);
        let before = field(&mut client, "master_repl_offset");
        let mut other = server.client();
        let writer = std::thread::spawn(move || write(&mut other, 300..340));
        expect(&mut replica, 0..340);
        writer.join().expect("a writer");
        assert!(before < replica.offset);
        assert_eq!(info(&mut client, "stats", "sync_full"), "1");
        let kept: u64 =
            info(&mut client, "memory", "mem_total_replication_buffers").parse().expect("a number");
        assert!(kept < 32 << 20, "{kept} bytes are in memory");
    }
}

#[test]
fn no_more_is_kept_in_files_than_may_be() {
    let server = master("4mb").start().unwrap();
    let mut client = server.client();
    let replica = synced(&server, &mut client);
    write(&mut client, 0..40);
    settle(&mut client);
    let kept = field(&mut client, "repl_backlog_disk_histlen");
    assert!((4 << 20..6 << 20).contains(&kept), "{kept}");
    let on_disk: u64 =
        files(&server).iter().map(|it| fs::metadata(it).expect("a file").len()).sum();
    assert!(on_disk < 6 << 20, "{on_disk}");
    let mut replica = replica.again(&server);
    assert_eq!(replica.synchronize(7000), Answer::Full, "it was away for too long");
    // It can be switched off, and leaves nothing behind.
    call(&mut client, "CONFIG SET repl-backlog-disk-size 0");
    wait_until("no files", || files(&server).is_empty());
    assert_eq!(field(&mut client, "repl_backlog_disk_active"), 0);
}

#[test]
fn a_disk_that_fails_costs_the_files_and_nothing_else() {
    for fault in ["WRITE 1 1 ENOSPC", "CREATE 0 1 EIO", "WRITE 2 1 ENOSPC SHORT"] {
        let server = master("64mb").start().unwrap();
        let mut client = server.client();
        let replica = synced(&server, &mut client);
        call(&mut client, &format!("DEBUG DISK-FAULT {fault}"));
        write(&mut client, 0..40);
        wait_until("the failure", || {
            !info(&mut client, "replication", "repl_backlog_disk_failure").is_empty()
        });
        assert_eq!(field(&mut client, "repl_backlog_disk_active"), 0, "{fault}");
        wait_until("no files", || files(&server).is_empty());
        assert!(server.log().contains("The backlog on disk is given up"), "{fault}");
        let mut replica = replica.again(&server);
        assert_eq!(replica.synchronize(7000), Answer::Full, "{fault}");
        replica.take_dump();
        call(&mut client, "SET later 1");
        assert_eq!(replica.command()[1], "later");
    }
}

#[test]
fn a_restart_goes_on_with_files_that_fit_and_with_no_others() {
    let mut server = master("64mb").with("save", "3600 1000000").start().unwrap();
    let mut client = server.client();
    let mut replica = synced(&server, &mut client);
    let early = (replica.id.clone(), replica.offset);
    write(&mut client, 0..20);
    expect(&mut replica, 0..10);
    let (id, offset) = (replica.id.clone(), replica.offset);
    // In order: the dump and the files are of one moment.
    server.terminate().expect("it ends");
    server.restart().expect("it starts");
    let mut client = server.client();
    write(&mut client, 20..30);
    let mut replica = Replica::at(&server, &id, offset);
    assert_eq!(replica.synchronize(7000), Answer::Partial);
    expect(&mut replica, 10..30);
    // It is killed: what is beyond the dump was never there.
    call(&mut client, "SAVE");
    let saved = field(&mut client, "master_repl_offset");
    write(&mut client, 30..40);
    settle(&mut client);
    let id = replica.id.clone();
    server.restart().expect("it starts");
    let mut client = server.client();
    let mut ahead = Replica::at(&server, &id, saved + 1000);
    assert_eq!(ahead.synchronize(7001), Answer::Full);
    write(&mut client, 50..60);
    let mut behind = Replica::at(&server, &early.0, early.1);
    // Two names ago is too long ago: a restart remembers one.
    assert_eq!(behind.synchronize(7002), Answer::Full);
    let mut replica = Replica::at(&server, &id, offset);
    assert_eq!(replica.synchronize(7000), Answer::Partial);
    expect(&mut replica, 10..30);
    expect(&mut replica, 50..60);
    // The dump is gone, or another one is there: the files go.
    server.kill();
    fs::remove_file(server.directory().join("dump.rdb")).expect("a dump");
    assert!(!files(&server).is_empty());
    server.restart().expect("it starts");
    wait_until("no files", || files(&server).is_empty());
    let mut replica = Replica::at(&server, &id, offset);
    assert_eq!(replica.synchronize(7000), Answer::Full);
}

#[test]
fn a_file_that_is_spoilt_is_never_sent() {
    let server = master("64mb").start().unwrap();
    let mut client = server.client();
    let replica = synced(&server, &mut client);
    write(&mut client, 0..40);
    settle(&mut client);
    let path = files(&server)[1].clone();
    let mut bytes = fs::read(&path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("written");
    let mut replica = replica.again(&server);
    assert_eq!(replica.synchronize(7000), Answer::Partial);
    wait_until("the damage", || {
        !info(&mut client, "replication", "repl_backlog_disk_failure").is_empty()
    });
    let mut replica = replica.again(&server);
    assert_eq!(replica.synchronize(7000), Answer::Full, "a new beginning");
}

/// A replica that is promoted has both histories in its files, and a restart finds the right one.
#[test]
fn a_promotion_begins_a_file() {
    let above = options().with("repl-diskless-sync-delay", "0").start().unwrap();
    let mut server = master("64mb").with("save", "3600 1000000").start().unwrap();
    let (mut writer, mut client) = (above.client(), server.client());
    call(&mut client, &format!("REPLICAOF 127.0.0.1 {}", above.address().port()));
    wait_until("the link", || info(&mut client, "replication", "master_link_status") == "up");
    wait_until("the files", || field(&mut client, "repl_backlog_disk_active") == 1);
    write(&mut writer, 0..5);
    let offset = field(&mut writer, "master_repl_offset");
    write(&mut writer, 5..10);
    let end = field(&mut writer, "master_repl_offset");
    wait_until("all of it", || end <= field(&mut client, "master_repl_offset"));
    settle(&mut client);
    call(&mut client, "REPLICAOF NO ONE");
    write(&mut client, 10..60);
    settle(&mut client);
    let id = info(&mut client, "replication", "master_replid");
    let has_name =
        |path: &PathBuf| fs::read(path).expect("a file").windows(40).any(|it| it == id.as_bytes());
    let named = files(&server).iter().filter(|it| has_name(it)).count();
    assert!(0 < named && named < files(&server).len(), "some are of the time before");
    server.terminate().expect("it ends");
    server.restart().expect("it starts");
    let mut client = server.client();
    let mut replica = Replica::at(&server, &id, offset);
    assert_eq!(replica.synchronize(7000), Answer::Partial);
    // The replica takes none of the 27 MB yet, so what is written now comes to it out of files, too: from behind the place
    // where the history got its present name, which it has not asked by.
    write(&mut client, 60..65);
    settle(&mut client);
    expect(&mut replica, 5..65);
    write(&mut client, 65..66);
    expect(&mut replica, 65..66);
}
