//! What a scrape job is told, in the words of Prometheus and Grafana Alloy.
//!
//! ```toml
//! [[scrape]]
//! job_name = "shop"
//! scrape_interval = "15s"
//! static_configs = [{ targets = ["127.0.0.1:6060"], labels = { env = "dev" } }]
//! ```
//!
//! An unknown field is an error. Secrets are never printed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use flamestore_model::{Error, Result};
use serde::Deserialize;

use crate::profiles::ProfilingConfig;
use crate::relabel::{LabelMap, RelabelConfig};

/// A job: what is scraped, how often, and what the profiles are called.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScrapeConfig {
    /// The job's name: label `job`, and the service of targets that name none.
    pub job_name: String,
    /// The tenant that the profiles belong to.
    pub tenant: Option<String>,
    /// How often each profile of each target is scraped.
    pub scrape_interval: Lasting,
    /// How long a scrape may take, the seconds of a profile not counted; at most the interval. Without it 10 s, or the interval.
    pub scrape_timeout: Option<Lasting>,
    /// Over how long profiles are taken that are taken over some time. Without it, a second less than the interval.
    pub delta_profiling_duration: Option<Lasting>,
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Parameters of every request.
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether redirects are followed; at most ten are.
    pub follow_redirects: bool,
    /// The most bytes a target may answer with, as sent.
    pub body_bytes_max: usize,
    /// A user's name and password.
    pub basic_auth: Option<BasicAuth>,
    /// A bearer token.
    pub bearer_token: Option<Secret>,
    /// A file that holds a bearer token; read for each request.
    pub bearer_token_file: Option<PathBuf>,
    /// How targets and this client prove who they are.
    pub tls_config: TlsConfig,
    /// Which profiles.
    pub profiling_config: ProfilingConfig,
    /// Targets that are always there.
    pub static_configs: Vec<TargetGroup>,
    /// Targets named in files.
    pub file_sd_configs: Vec<FileSdConfig>,
    /// Targets named by an HTTP server.
    pub http_sd_configs: Vec<HttpSdConfig>,
    /// Targets that are pods.
    pub kubernetes_sd_configs: Vec<KubernetesSdConfig>,
    /// What is done to the labels of what was found, for each of its profiles.
    pub relabel_configs: Vec<RelabelConfig>,
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        Self {
            job_name: String::new(),
            tenant: None,
            scrape_interval: Lasting(Duration::from_secs(15)),
            scrape_timeout: None,
            delta_profiling_duration: None,
            scheme: Scheme::Http,
            params: BTreeMap::new(),
            follow_redirects: true,
            body_bytes_max: 16 << 20,
            basic_auth: None,
            bearer_token: None,
            bearer_token_file: None,
            tls_config: TlsConfig::default(),
            profiling_config: ProfilingConfig::default(),
            static_configs: Vec::new(),
            file_sd_configs: Vec::new(),
            http_sd_configs: Vec::new(),
            kubernetes_sd_configs: Vec::new(),
            relabel_configs: Vec::new(),
        }
    }
}

impl ScrapeConfig {
    /// How long a scrape may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.scrape_timeout.map_or(Duration::from_secs(10).min(self.scrape_interval.0), |timeout| timeout.0)
    }

    /// Over how many seconds profiles are taken.
    pub(crate) fn delta_seconds(&self) -> u64 {
        let default = self.scrape_interval.0.saturating_sub(Duration::from_secs(1)).max(Duration::from_secs(1));
        self.delta_profiling_duration.map_or(default, |lasting| lasting.0).as_secs()
    }

    /// Checks what the types do not say.
    ///
    /// # Errors
    /// `Invalid`, naming the setting.
    pub(crate) fn check(&self) -> Result<()> {
        if self.job_name.is_empty() {
            return Err(Error::invalid("a scrape job needs a job_name"));
        }
        check_times(self.scrape_interval.0, self.timeout())?;
        if self.body_bytes_max == 0 {
            return Err(Error::invalid("body_bytes_max must be at least 1"));
        }
        let refresh = self.file_sd_configs.iter().map(|config| config.refresh_interval);
        let refresh = refresh.chain(self.http_sd_configs.iter().map(|config| config.refresh_interval));
        if let Some(wrong) = refresh.into_iter().find(|interval| interval.0 < INTERVAL_MIN) {
            return Err(Error::invalid("refresh_interval must be at least 100ms").with("refresh_interval", wrong));
        }
        Ok(())
    }

    /// How requests to targets say who they are.
    pub(crate) fn credentials(&self) -> Result<Credentials> {
        Credentials::new(self.basic_auth.as_ref(), self.bearer_token.as_ref(), self.bearer_token_file.as_ref())
    }
}

