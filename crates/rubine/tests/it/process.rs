//! What a server asks of the system it runs on: processors, the title of its process, its score when memory is out, the
//! group of its socket, the order of a locale. What this machine does not have or allow is said, and not tested.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use rubine_testing::client::Client;
use rubine_testing::server::{CONFIG_FILE, Server};
use rubine_testing::value::Value;

use crate::support::{call, elements, options, wait_until};

fn ok() -> Value {
    Value::Status("OK".into())
}

/// A file of the server's process.
fn proc(server: &Server, name: &str) -> String {
    fs::read_to_string(format!("/proc/{}/{name}", server.pid())).expect("it is readable")
}

fn title(server: &Server) -> String {
    proc(server, "cmdline").trim_end_matches('\0').to_owned()
}

#[test]
fn the_title_of_the_process() {
    let variable =
        "A_VARIABLE_THAT_IS_LONG_ENOUGH_TO_BE_OVERWRITTEN=by the title, were it not moved";
    let server = options().behind(&["env", variable]).with_file("timeout 0\n").start();
    let server = server.expect("it starts");
    let mut control = server.client();
    let port = server.address().port();
    let program = env!("CARGO_BIN_EXE_rubine-server");
    assert_eq!(title(&server), format!("{program} 127.0.0.1:{port}"));
    let template = "a {{long} {title} {listen-addr} {port} {tls-port} {config-file} title";
    let set = format!("CONFIG SET proc-title-template \"{template}\"");
    assert_eq!(call(&mut control, &set), ok());
    let file = server.directory().join(CONFIG_FILE);
    let expected = format!(
        "a {{long}} {program} 127.0.0.1:{port} {port} 0 {} title",
        file.canonicalize().expect("it is there").display()
    );
    assert_eq!(title(&server), expected);
    // More than there is room for.
    let endless = "x".repeat(100_000);
    assert_eq!(call(&mut control, &format!("CONFIG SET proc-title-template {endless}")), ok());
    let shown = title(&server);
    assert!(200 < shown.len() && endless.starts_with(&shown), "{} bytes", shown.len());
    assert_eq!(call(&mut control, "CONFIG SET proc-title-template short"), ok());
    assert_eq!(title(&server), "short");
    for wrong in ["{unknown}", "{title", "\"  \""] {
        let refused = call(&mut control, &format!("CONFIG SET proc-title-template {wrong}"));
        let text = "ERR CONFIG SET failed (possibly related to argument 'proc-title-template') - \
                    template format is invalid or contains unknown variables";
        assert_eq!(refused, Value::Error(text.into()), "{wrong}");
    }
    assert_eq!(title(&server), "short");
}

#[test]
fn a_title_that_nobody_wants() {
    let server = options().with("set-proc-title", "no").start().expect("it starts");
    let arguments = title(&server);
    assert!(arguments.contains("\0--set-proc-title\0no"), "{arguments:?}");
    assert_eq!(call(&mut server.client(), "CONFIG SET proc-title-template other"), ok());
    assert_eq!(title(&server), arguments);
}

/// The processors that each thread may run on, by the thread's name.
fn threads(server: &Server) -> Vec<(String, String)> {
    let folder = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
    let thread = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.ok()?.path();
        let name = fs::read_to_string(path.join("comm")).ok()?.trim().to_owned();
        let status = fs::read_to_string(path.join("status")).ok()?;
        let allowed = status.lines().find_map(|it| it.strip_prefix("Cpus_allowed_list:"))?;
        Some((name, allowed.trim().to_owned()))
    };
    folder.filter_map(thread).collect()
}

