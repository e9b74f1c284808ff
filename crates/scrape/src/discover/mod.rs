//! Discovery: who is there to be scraped.
//!
//! ```text
//! static ─┐
//! files  ─┤ every refresh_interval          Discovered: label sets by job, provider and source
//! HTTP   ─┼──────────────────────────▶       │ changed
//! pods   ─┘ list, then watch                 ▼
//!                                     relabelling (scraper)
//! ```
//!
//! Each provider runs as one task and puts what it finds into [`Discovered`]. What it cannot reach or read now stays as it
//! was, and the error is shown. All sources together hold at most `targets_max` label sets; what would be more is refused and
//! shown as an error of its provider.

mod annotations;
mod file;
mod http;
mod kubernetes;
mod pod;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flamestore_model::{Error, Result};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::config::{Credentials, ScrapeConfig};
use crate::relabel::LabelMap;

/// One provider of one job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Provider {
    job: usize,
    /// Where it stands among those of its job: two of one kind and one place are two.
    number: usize,
    /// What it is, for people.
    name: String,
}

/// What all providers have found.
#[derive(Debug)]
pub(crate) struct Discovered {
    inner: Mutex<Inner>,
    changed: Notify,
    targets_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    sources: BTreeMap<Provider, BTreeMap<String, Vec<Arc<LabelMap>>>>,
    found: usize,
    errors: BTreeMap<Provider, String>,
    changed_jobs: BTreeSet<usize>,
}

impl Discovered {
    /// Nothing found yet; at most `targets_max` label sets will be kept.
    pub(crate) fn new(targets_max: usize) -> Self {
        Self { inner: Mutex::default(), changed: Notify::new(), targets_max }
    }

    /// Completes when something has changed since the last [`Self::take_changed`].
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The jobs whose targets have changed, with all that was found for each.
    pub(crate) fn take_changed(&self) -> Vec<(usize, Vec<Arc<LabelMap>>)> {
        let mut inner = self.inner.lock();
        let jobs = std::mem::take(&mut inner.changed_jobs);
        let of_job = |job: usize| {
            let providers = inner.sources.iter().filter(|(provider, _)| provider.job == job);
            providers.flat_map(|(_, sources)| sources.values().flatten().cloned()).collect()
        };
        jobs.into_iter().map(|job| (job, of_job(job))).collect()
    }

    /// What providers last failed at: job, provider and error.
    pub(crate) fn errors(&self) -> Vec<(usize, String, String)> {
        let inner = self.inner.lock();
        let shown = |(provider, error): (&Provider, &String)| (provider.job, provider.name.clone(), error.clone());
        inner.errors.iter().map(shown).collect()
    }

