//! Targets named by an HTTP server: asked every `refresh_interval`.
//!
//! The answer is JSON, a list of `{targets, labels}`, of at most 16 MiB. When there is none, the targets stay as they were.

use std::sync::Arc;
use std::time::Duration;

use flamestore_model::{Error, Result};
use tokio::time::MissedTickBehavior;
use url::Url;

use super::{Discovered, Provider};
use crate::client::{Client, body};
use crate::config::{HttpSdConfig, TargetGroup};
use crate::relabel::LabelMap;

const BODY_BYTES_MAX: usize = 16 << 20;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// One server that names targets.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    url: Url,
    refresh_interval: Duration,
}

impl Http {
    /// The server of `config`.
    ///
    /// # Errors
    /// `Invalid` when its URL is none of HTTP.
    pub(super) fn new(config: &HttpSdConfig, client: Client) -> Result<Self> {
        let wrong = || {
            Error::invalid("http_sd_configs: a URL starts with http:// or https://")
                .with("url", format!("{:?}", config.url))
        };
        let url = Url::parse(&config.url).map_err(|e| wrong().because(e))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong());
        }
        Ok(Self { client, url, refresh_interval: config.refresh_interval.0 })
    }

    /// The URL without what may be secret in it.
    pub(super) fn place(&self) -> String {
        format!("{}{}", self.url.origin().ascii_serialization(), self.url.path())
    }

    pub(super) async fn run(self, provider: Provider, discovered: Arc<Discovered>) {
        let mut ticks = tokio::time::interval(self.refresh_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let late = |_| Err(Error::unavailable("http_sd_configs: there is no answer in time"));
            let asked = tokio::time::timeout(ANSWER_TIMEOUT, self.ask()).await.unwrap_or_else(late);
            let set = asked.and_then(|targets| discovered.set(&provider, "", targets));
            discovered.report(&provider, set.err().as_ref());
        }
    }

    async fn ask(&self) -> Result<Vec<LabelMap>> {
        let response = self.client.get(&self.url, "application/json").await?;
        let body = body(response, BODY_BYTES_MAX).await?;
        let groups: Vec<TargetGroup> = serde_json::from_slice(&body).map_err(|e| {
            Error::invalid("http_sd_configs: the answer is not a list of targets and labels").because(e)
        })?;
        let meta = self.place();
        Ok(groups.into_iter().flat_map(|group| group.label_sets(Some(("__meta_url", &meta)))).collect())
    }
}
