//! Feeds arbitrary bytes to the reader of the cluster bus, to that of nodes.conf, to that of `CLUSTER SYNCSLOTS`, and to a machine as what happens to it. Never looks inside: what must hold is
//! asserted by the plain functions that it calls.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    rubine_cluster::fuzz::packets(data);
    rubine_cluster::fuzz::nodes_conf(data);
    rubine_cluster::fuzz::sync_slots(data);
    rubine_cluster::fuzz::machine(data);
});
