//! The history of metrics: that it grows, is answered, outlives a restart, and that a damaged file is left aside.

use std::fs;

use rubine_testing::client::Client;
use rubine_testing::value::Value;

use crate::support::{call, elements, info, integer, options, wait_until};

/// The points of the first series of an answer: moments and values.
fn points(reply: &Value) -> Vec<(i64, String)> {
    let series = elements(&elements(reply)[0])[1].clone();
    let point = |it: &Value| {
        let pair = elements(it);
        (integer(&pair[0]), pair[1].as_text().expect("a double is text"))
    };
    elements(&series).iter().map(point).collect()
}

/// How many values of a series there are.
fn count(client: &mut Client) -> usize {
    let reply = call(client, "HISTORY GET redis_connected_clients -3600 0 10");
    if reply.as_elements().is_some() { points(&reply).len() } else { 0 }
}

#[test]
fn it_grows_and_outlives_a_restart() {
    let options =
        options().with("history", "yes").with("save", "").with("history-file", "past.dat");
    let mut server = options.start().expect("it starts");
    let file = server.directory().join("past.dat");
    let mut client = server.client();
    wait_until("two values", || 2 <= count(&mut client));
    let reply = call(&mut client, "HISTORY GET redis_connected_clients -3600 0 10");
    assert!(points(&reply).iter().all(|it| it.0 % 10 == 0 && it.1 == "1"), "{reply:?}");
    let reply = call(&mut client, "HISTORY GET redis_db_keys -60 0 60 MAX");
    assert_eq!(elements(&reply).len(), 16);
    let list = call(&mut client, "HISTORY LIST redis_db_keys{*db1*");
    assert_eq!(elements(&list).len(), 7);
    let before = count(&mut client);
    drop(client);
    server.terminate().expect("it ends");
    assert!(fs::metadata(&file).is_ok_and(|it| 0 < it.len()));
    server.restart().expect("it starts again");
    let mut client = server.client();
    wait_until("what was", || before <= count(&mut client));
    // It is written when it is switched off, and what was is gone from memory.
    call(&mut client, "CONFIG SET history no");
    wait_until("a file", || info(&mut client, "history", "history_file_writes") == "1");
    wait_until("nothing kept", || info(&mut client, "history", "history_series") == "0");
    drop(client);
    server.terminate().expect("it ends");
    let mut bytes = fs::read(&file).expect("it was written");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).expect("it can be written");
    server.restart().expect("it starts again");
    wait_until("the damaged one aside", || file.with_extension("dat.damaged").exists());
    assert!(server.log().contains("is damaged (its checksum is wrong)"), "{}", server.log());
    let mut client = server.client();
    wait_until("a value", || 1 <= count(&mut client));
}
