//! What the CLUSTER commands do and show, of one node and of a primary with its replica that speak to each other directly.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rubine_cluster::message::Message;
use rubine_cluster::{
    Action, Announce, Asker, Cluster, Config, Direction, Event, Facts, Failover, Fault, History,
    LinkId, OperationError, PreferredEndpoint, Reset, Save, SetSlot, SetSlotFacts, View, Viewer,
};
use rubine_resp::writer::{Output, Protocol, Reply};

const START: i64 = 1_700_000_000_000;
const ASKER: Asker<'static> = Asker::Client("id=1 addr=127.0.0.1:5000");

fn config(number: u8) -> Config {
    let announce = Announce {
        port: 7000 + u16::from(number),
        bus_port: 17_000 + u16::from(number),
        hostname: format!("host-{number}"),
        ..Announce::default()
    };
    Config { node_timeout: 1000, announce, ..Config::default() }
}

fn ip(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, number + 1))
}

/// Nodes whose messages arrive at once.
struct Group {
    now: i64,
    nodes: Vec<Cluster>,
    views: Vec<Option<Arc<View>>>,
    /// The other end of each end of a connection.
    wires: BTreeMap<(usize, LinkId), (usize, LinkId)>,
    count: u64,
    log: Vec<String>,
    follows: Vec<Option<(String, History)>>,
}

impl Group {
    fn new(count: u8) -> Self {
        let nodes =
            (0..count).map(|it| Cluster::new(config(it), u64::from(it) + 1, START)).collect();
        let mut group = Self {
            now: START,
            nodes,
            views: vec![None; usize::from(count)],
            wires: BTreeMap::new(),
            count: 0,
            log: Vec::new(),
            follows: vec![None; usize::from(count)],
        };
        for who in 0..usize::from(count) {
            group.settle(who);
        }
        group
    }

    fn settle(&mut self, who: usize) {
        let facts = Facts {
            offset: 100,
            is_following: self.follows[who].is_some(),
            primary_heard_at: self.now,
            is_empty: true,
            is_loading: false,
        };
        self.nodes[who].set_facts(facts);
        let effects = self.nodes[who].take_effects();
        self.views[who] = effects.view.or(self.views[who].take());
        for action in effects.actions {
            match action {
                Action::Connect { link, to, .. } => self.connect(who, link, to.ip()),
                Action::Send { links, message } => {
                    for link in links {
                        let Some((to, link)) = self.wires.get(&(who, link)).copied() else {
                            continue;
                        };
                        let event = Event::Received { link, message: message.clone(), size: 100 };
                        self.handle(to, event);
                    }
                }
                Action::Close { link } => {
                    if let Some(end) = self.wires.remove(&(who, link)) {
                        self.wires.remove(&end);
                        self.handle(end.0, Event::Closed { link: end.1, reason: String::new() });
                    }
                }
                Action::Log { text, .. } => self.log.push(text),
                Action::Follow { primary, history, .. } => {
                    self.follows[who] = Some((primary.to_string(), history));
                }
                Action::Promote => self.follows[who] = None,
                Action::PauseWrites { .. } => self.handle(who, Event::Paused { offset: 100 }),
                _ => {}
            }
        }
    }

    fn connect(&mut self, who: usize, link: LinkId, to: Option<IpAddr>) {
        let Some(other) = (0..self.nodes.len()).find(|it| Some(ip(*it as u8)) == to) else {
            return;
        };
        self.count += 1;
        let inbound = LinkId(LinkId::FIRST_INBOUND.0 + self.count);
        self.wires.insert((who, link), (other, inbound));
        self.wires.insert((other, inbound), (who, link));
        let (peer_ip, local_ip) = (ip(who as u8), ip(other as u8));
        self.handle(other, Event::Accepted { link: inbound, peer_ip, local_ip });
        self.handle(who, Event::Connected { link, local_ip: peer_ip });
    }

    fn handle(&mut self, who: usize, event: Event) {
        self.nodes[who].handle(event, self.now);
        self.settle(who);
    }

    fn live(&mut self, ms: i64) {
        for _ in 0..ms / 100 {
            self.now += 100;
            for who in 0..self.nodes.len() {
                self.nodes[who].tick(self.now);
                self.settle(who);
            }
        }
    }

