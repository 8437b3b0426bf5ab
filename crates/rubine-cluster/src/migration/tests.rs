//! Two nodes that move slots, with what they say to each other carried by hand.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::*;
use crate::message::NodeFlags;
use crate::slots::SLOT_COUNT;
use crate::view::{Lease, NO_NODE, NodeView};

const SOURCE: usize = 0;
const TARGET: usize = 1;

fn config() -> MigrationConfig {
    MigrationConfig {
        timeout: 60_000,
        failover_timeout: 5000,
        failover_bytes_max: 0,
        log_len_max: 3,
        has_password: false,
    }
}

fn id_of(node: usize) -> NodeId {
    NodeId::from_random([node as u8 + 1; 20])
}

/// The cluster as node `me` sees it: each slot is that of `owner_of`.
fn view(me: usize, owner_of: impl Fn(u16) -> u16) -> View {
    let mut view = View::with_lease(Lease::new(0));
    view.nodes = (0..3)
        .map(|node| NodeView {
            id: id_of(node),
            shard: crate::id::ShardId::from_random([node as u8; 20]),
            flags: NodeFlags::PRIMARY,
            primary: NO_NODE,
            epoch: 0,
            offset: 0,
            is_connected: true,
            ip: "127.0.0.1".into(),
            hostname: "".into(),
            port: 7000 + node as u16,
            tls_port: 0,
            client_ipv4: "".into(),
            client_ipv6: "".into(),
            client_port: 0,
            client_tls_port: 0,
            availability_zone: "".into(),
        })
        .collect();
    let mut owners = crate::view::nobody();
    for slot in 0..SLOT_COUNT as u16 {
        owners[usize::from(slot)] = owner_of(slot);
    }
    (view.owners, view.me) = (Arc::from(owners), me as u16);
    view
}

fn is_moved(slot: u16) -> bool {
    (10..=20).contains(&slot) || slot == 5
}

/// Both ends of a migration.
struct World {
    nodes: [Migrations; 2],
    /// Who has the slots that move.
    owner: u16,
    now: Millis,
    job: Option<JobId>,
    /// What is done, by its words.
    done: Vec<String>,
    /// Actions that are not answered yet.
    open: Vec<(usize, MigrationAction)>,
}

impl World {
    fn new() -> Self {
        let nodes = [Migrations::new(config()), Migrations::new(config())];
        let (done, open) = (Vec::new(), Vec::new());
        Self { nodes, owner: SOURCE as u16, now: 1_000_000, job: None, done, open }
    }

    fn view(&self, me: usize) -> View {
        let owner = self.owner;
        view(me, move |slot| if is_moved(slot) { owner } else { SOURCE as u16 })
    }

    fn migrate(&mut self) -> Result<(), MigrateError> {
        let target = id_of(TARGET);
        let args: Vec<&[u8]> =
            vec![b"slotsrange", b"10", b"20", b"5", b"5", b"node", target.as_bytes()];
        let view = self.view(SOURCE);
        self.nodes[SOURCE].migrate(&args, &view, self.now, || [7; 20], "someone")?;
        self.job = Some(JobId::from_random([7; 20]));
        Ok(())
    }

    /// Has the target asked for the slots, by the name of [`task`].
    fn import(&mut self) -> Result<TaskId, ImportError> {
        let (view, now) = (self.view(TARGET), self.now);
        self.nodes[TARGET].import(&[b"10", b"20", b"5", b"5"], &view, now, [9; 20])
    }

    /// The source is asked for a migration.
    fn ask(&mut self, to: NodeId, command: &[Vec<u8>]) {
        assert_eq!(to, id_of(SOURCE));
        let args: Vec<&[u8]> = command[2..].iter().map(Vec::as_slice).collect();
        let (view, now) = (self.view(SOURCE), self.now);
        let begun = self.nodes[SOURCE].migrate(&args, &view, now, || [7; 20], "someone");
        self.job = begun.is_ok().then(|| JobId::from_random([7; 20]));
        let answer = begun.map_or_else(|it| Answer::Refused(it.to_string()), |()| Answer::Agreed);
        self.nodes[TARGET].answered(task(), to, answer, now);
    }

    /// What the target tells of its task.
    fn task(&self) -> TaskReport {
        self.nodes[TARGET].task_reports(Some(task().as_bytes())).remove(0)
    }

    fn job(&self) -> JobId {
        self.job.expect("a migration was begun")
    }