#[test]
fn threads_keep_to_their_processors() {
    let status = fs::read_to_string("/proc/self/status").expect("it is readable");
    let allowed = status.lines().find_map(|it| it.strip_prefix("Cpus_allowed_list:"));
    let allowed = allowed.expect("Linux has it").trim().to_owned();
    let numbers = allowed.split([',', '-']).map(|it| it.parse::<u32>().expect("a number"));
    let (first, last) = (numbers.clone().min().expect("one"), numbers.max().expect("one"));
    if first == last {
        eprintln!("this process may run on one processor only");
    }
    let (first, last) = (first.to_string(), last.to_string());
    let server = options()
        .with("server-cpulist", &first)
        .with("bio-cpulist", &format!("{last}-{last}:3"))
        .with("aof-rewrite-cpulist", "1,x")
        .with("bgsave-cpulist", &first)
        .with("rdb-key-save-delay", "1000000")
        .start()
        .expect("it starts");
    let mut control = server.client();
    let workers = call(&mut control, "CONFIG GET workers");
    assert_eq!(elements(&workers)[1].as_text().as_deref(), Some("1"), "as many as processors");
    call(&mut control, "SET k v");
    call(&mut control, "BGSAVE");
    wait_until("a thread that saves", || threads(&server).iter().any(|it| it.0 == "save"));
    let expected = [
        ("worker 0", &first),
        ("compute 0", &last),
        ("free", &last),
        ("aof", &last),
        ("save", &first),
        ("rubine-server", &allowed),
    ];
    for (name, processors) in expected {
        // A thread has its name before it has chosen its processors.
        wait_until(&format!("'{name}' on {processors} only"), || {
            threads(&server).contains(&(name.to_owned(), processors.clone()))
        });
    }
    let log = server.log();
    assert!(log.contains("'aof-rewrite-cpulist' is ignored: '1,x' is no list"), "{log}");
    assert_eq!(log.matches("is ignored").count(), 1, "{log}");
}

#[test]
fn the_score_when_memory_is_out() {
    let server = options()
        .with("oom-score-adj", "yes")
        .with("oom-score-adj-values", "3 4 5")
        .start()
        .expect("it starts");
    let own = fs::read_to_string("/proc/self/oom_score_adj").expect("Linux has it");
    let base: i32 = own.trim().parse().expect("a number");
    let mut control = server.client();
    let score = || proc(&server, "oom_score_adj").trim().parse::<i32>().expect("a number");
    let above = |more: i32| (base + more).min(1000);
    assert_eq!(score(), above(3));
    let set = |control: &mut Client, what: &str| call(control, &format!("CONFIG SET {what}"));
    assert_eq!(set(&mut control, "oom-score-adj-values \"10 20 30\""), ok());
    assert_eq!(score(), above(10));
    // What is refused after it takes it back.
    let refused = set(&mut control, "oom-score-adj-values \"7 8 9\" bind 192.0.2.1");
    assert!(matches!(refused, Value::Error(_)), "{refused:?}");
    assert_eq!(score(), above(10));
    assert_eq!(set(&mut control, "oom-score-adj absolute oom-score-adj-values \"1000 0 0\""), ok());
    assert_eq!(score(), 1000);
    assert!(server.log().contains("may not work for non-privileged processes"));
    assert_eq!(set(&mut control, "oom-score-adj no"), ok());
    assert_eq!(score(), base);
    assert_eq!(set(&mut control, "oom-score-adj-values \"9 9 9\""), ok());
    assert_eq!(score(), base, "it is left alone");
}

#[test]
fn huge_pages_are_not_forced_on_it() {
    let forced = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    let is_forced = forced.is_ok_and(|it| it.contains("[always]"));
    for (directive, is_disabled) in [("yes", is_forced), ("no", false)] {
        let server = options().with("disable-thp", directive).start().expect("it starts");
        let status = proc(&server, "status");
        let Some(enabled) = status.lines().find_map(|it| it.strip_prefix("THP_enabled:")) else {
            eprintln!("this kernel does not tell who may have huge pages");
            return;
        };
        assert_eq!(enabled.trim() == "0", is_disabled, "disable-thp {directive}");
    }
}

