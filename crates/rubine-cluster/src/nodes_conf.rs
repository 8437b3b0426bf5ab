//! The file `nodes.conf`, in which a node keeps who is in its cluster. Reads what Redis 3.0 and later and all versions of
//! Valkey have written, and writes what they read. Opens no file.
//!
//! A line for each node, with spaces between its words, and one of variables:
//!
//! | word | |
//! |---|---|
//! | 1 | id |
//! | 2 | `address:port@bus port,host name` and then `,name=value` for what came later: `shard-id`, `nodename`, `tcp-port`, `tls-port`, `client-ipv4`, `client-ipv6`, `client-tcp-port`, `client-tls-port`, `availability-zone` |
//! | 3 | flags, with commas between them |
//! | 4 | id of the primary, or `-` |
//! | 5, 6 | when it was last asked and when it last answered, of which only counts whether it is 0 |
//! | 7 | epoch of its slots |
//! | 8 | state of the link, which is of the past |
//! | from 9 on | its slots: `1`, `3-5`, and of this node `[7->-ID]` and `[7-<-ID]` for those that move to and from others |

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use rubine_base::quote::{quote_repr, split_args};
use thiserror::Error;

use crate::id::{NodeId, ShardId};
use crate::machine::node::{Announced, Place};
use crate::machine::{Saved, SavedNode};
use crate::message::NodeFlags;
use crate::slots::{SLOT_COUNT, SlotSet};
use crate::text::{Host, is_host_name, is_label};

/// What the port of the bus is above that for clients, where old files do not state it.
const BUS_PORT_OFFSET: u16 = 10_000;
/// What is wrong is shown up to this length.
const SHOWN_SIZE_MAX: usize = 80;

const FLAG_NAMES: [(NodeFlags, &str); 8] = [
    (NodeFlags::MYSELF, "myself"),
    (NodeFlags::PRIMARY, "master"),
    (NodeFlags::REPLICA, "slave"),
    (NodeFlags::PFAIL, "fail?"),
    (NodeFlags::FAIL, "fail"),
    (NodeFlags::HANDSHAKE, "handshake"),
    (NodeFlags::NO_ADDRESS, "noaddr"),
    (NodeFlags::NO_FAILOVER, "nofailover"),
];

/// Why a file cannot be gone on with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NodesConfError {
    #[error("line {line}: {reason}")]
    Line { line: usize, reason: String },
    #[error("no line is about this node itself (the flag 'myself')")]
    NoMyself,
}

/// What a file says; nothing if it is empty, which a file is that was only made to be locked. With `tls-cluster`, old files
/// state the port for TLS alone.
pub fn parse(text: &[u8], tls_cluster: bool) -> Result<Option<Saved>, NodesConfError> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut file = File::default();
    for (index, line) in text.split(|it| *it == b'\n').enumerate() {
        let read = file.read_line(line, tls_cluster);
        read.map_err(|reason| NodesConfError::Line { line: index + 1, reason })?;
    }
    if !file.has_myself {
        return Err(NodesConfError::NoMyself);
    }
    Ok(Some(file.saved))
}

/// The text of a file.
pub fn write(saved: &Saved) -> String {
    let mut text = String::new();
    for node in &saved.nodes {
        write_node(&mut text, node);
        text.push('\n');
    }
    let (current, vote) = (saved.current_epoch, saved.last_vote_epoch);
    let _ = writeln!(text, "vars currentEpoch {current} lastVoteEpoch {vote}");
    text
}

/// What has been read so far.
#[derive(Default)]
struct File {
    saved: Saved,
    ids: BTreeSet<NodeId>,
    /// Slots that somebody has. Who comes first keeps them.
    taken: SlotSet,
    has_myself: bool,
}

