//! Random list commands against a model: lists that are long enough for streamed replies and for removals that are freed
//! elsewhere, which transcripts are too small for.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use rubine_base::random::Random;
use rubine_testing::client::Received;
use rubine_testing::in_process::{Expiry, InProcess};
use rubine_testing::target::Target;
use rubine_testing::value::Value;

const SEEDS: u64 = 5;
const STEPS: usize = 40;
const KEYS: [&str; 2] = ["a", "b"];

type Items = VecDeque<Vec<u8>>;

struct Lists {
    server: InProcess,
    model: [Items; KEYS.len()],
    random: Random,
    /// What was done, for the message of a failure.
    last: String,
}

impl Lists {
    fn new(seed: u64) -> Self {
        let mut server = InProcess::new(Expiry::Active);
        server.connect().expect("nothing can fail in this process");
        let sizes = ["-2", "-1", "-5", "128", "3"];
        let size = sizes[seed as usize % sizes.len()];
        server.configure("list-max-listpack-size", size).expect("the directive is known");
        Self {
            server,
            model: Default::default(),
            random: Random::with_seed(seed),
            last: String::new(),
        }
    }

    fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        let args: Vec<_> = args.iter().map(|it| it.as_ref().to_vec()).collect();
        let shown = args.iter().take(6).map(|it| it[..it.len().min(20)].escape_ascii().to_string());
        self.last = shown.collect::<Vec<_>>().join(" ");
        self.server.send(0, &args).expect("nothing can fail in this process");
        match self.server.receive(0, Duration::ZERO).expect("the reply is well-formed") {
            Received::Value(value) => value,
            other => panic!("{other:?} instead of a reply to {}", self.last),
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.below(end as u64) as usize
    }

    /// Items of all lengths, some of which are equal.
    fn item(&mut self) -> Vec<u8> {
        match self.below(40) {
            0 => vec![b'x'; self.below(9000)],
            1..5 => vec![b'y'; self.below(200)],
            5..20 => self.below(5).to_string().into_bytes(),
            _ => format!("item:{}", self.below(1_000_000)).into_bytes(),
        }
    }

    fn push(&mut self, key: usize) {
        let count = 1 + if self.below(3) == 0 { self.below(5000) } else { self.below(10) };
        let items: Vec<_> = (0..count).map(|_| self.item()).collect();
        let at_head = self.below(2) == 0;
        let mut args = vec![if at_head { b"LPUSH".to_vec() } else { b"RPUSH".to_vec() }, name(key)];
        args.extend(items.iter().cloned());
        for item in items {
            if at_head {
                self.model[key].push_front(item);
            } else {
                self.model[key].push_back(item);
            }
        }
        let len = self.model[key].len();
        assert_eq!(self.call(&args).as_integer(), Some(len as i64), "{}", self.last);
    }

    fn pop(&mut self, key: usize) {
        let count = match self.below(4) {
            0 => self.below(3),
            1 => self.below(12_000),
            _ => self.below(700),
        };
        let at_head = self.below(2) == 0;
        let taken = count.min(self.model[key].len());
        let is_missing = self.model[key].is_empty();
        let items = &mut self.model[key];
        let expected: Vec<_> = if at_head {
            items.drain(..taken).collect()
        } else {
            let rest = items.len() - taken;
            items.drain(rest..).rev().collect()
        };
        let command = if at_head { "LPOP" } else { "RPOP" };
        let reply = self.call(&[command, KEYS[key], &count.to_string()]);
        if is_missing {
            assert_eq!(reply.as_elements(), None, "{}", self.last);
        } else {
            self.check_items(&reply, &expected);
        }
    }

    /// A range as two arguments, some counted from the tail, some beyond the ends.
    fn range(&mut self, len: usize) -> (Range<usize>, [String; 2]) {
        let from = self.below(len + 3);
        let to = from + self.below(len + 3);
        let shown = |index: usize, from_tail: bool| {
            if from_tail && index < len {
                (index as i64 - len as i64).to_string()
            } else {
                index.to_string()
            }
        };
        let (first, second) = (self.below(2) == 0, self.below(2) == 0);
        let range = from.min(len)..(to + 1).min(len);
        (range.start..range.end.max(range.start), [shown(from, first), shown(to, second)])
    }

    fn range_of(&mut self, key: usize) {
        let (range, [start, stop]) = self.range(self.model[key].len());
        let expected: Vec<_> = self.model[key].range(range).cloned().collect();
        let reply = self.call(&["LRANGE", KEYS[key], &start, &stop]);
        self.check_items(&reply, &expected);
    }

    fn trim(&mut self, key: usize) {
        let (range, [start, stop]) = self.range(self.model[key].len());
        self.model[key].truncate(range.end);
        self.model[key].drain(..range.start);
        self.call(&["LTRIM", KEYS[key], &start, &stop]);
    }

    fn remove(&mut self, key: usize) {
        let needle = self.item();
        let count = self.below(7) as i64 - 3;
        let count_max = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
        let mut left = count_max;
        let before = self.model[key].len();
        let mut keep = |item: &Vec<u8>| {
            let goes = *item == needle && 0 < left;
            left -= usize::from(goes);
            !goes
        };
        let items = std::mem::take(&mut self.model[key]);
        self.model[key] = if count < 0 {
            let kept: Vec<_> = items.into_iter().rev().filter(&mut keep).collect();
            kept.into_iter().rev().collect()
        } else {
            items.into_iter().filter(&mut keep).collect()
        };
        let removed = before - self.model[key].len();
        let count = count.to_string().into_bytes();
        let reply = self.call(&[b"LREM".to_vec(), name(key), count, needle]);
        assert_eq!(reply.as_integer(), Some(removed as i64), "{}", self.last);
    }