#[test]
fn the_group_of_the_unix_socket() {
    const OTHER: u32 = 4242;
    let own = fs::metadata("/proc/self").expect("Linux has it");
    let group = if own.uid() == 0 { OTHER } else { own.gid() };
    let with_group = |group: &str| {
        options().with("unixsocket", "own.sock").with("unixsocketgroup", group).start()
    };
    let server = with_group(&group.to_string()).expect("it starts");
    let socket = server.directory().join("own.sock");
    assert_eq!(fs::metadata(&socket).expect("the socket is there").gid(), group);
    let refused = with_group("no such group").map(drop).expect_err("it does not start");
    let text = "Failed opening Unix socket: getgrnam error for group 'no such group'";
    assert!(refused.to_string().contains(text), "{refused}");
}

/// Connections that asked for several paths and came to somebody who listens for them.
fn multipath_requests() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/netstat").ok()?;
    let mut lines = text.lines().filter_map(|it| it.strip_prefix("MPTcpExt: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split(' ').zip(values.split(' '));
    pairs.find(|(name, _)| *name == "MPCapableSYNRX")?.1.parse().ok()
}

#[test]
fn several_paths() {
    let is_on = fs::read_to_string("/proc/sys/net/mptcp/enabled").is_ok_and(|it| it.trim() == "1");
    let options = options().with("mptcp", "yes");
    if !is_on {
        eprintln!("this machine has no multipath TCP");
        let refused = options.start().map(drop).expect_err("it does not start");
        let text = "Could not create server TCP listening socket";
        assert!(refused.to_string().contains(text), "{refused}");
        return;
    }
    let server = options.start().expect("it starts");
    assert_eq!(call(&mut server.client(), "PING"), Value::Status("PONG".into()));
    let before = multipath_requests().expect("the kernel counts them");
    let socket = socket2::Socket::new(
        socket2::Domain::IPV4,
        socket2::Type::STREAM,
        Some(socket2::Protocol::MPTCP),
    );
    let socket = socket.expect("a socket");
    let address = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, server.address().port()));
    socket.connect(&address.into()).expect("it listens");
    let after = multipath_requests().expect("the kernel counts them");
    assert!(before < after, "the server does not listen for several paths");
}

fn scanned(server: &Server) -> Vec<String> {
    const KEYS: usize = 2_000;
    let mut client = server.client();
    for key in 0..KEYS {
        call(&mut client, &format!("SET {key} v"));
        call(&mut client, &format!("SADD s {key}:x"));
    }
    let reply = call(&mut client, &format!("SCAN 0 COUNT {}", KEYS * 2));
    let members = call(&mut client, "SMEMBERS s");
    let texts = elements(&elements(&reply)[1]).iter().chain(elements(&members));
    texts.map(|it| it.as_text().expect("text")).collect()
}

#[test]
fn the_order_of_scans_follows_from_the_seed() {
    let with_seed = |seed: &str| options().with("hash-seed", seed).start().expect("it starts");
    let of_one = scanned(&with_seed("a secret of this test"));
    assert_eq!(scanned(&with_seed("a secret of this test")), of_one);
    assert_ne!(scanned(&with_seed("another")), of_one);
}

#[test]
fn the_watchdog_tells_of_a_worker_that_is_stuck() {
    let told = "--- WATCHDOG TIMER EXPIRED --- worker 0 has not ended its turn for ";
    let server = options().with("enable-debug-command", "yes").with("workers", "1");
    let server = server.start().expect("it starts");
    let mut control = server.client();
    call(&mut control, "DEBUG SLEEP 0.4");
    assert!(!server.log().contains(told), "it is off");
    assert_eq!(call(&mut control, "CONFIG SET watchdog-period 1"), ok());
    let period = call(&mut control, "CONFIG GET watchdog-period");
    assert_eq!(elements(&period)[1].as_text().as_deref(), Some("200"), "less is too often");
    call(&mut control, "DEBUG SLEEP 1");
    let log = server.log();
    let line = log.lines().find(|line| line.contains(told));
    assert!(line.is_some_and(|it| it.contains("debug")), "{log}");
    assert_eq!(log.matches(told).count(), 1, "once a turn:\n{log}");
    assert_eq!(call(&mut control, "CONFIG SET watchdog-period 0"), ok());
    call(&mut control, "DEBUG SLEEP 1");
    assert_eq!(server.log().matches(told).count(), 1, "it is off again");
}

