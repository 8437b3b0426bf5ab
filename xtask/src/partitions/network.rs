//! Nodes in network namespaces of their own on one bridge, and the ways between them, which are cut one by one. All of it lies in a
//! namespace that ends with the process, so nothing outside of it is changed, and nothing is left behind.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use crate::Failure;
use crate::process::output_of_both;

/// Where a packet goes that is to be lost: nobody has this address.
const NOWHERE: &str = "02:00:00:00:ff:ff";
/// A network of this machine alone: nothing leads out of it.
const NETWORK: [u8; 3] = [10, 77, 0];
const OWN_NUMBER: u8 = 254;

/// The network, of which there is one in the process's namespace.
pub(super) struct Network {
    count: usize,
    /// Invariant: what the first sends does not arrive at the second, and all else does.
    cuts: Vec<(usize, usize)>,
}

impl Network {
    /// Makes it in the namespace of this process.
    pub(super) fn new(count: usize) -> Result<Self, Failure> {
        let [a, b, c] = NETWORK;
        ip("link set lo up")?;
        ip("link add name bridge type bridge")?;
        ip("link set bridge up")?;
        ip(&format!("address add {a}.{b}.{c}.{OWN_NUMBER}/24 dev bridge"))?;
        let network = Self { count, cuts: Vec::new() };
        for node in 0..count {
            let (name, mac) = (name(node), mac(node));
            ip(&format!("netns add {name}"))?;
            ip(&format!("link add way{node} type veth peer name eth0 address {mac} netns {name}"))?;
            ip(&format!("link set way{node} master bridge up"))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
            ip(&format!("-n {name} address add {}/24 dev eth0", Self::address(node)))?;
        }
        for (from, to) in network.ways() {
            lead(from, to, &mac(to))?;
        }
        Ok(network)
    }

    /// Where a node listens.
    pub(super) fn address(node: usize) -> IpAddr {
        let [a, b, c] = NETWORK;
        Ipv4Addr::new(a, b, c, 1 + node as u8).into()
    }

    /// The words before a program that is to run where a node is.
    pub(super) fn prefix(node: usize) -> [String; 4] {
        ["ip", "netns", "exec", &name(node)].map(str::to_owned)
    }

    /// Nothing that `from` sends arrives at `to` from now on.
    pub(super) fn cut(&mut self, from: usize, to: usize) -> Result<(), Failure> {
        self.cuts.push((from, to));
        lead(from, to, NOWHERE)
    }

    /// Cuts all ways, both there and back, between some nodes and the others.
    pub(super) fn part(&mut self, side: &[usize]) -> Result<(), Failure> {
        let is_cut = |&(from, to): &(usize, usize)| side.contains(&from) != side.contains(&to);
        let ways: Vec<_> = self.ways().filter(is_cut).collect();
        ways.into_iter().try_for_each(|(from, to)| self.cut(from, to))
    }

    /// Everything arrives again.
    pub(super) fn heal(&mut self) -> Result<(), Failure> {
        let cuts = std::mem::take(&mut self.cuts);
        cuts.into_iter().try_for_each(|(from, to)| lead(from, to, &mac(to)))
    }

    fn ways(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let count = self.count;
        (0..count)
            .flat_map(move |from| (0..count).map(move |to| (from, to)))
            .filter(|it| it.0 != it.1)
    }
}

/// Has what one node sends to another go to a hardware address.
fn lead(from: usize, to: usize, mac: &str) -> Result<(), Failure> {
    let (name, address) = (name(from), Network::address(to));
    ip(&format!("-n {name} neigh replace {address} lladdr {mac} dev eth0 nud permanent"))
}

fn name(node: usize) -> String {
    format!("node{node}")
}

fn mac(node: usize) -> String {
    format!("02:00:00:00:00:{:02x}", 1 + node)
}

fn ip(words: &str) -> Result<(), Failure> {
    output_of_both(Command::new("ip").args(words.split(' '))).map(drop)
}
