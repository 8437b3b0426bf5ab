//! Scripts that run for long: others are served meanwhile, each is as if it had been alone, and each can be ended.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rubine_testing::client::{Client, Received};
use rubine_testing::server::Server;
use rubine_testing::value::Value;

use crate::support::{
    call, elements, info, integer, options, parallel_server, pick, random, wait_until,
};

/// Keys are in the same shards in every run.
fn server(workers: &str) -> Server {
    options().with("workers", workers).with("hash-seed", "busy").start().expect("it starts")
}

/// Some hundreds of milliseconds, on whatever machine.
const LONG: &str = "for i = 1, 3e7 do local x = i end";
/// It ends when somebody ends it.
const ENDLESS: &str = "while true do end";

fn eval(client: &mut Client, script: &str, keys: &[&str]) {
    let count = keys.len().to_string();
    let mut args = vec!["EVAL", script, &count];
    args.extend(keys);
    client.send(&args).expect("it takes requests");
}

fn reply(client: &mut Client) -> Value {
    client.reply().expect("a reply")
}

fn has_nothing(client: &mut Client) -> bool {
    client.receive(Duration::from_millis(1)).expect("it lives") == Received::Nothing
}

fn is_error(value: &Value, prefix: &str) -> bool {
    matches!(value, Value::Error(text) if text.starts_with(prefix))
}

fn text(value: &str) -> Value {
    Value::Bulk(value.as_bytes().to_vec())
}

/// Ends an endless script, which may not be known yet.
fn kill(client: &mut Client, command: &str) {
    wait_until("the script is ended", || call(client, command) == Value::Status("OK".into()));
}

#[test]
fn its_own_worker_serves_others() {
    let server = server("1");
    let mut other = server.client();
    let mut running = server.client();
    eval(&mut running, &format!("redis.call('SET', KEYS[1], 'v') {ENDLESS}"), &["held"]);
    wait_until("it runs", || is_error(&call(&mut other, "FUNCTION KILL"), "BUSY"));
    for number in 1..100 {
        assert_eq!(integer(&call(&mut other, "INCR free")), number);
    }
    let mut waiting = server.client();
    waiting.send(&["GET", "held"]).expect("it takes requests");
    wait_until("it is known that it has written", || {
        is_error(&call(&mut other, "SCRIPT KILL"), "UNKILLABLE")
    });
    assert!(has_nothing(&mut running) && has_nothing(&mut waiting));
    kill(&mut other, "SCRIPT KILL UNDO");
    assert!(is_error(&reply(&mut running), "ERR"));
    assert_eq!(reply(&mut waiting), Value::Nil);
}

#[test]
fn whoever_needs_what_it_holds_is_told_that_it_is_busy() {
    let server = server("2");
    let mut control = server.client();
    call(&mut control, "CONFIG SET busy-reply-threshold 50");
    let mut running = server.client();
    eval(&mut running, &format!("redis.call('GET', KEYS[1]) {ENDLESS}"), &["held"]);
    wait_until("it runs", || is_error(&call(&mut control, "FUNCTION KILL"), "BUSY"));
    for request in ["GET held", "SET held v", "KEYS *", "FLUSHALL", "BGSAVE"] {
        assert!(is_error(&call(&mut control, request), "BUSY"), "{request}");
    }
    assert!(is_error(&call(&mut control, "SHUTDOWN"), "BUSY"));
    call(&mut control, "MULTI");
    call(&mut control, "GET held");
    assert!(is_error(
        &call(&mut control, "EXEC"),
        "EXECABORT Transaction discarded because of: BUSY"
    ));
    assert_eq!(call(&mut control, "SET free v"), Value::Status("OK".into()));
    assert_eq!(call(&mut control, "PING"), Value::Status("PONG".into()));
    call(&mut control, "CONFIG SET busy-reply-scope all");
    assert!(is_error(&call(&mut control, "PING"), "BUSY"));
    kill(&mut control, "SCRIPT KILL");
    assert!(is_error(&reply(&mut running), "ERR"));
    wait_until("nobody is busy", || call(&mut control, "PING") == Value::Status("PONG".into()));
    assert_eq!(call(&mut control, "GET held"), Value::Nil);
}

