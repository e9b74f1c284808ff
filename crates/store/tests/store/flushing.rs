//! Flushes: their order, their failures, and what queries see while they run.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use flamestore_model::{ErrorKind, Selector, Tenant, TimeRange};
use flamestore_store::{Background, ManualClock, PushProfile, Store, StoreUrl, check};
use flamestore_testkit::{Fault, FaultRule, Oracle, S3Server, profile};

use crate::conformance::s3_options;
use crate::faults::{Faulty, PutFault};
use crate::support::{
    DAY_START, SECOND, assert_equals_oracle, bucket, memory, merged, merged_all, open, options, push, push_of, shown,
};

#[tokio::test]
async fn all_tables_are_uploaded_before_the_commit() {
    let objects = Faulty::new();
    let store = open(&bucket(objects.clone()), "w", 1).await;
    let mut oracle = Oracle::new();
    push(&store, &mut oracle, "api", profile("main;read 3"), DAY_START).await;
    let before = objects.puts().len();
    store.flush().await.unwrap();
    let puts = objects.puts().split_off(before);
    let manifests: Vec<usize> = (0..puts.len()).filter(|at| puts[*at].starts_with("manifest/")).collect();
    assert_eq!(manifests, [puts.len() - 1], "{puts:?}");
    assert_eq!(puts.len(), 13);
}

#[tokio::test]
async fn a_flush_makes_one_segment_per_day_and_one_commit() {
    let store = open(&memory(), "w", 1).await;
    let mut oracle = Oracle::new();
    push(&store, &mut oracle, "api", profile("main;read 3"), DAY_START - 1).await;
    push(&store, &mut oracle, "api", profile("main;read 5"), DAY_START).await;
    let report = store.flush().await.unwrap();
    assert_eq!((report.segments, report.profiles, report.version), (2, 2, 2));
    let days: Vec<String> = store.manifest().segments.iter().map(|entry| entry.day.to_string()).collect();
    assert_eq!(days, ["2026-11-21", "2026-11-22"]);
    assert_equals_oracle(&store, &oracle, "over two days").await;
    assert_eq!(store.flush().await.unwrap().segments, 0);
    assert_eq!(store.manifest().version, 2);
}

#[tokio::test]
async fn a_crash_between_upload_and_commit_leaves_garbage_only() {
    let objects = Faulty::new();
    let place = bucket(objects.clone());
    let store = open(&place, "w", 1).await;
    let mut oracle = Oracle::new();
    push(&store, &mut oracle, "api", profile("main;read 3"), DAY_START).await;
    store.flush().await.unwrap();
    objects.strike(PutFault::Refused, "manifest/", 1);
    store.push(push_of("api", profile("main;lost 9"), DAY_START)).await.unwrap();
    assert_eq!(store.flush().await.unwrap_err().kind(), ErrorKind::Unavailable);
    drop(store);
    let reopened = open(&place, "w", 2).await;
    assert_equals_oracle(&reopened, &oracle, "after the crash").await;
    let report = check(&place).await.unwrap();
    assert_eq!((report.problems.len(), report.garbage.len()), (0, 12));
}

async fn check_retry(fault: PutFault, part: &'static str) {
    let objects = Faulty::new();
    let place = bucket(objects.clone());
    let store = open(&place, "w", 1).await;
    let mut oracle = Oracle::new();
    push(&store, &mut oracle, "api", profile("main;read 3"), DAY_START).await;
    objects.strike(fault, part, 1);
    let first = store.flush().await;
    assert_equals_oracle(&store, &oracle, "after the fault").await;
    push(&store, &mut oracle, "api", profile("main;write 4"), DAY_START).await;
    store.refresh().await.unwrap();
    assert_equals_oracle(&store, &oracle, "after a refresh").await;
    store.flush().await.unwrap();
    assert_equals_oracle(&store, &oracle, "after the next flush").await;
    assert_equals_oracle(open(&place, "w", 2).await.as_ref(), &oracle, "after a restart").await;
    assert_eq!(check(&place).await.unwrap().problems, [], "{fault:?} {part} {first:?}");
}

