//! Debug information: each file once, whole or not at all, whoever uploads it and whatever breaks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use flamestore_model::{ErrorKind, Tenant, UploadId};
use flamestore_store::{
    Begun, Bucket, BucketOptions, Debuginfo, DebuginfoClaim, DebuginfoKey, DebuginfoKind, DebuginfoState,
    DebuginfoUpload, Depth, Ended, ManualClock, Mode, Opened, Store, StoreOptions, StoreUrl, UPLOAD_TIME_MAX, check,
    check_at,
};
use flamestore_testkit::{FaultyObjects, S3Place, Strikes};
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::compacting::compactor_at;
use crate::conformance::s3_options;
use crate::faults::{Faulty, PutFault};
use crate::parts::PartsSeen;
use crate::support::{DAY_START, bucket, memory, options};

const MIB: usize = 1 << 20;
const LIMIT: u64 = 1 << 30;
const MINUTE: Duration = Duration::from_secs(60);
/// 2100-01-01: objects in memory carry the machine's time, which lies before.
const LATER: i64 = 4_102_444_800_000_000_000;

async fn open_at(place: &Bucket, writer: &str, seed: u128, clock: &Arc<ManualClock>) -> Arc<Store> {
    Store::open(StoreOptions { clock: clock.clone(), ..options(place, writer, seed) }).await.unwrap()
}

fn key(build_id: &str) -> DebuginfoKey {
    DebuginfoKey::new(Tenant::default(), build_id, DebuginfoKind::Debuginfo).unwrap()
}

fn claim(bytes: usize) -> DebuginfoClaim {
    let (build_id, hash) = ("dfbb01".to_owned(), "of the executable".to_owned());
    DebuginfoClaim { build_id, build_id_type: 1, hash, bytes: bytes as u64, force: false }
}

fn file(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at.wrapping_mul(31) % 251).unwrap()).collect()
}

async fn begin(debuginfo: &Debuginfo, key: &DebuginfoKey, claim: DebuginfoClaim) -> UploadId {
    match debuginfo.begin(key, claim).await.unwrap() {
        Begun::New(id) => id,
        other => panic!("{other:?}"),
    }
}

async fn upload(debuginfo: &Debuginfo, key: &DebuginfoKey, id: UploadId) -> Box<DebuginfoUpload> {
    match debuginfo.open(key, id, LIMIT).await.unwrap() {
        Opened::Upload(upload) => upload,
        other => panic!("{other:?}"),
    }
}

/// Uploads `file` in chunks of a size that no part has.
async fn write(upload: &mut DebuginfoUpload, file: &[u8]) {
    for chunk in file.chunks(3 * MIB + 7) {
        upload.write(chunk).await.unwrap();
    }
}

async fn paths(objects: &dyn ObjectStore) -> BTreeSet<String> {
    let listed = objects.list(None).map_ok(|meta| meta.location.to_string());
    listed.filter(|path| std::future::ready(path.as_ref().unwrap().contains("debuginfo/"))).try_collect().await.unwrap()
}

