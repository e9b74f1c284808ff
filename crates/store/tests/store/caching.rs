//! Caches: a repeated query asks the bucket nothing, also after a restart; whatever is wrong with a cache is no error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flamestore_model::{Selector, Tenant, TimeRange};
use flamestore_segment::ScanReport;
use flamestore_store::{CacheOptions, Store, StoreOptions};
use flamestore_testkit::{arbitrary_profile, profile};
use futures::future::join_all;

use crate::faults::Faulty;
use crate::support::{DAY_START, SECOND, bucket, merged_all, options, push_of};

const EVERYTHING: u64 = 64 << 20;

fn cached(objects: &Arc<Faulty>, seed: u128, memory_bytes_max: u64, folder: Option<&Path>) -> StoreOptions {
    let mut options = options(&bucket(objects.clone()), "w", seed);
    // nothing decoded is kept, so that all reads reach the cache of bytes
    options.dictionary_cache_bytes = 0;
    options.footer_cache_bytes = 0;
    options.cache = CacheOptions { memory_bytes_max, folder: folder.map(Path::to_owned), disk_bytes_max: EVERYTHING };
    options
}

async fn filled(options: StoreOptions) -> Arc<Store> {
    let store = Store::open(options).await.unwrap();
    for (at, service) in (0..).zip(["api", "web", "db"]) {
        for time in 0..4 {
            let text = format!("main;{service};read {}", at + time + 1);
            store.push(push_of(service, profile(&text), DAY_START + time * SECOND)).await.unwrap();
        }
        store.flush().await.unwrap();
    }
    store
}

/// Merges, labels, series and details of every segment: what queries ask.
async fn ask(store: &Store) -> BTreeMap<String, i64> {
    let mut report = ScanReport::default();
    for segment in store.snapshot(&Tenant::default()).segments.iter() {
        let selector: Selector = "{service_name=~\"a.*|w.*\"}".parse().unwrap();
        let series = segment.reader.select_series(&selector).await.unwrap();
        segment.reader.labels(Some(&series)).await.unwrap();
        segment.reader.series().await.unwrap();
        let profiles = segment.reader.profiles(&series, &TimeRange::ALL, &mut report).await.unwrap();
        segment.reader.profile_details(&profiles, &mut report).await.unwrap();
    }
    merged_all(store).await
}

fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        found.extend(std::fs::read_dir(entry).unwrap().map(|file| {
            let file = file.unwrap();
            (file.path(), file.metadata().unwrap().len())
        }));
    }
    found.sort();
    found
}

fn of_segments(gets: &[String]) -> usize {
    gets.iter().filter(|path| path.ends_with(".parquet")).count()
}

#[tokio::test]
async fn a_repeated_query_makes_no_request() {
    let objects = Faulty::new();
    let store = filled(cached(&objects, 1, EVERYTHING, None)).await;
    objects.take_gets();
    let first = ask(&store).await;
    let cold = objects.take_gets().len();
    assert!(cold > 0 && first.len() == 3, "{first:?}");
    assert_eq!(ask(&store).await, first);
    assert_eq!(objects.take_gets(), Vec::<String>::new());
}

#[tokio::test]
async fn without_a_bound_of_memory_to_speak_of_the_answers_are_the_same() {
    let objects = Faulty::new();
    let store = filled(cached(&objects, 1, EVERYTHING, None)).await;
    let expected = ask(&store).await;
    let none = Store::open(cached(&objects, 2, 0, None)).await.unwrap();
    objects.take_gets();
    assert_eq!(ask(&none).await, expected);
    let once = objects.take_gets().len();
    assert_eq!(ask(&none).await, expected);
    assert_eq!(objects.take_gets().len(), once, "nothing is kept");
}

#[tokio::test]
async fn footers_and_dictionaries_are_kept_within_their_bounds() {
    let objects = Faulty::new();
    let decoded = |bytes| {
        let mut options = cached(&objects, 2, 0, None);
        (options.dictionary_cache_bytes, options.footer_cache_bytes) = (bytes, bytes);
        options
    };
    let filled = filled(cached(&objects, 1, 0, None)).await;
    let expected = ask(&filled).await;
    let roomy = Store::open(decoded(8 << 20)).await.unwrap();
    assert_eq!(ask(&roomy).await, expected);
    objects.take_gets();
    assert_eq!(ask(&roomy).await, expected);
    let warm = objects.take_gets();
    assert!(warm.iter().all(|path| !path.contains("/strings/") && !path.contains("/postings/")), "{warm:?}");
    let tight = Store::open(decoded(1 << 10)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(ask(&tight).await, expected);
    }
    let warm = objects.take_gets();
    assert!(warm.iter().any(|path| path.contains("/strings/")), "{warm:?}");
}

