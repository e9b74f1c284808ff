//! Pulls profiles from pprof endpoints: discovery, relabelling, schedule.
//!
//! ```text
//! static · files · HTTP · pods ─▶ label sets ─▶ relabelling ─▶ targets ─▶ schedule ─▶ GET ─▶ decode ─▶ Sink
//! ```
//!
//! Configurations are those that people have: the words are Prometheus's and Grafana Alloy's. A [`Scraper`] hands decoded
//! profiles to a [`Sink`] and knows nothing of how they are kept. Everything is bounded by [`ScrapeOptions`] and the jobs'
//! settings; whatever a target or a discovery answers ends in a profile or in an error that the [`TargetsPage`] shows.
//! Wall time is an argument; the schedule runs on the runtime's clock.

mod client;
mod config;
mod discover;
mod metric;
mod profiles;
mod relabel;
mod schedule;
mod scrape;
mod scraper;
mod sink;
mod state;
mod target;

pub use config::{
    BasicAuth, FileSdConfig, HttpSdConfig, KubernetesRole, KubernetesSdConfig, KubernetesSelector, Lasting, Namespaces,
    Scheme, ScrapeConfig, Secret, TargetGroup, TlsConfig,
};
pub use profiles::{ProfileConfig, ProfilingConfig};
pub use relabel::{RelabelAction, RelabelConfig};
pub use scraper::{Now, ScrapeOptions, Scraper};
pub use sink::{ScrapedProfile, Sink};
pub use state::{LastScrape, TargetState, TargetsPage};
pub use target::LabelLimits;
