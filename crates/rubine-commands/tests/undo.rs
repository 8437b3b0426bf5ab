//! Units of random commands that are taken back, in whole and from a mark on: nothing may show that they ever ran.

#![forbid(unsafe_code)]

use std::time::Duration;

use rubine_base::random::Random;
use rubine_testing::in_process::{Expiry, InProcess};
use rubine_testing::target::{ClientIndex, Target};

/// Commands of every type and on whole databases. Words in capital letters at their end: K is a key, V a value, N a
/// small number, D a database.
const COMMANDS: &str = "\
SET K V|SET K V PX N|APPEND K V|SETRANGE K N V|INCRBY K N|INCRBYFLOAT K 1.5|GETDEL K|GETEX K PX N|MSET K V K V|GETSET K V
SETBIT K N 1|BITFIELD K SET u8 N 7 INCRBY u4 N 3|BITOP XOR K K K|PFADD K V V|PFMERGE K K K|PFCOUNT K
LPUSH K V V V|RPUSH K V|LPOP K N|RPOP K|LSET K N V|LINSERT K BEFORE V V|LREM K N V|LTRIM K 0 N|LMOVE K K LEFT RIGHT
SADD K V V V|SREM K V|SPOP K N|SMOVE K K V|SINTERSTORE K K K|SUNIONSTORE K K K|SDIFFSTORE K K K|SADD K N N N
HSET K V V V V|HDEL K V|HINCRBY K V N|HPEXPIRE K N FIELDS 1 V|HPERSIST K FIELDS 1 V|HGETEX K PX N FIELDS 1 V|HGETDEL K FIELDS 1 V
HPEXPIRE K 0 FIELDS 1 V|ZADD K N V N V|ZINCRBY K N V|ZREM K V|ZPOPMIN K N|ZPOPMAX K|ZRANGESTORE K K 0 N|ZUNIONSTORE K 2 K K
ZINTERSTORE K 2 K K|ZREMRANGEBYRANK K 0 N|ZDIFFSTORE K 2 K K|GEOADD K 1.5 N V|GEOSEARCHSTORE K K FROMLONLAT 1 1 BYRADIUS 900 km
XADD K * V V|XADD K MAXLEN N * V V|XGROUP CREATE K V 0 MKSTREAM|XGROUP DESTROY K V|XREADGROUP GROUP V V COUNT N STREAMS K >
XREADGROUP GROUP V V STREAMS K 0|XAUTOCLAIM K V V 0 0|XTRIM K MAXLEN N|XGROUP DELCONSUMER K V V|XSETID K 9999999999999999-1
SORT K ALPHA STORE K|SORT K BY nosort STORE K|DEL K K|UNLINK K|RENAME K K|RENAMENX K K|COPY K K REPLACE|COPY K K DB D REPLACE
MOVE K D|PEXPIRE K N|PEXPIRE K 0|PERSIST K|TOUCH K|EXPIREAT K 1|PEXPIREAT K 1800000000005|RANDOMKEY|SCAN 0|KEYS *|DBSIZE
GET K|TYPE K|EXISTS K K|OBJECT ENCODING K|LRANGE K 0 -1|HGETALL K|SMEMBERS K|ZRANGE K 0 -1|XRANGE K - +|DUMP K
BLPOP K 0|BLMOVE K K LEFT LEFT 0|BZPOPMIN K 0|XREAD BLOCK 0 STREAMS K 0";

/// Commands on whole databases, which come less often.
const WHOLE: &str = "FLUSHDB|FLUSHALL|SWAPDB D D|SWAPDB 0 1|DEBUG DIGEST";

const KEYS: u64 = 12;
const VALUES: u64 = 6;
const DATABASES: u64 = 3;

fn word(pattern: &str, random: &mut Random) -> Vec<u8> {
    match pattern {
        "K" => format!("key:{}", random.below(KEYS)).into_bytes(),
        "V" if random.below(8) == 0 => vec![b'v'; random.below(20_000) as usize],
        "V" => format!("v{}", random.below(VALUES)).into_bytes(),
        "N" => random.below(20).to_string().into_bytes(),
        "D" => random.below(DATABASES).to_string().into_bytes(),
        _ => pattern.as_bytes().to_vec(),
    }
}

