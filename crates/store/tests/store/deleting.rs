//! Deletion by selector and time range.

use std::sync::Arc;

use flamestore_model::{Tenant, TimeRange};
use flamestore_store::{Bucket, DeleteReport, Deletion, Mode, Scope, Store, check};
use flamestore_testkit::{Oracle, arbitrary_profile, profile};

use crate::compacting::{compact, compactor, dump};
use crate::support::{DAY_START, SECOND, assert_equals_oracle, labels, memory, merged_all, open, push, shown};

async fn delete(place: &Bucket, selector: &str, range: TimeRange, mode: Mode) -> DeleteReport {
    let deletion = Deletion { tenant: Tenant::default(), selector: selector.parse().unwrap(), range };
    compactor(place, 9).delete(&deletion, mode, &|_, _| {}).await.unwrap()
}

/// `api` at 0 s and 10 s, `web` at 20 s; each in a segment, or all in one.
async fn filled(place: &Bucket, merge: bool) -> Arc<Store> {
    let store = open(place, "w", 1).await;
    let mut oracle = Oracle::new();
    for (second, service, text) in [(0, "api", "a 1"), (10, "api", "b 2"), (20, "web", "c 4")] {
        push(&store, &mut oracle, service, profile(text), DAY_START + second * SECOND).await;
        store.flush().await.unwrap();
    }
    if merge {
        // limits large enough for one segment
        let mut options = flamestore_store::CompactorOptions::new(place.clone());
        options.segment = crate::support::options(place, "unused", 1).segment;
        compact(&flamestore_store::Compactor::new(options).unwrap(), Scope::All).await;
        store.refresh().await.unwrap();
        assert_eq!(store.manifest().segments.len(), 1);
    }
    store
}

async fn check_deletion(selector: &str, range: TimeRange, expected: &str) {
    for merge in [false, true] {
        let place = memory();
        let store = filled(&place, merge).await;
        let before = store.manifest().version;
        let planned = delete(&place, selector, range, Mode::DryRun).await;
        assert_eq!(store.refresh().await.unwrap(), before);
        let report = delete(&place, selector, range, Mode::Delete).await;
        assert_eq!(
            (planned.profiles, planned.removed, planned.rewritten, planned.untouched),
            (report.profiles, report.removed, report.rewritten, report.untouched)
        );
        store.refresh().await.unwrap();
        assert_eq!(shown(&merged_all(&store).await), expected, "{selector} in {range}, merged: {merge}");
        assert_eq!(check(&place).await.unwrap().problems, []);
        assert_eq!(delete(&place, selector, range, Mode::Delete).await.profiles, 0);
    }
}

#[tokio::test]
async fn what_fits_selector_and_range_goes_and_all_else_stays() {
    let range = |from: i64, to: i64| TimeRange::new(DAY_START + from * SECOND, DAY_START + to * SECOND).unwrap();
    check_deletion("{service_name=\"api\"}", TimeRange::ALL, "c 4").await;
    check_deletion("{}", TimeRange::ALL, "").await;
    check_deletion("{}", range(0, 10), "b 2 | c 4").await;
    check_deletion("{}", range(10, 11), "a 1 | c 4").await;
    check_deletion("{}", range(1, 10), "a 1 | b 2 | c 4").await;
    check_deletion("{service_name=\"api\"}", range(5, 100), "a 1 | c 4").await;
    check_deletion("{service_name=\"db\"}", TimeRange::ALL, "a 1 | b 2 | c 4").await;
}

#[tokio::test]
async fn a_part_of_random_profiles_can_be_deleted_and_the_rest_is_as_before() {
    let place = memory();
    let store = open(&place, "w", 1).await;
    let (mut all, mut rest) = (Oracle::new(), Oracle::new());
    for seed in 0..12 {
        let service = ["api", "web"][usize::try_from(seed % 2).unwrap()];
        let time = DAY_START + SECOND * i64::try_from(seed).unwrap();
        let id = push(&store, &mut all, service, arbitrary_profile(seed), time).await;
        if service == "web" {
            rest.push(id, &labels(service), Some(time), arbitrary_profile(seed));
        }
        if seed % 4 == 3 {
            store.flush().await.unwrap();
        }
    }
    let lines = dump(&store.snapshot(&Tenant::default())).await;
    let report = delete(&place, "{service_name=\"api\"}", TimeRange::ALL, Mode::Delete).await;
    assert_eq!((report.rewritten, report.removed), (3, 0));
    store.refresh().await.unwrap();
    assert_equals_oracle(&store, &rest, "after the deletion").await;
    let left: Vec<String> = lines.into_iter().filter(|line| line.starts_with("web ")).collect();
    assert_eq!(dump(&store.snapshot(&Tenant::default())).await, left);
}
