//! All quotas in one state, and which of them a request is about.

use std::sync::Arc;

use rubine_base::hash::HashMap;
use rubine_config::{QuotaMode, QuotaSubject};

use super::quota::Quota;

/// All quotas in one state. They are known by their numbers.
#[derive(Debug, Default)]
pub(crate) struct QuotaTable {
    /// In order of subject.
    quotas: Vec<Arc<Quota>>,
    users: HashMap<Vec<u8>, usize>,
    /// By database.
    dbs: Vec<Option<usize>>,
    /// In order of prefix.
    prefixes: Vec<Prefix>,
    measures_memory: bool,
}

#[derive(Debug)]
struct Prefix {
    text: Vec<u8>,
    quota: usize,
    /// The longest of the others that this one begins with.
    parent: Option<usize>,
}

impl QuotaTable {
    pub(super) fn new(mut quotas: Vec<Arc<Quota>>) -> Self {
        quotas.sort_by(|a, b| a.rule.subject.cmp(&b.rule.subject));
        let measures_memory = quotas.iter().any(|it| it.rule.memory.is_some());
        let mut table = Self { measures_memory, ..Self::default() };
        for (number, quota) in quotas.iter().enumerate() {
            match &quota.rule.subject {
                QuotaSubject::User(name) => _ = table.users.insert(name.clone(), number),
                QuotaSubject::Db(db) => {
                    let db = *db as usize;
                    let len = table.dbs.len().max(db + 1);
                    table.dbs.resize(len, None);
                    table.dbs[db] = Some(number);
                }
                QuotaSubject::Prefix(prefix) => {
                    // What it begins with stands before it: the last one does, or one which that begins with.
                    let last = table.prefixes.len().checked_sub(1);
                    let parent = table.longest_from(last, prefix);
                    table.prefixes.push(Prefix { text: prefix.clone(), quota: number, parent });
                }
            }
        }
        table.quotas = quotas;
        table
    }

    /// All of them, by number.
    pub(crate) fn quotas(&self) -> &[Arc<Quota>] {
        &self.quotas
    }

    pub(crate) fn quota(&self, number: usize) -> &Arc<Quota> {
        &self.quotas[number]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.quotas.is_empty()
    }

    /// Whether there are any that are not about users.
    pub(crate) fn has_any_of_data(&self) -> bool {
        !self.dbs.is_empty() || !self.prefixes.is_empty()
    }

    /// Whether there are any about prefixes.
    pub(crate) fn has_prefixes(&self) -> bool {
        !self.prefixes.is_empty()
    }

    /// Whether any of them limits memory.
    pub(crate) fn measures_memory(&self) -> bool {
        self.measures_memory
    }

    pub(crate) fn find(&self, subject: &QuotaSubject) -> Option<&Arc<Quota>> {
        self.quotas
            .binary_search_by(|it| it.rule.subject.cmp(subject))
            .ok()
            .map(|it| &self.quotas[it])
    }

    /// The quota of a user.
    pub(crate) fn of_user(&self, name: &[u8]) -> Option<usize> {
        self.users.get(name).copied()
    }

    /// Whether no quota is about that user.
    pub(crate) fn is_exempt(&self, name: &[u8]) -> bool {
        self.of_user(name).is_some_and(|it| self.quotas[it].rule.mode == QuotaMode::Exempt)
    }

    /// The quota of a database.
    pub(crate) fn of_db(&self, db: usize) -> Option<usize> {
        self.dbs.get(db).copied().flatten()
    }

    /// The quotas of all prefixes of a key.
    pub(crate) fn for_each_of_key(&self, key: &[u8], mut visit: impl FnMut(usize)) {
        let not_beyond = self.prefixes.partition_point(|it| it.text.as_slice() <= key);
        let mut next = self.longest_from(not_beyond.checked_sub(1), key);
        while let Some(index) = next {
            visit(self.prefixes[index].quota);
            next = self.prefixes[index].parent;
        }
    }

    /// The longest prefix of `key` among that one and those that it begins with.
    fn longest_from(&self, mut index: Option<usize>, key: &[u8]) -> Option<usize> {
        while let Some(at) = index
            && !key.starts_with(&self.prefixes[at].text)
        {
            index = self.prefixes[at].parent;
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rubine_config::QuotaRule;

    use super::{Quota, QuotaTable};

    #[test]
    fn every_prefix_of_a_key_is_found() {
        let prefixes = ["a", "a:", "a:b", "a:b:c", "a:c", "b", "ba", "bab", "z:"];
        let rules = prefixes.map(|it| {
            let words: [&[u8]; 3] = [b"prefix", it.as_bytes(), b"ops=1/s"];
            Arc::new(Quota::new(QuotaRule::parse(&words).unwrap(), 1))
        });
        let table = QuotaTable::new(rules.to_vec());
        for key in ["", "a", "a:b:d", "a:b:c:d", "a:bb", "a:d", "aa", "bac", "bab", "z", "z:z", "{"]
        {
            let mut found = Vec::new();
            table.for_each_of_key(key.as_bytes(), |it| {
                found.push(String::from_utf8(table.quota(it).rule.subject.name()).unwrap());
            });
            found.sort();
            let expected: Vec<&str> =
                prefixes.into_iter().filter(|it| key.starts_with(it)).collect();
            assert_eq!(found, expected, "{key}");
        }
    }
}
