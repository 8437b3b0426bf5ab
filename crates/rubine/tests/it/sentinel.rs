//! The program as a Sentinel: what it serves, what it keeps, whom it tells. Groups in which masters are replaced are made of
//! real servers, by `cargo xtask sentinels` and `cargo xtask compat --sentinel`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use rubine_testing::client::{Client, Received};
use rubine_testing::papers::Papers;
use rubine_testing::server::{CONFIG_FILE, Server, ServerOptions};
use rubine_testing::value::Value;

use crate::support::{call, elements, info, integer, options, wait_until};

/// Our program under the name by which it is a Sentinel.
fn program() -> PathBuf {
    static LINK: Once = Once::new();
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("rubine-sentinel");
    LINK.call_once(|| {
        let _ = fs::remove_file(&path);
        symlink(env!("CARGO_BIN_EXE_rubine-server"), &path).expect("a link can be made");
    });
    path
}

fn sentinel(config: &str) -> ServerOptions {
    ServerOptions::new(&program()).with_file(config)
}

/// A configuration that monitors `master`.
fn monitoring(master: &Server, quorum: usize) -> String {
    let port = master.address().port();
    format!(
        "sentinel monitor mymaster 127.0.0.1 {port} {quorum}\n\
         sentinel down-after-milliseconds mymaster 500\n"
    )
}

/// The field of a master.
fn field(client: &mut Client, name: &str) -> String {
    let fields = call(client, "SENTINEL MASTER mymaster");
    let fields: Vec<_> = elements(&fields).iter().filter_map(Value::as_text).collect();
    let at = fields.iter().position(|it| it == name).unwrap_or_else(|| panic!("{name}"));
    fields[at + 1].clone()
}

fn error_of(value: &Value) -> &str {
    match value {
        Value::Error(text) => text,
        other => panic!("an error was due, not {other:?}"),
    }
}

fn config_of(server: &Server) -> String {
    fs::read_to_string(server.directory().join(CONFIG_FILE)).expect("it has a file")
}

#[test]
fn it_needs_a_file_for_what_it_finds_out() {
    let output = Command::new(program()).output().expect("it can be started");
    assert!(!output.status.success());
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("Sentinel needs config file on disk to save state."), "{printed}");
    let refused = sentinel("sentinel monitor mymaster 127.0.0.1 1 0\n").start();
    let reason = refused.err().expect("the quorum is wrong").to_string();
    assert!(reason.contains(">>> 'sentinel monitor mymaster 127.0.0.1 1 0'"), "{reason}");
    assert!(reason.contains("Quorum must be 1 or greater."), "{reason}");
}

