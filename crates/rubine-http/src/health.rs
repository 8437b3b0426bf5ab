//! Whether the server lives, has started and is ready, judged by a few facts. Finds nothing out by itself.

use std::fmt::Write;

/// A worker whose turn takes longer is stuck.
const STUCK_SECONDS: u64 = 10;

/// What health is judged by.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct HealthFacts {
    /// Data is being loaded.
    pub loading: Option<LoadingFacts>,
    /// The server follows another.
    pub link: Option<LinkFacts>,
    /// As a replica, it takes no writes.
    pub is_read_only: bool,
    /// As a replica, it answers from what it has while it has no link to its master.
    pub serves_stale_data: bool,
    /// Why writes are refused, if they are.
    pub refuses_writes: Option<&'static str>,
    /// There is more data than may be.
    pub is_memory_full: bool,
    /// There are as many clients as may be.
    pub are_clients_full: bool,
    pub is_cluster_down: bool,
    /// The end was asked for.
    pub is_ending: bool,
    /// It gives its part to a replica.
    pub fails_over: bool,
    /// For how long the longest turn of a worker has gone on.
    pub turn_seconds_max: u64,
}

/// How far loading is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadingFacts {
    pub percent: f64,
    pub seconds_left: i64,
}

/// The link to a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    pub is_up: bool,
    /// All data comes anew.
    pub is_syncing: bool,
    /// For how long it has not been up, if it ever was.
    pub down_seconds: Option<u64>,
    /// All that the master had was here once.
    pub was_synced: bool,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Would a restart help? That is the only reason not to be healthy.
    Live,
    /// Has loading ended?
    Started,
    /// May clients be sent here, and those too that write?
    Ready { for_writes: bool },
    /// The same, of a master only.
    Primary,
    /// The same, of a replica only.
    Replica,
}

/// What one check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Good,
    Warning,
    Bad,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    name: &'static str,
    state: State,
    words: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    checks: Vec<Check>,
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        self.checks.iter().all(|it| it.state != State::Bad)
    }

    /// The answer in words: one word and what is wrong, or a line for each check.
    pub(crate) fn text(&self, is_verbose: bool) -> String {
        let mut text = String::new();
        if !is_verbose {
            text.push_str(if self.is_good() { "ok\n" } else { "not ok\n" });
        }
        for Check { name, state, words } in &self.checks {
            let mark = match state {
                State::Good if !is_verbose && words.is_empty() => continue,
                State::Good => "[+]",
                State::Warning => "[!]",
                State::Bad => "[-]",
            };
            let words = if words.is_empty() { "ok" } else { words };
            // Writing to a string does not fail.
            let _ = writeln!(text, "{mark}{name}: {words}");
        }
        if is_verbose {
            text.push_str(if self.is_good() { "ok\n" } else { "not ok\n" });
        }
        text
    }

    fn note(&mut self, name: &'static str, is_bad: bool, words: impl Into<String>) {
        let state = if is_bad { State::Bad } else { State::Good };
        self.checks.push(Check { name, state, words: words.into() });
    }

    /// A fault that is told, and changes nothing.
    fn warn(&mut self, name: &'static str, is_there: bool, words: &str) {
        let state = if is_there { State::Warning } else { State::Good };
        let words = if is_there { words } else { "" };
        self.checks.push(Check { name, state, words: words.to_owned() });
    }
}

/// Judges. A link may be down for `link_down_seconds_max`, or for ever where that is 0.
pub(crate) fn judge(
    facts: &HealthFacts,
    question: Question,
    link_down_seconds_max: u64,
) -> Verdict {
    let mut verdict = Verdict { checks: Vec::new() };
    let is_stuck = STUCK_SECONDS < facts.turn_seconds_max;
    if question != Question::Started {
        let words = format!("a worker's turn has gone on for {} s", facts.turn_seconds_max);
        verdict.note("workers", is_stuck, if is_stuck { words } else { String::new() });
    }
    let is_loading = facts.loading.is_some();
    let words = facts.loading.map_or(String::new(), |LoadingFacts { percent, seconds_left }| {
        format!("{percent:.2} % are loaded, about {seconds_left} s left")
    });
    verdict.note("loading", is_loading && question != Question::Live, words);
    let for_writes = match question {
        Question::Live | Question::Started => return verdict,
        Question::Ready { for_writes } => for_writes,
        Question::Primary => {
            verdict.note("role", facts.link.is_some(), "");
            false
        }
        Question::Replica => {
            verdict.note("role", facts.link.is_none(), "");
            false
        }
    };
    judge_readiness(&mut verdict, facts, link_down_seconds_max);
    if for_writes {
        let is_replica = facts.link.is_some() && facts.is_read_only;
        let reason = if is_replica { Some("a replica takes none") } else { facts.refuses_writes };
        verdict.note("writes", reason.is_some(), reason.unwrap_or_default());
    } else {
        let words = facts.refuses_writes.unwrap_or_default();
        verdict.warn("writes", facts.refuses_writes.is_some(), words);
    }
    verdict
}

fn judge_readiness(verdict: &mut Verdict, facts: &HealthFacts, link_down_seconds_max: u64) {
    let words = |is_so: bool, words: &'static str| if is_so { words } else { "" };
    verdict.note("ending", facts.is_ending, words(facts.is_ending, "the server is ending"));
    let handing_over = "a replica takes the server's place";
    verdict.note("failover", facts.fails_over, words(facts.fails_over, handing_over));
    let is_down = facts.is_cluster_down;
    verdict.note("cluster", is_down, words(is_down, "the cluster is down"));
    if let Some(link) = facts.link {
        let fault = fault_of_link(link, facts.serves_stale_data, link_down_seconds_max);
        verdict.note("master", fault.is_some(), fault.unwrap_or_default());
    }
    verdict.warn("memory", facts.is_memory_full, "there is more data than maxmemory allows");
    verdict.warn("clients", facts.are_clients_full, "there are as many clients as may be");
}

