//! The configuration against its table, against Valkey's defaults, and through files and commands.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{
    Config, ConfigError, ConfigSource, ConfigStore, DIRECTIVES, Directive, Listed, MaxmemoryPolicy,
    MemoryOrPercent, Mode, OutputBufferLimit, Refusal, RewriteScope, SavePoint, SetError, Setter,
    ShutdownOptions, Support, Traits, closest, find, names,
};

const ANYBODY: Setter = Setter { is_local: false, is_loading: false };

/// Where ours is not Valkey's default, and why.
const DIFFERENT_DEFAULTS: &[(&str, &str, &str)] = &[
    ("io-threads", "0", "every core serves clients unless told otherwise"),
    ("syslog-ident", "rubine", "it is the name of the program"),
];

/// Directives that Valkey does not have.
const OWN: &[&str] = &[
    "encryption-key-file",
    "workers",
    "tcp-fastopen",
    "tcp-congestion",
    "coalesce-us",
    "rdb-version",
    "rdb-save-threads",
    "lua-memory-limit",
    "busy-reply-scope",
    "audit-log",
    "audit-log-events",
    "cluster-auto-rebalance",
    "cluster-auto-rebalance-threshold",
    "cluster-auto-rebalance-interval",
    "cluster-auto-rebalance-slots",
    "alerts",
    "alert-webhook",
    "alert-instance",
    "alert-labels",
    "history",
    "history-file",
    "backup-url",
    "backup-schedule",
    "backup-jitter",
    "backup-retention",
    "backup-compression-level",
    "backup-rate-limit",
    "backup-pitr",
    "backup-pitr-interval",
    "backup-pitr-buffer",
    "backup-endpoint",
    "backup-region",
    "backup-access-key",
    "backup-secret-key",
    "backup-timeout",
    "replica-refuse-empty-master",
    "replica-max-lag",
    "repl-backlog-disk-size",
    "write-quorum",
    "write-quorum-timeout",
    "write-quorum-on-disk",
    "write-quorum-users",
    "http-port",
    "http-bind",
    "http-tls",
    "http-auth",
    "metrics-config",
    "console",
    "console-writable",
    "ready-max-link-down",
];
const REDIS_ONLY: &[&str] = &[
    "aof-load-corrupt-tail-max-size",
    "backup-sealed-ttl",
    "backupdirname",
    "cluster-compatibility-sample-ratio",
    "dynamic-hz",
    "key-memory-histograms",
    "repl-rdb-channel",
    "replica-full-sync-buffer-limit",
    "sanitize-dump-payload",
    "slowlog-entry-max-argc",
    "slowlog-entry-max-string-len",
];

fn from_args(args: &[&str]) -> Result<(Config, ConfigSource), ConfigError> {
    from_args_and_input(args, "")
}

fn from_args_and_input(args: &[&str], input: &str) -> Result<(Config, ConfigSource), ConfigError> {
    let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
    Config::from_args_and_input(&args, Mode::Server, &mut input.as_bytes())
}

fn from_text(text: &str) -> Result<Config, ConfigError> {
    from_args_and_input(&["-"], text).map(|(config, _)| config)
}

fn get(config: &Config, name: &str) -> String {
    match config.get(&[name.as_bytes()]).as_slice() {
        [(_, value)] => String::from_utf8(value.clone()).unwrap(),
        other => panic!("{name}: {other:?}"),
    }
}

fn set(store: &ConfigStore, arguments: &[&str]) -> Result<(), String> {
    let arguments: Vec<&[u8]> = arguments.iter().map(|it| it.as_bytes()).collect();
    store.set(&arguments, ANYBODY, |_, _, _| Ok(())).map_err(|error| error.to_string())
}

fn default_store() -> ConfigStore {
    ConfigStore::new(Config::default(), ConfigSource::default())
}

/// A folder that is removed with everything in it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("rubine-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn names_are_unique_and_spelled_alike() {
    let mut sorted: Vec<&str> = names().collect();
    sorted.sort_unstable();
    let count = sorted.len();
    sorted.dedup();
    assert_eq!(sorted.len(), count);
    for directive in DIRECTIVES {
        let spelled_well = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        assert!(directive.name.bytes().all(|byte| spelled_well(byte) || byte == b'-'));
        assert!(std::ptr::eq(find(directive.name.to_uppercase().as_bytes()).unwrap(), directive));
    }
    let of_valkey = DIRECTIVES.len() + 1 - OWN.len() - REDIS_ONLY.len();
    assert_eq!(of_valkey, 227, "io-threads is an alias here");
}

