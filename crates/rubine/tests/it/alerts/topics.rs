//! Built-in rules about clusters and backups: what they say of a node that fails, and of backups that do not come about.

use std::fs;
use std::path::Path;

use rubine_testing::client::Client;
use rubine_testing::cluster;
use rubine_testing::server::{Server, ServerOptions};
use rubine_testing::value::Value;

use super::{SPEED, fields, state_of};
use crate::support::{call, elements, options, wait_until};

/// A server that looks at its rules, quickly.
fn watching(options: ServerOptions) -> (Server, Client) {
    let options = options.with("alerts", "yes").with("enable-debug-command", "yes");
    let server = options.start().expect("it starts");
    let mut client = server.client();
    call(&mut client, &format!("DEBUG ALERT-SPEED {SPEED}"));
    (server, client)
}

fn wait_for(client: &mut Client, rules: &[&str], state: &str) {
    for rule in rules {
        wait_until(&format!("{rule} is {state}"), || {
            state_of(client, rule).as_deref() == Some(state)
        });
    }
}

/// The rules that are in a state.
fn rules_in(client: &mut Client, state: &str) -> Vec<String> {
    let rules = call(client, "ALERT RULES");
    let rules = elements(&rules).iter().map(fields).filter(|it| it["state"] == state);
    rules.map(|it| it["name"].clone()).collect()
}

#[test]
fn a_node_tells_that_another_has_failed() {
    let node =
        || cluster::node(Path::new(env!("CARGO_BIN_EXE_rubine-server"))).expect("a free port");
    let (first, mut client) = watching(node());
    let mut others: Vec<Server> = (0..2).map(|_| node().start().expect("it starts")).collect();
    wait_for(&mut client, &["ClusterDown"], "firing");
    assert_eq!(state_of(&mut client, "ClusterReplicasFew"), None, "it has no slots");
    for (server, range) in
        [&first, &others[0], &others[1]].into_iter().zip(["0 5460", "5461 10922", "10923 16383"])
    {
        call(&mut server.client(), &format!("CLUSTER ADDSLOTSRANGE {range}"));
        cluster::meet(&first, server).expect("it answers");
    }
    wait_for(&mut client, &["ClusterDown"], "resolved");
    // Nobody would take its slots over.
    wait_for(&mut client, &["ClusterReplicasFew"], "firing");
    assert_eq!(rules_in(&mut client, "nodata"), [""; 0]);
    let failing = ["ClusterNodeFailed", "ClusterSlotsFail", "ClusterDown"];
    others[1].kill();
    wait_for(&mut client, &failing, "firing");
    others[1].restart().expect("it starts again");
    wait_for(&mut client, &failing, "resolved");
}

#[test]
fn backups_that_do_not_come_about_are_told() {
    let name = format!("rubine-alerts-backups-{}", std::process::id());
    let (folder, away) =
        (std::env::temp_dir().join(&name), std::env::temp_dir().join(name + "-away"));
    fs::create_dir_all(&folder).expect("a folder can be made");
    let (_server, mut client) = watching(
        options()
            .with("backup-url", &format!("file://{}", folder.display()))
            .with("backup-schedule", "0 0 1 1 *")
            .with("backup-pitr", "yes")
            .with("backup-pitr-interval", "1"),
    );
    call(&mut client, "SET key value");
    // There never was one.
    call(&mut client, "ALERT SET BackupTooOld threshold 1");
    wait_for(&mut client, &["BackupTooOld"], "firing");
    assert!(matches!(call(&mut client, "BACKUP NOW WAIT"), Value::Bulk(_)));
    call(&mut client, "ALERT SET BackupTooOld threshold 3600");
    wait_for(&mut client, &["BackupTooOld"], "resolved");
    // The last is older than that before long.
    call(&mut client, "ALERT SET BackupTooOld threshold 1");
    wait_for(&mut client, &["BackupTooOld"], "firing");
    assert_eq!(rules_in(&mut client, "nodata"), [""; 0]);

    assert_eq!(state_of(&mut client, "BackupFailed"), None);
    fs::rename(&folder, &away).expect("it can be moved");
    assert!(matches!(call(&mut client, "BACKUP NOW WAIT"), Value::Error(_)));
    call(&mut client, "SET key other");
    call(&mut client, "ALERT SET BackupLogBehind threshold 2");
    wait_for(&mut client, &["BackupFailed", "BackupLogBehind"], "firing");
    fs::rename(&away, &folder).expect("it can be moved");
    assert!(matches!(call(&mut client, "BACKUP NOW WAIT"), Value::Bulk(_)));
    wait_for(&mut client, &["BackupFailed"], "resolved");
    call(&mut client, "ALERT SET BackupLogBehind threshold 3600");
    wait_for(&mut client, &["BackupLogBehind"], "resolved");
    fs::remove_dir_all(&folder).expect("it is there");
}
