//! Rules, their texts and what they allow, as tables.

use std::sync::Arc;

use proptest::prelude::*;

use crate::check::{Access, ChannelUse, Denial, Reason, Request};
use crate::fuzz::{fuzz_file, fuzz_rules, sample_commands};
use crate::permissions::ChannelDefault;
use crate::users::{DEFAULT_USER, Users};

fn users() -> Users {
    Users::new(Arc::new(sample_commands()), ChannelDefault::Nothing)
}

/// The user that words between spaces make; a `_` within a word is a space.
fn set(users: &mut Users, rules: &str) -> Result<String, String> {
    let rules: Vec<_> = rules.split_ascii_whitespace().map(|it| it.replace('_', " ")).collect();
    let result = users.set(b"u", rules.iter().map(String::as_bytes));
    match result {
        Ok(change) => Ok(String::from_utf8(change.after.line()).expect("rules are ASCII")),
        Err(error) => Err(String::from_utf8(error.text()).expect("rules are ASCII")),
    }
}

#[test]
fn rules_are_written_as_they_are_kept() {
    for (rules, expected) in [
        ("", "off resetchannels -@all"),
        ("on nopass ~* &* +@all", "on nopass ~* &* +@all"),
        ("ON NOPASS ALLKEYS ALLCHANNELS ALLCOMMANDS", "on nopass ~* &* +@all"),
        ("~a %R~b %w~c %RW~d %r~a", "off ~a %R~b %W~c ~d resetchannels -@all"),
        ("%R~b %W~b", "off ~b resetchannels -@all"),
        ("%R", "off %R~ resetchannels -@all"),
        ("%R~* %W~*", "off ~* resetchannels -@all"),
        ("%RW~* ~a", "off %RW~* ~a resetchannels -@all"),
        ("~a ~* resetkeys ~b", "off ~b resetchannels -@all"),
        ("&a &b &a", "off resetchannels &a &b -@all"),
        ("&a &* resetchannels", "off resetchannels -@all"),
        ("+GET +@READ -get +@all", "off resetchannels +@all"),
        ("+get -set +GET", "off resetchannels -@all -set +get"),
        ("+config|get +config -config|SET", "off resetchannels -@all +config -config|set"),
        ("+@all -config|get -config", "off resetchannels +@all -config"),
        ("+select|0 +SELECT|A +select|a", "off resetchannels -@all +select|0 +select|a"),
        ("+select|0 +select", "off resetchannels -@all +select"),
        ("+@all -@admin nocommands", "off resetchannels -@all"),
        ("db=3,1,1", "off resetchannels db=1,3 -@all"),
        ("db=1 db=2", "off resetchannels db=2 -@all"),
        ("DB=+1,_2 resetdbs", "off resetchannels resetdbs -@all"),
        ("db=1 alldbs", "off resetchannels -@all"),
        (
            "(~a +get) (+set)",
            "off resetchannels -@all (~a resetchannels -@all +get) (resetchannels -@all +set)",
        ),
        ("(~a_+get)", "off resetchannels -@all (~a resetchannels -@all +get)"),
        ("() clearselectors", "off resetchannels -@all"),
        ("on nopass ~* +@all (~a) db=1 reset", "off resetchannels -@all"),
        ("on sanitize-payload skip-sanitize-payload", "on resetchannels -@all"),
        (
            ">a >a",
            "off #ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb resetchannels -@all",
        ),
        (
            "nopass #ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb <a nopass",
            "off nopass resetchannels -@all",
        ),
        (">a resetpass", "off resetchannels -@all"),
        // What would not be read again is quoted.
        ("(\"~a)\" +get)", "off resetchannels -@all (\"~a)\" resetchannels -@all +get)"),
        ("('~a\"')", "off resetchannels -@all (\"~a\\\"\" resetchannels -@all)"),
    ] {
        let line = set(&mut users(), rules);
        assert_eq!(line.as_deref(), Ok(&*format!("user u {expected}")), "{rules}");
    }
}

