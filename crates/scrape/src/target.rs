//! From what discovery found to what is scraped: one target a profile, after relabelling.
//!
//! | label before relabelling | holds | is set by |
//! |---|---|---|
//! | `__address__` | host, or host and port | discovery |
//! | `__scheme__` | `http` or `https` | the job |
//! | `__profile_path__`, `__profile_path_prefix__` | where the profile lies | the profile |
//! | `__param_NAME` | a parameter of the request | the job's `params` |
//! | `__name__` | the name part of the profile types | the profile |
//! | `__scrape_interval__`, `__scrape_timeout__` | how often, how long | the job |
//! | `__profiles__` | names of profiles, with commas between; all that are enabled where it is absent | discovery |
//! | `__not_profiles__` | names of enabled profiles that are not wanted | discovery |
//! | `__meta_…` | whatever discovery knows | discovery |
//! | `job` | the job's name | the job |
//!
//! What discovery says goes before what is set here. After relabelling, labels that start with two underscores are gone but
//! `__name__`, and `instance` and `service_name` are there. Two targets with the same URL and labels are one.

use std::sync::Arc;
use std::time::Duration;

use flamestore_model::{Error, Labels, Result, Tenant, names};
use url::Url;
use xxhash_rust::xxh3::Xxh3;

use crate::client::Client;
use crate::config::{ADDRESS, Lasting, Scheme, ScrapeConfig, check_times};
use crate::profiles::{ProfileSpec, Window, specs};
use crate::relabel::{LabelMap, Rule, relabel, rules};
use crate::schedule::TargetKey;

/// The label that names the profiles of what was found.
pub(crate) const PROFILES: &str = "__profiles__";
/// The label that names profiles which are enabled and not wanted.
pub(crate) const NOT_PROFILES: &str = "__not_profiles__";
/// The label that holds the path of a profile.
pub(crate) const PROFILE_PATH: &str = "__profile_path__";
/// The label that holds the scheme of a target.
pub(crate) const SCHEME: &str = "__scheme__";
const PATH_PREFIX: &str = "__profile_path_prefix__";
const PARAM: &str = "__param_";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";

/// What bounds the labels of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelLimits {
    /// Labels of one target.
    pub labels_max: usize,
    /// Bytes of the name or the value of one of them.
    pub label_bytes_max: usize,
}

/// A job that was checked.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) tenant: Tenant,
    pub(crate) client: Client,
    pub(crate) body_bytes_max: usize,
    interval: Lasting,
    timeout: Lasting,
    scheme: Scheme,
    params: Vec<(String, Vec<String>)>,
    path_prefix: String,
    profiles: Vec<ProfileSpec>,
    rules: Vec<Rule>,
}

/// One profile of one thing that was found.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) job: usize,
    pub(crate) url: Url,
    /// Those of the profiles' series.
    pub(crate) labels: Labels,
    /// Those before relabelling.
    pub(crate) discovered: Arc<LabelMap>,
    pub(crate) interval: Duration,
    /// How long the scrape may take, the seconds of the profile included.
    pub(crate) deadline: Duration,
    pub(crate) window: Window,
}

/// What became of one profile of one thing that was found.
#[derive(Debug)]
pub(crate) enum Resolved {
    Active(Target),
    /// A rule dropped it.
    Dropped,
    /// It cannot be scraped.
    Wrong(Error),
}

impl Target {
    /// The name of the target: equal for equal jobs, URLs, labels and intervals.
    pub(crate) fn key(&self) -> TargetKey {
        let mut hash = Xxh3::new();
        let mut add = |part: &str| {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        };
        add(&self.job.to_string());
        add(&self.interval.as_nanos().to_string());
        add(self.url.as_str());
        for (name, value) in self.labels.iter() {
            add(name);
            add(value);
        }
        hash.digest128()
    }
}

impl Job {
    /// The job of `config`.
    ///
    /// # Errors
    /// `Invalid` for settings that make no sense, with the job's name; what the client's making says.
    pub(crate) fn new(config: &ScrapeConfig) -> Result<Self> {
        Self::checked(config).map_err(|e| e.with("job_name", format!("{:?}", config.job_name)))
    }

