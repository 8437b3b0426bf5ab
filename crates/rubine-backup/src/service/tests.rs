//! Backups on a store that fails as it is told. Whatever fails and whenever, a good backup is left, and none that is bad
//! counts.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rubine_persistence::encryption::KeyRing;
use rubine_rdb::version::Version;
use rubine_rdb::write::{self, Writer};

use super::runner::{Cause, Runner};
use super::{Answer, Options, Request, Service, Setup};
use crate::backup::abort_unfinished;
use crate::catalog::{Catalog, Condition, Entry, Known};
use crate::error::{BackupError, StoreError};
use crate::restore;
use crate::source::{Content, Image, Source};
use crate::store::faulty::{Fault, Faulty};
use crate::store::{Access, Store};
use crate::target::Wanted;

/// A server with so many keys.
#[derive(Default)]
struct Data {
    keys: AtomicU64,
    obstacle: Mutex<Option<String>>,
    is_ending: AtomicBool,
    /// It ends while the image is written.
    ends_early: AtomicBool,
    image_fails: AtomicBool,
}

struct Dump {
    keys: u64,
    fails: bool,
}

impl Content for Dump {
    fn write(self: Box<Self>, out: &mut dyn Write) -> io::Result<()> {
        let format = write::Options { version: Version::COMMON, compresses: false, sums: true };
        let mut writer = Writer::new(out, format)?;
        writer.select_db(0, self.keys, 0)?;
        for number in 0..self.keys {
            let key = format!("key:{number:04}");
            let entry = [&[0, key.len() as u8][..], key.as_bytes(), &[1, b'v']].concat();
            writer.append_encoded(&entry)?;
        }
        if self.fails {
            return Err(io::Error::other("a thread has ended"));
        }
        writer.finish().map(drop)
    }
}

impl Source for &'static Data {
    fn obstacle(&self) -> Option<String> {
        self.obstacle.lock().clone()
    }

    fn image(&self, _: Option<u64>) -> Result<Image, String> {
        static CLOCK: AtomicU64 = AtomicU64::new(0);
        let keys = self.keys.load(Ordering::Relaxed);
        if self.ends_early.load(Ordering::Relaxed) {
            self.is_ending.store(true, Ordering::Relaxed);
        }
        Ok(Image {
            // Ids are in the order in which images were made.
            taken_at_ms: 1000 * CLOCK.fetch_add(1, Ordering::Relaxed) as i64,
            keys,
            databases: 1,
            memory_bytes: 1000,
            log: None,
            content: Box::new(Dump { keys, fails: self.image_fails.load(Ordering::Relaxed) }),
        })
    }

    fn keys(&self) -> Option<Arc<KeyRing>> {
        None
    }

    fn run_id(&self) -> String {
        "run".to_owned()
    }

    fn version(&self) -> String {
        "0".to_owned()
    }

    fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }
}

fn options(retention: u32) -> Options {
    Options {
        url: "file:///test".to_owned(),
        access: Access::default(),
        schedule: String::new(),
        jitter_seconds: 0,
        retention,
        level: 1,
        bytes_per_second: 0,
        has_log: false,
        log_interval_seconds: 1,
        log_buffer_bytes: 1 << 20,
        owner: "me".to_owned(),
    }
}

/// A server with its backups.
struct World {
    store: Faulty,
    data: &'static Data,
    runner: Runner,
    setup: Setup,
}

impl World {
    fn new(retention: u32) -> Self {
        let store = Faulty::default();
        let data: &'static Data = Box::leak(Box::default());
        data.keys.store(500, Ordering::Relaxed);
        let source: &'static dyn Source = Box::leak(Box::new(data));
        let service: &'static Service = Box::leak(Box::default());
        let setup = Setup::on(Arc::new(store.clone()), options(retention));
        Self { store, data, runner: Runner::new(service, source), setup }
    }

    fn make(&mut self) -> Result<Entry, BackupError> {
        self.runner.make(&self.setup, Cause::Asked)
    }

    fn obey(&mut self, request: Request) -> Result<Answer, BackupError> {
        self.runner.obey(&self.setup, request)
    }

    fn catalog(&self) -> Catalog {
        Catalog::read(&self.store, &mut Known::default()).expect("nothing fails now")
    }

