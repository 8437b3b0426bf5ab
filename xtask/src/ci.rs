//! `cargo xtask ci`: all that must hold before a change is taken. Quiet while it does; the tests' summary comes last.

use std::env::current_exe;
use std::path::Path;
use std::process::Command;

use crate::clock::Stopwatch;
use crate::compat::{self, Family};
use crate::process::{cargo, find_program, output};
use crate::{
    Failure, chains, cluster_tools, clusters, diff, e2e, fuzz, oracle, partitions, peer, test,
};

/// The units of Valkey's suite that every change runs, and the seconds after which no further one is started.
const COMPAT_UNITS: &[&str] = &[
    // The longest first, so that none is left to run alone at the end.
    "unit/hashexpire",
    "unit/type/list-3",
    "unit/hyperloglog",
    "unit/fuzzer",
    "unit/aofrw",
    "unit/geo",
    "unit/maxmemory",
    "unit/type/zset",
    "unit/type/list",
    "unit/expire",
    "unit/introspection",
    "unit/obuf-limits",
    "unit/multi",
    "integration/valkey-benchmark",
    "integration/aof",
    "unit/type/stream",
    "integration/corrupt-dump-fuzzer",
    "integration/corrupt-dump",
    "unit/other",
    "unit/type/hash",
    "unit/type/list-2",
    "unit/type/set",
    "unit/type/string",
    "unit/type/stream-cgroups",
    "unit/scan",
    "unit/sort",
    "unit/client-eviction",
    "unit/introspection-2",
    "unit/querybuf",
    "integration/valkey-cli",
    "integration/aof-multi-part",
    "integration/rdb",
    "integration/aof-race",
    "integration/convert-ziplist-hash-on-load",
    "integration/convert-ziplist-zset-on-load",
    "integration/convert-zipmap-hash-on-load",
    "integration/dismiss-mem",
    "integration/logging",
    "integration/valkey-check-rdb",
    "integration/block-repl",
    "integration/failover",
    "integration/psync2-reg",
    "integration/psync2-pingoff",
    "integration/psync2-master-restart",
    "integration/replica-redirect",
    "integration/replication-2",
    "integration/replication-3",
    "integration/replication-4",
    "integration/shutdown",
    "unit/auth",
    "unit/bitfield",
    "unit/bitops",
    "unit/dump",
    "unit/info",
    "unit/info-command",
    "unit/keyspace",
    "unit/lazyfree",
    "unit/limits",
    "unit/memefficiency",
    "unit/networking",
    "unit/oom-score-adj",
    "unit/pause",
    "unit/protocol",
    "unit/pubsub",
    "unit/pubsubshard",
    "unit/quit",
    "unit/shutdown",
    "unit/type/incr",
    "unit/violations",
    "unit/wait",
];
/// The units of Valkey's suite about clusters that every change runs: those that wait for little. All of them, and those of
/// Redis, are run by `cargo xtask compat` without names.
const CLUSTER_UNITS: &[&str] = &[
    "unit/cluster/auto-failover-on-shutdown",
    "unit/cluster/slot-ownership",
    "unit/cluster/links",
    "unit/cluster/clusterscan",
    "unit/cluster/announce-client-ip",
    "unit/cluster/manual-takeover",
    "unit/cluster/misc",
    "unit/cluster/info",
    "unit/cluster/pubsubshard-slot-migration",
    "unit/cluster/faildet",
    "unit/cluster/replica-detach",
    "unit/cluster/replica-in-sync",
    "unit/cluster/availability-zone",
    "unit/cluster/cluster-flush-slot",
    "unit/cluster/no-failover-option",
    "unit/cluster/hostnames",
    "unit/cluster/pubsub",
    "unit/cluster/base",
    "unit/cluster/announce-client-ports",
    "unit/cluster/acl",
    "unit/cluster/announced-endpoints",
    "unit/cluster/cluster-aux-field-validation",
    "unit/cluster/cluster-multiple-meets",
    "unit/cluster/cluster-nodes-slots",
    "unit/cluster/divergent-cluster-shardid-conf",
    "unit/cluster/multi-slot-operations",
    "unit/cluster/noaddr",
    "unit/cluster/pubsubshard",
    "unit/cluster/scripting",
    "unit/cluster/sharded-pubsub",
];
const CLUSTER_BUDGET_SECONDS: u64 = 4 * 60;
/// The units of Valkey's suite of Sentinel that every change runs: three quarters of them, in less than half of its time.
const SENTINEL_UNITS: &[&str] =
    &["00-", "03-", "06-", "08-", "09-", "10-", "11-", "13-", "14-", "15-", "16-", "17-"];
