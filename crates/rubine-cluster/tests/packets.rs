//! What real nodes say: packets of Valkey 9.1.2 and Redis 8.0.6, written down by `packets/capture.py`, are read, and sent
//! again they are the same bytes.

use rubine_cluster::message::{
    Body, Bounds, Decoder, Dialect, Extension, KIND_NAMES, Message, MessageFlags, NodeFlags, Ping,
    Relayed, encode,
};

const VALKEY: &str = include_str!("packets/valkey-9.1.2.txt");
const REDIS: &str = include_str!("packets/redis-8.0.6.txt");

/// The kind of a packet in words, and its bytes.
fn packets(text: &str) -> impl Iterator<Item = (&str, Vec<u8>)> {
    text.lines().filter(|it| !it.starts_with('#')).map(|line| {
        let mut words = line.split(' ');
        let (kind, _header) = (words.next().expect("a kind"), words.next().expect("a header"));
        (kind, words.flat_map(bytes).collect())
    })
}

/// Hexadecimal digits, or so many zeros.
fn bytes(word: &str) -> Vec<u8> {
    if let Some(count) = word.strip_prefix('*') {
        return vec![0; count.parse().expect("a count")];
    }
    let byte = |at| u8::from_str_radix(&word[at..at + 2], 16).expect("two digits");
    (0..word.len()).step_by(2).map(byte).collect()
}

fn read(packet: &[u8]) -> Message {
    let mut decoder = Decoder::default();
    decoder.push(packet);
    let received = decoder
        .take(Bounds::known(1024))
        .expect("the stream goes on")
        .expect("the packet is whole");
    assert_eq!(received.size, packet.len());
    received.content.expect("the packet is well formed")
}

fn messages(text: &str) -> impl Iterator<Item = (&str, Message)> {
    packets(text).map(|(kind, packet)| (kind, read(&packet)))
}

#[test]
fn packets_of_real_nodes_come_out_as_they_were() {
    for (family, text) in [("Valkey", VALKEY), ("Redis", REDIS)] {
        let mut seen = [false; KIND_NAMES.len()];
        for (kind, packet) in packets(text) {
            let message = read(&packet);
            assert_eq!(KIND_NAMES[usize::from(message.kind())], kind, "{family}");
            assert!(encode(&message) == packet, "{family}: {kind}: {message:?}");
            seen[usize::from(message.kind())] = true;
        }
        // Nobody has modules.
        let missing =
            KIND_NAMES.iter().zip(seen).filter(|(name, seen)| !seen && **name != "module");
        assert_eq!(missing.count(), 0, "{family}: {seen:?}");
    }
}

#[test]
fn each_family_is_known_by_what_it_says() {
    for (text, expected) in [(VALKEY, Dialect::Valkey), (REDIS, Dialect::Redis)] {
        for (_, message) in messages(text) {
            let Message::Full { header, body: Body::Ping { extensions, .. }, .. } = message else {
                continue;
            };
            if !extensions.is_empty() {
                assert_eq!(Dialect::of(header.flags, &extensions), expected);
                assert!(extensions.iter().all(|it| expected.has(it)), "{extensions:?}");
            }
        }
    }
}

#[test]
fn valkey_tells_what_clients_shall_see() {
    let (_, message) = messages(VALKEY)
        .find(|(_, it)| matches!(it, Message::Full { body: Body::Ping { extensions, .. }, .. } if !extensions.is_empty()))
        .expect("there are extensions");
    let Message::Full { header, body: Body::Ping { extensions, .. } } = message else {
        unreachable!()
    };
    assert!(header.flags.contains(NodeFlags::LIGHT_PUBLISH | NodeFlags::LIGHT_MODULE));
    for extension in [
        Extension::ClientIpv4([10, 1, 2, 3].into()),
        Extension::ClientIpv6("fd00::1".to_owned()),
        Extension::ClientPort(7001),
        Extension::ClientTlsPort(7002),
        Extension::AvailabilityZone("zone-a".into()),
    ] {
        assert!(extensions.contains(&extension), "{extensions:?}");
    }
    let named =
        |it: &Extension| matches!(it, Extension::Hostname(name) if name.ends_with(".example"));
    assert!(extensions.iter().any(named), "{extensions:?}");
}

#[test]
fn messages_say_what_they_were_meant_to_say() {
    let hello = |it: Relayed| match it {
        Relayed::Publish { channel, message } => channel == b"news" && message == b"hello",
        Relayed::PublishShard { channel, message } => channel == b"b" && message == b"sharded",
        Relayed::Module { .. } => false,
    };
    for (family, text) in [("Valkey", VALKEY), ("Redis", REDIS)] {
        for (kind, message) in messages(text) {
            match message {
                // Valkey's nodes knew each other well enough by then.
                Message::Light(relayed) => assert!(family == "Valkey" && hello(relayed)),
                Message::Full { body: Body::Relayed(relayed), .. } => {
                    assert!(family == "Redis" && hello(relayed));
                }
                Message::Full { header, body } => {
                    assert!(header.ports.first != 0 && header.ports.bus != 0, "{family}: {kind}");
                    assert!(header.flags.contains(NodeFlags::MYSELF), "{family}: {kind}");
                    assert_eq!(header.flags.contains(NodeFlags::REPLICA), header.primary.is_some());
                    let forced = header.message_flags.contains(MessageFlags::FORCE_ACK);
                    assert!(
                        !forced || matches!(body, Body::FailoverAuthRequest),
                        "{family}: {kind}"
                    );
                    if let Body::Ping { kind: Ping::Meet, .. } = body {
                        assert_eq!(header.config_epoch, 0, "{family}: it has met nobody yet");
                    }
                    if let Body::Update { slots, .. } = body {
                        assert_eq!(slots.ranges().collect::<Vec<_>>(), [0..=5000], "{family}");
                    }
                }
            }
        }
    }
}
