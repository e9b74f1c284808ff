//! Repair: what is whole is brought back, nothing is counted twice, nothing deleted comes back by itself.

use std::sync::Arc;

use flamestore_model::{ErrorKind, ProfileId, Result};
use flamestore_segment::Table;
use flamestore_store::{Bucket, Entropy, ManualClock, RepairOptions, RepairReport, Store, Verdict, ls, repair};
use flamestore_testkit::profile;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::support::{DAY_START, SECOND, bucket, merged_all, open, push_of, shown};

const ALL: &str = "main;a 1 | main;b 2 | main;c 3";

/// Three segments, two of one day and one of the next; versions 1 to 4.
async fn three_segments(objects: &Arc<InMemory>) -> Arc<Store> {
    let store = open(&bucket(objects.clone()), "w", 1).await;
    for (number, text, days) in [(1, "main;a 1", 0), (2, "main;b 2", 0), (3, "main;c 3", 1)] {
        let time = DAY_START + days * 86_400 * SECOND;
        let id = Some(ProfileId::from_parts(1, number));
        store.push(flamestore_store::PushProfile { id, ..push_of("api", profile(text), time) }).await.unwrap();
        store.flush().await.unwrap();
    }
    store
}

async fn mend(place: &Bucket, rebuild: bool, dry_run: bool) -> Result<RepairReport> {
    let clock = Arc::new(ManualClock::new(DAY_START + 60 * SECOND));
    let options = RepairOptions { rebuild, dry_run, clock, entropy: Arc::new(Entropy::from_seed(99)) };
    repair(place, &options, &|_, _| {}).await
}

fn verdicts(report: &RepairReport) -> String {
    let letter = |verdict: &Verdict| match verdict {
        Verdict::Kept => 'k',
        Verdict::Restored => 'r',
        Verdict::Damaged(_) => 'd',
        Verdict::Superseded(_) => 's',
        Verdict::Overlaps { .. } => 'o',
    };
    report.segments.iter().map(|found| letter(&found.verdict)).collect()
}

async fn paths(objects: &InMemory, prefix: &str) -> Vec<Path> {
    let found: Vec<_> = objects.list(Some(&Path::from(prefix))).try_collect().await.unwrap();
    found.into_iter().map(|meta| meta.location).collect()
}

async fn reopened(place: &Bucket) -> String {
    let store = open(place, "w", 77).await;
    shown(&merged_all(&store).await)
}

async fn flip(objects: &InMemory, path: &Path) {
    let mut bytes = objects.get(path).await.unwrap().bytes().await.unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    objects.put(path, bytes.into()).await.unwrap();
}

#[tokio::test]
async fn a_sound_store_is_left_alone() {
    let objects = Arc::new(InMemory::new());
    let store = three_segments(&objects).await;
    let report = mend(&bucket(objects.clone()), false, false).await.unwrap();
    assert_eq!((report.needed, report.committed, verdicts(&report).as_str()), (false, None, "kkk"));
    assert_eq!(paths(&objects, "manifest").await.len(), 4);
    store.push(push_of("api", profile("main;d 4"), DAY_START)).await.unwrap();
    store.flush().await.unwrap();
}

#[tokio::test]
async fn without_any_manifest_the_segments_make_a_new_one() {
    let objects = Arc::new(InMemory::new());
    let place = bucket(objects.clone());
    let store = three_segments(&objects).await;
    let before = store.manifest();
    for path in paths(&objects, "manifest").await {
        objects.delete(&path).await.unwrap();
    }
    let said = mend(&place, false, true).await.unwrap();
    assert_eq!((said.needed, said.committed, said.base), (true, None, None));
    assert_eq!(paths(&objects, "manifest").await, []);
    let report = mend(&place, false, false).await.unwrap();
    assert_eq!((report.committed, verdicts(&report).as_str()), (Some(1), "rrr"));
    let after = ls(&place).await.unwrap().manifest;
    for (old, new) in before.segments.iter().zip(&after.segments) {
        let known = |entry: &flamestore_store::SegmentEntry| flamestore_store::SegmentEntry {
            source: flamestore_store::SegmentSource::Import,
            created_unix_nano: 0,
            writer: String::new(),
            writer_epoch: 0,
            ..entry.clone()
        };
        assert_eq!(known(old), known(new), "an entry can be made from its tables");
    }
    assert_eq!(reopened(&place).await, ALL);
}

