//! Targets that answer wrongly: each says so on the targets page, and none costs more than the limits.

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use flamestore_formats::gzip;
use serde_json::Value;

use crate::harness::{Endpoint, Scraping, heap, job, job_every, options};

/// The error that the target at `path` ends in.
async fn error_of(router: Router, more: &str) -> String {
    let endpoint = Endpoint::start(router).await;
    let mut options = options();
    options.limits.decompressed_bytes_max = 1 << 20;
    let scraping = Scraping::start_with(&job_every("1s", endpoint.addr, more), options);
    let target = scraping.first_target().await;
    assert_eq!(target["health"], "down", "{target:#}");
    target["lastError"].as_str().unwrap().to_owned()
}

fn at_heap<H: axum::handler::Handler<T, ()>, T: 'static>(handler: H) -> Router {
    Router::new().route("/debug/pprof/allocs", get(handler))
}

#[tokio::test]
async fn an_answer_that_is_no_profile_is_an_error() {
    let html = error_of(at_heap(async || "<html>not found</html>"), "").await;
    assert!(html.starts_with("malformed protobuf: "), "{html}");
    let empty = error_of(Router::new(), "").await;
    assert_eq!(empty, "the answer is not 200 [status=404 Not Found]");
    let failed = error_of(at_heap(async || StatusCode::INTERNAL_SERVER_ERROR), "").await;
    assert_eq!(failed, "the answer is not 200 [status=500 Internal Server Error]");
    let cut = error_of(at_heap(async || heap(1, &[("main", 1)])[..30].to_vec()), "").await;
    assert!(cut.starts_with("gzip: "), "{cut}");
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_read() {
    let large = async || vec![7u8; 2000];
    let said = error_of(at_heap(large), "body_bytes_max=1000").await;
    assert_eq!(said, "the answer is over the limit body_bytes_max [limit=1000, found=2000]");
    // without a length, and without an end
    let endless = async || {
        let pieces = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![7u8; 700]));
        Response::new(Body::from_stream(pieces))
    };
    let said = error_of(at_heap(endless), "body_bytes_max=1000").await;
    assert!(said.starts_with("the answer is over the limit body_bytes_max [limit=1000, found="), "{said}");
    let bomb = gzip(&vec![0; 64 << 20]).unwrap();
    let said = error_of(at_heap(async move || bomb), "").await;
    assert_eq!(said, "the profile is over the limit decompressed_bytes_max [limit=1048576, found=67108864]");
    let packed = async || ([(header::CONTENT_ENCODING, "gzip")], gzip(&vec![0; 5000]).unwrap()).into_response();
    let said = error_of(at_heap(packed), "body_bytes_max=1000").await;
    assert_eq!(said, "the profile is over the limit decompressed_bytes_max [limit=1000, found=5000]");
}

#[tokio::test]
async fn a_target_that_does_not_answer_is_given_up() {
    let silent = async || std::future::pending::<String>().await;
    let said = error_of(at_heap(silent), "").await;
    assert_eq!(said, "the target does not answer in time [seconds=1]");
    let stuck = async || {
        let first = futures::stream::iter([Ok::<_, std::io::Error>(vec![0x1f, 0x8b])]);
        Response::new(Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending())))
    };
    let said = error_of(at_heap(stuck), "").await;
    assert_eq!(said, "the target does not answer in time [seconds=1]");
}

#[tokio::test]
async fn redirects_are_bounded_and_can_be_refused() {
    let around = Router::new().route("/debug/pprof/allocs", get(async || Redirect::temporary("/debug/pprof/allocs")));
    let said = error_of(around.clone(), "").await;
    assert!(said.contains("too many redirects"), "{said}");
    let said = error_of(around, "follow_redirects=false").await;
    assert_eq!(said, "the answer is not 200 [status=307 Temporary Redirect]");
    let there = at_heap(async || Redirect::temporary("/heap")).route("/heap", get(async || heap(1, &[("main", 1)])));
    let endpoint = Endpoint::start(there).await;
    let mut scraping = Scraping::start(&job(endpoint.addr, ""));
    scraping.next().await;
}

#[tokio::test]
async fn a_sink_that_refuses_is_told_of_and_asked_again() {
    struct Full;
    #[async_trait::async_trait]
    impl flamestore_scrape::Sink for Full {
        async fn push(&self, _: flamestore_scrape::ScrapedProfile) -> flamestore_model::Result<()> {
            Err(flamestore_model::Error::exhausted("the head is full"))
        }
    }
    let endpoint = Endpoint::start(at_heap(async || heap(1, &[("main", 1)]))).await;
    let (_sender, profiles) = tokio::sync::mpsc::channel(1);
    let scraping = Scraping::start_into(&job(endpoint.addr, ""), options(), std::sync::Arc::new(Full), profiles);
    let is_told = |page: &Value| {
        let target = &page["activeTargets"][0];
        target["scrapes"].as_u64() > Some(2) && target["lastError"] == "the head is full"
    };
    scraping.page_with(is_told).await;
}
