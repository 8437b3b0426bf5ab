//! Deleting all keys that match a pattern, or counting them first: a job in the background, in small steps, which can be
//! stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use maud::{Markup, html};
use rubine_resp::decode::Value;

use super::keys::cursor_and_items;
use super::page::{address, form_token};
use super::show::{self, count, cut};
use super::{Outcome, Visit, keys};
use crate::form::Form;
use crate::jobs::Job;
use crate::link::{Link, LinkError};

/// Keys that one step looks at.
const STEP: &[u8] = b"1000";
/// Keys that are deleted by one command.
const DELETED_AT_ONCE: usize = 100;
/// Names that are kept for a look.
const EXAMPLES_MAX: usize = 20;

pub(super) fn show(visit: &Visit<'_>) -> Outcome {
    let content = html! {
        form.edit method="post" action=(address("delete")) {
            (form_token(visit))
            label { "Database" input type="number" min="0" name="db" value=(visit.db()); }
            label { "Pattern" input name="pattern" required autocapitalize="off" spellcheck="false" value=(visit.query.text("pattern")); }
            p.note { "First count what matches: nothing is deleted by that." }
            button.main name="act" value="count" { "Count" }
        }
        (jobs(visit, "delete"))
    };
    Outcome::Page("Delete by pattern", content)
}

/// The user's jobs, with what can be done next. `place` is the page that shows them.
pub(super) fn jobs(visit: &Visit<'_>, place: &str) -> Markup {
    let jobs = visit.context.jobs.of_user(&visit.session.user());
    let jobs: Vec<_> = jobs
        .into_iter()
        .filter(|it| {
            it.title.starts_with(PREFIXES[usize::from(place == "memory")])
                || (place == "delete" && it.title.starts_with("Delete"))
        })
        .collect();
    html! {
        @for job in &jobs {
            section.job data-job=(job.id) data-over=(job.is_over()) {
                h2 { (job.title) }
                @let state = job.state.lock().clone();
                progress max="100" value=(format!("{:.1}", job.percent())) {}
                p {
                    (count(looked_at(job) as f64)) " of about " (count(job.all.load(Relaxed) as f64)) " keys looked at, "
                    (count(job.found.load(Relaxed) as f64)) " match, "
                    (count(job.done.load(Relaxed) as f64)) " deleted."
                    @if state.is_over { @if job.goes_on() { " Done." } @else { " Stopped." } }
                }
                @if let Some(fault) = &state.fault { (super::page::fault(fault)) }
                @if !state.examples.is_empty() {
                    details { summary { "Some of them" } ul { @for key in &state.examples { li { (cut(key, 200)) } } } }
                }
                @if !state.is_over {
                    form method="post" action=(address(place)) {
                        (form_token(visit))
                        input type="hidden" name="job" value=(job.id);
                        button name="act" value="stop" { "Stop" }
                        " " a href=(address(place)) { "Look again" }
                    }
                } @else if visit.is_writable && job.title.starts_with(PREFIXES[0]) && job.found.load(Relaxed) != 0 {
                    form method="post" action=(address("delete")) {
                        (form_token(visit))
                        input type="hidden" name="job" value=(job.id);
                        label.check { input type="checkbox" name="sure" value="1" required; " Yes, delete these " (count(job.found.load(Relaxed) as f64)) " keys, and others that match by then" }
                        button.danger name="act" value="delete" { "Delete" }
                    }
                }
            }
        }
    }
}

/// Keys that were looked at: SCAN tells steps, and those of the last may be fewer.
fn looked_at(job: &Job) -> u64 {
    job.looked_at.load(Relaxed).min(job.all.load(Relaxed))
}

/// What the titles of jobs begin with: counts, and measures of memory.
pub(super) const PREFIXES: [&str; 2] = ["Count", "Measure"];

