//! Bounds and retries: what is refused, and what does not count twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use flamestore_model::{ErrorKind, Labels, ProfileId, Tenant};
use flamestore_store::{ManualClock, PushProfile, SeriesMax, Store};
use flamestore_testkit::{Fixture, profile};

use crate::support::{DAY_START, memory, merged_all, open, options, push_of, shown};

#[tokio::test]
async fn a_full_head_refuses_and_a_flush_makes_room() {
    let mut options = options(&memory(), "w", 1);
    options.head_bytes_max = 20_000;
    let store = Store::open(options).await.unwrap();
    let mut accepted = 0;
    let error = loop {
        let text = format!("main;f{accepted};g{accepted} 1");
        match store.push(push_of("api", profile(&text), DAY_START)).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 10_000);
    };
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.to_string().contains("head_bytes_max is 20000"), "{error}");
    assert!(accepted > 2 && store.head_status().bytes <= 20_000, "{accepted} {:?}", store.head_status());
    assert_eq!(merged_all(&store).await.values().sum::<i64>(), accepted);
    store.flush().await.unwrap();
    assert_eq!(store.head_status().bytes, 0);
    store.push(push_of("api", profile("main 1"), DAY_START)).await.unwrap();
    assert_eq!(merged_all(&store).await.values().sum::<i64>(), accepted + 1);
}

#[tokio::test]
async fn a_tenant_has_so_many_series_until_a_flush() {
    let clock = Arc::new(ManualClock::new(DAY_START));
    let mut options = options(&memory(), "w", 1);
    options.clock = clock.clone();
    let (few, many) = (Tenant::new("few").unwrap(), Tenant::new("many").unwrap());
    options.series_max = SeriesMax { default: 3, by_tenant: HashMap::from([(few.clone(), 1), (many.clone(), 4)]) };
    let flush_interval = options.flush_interval;
    let store = Store::open(options).await.unwrap();
    let push = async |tenant: &Tenant, service: &str| {
        let batch = Fixture::heap().profile("main;new 1,2,3,4");
        store.push(PushProfile { tenant: tenant.clone(), ..push_of(service, batch, DAY_START) }).await
    };
    push(&many, "api").await.unwrap();
    push(&many, "api").await.unwrap();
    clock.advance(Duration::from_secs(10));
    for (tenant, service, limit) in [(&many, "web", "series_max=4"), (&few, "api", "series_max=1")] {
        let error = push(tenant, service).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        assert!(error.to_string().contains(limit), "{error}");
    }
    let opened_before = push(&many, "web").await.unwrap_err().retry_delay().unwrap();
    assert_eq!(opened_before, flush_interval - Duration::from_secs(10));
    store.flush().await.unwrap();
    push(&many, "web").await.unwrap();
    assert_eq!(store.snapshot(&few).head.len(), 0, "nothing of a refused push is left");
}

#[tokio::test]
async fn a_retried_push_of_the_same_id_counts_once_until_its_window_is_over() {
    let clock = Arc::new(ManualClock::new(DAY_START));
    let mut options = options(&memory(), "w", 1);
    options.clock = clock.clone();
    options.retry_window = Duration::from_secs(10);
    let store = Store::open(options).await.unwrap();
    let id = ProfileId::from_parts(1, 2);
    let again = || PushProfile { id: Some(id), ..push_of("api", profile("main;read 3"), DAY_START) };
    for step in ["first", "in the head", "flushed"] {
        assert_eq!(store.push(again()).await.unwrap(), id, "{step}");
        assert_eq!(shown(&merged_all(&store).await), "main;read 3", "{step}");
        if step == "in the head" {
            store.flush().await.unwrap();
        }
    }
    clock.advance(Duration::from_secs(11));
    store.push(push_of("api", profile("main;other 1"), DAY_START)).await.unwrap();
    store.flush().await.unwrap();
    store.push(again()).await.unwrap();
    assert_eq!(shown(&merged_all(&store).await), "main;other 1 | main;read 6");
}

#[tokio::test]
async fn a_refused_push_leaves_nothing_behind_and_may_be_sent_again() {
    let store = open(&memory(), "w", 1).await;
    let id = Some(ProfileId::from_parts(1, 2));
    let mut wrong = profile("main;read 3");
    wrong.samples.values.push(1);
    let refused = store.push(PushProfile { id, ..push_of("api", wrong, DAY_START) }).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!((shown(&merged_all(&store).await).as_str(), store.head_status().bytes), ("", 0));
    store.push(PushProfile { id, ..push_of("api", profile("main;read 3"), DAY_START) }).await.unwrap();
    assert_eq!(shown(&merged_all(&store).await), "main;read 3");
}

#[tokio::test]
async fn a_push_becomes_one_series_per_sample_type() {
    let store = open(&memory(), "w", 1).await;
    let batch = Fixture::heap().profile("main;new 1,2,0,4 | main;old 0,0,0,0");
    store.push(PushProfile { labels: Labels::default(), ..push_of("", batch, DAY_START) }).await.unwrap();
    let head = store.snapshot(&flamestore_model::Tenant::default()).head.remove(0);
    let series: Vec<String> = head
        .series()
        .rows
        .iter()
        .map(|row| format!("{} {} {}", row.profile_type, row.labels, row.temporality.as_str()))
        .collect();
    assert_eq!(
        series,
        [
            "memory:alloc_objects:count:space:bytes {service_name=\"unknown_service\"} cumulative",
            "memory:alloc_space:bytes:space:bytes {service_name=\"unknown_service\"} cumulative",
            "memory:inuse_objects:count:space:bytes {service_name=\"unknown_service\"} instant",
            "memory:inuse_space:bytes:space:bytes {service_name=\"unknown_service\"} instant",
        ]
    );
    let rows: Vec<u32> =
        head.profiles(&(0..4).collect(), &flamestore_model::TimeRange::ALL).iter().map(|row| row.row_count).collect();
    assert_eq!(rows, [2, 1, 0, 1]);
}