impl File {
    fn read_line(&mut self, line: &[u8], tls_cluster: bool) -> Result<(), String> {
        let words =
            split_args(line).map_err(|_| format!("unbalanced quotes in {}", shown(line)))?;
        let words: Vec<&str> = words.iter().map(|it| word(it)).collect::<Result<_, _>>()?;
        let Some(first) = words.first() else { return Ok(()) };
        if first.eq_ignore_ascii_case("vars") {
            return self.read_variables(&words[1..]);
        }
        let [id, place, flags, primary, ping_sent, pong_received, epoch, _link, slots @ ..] =
            &words[..]
        else {
            return Err(format!("a node has 8 words at least, here are {}", words.len()));
        };
        let id = node_id(id)?;
        if !self.ids.insert(id) {
            return Err(format!("there is another line about the node {id}"));
        }
        let flags = read_flags(flags)?;
        if flags.contains(NodeFlags::HANDSHAKE) {
            // Its name was made up.
            return Ok(());
        }
        if flags.contains(NodeFlags::MYSELF) && std::mem::replace(&mut self.has_myself, true) {
            return Err(
                "there is another line about this node itself (the flag 'myself')".to_owned()
            );
        }
        let Fields { shard, place, announced, .. } = read_place(place, tls_cluster)?;
        let mut node = SavedNode {
            id,
            shard,
            place,
            announced,
            flags,
            primary: if primary.starts_with('-') { None } else { Some(node_id(primary)?) },
            has_ping_sent: *ping_sent != "0",
            has_pong_received: *pong_received != "0",
            config_epoch: number(epoch, "epoch")?,
            slots: SlotSet::new(),
            migrating: Vec::new(),
            importing: Vec::new(),
        };
        for word in slots {
            self.read_slots(word, &mut node)?;
        }
        self.saved.nodes.push(node);
        Ok(())
    }

    fn read_variables(&mut self, words: &[&str]) -> Result<(), String> {
        let (pairs, rest) = words.as_chunks();
        if let [name] = rest {
            return Err(format!("the variable {} has no value", shown(name.as_bytes())));
        }
        for [name, value] in pairs {
            if name.eq_ignore_ascii_case("currentEpoch") {
                self.saved.current_epoch = number(value, "epoch")?;
            } else if name.eq_ignore_ascii_case("lastVoteEpoch") {
                self.saved.last_vote_epoch = number(value, "epoch")?;
            }
        }
        Ok(())
    }

    fn read_slots(&mut self, word: &str, node: &mut SavedNode) -> Result<(), String> {
        if let Some(open) = word.strip_prefix('[') {
            let (slot, rest) = open.split_once('-').unwrap_or_default();
            let slot = slot_number(slot)?;
            let (direction, id) =
                rest.strip_suffix(']').and_then(|it| it.split_once('-')).unwrap_or_default();
            match direction {
                ">" => node.migrating.push((slot, node_id(id)?)),
                "<" => node.importing.push((slot, node_id(id)?)),
                _ => {
                    return Err(format!(
                        "{} says of no slot where it moves",
                        shown(word.as_bytes())
                    ));
                }
            }
            return Ok(());
        }
        let slots = read_range(word)?;
        for slot in slots {
            if self.taken.insert(slot) {
                node.slots.insert(slot);
            }
        }
        Ok(())
    }
}

fn read_range(word: &str) -> Result<RangeInclusive<u16>, String> {
    let (start, end) = word.split_once('-').unwrap_or((word, word));
    let (start, end) = (slot_number(start)?, slot_number(end)?);
    if end < start {
        return Err(format!("{} is no range of slots", shown(word.as_bytes())));
    }
    Ok(start..=end)
}

fn read_flags(word: &str) -> Result<NodeFlags, String> {
    let mut flags = NodeFlags::empty();
    for name in word.split(',') {
        flags |= match name.to_ascii_lowercase().as_str() {
            "noflags" => NodeFlags::empty(),
            // Versions to come may write the words of their commands.
            "primary" => NodeFlags::PRIMARY,
            "replica" => NodeFlags::REPLICA,
            name => {
                let flag = FLAG_NAMES.iter().find(|it| it.1 == name);
                flag.ok_or_else(|| format!("the flag {} is not known", shown(name.as_bytes())))?.0
            }
        };
    }
    Ok(flags)
}

