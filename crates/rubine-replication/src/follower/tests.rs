//! The link's handshake, line by line, and what it does when something fails.

use super::*;

const ID: &[u8; 40] = b"0123456789012345678901234567890123456789";
const OTHER: &[u8; 40] = b"abcdefghijabcdefghijabcdefghijabcdefghij";

fn id(bytes: &[u8]) -> HistoryId {
    HistoryId::parse(bytes).unwrap()
}

fn place(offset: u64) -> Place {
    Place { id: id(ID), offset: ReplicationOffset(offset) }
}

fn terms(place: Option<Place>) -> Box<Terms> {
    Box::new(Terms {
        user: Some(b"joe".to_vec()),
        password: Some(b"secret".to_vec()),
        port: 6380,
        ip: Some("10.0.0.1".to_owned()),
        version: "9.1.2",
        node_id: None,
        place: place.ok_or("it is new"),
        hands_over: false,
        takes_dual_channel: false,
        takes_rdb_channel: false,
    })
}

/// What is said, as words, and what else is to be done.
fn shown(actions: &[Action]) -> Vec<String> {
    let words = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let lines = text.split("\r\n").filter(|it| !it.starts_with(['*', '$']) && !it.is_empty());
        lines.collect::<Vec<_>>().join(" ")
    };
    let show = |action: &Action| match action {
        Action::Send(bytes) => Some(format!("> {}", words(bytes))),
        Action::Tell { .. } => None,
        Action::SendOnChannel(bytes) => Some(format!("2> {}", words(bytes))),
        Action::Load { sync, form, rest, beside } => {
            let beside = beside.as_ref().map_or_else(String::new, |it| {
                format!(" beside {} in {:?}", it.stream.escape_ascii(), it.database)
            });
            let form = match form {
                DumpForm::Length(length) => length.to_string(),
                DumpForm::Mark(_) => "mark".to_owned(),
            };
            let offset = sync.place.map(|it| it.offset.0);
            let reason = &sync.reason;
            Some(format!("load {form} at {offset:?} rest {}{beside}: {reason}", rest.len()))
        }
        Action::Continue { id, rest } => {
            Some(format!("continue {} rest {}", id.is_some(), rest.len()))
        }
        other => Some(format!("{other:?}").to_lowercase()),
    };
    actions.iter().filter_map(show).collect()
}

/// A link up to where PSYNC was sent.
fn asked(from: Option<Place>) -> (Follower, Vec<String>) {
    let mut link = Follower::new(0);
    link.set_timeout(5000);
    assert_eq!(shown(&link.handle(Event::Tick, 0)), ["connect"]);
    assert_eq!(shown(&link.handle(Event::Connected(terms(from)), 1)), ["> PING"]);
    let introduced = link.handle(Event::Received(b"-NOAUTH Authentication required.\r\n"), 2);
    let expected = [
        "> AUTH joe secret",
        "> REPLCONF listening-port 6380",
        "> REPLCONF ip-address 10.0.0.1",
        "> REPLCONF capa eof capa psync2 capa rubine",
        "> REPLCONF version 9.1.2",
    ];
    assert_eq!(shown(&introduced), expected);
    assert_eq!(link.phase(), Phase::Handshake);
    // An old master knows little of it; answers come in any pieces.
    let mut said = Vec::new();
    for piece in [&b"+OK\r\n-ERR unk"[..], b"nown\r\n+OK\r\n+OK\r", b"\n-ERR what is it\r\n"] {
        said.extend(shown(&link.handle(Event::Received(piece), 3)));
    }
    (link, said)
}