    /// Does what one node wants, but for what `stop` holds back, until there is nothing more.
    fn run(&mut self, stop: impl Fn(usize, &MigrationAction) -> bool) {
        loop {
            for node in [SOURCE, TARGET] {
                let actions = self.nodes[node].take_actions();
                self.open.extend(actions.into_iter().map(|it| (node, it)));
            }
            // What a node does by itself is done before the other hears of it.
            let of = |wanted: usize| {
                let mut open = self.open.iter();
                open.position(|(node, it)| *node == wanted && !stop(*node, it))
            };
            let Some(next) = of(TARGET).or_else(|| of(SOURCE)) else { return };
            let (node, action) = self.open.remove(next);
            self.act(node, action);
        }
    }

    fn act(&mut self, node: usize, action: MigrationAction) {
        let (now, other) = (self.now, 1 - node);
        match action {
            MigrationAction::Connect { job, to } => {
                assert_eq!(to, id_of(TARGET));
                self.nodes[node].connected(job, now);
            }
            MigrationAction::Ask { to, command, .. } => self.ask(to, &command),
            MigrationAction::Authenticate { job } => self.nodes[node].replied(job, "+OK", now),
            MigrationAction::Send { job, bytes } => self.deliver(other, job, &bytes),
            MigrationAction::SendKeys { job, slots } => {
                assert_eq!(slots, (10..=20).chain([5]).collect());
                self.done.push("keys".to_owned());
                self.nodes[node].snapshot_sent(job, now);
            }
            MigrationAction::Pause { job, .. } => {
                self.done.push("pause".to_owned());
                self.nodes[node].paused(job, now);
            }
            MigrationAction::Show { job, takes_over, .. } => {
                let is_shown = !takes_over || self.nodes[node].taken_over(job, now);
                let what = if is_shown { "show" } else { "show nothing" };
                self.done.push(format!("{what} on {node}"));
                if takes_over && is_shown {
                    self.owner = node as u16;
                    for node in [SOURCE, TARGET] {
                        let view = self.view(node);
                        self.nodes[node].view_changed(&view, now);
                    }
                }
            }
            MigrationAction::Drop { job, .. } => {
                self.done.push(format!("drop on {node}"));
                self.nodes[node].cleaned_up(job, now);
            }
            MigrationAction::Close { job } => self.nodes[other].closed(job, "reset", now),
            MigrationAction::Propagate { command } => {
                let words: Vec<_> = command.iter().map(|it| String::from_utf8_lossy(it)).collect();
                self.done.push(words[2..5.min(words.len())].join(" "));
            }
            MigrationAction::Hide { .. } => self.done.push(format!("hide on {node}")),
            MigrationAction::Grant { .. } => self.done.push("grant".to_owned()),
            MigrationAction::Revoke { .. } => self.done.push("revoke".to_owned()),
            MigrationAction::Resume { .. } => self.done.push("resume".to_owned()),
            MigrationAction::ProlongPause { .. } | MigrationAction::Log { .. } => {}
        }
    }

    fn deliver(&mut self, to: usize, job: JobId, bytes: &[u8]) {
        let text = String::from_utf8(bytes.to_vec()).expect("commands are text");
        let args: Vec<&[u8]> = text.split("\r\n").skip(2).step_by(2).map(str::as_bytes).collect();
        assert_eq!(&args[..2], [&b"CLUSTER"[..], b"SYNCSLOTS"]);
        if args[2] == b"ESTABLISH" {
            let view = self.view(to);
            let establish = Establish::parse(&args[3..], &view).expect("it is well-formed");
            let begun = self.nodes[to].establish_import(establish, &view, self.now);
            let line = begun.map_or_else(|error| format!("-{error}"), |_| "+OK".to_owned());
            self.nodes[1 - to].replied(job, &line, self.now);
        } else {
            let word = Word::parse(args[2]).expect("it is a word");
            self.nodes[to].received(job, word, self.now);
        }
    }

    fn tick(&mut self, ms: Millis) {
        self.now += ms;
        for node in [SOURCE, TARGET] {
            let view = self.view(node);
            self.nodes[node].tick(&view, self.now, |_| 0);
        }
    }

    fn states(&self) -> [&'static str; 2] {
        [SOURCE, TARGET].map(|it| self.nodes[it].reports().next().map_or("", |it| it.state))
    }

    fn message(&self, node: usize) -> &str {
        self.nodes[node].reports().next().map_or("", |it| it.message)
    }

