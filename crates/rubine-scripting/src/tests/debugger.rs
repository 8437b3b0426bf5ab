//! Sessions of the debugger.

use rubine_resp::writer::{Output, Reply};

use super::Session;
use crate::{Call, Console, Request, Source};

#[derive(Default)]
struct Typed {
    commands: Vec<&'static str>,
    shown: Vec<String>,
}

impl Console for Typed {
    fn write(&mut self, lines: &[Vec<u8>]) {
        self.shown.extend(lines.iter().map(|it| String::from_utf8_lossy(it).into_owned()));
    }

    fn read(&mut self) -> Option<Vec<Vec<u8>>> {
        if self.commands.is_empty() {
            return None;
        }
        let command = self.commands.remove(0);
        Some(command.split(' ').map(|it| it.as_bytes().to_vec()).collect())
    }
}

fn session(script: &str, commands: &[&'static str]) -> (Vec<String>, String) {
    let mut session = Session::new();
    let mut console = Typed { commands: commands.to_vec(), shown: Vec::new() };
    let source = Source::Text(script.as_bytes());
    let prepared = session.interpreter.prepare(&session.scripts, source).unwrap();
    let mut output = Output::new();
    let nothing = Request { buffer: b"", ranges: &[] };
    let call = Call {
        keys: nothing,
        args: nothing,
        host: &mut session.host,
        reply: &mut Reply::new(&mut output, session.protocol),
    };
    session.interpreter.debug(prepared, call, &mut console);
    let mut slices = [std::io::IoSlice::new(&[]); 1];
    output.front_slices(&mut slices, usize::MAX);
    (console.shown, slices[0].escape_ascii().to_string())
}

#[test]
fn a_script_is_walked_through() {
    let script = "local a = 1\nlocal t = {1, {x='y'}}\nredis.call('set', 'k', a)\nreturn a";
    let commands = [
        "s",
        "p a",
        "n",
        "p",
        "e a",
        "e 1 + 1",
        "e error('x')",
        "r get k",
        "n",
        "l 1 0",
        "b 9",
        "b 4",
        "b",
        "b -4",
        "x",
        "p nosuch",
        "w",
        "c",
    ];
    let (shown, reply) = session(script, &commands);
    let expected = [
        "* Stopped at 1, stop reason = step over",
        "-> 1   local a = 1",
        "* Stopped at 2, stop reason = step over",
        "-> 2   local t = {1, {x='y'}}",
        "<value> 1",
        "* Stopped at 3, stop reason = step over",
        "-> 3   redis.call('set', 'k', a)",
        "<value> a = 1",
        "<value> t = {1; {[\"x\"]=\"y\"; }; }",
        "<error> ldb_eval:1: Script attempted to access nonexistent global variable 'a'",
        "<retval> 2",
        "<error> ldb_eval:1: x",
        "<redis> get k",
        "<reply> false",
        "<redis> set k 1",
        "<reply> {[\"ok\"]=\"OK\"; }",
        "* Stopped at 4, stop reason = step over",
        "-> 4   return a",
        "   1   local a = 1",
        "Wrong line number.",
        "   3   redis.call('set', 'k', a)",
        "->#4   return a",
        "1 breakpoints set:",
        "->#4   return a",
        "Breakpoint removed.",
        "<error> Unknown debugger command or wrong number of arguments.",
        "No such variable.",
        "   1   local a = 1",
        "   2   local t = {1, {x='y'}}",
        "   3   redis.call('set', 'k', a)",
        "-> 4   return a",
    ];
    assert_eq!(shown, expected);
    assert_eq!(reply, ":1\\r\\n");
}

#[test]
fn breakpoints_stop_a_script() {
    let script = "for i = 1, 3 do\nredis.debug(i, 'x')\nif i == 2 then redis.breakpoint() end\nend\nreturn 7";
    let (shown, reply) = session(script, &["b 5", "c", "t", "c", "a"]);
    let expected = [
        "* Stopped at 1, stop reason = step over",
        "-> 1   for i = 1, 3 do",
        "   4   end",
        "  #5   return 7",
        "<debug> line 2: 1, \"x\"",
        "<debug> line 2: 2, \"x\"",
        "* Stopped at 1, stop reason = server.breakpoint() called",
        "-> 1   for i = 1, 3 do",
        "In top level:",
        "-> 1   for i = 1, 3 do",
        "<debug> line 2: 3, \"x\"",
        "* Stopped at 5, stop reason = break point",
        "->#5   return 7",
    ];
    assert_eq!(shown, expected);
    assert!(reply.starts_with("-ERR script aborted for user request script: "), "{reply}");
}

#[test]
fn a_script_goes_on_when_its_client_has_gone() {
    assert_eq!(session("local a = 1\nreturn a", &["s"]).1, ":1\\r\\n");
}