#[test]
fn a_first_sync_with_a_length() {
    let (mut link, said) = asked(None);
    assert_eq!(said, ["> PSYNC ? -1"]);
    let answer = [b"\n\n+FULLRESYNC ", &ID[..], b" 700\r\n\n\n"].concat();
    assert!(shown(&link.handle(Event::Received(&answer), 4)).is_empty());
    assert_eq!(link.phase(), Phase::Sync);
    let begun = link.handle(Event::Received(b"\n$12\r\nREDIS"), 5);
    assert_eq!(shown(&begun), ["load 12 at Some(700) rest 5: it is new"]);
    assert_eq!(shown(&link.handle(Event::Tick, 1100)), ["> \n"], "it says that it is alive");
    assert_eq!(shown(&link.handle(Event::Loaded, 1200)), ["acknowledge"]);
    assert_eq!(link.phase(), Phase::Connected);
    assert!(shown(&link.handle(Event::Tick, 2100)).is_empty());
    assert_eq!(shown(&link.handle(Event::Tick, 2300)), ["acknowledge"]);
    assert_eq!(shown(&link.handle(Event::AskedHowFar, 2300)), ["acknowledge"]);
}

#[test]
fn a_dump_with_a_mark_and_a_reason() {
    let (mut link, said) = asked(Some(place(41)));
    assert_eq!(said, [format!("> PSYNC {} 42", String::from_utf8_lossy(ID))]);
    for (answer, reason) in [
        ([b"+FULLRESYNC ", &OTHER[..], b" 50\r\n"].concat(), "another history"),
        ([b"+FULLRESYNC ", &ID[..], b" 50\r\n"].concat(), "9 bytes any more"),
        ([b"+FULLRESYNC ", &ID[..], b" 40\r\n"].concat(), "ahead of the master"),
    ] {
        let (mut link, _) = asked(Some(place(41)));
        link.handle(Event::Received(&answer), 4);
        let header = [b"$EOF:", &OTHER[..], b"\r\n"].concat();
        let begun = shown(&link.handle(Event::Received(&header), 5));
        assert!(begun[0].starts_with("load mark") && begun[0].contains(reason), "{begun:?}");
    }
    assert_eq!(shown(&link.handle(Event::Tick, 6000)), ["close"], "silence");
}

#[test]
fn going_on_where_it_was() {
    for (answer, expected) in [
        (b"+CONTINUE\r\n*1\r\n".to_vec(), "continue false rest 4"),
        ([b"+CONTINUE ", &OTHER[..], b"\r\n"].concat(), "continue true rest 0"),
    ] {
        let (mut link, _) = asked(Some(place(0)));
        assert_eq!(shown(&link.handle(Event::Received(&answer), 10)), [expected]);
        link.handle(Event::Heard, 4000);
        assert_eq!(shown(&link.handle(Event::Lost("cut"), 4001)), ["close"]);
        assert_eq!(link.sleep_ms(4001), 0, "it was good for a while");
        assert_eq!(shown(&link.handle(Event::Tick, 4001)), ["connect"]);
        assert_eq!(shown(&link.handle(Event::Lost("refused"), 4002)), ["close"]);
        assert_eq!(link.sleep_ms(4002), 1000);
    }
}

#[test]
fn refusals() {
    let later = |line: &[u8]| {
        let (mut link, _) = asked(None);
        let said = shown(&link.handle(Event::Received(line), 10));
        (said, link.phase())
    };
    let waits = (vec!["close".to_owned()], Phase::Waiting);
    for line in [
        &b"-NOMASTERLINK Can't SYNC while not connected with my master\r\n"[..],
        b"-LOADING it is\r\n",
        b"-NOPERM no\r\n",
        b"+FULLRESYNC nonsense\r\n",
        b"+CONTINUE\r\n",
    ] {
        assert_eq!(later(line), waits, "{}", line.escape_ascii());
    }
    assert_eq!(later(b"-ERR unknown command\r\n"), (vec!["> SYNC".to_owned()], Phase::Sync));
    let (mut link, _) = asked(None);
    link.handle(Event::Received(b"-ERR unknown command\r\n"), 10);
    let begun = shown(&link.handle(Event::Received(b"$0\r\n"), 10));
    assert!(begun[0].starts_with("load 0 at None"), "{begun:?}");
    assert!(shown(&link.handle(Event::Loaded, 20)).is_empty(), "it knows no offsets");
    assert!(shown(&link.handle(Event::Tick, 1500)).is_empty());
    // No line without end is kept.
    let (mut link, _) = asked(None);
    assert_eq!(shown(&link.handle(Event::Received(&vec![b'x'; 20_000]), 10)), ["close"]);
    for header in [&b"-ERR no\r\n"[..], b"$-1\r\n", b"$EOF:short\r\n", b"hello\r\n"] {
        let (mut link, _) = asked(None);
        link.handle(Event::Received(&[b"+FULLRESYNC ", &ID[..], b" 1\r\n"].concat()), 4);
        assert_eq!(shown(&link.handle(Event::Received(header), 10)), ["close"]);
    }
}

