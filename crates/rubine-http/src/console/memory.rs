//! What takes memory: a job that measures a sample of the keys, by prefix, and the largest of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use maud::{Markup, html};
use rubine_resp::decode::Value;

use super::deletion::PREFIXES;
use super::keys::{cursor_and_items, key_address, name};
use super::page::{address, form_token};
use super::show::{count, size};
use super::{Outcome, Visit, keys};
use crate::jobs::{Job, Sizes};
use crate::link::{Link, LinkError};

/// Keys that are measured, if nothing else is said, and at most.
const SAMPLE: u64 = 20_000;
const SAMPLE_MAX: u64 = 1_000_000;
/// Keys that are measured together.
const STEP: &[u8] = b"200";
/// Prefixes that are told apart, and those and keys that are shown.
const PREFIXES_MAX: usize = 10_000;
const SHOWN_MAX: usize = 30;

pub(super) fn show(visit: &Visit<'_>) -> Outcome {
    let db = visit.db();
    let jobs = visit.context.jobs.of_user(&visit.session.user());
    let content = html! {
        form.edit method="post" action=(address("memory")) {
            (form_token(visit))
            label { "Database" input type="number" min="0" name="db" value=(db); }
            label { "Separator" input name="separator" value=":"; }
            label { "Keys to measure" input type="number" min="100" max=(SAMPLE_MAX) name="sample" value=(SAMPLE); }
            p.note { "A sample is taken: keys come in the order of their hashes, so the first ones are like all others." }
            button.main name="act" value="measure" { "Measure" }
        }
        @for job in jobs.iter().filter(|it| it.title.starts_with(PREFIXES[1])) { (report(visit, job)) }
    };
    Outcome::Page("Memory", content)
}

fn report(visit: &Visit<'_>, job: &Job) -> Markup {
    let state = job.state.lock().clone();
    let db = job
        .title
        .split(' ')
        .nth(2)
        .and_then(|it| it.trim_end_matches(':').parse().ok())
        .unwrap_or(0);
    html! {
        section.job data-job=(job.id) data-over=(state.is_over) {
            h2 { (job.title) }
            progress max="100" value=(format!("{:.1}", job.percent())) {}
            p {
                (count(job.found.load(Relaxed) as f64)) " keys were measured"
                @if let Some(sizes) = &state.sizes { ", " (size(sizes.bytes as f64)) " together" } "."
            }
            @if let Some(fault) = &state.fault { (super::page::fault(fault)) }
            @if !state.is_over {
                form method="post" action=(address("memory")) {
                    (form_token(visit))
                    input type="hidden" name="job" value=(job.id);
                    button name="act" value="stop" { "Stop" }
                    " " a href=(address("memory")) { "Look again" }
                }
            }
            @if let Some(sizes) = &state.sizes { (tables(db, sizes)) }
        }
    }
}

fn tables(db: u64, sizes: &Sizes) -> Markup {
    let part = |bytes: u64| format!("{:.1} %", bytes as f64 * 100.0 / sizes.bytes.max(1) as f64);
    html! {
        table {
            thead { tr { th { "Begins with" } th.number { "Keys" } th.number { "Memory" } th.number { "Part" } } }
            tbody {
                @for (prefix, keys, bytes) in &sizes.prefixes {
                    tr { td { (name(prefix)) } td.number { (count(*keys as f64)) } td.number { (size(*bytes as f64)) } td.number { (part(*bytes)) } }
                }
            }
        }
        h3 { "The largest keys" }
        table {
            thead { tr { th { "Key" } th { "Type" } th.number { "Memory" } } }
            tbody {
                @for (key, of_type, bytes) in &sizes.largest {
                    tr { td { a href=(key_address(db, key)) { (name(key)) } } td { (of_type) } td.number { (size(*bytes as f64)) } }
                }
            }
        }
    }
}

pub(super) async fn begin(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    let (body, user) = (visit.body, visit.session.user());
    if body.text("act") == "stop" {
        let job = body.number("job").and_then(|it| visit.context.jobs.find(it, &user));
        job.into_iter().for_each(|it| it.cancel());
        return Ok(Outcome::GoTo(address("memory")));
    }
    let db = visit.db();
    let sample = body.number("sample").unwrap_or(SAMPLE).clamp(100, SAMPLE_MAX);
    let separator = body.bytes("separator").to_vec();
    let job = visit.context.jobs.begin(user, format!("{} database {db}", PREFIXES[1]));
    let full = "There are as many jobs as may run; wait for one to end.";
    let job = job.ok_or_else(|| LinkError::Refused(full.to_owned()))?;
    job.all.store(keys::len_of(visit, db).await?.min(sample), Relaxed);
    let link = visit.session.connect(visit.context.host).await?;
    tokio::spawn(run(job, link, db, sample, separator));
    Ok(Outcome::GoTo(address("memory")))
}

