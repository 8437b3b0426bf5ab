//! Packets there and back, and whatever else may come.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

fn name() -> impl Strategy<Value = [u8; 20]> {
    any::<[u8; 20]>()
}

fn node() -> impl Strategy<Value = NodeId> {
    name().prop_map(NodeId::from_random)
}

fn slots() -> impl Strategy<Value = SlotSet> {
    prop_oneof![
        Just(SlotSet::new()),
        Just(SlotSet::full()),
        prop::collection::vec(0..16_384u16, 0..20).prop_map(SlotSet::from_iter),
    ]
}

fn host() -> impl Strategy<Value = Option<Host>> {
    let ip = any::<std::net::IpAddr>().prop_map(|it| Some(Host::Ip(it)));
    prop_oneof![Just(None), ip, "[a-z][a-z0-9.-]{0,44}".prop_map(|it| Host::parse(&it))]
}

fn ports() -> impl Strategy<Value = Ports> {
    any::<[u16; 3]>().prop_map(|[first, second, bus]| Ports { first, second, bus })
}

prop_compose! {
    fn share()(
        metric in prop::option::of(prop::sample::select(vec![Metric::Slots, Metric::Memory, Metric::Load])),
        weight: u64,
        is_draining: bool,
        moves: bool,
    ) -> Share {
        Share { metric, weight, is_draining, moves }
    }
}

prop_compose! {
    fn header()(
        sender in node(),
        [current_epoch, config_epoch, offset]: [u64; 3],
        slots in slots(),
        primary in prop::option::of(node()),
        host in host(),
        ports in ports(),
        flags: u16,
        is_ok: bool,
        message_flags: u8,
        share in share(),
    ) -> Box<Header> {
        let flags = NodeFlags::from_bits_retain(flags);
        let state = if is_ok { ClusterState::Ok } else { ClusterState::Fail };
        // Whether there are extensions is said with them.
        let message_flags = MessageFlags::from_bits_retain(message_flags) | MessageFlags::EXTENSIONS;
        Box::new(Header {
            sender, current_epoch, config_epoch, offset, slots, primary, host, ports, flags, state, message_flags, share,
        })
    }
}

prop_compose! {
    fn gossip()(
        node in node(),
        [ping_sent_s, pong_received_s]: [u32; 2],
        host in host(),
        ports in ports(),
        flags: u16,
    ) -> Gossip {
        let flags = NodeFlags::from_bits_retain(flags);
        Gossip { node, ping_sent_s, pong_received_s, host, ports, flags }
    }
}

fn extension() -> impl Strategy<Value = Extension> {
    prop_oneof![
        "[A-Za-z0-9.-]{1,255}".prop_map(Extension::Hostname),
        "[a-zäöü0-9:_/-]{1,40}".prop_map(Extension::HumanNodename),
        (node(), any::<u64>()).prop_map(|(node, ttl_s)| Extension::ForgottenNode { node, ttl_s }),
        name().prop_map(|it| Extension::ShardId(ShardId::from_random(it))),
        any::<Ipv4Addr>().prop_map(Extension::ClientIpv4),
        any::<Ipv6Addr>().prop_map(|it| Extension::ClientIpv6(it.to_string())),
        any::<u16>().prop_map(Extension::ClientPort),
        any::<u16>().prop_map(Extension::ClientTlsPort),
        "[a-z0-9-]{1,40}".prop_map(Extension::AvailabilityZone),
        name().prop_map(|it| Extension::InternalSecret(*NodeId::from_random(it).as_bytes())),
    ]
}

