//! `cargo xtask compat`: Valkey's own test suite, or Redis's, with our server in place of its own, against a list of known
//! gaps.

mod expression;
mod family;
mod sentinel;
mod skip;
mod source;
mod unit;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub(crate) use family::Family;
use rubine_base::hash::HashSet;
use skip::SkipList;
pub(crate) use source::prepare;
use unit::{Results, Run};

use crate::Failure;
use crate::build;
use crate::clock::Stopwatch;
use crate::process::{find_program, output, root, run as run_program};

const PORTS_PER_JOB: u16 = 1_000;

/// More units do not fail by accident.
const RETRIED_UNITS_MAX: usize = 5;

#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Options {
    /// Whose suite
    #[arg(long, value_enum, default_value_t = Family::Valkey)]
    family: Family,
    /// Units such as unit/type/string; all that are not skipped as a whole when none is given
    units: Vec<String>,
    /// Runs skipped tests too, and reports those that pass
    #[arg(long)]
    all: bool,
    /// Tests this program instead of ours
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Seconds that a unit may take
    #[arg(long, default_value_t = 600)]
    limit: u64,
    /// Units at the same time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Runs a unit that failed once more, when all others have ended: what passes then is reported, but no failure
    #[arg(long)]
    retry: bool,
    /// Lets clients and servers of the suite speak TLS; needs `tcl-tls`, and programs of the family that speak it, which
    /// `VALKEY_BIN_DIR` can name
    #[arg(long)]
    tls: bool,
    /// Starts no unit after this many seconds
    #[arg(long, value_name = "SECONDS")]
    budget: Option<u64>,
    /// Only tests of this name, or that a `/regular expression` matches
    #[arg(long, value_name = "TEST")]
    only: Vec<String>,
    /// First port of the suite's servers, of which each job has a thousand; its helper listens a little below. By
    /// default, one whose thousands no other run has taken
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
    /// Prints only units that have something to tell
    #[arg(long)]
    quiet: bool,
    /// Only fetches and builds the family's programs
    #[arg(long)]
    prepare: bool,
    /// Runs Valkey's suite of Sentinel instead, with our program as Sentinel; units are parts of its files' names
    #[arg(long)]
    sentinel: bool,
    /// With `--sentinel`, has our program be the servers, too
    #[arg(long, requires = "sentinel")]
    servers: bool,
}

impl Options {
    /// What CI runs: these units within this time.
    pub(crate) fn for_units(family: Family, units: &[&str], budget_seconds: u64) -> Self {
        Self {
            family,
            units: units.iter().map(|&unit| unit.to_owned()).collect(),
            all: false,
            server: None,
            limit: 300,
            jobs: 2,
            // A machine that builds something else meanwhile may miss the moments that some tests count on.
            retry: true,
            tls: false,
            budget: Some(budget_seconds),
            only: Vec::new(),
            base_port: None,
            quiet: true,
            prepare: false,
            sentinel: false,
            servers: false,
        }
    }

    /// What CI runs of Sentinel.
    pub(crate) fn for_sentinel(units: &[&str]) -> Self {
        Self { sentinel: true, ..Self::for_units(Family::Valkey, units, 0) }
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let family = options.family;
    let source = prepare(family)?;
    if options.prepare {
        println!("{}", source.display());
        return Ok(());
    }
    let tclsh = family
        .interpreters()
        .iter()
        .find_map(|name| find_program(name))
        .ok_or("the suite is written in Tcl: install it (`apt-get install tcl`)")?;
    let server = build::server_or(options.server.as_deref(), "fast")?;
    if options.sentinel {
        return sentinel::run(options, &source, &tclsh, &server);
    }
    let list = family.skip_list();
    let list = SkipList::parse(list, &fs::read_to_string(root().join(list))?)?;
    let suite = Suite {
        options,
        list,
        programs: program_folder(family, &source, &server)?,
        ports: Ports::take(options)?,
        source,
        tclsh,
    };
    let units = suite.units()?;
    let mut reports = suite.run_all(&units)?;
    if options.retry {
        suite.retry(&mut reports)?;
    }
    conclude(family, &reports)
}

struct Suite<'a> {
    options: &'a Options,
    list: SkipList,
    source: PathBuf,
    programs: PathBuf,
    tclsh: PathBuf,
    ports: Ports,
}

