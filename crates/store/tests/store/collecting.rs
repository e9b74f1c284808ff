//! The collector, and retention: what is deleted, and above all what is not.

use std::sync::Arc;
use std::time::Duration;

use flamestore_model::{ErrorKind, Tenant};
use flamestore_store::{
    Bucket, CollectorPolicy, Compactor, CompactorOptions, Keep, ManualClock, Mode, RetentionOverride, RetentionPolicy,
    RetentionTimes, Scope, Store, StoreOptions, check, ls,
};
use flamestore_testkit::{Oracle, profile};

use crate::compacting::{compact, compactor_at};
use crate::faults::{Faulty, PutFault};
use crate::support::{
    DAY_START, SECOND, assert_equals_oracle, bucket, memory, merged_all, options, push, push_of, shown,
};

const HOUR: Duration = Duration::from_secs(3600);
/// 2100-01-01: objects in memory carry the machine's time, which lies before.
const LATER: i64 = 4_102_444_800_000_000_000;

async fn open_at(place: &Bucket, writer: &str, seed: u128, clock: &Arc<ManualClock>) -> Arc<Store> {
    Store::open(StoreOptions { clock: clock.clone(), ..options(place, writer, seed) }).await.unwrap()
}

#[tokio::test]
async fn garbage_is_collected_when_it_is_old_and_what_snapshots_see_is_not() {
    let objects = Faulty::new();
    let place = bucket(objects.clone());
    let clock = Arc::new(ManualClock::new(LATER));
    let store = open_at(&place, "w", 1, &clock).await;
    let mut oracle = Oracle::new();
    for text in ["main;read 3", "main;write 4"] {
        push(&store, &mut oracle, "api", profile(text), DAY_START).await;
        store.flush().await.unwrap();
    }
    // a flush that never commits
    let other = open_at(&place, "other", 2, &clock).await;
    other.push(push_of("api", profile("main;lost 9"), DAY_START)).await.unwrap();
    objects.strike(PutFault::Refused, "manifest/", 1);
    other.flush().await.unwrap_err();
    drop(other);

    let old = store.snapshot(&Tenant::default());
    let compactor = compactor_at(&place, 3, &clock);
    compact(&compactor, Scope::All).await;
    let report = compactor.collect(Mode::Delete).await.unwrap();
    assert_eq!((report.objects, report.manifests, report.young), (0, 0, 12));
    assert_eq!(crate::compacting::dump(&old).await.len(), 2);

    clock.advance(HOUR + Duration::from_secs(1));
    // replaced an hour ago: the manifests go, and what they alone named is too young
    let planned = compactor.collect(Mode::DryRun).await.unwrap();
    let report = compactor.collect(Mode::Delete).await.unwrap();
    assert_eq!(planned, report);
    assert_eq!((report.objects, report.young), (0, 36));
    assert_eq!(report.manifests, usize::try_from(report.version).unwrap() - 1);
    clock.advance(24 * HOUR);
    let report = compactor.collect(Mode::Delete).await.unwrap();
    assert_eq!((report.objects, report.manifests, report.young), (36, 0, 0));
    assert_eq!(ls(&place).await.unwrap().versions, 1);
    let found = check(&place).await.unwrap();
    assert_eq!((found.problems, found.garbage), (vec![], vec![]));
    store.refresh().await.unwrap();
    assert_equals_oracle(&store, &oracle, "after the collector").await;
    assert_eq!(compactor.collect(Mode::Delete).await.unwrap().objects, 0);
}

#[tokio::test]
async fn a_store_that_knows_a_collected_manifest_only_finds_the_newest() {
    let place = memory();
    let clock = Arc::new(ManualClock::new(LATER));
    let stale = open_at(&place, "stale", 1, &clock).await;
    let idle = open_at(&place, "idle", 2, &clock).await;
    let mut oracle = Oracle::new();
    let busy = open_at(&place, "busy", 3, &clock).await;
    for _ in 0..5 {
        push(&busy, &mut oracle, "api", profile("main;read 3"), DAY_START).await;
        busy.flush().await.unwrap();
    }
    clock.advance(48 * HOUR);
    push(&busy, &mut oracle, "api", profile("main;read 5"), DAY_START).await;
    busy.flush().await.unwrap();
    clock.advance(2 * HOUR);
    compactor_at(&place, 4, &clock).collect(Mode::Delete).await.unwrap();
    assert_eq!(ls(&place).await.unwrap().versions, 1);
    // its next version was deleted, and so was the one it knows
    assert_eq!(idle.refresh().await.unwrap(), busy.manifest().version);
    assert_equals_oracle(&idle, &oracle, "after a refresh").await;
    push(&stale, &mut oracle, "api", profile("main;write 1"), DAY_START).await;
    assert_eq!(stale.flush().await.unwrap().version, busy.manifest().version + 1);
    assert_equals_oracle(&stale, &oracle, "after a commit").await;
    busy.refresh().await.unwrap();
    assert_equals_oracle(&busy, &oracle, "as the others see it").await;
}

