//! The audit log: what it has, what it hides, and what becomes of its file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rubine_testing::server::Server;

use crate::support::{call, info, options, wait_until};

fn start(directives: &[(&str, &str)]) -> (Server, PathBuf) {
    let plain = options().with("workers", "2").with("audit-log", "audit.log");
    let file =
        "user app on >the-secret ~app:* +@all -@admin\nuser boss on >the-secret ~* &* +@all\n";
    let with_all = directives.iter().fold(plain, |it, (name, value)| it.with(name, value));
    let server = with_all.with_file(file).start().expect("it starts");
    let path = server.directory().join("audit.log");
    (server, path)
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Waits until the file has a line with all of that.
fn wait_for_line(path: &Path, parts: &[&str]) -> String {
    let mut found = None;
    wait_until(&format!("a line with {parts:?}"), || {
        found = lines(path).into_iter().find(|line| parts.iter().all(|it| line.contains(it)));
        found.is_some()
    });
    found.expect("it was found")
}

#[test]
fn logins_refusals_and_changes() {
    let (server, path) = start(&[]);
    let (mut app, mut boss) = (server.client(), server.client());
    call(&mut app, "AUTH app wrong-secret");
    call(&mut app, "AUTH app the-secret");
    call(&mut app, "CLIENT SETNAME \"q\\\"x\"");
    call(&mut app, "GET other");
    call(&mut app, "CONFIG GET port");
    call(&mut boss, "HELLO 3 AUTH boss the-secret");
    call(&mut boss, "ACL SETUSER carl on >another-secret +get");
    call(&mut boss, "ACL SETUSER carl nonsense");
    call(&mut boss, "CONFIG SET requirepass third-secret maxmemory 1gb");
    call(&mut boss, "QUOTA SET user app ops=5/s");
    call(&mut boss, "SET key value");
    let last = wait_for_line(&path, &["\"command\":\"quota|set\"", "\"event\":\"config\""]);
    assert!(last.contains("\"user\":\"boss\"") && last.contains("\"result\":\"ok\""), "{last}");
    wait_for_line(&path, &["\"event\":\"login\"", "\"as\":\"app\"", "\"reason\":\"auth\""]);
    wait_for_line(&path, &["\"event\":\"login\"", "\"user\":\"app\"", "\"by\":\"password\""]);
    let key = ["\"event\":\"refusal\"", "\"reason\":\"key\"", "\"object\":\"other\"", "q\\\"x"];
    wait_for_line(&path, &key);
    wait_for_line(&path, &["\"reason\":\"command\"", "\"object\":\"config|get\""]);
    let user = ["\"event\":\"users\"", "\"command\":\"acl|setuser\""];
    wait_for_line(&path, &[user[0], user[1], "\"result\":\"ok\"", "\"carl\""]);
    wait_for_line(&path, &[user[0], user[1], "\"result\":\"error\""]);
    wait_for_line(&path, &["\"command\":\"config|set\"", "\"maxmemory\",\"1gb\""]);
    let all = lines(&path);
    assert!(all.iter().all(|it| it.starts_with("{\"seq\":") && it.ends_with('}')), "{all:?}");
    assert!(!all.iter().any(|it| it.contains("secret") || it.contains("\"value\"")), "{all:?}");
    assert_eq!(info(&mut boss, "audit", "audit_lines_written"), all.len().to_string());
    assert_eq!(info(&mut boss, "audit", "audit_lines_dropped"), "0");
}

#[test]
fn commands_and_connections_by_choice() {
    let (server, path) = start(&[("audit-log-events", "connections @write")]);
    let mut client = server.client();
    call(&mut client, "SET key value");
    call(&mut client, "GET key");
    call(&mut client, "MULTI");
    call(&mut client, "LPUSH list a");
    call(&mut client, "EXEC");
    call(&mut client, "EVAL \"return redis.call('INCR', KEYS[1])\" 1 n");
    call(&mut client, "INCR key");
    drop(client);
    wait_for_line(&path, &["\"event\":\"disconnection\"", "\"age_ms\":"]);
    wait_for_line(&path, &["\"event\":\"connection\"", "\"local_address\":"]);
    wait_for_line(&path, &["\"event\":\"command\"", "\"args\":[\"SET\",\"key\",\"value\"]"]);
    wait_for_line(&path, &["\"command\":\"lpush\""]);
    wait_for_line(&path, &["\"args\":[\"INCR\",\"n\"]", "\"context\":\"script\""]);
    wait_for_line(&path, &["\"args\":[\"INCR\",\"key\"]", "\"result\":\"error\""]);
    let all = lines(&path);
    assert!(!all.iter().any(|it| it.contains("\"get\"") || it.contains("\"login\"")), "{all:?}");
    // While it runs.
    let mut client = server.client();
    let reply = call(&mut client, "CONFIG SET audit-log-events \"@nothing\"");
    assert!(format!("{reply:?}").contains("there is no event '@nothing'"), "{reply:?}");
    call(&mut client, "CONFIG SET audit-log-events @read");
    call(&mut client, "SET key later");
    call(&mut client, "GET key");
    wait_for_line(&path, &["\"command\":\"get\""]);
    assert!(!lines(&path).iter().any(|it| it.contains("later")));
    let reply = call(&mut client, "CONFIG SET audit-log other.log");
    assert!(format!("{reply:?}").contains("can't set protected config"), "{reply:?}");
}

#[test]
fn a_file_that_was_moved_away_is_followed() {
    let (server, path) = start(&[("enable-protected-configs", "local")]);
    let mut client = server.client();
    call(&mut client, "QUOTA RESET");
    wait_for_line(&path, &["quota|reset"]);
    let moved = path.with_extension("1");
    fs::rename(&path, &moved).expect("it is moved");
    call(&mut client, "QUOTA RESET");
    wait_until("the second line", || lines(&moved).len() == 2);
    let pid = server.pid().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill").success());
    wait_until("a new file", || path.exists());
    call(&mut client, "QUOTA RESET");
    wait_for_line(&path, &["\"seq\":3,", "quota|reset"]);
    assert_eq!(lines(&moved).len(), 2);
    // Another one, and none.
    let reply = call(&mut client, "CONFIG SET audit-log /nowhere/audit.log");
    assert!(format!("{reply:?}").contains("can't open '/nowhere/audit.log'"), "{reply:?}");
    call(&mut client, "CONFIG SET audit-log second.log");
    let second = server.directory().join("second.log");
    call(&mut client, "QUOTA RESET");
    wait_for_line(&second, &["\"command\":\"quota|reset\""]);
    call(&mut client, "CONFIG SET audit-log \"\"");
    assert_eq!(info(&mut client, "audit", "audit_log_enabled"), "0");
}