#[test]
fn errors_name_the_rule_and_change_nothing() {
    let keys_are_all = "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have \
                        any effect. Try 'resetkeys' to start with an empty list of patterns";
    let channels_are_all = "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does \
                            not have any effect. Try 'resetchannels' to start with an empty list of channels";
    let hash = "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";
    let password = "The password you are trying to remove from the user does not exist";
    let unknown = "Unknown command or category name in ACL";
    for (rules, rule, reason) in [
        ("on blub", "blub", "Syntax error"),
        ("on ~* ~a", "~a", keys_are_all),
        ("allkeys %R~a", "%R~a", keys_are_all),
        ("&* &a", "&a", channels_are_all),
        ("~a_b", "~a b", "Syntax error"),
        ("&a_b", "&a b", "Syntax error"),
        ("%~a", "%~a", "Syntax error"),
        ("%RR~a", "%RR~a", "Syntax error"),
        ("%X~a", "%X~a", "Syntax error"),
        ("#abc", "#abc", hash),
        ("!abc", "!abc", hash),
        (">a <b", "<b", password),
        ("+blub", "+blub", unknown),
        ("-blub", "-blub", unknown),
        ("+@blub", "+@blub", unknown),
        ("-select|0", "-select|0", unknown),
        ("+config|blub", "+config|blub", unknown),
        ("+blub|x", "+blub|x", unknown),
        ("+", "+", unknown),
        ("+select|", "+select|", "Syntax error"),
        ("+select|a_b", "+select|a b", "Syntax error"),
        ("+config|get|x", "+config|get|x", "Allowing first-arg of a subcommand is not supported"),
        ("db=", "db=", "Syntax error"),
        ("db=1,,2", "db=1,,2", "Syntax error"),
        ("db=9999999999,", "db=9999999999,", "Syntax error"),
        ("db=x", "db=x", "Syntax error"),
        ("db=-1", "db=-1", "The provided database ID is out of range"),
        ("db=2147483648", "db=2147483648", "The provided database ID is out of range"),
        ("(on)", "(on)", "Syntax error"),
        ("(~a (~b) )", "(~a (~b)", "Syntax error"),
        ("(~\"a)", "(~\"a)", "Syntax error"),
        (")", ")", "Syntax error"),
    ] {
        let mut users = users();
        let before = set(&mut users, "~x +get").expect("these are valid");
        let expected = format!("Error in ACL SETUSER modifier '{rule}': {reason}");
        let rules = format!("resetkeys {rules}");
        assert_eq!(set(&mut users, &rules), Err(expected), "{rules}");
        assert_eq!(set(&mut users, ""), Ok(before), "{rules}");
    }
    let unclosed = "Unmatched parenthesis in acl selector starting at '(~a'.";
    assert_eq!(set(&mut users(), "on (~a +get"), Err(unclosed.to_owned()));
    let text = users().set(b"a b", []).expect_err("a name has no spaces").text();
    assert_eq!(text, b"Usernames can't contain spaces or null characters");
}

/// A request in words: a command; keys as `r:a`, `w:a`, `rw:a`, `n:a`; channels as `c:a`, `p:a`; databases as `d:1`.
struct Words<'a> {
    command: usize,
    words: Vec<&'a str>,
}

impl<'a> Words<'a> {
    fn new(users: &Users, text: &'a str) -> Self {
        let words: Vec<_> = text.split(' ').collect();
        let command = users.commands().find(words[0].as_bytes()).expect("the test names commands");
        Self { command, words }
    }

    fn of<T>(&self, parse: impl Fn(&str) -> Option<T>) -> impl Iterator<Item = (usize, T)> {
        let words = self.words.iter().enumerate().skip(1);
        words.filter_map(move |(index, word)| Some((index, parse(word.split_once(':')?.0)?)))
    }
}

impl Request for Words<'_> {
    fn command(&self) -> usize {
        self.command
    }

    fn argument(&self, index: usize) -> Option<&[u8]> {
        let word = self.words.get(index)?;
        Some(word.split_once(':').map_or(*word, |(_, text)| text).as_bytes())
    }

    fn keys(&self) -> impl Iterator<Item = (usize, Access)> {
        self.of(|kind| match kind {
            "n" => Some(Access::empty()),
            "r" => Some(Access::READ),
            "w" => Some(Access::WRITE),
            "rw" => Some(Access::all()),
            _ => None,
        })
    }

    fn channels(&self) -> impl Iterator<Item = (usize, ChannelUse)> {
        self.of(|kind| match kind {
            "c" => Some(ChannelUse::Literal),
            "p" => Some(ChannelUse::Pattern),
            _ => None,
        })
    }

    fn databases(&self) -> impl Iterator<Item = (usize, u32)> {
        let number = |index: usize| std::str::from_utf8(self.argument(index)?).ok()?.parse().ok();
        let named = self.of(|kind| (kind == "d").then_some(()));
        named.filter_map(move |(index, ())| Some((index, number(index)?)))
    }
}