#[tokio::test]
async fn after_a_restart_the_folder_answers() {
    let (objects, folder) = (Faulty::new(), tempfile::tempdir().unwrap());
    let store = filled(cached(&objects, 1, EVERYTHING, Some(folder.path()))).await;
    let first = ask(&store).await;
    store.shutdown().await.unwrap();
    drop(store);
    let store = Store::open(cached(&objects, 2, EVERYTHING, Some(folder.path()))).await.unwrap();
    objects.take_gets();
    assert_eq!(ask(&store).await, first);
    assert_eq!(objects.take_gets(), Vec::<String>::new());
}

#[tokio::test]
async fn a_damaged_file_is_a_miss() {
    let (objects, folder) = (Faulty::new(), tempfile::tempdir().unwrap());
    let store = filled(cached(&objects, 1, 0, Some(folder.path()))).await;
    let first = ask(&store).await;
    store.shutdown().await.unwrap();
    drop(store);
    let kept = files(folder.path());
    for (at, (path, bytes)) in kept.iter().enumerate() {
        let file = std::fs::read(path).unwrap();
        match at % 4 {
            0 => std::fs::write(path, &file[..file.len() / 2]).unwrap(),
            1 => std::fs::write(path, []).unwrap(),
            2 => std::fs::rename(path, path.with_extension("tmp")).unwrap(),
            _ => {
                let mut damaged = file;
                damaged[usize::try_from(*bytes).unwrap() - 1] ^= 1;
                std::fs::write(path, damaged).unwrap();
            }
        }
    }
    std::fs::write(folder.path().join("some-file"), "left alone").unwrap();
    let store = Store::open(cached(&objects, 2, 0, Some(folder.path()))).await.unwrap();
    objects.take_gets();
    assert_eq!(ask(&store).await, first);
    assert!(of_segments(&objects.take_gets()) >= kept.len() / 2, "what was damaged is fetched again");
    store.shutdown().await.unwrap();
    assert_eq!(ask(&store).await, first);
    assert_eq!(objects.take_gets(), Vec::<String>::new(), "and then kept again");
    assert_eq!(files(folder.path()), kept);
    assert!(folder.path().join("some-file").exists());
}

#[tokio::test]
async fn a_folder_has_one_user_and_must_be_one() {
    let (objects, folder) = (Faulty::new(), tempfile::tempdir().unwrap());
    let _first = Store::open(cached(&objects, 1, 0, Some(folder.path()))).await.unwrap();
    let error = Store::open(cached(&objects, 2, 0, Some(folder.path()))).await.unwrap_err().to_string();
    assert!(error.contains("in use by another store") && error.contains("cache_dir"), "{error}");
    let file = folder.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let error = Store::open(cached(&objects, 2, 0, Some(&file))).await.unwrap_err().to_string();
    assert!(error.contains("cache_dir") && error.contains("a-file"), "{error}");
}

#[tokio::test]
async fn a_disk_that_takes_nothing_more_is_no_error() {
    let (objects, folder) = (Faulty::new(), tempfile::tempdir().unwrap());
    let store = filled(cached(&objects, 1, 0, Some(folder.path()))).await;
    // a file stands wherever a folder of files would be made
    for prefix in 0..256 {
        std::fs::write(folder.path().join(format!("{prefix:02x}")), "").unwrap();
    }
    let first = ask(&store).await;
    assert_eq!(ask(&store).await, first);
    store.shutdown().await.unwrap();
    assert_eq!(files(folder.path()), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bounds_hold_while_many_read_and_each_part_is_fetched_once() {
    let (objects, folder) = (Faulty::new(), tempfile::tempdir().unwrap());
    let mut options = cached(&objects, 1, EVERYTHING, Some(folder.path()));
    options.cache.disk_bytes_max = 16 << 10;
    let store = filled(options).await;
    for seed in 0..4 {
        store.push(push_of("big", arbitrary_profile(seed), DAY_START)).await.unwrap();
    }
    store.flush().await.unwrap();
    objects.take_gets();
    let answers = join_all((0..8).map(|_| ask(&store))).await;
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    let mut gets = objects.take_gets();
    let all = gets.len();
    gets.sort();
    gets.dedup();
    assert_eq!(gets.len(), all, "objects of one part each, each fetched once");
    store.shutdown().await.unwrap();
    let bytes: u64 = files(folder.path()).iter().map(|(_, bytes)| bytes).sum();
    assert!(bytes > 0 && bytes <= 16 << 10, "{bytes}");
}

#[tokio::test]
async fn what_is_kept_of_a_quarantined_segment_is_dropped() {
    let (objects, folder) = (Faulty::new(), tempfile::tempdir().unwrap());
    let store = filled(cached(&objects, 1, EVERYTHING, Some(folder.path()))).await;
    ask(&store).await;
    store.shutdown().await.unwrap();
    let before = files(folder.path()).len();
    let segment = Arc::clone(&store.snapshot(&Tenant::default()).segments[0]);
    store.quarantine(segment.entry.id, "a test");
    objects.take_gets();
    let mut report = ScanReport::default();
    segment.reader.merge(&Selector::default(), &TimeRange::ALL, &mut report).await.unwrap();
    assert!(of_segments(&objects.take_gets()) > 0);
    assert!(before > 0);
}
