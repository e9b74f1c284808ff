//! One suite for every kind of bucket: what is pushed is what is found, before and after flushes and restarts.

use std::collections::BTreeSet;
use std::time::Duration;

use flamestore_model::{Selector, Tenant, TimeRange};
use flamestore_segment::{ScanReport, Table};
use flamestore_store::{Bucket, BucketOptions, StoreUrl, check, ls};
use flamestore_testkit::{ArbitraryShape, Oracle, S3Access, S3Place, arbitrary_profile_of};

use crate::support::{DAY_START, SECOND, assert_equals_oracle, labels, memory, open, push};

async fn store_conformance(bucket: Bucket) {
    let shape = ArbitraryShape { raw_bytes: false, ..ArbitraryShape::default() };
    let mut oracle = Oracle::new();
    let store = open(&bucket, "w", 1).await;
    for round in 0..3u64 {
        for number in 0..6u64 {
            let seed = round * 6 + number;
            let time = DAY_START + SECOND * (i64::try_from(seed).unwrap() * 7 - 40);
            let service = ["api", "web", "db"][usize::try_from(seed % 3).unwrap()];
            push(&store, &mut oracle, service, arbitrary_profile_of(seed, &shape), time).await;
        }
        assert_equals_oracle(&store, &oracle, "in the head").await;
        if round < 2 {
            let report = store.flush().await.unwrap();
            assert_eq!(report.profiles, 6);
            assert_equals_oracle(&store, &oracle, "after a flush").await;
        }
    }
    assert_series_equal_oracle(&store, &oracle).await;
    store.shutdown().await.unwrap();
    let reopened = open(&bucket, "w", 2).await;
    assert_equals_oracle(&reopened, &oracle, "after a restart").await;
    let report = check(&bucket).await.unwrap();
    assert_eq!((&report.problems, &report.garbage), (&Vec::new(), &Vec::new()));
    assert_eq!(report.objects, (report.segments * (Table::ALL.len() - Table::ROLLUPS.len())) as u64);
    assert_eq!(ls(&bucket).await.unwrap().manifest, reopened.manifest());
}

async fn assert_series_equal_oracle(store: &flamestore_store::Store, oracle: &Oracle) {
    let snapshot = store.snapshot(&Tenant::default());
    let mut found = BTreeSet::new();
    for segment in snapshot.segments.iter() {
        let series = segment.reader.series().await.unwrap();
        found.extend(series.rows.iter().map(|row| (row.labels.clone(), row.profile_type.clone())));
    }
    for head in &snapshot.head {
        found.extend(head.series().rows.iter().map(|row| (row.labels.clone(), row.profile_type.clone())));
    }
    assert_eq!(found, oracle.series(&Selector::default(), &TimeRange::ALL));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_memory_answers_as_the_oracle_does() {
    store_conformance(memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_a_folder_answers_as_the_oracle_does() {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Folder(folder.path().join("data"));
    store_conformance(url.open(&BucketOptions::default()).unwrap()).await;
}

pub(crate) fn s3_options(access: &S3Access) -> BucketOptions {
    BucketOptions {
        endpoint: Some(access.endpoint.clone()),
        allow_http: true,
        access_key_id: Some(access.access_key.clone()),
        secret_access_key: Some(access.secret_key.clone()),
        retry_timeout: Some(Duration::from_secs(5)),
        ..BucketOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_s3_answers_as_the_oracle_does() {
    let place = S3Place::open("conformance").await.unwrap();
    let url: StoreUrl = place.url().parse().unwrap();
    store_conformance(url.open(&s3_options(&place.access)).unwrap()).await;
    if let Some(server) = &place.server {
        assert!(server.bucket_folder().join(&place.prefix).join("manifest").is_dir());
    }
}

#[tokio::test]
async fn a_head_gives_back_whole_profiles_as_a_segment_does() {
    let store = open(&memory(), "w", 1).await;
    let mut oracle = Oracle::new();
    let batch =
        flamestore_testkit::profile("main;read 3 {thread=a} | main;read 3 {thread=a} | main;write 0 {bytes=7} | - 2");
    let id = push(&store, &mut oracle, "api", batch, DAY_START).await;
    let head = store.snapshot(&Tenant::default()).head.remove(0);
    let rows = head.find_profile(id);
    assert_eq!(rows.iter().map(|row| (row.row_count, row.total)).collect::<Vec<_>>(), [(4, 8)]);
    let selection = head.select(&Selector::default(), &TimeRange::ALL).remove(0);
    let whole = head.samples(&selection);
    assert_eq!((whole.details[0].meta.id, whole.samples[0].values.clone()), (id, vec![3, 3, 0, 2]));
    let label_sets: BTreeSet<u32> = whole.samples[0].label_sets.iter().copied().collect();
    assert_eq!(label_sets.len(), 3);
    whole.sealed.check().unwrap();
    let names: Vec<String> = head.labels(None).into_iter().map(|(name, value, _)| format!("{name}={value}")).collect();
    assert!(names.contains(&"service_name=api".to_owned()) && names.contains(&"__type__=cpu".to_owned()));
    assert_eq!(head.tables().unwrap().rows(Table::Samples), 4);

    store.flush().await.unwrap();
    let segment = store.snapshot(&Tenant::default()).segments[0].clone();
    let mut report = ScanReport::default();
    let stored = segment.reader.find_profile(id, &mut report).await.unwrap();
    assert_eq!(stored.iter().map(|row| (row.row_count, row.total)).collect::<Vec<_>>(), [(4, 8)]);
    assert_eq!(segment.reader.series().await.unwrap().rows[0].labels, labels("api"));
}