#[test]
fn a_transaction_goes_on_where_its_script_has_ended() {
    let server = server("2");
    let mut client = server.client();
    let mut other = server.client();
    for round in 1..=2 {
        call(&mut client, "MULTI");
        call(&mut client, "INCR before");
        eval(&mut client, &format!("redis.call('INCR', KEYS[1]) {LONG} return 'first'"), &["a"]);
        reply(&mut client);
        call(&mut client, "SELECT 1");
        call(&mut client, "INCR after");
        eval(&mut client, &format!("{LONG} return redis.call('INCR', KEYS[1])"), &["a"]);
        reply(&mut client);
        call(&mut client, "SELECT 0");
        client.send(&["EXEC"]).expect("it takes requests");
        assert_eq!(call(&mut other, "PING"), Value::Status("PONG".into()));
        let replies = reply(&mut client);
        let ok = Value::Status("OK".into());
        let expected = [
            Value::Integer(round),
            text("first"),
            ok.clone(),
            Value::Integer(round),
            Value::Integer(round),
            ok,
        ];
        assert_eq!(elements(&replies), expected);
    }
    assert_eq!(call(&mut other, "GET a"), text("2"));
}

#[test]
fn a_key_that_is_not_declared_is_found_late() {
    let server = server("2");
    let mut client = server.client();
    let script = format!("redis.call('INCR', KEYS[1]) {LONG} return redis.call('INCR', ARGV[1])");
    for round in 1..=2 {
        client.send(&["EVAL", &script, "1", "a", "undeclared"]).expect("it takes requests");
        assert_eq!(reply(&mut client), Value::Integer(round));
    }
    let script = format!("{script} -- in a transaction");
    call(&mut client, "MULTI");
    call(&mut client, "INCR a");
    client.send(&["EVAL", &script, "1", "a", "undeclared"]).expect("it takes requests");
    reply(&mut client);
    let replies = call(&mut client, "EXEC");
    assert_eq!(elements(&replies), [Value::Integer(3), Value::Integer(3)]);
    assert_eq!(call(&mut client, "GET a"), text("4"));
}

#[test]
fn a_transaction_that_begins_anew_speaks_as_at_first() {
    let server = server("2");
    let mut client = server.client();
    call(&mut client, "ZADD scores 1.5 member");
    call(&mut client, "MULTI");
    call(&mut client, "ZSCORE scores member");
    call(&mut client, "HELLO 3");
    client.send(&["EVAL", "return #redis.call('KEYS', '*')", "0"]).expect("it takes requests");
    reply(&mut client);
    let replies = call(&mut client, "EXEC");
    assert_eq!(elements(&replies)[0], text("1.5"));
    assert_eq!(elements(&replies)[2], Value::Integer(1));
}

#[test]
fn what_a_client_began_is_done_though_it_is_gone() {
    let server = server("2");
    let mut control = server.client();
    let mut client = server.client();
    let id = integer(&call(&mut client, "CLIENT ID"));
    call(&mut client, "MULTI");
    eval(&mut client, &format!("redis.call('INCR', KEYS[1]) {LONG} {LONG} {LONG}"), &["a"]);
    reply(&mut client);
    call(&mut client, "INCR b");
    client.send(&["EXEC"]).expect("it takes requests");
    wait_until("it runs", || is_error(&call(&mut control, "FUNCTION KILL"), "BUSY"));
    assert_eq!(integer(&call(&mut control, &format!("CLIENT KILL ID {id}"))), 1);
    wait_until("it is done", || call(&mut control, "GET b") == text("1"));
    assert_eq!(call(&mut control, "GET a"), text("1"));
    wait_until("it is gone", || info(&mut control, "clients", "connected_clients") == "1");
}

