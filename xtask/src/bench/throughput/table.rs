//! The tests of throughput and what we mean to reach in each. Runs nothing.

use std::fmt;

use super::prepare::{self, KEYS_16_KB, KEYS_256_KB, Prepare};

/// What one row measures: a command, sent by many connections.
#[derive(Clone, Copy)]
pub(crate) struct Test {
    pub(crate) name: &'static str,
    /// The words of a request for valkey-benchmark, or nothing where the name is that of a test it has itself.
    pub(super) line: Option<&'static str>,
    /// What the key holds when the measuring starts.
    pub(super) prepare: Option<Prepare>,
    /// Deleted after each round, so that rounds do not depend on each other.
    pub(super) key: Option<&'static str>,
    /// Simple requests that one of these is worth: so much fewer are sent.
    pub(crate) cost: u64,
    pub(crate) clients: u32,
    /// Bytes of `__data__`.
    pub(crate) value_size: u32,
    /// `__rand_int__` is below it.
    pub(super) keys: u64,
    /// The only depths of pipelines that the row is about; all that are asked for if there are none.
    pipelines: &'static [u32],
    targets: Targets,
}

/// What is to be reached, as ratios to the peer, by the depth of the pipeline.
#[derive(Clone, Copy)]
struct Targets {
    deep: Target,
    middle: Option<Target>,
    single: Target,
}

#[derive(Clone, Copy)]
pub(super) struct Target {
    throughput_min: f64,
    user_max: Option<f64>,
    /// Of all processor time, that of the kernel included.
    total_max: Option<f64>,
}

const SIMPLE: Targets = Targets::of_strings(Target::both(1.7, 0.45));
const COMPOUND: Targets = Targets::of_strings(Target::both(1.4, 0.7));
const TYPED: Targets = Targets::of_types(1.2);
const LARGE: Targets = Targets::of_types(1.5);
const COUNTED: Targets = Targets::of_strings(Target::both(2.0, 0.45));
const SMALL_HASH: Targets = Targets::of_types(1.8);
const TRIMMED: Targets = Targets::at_any_depth(Target::throughput(1.5).using(0.7));
/// What is read many bytes at a time: the kernel has most of the work.
const WIDE: Targets = Targets::at_any_depth(Target::throughput(1.0).using(0.9));
const WIDE_RANGE: Targets = TYPED.with_single(Target::throughput(1.0).using(0.9));
const SET_16_KB: Targets = Targets::at_any_depth(Target::throughput(1.2));
const SET_256_KB: Targets = Targets::at_any_depth(Target::throughput(1.1));

const SCRIPT: Targets =
    Targets { deep: Target::both(1.6, 0.6), middle: None, single: Target::throughput(1.05) };
const BUSY_SCRIPT: Targets = Targets::of_types(1.5).with_single(Target::throughput(1.0));
/// It takes all shards.
const WIDE_SCRIPT: Targets = Targets::at_any_depth(Target::throughput(0.7));

const KB: u32 = 1024;

const PFCOUNT: &str = "PFCOUNT hll:0 hll:1 hll:2 hll:3 hll:4 hll:5 hll:6 hll:7 hll:8 hll:9";

pub(crate) const TESTS: [Test; 36] = [
    Test::known("set", SIMPLE),
    Test::known("get", SIMPLE),
    Test::known("incr", COUNTED),
    Test::known("hset", COMPOUND),
    Test::line("hset small", "HSET h:__rand_int__ f v", SMALL_HASH),
    Test::known("lpush", COMPOUND).on("mylist"),
    Test::known("rpop", COMPOUND).on("mylist").after(prepare::popped_list),
    Test::known("mget", COMPOUND),
    Test::known("mset", COMPOUND),
    Test::line("sadd", "SADD set member:__rand_int__", TYPED).on("set"),
    Test::line("zadd", "ZADD zset __rand_int__ member:__rand_int__", TYPED).on("zset"),
    Test::line("zadd 1M", "ZADD zset __rand_int__ member:__rand_int__", LARGE)
        .on("zset")
        .after(prepare::large_sorted_set),
    Test::line("zrange 100", "ZRANGE zset 1000 1099", WIDE_RANGE)
        .on("zset")
        .after(prepare::sorted_set)
        .costing(10),
    Test::line("xadd", "XADD stream * field __data__", TYPED).on("stream"),
    Test::line("xadd maxlen", "XADD stream MAXLEN ~ 10000 * field __data__", TRIMMED)
        .on("stream")
        .after(prepare::stream)
        .at(&[64, 16]),
    Test::line("xadd exact maxlen", "XADD stream MAXLEN = 10000 * field __data__", TRIMMED)
        .on("stream")
        .after(prepare::stream)
        .at(&[64, 16]),
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
    Test::line("lrange 600", "LRANGE list 0 599", WIDE)
        .on("list")
        .after(prepare::list)
        .costing(25)
        .at(&[1]),
    Test::set_large("set 16 KB", SET_16_KB, 16 * KB, KEYS_16_KB).at(&[16]),
    Test::set_large("set 256 KB", SET_256_KB, 256 * KB, KEYS_256_KB).at(&[1]),
    GET_16_KB.named("get 16 KB, 10").by(10),
    GET_16_KB.named("get 16 KB, 200").by(200),
    GET_256_KB.named("get 256 KB, 10").by(10),
    GET_256_KB.named("get 256 KB, 200").by(200),
    Test::line("eval get", EVAL_GET, SCRIPT),
    Test::line("evalsha get", EVALSHA_GET, SCRIPT).after(prepare::script),
    Test::line("fcall get", "FCALL bench_get 1 key:__rand_int__", BUSY_SCRIPT)
        .after(prepare::function),
    Test::line("script limiter", EVAL_LIMITER, BUSY_SCRIPT).costing(2),
    Test::line("script 10 writes", EVAL_WRITES, BUSY_SCRIPT).costing(10),
    Test::line("script cjson 1 KB", EVAL_JSON, BUSY_SCRIPT).costing(10),
    Test::line("script undeclared", EVAL_UNDECLARED, WIDE_SCRIPT).costing(2),
];