fn command(random: &mut Random) -> (usize, Vec<Vec<u8>>) {
    let all = if random.below(12) == 0 { WHOLE } else { COMMANDS };
    let patterns: Vec<_> = all.split(['|', '\n']).collect();
    let pattern = patterns[random.below(patterns.len() as u64) as usize];
    let args = pattern.split(' ').map(|it| word(it, random)).collect();
    (random.below(DATABASES) as usize, args)
}

fn send(server: &mut InProcess, client: ClientIndex, args: &[Vec<u8>]) {
    server.send(client, args).expect("nothing can fail in this process");
    server.receive(client, Duration::ZERO).expect("it is RESP");
}

#[test]
fn random_units_can_be_taken_back() {
    for seed in 0..4 {
        let expiry = if seed % 2 == 0 { Expiry::Lazy } else { Expiry::Active };
        let mut server = InProcess::new(expiry);
        let client = server.connect().expect("nothing can fail in this process");
        let random = &mut Random::with_seed(seed);
        for _ in 0..60 {
            let count = 1 + random.below(24);
            let unit: Vec<_> = (0..count).map(|_| command(random)).collect();
            server.rehearse(&unit, random.below(2) == 0);
            // What stands, so that the next unit finds other keys. A client that waits would do nothing more.
            let is_standing = |args: &[Vec<u8>]| {
                !args[0].starts_with(b"B") && !args[0].starts_with(b"FLUSH") && args[0] != b"XREAD"
            };
            for _ in 0..4 {
                let (db, args) = command(random);
                if is_standing(&args) {
                    send(&mut server, client, &[b"SELECT".to_vec(), db.to_string().into_bytes()]);
                    send(&mut server, client, &args);
                }
            }
            server.advance(Duration::from_millis(random.below(3))).expect("time passes");
        }
    }
}

/// Values of many pieces, of which a unit changes some: a clone shares the others.
#[test]
fn large_values_can_be_taken_back() {
    let mut server = InProcess::new(Expiry::Lazy);
    let client = server.connect().expect("nothing can fail in this process");
    let random = &mut Random::with_seed(7);
    let words = |line: &str| line.split(' ').map(|it| it.as_bytes().to_vec()).collect::<Vec<_>>();
    for index in 0..600 {
        for line in [
            format!("RPUSH key:0 item:{index}"),
            format!("SADD key:1 item:{index}"),
            format!("HSET key:2 item:{index} {index}"),
            format!("ZADD key:3 {index} item:{index}"),
            format!("XADD key:4 {}-1 field {index}", index + 1),
        ] {
            send(&mut server, client, &words(&line));
        }
    }
    send(&mut server, client, &words("XGROUP CREATE key:4 v1 0"));
    send(&mut server, client, &words("XREADGROUP GROUP v1 v2 COUNT 300 STREAMS key:4 >"));
    for round in 0..12 {
        let unit: Vec<_> = (0..20)
            .map(|_| {
                let index = random.below(600);
                let line = match random.below(10) {
                    0 => format!("LSET key:0 {index} changed"),
                    1 => "LPOP key:0 5".to_owned(),
                    2 => format!("SREM key:1 item:{index}"),
                    3 => format!("HSET key:2 item:{index} changed"),
                    4 => format!("HPEXPIRE key:2 1000 FIELDS 1 item:{index}"),
                    5 => format!("ZADD key:3 0.5 item:{index}"),
                    6 => format!("XDEL key:4 {index}-1"),
                    7 => format!("XACK key:4 v1 {index}-1"),
                    8 => format!("RENAME key:{} key:5", random.below(6)),
                    _ => format!("COPY key:{} key:6 REPLACE", random.below(6)),
                };
                (0, words(&line))
            })
            .collect();
        server.rehearse(&unit, round % 2 == 0);
    }
}