    /// What was done, but for what is done in any case.
    fn done(&self) -> String {
        self.done.join(", ")
    }
}

/// The name of what a target is asked for.
fn task() -> TaskId {
    TaskId::from_random([9; 20])
}

fn never(_: usize, _: &MigrationAction) -> bool {
    false
}

#[test]
fn slots_move() {
    let mut world = World::new();
    world.migrate().unwrap();
    world.run(never);
    assert_eq!(world.states(), ["success", "success"]);
    let done = "hide on 1, ESTABLISH SOURCE 0101010101010101010101010101010101010101, keys, pause, grant, show on 1, \
                FINISH STATE SUCCESS, resume";
    assert_eq!(world.done(), done);
    let report = world.nodes[TARGET].reports().next().unwrap();
    assert_eq!(report.slot_ranges, "10-20 5-5");
    assert_eq!(report.nodes, Some((id_of(TARGET), id_of(SOURCE))));
    assert!(!world.nodes.iter().any(|it| it.is_importing(5) || it.is_exporting(5)));
}

#[test]
fn slots_are_asked_for() {
    let mut world = World::new();
    world.import().unwrap();
    assert_eq!(world.import(), Err(ImportError::Overlaps(10, 20)));
    assert_eq!((world.task().state, world.task().started), ("connecting", None));
    world.run(never);
    assert_eq!(world.states(), ["success", "success"]);
    let report = world.task();
    assert_eq!((report.state, report.slots.as_str()), ("completed", "10-20 5-5"));
    assert_eq!((report.source, report.target), (Some(id_of(SOURCE)), Some(id_of(TARGET))));
    assert_eq!((report.started, report.ended), (Some(world.now), Some(world.now)));
    assert_eq!(world.import(), Err(ImportError::Mine));
    // The source knows it by the name that it has given.
    let at_source = world.nodes[SOURCE].task_reports(None);
    assert_eq!((at_source.len(), at_source[0].id), (1, world.job()));
    assert_eq!((at_source[0].operation, at_source[0].state), (Operation::Export, "completed"));
}

#[test]
fn what_was_asked_for_ends_on_both_sides() {
    let is_pause = |_: usize, it: &MigrationAction| matches!(it, MigrationAction::Pause { .. });
    let mut world = World::new();
    world.import().unwrap();
    world.run(is_pause);
    assert_eq!(world.task().state, "streaming-buffer");
    assert_eq!(world.nodes[TARGET].cancel_tasks(Some(b"other"), world.now), 0);
    assert_eq!(world.nodes[TARGET].cancel_tasks(None, world.now), 1);
    assert_eq!(world.nodes[TARGET].cancel_tasks(None, world.now), 0);
    world.run(never);
    assert_eq!(world.states(), ["failed", "failed"]);
    assert_eq!(
        (world.task().state, world.task().last_error.as_str()),
        ("canceled", "Cancelled due to user request")
    );
}

/// A source that was asked already begins in vain what is not wanted any more, once.
#[test]
fn what_is_not_wanted_any_more_is_refused_once() {
    let mut world = World::new();
    world.import().unwrap();
    assert_eq!(world.nodes[TARGET].cancel_tasks(Some(task().as_bytes()), world.now), 1);
    world.run(never);
    assert_eq!(world.states()[SOURCE], "failed");
    assert!(world.message(SOURCE).ends_with("cancelled on the target node"));
    assert_eq!(world.task().state, "canceled");
    world.migrate().unwrap();
    world.run(never);
    assert_eq!(world.states(), ["success", "success"]);
}

#[test]
fn a_source_that_does_not_begin_is_told_of() {
    let mut world = World::new();
    world.import().unwrap();
    let actions = world.nodes[TARGET].take_actions();
    assert!(matches!(&actions[..], [MigrationAction::Ask { .. }]), "{actions:?}");
    let now = world.now;
    world.nodes[TARGET].answered(task(), id_of(SOURCE), Answer::Refused("no".to_owned()), now);
    assert_eq!((world.task().state, world.task().last_error.as_str()), ("failed", "no"));
    world.import().unwrap();
    // Who is asked answers once.
    drop(world.nodes[TARGET].take_actions());
    world.nodes[TARGET].answered(task(), id_of(SOURCE), Answer::Agreed, now);
    assert!(world.nodes[TARGET].is_busy());
    world.tick(60_001);
    assert_eq!(world.task().state, "failed");
    assert!(world.task().last_error.starts_with("The source has not begun in time."));
    world.migrate().unwrap();
    world.run(never);
    assert!(world.message(SOURCE).ends_with("cancelled on the target node"), "it is too late");
}