/// The ports of one run. Two runs that looked for free ports among the same would take them from one another.
struct Ports {
    first: u16,
    /// Whoever listens below a job's ports has taken them.
    _signs: Vec<TcpListener>,
}

impl Ports {
    /// The suite's helper looks through the 32 ports below the first.
    const SIGN_BELOW: u16 = 40;
    const FIRST: u16 = 11_111;
    /// The bus of a cluster is 10,000 ports above, and a little beyond that the system gives ports to clients.
    const END: u16 = 22_000;

    fn take(options: &Options) -> Result<Self, Failure> {
        if let Some(first) = options.base_port {
            return Ok(Self { first, _signs: Vec::new() });
        }
        let jobs = u16::try_from(options.jobs.max(1)).map_err(|_| "too many jobs")?;
        let span = PORTS_PER_JOB.checked_mul(jobs).ok_or("too many jobs")?;
        let candidates =
            (Self::FIRST..Self::END.saturating_sub(span)).step_by(PORTS_PER_JOB.into());
        for first in candidates {
            let signs = (0..jobs).map(|job| first + job * PORTS_PER_JOB - Self::SIGN_BELOW);
            let taken: Result<Vec<_>, _> =
                signs.map(|port| TcpListener::bind(("127.0.0.1", port))).collect();
            if let Ok(signs) = taken {
                return Ok(Self { first, _signs: signs });
            }
        }
        Err("no ports are free for the suite's servers".into())
    }
}

/// A unit's results, judged by the skip list.
struct Report {
    unit: String,
    results: Results,
    /// Failed, and on the skip list.
    expected_failures: usize,
    /// On the skip list, and passed.
    obsolete_skips: Vec<String>,
    /// On the skip list, and not in the unit.
    unknown_skips: Vec<String>,
    /// Failed in one of two runs.
    flaky: Vec<String>,
}

impl Report {
    fn has_something_to_tell(&self) -> bool {
        !self.is_good() || !self.obsolete_skips.is_empty() || !self.unknown_skips.is_empty()
    }

    fn is_good(&self) -> bool {
        self.results.failed.is_empty() && self.results.abort.is_none()
    }
}