async fn run(job: Arc<Job>, mut link: Link, db: u64, sample: u64, separator: Vec<u8>) {
    let mut tally = Tally::new(separator);
    let outcome = measure(&job, &mut link, db, sample, &mut tally).await;
    job.state.lock().sizes = Some(tally.sizes());
    job.end(outcome.err().map(|it| it.words().to_owned()));
}

async fn measure(
    job: &Job,
    link: &mut Link,
    db: u64,
    sample: u64,
    tally: &mut Tally,
) -> Result<(), LinkError> {
    link.run(&[b"SELECT", db.to_string().as_bytes()]).await?;
    let mut cursor = b"0".to_vec();
    while job.goes_on() && job.found.load(Relaxed) < sample {
        let slice = link.run(&[b"SCAN", &cursor, b"COUNT", STEP]).await?;
        let (next, keys) = cursor_and_items(Some(slice))?;
        let commands: Vec<Vec<&[u8]>> = keys
            .iter()
            .flat_map(|key| [vec![&b"MEMORY"[..], b"USAGE", key], vec![&b"TYPE"[..], key]])
            .collect();
        let replies = link.run_all(&commands).await?;
        for (key, replies) in keys.iter().zip(replies.chunks(2)) {
            match (&replies[0], &replies[1]) {
                (Value::Integer(bytes), Value::Simple(of_type)) => {
                    tally.add(key, of_type, (*bytes).max(0) as u64);
                }
                (Value::Error(reason), _) => {
                    return Err(LinkError::Refused(super::show::text(reason)));
                }
                _ => {}
            }
        }
        job.found.fetch_add(keys.len() as u64, Relaxed);
        job.looked_at.fetch_add(keys.len() as u64, Relaxed);
        cursor = next;
        if cursor == b"0" {
            break;
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// What was measured so far.
struct Tally {
    separator: Vec<u8>,
    prefixes: BTreeMap<Vec<u8>, (u64, u64)>,
    largest: Vec<(Vec<u8>, String, u64)>,
    bytes: u64,
}

impl Tally {
    fn new(separator: Vec<u8>) -> Self {
        Self { separator, prefixes: BTreeMap::new(), largest: Vec::new(), bytes: 0 }
    }

    fn add(&mut self, key: &[u8], of_type: &[u8], bytes: u64) {
        self.bytes += bytes;
        let len = self.separator.len();
        let end =
            if len == 0 { None } else { key.windows(len).position(|it| it == self.separator) };
        let prefix = end.map_or(&b"(no separator)"[..], |at| &key[..at + len]);
        let is_known = self.prefixes.contains_key(prefix) || self.prefixes.len() < PREFIXES_MAX;
        let prefix = if is_known { prefix } else { b"(others)" };
        let sum = self.prefixes.entry(prefix.to_vec()).or_default();
        *sum = (sum.0 + 1, sum.1 + bytes);
        let least = self.largest.last().map_or(0, |it| it.2);
        if self.largest.len() < SHOWN_MAX || least < bytes {
            let at = self.largest.partition_point(|it| bytes <= it.2);
            let of_type = String::from_utf8_lossy(of_type).into_owned();
            self.largest.insert(at, (key.to_vec(), of_type, bytes));
            self.largest.truncate(SHOWN_MAX);
        }
    }

    fn sizes(self) -> Sizes {
        let mut prefixes: Vec<_> = self
            .prefixes
            .into_iter()
            .map(|(prefix, (keys, bytes))| (prefix, keys, bytes))
            .collect();
        prefixes.sort_by_key(|it| std::cmp::Reverse(it.2));
        prefixes.truncate(SHOWN_MAX);
        Sizes { prefixes, largest: self.largest, bytes: self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn the_largest_are_kept_and_prefixes_added_up() {
        let mut tally = Tally::new(b":".to_vec());
        for number in 0..100_u64 {
            tally.add(format!("a:{number}").as_bytes(), b"string", number);
        }
        tally.add(b"b:1", b"list", 1000);
        tally.add(b"plain", b"string", 1);
        let sizes = tally.sizes();
        assert_eq!(sizes.prefixes[0], (b"a:".to_vec(), 100, 4950));
        assert_eq!(sizes.largest[0], (b"b:1".to_vec(), "list".to_owned(), 1000));
        assert_eq!((sizes.largest.len(), sizes.largest[29].2), (30, 71));
        assert_eq!(sizes.bytes, 4950 + 1001);
    }
}