#[test]
fn several_owners_are_asked_for_their_own_slots() {
    let view = view(TARGET, |slot| {
        if slot < 100 {
            0
        } else if slot < 200 {
            2
        } else {
            1
        }
    });
    let mut node = Migrations::new(config());
    let import = |node: &mut Migrations, args: &[&[u8]]| node.import(args, &view, 0, [9; 20]);
    assert_eq!(import(&mut node, &[b"0", b"300"]), Err(ImportError::PartlyMine));
    assert_eq!(import(&mut node, &[b"7", b"8", b"8", b"9"]), Err(ImportError::Twice(8)));
    assert_eq!(import(&mut node, &[b"7", b"16384"]), Err(ImportError::InvalidSlot));
    assert_eq!(import(&mut node, &[b"7", b"6"]), Err(ImportError::Backwards(7, 6)));
    import(&mut node, &[b"50", b"150", b"0", b"0"]).unwrap();
    let slots: Vec<_> =
        node.task_reports(None).into_iter().map(|it| (it.source, it.slots)).collect();
    let expected =
        [(2, "100-150"), (0, "50-99 0-0")].map(|(it, slots)| (Some(id_of(it)), slots.to_owned()));
    assert_eq!(slots, expected);
    assert_eq!(node.cancel_tasks(None, 0), 1, "it was one command");
}

/// Whatever is lost, the slots have one owner, writes go on, and what came to the target is dropped, unless they are its own.
#[test]
fn whatever_is_lost_one_has_the_slots() {
    for step in 0..40 {
        let mut world = World::new();
        world.migrate().unwrap();
        let count = std::cell::Cell::new(0);
        world.run(|_, action| {
            let is_step = !matches!(action, MigrationAction::Log { .. });
            count.set(count.get() + usize::from(is_step));
            step < count.get()
        });
        world.open.retain(|(_, it)| !matches!(it, MigrationAction::Send { .. }));
        for node in [SOURCE, TARGET] {
            let (job, now) = (world.job(), world.now);
            world.nodes[node].closed(job, "reset", now);
        }
        for _ in 0..40 {
            world.run(never);
            world.tick(1000);
        }
        world.run(never);
        let done = world.done();
        let count_of = |what: &str| world.done.iter().filter(|it| it.starts_with(what)).count();
        assert_eq!(count_of("pause"), count_of("resume"), "step {step}: {done}");
        assert_eq!(count_of("hide"), count_of("drop") + count_of("show"), "step {step}: {done}");
        assert_eq!(count_of("ESTABLISH"), count_of("FINISH"), "step {step}: {done}");
        let is_moved = world.owner == TARGET as u16;
        assert_eq!(count_of("show") == 1, is_moved, "step {step}: {done}");
        assert!(
            !world
                .nodes
                .iter()
                .any(|it| it.is_any(Operation::Import) || it.is_any(Operation::Export))
        );
    }
}

#[test]
fn silence_ends_it() {
    let mut world = World::new();
    world.migrate().unwrap();
    world.run(|_, action| matches!(action, MigrationAction::SendKeys { .. }));
    assert_eq!(world.states(), ["snapshotting", "receiving-snapshot"]);
    world.tick(59_000);
    // The target says that it is well, and the source does not while it sends keys.
    world.run(|_, action| matches!(action, MigrationAction::SendKeys { .. }));
    assert_eq!(world.states(), ["snapshotting", "receiving-snapshot"]);
    world.tick(2000);
    world.open.clear();
    world.run(never);
    assert_eq!(world.states(), ["failed", "failed"]);
    assert_eq!(world.message(TARGET), "Timed out after too long with no interaction");
}

#[test]
fn writes_do_not_wait_for_ever() {
    let mut world = World::new();
    world.migrate().unwrap();
    let is_request = |node, action: &MigrationAction| {
        node == TARGET
            && matches!(action, MigrationAction::Send { bytes, .. }
                if *bytes == Word::RequestFailover.encoded())
    };
    world.run(is_request);
    assert_eq!(world.states(), ["failover-paused", "failover-requested"]);
    world.tick(10_001);
    world.open.clear();
    world.run(never);
    assert_eq!(world.message(SOURCE), "Timed out before streaming completed");
    assert!(world.done().ends_with("drop on 1, FINISH STATE FAILED, resume"), "{}", world.done());
}

