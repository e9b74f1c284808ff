//! Debug information, as Parca's agents upload it: the whole way, and every way off it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use flamestore_proto::parca::debuginfo::debuginfo_service_client::DebuginfoServiceClient;
use flamestore_proto::parca::debuginfo::upload_instructions::UploadStrategy;
use flamestore_proto::parca::debuginfo::upload_request::Data;
use flamestore_proto::parca::debuginfo::{
    BuildIdType, DebuginfoType, InitiateUploadRequest, MarkUploadFinishedRequest, ShouldInitiateUploadRequest,
    UploadInfo, UploadInstructions, UploadRequest, UploadResponse,
};
use flamestore_server::ServerConfig;
use flamestore_store::{BucketOptions, ManualClock, StoreOptions, StoreUrl, UPLOAD_TIME_MAX, check};
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::harness::{NOON, PATIENCE, Running, config};

/// As agents know it.
const IN_PROGRESS: &str =
    "A previous upload is still in-progress and not stale yet (only stale uploads can be retried).";
const BUILD: &str = "dfbb0a1c22";

fn client(running: &Running) -> DebuginfoServiceClient<Channel> {
    DebuginfoServiceClient::new(running.channel.clone())
}

/// Whether an agent should upload, and why.
async fn should(running: &Running, build_id: &str) -> Result<(bool, String), Status> {
    let build_id_type = BuildIdType::Gnu.into();
    let request = ShouldInitiateUploadRequest { build_id: build_id.to_owned(), build_id_type, ..Default::default() };
    let answer = client(running).should_initiate_upload(request).await?.into_inner();
    Ok((answer.should_initiate_upload, answer.reason))
}

async fn initiate(running: &Running, build_id: &str, size: i64) -> Result<UploadInstructions, Status> {
    let request = InitiateUploadRequest {
        build_id: build_id.to_owned(),
        size,
        hash: "d41d8cd98f00b204e9800998ecf8427e".to_owned(),
        build_id_type: BuildIdType::Gnu.into(),
        ..InitiateUploadRequest::default()
    };
    Ok(client(running).initiate_upload(request).await?.into_inner().upload_instructions.unwrap())
}

fn info(instructions: &UploadInstructions) -> UploadRequest {
    let UploadInstructions { build_id, upload_id, r#type, .. } = instructions.clone();
    UploadRequest { data: Some(Data::Info(UploadInfo { build_id, upload_id, r#type })) }
}

fn chunk(bytes: &[u8]) -> UploadRequest {
    UploadRequest { data: Some(Data::ChunkData(Bytes::copy_from_slice(bytes))) }
}

async fn send(running: &Running, messages: Vec<UploadRequest>) -> Result<UploadResponse, Status> {
    Ok(client(running).upload(tokio_stream::iter(messages)).await?.into_inner())
}

async fn upload(running: &Running, instructions: &UploadInstructions, file: &[u8]) -> Result<UploadResponse, Status> {
    let chunks = file.chunks(1 << 20).map(chunk);
    send(running, std::iter::once(info(instructions)).chain(chunks).collect()).await
}

async fn mark(running: &Running, instructions: &UploadInstructions) -> Result<(), Status> {
    let UploadInstructions { build_id, upload_id, r#type, .. } = instructions.clone();
    let request = MarkUploadFinishedRequest { build_id, upload_id, r#type };
    client(running).mark_upload_finished(request).await.map(|_| ())
}

/// A message as it travels.
fn framed(message: &UploadRequest) -> Vec<u8> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [[0].as_slice(), &length, &message].concat()
}

fn assert_refused<T: std::fmt::Debug>(outcome: Result<T, Status>, code: Code, part: &str) {
    let status = outcome.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(part), "{status:?}");
}

/// Asks until an upload may begin: what a broken one leaves is deleted behind its answer.
async fn until_wanted(running: &Running, build_id: &str) {
    let wanted = async { while !should(running, build_id).await.unwrap().0 {} };
    tokio::time::timeout(PATIENCE, wanted).await.unwrap();
}

/// The files below `folder`.
fn files(folder: &Path) -> Vec<String> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path.strip_prefix(folder).unwrap().display().to_string()),
            }
        }
    }
    files.sort();
    files
}

