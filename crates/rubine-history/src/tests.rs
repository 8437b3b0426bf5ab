//! Histories against plain lists of values, and files that are damaged.

use proptest::prelude::*;

use super::{BYTES_MAX, Damage, History, QuestionError, SERIES_MAX, SLOTS_MAX, Summary};

const START: u64 = 1_796_000_400;

fn record(history: &mut History, slot: u64, values: &[(&str, f64)]) {
    history.record(START + slot * 10, values.iter().copied());
}

/// All values of one series, with their slots.
fn values(history: &History, name: &str) -> Vec<(u64, f64)> {
    let answer = history.ask(name).answer(START, START + 200_000, 10, Summary::Last);
    let (_, points) = answer.unwrap().remove(0);
    points.into_iter().map(|(at, value)| ((at - START) / 10, value)).collect()
}

#[test]
fn what_was_is_answered() {
    let mut history = History::default();
    for slot in 0..60 {
        let counter = if slot < 30 { slot as f64 * 5.0 } else { (slot - 30) as f64 };
        record(
            &mut history,
            slot,
            &[("c", counter), ("g{db=\"0\"}", 0.5), ("g{db=\"1\"}", 7.0), ("gg", 1.0)],
        );
    }
    let ask = |name: &str, from: u64, to: u64, step: u64, summary| {
        let answer = history.ask(name).answer(START + from, START + to, step, summary);
        let answer = answer.map_err(|it| it.to_string())?;
        let series = answer.into_iter().map(|(name, points)| {
            let points = points.into_iter().map(|(at, value)| format!("{}={value}", at - START));
            format!("{name}: {}", points.collect::<Vec<_>>().join(" "))
        });
        Ok::<_, String>(series.collect::<Vec<_>>().join("; "))
    };
    let check = |name, from, to, step, summary, expected: &str| {
        assert_eq!(ask(name, from, to, step, summary).unwrap(), expected, "{name} {summary:?}");
    };
    check("c", 0, 50, 10, Summary::Last, "c: 0=0 10=5 20=10 30=15 40=20");
    check("c", 0, 60, 30, Summary::Average, "c: 0=5 30=20");
    check("c", 0, 60, 30, Summary::Min, "c: 0=0 30=15");
    check("c", 0, 60, 30, Summary::Max, "c: 0=10 30=25");
    check("c", 0, 60, 30, Summary::Rate, "c: 0=0.5 30=0.5");
    // It began anew at 300 s.
    check("c", 290, 320, 10, Summary::Rate, "c: 290=0.5 300=0 310=0.1");
    check("g", 0, 20, 10, Summary::Last, "g{db=\"0\"}: 0=0.5 10=0.5; g{db=\"1\"}: 0=7 10=7");
    check("g{db=\"1\"}", 590, 700, 10, Summary::Last, "g{db=\"1\"}: 590=7");
    check("c", 5000, 6000, 10, Summary::Last, "c: ");
    let why = |name, from, to, step| history.ask(name).answer(from, to, step, Summary::Last).err();
    assert_eq!(why("x", 0, 10, 10), Some(QuestionError::NoSeries));
    assert_eq!(why("g{", 0, 10, 10), Some(QuestionError::NoSeries));
    assert_eq!(why("c", 10, 10, 10), Some(QuestionError::NoTime));
    assert_eq!(why("c", 0, 10, 9), Some(QuestionError::NoTime));
    assert_eq!(why("c", 0, u64::MAX, 10), Some(QuestionError::TooManyPoints));
    let names: Vec<_> = history.list().iter().map(|it| it.name.to_string()).collect();
    assert_eq!(names, ["c", "gg", "g{db=\"0\"}", "g{db=\"1\"}"]);
}

#[test]
fn a_clock_that_is_set_harms_nothing() {
    let mut history = History::default();
    record(&mut history, 10, &[("m", 1.0)]);
    record(&mut history, 10, &[("m", 2.0)]);
    record(&mut history, 5, &[("m", 3.0)]);
    record(&mut history, 11, &[("m", 4.0)]);
    record(&mut history, 400, &[("m", 5.5)]);
    record(&mut history, 399, &[("m", 6.0)]);
    assert_eq!(values(&history, "m"), [(10, 1.0), (11, 4.0), (400, 5.5)]);
    record(&mut history, 500, &[("m", f64::NAN), ("i", f64::INFINITY)]);
    assert_eq!(history.series_count(), (1, 0));
}