    fn checked(config: &ScrapeConfig) -> Result<Self> {
        config.check()?;
        let interval = config.scrape_interval;
        let profiles = specs(&config.profiling_config, config.delta_seconds())?;
        for spec in profiles.iter().filter(|spec| spec.is_enabled) {
            if let Window::Seconds(seconds) = spec.window
                && Duration::from_secs(seconds) > interval.0
            {
                return Err(Error::invalid("a profile must not be taken over more than scrape_interval")
                    .with("profile", &spec.name)
                    .with("seconds", seconds)
                    .with("scrape_interval", interval));
            }
        }
        Ok(Self {
            name: config.job_name.clone(),
            tenant: config.tenant.clone().map_or_else(|| Ok(Tenant::default()), Tenant::new)?,
            client: Client::new(config.credentials()?, &config.tls_config, config.follow_redirects)?,
            body_bytes_max: config.body_bytes_max,
            interval,
            timeout: Lasting(config.timeout()),
            scheme: config.scheme,
            params: config.params.clone().into_iter().collect(),
            path_prefix: config.profiling_config.path_prefix.clone(),
            profiles,
            rules: rules(&config.relabel_configs)?,
        })
    }

    /// The targets of one thing that was found for this job, which is number `job`.
    pub(crate) fn targets(&self, job: usize, discovered: &Arc<LabelMap>, limits: LabelLimits) -> Vec<Resolved> {
        let has = |label: &str, spec: &ProfileSpec| {
            discovered.get(label).map(|names| names.split(',').any(|name| name.trim() == spec.name))
        };
        let is_wanted = |spec: &&ProfileSpec| {
            has(PROFILES, spec).unwrap_or(spec.is_enabled) && !has(NOT_PROFILES, spec).unwrap_or(false)
        };
        let specs = self.profiles.iter().filter(is_wanted);
        specs
            .map(|spec| match relabel(&self.rules, self.labels_before(spec, discovered)) {
                None => Resolved::Dropped,
                Some(labels) => match self.target(job, spec, labels, discovered, limits) {
                    Ok(target) => Resolved::Active(target),
                    Err(error) => Resolved::Wrong(error),
                },
            })
            .collect()
    }

    fn labels_before(&self, spec: &ProfileSpec, discovered: &LabelMap) -> LabelMap {
        let mut labels = discovered.clone();
        let mut default = |name: &str, value: &str| {
            if !value.is_empty() {
                labels.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            }
        };
        default("job", &self.name);
        default(names::NAME, &spec.family);
        default(SCHEME, self.scheme.as_str());
        default(PROFILE_PATH, &spec.path);
        default(PATH_PREFIX, &self.path_prefix);
        default(INTERVAL, &self.interval.to_string());
        default(TIMEOUT, &self.timeout.to_string());
        for (name, values) in &self.params {
            default(&format!("{PARAM}{name}"), values.first().map_or("", String::as_str));
        }
        labels
    }

    fn target(
        &self,
        job: usize,
        spec: &ProfileSpec,
        labels: LabelMap,
        discovered: &Arc<LabelMap>,
        limits: LabelLimits,
    ) -> Result<Target> {
        let interval = lasting(&labels, INTERVAL)?;
        let timeout = lasting(&labels, TIMEOUT)?;
        check_times(interval, timeout)?;
        let seconds = match spec.window {
            Window::Seconds(seconds) => Duration::from_secs(seconds),
            Window::AsSent | Window::SinceLast => Duration::ZERO,
        };
        Ok(Target {
            job,
            url: self.url(spec, &labels)?,
            labels: series_labels(labels, &self.name, discovered, limits)?,
            discovered: Arc::clone(discovered),
            interval,
            deadline: seconds + timeout,
            window: spec.window,
        })
    }

    fn url(&self, spec: &ProfileSpec, labels: &LabelMap) -> Result<Url> {
        let get = |name: &str| labels.get(name).map_or("", String::as_str);
        let address = get(ADDRESS);
        if address.is_empty() || address.contains(|c: char| "/@?#\\".contains(c) || c.is_whitespace()) {
            return Err(
                Error::invalid("an address is a host, or a host and a port").with(ADDRESS, format!("{address:?}"))
            );
        }
        let scheme = get(SCHEME);
        if !matches!(scheme, "http" | "https") {
            return Err(Error::invalid("a scheme is http or https").with(SCHEME, format!("{scheme:?}")));
        }
        let text = format!("{scheme}://{address}{}{}", get(PATH_PREFIX), get(PROFILE_PATH));
        let mut url = Url::parse(&text)
            .map_err(|e| Error::invalid("a target's URL cannot be read").with("url", format!("{text:?}")).because(e))?;
        let params = self.query(spec, labels);
        if !params.is_empty() {
            url.query_pairs_mut().extend_pairs(params);
        }
        Ok(url)
    }

