//! What Sentinels tell each other by hello messages: that they are there, the epoch, and new masters.

use super::Sentinel;
use crate::effect::Level;
use crate::hello::Hello;
use crate::instance::{Peer, described};
use crate::link::Channel;

impl Sentinel {
    /// Takes in a message, wherever it came from. One about a master that is not monitored is nothing to us.
    pub(crate) fn take_hello(&mut self, text: &[u8]) {
        let Some(hello) = Hello::parse(text) else { return };
        if hello.id == self.core.my_id || !self.is_of_group(&hello) {
            return;
        }
        let is_known = self.meet(&hello);
        self.take_epoch(&hello);
        if is_known {
            self.take_master(&hello);
        }
        let Self { core, masters } = self;
        let master = masters.get_mut(&*hello.master);
        if let Some(peer) = master.and_then(|it| it.peers.get_mut(&*hello.id)) {
            peer.hello_at = core.now;
        }
    }

    /// Whether a message is about a master of ours, and not about another one of the same name: its sender is known, or what it
    /// takes for the master is a place that we know as one of the group. Where addresses are given to others, Sentinels of
    /// two groups may meet at a server that was of one of them; they must not become one.
    fn is_of_group(&mut self, hello: &Hello) -> bool {
        let Self { core, masters } = self;
        let Some(master) = masters.get(&*hello.master) else { return false };
        if master.peers.contains_key(&*hello.id) {
            return true;
        }
        let (host, port) = (hello.master_host.as_str(), hello.master_port);
        let is_followed = master.follows.as_ref().is_some_and(|(followed_host, followed_port)| {
            followed_host.eq_ignore_ascii_case(host) && *followed_port == port
        });
        let replicas = master.replicas.values().map(|it| &it.node.address);
        let mut places = std::iter::once(&master.node.address).chain(replicas);
        is_followed || places.any(|it| it.port == port && core.names.means(it, host, core.now))
    }

    /// Finds the sender among the Sentinels of its master, or adds it. Returns whether it is one of them now.
    fn meet(&mut self, hello: &Hello) -> bool {
        let Self { core, masters } = self;
        let Some(address) = core.names.address(&hello.host, hello.port, core.now) else {
            return false;
        };
        let master = masters.get_mut(&*hello.master).expect("the caller has looked");
        let is_there = |peer: &Peer| peer.node.address.is_same(&address);
        if master.peers.get(&*hello.id).is_some_and(is_there) {
            return true;
        }
        let has_moved = master.peers.contains_key(&*hello.id);
        if has_moved {
            core.remove_peer(master, &hello.id);
            let rest = format!(" ip {} port {} for {}", hello.host, hello.port, hello.id);
            core.tell_master(Level::Notice, "+sentinel-address-switch", master, &rest);
        } else if let Some(other) = master.peers.values().find(|it| is_there(it)) {
            // Two cannot be at one place: the one that says so now is the one that is there.
            let label = master.label(&core.names);
            let text = described(&other.node, &label, &core.names);
            let obsolete = other.node.name().to_owned();
            core.tell(Level::Notice, "+sentinel-invalid-addr", None, text);
            for master in masters.values_mut() {
                core.remove_peer(master, &obsolete);
            }
        }
        let place = (hello.host.as_str(), i64::from(hello.port));
        if self.add_peer(&hello.master, &hello.id, place).is_err() {
            return false;
        }
        if has_moved {
            self.move_peer(hello);
        } else {
            self.tell_of_peer(hello, "+sentinel", "");
        }
        self.core.save();
        true
    }

    fn tell_of_peer(&mut self, hello: &Hello, channel: &'static str, rest: &str) {
        let Self { core, masters } = self;
        let Some(master) = masters.get(&*hello.master) else { return };
        let Some(peer) = master.peers.get(&*hello.id) else { return };
        let label = master.label(&core.names);
        let level = match channel {
            "+config-update-from" => Level::Warning,
            _ => Level::Notice,
        };
        core.tell_node(level, channel, &peer.node, &label, rest);
    }

    /// A Sentinel has moved: all masters learn where it is now, and connect to it anew.
    fn move_peer(&mut self, hello: &Hello) {
        let Self { core, masters } = self;
        let mut moved = 0;
        let address = core.names.address(&hello.host, hello.port, core.now);
        for master in masters.values_mut() {
            let Some(peer) = master.peers.get_mut(&*hello.id) else { continue };
            core.close(peer.node.link, Channel::Commands);
            if *master.node.name() != *hello.master
                && let Some(address) = &address
            {
                peer.node.address = address.clone();
                moved += 1;
            }
        }
        if 0 < moved {
            let rest = format!(" {moved} additional matching instances");
            self.tell_of_peer(hello, "+sentinel-address-update", &rest);
        }
    }

    fn take_epoch(&mut self, hello: &Hello) {
        let Self { core, masters } = self;
        if core.epoch < hello.epoch
            && let Some(master) = masters.get(&*hello.master)
        {
            core.set_epoch(hello.epoch, master);
        }
    }

    /// Takes over a master that was elected later than the one we know.
    fn take_master(&mut self, hello: &Hello) {
        let Self { core, masters } = self;
        let master = masters.get_mut(&*hello.master).expect("the caller has looked");
        if hello.config_epoch <= master.config_epoch {
            return;
        }
        // While we fail it over ourselves, that is where it will be: then news of anything else ends what we do.
        let from = master.current_address().clone();
        let is_same =
            hello.master_port == from.port && core.names.means(&from, &hello.master_host, core.now);
        let address = core.names.address(&hello.master_host, hello.master_port, core.now);
        let Some(to) = address.filter(|_| !is_same) else {
            // An address that means nothing to us is not taken over, and neither is the epoch: it will come again.
            if is_same {
                master.config_epoch = hello.config_epoch;
                core.save();
            }
            return;
        };
        master.config_epoch = hello.config_epoch;
        self.tell_of_peer(hello, "+config-update-from", "");
        let Self { core, masters } = self;
        let master = masters.get_mut(&*hello.master).expect("the caller has looked");
        core.tell_of_switch(master, (&from, &to));
        core.change_address(master, to.clone());
        core.run_reconfig_script(master, "observer", (&from, &to));
    }
}