#[test]
fn it_has_the_commands_of_a_sentinel() {
    let server = sentinel("").start().expect("it starts");
    let mut client = server.client();
    assert_eq!(call(&mut client, "PING"), Value::Status("PONG".to_owned()));
    let unknown = call(&mut client, "GET x");
    assert!(error_of(&unknown).starts_with("ERR unknown command 'GET'"));
    assert!(error_of(&call(&mut client, "CONFIG GET *")).starts_with("ERR unknown command"));
    assert_eq!(integer(&call(&mut client, "COMMAND COUNT")), 15);
    let hello = call(&mut client, "HELLO 2");
    let hello: Vec<_> = elements(&hello).iter().filter_map(Value::as_text).collect();
    assert!(hello.windows(2).any(|it| it == ["mode", "sentinel"]), "{hello:?}");
    assert!(!hello.iter().any(|it| it == "role"), "{hello:?}");
    assert_eq!(info(&mut client, "server", "redis_mode"), "sentinel");
    assert_eq!(info(&mut client, "sentinel", "sentinel_masters"), "0");
    let all = call(&mut client, "INFO everything").as_text().expect("INFO is text");
    assert!(!all.contains("# Keyspace") && !all.contains("# Replication"), "{all}");
    assert_eq!(call(&mut client, "SENTINEL MONITOR m 127.0.0.1 1 2"), Value::Status("OK".into()));
    let role = call(&mut client, "ROLE");
    assert_eq!(elements(&role)[0].as_text().as_deref(), Some("sentinel"));
    assert_eq!(elements(&elements(&role)[1])[0].as_text().as_deref(), Some("m"));
    assert!(config_of(&server).contains("sentinel monitor m 127.0.0.1 1 2\n"));
    for (request, error) in [
        ("PUBLISH a b", "ERR Only HELLO messages are accepted by Sentinel instances."),
        ("SENTINEL MASTER x", "ERR No such master with that name"),
        ("SENTINEL FAILOVER m", "NOGOODSLAVE No suitable replica to promote"),
        ("SENTINEL FAILOVER m now", "ERR Unknown failover option specified"),
        (
            "SENTINEL FAILOVER m coordinated",
            "NOGOODPRIMARY Primary does not support FAILOVER command",
        ),
        ("SENTINEL FAILOVER", "ERR wrong number of arguments for 'sentinel|failover' command"),
        ("SENTINEL MONITOR m 127.0.0.1 1 2", "ERR Duplicate master name."),
        ("SENTINEL MONITOR n db.example 1 2", "ERR Invalid IP address or hostname specified"),
        ("SENTINEL MONITOR n 127.0.0.1 70000 2", "ERR Invalid port number."),
        (
            "SENTINEL CKQUORUM m",
            "NOQUORUM 1 usable Sentinels. Not enough available Sentinels to reach the specified \
             quorum for this master",
        ),
        ("SENTINEL FOO", "ERR unknown subcommand 'FOO'. Try SENTINEL HELP."),
        (
            "SENTINEL SET m notification-script /bin/true",
            "ERR Reconfiguration of scripts path is denied for security reasons. Check the \
             deny-scripts-reconfig configuration directive in your Sentinel configuration",
        ),
    ] {
        assert_eq!(error_of(&call(&mut client, request)), error, "{request}");
    }
}

#[test]
fn three_find_each_other_and_keep_what_they_know() {
    let mut master = options().start().expect("it starts");
    let config = monitoring(&master, 2);
    let mut group: Vec<Server> = Vec::new();
    for _ in 0..3 {
        group.push(sentinel(&config).start().expect("it starts"));
    }
    wait_until("all know each other", || {
        group.iter().all(|it| field(&mut it.client(), "num-other-sentinels") == "2")
    });
    let mut listener = group[0].client();
    call(&mut listener, "PSUBSCRIBE *");
    master.kill();
    let mut heard = Vec::new();
    while !heard.iter().any(|it: &String| it.starts_with("+odown")) {
        match listener.receive(Duration::from_secs(30)) {
            Ok(Received::Value(message)) => {
                let parts = elements(&message);
                let text = |at: usize| parts[at].as_text().unwrap_or_default();
                heard.push(format!("{} {}", text(2), text(3)));
            }
            other => panic!("{other:?} after {heard:?}"),
        }
    }
    let place = format!("master mymaster 127.0.0.1 {}", master.address().port());
    assert!(heard.contains(&format!("+sdown {place}")), "{heard:?}");
    wait_until("somebody is elected and finds no replica", || {
        group.iter().any(|it| it.log().contains("-failover-abort-no-good-slave"))
    });
    let ids: Vec<_> = group
        .iter()
        .map(|it| call(&mut it.client(), "SENTINEL MYID").as_text().expect("an id"))
        .collect();
    for (at, server) in group.iter_mut().enumerate() {
        server.restart().expect("it starts");
        let mut client = server.client();
        assert_eq!(call(&mut client, "SENTINEL MYID").as_text().as_ref(), Some(&ids[at]));
        assert_eq!(field(&mut client, "num-other-sentinels"), "2");
        let kept = config_of(server);
        assert!(!kept.contains("sentinel current-epoch 0\n"), "{kept}");
        for other in ids.iter().filter(|it| **it != ids[at]) {
            assert!(kept.contains(other.as_str()), "{kept}");
        }
    }
}