    fn repair(&self) {
        let mut memory = self.store.0.lock();
        (memory.fails_at, memory.all_after, memory.room) = (None, false, None);
    }
}

/// What has to hold at any time.
fn check(world: &mut World, what: &str) {
    let catalog = world.catalog();
    assert!(catalog.last_good().is_some(), "{what}: no good backup is left");
    for entry in &catalog.entries {
        assert_ne!(entry.condition, Condition::Damaged, "{what}: {:?}", entry.reason);
        let keys = entry.manifest.keys;
        let verified = world.obey(Request::Verify(entry.id.clone()));
        assert!(
            matches!(verified, Ok(Answer::Verified(found)) if found == keys),
            "{what}: {verified:?}"
        );
    }
    let plan = restore::plan(&world.store, "here", &Wanted::Latest).expect("there is a good one");
    assert!([500, 600].contains(&plan.entry.manifest.keys), "{what}");
}

#[test]
fn every_request_may_fail() {
    let mut world = World::new(1);
    world.make().expect("nothing fails");
    let before = world.store.0.lock().requests;
    world.make().expect("nothing fails");
    let requests = world.store.0.lock().requests - before;
    assert!(10 < requests, "{requests} requests are hardly all");
    for number in 1..=requests + 1 {
        for (fault, all_after) in [
            (Fault::Before, false),
            (Fault::Before, true),
            (Fault::After, false),
            (Fault::After, true),
        ] {
            let what = format!("request {number}, {fault:?}, all after: {all_after}");
            let mut world = World::new(1);
            world.make().expect("nothing fails");
            world.data.keys.store(600, Ordering::Relaxed);
            {
                let mut memory = world.store.0.lock();
                memory.fails_at = Some((memory.requests + number, fault));
                memory.all_after = all_after;
            }
            let made = world.make();
            world.repair();
            check(&mut world, &what);
            if let Ok(entry) = &made {
                let catalog = world.catalog();
                let last = catalog.last_good().expect("it was just looked at");
                assert_eq!(last.id, entry.id, "{what}: what was told to be good is not");
            }
            // The next run ends what was left, and all is as if nothing had been.
            abort_unfinished(&world.store, "me", 0).expect("nothing fails now");
            // Nobody knows of one that was begun where the answer was lost; there is nothing in it.
            let mut unfinished = std::mem::take(&mut world.store.0.lock().unfinished);
            unfinished.retain(|_, content| !content.is_empty());
            assert!(unfinished.is_empty(), "{what}");
            world.make().unwrap_or_else(|error| panic!("{what}: {error}"));
            check(&mut world, &what);
            assert_eq!(world.catalog().good_count(), 1, "{what}");
        }
    }
}

#[test]
fn a_full_store_keeps_what_it_has() {
    let mut world = World::new(1);
    world.make().expect("nothing fails");
    let used: usize = world.store.0.lock().objects.values().map(|it| it.0.len()).sum();
    for room in used..used + 3000 {
        if room % 97 != 0 {
            continue;
        }
        world.store.0.lock().room = Some(room);
        let made = world.make();
        if let Err(error) = &made {
            assert!(error.to_string().contains("No space left"), "{error}");
        }
        world.repair();
        check(&mut world, &format!("room for {room} bytes"));
    }
}

#[test]
fn an_image_that_breaks_off_is_no_backup() {
    let mut world = World::new(1);
    world.make().expect("nothing fails");
    world.data.image_fails.store(true, Ordering::Relaxed);
    assert!(matches!(world.make(), Err(BackupError::Image(_))));
    assert!(world.store.0.lock().unfinished.is_empty());
    assert!(world.store.names().iter().all(|it| !it.starts_with("uploads")));
    world.data.image_fails.store(false, Ordering::Relaxed);
    world.data.ends_early.store(true, Ordering::Relaxed);
    assert!(matches!(world.make(), Err(BackupError::Ending)));
    assert!(world.store.0.lock().unfinished.is_empty());
    assert_eq!(world.catalog().entries.len(), 1);
}

