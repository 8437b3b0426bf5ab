//! Users in files and in the configuration, and that what is withdrawn is withdrawn at once, on every thread.

use std::fs;
use std::time::Duration;

use rubine_testing::client::{Client, Received};
use rubine_testing::value::Value;

use crate::support::{
    call, elements, info, integer, options, parallel_server, send, wait_for_blocked, wait_until,
};

fn status(text: &str) -> Value {
    Value::Status(text.to_owned())
}

fn error_of(value: &Value) -> &str {
    match value {
        Value::Error(text) => text,
        other => panic!("an error was due, not {other:?}"),
    }
}

/// The lines of ACL LIST.
fn lines(client: &mut Client) -> Vec<String> {
    let list = call(client, "ACL LIST");
    elements(&list).iter().map(|it| it.as_text().expect("a line is text")).collect()
}

fn is_closed(client: &mut Client) -> bool {
    matches!(client.receive(Duration::from_secs(20)), Ok(Received::Closed))
}

#[test]
fn users_of_the_configuration_are_there_from_the_first_request_on() {
    let file = "user anna on >secret ~app:* +@read (+set ~in)\nuser bert off\n";
    let server = options().with_file(file).start().expect("it starts");
    let mut client = server.client();
    assert!(error_of(&call(&mut client, "AUTH bert x")).starts_with("WRONGPASS"));
    assert_eq!(call(&mut client, "AUTH anna secret"), status("OK"));
    assert_eq!(call(&mut client, "GET app:1"), Value::Nil);
    assert_eq!(call(&mut client, "SET in 1"), status("OK"));
    assert!(error_of(&call(&mut client, "SET app:1 1")).starts_with("NOPERM"));
    assert_eq!(call(&mut client, "AUTH default any"), status("OK"));
    let names = lines(&mut client);
    assert!(names[0].starts_with("user anna on #2bb80d53"), "{names:?}");
    assert_eq!(names[1], "user bert off resetchannels -@all");
    assert_eq!(info(&mut client, "stats", "acl_access_denied_auth"), "1");
    assert!(server.log().contains("The user 'bert' is disabled"), "{}", server.log());
}

#[test]
fn a_rewritten_configuration_has_the_same_users() {
    let file = "# ours\nuser anna on >secret ~a:* +@read\n";
    let mut server = options().with_file(file).start().expect("it starts");
    let mut client = server.client();
    call(&mut client, "ACL SETUSER anna +set \"~it's\" (+get \"~a\\\"b\" &x)");
    call(&mut client, "ACL SETUSER carl on nopass ~* &* +@all db=0,3");
    assert_eq!(call(&mut client, "CONFIG REWRITE"), status("OK"));
    let before = lines(&mut client);
    assert_eq!(before.len(), 3);
    server.restart().expect("it starts again");
    let mut client = server.client();
    assert_eq!(lines(&mut client), before);
}

#[test]
fn what_is_wrong_with_users_keeps_it_from_starting_and_is_named() {
    let told = |file: &str| {
        let refused = options().with_file(file).start();
        refused.err().expect("it must not start").to_string()
    };
    let error = told("port 0\nuser anna on ~a:* +nosuch\n");
    for part in ["at line 2 of", "+nosuch", "Unknown command or category name in ACL"] {
        assert!(error.contains(part), "{error}");
    }
    let error = told("user anna on (~a +get\n");
    assert!(error.contains("Unmatched parenthesis"), "{error}");
    let error = told("user anna on\nuser anna off\n");
    assert!(error.contains("Duplicate user found"), "{error}");
    let error = told("user anna on\naclfile some.acl\n");
    assert!(error.contains("please define users in one place"), "{error}");
    let error = told("aclfile none.acl\n");
    assert!(error.contains("opening file 'none.acl': No such file or directory"), "{error}");
}