    fn run<T>(&mut self, who: usize, what: impl FnOnce(&mut Cluster, i64) -> T) -> T {
        let outcome = what(&mut self.nodes[who], self.now);
        self.settle(who);
        outcome
    }

    fn view(&self, who: usize) -> &View {
        self.views[who].as_ref().expect("there is one")
    }
}

/// A primary with all slots, and its replica.
fn pair() -> Group {
    let mut group = Group::new(2);
    group.run(0, |it, now| it.add_slots(&[0..=16_383], now)).expect("it may");
    group.run(0, |it, now| it.meet_at("10.0.0.2", 7001, 17_001, ASKER, now)).expect("it may");
    group.live(1000);
    let primary = group.nodes[0].my_id();
    group.run(1, |it, now| it.replicate(primary.as_bytes(), now)).expect("it may");
    group.live(4000);
    group
}

fn text_of(protocol: Protocol, write: impl Fn(&mut Reply<'_>)) -> String {
    let mut out = Output::new();
    write(&mut Reply::new(&mut out, protocol));
    let mut slices = [IoSlice::new(&[]); 16];
    let count = out.front_slices(&mut slices, usize::MAX);
    let bytes: Vec<u8> = slices[..count].iter().flat_map(|it| it.iter().copied()).collect();
    String::from_utf8(bytes).expect("replies are text").replace("\r\n", " ")
}

#[test]
fn nodes_meet_and_one_follows_the_other() {
    let group = pair();
    for who in 0..2 {
        let view = group.view(who);
        assert!(view.is_ok() && view.nodes.len() == 2, "{view:?}");
        assert_eq!(view.owner(0).map(|it| it.id), Some(group.nodes[0].my_id()));
        assert_eq!(view.is_mine(5), who == 0);
    }
    assert!(group.view(1).is_replica());
    assert_eq!(group.follows[1], Some(("10.0.0.1".to_owned(), History::Foreign)));
    assert_eq!(group.nodes[0].my_shard(), group.nodes[1].my_shard());
    let (primary, replica) = (group.nodes[0].my_id(), group.nodes[1].my_id());
    let text = group.nodes[0].nodes_text(Viewer::default());
    let line = |id: &str| text.lines().find(|it| it.starts_with(id)).unwrap().to_owned();
    let own = line(primary.as_str());
    assert!(
        own.starts_with(&format!("{primary} 10.0.0.1:7000@17000,host-0 myself,master - ")),
        "{own}"
    );
    assert!(own.ends_with(" connected 0-16383"), "{own}");
    let other = line(replica.as_str());
    assert!(
        other.starts_with(&format!("{replica} 10.0.0.2:7001@17001,host-1 slave {primary} 0 ")),
        "{other}"
    );
    assert!(other.ends_with(" connected"), "{other}");
    let lines = group.nodes[1].replica_lines(primary.as_bytes(), Viewer::default()).unwrap();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains(" myself,slave "), "{lines:?}");
    let refused = group.nodes[1].replica_lines(replica.as_bytes(), Viewer::default());
    assert_eq!(refused.unwrap_err().to_string(), "ERR The specified node is not a master");
}

#[test]
fn replies_have_the_shapes_of_valkey() {
    let group = pair();
    let node = &group.nodes[0];
    let (a, b) = (node.my_id(), group.nodes[1].my_id());
    let slots = text_of(Protocol::Resp2, |it| node.reply_slots(Viewer::default(), it));
    let entry = |ip: &str, port: u16, id: &str, host: &str| {
        format!("*4 $8 {ip} :{port} $40 {id} *2 $8 hostname $6 {host} ")
    };
    let nodes = [
        entry("10.0.0.1", 7000, a.as_str(), "host-0"),
        entry("10.0.0.2", 7001, b.as_str(), "host-1"),
    ];
    assert_eq!(slots, format!("*1 *4 :0 :16383 {}{}", nodes[0], nodes[1]));
    let shards = text_of(Protocol::Resp3, |it| node.reply_shards(Viewer::default(), it));
    assert!(
        shards.starts_with("*1 %3 $5 slots *2 :0 :16383 $5 nodes *2 %8 $2 id $40 "),
        "{shards}"
    );
    for part in [
        "$4 port :7000 $2 ip $8 10.0.0.1 $8 endpoint $8 10.0.0.1 $8 hostname $6 host-0 $4 role $6 master \
         $18 replication-offset :100 $6 health $6 online ",
        "$4 role $7 replica $18 replication-offset :100 $6 health $6 online ",
    ] {
        assert!(shards.contains(part), "{shards}");
    }
    assert!(shards.ends_with(&format!("$2 id $40 {} ", node.my_shard())), "{shards}");
    let links = text_of(Protocol::Resp3, |it| node.reply_links(it));
    assert!(links.starts_with("*2 %6 $9 direction $2 to $4 node $40 "), "{links}");
    assert!(
        links.contains("$6 events $1 r $21 send-buffer-allocated :0 $16 send-buffer-used :0 "),
        "{links}"
    );
}

