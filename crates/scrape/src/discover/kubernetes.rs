//! Pods of a Kubernetes cluster: listed, then watched.
//!
//! The `kube` crate lists in pages, watches, goes on after a broken connection where it was, and lists anew when the API has
//! forgotten where that is. While a list is read, the targets stay as they were. Errors are shown and tried again with growing
//! delays.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use flamestore_model::{Error, ErrorKind, Result};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Config};

use super::{Discovered, Provider, annotations, pod};
use crate::config::{KubernetesSdConfig, KubernetesSelector};
use crate::relabel::LabelMap;

const PAGE_PODS: u32 = 200;
/// How long until another try when there is no way to the API, or no configuration of one.
const RETRY_DELAY: std::time::Duration = std::time::Duration::from_secs(30);

/// The pods of one namespace, or of all.
#[derive(Clone, Debug)]
pub(super) struct Pods {
    access: Access,
    /// `None` for all.
    namespace: Option<Namespace>,
    selector: KubernetesSelector,
    by_annotations: bool,
}

#[derive(Clone, Debug)]
enum Namespace {
    Named(String),
    Own,
}

/// How the API is reached.
#[derive(Clone, Debug)]
enum Access {
    Inferred,
    Kubeconfig(PathBuf),
    Server { url: String, token_file: Option<PathBuf>, ca_file: Option<PathBuf> },
}

impl Pods {
    /// The pods of `config`: one for each namespace that it names.
    ///
    /// # Errors
    /// `Invalid` for settings that make no sense.
    pub(super) fn all(config: &KubernetesSdConfig) -> Result<Vec<Self>> {
        let selector = match &config.selectors[..] {
            [] => KubernetesSelector::default(),
            [selector] => selector.clone(),
            _ => return Err(Error::invalid("kubernetes_sd_configs: there is one selector of pods at most")),
        };
        let access = Access::new(config)?;
        let one = |namespace| Self {
            access: access.clone(),
            namespace,
            selector: selector.clone(),
            by_annotations: config.annotations,
        };
        let named = config.namespaces.names.iter().cloned().map(Namespace::Named);
        let all: Vec<Self> = named
            .chain(config.namespaces.own_namespace.then_some(Namespace::Own))
            .map(|namespace| one(Some(namespace)))
            .collect();
        Ok(if all.is_empty() { vec![one(None)] } else { all })
    }

    /// Where it looks, for people.
    pub(super) fn place(&self) -> &str {
        match &self.namespace {
            None => "all namespaces",
            Some(Namespace::Own) => "own namespace",
            Some(Namespace::Named(name)) => name,
        }
    }

