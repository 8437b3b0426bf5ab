//! What is kept on disk: how saves and rewrites are going, and beginning one.

use maud::html;
use rubine_resp::decode::Value;

use super::figures::figures;
use super::page::{address, facts, fault, form_token};
use super::show::{count, size, span, text};
use super::{Outcome, Visit};
use crate::link::LinkError;

pub(super) async fn show(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    let samples = figures(visit).await?;
    let value = |name: &str| samples.get(name, &[]).unwrap_or(0.0);
    let now = rubine_base::clock::unix_millis() as f64 / 1000.0;
    let good = |name: &str| if value(name) == 0.0 { "failed" } else { "good" };
    let took =
        |name: &str| if value(name) < 0.0 { "never ran".to_owned() } else { span(value(name)) };
    let last = value("redis_rdb_last_save_timestamp_seconds");
    let dump = [
        ("Last save", format!("{} ago", span((now - last).max(0.0)))),
        ("It was", good("redis_rdb_last_bgsave_status").to_owned()),
        ("It took", took("redis_rdb_last_bgsave_duration_sec")),
        ("Changes since", count(value("redis_rdb_changes_since_last_save"))),
        ("Size", size(value("redis_rdb_current_size_bytes"))),
    ];
    let is_on = value("redis_aof_enabled") != 0.0;
    let log = [
        ("Size", size(value("redis_aof_current_size_bytes"))),
        ("After the last rewrite", size(value("redis_aof_base_size_bytes"))),
        ("Writes are", good("redis_aof_last_write_status").to_owned()),
        ("Last rewrite was", good("redis_aof_last_bgrewrite_status").to_owned()),
        ("It took", took("redis_aof_last_rewrite_duration_sec")),
        ("Yet to be written", size(value("redis_aof_buffer_length"))),
    ];
    let (done, all) = (samples.get("rubine_save_keys_done", &[]), value("rubine_save_keys_all"));
    let content = html! {
        @if value("redis_aof_last_write_status") == 0.0 { (fault("What clients write does not reach the disk.")) }
        @if let Some(done) = done {
            p { progress max=(all.max(1.0)) value=(done) {} " " (count(done)) " of " (count(all)) " keys, " (size(value("rubine_save_bytes_per_second"))) " a second" }
        }
        h2 { "Dumps" }
        (facts(&dump))
        h2 { "Append-only file" }
        @if is_on { (facts(&log)) } @else { p { "There is none: appendonly is no." } }
        @if visit.is_writable {
            form.edit method="post" action=(address("persistence")) {
                (form_token(visit))
                button name="act" value="BGSAVE" { "Save now" } " "
                button name="act" value="BGREWRITEAOF" { "Rewrite the append-only file" }
            }
        }
    };
    Ok(Outcome::Page("Persistence", content))
}

pub(super) async fn act(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    let act = visit.body.text("act");
    if !["BGSAVE", "BGREWRITEAOF"].contains(&act.as_str()) {
        return Err(LinkError::Refused("This form is not whole.".to_owned()));
    }
    match visit.ask(&[act.as_bytes()]).await? {
        Value::Error(reason) => Err(LinkError::Refused(text(&reason))),
        _ => Ok(Outcome::GoTo(address("persistence"))),
    }
}