/// Why a replica should not be asked, if so.
fn fault_of_link(
    link: LinkFacts,
    serves_stale_data: bool,
    down_seconds_max: u64,
) -> Option<String> {
    if link.is_up {
        return None;
    }
    let doing = if link.is_syncing { "everything comes anew" } else { "the link is down" };
    if !link.was_synced {
        return Some(format!("{doing}, and it never had what its master has"));
    }
    if !serves_stale_data {
        return Some(format!("{doing}, and replica-serve-stale-data is no"));
    }
    let down_seconds = link.down_seconds.unwrap_or(0);
    let is_too_long = down_seconds_max != 0 && down_seconds_max < down_seconds;
    is_too_long.then(|| format!("{doing}, for {down_seconds} s by now"))
}

#[cfg(test)]
mod tests {
    use super::{HealthFacts, LinkFacts, LoadingFacts, Question, judge};

    const READY: Question = Question::Ready { for_writes: false };
    const WRITES: Question = Question::Ready { for_writes: true };
    const UP: LinkFacts =
        LinkFacts { is_up: true, is_syncing: false, down_seconds: None, was_synced: true };

    fn good(facts: &HealthFacts, question: Question) -> bool {
        judge(facts, question, 60).is_good()
    }

    fn replica(link: LinkFacts) -> HealthFacts {
        let (is_read_only, serves_stale_data) = (true, true);
        HealthFacts { link: Some(link), is_read_only, serves_stale_data, ..Default::default() }
    }

    /// Live, ready, ready for writes.
    fn check(facts: &HealthFacts, expected: [bool; 3]) {
        let found = [Question::Live, READY, WRITES].map(|it| good(facts, it));
        assert_eq!(found, expected, "{facts:?}");
    }

    #[test]
    fn each_state_has_its_answers() {
        let usual = HealthFacts::default();
        check(&usual, [true, true, true]);
        let loading = Some(LoadingFacts { percent: 12.5, seconds_left: 3 });
        check(&HealthFacts { loading, ..usual.clone() }, [true, false, false]);
        let refuses_writes = Some("the disk is full");
        check(&HealthFacts { refuses_writes, ..usual.clone() }, [true, true, false]);
        let full = HealthFacts { is_memory_full: true, are_clients_full: true, ..usual.clone() };
        check(&full, [true, true, true]);
        check(&HealthFacts { is_cluster_down: true, ..usual.clone() }, [true, false, false]);
        check(&HealthFacts { is_ending: true, ..usual.clone() }, [true, false, false]);
        check(&HealthFacts { fails_over: true, ..usual.clone() }, [true, false, false]);
        check(&HealthFacts { turn_seconds_max: 11, ..usual.clone() }, [false, false, false]);
        check(&HealthFacts { turn_seconds_max: 10, ..usual }, [true, true, true]);
    }

    #[test]
    fn a_replica_is_ready_where_it_answers() {
        check(&replica(UP), [true, true, false]);
        let down = |seconds| LinkFacts { is_up: false, down_seconds: Some(seconds), ..UP };
        check(&replica(down(60)), [true, true, false]);
        check(&replica(down(61)), [true, false, false]);
        assert!(judge(&replica(down(61)), READY, 0).is_good());
        let strict = HealthFacts { serves_stale_data: false, ..replica(down(1)) };
        check(&strict, [true, false, false]);
        let never = LinkFacts { was_synced: false, down_seconds: None, ..down(0) };
        check(&replica(never), [true, false, false]);
        let syncing = LinkFacts { is_syncing: true, ..down(5) };
        check(&replica(syncing), [true, true, false]);
        check(&replica(LinkFacts { was_synced: false, ..syncing }), [true, false, false]);
        let writable = HealthFacts { is_read_only: false, ..replica(UP) };
        check(&writable, [true, true, true]);
    }

    #[test]
    fn roles_and_starts() {
        let loading = Some(LoadingFacts { percent: 12.5, seconds_left: 3 });
        let loading = HealthFacts { loading, ..HealthFacts::default() };
        assert!(good(&HealthFacts::default(), Question::Primary));
        assert!(!good(&HealthFacts::default(), Question::Replica));
        assert!(good(&replica(UP), Question::Replica) && !good(&replica(UP), Question::Primary));
        assert!(!good(&loading, Question::Primary));
        assert!(good(&HealthFacts { is_ending: true, ..replica(UP) }, Question::Started));
        assert!(!good(&loading, Question::Started));
        let text = judge(&loading, Question::Started, 0).text(false);
        assert_eq!(text, "not ok\n[-]loading: 12.50 % are loaded, about 3 s left\n");
        let text = judge(&loading, Question::Live, 0).text(false);
        assert_eq!(text, "ok\n[+]loading: 12.50 % are loaded, about 3 s left\n");
    }

    #[test]
    fn words_name_what_is_wrong_and_verbose_ones_all() {
        let facts = HealthFacts { is_memory_full: true, ..HealthFacts::default() };
        let verdict = judge(&facts, READY, 0);
        assert_eq!(
            verdict.text(false),
            "ok\n[!]memory: there is more data than maxmemory allows\n"
        );
        let all = verdict.text(true);
        assert!(all.starts_with("[+]workers: ok\n[+]loading: ok\n[+]ending: ok\n"), "{all}");
        assert!(all.ends_with("[+]clients: ok\n[+]writes: ok\nok\n"), "{all}");
    }
}