impl Suite<'_> {
    fn print(&self, report: &Report) {
        if !self.options.quiet || report.has_something_to_tell() {
            print_report(report);
        }
    }

    fn family(&self) -> Family {
        self.options.family
    }

    fn units(&self) -> Result<Vec<String>, Failure> {
        let known = self.known_units()?;
        if let Some(unknown) = self.options.units.iter().find(|unit| !known.contains(unit)) {
            return Err(format!("the suite has no unit `{unknown}`").into());
        }
        if !self.options.units.is_empty() {
            return Ok(self.options.units.clone());
        }
        let is_chosen = |unit: &String| self.options.all || self.list.unit_reason(unit).is_none();
        Ok(known.into_iter().filter(is_chosen).collect())
    }

    fn known_units(&self) -> Result<Vec<String>, Failure> {
        let mut command = Command::new(&self.tclsh);
        command.args(["tests/test_helper.tcl", "--list-tests"]).current_dir(&self.source);
        command.env(self.family().variable(), self.source.join("src"));
        let mut units: Vec<String> = output(&mut command)?.lines().map(str::to_owned).collect();
        // The longest first, as near as their text tells, so that none is left to run alone at the end.
        units.sort_by_key(|unit| {
            let file = self.source.join("tests").join(format!("{unit}.tcl"));
            (
                std::cmp::Reverse(fs::metadata(file).map_or(0, |metadata| metadata.len())),
                unit.clone(),
            )
        });
        Ok(units)
    }

    fn run_all(&self, units: &[String]) -> Result<Vec<Report>, Failure> {
        let stopwatch = Stopwatch::start();
        let next = AtomicUsize::new(0);
        let job = |number: usize| -> Result<Vec<Report>, String> {
            let tree = self.tree(number).map_err(|error| error.to_string())?;
            let mut reports = Vec::new();
            while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                let is_late = self
                    .options
                    .budget
                    .is_some_and(|budget| stopwatch.elapsed().as_secs() > budget);
                if is_late {
                    println!("{unit:<32} not started: the time for the whole run is over");
                    continue;
                }
                let report =
                    self.run_unit(unit, &tree, number).map_err(|error| error.to_string())?;
                self.print(&report);
                reports.push(report);
            }
            Ok(reports)
        };
        let jobs = self.options.jobs.clamp(1, units.len().max(1));
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let job = &job;
            let threads: Vec<_> =
                (0..jobs).map(|number| scope.spawn(move || job(number))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a job does not panic")).collect()
        });
        let mut reports = Vec::new();
        for outcome in outcomes {
            reports.extend(outcome?);
        }
        Ok(reports)
    }

    /// Runs the units that failed once more, one by one. A test has failed if it does so in both runs: on a machine that is
    /// busy, one of hundreds may miss its moment, and another one in the second run.
    fn retry(&self, reports: &mut [Report]) -> Result<(), Failure> {
        if RETRIED_UNITS_MAX < reports.iter().filter(|it| !it.is_good()).count() {
            return Ok(());
        }
        for report in reports.iter_mut().filter(|it| !it.is_good()) {
            println!("{} once more, alone:", report.unit);
            // The first log would be overwritten, and a failure that comes and goes is hard enough to find.
            let log = log_of(self.family(), &report.unit)?;
            fs::rename(&log, log.with_extension("first.log"))?;
            let tree = self.tree(0)?;
            let again = self.run_unit(&report.unit, &tree, 0)?;
            self.print(&again);
            let first = std::mem::replace(report, again);
            report.flaky = only_once(&first.results, &mut report.results);
        }
        Ok(())
    }

    /// The suite keeps its servers' files in its own tree, so units that run side by side each need one.
    fn tree(&self, number: usize) -> Result<PathBuf, Failure> {
        let tree = self.family().run_folder(&format!("tree-{number}"));
        if tree.exists() {
            fs::remove_dir_all(&tree)?;
        }
        fs::create_dir_all(&tree)?;
        for entry in fs::read_dir(&self.source)? {
            let entry = entry?;
            // Redis's suite finds its programs in its own tree, Valkey's where a variable says.
            let is_replaced = ["tests", "src"].iter().any(|name| entry.file_name() == *name);
            if !is_replaced {
                symlink(entry.path(), tree.join(entry.file_name()))?;
            }
        }
        symlink(&self.programs, tree.join("src"))?;
        run_program(Command::new("cp").arg("-r").arg(self.source.join("tests")).arg(&tree))?;
        self.family().adapt(&tree)?;
        if self.options.tls {
            make_certificates(&tree)?;
        }
        Ok(tree)
    }

    fn run_unit(&self, unit: &str, tree: &Path, number: usize) -> Result<Report, Failure> {
        let log = log_of(self.family(), unit)?;
        let skipfile = log.with_extension("skip");
        fs::write(
            &skipfile,
            if self.options.all { String::new() } else { self.list.skipfile(unit) },
        )?;
        let port_offset = PORTS_PER_JOB * u16::try_from(number).expect("jobs are few");
        let results = Run {
            family: self.family(),
            unit,
            tree,
            tclsh: &self.tclsh,
            programs: &self.programs,
            log: &log,
            skipfile: &skipfile,
            denied_tags: &self.list.denied_tags(unit),
            only: &self.options.only,
            tls: self.options.tls,
            port_first: self.ports.first + port_offset,
            port_count: PORTS_PER_JOB - 100,
            limit: Duration::from_secs(self.options.limit),
        }
        .run()?;
        self.judge(unit, tree, results)
    }

    fn judge(&self, unit: &str, tree: &Path, mut results: Results) -> Result<Report, Failure> {
        let failed: Vec<&str> = results.failed.iter().map(|failed| failed.test.as_str()).collect();
        let passed: Vec<&str> = results.passed.iter().map(String::as_str).collect();
        let mut obsolete_skips = Vec::new();
        let mut expected = HashSet::default();
        for entry in self.list.tests(unit) {
            let names = |tests: &[&str]| -> Result<Vec<String>, Failure> {
                let named: Vec<&str> = match entry.expression() {
                    Some(expression) => expression::matching(&self.tclsh, tree, expression, tests)?,
                    None => tests.iter().copied().filter(|test| entry.names(test)).collect(),
                };
                Ok(named.into_iter().map(str::to_owned).collect())
            };
            let named_failures = names(&failed)?;
            // A name that several tests bear, or an expression, is needed as long as one of them fails.
            if named_failures.is_empty() && !names(&passed)?.is_empty() {
                obsolete_skips.extend(entry.test.clone());
            }
            expected.extend(named_failures);
        }
        let is_listed = |test: &str| expected.contains(test);
        let failed_count = results.failed.len();
        let is_whole_unit_listed = self.list.unit_reason(unit).is_some();
        if !is_whole_unit_listed {
            results.failed.retain(|failed| !is_listed(&failed.test));
        }
        let is_expected = |message: &String| self.list.expects_abort(unit, message);
        let was_cut_short = results.abort.take_if(|message| is_expected(message)).is_some();
        let expected_failures = failed_count - results.failed.len();
        let is_partial_run = self.options.all
            || !self.options.only.is_empty()
            || was_cut_short
            || results.abort.is_some();
        let is_known = |test: &str| {
            let is_expression = test.starts_with('/');
            let was_seen = results.skipped.iter().chain(&results.passed).any(|seen| seen == test);
            is_partial_run || is_expression || was_seen
        };
        let listed = self.list.tests(unit).filter_map(|entry| entry.test.clone());
        let unknown_skips = listed.filter(|test| !is_known(test)).collect();
        let unit = unit.to_owned();
        let flaky = Vec::new();
        Ok(Report { unit, results, expected_failures, obsolete_skips, unknown_skips, flaky })
    }
}

