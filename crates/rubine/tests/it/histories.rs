//! Many clients on several workers, whose replies together must be the history of one server that does one thing at a
//! time: nothing is lost, nothing is done twice, and order is kept.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rubine_testing::client::Client;
use rubine_testing::value::Value;

use crate::support::{call, elements, integer, number, parallel_server, random, send};

const CLIENTS: usize = 8;

#[test]
fn every_increment_counts_once() {
    const ROUNDS: usize = 200;
    const DEPTH: usize = 10;
    let server = parallel_server();
    let increment = |client: &mut Client| {
        let mut seen = Vec::new();
        for _ in 0..ROUNDS {
            for _ in 0..DEPTH {
                send(client, "INCR total");
                send(client, "HINCRBY hash field 3");
                send(client, "INCRBYFLOAT float 0.5");
                send(client, "APPEND text x");
            }
            for _ in 0..DEPTH {
                seen.push(integer(&client.reply().expect("INCR")));
                for _ in 0..3 {
                    assert!(!matches!(client.reply().expect("a reply"), Value::Error(_)));
                }
            }
        }
        seen
    };
    let histories: Vec<Vec<i64>> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| increment(&mut server.client()))).collect();
        threads.into_iter().map(|it| it.join().expect("a client")).collect()
    });
    for history in &histories {
        assert!(history.is_sorted(), "a client sees its own increments in order");
    }
    let count = CLIENTS * ROUNDS * DEPTH;
    let mut all = histories.concat();
    all.sort_unstable();
    assert!((1..=count as i64).eq(all), "each count was given out once");
    let mut client = server.client();
    assert_eq!(number(&call(&mut client, "HGET hash field")), 3 * count as i64);
    assert_eq!(number(&call(&mut client, "GET float")), count as i64 / 2);
    assert_eq!(integer(&call(&mut client, "STRLEN text")), count as i64);
}

/// An element `PRODUCER:NUMBER`.
fn parse_element(value: &Value) -> (usize, usize) {
    let text = value.as_text().expect("an element is a string");
    let (producer, number) = text.split_once(':').expect("PRODUCER:NUMBER");
    (producer.parse().expect("a number"), number.parse().expect("a number"))
}

/// Each consumer sees each producer's elements in order, and together they see each once.
fn check_consumed(consumed: &[Vec<(usize, usize)>], producers: usize, count: usize) {
    for history in consumed {
        for producer in 0..producers {
            let own = history.iter().filter(|it| it.0 == producer);
            assert!(own.is_sorted(), "the order of producer {producer} is kept");
        }
    }
    let mut all = consumed.concat();
    all.sort_unstable();
    let pushed = (0..producers).flat_map(|producer| (0..count).map(move |it| (producer, it)));
    assert!(pushed.eq(all), "what was pushed came out, each element once");
}

/// Elements go through three lists, most likely of three shards, moved by some who wait and some who do not.
#[test]
fn a_chain_of_lists_loses_nothing_and_keeps_order() {
    const PRODUCERS: usize = 3;
    const COUNT: usize = 1_000;
    let server = parallel_server();
    let consumed_count = AtomicUsize::new(0);
    let is_over = || PRODUCERS * COUNT <= consumed_count.load(Ordering::Relaxed);
    let produce = |producer: usize| {
        let mut client = server.client();
        for number in 0..COUNT {
            call(&mut client, &format!("RPUSH first {producer}:{number}"));
        }
    };
    let relay = |line: &str| {
        let mut client = server.client();
        while !is_over() {
            call(&mut client, line);
        }
    };
    let consume = |line: &str| {
        let mut client = server.client();
        let mut history = Vec::new();
        while !is_over() {
            let element = match call(&mut client, line) {
                Value::Nil | Value::NilArray => continue,
                Value::Array(pair) => parse_element(&pair[1]),
                element => parse_element(&element),
            };
            history.push(element);
            consumed_count.fetch_add(1, Ordering::Relaxed);
        }
        history
    };
    let (produce, relay, consume) = (&produce, &relay, &consume);
    let consumed: Vec<_> = thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            scope.spawn(move || produce(producer));
        }
        for line in ["LMOVE first second LEFT RIGHT", "BLMOVE first second LEFT RIGHT 0.05"] {
            scope.spawn(move || relay(line));
        }
        for line in ["LMOVE second third LEFT RIGHT", "BLMOVE second third LEFT RIGHT 0.05"] {
            scope.spawn(move || relay(line));
        }
        let lines = ["BLPOP third 0.05", "BLPOP none third 0.05", "LPOP third"];
        let threads = lines.map(|line| scope.spawn(move || consume(line)));
        threads.into_iter().map(|it| it.join().expect("a consumer")).collect()
    });
    check_consumed(&consumed, PRODUCERS, COUNT);
    assert_eq!(integer(&call(&mut server.client(), "EXISTS first second third")), 0);
}

