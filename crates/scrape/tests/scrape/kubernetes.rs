//! Pods of a Kubernetes API: a server that lists in pages and watches as the real one does, in its JSON.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::channel::mpsc;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::harness::{Endpoint, ONLY_MEMORY, Scraping, heap, options};

/// What the API knows and was asked.
#[derive(Default)]
struct Cluster {
    pods: Vec<Value>,
    version: u64,
    /// The stream of the watch that is open.
    watch: Option<mpsc::UnboundedSender<Result<String, std::io::Error>>>,
    asked: Vec<String>,
    tokens: Vec<String>,
    /// The next watch is answered with "too old".
    has_forgotten: bool,
}

#[derive(Clone, Default)]
struct Api(Arc<Mutex<Cluster>>);

impl Api {
    fn router(&self) -> Router {
        let api = self.clone();
        let answer = async move |uri: Uri, headers: HeaderMap| api.answer(&uri, &headers);
        Router::new().route("/api/v1/pods", get(answer.clone())).route("/api/v1/namespaces/{name}/pods", get(answer))
    }

    fn answer(&self, uri: &Uri, headers: &HeaderMap) -> Response {
        let mut cluster = self.0.lock();
        let token = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        cluster.tokens.extend(token);
        cluster.asked.push(uri.to_string());
        let url = url::Url::parse(&format!("http://api{uri}")).unwrap();
        let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        if query.get("watch").is_some_and(|watch| watch == "true" || watch == "1") {
            return cluster.open_watch();
        }
        let limit: usize = query.get("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
        let from: usize = query.get("continue").map_or(0, |from| from.parse().unwrap());
        cluster.list(from, limit.min(2))
    }

    /// Adds a pod, or changes the one of its name.
    fn apply(&self, pod: Value) {
        let cluster = &mut *self.0.lock();
        let pod = cluster.stamp(pod);
        let name = |pod: &Value| pod["metadata"]["name"].clone();
        let known = cluster.pods.iter_mut().find(|known| name(known) == name(&pod));
        let kind = if known.is_some() { "MODIFIED" } else { "ADDED" };
        match known {
            Some(known) => *known = pod.clone(),
            None => cluster.pods.push(pod.clone()),
        }
        cluster.tell(&json!({"type": kind, "object": pod}));
    }

    fn delete(&self, name: &str) {
        let cluster = &mut *self.0.lock();
        let at = cluster.pods.iter().position(|pod| pod["metadata"]["name"] == name).unwrap();
        let pod = cluster.pods.remove(at);
        let pod = cluster.stamp(pod);
        cluster.tell(&json!({"type": "DELETED", "object": pod}));
    }

    /// Ends the watch, and answers the next one with "too old", as after a long break.
    fn forget(&self) {
        let mut cluster = self.0.lock();
        cluster.has_forgotten = true;
        cluster.watch = None;
    }
}

impl Cluster {
    fn stamp(&mut self, mut pod: Value) -> Value {
        self.version += 1;
        pod["metadata"]["resourceVersion"] = json!(self.version.to_string());
        pod
    }

    fn tell(&self, event: &Value) {
        if let Some(watch) = &self.watch {
            watch.unbounded_send(Ok(format!("{event}\n"))).unwrap();
        }
    }

    fn open_watch(&mut self) -> Response {
        if std::mem::take(&mut self.has_forgotten) {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Expired",
                "message": "too old resource version: 1 (7)", "code": 410,
            });
            return format!("{}\n", json!({"type": "ERROR", "object": status})).into_response();
        }
        let (sender, lines) = mpsc::unbounded();
        let bookmark =
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": self.version.to_string()}});
        sender.unbounded_send(Ok(format!("{}\n", json!({"type": "BOOKMARK", "object": bookmark})))).unwrap();
        self.watch = Some(sender);
        ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response()
    }

    fn list(&self, from: usize, limit: usize) -> Response {
        let page = self.pods.iter().skip(from).take(limit).cloned().collect::<Vec<_>>();
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if from + page.len() < self.pods.len() {
            metadata["continue"] = json!((from + page.len()).to_string());
        }
        let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": page});
        ([(header::CONTENT_TYPE, "application/json")], list.to_string()).into_response()
    }
}