#[test]
fn requests_are_allowed_or_refused() {
    use Reason::{Channel, Command, Database, Key};
    let denied = |reason, argument| Some(Denial { reason, argument });
    for (rules, request, expected) in [
        ("~* &* +@all", "set w:k", None),
        ("~* &* +@all -set", "set w:k", denied(Command, 0)),
        ("~* &* +@all -set", "get r:k", None),
        ("~* &* +@all -config|set", "config|get x", None),
        ("~* &* +@all -config|set", "config|set x y", denied(Command, 0)),
        ("~* -@all -auth", "auth x", None),
        ("+select|0", "select d:0", None),
        ("+select|0", "select d:1", denied(Command, 0)),
        ("+select|0", "select", denied(Command, 0)),
        ("+select|X", "select x", None),
        ("+select|0 -@read +select|1", "select 0", None),
        ("+get ~a* ~b", "get r:abc", None),
        ("+get ~a* ~b", "get r:b", None),
        ("+get ~a* ~b", "get r:bb", denied(Key, 1)),
        ("+get ~a*", "get r:", denied(Key, 1)),
        ("+get ~h[ae]llo", "get r:hallo", None),
        ("+copy %R~a %W~b", "copy r:a w:b", None),
        ("+copy %R~a %W~b", "copy r:b w:a", denied(Key, 1)),
        ("+copy %R~a %W~b", "copy r:a w:a", denied(Key, 2)),
        ("+copy %R~a* %W~*a", "copy rw:a", denied(Key, 1)),
        ("+copy %R~a %W~a", "copy rw:a", None),
        ("+copy %R~a", "copy n:a", None),
        ("+copy %R~a", "copy n:b", denied(Key, 1)),
        ("+publish &a*", "publish c:ab", None),
        ("+publish &a*", "publish c:b", denied(Channel, 1)),
        ("+psubscribe &a*", "psubscribe p:a*", None),
        ("+psubscribe &a*", "psubscribe p:ab", denied(Channel, 1)),
        ("+psubscribe &*", "psubscribe p:ab", None),
        ("~* +@all db=0,1", "get r:a d:1", None),
        ("~* +@all db=0,1", "get r:a d:2", denied(Database, 2)),
        ("~* -@all db=0,1", "get r:a d:2", denied(Database, 2)),
        ("~* +@all resetdbs", "get r:a d:0", denied(Database, 2)),
        ("~* +@all resetdbs", "publish", None),
        // One set of permissions has to allow all of it.
        ("+get (~a)", "get r:a", denied(Key, 1)),
        ("+get ~b (~a +get)", "get r:a", None),
        ("+get ~b (~a +get)", "get r:a r:b", denied(Key, 2)),
        ("(~a +get) (~b +set)", "set w:b", None),
        ("(~a +get) (~b +set)", "set w:a", denied(Key, 1)),
        ("(~a +get) (~b +get db=1)", "get r:b d:2", denied(Key, 1)),
    ] {
        let mut users = users();
        set(&mut users, rules).expect("the rules are valid");
        let user = users.get(b"u").expect("it was set");
        let found = user.check(&Words::new(&users, request)).err();
        assert_eq!(found, expected, "{rules}: {request}");
    }
}