/// A value that is printed can be set again: the bounds hold the default, and text is read as written.
#[test]
fn every_default_can_be_set_again() {
    for directive in DIRECTIVES {
        if matches!(directive.name, "dir" | "replicaof") {
            continue;
        }
        let mut config = Config::default();
        let text = directive.text(&config);
        let value: Vec<&[u8]> = if directive.traits.contains(Traits::MANY_ARGUMENTS) {
            text.split(|byte| *byte == b' ').collect()
        } else {
            vec![&text]
        };
        if directive.traits.contains(Traits::ACCUMULATES) {
            directive.assign(&mut config, &[b""]).unwrap();
        }
        directive.assign(&mut config, &value).unwrap_or_else(|error| {
            panic!("{}: {error}", directive.name);
        });
        assert_eq!(config, Config::default(), "{}", directive.name);
    }
}

#[test]
fn defaults_are_those_of_valkey() {
    let config = Config::default();
    for line in include_str!("tests/valkey_defaults.txt").lines() {
        let (name, valkeys) = line.split_once(' ').unwrap_or((line, ""));
        let different = DIFFERENT_DEFAULTS.iter().find(|(different, _, _)| *different == name);
        let expected = different.map_or(valkeys, |(_, ours, _)| ours);
        assert_eq!(get(&config, name), expected, "{name}");
    }
    for name in OWN.iter().chain(REDIS_ONLY) {
        let of_valkey = include_str!("tests/valkey_defaults.txt").lines();
        assert!(!of_valkey.into_iter().any(|line| line.split(' ').next() == Some(name)), "{name}");
    }
}

#[test]
fn typed_fields() {
    let config = from_text(
        "port 7000\nmaxmemory 1gb\nmaxmemory-policy allkeys-lfu\nbind 127.0.0.1 ::1\n\
         unixsocketperm 700\nhash-max-ziplist-entries 10\nrequirepass \"a b\\xff\"\n\
         client-output-buffer-limit replica 1mb 512kb 30\nmaxmemory-clients 5%\nio-threads 3\n\
         shutdown-on-sigterm nosave now\nmasterauth secret\nHZ 1000\ntcp-congestion bbr",
    )
    .unwrap();
    assert_eq!(config.port, 7000);
    assert_eq!(config.maxmemory, 1 << 30);
    assert_eq!(config.maxmemory_policy, MaxmemoryPolicy::AllkeysLfu);
    assert_eq!(config.bind, ["127.0.0.1", "::1"]);
    assert_eq!(config.unixsocketperm, 0o700);
    assert_eq!(get(&config, "unixsocketperm"), "700");
    assert_eq!(config.hash_max_listpack_entries, 10);
    assert_eq!(config.requirepass.as_deref(), Some(&b"a b\xff"[..]));
    let limits = config.client_output_buffer_limit;
    let expected =
        OutputBufferLimit { hard_bytes: 1 << 20, soft_bytes: 512 << 10, soft_seconds: 30 };
    assert_eq!(limits.replica, expected);
    assert_eq!(limits.pubsub, Config::default().client_output_buffer_limit.pubsub);
    assert_eq!(config.maxmemory_clients, MemoryOrPercent::Percent(5));
    assert_eq!(config.workers, 3);
    assert_eq!(config.shutdown_on_sigterm, ShutdownOptions::NOSAVE | ShutdownOptions::NOW);
    assert_eq!(get(&config, "primaryauth"), "secret");
    assert_eq!(config.hz, 500);
    assert_eq!(config.tcp_congestion, "bbr");
}

#[test]
fn save_points_add_up_within_files_and_replace_the_default() {
    let check = |text: &str, expected: &str| {
        assert_eq!(get(&from_text(text).unwrap(), "save"), expected, "{text}");
    };
    check("", "3600 1 300 100 60 10000");
    check("save 900 1", "900 1");
    check("save 900 1\nsave 300 10", "900 1 300 10");
    check("save 900 1 300 10", "900 1 300 10");
    check("save \"900 1 300 10\"", "900 1 300 10");
    check("save \"\"", "");
    check("save 900 1\nsave \"\"\nsave 60 0", "60 0");
    let (config, _) = from_args(&["--save", "900", "1", "300", "10"]).unwrap();
    assert_eq!(config.save[1], SavePoint { seconds: 300, changes: 10 });
}

