//! Random set commands against a model: sets that are large enough for streamed replies, for algebra on handles and for
//! removals that are freed elsewhere, which transcripts are too small for.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::time::Duration;

use rubine_base::random::Random;
use rubine_testing::client::Received;
use rubine_testing::in_process::{Expiry, InProcess};
use rubine_testing::target::Target;
use rubine_testing::value::Value;

const SEEDS: u64 = 6;
const STEPS: usize = 60;
const KEYS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

type Members = BTreeSet<String>;

struct Sets {
    server: InProcess,
    model: [Members; KEYS.len()],
    random: Random,
    /// What was done, for the message of a failure.
    last: String,
}

impl Sets {
    fn new(seed: u64) -> Self {
        let mut server = InProcess::new(Expiry::Active);
        server.connect().expect("nothing can fail in this process");
        let (integers, entries) = [("512", "128"), ("3", "128"), ("0", "0")][seed as usize % 3];
        for (name, value) in
            [("set-max-intset-entries", integers), ("set-max-listpack-entries", entries)]
        {
            server.configure(name, value).expect("the directive is known");
        }
        let (model, random) = (Default::default(), Random::with_seed(seed));
        Self { server, model, random, last: String::new() }
    }

    fn call<A: AsRef<str>>(&mut self, args: &[A]) -> Value {
        self.last = args.iter().take(12).map(AsRef::as_ref).collect::<Vec<_>>().join(" ");
        let args: Vec<_> = args.iter().map(|it| it.as_ref().as_bytes().to_vec()).collect();
        self.server.send(0, &args).expect("nothing can fail in this process");
        match self.server.receive(0, Duration::ZERO).expect("the reply is well-formed") {
            Received::Value(value) => value,
            other => panic!("{other:?} instead of a reply to {}", self.last),
        }
    }

    fn call_for_integer<A: AsRef<str>>(&mut self, args: &[A]) -> usize {
        let reply = self.call(args);
        reply.as_integer().unwrap_or_else(|| panic!("{}: {reply:?}", self.last)) as usize
    }

    /// The members in a reply, which may not have one of them twice.
    fn call_for_members<A: AsRef<str>>(&mut self, args: &[A]) -> Members {
        let texts = self.call_for_texts(args);
        let members: Members = texts.iter().cloned().collect();
        assert_eq!(members.len(), texts.len(), "{}", self.last);
        members
    }

    fn call_for_texts<A: AsRef<str>>(&mut self, args: &[A]) -> Vec<String> {
        let reply = self.call(args);
        let elements = reply.as_elements().unwrap_or_else(|| panic!("{}: {reply:?}", self.last));
        elements.iter().map(|it| it.as_text().expect("members are texts")).collect()
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.below(end as u64) as usize
    }

    fn count(&mut self) -> usize {
        match self.below(4) {
            0 => self.below(3),
            1 => self.below(6000),
            _ => self.below(200),
        }
    }

    fn some_members(&mut self, count: usize) -> Vec<String> {
        let spread = [10, 1000, 20_000][self.below(3)];
        let of_integers = self.below(2) == 0;
        let mut member = || {
            let number = self.random.below(spread);
            if of_integers { number.to_string() } else { format!("m{number}") }
        };
        (0..count).map(|_| member()).collect()
    }

    fn step(&mut self) {
        let key = self.below(KEYS.len());
        match self.below(8) {
            0..3 => self.add(key),
            3 => self.remove(key),
            4 => self.pop(key),
            5 => self.choose(key),
            _ => self.combine(key),
        }
        let members = self.call_for_members(&["SMEMBERS", KEYS[key]]);
        assert!(members == self.model[key], "after {}", self.last);
    }

    fn add(&mut self, key: usize) {
        let count = 1 + self.count();
        let members = self.some_members(count);
        let before = self.model[key].len();
        self.model[key].extend(members.iter().cloned());
        let args = [vec!["SADD".to_owned(), KEYS[key].to_owned()], members].concat();
        assert_eq!(self.call_for_integer(&args), self.model[key].len() - before, "{}", self.last);
    }