#[test]
fn what_is_spoilt_in_the_store_is_found_and_never_counts() {
    let mut world = World::new(0);
    let good = world.make().expect("nothing fails");
    let bad = world.make().expect("nothing fails");
    world.store.spoil(&bad.dump_name(), |content| content[20] ^= 1);
    let verified = world.obey(Request::Verify(bad.id.clone()));
    assert!(matches!(verified, Err(BackupError::Damaged { .. })), "{verified:?}");
    let plan = restore::plan(&world.store, "here", &Wanted::Latest).expect("one is good");
    assert_eq!(plan.entry.id, good.id);
    let plan = restore::plan(&world.store, "here", &Wanted::Id(bad.id.clone()));
    assert!(matches!(plan, Err(BackupError::Damaged { .. })));
    // Shorter than its manifest says: the list alone tells.
    world.store.spoil(&good.dump_name(), |content| content.truncate(10));
    assert!(world.catalog().last_good().is_none());
    let plan = restore::plan(&world.store, "here", &Wanted::Latest);
    assert!(plan.unwrap_err().to_string().contains("none of the 2 backups is good"));
    // Of a manifest that cannot be read, nobody knows what it belongs to: it stays.
    world.store.spoil(&format!("{}/manifest.json", good.folder), |content| content.truncate(10));
    assert!(world.catalog().others[0].unreadable.is_some());
}

#[test]
fn nothing_is_uploaded_where_there_is_an_obstacle() {
    let mut world = World::new(1);
    *world.data.obstacle.lock() = Some("data is being loaded".to_owned());
    assert!(matches!(world.make(), Err(BackupError::NotNow(_))));
    assert!(world.store.names().is_empty());
}

#[test]
fn a_suspect_one_takes_no_place() {
    let mut world = World::new(1);
    let good = world.make().expect("nothing fails");
    for keys in [0, 49, 0] {
        world.data.keys.store(keys, Ordering::Relaxed);
        let entry = world.make().expect("nothing fails");
        assert!(entry.is_suspect() && entry.folder.starts_with("suspects/"));
        assert_eq!(world.catalog().last_good().map(|it| it.id.clone()), Some(good.id.clone()));
    }
    assert!(world.store.0.lock().removed.iter().all(|it| it.starts_with("uploads/")));
    world.data.keys.store(400, Ordering::Relaxed);
    let next = world.make().expect("nothing fails");
    let catalog = world.catalog();
    assert_eq!(catalog.entries.iter().map(|it| &it.id).collect::<Vec<_>>(), [&next.id]);
}

#[test]
fn the_last_good_one_is_not_deleted() {
    let mut world = World::new(0);
    let first = world.make().expect("nothing fails");
    let refused = world.obey(Request::Delete(first.id.clone()));
    assert!(matches!(refused, Err(BackupError::Unfit(_))));
    let second = world.make().expect("nothing fails");
    world.obey(Request::Delete(first.id)).expect("there is another");
    assert_eq!(world.catalog().last_good().map(|it| it.id.clone()), Some(second.id));
}

#[test]
fn uploads_of_others_are_left_alone_until_they_are_old() {
    let store = Faulty::default();
    let note = |name: &str, owner: &str| {
        let upload = store.begin(name).expect("nothing fails");
        let unfinished = crate::manifest::UnfinishedUpload {
            name: name.to_owned(),
            token: upload.token(),
            run_id: owner.to_owned(),
            begun_at_ms: 5,
        };
        std::mem::forget(upload);
        let json = crate::manifest::to_json(&unfinished);
        store.put_new(&format!("uploads/{owner}.json"), &json).expect("nothing fails");
    };
    note("sets/a", "me");
    note("sets/b", "other");
    abort_unfinished(&store, "me", 10).expect("nothing fails");
    assert_eq!(store.names(), ["uploads/other.json"]);
    abort_unfinished(&store, "me", i64::MAX).expect("nothing fails");
    assert!(store.names().is_empty() && store.0.lock().unfinished.is_empty());
}

#[test]
fn no_backup_is_not_the_same_as_no_way_to_it() {
    let store = Faulty::default();
    let none = restore::plan(&store, "here", &Wanted::Latest);
    assert!(matches!(none, Err(BackupError::NoBackup(_))));
    store.0.lock().fails_at = Some((0, Fault::Before));
    store.0.lock().all_after = true;
    let unreachable = restore::plan(&store, "here", &Wanted::Latest);
    let is_told =
        matches!(unreachable, Err(BackupError::Store { error: StoreError::Unreachable(_), .. }));
    assert!(is_told, "{unreachable:?}");
}