#[test]
fn command_lines() {
    let check = |args: &[&str], expected: &[(&str, &str)]| {
        let (config, _) = from_args_and_input(args, "port 1\ntimeout 1").unwrap();
        for (name, value) in expected {
            assert_eq!(get(&config, name), *value, "{args:?} {name}");
        }
    };
    check(&[], &[("port", "6379")]);
    check(&["--port", "7000"], &[("port", "7000"), ("timeout", "0")]);
    check(&["--port 7000", "--timeout 5"], &[("port", "7000"), ("timeout", "5")]);
    check(&["-", "--port", "7000"], &[("port", "7000"), ("timeout", "1")]);
    check(&["--port", "7000", "-"], &[("port", "7000"), ("timeout", "1")]);
    check(&["--save", "", "--appendonly", "no"], &[("save", "")]);
    check(&["--save", "--port", "7000"], &[("save", ""), ("port", "7000")]);
    check(&["--port", "7000", "--save"], &[("save", ""), ("port", "7000")]);
    check(&["--save", "900", "1", "--port", "7000"], &[("save", "900 1"), ("port", "7000")]);
    check(&["--logfile", "--odd-name", "--port", "1"], &[("logfile", "--odd-name"), ("port", "1")]);
    check(&["--shutdown-on-sigint", "now force"], &[("shutdown-on-sigint", "now force")]);
    check(
        &["--replicaof", "--127.0.0.1", "7001", "--port", "7002"],
        &[("slaveof", "--127.0.0.1 7001"), ("port", "7002")],
    );
}

