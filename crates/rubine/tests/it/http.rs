//! HTTP as monitoring meets it: metrics in both formats, health in every state, logins, TLS, bounds.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rubine_testing::papers::Papers;
use rubine_testing::server::{Server, ServerOptions, free_port};
use rustls::StreamOwned;

use crate::support::{call, integer, options, parallel_server, send, wait_until};
use crate::tls::line::{client_config, connection};

/// Of sockets of this machine.
const WORKS: &str = "a local connection works";

/// An answer.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// The value of the only sample of that name and these labels, as they are written.
    fn metric(&self, series: &str) -> f64 {
        let found = self.body.lines().find_map(|it| it.strip_prefix(series)?.strip_prefix(' '));
        let found = found.unwrap_or_else(|| panic!("there is no {series}\n{}", self.body));
        found.parse().expect("a value is a number")
    }
}

/// A server with HTTP, not yet started, and the port.
fn with_http() -> (ServerOptions, u16) {
    let port = free_port().expect(WORKS);
    (options().with("workers", "2").with("http-port", &port.to_string()), port)
}

fn try_get(port: u16, path: &str, headers: &str) -> std::io::Result<Answer> {
    exchange(TcpStream::connect(("127.0.0.1", port))?, "GET", path, headers)
}

fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    headers: &str,
) -> std::io::Result<Answer> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    if answer.is_empty() {
        read?;
    }
    Ok(Answer::parse(&String::from_utf8_lossy(&answer)))
}

fn get(port: u16, path: &str) -> Answer {
    try_get(port, path, "").expect(WORKS)
}

fn status(port: u16, path: &str) -> u16 {
    get(port, path).status
}

#[test]
fn metrics_tell_what_has_happened() {
    let (options, port) = with_http();
    let server = options.with("maxmemory", "1gb").start().expect("the server starts");
    let mut client = server.client();
    for line in ["SET key value", "SET other value EX 100", "GET key", "GET nothing", "LPUSH key x"]
    {
        call(&mut client, line);
    }
    call(&mut client, "CONFIG GET port");
    call(&mut client, "CLIENT SETNAME me");
    let answer = get(port, "/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    for (series, expected) in [
        ("redis_up", 1.0),
        ("redis_connected_clients", 1.0),
        ("redis_db_keys{db=\"db0\"}", 2.0),
        ("redis_db_keys{db=\"db15\"}", 0.0),
        ("redis_db_keys_expiring{db=\"db0\"}", 1.0),
        ("redis_commands_total{cmd=\"set\"}", 2.0),
        ("redis_commands_total{cmd=\"config|get\"}", 1.0),
        ("redis_commands_failed_calls_total{cmd=\"lpush\"}", 1.0),
        ("redis_errors_total{err=\"WRONGTYPE\"}", 1.0),
        ("redis_keyspace_hits_total", 1.0),
        ("redis_keyspace_misses_total", 1.0),
        ("redis_memory_max_bytes", f64::from(1 << 30)),
        ("redis_commands_latencies_usec_count{cmd=\"get\"}", 2.0),
        ("redis_commands_latencies_usec_bucket{cmd=\"get\",le=\"+Inf\"}", 2.0),
        (
            "redis_config_client_output_buffer_limit_bytes{class=\"slave\",limit=\"hard\"}",
            268_435_456.0,
        ),
        ("redis_rdb_last_bgsave_status", 1.0),
        ("redis_aof_enabled", 0.0),
    ] {
        let found = answer.metric(series);
        assert!((found - expected).abs() < f64::EPSILON, "{series}: {found}, not {expected}");
    }
    let ttl = answer.metric("redis_db_avg_ttl_seconds{db=\"db0\"}");
    assert!((50.0..=100.0).contains(&ttl), "{ttl}");
    assert!(0.0 < answer.metric("redis_latency_percentiles_usec{cmd=\"get\",quantile=\"99.9\"}"));
    assert!(answer.body.contains("redis_instance_info{role=\"master\","), "{}", answer.body);
    let accept = "Accept: application/openmetrics-text; version=1.0.0\r\n";
    let open = try_get(port, "/metrics", accept).expect(WORKS);
    assert!(open.head.contains("content-type: application/openmetrics-text"), "{}", open.head);
    assert!(open.body.contains("# TYPE redis_commands counter\n"), "{}", open.body);
    assert!(open.body.ends_with("# EOF\n"));
}

