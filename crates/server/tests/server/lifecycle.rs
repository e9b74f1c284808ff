//! From bind to the last flush.

use std::sync::Arc;
use std::time::Duration;

use flamestore_model::ErrorKind;
use flamestore_proto::v1;
use flamestore_query::{Engine, QueryOptions};
use flamestore_server::{Server, ServerConfig};
use flamestore_testkit::profile;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::harness::{CPU, NOON, Running, config, ended, merge_folded, raw};

fn good() -> v1::RawProfile {
    v1::RawProfile { time_unix_nano: Some(NOON), ..raw(&[("service_name", "api")], &profile("main;read 3")) }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_writes_what_the_head_holds() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start_in(folder.path()).await;
    let id = running.push(good()).await;
    running.stop().await.unwrap();

    let running = Running::start_in(folder.path()).await;
    assert_eq!(merge_folded(&running, CPU).await, "main;read 3\n");
    let get = v1::GetProfileRequest { id: id.to_string() };
    assert!(running.query().get_profile(get).await.is_ok());
    running.stop().await.unwrap();
}

/// A running push stream: its first profile is stored, its end is the caller's to tell.
pub(crate) async fn stream(
    running: &Running,
) -> (mpsc::Sender<v1::PushRequest>, tokio::task::JoinHandle<Result<u64, Code>>) {
    let (sender, receiver) = mpsc::channel(1);
    let mut client = running.ingest();
    let streaming = tokio::spawn(async move {
        let answer = client.push_stream(ReceiverStream::new(receiver)).await;
        answer.map(|answer| answer.into_inner().accepted).map_err(|error| error.code())
    });
    sender.send(v1::PushRequest { profiles: vec![good()] }).await.unwrap();
    while running.store.head_status().profiles == 0 {
        tokio::task::yield_now().await;
    }
    (sender, streaming)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_request_may_end_after_the_listener_closed() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start_in(folder.path()).await;
    let addr = running.addr;
    let (sender, streaming) = stream(&running).await;
    let serving = running.shut_down();
    while TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!serving.is_finished());
    let later = v1::RawProfile { time_unix_nano: Some(NOON + 1), ..good() };
    sender.send(v1::PushRequest { profiles: vec![later] }).await.unwrap();
    drop(sender);
    assert_eq!(streaming.await.unwrap(), Ok(2));
    ended(serving).await.unwrap();

    let running = Running::start_in(folder.path()).await;
    assert_eq!(merge_folded(&running, CPU).await, "main;read 6\n");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_end_is_ended() {
    let running =
        Running::start_configured(ServerConfig { shutdown_drain: Duration::from_millis(20), ..config() }).await;
    let (sender, streaming) = stream(&running).await;
    ended(running.shut_down()).await.unwrap();
    assert_eq!(streaming.await.unwrap(), Err(Code::Unavailable));
    drop(sender);
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_ends_before_the_listener_closes() {
    let grace = ServerConfig { shutdown_grace: Duration::from_secs(3), ..config() };
    let running = Running::start_configured(grace).await;
    let (addr, store, channel) = (running.addr, Arc::clone(&running.store), running.channel.clone());
    let serving = running.shut_down();
    let asking = Running::attach(addr, store, channel);
    loop {
        let answer = asking.get("/ready").await;
        if answer.starts_with("HTTP/1.1 503") {
            break;
        }
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    ended(serving).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_or_a_wrong_setting_is_named() {
    let running = Running::start().await;
    let engine = Arc::new(Engine::new(Arc::clone(&running.store), QueryOptions::default()).unwrap());
    let bind = async |config| Server::bind(config, Arc::clone(&running.store), Arc::clone(&engine)).await.unwrap_err();
    let error = bind(ServerConfig { listen: running.addr, ..config() }).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(&running.addr.to_string()), "{error}");
    let error = bind(ServerConfig { requests_max: 0, ..config() }).await;
    assert_eq!(error.kind(), ErrorKind::Invalid);
    running.stop().await.unwrap();
}
