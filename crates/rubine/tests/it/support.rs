//! What these tests share: starting servers, short forms of requests. Checks nothing itself.

use std::path::Path;
use std::time::Duration;

use rubine_base::random::Random;
use rubine_testing::client::Client;
use rubine_testing::server::{Server, ServerOptions};
use rubine_testing::value::Value;
use rubine_testing::words;

/// Between two looks at something that will come, and how many looks there are: a minute's worth.
const POLL: Duration = Duration::from_millis(5);
const POLLS_MAX: usize = 12_000;

/// Our server, not yet started.
pub(crate) fn options() -> ServerOptions {
    ServerOptions::new(Path::new(env!("CARGO_BIN_EXE_rubine-server")))
}

/// A server whose clients are spread over several workers, on however few cores.
pub(crate) fn parallel_server() -> Server {
    options().with("workers", "4").start().expect("the server starts")
}

/// Sends a request in redis-cli's notation and gives the reply.
pub(crate) fn call(client: &mut Client, line: &str) -> Value {
    client.call(&split(line)).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// As `call`, without waiting.
pub(crate) fn send(client: &mut Client, line: &str) {
    client.send(&split(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
}

fn split(line: &str) -> Vec<Vec<u8>> {
    words::split(line).expect("balanced quotes")
}

pub(crate) fn integer(value: &Value) -> i64 {
    value.as_integer().unwrap_or_else(|| panic!("an integer was due, not {value:?}"))
}

/// A number that came as a string.
pub(crate) fn number(value: &Value) -> i64 {
    let text = value.as_text().unwrap_or_else(|| panic!("a string was due, not {value:?}"));
    text.parse().unwrap_or_else(|_| panic!("a number was due, not {text}"))
}

pub(crate) fn elements(value: &Value) -> &[Value] {
    value.as_elements().unwrap_or_else(|| panic!("an array was due, not {value:?}"))
}

/// What stands behind a name in a list of names and values.
pub(crate) fn named<'v>(list: &'v Value, name: &str) -> Option<&'v Value> {
    let mut pairs = elements(list).chunks(2);
    pairs.find(|pair| pair[0].as_text().as_deref() == Some(name)).map(|pair| &pair[1])
}

/// The field of an INFO section.
pub(crate) fn info(client: &mut Client, section: &str, field: &str) -> String {
    let text = call(client, &format!("INFO {section}")).as_text().expect("INFO is text");
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("{section} has no {field}")).trim().to_owned()
}

/// Waits for something that will come.
pub(crate) fn wait_until(what: &str, mut has_come: impl FnMut() -> bool) {
    for _ in 0..POLLS_MAX {
        if has_come() {
            return;
        }
        std::thread::sleep(POLL);
    }
    panic!("it never came: {what}");
}

/// Waits until so many clients wait for keys.
pub(crate) fn wait_for_blocked(client: &mut Client, count: usize) {
    let count = count.to_string();
    wait_until("blocked clients", || info(client, "clients", "blocked_clients") == count);
}

/// The same numbers in every run; threads differ by `seed`.
pub(crate) fn random(seed: u64) -> Random {
    Random::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1)
}

/// A random element.
pub(crate) fn pick<'a, T>(random: &mut Random, items: &'a [T]) -> &'a T {
    &items[random.below(items.len() as u64) as usize]
}