async fn start_at(url: &StoreUrl, writer: &str, clock: &Arc<ManualClock>) -> Running {
    let bucket = url.open(&BucketOptions::default()).unwrap();
    let options = StoreOptions { writer: writer.to_owned(), clock: clock.clone(), ..StoreOptions::new(bucket) };
    Running::start_store(config(), options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_uploads_a_file_once_and_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start_in(folder.path()).await;
    let file: Vec<u8> = (0..9_000_000u32).map(|at| at.to_le_bytes()[1]).collect();
    let (wanted, reason) = should(&running, BUILD).await.unwrap();
    assert!(wanted, "{reason}");
    let instructions = initiate(&running, BUILD, 9_000_000).await.unwrap();
    assert_eq!(instructions.build_id, BUILD);
    assert_eq!((instructions.upload_strategy(), instructions.signed_url.as_str()), (UploadStrategy::Grpc, ""));
    // another agent that sees the same file meanwhile
    assert_eq!(should(&running, BUILD).await.unwrap(), (false, IN_PROGRESS.to_owned()));
    assert_refused(initiate(&running, BUILD, 9_000_000).await, Code::FailedPrecondition, IN_PROGRESS);
    assert_refused(mark(&running, &instructions).await, Code::FailedPrecondition, "has not come in");
    let answer = upload(&running, &instructions, &file).await.unwrap();
    assert_eq!((answer.build_id.as_str(), answer.size), (BUILD, 9_000_000));
    mark(&running, &instructions).await.unwrap();
    mark(&running, &instructions).await.unwrap();
    let (wanted, reason) = should(&running, BUILD).await.unwrap();
    assert!(!wanted && reason != IN_PROGRESS, "{reason}");
    assert_refused(initiate(&running, BUILD, 1).await, Code::AlreadyExists, "");
    assert_refused(upload(&running, &instructions, &file).await, Code::AlreadyExists, "");

    let metrics = running.get("/metrics").await;
    assert!(metrics.contains(r#"flamestore_debuginfo_uploads_total{code="OK"}"#), "{metrics}");
    let id = &instructions.upload_id;
    let below = folder.path().join("anonymous/debuginfo").join(BUILD).join("debuginfo");
    assert_eq!(files(&below), [id.clone(), "uploaded".to_owned()]);
    assert!(std::fs::read(below.join(id)).unwrap() == file, "the file is as it was sent");
    let bucket = running.store.options().bucket.clone();
    running.stop().await.unwrap();
    let report = check(&bucket).await.unwrap();
    assert_eq!((report.debuginfo_files, report.problems, report.garbage), (1, vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_and_kinds_of_files_do_not_know_each_other() {
    let running = Running::start().await;
    let instructions = initiate(&running, BUILD, 0).await.unwrap();
    upload(&running, &instructions, b"file").await.unwrap();
    let request = ShouldInitiateUploadRequest { build_id: BUILD.to_owned(), ..Default::default() };
    let mut of_another = Request::new(request.clone());
    of_another.metadata_mut().insert("x-scope-orgid", "team-a".parse().unwrap());
    let of_sources = ShouldInitiateUploadRequest { r#type: DebuginfoType::Sources.into(), ..request.clone() };
    let forced = ShouldInitiateUploadRequest { force: true, ..request.clone() };
    for (request, expected) in [
        (of_another, true),
        (Request::new(of_sources), true),
        (Request::new(forced), true),
        (Request::new(request), false),
    ] {
        let answer = client(&running).should_initiate_upload(request).await.unwrap().into_inner();
        assert_eq!(answer.should_initiate_upload, expected, "{answer:?}");
    }
    let over_connect = running
        .post(
            "/parca.debuginfo.v1alpha1.DebuginfoService/ShouldInitiateUpload",
            &[("content-type", "application/json")],
            format!(r#"{{"buildId": "{BUILD}", "type": "DEBUGINFO_TYPE_EXECUTABLE"}}"#),
        )
        .await;
    assert!(over_connect.text().contains(r#""shouldInitiateUpload":true"#), "{over_connect:?}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_upload_takes_the_place_of_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start_in(folder.path()).await;
    let mut ids = Vec::new();
    for (text, force) in [(b"first", false), (b"again", true)] {
        let build_id = BUILD.to_owned();
        let request = InitiateUploadRequest { build_id, size: 5, force, ..InitiateUploadRequest::default() };
        let answer = client(&running).initiate_upload(request).await.unwrap().into_inner();
        let instructions = answer.upload_instructions.unwrap();
        upload(&running, &instructions, text).await.unwrap();
        ids.push(instructions.upload_id);
    }
    let below = folder.path().join("anonymous/debuginfo").join(BUILD).join("debuginfo");
    assert_eq!(files(&below), [ids[1].clone(), "uploaded".to_owned()]);
    assert_eq!(std::fs::read(below.join(&ids[1])).unwrap(), b"again");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upload_leaves_nothing_and_may_begin_again() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start_in(folder.path()).await;
    // the client goes away in the middle of a file of several parts
    let instructions = initiate(&running, BUILD, 0).await.unwrap();
    let chunks = (0..20).flat_map(|_| framed(&chunk(&[7; 1 << 20])));
    let body: Vec<u8> = framed(&info(&instructions)).into_iter().chain(chunks).collect();
    let head = format!(
        "POST /parca.debuginfo.v1alpha1.DebuginfoService/Upload HTTP/1.1\r\nhost: test\r\nte: trailers\r\n\
         content-type: application/grpc\r\ncontent-length: {}\r\n\r\n",
        body.len() + 1
    );
    let mut connection = TcpStream::connect(running.addr).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(&body).await.unwrap();
    assert_eq!(should(&running, BUILD).await.unwrap(), (false, IN_PROGRESS.to_owned()));
    drop(connection);
    until_wanted(&running, BUILD).await;
    // less and more than was announced
    for sent in [b"123".as_slice(), b"12345"] {
        let instructions = initiate(&running, BUILD, 4).await.unwrap();
        let answer = upload(&running, &instructions, sent).await;
        assert_refused(answer, Code::InvalidArgument, "as was announced [announced=4");
        until_wanted(&running, BUILD).await;
        assert_refused(mark(&running, &instructions).await, Code::NotFound, "no such upload");
        assert_refused(upload(&running, &instructions, b"1234").await, Code::FailedPrecondition, "no such upload");
    }
    assert_eq!(files(&folder.path().join("anonymous")), Vec::<String>::new());
    let instructions = initiate(&running, BUILD, 4).await.unwrap();
    assert_eq!(upload(&running, &instructions, b"1234").await.unwrap().size, 4);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_over_the_limit_is_refused_for_good() {
    let config = ServerConfig { debuginfo_bytes_max: 1000, ..config() };
    let running = Running::start_configured(config).await;
    const LIMIT: &str = "over the limit debuginfo_bytes_max [limit=1000";
    assert_refused(initiate(&running, BUILD, 1001).await, Code::InvalidArgument, LIMIT);
    assert_refused(initiate(&running, BUILD, -1).await, Code::InvalidArgument, "the size is negative");
    let instructions = initiate(&running, BUILD, 0).await.unwrap();
    assert_refused(upload(&running, &instructions, &[0; 1001]).await, Code::InvalidArgument, LIMIT);
    until_wanted(&running, BUILD).await;
    let instructions = initiate(&running, BUILD, 1000).await.unwrap();
    assert_eq!(upload(&running, &instructions, &[0; 1000]).await.unwrap().size, 1000);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_a_wrong_order_is_refused() {
    let running = Running::start().await;
    let never = UploadInstructions {
        build_id: BUILD.to_owned(),
        upload_id: "0199f1d4a2c07c3e9b1f2a3b4c5d6e7f".to_owned(),
        ..UploadInstructions::default()
    };
    assert_refused(upload(&running, &never, b"file").await, Code::FailedPrecondition, "no such upload");
    assert_refused(mark(&running, &never).await, Code::NotFound, "no such upload");
    let wrong = UploadInstructions { upload_id: "../uploaded".to_owned(), ..never.clone() };
    assert_refused(upload(&running, &wrong, b"file").await, Code::InvalidArgument, "an upload id is");
    assert_refused(mark(&running, &wrong).await, Code::InvalidArgument, "an upload id is");
    assert_refused(send(&running, vec![]).await, Code::InvalidArgument, "the first message");
    assert_refused(send(&running, vec![chunk(b"file")]).await, Code::InvalidArgument, "the first message");
    let instructions = initiate(&running, BUILD, 0).await.unwrap();
    assert_refused(send(&running, vec![info(&instructions)]).await, Code::InvalidArgument, "the file is empty");
    until_wanted(&running, BUILD).await;
    let instructions = initiate(&running, BUILD, 0).await.unwrap();
    let twice = vec![info(&instructions), chunk(b"file"), info(&instructions)];
    assert_refused(send(&running, twice).await, Code::InvalidArgument, "a later message");
    until_wanted(&running, BUILD).await;
    // the upload of one build is none of another
    let instructions = initiate(&running, BUILD, 0).await.unwrap();
    let other = UploadInstructions { build_id: "aa".to_owned(), ..instructions.clone() };
    assert_refused(upload(&running, &other, b"file").await, Code::FailedPrecondition, "no such upload");
    let unknown = UploadInstructions { r#type: 9, ..instructions.clone() };
    assert_refused(upload(&running, &unknown, b"file").await, Code::InvalidArgument, "the type of debug information");
    // a message of a kind that a later protocol may have
    let messages = vec![info(&instructions), UploadRequest { data: None }, chunk(b"file")];
    assert_eq!(send(&running, messages).await.unwrap().size, 4);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_build_id_leaves_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let running = Running::start_in(&store).await;
    let odd =
        ["../../../escaped", "..", "/etc/passwd", "a/b", "a\\b", "%2e%2e", "\u{0}", "é", "DFBB", "uploaded", "x61"];
    let go = "RNsdvNVsqxDiYqvLRYbb/dZhKsjjlx7eL1WTbPJzT/7tgR4P2uDmKJYZmLpTe/O1wmKvfbN0gz0d8pX2K_";
    for build_id in odd.into_iter().chain([go]) {
        let instructions = initiate(&running, build_id, 4).await.unwrap();
        assert_eq!(instructions.build_id, build_id);
        upload(&running, &instructions, b"file").await.unwrap();
        mark(&running, &instructions).await.unwrap();
        assert!(!should(&running, build_id).await.unwrap().0, "{build_id}");
    }
    for build_id in ["", &"a".repeat(121)] {
        assert_refused(should(&running, build_id).await, Code::InvalidArgument, "a build id has 1 to 120 bytes");
        assert_refused(initiate(&running, build_id, 4).await, Code::InvalidArgument, "a build id has 1 to 120 bytes");
    }
    let long = InitiateUploadRequest { build_id: "aa".to_owned(), hash: "f".repeat(300), ..Default::default() };
    assert_refused(client(&running).initiate_upload(long).await, Code::InvalidArgument, "the hash is too long");
    let files = files(folder.path());
    let ours = files.iter().filter(|file| file.starts_with("store/anonymous/debuginfo/x"));
    assert_eq!(ours.count(), 2 * (odd.len() + 1));
    let outside = files.iter().filter(|file| !file.starts_with("store/"));
    assert_eq!(outside.collect::<Vec<_>>(), Vec::<&String>::new());
    let bucket = running.store.options().bucket.clone();
    running.stop().await.unwrap();
    assert_eq!(check(&bucket).await.unwrap().debuginfo_files, odd.len() as u64 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_servers_one_takes_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Folder(folder.path().to_owned());
    let clock = Arc::new(ManualClock::new(NOON));
    let servers = [start_at(&url, "a", &clock).await, start_at(&url, "b", &clock).await];
    for number in 0..10 {
        let build_id = format!("{number:02x}");
        let begun = tokio::join!(
            initiate(&servers[0], &build_id, 4),
            initiate(&servers[1], &build_id, 4),
            initiate(&servers[0], &build_id, 4)
        );
        let (begun, refused): (Vec<_>, Vec<_>) = [begun.0, begun.1, begun.2].into_iter().partition(Result::is_ok);
        assert_eq!((begun.len(), refused.len()), (1, 2), "{begun:?} {refused:?}");
        for refused in refused {
            assert_refused(refused, Code::FailedPrecondition, IN_PROGRESS);
        }
        // the chunks may go to the other server
        let instructions = begun.into_iter().next().unwrap().unwrap();
        upload(&servers[1], &instructions, b"file").await.unwrap();
        for server in &servers {
            mark(server, &instructions).await.unwrap();
            assert!(!should(server, &build_id).await.unwrap().0);
        }
    }
    for server in servers {
        server.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_at_a_server_that_was_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start_in(folder.path()).await;
    let instructions = initiate(&running, BUILD, 4).await.unwrap();
    running.stop().await.unwrap();
    let running = Running::start_in(folder.path()).await;
    assert_eq!(should(&running, BUILD).await.unwrap(), (false, IN_PROGRESS.to_owned()));
    upload(&running, &instructions, b"file").await.unwrap();
    running.stop().await.unwrap();
    let running = Running::start_in(folder.path()).await;
    mark(&running, &instructions).await.unwrap();
    assert!(!should(&running, BUILD).await.unwrap().0);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_stale_is_begun_anew() {
    let clock = Arc::new(ManualClock::new(NOON));
    let running = start_at(&StoreUrl::Memory, "a", &clock).await;
    let slow = initiate(&running, BUILD, 4).await.unwrap();
    clock.advance(UPLOAD_TIME_MAX);
    let (wanted, reason) = should(&running, BUILD).await.unwrap();
    assert!(wanted && reason.contains("did not end in its time"), "{reason}");
    assert_refused(upload(&running, &slow, b"file").await, Code::FailedPrecondition, "stale");
    let fresh = initiate(&running, BUILD, 4).await.unwrap();
    upload(&running, &fresh, b"file").await.unwrap();
    mark(&running, &fresh).await.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_takes_so_many_uploads_at_a_time() {
    let running = Running::start_configured(ServerConfig { debuginfo_uploads_max: 1, ..config() }).await;
    let (first, second) = (initiate(&running, "aa", 0).await.unwrap(), initiate(&running, "bb", 0).await.unwrap());
    let (sender, receiver) = mpsc::channel(1);
    let mut debuginfo = client(&running);
    let call = tokio::spawn(async move { debuginfo.upload(ReceiverStream::new(receiver)).await });
    sender.send(info(&first)).await.unwrap();
    // more than a connection holds that nobody reads: the server has it in hand
    for _ in 0..20 {
        sender.send(chunk(&[7; 1 << 20])).await.unwrap();
    }
    let full = upload(&running, &second, b"file").await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted, "{full:?}");
    assert!(full.message().contains("debuginfo_uploads_max=1"), "{full:?}");
    assert_eq!(full.metadata().get("retry-after").unwrap(), "5");
    // nobody has to wait for the one that was refused; nor for one that would be
    assert!(should(&running, "bb").await.unwrap().0);
    assert_refused(initiate(&running, "bb", 0).await, Code::ResourceExhausted, "debuginfo_uploads_max");
    // the same upload once more does not end the one that is under way
    assert_refused(upload(&running, &first, b"file").await, Code::ResourceExhausted, "debuginfo_uploads_max");
    assert_eq!(should(&running, "aa").await.unwrap(), (false, IN_PROGRESS.to_owned()));
    sender.send(chunk(b"file")).await.unwrap();
    drop(sender);
    assert_eq!(call.await.unwrap().unwrap().into_inner().size, 4 + (20 << 20));
    assert_refused(upload(&running, &second, b"file").await, Code::FailedPrecondition, "no such upload");
    let second = initiate(&running, "bb", 0).await.unwrap();
    assert_eq!(upload(&running, &second, b"file").await.unwrap().size, 4);
    running.stop().await.unwrap();
}
