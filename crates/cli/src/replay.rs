//! `replay`: sends requests again that were captured from a profiler, byte for byte.
//!
//! A captured request is two files: `NAME.json` with path and headers, `NAME.body` with the bytes. What belongs to the
//! connection it came over (host, length, connection) is not sent again; everything else is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use crate::client::Remote;
use crate::failure::{Failure, Outcome};
use crate::output::{self, note};

/// Headers that say how a request travelled, not what it is.
const OF_THE_CONNECTION: [&str; 7] =
    ["accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "transfer-encoding"];
/// The most bytes of an answer that are told.
const TOLD_BYTES_MAX: usize = 400;

/// Sends captured requests to a server again. Prints the status and the file of each; a request that is not answered with a
/// status of 2xx is told with the answer, and makes the exit code 1.
#[derive(Args, Debug)]
pub(crate) struct Replay {
    /// The requests: JSON of `path`, `headers` and, unless it is POST, `method`; the body lies in the same place, ending in
    /// .body instead of .json.
    #[arg(required = true, value_name = "FILE.json")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

/// The head of a captured request.
#[derive(Debug, Deserialize)]
struct Captured {
    #[serde(default = "post")]
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

impl Replay {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let client = self.remote.http()?;
        let mut refused = 0;
        for file in &self.files {
            if !self.replay(&client, file).await? {
                refused += 1;
            }
        }
        if refused == 0 {
            return Ok(());
        }
        note(&format!("{refused} of {} requests were refused", self.files.len()));
        Err(Failure::told())
    }

    /// Whether the request in `file` was answered with a status of 2xx.
    async fn replay(&self, client: &reqwest::Client, file: &Path) -> Outcome<bool> {
        let of_file = |e: String| Failure::new(format!("{}: {e}", file.display()));
        let captured = Captured::read(file).map_err(of_file)?;
        let body = std::fs::read(file.with_extension("body")).map_err(|e| of_file(format!("its .body: {e}")))?;
        let method = Method::from_bytes(captured.method.as_bytes()).map_err(|e| of_file(e.to_string()))?;
        let url = format!("{}{}", self.remote.address()?.trim_end_matches('/'), captured.path);
        let headers = captured.headers(self.remote.tenant.as_ref().map(|tenant| tenant.as_str())).map_err(of_file)?;
        let sent = client.request(method, &url).headers(headers).body(body).send().await;
        let answer = sent.map_err(|e| Failure::new(format!("cannot reach {url}: {}", cause(&e))))?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        tell(file, status, &text)?;
        Ok(status.is_success())
    }
}

impl Captured {
    fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
        let captured: Self = serde_json::from_str(&text).map_err(|e| format!("not a captured request: {e}"))?;
        match captured.path.starts_with('/') {
            true => Ok(captured),
            false => Err(format!("the path does not start with '/': {:?}", captured.path)),
        }
    }

    fn headers(&self, tenant: Option<&str>) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::try_from(name).map_err(|e| format!("header {name:?}: {e}"))?;
            if name == "content-type" && value.starts_with("application/grpc") {
                return Err("a gRPC call, whose status plain HTTP does not show, cannot be replayed".to_owned());
            }
            if !OF_THE_CONNECTION.contains(&name.as_str()) {
                let value = HeaderValue::try_from(value).map_err(|e| format!("header {name}: {e}"))?;
                headers.insert(name, value);
            }
        }
        if let Some(tenant) = tenant {
            let value = HeaderValue::try_from(tenant).map_err(|e| format!("--tenant: {e}"))?;
            headers.insert("x-scope-orgid", value);
        }
        Ok(headers)
    }
}

fn post() -> String {
    "POST".to_owned()
}

fn tell(file: &Path, status: StatusCode, answer: &str) -> Outcome {
    if status.is_success() {
        return output::print(&format!("{}  {}\n", status.as_u16(), file.display()));
    }
    let told: String = answer.trim().chars().take(TOLD_BYTES_MAX).collect();
    note(&format!("refused: {}: {status}: {told}", file.display()));
    Ok(())
}

/// What an error comes from in the end.
fn cause(error: &dyn std::error::Error) -> String {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        reason = error.to_string();
        source = error.source();
    }
    reason
}
