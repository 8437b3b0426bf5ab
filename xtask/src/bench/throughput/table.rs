//! The tests of throughput and what we mean to reach in each. Runs nothing.

use std::fmt;

use super::prepare::{self, Prepare};

/// What one row measures: a command, sent by many connections.
pub(super) struct Test {
    pub(super) name: &'static str,
    /// The words of a request for valkey-benchmark, or nothing where the name is that of a test it has itself.
    pub(super) line: Option<&'static str>,
    /// What the key holds when the measuring starts.
    pub(super) prepare: Option<Prepare>,
    /// Deleted after each round, so that rounds do not depend on each other.
    pub(super) key: Option<&'static str>,
    /// Simple requests that one of these is worth: so much fewer are sent.
    pub(super) cost: u64,
    targets: Targets,
}

/// What is to be reached, as ratios to the peer, by the depth of the pipeline.
struct Targets {
    deep: Target,
    middle: Option<Target>,
    single: Target,
}

#[derive(Clone, Copy)]
pub(super) struct Target {
    throughput_min: f64,
    user_max: Option<f64>,
}

const SIMPLE: Targets = Targets::of_strings(Target::both(1.7, 0.45));
const COMPOUND: Targets = Targets::of_strings(Target::both(1.4, 0.7));
const TYPED: Targets = Targets::of_types(1.2);
const LARGE: Targets = Targets::of_types(1.5);

const PFCOUNT: &str = "PFCOUNT hll:0 hll:1 hll:2 hll:3 hll:4 hll:5 hll:6 hll:7 hll:8 hll:9";

pub(super) const TESTS: [Test; 19] = [
    Test::known("set", SIMPLE),
    Test::known("get", SIMPLE),
    Test::known("incr", SIMPLE),
    Test::known("hset", COMPOUND),
    Test::known("lpush", COMPOUND).on("mylist"),
    Test::known("rpop", COMPOUND).on("mylist").after(prepare::popped_list),
    Test::known("mget", COMPOUND),
    Test::known("mset", COMPOUND),
    Test::line("sadd", "SADD set member:__rand_int__", TYPED).on("set"),
    Test::line("zadd", "ZADD zset __rand_int__ member:__rand_int__", TYPED).on("zset"),
    Test::line("zadd 1M", "ZADD zset __rand_int__ member:__rand_int__", LARGE)
        .on("zset")
        .after(prepare::large_sorted_set),
    Test::line("zrange 100", "ZRANGE zset 1000 1099", TYPED)
        .on("zset")
        .after(prepare::sorted_set)
        .costing(10),
    Test::line("xadd", "XADD stream * field __data__", TYPED).on("stream"),
    Test::line("xrange 100", "XRANGE stream 1000 + COUNT 100", TYPED)
        .on("stream")
        .after(prepare::stream)
        .costing(20),
    Test::line("pfadd", "PFADD hll element:__rand_int__", TYPED).on("hll"),
    Test::line("pfcount of 10", PFCOUNT, TYPED).after(prepare::counters).costing(20),
    // Of the strings that are there: an offset must not be written as valkey-benchmark writes random numbers.
    Test::line("setbit", "SETBIT key:__rand_int__ 100 1", TYPED),
    Test::line("geosearch 100", "GEOSEARCH geo FROMLONLAT 5 5 BYRADIUS 63 km", TYPED)
        .on("geo")
        .after(prepare::places)
        .costing(20),
    Test::line("lrange 100", "LRANGE list 0 99", TYPED).on("list").after(prepare::list).costing(10),
];

impl Test {
    const fn known(name: &'static str, targets: Targets) -> Self {
        Self { name, line: None, prepare: None, key: None, cost: 1, targets }
    }

    const fn line(name: &'static str, line: &'static str, targets: Targets) -> Self {
        Self { line: Some(line), ..Self::known(name, targets) }
    }

    const fn on(self, key: &'static str) -> Self {
        Self { key: Some(key), ..self }
    }

    const fn after(self, prepare: Prepare) -> Self {
        Self { prepare: Some(prepare), ..self }
    }

    const fn costing(self, cost: u64) -> Self {
        Self { cost, ..self }
    }

    pub(super) fn target(&self, pipeline: u32) -> Option<Target> {
        match pipeline {
            64.. => Some(self.targets.deep),
            2..64 => self.targets.middle,
            _ => Some(self.targets.single),
        }
    }
}

impl Targets {
    const fn of_strings(deep: Target) -> Self {
        Self { deep, middle: Some(Target::both(1.1, 0.6)), single: Target::both(1.0, 0.75) }
    }

    const fn of_types(deep_throughput_min: f64) -> Self {
        let [deep, single] = [Target::throughput(deep_throughput_min), Target::throughput(1.0)];
        Self { deep, middle: None, single }
    }
}

impl Target {
    const fn both(throughput_min: f64, user_max: f64) -> Self {
        Self { throughput_min, user_max: Some(user_max) }
    }

    const fn throughput(throughput_min: f64) -> Self {
        Self { throughput_min, user_max: None }
    }

    pub(super) fn is_met(self, throughput: f64, user: f64) -> bool {
        self.throughput_min <= throughput && self.user_max.is_none_or(|max| user <= max)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "≥ {}", self.throughput_min)?;
        self.user_max.map_or(Ok(()), |max| write!(f, ", user ≤ {max}"))
    }
}