#[test]
fn only_what_is_there_is_answered_and_only_what_is_read() {
    let (options, port) = with_http();
    let _server = options.start().expect("the server starts");
    assert_eq!(status(port, "/nothing"), 404);
    for (method, path, expected) in
        [("POST", "/metrics", 405), ("DELETE", "/healthz", 405), ("HEAD", "/healthz", 200)]
    {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect(WORKS);
        let answer = exchange(stream, method, path, "").expect(WORKS);
        assert_eq!(answer.status, expected, "{method} {path}");
        if method == "HEAD" {
            assert!(answer.body.is_empty() && answer.head.contains("content-length: 3"));
        }
    }
    let long = format!("X-Long: {}\r\n", "x".repeat(100_000));
    assert_eq!(try_get(port, "/metrics", &long).expect(WORKS).status, 431);
    // A server of HTTP takes what is none for what it is.
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect(WORKS);
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").expect(WORKS);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect(WORKS);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[test]
fn metrics_are_for_users_who_may_see_them() {
    let (options, port) = with_http();
    let server = options.with("http-auth", "yes").start().expect("the server starts");
    let mut client = server.client();
    call(&mut client, "ACL SETUSER ann on >secret +info");
    call(&mut client, "ACL SETUSER bob on >secret +get");
    let ask = |header: &str| {
        let headers =
            if header.is_empty() { String::new() } else { format!("Authorization: {header}\r\n") };
        try_get(port, "/metrics", &headers).expect(WORKS)
    };
    let nobody = ask("");
    assert_eq!(nobody.status, 401);
    assert!(nobody.head.contains("www-authenticate: basic realm="), "{}", nobody.head);
    assert_eq!(ask("Basic YW5uOnNlY3JldA==").status, 200);
    assert_eq!(ask("Basic Ym9iOnNlY3JldA==").status, 403);
    assert_eq!(ask("Basic YW5uOndyb25n").status, 401);
    assert_eq!(status(port, "/healthz"), 200);
    // The server has refused it as it refuses any client.
    call(&mut client, "CONFIG SET http-auth no");
    let answer = ask("");
    assert_eq!(answer.status, 200);
    for kind in ["auth", "cmd"] {
        let found = answer.metric(&format!("redis_acl_access_denied_{kind}_total"));
        assert!((found - 1.0).abs() < f64::EPSILON, "{kind}: {found}");
    }
}

#[test]
fn http_moves_while_the_server_runs() {
    let server = parallel_server();
    let mut client = server.client();
    let (first, second) = (free_port().expect(WORKS), free_port().expect(WORKS));
    call(&mut client, &format!("CONFIG SET http-port {first}"));
    assert_eq!(status(first, "/healthz"), 200);
    call(&mut client, &format!("CONFIG SET http-port {second} http-bind 127.0.0.1"));
    assert_eq!(status(second, "/healthz"), 200);
    assert!(try_get(first, "/healthz", "").is_err());
    // A port that is taken is refused, and all stays as it was.
    let refusal = call(&mut client, &format!("CONFIG SET http-port {}", server.address().port()));
    assert!(format!("{refusal:?}").contains("CONFIG SET failed"), "{refusal:?}");
    assert_eq!(status(second, "/healthz"), 200);
    call(&mut client, "CONFIG SET http-port 0");
    assert!(try_get(second, "/healthz", "").is_err());
}

#[test]
fn tls_is_that_of_the_server() {
    let papers = Papers::new();
    let (options, port) = with_http();
    let (options, _) = papers.give_to(options);
    let server = options.with("http-tls", "yes").start().expect("the server starts");
    let ask = |with_certificate: bool| {
        let certificate = with_certificate.then_some(("client", &papers));
        let config = client_config(&papers, certificate);
        let stream = TcpStream::connect(("127.0.0.1", port)).expect(WORKS);
        exchange(StreamOwned::new(connection(&config), stream), "GET", "/readyz", "")
    };
    assert_eq!(ask(true).expect(WORKS).status, 200);
    assert!(ask(false).is_err());
    call(&mut server.client(), "CONFIG SET tls-auth-clients optional");
    assert_eq!(ask(false).expect(WORKS).status, 200);
    assert_ne!(try_get(port, "/readyz", "").map_or(0, |it| it.status), 200);
}

#[test]
fn a_replica_is_ready_when_it_has_what_its_master_has() {
    let mut master = parallel_server();
    let (options, port) = with_http();
    let replica = options.start().expect("the server starts");
    let mut client = replica.client();
    assert_eq!([status(port, "/role/primary"), status(port, "/role/replica")], [200, 503]);
    let nobody = free_port().expect(WORKS);
    call(&mut client, &format!("REPLICAOF 127.0.0.1 {nobody}"));
    wait_until("no link", || status(port, "/readyz") == 503);
    assert_eq!([status(port, "/healthz"), status(port, "/role/replica")], [200, 503]);
    call(&mut client, &format!("REPLICAOF 127.0.0.1 {}", master.address().port()));
    wait_until("a link", || status(port, "/readyz") == 200);
    assert_eq!([status(port, "/role/primary"), status(port, "/role/replica")], [503, 200]);
    let writes = get(port, "/readyz?write=1");
    assert_eq!(writes.status, 503, "{}", writes.body);
    let metrics = get(port, "/metrics");
    let labels =
        format!("{{master_host=\"127.0.0.1\",master_port=\"{}\"}}", master.address().port());
    assert!((metrics.metric(&format!("redis_master_link_up{labels}")) - 1.0).abs() < f64::EPSILON);
    master.kill();
    wait_until("the link is down", || {
        get(port, "/metrics").body.contains(&format!("redis_master_link_up{labels} 0\n"))
    });
    // It has old data, and serves it for a while.
    assert_eq!(status(port, "/readyz"), 200);
    call(&mut client, "CONFIG SET ready-max-link-down 1");
    wait_until("too long", || status(port, "/readyz") == 503);
    call(&mut client, "CONFIG SET ready-max-link-down 0");
    assert_eq!(status(port, "/readyz"), 200);
    call(&mut client, "CONFIG SET replica-serve-stale-data no");
    assert_eq!([status(port, "/readyz"), status(port, "/healthz")], [503, 200]);
}

/// A server that loads slowly, and nobody waits for.
struct Loading(Child);

impl Drop for Loading {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn health_answers_while_data_is_loaded() {
    let server = options().start().expect("the server starts");
    let mut client = server.client();
    for round in 0..20 {
        let keys: Vec<_> = (0..500).map(|it| format!("key:{round}:{it} value")).collect();
        call(&mut client, &format!("MSET {}", keys.join(" ")));
    }
    call(&mut client, "SAVE");
    let (port, http) = (free_port().expect(WORKS), free_port().expect(WORKS));
    let directory = server.directory().to_owned();
    let started = Command::new(env!("CARGO_BIN_EXE_rubine-server"))
        .args(["--port", &port.to_string(), "--http-port", &http.to_string()])
        .args(["--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024"])
        .args(["--save", "", "--dir"])
        .arg(&directory)
        .stdout(Stdio::null())
        .spawn();
    let _loading = Loading(started.expect("the server starts"));
    wait_until("HTTP", || try_get(http, "/healthz", "").is_ok());
    let (live, started, ready) =
        (get(http, "/healthz"), get(http, "/startupz"), status(http, "/readyz"));
    assert_eq!((live.status, started.status, ready), (200, 503, 503), "{}", started.body);
    assert!(live.body.contains(" % are loaded, about "), "{}", live.body);
    assert!(started.body.contains(" % are loaded, about "), "{}", started.body);
    let metrics = get(http, "/metrics");
    assert!((metrics.metric("redis_loading_dump_file") - 1.0).abs() < f64::EPSILON);
    wait_until("loaded", || status(http, "/startupz") == 200);
    assert_eq!(status(http, "/readyz"), 200);
    assert!((get(http, "/metrics").metric("redis_db_keys{db=\"db0\"}") - 10_000.0).abs() < 0.5);
}

#[test]
fn whoever_ends_is_not_ready_but_lives() {
    let (options, port) = with_http();
    let replica = parallel_server();
    let mut server = options.with("shutdown-timeout", "30").start().expect("the server starts");
    let mut follower = replica.client();
    call(&mut follower, &format!("REPLICAOF 127.0.0.1 {}", server.address().port()));
    let mut client = server.client();
    wait_until("a replica", || {
        call(&mut client, "SET key value");
        integer(&call(&mut client, "WAIT 1 100")) == 1
    });
    // The server waits for the replica, which takes nothing.
    Command::new("kill").args(["-STOP", &replica.pid().to_string()]).status().expect(WORKS);
    call(&mut client, "SET key other");
    Command::new("kill").arg(server.pid().to_string()).status().expect(WORKS);
    wait_until("it ends", || status(port, "/readyz") == 503);
    assert_eq!(status(port, "/healthz"), 200);
    Command::new("kill").args(["-CONT", &replica.pid().to_string()]).status().expect(WORKS);
    wait_until("it has ended", || try_get(port, "/healthz", "").is_err());
    server.kill();
}

#[test]
fn a_worker_that_is_stuck_is_a_reason_to_restart() {
    let (options, port) = with_http();
    let server = options.with("enable-debug-command", "yes").start().expect("the server starts");
    let mut client = server.client();
    send(&mut client, "DEBUG SLEEP 20");
    wait_until("a stuck worker", || status(port, "/healthz") == 503);
    assert!(get(port, "/readyz").body.contains("[-]workers: a worker's turn"));
}

#[test]
fn the_program_asks_for_health_itself() {
    let (options, port) = with_http();
    let server = options.start().expect("the server starts");
    let check = |url: Option<String>| {
        let output = Command::new(env!("CARGO_BIN_EXE_rubine-server"))
            .arg("--healthcheck")
            .args(url)
            .env("RUBINE_HTTP_PORT", port.to_string())
            .output()
            .expect("the program runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let url = |path: &str| Some(format!("http://127.0.0.1:{port}{path}"));
    assert_eq!(check(None), (true, "ok\n".to_owned()));
    assert_eq!(check(url("/readyz")), (true, "ok\n".to_owned()));
    let (is_good, text) = check(url("/role/replica"));
    assert!(!is_good && text.contains("[-]role"), "{text}");
    drop(server);
    assert!(!check(None).0);
}

/// What the exporter's names were made a list of, at `tests/metrics`, is here where it is said to be.
#[test]
fn what_dashboards_query_is_there() {
    let (options, port) = with_http();
    let server = options
        .with("appendonly", "yes")
        .with("enable-debug-command", "yes")
        .with("metrics-config", "yes")
        .start()
        .expect("the server starts");
    let mut client = server.client();
    call(&mut client, "CONFIG SET latency-monitor-threshold 1");
    call(&mut client, "DEBUG SLEEP 0.01");
    call(&mut client, "NOSUCHCOMMAND");
    let replica = options_of_replica(&server).start().expect("the server starts");
    wait_until("a replica", || get(port, "/metrics").body.contains("slave_state=\"online\"} "));
    let as_master = get(port, "/metrics").body;
    let replica_port = replica_http_port(&replica);
    let as_replica = get(replica_port, "/metrics").body;
    let (options, node_port) = with_http();
    let node = options.with("cluster-enabled", "yes").start().expect("the node starts");
    call(&mut node.client(), "CLUSTER ADDSLOTSRANGE 0 16383");
    wait_until("the cluster", || get(node_port, "/metrics").body.contains("cluster_state 1"));
    let as_node = get(node_port, "/metrics").body;
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/metrics/exporter.tsv");
    let table = std::fs::read_to_string(table).expect("the table is there");
    let mut missing = Vec::new();
    for line in table.lines().filter(|it| it.starts_with("redis_")) {
        let columns: Vec<&str> = line.split('\t').collect();
        let (name, kind, absent) = (columns[0], columns[1], columns[4]);
        let is_there = [&as_master, &as_replica, &as_node]
            .iter()
            .any(|it| it.contains(&format!("\n# TYPE {name} {kind}\n")));
        if is_there != absent.is_empty() {
            missing.push(name.to_owned());
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

/// A request with a body.
fn post(port: u16, path: &str, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect(WORKS);
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect(WORKS);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect(WORKS);
    Answer::parse(&answer)
}

#[test]
fn the_console_does_what_its_user_may() {
    let (options, port) = with_http();
    let server = options.start().expect("the server starts");
    let mut client = server.client();
    call(
        &mut client,
        "ACL SETUSER ann on >secret ~a* +@read +set +command|info +select +client|setinfo",
    );
    call(&mut client, "MSET a 1 b 2");
    assert_eq!(status(port, "/console"), 303);
    assert_eq!(post(port, "/console/login", "", "user=ann&password=wrong").status, 403);
    let login = post(port, "/console/login", "", "user=ann&password=secret");
    assert_eq!(login.status, 303, "{}", login.body);
    let cookie = login.head.split("set-cookie: ").nth(1).and_then(|it| it.split(';').next());
    let cookie = format!("Cookie: {}\r\n", cookie.expect("a cookie"));
    let page = try_get(port, "/console/keys", &cookie).expect(WORKS);
    assert!(page.status == 200 && page.body.contains("2 match"), "{}", page.body);
    let run = |words: &str| {
        let headers = format!("{cookie}Content-Type: application/json\r\n");
        post(port, "/api/v1/command", &headers, &format!("{{\"command\": [{words}]}}")).body
    };
    assert_eq!(run("\"GET\", \"a\""), "{\"reply\":\"1\"}");
    assert!(run("\"GET\", \"b\"").contains("NOPERM"));
    assert!(run("\"SET\", \"a\", \"3\"").contains("console-writable is no"));
    call(&mut client, "CONFIG SET console-writable yes");
    assert_eq!(run("\"SET\", \"a\", \"3\""), "{\"reply\":\"OK\"}");
    assert!(run("\"FLUSHALL\"").contains("sure"));
    assert!(run("\"SUBSCRIBE\", \"x\"").contains("is not for"));
    // What is no JSON may come from another site.
    assert_eq!(post(port, "/api/v1/command", &cookie, "{\"command\": [\"PING\"]}").status, 403);
    let clients = call(&mut client, "CLIENT LIST").as_text().expect("text");
    assert!(
        clients.contains(" user=ann ") && clients.contains("lib-name=rubine-console"),
        "{clients}"
    );
    // Whoever is closed logs in anew by itself, until it may not any more.
    call(&mut client, "CLIENT KILL USER ann");
    assert_eq!(run("\"GET\", \"a\""), "{\"reply\":\"3\"}");
    call(&mut client, "ACL SETUSER ann resetpass >other");
    call(&mut client, "CLIENT KILL USER ann");
    wait_until("it may not", || run("\"GET\", \"a\"").contains("not known any more"));
    call(&mut client, "CONFIG SET console no");
    assert_eq!([status(port, "/console/login"), status(port, "/healthz")], [404, 200]);
}

#[test]
fn directives_come_from_the_environment() {
    let server = options().behind(&["env", "RUBINE_MAXMEMORY=5mb", "RUBINE_MAXCLIENTS=77"]);
    let server = server.with("maxclients", "78").start().expect("the server starts");
    let mut client = server.client();
    let value = |client: &mut _, name: &str| {
        let reply = call(client, &format!("CONFIG GET {name}"));
        crate::support::elements(&reply)[1].as_text().expect("text")
    };
    assert_eq!(value(&mut client, "maxmemory"), "5242880");
    // The command line counts more.
    assert_eq!(value(&mut client, "maxclients"), "78");
}

fn options_of_replica(master: &Server) -> ServerOptions {
    let (options, _) = with_http();
    options.with("replicaof", &format!("127.0.0.1 {}", master.address().port()))
}

fn replica_http_port(replica: &Server) -> u16 {
    let port = call(&mut replica.client(), "CONFIG GET http-port");
    let port = crate::support::elements(&port)[1].as_text().expect("a port is text");
    port.parse().expect("a port is a number")
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let (options, port) = with_http();
    let _server = options.start().expect("the server starts");
    let silent: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(("127.0.0.1", port)).expect(WORKS)).collect();
    let answer = get(port, "/healthz");
    assert_eq!(answer.status, 200);
    for mut stream in silent {
        stream.set_read_timeout(Some(Duration::from_millis(1))).expect(WORKS);
        let mut byte = [0];
        // Nothing has come, and the connection is there.
        assert!(stream.read(&mut byte).is_err());
    }
}
