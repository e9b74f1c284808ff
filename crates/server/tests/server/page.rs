//! The web page: its files, how they are sent, and what they may ask for.

use flamestore_formats::{Limits, decompress};
use flamestore_server::{Role, ServerConfig};

use crate::harness::{Answer, Running, config, http_client};

async fn get(running: &Running, path: &str, headers: &[(&str, &str)]) -> Answer {
    running.ask(http_client(false), reqwest::Method::GET, path, headers, "").await
}

/// The addresses that a file of HTML refers to.
fn references(html: &str) -> Vec<String> {
    let after = ["src=\"", "href=\""].into_iter().flat_map(|name| html.split(name).skip(1));
    after.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_at_the_root_and_refers_to_files_beside_it() {
    let running = Running::start().await;
    let page = get(&running, "/", &[]).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), "no-cache");
    let references = references(&page.text());
    assert!(references.iter().any(|reference| reference.ends_with(".js")), "{references:?}");
    for reference in references {
        // below a prefix of a proxy, too
        let path = reference.strip_prefix('.').unwrap_or_else(|| panic!("{reference} is not relative"));
        let file = get(&running, path, &[]).await;
        assert_eq!(file.status, 200, "{path}");
        let expected = match path.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(file.header("content-type"), expected, "{path}");
        let is_kept = file.header("cache-control") == "public, max-age=31536000, immutable";
        assert_eq!(is_kept, path.starts_with("/assets/"), "{path}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_compressed_for_those_who_take_it_and_sent_once() {
    let running = Running::start().await;
    for file in flamestore_page::paths() {
        let path = format!("/{}", file.strip_prefix("index.html").unwrap_or(file));
        let plain = get(&running, &path, &[]).await;
        assert_eq!(plain.bytes, flamestore_page::asset(file).unwrap().bytes(), "{path}");
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), ("", "accept-encoding"));
        let gzip = get(&running, &path, &[("accept-encoding", "gzip, br")]).await;
        if gzip.header("content-encoding") == "gzip" {
            assert!(gzip.bytes.len() < plain.bytes.len(), "{path}");
            assert_eq!(decompress(gzip.bytes.clone(), &Limits::default()).unwrap(), plain.bytes, "{path}");
        } else {
            assert_eq!(gzip.bytes, plain.bytes, "{path}");
        }
        let tag = plain.header("etag");
        assert_eq!(gzip.header("etag"), tag);
        for known in [tag, &tag["W/".len()..], &format!("\"x\", {tag}"), "*"] {
            let again = get(&running, &path, &[("if-none-match", known)]).await;
            assert_eq!((again.status, again.bytes.len(), again.header("etag")), (304, 0, tag), "{path} {known}");
            assert_eq!(again.header("cache-control"), plain.header("cache-control"));
        }
        let other = get(&running, &path, &[("if-none-match", "W/\"0\"")]).await;
        assert_eq!((other.status, other.bytes.len()), (200, plain.bytes.len()));
        let head = running.ask(http_client(false), reqwest::Method::HEAD, &path, &[], "").await;
        assert_eq!((head.status, head.bytes.len(), head.header("etag")), (200, 0, tag));
        assert_eq!(head.header("content-length"), plain.bytes.len().to_string());
        assert_eq!(running.post(&path, &[], "").await.status, 405, "{path}");
    }
    assert_eq!(get(&running, "/assets/none.js", &[]).await.status, 404);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_may_ask_its_own_server_only() {
    let running = Running::start().await;
    for known in ["", "*"] {
        let page = get(&running, "/", &[("if-none-match", known)]).await;
        let policy = page.header("content-security-policy");
        let sources = policy.split(';').flat_map(|directive| directive.split_whitespace().skip(1));
        let allowed = ["'none'", "'self'", "'unsafe-inline'", "data:", "blob:"];
        assert!(sources.into_iter().all(|source| allowed.contains(&source)), "{policy}");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_comes_from_a_server_that_answers_nothing_else() {
    let running = Running::start_configured(ServerConfig { requests_max: 1, ..config() }).await;
    let stream = crate::lifecycle::stream(&running).await;
    assert_eq!(get(&running, "/label-values?label=service_name", &[]).await.status, 429);
    // for nobody in particular
    assert_eq!(get(&running, "/", &[("x-scope-orgid", "not/a/tenant")]).await.status, 200);
    let script = flamestore_page::paths().find(|path| path.ends_with(".js")).unwrap();
    assert_eq!(get(&running, &format!("/{script}"), &[]).await.status, 200);
    let metrics = running.get("/metrics").await;
    assert!(metrics.contains("flamestore_requests_total{method=\"/\",code=\"200\"}"), "{metrics}");
    assert!(!metrics.contains(script), "{metrics}");
    drop(stream);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_no_queries_has_no_page() {
    let running = Running::start_configured(ServerConfig { roles: vec![Role::Ingest], ..config() }).await;
    assert_eq!(get(&running, "/", &[]).await.status, 404);
    running.stop().await.unwrap();
}