/// A locale of this machine in which letters of either case stand together.
fn locale() -> Option<String> {
    let names = Command::new("locale").arg("-a").output().ok()?.stdout;
    let names = String::from_utf8_lossy(&names).into_owned();
    let mut names = names.lines().filter(|it| it.contains(".utf8"));
    names
        .find(|it| ["en_", "de_", "fr_"].iter().any(|language| it.starts_with(language)))
        .map(str::to_owned)
}

fn sorted(client: &mut Client, line: &str) -> String {
    let reply = call(client, line);
    let texts: Vec<_> = elements(&reply).iter().map(|it| it.as_text().expect("text")).collect();
    texts.join(" ")
}

#[test]
fn text_is_sorted_by_the_rules_of_the_locale() {
    let Some(locale) = locale() else {
        eprintln!("this machine has no locale whose order is another than that of bytes");
        return;
    };
    let environment = format!("LC_ALL={locale}");
    let server = options().behind(&["env", &environment]).start().expect("it starts");
    let mut control = server.client();
    call(&mut control, "RPUSH l b A a B Z z");
    assert_eq!(sorted(&mut control, "SORT l ALPHA"), "a A b B z Z");
    assert_eq!(sorted(&mut control, "SORT_RO l ALPHA DESC LIMIT 1 3"), "z B b");
    call(&mut control, "MSET w_a 1 w_A 2 w_b x w_B X w_Z y");
    assert_eq!(sorted(&mut control, "SORT l ALPHA BY w_*"), "z a A b B Z");
    assert_eq!(call(&mut control, "SORT l ALPHA STORE sorted"), Value::Integer(6));
    assert_eq!(sorted(&mut control, "LRANGE sorted 0 -1"), "A B Z a b z", "the same everywhere");
    assert_eq!(call(&mut control, "CONFIG SET locale-collate C"), ok());
    assert_eq!(sorted(&mut control, "SORT l ALPHA"), "A B Z a b z");
    assert_eq!(call(&mut control, &format!("CONFIG SET locale-collate {locale}")), ok());
    assert_eq!(sorted(&mut control, "SORT l ALPHA"), "a A b B z Z");
    // Enough to be sorted beside what others do.
    for number in 0..5_000 {
        let letter = if number % 2 == 0 { "n" } else { "N" };
        call(&mut control, &format!("RPUSH many {letter}{number:04}"));
    }
    let many = sorted(&mut control, "SORT many ALPHA");
    assert!(many.starts_with("n0000 N0001 n0002 N0003"), "{}", &many[..40]);
}

#[test]
fn a_locale_that_is_not_there() {
    let refused = options().with("locale-collate", "tlh_XX.UTF-8").start().map(drop);
    let refused = refused.expect_err("it does not start").to_string();
    let text = "Failed to configure LOCALE for invalid locale name: 'tlh_XX.UTF-8'.";
    assert!(refused.contains(text), "{refused}");
    let server = options().behind(&["env", "LC_ALL=tlh_XX.UTF-8"]).start();
    let server = server.expect("the environment is no reason not to start");
    let mut control = server.client();
    assert!(server.log().contains("using the default locale 'C'"), "{}", server.log());
    call(&mut control, "RPUSH l b A a B");
    assert_eq!(sorted(&mut control, "SORT l ALPHA"), "A B a b");
    let text = "ERR CONFIG SET failed (possibly related to argument 'locale-collate') - \
                Invalid locale name";
    let refused = call(&mut control, "CONFIG SET locale-collate tlh_XX");
    assert_eq!(refused, Value::Error(text.into()));
}
