//! The write-ahead log: what was acknowledged is there once, whatever happens when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flamestore_formats::encode_pprof;
use flamestore_model::{ErrorKind, ProfileId, Result};
use flamestore_store::{Background, Bucket, Durability, ProfileFormat, PushProfile, Store, StoreOptions, WalFiles};
use flamestore_testkit::profile;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::faults::{Faulty, PutFault};
use crate::support::{DAY_START, SECOND, bucket, memory, merged_all, options, push_of};
use crate::wal_files::MemoryFiles;

/// A store that is opened again and again, and what it owes.
struct World {
    bucket: Bucket,
    files: MemoryFiles,
    durability: Durability,
    opened: u128,
    pushes: i64,
    acknowledged: BTreeSet<i64>,
}

impl World {
    fn new(durability: Durability, bucket: Bucket) -> Self {
        let files = MemoryFiles::default();
        Self { bucket, files, durability, opened: 0, pushes: 0, acknowledged: BTreeSet::new() }
    }

    fn options(&mut self) -> StoreOptions {
        self.opened += 1;
        let mut options = options(&self.bucket, "w", self.opened);
        options.wal.durability = self.durability;
        options.wal.files = (self.durability == Durability::Wal).then(|| Arc::new(self.files.process()) as _);
        options.wal.part_bytes = 600;
        options.wal.put_interval = std::time::Duration::ZERO;
        options
    }

    async fn open(&mut self) -> Arc<Store> {
        let options = self.options();
        Store::open(options).await.unwrap()
    }

    /// Pushes the next profile; it is owed once this succeeds.
    async fn push(&mut self, store: &Store) -> Result<ProfileId> {
        self.pushes += 1;
        let pushed = store.push(numbered(self.pushes)).await;
        if pushed.is_ok() {
            self.acknowledged.insert(self.pushes);
        }
        pushed
    }

    /// Ends the process; of what was not synced, `kept` bytes a file stay.
    fn crash(&self, store: Arc<Store>, kept: usize) {
        self.files.crash(kept);
        drop(store);
    }

    async fn audit(&self, store: &Store, step: &str) {
        let found = merged_all(store).await;
        for number in &self.acknowledged {
            assert_eq!(found.get(&stack(*number)), Some(&1), "{step}: profile {number} of {found:?}");
        }
        assert!(found.values().all(|times| *times == 1), "{step}: {found:?}");
    }

    async fn reopen(&mut self, store: Arc<Store>, step: &str) -> Arc<Store> {
        self.crash(store, 0);
        let store = self.open().await;
        self.audit(&store, step).await;
        store
    }
}

fn stack(number: i64) -> String {
    format!("main;p{number}")
}

/// A profile as a producer sends it: bytes, and no id.
fn numbered(number: i64) -> PushProfile {
    let batch = profile(&format!("{} 1", stack(number)));
    let received = Some((ProfileFormat::Pprof, encode_pprof(&batch).into()));
    PushProfile { received, ..push_of("api", batch, DAY_START + number * SECOND) }
}

const DURABLE: [Durability; 2] = [Durability::Wal, Durability::Bucket];

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash_once() {
    for durability in DURABLE {
        let mut world = World::new(durability, memory());
        let store = world.open().await;
        for _ in 0..5 {
            world.push(&store).await.unwrap();
        }
        let store = world.reopen(store, "never flushed").await;
        world.push(&store).await.unwrap();
        let store = world.reopen(store, "replayed and never flushed").await;
        store.flush().await.unwrap();
        world.audit(&store, "flushed").await;
        let store = world.reopen(store, "flushed, then crashed").await;
        assert_eq!(store.head_status().profiles, 0, "nothing is left to be taken in");
        world.push(&store).await.unwrap();
        store.shutdown().await.unwrap();
        drop(store);
        let store = world.open().await;
        world.audit(&store, "shut down").await;
        assert_eq!(store.head_status().profiles, 0, "{durability}");
    }
}

#[tokio::test]
async fn a_log_that_outlives_its_publication_is_not_taken_in_twice() {
    let mut world = World::new(Durability::Wal, memory());
    let store = world.open().await;
    for _ in 0..3 {
        world.push(&store).await.unwrap();
    }
    let unpublished = world.files.contents();
    store.flush().await.unwrap();
    // the process ends after the commit and before the parts are deleted
    drop(store);
    world.files = MemoryFiles::of(unpublished);
    let store = world.open().await;
    world.audit(&store, "reopened").await;
    assert_eq!(store.head_status().profiles, 0);
    world.push(&store).await.unwrap();
    let store = world.reopen(store, "one more").await;
    assert_eq!(store.head_status().profiles, 1);
}

