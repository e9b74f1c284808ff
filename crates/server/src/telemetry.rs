//! The metrics of the process, as Prometheus reads them.
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `flamestore_requests_total` | counter | `method`, `code` |
//! | `flamestore_request_seconds` | histogram | `method`, `code` |
//! | `flamestore_requests_running` | gauge | |
//! | `flamestore_push_profiles_total` | counter | `outcome`: a kind of error, or `accepted` |
//! | `flamestore_push_bytes_total` | counter | |
//! | `flamestore_dropped_requests_total` | counter | `signal`: `logs` or `traces`, which are taken and not kept |
//! | `flamestore_dropped_bytes_total` | counter | `signal` |
//! | `flamestore_agent_panics_total` | counter | |
//! | `flamestore_debuginfo_uploads_total` | counter | `code` |
//! | `flamestore_debuginfo_bytes_total` | counter | |
//!
//! `method` is a path, or `other` for one that is not known; `code` a gRPC code's name for methods of the API, whatever
//! protocol they are called in, and an HTTP status for everything else.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub(crate) const REQUESTS_TOTAL: &str = "flamestore_requests_total";
pub(crate) const REQUEST_SECONDS: &str = "flamestore_request_seconds";
pub(crate) const REQUESTS_RUNNING: &str = "flamestore_requests_running";
pub(crate) const PUSH_PROFILES_TOTAL: &str = "flamestore_push_profiles_total";
pub(crate) const PUSH_BYTES_TOTAL: &str = "flamestore_push_bytes_total";
pub(crate) const DROPPED_REQUESTS_TOTAL: &str = "flamestore_dropped_requests_total";
pub(crate) const DROPPED_BYTES_TOTAL: &str = "flamestore_dropped_bytes_total";
pub(crate) const AGENT_PANICS_TOTAL: &str = "flamestore_agent_panics_total";
pub(crate) const DEBUGINFO_UPLOADS_TOTAL: &str = "flamestore_debuginfo_uploads_total";
pub(crate) const DEBUGINFO_BYTES_TOTAL: &str = "flamestore_debuginfo_bytes_total";

const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// The metrics of this process. The first caller installs the recorder; where somebody else installed another one, what
/// is rendered here stays empty.
pub(crate) fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(install).clone()
}

fn install() -> PrometheusHandle {
    let builder = PrometheusBuilder::new();
    // fails for an empty list of buckets only
    let builder = builder
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .unwrap_or_else(|_| PrometheusBuilder::new());
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("another metrics recorder is installed: GET /metrics stays empty");
    }
    describe();
    handle
}

fn describe() {
    metrics::describe_counter!(REQUESTS_TOTAL, "Requests answered, by method and code.");
    metrics::describe_histogram!(REQUEST_SECONDS, "Time from a request's head to the end of its answer.");
    metrics::describe_gauge!(REQUESTS_RUNNING, "Requests that hold a place among requests_max.");
    metrics::describe_counter!(PUSH_PROFILES_TOTAL, "Profiles pushed, by outcome.");
    metrics::describe_counter!(PUSH_BYTES_TOTAL, "Bytes of pushed profiles as sent.");
    metrics::describe_counter!(DROPPED_REQUESTS_TOTAL, "Requests of logs and traces that were taken and not kept.");
    metrics::describe_counter!(DROPPED_BYTES_TOTAL, "Bytes of logs and traces that were taken and not kept.");
    metrics::describe_counter!(AGENT_PANICS_TOTAL, "Panics that Parca's agents reported.");
    metrics::describe_counter!(DEBUGINFO_UPLOADS_TOTAL, "Uploads of debug information, by code.");
    metrics::describe_counter!(DEBUGINFO_BYTES_TOTAL, "Bytes of debug information that was taken.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_servers_of_a_process_share_one_recorder() {
        let (first, second) = (metrics(), metrics());
        metrics::counter!(REQUESTS_TOTAL, "method" => "test", "code" => "OK").increment(1);
        metrics::histogram!(REQUEST_SECONDS, "method" => "test", "code" => "OK").record(0.002);
        for rendered in [first.render(), second.render()] {
            assert!(rendered.contains(r#"flamestore_requests_total{method="test",code="OK"} 1"#), "{rendered}");
            let bucket = r#"flamestore_request_seconds_bucket{method="test",code="OK",le="0.0025"} 1"#;
            assert!(rendered.contains(bucket), "{rendered}");
        }
    }
}