#[test]
fn clients_are_told_what_is_preferred() {
    let mut group = pair();
    let slots = |group: &Group| {
        text_of(Protocol::Resp3, |it| group.nodes[0].reply_slots(Viewer::default(), it))
    };
    let preferred = PreferredEndpoint::Hostname;
    group
        .run(0, |it, now| it.configure(Config { preferred_endpoint: preferred, ..config(0) }, now));
    assert!(slots(&group).contains("*4 $6 host-0 :7000 "), "{}", slots(&group));
    assert!(slots(&group).contains("%1 $2 ip $8 10.0.0.1 "), "{}", slots(&group));
    let preferred = PreferredEndpoint::Unknown;
    group
        .run(0, |it, now| it.configure(Config { preferred_endpoint: preferred, ..config(0) }, now));
    assert!(slots(&group).contains("*4 _ :7000 "), "{}", slots(&group));
    let mut config = config(0);
    config.announce.client_ipv4 = "1.2.3.4".to_owned();
    config.announce.client_port = 99;
    group.run(0, |it, now| it.configure(config, now));
    assert!(slots(&group).contains("*4 $7 1.2.3.4 :99 "), "{}", slots(&group));
}

#[test]
fn info_counts_what_is_known() {
    let group = pair();
    let info = group.nodes[1].info_text();
    for line in [
        "cluster_state:ok",
        "cluster_slots_assigned:16384",
        "cluster_slots_ok:16384",
        "cluster_nodes_fail:0",
        "cluster_known_nodes:2",
        "cluster_size:1",
        "total_cluster_links_buffer_limit_exceeded:0",
    ] {
        assert!(info.split("\r\n").any(|it| it == line), "{line} in {info}");
    }
    assert!(info.contains("cluster_stats_messages_ping_received:"), "{info}");
}

#[test]
fn refusals_have_the_texts_of_valkey() {
    let mut group = pair();
    let (a, b) = (group.nodes[0].my_id(), group.nodes[1].my_id());
    let unknown = b"1234";
    let (facts, shown) = (SetSlotFacts::default(), |it: OperationError| it.to_string());
    let set = |group: &mut Group, who: usize, what: SetSlot<'_>| {
        group.run(who, |it, now| it.set_slot(1, what, facts, now)).unwrap_err().to_string()
    };
    assert_eq!(
        shown(group.run(0, |it, now| it.forget(unknown, ASKER, now)).unwrap_err()),
        "ERR Unknown node 1234"
    );
    assert_eq!(
        shown(group.run(0, |it, now| it.forget(a.as_bytes(), ASKER, now)).unwrap_err()),
        "ERR I tried hard but I can't forget myself..."
    );
    assert_eq!(
        shown(group.run(1, |it, now| it.forget(a.as_bytes(), ASKER, now)).unwrap_err()),
        "ERR Can't forget my master!"
    );
    assert_eq!(
        shown(group.run(0, |it, now| it.add_slots(&[5..=5], now)).unwrap_err()),
        "ERR Slot 5 is already busy"
    );
    assert_eq!(
        shown(group.run(0, |it, now| it.delete_slots(&[5..=5, 5..=6], now)).unwrap_err()),
        "ERR Slot 5 specified multiple times"
    );
    assert_eq!(set(&mut group, 1, SetSlot::Stable), "ERR Please use SETSLOT only with masters.");
    assert_eq!(set(&mut group, 0, SetSlot::Migrating(unknown)), "ERR I don't know about node 1234");
    assert_eq!(
        set(&mut group, 0, SetSlot::Migrating(b.as_bytes())),
        "ERR Target node is not a master"
    );
    assert_eq!(
        set(&mut group, 0, SetSlot::Importing(b.as_bytes())),
        "ERR I'm already the owner of hash slot 1"
    );
    assert_eq!(
        shown(group.run(0, |it, now| it.failover(Failover::Force, None, ASKER, now)).unwrap_err()),
        "ERR You should send CLUSTER FAILOVER to a replica"
    );
    assert_eq!(
        shown(group.run(0, |it, now| it.set_config_epoch(9, now)).unwrap_err()),
        "ERR The user can assign a config epoch only when the node does not know any other node."
    );
    assert_eq!(
        shown(group.run(0, |it, now| it.meet_at("nowhere", 1, 2, ASKER, now)).unwrap_err()),
        "ERR Invalid node address specified: nowhere:1"
    );
}