pub(super) async fn begin(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    let (body, user) = (visit.body, visit.session.user());
    let wrong = |words: &str| LinkError::Refused(words.to_owned());
    let of_form = |body: &Form| visit.context.jobs.find(body.number("job")?, &user);
    let (db, pattern, deletes) = match body.text("act").as_str() {
        "stop" => {
            of_form(body).into_iter().for_each(|it| it.cancel());
            return Ok(Outcome::GoTo(address("delete")));
        }
        "count" => (visit.db(), body.bytes("pattern").to_vec(), false),
        "delete" if !visit.is_writable => {
            return Err(wrong("console-writable is no: nothing is changed here"));
        }
        "delete" if body.has("sure") => {
            let counted = of_form(body).ok_or_else(|| wrong("There is no such count."))?;
            let title = counted.title.strip_prefix("Count database ").unwrap_or_default();
            let (db, pattern) = title.split_once(": ").unwrap_or_default();
            let pattern = unescaped(pattern);
            (db.parse().map_err(|_| wrong("There is no such count."))?, pattern, true)
        }
        _ => return Err(wrong("This form is not whole.")),
    };
    if pattern.is_empty() {
        return Err(wrong("A pattern is needed; * is every key."));
    }
    let what = if deletes { "Delete in" } else { PREFIXES[0] };
    let title = format!("{what} database {db}: {}", show::text(&pattern));
    let job = visit.context.jobs.begin(user, title);
    let job =
        job.ok_or_else(|| wrong("There are as many jobs as may run; wait for one to end."))?;
    job.all.store(keys::len_of(visit, db).await?, Relaxed);
    let link = visit.session.connect(visit.context.host).await?;
    tokio::spawn(run(Arc::clone(&job), link, db, pattern, deletes));
    Ok(Outcome::GoTo(address("delete")))
}

/// Bytes of a pattern as they were shown.
fn unescaped(shown: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), shown.as_bytes());
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        rest = match (byte, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                bytes.push(b'\\');
                tail
            }
            (b'\\', [b'x', a, b, tail @ ..]) => {
                bytes.extend(hex(&[*a, *b]));
                tail
            }
            (byte, tail) => {
                bytes.push(byte);
                tail
            }
        };
    }
    bytes
}

async fn run(job: Arc<Job>, mut link: Link, db: u64, pattern: Vec<u8>, deletes: bool) {
    let outcome = go_through(&job, &mut link, db, &pattern, deletes).await;
    job.end(outcome.err().map(|it| it.words().to_owned()));
}

async fn go_through(
    job: &Job,
    link: &mut Link,
    db: u64,
    pattern: &[u8],
    deletes: bool,
) -> Result<(), LinkError> {
    link.run(&[b"SELECT", db.to_string().as_bytes()]).await?;
    let mut cursor = b"0".to_vec();
    while job.goes_on() {
        let step = [&b"SCAN"[..], &cursor, b"MATCH", pattern, b"COUNT", STEP];
        let (next, found) = cursor_and_items(Some(link.run(&step).await?))?;
        job.looked_at.fetch_add(1000, Relaxed);
        job.found.fetch_add(found.len() as u64, Relaxed);
        {
            let mut state = job.state.lock();
            let room = EXAMPLES_MAX - state.examples.len();
            state.examples.extend(found.iter().take(room).cloned());
        }
        if deletes {
            for part in found.chunks(DELETED_AT_ONCE) {
                let mut command = vec![&b"UNLINK"[..]];
                command.extend(part.iter().map(Vec::as_slice));
                match link.run(&command).await? {
                    Value::Integer(deleted) => {
                        _ = job.done.fetch_add(deleted.max(0) as u64, Relaxed);
                    }
                    other => return Err(LinkError::Refused(show::reply(&other))),
                }
            }
        }
        cursor = next;
        if cursor == b"0" {
            break;
        }
        // Others have their turn.
        tokio::task::yield_now().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::show;
    use super::unescaped;

    #[test]
    fn patterns_come_back_as_they_were() {
        for pattern in [&b"user:*"[..], b"a\\*\\\\b", b"\x00\xff\n", "ü?".as_bytes()] {
            assert_eq!(unescaped(&show::text(pattern)), pattern);
        }
    }
}
