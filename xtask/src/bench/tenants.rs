//! What one tenant notices of another: a probe client's waits alone, beside a user that floods the server, and beside the
//! same user with a quota. Ours alone, since nobody else has quotas.

use std::time::Duration;

use rubine_testing::server::Server;

use super::asked::Asked;
use super::latency::{probe_during, quantiles};
use super::load::{Load, fill, median, rate};
use super::{Bench, verdict};
use crate::Failure;

/// The p99 of a probe beside a tenant with a quota, in terms of that of a probe alone.
const RATIO_MAX: f64 = 1.2;

const ALONE: Duration = Duration::from_secs(3);
const LIST_ELEMENTS: u64 = 600;
/// What valkey-benchmark sends as the tenant that floods: reads of a whole list.
const FLOOD: [&str; 8] = ["--user", "flood", "-a", "flood", "LRANGE", "list", "0", "-1"];
const FLOOD_REQUESTS: u64 = 30_000;
const LIMITED_REQUESTS: u64 = 4000;
const PIPELINE: u32 = 16;

const ROW: &str = "a tenant floods";

pub(super) fn rows() -> Vec<&'static str> {
    vec![ROW]
}

pub(super) fn run(bench: &Bench, _: &Asked<'_>) -> Result<(), Failure> {
    println!(
        "{:<16} {:>9} {:>9} {:>9} {:>6}   p99 of a probe, us: alone, beside a flood, beside one with a quota",
        "tenants", "alone", "flood", "quota", "ratio"
    );
    let [ours, _] = &bench.contenders;
    if !ours.own_directives {
        return Ok(());
    }
    let server = ours.start()?;
    let mut admin = server.client();
    admin.call(&["SET", "probe", "value"])?;
    admin.call(&["ACL", "SETUSER", "flood", "on", ">flood", "~*", "+@all"])?;
    let push = |number| vec!["RPUSH".to_owned(), "list".to_owned(), format!("element:{number}")];
    fill(server.address(), 0..LIST_ELEMENTS, push)?;
    let mut p99s = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..bench.rounds() {
        let [alone, flooded, limited] = &mut p99s;
        alone.push(p99_during(&server, || {
            std::thread::sleep(ALONE);
            Ok(())
        })?);
        flooded.push(p99_during(&server, || flood(bench, &server, FLOOD_REQUESTS))?);
        admin.call(&["QUOTA", "SET", "user", "flood", "ops=1000/s", "burst=100"])?;
        limited.push(p99_during(&server, || flood(bench, &server, LIMITED_REQUESTS))?);
        admin.call(&["QUOTA", "DEL", "user", "flood"])?;
    }
    let [alone, flooded, limited] = p99s.map(|it| median(&it));
    let ratio = limited / alone;
    println!(
        "{ROW:<16} {alone:>9.0} {flooded:>9.0} {limited:>9.0} {ratio:>6.2}   {} (≤ {RATIO_MAX})",
        verdict(ratio <= RATIO_MAX)
    );
    Ok(())
}

fn flood(bench: &Bench, server: &Server, requests: u64) -> Result<(), Failure> {
    rate(bench, server, &Load::new(&FLOOD, requests, PIPELINE)).map(drop)
}

fn p99_during(
    server: &Server,
    work: impl FnOnce() -> Result<(), Failure> + Send,
) -> Result<f64, Failure> {
    let mut waits = probe_during(server.address(), &["GET", "probe"], work)?;
    Ok(quantiles(&mut waits).0.as_secs_f64() * 1e6)
}