#[test]
fn refusals_say_no_more_than_they_must() {
    let denial = |reason| Denial { reason, argument: 1 };
    for (reason, text, detailed) in [
        (
            Reason::Command,
            "User u has no permissions to run the 'config|get' command",
            "User u has no permissions to run the 'config|get' command",
        ),
        (
            Reason::Key,
            "No permissions to access a key",
            "User u has no permissions to access the 'o' key",
        ),
        (
            Reason::Channel,
            "No permissions to access a channel",
            "User u has no permissions to access the 'o' channel",
        ),
        (
            Reason::Database,
            "No permissions to access database",
            "User u has no permissions to access database o",
        ),
    ] {
        let found = denial(reason).text(b"u", "config|get");
        assert_eq!(String::from_utf8_lossy(&found), text);
        let found = denial(reason).detailed_text(b"u", "config|get", b"o");
        assert_eq!(String::from_utf8_lossy(&found), detailed);
    }
}

#[test]
fn sort_needs_every_key_by_the_same_permissions() {
    for (rules, expected) in [
        ("+@all ~*", true),
        ("+@all %R~*", true),
        ("+@all %W~*", false),
        ("+@all ~a ~b", false),
        ("+@all ~a (%R~*)", false),
        ("(+get ~*)", true),
    ] {
        let mut users = users();
        set(&mut users, rules).expect("the rules are valid");
        let user = users.get(b"u").expect("it was set");
        let request = Words::new(&users, "get r:a");
        assert_eq!(user.may_with_every_key(&request, Access::READ), expected, "{rules}");
    }
}

#[test]
fn channels_are_withdrawn_by_their_patterns() {
    for (before, after, expected) in [
        ("&a", "&a &b", false),
        ("&a &b", "&a", true),
        ("&a", "&*", false),
        ("&*", "&a", true),
        ("&a*", "&*a*", true),
        ("(&a)", "&a", false),
        ("&a", "resetchannels (&a)", false),
        ("", "", false),
    ] {
        let mut users = users();
        set(&mut users, before).expect("the rules are valid");
        let old = users.get(b"u").expect("it was set").clone();
        set(&mut users, &format!("reset {after}")).expect("the rules are valid");
        let new = users.get(b"u").expect("it was set");
        assert_eq!(new.withdraws_channels_of(&old), expected, "{before} to {after}");
    }
}

#[test]
fn users_log_in_by_their_passwords() {
    let mut users = users();
    let logs_in =
        |users: &Users, name: &[u8], password: &[u8]| users.authenticate(name, password).is_some();
    assert!(logs_in(&users, DEFAULT_USER, b"whatever"));
    users.set_default_password(Some(b"secret"));
    assert!(logs_in(&users, DEFAULT_USER, b"secret"));
    assert!(!logs_in(&users, DEFAULT_USER, b"whatever"));
    assert!(!users.default_user().takes_any_password());
    users.set_default_password(None);
    assert!(users.default_user().takes_any_password());

    set(&mut users, ">a >b").expect("the rules are valid");
    assert!(!logs_in(&users, b"u", b"a"), "it is off");
    set(&mut users, "on").expect("the rules are valid");
    assert!(logs_in(&users, b"u", b"a"));
    assert!(logs_in(&users, b"u", b"b"));
    assert!(!logs_in(&users, b"u", b"c"));
    assert!(!logs_in(&users, b"v", b"a"));
}

#[test]
fn every_change_has_a_generation() {
    let mut users = users();
    let mut last = users.generation();
    let mut grows = |users: &Users, expected: bool| {
        assert_eq!(last < users.generation(), expected);
        last = users.generation();
    };
    set(&mut users, "on").expect("the rules are valid");
    grows(&users, true);
    set(&mut users, "blub").expect_err("it is no rule");
    grows(&users, false);
    assert!(users.remove(&[b"u", DEFAULT_USER]).is_none());
    assert!(users.remove(&[b"v"]).is_some_and(|them| them.is_empty()));
    grows(&users, false);
    assert_eq!(users.remove(&[b"u", b"u"]).map(|them| them.len()), Some(1));
    grows(&users, true);
    users.load("f", b"user a on\n").expect("the file is valid");
    grows(&users, true);
    users.load("f", b"user a blub\n").expect_err("it is no rule");
    grows(&users, false);
}

