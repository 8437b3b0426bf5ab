//! The libraries `cmsgpack` and `struct`. Random values are held against a real server by `examples/differ.rs`.

use super::check;

#[test]
fn msgpack() {
    check(&[
        ("return cmsgpack.pack(1, 'a', nil, true, {})", "$6 \\x01\\xa1a\\xc0\\xc3\\x90"),
        (
            "return cmsgpack.pack({1,2,{a=1.5}})",
            "$11 \\x93\\x01\\x02\\x81\\xa1a\\xca?\\xc0\\x00\\x00",
        ),
        ("return cmsgpack.pack({[1]=1,[3]=3})", "$5 \\x82\\x01\\x01\\x03\\x03"),
        (
            "return cmsgpack.pack(127, 128, 256, 65536, 2^32)",
            "$20 \\x7f\\xcc\\x80\\xcd\\x01\\x00\\xce\\x00\\x01\\x00\\x00\\xcf\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x00",
        ),
        (
            "return cmsgpack.pack(-32, -33, -129, -32769)",
            "$11 \\xe0\\xd0\\xdf\\xd1\\xff\\x7f\\xd2\\xff\\xff\\x7f\\xff",
        ),
        (
            "local t = {} for i = 1, 20 do t = {t} end return cmsgpack.pack(t)",
            "$17 \\x91\\x91\\x91\\x91\\x91\\x91\\x91\\x91\\x91\\x91\\x91\\x91\\x91\\x91\\x91\\x91\\xc0",
        ),
        (
            "return cmsgpack.pack()",
            "-ERR user_script:1: bad argument #0 to 'pack' (MessagePack pack needs input.)",
        ),
        ("return {cmsgpack.unpack(cmsgpack.pack(1, {2, {a='x'}}, 'y'))}", "*3 :1 *2 :2 *0 $1 y"),
        ("return {cmsgpack.unpack_one(cmsgpack.pack(1, 2))}", "*2 :1 :1"),
        ("return {cmsgpack.unpack_one(cmsgpack.pack(1, 2), 1)}", "*2 :-1 :2"),
        ("return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 2)}", "*3 :2 :1 :2"),
        ("return cmsgpack.unpack('\\193')", "-ERR user_script:1: Bad data format in input."),
        ("return cmsgpack.unpack('\\146\\1')", "-ERR user_script:1: Missing bytes in input."),
        (
            "return cmsgpack.unpack('\\219\\255\\255\\255\\255')",
            "-ERR user_script:1: Missing bytes in input.",
        ),
        (
            "return cmsgpack.unpack('\\221\\255\\255\\255\\255')",
            "-ERR user_script:1: Missing bytes in input.",
        ),
        ("return cmsgpack.unpack('\\129\\192\\1')", "-ERR table index is nil"),
        (
            "return cmsgpack.unpack_one('x', -1)",
            "-ERR user_script:1: Invalid request to unpack with offset of -1 and limit of 1.",
        ),
        (
            "return cmsgpack.unpack_one('x', 2)",
            "-ERR user_script:1: Start offset 2 greater than input length 1.",
        ),
        (
            "return #cmsgpack.unpack(('\\145'):rep(9000) .. '\\1')",
            "-ERR user_script:1: stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)",
        ),
        (
            "return select('#', cmsgpack.unpack(('\\1'):rep(9000)))",
            "-ERR user_script:1: stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)",
        ),
    ]);
}

#[test]
fn structs() {
    check(&[
        ("return struct.pack('>HI', 1, 2)", "$6 \\x00\\x01\\x00\\x00\\x00\\x02"),
        ("return struct.pack('<Hs', 1, 'ab')", "$5 \\x01\\x00ab\\x00"),
        ("return struct.pack('!4bi', 1, 2)", "$8 \\x01\\x00\\x00\\x00\\x02\\x00\\x00\\x00"),
        (
            "return struct.pack('dLc0', 1.5, 3, 'abc')",
            "$19 \\x00\\x00\\x00\\x00\\x00\\x00\\xf8?\\x03\\x00\\x00\\x00\\x00\\x00\\x00\\x00abc",
        ),
        ("return {struct.unpack('dLc0', struct.pack('dLc0', 1.5, 3, 'abc'))}", "*3 :1 $3 abc :20"),
        ("return {struct.unpack('>hB', '\\255\\254\\200')}", "*3 :-2 :200 :4"),
        ("return {struct.unpack('s', 'ab\\0cd')}", "*2 $2 ab :4"),
        ("return struct.size('!8bdi')", ":20"),
        (
            "return struct.size('s')",
            "-ERR user_script:1: bad argument #1 to 'size' (option 's' has no fixed size)",
        ),
        (
            "return struct.pack('i33', 1)",
            "-ERR user_script:1: integral size 33 is larger than limit of 32",
        ),
        ("return struct.pack('i99999999999', 1)", "-ERR user_script:1: integral size overflow"),
        (
            "return struct.pack('q', 1)",
            "-ERR user_script:1: bad argument #1 to 'pack' (invalid format option 'q')",
        ),
        ("return struct.pack('!3', 1)", "-ERR user_script:1: alignment 3 is not a power of 2"),
        (
            "return struct.pack('c5', 'abc')",
            "-ERR user_script:1: bad argument #3 to 'pack' (string too short)",
        ),
        (
            "return struct.pack('i')",
            "-ERR user_script:1: bad argument #2 to 'pack' (number expected, got nil)",
        ),
        (
            "return struct.unpack('i', 'abc')",
            "-ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
        ),
        (
            "return struct.unpack('c0', 'abc')",
            "-ERR user_script:1: format 'c0' needs a previous size",
        ),
        (
            "return struct.unpack('bc0', '\\255abc')",
            "-ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
        ),
        (
            "return struct.unpack('c4294967295', 'abc')",
            "-ERR user_script:1: integral size overflow",
        ),
        (
            "return struct.unpack('b', 'abc', 0)",
            "-ERR user_script:1: bad argument #3 to 'unpack' (offset must be 1 or greater)",
        ),
        (
            "return struct.unpack('b', 'abc', -5)",
            "-ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
        ),
        ("return struct.unpack('s', 'abc')", "-ERR user_script:1: unfinished string in data"),
    ]);
}
