//! Publish and subscribe over several workers: who hears what, in which order, and what it costs who does not read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rubine_testing::client::{Client, Received};
use rubine_testing::value::Value;

use crate::support::{call, elements, info, integer, options, parallel_server, send, wait_until};

/// The texts of a message's parts.
fn parts(client: &mut Client) -> Vec<String> {
    let message = client.reply().expect("a message");
    let text = |part: &Value| part.as_text().unwrap_or_else(|| format!("{part:?}"));
    elements(&message).iter().map(text).collect()
}

/// Publishers on all workers share two channels; every listener, whatever its worker, sees the same order of each, and
/// each publisher's messages in the order of sending.
#[test]
fn all_listeners_see_one_order() {
    const PUBLISHERS: usize = 6;
    const LISTENERS: usize = 6;
    const MESSAGES: usize = 500;
    let server = parallel_server();
    let mut listeners: Vec<Client> = (0..LISTENERS).map(|_| server.client()).collect();
    for (number, listener) in listeners.iter_mut().enumerate() {
        if number % 2 == 0 {
            call(listener, "SUBSCRIBE even");
            call(listener, "SUBSCRIBE odd");
        } else {
            call(listener, "PSUBSCRIBE *[nd]");
        }
    }
    let publish = |publisher: usize| {
        let mut client = server.client();
        for number in 0..MESSAGES {
            let channel = if number % 2 == 0 { "even" } else { "odd" };
            send(&mut client, &format!("PUBLISH {channel} {publisher}:{number}"));
        }
        for _ in 0..MESSAGES {
            let heard = integer(&client.reply().expect("PUBLISH"));
            assert_eq!(heard, LISTENERS as i64, "everybody listens");
        }
    };
    let histories: Vec<[Vec<String>; 2]> = thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            scope.spawn(move || publish(publisher));
        }
        let listen = |client: &mut Client| {
            let mut channels = [Vec::new(), Vec::new()];
            for _ in 0..PUBLISHERS * MESSAGES {
                let mut message = parts(client);
                let payload = message.pop().expect("a payload");
                let is_odd = message.pop().expect("a channel") == "odd";
                channels[usize::from(is_odd)].push(payload);
            }
            channels
        };
        let threads: Vec<_> =
            listeners.iter_mut().map(|client| scope.spawn(move || listen(client))).collect();
        threads.into_iter().map(|it| it.join().expect("a listener")).collect()
    });
    assert!(histories.iter().all(|it| *it == histories[0]), "one order for all");
    for channel in &histories[0] {
        for publisher in 0..PUBLISHERS {
            let of_publisher = channel.iter().filter_map(|it| {
                let (by, number) = it.split_once(':').expect("PUBLISHER:NUMBER");
                (by == publisher.to_string()).then(|| number.parse::<usize>().expect("a number"))
            });
            assert!(of_publisher.is_sorted(), "the order of publisher {publisher} is kept");
        }
    }
}

/// The events of one key come in the order of its changes, whoever has made them.
#[test]
fn events_follow_the_changes_of_a_key() {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 200;
    let server = parallel_server();
    let mut main = server.client();
    call(&mut main, "CONFIG SET notify-keyspace-events K$g");
    let mut listener = server.client();
    call(&mut listener, "SUBSCRIBE __keyspace@0__:switch");
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let mut client = server.client();
                for _ in 0..ROUNDS {
                    call(&mut client, "SET switch on NX");
                    call(&mut client, "DEL switch");
                }
            });
        }
    });
    // Whoever has set the key last has deleted it, or somebody else has.
    call(&mut main, "PUBLISH __keyspace@0__:switch end");
    let mut is_set = false;
    loop {
        let event = parts(&mut listener).pop().expect("an event");
        match event.as_str() {
            "set" => assert!(!std::mem::replace(&mut is_set, true), "set twice"),
            "del" => assert!(std::mem::replace(&mut is_set, false), "deleted twice"),
            _ => break,
        }
    }
    assert!(!is_set, "all is deleted in the end");
}

/// What was published before somebody subscribed is not for it, and what is published after it has gone for nobody.
#[test]
fn a_subscription_begins_and_ends_with_its_reply() {
    const ROUNDS: usize = 300;
    let server = parallel_server();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.client();
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                number += 1;
                call(&mut client, &format!("PUBLISH channel {number}"));
            }
        });
        let mut client = server.client();
        call(&mut client, "HELLO 3");
        for _ in 0..ROUNDS {
            send(&mut client, "SUBSCRIBE channel");
            assert_eq!(parts(&mut client)[0], "subscribe", "nothing comes before it");
            send(&mut client, "UNSUBSCRIBE channel");
            while parts(&mut client)[0] == "message" {}
            send(&mut client, "PING");
            let pong = client.reply().expect("PONG");
            assert_eq!(pong.as_text().as_deref(), Some("PONG"), "nothing comes after it");
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Who does not read what it listens to is cut off at its limit, and others do not notice.
#[test]
fn a_listener_that_does_not_read_is_cut_off() {
    let limit = "normal 0 0 0 pubsub 1mb 0 0";
    let server = options()
        .with("workers", "2")
        .with("client-output-buffer-limit", limit)
        .start()
        .expect("the server starts");
    let mut stuck: Vec<Client> = (0..4).map(|_| server.client()).collect();
    for client in &mut stuck {
        call(client, "SUBSCRIBE channel");
    }
    let mut publisher = server.client();
    let payload = "x".repeat(64 * 1024);
    wait_until("the listeners are cut off", || {
        integer(&call(&mut publisher, &format!("PUBLISH channel {payload}"))) == 0
    });
    assert_eq!(info(&mut publisher, "stats", "client_output_buffer_limit_disconnections"), "4");
    assert_eq!(info(&mut publisher, "stats", "pubsub_channels"), "0");
    // What the socket had taken may still be read, then the end.
    let has_ended = |client: &mut Client| loop {
        match client.receive(Duration::from_secs(10)) {
            Ok(Received::Value(_)) => {}
            Ok(Received::Closed) => return true,
            Ok(Received::Nothing) | Err(_) => return false,
        }
    };
    assert!(stuck.iter_mut().all(has_ended));
}