#[tokio::test]
async fn a_log_cut_at_any_byte_gives_back_its_whole_records() {
    let mut world = World::new(Durability::Wal, memory());
    let store = world.open().await;
    for _ in 0..3 {
        world.push(&store).await.unwrap();
    }
    drop(store);
    let contents = world.files.contents();
    let part = contents.keys().rfind(|name| name.ends_with(".wal")).unwrap().clone();
    let mut before = 0;
    for length in 0..=contents[&part].len() {
        let mut cut = contents.clone();
        cut.get_mut(&part).unwrap().truncate(length);
        let mut world = World::new(Durability::Wal, memory());
        world.files = MemoryFiles::of(cut);
        let store = world.open().await;
        world.audit(&store, "cut").await;
        let found = store.head_status().profiles;
        assert!(found >= before && found <= before + 1, "{length} bytes: {found} profiles after {before}");
        before = found;
    }
    assert_eq!(before, 3);
}

#[tokio::test]
async fn a_flipped_byte_costs_one_record_and_the_part_is_kept_aside() {
    let mut world = World::new(Durability::Wal, memory());
    let mut options = world.options();
    options.wal.part_bytes = 1 << 20;
    let store = Store::open(options).await.unwrap();
    for _ in 0..3 {
        world.push(&store).await.unwrap();
    }
    drop(store);
    let contents = world.files.contents();
    let part = contents.keys().rfind(|name| name.ends_with(".wal")).unwrap().clone();
    for at in 0..contents[&part].len() {
        let mut flipped = contents.clone();
        flipped.get_mut(&part).unwrap()[at] ^= 0x10;
        let mut world = World::new(Durability::Wal, memory());
        world.files = MemoryFiles::of(flipped);
        let options = world.options();
        let Ok(store) = Store::open(options).await else {
            assert!((4..24).contains(&at), "byte {at}: only another format or another log is refused");
            continue;
        };
        world.audit(&store, "flipped").await;
        let found = store.head_status().profiles;
        assert!(found == 2 || (found == 0 && at < 56), "byte {at}: {found} profiles");
        store.shutdown().await.unwrap();
        let aside = world.files.contents().keys().any(|name| name.ends_with(".damaged"));
        // in the last record damage cannot be told from a record that was never finished
        assert!(aside || at > contents[&part].len() * 2 / 3, "byte {at}");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_pushes_until_there_is_room() {
    let mut world = World::new(Durability::Wal, memory());
    let store = world.open().await;
    world.push(&store).await.unwrap();
    let used: usize = world.files.contents().values().map(Vec::len).sum();
    for room in [0, 10, 100, 150] {
        world.files.limit(Some(used + room));
        let error = world.push(&store).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("the disk is full") && error.retry_delay().is_some(), "{error}");
    }
    world.files.limit(None);
    world.push(&store).await.unwrap();
    let store = world.reopen(store, "after a full disk").await;
    assert_eq!(store.head_status().profiles, 2);
}

#[tokio::test]
async fn a_part_that_was_not_synced_is_never_written_again() {
    let mut world = World::new(Durability::Wal, memory());
    let store = world.open().await;
    world.push(&store).await.unwrap();
    world.files.fail_syncs(1);
    let error = world.push(&store).await.unwrap_err();
    // nobody knows when a disk that does not answer will
    assert_eq!((error.kind(), error.retry_delay()), (ErrorKind::Unavailable, None), "{error}");
    world.push(&store).await.unwrap();
    for kept in [0, 7, 1 << 20] {
        let files = MemoryFiles::of(world.files.contents());
        files.crash(kept);
        let mut world = World {
            files,
            bucket: memory(),
            acknowledged: world.acknowledged.clone(),
            ..World::new(Durability::Wal, memory())
        };
        let store = world.open().await;
        world.audit(&store, "after a failed sync").await;
    }
}

#[tokio::test]
async fn a_request_sent_again_counts_once_also_after_a_crash() {
    for durability in DURABLE {
        let mut world = World::new(durability, memory());
        let store = world.open().await;
        let id = world.push(&store).await.unwrap();
        assert_eq!(store.push(numbered(1)).await.unwrap(), id);
        let store = world.reopen(store, "sent twice").await;
        assert_eq!(store.push(numbered(1)).await.unwrap(), id);
        world.audit(&store, "sent again").await;
        let explicit = ProfileId::from_parts(7, 7);
        let with_id = |n| PushProfile { id: Some(explicit), ..numbered(n) };
        store.push(with_id(50)).await.unwrap();
        let store = world.reopen(store, "with an id").await;
        assert_eq!(store.push(with_id(50)).await.unwrap(), explicit);
        assert_eq!(store.head_status().profiles, 2);
    }
}

#[tokio::test]
async fn a_request_whose_answer_was_lost_counts_once_although_it_is_published() {
    for durability in DURABLE {
        let mut world = World::new(durability, memory());
        let store = world.open().await;
        let id = world.push(&store).await.unwrap();
        store.flush().await.unwrap();
        let store = world.reopen(store, "published").await;
        assert_eq!(store.push(numbered(1)).await.unwrap(), id);
        assert_eq!(store.head_status().profiles, 0, "{durability}");
        world.push(&store).await.unwrap();
        world.reopen(store, "another one").await;
    }
}

#[tokio::test]
async fn a_folder_has_one_log_and_one_process() {
    let mut world = World::new(Durability::Wal, memory());
    let store = world.open().await;
    world.push(&store).await.unwrap();
    let error = Store::open(world.options()).await.unwrap_err();
    assert_eq!((error.kind(), error.message().contains("another process")), (ErrorKind::Invalid, true), "{error}");
    let store = world.reopen(store, "the lock goes with the process").await;
    drop(store);
    let id = "id".to_owned();
    let other = [(id.clone(), b"000000000000000000000000000000ff\n".to_vec())];
    let contents: BTreeMap<String, Vec<u8>> = world.files.contents().into_iter().chain(other).collect();
    world.files = MemoryFiles::of(contents);
    let error = Store::open(world.options()).await.unwrap_err();
    assert!(error.to_string().contains("belongs to another log"), "{error}");
}

#[tokio::test]
async fn a_log_with_records_is_not_forgotten_by_another_durability() {
    for (durability, others) in [
        (Durability::Wal, [Durability::None, Durability::Bucket]),
        (Durability::Bucket, [Durability::None, Durability::Wal]),
    ] {
        let mut world = World::new(durability, memory());
        let store = world.open().await;
        world.push(&store).await.unwrap();
        world.crash(store, 0);
        for other in others {
            let mut options = world.options();
            options.wal.durability = other;
            options.wal.files = Some(Arc::new(world.files.process()));
            let error = Store::open(options).await.unwrap_err();
            assert!(error.to_string().contains(&format!("start once with --durability {durability}")), "{error}");
        }
        let store = world.open().await;
        world.audit(&store, "back").await;
        store.shutdown().await.unwrap();
        drop(store);
        let mut options = world.options();
        options.wal.durability = Durability::None;
        options.wal.files = Some(Arc::new(world.files.process()));
        world.audit(&Store::open(options).await.unwrap(), "published").await;
    }
}

#[tokio::test]
async fn a_store_that_was_taken_over_acknowledges_nothing_more() {
    let mut world = World::new(Durability::Bucket, memory());
    let old = world.open().await;
    world.push(&old).await.unwrap();
    let new = world.open().await;
    let error = world.push(&old).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert_eq!(world.push(&old).await.unwrap_err().kind(), ErrorKind::Fenced);
    world.push(&new).await.unwrap();
    world.audit(&new, "taken over").await;
    assert!(old.flush().await.is_err());
    let new = world.reopen(new, "once more").await;
    assert_eq!(new.head_status().profiles, 2);
}

#[tokio::test]
async fn a_store_that_was_taken_over_shows_each_profile_once() {
    let mut world = World::new(Durability::Bucket, memory());
    let old = world.open().await;
    world.push(&old).await.unwrap();
    let new = world.open().await;
    old.refresh().await.unwrap();
    world.audit(&old, "taken over, not published").await;
    new.flush().await.unwrap();
    old.refresh().await.unwrap();
    world.audit(&old, "published by the other").await;
    assert_eq!(old.head_status().profiles, 0);
}

#[tokio::test]
async fn a_put_whose_answer_was_lost_is_recognised() {
    let objects = Faulty::new();
    let mut world = World::new(Durability::Bucket, bucket(Arc::clone(&objects) as _));
    let store = world.open().await;
    objects.strike(PutFault::Repeated, "wal/", 1);
    world.push(&store).await.unwrap();
    objects.strike(PutFault::AnswerLost, "wal/", 1);
    let ambiguous = world.push(&store).await;
    assert_eq!(ambiguous.unwrap_err().kind(), ErrorKind::Unavailable);
    objects.strike(PutFault::Refused, "wal/", 1);
    assert_eq!(world.push(&store).await.unwrap_err().kind(), ErrorKind::Unavailable);
    world.push(&store).await.unwrap();
    let store = world.reopen(store, "after lost answers").await;
    // the second is there although it was not acknowledged: its object was made
    assert_eq!(store.head_status().profiles, 3);
    store.flush().await.unwrap();
    world.reopen(store, "flushed").await;
}

#[tokio::test]
async fn a_full_log_refuses_with_a_delay_until_it_is_published() {
    for durability in DURABLE {
        let mut world = World::new(durability, memory());
        let mut options = world.options();
        options.wal.bytes_max = 1000;
        let store = Store::open(options).await.unwrap();
        let refused = loop {
            match world.push(&store).await {
                Ok(_) => assert!(world.pushes < 10, "{durability}: never full"),
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), ErrorKind::Exhausted);
        assert!(refused.retry_delay().is_some() && refused.to_string().contains("wal_bytes_max is 1000"), "{refused}");
        store.flush().await.unwrap();
        while world.push(&store).await.is_err() {
            // the parts are deleted by the log's own task
            tokio::task::yield_now().await;
        }
        world.audit(&store, "published").await;
    }
}

#[tokio::test]
async fn a_log_that_is_half_full_is_published_before_its_time() {
    for durability in DURABLE {
        let mut world = World::new(durability, memory());
        let mut options = world.options();
        // the clock stands still, and the head is far from full
        options.background = Background::Run;
        options.wal.bytes_max = 1500;
        let store = Store::open(options).await.unwrap();
        let mut refused = 0;
        while world.acknowledged.len() < 20 {
            if world.push(&store).await.is_err() {
                refused += 1;
                assert!(refused < 100_000, "{durability}: full for ever");
                tokio::task::yield_now().await;
            }
        }
        world.audit(&store, "published by itself").await;
        assert!(store.manifest().segments.len() > 1, "{durability}: nothing was flushed");
    }
}

#[tokio::test]
async fn many_published_objects_are_deleted_while_pushes_go_on() {
    let objects = Arc::new(InMemory::new());
    let mut world = World::new(Durability::Bucket, bucket(Arc::clone(&objects) as _));
    let store = world.open().await;
    for _ in 0..150 {
        world.push(&store).await.unwrap();
    }
    store.flush().await.unwrap();
    let left = async || {
        let listed = objects.list(Some(&"wal".into())).try_collect::<Vec<_>>().await.unwrap();
        listed.into_iter().filter(|object| object.size > 56).count()
    };
    let mut rounds = 0;
    while left().await > 1 {
        rounds += 1;
        assert!(rounds < 100, "published objects stay");
        world.push(&store).await.unwrap();
        store.flush().await.unwrap();
    }
    world.audit(&store, "deleted").await;
    world.reopen(store, "reopened").await;
}

#[tokio::test]
async fn published_parts_are_deleted() {
    let mut world = World::new(Durability::Wal, memory());
    let store = world.open().await;
    for _ in 0..10 {
        world.push(&store).await.unwrap();
    }
    store.shutdown().await.unwrap();
    assert_eq!(world.files.part_bytes(), 0);
    assert!(!world.files.list().unwrap().iter().any(|name| name.contains(".wal")));
}

/// A number below `below`, by a generator small enough to be looked through (Marsaglia's xorshift).
fn random(state: &mut u64, below: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % below
}

#[tokio::test]
async fn any_sequence_of_pushes_flushes_faults_and_crashes_keeps_what_was_acknowledged() {
    for seed in 1..=60_u64 {
        let durability = DURABLE[usize::try_from(seed % 2).unwrap()];
        let (objects, mut state) = (Faulty::new(), seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut world = World::new(durability, bucket(Arc::clone(&objects) as _));
        let mut store = world.open().await;
        for step in 0..40 {
            match random(&mut state, 10) {
                0..=4 => drop(world.push(&store).await),
                5 => drop(store.flush().await),
                6 => {
                    let fault =
                        [PutFault::Refused, PutFault::AnswerLost][usize::try_from(random(&mut state, 2)).unwrap()];
                    objects.strike(
                        fault,
                        ["wal/", "manifest/", "samples/"][usize::try_from(random(&mut state, 3)).unwrap()],
                        1,
                    );
                }
                7 if durability == Durability::Wal => world.files.fail_syncs(1),
                _ => {
                    let kept = usize::try_from(random(&mut state, 300)).unwrap();
                    world.crash(store, kept);
                    objects.clear();
                    world.files.fail_syncs(0);
                    store = world.open().await;
                    world.audit(&store, &format!("seed {seed}, step {step}")).await;
                }
            }
        }
        objects.clear();
        let _ = store.flush().await;
        world.crash(store, 0);
        let store = world.open().await;
        world.audit(&store, &format!("seed {seed}, at the end")).await;
    }
}