/// Small files and large ones on a kind of bucket, over a restart.
async fn uploads_conformance(place: Bucket) {
    let clock = Arc::new(ManualClock::new(DAY_START));
    let store = open_at(&place, "w", 1, &clock).await;
    for (build_id, length) in [("aa01", 1), ("aa02", 8 * MIB - 1), ("aa03", 8 * MIB), ("aa04", 17 * MIB + 3)] {
        let (debuginfo, key) = (store.debuginfo(), key(build_id));
        assert_eq!(debuginfo.find(&key).await.unwrap(), DebuginfoState::Absent);
        let id = begin(debuginfo, &key, claim(length)).await;
        assert_eq!(debuginfo.find(&key).await.unwrap(), DebuginfoState::InProgress);
        assert_eq!(debuginfo.begin(&key, claim(length)).await.unwrap(), Begun::InProgress);
        assert_eq!(debuginfo.ended(&key, id).await.unwrap(), Ended::Unfinished);
        let mut running = upload(debuginfo, &key, id).await;
        let twice = debuginfo.open(&key, id, LIMIT).await.unwrap_err();
        assert_eq!(twice.kind(), ErrorKind::Conflict, "{twice}");
        write(&mut running, &file(length)).await;
        assert_eq!(running.finish().await.unwrap(), length as u64);
        assert_eq!(debuginfo.find(&key).await.unwrap(), DebuginfoState::Uploaded);
        assert_eq!(debuginfo.ended(&key, id).await.unwrap(), Ended::Uploaded);
    }
    let dropped = begin(store.debuginfo(), &key("bb01"), claim(10 * MIB)).await;
    let mut running = upload(store.debuginfo(), &key("bb01"), dropped).await;
    write(&mut running, &file(9 * MIB)).await;
    drop(running);
    store.shutdown().await.unwrap();

    let store = open_at(&place, "w", 2, &clock).await;
    for build_id in ["aa01", "aa02", "aa03", "aa04"] {
        assert_eq!(store.debuginfo().find(&key(build_id)).await.unwrap(), DebuginfoState::Uploaded);
        assert_eq!(store.debuginfo().begin(&key(build_id), claim(1)).await.unwrap(), Begun::Uploaded);
    }
    assert_eq!(store.debuginfo().find(&key("bb01")).await.unwrap(), DebuginfoState::Absent);
    assert_eq!(store.debuginfo().ended(&key("bb01"), dropped).await.unwrap(), Ended::Unknown);
    let report = check(&place).await.unwrap();
    assert_eq!((report.debuginfo_files, report.problems, report.garbage), (4, vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_uploaded_into_memory() {
    uploads_conformance(memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_uploaded_into_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Folder(folder.path().to_owned());
    uploads_conformance(url.open(&BucketOptions::default()).unwrap()).await;
    // the folder of the upload that was given up is empty, of unfinished files too
    let given_up = folder.path().join("anonymous/debuginfo/bb01/debuginfo");
    let left: Vec<_> = std::fs::read_dir(given_up).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_uploaded_into_s3() {
    let place = S3Place::open("debuginfo").await.unwrap();
    let url: StoreUrl = place.url().parse().unwrap();
    uploads_conformance(url.open(&s3_options(&place.access)).unwrap()).await;
}

#[tokio::test]
async fn an_upload_holds_few_parts_whatever_comes_in() {
    let objects = PartsSeen::new();
    let clock = Arc::new(ManualClock::new(DAY_START));
    let store = open_at(&bucket(objects.clone()), "w", 1, &clock).await;
    let id = begin(store.debuginfo(), &key("aa"), claim(0)).await;
    let mut running = upload(store.debuginfo(), &key("aa"), id).await;
    let chunk = file(5 * MIB);
    for _ in 0..16 {
        running.write(&chunk).await.unwrap();
    }
    assert_eq!(running.finish().await.unwrap(), 80 * MIB as u64);
    let seen = objects.seen();
    assert_eq!((seen.parts, seen.completed, seen.aborted), (10, 1, 0));
    assert!(seen.running_max <= 2 && seen.part_bytes_max == 8 * MIB, "{seen:?}");
}

#[tokio::test]
async fn a_part_that_cannot_be_written_ends_the_upload_and_leaves_nothing() {
    let objects = PartsSeen::new();
    let clock = Arc::new(ManualClock::new(DAY_START));
    let store = open_at(&bucket(objects.clone()), "w", 1, &clock).await;
    for (refused, build_id) in [(1, "aa"), (3, "bb")] {
        objects.refuse_part(refused);
        let id = begin(store.debuginfo(), &key(build_id), claim(0)).await;
        let mut running = upload(store.debuginfo(), &key(build_id), id).await;
        let mut told = Ok(());
        for _ in 0..3 {
            told = running.write(&file(8 * MIB)).await;
            if told.is_err() {
                break;
            }
        }
        let error = match told {
            Ok(()) => running.finish().await.unwrap_err(),
            Err(error) => {
                drop(running);
                error
            }
        };
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    store.shutdown().await.unwrap();
    let seen = objects.seen();
    assert_eq!((seen.completed, seen.aborted), (0, 2), "{seen:?}");
    assert_eq!(paths(objects.as_ref()).await, BTreeSet::new());
}

#[tokio::test]
async fn a_file_is_as_long_as_was_announced_and_no_longer_than_the_limit() {
    let store = open_at(&memory(), "w", 1, &Arc::new(ManualClock::new(DAY_START))).await;
    let debuginfo = store.debuginfo();
    for (number, announced, limit, sent, expected) in [
        (1, 5, 100, 6, "as was announced [announced=5, bytes=6]"),
        (2, 5, 100, 4, "as was announced [announced=5, bytes=4]"),
        (3, 0, 5, 6, "over the limit debuginfo_bytes_max [limit=5]"),
        (4, 0, 5, 0, "the file is empty"),
    ] {
        let key = key(&format!("{number:02}"));
        let id = begin(debuginfo, &key, claim(announced)).await;
        let Opened::Upload(mut upload) = debuginfo.open(&key, id, limit).await.unwrap() else { panic!("{number}") };
        let error = match upload.write(&file(sent)).await {
            Ok(()) => upload.finish().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn an_upload_that_takes_too_long_is_stale_and_another_one_may_begin() {
    let clock = Arc::new(ManualClock::new(DAY_START + 7_000_000_000));
    let store = open_at(&memory(), "w", 1, &clock).await;
    let (debuginfo, key) = (store.debuginfo(), key("aa"));
    let slow = begin(debuginfo, &key, claim(3)).await;
    let mut running = upload(debuginfo, &key, slow).await;
    running.write(&[1]).await.unwrap();
    clock.advance(UPLOAD_TIME_MAX - Duration::from_nanos(1));
    assert_eq!(debuginfo.find(&key).await.unwrap(), DebuginfoState::InProgress);
    assert_eq!(debuginfo.begin(&key, claim(3)).await.unwrap(), Begun::InProgress);
    running.write(&[2]).await.unwrap();
    clock.advance(Duration::from_nanos(2));
    assert_eq!(debuginfo.find(&key).await.unwrap(), DebuginfoState::Stale);
    let error = running.write(&[3]).await.unwrap_err();
    assert!(error.to_string().contains("takes too long"), "{error}");
    assert!(matches!(debuginfo.open(&key, slow, LIMIT).await.unwrap(), Opened::Stale));
    let fresh = begin(debuginfo, &key, claim(3)).await;
    let mut running = upload(debuginfo, &key, fresh).await;
    running.write(&[1, 2, 3]).await.unwrap();
    assert_eq!(running.finish().await.unwrap(), 3);
    assert!(matches!(debuginfo.open(&key, slow, LIMIT).await.unwrap(), Opened::Uploaded | Opened::Stale));
    assert_eq!(debuginfo.ended(&key, slow).await.unwrap(), Ended::Uploaded);
}

/// Also at the turn of a slot and where clocks differ a little, whoever comes first.
#[tokio::test]
async fn of_those_who_begin_at_the_same_time_at_most_one_does() {
    for turn in [Duration::ZERO, MINUTE, UPLOAD_TIME_MAX - Duration::from_millis(1)] {
        for ahead in [Duration::ZERO, Duration::from_millis(2)] {
            // requests to it are tasks, so that those of several servers take turns
            let place = bucket(Arc::new(FaultyObjects::new(Arc::new(Strikes::default()))));
            let clocks = [Arc::new(ManualClock::new(DAY_START)), Arc::new(ManualClock::new(DAY_START))];
            clocks.iter().for_each(|clock| clock.advance(turn));
            clocks[1].advance(ahead);
            let first = open_at(&place, "a", 1, &clocks[0]).await;
            let second = open_at(&place, "b", 2, &clocks[1]).await;
            let key = key("aa");
            let begun = tokio::join!(
                first.debuginfo().begin(&key, claim(1)),
                second.debuginfo().begin(&key, claim(1)),
                second.debuginfo().begin(&key, claim(1))
            );
            let begun = [begun.0.unwrap(), begun.1.unwrap(), begun.2.unwrap()];
            let new = begun.iter().filter(|begun| matches!(begun, Begun::New(_))).count();
            assert!(new <= 1, "{begun:?}");
            let state = first.debuginfo().find(&key).await.unwrap();
            let expected = if new == 1 { DebuginfoState::InProgress } else { DebuginfoState::Absent };
            assert_eq!(state, expected, "{begun:?}");
            assert!(new == 1 || ahead > Duration::ZERO, "{begun:?}");
            let again = first.debuginfo().begin(&key, claim(1)).await.unwrap();
            assert_eq!(matches!(again, Begun::New(_)), new == 0, "{begun:?}, {again:?}");
            assert_eq!(second.debuginfo().begin(&key, claim(1)).await.unwrap(), Begun::InProgress);
        }
    }
}

/// Clocks that differ by more than an upload may take let two servers begin: one file counts, and only that one is left.
#[tokio::test]
async fn of_two_that_upload_the_first_that_ends_counts() {
    let objects = Arc::new(InMemory::new());
    let place = bucket(objects.clone());
    let clocks = [Arc::new(ManualClock::new(DAY_START)), Arc::new(ManualClock::new(DAY_START))];
    let (first, second) = (open_at(&place, "a", 1, &clocks[0]).await, open_at(&place, "b", 2, &clocks[1]).await);
    let key = key("aa");
    let early = begin(first.debuginfo(), &key, claim(0)).await;
    clocks[1].advance(2 * UPLOAD_TIME_MAX);
    let late = begin(second.debuginfo(), &key, claim(0)).await;
    let mut slower = upload(first.debuginfo(), &key, early).await;
    let mut faster = upload(second.debuginfo(), &key, late).await;
    slower.write(b"slower").await.unwrap();
    faster.write(b"fast").await.unwrap();
    assert_eq!(faster.finish().await.unwrap(), 4);
    assert_eq!(slower.finish().await.unwrap(), 6);
    for (store, id) in [(&first, early), (&second, late)] {
        assert_eq!(store.debuginfo().ended(&key, id).await.unwrap(), Ended::Uploaded);
    }
    let folder = "anonymous/debuginfo/aa/debuginfo";
    assert_eq!(
        paths(objects.as_ref()).await,
        BTreeSet::from([format!("{folder}/{late}"), format!("{folder}/uploaded")])
    );
    let stored = objects.get(&Path::from(format!("{folder}/{late}"))).await.unwrap().bytes().await.unwrap();
    assert_eq!(stored.as_ref(), b"fast");
    assert_eq!(check(&place).await.unwrap().problems, []);
}

#[tokio::test]
async fn a_forced_upload_takes_the_place_of_what_is_there() {
    let objects = Arc::new(InMemory::new());
    let place = bucket(objects.clone());
    let store = open_at(&place, "w", 1, &Arc::new(ManualClock::new(DAY_START))).await;
    let (debuginfo, key) = (store.debuginfo(), key("aa"));
    for (text, force) in [("first", false), ("second", true), ("third", true)] {
        let id = begin(debuginfo, &key, DebuginfoClaim { force, ..claim(0) }).await;
        let mut running = upload(debuginfo, &key, id).await;
        running.write(text.as_bytes()).await.unwrap();
        running.finish().await.unwrap();
        let folder = "anonymous/debuginfo/aa/debuginfo";
        assert_eq!(
            paths(objects.as_ref()).await,
            BTreeSet::from([format!("{folder}/{id}"), format!("{folder}/uploaded")])
        );
        assert_eq!(check(&place).await.unwrap().problems, []);
    }
    // damage is no reason to keep it
    let uploaded = Path::from("anonymous/debuginfo/aa/debuginfo/uploaded");
    objects.put(&uploaded, "damaged".into()).await.unwrap();
    let id = begin(debuginfo, &key, DebuginfoClaim { force: true, ..claim(0) }).await;
    let mut running = upload(debuginfo, &key, id).await;
    running.write(b"fourth").await.unwrap();
    running.finish().await.unwrap();
    let report = check(&place).await.unwrap();
    assert_eq!((report.debuginfo_files, report.problems, report.garbage.len()), (1, vec![], 1));
}

#[tokio::test]
async fn answers_that_are_lost_change_nothing() {
    let objects = Faulty::new();
    let place = bucket(objects.clone());
    let store = open_at(&place, "w", 1, &Arc::new(ManualClock::new(DAY_START))).await;
    let (debuginfo, key) = (store.debuginfo(), key("aa"));
    objects.strike(PutFault::AnswerLost, "claim-", 1);
    let id = begin(debuginfo, &key, claim(0)).await;
    let mut running = upload(debuginfo, &key, id).await;
    running.write(b"file").await.unwrap();
    objects.strike(PutFault::AnswerLost, "/uploaded", 1);
    assert_eq!(running.finish().await.unwrap(), 4);
    assert_eq!(check(&place).await.unwrap().debuginfo_files, 1);

    let other = DebuginfoKey { kind: DebuginfoKind::Executable, ..key.clone() };
    objects.strike(PutFault::Refused, "claim-", 1);
    assert_eq!(debuginfo.begin(&other, claim(0)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let id = begin(debuginfo, &other, claim(0)).await;
    let mut running = upload(debuginfo, &other, id).await;
    running.write(b"file").await.unwrap();
    objects.strike(PutFault::Refused, "/uploaded", 1);
    assert_eq!(running.finish().await.unwrap_err().kind(), ErrorKind::Unavailable);
    // nobody knows whether it counts: it is in progress until it is stale
    assert_eq!(debuginfo.ended(&other, id).await.unwrap(), Ended::Unfinished);
}

#[tokio::test]
async fn the_collector_takes_what_nothing_names_once_it_is_old() {
    let objects = Arc::new(InMemory::new());
    let place = bucket(objects.clone());
    let clock = Arc::new(ManualClock::new(LATER));
    let store = open_at(&place, "w", 1, &clock).await;
    let debuginfo = store.debuginfo();
    let counts = begin(debuginfo, &key("aa"), claim(0)).await;
    let mut running = upload(debuginfo, &key("aa"), counts).await;
    running.write(b"counts").await.unwrap();
    running.finish().await.unwrap();
    let put = async |build_id: &str, name: String| {
        objects.put(&Path::from(format!("anonymous/debuginfo/{build_id}/debuginfo/{name}")), "x".into()).await.unwrap();
    };
    let millis = u64::try_from(LATER / 1_000_000).unwrap();
    put("aa", UploadId::from_parts(millis, 7).to_string()).await;
    put("bb", UploadId::from_parts(millis, 8).to_string()).await;
    put("bb", "not-ours".to_owned()).await;
    begin(debuginfo, &key("cc"), claim(0)).await;
    assert_eq!(check(&place).await.unwrap().garbage.len(), 4);
    let compactor = compactor_at(&place, 3, &clock);
    let report = compactor.collect(Mode::Delete).await.unwrap();
    assert_eq!((report.objects, report.young, report.foreign), (0, 3, 1));
    clock.advance(Duration::from_secs(86_401));
    let report = compactor.collect(Mode::Delete).await.unwrap();
    assert_eq!((report.objects, report.young, report.foreign), (3, 0, 1));
    let folder = "anonymous/debuginfo/aa/debuginfo";
    let foreign = "anonymous/debuginfo/bb/debuginfo/not-ours".to_owned();
    let left = BTreeSet::from([format!("{folder}/{counts}"), format!("{folder}/uploaded"), foreign]);
    assert_eq!(paths(objects.as_ref()).await, left);
    assert_eq!(check(&place).await.unwrap().problems, []);
}

#[tokio::test]
async fn a_check_tells_what_is_missing_cut_or_changed() {
    let objects = Arc::new(InMemory::new());
    let place = bucket(objects.clone());
    let store = open_at(&place, "w", 1, &Arc::new(ManualClock::new(DAY_START))).await;
    let mut ids = Vec::new();
    for build_id in ["aa", "bb", "cc"] {
        let id = begin(store.debuginfo(), &key(build_id), claim(0)).await;
        let mut running = upload(store.debuginfo(), &key(build_id), id).await;
        write(&mut running, &file(9 * MIB)).await;
        running.finish().await.unwrap();
        ids.push(Path::from(format!("anonymous/debuginfo/{build_id}/debuginfo/{id}")));
    }
    objects.delete(&ids[0]).await.unwrap();
    objects.put(&ids[1], "short".into()).await.unwrap();
    let mut changed = file(9 * MIB);
    changed[8 * MIB + 1] ^= 1;
    objects.put(&ids[2], changed.into()).await.unwrap();
    objects.put(&Path::from("anonymous/debuginfo/dd/sources/uploaded"), "FSDI".into()).await.unwrap();
    let told = async |depth| {
        let report = check_at(&place, depth, &|_, _| {}).await.unwrap();
        let what = report.problems.iter().map(|problem| problem.what.clone());
        (report.debuginfo_files, what.collect::<Vec<_>>())
    };
    let (files, plain) = told(Depth::Plain).await;
    assert_eq!((files, plain.len()), (3, 3), "{plain:?}");
    assert_eq!(plain[..2], ["the object is missing", "the size differs"]);
    assert!(plain[2].contains("shorter than its header"), "{plain:?}");
    let (_, deep) = told(Depth::Deep).await;
    assert_eq!(deep[..3], ["the object is missing", "the size differs", "the checksum differs"]);
}