#[tokio::test]
async fn what_waited_too_long_for_its_commit_is_uploaded_anew() {
    let objects = Faulty::new();
    let place = bucket(objects.clone());
    let clock = Arc::new(ManualClock::new(LATER));
    let store = open_at(&place, "w", 1, &clock).await;
    let mut oracle = Oracle::new();
    push(&store, &mut oracle, "api", profile("main;read 3"), DAY_START).await;
    objects.strike(PutFault::Refused, "manifest/", 1);
    store.flush().await.unwrap_err();
    let uploaded = objects.puts().len();
    clock.advance(25 * HOUR);
    assert_eq!(compactor_at(&place, 2, &clock).collect(Mode::Delete).await.unwrap().objects, 12);
    store.flush().await.unwrap();
    assert_eq!(objects.puts().len(), uploaded + 13);
    assert_equals_oracle(&store, &oracle, "after the second upload").await;
    assert_eq!(check(&place).await.unwrap().problems, []);
}

/// The collector fails at its `k`-th request, for every `k`.
#[tokio::test]
async fn wherever_a_collection_is_cut_short_the_store_is_whole() {
    let objects = Faulty::new();
    let place = bucket(objects.clone());
    let clock = Arc::new(ManualClock::new(LATER));
    let store = open_at(&place, "w", 1, &clock).await;
    let mut oracle = Oracle::new();
    for _ in 0..3 {
        push(&store, &mut oracle, "api", profile("main;read 3"), DAY_START).await;
        store.flush().await.unwrap();
    }
    compact(&compactor_at(&place, 2, &clock), Scope::All).await;
    clock.advance(25 * HOUR);
    let whole = objects.fork();
    whole.answer(usize::MAX);
    let report = compactor_at(&bucket(whole.clone()), 3, &clock).collect(Mode::Delete).await.unwrap();
    assert!(report.objects == 36 && report.manifests >= 4, "{report:?}");
    for k in 0..whole.requests() {
        let objects = objects.fork();
        let place = bucket(objects.clone());
        objects.answer(k);
        compactor_at(&place, 3, &clock).collect(Mode::Delete).await.unwrap_err();
        objects.answer(usize::MAX);
        let fresh = open_at(&place, "x", 4, &clock).await;
        assert_equals_oracle(&fresh, &oracle, &format!("cut at {k}")).await;
        compactor_at(&place, 5, &clock).collect(Mode::Delete).await.unwrap();
        assert_eq!(check(&place).await.unwrap().problems, []);
        // numbers go on from the newest, without a gap above the oldest that is left
        let versions = ls(&place).await.unwrap();
        assert!(versions.manifest.version >= u64::try_from(versions.versions).unwrap());
    }
}

