//! Writers that append to lists of a cluster, each element once, and remember what was confirmed: in the end all of it has to be
//! there, and nothing twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rubine_base::random::Random;
use rubine_testing::cluster::{Answer, Router};
use rubine_testing::server::Server;
use rubine_testing::value::Value;

use crate::Failure;

/// Lists that are written to; each is in a slot of its own.
const LISTS: u64 = 300;
const WRITERS: usize = 3;
/// A node that does not answer for so long may have been stopped.
const PATIENCE: Duration = Duration::from_secs(2);

/// When an element counts as confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmation {
    /// When a replica has it, too, as WAIT says.
    Wait,
    /// With the reply: the nodes have a `write-quorum`.
    Reply,
}

/// A list, and an element of it.
type Element = (u64, String);

/// Threads that write.
pub(crate) struct Writers {
    threads: Vec<JoinHandle<Vec<Element>>>,
    is_over: Arc<AtomicBool>,
}

impl Writers {
    pub(crate) fn start(nodes: &[Server], seed: u64, confirmation: Confirmation) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let start = |number: usize| {
            let router = Router::new(nodes).with_patience(PATIENCE);
            let is_over = Arc::clone(&is_over);
            let random = Random::with_seed(seed * 100 + number as u64);
            std::thread::spawn(move || write(router, number, random, confirmation, &is_over))
        };
        let threads = (0..WRITERS).map(start).collect();
        Self { threads, is_over }
    }

    /// Ends them; returns what was confirmed.
    pub(crate) fn stop(self) -> Result<Vec<Element>, Failure> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut confirmed = Vec::new();
        for thread in self.threads {
            confirmed.extend(thread.join().map_err(|_| "a writer panicked")?);
        }
        Ok(confirmed)
    }
}

fn write(
    mut router: Router,
    number: usize,
    mut random: Random,
    confirmation: Confirmation,
    is_over: &AtomicBool,
) -> Vec<Element> {
    let mut confirmed = Vec::new();
    let mut attempt = 0_u64;
    while !is_over.load(Ordering::Relaxed) {
        attempt += 1;
        let (list, element) = (random.below(LISTS), format!("{number}:{attempt}"));
        let key = format!("list:{list}");
        let pushed = router.call(key.as_bytes(), &[b"RPUSH", key.as_bytes(), element.as_bytes()]);
        let is_pushed = matches!(pushed, Answer::Reply(Value::Integer(_)));
        let is_confirmed =
            confirmation == Confirmation::Reply || router.wait_for_replica(key.as_bytes());
        if is_pushed && is_confirmed {
            confirmed.push((list, element));
        }
    }
    confirmed
}

/// Whether everything that was confirmed is there, and nothing twice.
pub(crate) fn check(nodes: &[Server], confirmed: &[Element]) -> Result<(), Failure> {
    let mut router = Router::new(nodes);
    for list in 0..LISTS {
        let key = format!("list:{list}");
        let Answer::Reply(reply) =
            router.call(key.as_bytes(), &[b"LRANGE", key.as_bytes(), b"0", b"-1"])
        else {
            return Err(format!("{key} cannot be read").into());
        };
        let elements = reply.as_elements().ok_or_else(|| format!("{key} is {reply:?}"))?;
        let mut elements: Vec<String> = elements.iter().filter_map(Value::as_text).collect();
        let count = elements.len();
        elements.sort();
        elements.dedup();
        if elements.len() != count {
            return Err(format!("{key} has elements twice").into());
        }
        let is_lost =
            |(at, element): &&Element| *at == list && elements.binary_search(element).is_err();
        if let Some((_, lost)) = confirmed.iter().find(is_lost) {
            return Err(format!("{key} has lost {lost}").into());
        }
    }
    Ok(())
}
