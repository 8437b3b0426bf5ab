//! What is removed of what there is: old backups where there are more good ones than are to be kept, and what interrupted
//! uploads have left. Removes nothing itself.

use crate::catalog::{Catalog, Entry};
use crate::layout::BackupId;

/// What is no backup stays for so long: it may be one that is being made.
pub const LEFTOVER_AGE_MS: i64 = 24 * 60 * 60 * 1000;

/// What is to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Folders of backups, the oldest first.
    pub backups: Vec<BackupId>,
    /// Folders that are none.
    pub leftovers: Vec<String>,
    /// Why no backup is removed at all, if so.
    pub stopped: Option<String>,
}

/// Plans with `keep` good backups to be left; 0 for all. What does not count (never read back, damaged, suspect) goes when
/// it is older than all that is kept.
pub fn plan(catalog: &Catalog, keep: u32, now: i64) -> Plan {
    let is_old = |newest_at_ms: i64| newest_at_ms < now - LEFTOVER_AGE_MS;
    let leftovers = catalog.others.iter();
    let leftovers = leftovers.filter(|it| it.unreadable.is_none() && is_old(it.newest_at_ms));
    let mut plan =
        Plan { leftovers: leftovers.map(|it| it.folder.clone()).collect(), ..Plan::default() };
    if let Some(newest) = catalog.entries.last().filter(|it| it.is_suspect()) {
        let reason = newest.manifest.suspect.as_deref().unwrap_or_default();
        plan.stopped = Some(format!("the newest backup, {}, is suspect: {reason}", newest.id));
        return plan;
    }
    if keep == 0 {
        return plan;
    }
    let is_good = |(at, entry): (usize, &Entry)| entry.is_good().then_some(at);
    let good: Vec<usize> = catalog.entries.iter().enumerate().filter_map(is_good).collect();
    if let Some(surplus) = good.len().checked_sub(keep as usize).filter(|it| 0 < *it) {
        let oldest_kept = good[surplus];
        plan.backups = catalog.entries[..oldest_kept].iter().map(|it| it.id.clone()).collect();
    }
    plan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::{Condition, Other};
    use crate::manifest::tests::manifest;

    /// One for each letter: `v`erified, `u`nverified, `d`amaged, `s`uspect, `a`ccepted.
    fn catalog(letters: &str) -> Catalog {
        let entry = |(index, letter)| {
            let manifest = manifest(index as i64 * 1000, 5);
            let mut entry = Entry {
                id: BackupId::parse(&manifest.id).unwrap(),
                folder: format!("sets/{}", manifest.id),
                manifest,
                condition: Condition::Verified,
                reason: None,
                is_accepted: letter == 'a',
            };
            match letter {
                'u' => entry.condition = Condition::Unverified,
                'd' => entry.condition = Condition::Damaged,
                's' | 'a' => entry.manifest.suspect = Some("it has no keys".to_owned()),
                _ => {}
            }
            entry
        };
        Catalog { entries: letters.chars().enumerate().map(entry).collect(), ..Catalog::default() }
    }

    fn check(letters: &str, keep: u32, removed: &str) {
        let catalog = catalog(letters);
        let plan = plan(&catalog, keep, 0);
        let marks: String = catalog
            .entries
            .iter()
            .map(|it| if plan.backups.contains(&it.id) { 'x' } else { '.' })
            .collect();
        assert_eq!(marks, removed, "{letters}, {keep} to be kept");
    }

    #[test]
    fn only_good_ones_count() {
        check("", 1, "");
        check("vvvv", 2, "xx..");
        check("vvvv", 4, "....");
        check("vvvv", 0, "....");
        check("vvuudd", 1, "x.....");
        check("uuvdv", 1, "xxxx.");
        check("uudd", 1, "....");
        check("vuudd", 1, ".....");
    }

    #[test]
    fn a_suspect_one_stops_all_until_it_is_accepted_or_followed_by_a_good_one() {
        check("vvvs", 1, "....");
        check("vvva", 1, "xxx.");
        check("vvsv", 1, "xxx.");
        assert!(plan(&catalog("vs"), 1, 0).stopped.unwrap().contains("it has no keys"));
    }

    #[test]
    fn leftovers_go_when_they_are_old_unless_they_have_a_manifest() {
        let other = |folder: &str, newest_at_ms, unreadable: Option<&str>| Other {
            folder: folder.to_owned(),
            newest_at_ms,
            unreadable: unreadable.map(str::to_owned),
        };
        let others =
            vec![other("old", 0, None), other("new", 10, None), other("odd", 0, Some("damaged"))];
        let catalog = Catalog { others, ..Catalog::default() };
        assert_eq!(plan(&catalog, 1, LEFTOVER_AGE_MS + 5).leftovers, ["old"]);
    }

    proptest! {
        #[test]
        fn the_last_good_one_stays_and_so_do_as_many_as_are_to_be_kept(
            letters in "[vudsa]{0,12}",
            keep in 0_u32..5,
        ) {
            let catalog = catalog(&letters);
            let plan = plan(&catalog, keep, i64::MAX / 2);
            let is_left = |it: &&Entry| !plan.backups.contains(&it.id);
            let good_left = catalog.entries.iter().filter(|it| it.is_good()).filter(is_left).count();
            let good = catalog.good_count();
            let least = if keep == 0 { good } else { good.min(keep as usize) };
            prop_assert!(least <= good_left);
            if let Some(last) = catalog.last_good() {
                prop_assert!(is_left(&last));
            }
        }
    }
}