#[test]
fn more_of_them_than_threads_have_their_turns() {
    let server = server("2");
    let mut clients: Vec<_> = (0..40).map(|_| server.client()).collect();
    let script = "redis.call('INCR', KEYS[1]) for i = 1, 3e5 do local x = i end return redis.call('INCR', KEYS[1])";
    for (index, client) in clients.iter_mut().enumerate() {
        for _ in 0..5 {
            eval(client, script, &[&format!("key:{}", index % 7)]);
        }
    }
    let mut replies: Vec<i64> = Vec::new();
    for client in &mut clients {
        replies.extend((0..5).map(|_| integer(&reply(client))));
    }
    assert!(replies.iter().all(|it| it % 2 == 0), "nothing came between: {replies:?}");
    let mut control = server.client();
    let sum: i64 = (0..7)
        .map(|it| match call(&mut control, &format!("GET key:{it}")) {
            Value::Bulk(text) => String::from_utf8_lossy(&text).parse::<i64>().expect("a number"),
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(sum, 400);
    assert_eq!(info(&mut control, "clients", "blocked_clients"), "0");
}

#[test]
fn a_server_that_is_to_end_does_not_wait_for_an_endless_one() {
    let mut server = options()
        .with("workers", "2")
        .with("save", "3600 1")
        .with("busy-reply-threshold", "100")
        .start()
        .expect("it starts");
    let mut control = server.client();
    call(&mut control, "SET kept v");
    let mut running = server.client();
    eval(&mut running, &format!("redis.call('SET', KEYS[1], 'v') {ENDLESS}"), &["undone"]);
    wait_until("it runs", || is_error(&call(&mut control, "FUNCTION KILL"), "BUSY"));
    assert!(server.terminate().expect("it ends").success());
    server.restart().expect("it starts");
    let mut control = server.client();
    assert_eq!(call(&mut control, "GET kept"), text("v"));
    assert_eq!(call(&mut control, "GET undone"), Value::Nil);
}

/// Money is moved between few accounts by scripts that are short and long, declare their keys or do not, write, fail, are
/// killed and undone; none of it may appear or vanish, and whoever adds it up finds all of it.
#[test]
fn nothing_is_lost_between_scripts_that_are_killed() {
    const ACCOUNTS: usize = 6;
    const CLIENTS: usize = 6;
    const ROUNDS: usize = 80;
    const MOVE: &str = "local from, to = ARGV[1], ARGV[2]
        redis.call('DECR', from)
        for i = 1, tonumber(ARGV[3]) do local x = i end
        redis.call('INCR', to)
        return 'moved'";
    const SUM: &str = "local sum = 0
        for i = 0, 5 do sum = sum + tonumber(redis.call('GET', 'account:' .. i)) end
        return sum";
    let server = server("3");
    let mut control = server.client();
    for account in 0..ACCOUNTS {
        call(&mut control, &format!("SET account:{account} 100"));
    }
    let at_work = AtomicUsize::new(CLIENTS);
    std::thread::scope(|scope| {
        for seed in 0..CLIENTS as u64 {
            let (mut client, at_work) = (server.client(), &at_work);
            scope.spawn(move || {
                let mut random = random(seed);
                for _ in 0..ROUNDS {
                    let from = format!("account:{}", random.below(ACCOUNTS as u64));
                    let to = format!("account:{}", random.below(ACCOUNTS as u64));
                    let steps = *pick(&mut random, &["0", "1000", "300000", "3000000"]);
                    let declared = *pick(&mut random, &[0, 1, 2]);
                    let keys = [from.as_str(), to.as_str()];
                    let count = declared.to_string();
                    let mut args = vec!["EVAL", MOVE, &count];
                    args.extend(&keys[..declared]);
                    args.extend([from.as_str(), to.as_str(), steps]);
                    client.send(&args).expect("it takes requests");
                    let reply = client.reply().expect("a reply");
                    let is_killed = is_error(&reply, "ERR Script killed");
                    assert!(is_killed || reply == text("moved"), "{reply:?}");
                    let args = ["EVAL", SUM, "0"];
                    let sum = client.call(&args).expect("a reply");
                    assert!(
                        sum == Value::Integer(600) || is_error(&sum, "ERR Script killed"),
                        "{sum:?}"
                    );
                }
                at_work.fetch_sub(1, Ordering::Relaxed);
            });
        }
        let (mut killer, at_work) = (server.client(), &at_work);
        scope.spawn(move || {
            while at_work.load(Ordering::Relaxed) != 0 {
                call(&mut killer, "SCRIPT KILL UNDO");
                std::thread::sleep(Duration::from_millis(7));
            }
        });
    });
    assert_eq!(control.call(&["EVAL", SUM, "0"]).expect("a reply"), Value::Integer(600));
}

#[test]
fn counts_may_be_reset_in_the_middle_of_a_unit() {
    let server = parallel_server();
    let mut client = server.client();
    for line in
        ["MULTI", "SET k 1", "CONFIG RESETSTAT", "EVAL \"return redis.call('INCR', 'k')\" 0"]
    {
        call(&mut client, line);
    }
    assert_eq!(elements(&call(&mut client, "EXEC")).len(), 3);
    assert_eq!(call(&mut client, "GET k").as_text().as_deref(), Some("2"));
    assert_eq!(info(&mut client, "persistence", "rdb_changes_since_last_save"), "2");
}