/// The shortest interval of anything.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Checks an interval and the time a scrape may take.
///
/// # Errors
/// `Invalid`, naming both.
pub(crate) fn check_times(interval: Duration, timeout: Duration) -> Result<()> {
    let wrong = |text: &str| {
        let error = Error::invalid(text).with("scrape_interval", humantime::format_duration(interval));
        Err(error.with("scrape_timeout", humantime::format_duration(timeout)))
    };
    match () {
        () if interval < INTERVAL_MIN => wrong("scrape_interval must be at least 100ms"),
        () if timeout.is_zero() => wrong("scrape_timeout must not be 0"),
        () if timeout > interval => wrong("scrape_timeout must not be longer than scrape_interval"),
        () => Ok(()),
    }
}

/// `http` or `https`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Without TLS.
    #[default]
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Targets with the labels that they share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TargetGroup {
    /// Addresses: a host, or a host and a port.
    pub targets: Vec<String>,
    /// Labels of all of them.
    pub labels: BTreeMap<String, String>,
}

impl TargetGroup {
    /// The label set of each target; `meta` goes with each.
    pub(crate) fn label_sets(self, meta: Option<(&str, &str)>) -> impl Iterator<Item = LabelMap> {
        let meta = meta.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.targets.into_iter().map(move |address| {
            let mut labels = self.labels.clone();
            labels.insert(ADDRESS.to_owned(), address);
            labels.extend(meta.clone());
            labels.retain(|_, value| !value.is_empty());
            labels
        })
    }
}

/// The label that holds a target's host and port.
pub(crate) const ADDRESS: &str = "__address__";

/// Files that name targets: JSON or YAML, a list of `{targets, labels}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSdConfig {
    /// Paths of `.json`, `.yml` and `.yaml` files; `*` stands for any name.
    pub files: Vec<String>,
    /// How often they are read.
    #[serde(default = "half_a_minute")]
    pub refresh_interval: Lasting,
}

/// An address that answers with targets: JSON, a list of `{targets, labels}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSdConfig {
    /// Where they are asked for.
    pub url: String,
    /// How often.
    #[serde(default = "a_minute")]
    pub refresh_interval: Lasting,
    /// A user's name and password.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// A bearer token.
    #[serde(default)]
    pub bearer_token: Option<Secret>,
    /// A file that holds a bearer token.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// How the server and this client prove who they are.
    #[serde(default)]
    pub tls_config: TlsConfig,
}

/// Pods as targets.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesSdConfig {
    /// What is looked for; pods only.
    pub role: KubernetesRole,
    /// Whether a pod's annotations say what is scraped of it. Without them every port of every pod is a target, for
    /// relabelling to choose from.
    pub annotations: bool,
    /// The API's address. Without it, it is found as `kubectl` finds it, and inside of a cluster by its environment.
    pub api_server: Option<String>,
    /// A kubeconfig file.
    pub kubeconfig_file: Option<PathBuf>,
    /// With `api_server`: a file that holds a bearer token.
    pub bearer_token_file: Option<PathBuf>,
    /// With `api_server`: a file of certificates that the API's is checked with.
    pub ca_file: Option<PathBuf>,
    /// Where pods are looked for.
    pub namespaces: Namespaces,
    /// Which pods.
    pub selectors: Vec<KubernetesSelector>,
}

impl Default for KubernetesSdConfig {
    fn default() -> Self {
        Self {
            role: KubernetesRole::Pod,
            annotations: true,
            api_server: None,
            kubeconfig_file: None,
            bearer_token_file: None,
            ca_file: None,
            namespaces: Namespaces::default(),
            selectors: Vec::new(),
        }
    }
}

/// What is looked for in Kubernetes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KubernetesRole {
    /// Pods.
    #[default]
    Pod,
}

/// Which namespaces; all of them where none is named.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Namespaces {
    /// By name.
    pub names: Vec<String>,
    /// The one that this process runs in, too.
    pub own_namespace: bool,
}

/// Which objects of a role.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesSelector {
    /// The role it is about.
    pub role: KubernetesRole,
    /// A label selector.
    pub label: Option<String>,
    /// A field selector.
    pub field: Option<String>,
}

/// A user's name and password.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Option<Secret>,
    /// A file that holds the password.
    pub password_file: Option<PathBuf>,
}

/// Certificates of TLS, as PEM files.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificates that the server's is checked with, besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// This client's certificate.
    pub cert_file: Option<PathBuf>,
    /// The key that belongs to it.
    pub key_file: Option<PathBuf>,
    /// Takes any certificate. Whoever is in between can then read and change everything.
    pub insecure_skip_verify: bool,
}

