//! Libraries.

use super::{Map, Session};
use crate::{Policy, ScriptFlags};

#[test]
fn a_library_is_loaded_and_called() {
    let mut session = Session::new();
    let code = "#!lua name=lib\nlocal count = 0\nredis.register_function('f', function(keys, args) count = count + 1 return {keys[1], args[1], count} end)";
    assert_eq!(session.load(code, Policy::Append), "lib");
    assert_eq!(session.fcall("f", &[b"k"], &[b"a"]), "*3 $1 k $1 a :1");
    assert_eq!(session.fcall("F", &[b"k"], &[b"a"]), "*3 $1 k $1 a :2");
    assert_eq!(session.load(code, Policy::Append), "-ERR Library 'lib' already exists");
    assert_eq!(session.load(code, Policy::Replace), "lib");
    assert_eq!(session.fcall("f", &[b"k"], &[b"a"]), "*3 $1 k $1 a :1");
    session.libraries.change(|it| it.without(b"lib")).unwrap();
    assert_eq!(session.fcall("f", &[], &[]), "-ERR Function not found");
}

#[test]
fn what_functions_see() {
    let mut session = Session::new();
    let mut check = |body: &str, expected: &str| {
        let code = format!(
            "#!lua name=lib\nredis.register_function('f', function(keys, args) {body} end)"
        );
        assert_eq!(session.load(&code, Policy::Replace), "lib", "{body}");
        let reply = session.fcall("f", &[b"k"], &[b"1", b"2"]);
        assert_eq!(reply, expected, "{body}");
    };
    check("return redis.call('set', keys[1], args[2])", "+OK");
    check("return server.call('get', keys[1])", "$1 2");
    check(
        "return KEYS",
        "-ERR user_function:2: Script attempted to access nonexistent global variable 'KEYS' script: f, on @user_function:2.",
    );
    check(
        "x = 1",
        "-ERR user_function:2: Attempt to modify a readonly table script: f, on @user_function:2.",
    );
    check("return redis.breakpoint", "$-1");
    check("return redis.register_function", "$-1");
    check("return math.max(1, 2)", ":2");
    check("return tostring(rawget(_G, 'redis') == redis)", "$4 true");
}

#[test]
fn what_a_library_may_do_while_it_is_loaded() {
    let mut session = Session::new();
    let mut check = |body: &str, expected: &str| {
        let reply = session.load(&format!("#!lua name=lib\n{body}"), Policy::Replace);
        assert_eq!(reply, expected, "{body}");
    };
    let failed = |text: &str| format!("-ERR Error registering functions: {text}");
    check("redis.register_function('f', function() end)", "lib");
    check(
        "redis.register_function{function_name='f', callback=function() end, flags={'no-writes', 'ATOMIC'}, description='d'}",
        "lib",
    );
    check(
        "redis.call('get', 'x')",
        &failed(
            "ERR user_function:2: Script attempted to access nonexistent global variable 'call'",
        ),
    );
    check("x = 1", &failed("ERR user_function:2: Attempt to modify a readonly table"));
    check(
        "local x = math.max",
        &failed(
            "ERR user_function:2: Script attempted to access nonexistent global variable 'math'",
        ),
    );
    check("redis.x = 1", &failed("ERR user_function:2: Attempt to modify a readonly table"));
    check("x = = 1", "-ERR Error compiling function: user_function:2: unexpected symbol near '='");
    check(
        "redis.register_function()",
        &failed("ERR wrong number of arguments to server.register_function"),
    );
    check(
        "redis.register_function('f')",
        &failed(
            "ERR calling server.register_function with a single argument is only applicable to Lua table (representing named arguments).",
        ),
    );
    check(
        "redis.register_function({}, function() end)",
        &failed("ERR first argument to server.register_function must be a string"),
    );
    check(
        "redis.register_function('f', 1)",
        &failed("ERR second argument to server.register_function must be a function"),
    );
    check(
        "redis.register_function{callback=function() end}",
        &failed("ERR server.register_function must get a function name argument"),
    );
    check(
        "redis.register_function{function_name='f'}",
        &failed("ERR server.register_function must get a callback argument"),
    );
    check(
        "redis.register_function{function_name='f', callback=1}",
        &failed("ERR callback argument given to server.register_function must be a function"),
    );
    check(
        "redis.register_function{function_name='f', callback=function() end, flags={'x'}}",
        &failed("ERR unknown flag given"),
    );
    check(
        "redis.register_function{function_name='f', callback=function() end, x=1}",
        &failed("ERR unknown argument given to server.register_function"),
    );
    let libraries = session.libraries.current();
    let (library, index) = libraries.function(b"f").unwrap();
    let function = &library.functions[index];
    assert_eq!(function.flags, ScriptFlags::NO_WRITES | ScriptFlags::ATOMIC);
    assert_eq!(function.description.as_deref(), Some(&b"d"[..]));
    assert_eq!(function.flags.names().collect::<Vec<_>>(), ["no-writes", "atomic"]);
}