/// A running pod at 127.0.0.1 with a port of `addr`.
fn pod(name: &str, addr: SocketAddr, annotations: &[(&str, &str)]) -> Value {
    let annotations: BTreeMap<&str, &str> = annotations.iter().copied().collect();
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name, "labels": {"app": "api"}, "annotations": annotations},
        "spec": {"nodeName": "n1", "containers": [
            {"name": "api", "image": "api:1", "ports": [{"name": "pprof", "containerPort": addr.port(), "protocol": "TCP"}]},
        ]},
        "status": {"phase": "Running", "podIP": "127.0.0.1", "hostIP": "10.0.0.9"},
    })
}

fn target() -> Router {
    Router::new().route("/debug/pprof/allocs", get(async || heap(1, &[("main", 1)])))
}

fn config(api: SocketAddr, settings: &str, rules: &str) -> String {
    format!(
        "[[scrape]]\njob_name='pods'\nscrape_interval='100ms'\n{ONLY_MEMORY}\nkubernetes_sd_configs=[{{role='pod',api_server='http://{api}'{settings}}}]\nrelabel_configs=[{rules}]"
    )
}

fn pods(page: &Value) -> Vec<String> {
    let targets = page["activeTargets"].as_array().unwrap();
    let mut pods: Vec<String> =
        targets.iter().map(|target| target["labels"]["pod"].as_str().unwrap().to_owned()).collect();
    pods.sort();
    pods
}

#[tokio::test]
async fn pods_are_scraped_as_their_annotations_say_while_they_come_and_go() {
    let endpoint = Endpoint::start(target()).await;
    let port = endpoint.addr.port().to_string();
    let scraped = [
        ("pyroscope.io/scrape", "true"),
        ("pyroscope.io/port", port.as_str()),
        ("pyroscope.io/profile-mem-enabled", "true"),
    ];
    let alloy = [("profiles.grafana.com/memory.scrape", "true"), ("profiles.grafana.com/memory.port_name", "pprof")];
    let api = Api::default();
    api.apply(pod("a", endpoint.addr, &[&scraped[..], &[("pyroscope.io/application-name", "shop.api")]].concat()));
    api.apply(pod("b", endpoint.addr, &alloy));
    api.apply(pod("other", endpoint.addr, &[("pyroscope.io/scrape", "false")]));
    let server = Endpoint::start(api.router()).await;
    let mut scraping = Scraping::start(&config(server.addr, "", ""));

    let a = scraping.next_with("pod", "a").await;
    let address = endpoint.addr.to_string();
    let expected = format!(
        r#"{{__name__="memory", container="api", instance="{address}", job="pods", namespace="shop", pod="a", service_name="shop.api"}}"#
    );
    assert_eq!(a.labels.to_string(), expected);
    assert_eq!(scraping.next_with("pod", "b").await.labels.get("service_name"), Some("shop/api"));
    assert_eq!(pods(&scraping.page()), ["a", "b"]);

    api.apply(pod("c", endpoint.addr, &scraped));
    scraping.next_with("pod", "c").await;
    api.delete("a");
    scraping.page_with(|page| pods(page) == ["b", "c"]).await;
    let mut done = pod("b", endpoint.addr, &alloy);
    done["status"]["phase"] = json!("Succeeded");
    api.apply(done);
    scraping.page_with(|page| pods(page) == ["c"]).await;
    api.apply(pod("c", endpoint.addr, &[]));
    scraping.page_with(|page| pods(page).is_empty()).await;
}

#[tokio::test]
async fn a_watch_that_breaks_goes_on_and_one_that_is_too_old_lists_anew() {
    let endpoint = Endpoint::start(target()).await;
    let port = endpoint.addr.port().to_string();
    let scraped = [("pyroscope.io/scrape", "true"), ("pyroscope.io/port", port.as_str())];
    let api = Api::default();
    api.apply(pod("a", endpoint.addr, &scraped));
    let server = Endpoint::start(api.router()).await;
    let scraping = Scraping::start(&config(server.addr, "", ""));
    scraping.page_with(|page| pods(page) == ["a"]).await;
    while api.0.lock().watch.is_none() {
        tokio::task::yield_now().await;
    }
    api.forget();
    // what happens while nobody watches is seen in the next list
    api.apply(pod("b", endpoint.addr, &scraped));
    api.delete("a");
    scraping.page_with(|page| pods(page) == ["b"]).await;
    scraping.page_with(|page| page["discovery"].as_array().unwrap().is_empty()).await;
    let lists = api.0.lock().asked.iter().filter(|uri| !uri.contains("watch=")).count();
    assert!(lists >= 2, "{lists}");
}

