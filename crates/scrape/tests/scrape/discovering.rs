//! Targets that others name: files and an HTTP server.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use parking_lot::Mutex;

use crate::harness::{Endpoint, ONLY_MEMORY, Scraping, heap, jobs, options};

fn target() -> Router {
    Router::new().route("/debug/pprof/allocs", get(async || heap(1, &[("main", 1)])))
}

#[tokio::test]
async fn targets_follow_a_file() {
    let endpoint = Endpoint::start(target()).await;
    let folder = tempfile::tempdir().unwrap();
    let write = |text: String| std::fs::write(folder.path().join("shop.yml"), text).unwrap();
    write(format!("- targets: ['{}']\n  labels: {{env: dev, __meta_team: a}}\n", endpoint.addr));
    let config = format!(
        "[[scrape]]\njob_name='shop'\nscrape_interval='100ms'\n{ONLY_MEMORY}\nfile_sd_configs=[{{files=['{}/*.yml'],refresh_interval='100ms'}}]\nrelabel_configs=[{{source_labels=['__meta_team'],target_label='team'}}]",
        folder.path().display()
    );
    let mut scraping = Scraping::start(&config);
    let profile = scraping.next().await;
    assert_eq!((profile.labels.get("env"), profile.labels.get("team")), (Some("dev"), Some("a")));
    write(format!("- targets: ['{}']\n  labels: {{env: prod}}\n", endpoint.addr));
    scraping.next_with("env", "prod").await;
    write("no list".to_owned());
    let page = scraping.page_with(|page| page["discovery"][0]["lastError"].is_string()).await;
    assert_eq!(page["activeTargets"].as_array().unwrap().len(), 1);
    write("[]".to_owned());
    scraping.page_with(|page| page["activeTargets"].as_array().unwrap().is_empty()).await;
}

#[tokio::test]
async fn targets_follow_a_server_that_names_them() {
    let endpoint = Endpoint::start(target()).await;
    let named = Arc::new(Mutex::new(Ok(format!(r#"[{{"targets":["{}"],"labels":{{"env":"dev"}}}}]"#, endpoint.addr))));
    let answer = Arc::clone(&named);
    let answer = async move || -> Result<String, StatusCode> { answer.lock().clone() };
    let directory = Endpoint::start(Router::new().route("/targets", get(answer))).await;
    let config = format!(
        "[[scrape]]\njob_name='shop'\nscrape_interval='100ms'\n{ONLY_MEMORY}\nhttp_sd_configs=[{{url='http://{}/targets?token=hush',refresh_interval='100ms'}}]",
        directory.addr
    );
    let mut scraping = Scraping::start(&config);
    assert_eq!(scraping.next().await.labels.get("env"), Some("dev"));
    for wrong in [Err(StatusCode::BAD_GATEWAY), Ok("{".to_owned()), Ok(r#"[{"targets":"x"}]"#.to_owned())] {
        *named.lock() = wrong;
        let page = scraping.page_with(|page| page["discovery"][0]["lastError"].is_string()).await;
        // what was named before is still scraped, and what may be secret is not shown
        assert_eq!(page["activeTargets"].as_array().unwrap().len(), 1);
        assert!(!page.to_string().contains("hush"), "{page:#}");
        *named.lock() = Ok(format!(r#"[{{"targets":["{}"]}}]"#, endpoint.addr));
        scraping.page_with(|page| page["discovery"].as_array().unwrap().is_empty()).await;
    }
    *named.lock() = Ok("[]".to_owned());
    scraping.page_with(|page| page["activeTargets"].as_array().unwrap().is_empty()).await;
}

#[tokio::test]
async fn what_cannot_be_a_target_is_shown_with_its_reason() {
    let config = "[[scrape]]\njob_name='a'\nstatic_configs=[{targets=['u@h','dropped:1']}]\nrelabel_configs=[{source_labels=['__address__'],regex='dropped.*',action='drop'}]";
    let scraping = Scraping::start(config);
    let page = scraping.page_with(|page| page["wrongTargets"].as_array().unwrap().len() == 5).await;
    assert_eq!(page["droppedTargetCount"], 5);
    assert_eq!(page["wrongTargets"][0]["error"], r#"an address is a host, or a host and a port [__address__="u@h"]"#);
    assert_eq!(page["wrongTargets"][0]["discoveredLabels"]["__address__"], "u@h");
}

#[test]
fn settings_without_sense_are_refused_with_the_job() {
    struct Nowhere;
    #[async_trait::async_trait]
    impl flamestore_scrape::Sink for Nowhere {
        async fn push(&self, _: flamestore_scrape::ScrapedProfile) -> flamestore_model::Result<()> {
            Ok(())
        }
    }
    let refused = |config: &str| {
        let made = flamestore_scrape::Scraper::new(&jobs(config), options(), Arc::new(Nowhere));
        made.unwrap_err().to_string()
    };
    let one = "[[scrape]]\njob_name='a'\n";
    assert_eq!(refused(&[one, one].concat()), "two scrape jobs have one name [job_name=\"a\"]");
    let url = refused(&format!("{one}http_sd_configs=[{{url='ftp://h'}}]"));
    assert_eq!(url, "http_sd_configs: a URL starts with http:// or https:// [url=\"ftp://h\", job_name=\"a\"]");
    let api = refused(&format!("{one}kubernetes_sd_configs=[{{api_server='http://h',kubeconfig_file='/f'}}]"));
    assert!(api.contains("exclude each other") && api.contains("job_name=\"a\""), "{api}");
    let pem = refused(&format!("{one}tls_config={{ca_file='/nowhere/ca.pem'}}"));
    assert!(pem.contains("tls_config: a file cannot be read [file=/nowhere/ca.pem, job_name=\"a\"]"), "{pem}");
    let half = refused(&format!("{one}tls_config={{cert_file='/c'}}"));
    assert!(half.contains("cert_file and key_file belong together"), "{half}");
    let rule = refused(&format!("{one}relabel_configs=[{{regex='('}}]"));
    assert!(rule.contains("relabelling: "), "{rule}");
}