#[test]
fn a_file_is_taken_as_a_whole() {
    let mut users = users();
    set(&mut users, "on").expect("the rules are valid");
    let text = b"\r\n  user b on >x (~a +get ) ~k +@all\r\n\nuser a off nopass\n";
    users.load("f", text).expect("the file is valid");
    let names: Vec<_> = users.iter().map(|user| user.name()).collect();
    assert_eq!(names, [&b"a"[..], b"b", DEFAULT_USER]);
    assert!(users.default_user().is_unrestricted());
    users.load("f", b"user default on\n").expect("the file is valid");
    assert_eq!(users.to_file(), b"user default on resetchannels -@all\n");
}

#[test]
fn a_file_tells_all_its_errors() {
    let text = b"user a on +blub -bla ~a ~* ~b (on)\nblub\nuser\nuser a on\n\nuser c ok\tno\nuser b (~a +get\nuser d\n\
                 user e\x0b\n";
    let mut users = users();
    let before = users.to_file();
    let errors = users.load("f.acl", text).expect_err("nearly every line is wrong");
    let lines: Vec<_> = errors.errors.iter().map(|it| it.line).collect();
    assert_eq!(lines, [1, 1, 1, 2, 3, 4, 6, 7, 9]);
    let expected = "f.acl:1: Error in applying operation '+blub': Unknown command or category name in ACL. \
                    f.acl:1: Error in applying operation '-bla': Unknown command or category name in ACL. \
                    f.acl:1: Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not \
                    have any effect. Try 'resetkeys' to start with an empty list of patterns. \
                    f.acl:2 should start with user keyword followed by the username. \
                    f.acl:3 should start with user keyword followed by the username. \
                    WARNING: Duplicate user 'a' found on line 4. \
                    f.acl:6: Syntax error. \
                    f.acl:7: Unmatched parenthesis in selector definition. \
                    'f.acl:9: username 'e\x0b' contains invalid characters. \
                    WARNING: ACL errors detected, no change to the previously active ACL rules was performed";
    assert_eq!(String::from_utf8_lossy(&errors.text()), expected);
    assert_eq!(users.to_file(), before);
}

#[test]
fn lines_of_a_configuration_are_taken_as_a_whole() {
    let words = |line: &str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    let mut users = users();
    let lines: Vec<Vec<Vec<u8>>> = ["a on (~a +get)", "default on >x"].map(words).into();
    users.declare(&lines).expect("the lines are valid");
    assert_eq!(users.iter().len(), 2);
    assert!(!users.default_user().is_unrestricted(), "what is declared starts from nothing");

    let before = users.to_file();
    let lines: Vec<Vec<Vec<u8>>> = ["b on", "b off", "c blub", "d (~a"].map(words).into();
    let errors = users.declare(&lines).expect_err("most lines are wrong");
    let texts: Vec<_> = errors
        .iter()
        .map(|it| (it.index, String::from_utf8_lossy(&it.text).into_owned()))
        .collect();
    let expected = [
        (
            1,
            "Error in user declaration 'b': Duplicate user found. A user can only be defined once in config files",
        ),
        (2, "Error in user declaration 'blub': Syntax error"),
        (3, "Unmatched parenthesis in acl selector starting at '(~a'."),
    ];
    assert_eq!(texts, expected.map(|(index, text)| (index, text.to_owned())));
    assert_eq!(users.to_file(), before);
}

#[test]
fn fields_are_those_of_getuser() {
    let mut users = users();
    set(&mut users, "on nopass ~a %R~b &c db=2,1 +@read -get (allkeys resetdbs)")
        .expect("the rules are valid");
    let fields = users.get(b"u").expect("it was set").fields();
    assert_eq!(fields.flags, ["on", "nopass"]);
    let texts = |it: &crate::PermissionTexts| {
        [&it.commands, &it.keys, &it.channels, &it.databases]
            .map(|text| String::from_utf8_lossy(text).into_owned())
    };
    assert_eq!(texts(&fields.root), ["-@all +@read -get", "~a %R~b", "&c", "db=1,2"]);
    assert_eq!(texts(&fields.selectors[0]), ["-@all", "~*", "", ""]);
}

#[test]
fn categories_list_their_commands() {
    let commands = sample_commands();
    assert_eq!(commands.categories().collect::<Vec<_>>(), ["read", "write", "admin", "slow"]);
    let found: Vec<_> = commands.in_category(b"ADMIN").expect("it is there").collect();
    assert_eq!(found, ["config|get", "config|set"]);
    assert!(commands.in_category(b"all").is_none());
}