/// A file with an error changes nothing, and the error names its line; a good one replaces all users, and closes only
/// the clients of those who are not in it.
#[test]
fn a_file_of_users_is_loaded_and_saved() {
    let folder = std::env::temp_dir().join(format!("rubine-users-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("users.acl");
    let name = path.display().to_string();
    fs::write(&path, "user anna on nopass ~* &* +@all\nuser bert on nopass ~* &* +@all\n")
        .expect("written");
    let server = options().with("aclfile", &name).start().expect("it starts");
    let mut client = server.client();
    let [mut anna, mut bert, mut listener] = ["anna", "bert", "anna"].map(|user| {
        let mut client = server.client();
        assert_eq!(call(&mut client, &format!("AUTH {user} x")), status("OK"));
        client
    });
    call(&mut listener, "SUBSCRIBE news");
    let before = lines(&mut client);

    fs::write(&path, "user anna on nopass\nuser carl on (~a\n\nuser dora +nosuch\n")
        .expect("written");
    let error = call(&mut client, "ACL LOAD");
    for part in [":2: Unmatched parenthesis", ":4: Error in applying operation '+nosuch'"] {
        assert!(error_of(&error).contains(&format!("{name}{part}")), "{error:?}");
    }
    assert_eq!(lines(&mut client), before);
    assert_eq!(call(&mut bert, "PING"), status("PONG"));

    fs::write(&path, "user anna on nopass ~a* &other +@all\n").expect("written");
    assert_eq!(call(&mut client, "ACL LOAD"), status("OK"));
    assert!(is_closed(&mut bert));
    assert!(is_closed(&mut listener));
    assert_eq!(call(&mut anna, "GET a"), Value::Nil);
    assert!(error_of(&call(&mut anna, "GET b")).starts_with("NOPERM"));

    call(&mut client, "ACL SETUSER emil on >word %R~x db=1");
    assert_eq!(call(&mut client, "ACL SAVE"), status("OK"));
    let saved = lines(&mut client);
    let text = fs::read_to_string(&path).expect("it is there");
    assert_eq!(text, saved.join("\n") + "\n");
    assert_eq!(call(&mut client, "ACL LOAD"), status("OK"));
    assert_eq!(lines(&mut client), saved);
    fs::remove_dir_all(&folder).expect("it can be removed");
    assert!(error_of(&call(&mut client, "ACL SAVE")).contains("trying to save the ACLs"));
    assert!(error_of(&call(&mut client, "ACL LOAD")).contains("No such file or directory"));
    assert_eq!(lines(&mut client), saved);
}

/// Whoever has the reply to ACL SETUSER can rely on it, whatever thread the user's clients are on.
#[test]
fn rights_go_at_once_on_every_thread() {
    let server = parallel_server();
    let mut admin = server.client();
    call(&mut admin, "ACL SETUSER anna on nopass ~* +@all");
    let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
    for client in &mut clients {
        call(client, "AUTH anna x");
    }
    for round in 0..100 {
        let is_allowed = round % 2 == 1;
        let rule = if is_allowed { "+set" } else { "-set" };
        call(&mut admin, &format!("ACL SETUSER anna {rule}"));
        for client in &mut clients {
            let reply = call(client, "SET k v");
            assert_eq!(reply == status("OK"), is_allowed, "{round}: {reply:?}");
        }
    }
    assert_eq!(call(&mut admin, "ACL DELUSER anna"), Value::Integer(1));
    for client in &mut clients {
        assert!(is_closed(client));
    }
}

/// A user that goes while its clients come leaves none behind.
#[test]
fn nobody_stays_a_user_that_is_removed() {
    let server = parallel_server();
    let address = server.address();
    let mut admin = server.client();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                for _ in 0..150 {
                    let Ok(mut client) = Client::connect(address) else { continue };
                    let _ = client.call(&["AUTH", "anna", "x"]);
                    let _ = client.call(&["GET", "k"]);
                }
            })
        })
        .collect();
    while workers.iter().any(|it| !it.is_finished()) {
        call(&mut admin, "ACL SETUSER anna on nopass ~* +@all");
        call(&mut admin, "ACL DELUSER anna");
        let list = call(&mut admin, "CLIENT LIST").as_text().expect("text");
        assert!(!list.contains("user=anna"), "{list}");
    }
    workers.into_iter().for_each(|it| it.join().expect("it ends"));
}

#[test]
fn listeners_hear_nothing_of_a_channel_that_was_withdrawn() {
    let server = parallel_server();
    let mut admin = server.client();
    for _ in 0..20 {
        call(&mut admin, "ACL SETUSER anna on nopass +@all &a &b");
        let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
        for (index, client) in clients.iter_mut().enumerate() {
            call(client, "AUTH anna x");
            call(client, ["SUBSCRIBE a", "SSUBSCRIBE b"][index % 2]);
        }
        call(&mut admin, "ACL SETUSER anna resetchannels &b");
        call(&mut admin, "PUBLISH a x");
        wait_until("half of them are cut", || {
            let list = call(&mut admin, "CLIENT LIST").as_text().expect("text");
            list.matches("user=anna").count() == 4
        });
        // What they read first is the end: not the message.
        for client in clients.iter_mut().step_by(2) {
            assert!(is_closed(client));
        }
        for client in clients.iter_mut().skip(1).step_by(2) {
            assert!(call(client, "UNSUBSCRIBE").as_elements().is_some());
        }
    }
}

/// A wait that ends is a command that runs: by the rights of then, whichever thread ends it.
#[test]
fn who_may_not_any_more_is_not_served() {
    let server = parallel_server();
    let mut admin = server.client();
    call(&mut admin, "ACL SETUSER anna on nopass ~* +@all");
    let mut waiters: Vec<Client> = (0..6).map(|_| server.client()).collect();
    for client in &mut waiters {
        call(client, "AUTH anna x");
        send(client, "BLPOP list 0");
    }
    wait_for_blocked(&mut admin, waiters.len());
    call(&mut admin, "ACL SETUSER anna -blpop");
    assert_eq!(integer(&call(&mut admin, "RPUSH list 1 2 3")), 3);
    for client in &mut waiters {
        let reply = client.reply().expect("an answer");
        assert!(error_of(&reply).starts_with("NOPERM"), "{reply:?}");
    }
    assert_eq!(integer(&call(&mut admin, "LLEN list")), 3);
    assert_eq!(info(&mut admin, "stats", "acl_access_denied_cmd"), "6");
    wait_until("nobody waits", || info(&mut admin, "clients", "blocked_clients") == "0");
}

#[test]
fn a_password_lets_strangers_wait_and_its_end_lets_them_in() {
    let server = options().start().expect("it starts");
    let mut admin = server.client();
    call(&mut admin, "CONFIG SET requirepass word");
    let mut stranger = server.client();
    assert!(error_of(&call(&mut stranger, "PING")).starts_with("NOAUTH"));
    assert_eq!(call(&mut admin, "PING"), status("PONG"));
    call(&mut admin, "CONFIG SET requirepass \"\"");
    assert_eq!(call(&mut stranger, "PING"), status("PONG"));
    call(&mut admin, "ACL SETUSER default off");
    let mut late = server.client();
    assert!(error_of(&call(&mut late, "PING")).starts_with("NOAUTH"));
    assert_eq!(call(&mut admin, "PING"), status("PONG"));
}