    fn remove(&mut self, key: usize) {
        let count = 1 + self.count();
        let members = self.some_members(count);
        let before = self.model[key].len();
        for member in &members {
            self.model[key].remove(member);
        }
        let args = [vec!["SREM".to_owned(), KEYS[key].to_owned()], members].concat();
        assert_eq!(self.call_for_integer(&args), before - self.model[key].len(), "{}", self.last);
    }

    fn pop(&mut self, key: usize) {
        let count = self.count();
        let popped = self.call_for_members(&["SPOP", KEYS[key], &count.to_string()]);
        assert_eq!(popped.len(), count.min(self.model[key].len()), "{}", self.last);
        for member in popped {
            assert!(self.model[key].remove(&member), "{}: {member}", self.last);
        }
    }

    fn choose(&mut self, key: usize) {
        let count = self.count();
        let distinct = self.call_for_members(&["SRANDMEMBER", KEYS[key], &count.to_string()]);
        assert_eq!(distinct.len(), count.min(self.model[key].len()), "{}", self.last);
        assert!(distinct.is_subset(&self.model[key]), "{}", self.last);
        let repeated =
            self.call_for_texts(&["SRANDMEMBER", KEYS[key], &(-(count as i64)).to_string()]);
        let expected = if self.model[key].is_empty() { 0 } else { count };
        assert_eq!(repeated.len(), expected, "{}", self.last);
        assert!(repeated.iter().all(|it| self.model[key].contains(it)), "{}", self.last);
    }

    /// One operation on some sets, in all its forms.
    fn combine(&mut self, destination: usize) {
        let count = 1 + self.below(KEYS.len());
        let sources: Vec<_> = (0..count).map(|_| self.below(KEYS.len())).collect();
        let keys: Vec<_> = sources.iter().map(|&source| KEYS[source]).collect();
        let sets = sources.iter().map(|&source| &self.model[source]);
        let (name, expected): (_, Members) = match self.random.below(3) {
            0 => ("SUNION", sets.flatten().cloned().collect()),
            1 => ("SINTER", sets.cloned().reduce(|one, other| &one & &other).unwrap_or_default()),
            _ => ("SDIFF", sets.cloned().reduce(|one, other| &one - &other).unwrap_or_default()),
        };
        let members = self.call_for_members(&[&[name], &keys[..]].concat());
        assert!(members == expected, "{}", self.last);

        let (card, numkeys) = (format!("{name}CARD"), count.to_string());
        let limit = self.count();
        let limit_text = limit.to_string();
        let card = [&[&*card, &*numkeys], &keys[..]].concat();
        assert_eq!(self.call_for_integer(&card), expected.len(), "{}", self.last);
        let limited = self.call_for_integer(&[&card[..], &["LIMIT", &*limit_text]].concat());
        let limit = if limit == 0 { usize::MAX } else { limit };
        assert_eq!(limited, expected.len().min(limit), "{}", self.last);

        let store = format!("{name}STORE");
        let stored = self.call_for_integer(&[&[&*store, KEYS[destination]], &keys[..]].concat());
        assert_eq!(stored, expected.len(), "{}", self.last);
        self.model[destination] = expected;
    }
}

#[test]
fn sets_do_what_the_model_does() {
    for seed in 0..SEEDS {
        let mut sets = Sets::new(seed);
        for _ in 0..STEPS {
            sets.step();
        }
    }
}

/// Every member is as likely to be popped as any other, whichever way the members are chosen.
#[test]
fn pops_are_fair() {
    const MEMBERS: usize = 10;
    const ROUNDS: usize = 2000;
    for count in [1, 3, 9] {
        let mut sets = Sets::new(0);
        let names: Vec<_> = (0..MEMBERS).map(|number| format!("m{number}")).collect();
        let add = [vec!["SADD".to_owned(), "k".to_owned()], names.clone()].concat();
        let mut hits = [0_usize; MEMBERS];
        for _ in 0..ROUNDS {
            sets.call(&add);
            for member in sets.call_for_members(&["SPOP", "k", &count.to_string()]) {
                hits[names.iter().position(|it| *it == member).expect("it was added")] += 1;
            }
        }
        let expected = ROUNDS * count / MEMBERS;
        // More than six standard deviations off would be no accident.
        let tolerance = 6 * expected.isqrt();
        assert!(hits.iter().all(|it| it.abs_diff(expected) < tolerance), "{count}: {hits:?}");
    }
}