#[test]
fn a_target_that_does_not_answer_in_time_may_have_taken_the_slots() {
    let mut world = World::new();
    world.migrate().unwrap();
    world.run(|_, action| matches!(action, MigrationAction::Show { .. }));
    assert_eq!(world.states(), ["failover-granted", "failover-granted"]);
    let (job, now) = (world.job(), world.now);
    world.nodes[SOURCE].closed(job, "reset", now);
    assert_eq!(world.states()[SOURCE], "failover-granted", "until it is known");
    world.tick(10_001);
    world.open.retain(|(node, _)| *node == TARGET);
    let message = world.message(SOURCE).to_owned();
    assert!(message.contains("migration may have succeeded with lost writes"), "{message}");
    world.run(|_, action| matches!(action, MigrationAction::Show { .. }));
    assert!(world.done().ends_with("revoke, resume"), "{}", world.done());
}

#[test]
fn whoever_asks_may_end_it() {
    let mut world = World::new();
    assert_eq!(world.nodes[SOURCE].cancel(1), Err(MigrateError::NoneOngoing));
    world.migrate().unwrap();
    world.run(|_, action| matches!(action, MigrationAction::SendKeys { .. }));
    world.nodes[SOURCE].cancel(world.now).unwrap();
    world.open.clear();
    world.run(never);
    assert_eq!(world.states(), ["cancelled", "failed"]);
    assert!(world.message(TARGET).starts_with("Connection lost to source."));
    assert!(world.done().ends_with("drop on 1, FINISH STATE FAILED"));
}

#[test]
fn a_flush_ends_it() {
    for node in [SOURCE, TARGET] {
        let mut world = World::new();
        world.migrate().unwrap();
        world.run(|_, action| matches!(action, MigrationAction::SendKeys { .. }));
        let now = world.now;
        world.nodes[node].flushed(now);
        world.open.clear();
        world.run(never);
        assert_eq!(
            (world.states(), world.message(node)),
            (["failed", "failed"], "Data was flushed")
        );
    }
}

#[test]
fn slots_that_are_anothers_end_it() {
    let mut world = World::new();
    world.migrate().unwrap();
    world.run(|_, action| matches!(action, MigrationAction::SendKeys { .. }));
    world.owner = 2;
    for node in [SOURCE, TARGET] {
        let view = world.view(node);
        world.nodes[node].view_changed(&view, world.now);
    }
    assert_eq!(world.message(SOURCE), "Slots are no longer owned by myself");
    assert_eq!(world.message(TARGET), "Slots are no longer owned by source node");
}

#[test]
fn replicas_of_the_target_follow() {
    let view = view(2, |_| SOURCE as u16);
    for is_success in [true, false] {
        let mut replica = Migrations::new(config());
        let (source, job) = (id_of(SOURCE), "a".repeat(40));
        let args: Vec<&[u8]> =
            vec![b"SOURCE", source.as_bytes(), b"NAME", job.as_bytes(), b"SLOTSRANGE", b"1", b"3"];
        let establish = Establish::parse(&args, &view).unwrap();
        let id = replica.track_import(establish, &view, 1).unwrap();
        assert!(replica.is_importing(2));
        let state: &[u8] = if is_success { b"success" } else { b"failed" };
        let args: Vec<&[u8]> = vec![b"STATE", state, b"NAME", job.as_bytes(), b"MESSAGE", b"why"];
        replica.finish_import(&Finish::parse(&args).unwrap(), 2).unwrap();
        let actions = replica.take_actions();
        let slots = || (1..=3).collect();
        let expected = if is_success {
            MigrationAction::Show { job: id, slots: slots(), takes_over: false }
        } else {
            MigrationAction::Drop { job: id, slots: slots(), propagates: false }
        };
        assert!(actions.contains(&expected));
        assert!(!actions.iter().any(|it| matches!(it, MigrationAction::Propagate { .. })));
        let report = replica.reports().next().unwrap();
        assert_eq!((report.nodes, report.message), (None, "why"));
    }
}