mod log {
    use crate::check::Reason;
    use crate::log::{AclLog, Context, Incident};

    fn incident(object: &str) -> Incident {
        Incident {
            reason: Reason::Key,
            context: Context::TopLevel,
            object: object.into(),
            username: b"u".to_vec(),
            client_info: b"id=1".to_vec(),
        }
    }

    fn shown(log: &AclLog) -> Vec<(u64, u64, String)> {
        let object = |it: &Incident| String::from_utf8_lossy(&it.object).into_owned();
        log.entries().map(|it| (it.id, it.count, object(&it.incident))).collect()
    }

    #[test]
    fn what_comes_again_is_counted() {
        let mut log = AclLog::default();
        log.add(incident("a"), 1_000, 3);
        log.add(incident("b"), 2_000, 3);
        log.add(Incident { client_info: b"id=2".to_vec(), ..incident("a") }, 61_000, 3);
        assert_eq!(shown(&log), [(0, 2, "a".to_owned()), (1, 1, "b".to_owned())]);
        let entry = log.entries().next().expect("there are two");
        assert_eq!((entry.created_ms, entry.updated_ms), (1_000, 61_000));
        assert_eq!(entry.incident.client_info, b"id=2");
        assert!((entry.age_seconds(61_500) - 0.5).abs() < 1e-9);

        log.add(incident("b"), 62_001, 3);
        log.add(Incident { context: Context::Multi, ..incident("a") }, 62_001, 3);
        assert_eq!(shown(&log).iter().map(|(id, ..)| *id).collect::<Vec<_>>(), [3, 2, 0]);
        log.reset();
        assert_eq!(log.entries().len(), 0);
        assert_eq!(log.count(Reason::Key), 5);
        log.add(incident("a"), 62_001, 3);
        assert_eq!(shown(&log), [(4, 1, "a".to_owned())]);
    }

    #[test]
    fn it_looks_back_a_little_only_and_keeps_its_length() {
        let mut log = AclLog::default();
        for number in 0..11 {
            log.add(incident(&number.to_string()), 0, 100);
        }
        log.add(incident("0"), 0, 100);
        assert_eq!(log.entries().len(), 12, "the first is out of sight");
        log.add(incident("x"), 0, 2);
        assert_eq!(log.entries().len(), 2);
        log.add(incident("x"), 0, 0);
        assert_eq!((log.entries().len(), log.count(Reason::Key)), (0, 14));
    }
}

#[test]
fn passwords_are_made_of_random_bytes() {
    use crate::password::{password_len, write_password};
    for (bits, len) in [(1, 1), (4, 1), (5, 2), (256, 64), (4096, 1024)] {
        assert_eq!(password_len(bits), Ok(len));
    }
    for bits in [0, -1, 4097, i64::MIN] {
        let error = password_len(bits).expect_err("it is out of range");
        assert_eq!(
            error,
            "ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096"
        );
    }
    let mut password = Vec::new();
    write_password(&mut password, &[0x12, 0xaf], 3);
    assert_eq!(password, b"12a");
}

/// Words of rules, whole and broken.
fn rule() -> impl Strategy<Value = Vec<u8>> {
    let word = "on|off|nopass|reset|resetkeys|allkeys|>x|<x|~|%R|%RW~|&|\\+|-|@|get|select\\|0|config|config\\|get|\
                read|all|db=|1|,|resetdbs|\\(|\\)| |\"|'|\\\\|\\*|\n";
    prop::collection::vec(proptest::string::string_regex(word).expect("a regex"), 0..5)
        .prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_rules_are_refused_or_read_again(rules in prop::collection::vec(rule(), 0..8)) {
        fuzz_rules(&rules.join(&b'\n'));
    }

    #[test]
    fn any_file_is_refused_or_read_again(lines in prop::collection::vec(rule(), 0..8)) {
        let lines: Vec<_> = lines.iter().map(|line| [b"user a", &line[..]].concat()).collect();
        fuzz_file(&lines.join(&b'\n'));
        fuzz_file(&lines.join(&b' '));
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        fuzz_rules(&bytes);
        fuzz_file(&bytes);
    }
}
