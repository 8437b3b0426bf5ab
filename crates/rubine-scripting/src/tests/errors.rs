//! What goes wrong, and how it is told.

use super::{Session, check, settings};
use crate::{Interpreter, LogLevel, Outcome, Verdict};

#[test]
fn texts() {
    check(&[
        ("error('boom')", "-ERR user_script:1: boom"),
        ("error({err='MY own'})", "-MY own"),
        ("error({})", "-ERR unknown error"),
        ("error()", "-ERR nil"),
        ("error(12)", "-ERR user_script:1: 12"),
        ("local t = nil; t.x = 1", "-ERR user_script:1: attempt to index local 't' (a nil value)"),
        ("return redis.call('nosuch')", "-ERR Unknown command called from script"),
        ("return redis.call('get')", "-ERR Wrong number of args calling command from script"),
        (
            "return {pcall(redis.call, 'nosuch')}",
            "*2 $-1 $38 ERR Unknown command called from script",
        ),
        ("return pcall(error, {err='A b'})", "$-1"),
        ("local ok, e = pcall(error, {err='A b'}) return e", "$3 A b"),
        ("local ok, e = pcall(error, {other=1}) return e.other", ":1"),
        ("local ok, e = pcall(redis.call, 'raw', '-A b\\r\\n') return e", "$3 A b"),
        ("local e = redis.pcall('raw', '-A b\\r\\n') error(e)", "-A b"),
        (
            "return select(2, xpcall(function() error('x') end, function(e) return e .. '!' end))",
            "$17 user_script:1: x!",
        ),
        (
            "string.rep()",
            "-ERR user_script:1: bad argument #1 to 'rep' (string expected, got no value)",
        ),
        ("return redis.log()", "-ERR server.log() requires two arguments or more."),
        ("return redis.log('x', 'y')", "-ERR First argument must be a number (log level)."),
        ("return redis.log(4, 'y')", "-ERR Invalid log level."),
        ("return redis.setresp(4)", "-ERR RESP version must be 2 or 3."),
        (
            "return redis.set_repl(8)",
            "-ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
        ),
        (
            "return redis.acl_check_cmd('x')",
            "-ERR Invalid command passed to server.acl_check_cmd()",
        ),
        ("return redis.acl_check_cmd('get')", ":1"),
        ("return redis.acl_check_cmd('set')", "$-1"),
        (
            "x = = 1",
            "-ERR Error compiling script (new function): user_script:1: unexpected symbol near '='",
        ),
        ("#!lua flags=x\n", "-ERR Unexpected flag in script shebang: x"),
        ("#!lua\nerror('second line')", "-ERR user_script:2: second line"),
    ]);
}

#[test]
fn a_script_s_error_names_its_place() {
    let mut session = Session::new();
    let sha = "5ecaa12c83a9e1d0ea6cfe8d7b5ae4e3dd4cc5cd";
    let reply = session.eval("\nreturn redis.call('nosuch')");
    assert!(reply.starts_with("-ERR Unknown command called from script script: "), "{reply}");
    assert!(reply.ends_with(", on @user_script:2."), "{reply}");
    assert_eq!(
        reply.len(),
        "-ERR Unknown command called from script script: , on @user_script:2.".len() + sha.len()
    );
}

#[test]
fn errors_are_counted_once() {
    let mut session = Session::new();
    session.eval("return redis.pcall('nosuch')");
    session.eval("return redis.call('nosuch')");
    assert_eq!(session.host.counted, [""; 0]);
    session.eval("return {{err='A b'}, {err='C d'}}");
    session.eval("return redis.error_reply('E f')");
    assert_eq!(session.host.counted, ["A b", "C d", "E f"]);
    session.eval("error('x')");
    assert_eq!(session.host.counted.len(), 4);
}

#[test]
fn a_killed_script_ends_whatever_it_does() {
    for script in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do pcall(pcall, error) end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "local f = coroutine.wrap(function() while true do pcall(coroutine.yield) end end) while true do f() end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "while true do redis.pcall('get', 'x') end",
        "return ('a'):rep(100):find(('a*'):rep(40) .. 'b')",
        "return ('('):rep(1000000):find('%b()')",
        "return ('a'):rep(1000000):find(('a'):rep(500000) .. 'b', 1, true)",
        "local t = {} table.insert(t, -2147483648, 1)",
        "local s = ('x'):rep(1000000) while true do local a = s:upper() end",
        "table.sort({3,2,1,4,5,6}, function() while true do end end)",
        "return ('x'):gsub('x', function() while true do end end)",
        "local t = setmetatable({}, {__index=function() while true do end end}) return t.x",
        "while true do string.rep('x', 10) end",
    ] {
        let mut session = Session::new();
        session.host.kill_after = Some((3, Verdict::Kill));
        let (reply, outcome) = session.eval_with(script.as_bytes(), &[], &[]);
        assert_eq!(outcome, Some(Outcome::Killed), "{script}");
        assert!(
            reply.starts_with("-ERR Script killed by user with SCRIPT KILL."),
            "{script}: {reply}"
        );
        session.host.kill_after = Some((3, Verdict::Stop));
        let (reply, outcome) = session.eval_with(script.as_bytes(), &[], &[]);
        assert_eq!((reply.as_str(), outcome), ("", Some(Outcome::Stopped)), "{script}");
        session.host.kill_after = None;
        assert_eq!(session.eval("return 1"), ":1");
    }
}