#[test]
fn a_day_is_kept_within_bounds() {
    // What a busy server has: many series that stand still, many counters, some noise.
    let names: Vec<String> = (0..500).map(|it| format!("metric_{it}{{cmd=\"x\"}}")).collect();
    let mut history = History::default();
    let mut seed: u64 = 1;
    let mut counters = vec![0.0; names.len()];
    for slot in 0..SLOTS_MAX + 1000 {
        let moment = names.iter().enumerate().map(|(index, name)| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let noise = (seed >> 40) as f64;
            let value = &mut counters[index];
            match index % 6 {
                0 => *value += (noise / 100.0).floor(),
                1 => *value = noise / 1e6,
                _ => {}
            }
            (name.as_str(), *value)
        });
        history.record(START + slot * 10, moment);
        assert!(slot % 500 != 0 || history.bytes() <= BYTES_MAX, "{}", history.bytes());
    }
    assert!(history.bytes() <= BYTES_MAX);
    let listed = history.list();
    assert_eq!(listed.len(), names.len());
    let last = START + (SLOTS_MAX + 999) * 10;
    assert!(listed.iter().all(|it| it.last == last && last - it.first < 25 * 3600));
    assert!(history.to_bytes().len() < BYTES_MAX);
}

#[test]
fn noise_shortens_the_past_and_breaks_no_bound() {
    let names: Vec<String> = (0..SERIES_MAX + 50).map(|it| format!("m{it}")).collect();
    let mut history = History::default();
    let mut seed: u64 = 1;
    for slot in 0..1500 {
        let moment = names.iter().map(|name| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (name.as_str(), f64::from_bits(seed >> 2 | 1 << 61))
        });
        history.record(START + slot * 10, moment);
    }
    assert_eq!(history.series_count(), (SERIES_MAX, 50));
    assert!(history.bytes() <= BYTES_MAX, "{}", history.bytes());
    let first = history.list()[0].first;
    assert!(START < first && first < START + 15_000);
}

#[test]
fn a_damaged_file_is_told() {
    let mut history = History::default();
    for slot in 0..800 {
        record(&mut history, slot, &[("a", (slot * slot) as f64), ("b", 1.0 / slot as f64)]);
    }
    let bytes = history.to_bytes();
    let again = History::from_bytes(&bytes).unwrap();
    assert_eq!(values(&again, "a"), values(&history, "a"));
    assert_eq!(again.to_bytes(), bytes);
    for len in 0..bytes.len() {
        assert!(History::from_bytes(&bytes[..len]).is_err(), "{len}");
    }
    for at in (0..bytes.len()).step_by(7) {
        let mut spoilt = bytes.clone();
        spoilt[at] ^= 1 << (at % 8);
        assert!(History::from_bytes(&spoilt).is_err(), "{at}");
    }
    assert_eq!(History::from_bytes(b"REDIS0011").err(), Some(Damage::NoHistory));
    // It goes on where it was.
    let mut again = again;
    record(&mut again, 800, &[("a", 5.0)]);
    assert_eq!(values(&again, "a").len(), 801);
}

proptest! {
    #[test]
    fn what_is_written_reads_back_to_the_bit(
        steps in prop::collection::vec((1_u64..5, prop_oneof![
            any::<i32>().prop_map(f64::from),
            (0_i64..20).prop_map(|it| it as f64),
            any::<f64>().prop_filter("finite", |it| it.is_finite()),
            Just(-0.0),
            Just(9_007_199_254_740_993.0),
            Just(-9_007_199_254_740_991.0),
        ]), 1..800),
    ) {
        let mut history = History::default();
        let mut expected = Vec::new();
        let mut slot = 0;
        for (distance, value) in steps {
            slot += distance;
            record(&mut history, slot, &[("m", value)]);
            expected.push((slot, value.to_bits()));
        }
        let bits = |history: &History| -> Vec<(u64, u64)> {
            values(history, "m").into_iter().map(|(slot, value)| (slot, value.to_bits())).collect()
        };
        prop_assert_eq!(&bits(&history), &expected);
        let again = History::from_bytes(&history.to_bytes()).unwrap();
        prop_assert_eq!(&bits(&again), &expected);
    }

    /// With a checksum that is right, since that is no defence against somebody.
    #[test]
    fn no_bytes_panic(spoilt in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut history = History::default();
        for slot in 0..400 {
            record(&mut history, slot, &[("a", (slot * slot % 97) as f64), ("b", 1.0 / slot as f64)]);
        }
        let mut bytes = history.to_bytes();
        bytes.truncate(bytes.len() - 8);
        for (index, value) in spoilt {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let sum = rubine_base::crc::crc64(0, &bytes);
        bytes.extend(sum.to_le_bytes());
        let _ = History::from_bytes(&bytes);
    }
}
