//! Conversions in both directions.

use rubine_resp::writer::Protocol;

use super::{Session, check};
use crate::{Outcome, Sha, Source};

#[test]
fn what_a_script_returns_in_resp2() {
    check(&[
        ("return 1", ":1"),
        ("return 1.99", ":1"),
        ("return -1.99", ":-1"),
        ("return 0/0", ":-9223372036854775808"),
        ("return 1e300", ":-9223372036854775808"),
        ("return 'a\\0b'", "$3 a\\x00b"),
        ("return true", ":1"),
        ("return false", "$-1"),
        ("return nil", "$-1"),
        ("return", "$-1"),
        ("return {}", "*0"),
        ("return {1,'a',{2,nil,3},false}", "*4 :1 $1 a *1 :2 $-1"),
        ("return {1,nil,3}", "*1 :1"),
        ("return {ok='fine\\r\\nx'}", "+fine  x"),
        ("return {err='MY own\\nerror'}", "-MY own error"),
        ("return {err='x', ok='y'}", "-x"),
        ("return {double=3.5}", "$3 3.5"),
        ("return {double='x'}", "*0"),
        ("return {big_number='123\\r\\n4'}", "$6 123  4"),
        ("return {verbatim_string={string='a\\r\\nb',format='txt'}}", "$4 a b"),
        ("return {map={a=1}}", "*2 $1 a :1"),
        ("return {set={a=true}}", "*1 $1 a"),
        ("return function() end", "$-1"),
        ("return cjson.null", "$-1"),
        ("return redis.status_reply('FINE')", "+FINE"),
        ("return redis.error_reply('MY own')", "-MY own"),
        ("return redis.error_reply('-MY own')", "-MY own"),
        ("return redis.error_reply('single')", "-ERR single"),
        ("return redis.error_reply(1)", "-ERR wrong number or type of arguments"),
        ("return setmetatable({}, {__index=function() return 1 end})", "*0"),
        ("local t={} t[1]=t return #t", ":1"),
    ]);
}

#[test]
fn what_a_script_returns_in_resp3() {
    let mut session = Session::new();
    session.protocol = Protocol::Resp3;
    let mut check =
        |script: &str, expected: &str| assert_eq!(session.eval(script), expected, "{script}");
    check("return true", ":1");
    check("return false", "_");
    check("return nil", "_");
    check("redis.setresp(3) return true", "#t");
    check("redis.setresp(3) return false", "#f");
    check("return {double=3.5}", ",3.5");
    check("return {double=1/0}", ",inf");
    check("return {map={a={double=1}}}", "%1 $1 a ,1");
    check("return {set={a=true}}", "~1 $1 a");
    check("return {big_number='12'}", "(12");
    check("return {verbatim_string={string='ab',format='md'}}", "=6 md :ab");
    check("return {verbatim_string={string='ab',format='m\\r\\n'}}", "=6 m  :ab");
}

#[test]
fn what_a_command_replies_in_resp2() {
    check(&[
        ("return redis.call('raw', '$-1\\r\\n') == false", ":1"),
        ("return redis.call('raw', '*-1\\r\\n') == false", ":1"),
        ("return redis.call('raw', '+OK\\r\\n').ok", "$2 OK"),
        ("return redis.call('raw', ':12\\r\\n') + 1", ":13"),
        ("return redis.call('raw', '*2\\r\\n$1\\r\\na\\r\\n*1\\r\\n$-1\\r\\n')", "*2 $1 a *1 $-1"),
        ("return redis.call('raw', '*0\\r\\n')", "*0"),
        ("return redis.call('hgetall')", "*2 $1 f $1 v"),
        ("return redis.pcall('raw', '-WRONG x\\r\\n').err", "$7 WRONG x"),
        ("return redis.pcall('raw', '-WRONG x\\r\\n')", "-WRONG x"),
        ("return redis.call('raw', '-WRONG x\\r\\n')", "-WRONG x"),
        ("return redis.call('raw', '*1\\r\\n-A b\\r\\n')", "*1 -A b"),
        (
            "return redis.call('raw', ('*1\\r\\n'):rep(300) .. ':1\\r\\n')",
            "-ERR the reply is nested too deeply, or too long",
        ),
        ("return #redis.call('raw', ('*1\\r\\n'):rep(200) .. ':1\\r\\n')", ":1"),
    ]);
}