    /// Sets what `source` of `provider` names.
    fn set(&self, provider: &Provider, source: &str, targets: Vec<LabelMap>) -> Result<()> {
        let targets: Vec<Arc<LabelMap>> = targets.into_iter().map(Arc::new).collect();
        let mut inner = self.inner.lock();
        let sources = inner.sources.entry(provider.clone()).or_default();
        let before = sources.get(source);
        if before.is_none_or(Vec::is_empty) && targets.is_empty() || before == Some(&targets) {
            return Ok(());
        }
        let before = before.map_or(0, Vec::len);
        let found = inner.found - before + targets.len();
        if found > self.targets_max {
            return Err(Error::exhausted("discovery: there are more targets than targets_max allows")
                .with("limit", self.targets_max)
                .with("found", found));
        }
        inner.found = found;
        inner.changed_jobs.insert(provider.job);
        inner.sources.entry(provider.clone()).or_default().insert(source.to_owned(), targets);
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// Forgets the sources of `provider` that `keep` does not want.
    fn retain(&self, provider: &Provider, keep: impl Fn(&str) -> bool) {
        let mut inner = self.inner.lock();
        let Some(sources) = inner.sources.get_mut(provider) else { return };
        let mut gone = 0;
        sources.retain(|source, targets| {
            let stays = keep(source);
            gone += if stays { 0 } else { targets.len() };
            stays
        });
        if gone > 0 {
            inner.found -= gone;
            inner.changed_jobs.insert(provider.job);
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// Notes what `provider` failed at, or that it did not. A failure that is new is logged.
    fn report(&self, provider: &Provider, error: Option<&Error>) {
        let mut inner = self.inner.lock();
        match error {
            None => {
                inner.errors.remove(provider);
            }
            Some(error) => {
                let text = error.to_string();
                if inner.errors.get(provider) != Some(&text) {
                    tracing::warn!(discovery = provider.name, %error, "targets cannot be found");
                    inner.errors.insert(provider.clone(), text);
                }
            }
        }
    }
}

/// The providers of job number `job`, not running yet.
pub(crate) struct Providers {
    files: Vec<(Provider, file::Files)>,
    http: Vec<(Provider, http::Http)>,
    pods: Vec<(Provider, kubernetes::Pods)>,
}

impl Providers {
    /// The providers of `config`; what is static is found at once.
    ///
    /// # Errors
    /// `Invalid` for a setting that makes no sense, `Exhausted` for too many static targets.
    pub(crate) fn new(job: usize, config: &ScrapeConfig, discovered: &Discovered) -> Result<Self> {
        let mut number = 0;
        let mut provider = |name: String| {
            number += 1;
            Provider { job, number, name }
        };
        for group in &config.static_configs {
            let provider = provider("static_configs".to_owned());
            discovered.set(&provider, "", group.clone().label_sets(None).collect())?;
        }
        let mut providers = Self { files: Vec::new(), http: Vec::new(), pods: Vec::new() };
        for config in &config.file_sd_configs {
            let name = format!("file_sd_configs {}", config.files.join(" "));
            providers.files.push((provider(name), file::Files::new(config)?));
        }
        for config in &config.http_sd_configs {
            let credentials = Credentials::new(
                config.basic_auth.as_ref(),
                config.bearer_token.as_ref(),
                config.bearer_token_file.as_ref(),
            )?;
            let client = Client::new(credentials, &config.tls_config, true)?;
            let http = http::Http::new(config, client)?;
            providers.http.push((provider(format!("http_sd_configs {}", http.place())), http));
        }
        for config in &config.kubernetes_sd_configs {
            for pods in kubernetes::Pods::all(config)? {
                providers.pods.push((provider(format!("kubernetes_sd_configs {}", pods.place())), pods));
            }
        }
        Ok(providers)
    }

    /// Runs them until `tasks` is dropped.
    pub(crate) fn spawn(self, discovered: &Arc<Discovered>, tasks: &mut JoinSet<()>) {
        for (provider, files) in self.files {
            tasks.spawn(files.run(provider, Arc::clone(discovered)));
        }
        for (provider, http) in self.http {
            tasks.spawn(http.run(provider, Arc::clone(discovered)));
        }
        for (provider, pods) in self.pods {
            tasks.spawn(pods.run(provider, Arc::clone(discovered)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(count: usize) -> Vec<LabelMap> {
        (0..count).map(|n| LabelMap::from([("__address__".to_owned(), format!("h{n}"))])).collect()
    }

    #[test]
    fn what_is_over_the_limit_is_refused_and_the_former_stays() {
        let discovered = Discovered::new(3);
        let provider = |job| Provider { job, number: 1, name: "test".to_owned() };
        discovered.set(&provider(0), "a", labels(2)).unwrap();
        let error = discovered.set(&provider(1), "b", labels(2)).unwrap_err();
        assert_eq!(error.to_string(), "discovery: there are more targets than targets_max allows [limit=3, found=4]");
        assert_eq!(
            discovered.take_changed().iter().map(|(job, found)| (*job, found.len())).collect::<Vec<_>>(),
            [(0, 2)]
        );
        discovered.set(&provider(0), "a", labels(1)).unwrap();
        discovered.set(&provider(1), "b", labels(2)).unwrap();
        assert_eq!(discovered.take_changed().len(), 2);
        discovered.set(&provider(1), "b", labels(2)).unwrap();
        assert!(discovered.take_changed().is_empty());
        discovered.retain(&provider(1), |source| source != "b");
        discovered.set(&provider(0), "a", labels(3)).unwrap();
        assert_eq!(discovered.take_changed().iter().map(|(_, found)| found.len()).collect::<Vec<_>>(), [3, 0]);
    }

    #[test]
    fn an_error_is_shown_until_it_is_over() {
        let discovered = Discovered::new(3);
        let provider = Provider { job: 4, number: 1, name: "test".to_owned() };
        discovered.report(&provider, Some(&Error::unavailable("away")));
        assert_eq!(discovered.errors(), [(4, "test".to_owned(), "away".to_owned())]);
        discovered.report(&provider, None);
        assert!(discovered.errors().is_empty());
    }
}