/// Has the suite's own script make the certificates of a tree.
fn make_certificates(tree: &Path) -> Result<(), Failure> {
    let folder = tree.join("tests/tls");
    fs::create_dir_all(&folder)?;
    // To find good ones takes minutes, and ours has no use for them.
    for name in ["valkey.dh", "redis.dh"] {
        fs::write(folder.join(name), "")?;
    }
    output(Command::new("bash").arg("utils/gen-test-certs.sh").current_dir(tree))?;
    Ok(())
}

/// Where a unit's output goes.
fn log_of(family: Family, unit: &str) -> Result<PathBuf, Failure> {
    let logs = family.run_folder("logs");
    fs::create_dir_all(&logs)?;
    Ok(logs.join(format!("{}.log", unit.replace('/', "-"))))
}

/// What went wrong in one of two runs, and not in the other. What failed in the second one alone is no failure of it any more.
fn only_once(first: &Results, again: &mut Results) -> Vec<String> {
    let has_failed = |run: &Results, test: &String| run.failed.iter().any(|it| it.test == *test);
    let mut once: Vec<String> = Vec::new();
    once.extend(
        first.failed.iter().map(|it| &it.test).filter(|it| !has_failed(again, it)).cloned(),
    );
    once.extend(first.abort.iter().filter(|_| again.abort.is_none()).cloned());
    again.failed.retain(|failed| {
        let test = &failed.test;
        let has_passed = first.passed.contains(test) && !has_failed(first, test);
        once.extend(has_passed.then(|| test.clone()));
        !has_passed
    });
    once
}