#[test]
fn what_a_command_replies_in_resp3() {
    check(&[
        ("redis.setresp(3) return redis.call('raw', '_\\r\\n') == nil", ":1"),
        ("redis.setresp(3) return redis.call('hgetall').map.f", "$1 v"),
        ("redis.setresp(3) return redis.call('raw', '~2\\r\\n:1\\r\\n:2\\r\\n').set[2]", ":1"),
        ("redis.setresp(3) return redis.call('raw', ',1.5\\r\\n').double * 2", ":3"),
        ("redis.setresp(3) return redis.call('raw', '#t\\r\\n')", ":1"),
        ("redis.setresp(3) return redis.call('raw', '(99\\r\\n').big_number", "$2 99"),
        (
            "redis.setresp(3) return redis.call('raw', '=6\\r\\ntxt:ab\\r\\n').verbatim_string.string",
            "$2 ab",
        ),
        (
            "redis.setresp(3) return redis.call('raw', '=6\\r\\ntxt:ab\\r\\n').verbatim_string.format",
            "$3 txt",
        ),
        (
            "redis.setresp(3) return redis.call('raw', '|1\\r\\n+a\\r\\n%1\\r\\n:1\\r\\n:2\\r\\n:7\\r\\n')",
            ":7",
        ),
        (
            "redis.setresp(3) return redis.call('raw', '%1\\r\\n+a\\r\\n*2\\r\\n:1\\r\\n~0\\r\\n').map",
            "*0",
        ),
    ]);
}

#[test]
fn arguments_of_commands() {
    check(&[
        ("return redis.call('echo', 1)", "$1 1"),
        ("return redis.call('echo', 1e15)", "$16 1000000000000000"),
        ("return redis.call('echo', -0.0)", "$1 0"),
        ("return redis.call('echo', 0.1)", "$3 0.1"),
        ("return redis.call('echo', 1/3)", "$18 0.3333333333333333"),
        ("return redis.call('echo', 1e20)", "$5 1e+20"),
        ("return redis.call('echo', '0010')", "$4 0010"),
        ("return redis.call('echo', 1/0)", "$3 inf"),
        ("return redis.call('echo', {})", "-ERR Command arguments must be strings or integers"),
        ("return redis.call('echo', nil)", "-ERR Command arguments must be strings or integers"),
        ("return redis.call('echo', true)", "-ERR Command arguments must be strings or integers"),
        ("return redis.call()", "-ERR Please specify at least one argument for this call"),
        ("return redis.pcall().err", "$54 ERR Please specify at least one argument for this call"),
    ]);
}

#[test]
fn keys_and_arguments() {
    let mut session = Session::new();
    let script = b"return {#KEYS, #ARGV, KEYS[1], ARGV[2]}";
    let (reply, outcome) = session.eval_with(script, &[b"k\x00"], &[b"", b"\r\n"]);
    assert_eq!(reply, "*4 :1 :2 $2 k\\x00 $2  ");
    assert_eq!(outcome, Some(Outcome::Done));
    session.eval("KEYS[1] = 'left'");
    assert_eq!(session.eval("return {#KEYS, KEYS[1]}"), "*1 :0");
}

#[test]
fn scripts_by_their_digest() {
    let mut session = Session::new();
    let sha = Sha::of(b"return 7").to_hex();
    let run = |session: &mut Session, sha: &[u8]| session.run_source(Source::Sha(sha), &[], &[]).0;
    assert_eq!(run(&mut session, &sha), "-NOSCRIPT No matching script.");
    assert_eq!(session.eval("return 7"), ":7");
    assert_eq!(run(&mut session, &sha), ":7");
    assert_eq!(run(&mut session, &sha.to_ascii_uppercase()), ":7");
    assert_eq!(run(&mut session, b"xyz"), "-NOSCRIPT No matching script.");
    session.scripts.flush();
    assert_eq!(run(&mut session, &sha), "-NOSCRIPT No matching script.");
    let retired = session.interpreter.take_retired();
    std::thread::spawn(move || drop(retired)).join().unwrap();
    let loaded = session.interpreter.load(&session.scripts, b"return 7").unwrap();
    assert_eq!(loaded.to_hex(), sha);
    assert_eq!(run(&mut session, &sha), ":7");
}

#[test]
fn evaluated_scripts_give_way_to_others() {
    let mut session = Session::new();
    let loaded = session.interpreter.load(&session.scripts, b"return 'loaded'").unwrap();
    session.eval("return 'promoted'");
    session.interpreter.load(&session.scripts, b"return 'promoted'").unwrap();
    session.eval("return 'old'");
    session.eval("return 'used'");
    for number in 0..498 {
        session.eval(&format!("return {number}"));
    }
    assert_eq!((session.scripts.len(), session.scripts.evicted_count()), (502, 0));
    session.eval("return 'used'");
    session.eval("return 'one more'");
    let has = |text: &[u8]| session.scripts.find(Sha::of(text)).is_some();
    assert!(!has(b"return 'old'"));
    assert!(has(b"return 'used'") && has(b"return 'promoted'") && has(b"return 'one more'"));
    assert_eq!((session.scripts.len(), session.scripts.evicted_count()), (502, 1));
    for number in 0..2000 {
        session.eval(&format!("return -{number}"));
    }
    assert!(session.scripts.find(loaded).is_some());
    assert_eq!((session.scripts.len(), session.scripts.evicted_count()), (502, 2001));
    let sha = Sha::of(b"return 'used'").to_hex();
    assert_eq!(session.run_source(Source::Sha(&sha), &[], &[]).0, "-NOSCRIPT No matching script.");
    assert!(session.interpreter.script_memory() < 2_000_000);
}
