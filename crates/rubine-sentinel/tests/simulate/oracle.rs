//! What must hold at all times, found out from what Sentinels say.

use std::collections::BTreeMap;

use rubine_resp::decode::Value;
use rubine_sentinel::Notice;

/// Invariant: of each map, an entry never changes.
#[derive(Default)]
pub(crate) struct Oracle {
    /// Epoch: who leads.
    leaders: BTreeMap<u64, u16>,
    /// Epoch: who was made a master.
    promoted: BTreeMap<u64, String>,
    /// Sentinel and epoch: whom it voted for.
    votes: BTreeMap<(u16, u64), String>,
    /// Epoch of a configuration: its master.
    masters: BTreeMap<u64, String>,
    /// The epoch that each Sentinel has told of last.
    epochs: BTreeMap<u16, u64>,
    /// The epoch of the failover that each tries.
    trying: BTreeMap<u16, u64>,
}

impl Oracle {
    pub(crate) fn promotion_count(&self) -> usize {
        self.promoted.len()
    }

    /// Takes in what a Sentinel has told of. An error says what must not be.
    pub(crate) fn hear(&mut self, who: u16, notice: &Notice) -> Result<(), String> {
        let words: Vec<&str> = notice.text.split(' ').collect();
        match notice.channel {
            "+new-epoch" => {
                let epoch = words[0].parse().expect("an epoch");
                let before = self.epochs.insert(who, epoch);
                if before.is_some_and(|it| epoch <= it) {
                    return Err(format!("{who} goes back from epoch {before:?} to {epoch}"));
                }
            }
            "+try-failover" => {
                self.trying.insert(who, self.epochs[&who]);
            }
            "+vote-for-leader" => {
                let (leader, epoch) = (words[0].to_owned(), words[1].parse().expect("an epoch"));
                once(&mut self.votes, (who, epoch), leader, "votes")?;
            }
            "+elected-leader" => once(&mut self.leaders, self.trying[&who], who, "leads")?,
            "+promoted-slave" => {
                let (epoch, name) = (self.trying[&who], words[1].to_owned());
                once(&mut self.promoted, epoch, name, "is promoted")?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes in what a Sentinel answers another one, which may be a vote.
    pub(crate) fn see_reply(&mut self, who: u16, value: &Value) -> Result<(), String> {
        let Value::Array(parts) = value else { return Ok(()) };
        let [_, Value::Bulk(leader), Value::Integer(epoch)] = &parts[..] else { return Ok(()) };
        if leader == b"*" {
            return Ok(());
        }
        let leader = String::from_utf8_lossy(leader).into_owned();
        once(&mut self.votes, (who, *epoch as u64), leader, "votes")
    }

    /// Takes in a hello message.
    pub(crate) fn overhear(&mut self, hello: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(hello);
        let words: Vec<&str> = text.split(',').collect();
        let epoch: u64 = words[7].parse().expect("an epoch");
        if epoch == 0 {
            return Ok(());
        }
        once(&mut self.masters, epoch, words[6].to_owned(), "is the master")
    }

    pub(crate) fn forget(&mut self, who: u16) {
        self.epochs.remove(&who);
        self.trying.remove(&who);
    }
}

fn once<K: Ord + Copy + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    map: &mut BTreeMap<K, V>,
    key: K,
    value: V,
    what: &str,
) -> Result<(), String> {
    match map.get(&key) {
        Some(there) if *there != value => {
            Err(format!("in epoch {key:?}, {there:?} {what}, and {value:?} does, too"))
        }
        _ => {
            map.insert(key, value);
            Ok(())
        }
    }
}