#[test]
fn a_replica_takes_over_by_agreement() {
    let mut group = pair();
    group.run(1, |it, now| it.failover(Failover::Coordinated, None, ASKER, now)).unwrap();
    group.live(1000);
    assert!(!group.view(1).is_replica() && group.view(1).is_mine(0));
    assert!(group.view(0).is_replica());
    assert_eq!(group.follows[0], Some(("10.0.0.2".to_owned(), History::Shared)));
    let said = |text: &str| group.log.iter().any(|it| it.starts_with(text));
    assert!(said(
        "Manual failover user request accepted (user request from 'id=1 addr=127.0.0.1:5000')."
    ));
    assert!(
        said("Manual failover requested by replica ")
            && said("All primary replication stream processed")
    );
    assert!(said("Failover election won: I'm the new primary."));
    assert_eq!(group.nodes[0].manual_failover_ends_at(), None);
}

#[test]
fn forgotten_nodes_stay_away_and_a_reset_forgets_all() {
    let mut group = pair();
    let replica = group.nodes[1].my_id();
    group.run(0, |it, now| it.forget(replica.as_bytes(), ASKER, now)).unwrap();
    group.live(3000);
    assert_eq!(group.view(0).nodes.len(), 1);
    // Once more does no harm.
    group.run(0, |it, now| it.forget(replica.as_bytes(), ASKER, now)).unwrap();
    group.run(1, |it, now| it.reset(Reset::Hard, ASKER, now)).unwrap();
    assert_ne!(group.nodes[1].my_id(), replica);
    assert_eq!(group.view(1).nodes.len(), 1);
    assert!(!group.view(1).is_replica() && group.follows[1].is_none());
}

#[test]
fn a_silent_node_is_explained() {
    let mut group = pair();
    let replica = group.nodes[1].my_id();
    let now = group.now + 100;
    group.nodes.truncate(1);
    group.wires.clear();
    group.now = now;
    group.live(5000);
    let now = group.now;
    let lines = group.nodes[0].explain_node(replica.as_bytes(), now).unwrap().join("\n");
    assert!(lines.contains(replica.as_str()) && lines.contains("has failed, since "), "{lines}");
    assert!(
        lines.contains("1 primaries had to say so, and these did: none other, and this node."),
        "{lines}"
    );
    assert!(lines.contains("it was last heard of "), "{lines}");
    assert!(group.nodes[0].explain(now)[0].starts_with("The cluster is ok, since "));
}

#[test]
fn a_process_that_stood_still_serves_nobody_at_first() {
    let mut group = pair();
    let view = Arc::clone(group.views[0].as_ref().unwrap());
    assert!(view.is_ok() && view.is_current(group.now));
    group.now += 5000;
    // Before the machine has had its turn, the old view is not good for writes any more.
    assert!(!view.is_current(group.now));
    let now = group.now;
    group.nodes[0].tick(now);
    group.settle(0);
    assert!(!group.view(0).is_ok());
    group.live(3000);
    assert!(group.view(0).is_ok() && group.view(0).is_current(group.now));
}

