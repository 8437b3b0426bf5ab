//! What must hold of whatever a master says, for the fuzzer and for property tests.

use rubine_journal::ReplicationOffset;

use crate::follower::{Action, Event, Follower, Terms};
use crate::stream::StreamReader;
use crate::verify::{Answer, Request, key_digests, write_key_digest};

/// Cuts bytes into units, at once and byte by byte: both find the same, and no byte is left out but between units.
///
/// # Panics
/// If that does not hold.
pub fn stream(bytes: &[u8]) {
    let whole = units_of(bytes, bytes.len().max(1));
    assert_eq!(whole, units_of(bytes, 1), "pieces make no difference");
    assert!(
        whole.0.windows(2).all(|it| it[0].1 == it[1].0),
        "a unit begins where the last one ended"
    );
}

/// Where units begin and end and how many commands they have, and whether the stream breaks.
fn units_of(bytes: &[u8], step: usize) -> (Vec<(u64, u64, usize)>, bool) {
    let mut reader = StreamReader::new(ReplicationOffset(7));
    let mut units = Vec::new();
    for piece in bytes.chunks(step) {
        reader.receive(piece);
        loop {
            match reader.next_unit() {
                Ok(Some(unit)) => {
                    assert_eq!(unit.bytes.len() as u64, unit.end.0 - unit.start.0);
                    assert!(unit.commands().all(|args| !args.is_empty()));
                    units.push((unit.start.0, unit.end.0, unit.commands().len()));
                }
                Ok(None) => break,
                Err(_) => return (units, true),
            }
        }
    }
    (units, false)
}

/// Lets a master answer with these bytes. Whatever they are, the link asks for a connection again, loads or streams; it
/// never keeps more of them than a line.
///
/// # Panics
/// If that does not hold.
pub fn handshake(bytes: &[u8]) {
    let (step, bytes) =
        bytes.split_first().map_or((1, bytes), |(it, rest)| (usize::from(*it).max(1), rest));
    let mut link = Follower::new(0);
    link.set_timeout(5000);
    assert_eq!(link.handle(Event::Tick, 0), [Action::Connect]);
    let terms = Terms {
        user: None,
        password: Some(b"secret".to_vec()),
        port: 6379,
        ip: None,
        version: "9.1.2",
        node_id: None,
        place: Err("it is new"),
        hands_over: false,
        takes_dual_channel: true,
        takes_rdb_channel: true,
    };
    link.handle(Event::Connected(Box::new(terms)), 0);
    let is_over =
        |it: &Action| matches!(it, Action::Close | Action::Load { .. } | Action::Continue { .. });
    for piece in bytes.chunks(step) {
        // What comes over a second connection is taken before the first one goes on.
        let event = if link.reads_channel() {
            Event::ChannelReceived(piece)
        } else if link.reads_link() {
            Event::Received(piece)
        } else {
            break;
        };
        let mut actions = link.handle(event, 1);
        if actions.contains(&Action::ConnectChannel) {
            actions.extend(link.handle(Event::ChannelConnected, 1));
        }
        if actions.iter().any(is_over) {
            break;
        }
    }
    // Silence ends whatever goes on.
    let ticks = (1..=2).flat_map(|it| link.handle(Event::Tick, it * 1_000_000));
    let actions: Vec<Action> = ticks.collect();
    assert!(actions.contains(&Action::Connect), "it begins anew: {actions:?}");
}

/// Reads bytes as what master and replica say when they compare what they have. What can be read is the same when it was
/// written and read again.
///
/// # Panics
/// If that does not hold.
pub fn verification(bytes: &[u8]) {
    if let Some(request) = Request::parse(bytes) {
        assert_eq!(Request::parse(request.text().as_bytes()), Some(request));
    }
    let mut keys = Vec::new();
    for read in key_digests(bytes).map_while(Result::ok) {
        write_key_digest(read, &mut keys);
    }
    assert!(bytes.starts_with(&keys), "keys are read as they were written");
    let mut words = bytes.splitn(3, |it| *it == b' ');
    if let (Some(sender), Some(kind), Some(payload)) = (words.next(), words.next(), words.next())
        && let Ok((sender, answer)) = Answer::parse(sender, kind, payload)
    {
        assert!(
            answer.command(&sender).len() < bytes.len() * 4 + 200,
            "it does not grow without bound"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_a_master_sends(words in prop::collection::vec(
            prop::sample::select(vec![
                &b"*1\r\n$4\r\nPING\r\n"[..], b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$4\r\nEXEC\r\n", b"\n", b"*2\r\n$1\r\nx\r\n$0\r\n\r\n",
                b"*", b"$", b"\r\n", b"9", b"-",
            ]), 0..20)) {
            super::stream(&words.concat());
        }

        #[test]
        fn whatever_is_said_of_what_is_there(words in prop::collection::vec(
            prop::sample::select(vec![
                &b"verify:"[..], b"0123456789abcdef", b":begin:", b":list:", b":end", b"7", b":", b"a", b" BEGUN ", b" KEYS ",
                b" DIGESTS ", b" LISTED ", b" REFUSED ", b"\x00\x00\x00\x00", b"\x01\x00\x00\x00", b"\xff",
            ]), 0..20)) {
            super::verification(&words.concat());
        }

        #[test]
        fn whatever_a_master_answers(words in prop::collection::vec(
            prop::sample::select(vec![
                &b"+PONG\r\n"[..], b"+OK\r\n", b"-ERR x\r\n", b"\n", b"+CONTINUE\r\n", b"$5\r\n", b"-NOAUTH x\r\n",
                b"+FULLRESYNC 0123456789012345678901234567890123456789 7\r\n",
                b"$EOF:0123456789012345678901234567890123456789\r\n", b"x", b"-LOADING\r\n",
                b"+DUALCHANNELSYNC\r\n", b"+RDBCHANNELSYNC 7\r\n", b"+RDBCHANNELSYNC\r\n",
                b"$ENDOFF:7 0123456789012345678901234567890123456789 -1 8\r\n", b"$ENDOFF:7 x 0 8\r\n",
            ]), 0..20), step in 0_u8..9) {
            super::handshake(&[&[step][..], &words.concat()].concat());
        }
    }
}