#[test]
fn command_line_errors_show_the_line() {
    let check = |args: &[&str], text: &str, reason: &str| {
        let error = from_args(args).unwrap_err();
        assert_eq!(error.line.as_ref().unwrap().text, text);
        assert!(error.reason.contains(reason), "{error}");
        assert!(
            error.to_string().contains(&format!("at line 1 of the command line\n>>> '{text}'"))
        );
    };
    let count = "wrong number of arguments";
    check(&["--invalid"], "invalid", "Bad directive or wrong number of arguments");
    check(&["--port"], "port", count);
    check(&["--port", "6379", "6380"], r#"port "6379" "6380""#, count);
    check(&["--port", "--loglevel", "verbose"], r#"port "--loglevel" "verbose""#, count);
    check(&["--replicaof", "127.0.0.1", "abc"], r#"replicaof "127.0.0.1" "abc""#, "primary port");
    check(&["--replicaof", "--127.0.0.1"], r#"replicaof "--127.0.0.1""#, count);
    check(&["--maxmemory", "1x"], r#"maxmemory "1x""#, "argument must be a memory value");
}

#[test]
fn an_unknown_directive_names_file_line_text_and_the_nearest_name() {
    let folder = Folder::new("unknown");
    let inner = folder.write("inner.conf", "# fine\nport 7000\nmaxmemry 1gb\n");
    let outer = folder.write("outer.conf", &format!("\ninclude {inner}\n"));
    let error = from_args(&[&outer]).unwrap_err();
    let line = error.line.unwrap();
    assert_eq!((line.origin, line.number, line.text.as_str()), (inner, 3, "maxmemry 1gb"));
    assert_eq!(
        error.reason,
        "Bad directive or wrong number of arguments: 'maxmemry' is unknown; did you mean \
         'maxmemory'?"
    );
}

#[test]
fn closest_names() {
    assert_eq!(closest("appendonyl"), Some("appendonly"));
    assert_eq!(closest("MAXMEMORYPOLICY"), Some("maxmemory-policy"));
    assert_eq!(closest("prot"), None);
    assert_eq!(closest("prt"), Some("port"));
    assert_eq!(closest("slave-read-olny"), Some("slave-read-only"));
    assert_eq!(closest("frobnicate"), None);
    assert_eq!(closest(&"x".repeat(100_000)), None);
}

#[test]
fn includes() {
    let folder = Folder::new("includes");
    folder.write("conf.d/20-b.conf", "port 7002\n");
    folder.write("conf.d/10-a.conf", "port 7001\ntimeout 9\n");
    folder.write("conf.d/.hidden.conf", "port 1\n");
    folder.write("conf.d/notes.txt", "no directive\n");
    let dir = folder.0.display();
    let main = folder.write(
        "main.conf",
        &format!(
            "dir {dir}\ninclude conf.d/*.conf\ninclude nothing/*.conf\ninclude conf.?/n*.conf"
        ),
    );
    let (config, source) = from_args(&[&main]).unwrap();
    assert_eq!((config.port, config.timeout), (7002, 9));
    assert_eq!(source.file.as_deref(), Some(Path::new(&main)));

    let missing = folder.write("missing.conf", &format!("include {dir}/absent.conf"));
    let error = from_args(&[&missing]).unwrap_err();
    assert!(error.reason.contains("can't open config file"), "{error}");
    assert!(error.reason.ends_with("No such file or directory"), "{error}");
    assert_eq!(error.line.unwrap().number, 1);

    let circle = folder.write("circle.conf", &format!("include {dir}/circle.conf"));
    let error = from_args(&[&circle]).unwrap_err();
    assert!(error.reason.contains("Too many includes"), "{error}");

    assert!(from_args(&["/nowhere/at/all.conf"]).unwrap_err().line.is_none());
}

#[test]
fn special_lines() {
    let config = from_text("rename-command DEBUG \"\"\nrename-command KEYS all-keys").unwrap();
    let renamed = [(b"DEBUG".to_vec(), b"".to_vec()), (b"KEYS".to_vec(), b"all-keys".to_vec())];
    assert_eq!(config.renamed_commands, renamed);
    assert_eq!(from_text("user a on nopass").unwrap().users.len(), 1);
    let quotas = from_text("quota user a ops=1/s\nquota db 1 ops=2/s\nquota user a ops=3/s");
    assert_eq!(quotas.unwrap().quotas.len(), 2);
    for (text, reason) in [
        ("loadmodule /x.so a b", "Modules in C cannot be loaded: /x.so"),
        ("sentinel monitor a 127.0.0.1 1 2", "sentinel directive while not in sentinel mode"),
        ("include", "Bad directive or wrong number of arguments"),
        ("rename-command GET", "Bad directive or wrong number of arguments"),
        ("port \"1", "Unbalanced quotes in configuration line"),
        ("cluster-enabled yes\nreplicaof ::1 1", "replicaof directive not allowed in cluster mode"),
        ("dir /nowhere/at/all", "No such file or directory"),
        ("dir \"\"", "dir can't be empty"),
    ] {
        assert_eq!(from_text(text).unwrap_err().reason, reason, "{text}");
    }
}

#[test]
fn what_has_no_effect_is_noted() {
    let notes = |text: &str| from_args_and_input(&["-"], text).unwrap().1.notes;
    assert_eq!(notes("port 7000\nactiverehashing yes"), Vec::<String>::new());
    assert_eq!(
        notes("activerehashing no\nlua-replicate-commands yes\nlookahead 16"),
        [
            "'activerehashing' is accepted without effect: tables grow and shrink without \
             rehashing",
            "'lua-replicate-commands' is accepted without effect: other servers dropped it long \
             ago",
            "'lookahead' is accepted without effect: it came with a later version of Redis",
        ]
    );
}

#[test]
fn config_get() {
    let config = Config::default();
    let names = |patterns: &[&str]| -> Vec<String> {
        let patterns: Vec<&[u8]> = patterns.iter().map(|it| it.as_bytes()).collect();
        let found = config.get(&patterns).into_iter();
        found.map(|(name, _)| String::from_utf8(name).unwrap()).collect()
    };
    assert_eq!(names(&["PORT"]), ["PORT"]);
    assert_eq!(names(&["no-such"]), Vec::<String>::new());
    assert_eq!(names(&["tcp-k*", "port", "tcp-keepalive"]), ["port", "tcp-keepalive"]);
    assert_eq!(names(&["*-read-only"]), ["replica-read-only", "slave-read-only"]);
    assert_eq!(names(&["io-threads", "WORKERS"]), ["WORKERS", "io-threads"]);
    assert_eq!(names(&["use-exit-on-*"]), Vec::<String>::new(), "hidden from patterns");
    assert_eq!(names(&["use-exit-on-panic"]), ["use-exit-on-panic"]);
    assert_eq!(
        get(&config, "client-output-buffer-limit"),
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"
    );
}

/// Sets one directive and expects what CONFIG GET prints then, or the reason of the refusal.
fn check_set(name: &str, value: &str, expected: &str) {
    let store = default_store();
    let result = set(&store, &[name, value]).map(|()| get(&store.load(), name));
    let reason = format!("CONFIG SET failed (possibly related to argument '{name}') - ");
    let shown = result.unwrap_or_else(|error| {
        error.strip_prefix(&reason).unwrap_or_else(|| panic!("{error}")).to_owned()
    });
    assert_eq!(shown, expected, "{name} {value}");
}

#[test]
fn config_set_numbers() {
    let check = check_set;
    check("timeout", "10", "10");
    check("timeout", "-1", "argument must be between 0 and 2147483647 inclusive");
    check("timeout", "010", "argument couldn't be parsed into an integer");
    check("timeout", "", "argument couldn't be parsed into an integer");
    check("maxclients", "-1", "argument must be between 1 and 4294967295 inclusive");
    check("maxmemory", "100mb", "104857600");
    check("maxmemory", "1K", "1000");
    check("maxmemory", "1b", "1");
    check("maxmemory", "", "0");
    check("maxmemory", "kb", "argument must be a memory value");
    check("repl-backlog-size", "1", "16384");
    check("maxmemory", "9223372036854775808", "9223372036854775808");
    check("maxmemory", "18446744073709551615gb", "argument must be a memory value");
    check("maxmemory", "-1", "argument must be a memory value");
    check("maxmemory", "50%", "argument must be a memory value");
    check("maxmemory-clients", "50%", "50%");
    check("maxmemory-clients", "101%", "percentage argument must be less or equal to 100");
    check("maxmemory-clients", "x", "argument must be a memory or percent value");
    check("slot-migration-max-failover-repl-bytes", "-1", "-1");
    check("slot-migration-max-failover-repl-bytes", "1kb", "1024");
    check(
        "slot-migration-max-failover-repl-bytes",
        "-2",
        "argument must be between -1 and 9223372036854775807 inclusive",
    );
    check("proto-max-bulk-len", "1mb", "1048576");
    check("hz", "100000", "500");
    check("workers", "0", "0");
    check("workers", "4", "can't be changed while the server runs");
}

#[test]
fn config_set_names_and_lists() {
    let check = check_set;
    check("lazyfree-lazy-expire", "NO", "no");
    check("lazyfree-lazy-expire", "1", "argument must be 'yes' or 'no'");
    check("appendfsync", "Always", "always");
    check("appendfsync", "never", "argument(s) must be one of the following: everysec, always, no");
    check("oom-score-adj", "relative", "yes");
    check("notify-keyspace-events", "KEA", "AKE");
    check("notify-keyspace-events", "g$lshzxetdnK", "AnK");
    check("notify-keyspace-events", "KEQ", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
    check("save", "900 1 300 10", "900 1 300 10");
    check("save", "900", "Invalid save parameters");
    check("save", "0 1", "Invalid save parameters");
    check("save", "", "");
    check("bind", "", "");
    check("bind", &"a ".repeat(20), "Too many bind addresses specified.");
    check("shutdown-on-sigint", "now save", "save now");
    check(
        "shutdown-on-sigint",
        "save nosave",
        "shutdown options SAVE and NOSAVE can't be used simultaneously",
    );
    check("latency-tracking-info-percentiles", "50 99.95 100", "50 99.95 100");
    check(
        "latency-tracking-info-percentiles",
        "101",
        "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
    );
    check(
        "client-output-buffer-limit",
        "normal 1mb 0 0 replica 2mb 1mb 5",
        "normal 1048576 0 0 slave 2097152 1048576 5 pubsub 33554432 8388608 60",
    );
    check(
        "client-output-buffer-limit",
        "normal 0 0",
        "Wrong number of arguments in buffer limit configuration.",
    );
    check(
        "client-output-buffer-limit",
        "master 0 0 0",
        "Invalid client class specified in buffer limit configuration.",
    );
    check("daemonize", "yes", "can't set immutable config");
    check("dir", "/", "can't set protected config");
    check("proc-title-template", "{title} {hosed}", {
        "template format is invalid or contains unknown variables"
    });
}

#[test]
fn config_set_is_all_or_nothing() {
    let store = default_store();
    let check = |arguments: &[&str], expected: &str| {
        assert_eq!(set(&store, arguments).unwrap_err(), expected);
        assert_eq!(*store.load(), Config::default());
    };
    check(&["port"], "syntax error");
    check(
        &["timeout", "1", "no-such", "2"],
        "Unknown option or number of arguments for CONFIG SET - 'no-such'",
    );
    check(
        &["timeout", "1", "appendfsync", "x"],
        "CONFIG SET failed (possibly related to argument 'appendfsync') - argument(s) must be one \
         of the following: everysec, always, no",
    );
    check(
        &["timeout", "1", "TIMEOUT", "2"],
        "CONFIG SET failed (possibly related to argument 'TIMEOUT') - duplicate parameter",
    );
    let loading = Setter { is_local: true, is_loading: true };
    let error = store.set(&[b"appendonly", b"yes"], loading, |_, _, _| Ok(())).unwrap_err();
    assert_eq!(error, SetError::Loading);

    set(&store, &["timeout", "1", "tcp-keepalive", "2"]).unwrap();
    assert_eq!((store.load().timeout, store.load().tcp_keepalive), (1, 2));
}

#[test]
fn whoever_applies_a_change_sees_it_and_may_refuse() {
    let store = default_store();
    let mut seen = Vec::new();
    let arguments: [&[u8]; 6] = [b"port", b"7000", b"timeout", b"0", b"tls-cert-file", b""];
    let refused = store.set(&arguments, ANYBODY, |old, new, changed| {
        seen.push((old.port, new.port));
        let names: Vec<&str> = changed.iter().map(|directive| directive.name).collect();
        assert_eq!(names, ["port", "tls-cert-file"], "an unchanged file name may have new content");
        Err(Refusal { directive: "port", reason: "Unable to listen on this port.".to_owned() })
    });
    assert_eq!(
        refused.unwrap_err().to_string(),
        "CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port."
    );
    assert_eq!(seen, [(6379, 7000)]);
    assert_eq!(store.load().port, 6379);
    let unchanged = store.set(&[b"port", b"6379"], ANYBODY, |_, _, _| panic!("nothing changes"));
    assert_eq!(unchanged, Ok(()));
}

#[test]
fn rewriting_keeps_what_people_wrote() {
    let user = |text: &str| format!("user {text}").split(' ').map(Vec::from).collect::<Vec<_>>();
    let check = |old: &str, set_to: &[&str], expected: &str| {
        let store = default_store();
        set(&store, set_to).unwrap();
        let users = [user("default on"), user("b on")];
        let listed = Listed { users: &users, ..Listed::default() };
        let text = store.load().rewritten(old.as_bytes(), RewriteScope::Changed, listed);
        let text = String::from_utf8(text).unwrap();
        // These are always written.
        let always = ["dir ", "save ", "latency-tracking-info-percentiles "];
        let lines = text.lines().filter(|line| !always.iter().any(|it| line.starts_with(it)));
        let text: Vec<&str> = lines.collect();
        assert_eq!(text.join("\n"), expected, "{old}");
    };
    let signature = "# Generated by CONFIG REWRITE";
    check("", &["port", "7000"], &format!("\n{signature}\nport 7000\nuser default on\nuser b on"));
    check(
        "# mine\nport 1\n\n\n\ntimeout 5\n# end\n",
        &["port", "7000", "maxmemory", "2mb"],
        &format!(
            "# mine\nport 7000\n\ntimeout 0\n# end\n{signature}\nmaxmemory 2mb\nuser default on\nuser b on"
        ),
    );
    check(
        "port 1\nport 2\nport 3\n",
        &["port", "7000"],
        &format!("port 7000\n\n{signature}\nuser default on\nuser b on"),
    );
    check(
        "slave-read-only yes\nrequirepass x\nuser a on\ninclude /a/*\nno-such-thing 1\nlookahead 1\n",
        &["replica-read-only", "no", "ignore-warnings", "a"],
        &format!(
            "replica-read-only no\n\nuser default on\ninclude /a/*\n# ??? no-such-thing 1\nlookahead 1\n{signature}\n\
             ignore-warnings \"a\"\nuser b on"
        ),
    );
    check(
        &format!("{signature}\nport 5\n"),
        &["client-output-buffer-limit", "pubsub 1mb 0 0", "maxmemory-clients", "7%"],
        &format!(
            "{signature}\nport 6379\nclient-output-buffer-limit pubsub 1mb 0 0\n\
             maxmemory-clients 7%\nuser default on\nuser b on"
        ),
    );
}

#[test]
fn a_rewritten_file_is_replaced_and_loads_to_the_same() {
    let folder = Folder::new("rewrite");
    let path = folder.write("main.conf", "port 7000\nsave 900 1\nsave 300 10\nsave 60 1000\n");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let link = folder.0.join("link.conf");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let (config, source) = from_args(&[link.to_str().unwrap()]).unwrap();
    let store = ConfigStore::new(config, source);
    set(&store, &["requirepass", "it's \"mine\" \n", "shutdown-on-sigint", "save now"]).unwrap();
    set(&store, &["client-output-buffer-limit", "normal 1 2 3", "bind", "::1 127.0.0.1"]).unwrap();
    set(&store, &["slot-migration-max-failover-repl-bytes", "-1", "maxmemory", "5kb"]).unwrap();
    for scope in [RewriteScope::Changed, RewriteScope::All] {
        store.rewrite(scope, Listed::default()).unwrap();
        let (again, _) = from_args(&[&path]).unwrap();
        assert_eq!(again, *store.load());
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("port 7000\nsave 900 1 300 10 60 1000\n"), "{text}");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "permissions are kept");
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink(), "a link is kept");
    std::fs::remove_file(&link).unwrap();
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "no temporary file stays");
    assert_eq!(
        default_store().rewrite(RewriteScope::Changed, Listed::default()).unwrap_err().to_string(),
        "The server is running without a config file"
    );
}

#[test]
fn alerts_have_lines_and_webhooks() {
    let config = from_text(
        "alert Mine 'redis_db_keys{db=\"db0\"} > 5' for 5m severity critical\n\
         alert MemoryHigh threshold 80\nalert mine redis_up == 0\nalert Mine redis_up == 0\n\
         alert-webhook http://a format=slack\nalert-webhook https://b severity=critical\n\
         alert-webhook http://a timeout=1s",
    )
    .unwrap();
    let names: Vec<_> = config.alert_rules.iter().map(rubine_alerts::RuleLine::name).collect();
    assert_eq!(names, ["MemoryHigh", "mine", "Mine"]);
    let text = "http://a format=slack https://b format=webhook4 severity=critical \
                http://a format=webhook4 timeout=1s";
    assert_eq!(get(&config, "alert-webhook"), text);
    let words: Vec<Vec<u8>> = config
        .alert_rules
        .iter()
        .flat_map(|it| [vec![b"alert".to_vec()], it.words()].concat())
        .collect();
    let listed = Listed { alerts: &[words[..4].to_vec()], ..Listed::default() };
    let old = "# mine\nalert Other redis_up == 0\nalert-webhook http://c\n";
    let new = config.rewritten(old.as_bytes(), RewriteScope::Changed, listed);
    let new = String::from_utf8(new).unwrap();
    let expected = "# mine\nalert MemoryHigh threshold 80\nalert-webhook http://a format=slack\n";
    assert!(new.starts_with(expected), "{new}");
    let store = ConfigStore::new(config, ConfigSource::default());
    set(&store, &["alert-webhook", "http://d http://e format=slack"]).unwrap();
    assert_eq!(
        get(&store.load(), "alert-webhook"),
        "http://d format=webhook4 http://e format=slack"
    );
    set(&store, &["alert-webhook", ""]).unwrap();
    assert_eq!(get(&store.load(), "alert-webhook"), "");
    for (name, value) in [
        ("alert-webhook", "d"),
        ("alert-webhook", "http://a speed=1"),
        ("alert-labels", "x"),
        ("alert-labels", "severity=x"),
    ] {
        assert!(set(&store, &[name, value]).is_err(), "{name} {value}");
    }
    set(&store, &["alert-labels", "env=prod team=db"]).unwrap();
    assert_eq!(get(&store.load(), "alert-labels"), "env=prod team=db");
    let error = from_text("port 1\nalert Mine redis_up >").unwrap_err();
    assert_eq!(error.line.unwrap().number, 2);
    assert_eq!(
        error.reason,
        "in 'redis_up >' at character 11: expected a metric, a number or a bracket, found the end"
    );
}

const RUBINE_CONF: &str = include_str!("../../../rubine.conf");

#[test]
fn rubine_conf_holds_the_defaults() {
    let (mut config, source) = from_args_and_input(&["-"], RUBINE_CONF).unwrap();
    config.dir = Config::default().dir;
    assert_eq!(config, Config::default());
    assert_eq!(source.notes, Vec::<String>::new());
}

#[test]
fn rubine_conf_explains_every_directive_once() {
    for directive in DIRECTIVES {
        let explanation = explanation(directive);
        assert!(20 < explanation.len(), "{}", directive.name);
        let (yet, here) = match directive.support {
            Support::Works => (String::new(), String::new()),
            Support::NotYet(reason) => (format!("(No effect yet: {reason}.)"), String::new()),
            Support::NoMeaning(reason) => (String::new(), format!("(No effect here: {reason}.)")),
        };
        assert_eq!(explanation.contains("No effect yet"), !yet.is_empty(), "{}", directive.name);
        assert_eq!(explanation.contains("No effect here"), !here.is_empty(), "{}", directive.name);
        assert!(explanation.contains(&yet) && explanation.contains(&here), "{}", directive.name);
    }
}

/// The comment above the one place where the directive stands in `rubine.conf`.
fn explanation(directive: &Directive) -> String {
    let stands_in = |line: &str| {
        let line = line.strip_prefix("# ").unwrap_or(line);
        line.strip_prefix(directive.name).is_some_and(|rest| rest.starts_with(' '))
    };
    let blocks: Vec<&str> =
        RUBINE_CONF.split("\n\n").filter(|block| block.lines().any(stands_in)).collect();
    let [block] = blocks.as_slice() else {
        panic!("{} stands in {} places", directive.name, blocks.len());
    };
    let comment = block.lines().take_while(|line| !stands_in(line));
    let words: Vec<&str> =
        comment.flat_map(|line| line.trim_start_matches('#').split_whitespace()).collect();
    words.join(" ")
}

#[test]
fn lines_of_sentinel_are_for_its_mode_and_written_anew() {
    let text = "port 5000\nsentinel known-slave m 10.0.0.2 6380\n# mine\nSENTINEL monitor m 10.0.0.1 6379 2\n\
                sentinel monitor gone 10.0.0.1 1 2\n";
    let args = [b"-".to_vec(), b"--sentinel".to_vec()];
    let (config, _) =
        Config::from_args_and_input(&args, Mode::Sentinel, &mut text.as_bytes()).unwrap();
    assert_eq!((config.port, config.protected_mode), (5000, false));
    let words: Vec<_> = config.sentinel.iter().map(|it| it.words.len()).collect();
    assert_eq!(words, [4, 5, 5]);
    let error = Config::from_args_and_input(&args[..1], Mode::Server, &mut text.as_bytes());
    assert_eq!(error.unwrap_err().reason, "sentinel directive while not in sentinel mode");
    let lines = [
        "sentinel myid abc",
        "sentinel monitor m 10.0.0.2 6380 2",
        "sentinel known-replica m 10.0.0.1 6379",
    ];
    let lines = lines.map(str::to_owned);
    let listed = Listed { sentinel: Some(&lines), ..Listed::default() };
    let new = config.rewritten(text.as_bytes(), RewriteScope::Changed, listed);
    let new = String::from_utf8(new).unwrap();
    assert!(
        new.starts_with(
            "port 5000\nsentinel known-replica m 10.0.0.1 6379\n# mine\n\
             sentinel monitor m 10.0.0.2 6380 2\n\n"
        ),
        "{new}"
    );
    assert!(new.contains("protected-mode no\n") && new.ends_with("\nsentinel myid abc\n"), "{new}");
    let (nothing, _) = Config::from_args_and_input(&[], Mode::Sentinel, &mut &b""[..]).unwrap();
    assert_eq!(nothing.port, 26_379);
}
