//! Arbitrary events for a machine: whatever nodes say, and whatever is asked for, nothing panics, and what is known stays in
//! itself consistent.

use std::net::{IpAddr, Ipv4Addr};

use rubine_base::clock::Millis;
use rubine_resp::writer::{Output, Protocol, Reply};

use crate::effect::{Action, Event, Facts, LinkId};
use crate::id::{NodeId, ShardId};
use crate::message::{
    Body, ClusterState, Extension, Gossip, Header, Message, MessageFlags, Metric, NodeFlags, Ping,
    Ports, Relayed, Share,
};
use crate::operations::{Asker, Failover, Reset, SetSlot, SetSlotFacts};
use crate::report::Viewer;
use crate::slots::SlotSet;
use crate::text::Host;
use crate::{Announce, Cluster, Config, nodes_conf};

/// Names that are made up: few, so that they come again.
const NAMES: u8 = 12;
const START: Millis = 1_700_000_000_000;
/// So many events at most.
const EVENTS_MAX: usize = 400;

/// What is to happen, byte by byte; zeros when it is over.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }

    fn is_so(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Small mostly, and very large now and then.
    fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => u64::MAX - u64::from(self.byte()),
            small => u64::from(small % 16),
        }
    }

    fn id(&mut self) -> NodeId {
        NodeId::from_random([self.below(NAMES); 20])
    }

    fn slots(&mut self) -> SlotSet {
        match self.below(4) {
            0 => SlotSet::new(),
            1 => SlotSet::full(),
            _ => {
                let first = u16::from(self.byte()) * 64;
                (first..first + u16::from(self.byte() % 64)).collect()
            }
        }
    }

    fn host(&mut self) -> Option<Host> {
        self.is_so().then(|| Host::Ip(ip(self.below(NAMES))))
    }

    fn ports(&mut self) -> Ports {
        Ports {
            first: 6379,
            second: u16::from(self.below(2)),
            bus: 16_379 + u16::from(self.below(2)),
        }
    }

    fn flags(&mut self) -> NodeFlags {
        NodeFlags::from_bits_retain(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    fn header(&mut self) -> Header {
        Header {
            sender: self.id(),
            current_epoch: self.number(),
            config_epoch: self.number(),
            offset: self.number(),
            slots: self.slots(),
            primary: self.is_so().then(|| self.id()),
            host: self.host(),
            ports: self.ports(),
            flags: self.flags(),
            state: ClusterState::Ok,
            message_flags: MessageFlags::from_bits_retain(self.byte()),
            share: self.share(),
        }
    }

    fn share(&mut self) -> Share {
        let metrics = [None, Some(Metric::Slots), Some(Metric::Memory), Some(Metric::Load)];
        let metric = metrics[usize::from(self.below(4))];
        let (is_draining, moves) = (self.is_so(), self.is_so());
        Share { metric, weight: self.number(), is_draining, moves }
    }

    fn gossip(&mut self) -> Gossip {
        Gossip {
            node: self.id(),
            ping_sent_s: self.byte().into(),
            pong_received_s: if self.is_so() { u32::MAX } else { (START / 1000) as u32 },
            host: self.host(),
            ports: self.ports(),
            flags: self.flags(),
        }
    }

    fn extension(&mut self) -> Extension {
        match self.below(8) {
            0 => Extension::Hostname(format!("host-{}", self.below(NAMES))),
            1 => Extension::HumanNodename("name".to_owned()),
            2 => Extension::ForgottenNode { node: self.id(), ttl_s: self.number() },
            3 => Extension::ShardId(ShardId::from_random([self.below(NAMES); 20])),
            4 => Extension::ClientIpv4(Ipv4Addr::LOCALHOST),
            5 => Extension::ClientPort(self.byte().into()),
            6 => Extension::AvailabilityZone("zone".to_owned()),
            _ => Extension::Unknown { kind: 99 },
        }
    }

    fn body(&mut self) -> Body {
        let kind = match self.below(12) {
            6 => return Body::Fail { node: self.id() },
            7 => return Body::FailoverAuthRequest,
            8 => return Body::FailoverAuthAck,
            9 => {
                let (config_epoch, node) = (self.number(), self.id());
                return Body::Update { config_epoch, node, slots: self.slots() };
            }
            10 => return Body::MfStart,
            11 => return Body::Unknown { kind: 77 },
            0 | 1 => Ping::Ping,
            2 | 3 => Ping::Pong,
            _ => Ping::Meet,
        };
        let gossip = (0..self.below(4)).map(|_| self.gossip()).collect();
        let extensions = (0..self.below(3)).map(|_| self.extension()).collect();
        Body::Ping { kind, gossip, extensions }
    }

    fn message(&mut self) -> Message {
        if self.below(16) == 0 {
            return Message::Light(Relayed::Publish { channel: vec![1], message: vec![2] });
        }
        Message::Full { header: Box::new(self.header()), body: self.body() }
    }
}

fn ip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

/// A machine, what happens to it, and the connections that it has by then.
pub fn machine(bytes: &[u8]) {
    let mut script = Script(bytes);
    let announce = Announce { port: 6379, bus_port: 16_379, ..Announce::default() };
    let write_quorum = u32::from(script.below(3));
    let config = Config { node_timeout: 1000, write_quorum, announce, ..Config::default() };
    let mut now = START;
    let mut cluster = Cluster::new(config, u64::from(script.byte()), now);
    let mut links = Vec::new();
    for inbound in 0..EVENTS_MAX as u64 {
        if script.0.is_empty() {
            break;
        }
        now += Millis::from(script.byte()) * Millis::from(script.below(20));
        match script.below(8) {
            0 => operate(&mut cluster, &mut script, now),
            1 => {
                let link = LinkId(LinkId::FIRST_INBOUND.0 + inbound);
                let (peer_ip, local_ip) = (ip(script.below(NAMES)), ip(0));
                cluster.handle(Event::Accepted { link, peer_ip, local_ip }, now);
                links.push(link);
            }
            2 => {
                cluster.tick(now);
            }
            3 if !links.is_empty() => {
                let link = links[usize::from(script.byte()) % links.len()];
                let event = if script.is_so() {
                    Event::Connected { link, local_ip: ip(0) }
                } else {
                    Event::Closed { link, reason: "gone".to_owned() }
                };
                cluster.handle(event, now);
            }
            _ if !links.is_empty() => {
                let link = links[usize::from(script.byte()) % links.len()];
                let message = script.message();
                cluster.handle(Event::Received { link, message, size: 2256 }, now);
            }
            _ => {}
        }
        settle(&mut cluster, &mut script, &mut links, now);
    }
    look_at(&mut cluster, now);
}

fn operate(cluster: &mut Cluster, script: &mut Script<'_>, now: Millis) {
    let (id, slot) = (script.id(), u16::from(script.byte()));
    let (name, asker) = (id.as_bytes().as_slice(), Asker::Client("somebody"));
    // Whether it is refused is not the question.
    match script.below(14) {
        0 => drop(cluster.meet_at(&ip(script.below(NAMES)).to_string(), 6379, 16_379, asker, now)),
        1 => drop(cluster.forget(name, asker, now)),
        2 => drop(cluster.replicate(name, now)),
        3 => cluster.replicate_no_one(asker, now),
        4 => drop(cluster.failover(Failover::Takeover, None, asker, now)),
        5 => drop(cluster.failover(Failover::Force, None, asker, now)),
        6 => drop(cluster.failover(Failover::Coordinated, None, asker, now)),
        7 => drop(cluster.add_slots(&[slot..=slot + 300], now)),
        8 => {
            let how = if script.is_so() { Reset::Hard } else { Reset::Soft };
            drop(cluster.reset(how, asker, now));
        }
        9 => drop(cluster.delete_slots(&[slot..=slot], now)),
        10 => cluster.verify_keys(&script.slots(), now),
        11 => cluster.grant_slots(&script.slots()),
        12 => drop(cluster.bump_own_epoch(now)),
        _ => {
            let what = match script.below(4) {
                0 => SetSlot::Migrating(name),
                1 => SetSlot::Importing(name),
                2 => SetSlot::Stable,
                _ => SetSlot::Node(name),
            };
            let facts = SetSlotFacts { is_from_primary: script.is_so(), ..SetSlotFacts::default() };
            drop(cluster.set_slot(slot, what, facts, now));
        }
    }
    let facts = Facts { offset: script.number(), is_empty: script.is_so(), ..Facts::default() };
    cluster.set_facts(facts);
}

/// Does what the machine asks for, as far as it matters to it.
fn settle(cluster: &mut Cluster, script: &mut Script<'_>, links: &mut Vec<LinkId>, now: Millis) {
    let effects = cluster.take_effects();
    for action in effects.actions {
        match action {
            Action::Connect { link, .. } => links.push(link),
            Action::Close { link } => links.retain(|it| *it != link),
            Action::FencePrimary { is_fenced: true } => {
                cluster.handle(Event::Fenced { offset: script.number() }, now);
            }
            Action::VerifyKeys => cluster.verify_keys(&script.slots(), now),
            Action::Resolve { host } => {
                let ip = Some(ip(script.below(NAMES)));
                cluster.handle(Event::Resolved { host, ip }, now);
            }
            _ => {}
        }
    }
    cluster.table.check();
    assert!(links.len() < 3 * EVENTS_MAX, "connections are made without bound");
}

/// All that can be shown of it is shown, and what is saved can be gone on with.
fn look_at(cluster: &mut Cluster, now: Millis) {
    let viewer = Viewer::default();
    let mut out = Output::default();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        cluster.reply_slots(viewer, &mut Reply::new(&mut out, protocol));
        cluster.reply_shards(viewer, &mut Reply::new(&mut out, protocol));
        cluster.reply_links(&mut Reply::new(&mut out, protocol));
    }
    let lines = cluster.nodes_text(viewer);
    assert!(lines.lines().all(|it| 8 <= it.split(' ').count()), "{lines}");
    assert!(!cluster.info_text().is_empty() && !cluster.explain(now).is_empty());
    let text = nodes_conf::write(&cluster.saved());
    let saved = nodes_conf::parse(text.as_bytes(), false);
    let saved = saved.unwrap_or_else(|error| panic!("{error} in {text}")).expect("it is not empty");
    let again = Cluster::restore(Config::default(), &saved, 1, now).expect("this node is in it");
    again.table.check();
    assert_eq!(again.my_id(), cluster.my_id());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn nothing_that_is_said_does_harm(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            super::machine(&bytes);
        }
    }
}
