//! A bucket over HTTP that is gone for a while, under load, on a runtime and a clock as in production.

use std::sync::Arc;
use std::time::Duration;

use flamestore_store::{Background, Store, StoreOptions, StoreUrl, SystemClock};
use flamestore_testkit::{Fault, FaultRule, Oracle, S3Server, profile};

use crate::conformance::s3_options;
use crate::support::{DAY_START, SECOND, assert_equals_oracle, open, options, push};

/// No test takes longer: what waits, waits in vain.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests that are turned away before the bucket is back: several flushes, each with its retries.
const TURNED_AWAY: u64 = 30;

async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

async fn load(store: &Store, oracle: &mut Oracle, numbers: std::ops::Range<i64>) {
    for number in numbers {
        let batch = profile(&format!("main;f{} {}", number % 7, number + 1));
        push(store, oracle, "api", batch, DAY_START + number * SECOND).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_gone_for_a_while_loses_nothing() {
    let server = S3Server::start().await.unwrap();
    let url: StoreUrl = format!("s3://{}", server.bucket).parse().unwrap();
    let mut settings = s3_options(&server.access());
    settings.retry_timeout = Some(Duration::from_millis(200));
    let place = url.open(&settings).unwrap();
    let busy = StoreOptions {
        background: Background::Run,
        clock: Arc::new(SystemClock),
        flush_bytes: 1,
        flush_interval: Duration::from_millis(100),
        flush_retry_delay: Duration::from_millis(20),
        ..options(&place, "w", 1)
    };
    let store = Store::open(busy).await.unwrap();
    let mut oracle = Oracle::new();
    load(&store, &mut oracle, 0..10).await;
    until(|| store.head_status().profiles == 0).await;

    server.faults().add(FaultRule::new(Fault::DropRequest));
    load(&store, &mut oracle, 10..30).await;
    until(|| server.faults().struck() >= TURNED_AWAY && store.head_status().flush_error.is_some()).await;
    assert_eq!(store.head_status().profiles, 20);

    server.faults().clear();
    load(&store, &mut oracle, 30..40).await;
    until(|| store.head_status().profiles == 0).await;
    assert_eq!(store.head_status().flush_error, None);
    assert_equals_oracle(&store, &oracle, "after the outage").await;
    store.shutdown().await.unwrap();
    assert_equals_oracle(open(&place, "w", 2).await.as_ref(), &oracle, "after a restart").await;
}
