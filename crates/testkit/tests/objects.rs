//! The object store with faults must fail as real ones do: nothing half done, nothing that was not asked for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests; clippy knows only functions marked as such")]

use std::ops::Range;
use std::sync::Arc;

use flamestore_testkit::{Fate, FaultyObjects, RequestKind, Strikes, Traffic};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};

fn objects() -> (FaultyObjects, Arc<Strikes>) {
    let strikes = Arc::new(Strikes::default());
    (FaultyObjects::new(strikes.clone()), strikes)
}

async fn create(objects: &FaultyObjects, path: &str, text: &'static str) -> &'static str {
    match objects.put_opts(&Path::from(path), text.into(), PutMode::Create.into()).await {
        Ok(_) => "created",
        Err(Error::AlreadyExists { .. }) => "exists",
        Err(_) => "failed",
    }
}

async fn read(objects: &FaultyObjects, path: &str, range: Option<Range<u64>>) -> String {
    let read = match range {
        Some(range) => objects.get_range(&Path::from(path), range).await,
        None => match objects.get(&Path::from(path)).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        },
    };
    match read {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(Error::NotFound { .. }) => "nothing".to_owned(),
        Err(_) => "failed".to_owned(),
    }
}

async fn check_create(fate: Fate, told: &str, left: &str) {
    let (objects, strikes) = objects();
    strikes.strike(fate, Some(RequestKind::Create), "manifest/", 1);
    assert_eq!(create(&objects, "manifest/1", "mine").await, told, "{fate:?}");
    assert_eq!(read(&objects, "manifest/1", None).await, left, "{fate:?}");
}

#[tokio::test]
async fn a_create_is_done_or_not_whatever_its_client_is_told() {
    check_create(Fate::Done, "created", "mine").await;
    check_create(Fate::Refused, "failed", "nothing").await;
    check_create(Fate::Throttled, "failed", "nothing").await;
    check_create(Fate::AnswerLost, "failed", "mine").await;
    check_create(Fate::Repeated, "exists", "mine").await;
}

#[tokio::test]
async fn what_exists_stays_unless_the_store_ignores_the_condition() {
    let (objects, strikes) = objects();
    assert_eq!(create(&objects, "a", "first").await, "created");
    assert_eq!(create(&objects, "a", "second").await, "exists");
    strikes.strike(Fate::Overwrites, None, "", 1);
    assert_eq!(create(&objects, "a", "second").await, "created");
    assert_eq!(read(&objects, "a", None).await, "second");
    assert_eq!(objects.written(), ["a", "a"]);
}

#[tokio::test]
async fn a_body_that_is_cut_short_is_an_error_and_never_shorter_bytes() {
    let (objects, strikes) = objects();
    create(&objects, "a", "0123456789").await;
    strikes.strike(Fate::CutShort, Some(RequestKind::Get), "a", 2);
    assert_eq!(read(&objects, "a", None).await, "failed");
    assert_eq!(read(&objects, "a", Some(2..5)).await, "failed");
    assert_eq!(read(&objects, "a", Some(2..5)).await, "234");
}

#[tokio::test]
async fn requests_and_bytes_are_counted_by_kind_and_a_store_that_is_gone_refuses_all() {
    let (objects, strikes) = objects();
    strikes.set_time(1_000_000_000);
    create(&objects, "folder/a", "0123456789").await;
    read(&objects, "folder/a", Some(2..5)).await;
    let listed: Vec<_> = objects.list(Some(&Path::from("folder"))).try_collect().await.unwrap();
    assert_eq!(listed.iter().map(|meta| (meta.size, meta.last_modified.timestamp())).collect::<Vec<_>>(), [(10, 1)]);
    assert_eq!(objects.head(&Path::from("folder/a")).await.unwrap().size, 10);
    let counts = objects.counts();
    assert_eq!(counts.of(RequestKind::Create), Traffic { requests: 1, bytes: 10 });
    assert_eq!(counts.of(RequestKind::Get), Traffic { requests: 1, bytes: 3 });
    assert_eq!(counts.requests(), 4);
    strikes.end_after(1);
    assert_eq!(create(&objects, "b", "x").await, "created");
    assert_eq!(create(&objects, "c", "x").await, "failed");
    assert!(objects.delete(&Path::from("b")).await.is_err());
    strikes.clear();
    objects.delete(&Path::from("b")).await.unwrap();
    assert_eq!(read(&objects, "b", None).await, "nothing");
    let elsewhere = objects.in_weather(Arc::new(Strikes::default()));
    assert_eq!(read(&elsewhere, "folder/a", None).await, "0123456789");
}
