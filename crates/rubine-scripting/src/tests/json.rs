//! The library `cjson`.

use super::check;

#[test]
fn encoding() {
    check(&[
        ("return cjson.encode({})", "$2 {}"),
        ("return cjson.encode({1,2,3})", "$7 [1,2,3]"),
        ("return cjson.encode({[1]=1,[3]=3})", "$10 [1,null,3]"),
        (
            "return cjson.encode({[1]=1,[30]=3})",
            "-ERR user_script:1: Cannot serialise table: excessively sparse array",
        ),
        ("return cjson.encode({a={b={}}})", "$14 {\"a\":{\"b\":{}}}"),
        (
            "return cjson.encode('a/\"\\\\\\n\\1\\127')",
            "$23 \"a\\\\/\\\\\"\\\\\\\\\\\\n\\\\u0001\\\\u007f\"",
        ),
        ("return cjson.encode(1/3)", "$16 0.33333333333333"),
        ("return cjson.encode(1e15)", "$5 1e+15"),
        ("return cjson.encode(99999999999999)", "$14 99999999999999"),
        ("return cjson.encode(-0.0)", "$2 -0"),
        ("return cjson.encode({true,false,cjson.null})", "$17 [true,false,null]"),
        (
            "return cjson.encode(0/0)",
            "-ERR user_script:1: Cannot serialise number: must not be NaN or Inf",
        ),
        (
            "return cjson.encode(function() end)",
            "-ERR user_script:1: Cannot serialise function: type not supported",
        ),
        (
            "return cjson.encode({[true]=1})",
            "-ERR user_script:1: Cannot serialise boolean: table key must be a number or string",
        ),
        ("return cjson.encode({[1.5]=1})", "$9 {\"1.5\":1}"),
        (
            "return cjson.encode()",
            "-ERR user_script:1: bad argument #1 to 'encode' (expected 1 argument)",
        ),
        ("local t = {} for i = 1, 999 do t = {t} end return #cjson.encode(t)", ":2000"),
        (
            "local t = {} for i = 1, 1000 do t = {t} end return #cjson.encode(t)",
            "-ERR user_script:1: Cannot serialise, excessive nesting (1001)",
        ),
        (
            "cjson.encode_invalid_numbers(true) return cjson.encode({1/0,-1/0,0/0})",
            "$14 [inf,-inf,nan]",
        ),
        ("return cjson.encode_invalid_numbers()", "$-1"),
        ("cjson.encode_invalid_numbers('null') return cjson.encode({1/0})", "$6 [null]"),
        ("cjson.encode_sparse_array(true) return cjson.encode({[30]=3})", "$8 {\"30\":3}"),
        ("return {cjson.encode_sparse_array(true, 3, 4)}", "*3 :1 :3 :4"),
        ("cjson.encode_number_precision(3) return cjson.encode(1/3)", "$5 0.333"),
        (
            "return cjson.encode_number_precision(15)",
            "-ERR user_script:1: bad argument #1 to 'encode_number_precision' (expected integer between 1 and 14)",
        ),
        (
            "return cjson.encode_max_depth('x')",
            "-ERR user_script:1: bad argument #1 to 'encode_max_depth' (number expected, got string)",
        ),
        (
            "return cjson.encode_keep_buffer('maybe')",
            "-ERR user_script:1: bad argument #1 to 'encode_keep_buffer' (invalid option 'maybe')",
        ),
        (
            "local c = cjson.new() c.encode_max_depth(1) return {cjson.encode({{}}), pcall(c.encode, {{}})}",
            "*3 $4 [{}] $-1 $39 Cannot serialise, excessive nesting (2)",
        ),
    ]);
}

#[test]
fn decoding() {
    check(&[
        ("return cjson.decode('[1,2.9,\"x\",true,false,null]')", "*6 :1 :2 $1 x :1 $-1 $-1"),
        ("return cjson.decode('{\"a\":{\"b\":[{}]}}').a.b", "*1 *0"),
        ("return cjson.decode('null') == cjson.null", ":1"),
        (
            "return cjson.decode(' \"\\\\u20ac\\\\ud83d\\\\ude00\\\\n\" ')",
            "$8 \\xe2\\x82\\xac\\xf0\\x9f\\x98\\x80\\n",
        ),
        ("return tostring(cjson.decode('1e3'))", "$4 1000"),
        ("return tostring(cjson.decode('0x10'))", "$2 16"),
        ("return tostring(cjson.decode('-.5'))", "$4 -0.5"),
        ("return tostring(cjson.decode('+5'))", "$1 5"),
        ("return tostring(cjson.decode('Infinity'))", "$3 inf"),
        (
            "return tostring(cjson.decode('123456789012345678901234567890'))",
            "$19 1.2345678901235e+29",
        ),
    ]);
}

#[test]
fn what_is_no_json() {
    check(&[
        (
            "return cjson.decode('[1,2')",
            "-ERR user_script:1: Expected comma or array end but found T_END at character 5",
        ),
        (
            "return cjson.decode('[1 2]')",
            "-ERR user_script:1: Expected comma or array end but found T_NUMBER at character 4",
        ),
        (
            "return cjson.decode('{\"a\" 1}')",
            "-ERR user_script:1: Expected colon but found T_NUMBER at character 6",
        ),
        (
            "return cjson.decode('{1:2}')",
            "-ERR user_script:1: Expected object key string but found T_NUMBER at character 2",
        ),
        (
            "return cjson.decode('')",
            "-ERR user_script:1: Expected value but found T_END at character 1",
        ),
        (
            "return cjson.decode('[1] x')",
            "-ERR user_script:1: Expected the end but found invalid token at character 5",
        ),
        (
            "return cjson.decode('\"abc')",
            "-ERR user_script:1: Expected value but found unexpected end of string at character 5",
        ),
        (
            "return cjson.decode('\"\\\\x\"')",
            "-ERR user_script:1: Expected value but found invalid escape code at character 2",
        ),
        (
            "return cjson.decode('\"\\\\ud800\"')",
            "-ERR user_script:1: Expected value but found invalid unicode escape code at character 2",
        ),
        (
            "return cjson.decode(('['):rep(1001))",
            "-ERR user_script:1: Found too many nested data structures (1001) at character 1001",
        ),
        (
            "return cjson.decode({})",
            "-ERR user_script:1: bad argument #1 to 'decode' (string expected, got table)",
        ),
        (
            "cjson.decode_invalid_numbers(false) return cjson.decode('01')",
            "-ERR user_script:1: Expected value but found invalid number at character 1",
        ),
        (
            "cjson.decode_max_depth(1) return cjson.decode('[[]]')",
            "-ERR user_script:1: Found too many nested data structures (2) at character 2",
        ),
        ("return #cjson.decode('[[]]')", ":1"),
    ]);
}