#[test]
fn names_of_functions() {
    let mut session = Session::new();
    let mut check = |body: &str, expected: &str| {
        let reply = session.load(&format!("#!lua name=lib\n{body}"), Policy::Replace);
        assert_eq!(reply, expected, "{body}");
    };
    check("return 1", "-ERR No functions registered");
    check(
        "redis.register_function('f-', function() end)",
        "-ERR Function names can only contain letters, numbers, or underscores(_) and must be at least one character long",
    );
    check(
        "redis.register_function('f', function() end) redis.register_function('f', function() end)",
        "-ERR Function already exists in the library",
    );
}

#[test]
fn libraries_do_not_share_functions() {
    let mut session = Session::new();
    let code = |name: &str, function: &str| {
        format!(
            "#!lua name={name}\nredis.register_function('{function}', function() return '{name}' end)"
        )
    };
    assert_eq!(session.load(&code("a", "f"), Policy::Append), "a");
    assert_eq!(session.load(&code("b", "F"), Policy::Append), "-ERR Function F already exists");
    assert_eq!(session.load(&code("b", "g"), Policy::Append), "b");
    assert_eq!(
        (session.fcall("f", &[], &[]), session.fcall("g", &[], &[])),
        ("$1 a".into(), "$1 b".into())
    );
    session.libraries.flush();
    assert_eq!(session.fcall("g", &[], &[]), "-ERR Function not found");
}

#[test]
fn libraries_are_dumped_and_restored() {
    use rubine_rdb::Version;
    use rubine_rdb::dump::{Checks, decode_libraries, encode_libraries};

    let mut session = Session::new();
    let code = |name: &str| {
        format!(
            "#!lua name={name}\nredis.register_function('{name}_f', function() return '{name}' end)"
        )
    };
    session.load(&code("a"), Policy::Append);
    session.load(&code("b"), Policy::Append);
    let libraries = session.libraries.current();
    let payload = encode_libraries(libraries.iter().map(|it| &it.code[..]), Version::COMMON);
    let payload = payload.unwrap();
    let codes = decode_libraries(&payload, Checks::default()).unwrap();
    assert_eq!(codes, [code("a").into_bytes(), code("b").into_bytes()]);
    let restore = |session: &mut Session, policy| {
        let Session { interpreter, libraries, .. } = session;
        let result = interpreter.restore_libraries(libraries, &codes, policy, Map::default);
        result.map_err(|it| it.to_string())
    };
    assert_eq!(restore(&mut session, Policy::Append), Err("ERR Library a already exists".into()));
    assert_eq!(restore(&mut session, Policy::Replace), Ok(()));
    session.load(&code("c"), Policy::Append);
    assert_eq!(restore(&mut session, Policy::Flush), Ok(()));
    assert_eq!(session.libraries.current().library_count(), 2);
    assert_eq!(session.fcall("b_f", &[], &[]), "$1 b");
    let mut damaged = payload.clone();
    damaged[3] ^= 1;
    let wrong = Err("ERR DUMP payload version or checksum are wrong".to_owned());
    let unpack =
        |it: &[u8]| decode_libraries(it, Checks::default()).map_err(|it| format!("ERR {it}"));
    assert_eq!(unpack(&damaged), wrong);
    assert_eq!(unpack(b"short"), wrong);
}