// The words of a request are apart by spaces, so scripts have none.
const EVAL_GET: &str = "EVAL return\tredis.call('get',KEYS[1]) 1 key:__rand_int__";
const EVALSHA_GET: &str = "EVALSHA f6cf84da0d2bbd08c44cbb4dae749cdff789f25e 1 key:__rand_int__";
const EVAL_LIMITER: &str = "EVAL local\tn=redis.call('incr',KEYS[1])if\tn==1\tthen\tredis.call('expire',KEYS[1],60)end\t\
     return\tn<=tonumber(ARGV[1])and\t1\tor\t0 1 limit:__rand_int__ 100";
const EVAL_WRITES: &str = "EVAL for\ti=1,10\tdo\tredis.call('hset',KEYS[1],i,ARGV[1])end 1 fields:__rand_int__ __rand_int__";
const EVAL_JSON: &str = "EVAL local\tt={}for\ti=1,30\tdo\tt['field'..i]='a\tvalue\tof\tsome\tbytes'end\t\
     return\t#cjson.encode(cjson.decode(cjson.encode(t))) 0";
const EVAL_UNDECLARED: &str = "EVAL return\tredis.call('get','key:'..ARGV[1]) 0 __rand_int__";

const GET_16_KB: Test = Test::get_large(WIDE, 16 * KB, KEYS_16_KB).after(prepare::values_of_16_kb);
const GET_256_KB: Test =
    Test::get_large(WIDE, 256 * KB, KEYS_256_KB).after(prepare::values_of_256_kb);

impl Test {
    pub(crate) const SET_VALUES: Self = Self::line("set", "SET value:__rand_int__ __data__", TYPED);
    pub(crate) const GET_VALUES: Self = Self::line("get", "GET value:__rand_int__", TYPED);

    const fn known(name: &'static str, targets: Targets) -> Self {
        Self {
            name,
            line: None,
            prepare: None,
            key: None,
            cost: 1,
            clients: 50,
            value_size: 64,
            keys: 1_000_000,
            pipelines: &[],
            targets,
        }
    }

    const fn line(name: &'static str, line: &'static str, targets: Targets) -> Self {
        Self { line: Some(line), ..Self::known(name, targets) }
    }

    /// As many requests as take a second or so.
    const fn set_large(name: &'static str, targets: Targets, value_size: u32, keys: u64) -> Self {
        let cost = value_size as u64 / 1024;
        let test = Self::line(name, "SET large:__rand_int__ __data__", targets);
        Self { cost, ..test.sized(value_size, keys) }
    }

    const fn get_large(targets: Targets, value_size: u32, keys: u64) -> Self {
        let cost = 1 + value_size as u64 / 4096;
        let test = Self::line("get large", "GET large:__rand_int__", targets).at(&[1]);
        Self { cost, ..test.sized(value_size, keys) }
    }

    pub(crate) const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Sent by so many connections.
    pub(crate) const fn by(self, clients: u32) -> Self {
        Self { clients, ..self }
    }

    /// With values of so many bytes under so many keys.
    pub(crate) const fn sized(self, value_size: u32, keys: u64) -> Self {
        Self { value_size, keys, ..self }
    }

    /// Whether its requests and replies are short, so that nothing but their number counts.
    pub(crate) fn is_small(&self) -> bool {
        self.cost == 1 && self.pipelines.is_empty()
    }

    const fn at(self, pipelines: &'static [u32]) -> Self {
        Self { pipelines, ..self }
    }

    /// Whether the row is about pipelines of this depth.
    pub(crate) fn is_for(&self, pipeline: u32) -> bool {
        self.pipelines.is_empty() || self.pipelines.contains(&pipeline)
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

    const fn at_any_depth(target: Target) -> Self {
        Self { deep: target, middle: Some(target), single: target }
    }

    const fn with_single(self, single: Target) -> Self {
        Self { single, ..self }
    }

    const fn of_types(deep_throughput_min: f64) -> Self {
        let [deep, single] = [Target::throughput(deep_throughput_min), Target::throughput(1.0)];
        Self { deep, middle: None, single }
    }
}

impl Target {
    const fn both(throughput_min: f64, user_max: f64) -> Self {
        Self { throughput_min, user_max: Some(user_max), total_max: None }
    }

    const fn throughput(throughput_min: f64) -> Self {
        Self { throughput_min, user_max: None, total_max: None }
    }

    const fn using(self, total_max: f64) -> Self {
        Self { total_max: Some(total_max), ..self }
    }

    pub(super) fn is_met(self, throughput: f64, user: f64, total: f64) -> bool {
        self.throughput_min <= throughput
            && self.user_max.is_none_or(|max| user <= max)
            && self.total_max.is_none_or(|max| total <= max)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "≥ {}", self.throughput_min)?;
        self.user_max.map_or(Ok(()), |max| write!(f, ", user ≤ {max}"))?;
        self.total_max.map_or(Ok(()), |max| write!(f, ", cpu ≤ {max}"))
    }
}