#[test]
fn what_is_asked_for_is_saved() {
    let mut node = Cluster::new(config(0), 7, START);
    assert_eq!(node.take_effects().save, Some(Save::Synced));
    node.set_config_epoch(4, START).unwrap();
    assert_eq!(node.take_effects().save, Some(Save::Written));
    assert_eq!(node.bump_own_epoch(START), (false, 4));
    node.save_config();
    assert_eq!(node.take_effects().save, Some(Save::Synced));
    let again = Cluster::restore(config(0), &node.saved(), 1, START).unwrap();
    assert_eq!((again.my_id(), again.my_shard()), (node.my_id(), node.my_shard()));
}

/// What was decided and cannot be saved ends the node; that a client wants a save, and does not get it, is for the client to
/// know.
#[test]
fn only_what_has_to_be_saved_is_fatal() {
    let mut node = Cluster::new(config(0), 7, START);
    let mut ends = |ask: fn(&mut Cluster)| {
        ask(&mut node);
        assert!(node.take_effects().save.is_some());
        node.handle(Event::Saved { is_safe: false }, START);
        node.take_effects().actions.iter().any(|it| matches!(it, Action::Exit { .. }))
    };
    assert!(ends(|_| ()), "it has a name that nobody knows");
    assert!(!ends(Cluster::save_config));
    assert!(ends(|it| it.set_config_epoch(4, START).unwrap()));
    assert!(!ends(Cluster::save_config));
}

#[test]
fn faults_are_made_and_mended() {
    let mut group = pair();
    let pings = |group: &Group, what: &str| {
        let text = format!("{what} packet of type ping that matches debug drop filter");
        group.log.iter().filter(|it| **it == text).count()
    };
    let (first, second) = (group.nodes[0].my_id(), group.nodes[1].my_id());
    group.nodes[1].set_fault(Fault::DropPackets(0));
    group.live(800);
    assert_ne!(pings(&group, "Dropping"), 0);
    assert_eq!(group.wires.len(), 4);
    group.nodes[1].set_fault(Fault::CloseOnDrop(true));
    group.live(3000);
    group.nodes[0].set_fault(Fault::NoReconnection(true));
    group.live(3000);
    assert!(group.log.iter().any(|it| it == "Closing link for matching packet type ping"));
    assert_eq!(group.wires.len(), 2, "the first one's own connection is gone");
    group.nodes[1].set_fault(Fault::DropPackets(-1));
    group.nodes[0].set_fault(Fault::NoReconnection(false));
    group.live(800);
    assert_eq!(group.wires.len(), 4);
    group.nodes[0].set_fault(Fault::NoReconnection(true));
    group.nodes[1].set_fault(Fault::NoReconnection(true));
    let kill = |it: &mut Cluster, now| it.kill_links(Direction::To, second.as_bytes(), now);
    group.run(0, kill).unwrap();
    assert_eq!(group.wires.len(), 2);
    let kill = |it: &mut Cluster, now| it.kill_links(Direction::All, second.as_bytes(), now);
    group.run(0, kill).unwrap();
    assert_eq!(group.wires.len(), 0);
    let refused = group.nodes[0].kill_links(Direction::To, first.as_bytes(), group.now);
    assert_eq!(refused, Err(OperationError::LinkToMyself));
}

/// A replica of another shard has none of its data yet, and says so at once: whoever has most is elected.
#[test]
fn data_of_another_shard_counts_for_nothing() {
    let mut group = Group::new(2);
    group.run(0, |it, now| it.add_slots(&[0..=16_383], now)).unwrap();
    group.run(0, |it, now| it.meet_at("10.0.0.2", 7001, 17_001, ASKER, now)).unwrap();
    group.live(1000);
    let primary = group.nodes[0].my_id();
    let (mut now, node) = (group.now, &mut group.nodes[1]);
    let mut told_offset = |node: &mut Cluster| {
        for _ in 0..30 {
            now += 100;
            node.tick(now);
            for action in node.take_effects().actions {
                if let Action::Send { message: Message::Full { header, .. }, .. } = action {
                    return header.offset;
                }
            }
        }
        panic!("nobody hears of it");
    };
    assert_eq!(told_offset(node), 100);
    node.replicate(primary.as_bytes(), group.now + 3000).unwrap();
    assert_eq!(told_offset(node), 0);
}