#[tokio::test]
async fn a_damaged_newest_manifest_loses_nothing_that_was_committed_in_it() {
    let objects = Arc::new(InMemory::new());
    let place = bucket(objects.clone());
    let store = three_segments(&objects).await;
    let newest = Path::from("manifest/00000000000000000004");
    flip(&objects, &newest).await;
    assert_eq!(Store::open(crate::support::options(&place, "v", 3)).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let report = mend(&place, false, false).await.unwrap();
    assert_eq!((report.base, report.committed, verdicts(&report).as_str()), (Some(3), Some(5), "kkr"));
    assert_eq!(report.manifests.len(), 1);
    store.push(push_of("api", profile("main;late 9"), DAY_START)).await.unwrap();
    store.refresh().await.unwrap();
    let fenced = store.flush().await.unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Fenced, "the writer from before notices: {fenced}");
    assert_eq!(reopened(&place).await, ALL);
    assert!(!mend(&place, false, false).await.unwrap().needed);
}

#[tokio::test]
async fn damaged_segments_are_left_out_and_all_else_stays() {
    let objects = Arc::new(InMemory::new());
    let place = bucket(objects.clone());
    let store = three_segments(&objects).await;
    let segments = store.manifest().segments.clone();
    let object = |at: usize, table: Table| Path::from(segments[at].key(table).to_string());
    flip(&objects, &object(0, Table::Strings)).await;
    objects.delete(&object(2, Table::Samples)).await.unwrap();
    let report = mend(&place, false, false).await.unwrap();
    assert_eq!((report.committed, verdicts(&report).as_str()), (Some(5), "dkd"));
    let Verdict::Damaged(problems) = &report.segments[0].verdict else { panic!("{report:?}") };
    assert_eq!(problems[0].object, object(0, Table::Strings).to_string());
    assert!(objects.head(&object(0, Table::Strings)).await.is_ok(), "nothing is deleted");
    // segments are listed by id, and of one moment ids are random: the second is the first that was flushed
    assert_eq!(reopened(&place).await, "main;a 1");
    let again = mend(&place, false, false).await.unwrap();
    assert_eq!((again.needed, verdicts(&again).as_str()), (false, "k"), "what was left out stays out");
}

#[tokio::test]
async fn a_rebuild_counts_no_profile_twice() {
    let (objects, merged) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
    let (place, place_merged) = (bucket(objects.clone()), bucket(merged.clone()));
    three_segments(&objects).await;
    // as a compaction would: both profiles of the first day in one segment, next to those it was made of
    let store = open(&place_merged, "m", 5).await;
    for (number, text) in [(1, "main;a 1"), (2, "main;b 2")] {
        let id = Some(ProfileId::from_parts(1, number));
        let push = flamestore_store::PushProfile { id, ..push_of("api", profile(text), DAY_START) };
        store.push(push).await.unwrap();
    }
    store.shutdown().await.unwrap();
    for path in paths(&merged, "anonymous").await {
        let bytes = merged.get(&path).await.unwrap().bytes().await.unwrap();
        objects.put(&path, bytes.into()).await.unwrap();
    }
    let quiet = mend(&place, false, false).await.unwrap();
    assert_eq!((quiet.needed, verdicts(&quiet).as_str()), (false, "kkk"), "what no manifest names stays away");
    for path in paths(&objects, "manifest").await {
        objects.delete(&path).await.unwrap();
    }
    let report = mend(&place, false, false).await.unwrap();
    let mut letters: Vec<char> = verdicts(&report).chars().collect();
    letters.sort_unstable();
    assert_eq!(letters, ['r', 'r', 's', 's']);
    assert_eq!(reopened(&place).await, ALL);
}

#[tokio::test]
async fn what_was_deleted_comes_back_only_by_a_rebuild() {
    let objects = Arc::new(InMemory::new());
    let place = bucket(objects.clone());
    let store = three_segments(&objects).await;
    let gone = store.manifest().segments[0].clone();
    // a segment that the newest manifest does not name any more, with its objects still there
    let table = Path::from(gone.key(Table::Samples).to_string());
    let bytes = objects.get(&table).await.unwrap().bytes().await.unwrap();
    objects.delete(&table).await.unwrap();
    mend(&place, false, false).await.unwrap();
    objects.put(&table, bytes.into()).await.unwrap();
    let quiet = mend(&place, false, false).await.unwrap();
    assert_eq!((quiet.needed, verdicts(&quiet).as_str()), (false, "kk"));
    let report = mend(&place, true, false).await.unwrap();
    assert_eq!(verdicts(&report), "rkk");
    assert_eq!(reopened(&place).await, ALL);
}

#[tokio::test]
async fn a_manifest_of_a_newer_format_is_not_touched() {
    let objects = Arc::new(InMemory::new());
    let place = bucket(objects.clone());
    three_segments(&objects).await;
    let newest = Path::from("manifest/00000000000000000004");
    let mut bytes = objects.get(&newest).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[4] = 200;
    objects.put(&newest, bytes.into()).await.unwrap();
    for rebuild in [false, true] {
        let error = mend(&place, rebuild, false).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("upgrade flamestore"), "{error}");
    }
    assert_eq!(paths(&objects, "manifest").await.len(), 4);
}