#[test]
fn a_policy_that_is_not_safe_is_refused() {
    let hours = |grace, snapshots: u64| CollectorPolicy {
        grace: HOUR * grace,
        snapshot_retention: Duration::from_secs(snapshots),
    };
    hours(12, 900).check().unwrap();
    for (policy, expected) in [(hours(11, 900), "grace"), (hours(12, 899), "snapshot_retention")] {
        let error = policy.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

fn raw(raw: Keep) -> RetentionTimes {
    RetentionTimes { raw, ..RetentionTimes::default() }
}

fn retaining(place: &Bucket, clock: &Arc<ManualClock>, retention: RetentionPolicy) -> Compactor {
    let mut options = CompactorOptions::new(place.clone());
    options.clock = clock.clone();
    options.retention = retention;
    options.segment = crate::support::options(place, "unused", 1).segment;
    Compactor::new(options).unwrap()
}

#[tokio::test]
async fn segments_expire_when_their_last_profile_does_and_not_a_moment_earlier() {
    let place = memory();
    let clock = Arc::new(ManualClock::new(DAY_START));
    let store = open_at(&place, "w", 1, &clock).await;
    for (second, text) in [(0, "main;first 1"), (10, "main;second 2")] {
        store.push(push_of("api", profile(text), DAY_START + second * SECOND)).await.unwrap();
        store.flush().await.unwrap();
    }
    let days = Duration::from_secs(15 * 86_400);
    let compactor = retaining(&place, &clock, RetentionPolicy { times: raw(Keep::For(days)), overrides: vec![] });
    clock.advance(days);
    assert_eq!(compactor.expire().await.unwrap().segments_in, 0);
    clock.advance(Duration::from_nanos(1));
    let report = compactor.expire().await.unwrap();
    assert_eq!((report.segments_in, report.segments_out, report.profiles_dropped), (1, 0, 1));
    store.refresh().await.unwrap();
    assert_eq!(shown(&merged_all(&store).await), "main;second 2");
    clock.advance(Duration::from_secs(10));
    assert_eq!(compactor.expire().await.unwrap().segments_in, 1);
    store.refresh().await.unwrap();
    assert!(store.manifest().segments.is_empty());
}

#[tokio::test]
async fn one_profile_type_can_be_kept_longer_than_the_others() {
    let place = memory();
    let clock = Arc::new(ManualClock::new(DAY_START));
    let store = open_at(&place, "w", 1, &clock).await;
    let mut heap = profile("main;alloc 7");
    for ty in &mut heap.header.sample_types {
        ty.unit = ty.ty;
    }
    store.push(push_of("api", profile("main;read 3"), DAY_START)).await.unwrap();
    store.push(push_of("api", heap, DAY_START)).await.unwrap();
    store.flush().await.unwrap();
    let types = store.manifest().segments[0].profile_types.clone();
    assert_eq!(types.len(), 2);
    let day = Duration::from_secs(86_400);
    let over = |tenant: Option<&str>, profile_type: Option<&String>, kept| RetentionOverride {
        tenant: tenant.map(|name| Tenant::new(name).unwrap()),
        profile_type: profile_type.cloned(),
        times: raw(kept),
    };
    let retention = RetentionPolicy {
        times: RetentionTimes::FOREVER,
        overrides: vec![
            over(Some(Tenant::DEFAULT), None, Keep::For(day)),
            over(None, Some(&types[1]), Keep::For(3 * day)),
            over(Some("else"), Some(&types[1]), Keep::Forever),
        ],
    };
    assert_eq!(retention.times(&Tenant::new("else").unwrap(), &types[1]).raw, Keep::Forever);
    assert_eq!(retention.times(&Tenant::new("else").unwrap(), &types[0]).raw, Keep::Forever);
    let compactor = retaining(&place, &clock, retention);
    clock.advance(2 * day);
    let report = compactor.expire().await.unwrap();
    assert_eq!((report.segments_in, report.segments_out, report.profiles_dropped), (1, 1, 1));
    store.refresh().await.unwrap();
    assert_eq!(store.manifest().segments[0].profile_types, types[1..]);
    assert_eq!(store.manifest().segments[0].level, 0);
    assert_eq!(check(&place).await.unwrap().problems, []);
    clock.advance(2 * day);
    compactor.expire().await.unwrap();
    store.refresh().await.unwrap();
    assert!(store.manifest().segments.is_empty());
}

#[tokio::test]
async fn roll_ups_outlive_the_profiles_they_were_made_of() {
    let place = memory();
    let clock = Arc::new(ManualClock::new(DAY_START));
    let store = open_at(&place, "w", 1, &clock).await;
    for hour in [0, 13] {
        store.push(push_of("api", profile("main;read 3"), DAY_START + hour * 3600 * SECOND)).await.unwrap();
        store.flush().await.unwrap();
    }
    let day = Duration::from_secs(86_400);
    let kept = |days| Keep::For(days * day);
    let times = RetentionTimes { raw: kept(2), hours: kept(4), days: kept(6) };
    let compactor = retaining(&place, &clock, RetentionPolicy { times, overrides: vec![] });
    compact(&compactor, Scope::All).await;
    let has = || {
        let manifest = store.manifest();
        let segments = manifest.segments.iter();
        segments.flat_map(|entry| entry.tables.iter().map(|table| table.table.to_string())).collect::<Vec<_>>()
    };
    for (tables, hours, days) in [(15, true, true), (13, true, true), (12, false, true), (0, false, false)] {
        compactor.expire().await.unwrap();
        store.refresh().await.unwrap();
        let found = has();
        assert_eq!(found.len(), tables, "{found:?}");
        assert_eq!(found.iter().any(|table| table == "rollups_1h"), hours);
        assert_eq!(found.iter().any(|table| table == "rollups_1d"), days);
        assert_eq!(check(&place).await.unwrap().problems, []);
        assert_eq!(compact(&compactor, Scope::All).await.segments_in, 0);
        clock.advance(2 * day + HOUR * 14);
        if tables != 15 {
            continue;
        }
        assert_eq!(shown(&merged_all(&store).await), "main;read 6");
    }
}