    pub(super) async fn run(self, provider: Provider, discovered: Arc<Discovered>) {
        loop {
            match self.api().await {
                Ok(api) => self.watch(api, &provider, &discovered).await,
                Err(error) => discovered.report(&provider, Some(&error)),
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    async fn api(&self) -> Result<Api<Pod>> {
        let client = self.access.client().await?;
        Ok(match &self.namespace {
            None => Api::all(client),
            Some(Namespace::Own) => Api::default_namespaced(client),
            Some(Namespace::Named(name)) => Api::namespaced(client, name),
        })
    }

    async fn watch(&self, api: Api<Pod>, provider: &Provider, discovered: &Discovered) {
        let mut config = watcher::Config::default().page_size(PAGE_PODS);
        config.label_selector.clone_from(&self.selector.label);
        config.field_selector.clone_from(&self.selector.field);
        let mut events = pin!(watch(api, config).default_backoff());
        let mut listed = BTreeMap::new();
        // whether some of the pods are left out, until a list has room for all
        let mut is_short = false;
        while let Some(event) = events.next().await {
            let is_whole = matches!(event, Ok(Event::InitDone));
            let taken = match event {
                Ok(event) => self.take(event, &mut listed, provider, discovered),
                Err(error) => Err(failed(&error)),
            };
            let error = taken.err();
            is_short = match &error {
                Some(error) => is_short || error.kind() == ErrorKind::Exhausted,
                None => is_short && !is_whole,
            };
            if error.is_some() || !is_short {
                discovered.report(provider, error.as_ref());
            }
        }
    }

    /// Takes an event in; `listed` are the pods of a list that is not read to its end.
    fn take(
        &self,
        event: Event<Pod>,
        listed: &mut BTreeMap<String, Vec<LabelMap>>,
        provider: &Provider,
        discovered: &Discovered,
    ) -> Result<()> {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(pod) => {
                let targets = self.label_sets(&pod);
                if !targets.is_empty() {
                    listed.insert(source(&pod), targets);
                }
            }
            Event::InitDone => {
                let listed = std::mem::take(listed);
                discovered.retain(provider, |source| listed.contains_key(source));
                return listed.into_iter().try_for_each(|(source, targets)| discovered.set(provider, &source, targets));
            }
            Event::Apply(pod) => match self.label_sets(&pod) {
                none if none.is_empty() => discovered.retain(provider, |other| other != source(&pod)),
                targets => return discovered.set(provider, &source(&pod), targets),
            },
            Event::Delete(pod) => discovered.retain(provider, |other| other != source(&pod)),
        }
        Ok(())
    }

    fn label_sets(&self, pod: &Pod) -> Vec<LabelMap> {
        if self.by_annotations { annotations::label_sets(pod) } else { pod::label_sets(pod) }
    }
}

/// The name of a pod among the sources of its provider.
fn source(pod: &Pod) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", part(&pod.metadata.namespace), part(&pod.metadata.name))
}

impl Access {
    fn new(config: &KubernetesSdConfig) -> Result<Self> {
        let files = (config.bearer_token_file.clone(), config.ca_file.clone());
        match (&config.api_server, &config.kubeconfig_file, files) {
            (Some(_), Some(_), _) => {
                Err(Error::invalid("kubernetes_sd_configs: api_server and kubeconfig_file exclude each other"))
            }
            (Some(url), None, (token_file, ca_file)) => {
                url::Url::parse(url).map_err(|e| wrong_url(url, e))?;
                Ok(Self::Server { url: url.clone(), token_file, ca_file })
            }
            (None, file, (None, None)) => Ok(file.clone().map_or(Self::Inferred, Self::Kubeconfig)),
            (None, _, _) => {
                Err(Error::invalid("kubernetes_sd_configs: bearer_token_file and ca_file are for an api_server"))
            }
        }
    }

    async fn client(&self) -> Result<Client> {
        let config = match self {
            Self::Inferred => Config::infer().await.map_err(|e| unreachable(&e))?,
            Self::Kubeconfig(path) => {
                let file = Kubeconfig::read_from(path).map_err(|e| unreachable(&e))?;
                let options = KubeConfigOptions::default();
                Config::from_custom_kubeconfig(file, &options).await.map_err(|e| unreachable(&e))?
            }
            Self::Server { url, token_file, ca_file } => {
                let mut config = Config::new(url.parse().map_err(|e| wrong_url(url, e))?);
                config.auth_info.token_file = token_file.as_ref().map(|path| path.to_string_lossy().into_owned());
                config.root_cert_file.clone_from(ca_file);
                config
            }
        };
        Client::try_from(config).map_err(|e| unreachable(&e))
    }
}

fn wrong_url(url: &str, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::invalid("kubernetes_sd_configs: api_server is no URL").with("api_server", format!("{url:?}")).because(cause)
}

fn unreachable(cause: &dyn std::error::Error) -> Error {
    Error::unavailable("kubernetes_sd_configs: there is no way to the API").because(chain(cause))
}

fn failed(cause: &watcher::Error) -> Error {
    Error::unavailable("kubernetes_sd_configs: pods cannot be watched").because(chain(cause))
}

/// An error with its causes, those that its own text has left out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}