#[test]
fn full_syncs_in_a_row_are_put_off() {
    let mut link = Follower::new(0);
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..7 {
        now += link.sleep_ms(now);
        link.handle(Event::Tick, now);
        link.handle(Event::Connected(terms(None)), now);
        link.handle(Event::Received(b"+PONG\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n"), now);
        link.handle(Event::Received(&[b"+FULLRESYNC ", &ID[..], b" 1\r\n$5\r\n"].concat()), now);
        link.handle(Event::NotLoaded("it was cut"), now);
        waits.push(link.sleep_ms(now));
    }
    assert_eq!(waits, [1000, 1000, 1000, 2000, 4000, 8000, 16_000]);
}

/// A link up to where the master has answered that the dump comes over another connection.
fn joining(answer: &[u8], dual: bool) -> Follower {
    let mut link = Follower::new(0);
    link.set_timeout(5000);
    link.handle(Event::Tick, 0);
    let (takes_dual_channel, takes_rdb_channel) = (dual, !dual);
    let terms =
        Terms { takes_dual_channel, takes_rdb_channel, password: None, ..*terms(Some(place(41))) };
    link.handle(Event::Connected(Box::new(terms)), 1);
    let said = shown(&link.handle(Event::Received(b"+PONG\r\n"), 2));
    let capability = if dual { "capa dual-channel" } else { "capa rdb-channel-repl" };
    assert!(said[2].ends_with(capability), "{said:?}");
    link.handle(Event::Received(b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n"), 3);
    assert_eq!(shown(&link.handle(Event::Received(answer), 4)), ["connectchannel"]);
    assert_eq!(link.phase(), Phase::Handshake);
    link
}

#[test]
fn a_dump_over_a_second_connection_in_valkeys_way() {
    let mut link = joining(b"+DUALCHANNELSYNC\r\n", true);
    assert!(link.reads_link() && !link.reads_channel());
    let expected = [
        "2> REPLCONF capa eof capa rubine rdb-only 1 rdb-channel 1 version 9.1.2 listening-port 6380 REPLCONF ip-address \
         10.0.0.1",
    ];
    assert_eq!(shown(&link.handle(Event::ChannelConnected, 5)), expected);
    assert!(shown(&link.handle(Event::ChannelReceived(b"+OK\r\n\n+O"), 6)).is_empty());
    assert_eq!(shown(&link.handle(Event::ChannelReceived(b"K\r\n"), 6)), ["2> SYNC"]);
    let dump_place =
        [b"\n\n$ENDOFF:700 ", &ID[..], b" 3 12\r\n\n$EOF:", OTHER, b"\r\nREDIS"].concat();
    let said = shown(&link.handle(Event::ChannelReceived(&dump_place), 7));
    assert_eq!(said, ["> REPLCONF set-rdb-client-id 12"]);
    assert!(!link.reads_channel(), "what follows waits");
    let said = shown(&link.handle(Event::Received(b"+OK\r\n"), 8));
    assert_eq!(said, [format!("> PSYNC {} 701", ID.escape_ascii())]);
    let begun = shown(&link.handle(Event::Received(b"+CONTINUE\r\n*1"), 9));
    let reason = "the master does not have the 659 bytes any more that were missed: its backlog (repl-backlog-size) is too small";
    let expected = format!("load mark at Some(700) rest 5 beside *1 in Some(3): {reason}");
    assert_eq!(begun, [expected]);
    assert_eq!(shown(&link.handle(Event::Tick, 1100)), ["> \n"]);
    assert_eq!(shown(&link.handle(Event::Loaded, 1200)), ["acknowledge"]);
}

#[test]
fn a_dump_over_a_second_connection_in_rediss_way() {
    let mut link = joining(b"+RDBCHANNELSYNC 77\r\n", false);
    assert!(!link.reads_link(), "the stream may come at any time");
    let said = shown(&link.handle(Event::ChannelConnected, 5));
    assert!(said[0].contains("rdb-channel 1 main-ch-client-id 77") && !said[0].contains("version"));
    let said = shown(&link.handle(Event::ChannelReceived(b"+OK\r\n+OK\r\n"), 6));
    assert_eq!(said, ["2> PSYNC ? -1"]);
    let answer = [b"\n+FULLRESYNC ", &OTHER[..], b" 9\r\n"].concat();
    assert!(shown(&link.handle(Event::ChannelReceived(&answer), 7)).is_empty());
    assert_eq!(link.phase(), Phase::Sync);
    let header = [b"$EOF:", &OTHER[..], b"\r\n"].concat();
    let begun = shown(&link.handle(Event::ChannelReceived(&header), 8));
    assert!(begun[0].starts_with("load mark at Some(9) rest 0 beside  in None"), "{begun:?}");
}

#[test]
fn a_second_connection_that_comes_to_nothing_is_done_without() {
    let mut link = joining(b"+DUALCHANNELSYNC\r\n", true);
    assert_eq!(shown(&link.handle(Event::ChannelLost("refused"), 5)), ["close"]);
    for answer in [
        &b"-ERR what is a channel\r\n"[..],
        b"+OK\r\n+OK\r\n+OK\r\n",
        b"+OK\r\n+OK\r\n$ENDOFF:1 x 0 1\r\n",
        &vec![b'x'; 20_000],
    ] {
        let mut link = joining(b"+DUALCHANNELSYNC\r\n", true);
        link.handle(Event::ChannelConnected, 5);
        let said = shown(&link.handle(Event::ChannelReceived(answer), 6));
        assert_eq!(said.last().map(String::as_str), Some("close"), "{said:?}");
        assert_eq!(link.phase(), Phase::Waiting);
    }
    let mut link = Follower::new(0);
    let mut offers = Vec::new();
    for round in 0..4 {
        let now = round * 10_000;
        link.handle(Event::Tick, now);
        let terms = Terms { takes_dual_channel: true, password: None, ip: None, ..*terms(None) };
        link.handle(Event::Connected(Box::new(terms)), now);
        let said = shown(&link.handle(Event::Received(b"+PONG\r\n"), now));
        offers.push(said.iter().any(|it| it.contains("dual-channel")));
        link.handle(Event::Received(b"+OK\r\n+OK\r\n+OK\r\n+DUALCHANNELSYNC\r\n"), now);
        link.handle(Event::ChannelLost("refused"), now);
    }
    assert_eq!(offers, [true, true, true, false]);
}

#[test]
fn a_broken_stream_is_not_gone_on_with() {
    let (mut link, _) = asked(Some(place(5)));
    link.handle(Event::Received(b"+CONTINUE\r\n"), 10);
    assert_eq!(shown(&link.handle(Event::Broken("nonsense"), 11)), ["close"]);
    link.handle(Event::Tick, 2000);
    link.handle(Event::Connected(terms(Some(place(5)))), 2000);
    let said = link.handle(Event::Received(b"+PONG\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n"), 2000);
    assert_eq!(shown(&said).last().unwrap(), "> PSYNC ? -1");
    link.handle(Event::Received(&[b"+FULLRESYNC ", &ID[..], b" 1\r\n"].concat()), 2000);
    let begun = shown(&link.handle(Event::Received(b"$5\r\n"), 2000));
    assert!(begun[0].contains("nonsense"), "{begun:?}");
}
