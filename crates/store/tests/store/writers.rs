//! Several stores on one bucket.

use std::sync::Arc;
use std::time::Duration;

use flamestore_model::ErrorKind;
use flamestore_store::{Access, Background, ManualClock, Store, StoreOptions, SystemClock, ls};
use flamestore_testkit::{Oracle, profile};

use crate::support::{
    DAY_START, SECOND, assert_equals_oracle, memory, merged_all, open, options, push, push_of, shown,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_writers_commit_side_by_side_and_lose_nothing() {
    const ROUNDS: i64 = 8;
    let bucket = memory();
    let opened = async |writer: &str, seed| {
        // a lost race waits for a moment on the clock, so this one must run
        Store::open(StoreOptions { clock: Arc::new(SystemClock), ..options(&bucket, writer, seed) }).await.unwrap()
    };
    let (a, b) = (opened("a", 1).await, opened("b", 2).await);
    let writing: Vec<_> = [(a, "a"), (b, "b")]
        .into_iter()
        .map(|(store, name)| {
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let batch = profile(&format!("main;{name};r{round} 1"));
                    store.push(push_of("api", batch, DAY_START + round * SECOND)).await.unwrap();
                    store.flush().await.unwrap();
                }
                store
            })
        })
        .collect();
    let mut stores = Vec::new();
    for task in writing {
        stores.push(task.await.unwrap());
    }
    let fresh = open(&bucket, "c", 3).await;
    let merged = merged_all(&fresh).await;
    assert_eq!((merged.len(), merged.values().sum::<i64>()), (16, 16));
    for store in stores {
        assert_eq!(store.refresh().await.unwrap(), fresh.manifest().version);
        assert_eq!(merged_all(&store).await, merged);
    }
    // two claims, sixteen flushes, one claim more: no version was wasted
    assert_eq!(fresh.manifest().version, 19);
}

#[tokio::test]
async fn a_store_that_was_replaced_can_neither_commit_nor_push() {
    let bucket = memory();
    let mut oracle = Oracle::new();
    let old = open(&bucket, "w", 1).await;
    push(&old, &mut oracle, "api", profile("main;read 3"), DAY_START).await;
    old.flush().await.unwrap();
    old.push(push_of("api", profile("main;late 9"), DAY_START)).await.unwrap();
    let new = open(&bucket, "w", 2).await;
    let error = old.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("writer=w"), "{error}");
    assert_eq!(old.push(push_of("api", profile("main 1"), DAY_START)).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(old.shutdown().await.unwrap_err().kind(), ErrorKind::Fenced);
    push(&new, &mut oracle, "api", profile("main;write 4"), DAY_START).await;
    new.flush().await.unwrap();
    assert_equals_oracle(&new, &oracle, "the new store").await;
    old.refresh().await.unwrap();
    assert_eq!(shown(&merged_all(&old).await), "main;late 9 | main;read 3 | main;write 4");
}

#[tokio::test]
async fn a_store_that_only_reads_writes_nothing_and_follows_the_others() {
    let bucket = memory();
    let mut oracle = Oracle::new();
    let writer = open(&bucket, "w", 1).await;
    let clock = Arc::new(ManualClock::new(DAY_START));
    let mut reading = options(&bucket, "w", 2);
    reading.access = Access::ReadOnly;
    reading.background = Background::Run;
    reading.clock = clock.clone();
    let reader = Store::open(reading).await.unwrap();
    let refused = reader.push(push_of("api", profile("main 1"), DAY_START)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    // the writer of the same name is not fenced
    push(&writer, &mut oracle, "api", profile("main;read 3"), DAY_START).await;
    writer.flush().await.unwrap();
    for _ in 0..100_000 {
        if reader.manifest().version == 2 {
            break;
        }
        clock.advance(Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    assert_equals_oracle(&reader, &oracle, "as the reader sees it").await;
    reader.shutdown().await.unwrap();
    assert_eq!(ls(&bucket).await.unwrap().versions, 2);
}