/// Address, ports, and what came later.
fn read_place(word: &str, tls_cluster: bool) -> Result<Fields, String> {
    let mut parts = word.split(',');
    let address = parts.next().unwrap_or_default();
    let split = address.rsplit_once(':');
    let (host, ports) =
        split.ok_or_else(|| format!("the address {} has no port", shown(address.as_bytes())))?;
    let hostname = parts.next().unwrap_or_default();
    if !is_host_name(hostname) {
        return Err(format!("{} is no host name", shown(hostname.as_bytes())));
    }
    let mut fields = Fields::default();
    fields.announced.hostname = hostname.into();
    for field in parts {
        fields.read(field)?;
    }
    if !host.is_empty() {
        let no_address = || format!("{} is no address", shown(host.as_bytes()));
        fields.place.host = Some(Host::parse(host).ok_or_else(no_address)?);
    }
    fields.read_ports(ports, tls_cluster)?;
    Ok(fields)
}

/// What the second word says.
#[derive(Default)]
struct Fields {
    shard: Option<ShardId>,
    place: Place,
    announced: Announced,
    tcp_port: Option<u16>,
    tls_port: Option<u16>,
}

impl Fields {
    fn read(&mut self, field: &str) -> Result<(), String> {
        let split = field.split_once('=');
        let (name, value) = split
            .ok_or_else(|| format!("{} is not of the form name=value", shown(field.as_bytes())))?;
        let wrong = || format!("{} cannot be the {name} of a node", shown(value.as_bytes()));
        let label = || Some(value).filter(|it| is_label(it)).ok_or_else(wrong);
        let announced = &mut self.announced;
        match name {
            "shard-id" => self.shard = Some(ShardId::parse(value.as_bytes()).ok_or_else(wrong)?),
            "nodename" => announced.human_nodename = label()?.into(),
            "tcp-port" => self.tcp_port = Some(number(value, name)?),
            "tls-port" => self.tls_port = Some(number(value, name)?),
            "client-ipv4" => {
                announced.client_ipv4 = address::<Ipv4Addr>(value).ok_or_else(wrong)?.into();
            }
            "client-ipv6" => {
                announced.client_ipv6 = address::<Ipv6Addr>(value).ok_or_else(wrong)?.into();
            }
            "client-tcp-port" => announced.client_port = number(value, name)?,
            "client-tls-port" => announced.client_tls_port = number(value, name)?,
            "availability-zone" => announced.availability_zone = label()?.into(),
            // Versions to come know more, which the node will tell again itself.
            _ => {}
        }
        Ok(())
    }

    /// The ports behind the address. The first is whichever of the two is not among the fields.
    fn read_ports(&mut self, ports: &str, tls_cluster: bool) -> Result<(), String> {
        let (main, bus) = match ports.split_once('@') {
            Some((main, bus)) => (main, Some(number(bus, "port")?)),
            None => (ports, None),
        };
        let main: u16 = number(main, "port")?;
        let is_main_tls = match (self.tcp_port, self.tls_port) {
            (None, None) => tls_cluster,
            (tcp_port, _) => tcp_port.is_some(),
        };
        let place = &mut self.place;
        place.port = self.tcp_port.unwrap_or(if is_main_tls { 0 } else { main });
        place.tls_port = self.tls_port.unwrap_or(if is_main_tls { main } else { 0 });
        place.bus_port = match bus {
            Some(bus) => bus,
            None => main
                .checked_add(BUS_PORT_OFFSET)
                .ok_or("the port leaves no room for that of the bus")?,
        };
        Ok(())
    }
}

/// An address as others write it, or none.
fn address<T: FromStr>(value: &str) -> Option<&str> {
    (value.is_empty() || value.parse::<T>().is_ok()).then_some(value)
}

fn word(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| format!("{} is no text", shown(bytes)))
}

fn node_id(text: &str) -> Result<NodeId, String> {
    NodeId::parse(text.as_bytes())
        .ok_or_else(|| format!("{} is no id of a node", shown(text.as_bytes())))
}

fn slot_number(text: &str) -> Result<u16, String> {
    let slot = text.parse().ok().filter(|it| usize::from(*it) < SLOT_COUNT);
    slot.ok_or_else(|| format!("{} is no slot", shown(text.as_bytes())))
}

fn number<T: FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{} cannot be the {what} of a node", shown(text.as_bytes())))
}