#[tokio::test]
async fn without_annotations_relabelling_chooses_among_all_ports() {
    let endpoint = Endpoint::start(target()).await;
    let api = Api::default();
    (0..5).for_each(|n| api.apply(pod(&format!("p{n}"), endpoint.addr, &[("keep", if n < 3 { "yes" } else { "no" })])));
    let server = Endpoint::start(api.router()).await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "let me in").unwrap();
    let settings = format!(
        ",annotations=false,bearer_token_file='{}',namespaces={{names=['shop']}},selectors=[{{role='pod',label='app=api',field='spec.nodeName=n1'}}]",
        token.display()
    );
    let rules = "{source_labels=['__meta_kubernetes_pod_annotation_keep'],regex='yes',action='keep'},{source_labels=['__meta_kubernetes_pod_name'],target_label='pod'}";
    let scraping = Scraping::start(&config(server.addr, &settings, rules));
    let page = scraping.page_with(|page| pods(page) == ["p0", "p1", "p2"]).await;
    assert_eq!(page["droppedTargetCount"], 2);
    let cluster = api.0.lock();
    assert!(cluster.asked[0].starts_with("/api/v1/namespaces/shop/pods?"), "{:?}", cluster.asked);
    assert!(
        cluster.asked[0].contains("labelSelector=app%3Dapi")
            && cluster.asked[0].contains("fieldSelector=spec.nodeName%3Dn1")
    );
    // two a page
    assert!(cluster.asked.iter().any(|uri| uri.contains("continue=4")), "{:?}", cluster.asked);
    assert!(cluster.tokens.iter().all(|token| token == "Bearer let me in") && !cluster.tokens.is_empty());
}

#[tokio::test]
async fn pods_that_are_too_many_are_left_out_and_that_stays_shown() {
    let endpoint = Endpoint::start(target()).await;
    let port = endpoint.addr.port().to_string();
    let scraped = [("pyroscope.io/scrape", "true"), ("pyroscope.io/port", port.as_str())];
    let api = Api::default();
    ["a", "b", "c"].iter().for_each(|name| api.apply(pod(name, endpoint.addr, &scraped)));
    let server = Endpoint::start(api.router()).await;
    let options = flamestore_scrape::ScrapeOptions { targets_max: 2, ..options() };
    let scraping = Scraping::start_with(&config(server.addr, "", ""), options);
    let is_short = |page: &Value| page["discovery"][0]["lastError"].to_string().contains("targets_max");
    scraping.page_with(|page| pods(page) == ["a", "b"] && is_short(page)).await;
    while api.0.lock().watch.is_none() {
        tokio::task::yield_now().await;
    }
    api.delete("a");
    scraping.page_with(|page| pods(page) == ["b"]).await;
    assert!(is_short(&scraping.page()));
    api.forget();
    scraping.page_with(|page| pods(page) == ["b", "c"] && !is_short(page)).await;
}

#[tokio::test]
async fn an_api_that_refuses_is_shown() {
    let denied = async || {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Forbidden",
            "message": "pods is forbidden: User \"x\" cannot list resource \"pods\"", "code": 403,
        });
        (StatusCode::FORBIDDEN, status.to_string())
    };
    let server = Endpoint::start(Router::new().fallback(denied)).await;
    let scraping = Scraping::start(&config(server.addr, "", ""));
    let page = scraping.page_with(|page| page["discovery"][0]["lastError"].is_string()).await;
    let said = page["discovery"][0].to_string();
    assert!(said.contains("pods is forbidden") && said.contains("kubernetes_sd_configs all namespaces"), "{said}");
}