#[test]
fn a_call_may_end_the_run() {
    for script in [
        "redis.call('set', 'a', 1) redis.call('stop') redis.call('set', 'b', 1)",
        "redis.call('set', 'a', 1) pcall(redis.call, 'stop') redis.call('set', 'b', 1)",
        "redis.call('set', 'a', 1) redis.pcall('stop') redis.call('set', 'b', 1)",
        "redis.call('set', 'a', 1) coroutine.resume(coroutine.create(function() redis.call('stop') end)) redis.call('set', 'b', 1)",
        "redis.call('set', 'a', 1) xpcall(function() redis.call('stop') end, function() redis.call('set', 'b', 1) end)",
    ] {
        let mut session = Session::new();
        let (reply, outcome) = session.eval_with(script.as_bytes(), &[], &[]);
        assert_eq!((reply.as_str(), outcome), ("", Some(Outcome::Stopped)), "{script}");
        let keys: Vec<&[u8]> = session.host.values.keys().map(Vec::as_slice).collect();
        assert_eq!(keys, [b"a"], "{script}");
        assert_eq!(session.eval("return 1"), ":1");
    }
}

#[test]
fn memory_is_bounded() {
    let scripts = [
        "local t = {} while true do t[#t + 1] = 'x' .. #t end",
        "local s = 'x' while true do s = s .. s end",
        "return string.rep('x', 1e9)",
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "local t = {} for i = 1, 1e9 do t['k' .. i] = {} end",
        "return cjson.decode('[' .. string.rep('[],', 3000000) .. '1]')",
        "local t = {} for i = 1, 40 do t = {t, t} end return cjson.encode(t)",
        "local t = {} while true do t[#t + 1] = redis.call('echo', ('y'):rep(1000000) .. #t) end",
        "collectgarbage('stop') local t = {} while true do t[#t + 1] = {} end",
        "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
    ];
    let mut session = Session::new();
    let memory_limit = 16 * 1024 * 1024;
    session.interpreter = Interpreter::new(crate::Settings { memory_limit, ..settings() });
    for script in scripts {
        let reply = session.eval(script);
        assert!(
            reply.starts_with("-ERR") && reply.contains("not enough memory"),
            "{script}: {reply}"
        );
        assert_eq!(session.eval("return 1"), ":1");
        // Lua halves its buffers each time.
        (0..20).for_each(|_| session.interpreter.collect());
        let memory = session.interpreter.script_memory();
        assert!(memory < 500_000, "{script}: {memory}");
    }
    // What is garbage is no reason to fail.
    let script = "for i = 1, 2000 do local s = ('x'):rep(100000) .. i end return 1";
    assert_eq!(session.eval(script), ":1");
    let script =
        "collectgarbage('stop') for i = 1, 2000 do local s = ('x'):rep(100000) .. i end return 1";
    assert_eq!(session.eval(script), ":1");
    let script = "for i = 1, 200 do redis.call('echo', ('x'):rep(1000000) .. i) end return 1";
    assert_eq!(session.eval(script), ":1");
}

#[test]
fn the_stack_is_bounded() {
    check(&[
        ("local function f() return 1 + f() end return f()", "-ERR user_script:1: stack overflow"),
        ("return unpack({}, 1, 1e7)", "-ERR user_script:1: too many results to unpack"),
        ("return unpack({}, -2^31, 2^31-1)", "-ERR user_script:1: too many results to unpack"),
        ("return unpack({}, 0, 2^31-1)", "-ERR user_script:1: too many results to unpack"),
        ("return select('#', unpack({}, 1, 7900))", ":7900"),
        (
            "return ('a'):rep(300000):find(('a?'):rep(300000))",
            "-ERR user_script:1: pattern too complex",
        ),
        ("return #(('a?'):rep(100000):gsub('a?', '%0'))", ":200000"),
    ]);
    let mut session = Session::new();
    let reply = session.eval("local a = {} local b = {a} a[1] = b return a");
    assert!(reply.ends_with("-ERR reached lua stack limit"));
    let nested = format!("return {}1{}", "(".repeat(190), ")".repeat(190));
    assert_eq!(session.eval(&nested), ":1");
    let nested = format!("return {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(session.eval(&nested).contains("chunk has too many syntax levels"));
}

#[test]
fn logs() {
    let mut session = Session::new();
    session.eval("redis.log(redis.LOG_WARNING, 'a', 1, {}, 'b')");
    assert_eq!(session.host.log, [(LogLevel::Warning, b"a 1 b".to_vec())]);
    session.eval("redis.set_repl(redis.REPL_AOF)");
    let replication = session.host.replication.unwrap();
    assert!(replication.to_log && !replication.to_replicas);
    assert_eq!(session.eval("return tostring(os.clock())"), "$3 1.5");
}

#[test]
fn without_a_limit_memory_is_not_asked_for() {
    let mut session = Session::new();
    session.interpreter = Interpreter::new(crate::Settings { memory_limit: 0, ..settings() });
    assert_eq!(session.eval("return #string.rep('x', 100000000)"), ":100000000");
}
