//! What scripts cannot get at.

use super::{Session, check, settings};
use crate::{Interpreter, Settings};

#[test]
fn globals() {
    check(&[
        (
            "local t = {} for k in pairs(_G) do t[#t + 1] = k end table.sort(t) return table.concat(t, ' ')",
            "$304 ARGV KEYS _G _VERSION __redis__err__handler __server__err__handler assert bit cjson cmsgpack collectgarbage coroutine error gcinfo getmetatable ipairs load loadstring math next os pairs pcall rawequal rawget rawset redis select server setmetatable string struct table tonumber tostring type unpack xpcall",
        ),
        (
            "local t = {} for k in pairs(redis) do t[#t + 1] = k end table.sort(t) return table.concat(t, ' ')",
            "$289 LOG_DEBUG LOG_NOTICE LOG_VERBOSE LOG_WARNING REDIS_VERSION REDIS_VERSION_NUM REPL_ALL REPL_AOF REPL_NONE REPL_REPLICA REPL_SLAVE SERVER_NAME VALKEY_VERSION VALKEY_VERSION_NUM acl_check_cmd breakpoint call debug error_reply log pcall replicate_commands set_repl setresp sha1hex status_reply",
        ),
        (
            "local r='' for _,m in ipairs{'string','math','table','cjson','cmsgpack','bit','struct','os','coroutine'} do local t={} for k in pairs(_G[m]) do t[#t+1]=k end table.sort(t) r=r..m..': '..table.concat(t,' ')..' | ' end return r",
            "$765 string: byte char dump find format gfind gmatch gsub len lower match rep reverse sub upper | math: abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max min mod modf pi pow rad random randomseed sin sinh sqrt tan tanh | table: concat foreach foreachi getn insert maxn remove setn sort | cjson: _NAME _VERSION decode decode_invalid_numbers decode_max_depth encode encode_invalid_numbers encode_keep_buffer encode_max_depth encode_number_precision encode_sparse_array new null | cmsgpack: _COPYRIGHT _DESCRIPTION _NAME _VERSION pack unpack unpack_limit unpack_one | bit: arshift band bnot bor bswap bxor lshift rol ror rshift tobit tohex | struct: pack size unpack | os: clock | coroutine: create resume running status wrap yield | ",
        ),
        ("a = 1", "-ERR user_script:1: Attempt to modify a readonly table"),
        (
            "return a",
            "-ERR user_script:1: Script attempted to access nonexistent global variable 'a'",
        ),
        (
            "print('x')",
            "-ERR user_script:1: Script attempted to access nonexistent global variable 'print'",
        ),
        (
            "return _G.x",
            "-ERR user_script:1: Script attempted to access nonexistent global variable 'x'",
        ),
        ("return _VERSION", "$7 Lua 5.1"),
        ("return redis == server", ":1"),
        ("return redis.REDIS_VERSION_NUM", ":459268"),
        ("return redis.SERVER_NAME", "$6 rubine"),
        ("return redis.sha1hex('')", "$40 da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ]);
}

#[test]
fn nothing_can_be_changed() {
    let readonly = "-ERR user_script:1: Attempt to modify a readonly table";
    let unplaced = "-ERR Attempt to modify a readonly table";
    check(&[
        ("redis.call = 1", readonly),
        ("redis.x = 1", readonly),
        ("math.random = nil", readonly),
        ("string.x = 1", readonly),
        ("cjson.x = 1", readonly),
        ("getmetatable('').__index = 1", readonly),
        ("getmetatable('').x = 1", readonly),
        ("getmetatable(_G).__index = nil", readonly),
        ("_G._G = 1", readonly),
        ("rawset(redis, 'x', 1)", unplaced),
        ("rawset(_G, 'x', 1)", unplaced),
        ("setmetatable(redis, {})", unplaced),
        ("setmetatable(_G, nil)", unplaced),
        ("table.insert(redis, 1)", unplaced),
        ("table.sort(redis) table.insert(math, 1)", unplaced),
    ]);
    check(&[
        ("return rawget(redis, 'call') == redis.call", ":1"),
        ("return type(next(redis))", "$6 string"),
        ("return #redis", ":0"),
        ("KEYS = 1", readonly),
    ]);
}

#[test]
fn no_byte_code_is_loaded() {
    check(&[
        ("return string.sub(string.dump(function() end), 2, 4)", "$3 Lua"),
        ("return string.dump(tostring)", "-ERR user_script:1: unable to dump given function"),
        (
            "return loadstring(string.dump(function() return 1 end))()",
            "-ERR user_script:1: attempt to call a nil value",
        ),
        (
            "return select(2, loadstring('\\27Lua'))",
            "$52 [string \"\\x1bLua\"]:1: unexpected symbol near 'char(27)'",
        ),
        ("return loadstring('return 1 + 1')()", ":2"),
        ("return load(function() return nil end)()", "$-1"),
        ("loadstring('x = 1')()", "-ERR [string \"x = 1\"]:1: Attempt to modify a readonly table"),
    ]);
}

#[test]
fn random_numbers_are_those_of_the_seed() {
    let mut session = Session::new();
    let script = "local t = {} for i = 1, 5 do t[i] = math.random(1000000) end return t";
    assert_ne!(session.eval(script), session.eval(script));
    let seeded = format!("math.randomseed(0) {script}");
    assert_eq!(session.eval(&seeded), "*5 :170829 :749902 :96372 :870466 :577304");
    assert_ne!(session.eval(script), session.eval(&seeded));
    check(&[
        (
            "return math.random(0)",
            "-ERR user_script:1: bad argument #1 to 'random' (interval is empty)",
        ),
        (
            "return math.random(2, 1)",
            "-ERR user_script:1: bad argument #2 to 'random' (interval is empty)",
        ),
        ("return math.random(1, 2, 3)", "-ERR user_script:1: wrong number of arguments"),
    ]);
}

#[test]
fn insecure_functions_are_there_on_request() {
    let mut session = Session::new();
    let script = "return type(getfenv)";
    assert!(session.eval(script).contains("nonexistent global variable 'getfenv'"));
    session.interpreter = Interpreter::new(Settings { has_insecure_api: true, ..settings() });
    assert_eq!(session.eval(script), "$8 function");
    let script = "local p = newproxy(true) getmetatable(p).__gc = function() error('x') end p = nil collectgarbage() return 1";
    assert_eq!(session.eval(script), ":1");
}

#[test]
fn what_a_run_changes_ends_with_it() {
    let mut session = Session::new();
    session.eval("cjson.encode_number_precision(3) collectgarbage('setpause', 1000)");
    assert_eq!(session.eval("return cjson.encode(1/3)"), "$16 0.33333333333333");
    assert_eq!(session.eval("return type(collectgarbage('count'))"), "$6 number");
    assert_eq!(
        session.eval("return collectgarbage('x')").split(" script:").next(),
        Some("-ERR user_script:1: bad argument #1 to 'collectgarbage' (invalid option 'x')")
    );
}

#[test]
fn bits() {
    check(&[
        ("return bit.tobit(0xffffffff)", ":-1"),
        ("return bit.bnot(0)", ":-1"),
        ("return bit.bor(1, 2, 4)", ":7"),
        ("return bit.band(0x12345678, 0xff)", ":120"),
        ("return bit.bxor(0xa5a5f0f0, 0xaa55ff00)", ":267390960"),
        ("return bit.lshift(1, 33)", ":2"),
        ("return bit.rshift(-256, 8)", ":16777215"),
        ("return bit.arshift(-256, 8)", ":-1"),
        ("return bit.rol(0x12345678, 12)", ":1164411171"),
        ("return bit.ror(0x12345678, 12)", ":1736516421"),
        ("return bit.bswap(0x12345678)", ":2018915346"),
        ("return bit.tohex(1)", "$8 00000001"),
        ("return bit.tohex(-1, 4)", "$4 ffff"),
        ("return bit.tohex(-1, -4)", "$4 FFFF"),
        ("return bit.tohex(0x21, 2)", "$2 21"),
        ("return bit.tohex(0, -2147483648)", "$8 00000000"),
        (
            "return bit.band('x')",
            "-ERR user_script:1: bad argument #1 to 'band' (number expected, got string)",
        ),
        (
            "return bit.band()",
            "-ERR user_script:1: bad argument #1 to 'band' (number expected, got no value)",
        ),
        ("return bit.tobit(2^40 + 5)", ":5"),
        ("return bit.tobit(0/0)", ":0"),
    ]);
}