#[test]
fn a_replica_that_is_promoted_drops_what_came() {
    let view = view(2, |_| SOURCE as u16);
    let mut replica = Migrations::new(config());
    let job = "a".repeat(40);
    let args: Vec<&[u8]> = vec![b"NAME", job.as_bytes(), b"SLOTSRANGE", b"1", b"3"];
    let id = replica.track_import(Establish::parse_told(&args).unwrap(), &view, 1).unwrap();
    replica.promoted(2);
    replica.cleaned_up(id, 3);
    let actions = replica.take_actions();
    let tells = |it: &MigrationAction| matches!(it, MigrationAction::Propagate { command } if command[4] == b"FAILED");
    assert!(actions.iter().any(tells), "{actions:?}");
}

#[test]
fn what_is_asked_for_is_checked() {
    let source = || view(SOURCE, |slot| if slot < 100 { SOURCE as u16 } else { 2 });
    let check = |view: &View, request: &str| {
        let mut migrations = Migrations::new(config());
        let request = request
            .replace("TARGET", id_of(TARGET).as_str())
            .replace("SOURCE", id_of(SOURCE).as_str());
        let args: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        let refused = migrations.migrate(&args, view, 1, || [7; 20], "").err();
        refused.map_or_else(String::new, |it| it.to_string())
    };
    let unknown = "f".repeat(40);
    for (request, error) in [
        ("slotsrange 1 2 node TARGET", ""),
        ("slotsrange 1 2 node TARGET slotsrange 3 3 node TARGET", ""),
        ("slots 1 2 node TARGET", "ERR syntax error"),
        ("slotsrange 1 2 TARGET", "ERR syntax error"),
        ("slotsrange 1 2 node", "ERR syntax error"),
        ("slotsrange node TARGET", "ERR No slot ranges specified"),
        ("slotsrange 1", "ERR No end slot for final slot range"),
        ("slotsrange 1 x node TARGET", "ERR Invalid or out of range slot"),
        ("slotsrange -1 1 node TARGET", "ERR Invalid or out of range slot"),
        (
            "slotsrange 3 1 node TARGET",
            "ERR Start slot number 3 is greater than end slot number 1.",
        ),
        ("slotsrange 1 4 2 3 node TARGET", "ERR Slot range 2-3 overlaps with previous range 1-4."),
        ("slotsrange 99 100 node TARGET", "ERR Requested slots span multiple shards"),
        ("slotsrange 100 100 node TARGET", "ERR Slots are not served by this node."),
        (
            "slotsrange 1 2 node TARGET slotsrange 2 2 node TARGET",
            "ERR Slot ranges in migrations overlap",
        ),
        ("slotsrange 1 2 node abc", "ERR Invalid node name: abc"),
        (&format!("slotsrange 1 2 node {unknown}"), &format!("ERR Unknown node name: {unknown}")),
        ("slotsrange 1 2 node SOURCE", "ERR Target node can not be this node."),
    ] {
        assert_eq!(check(&source(), request), error, "{request}");
    }
    let nobody = view(SOURCE, |_| NO_NODE);
    assert_eq!(check(&nobody, "slotsrange 7 8 node TARGET"), "ERR Slot 7 has no node served.");
    let mut by_hand = source();
    by_hand.importing = BTreeMap::from([(1, 1)]);
    assert_eq!(check(&by_hand, "x"), "ERR Slots are being manually imported");
    let mut replica = source();
    replica.nodes[SOURCE].flags = NodeFlags::REPLICA;
    assert_eq!(check(&replica, "x"), "ERR Slot migration can only be used on primary nodes.");
    let mut world = World::new();
    world.migrate().unwrap();
    assert_eq!(world.migrate(), Err(MigrateError::AlreadyMigrating(10)));
}

