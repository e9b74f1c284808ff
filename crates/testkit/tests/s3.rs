//! The S3 server must be as strict as the stores it stands for, above all in conditional creates.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests; clippy knows only functions marked as such")]

use std::sync::Arc;
use std::time::Duration;

use flamestore_testkit::{Fault, FaultRule, S3Access, S3Place, S3Server};
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, RetryConfig};

fn client_of(access: &S3Access, retries: usize) -> AmazonS3 {
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(1), ..BackoffConfig::default() };
    let retry = RetryConfig { max_retries: retries, backoff, ..RetryConfig::default() };
    AmazonS3Builder::new()
        .with_endpoint(&access.endpoint)
        .with_bucket_name(&access.bucket)
        .with_region("us-east-1")
        .with_access_key_id(&access.access_key)
        .with_secret_access_key(&access.secret_key)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_retry(retry)
        .build()
        .unwrap()
}

fn client(server: &S3Server, retries: usize) -> AmazonS3 {
    client_of(&server.access(), retries)
}

async fn create(store: &AmazonS3, path: &str, text: String) -> Result<(), Error> {
    store.put_opts(&Path::from(path), text.into(), PutMode::Create.into()).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_sixteen_racing_creates_wins_and_its_bytes_stay() {
    let place = S3Place::open("race").await.unwrap();
    race(&place.access, &place.prefix).await;
    if place.server.is_none() {
        let server = S3Server::start().await.unwrap();
        race(&server.access(), "race").await;
    }
}

async fn race(access: &S3Access, prefix: &str) {
    let store = Arc::new(client_of(access, 3));
    for round in 0..25 {
        let path = format!("{prefix}/manifest/{round:020}");
        let racers: Vec<_> = (0..16)
            .map(|racer| {
                let (store, path) = (Arc::clone(&store), path.clone());
                tokio::spawn(async move { create(&store, &path, format!("racer {racer}")).await })
            })
            .collect();
        let mut winners = Vec::new();
        for (racer, task) in racers.into_iter().enumerate() {
            match task.await.unwrap() {
                Ok(()) => winners.push(racer),
                Err(Error::AlreadyExists { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        let kept = store.get(&Path::from(path)).await.unwrap().bytes().await.unwrap();
        assert_eq!(kept, format!("racer {}", winners[0]));
    }
}

#[tokio::test]
async fn objects_are_read_in_ranges_listed_and_deleted() {
    let server = S3Server::start().await.unwrap();
    let store = client(&server, 3);
    let path = Path::from("tenant/samples/day=2026-09-27/0.parquet");
    store.put(&path, "0123456789".into()).await.unwrap();
    assert_eq!(store.get_range(&path, 2..5).await.unwrap(), "234");
    assert_eq!(store.head(&path).await.unwrap().size, 10);
    let listed = store.list_with_delimiter(Some(&Path::from("tenant/samples"))).await.unwrap();
    assert_eq!(listed.common_prefixes, [Path::from("tenant/samples/day=2026-09-27")]);
    assert!(server.bucket_folder().join(path.as_ref()).exists());
    store.delete(&path).await.unwrap();
    assert!(matches!(store.get(&path).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_dropped_answer_leaves_the_object_written_and_the_retry_finds_it() {
    let server = S3Server::start().await.unwrap();
    server.faults().add(FaultRule::new(Fault::DropAnswer).method("PUT").path_contains("manifest").times(1));
    assert!(create(&client(&server, 0), "manifest/1", "mine".to_owned()).await.is_err());
    let again = create(&client(&server, 0), "manifest/1", "mine".to_owned()).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    assert_eq!(server.faults().struck(), 1);
}

#[tokio::test]
async fn a_client_that_retries_outlives_slow_down_and_latency() {
    let server = S3Server::start().await.unwrap();
    server.faults().add(FaultRule::new(Fault::SlowDown).times(2));
    server.faults().add(FaultRule::new(Fault::Latency(Duration::from_millis(1))).times(1));
    create(&client(&server, 3), "a", "b".to_owned()).await.unwrap();
    assert_eq!(server.faults().struck(), 3);
    server.faults().add(FaultRule::new(Fault::SlowDown));
    assert!(create(&client(&server, 1), "c", "d".to_owned()).await.is_err());
    server.faults().clear();
    assert!(matches!(client(&server, 0).get(&Path::from("c")).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_dropped_request_does_nothing_and_a_wrong_key_is_refused() {
    let mut server = S3Server::start().await.unwrap();
    server.faults().add(FaultRule::new(Fault::DropRequest).times(1));
    assert!(create(&client(&server, 0), "a", "b".to_owned()).await.is_err());
    create(&client(&server, 0), "a", "b".to_owned()).await.unwrap();
    server.secret_key = "wrong".to_owned();
    assert!(client(&server, 0).get(&Path::from("a")).await.is_err());
}