    /// The parameters of a request: those of the job, the first of each as relabelling left it, and the seconds.
    fn query(&self, spec: &ProfileSpec, labels: &LabelMap) -> Vec<(String, String)> {
        let mut params = Vec::new();
        for (name, value) in labels.iter().filter_map(|(name, value)| Some((name.strip_prefix(PARAM)?, value))) {
            params.push((name.to_owned(), value.clone()));
            let more =
                self.params.iter().filter(|(other, _)| other == name).flat_map(|(_, values)| values.iter().skip(1));
            params.extend(more.map(|value| (name.to_owned(), value.clone())));
        }
        if let Window::Seconds(seconds) = spec.window {
            params.push(("seconds".to_owned(), seconds.to_string()));
        }
        params
    }
}

fn lasting(labels: &LabelMap, name: &'static str) -> Result<Duration> {
    let text = labels.get(name).map_or("", String::as_str);
    humantime::parse_duration(text)
        .map_err(|e| Error::invalid("a label is not a duration").with(name, format!("{text:?}")).because(e))
}

/// The labels of a target's series.
fn series_labels(mut labels: LabelMap, job: &str, discovered: &LabelMap, limits: LabelLimits) -> Result<Labels> {
    let address = labels.get(ADDRESS).cloned().unwrap_or_default();
    labels.retain(|name, _| !name.starts_with("__") || name == names::NAME);
    labels.entry("instance".to_owned()).or_insert(address);
    labels.entry(names::SERVICE_NAME.to_owned()).or_insert_with(|| service_name(job, discovered));
    if labels.len() > limits.labels_max {
        return Err(Error::exhausted("a target has more labels than labels_max allows")
            .with("limit", limits.labels_max)
            .with("found", labels.len()));
    }
    let long = labels.iter().find(|(name, value)| name.len().max(value.len()) > limits.label_bytes_max);
    if let Some((name, value)) = long {
        return Err(Error::exhausted("a label of a target is longer than label_bytes_max allows")
            .with("limit", limits.label_bytes_max)
            .with("found", name.len().max(value.len())));
    }
    Labels::from_pairs(labels)
}