#[test]
fn what_others_begin_is_checked() {
    let check = |me: usize, request: &str| {
        let view = view(me, |_| SOURCE as u16);
        let mut migrations = Migrations::new(config());
        let request = request
            .replace("NODE0", id_of(SOURCE).as_str())
            .replace("NODE1", id_of(TARGET).as_str())
            .replace("JOB", &"a".repeat(40));
        let args: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        match Establish::parse(&args, &view) {
            Err(error) => error.to_string(),
            Ok(it) => migrations
                .establish_import(it, &view, 1)
                .map_or_else(|error| error.to_string(), |_| String::new()),
        }
    };
    for (request, error) in [
        ("SOURCE NODE0 NAME JOB SLOTSRANGE 1 2", ""),
        ("slotsrange 1 2 4 4 name JOB source NODE0", ""),
        ("SOURCE NODE0 NAME JOB", "ERR syntax error"),
        ("SOURCE NODE0 NAME JOB SLOTSRANGE", "ERR No slot ranges specified"),
        ("SOURCE abc NAME JOB SLOTSRANGE 1 2", "ERR syntax error"),
        ("SOURCE NODE0 SOURCE NODE0 NAME JOB SLOTSRANGE 1 2", "ERR syntax error"),
        ("NAME JOB SLOTSRANGE 1 2", "ERR syntax error"),
        ("SOURCE NODE1 NAME JOB SLOTSRANGE 1 2", "ERR Source node is target node itself"),
    ] {
        assert_eq!(check(TARGET, request), error, "{request}");
    }
    let foreign = "SOURCE NODE1 NAME JOB SLOTSRANGE 1 2";
    assert_eq!(check(2, foreign), "ERR Target node does not agree about current slot ownership");
    let mut world = World::new();
    world.migrate().unwrap();
    world.run(|_, action| matches!(action, MigrationAction::SendKeys { .. }));
    let (view, job) = (world.view(TARGET), "b".repeat(40));
    let args: Vec<&[u8]> = vec![b"NAME", job.as_bytes(), b"SLOTSRANGE", b"5", b"5"];
    let establish = Establish::parse(&args, &view).unwrap();
    let refused = world.nodes[TARGET].track_import(establish, &view, 1);
    assert_eq!(refused, Err(EstablishError::AlreadyImporting));
}

#[test]
fn only_so_many_are_remembered() {
    let mut migrations = Migrations::new(config());
    let view = view(SOURCE, |_| SOURCE as u16);
    let target = id_of(TARGET);
    for number in 0..5 {
        let args: Vec<&[u8]> = vec![b"slotsrange", b"1", b"1", b"node", target.as_bytes()];
        migrations.migrate(&args, &view, 1, || [number; 20], "").unwrap();
        migrations.cancel(2).unwrap();
    }
    migrations.tick(&view, 3, |_| 0);
    let ids: Vec<_> = migrations.reports().map(|it| it.id).collect();
    assert_eq!(ids, [4, 3, 2].map(|it| JobId::from_random([it; 20])));
}

#[test]
fn a_pause_waits_until_little_is_left() {
    let mut world = World::new();
    world.nodes[SOURCE].configure(MigrationConfig { failover_bytes_max: 100, ..config() });
    world.migrate().unwrap();
    world.run(|_, action| matches!(action, MigrationAction::SendKeys { .. }));
    let (view, job) = (world.view(SOURCE), world.job());
    world.nodes[SOURCE].tick(&view, world.now, |_| 101);
    world.run(never);
    assert_eq!(world.states(), ["waiting-to-pause", "waiting-for-paused"]);
    world.nodes[SOURCE].tick(&view, world.now, |it| if it == job { 100 } else { 0 });
    world.run(never);
    assert_eq!(world.states(), ["success", "success"]);
}

/// A target that was granted the slots was told to show what had come, failed before it had, and was told to drop it as
/// well: whoever did both, in this order, dropped what clients saw.
#[test]
fn what_fails_before_it_is_shown_is_not_shown() {
    let failures: [fn(&mut Migrations, JobId, Millis); 4] = [
        |node, job, now| node.received(job, Word::SnapshotEof, now),
        |node, job, now| node.received_unknown(job, now),
        |node, _, now| node.flushed(now),
        |node, job, now| node.out_of_memory(job, now),
    ];
    for fail in failures {
        let mut world = World::new();
        world.migrate().unwrap();
        world.run(|_, action| matches!(action, MigrationAction::Show { .. }));
        let (job, now) = (world.job(), world.now);
        fail(&mut world.nodes[TARGET], job, now);
        world.run(never);
        let of_target = |it: &&String| it.ends_with(" on 1");
        let done: Vec<_> = world.done.iter().filter(of_target).map(String::as_str).collect();
        assert_eq!(done, ["hide on 1", "show nothing on 1", "drop on 1"]);
        // The source keeps what it had, as soon as it may.
        world.now += 60_000;
        let view = world.view(SOURCE);
        world.nodes[SOURCE].tick(&view, world.now, |_| 0);
        world.run(never);
        assert_eq!(world.states(), ["failed", "failed"]);
        assert_eq!(world.done.last().map(String::as_str), Some("resume"));
        assert!(world.done.iter().any(|it| it == "revoke"));
    }
}