/// What is wrong, as far as it matters.
fn shown(bytes: &[u8]) -> String {
    quote_repr(&bytes[..bytes.len().min(SHOWN_SIZE_MAX)])
}

fn write_node(text: &mut String, node: &SavedNode) {
    let SavedNode { place, announced, .. } = node;
    let host = place.host.as_ref().map(Host::to_string).unwrap_or_default();
    let _ =
        write!(text, "{} {host}:{}@{},{}", node.id, place.port, place.bus_port, announced.hostname);
    let port_text = |port: u16| if port == 0 { String::new() } else { port.to_string() };
    for (name, value) in [
        ("availability-zone", &*announced.availability_zone),
        ("client-tls-port", &port_text(announced.client_tls_port)),
        ("client-tcp-port", &port_text(announced.client_port)),
        ("client-ipv6", &announced.client_ipv6),
        ("client-ipv4", &announced.client_ipv4),
        ("tls-port", &place.tls_port.to_string()),
        ("nodename", &announced.human_nodename),
        ("shard-id", node.shard.as_ref().map(ShardId::as_str).unwrap_or_default()),
    ] {
        if !value.is_empty() {
            let _ = write!(text, ",{name}={value}");
        }
    }
    text.push(' ');
    write_flags(text, node.flags);
    let primary = node.primary.map_or("-".to_owned(), |it| it.to_string());
    let (ping, pong) = (u8::from(node.has_ping_sent), u8::from(node.has_pong_received));
    let _ = write!(text, " {primary} {ping} {pong} {} connected", node.config_epoch);
    for slots in node.slots.ranges() {
        let _ = match (*slots.start(), *slots.end()) {
            (start, end) if start == end => write!(text, " {start}"),
            (start, end) => write!(text, " {start}-{end}"),
        };
    }
    for (arrow, moving) in [('>', &node.migrating), ('<', &node.importing)] {
        for (slot, id) in moving {
            let _ = write!(text, " [{slot}-{arrow}-{id}]");
        }
    }
}

