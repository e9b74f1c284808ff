//! Opening: what is refused, and what the refusal says.

use std::sync::Arc;

use flamestore_model::ErrorKind;
use flamestore_store::{Bucket, BucketOptions, MANIFEST_FORMAT, Store, StoreUrl};
use flamestore_testkit::S3Server;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::conformance::s3_options;
use crate::faults::{Faulty, PutFault};
use crate::support::{bucket, memory, open, options};

async fn refusal(bucket: &Bucket) -> (ErrorKind, String) {
    match Store::open(options(bucket, "w", 1)).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => (error.kind(), error.to_string()),
    }
}

#[tokio::test]
async fn a_bucket_that_overwrites_silently_is_refused() {
    let objects = Faulty::new();
    objects.strike(PutFault::Overwrites, "", usize::MAX);
    let (kind, text) = refusal(&bucket(objects.clone())).await;
    assert_eq!(kind, ErrorKind::Invalid);
    assert!(text.starts_with("store: the bucket overwrites an object that was to be created only if absent"), "{text}");
    assert!(objects.puts().iter().all(|path| path.starts_with("probe/")), "{:?}", objects.puts());
    assert!(objects.list_with_delimiter(Some(&Path::from("probe"))).await.unwrap().objects.is_empty());
}

#[tokio::test]
async fn a_probe_whose_first_answer_was_lost_still_tells() {
    let objects = Faulty::new();
    objects.strike(PutFault::Repeated, "probe/", 1);
    assert!(Store::open(options(&bucket(objects), "w", 1)).await.is_ok());
}

#[tokio::test]
async fn a_manifest_of_a_newer_format_is_refused_and_left_alone() {
    let objects = Faulty::new();
    let place = bucket(objects.clone());
    open(&place, "w", 1).await;
    let path = Path::from("manifest/00000000000000000002");
    let mut newer =
        objects.get(&Path::from("manifest/00000000000000000001")).await.unwrap().bytes().await.unwrap().to_vec();
    newer[4..8].copy_from_slice(&(MANIFEST_FORMAT + 1).to_le_bytes());
    objects.put(&path, newer.into()).await.unwrap();
    let before = objects.puts();
    let (kind, text) = refusal(&place).await;
    assert_eq!(kind, ErrorKind::Invalid);
    let refused = format!("format {} is newer than {MANIFEST_FORMAT}", MANIFEST_FORMAT + 1);
    assert!(text.contains(&refused) && text.contains("manifest/00000000000000000002"), "{text}");
    assert_eq!(objects.puts(), before);
}

async fn check_damage(damage: impl Fn(&mut Vec<u8>), expected: &str) {
    let objects = Arc::new(InMemory::new());
    let place = bucket(objects.clone());
    open(&place, "w", 1).await;
    let path = Path::from("manifest/00000000000000000001");
    let mut bytes = objects.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
    damage(&mut bytes);
    objects.put(&path, bytes.into()).await.unwrap();
    let (kind, text) = refusal(&place).await;
    assert_eq!(kind, ErrorKind::Corrupt, "{text}");
    assert!(text.contains(expected) && text.contains("object=manifest/00000000000000000001"), "{text}");
}

#[tokio::test]
async fn a_damaged_newest_manifest_is_named() {
    check_damage(|bytes| *bytes.last_mut().unwrap() ^= 1, "checksum differs").await;
    check_damage(|bytes| bytes.truncate(30), "body of 6 bytes, expected").await;
    check_damage(Vec::clear, "has 0 bytes, fewer than its header").await;
    check_damage(|bytes| bytes[0] = b'X', "does not start with \"FSMF\"").await;
    check_damage(|bytes| bytes[4] = 0, "format 0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_settings_of_s3_are_named() {
    let server = S3Server::start().await.unwrap();
    let of = |bucket: &str, options: BucketOptions| {
        let url = StoreUrl::S3 { bucket: bucket.to_owned(), prefix: String::new() };
        url.open(&options).unwrap()
    };
    let (kind, text) = refusal(&of("no-such-bucket", s3_options(&server.access()))).await;
    assert_eq!((kind, text.contains("check the bucket's name")), (ErrorKind::Invalid, true), "{text}");
    let wrong = BucketOptions { secret_access_key: Some("wrong".to_owned()), ..s3_options(&server.access()) };
    let (kind, text) = refusal(&of(&server.bucket, wrong)).await;
    assert_eq!((kind, text.contains("AWS_SECRET_ACCESS_KEY")), (ErrorKind::Invalid, true), "{text}");
    let wrong = BucketOptions { access_key_id: Some("wrong".to_owned()), ..s3_options(&server.access()) };
    let (kind, text) = refusal(&of(&server.bucket, wrong)).await;
    assert_eq!((kind, text.contains("AWS_ACCESS_KEY_ID")), (ErrorKind::Invalid, true), "{text}");
    let (endpoint, timeout) = ("http://127.0.0.1:1".to_owned(), std::time::Duration::from_millis(100));
    let gone = BucketOptions { endpoint: Some(endpoint), retry_timeout: Some(timeout), ..s3_options(&server.access()) };
    let (kind, text) = refusal(&of(&server.bucket, gone)).await;
    assert_eq!((kind, text.contains("check endpoint")), (ErrorKind::Unavailable, true), "{text}");
}

#[tokio::test]
async fn a_folder_that_cannot_hold_a_store_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("probe"), "a file").unwrap();
    let url = StoreUrl::Folder(folder.path().to_owned());
    let (kind, text) = refusal(&url.open(&BucketOptions::default()).unwrap()).await;
    assert_eq!(
        (kind, text.contains("a file stands where the store needs a folder")),
        (ErrorKind::Invalid, true),
        "{text}"
    );
    assert!(text.contains(&format!("store={url}")), "{text}");
}

#[tokio::test]
async fn settings_that_make_no_sense_are_named() {
    let mut wrong = options(&memory(), "", 1);
    assert!(Store::open(wrong.clone()).await.unwrap_err().to_string().starts_with("store: writer is 1 to 64"));
    wrong.writer = "w".to_owned();
    wrong.head_bytes_max = 0;
    assert_eq!(Store::open(wrong).await.unwrap_err().to_string(), "store: head_bytes_max is 0");
}
