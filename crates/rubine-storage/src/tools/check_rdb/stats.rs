//! What a dump file holds, by database and type, in the words and layouts of `valkey-check-rdb --stats`, which counts the
//! members of small sorted sets twice, though.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use rubine_base::number::DoubleText;
use rubine_structures::stream::{Direction, StreamId};
use rubine_structures::value::Value;

/// The types, in the order in which they are told.
const TYPES: [&str; 7] = ["string", "list", "set", "zset", "hash", "module", "stream"];

/// What larger values have in common is not asked for.
const ELEMENTS_MAX: u64 = 200 * 1024;
const ELEMENT_BYTES_MAX: u64 = 1024 * 1024;
/// Decimal digits that a percentile is good for.
const PRECISION: u8 = 3;

/// How statistics are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    /// A line for each figure, a column for each type.
    #[default]
    Table,
    /// The same with commas.
    Csv,
    /// A line for each figure of each type.
    Info,
}

impl Format {
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"table" => Some(Self::Table),
            b"csv" => Some(Self::Csv),
            b"info" => Some(Self::Info),
            _ => None,
        }
    }
}

/// A key, as far as it is counted.
pub(super) struct Counted {
    pub(super) db: u64,
    pub(super) type_name: &'static str,
    pub(super) key_bytes: usize,
    pub(super) has_deadline: bool,
    pub(super) is_expired: bool,
}

/// The figures of all keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Stats {
    by_place: BTreeMap<(u64, &'static str), Figures>,
}

impl Stats {
    /// Counts a key, and its value, if that can be looked into.
    pub(super) fn add(&mut self, key: &Counted, value: Option<&Value<'_>>) {
        let figures = self.by_place.entry((key.db, key.type_name)).or_default();
        figures.keys += 1;
        figures.key_bytes += key.key_bytes as u64;
        figures.with_deadline += u64::from(key.has_deadline);
        figures.expired += u64::from(key.is_expired);
        if let Some(value) = value {
            figures.add_value(value);
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (place, figures) in other.by_place {
            self.by_place.entry(place).or_default().merge(&figures);
        }
    }

    /// The first database, and all that have keys.
    pub(super) fn text(&self, format: Format) -> String {
        let mut text = String::new();
        let mut dbs: Vec<u64> = self.by_place.keys().map(|&(db, _)| db).chain([0]).collect();
        dbs.sort_unstable();
        dbs.dedup();
        for db in dbs {
            self.write_db(db, format, &mut text);
        }
        text
    }

    fn write_db(&self, db: u64, format: Format, text: &mut String) {
        const SOUND: &str = "a string takes everything";
        let none = Figures::default();
        let figures = TYPES.map(|name| (name, self.by_place.get(&(db, name)).unwrap_or(&none)));
        if format != Format::Info {
            let names = figures.map(|(name, _)| name.to_owned());
            write_row(&format!("db.{db}.type.name"), &names, format, text);
        }
        for (name, figure) in FIGURES {
            if format == Format::Info {
                for (type_name, figures) in figures {
                    let value = figure(figures);
                    writeln!(text, "[info] db.{db}.type.{type_name}.{name}:{value}").expect(SOUND);
                }
            } else {
                let values = figures.map(|(_, figures)| figure(figures));
                write_row(&format!("db.{db}.{name}"), &values, format, text);
            }
        }
    }
}

fn write_row(name: &str, values: &[String], format: Format, text: &mut String) {
    const SOUND: &str = "a string takes everything";
    if format == Format::Csv {
        writeln!(text, "{name},{}", values.join(",")).expect(SOUND);
    } else {
        let columns = values.iter().map(|value| format!("\t{value:<5}"));
        writeln!(text, "{name:<30}{}", columns.collect::<String>()).expect(SOUND);
    }
}

type Figure = fn(&Figures) -> String;

/// Every figure, in the order in which they are told.
const FIGURES: [(&str, Figure); 17] = [
    ("keys.total", |it| it.keys.to_string()),
    ("expire_keys.total", |it| it.with_deadline.to_string()),
    ("already_expired.total", |it| it.expired.to_string()),
    ("keys.size", |it| it.key_bytes.to_string()),
    ("keys.value_size", |it| it.sizes.sum.to_string()),
    ("elements.total", |it| it.counts.sum.to_string()),
    ("elements.size", |it| it.sizes.sum.to_string()),
    ("elements.num.max", |it| it.counts.max.to_string()),
    ("elements.num.avg", |it| mean(it.counts.sum, it.keys)),
    ("elements.num.p99", |it| it.counts.percentile(99.0)),
    ("elements.num.p90", |it| it.counts.percentile(90.0)),
    ("elements.num.p50", |it| it.counts.percentile(50.0)),
    ("elements.size.max", |it| it.sizes.max.to_string()),
    ("elements.size.avg", |it| mean(it.sizes.sum, it.counts.sum)),
    ("elements.size.p99", |it| it.sizes.percentile(99.0)),
    ("elements.size.p90", |it| it.sizes.percentile(90.0)),
    ("elements.size.p50", |it| it.sizes.percentile(50.0)),
];

fn mean(sum: u64, count: u64) -> String {
    let mean = if count == 0 { 0.0 } else { sum as f64 / count as f64 };
    format!("{mean:.2}")
}

/// What is counted of the keys of one type in one database.
#[derive(Clone, Debug)]
struct Figures {
    keys: u64,
    with_deadline: u64,
    expired: u64,
    key_bytes: u64,
    /// Elements of each value.
    counts: Distribution,
    /// Bytes of each element.
    sizes: Distribution,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            keys: 0,
            with_deadline: 0,
            expired: 0,
            key_bytes: 0,
            counts: Distribution::up_to(ELEMENTS_MAX),
            sizes: Distribution::up_to(ELEMENT_BYTES_MAX),
        }
    }
}