fn write_flags(text: &mut String, flags: NodeFlags) {
    let mut names = FLAG_NAMES.iter().filter(|it| flags.contains(it.0)).map(|it| it.1).peekable();
    if names.peek().is_none() {
        text.push_str("noflags");
    }
    while let Some(name) = names.next() {
        text.push_str(name);
        if names.peek().is_some() {
            text.push(',');
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_stands_in_a_file_does_no_harm(
            bytes: Vec<u8>,
            words in prop::collection::vec("(myself,)?(master|slave|fail.?|noaddr)|[0-9]{1,5}(-[0-9]{1,5})?|-|[a-z]{0,3}:[0-9]{1,5}(@[0-9]{1,5})?(,[a-z.]{0,5})?(,(shard-id|nodename|tls-port|tcp-port|client-ipv4)=[0-9a-f.]{0,9})?|\\[[0-9]{1,5}-[<>]-|\n|vars", 0..30),
        ) {
            crate::fuzz::nodes_conf(&bytes);
            crate::fuzz::nodes_conf(words.join(" ").as_bytes());
            crate::fuzz::nodes_conf(format!("{ID} a:1@2,,shard-id={OTHER} myself,master - 0 0 0 x {}", words.join(" ")).as_bytes());
            crate::fuzz::nodes_conf(format!("{ID} {} myself - 0 0 0 x", words.join(",")).as_bytes());
        }

        #[test]
        fn what_is_written_is_read(
            numbers in prop::collection::vec(0..16_384u16, 0..30),
            ports: [u16; 5],
            epochs: [u64; 2],
            flags: u16,
            label in "[a-zäöü.:/_-]{0,20}",
            has_shard: bool,
        ) {
            let id = |byte| NodeId::from_random([byte; 20]);
            let open = |numbers: &[u16]| numbers.iter().take(3).map(|it| (*it, id(9))).collect::<Vec<_>>();
            let node = |byte, flags, slots| SavedNode {
                id: id(byte),
                shard: has_shard.then(|| ShardId::from_random([byte; 20])),
                place: Place { host: Host::parse("fe80::1"), port: ports[0], tls_port: ports[1], bus_port: ports[2] },
                announced: Announced {
                    human_nodename: label.as_str().into(),
                    availability_zone: label.as_str().into(),
                    client_port: ports[3],
                    client_tls_port: ports[4],
                    ..Announced::default()
                },
                flags,
                primary: has_shard.then(|| id(3)),
                has_ping_sent: has_shard,
                has_pong_received: !has_shard,
                config_epoch: epochs[0],
                slots,
                migrating: open(&numbers),
                importing: open(&numbers),
            };
            let known = FLAG_NAMES.iter().fold(NodeFlags::empty(), |all, it| all | it.0);
            let flags = NodeFlags::from_bits_retain(flags) & (known - NodeFlags::HANDSHAKE - NodeFlags::MYSELF);
            let (even, odd) = numbers.iter().partition::<Vec<_>, _>(|it| **it % 2 == 0);
            let nodes = vec![
                node(1, flags | NodeFlags::MYSELF, even.into_iter().collect()),
                node(2, flags, odd.into_iter().collect()),
            ];
            let saved = Saved { current_epoch: epochs[0], last_vote_epoch: epochs[1], nodes };
            prop_assert_eq!(parse(write(&saved).as_bytes(), false), Ok(Some(saved)));
        }
    }

    const ID: &str = "a4c7e493cc68672e5111f5c501dcc66d62eea84d";
    const OTHER: &str = "02ad9ed465f644ee539599bfe9f7bda8f26bd2fa";

    fn parsed(text: &str) -> Result<Saved, String> {
        match parse(text.as_bytes(), false) {
            Ok(saved) => Ok(saved.expect("the file is not empty")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A file of one node, with these words from the second on.
    fn node(words: &str) -> Result<SavedNode, String> {
        parsed(&format!("{ID} {words}\n")).map(|mut it| it.nodes.remove(0))
    }

    fn place(word: &str, tls_cluster: bool) -> (String, [u16; 3]) {
        let text = format!("{ID} {word} myself,master - 0 0 1 connected");
        let saved = parse(text.as_bytes(), tls_cluster).expect("the file is right");
        let place = saved.expect("it is not empty").nodes.remove(0).place;
        let host = place.host.map(|it| it.to_string()).unwrap_or_default();
        (host, [place.port, place.tls_port, place.bus_port])
    }

    #[test]
    fn addresses_of_all_times_are_read() {
        let v4 = |ports| ("10.0.0.1".to_owned(), ports);
        // Redis 3, 4 and 7.0; then 7.2 and Valkey.
        assert_eq!(place("10.0.0.1:6379", false), v4([6379, 0, 16379]));
        assert_eq!(place("10.0.0.1:6379@17000", false), v4([6379, 0, 17000]));
        assert_eq!(place("10.0.0.1:6379@17000", true), v4([0, 6379, 17000]));
        assert_eq!(place("10.0.0.1:6379", true), v4([0, 6379, 16379]));
        assert_eq!(place("10.0.0.1:6379@17000,name", false), v4([6379, 0, 17000]));
        assert_eq!(place("10.0.0.1:6379@17000,,tls-port=6380", false), v4([6379, 6380, 17000]));
        assert_eq!(place("10.0.0.1:6380@17000,,tcp-port=6379", true), v4([6379, 6380, 17000]));
        assert_eq!(
            place("10.0.0.1:1@17000,,tcp-port=6379,tls-port=6380", true),
            v4([6379, 6380, 17000])
        );
        assert_eq!(place("fd00::1:6379@17000", false), ("fd00::1".to_owned(), [6379, 0, 17000]));
        assert_eq!(place("cache-1.example:6379@17000", false).0, "cache-1.example");
        assert_eq!(place(":0@0", false), (String::new(), [0, 0, 0]));
    }

    #[test]
    fn the_words_of_a_line_say_what_a_node_is() {
        let node = node(&format!(
            "10.0.0.1:1@2,host,nodename=n,client-ipv4=10.9.9.9,later=known,shard-id={OTHER} \
             myself,slave,fail?,nofailover {OTHER} 0 1 18446744073709551615 connected 7 10-12 [3->-{OTHER}] [4-<-{OTHER}]"
        ));
        let node = node.expect("the line is right");
        let other = NodeId::parse(OTHER.as_bytes()).expect("it is one");
        assert_eq!(node.shard.map(|it| it.to_string()).as_deref(), Some(OTHER));
        assert_eq!(node.primary, Some(other));
        let flags =
            NodeFlags::MYSELF | NodeFlags::REPLICA | NodeFlags::PFAIL | NodeFlags::NO_FAILOVER;
        assert_eq!(node.flags, flags);
        assert_eq!(
            (node.has_ping_sent, node.has_pong_received, node.config_epoch),
            (false, true, u64::MAX)
        );
        assert_eq!(node.slots.ranges().collect::<Vec<_>>(), [7..=7, 10..=12]);
        assert_eq!((node.migrating, node.importing), (vec![(3, other)], vec![(4, other)]));
        assert_eq!((&*node.announced.hostname, &*node.announced.human_nodename), ("host", "n"));
        assert_eq!(&*node.announced.client_ipv4, "10.9.9.9");
    }

    #[test]
    fn what_surrounds_the_nodes_is_read() {
        assert_eq!(parse(b"", false), Ok(None));
        let text = format!(
            "\n{ID} :0@0 myself,primary - 0 0 0 connected 1-3 3\n\n\n\
             {OTHER} :0@0 replica,noaddr - 0 0 0 disconnected 3-5\r\n\
             {} :1@1 handshake - 0 0 0 disconnected\n\
             VARS currentEpoch 7 later 3 lastVoteEpoch 5\n",
            "e".repeat(40)
        );
        let saved = parsed(&text).expect("the file is right");
        assert_eq!((saved.current_epoch, saved.last_vote_epoch), (7, 5));
        // Nobody can know again whose name was made up.
        assert_eq!(saved.nodes.len(), 2);
        // Who comes first keeps a slot.
        assert_eq!(saved.nodes[1].slots.ranges().collect::<Vec<_>>(), [4..=5]);
    }

    #[test]
    fn errors_name_the_line() {
        let line = "10.0.0.1:1@2 master - 0 0 1 connected";
        let wrong = |words: &str, reason: &str| {
            let text = format!("{OTHER} :0@0 myself,master - 0 0 1 connected\n{ID} {words}\n");
            assert_eq!(parsed(&text).err(), Some(format!("line 2: {reason}")), "{words}");
        };
        wrong("10.0.0.1:1@2 master - 0 0", "a node has 8 words at least, here are 6");
        wrong("10.0.0.1 master - 0 0 1 connected", "the address \"10.0.0.1\" has no port");
        wrong(
            "10.0.0.1:70000@2 master - 0 0 1 connected",
            "\"70000\" cannot be the port of a node",
        );
        wrong(
            "10.0.0.1:60000 master - 0 0 1 connected",
            "the port leaves no room for that of the bus",
        );
        wrong("a/b<c:1@2 master - 0 0 1 connected", "\"a/b<c\" is no address");
        wrong("a:1@2,b_c master - 0 0 1 connected", "\"b_c\" is no host name");
        wrong("a:1@2,,x master - 0 0 1 connected", "\"x\" is not of the form name=value");
        wrong(
            "a:1@2,,shard-id=1 master - 0 0 1 connected",
            "\"1\" cannot be the shard-id of a node",
        );
        wrong(
            "a:1@2,,nodename=a=b master - 0 0 1 connected",
            "\"a=b\" cannot be the nodename of a node",
        );
        wrong("a:1@2 master,lord - 0 0 1 connected", "the flag \"lord\" is not known");
        wrong("a:1@2 slave x 0 0 1 connected", "\"x\" is no id of a node");
        wrong("a:1@2 master - 0 0 -1 connected", "\"-1\" cannot be the epoch of a node");
        wrong(&format!("{line} 16384"), "\"16384\" is no slot");
        wrong(&format!("{line} 5-3"), "\"5-3\" is no range of slots");
        wrong(
            &format!("{line} [5->-{ID}"),
            "\"[5->-a4c7e493cc68672e5111f5c501dcc66d62eea84d\" says of no slot where it moves",
        );
        wrong(&format!("{line} [5]"), "\"\" is no slot");
    }
}
