//! Files as other servers write them, and odd ones: what they hold is there, or it is said what is not.

use std::fs;

use rubine_base::crc::crc64;
use rubine_testing::server::{Server, ServerOptions};
use rubine_testing::value::Value;

use crate::support::{call, info, integer, options, wait_until};

const LIBRARY: &[u8] = b"#!lua name=mylib\nredis.register_function('f', function() return 1 end)";
const MODULE_IDENTITY: &[u8] = b"\x81\x00\x10\x83\x10\x51\x87\x20\x00";

fn debug_options() -> ServerOptions {
    options().with("workers", "2").with("enable-debug-command", "yes")
}

/// A file of these parts, with a checksum that is right.
fn dump(magic: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut file = [magic, &parts.concat(), b"\xff"].concat();
    let sum = crc64(0, &file);
    file.extend_from_slice(&sum.to_le_bytes());
    file
}

fn library() -> Vec<u8> {
    [&[0xf5, 0x40, LIBRARY.len() as u8], LIBRARY].concat()
}

/// Stops a server and starts it with another dump file.
fn start_with(server: &mut Server, file: &[u8]) -> std::io::Result<()> {
    server.kill();
    fs::write(server.directory().join("dump.rdb"), file)?;
    server.restart()
}

fn count(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).filter(|it| *it == text).count()
}

fn rewrite(server: &Server) -> Vec<u8> {
    let mut client = server.client();
    call(&mut client, "BGREWRITEAOF");
    wait_until("the rewrite", || {
        info(&mut client, "persistence", "aof_rewrite_in_progress") == "0"
    });
    assert_eq!(info(&mut client, "persistence", "aof_last_bgrewrite_status"), "ok");
    let files = fs::read_dir(server.directory().join("appendonlydir")).expect("a folder");
    let mut files = files.flatten().map(|it| it.path());
    let base = files.find(|it| it.to_string_lossy().contains(".base.")).expect("a base");
    fs::read(base).expect("a file")
}

/// Function libraries of a file can be called, and are not lost by anything.
#[test]
fn function_libraries_are_kept() {
    let one = Value::Integer(1);
    let options = debug_options().with("rdbcompression", "no");
    let mut server = options.start().expect("it starts");
    start_with(&mut server, &dump(b"REDIS0011", &[&library(), b"\x00\x01k\x01v"])).expect("loads");
    let mut client = server.client();
    assert_eq!(call(&mut client, "FCALL f 0"), one);
    for _ in 0..2 {
        assert_eq!(call(&mut client, "DEBUG RELOAD"), Value::Status("OK".into()));
        assert_eq!(call(&mut client, "FCALL f 0"), one);
    }
    let file = fs::read(server.directory().join("dump.rdb")).expect("a file");
    assert_eq!(count(&file, LIBRARY), 1);
    // Into a log, whose base is one or the other, and back.
    for preamble in ["no", "yes", "no"] {
        call(&mut client, &format!("CONFIG SET aof-use-rdb-preamble {preamble}"));
        call(&mut client, "CONFIG SET appendonly yes");
        assert_eq!(count(&rewrite(&server), LIBRARY), 1, "{preamble}");
        assert_eq!(call(&mut client, "DEBUG LOADAOF"), Value::Status("OK".into()));
        server.kill();
        server.set_directive("appendonly", "yes");
        server.restart().expect("it loads its log");
        client = server.client();
        assert_eq!(call(&mut client, "GET k").as_text(), Some("v".into()));
        assert_eq!(call(&mut client, "FCALL f 0"), one);
    }
    assert_eq!(count(&rewrite(&server), LIBRARY), 1);
}

/// A library that does not work stops the start with its name, and leaves the file as it was.
#[test]
fn a_library_that_does_not_load_is_told_of() {
    let mut server = debug_options().start().expect("it starts");
    let code = b"#!lua name=broken\nthis is no Lua";
    let library = [&[0xf5, 0x40, code.len() as u8][..], code].concat();
    let file = dump(b"REDIS0011", &[&library, b"\x00\x01k\x01v"]);
    start_with(&mut server, &file).expect_err("the library does not compile");
    assert!(server.log().contains("The function library 'broken' does not load"));
    let left = fs::read(server.directory().join("dump.rdb")).expect("a file");
    assert!(left == file, "the file is as it was");
}

/// As Valkey writes them: one command for each change of the libraries.
#[test]
fn a_log_with_function_commands_is_loaded() {
    let mut server = debug_options().with("rdbcompression", "no").start().expect("it starts");
    server.kill();
    let command = |words: &[&[u8]]| {
        let mut text = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            text.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            text.extend_from_slice(word);
            text.extend_from_slice(b"\r\n");
        }
        text
    };
    let other = b"#!lua name=other\nreturn 2";
    let log = [
        command(&[b"SELECT", b"0"]),
        command(&[b"FUNCTION", b"LOAD", other]),
        command(&[b"function", b"load", b"REPLACE", LIBRARY]),
        command(&[b"FUNCTION", b"DELETE", b"other"]),
        command(&[b"SET", b"k", b"v"]),
    ];
    fs::write(server.directory().join("appendonly.aof"), log.concat()).expect("written");
    server.set_directive("appendonly", "yes");
    server.restart().expect("it loads");
    let mut client = server.client();
    assert_eq!(call(&mut client, "GET k").as_text(), Some("v".into()));
    let base = rewrite(&server);
    assert_eq!((count(&base, LIBRARY), count(&base, other)), (1, 0));
}