#[tokio::test]
async fn whatever_becomes_of_a_put_each_profile_counts_once() {
    for fault in [PutFault::Refused, PutFault::AnswerLost, PutFault::Repeated] {
        check_retry(fault, "manifest/").await;
        check_retry(fault, "/samples/").await;
        check_retry(fault, "/dictionaries/").await;
    }
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_recognised_as_ones_own() {
    for fault in [PutFault::AnswerLost, PutFault::Repeated] {
        let objects = Faulty::new();
        let store = open(&bucket(objects.clone()), "w", 1).await;
        store.push(push_of("api", profile("main;read 3"), DAY_START)).await.unwrap();
        objects.strike(fault, "manifest/", 1);
        assert_eq!(store.flush().await.unwrap().version, 2, "{fault:?}");
        assert_eq!(objects.puts().iter().filter(|path| path.starts_with("manifest/")).count(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_too_a_commit_without_an_answer_counts_once() {
    let server = S3Server::start().await.unwrap();
    let url: StoreUrl = format!("s3://{}", server.bucket).parse().unwrap();
    let place = url.open(&s3_options(&server.access())).unwrap();
    let store = open(&place, "w", 1).await;
    let mut oracle = Oracle::new();
    for (version, part) in [(2, "manifest/"), (3, "/samples/"), (4, "/dictionaries/")] {
        push(&store, &mut oracle, "api", profile("main;read 3"), DAY_START).await;
        server.faults().add(FaultRule::new(Fault::DropAnswer).method("PUT").path_contains(part).times(1));
        assert_eq!(store.flush().await.unwrap().version, version, "{part}");
        assert_equals_oracle(&store, &oracle, part).await;
    }
    assert_eq!(server.faults().struck(), 3);
    assert_equals_oracle(open(&place, "w", 2).await.as_ref(), &oracle, "after a restart").await;
}

#[tokio::test]
async fn a_failed_flush_keeps_what_was_pushed_and_says_why() {
    let objects = Faulty::new();
    let store = open(&bucket(objects.clone()), "w", 1).await;
    store.push(push_of("api", profile("main;read 3"), DAY_START)).await.unwrap();
    objects.strike(PutFault::Refused, "/samples/", 1);
    let error = store.shutdown().await.unwrap_err().to_string();
    assert!(error.contains("cannot create an object") && error.contains("unpublished_profiles=1"), "{error}");
    assert_eq!(shown(&merged_all(&store).await), "main;read 3");
    assert!(store.head_status().flush_error.is_some());
    assert_eq!(store.push(push_of("api", profile("x 1"), 0)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    store.shutdown().await.unwrap();
    assert_eq!(store.head_status().frozen_profiles, 0);
}

/// Pushes, flushes and refreshes run at the same time; every snapshot holds a sum that was true at some moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn queries_see_each_profile_exactly_once_while_pushes_and_flushes_run() {
    const PUSHES: i64 = 60;
    let store = open(&memory(), "w", 1).await;
    let (begun, done) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let total = |folded: std::collections::BTreeMap<String, i64>| folded.values().sum::<i64>();
    let pushing: Vec<_> = (0..3)
        .map(|pusher| {
            let (store, begun, done) = (Arc::clone(&store), Arc::clone(&begun), Arc::clone(&done));
            tokio::spawn(async move {
                for number in 0..PUSHES {
                    let text = format!("main;f{} 1 | main;g{pusher} 1", number % 7);
                    begun.fetch_add(2, Ordering::SeqCst);
                    let service = ["api", "web"][usize::try_from(number % 2).unwrap()];
                    store.push(push_of(service, profile(&text), DAY_START + number * SECOND)).await.unwrap();
                    done.fetch_add(2, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let flushing = {
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        tokio::spawn(async move {
            while done.load(Ordering::SeqCst) < 3 * PUSHES * 2 {
                store.flush().await.unwrap();
                store.refresh().await.unwrap();
            }
        })
    };
    let mut queries = 0;
    while done.load(Ordering::SeqCst) < 3 * PUSHES * 2 {
        let least = done.load(Ordering::SeqCst);
        let snapshot = store.snapshot(&Tenant::default());
        let most = begun.load(Ordering::SeqCst);
        let found = total(merged(&snapshot, &Selector::default(), &TimeRange::ALL).await.unwrap());
        assert!(least <= found && found <= most, "{least} <= {found} <= {most}");
        assert_eq!(found % 2, 0, "half a push was seen");
        queries += 1;
    }
    for task in pushing {
        task.await.unwrap();
    }
    flushing.await.unwrap();
    assert!(queries > 0);
    assert_eq!(total(merged_all(&store).await), 3 * PUSHES * 2);
}

async fn until(store: &Store, what: impl Fn(&Store) -> bool) {
    for _ in 0..1_000_000 {
        if what(store) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never happened: {:?}", store.head_status());
}

#[tokio::test]
async fn old_heads_and_large_heads_are_flushed_without_being_asked() {
    let clock = Arc::new(ManualClock::new(DAY_START));
    let mut by_age = options(&memory(), "w", 1);
    by_age.background = Background::Run;
    by_age.clock = clock.clone();
    by_age.flush_interval = Duration::from_secs(60);
    let store = Store::open(by_age).await.unwrap();
    store.push(push_of("api", profile("main 1"), DAY_START)).await.unwrap();
    clock.advance(Duration::from_secs(59));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.head_status().profiles, 1);
    clock.advance(Duration::from_secs(1));
    until(&store, |store| store.head_status().profiles == 0).await;
    store.shutdown().await.unwrap();

    let mut by_size = options(&memory(), "w", 1);
    by_size.background = Background::Run;
    by_size.flush_bytes = 1;
    let store = Store::open(by_size).await.unwrap();
    store.push(push_of("api", profile("main 1"), DAY_START)).await.unwrap();
    until(&store, |store| store.head_status().profiles == 0).await;
    assert_eq!(store.manifest().segments.len(), 1);
}

#[tokio::test]
async fn a_failed_flush_is_tried_again_after_a_delay() {
    let objects = Faulty::new();
    let clock = Arc::new(ManualClock::new(DAY_START));
    let mut options = options(&bucket(objects.clone()), "w", 1);
    options.background = Background::Run;
    options.clock = clock.clone();
    options.flush_bytes = 1;
    let store = Store::open(options).await.unwrap();
    objects.strike(PutFault::Refused, "manifest/", 2);
    store.push(push_of("api", profile("main;read 3"), DAY_START)).await.unwrap();
    until(&store, |store| store.head_status().flush_error.is_some()).await;
    assert_eq!(shown(&merged_all(&store).await), "main;read 3");
    until(&store, |store| {
        clock.advance(Duration::from_secs(1));
        store.head_status().profiles == 0
    })
    .await;
    assert_eq!(shown(&merged_all(&store).await), "main;read 3");
    assert_eq!(store.manifest().segments.len(), 1);
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let store = open(&memory(), "w", 1).await;
    for (tenant, text) in [("a", "main 1"), ("b", "main 2"), ("manifest", "main 3"), ("probe", "main 4")] {
        let tenant = Tenant::new(tenant).unwrap();
        store.push(PushProfile { tenant, ..push_of("api", profile(text), DAY_START) }).await.unwrap();
    }
    for round in 0..2 {
        for (tenant, expected) in
            [("a", "main 1"), ("b", "main 2"), ("manifest", "main 3"), ("probe", "main 4"), ("c", "")]
        {
            let snapshot = store.snapshot(&Tenant::new(tenant).unwrap());
            let found = merged(&snapshot, &Selector::default(), &TimeRange::ALL).await.unwrap();
            assert_eq!(shown(&found), expected, "{tenant} in round {round}");
        }
        store.flush().await.unwrap();
    }
    assert_eq!(store.tenants().len(), 4);
    assert_eq!(store.manifest().version, 2);
    store.refresh().await.unwrap();
}