/// Each client adds to two numbers of different shards if nobody else did meanwhile.
#[test]
fn a_watched_key_loses_no_update() {
    const UPDATES: i64 = 200;
    let server = parallel_server();
    let update = |index: usize| {
        let mut client = server.client();
        let mut random = random(index as u64);
        for _ in 0..UPDATES {
            loop {
                call(&mut client, "WATCH balance copy");
                let balance = call(&mut client, "GET balance");
                let balance = if balance == Value::Nil { 0 } else { number(&balance) };
                if random.below(4) == 0 {
                    call(&mut client, "UNWATCH");
                    continue;
                }
                call(&mut client, "MULTI");
                call(&mut client, &format!("SET balance {}", balance + 1));
                call(&mut client, &format!("SET copy {}", balance + 1));
                if call(&mut client, "EXEC") != Value::NilArray {
                    break;
                }
            }
        }
    };
    let (update, server) = (&update, &server);
    thread::scope(|scope| {
        for index in 0..4 {
            scope.spawn(move || update(index));
        }
    });
    let values = call(&mut server.client(), "MGET balance copy");
    assert_eq!(elements(&values).iter().map(number).collect::<Vec<_>>(), [4 * UPDATES; 2]);
}

/// Five tokens lie on sixteen places. Whoever moves them, there are always five, and each is in one place.
#[test]
fn renames_neither_lose_nor_double_a_key() {
    const PLACES: u64 = 16;
    const TOKENS: usize = 5;
    const MOVES: usize = 2_000;
    let server = parallel_server();
    let mut client = server.client();
    (0..TOKENS).for_each(|it| drop(call(&mut client, &format!("SET place:{it} token:{it}"))));
    let all_places = (0..PLACES).map(|it| format!(" place:{it}")).collect::<String>();
    let look = |client: &mut Client| {
        let found = call(client, &format!("MGET{all_places}"));
        let mut tokens: Vec<_> = elements(&found).iter().filter_map(Value::as_text).collect();
        tokens.sort_unstable();
        assert!((0..TOKENS).map(|it| format!("token:{it}")).eq(tokens));
    };
    let rename = |index: usize| {
        let mut client = server.client();
        let mut random = random(index as u64);
        for _ in 0..MOVES {
            let (from, to) = (random.below(PLACES), random.below(PLACES));
            call(&mut client, &format!("RENAMENX place:{from} place:{to}"));
        }
    };
    let (rename, look) = (&rename, &look);
    thread::scope(|scope| {
        for index in 0..4 {
            scope.spawn(move || rename(index));
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = server.client();
                (0..MOVES / 2).for_each(|_| look(&mut client));
            });
        }
    });
    look(&mut client);
    assert_eq!(integer(&call(&mut client, "DBSIZE")), TOKENS as i64);
}

/// A copy is taken at one instant: a list that only grows by two at once has even copies.
#[test]
fn a_copy_is_of_one_instant() {
    const ROUNDS: usize = 1_500;
    let server = parallel_server();
    let repeat = |line: &str| {
        let mut client = server.client();
        (0..ROUNDS).for_each(|_| drop(call(&mut client, line)));
    };
    let (repeat, server) = (&repeat, &server);
    thread::scope(|scope| {
        for line in ["RPUSH list a b", "RPUSH list a b", "COPY list copy REPLACE"] {
            scope.spawn(move || repeat(line));
        }
        scope.spawn(|| {
            let mut client = server.client();
            for _ in 0..ROUNDS {
                assert_eq!(integer(&call(&mut client, "LLEN copy")) % 2, 0);
            }
        });
    });
    let items = call(&mut server.client(), "LRANGE list 0 -1");
    assert_eq!(elements(&items).len(), 4 * ROUNDS);
    let is_a = |it: &Value| it.as_bytes() == Some(b"a");
    assert!(elements(&items).chunks(2).all(|pair| is_a(&pair[0]) && !is_a(&pair[1])));
}
