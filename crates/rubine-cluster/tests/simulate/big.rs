//! One large cluster in which nothing goes wrong but one failure: what it says, and how soon all know.

use rubine_base::clock::monotonic_nanos;
use rubine_base::random::Random;
use rubine_cluster::Viewer;
use rubine_cluster::message::NodeFlags;
use rubine_cluster::slots::SLOT_COUNT;
use rubine_resp::writer::{Output, Protocol, Reply};

use crate::server::{BUS_PORT, Name, PORT, ip_of};
use crate::world::{Settings, World};

/// So long it takes at most until all is well.
const SETUP_MS: i64 = 30_000;
/// So long it is watched while all is well.
const CALM_MS: i64 = 60_000;
const NODE_TIMEOUT_MS: i64 = 15_000;
/// The least that is told of in a ping.
const GOSSIP_MIN: usize = 3;
const HEADER_SIZE: f64 = 2256.0;
const GOSSIP_SIZE: f64 = 104.0;
/// What a node says of its shard.
const EXTENSIONS_SIZE: f64 = 48.0;

/// Half of the nodes are primaries, each has a replica.
pub(crate) fn run(count: usize) {
    let settings = Settings {
        shard_count: count / 2,
        replica_count: 1,
        node_timeout: NODE_TIMEOUT_MS,
        write_quorum: 0,
        has_names: false,
        allow_replica_migration: false,
        has_force: false,
    };
    let mut world = World::with_settings(settings, Random::with_seed(1));
    let count = world.servers.len();
    set_up(&mut world);

    let (bytes, messages) = (world.sent_bytes, world.sent_messages);
    world.live_until(world.now + CALM_MS).expect("nothing happens");
    let seconds = CALM_MS as f64 / 1000.0;
    let per_node = |it: u64| it as f64 / count as f64 / seconds;
    let (bytes, messages) =
        (per_node(world.sent_bytes - bytes), per_node(world.sent_messages - messages));
    let (bytes_max, messages_max) = on_paper(count);
    eprintln!(
        "{count} nodes: {messages:.1} messages and {bytes:.0} bytes a node and second; at most {messages_max:.1} and {bytes_max:.0} on paper"
    );
    assert!(bytes <= bytes_max, "{bytes} bytes a node and second, {bytes_max} on paper");

    time_reports(&world);

    let killed_at = world.now;
    world.kill(0).expect("it runs");
    let known = |world: &World, flags: NodeFlags| {
        world.servers.iter().filter(|it| knows(it, 0, flags)).count()
    };
    let is_over = |world: &World| known(world, NodeFlags::FAIL) == count - 1;
    let mut first = None;
    while !is_over(&world) {
        world.live_until(world.now + 10).expect("it goes on");
        if first.is_none() && known(&world, NodeFlags::FAIL) != 0 {
            first = Some(world.now - killed_at);
        }
        assert!(
            world.now < killed_at + 3 * NODE_TIMEOUT_MS,
            "{} know",
            known(&world, NodeFlags::FAIL)
        );
    }
    let first = first.expect("the first one knows before all do");
    let all = world.now - killed_at;
    while world.oracle.elected == 0 {
        world.live_until(world.now + 10).expect("it goes on");
        assert!(world.now < killed_at + 4 * NODE_TIMEOUT_MS, "nobody is elected");
    }
    let elected = world.now - killed_at;
    eprintln!(
        "one fails: the first knows after {first} ms, all after {all} ms, its replica is elected after {elected} ms"
    );
    // Silent for the timeout, then agreed upon by gossip.
    assert!(all <= NODE_TIMEOUT_MS * 2, "{all} ms until all know");
}

/// How long whoever asks for a report keeps the machine from its work.
fn time_reports(world: &World) {
    let machine = world.servers[0].machine.as_ref().expect("it runs");
    let viewer = Viewer::default();
    let micros = |report: &dyn Fn(&mut Reply<'_>)| {
        let mut out = Output::new();
        let before = monotonic_nanos();
        report(&mut Reply::new(&mut out, Protocol::Resp3));
        (monotonic_nanos() - before) / 1000
    };
    let nodes = micros(&|it| it.bulk(machine.nodes_text(viewer).as_bytes()));
    let slots = micros(&|it| machine.reply_slots(viewer, it));
    let shards = micros(&|it| machine.reply_shards(viewer, it));
    eprintln!("NODES takes {nodes} us, SLOTS {slots} us, SHARDS {shards} us");
}

/// All are started at once, and know each other from before.
fn set_up(world: &mut World) {
    let (count, shards) = (world.servers.len(), world.settings.shard_count);
    let line = |who: Name, me: Name| {
        let role = if who < shards { "master" } else { "slave" };
        let myself = if who == me { "myself," } else { "" };
        let (id, ip, shard) = (id_of(who), ip_of(who, 0), id_of(who % shards + count));
        let place = format!("{ip}:{PORT}@{BUS_PORT},,shard-id={shard}");
        if who < shards {
            let (first, end) = (who * SLOT_COUNT / shards, (who + 1) * SLOT_COUNT / shards);
            let epoch = who + 1;
            format!("{id} {place} {myself}{role} - 0 0 {epoch} connected {first}-{}\n", end - 1)
        } else {
            format!("{id} {place} {myself}{role} {} 0 0 0 connected\n", id_of(who % shards))
        }
    };
    for me in 0..count {
        let lines: String = (0..count).map(|who| line(who, me)).collect();
        let text = format!("{lines}vars currentEpoch {shards} lastVoteEpoch 0\n");
        world.servers[me].disk = Some(text);
        world.start(me).expect("it comes up");
    }
    world.plan_data_step();
    let deadline = world.now + SETUP_MS;
    let is_well = |it: &crate::server::Server| it.view.as_ref().is_some_and(|it| it.is_ok());
    while !world.servers.iter().all(is_well) {
        assert!(world.now < deadline, "it takes too long");
        world.live_until(world.now + 100).expect("nothing happens");
    }
    world.live_until(world.now + NODE_TIMEOUT_MS).expect("nothing happens");
}

fn id_of(number: usize) -> String {
    format!("{number:040x}")
}

/// What the rules give, in bytes and messages a node and second: each other node is pinged when it has been silent for half
/// the timeout, and one more each second; each ping is answered.
fn on_paper(count: usize) -> (f64, f64) {
    let pings = (count - 1) as f64 / (NODE_TIMEOUT_MS as f64 / 2000.0) + 1.0;
    let gossip = (count / 10).max(GOSSIP_MIN) as f64;
    let messages = pings * 2.0;
    (messages * (HEADER_SIZE + gossip * GOSSIP_SIZE + EXTENSIONS_SIZE), messages)
}

/// Whether a server thinks so of another.
fn knows(server: &crate::server::Server, of: Name, flags: NodeFlags) -> bool {
    let Some(view) = server.view.as_ref().filter(|_| server.name != of) else { return false };
    view.nodes.iter().any(|it| it.flags.contains(flags) && it.ip.as_ref() == "10.0.0.1")
}
