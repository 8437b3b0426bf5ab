//! The format against a target that answers from a script.

use std::io;
use std::time::Duration;

use super::{Scope, Transcript, run};
use crate::client::Received;
use crate::target::{ClientIndex, Identity, Target, Version};
use crate::value::Value;

/// Answers ECHO with its arguments, NIL with a null array, DONE by closing, WAIT by nothing; notes everything else.
struct Echo {
    identity: Identity,
    replies: Vec<Vec<Received>>,
    notes: Vec<String>,
}

fn echo(name: &str, version: &str) -> Echo {
    let version = Version::parse(version).expect("a version");
    Echo { identity: Identity { name: name.to_owned(), version }, replies: vec![], notes: vec![] }
}

impl Target for Echo {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn connect(&mut self) -> io::Result<ClientIndex> {
        self.replies.push(Vec::new());
        Ok(self.replies.len() - 1)
    }

    fn send(&mut self, client: ClientIndex, args: &[Vec<u8>]) -> io::Result<()> {
        let reply = match args[0].as_slice() {
            b"ECHO" => {
                let words = args[1..].iter().cloned().map(Value::Bulk).collect();
                Received::Value(Value::Array(words))
            }
            b"NIL" => Received::Value(Value::NilArray),
            b"DONE" => Received::Closed,
            b"WAKE" => {
                self.replies[0].push(Received::Value(Value::Status("late".into())));
                Received::Value(Value::Integer(client as i64))
            }
            b"HELLO" => Received::Value(Value::Map(vec![])),
            _ => return Ok(()),
        };
        self.replies[client].push(reply);
        Ok(())
    }

    fn receive(&mut self, client: ClientIndex, _timeout: Duration) -> io::Result<Received> {
        let replies = &mut self.replies[client];
        Ok(if replies.is_empty() { Received::Nothing } else { replies.remove(0) })
    }

    fn advance(&mut self, time: Duration) -> io::Result<()> {
        self.notes.push(format!("{time:?}"));
        Ok(())
    }

    fn configure(&mut self, name: &str, value: &str) -> io::Result<()> {
        self.notes.push(format!("{name}={value}"));
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.replies.clear();
        self.notes.push("reset".to_owned());
        Ok(())
    }
}

fn check(target: &mut Echo, text: &str) -> (usize, String) {
    let transcript = Transcript::parse("t.txt", text).expect("a transcript");
    let outcome = run(&transcript, target, Scope::All, false);
    (outcome.checked, outcome.failures.iter().map(ToString::to_string).collect())
}

#[test]
fn replies_clients_and_directives() {
    let text = "\
# comment
> ECHO a \"b c\"
1) \"a\"
2) \"b c\"
> NIL
(nil)
> NIL
(nil array)
> WAIT
...
@client b
> WAKE
(integer) 1
@client main
<
late
@resp 3
> DONE
(closed)
> ECHO x
1) \"x\"
@advance 1500ms
@config set maxmemory 1mb
@fresh
> ECHO xyz
@match 1) \"x*\"
";
    let mut target = echo("rubine", "0.1");
    assert_eq!(check(&mut target, text), (9, String::new()));
    assert_eq!(target.notes, ["reset", "1.5s", "maxmemory=1mb", "reset", "reset"]);
}

#[test]
fn a_wrong_reply_is_shown_with_its_place() {
    let (_, failures) =
        check(&mut echo("rubine", "0.1"), "\n> ECHO a b c\n1) \"a\"\n2) \"x\"\n3) \"c\"\n");
    let expected = "\
t.txt:2: > ECHO a b c
    1) \"a\"
  - 2) \"x\"
  - 3) \"c\"
  + 2) \"b\"
  + 3) \"c\"
";
    assert_eq!(failures, expected);
}

#[test]
fn a_reply_that_is_missing_late_or_too_long_fails() {
    for text in [
        "> ECHO a\n",
        "> ECHO a\n...\n",
        "> WAIT\nOK\n",
        "> ECHO a b\n1) \"a\"\n",
        "> ECHO a\n1) \"a\"\n2) \"b\"\n",
    ] {
        assert!(!check(&mut echo("rubine", "0.1"), text).1.is_empty(), "{text}");
    }
}

#[test]
fn order_may_be_left_open() {
    let reply = "1) \"b\"\n2) \"2\"\n3) \"a\"\n4) \"1\"\n";
    for (directive, fits) in [("", false), ("@unordered\n", true), ("@unordered pairs\n", true)] {
        let text = format!("{directive}> ECHO a 1 b 2\n{reply}");
        assert_eq!(check(&mut echo("rubine", "0.1"), &text).1.is_empty(), fits, "{directive}");
    }
    let torn = "@unordered pairs\n> ECHO a 2 b 1\n".to_owned() + reply;
    assert!(!check(&mut echo("rubine", "0.1"), &torn).1.is_empty());
}

#[test]
fn vocabularies() {
    let text = "\
> ECHO all
1) \"all\"
@only redis 8.4 only there
> ECHO redis
1) \"redis\"
@end
> ECHO x
1) \"x\"
@differs valkey 9 for a reason
1) \"y\"
";
    for (name, version, checked, failures) in [
        ("rubine", "0.1", 3, 0),
        ("valkey", "9.1.2", 2, 1),
        ("valkey", "8.1", 2, 0),
        ("redis", "8.4", 3, 0),
        ("redis", "7.0.15", 2, 0),
    ] {
        let (count, text) = check(&mut echo(name, version), text);
        assert_eq!((count, text.matches("t.txt").count()), (checked, failures), "{name} {version}");
    }
    let transcript = Transcript::parse("t.txt", text).expect("a transcript");
    let outcome = run(&transcript, &mut echo("redis", "8.4"), Scope::OnlyNamed, false);
    assert_eq!(outcome.checked, 1);
}

#[test]
fn update_writes_what_was_answered_and_keeps_patterns() {
    let text = "# c\n> ECHO a b\n\n> ECHO c\n@match 1)*\n> ECHO d\n1) \"x\"\n2) \"y\"\n> WAIT\n";
    let transcript = Transcript::parse("t.txt", text).expect("a transcript");
    let outcome = run(&transcript, &mut echo("rubine", "0.1"), Scope::All, true);
    let expected = "# c\n> ECHO a b\n1) \"a\"\n2) \"b\"\n\n> ECHO c\n@match 1)*\n> ECHO d\n1) \"d\"\n> WAIT\n...\n";
    assert_eq!(outcome.updated.as_deref(), Some(expected));
}

#[test]
fn what_is_not_in_the_format_is_refused() {
    for text in [
        "OK\n",
        "> SET \"a\n",
        "@advance 1h\n",
        "@advance 60s\n",
        "@resp 4\n",
        "@only mysql 8 no\n",
        "@only redis 8.4\n",
        "@end\n",
        "@differs valkey x\n",
        "@config maxmemory 1\n",
        "@unordered x\n",
        "@client\n",
    ] {
        let error = Transcript::parse("t.txt", text).expect_err(text);
        assert_eq!(error.line, 1, "{error}");
    }
}
