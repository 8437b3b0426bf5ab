//! The section of INFO about how large keys are, by database and type.

use rubine_keyspace::{SHARD_COUNT, SizeBins, SizedType, Sizes};

use super::{Source, Text};

/// Records of one database that are looked at. If it has more, what these make likely is told.
const SURVEYED_MAX: usize = 16_384;

pub(super) fn keysizes(source: &Source<'_>, text: &mut Text) {
    let mut counts: Vec<usize> = Vec::new();
    source.for_each_shard(|shard| {
        if counts.len() < shard.db_count() {
            counts.resize(shard.db_count(), 0);
        }
        for (db, count) in counts.iter_mut().enumerate() {
            *count += shard.len(db);
        }
    });
    let shows_memory = source.server.config.load().key_memory_histograms;
    for (db, &count) in counts.iter().enumerate().filter(|it| *it.1 != 0) {
        let is_small = count <= SURVEYED_MAX;
        let per_shard = if is_small { usize::MAX } else { SURVEYED_MAX / SHARD_COUNT };
        let mut sizes = Sizes::default();
        source.for_each_shard(|shard| shard.count_sizes(db, per_shard, &mut sizes));
        let examined = sizes.examined.max(1);
        let count = if is_small { examined } else { count as u64 };
        let scaled = |bin: u64| (u128::from(bin) * u128::from(count)).div_ceil(examined.into());
        for sized in SizedType::ALL {
            let name = match sized {
                SizedType::String => "strings_sizes",
                SizedType::List => "lists_items",
                SizedType::Set => "sets_items",
                SizedType::SortedSet => "zsets_items",
                SizedType::Hash => "hashes_items",
            };
            write(text, db, name, &sizes.lengths[sized as usize], scaled);
        }
        for sized in SizedType::ALL.into_iter().filter(|_| shows_memory) {
            let name = match sized {
                // That name is taken.
                SizedType::String => continue,
                SizedType::List => "lists_sizes",
                SizedType::Set => "sets_sizes",
                SizedType::SortedSet => "zsets_sizes",
                SizedType::Hash => "hashes_sizes",
            };
            write(text, db, name, &sizes.memory[sized as usize], scaled);
        }
    }
}

fn write(text: &mut Text, db: usize, name: &str, bins: &SizeBins, scaled: impl Fn(u64) -> u128) {
    let bins = bins.iter().enumerate().filter(|(_, keys)| **keys != 0);
    let bins: Vec<String> =
        bins.map(|(bin, &keys)| format!("{}={}", label(bin), scaled(keys))).collect();
    if !bins.is_empty() {
        text.field(&format!("db{db}_distrib_{name}"), bins.join(","));
    }
}

/// The smallest size of a bin: `0`, `1`, `512`, `1K`, `2M`.
fn label(bin: usize) -> String {
    const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
    match bin.checked_sub(1) {
        None => "0".to_owned(),
        Some(power) => format!("{}{}", 1 << (power % 10), UNITS[(power / 10).min(6)]),
    }
}

#[cfg(test)]
mod tests {
    use super::label;

    #[test]
    fn labels() {
        let cases =
            [(0, "0"), (1, "1"), (10, "512"), (11, "1K"), (12, "2K"), (21, "1M"), (60, "512P")];
        for (bin, expected) in cases {
            assert_eq!(label(bin), expected);
        }
    }
}