/// A folder whose server is the one under test, beside the family's own tools.
fn program_folder(family: Family, source: &Path, server: &Path) -> Result<PathBuf, Failure> {
    let folder = family.run_folder("bin");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    // A copy, since a build during a long run would replace what a link points to.
    fs::copy(server, folder.join(family.server()))?;
    for tool in family.own_tools() {
        symlink(family.server(), folder.join(tool))?;
    }
    for tool in family.tools() {
        symlink(source.join("src").join(&tool), folder.join(tool))?;
    }
    Ok(folder)
}

fn print_report(report: &Report) {
    let Report { unit, results, expected_failures, obsolete_skips, unknown_skips, .. } = report;
    println!(
        "{unit:<32} {:>5} passed {:>4} failed {:>4} skipped {:>4} s",
        results.passed.len(),
        results.failed.len(),
        results.skipped.len() + expected_failures,
        results.seconds
    );
    for failed in &results.failed {
        println!("  failed: {}", failed.test);
        for line in &failed.message {
            println!("      {line}");
        }
    }
    if let Some(abort) = &results.abort {
        println!("  aborted: {abort}");
    }
    for test in obsolete_skips {
        println!("  passes, take it off the skip list: {test}");
    }
    for test in unknown_skips {
        println!("  on the skip list, but not in the unit: {test}");
    }
}

fn conclude(family: Family, reports: &[Report]) -> Result<(), Failure> {
    let sum = |count: fn(&Report) -> usize| reports.iter().map(count).sum::<usize>();
    let failed = sum(|report| report.results.failed.len());
    let aborted = sum(|report| usize::from(report.results.abort.is_some()));
    let flaky =
        || reports.iter().flat_map(|report| report.flaky.iter().map(|it| (&report.unit, it)));
    for (unit, test) in flaky() {
        println!("failed once, and passed alone: {unit} :: {test}");
    }
    println!(
        "compat with {}: {} units, {} passed, {failed} failed, {} skipped, {aborted} aborted, {} flaky; logs in {}",
        family.title(),
        reports.len(),
        sum(|report| report.results.passed.len()),
        sum(|report| report.results.skipped.len() + report.expected_failures),
        flaky().count(),
        family.run_folder("logs").display()
    );
    if failed + aborted == 0 {
        Ok(())
    } else {
        Err("tests failed that the skip list does not name".into())
    }
}

#[cfg(test)]
mod tests {
    use super::only_once;
    use super::unit::{Failed, Results};

    fn results(failed: &[&str], abort: Option<&str>) -> Results {
        let failed = failed.iter().map(|&it| Failed { test: it.to_owned(), message: Vec::new() });
        Results { failed: failed.collect(), abort: abort.map(str::to_owned), ..Results::default() }
    }

    #[test]
    fn what_fails_in_both_runs_has_failed() {
        let first = Results {
            passed: vec!["e".to_owned(), "b".to_owned()],
            ..results(&["a", "b"], Some("c"))
        };
        let check = |mut again: Results, once: &[&str], failed: &[&str]| {
            assert_eq!(only_once(&first, &mut again), once);
            assert_eq!(again.failed, results(failed, None).failed);
        };
        check(results(&[], None), &["a", "b", "c"], &[]);
        // It did not come to `d` in the first run.
        check(results(&["b", "d"], None), &["a", "c"], &["b", "d"]);
        check(results(&["b"], Some("d")), &["a"], &["b"]);
        check(results(&["e"], None), &["a", "b", "c", "e"], &[]);
    }
}