/// Something that happens to one end of a migration, whether or not it is its turn. Returns whether it shows what has come.
fn happen(node: &mut Migrations, what: u8, job: JobId, view: &View, now: Millis) -> bool {
    const WORDS: [Word; 6] = [
        Word::Ack,
        Word::SnapshotEof,
        Word::RequestPause,
        Word::Paused,
        Word::RequestFailover,
        Word::FailoverGranted,
    ];
    match what {
        0..6 => node.received(job, WORDS[usize::from(what)], now),
        6 => node.connected(job, now),
        7 => node.replied(job, "+OK", now),
        8 => node.replied(job, "-ERR no", now),
        9 => node.closed(job, "reset", now),
        10 => node.snapshot_sent(job, now),
        11 => node.snapshot_failed(job, now),
        12 => node.paused(job, now),
        13 => return node.taken_over(job, now),
        14 => node.cleaned_up(job, now),
        15 => node.flushed(now),
        16 => node.out_of_memory(job, now),
        17 => node.received_unknown(job, now),
        18 => node.command_failed(job, now),
        19 => node.promoted(now),
        20 => node.synced_fully(now),
        21 => drop(node.cancel(now)),
        22 => node.view_changed(view, now),
        23 => drop(node.cancel_tasks(None, now)),
        _ => node.tick(view, now, |_| 0),
    }
    false
}

/// The cluster as each node sees it where one of three has all slots.
static VIEWS: LazyLock<[[View; 3]; 2]> =
    LazyLock::new(|| [SOURCE, TARGET].map(|me| [0, 1, 2].map(|owner| view(me, move |_| owner))));

proptest! {
    /// Whatever comes behind `CLUSTER SYNCSLOTS` is read without harm.
    #[test]
    fn any_words_are_read(
        words in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec![
                    "ESTABLISH", "FINISH", "ACK", "SOURCE", "NAME", "SLOTSRANGE", "STATE", "SUCCESS", "MESSAGE", "0", "5",
                    "16383", "16384", "-1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                ])
                .prop_map(str::to_owned),
                "[^\n]{0,8}",
            ],
            0..12,
        )
    ) {
        crate::fuzz::sync_slots(words.join("\n").as_bytes());
    }

    /// Nothing that comes out of turn harms: writes that are held are let go, what was hidden is shown or dropped, and what
    /// was granted and not taken is taken back.
    #[test]
    fn nothing_out_of_turn_harms(
        steps in prop::collection::vec((0..2_usize, 0..25_u8, 0..3_u16, 0..20_000_i64), 0..60)
    ) {
        let mut world = World::new();
        world.migrate().unwrap();
        world.run(|_, action| matches!(action, MigrationAction::SendKeys { .. }));
        let job = world.job();
        let mut seen: Vec<MigrationAction> = Vec::new();
        let mut shown = 0;
        for (node, what, owner, ms) in steps {
            world.now += ms;
            let view = &VIEWS[node][usize::from(owner)];
            shown += usize::from(happen(&mut world.nodes[node], what, job, view, world.now));
            seen.extend(world.nodes[node].take_actions());
        }
        for node in [SOURCE, TARGET] {
            let now = world.now + 1_000_000;
            world.nodes[node].tick(&VIEWS[node][SOURCE], now, |_| 0);
            shown += usize::from(world.nodes[node].taken_over(job, now));
            world.nodes[node].cleaned_up(job, now);
            world.nodes[node].promoted(now);
            world.nodes[node].cleaned_up(job, now);
            seen.extend(world.nodes[node].take_actions());
        }
        let count = |is: fn(&MigrationAction) -> bool| seen.iter().filter(|it| is(it)).count();
        let pauses = count(|it| matches!(it, MigrationAction::Pause { .. }));
        prop_assert_eq!(pauses, count(|it| matches!(it, MigrationAction::Resume { .. })));
        let dropped = count(|it| matches!(it, MigrationAction::Drop { .. }));
        prop_assert!(shown + dropped == 1, "{} shown, {:?}", shown, seen);
        let shows = count(|it| matches!(it, MigrationAction::Show { .. }));
        prop_assert!(shown <= shows && shows <= 1, "{} shown, {:?}", shown, seen);
        let revokes = count(|it| matches!(it, MigrationAction::Revoke { .. }));
        let is_exported = world.nodes.iter().any(|it| it.is_any(Operation::Export));
        prop_assert!(revokes <= 1 && !is_exported);
    }
}