/// What modules wrote is not kept, and nobody finds that out too late.
#[test]
fn what_modules_wrote_is_told_of() {
    let mut server = debug_options().start().expect("it starts");
    let key = b"\x00\x01k\x01v";
    let aux = [&b"\xf7"[..], MODULE_IDENTITY, b"\x02\x07\x00"].concat();
    start_with(&mut server, &dump(b"REDIS0011", &[&aux, key])).expect("it loads");
    assert!(server.log().contains("data of the module 'ABCDEFGHI', which is not kept"));
    start_with(&mut server, &dump(b"REDIS0013", &[b"\xf3\x01meta\x02\x05\x00", key]))
        .expect("it loads");
    assert!(server.log().contains("Modules kept something beside 1 keys"), "{}", server.log());
    assert_eq!(integer(&call(&mut server.client(), "DBSIZE")), 1);
    // Keys of modules cannot be left out, as the next save would make that final.
    let value = [&b"\x07\x01m"[..], MODULE_IDENTITY, b"\x02\x07\x00"].concat();
    let file = dump(b"REDIS0011", &[key, &value]);
    start_with(&mut server, &file).expect_err("it has no such type");
    assert!(server.log().contains("a value of the module type 'ABCDEFGHI'"), "{}", server.log());
    let left = fs::read(server.directory().join("dump.rdb")).expect("a file");
    assert!(left == file, "the file is as it was");
}

#[test]
fn files_that_cannot_be_loaded_whole_are_refused() {
    let mut server = debug_options().with("databases", "4").start().expect("it starts");
    let key = b"\x00\x01k\x01v";
    let mut refuse = |file: &[u8], word: &str| {
        start_with(&mut server, file).expect_err(word);
        assert!(server.log().contains(word), "{word}: {}", server.log());
    };
    refuse(&dump(b"REDIS0011", &[b"\xfe\x04", key]), "keys of database 4");
    refuse(&dump(b"REDIS0011", &[key, key]), "RDB has duplicated key 'k' in DB 0");
    refuse(&dump(b"REDIS0011", &[b"\xf6\x01x"]), "release candidate of Redis 7.0");
    refuse(&dump(b"REDIS0011", &[b"\xf3\x01x"]), "Unknown type or opcode");
    refuse(&dump(b"REDIS0015", &[b"\x1c\x01a\x01\0\0\0\x01x"]), "a value of type array");
    // Every length of a small file.
    let whole = dump(b"REDIS0011", &[b"\xfa\x01a\x01b", b"\xfe\x00", key]);
    for len in (0..whole.len()).step_by(4) {
        refuse(&whole[..len], "Fatal error loading the DB");
    }
    start_with(&mut server, &whole).expect("the whole is loaded");
}

#[test]
fn a_checksum_counts_unless_it_is_not_to() {
    let mut server = debug_options().start().expect("it starts");
    let mut file = dump(b"REDIS0011", &[b"\x00\x01k\x01v"]);
    let sum = file.len() - 8;
    file[sum] ^= 1;
    start_with(&mut server, &file).expect_err("the sum is wrong");
    assert!(server.log().contains("RDB CRC error"), "{}", server.log());
    server.set_directive("rdbchecksum", "no");
    start_with(&mut server, &file).expect("the sum is not looked at");
    assert_eq!(call(&mut server.client(), "GET k").as_text(), Some("v".into()));
    server.set_directive("rdbchecksum", "yes");
    file[sum..].fill(0);
    start_with(&mut server, &file).expect("there is no sum");
    assert!(server.log().contains("saved with checksum disabled"), "{}", server.log());
}

/// A log of before version 7 that begins as a dump, with keys that are due and marks of time.
#[test]
fn a_single_file_with_a_dump_in_front_is_taken_over() {
    let mut server = debug_options().start().expect("it starts");
    server.kill();
    let due = b"\xfc\x01\0\0\0\0\0\0\0\x00\x03due\x01x";
    let mut file = dump(b"REDIS0009", &[due, b"\xfe\x02\xfb\x01\x00", b"\x00\x01a\x01b"]);
    // Commands follow that begin with database 0.
    file.extend_from_slice(b"#TS:1700000000\r\n*3\r\n$3\r\nSET\r\n$1\r\nc\r\n$1\r\nd\r\n");
    fs::write(server.directory().join("appendonly.aof"), &file).expect("written");
    server.set_directive("appendonly", "yes");
    for _ in 0..2 {
        server.restart().expect("it loads");
        let mut client = server.client();
        assert_eq!(call(&mut client, "GET c").as_text(), Some("d".into()));
        assert_eq!(call(&mut client, "GET due"), Value::Nil);
        call(&mut client, "SELECT 2");
        assert_eq!(call(&mut client, "GET a").as_text(), Some("b".into()));
        assert!(!server.directory().join("appendonly.aof").exists());
        server.kill();
    }
}