/// How requests say who sends them.
#[derive(Clone, Debug)]
pub(crate) enum Credentials {
    Nobody,
    Basic { username: String, password: Option<SecretSource> },
    Bearer(SecretSource),
}

/// A secret, or the file that holds it.
#[derive(Clone, Debug)]
pub(crate) enum SecretSource {
    Text(Secret),
    File(PathBuf),
}

impl Credentials {
    /// The credentials of these settings.
    ///
    /// # Errors
    /// `Invalid` when more than one is set.
    pub(crate) fn new(basic: Option<&BasicAuth>, token: Option<&Secret>, file: Option<&PathBuf>) -> Result<Self> {
        let bearer = SecretSource::new(token, file, "bearer_token")?;
        match (basic, bearer) {
            (Some(_), Some(_)) => Err(Error::invalid("basic_auth and a bearer token exclude each other")),
            (Some(basic), None) => {
                let password = SecretSource::new(basic.password.as_ref(), basic.password_file.as_ref(), "password")?;
                Ok(Self::Basic { username: basic.username.clone(), password })
            }
            (None, Some(bearer)) => Ok(Self::Bearer(bearer)),
            (None, None) => Ok(Self::Nobody),
        }
    }
}

impl SecretSource {
    fn new(text: Option<&Secret>, file: Option<&PathBuf>, name: &str) -> Result<Option<Self>> {
        match (text, file) {
            (Some(_), Some(_)) => Err(Error::invalid(format!("{name} and {name}_file exclude each other"))),
            (Some(text), None) => Ok(Some(Self::Text(text.clone()))),
            (None, Some(file)) => Ok(Some(Self::File(file.clone()))),
            (None, None) => Ok(None),
        }
    }
}

/// Text that is not printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// A duration, written as `15s` or `1m30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Lasting(pub Duration);

impl TryFrom<String> for Lasting {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        humantime::parse_duration(&text).map(Self).map_err(|e| format!("{text:?} is not a duration: {e}"))
    }
}

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", humantime::format_duration(self.0))
    }
}

fn half_a_minute() -> Lasting {
    Lasting(Duration::from_secs(30))
}

fn a_minute() -> Lasting {
    Lasting(Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ScrapeConfig, String> {
        toml::from_str(text).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn times_follow_the_interval_where_nothing_is_said() {
        let config = parse("job_name='a'").unwrap();
        assert_eq!((config.timeout(), config.delta_seconds()), (Duration::from_secs(10), 14));
        let config = parse("job_name='a'\nscrape_interval='1m'\ndelta_profiling_duration='7s'").unwrap();
        assert_eq!((config.timeout(), config.delta_seconds()), (Duration::from_secs(10), 7));
        let config = parse("job_name='a'\nscrape_interval='1s'").unwrap();
        assert_eq!((config.timeout(), config.delta_seconds()), (Duration::from_secs(1), 1));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, expected) in [
            ("scrape_interval='1s'", "a scrape job needs a job_name"),
            (
                "job_name='a'\nscrape_interval='1ms'",
                "scrape_interval must be at least 100ms [scrape_interval=1ms, scrape_timeout=1ms]",
            ),
            (
                "job_name='a'\nscrape_timeout='16s'",
                "scrape_timeout must not be longer than scrape_interval [scrape_interval=15s, scrape_timeout=16s]",
            ),
            (
                "job_name='a'\nscrape_timeout='0s'",
                "scrape_timeout must not be 0 [scrape_interval=15s, scrape_timeout=0s]",
            ),
            (
                "job_name='a'\nfile_sd_configs=[{files=[],refresh_interval='0s'}]",
                "refresh_interval must be at least 100ms [refresh_interval=0s]",
            ),
        ] {
            assert_eq!(parse(text).unwrap().check().unwrap_err().to_string(), expected);
        }
        assert!(parse("job='a'").unwrap_err().contains("unknown field `job`"));
        assert!(parse("scrape_interval='soon'").unwrap_err().contains("\"soon\" is not a duration"));
        assert!(parse("scheme='gopher'").unwrap_err().contains("unknown variant `gopher`"));
    }

    #[test]
    fn secrets_exclude_each_other_and_are_not_printed() {
        let config = parse("job_name='a'\nbearer_token='hush'\nbearer_token_file='/f'").unwrap();
        assert_eq!(
            config.credentials().unwrap_err().to_string(),
            "bearer_token and bearer_token_file exclude each other"
        );
        let config = parse("job_name='a'\nbearer_token='hush'\nbasic_auth={username='u'}").unwrap();
        assert!(config.credentials().is_err());
        assert!(!format!("{config:?} {:?}", Credentials::new(None, Some(&Secret::new("hush")), None)).contains("hush"));
    }
}