    fn insert(&mut self, key: usize) {
        let (pivot, item) = (self.item(), self.item());
        let found = self.model[key].iter().position(|it| *it == pivot);
        if let Some(index) = found {
            self.model[key].insert(index + 1, item.clone());
        }
        let len = self.model[key].len() as i64;
        let expected = match found {
            _ if len == 0 => 0,
            Some(_) => len,
            None => -1,
        };
        let reply = self.call(&[b"LINSERT".to_vec(), name(key), b"AFTER".to_vec(), pivot, item]);
        assert_eq!(reply.as_integer(), Some(expected), "{}", self.last);
    }

    fn set(&mut self, key: usize) {
        let len = self.model[key].len();
        let index = self.below(len + 1);
        let item = self.item();
        let reply =
            self.call(&[b"LSET".to_vec(), name(key), index.to_string().into_bytes(), item.clone()]);
        match self.model[key].get_mut(index) {
            Some(place) => *place = item,
            None => assert!(matches!(reply, Value::Error(_)), "{}", self.last),
        }
    }

    fn find(&mut self, key: usize) {
        let needle = self.item();
        let (rank, count, len_max) = (1 + self.below(3), self.below(3), self.below(6000));
        let from_tail = self.below(2) == 0;
        let len = self.model[key].len();
        let place = |step: usize| if from_tail { len - 1 - step } else { step };
        let looked_at = if len_max == 0 { len } else { len.min(len_max) };
        let expected: Vec<_> = (0..looked_at)
            .map(place)
            .filter(|&index| self.model[key][index] == needle)
            .skip(rank - 1)
            .take(if count == 0 { usize::MAX } else { count })
            .map(|index| Some(index as i64))
            .collect();
        let rank = if from_tail { -(rank as i64) } else { rank as i64 };
        let mut args = vec![b"LPOS".to_vec(), name(key), needle];
        for (option, number) in
            [("RANK", rank), ("COUNT", count as i64), ("MAXLEN", len_max as i64)]
        {
            args.extend([option.as_bytes().to_vec(), number.to_string().into_bytes()]);
        }
        let reply = self.call(&args);
        let found = reply.as_elements().expect("COUNT gives an array");
        let found: Vec<_> = found.iter().map(Value::as_integer).collect();
        assert_eq!(found, expected, "{}", self.last);
    }

    fn transfer(&mut self, from: usize) {
        let to = self.below(KEYS.len());
        let (pops_head, pushes_head, is_bulk) =
            (self.below(2) == 0, self.below(2) == 0, self.below(2) == 0);
        let count = 1 + self.below(6000);
        let end = |is_head: bool| if is_head { "LEFT" } else { "RIGHT" };
        let order = if is_bulk { "BULK" } else { "OBO" };
        let count_text = count.to_string();
        let args = ["LMOVEM", KEYS[from], KEYS[to], end(pops_head), end(pushes_head), "COUNT"];
        let reply = self.call(&[&args[..], &[&*count_text, order]].concat());
        if self.model[from].is_empty() {
            assert!(matches!(reply, Value::NilArray), "{reply:?} to {}", self.last);
            return;
        }
        let taken = count.min(self.model[from].len());
        let source = &mut self.model[from];
        let mut moved: Vec<_> = if pops_head {
            source.drain(..taken).collect()
        } else {
            let rest = source.len() - taken;
            source.drain(rest..).collect()
        };
        // One by one, the last popped is the outermost.
        let is_turned = !is_bulk && pops_head == pushes_head;
        if is_turned {
            moved.reverse();
        }
        self.check_items(&reply, &moved);
        if pushes_head {
            moved.into_iter().rev().for_each(|item| self.model[to].push_front(item));
        } else {
            self.model[to].extend(moved);
        }
    }

    fn check_items(&self, reply: &Value, expected: &[Vec<u8>]) {
        let found = reply.as_elements().unwrap_or_else(|| panic!("{reply:?} to {}", self.last));
        assert_eq!(found.len(), expected.len(), "{}", self.last);
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.as_bytes(), Some(&**expected), "{}", self.last);
        }
    }

    fn check_all(&mut self) {
        (0..KEYS.len()).for_each(|key| self.check(key));
    }

    fn check(&mut self, key: usize) {
        let expected: Vec<_> = self.model[key].iter().cloned().collect();
        let after = std::mem::take(&mut self.last);
        let reply = self.call(&["LRANGE", KEYS[key], "0", "-1"]);
        self.last = after;
        self.check_items(&reply, &expected);
        let exists = self.call(&["EXISTS", KEYS[key]]).as_integer();
        assert_eq!(exists, Some(i64::from(!expected.is_empty())));
    }
}

fn name(key: usize) -> Vec<u8> {
    KEYS[key].as_bytes().to_vec()
}

#[test]
fn long_lists_behave_like_deques() {
    for seed in 0..SEEDS {
        let mut lists = Lists::new(seed);
        for _ in 0..STEPS {
            let key = lists.below(KEYS.len());
            match lists.below(12) {
                0..4 => lists.push(key),
                4 => lists.pop(key),
                5 => lists.range_of(key),
                6 if lists.below(3) == 0 => lists.trim(key),
                7 => lists.remove(key),
                8 => lists.insert(key),
                9 => lists.set(key),
                10 => lists.find(key),
                _ => lists.transfer(key),
            }
            if lists.below(4) == 0 {
                lists.check_all();
            }
        }
        lists.check_all();
        lists.server.reset().expect("the journal gives the same keys");
    }
}
