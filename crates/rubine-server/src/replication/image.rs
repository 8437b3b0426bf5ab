//! Digests of an image, for the comparison of a master and its replicas. Never takes a lock.

use rubine_keyspace::{ScanCursor, Snapshot};
use rubine_replication::verify::{BUCKETS, Digester, KeyDigest};
use rubine_storage::pace::{Pace, Share};
use rubine_system::{allocator, process};

/// Records that are visited between two looks at whether to go on.
const RECORDS_PER_STEP: usize = 128;
/// Of the memory in use, this part may be kept for the image beside what there is, and so many bytes in any case.
const KEPT_PART: usize = 4;
const KEPT_BYTES_MIN: usize = 256 << 20;

/// An image, and how to make digests of what is in it.
pub(crate) struct Image {
    snapshot: Snapshot,
    digester: Digester,
    pace: Pace,
    kept_bytes_max: usize,
}

impl Image {
    /// For the calling thread, which stands back behind clients from now on.
    pub(crate) fn new(snapshot: Snapshot, digester: Digester) -> Self {
        process::yield_to_others();
        let kept_bytes_max = (allocator::used_memory() / KEPT_PART).max(KEPT_BYTES_MIN);
        Self { snapshot, digester, pace: Pace::new(Share::Tenth), kept_bytes_max }
    }

    /// Keys in it, those that are due included.
    pub(crate) fn len(&self) -> usize {
        (0..self.snapshot.db_count()).map(|db| self.snapshot.len(db)).sum()
    }

    /// Why the image has to be given up, if it has to: clients have changed so much that it costs too much memory.
    pub(crate) fn cost(&self) -> Result<(), String> {
        let kept = self.snapshot.retained_bytes();
        if kept <= self.kept_bytes_max {
            return Ok(());
        }
        Err(format!(
            "{kept} bytes of what clients have changed were kept for it, which is too much"
        ))
    }

    /// The digests of all buckets, and how many keys count. Ends when `check` says why.
    pub(crate) fn digests(
        &mut self,
        check: &dyn Fn() -> Result<(), String>,
    ) -> Result<(Box<[u64]>, u64), String> {
        let mut digests = vec![0_u64; BUCKETS].into_boxed_slice();
        let mut count = 0;
        self.visit(check, None, |bucket, it| {
            let digest = &mut digests[usize::from(bucket)];
            *digest = digest.wrapping_add(it.digest);
            count += 1;
        })?;
        Ok((digests, count))
    }

    /// Visits the keys of some buckets.
    pub(crate) fn list(
        &mut self,
        buckets: &[u16],
        check: &dyn Fn() -> Result<(), String>,
        mut visit: impl FnMut(KeyDigest<'_>),
    ) -> Result<(), String> {
        let mut wanted = vec![false; BUCKETS];
        buckets.iter().for_each(|it| wanted[usize::from(*it)] = true);
        self.visit(check, Some(&wanted), |_, it| visit(it))
    }

    fn visit(
        &mut self,
        check: &dyn Fn() -> Result<(), String>,
        wanted: Option<&[bool]>,
        mut visit: impl FnMut(u16, KeyDigest<'_>),
    ) -> Result<(), String> {
        for db in 0..self.snapshot.db_count() {
            let mut cursor = Some(ScanCursor::START);
            while let Some(at) = cursor {
                self.cost()?;
                check()?;
                let Self { snapshot, digester, pace, .. } = self;
                pace.step();
                cursor = snapshot.scan(db, at, RECORDS_PER_STEP, |record| {
                    let (db, key) = (db as u32, record.key());
                    let bucket = digester.bucket_of(db, key);
                    if wanted.is_some_and(|it| !it[usize::from(bucket)]) {
                        return;
                    }
                    if let Some(digest) = digester.digest(db, record, &mut || pace.step()) {
                        visit(bucket, KeyDigest { db, key, digest });
                    }
                });
            }
        }
        Ok(())
    }
}