fn relayed() -> impl Strategy<Value = Relayed> {
    prop_oneof![
        any::<(Vec<u8>, Vec<u8>)>()
            .prop_map(|(channel, message)| Relayed::Publish { channel, message }),
        any::<(Vec<u8>, Vec<u8>)>()
            .prop_map(|(channel, message)| Relayed::PublishShard { channel, message }),
        any::<(u64, u8, Vec<u8>)>().prop_map(|(module_id, kind, payload)| Relayed::Module {
            module_id,
            kind,
            payload
        }),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    let kind = prop_oneof![Just(Ping::Ping), Just(Ping::Pong), Just(Ping::Meet)];
    let gossip = prop::collection::vec(gossip(), 0..5);
    let extensions = prop::collection::vec(extension(), 0..5);
    prop_oneof![
        4 => (kind, gossip, extensions)
            .prop_map(|(kind, gossip, extensions)| Body::Ping { kind, gossip, extensions }),
        1 => node().prop_map(|node| Body::Fail { node }),
        2 => relayed().prop_map(Body::Relayed),
        1 => Just(Body::FailoverAuthRequest),
        1 => Just(Body::FailoverAuthAck),
        1 => (any::<u64>(), node(), slots())
            .prop_map(|(config_epoch, node, slots)| Body::Update { config_epoch, node, slots }),
        1 => Just(Body::MfStart),
        1 => (11..0x8000u16).prop_map(|kind| Body::Unknown { kind }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        4 => (header(), body()).prop_map(|(header, body)| Message::Full { header, body }),
        1 => relayed().prop_map(Message::Light),
    ]
}

const BOUNDS: Bounds = Bounds::known(1 << 20);

/// What comes out of a stream that arrives in pieces of this size.
fn decode_all(stream: &[u8], piece: usize) -> Result<Vec<Received>, BadStream> {
    let (mut decoder, mut received) = (Decoder::default(), Vec::new());
    for bytes in stream.chunks(piece) {
        decoder.push(bytes);
        while let Some(next) = decoder.take(BOUNDS)? {
            received.push(next);
        }
    }
    Ok(received)
}

proptest! {
    #[test]
    fn what_is_sent_is_what_arrives(messages in prop::collection::vec(message(), 1..4), piece in 1..5000usize) {
        let packets: Vec<_> = messages.iter().map(encode).collect();
        let received = decode_all(&packets.concat(), piece).expect("the packets are whole");
        prop_assert_eq!(received.len(), messages.len());
        for ((received, message), packet) in received.iter().zip(&messages).zip(&packets) {
            prop_assert_eq!(received.content.as_ref(), Ok(message));
            prop_assert_eq!((received.kind, received.size), (message.kind(), packet.len()));
        }
    }

    #[test]
    fn whatever_comes_does_no_harm(bytes: Vec<u8>, message in message(), spoilt in prop::collection::vec((any::<usize>(), any::<u8>()), 1..8)) {
        crate::fuzz::packets(&bytes);
        let mut packet = encode(&message);
        for (at, byte) in spoilt {
            let size = packet.len();
            // Lengths and counts are in the first 16 bytes, and behind the header.
            let at = if at % 2 == 0 { at % 16 } else { at % size };
            packet[at] = byte;
        }
        crate::fuzz::packets(&packet);
    }
}

fn header_of(sender: [u8; 20]) -> Box<Header> {
    Box::new(Header {
        sender: NodeId::from_random(sender),
        current_epoch: 1,
        config_epoch: 1,
        offset: 0,
        slots: SlotSet::new(),
        primary: None,
        host: None,
        ports: Ports::default(),
        flags: NodeFlags::PRIMARY,
        state: ClusterState::Ok,
        message_flags: MessageFlags::EXTENSIONS,
        share: Share::default(),
    })
}

fn ping(gossip: Vec<Gossip>, extensions: Vec<Extension>) -> Vec<u8> {
    let body = Body::Ping { kind: Ping::Ping, gossip, extensions };
    encode(&Message::Full { header: header_of([7; 20]), body })
}

/// The one packet of a stream.
fn decode_one(packet: &[u8]) -> Result<Message, Defect> {
    let mut received = decode_all(packet, 1000).expect("the stream goes on");
    assert_eq!(received.len(), 1);
    received.remove(0).content
}

/// A length that cannot be is found before anything is waited for or allocated.
#[test]
fn a_length_is_checked_before_it_is_believed() {
    let start = |size: u32, kind: u16| {
        let mut packet = ping(vec![], vec![]);
        packet[4..8].copy_from_slice(&size.to_be_bytes());
        packet[12..14].copy_from_slice(&kind.to_be_bytes());
        packet.truncate(16);
        let mut decoder = Decoder::default();
        decoder.push(&packet);
        decoder.take(Bounds::known(1000)).map(|it| it.is_some())
    };
    assert_eq!(start(2256, 0), Ok(false));
    assert_eq!(start(2255, 0), Err(BadStream::TooShort { size: 2255 }));
    assert_eq!(start(16, 0x8004), Ok(true));
    assert_eq!(start(15, 0x8004), Err(BadStream::TooShort { size: 15 }));
    assert_eq!(
        start(u32::MAX, 0),
        Err(BadStream::TooLong { size: u32::MAX as usize, max: BOUNDS.packet })
    );
    assert_eq!(start(3272, 4), Ok(false));
    assert_eq!(start(3273, 4), Err(BadStream::TooLong { size: 3273, max: 3272 }));
    let mut decoder = Decoder::default();
    decoder.push(b"GET / HTTP/1.1\r\n");
    assert_eq!(decoder.take(Bounds::known(1000)), Err(BadStream::Signature));
}

/// Real nodes let the connection live, and forget the packet.
#[test]
fn a_packet_that_cannot_be_is_dropped() {
    let good = ping(vec![], vec![Extension::ClientPort(7)]);
    let spoilt = |at: usize, bytes: &[u8]| {
        let mut packet = good.clone();
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        decode_one(&packet)
    };
    assert!(decode_one(&good).is_ok());
    assert_eq!(spoilt(8, &[0, 2]), Err(Defect::Version(2)));
    assert_eq!(spoilt(12, &[0x80, 0]), Err(Defect::Light));
    // Another kind, that has no extensions.
    assert_eq!(spoilt(12, &[0, 5]), Err(Defect::Length { size: 2272, expected: 2256 }));
    // An entry of gossip that is not there.
    assert_eq!(spoilt(14, &[0, 1]), Err(Defect::Length { size: 2272, expected: 2296 }));
    assert!(matches!(spoilt(40, b"\n"), Err(Defect::Name(_))));
    assert!(matches!(spoilt(2128, b"a"), Err(Defect::Name(_))));
    // Two extensions, of which one is there, and none, of which one is there.
    assert!(spoilt(2214, &[0, 2]).is_err());
    assert!(spoilt(2214, &[0, 0]).is_err());
    for size in [0u32, 7, 8 + 4, 24, u32::MAX] {
        let rest = 16;
        assert_eq!(spoilt(2256, &size.to_be_bytes()), Err(Defect::Extension { size, rest }));
    }
    // A kind that is not known is what its header says.
    let Ok(Message::Full { body, .. }) = spoilt(12, &[0, 99]) else { panic!("it was dropped") };
    assert_eq!(body, Body::Unknown { kind: 99 });
}

/// Texts of others are written into files and replies.
#[test]
fn texts_that_would_separate_words_are_not_taken() {
    for name in ["a b", "a\nb", "a,b", "a=b", "", &"a".repeat(256)] {
        let extension = Extension::Hostname(name.to_owned());
        let Ok(Message::Full { body: Body::Ping { extensions, .. }, .. }) =
            decode_one(&ping(vec![], vec![extension]))
        else {
            panic!("it was dropped");
        };
        assert_eq!(extensions, [Extension::Unknown { kind: 0 }], "{name:?}");
    }
}

/// An entry about nobody does not make others of the packet unreadable.
#[test]
fn gossip_about_nobody_is_left_out() {
    let about = |byte| Gossip {
        node: NodeId::from_random([byte; 20]),
        ping_sent_s: 0,
        pong_received_s: 1,
        host: Host::parse("10.0.0.1"),
        ports: Ports::default(),
        flags: NodeFlags::PRIMARY,
    };
    let mut packet = ping(vec![about(1), about(2)], vec![]);
    packet[2256] = b' ';
    let Ok(Message::Full { body: Body::Ping { gossip, .. }, .. }) = decode_one(&packet) else {
        panic!("it was dropped");
    };
    assert_eq!(gossip, [about(2)]);
}

/// The number 4 has two meanings, and each node is told what it understands.
#[test]
fn each_family_is_told_what_it_understands() {
    let secret = Extension::InternalSecret([b'7'; 40]);
    let ip = Extension::ClientIpv4(Ipv4Addr::BROADCAST);
    for extension in [&secret, &ip] {
        let Ok(Message::Full { body: Body::Ping { extensions, .. }, .. }) =
            decode_one(&ping(vec![], vec![extension.clone()]))
        else {
            panic!("it was dropped");
        };
        assert_eq!(extensions, std::slice::from_ref(extension));
    }
    let light = NodeFlags::LIGHT_PUBLISH | NodeFlags::LIGHT_MODULE;
    for (dialect, flags, shown, sent) in [
        (Dialect::Common, NodeFlags::PRIMARY, vec![], [false, false]),
        (Dialect::Valkey, light, vec![ip.clone()], [false, true]),
        (Dialect::Redis, NodeFlags::PRIMARY, vec![secret.clone()], [true, false]),
    ] {
        assert_eq!(Dialect::of(flags, &shown), dialect);
        assert_eq!([dialect.has(&secret), dialect.has(&ip)], sent);
        assert!(dialect.has(&Extension::Hostname("a".into())));
    }
}

#[test]
fn room_is_given_back() {
    let (channel, message) = (b"c".to_vec(), vec![b'm'; 500_000]);
    let packet = encode(&Message::Light(Relayed::Publish { channel, message }));
    let mut decoder = Decoder::default();
    decoder.push(&packet);
    assert!(decoder.take(BOUNDS).is_ok_and(|it| it.is_some()));
    assert!(decoder.memory() <= 64 * 1024, "{}", decoder.memory());
}
