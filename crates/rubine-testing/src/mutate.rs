//! Good bytes made bad: what a fuzzer without a special compiler feeds to readers. Never looks at what the bytes mean.

use rubine_base::random::Random;

/// How many bad ones a test makes of each good one; `RUBINE_MUTATIONS` asks for more.
const COUNT: u64 = 60;
/// Changes to one of them.
const CHANGES_MAX: u64 = 6;
/// Bytes of a piece that is moved, doubled or taken out.
const PIECE_BYTES_MAX: u64 = 40;
/// Where lengths and kinds end.
const EDGES: [u8; 8] = [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xc3, 0xff];

/// Calls `check` with one bad version of `good` after the other. The first is `good` itself.
pub fn for_each(good: &[u8], seed: u64, mut check: impl FnMut(&[u8])) {
    let count = std::env::var("RUBINE_MUTATIONS").ok().and_then(|it| it.parse().ok());
    let mut random = Random::with_seed(seed);
    check(good);
    for _ in 0..count.unwrap_or(COUNT) {
        let mut bad = good.to_vec();
        for _ in 0..=random.below(CHANGES_MAX) {
            change(&mut bad, &mut random);
        }
        check(&bad);
    }
}

fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len() as u64) as usize;
    let piece = at..bytes.len().min(at + 1 + random.below(PIECE_BYTES_MAX) as usize);
    match random.below(8) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.below(256) as u8,
        2 => bytes[at] = EDGES[random.below(EDGES.len() as u64) as usize],
        3 => bytes[piece].fill(EDGES[random.below(EDGES.len() as u64) as usize]),
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(piece)),
        6 => bytes.insert(at, random.below(256) as u8),
        _ => {
            let copy = bytes[piece].to_vec();
            let to = random.below(bytes.len() as u64) as usize;
            bytes.splice(to..to, copy);
        }
    }
}