impl Figures {
    fn add_value(&mut self, value: &Value<'_>) {
        let sizes = &mut self.sizes;
        let count = match value {
            Value::Int(number) => {
                sizes.add(number.to_string().len());
                1
            }
            Value::Bytes(bytes) | Value::Raw(bytes) => {
                sizes.add(bytes.len());
                1
            }
            Value::Shared(bytes) => {
                sizes.add(bytes.len());
                1
            }
            Value::List(list) => {
                list.iter().for_each(|item| sizes.add(item.len()));
                list.len() as u64
            }
            Value::Set(set) => {
                set.iter().for_each(|member| sizes.add(member.to_vec().len()));
                set.len()
            }
            Value::SortedSet(set) => {
                // A score counts as its text.
                let len = |score| DoubleText::of(score).as_bytes().len();
                set.iter().for_each(|(member, score)| sizes.add(member.len() + len(score)));
                set.len()
            }
            Value::Hash(hash) => {
                hash.iter().for_each(|it| sizes.add(it.key.len() + it.value.len()));
                hash.len()
            }
            Value::Stream(stream) => {
                for entry in stream.range(StreamId::MIN, StreamId::MAX, Direction::Ascending) {
                    entry.fields().for_each(|(field, value)| sizes.add(field.len() + value.len()));
                }
                stream.len()
            }
        };
        self.counts.add(count as usize);
    }

    fn merge(&mut self, other: &Self) {
        self.keys += other.keys;
        self.with_deadline += other.with_deadline;
        self.expired += other.expired;
        self.key_bytes += other.key_bytes;
        self.counts.merge(&other.counts);
        self.sizes.merge(&other.sizes);
    }
}

/// Numbers, with their sum, the largest, and percentiles of those that are not too large.
#[derive(Clone, Debug)]
struct Distribution {
    sum: u64,
    max: u64,
    histogram: Histogram<u64>,
}

impl Distribution {
    fn up_to(max: u64) -> Self {
        let histogram = Histogram::new_with_bounds(1, max, PRECISION);
        Self { sum: 0, max: 0, histogram: histogram.expect("the bounds are in order") }
    }

    fn add(&mut self, number: usize) {
        let number = number as u64;
        self.sum += number;
        self.max = self.max.max(number);
        // What is too large is left out.
        let _ = self.histogram.record(number);
    }

    fn merge(&mut self, other: &Self) {
        self.sum += other.sum;
        self.max = self.max.max(other.max);
        self.histogram.add(&other.histogram).expect("both have the same bounds");
    }

    fn percentile(&self, percent: f64) -> String {
        format!("{:.2}", self.histogram.value_at_percentile(percent) as f64)
    }
}

#[cfg(test)]
mod tests {
    use rubine_structures::list::{ChunkLimit, End, List};
    use rubine_structures::value::Value;

    use super::{Counted, Format, Stats};

    fn counted(db: u64, type_name: &'static str) -> Counted {
        Counted { db, type_name, key_bytes: 3, has_deadline: true, is_expired: false }
    }

    fn stats() -> Stats {
        let mut stats = Stats::default();
        let mut list = List::default();
        for len in 0..4 {
            list.push(End::Back, &vec![b'x'; len], ChunkLimit::from_directive(-2));
        }
        stats.add(&counted(2, "list"), Some(&Value::List(list)));
        let mut others = Stats::default();
        others.add(&counted(2, "string"), Some(&Value::Int(-12)));
        others.add(&counted(2, "string"), Some(&Value::Bytes(b"hello".into())));
        others.add(&counted(2, "module"), None);
        stats.merge(others);
        stats
    }

    #[test]
    fn every_figure_has_a_line_for_each_type() {
        let text = stats().text(Format::Info);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2 * 17 * 7, "{text}");
        for line in [
            "[info] db.0.type.string.keys.total:0",
            "[info] db.2.type.string.keys.total:2",
            "[info] db.2.type.string.expire_keys.total:2",
            "[info] db.2.type.string.keys.size:6",
            "[info] db.2.type.string.keys.value_size:8",
            "[info] db.2.type.string.elements.size.avg:4.00",
            "[info] db.2.type.list.elements.total:4",
            "[info] db.2.type.list.elements.num.p50:4.00",
            "[info] db.2.type.list.elements.size.max:3",
            "[info] db.2.type.list.elements.size.avg:1.50",
            "[info] db.2.type.module.keys.total:1",
        ] {
            assert!(lines.contains(&line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_table_has_a_column_for_each_type() {
        let text = stats().text(Format::Csv);
        assert!(
            text.contains("\ndb.2.type.name,string,list,set,zset,hash,module,stream\n"),
            "{text}"
        );
        assert!(text.contains("\ndb.2.keys.total,2,1,0,0,0,1,0\n"), "{text}");
        let text = stats().text(Format::Table);
        assert!(text.contains("\ndb.2.keys.total               \t2    \t1    \t0    \t"), "{text}");
    }
}