#[test]
fn a_vote_is_on_disk_or_is_none() {
    let config = "sentinel monitor m 127.0.0.1 1 2\nsentinel down-after-milliseconds m 600000\n";
    let mut server = sentinel(config).start().expect("it starts");
    let ask = |server: &Server, epoch: u32, id: &str| {
        let request = format!("SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 1 {epoch} {id}");
        let reply = call(&mut server.client(), &request);
        let parts = elements(&reply);
        (parts[1].as_text().expect("a leader"), integer(&parts[2]))
    };
    assert_eq!(ask(&server, 7, "abc"), ("abc".to_owned(), 7));
    server.restart().expect("it starts");
    // It does not know any more for whom it was, but that it was given.
    assert_eq!(ask(&server, 7, "def"), ("*".to_owned(), 0));
    assert_eq!(ask(&server, 8, "def"), ("def".to_owned(), 8));
    let (folder, aside) = (server.directory().to_owned(), server.directory().with_extension("x"));
    fs::rename(&folder, &aside).expect("it can be put aside");
    assert_eq!(ask(&server, 9, "abc"), ("*".to_owned(), 0));
    assert_eq!(ask(&server, 9, "abc"), ("*".to_owned(), 0));
    let refused = call(&mut server.client(), "SENTINEL FLUSHCONFIG");
    assert_eq!(error_of(&refused), "ERR Failed to save config file. Check server logs.");
    fs::rename(&aside, &folder).expect("it can be put back");
    assert_eq!(ask(&server, 9, "def"), ("abc".to_owned(), 9));
    server.restart().expect("it starts");
    assert_eq!(ask(&server, 9, "def"), ("*".to_owned(), 0));
}

#[test]
fn programs_are_told_of_what_matters() {
    let mut master = options().start().expect("it starts");
    let folder = master.directory().to_owned();
    let script = folder.join("tell.sh");
    let told = folder.join("told");
    let text = format!("#!/bin/sh\necho \"$1 $2\" >> {}\n", told.display());
    fs::write(&script, text).expect("it can be written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let line = format!("sentinel notification-script mymaster {}\n", script.display());
    let server = sentinel(&(monitoring(&master, 1) + &line)).start().expect("it starts");
    let mut client = server.client();
    wait_until("it is connected", || field(&mut client, "flags") == "master");
    master.kill();
    let expected = format!("+sdown master mymaster 127.0.0.1 {}", master.address().port());
    wait_until("the program has been told", || {
        fs::read_to_string(&told).is_ok_and(|it| it.contains(&expected))
    });
}

#[test]
fn it_says_who_it_is_where_passwords_are_wanted() {
    // As little as a Sentinel needs of an instance that does not fail over.
    let user = "user watch on >secret allchannels -@all +multi +ping +exec +subscribe \
                +config|rewrite +role +publish +info +client|setname +client|kill +script|kill\n";
    let master = options().with_file(user).start().expect("it starts");
    call(&mut master.client(), "CONFIG SET requirepass hidden");
    let file = monitoring(&master, 1)
        + "sentinel auth-user mymaster watch\nsentinel auth-pass mymaster secret\n";
    let server = sentinel(&file).start().expect("it starts");
    call(&mut server.client(), "ACL SETUSER default resetpass >mine");
    let mut client = server.client();
    assert!(error_of(&call(&mut client, "SENTINEL MASTERS")).starts_with("NOAUTH"));
    assert_eq!(call(&mut client, "AUTH mine"), Value::Status("OK".to_owned()));
    wait_until("it is connected", || {
        field(&mut client, "flags") == "master" && !field(&mut client, "runid").is_empty()
    });
    call(&mut client, "SENTINEL SET mymaster auth-pass wrong");
    wait_until("it is refused", || field(&mut client, "flags").contains("s_down"));
    assert!(!server.log().contains("secret"), "{}", server.log());
    call(&mut client, "SENTINEL SET mymaster auth-pass secret");
    wait_until("it is let in", || field(&mut client, "flags") == "master");
}

#[test]
fn it_speaks_tls_where_it_is_to() {
    let papers = Papers::new();
    let (prepared, port) = papers.give_to(options());
    let master = prepared.start().expect("it starts");
    let file = format!("sentinel monitor mymaster 127.0.0.1 {port} 1\n");
    let (prepared, _) = papers.give_to(sentinel(&file).with("tls-replication", "yes"));
    let server = prepared.start().expect("it starts");
    let mut client = server.client();
    wait_until("it is connected", || {
        field(&mut client, "flags") == "master" && !field(&mut client, "runid").is_empty()
    });
    drop(master);
}