const COMPAT_BUDGET_SECONDS: u64 = 12 * 60;

/// The units of Redis's suite that every change runs. Left out are those that take long and differ from Valkey's hardly.
const REDIS_UNITS: &[&str] = &[
    "integration/rdb",
    "unit/dump",
    "integration/redis-cli",
    "integration/aof",
    "integration/corrupt-dump-fuzzer",
    "unit/type/zset",
    "unit/type/list",
    "integration/corrupt-dump",
    "unit/geo",
    "unit/introspection-2",
    "unit/lazyfree",
    "unit/expire",
    "unit/type/hash-field-expire",
    "unit/type/set",
    "unit/type/stream",
    "unit/type/string",
    "unit/introspection",
    "unit/other",
    "integration/aof-multi-part",
    "unit/type/list-2",
    "unit/type/stream-cgroups",
    "unit/scan",
    "unit/sort",
    "unit/protocol",
    "unit/type/hash",
    "unit/multi",
    "unit/info",
    "unit/pubsub",
    "unit/pubsubshard",
    "integration/convert-ziplist-hash-on-load",
    "integration/convert-ziplist-zset-on-load",
    "integration/convert-zipmap-hash-on-load",
    "integration/dismiss-mem",
    "integration/redis-benchmark",
    "unit/auth",
    "unit/bitfield",
    "unit/bitops",
    "unit/info-command",
    "unit/keyspace",
    "unit/limits",
    "unit/memefficiency",
    "unit/networking",
    "unit/oom-score-adj",
    "unit/quit",
    "unit/shutdown",
    "unit/type/incr",
    "unit/violations",
    "unit/cluster/cli",
    "unit/cluster/misc",
    "unit/cluster/multi-slot-operations",
];
const REDIS_BUDGET_SECONDS: u64 = 5 * 60;

/// Seconds of random commands that every change bears.
const FUZZ_SECONDS: u64 = 30;

/// Seconds of random commands that go to Valkey, too.
const DIFF_SECONDS: u64 = 45;
/// Random users and their rights.
const DIFF_USERS_SECONDS: u64 = 5;

/// Seconds for which each chain of replicas is written to.
const CHAIN_SECONDS: u64 = 4;
/// .. and each cluster.
const CLUSTER_SECONDS: u64 = 15;
/// No further mishap befalls the cluster with namespaces after so many.
const PARTITION_SECONDS: u64 = 45;

/// Set to `1` for a machine that can have neither real servers nor valgrind: CI then goes without what needs them.
const WITHOUT_PEERS: &str = "RUBINE_CI_WITHOUT_PEERS";

pub(crate) fn run() -> Result<(), Failure> {
    let stopwatch = Stopwatch::start();
    let mut steps = Steps { failed: Vec::new() };
    steps.quietly("fmt", cargo().args(["fmt", "--all", "--", "--check"]));
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    steps.quietly("clippy", cargo().args(clippy));
    let summary = steps.step("test", test::run_quietly).unwrap_or_default();
    steps.step("interleavings", test::run_interleavings);
    if may_have("valgrind", find_program("valgrind").as_deref()) {
        steps.step("valgrind", test::run_under_valgrind);
    }
    steps.step("e2e", || e2e::run(&e2e::Options::default()));
    steps.step("fuzz", || fuzz::run(&fuzz::Options::for_every_change(FUZZ_SECONDS)));
    hold_against_peers(&mut steps);
    println!("{summary}");
    println!("ci: {} s in all", stopwatch.elapsed().as_secs());
    let failed = steps.failed;
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("ci: failed: {}", failed.join(", ")).into())
    }
}

