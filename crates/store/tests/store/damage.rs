//! Damaged segments: named by the check, left out by quarantine, never the end of all answers.

use std::sync::Arc;

use flamestore_model::{ErrorKind, Selector, Tenant, TimeRange};
use flamestore_segment::{ScanReport, Table};
use flamestore_store::{Store, check};
use flamestore_testkit::profile;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;

use crate::support::{DAY_START, SECOND, bucket, merged_all, open, push_of, shown};

async fn two_segments(objects: &Arc<InMemory>) -> Arc<Store> {
    let store = open(&bucket(objects.clone()), "w", 1).await;
    for (text, days) in [("main;good 1", 0), ("main;bad 2", 1)] {
        store.push(push_of("api", profile(text), DAY_START + days * 86_400 * SECOND)).await.unwrap();
        store.flush().await.unwrap();
    }
    store
}

#[tokio::test]
async fn a_damaged_segment_is_left_out_and_reported() {
    let objects = Arc::new(InMemory::new());
    let store = two_segments(&objects).await;
    let snapshot = store.snapshot(&Tenant::default());
    let bad = &snapshot.segments[1];
    let path = Path::from(bad.entry.key(Table::Samples).to_string());
    objects.delete(&path).await.unwrap();
    let mut report = ScanReport::default();
    let error = bad.reader.merge(&Selector::default(), &TimeRange::ALL, &mut report).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(path.as_ref()), "{error}");
    store.quarantine(bad.entry.id, &error.to_string());
    assert_eq!(shown(&merged_all(&store).await), "main;good 1");
    let after = store.snapshot(&Tenant::default());
    assert_eq!(after.damaged.iter().map(|damaged| damaged.entry.id).collect::<Vec<_>>(), [bad.entry.id]);
    store.push(push_of("api", profile("main;more 3"), DAY_START)).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(shown(&merged_all(&store).await), "main;good 1 | main;more 3");
}

#[tokio::test]
async fn the_check_names_every_damaged_object() {
    let objects = Arc::new(InMemory::new());
    let store = two_segments(&objects).await;
    let entry = Arc::clone(&store.snapshot(&Tenant::default()).segments[1].entry);
    let path = |table: Table| entry.key(table).to_string();
    let place = |table: Table| Path::from(path(table));
    objects.delete(&place(Table::Samples)).await.unwrap();
    let mut bytes = objects.get(&place(Table::Strings)).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[10] ^= 1;
    objects.put(&place(Table::Strings), bytes.into()).await.unwrap();
    objects.put(&place(Table::Stacks), "short".into()).await.unwrap();
    objects.put(&Path::from("left/behind"), "x".into()).await.unwrap();
    let report = check(&bucket(objects)).await.unwrap();
    let mut named: Vec<&str> = report.problems.iter().map(|problem| problem.object.as_str()).collect();
    named.sort_unstable();
    let mut expected = [path(Table::Samples), path(Table::Stacks), path(Table::Strings)];
    expected.sort();
    assert_eq!(named, expected, "{:?}", report.problems);
    assert_eq!(report.garbage.iter().map(|object| object.path.as_str()).collect::<Vec<_>>(), ["left/behind"]);
    assert_eq!(report.segments, 2);
}
