//! What workers are shown of the machine's state.

use std::sync::Arc;

use super::Cluster;
use super::node::{Key, Node};
use crate::slots::SLOT_COUNT;
use crate::view::{NO_NODE, NodeView, View, nobody};

impl Cluster {
    /// The state of now, as workers need it.
    pub(crate) fn make_view(&mut self) -> Arc<View> {
        self.view_version += 1;
        let mut view = View::with_lease(self.lease.clone());
        view.version = self.view_version;
        view.state = self.health.state;
        view.current_epoch = self.current_epoch;
        view.my_epoch = self.table.epoch(self.table.me);
        let places = self.places();
        let place = |key: Option<Key>| key.map_or(NO_NODE, |it| places[usize::from(it.0)]);
        view.me = place(Some(self.table.me));
        view.nodes = self
            .table
            .iter()
            .map(|(key, node)| self.show(key, node, place(node.primary)))
            .collect();
        view.owners = self.show_owners(&places);
        let open = |slots: &std::collections::BTreeMap<u16, Key>| {
            slots.iter().map(|(slot, key)| (*slot, place(Some(*key)))).collect()
        };
        view.migrating = open(&self.table.migrating);
        view.importing = open(&self.table.importing);
        Arc::new(view)
    }

    /// The owners of slots by their places, which are made anew only if they have changed.
    fn show_owners(&mut self, places: &[u16]) -> Arc<[u16; SLOT_COUNT]> {
        let version = self.table.version();
        if let Some((_, owners)) = self.shown_owners.as_ref().filter(|it| it.0 == version) {
            return Arc::clone(owners);
        }
        let mut owners = nobody();
        for (owner, key) in owners.iter_mut().zip(self.table.owners()) {
            *owner = if *key == NO_NODE { NO_NODE } else { places[usize::from(*key)] };
        }
        let owners: Arc<[u16; SLOT_COUNT]> = owners.into();
        self.shown_owners = Some((version, Arc::clone(&owners)));
        owners
    }

    /// Where each key's node stands in the order of ids.
    fn places(&self) -> Vec<u16> {
        let keys = self.table.keys();
        let len = keys.iter().map(|it| usize::from(it.0) + 1).max().unwrap_or(0);
        let mut places = vec![NO_NODE; len];
        for (place, key) in keys.into_iter().enumerate() {
            places[usize::from(key.0)] = place as u16;
        }
        places
    }

    fn show(&self, key: Key, node: &Node, primary: u16) -> NodeView {
        let announced = &node.announced;
        let is_me = key == self.table.me;
        NodeView {
            id: node.id,
            shard: node.shard,
            flags: node.flags,
            primary,
            epoch: node.config_epoch,
            offset: self.offset_of(key),
            is_connected: is_me || node.link.is_some(),
            ip: node.place.host_text().into(),
            hostname: announced.hostname.clone(),
            port: node.place.port,
            tls_port: node.place.tls_port,
            client_ipv4: announced.client_ipv4.clone(),
            client_ipv6: announced.client_ipv6.clone(),
            client_port: announced.client_port,
            client_tls_port: announced.client_tls_port,
            availability_zone: announced.availability_zone.clone(),
        }
    }

    /// How far a node is, as far as is known.
    pub(crate) fn offset_of(&self, key: Key) -> u64 {
        if key == self.table.me { self.facts.offset } else { self.table[key].offset }
    }
}