/// What needs Valkey, and then what needs Redis: that one of them cannot be built is no reason to leave out the other.
fn hold_against_peers(steps: &mut Steps) {
    let has_redis = may_have("Redis", peer::built_redis().as_deref())
        && steps.step("build Redis", || compat::prepare(Family::Redis)).is_some();
    if may_have("Valkey", peer::valkey_program("valkey-server").as_deref())
        && steps.step("build Valkey", || compat::prepare(Family::Valkey)).is_some()
    {
        steps.step("oracle", || oracle::run(&oracle::Options::default()));
        // A process of its own, whose many lines are shown if one of them tells of a failure.
        steps.step("exchange", || output(Command::new(current_exe()?).arg("exchange")));
        steps.step("diff", || diff::run(&diff::Options::for_every_change(DIFF_SECONDS, false)));
        let of_users = diff::Options::for_every_change(DIFF_USERS_SECONDS, true);
        steps.step("diff of users", || diff::run(&of_users));
        let options =
            compat::Options::for_units(Family::Valkey, COMPAT_UNITS, COMPAT_BUDGET_SECONDS);
        steps.step("compat", || compat::run(&options));
        let options =
            compat::Options::for_units(Family::Valkey, CLUSTER_UNITS, CLUSTER_BUDGET_SECONDS);
        steps.step("compat of clusters", || compat::run(&options));
        let options = compat::Options::for_sentinel(SENTINEL_UNITS);
        steps.step("compat of Sentinel", || compat::run(&options));
    }
    steps.step("chains", || chains::run(&chains::Options::for_every_change(CHAIN_SECONDS)));
    steps.step("cluster tools", || cluster_tools::run(&cluster_tools::Options::default()));
    steps.step("clusters", || clusters::run(&clusters::Options::for_every_change(CLUSTER_SECONDS)));
    steps.step("partitions", || {
        partitions::run(&partitions::Options::for_every_change(PARTITION_SECONDS))
    });
    if has_redis {
        let options = compat::Options::for_units(Family::Redis, REDIS_UNITS, REDIS_BUDGET_SECONDS);
        steps.step("compat with Redis", || compat::run(&options));
    }
}

/// Whether the machine can have a program. One that it could have and that cannot be used is a failure.
fn may_have(name: &str, found: Option<&Path>) -> bool {
    let is_forbidden = std::env::var_os(WITHOUT_PEERS).is_some_and(|value| value == "1");
    let may_have = !is_forbidden && (found.is_some() || find_program("apt-get").is_some());
    if !may_have {
        let reason = if is_forbidden { WITHOUT_PEERS } else { "no apt-get" };
        println!("ci: without {name}: {reason}");
    }
    may_have
}

/// Steps that all run, so that one report names all that is wrong.
struct Steps {
    failed: Vec<&'static str>,
}

impl Steps {
    fn step<T>(
        &mut self,
        name: &'static str,
        run: impl FnOnce() -> Result<T, Failure>,
    ) -> Option<T> {
        let stopwatch = Stopwatch::start();
        let result = run();
        let seconds = stopwatch.elapsed().as_secs();
        match result {
            Ok(value) => {
                println!("ci: {name} ok, {seconds} s");
                Some(value)
            }
            Err(failure) => {
                println!("{failure}\nci: {name} FAILED, {seconds} s");
                self.failed.push(name);
                None
            }
        }
    }

    fn quietly(&mut self, name: &'static str, command: &mut Command) {
        self.step(name, || output(command));
    }
}