/// The service of a target that relabelling gave none: namespace and container of a pod, else the job.
fn service_name(job: &str, discovered: &LabelMap) -> String {
    let get = |name: &str| discovered.get(name).map(String::as_str);
    match (get("__meta_kubernetes_namespace"), get("__meta_kubernetes_pod_container_name")) {
        (Some(namespace), Some(container)) => format!("{namespace}/{container}"),
        _ => job.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    const LIMITS: LabelLimits = LabelLimits { labels_max: 12, label_bytes_max: 40 };

    fn check(config: &str, discovered: &[(&str, &str)], expected: Expect) {
        let config: ScrapeConfig = toml::from_str(&format!("job_name='shop'\n{config}")).unwrap();
        let found = discovered.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let shown = match Job::new(&config) {
            Ok(job) => job.targets(0, &Arc::new(found), LIMITS).iter().map(line).collect::<Vec<_>>().join("\n"),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&shown);
    }

    fn line(resolved: &Resolved) -> String {
        match resolved {
            Resolved::Active(t) => format!("{} {} {:?} {:?}", t.url, t.labels, t.interval, t.deadline),
            Resolved::Dropped => "dropped".to_owned(),
            Resolved::Wrong(error) => error.to_string(),
        }
    }

    #[test]
    fn every_enabled_profile_is_a_target() {
        check(
            "",
            &[("__address__", "h:1")],
            expect![[r#"
                http://h:1/debug/pprof/profile?seconds=14 {__name__="process_cpu", instance="h:1", job="shop", service_name="shop"} 15s 24s
                http://h:1/debug/pprof/allocs {__name__="memory", instance="h:1", job="shop", service_name="shop"} 15s 10s
                http://h:1/debug/pprof/block {__name__="block", instance="h:1", job="shop", service_name="shop"} 15s 10s
                http://h:1/debug/pprof/mutex {__name__="mutex", instance="h:1", job="shop", service_name="shop"} 15s 10s
                http://h:1/debug/pprof/goroutine {__name__="goroutine", instance="h:1", job="shop", service_name="shop"} 15s 10s"#]],
        );
    }

    #[test]
    fn labels_of_discovery_say_which_profiles_and_where() {
        check(
            "scheme='https'\nprofiling_config.path_prefix='/p'\n[params]\ngc=['1','2']\ndebug=['0']",
            &[
                ("__address__", "[::1]:80"),
                ("__profiles__", "fgprof, memory"),
                ("__meta_kubernetes_namespace", "n"),
                ("__meta_kubernetes_pod_container_name", "c"),
                ("__param_debug", "7"),
                ("__scrape_interval__", "1m"),
                ("instance", "x"),
            ],
            expect![[r#"
                https://[::1]:80/p/debug/pprof/allocs?debug=7&gc=1&gc=2 {__name__="memory", instance="x", job="shop", service_name="n/c"} 60s 10s
                https://[::1]:80/p/debug/fgprof?debug=7&gc=1&gc=2&seconds=14 {__name__="fgprof", instance="x", job="shop", service_name="n/c"} 60s 24s"#]],
        );
    }

    #[test]
    fn relabelling_sees_and_sets_what_a_target_is_made_of() {
        check(
            r#"
            [[relabel_configs]]
            source_labels = ["__name__"]
            regex = "process_cpu|memory"
            action = "keep"
            [[relabel_configs]]
            source_labels = ["__name__"]
            regex = "memory"
            target_label = "__profile_path__"
            replacement = "/heap"
            [[relabel_configs]]
            source_labels = ["__meta_app"]
            target_label = "service_name"
            [[relabel_configs]]
            regex = "job"
            action = "labeldrop"
            "#,
            &[("__address__", "h"), ("__meta_app", "api")],
            expect![[r#"
                http://h/debug/pprof/profile?seconds=14 {__name__="process_cpu", instance="h", service_name="api"} 15s 24s
                http://h/heap {__name__="memory", instance="h", service_name="api"} 15s 10s
                dropped
                dropped
                dropped"#]],
        );
    }

    #[test]
    fn what_cannot_be_scraped_says_why() {
        let one = [("__profiles__", "memory")];
        check("", &one, expect![[r#"an address is a host, or a host and a port [__address__=""]"#]]);
        for address in ["h/x", "u@h", "h?a", "h h"] {
            let text = format!("an address is a host, or a host and a port [__address__={address:?}]");
            let config: ScrapeConfig = toml::from_str("job_name='a'").unwrap();
            let found = [("__address__", address), one[0]].map(|(n, v)| (n.to_owned(), v.to_owned()));
            let resolved = Job::new(&config).unwrap().targets(0, &Arc::new(LabelMap::from(found)), LIMITS);
            assert_eq!(line(&resolved[0]), text);
        }
        let check_one =
            |name, value, expected: Expect| check("", &[("__address__", "h"), one[0], (name, value)], expected);
        check_one("__scheme__", "ftp", expect![[r#"a scheme is http or https [__scheme__="ftp"]"#]]);
        check_one(
            "__scrape_timeout__",
            "16s",
            expect!["scrape_timeout must not be longer than scrape_interval [scrape_interval=15s, scrape_timeout=16s]"],
        );
        check_one(
            "__scrape_interval__",
            "x",
            expect![[r#"a label is not a duration [__scrape_interval__="x"]: expected number at 0"#]],
        );
        check_one(
            "a",
            &"x".repeat(41),
            expect!["a label of a target is longer than label_bytes_max allows [limit=40, found=41]"],
        );
        check(
            "",
            &[("__address__", "h:99999"), one[0]],
            expect![[
                r#"a target's URL cannot be read [url="http://h:99999/debug/pprof/allocs"]: invalid port number"#
            ]],
        );
        check(
            "delta_profiling_duration='20s'",
            &[],
            expect![[
                r#"a profile must not be taken over more than scrape_interval [profile=process_cpu, seconds=20, scrape_interval=15s, job_name="shop"]"#
            ]],
        );
        check(
            "tenant='..'",
            &[],
            expect![[
                r#"a tenant is 1 to 64 characters of [A-Za-z0-9_.-] and does not start with a dot [tenant="..", job_name="shop"]"#
            ]],
        );
    }

    #[test]
    fn equal_targets_have_one_key() {
        let config: ScrapeConfig = toml::from_str("job_name='a'").unwrap();
        let job = Job::new(&config).unwrap();
        let keys = |job_at: usize, address: &str, meta: &str| -> Vec<TargetKey> {
            let found = [("__address__", address), ("__meta_x", meta)].map(|(n, v)| (n.to_owned(), v.to_owned()));
            let resolved = job.targets(job_at, &Arc::new(LabelMap::from(found)), LIMITS);
            resolved.iter().map(|r| if let Resolved::Active(t) = r { t.key() } else { 0 }).collect()
        };
        assert_eq!(keys(0, "h", "1"), keys(0, "h", "2"));
        let all: std::collections::HashSet<_> =
            [keys(0, "h", ""), keys(1, "h", ""), keys(0, "i", "")].concat().into_iter().collect();
        assert_eq!(all.len(), 15);
    }
}
