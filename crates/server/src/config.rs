//! What a server is told: where to listen and what bounds it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use flamestore_formats::Limits;
use flamestore_model::{Error, Result, Tenant};
use flamestore_store::SeriesMax;
use serde::{Deserialize, Serialize};

use crate::tls::TlsFiles;

/// Something a process does for a store. Several processes can share the work on one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes profiles and writes them as segments.
    Ingest,
    /// Answers queries over the segments, and over what it has itself in memory.
    Query,
    /// Merges, expires and collects.
    Compact,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Query, Self::Compact];
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "ingest" => Ok(Self::Ingest),
            "query" => Ok(Self::Query),
            "compact" => Ok(Self::Compact),
            _ => Err(Error::invalid("a role is ingest, query or compact").with("role", format!("{text:?}"))),
        }
    }
}

/// Where a server listens and what bounds it. Every field has a default; an unknown field is an error.
///
/// Durations are written as `30s` or `1m 30s`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// What the process does; everything unless told otherwise.
    pub roles: Vec<Role>,
    /// The address and the port of all protocols; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The address and the port of PostgreSQL's protocol, if it is to be spoken; port 0 takes a free one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres_listen: Option<SocketAddr>,
    /// Open connections of that protocol. Over it, clients are told that there are too many.
    pub postgres_connections_max: usize,
    /// How long a connection of that protocol may be silent.
    #[serde(with = "duration")]
    pub postgres_idle_max: Duration,
    /// The certificate of the port; without one, it speaks plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// Bytes of one request message, as sent and after `grpc-encoding`. Over it: `RESOURCE_EXHAUSTED`.
    pub request_bytes_max: usize,
    /// Bytes of one answer message before `grpc-encoding`. Over it: `RESOURCE_EXHAUSTED`.
    pub answer_bytes_max: usize,
    /// Requests answered at the same time, health and reflection not counted. Over it: `RESOURCE_EXHAUSTED` at once.
    pub requests_max: usize,
    /// Open connections. Over it, new ones wait in the listener's backlog.
    pub connections_max: usize,
    /// Threads that decode, fold and encode; 0 stands for as many as there are cores.
    pub compute_threads_max: usize,
    /// Profiles of one push request, or of one whole push stream. Over it: `RESOURCE_EXHAUSTED`.
    pub push_profiles_max: usize,
    /// Bytes of profiles that a tenant may send in a second; none stands for no limit. Over it: `RESOURCE_EXHAUSTED`, with the
    /// time to come again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<NonZeroU32>,
    /// Bytes that a tenant which rested may send at once; as many as take a second or as one request may have unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_bytes: Option<NonZeroU32>,
    /// Series of a tenant in memory; a profile of one more is refused until they are written as a segment.
    pub series_max: usize,
    /// Bytes of one file of debug information. Over it: `INVALID_ARGUMENT`, which Parca's agents do not send again.
    pub debuginfo_bytes_max: usize,
    /// Files of debug information taken at the same time, each with some 24 MiB of memory. Over it: `RESOURCE_EXHAUSTED`.
    pub debuginfo_uploads_max: usize,
    /// Labels of one pushed profile's series.
    pub series_labels_max: usize,
    /// Bytes of the name or the value of one of them.
    pub label_bytes_max: usize,
    /// The longest deadline of a request; also that of requests that state none. None leaves those without one.
    #[serde(with = "duration_option")]
    pub deadline_max: Option<Duration>,
    /// At shutdown: how long `/ready` says 503 and health says not serving before the listener closes.
    #[serde(with = "duration")]
    pub shutdown_grace: Duration,
    /// At shutdown: how long running requests may take after the listener closed. Then they end in `UNAVAILABLE`.
    #[serde(with = "duration")]
    pub shutdown_drain: Duration,
    /// Whether a request to the read API of Pyroscope may name several tenants, joined by `|`. Whoever may name one may then
    /// read all of them at once.
    pub tenants_joined: bool,
    /// What one pushed profile may hold.
    pub profile: ProfileLimits,
    /// Tenants that have limits of their own, by name.
    pub tenants: BTreeMap<String, TenantLimits>,
}

/// The limits of one tenant; those of the server where nothing is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantLimits {
    /// As in [`ServerConfig`]; not above the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_bytes_max: Option<usize>,
    /// As in [`ServerConfig`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<NonZeroU32>,
    /// As in [`ServerConfig`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_bytes: Option<NonZeroU32>,
    /// As in [`ServerConfig`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series_max: Option<usize>,
    /// As in [`ServerConfig`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series_labels_max: Option<usize>,
    /// As in [`ServerConfig`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_bytes_max: Option<usize>,
    /// What one pushed profile may hold.
    pub profile: OwnProfileLimits,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            roles: Role::ALL.to_vec(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 4040)),
            postgres_listen: None,
            postgres_connections_max: 256,
            postgres_idle_max: Duration::from_secs(3600),
            tls: None,
            request_bytes_max: 64 << 20,
            answer_bytes_max: 1 << 30,
            requests_max: 256,
            connections_max: 4096,
            compute_threads_max: 0,
            push_profiles_max: 100_000,
            bytes_per_second: None,
            burst_bytes: None,
            series_max: SeriesMax::default().default,
            debuginfo_bytes_max: 1_000_000_000,
            debuginfo_uploads_max: 8,
            series_labels_max: 128,
            label_bytes_max: 4096,
            deadline_max: None,
            shutdown_grace: Duration::ZERO,
            shutdown_drain: Duration::from_secs(15),
            tenants_joined: false,
            profile: ProfileLimits::default(),
            tenants: BTreeMap::new(),
        }
    }
}

impl ServerConfig {
    /// Checks what the types do not say.
    ///
    /// # Errors
    /// `Invalid`, naming a setting that must not be 0 or empty, or a tenant whose name is none.
    pub fn check(&self) -> Result<()> {
        let positive = [
            ("request_bytes_max", self.request_bytes_max),
            ("answer_bytes_max", self.answer_bytes_max),
            ("requests_max", self.requests_max),
            ("connections_max", self.connections_max),
            ("postgres_connections_max", self.postgres_connections_max),
            ("push_profiles_max", self.push_profiles_max),
            ("debuginfo_bytes_max", self.debuginfo_bytes_max),
            ("debuginfo_uploads_max", self.debuginfo_uploads_max),
        ];
        if self.roles.is_empty() {
            return Err(Error::invalid("roles: a server needs at least one of ingest, query and compact"));
        }
        for name in self.tenants.keys() {
            Tenant::new(name)?;
        }
        match positive.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Error::invalid(format!("{name} must be at least 1"))),
            None => Ok(()),
        }
    }

    /// Whether the process has this role.
    pub fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// How many series tenants may have in memory.
    ///
    /// # Errors
    /// `Invalid` when a tenant's name is none.
    pub fn series_max(&self) -> Result<SeriesMax> {
        let own = self.tenants.iter().filter_map(|(name, own)| Some((name, own.series_max?)));
        let by_tenant = own.map(|(name, max)| Ok((Tenant::new(name)?, max))).collect::<Result<_>>()?;
        Ok(SeriesMax { default: self.series_max, by_tenant })
    }

    /// `compute_threads_max`, with 0 resolved.
    pub(crate) fn compute_threads(&self) -> usize {
        match self.compute_threads_max {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        }
    }
}

macro_rules! profile_limits {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What one pushed profile may hold. A profile over a limit is rejected with `RESOURCE_EXHAUSTED`, naming the limit.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct ProfileLimits {
            $($(#[$doc])* pub $name: usize,)*
        }

        impl Default for ProfileLimits {
            fn default() -> Self {
                let limits = Limits::default();
                Self { $($name: limits.$name,)* }
            }
        }

        /// What one pushed profile of one tenant may hold; as much as of others where nothing is given.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct OwnProfileLimits {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<usize>,)*
        }

        impl OwnProfileLimits {
            /// These, and those of `common` where there are none.
            pub(crate) fn over(&self, common: &ProfileLimits) -> ProfileLimits {
                ProfileLimits { $($name: self.$name.unwrap_or(common.$name),)* }
            }
        }

        impl From<&ProfileLimits> for Limits {
            fn from(limits: &ProfileLimits) -> Self {
                Self { $($name: limits.$name,)* }
            }
        }
    };
}

profile_limits! {
    /// Bytes after decompression.
    decompressed_bytes_max,
    /// Profiles of one request or recording.
    profiles_max,
    /// Sample types, so values of one sample.
    sample_types_max,
    /// Samples.
    samples_max,
    /// Locations of one sample's stack.
    stack_depth_max,
    /// Locations of all samples' stacks together, where stacks are written once and referred to by many samples.
    stack_locations_max,
    /// Labels of one sample.
    labels_per_sample_max,
    /// Labels of all samples.
    labels_max,
    /// Mappings.
    mappings_max,
    /// Locations.
    locations_max,
    /// Lines of one location.
    lines_per_location_max,
    /// Lines of all locations.
    lines_max,
    /// Functions.
    functions_max,
    /// Strings.
    strings_max,
    /// Bytes of one string.
    string_bytes_max,
}

mod duration {
    use super::{Deserialize, Duration};
    use serde::de::Error;

    pub(super) fn serialize<S: serde::Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(|e| D::Error::custom(format!("{text:?} is not a duration: {e}")))
    }
}

mod duration_option {
    use super::Duration;

    pub(super) fn serialize<S: serde::Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::duration::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        super::duration::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ServerConfig, String> {
        toml::from_str(text).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn a_config_is_read_back_as_written_and_defaults_fill_what_is_missing() {
        let text = "listen = \"127.0.0.1:0\"\ndeadline_max = \"1m 30s\"\n[profile]\nsamples_max = 7\n";
        let config = parse(text).unwrap();
        assert_eq!(config.listen.port(), 0);
        assert_eq!(config.deadline_max, Some(Duration::from_secs(90)));
        assert_eq!(config.profile.samples_max, 7);
        assert_eq!(config.profile.strings_max, Limits::default().strings_max);
        assert_eq!(config.requests_max, ServerConfig::default().requests_max);
        assert_eq!(parse(&toml::to_string(&config).unwrap()), Ok(config));
        assert_eq!(parse(&toml::to_string(&ServerConfig::default()).unwrap()), Ok(ServerConfig::default()));
    }

    #[test]
    fn an_unknown_or_wrong_setting_is_named() {
        assert!(parse("port = 1").unwrap_err().contains("unknown field `port`"));
        assert!(parse("[profile]\nx = 1").unwrap_err().contains("unknown field `x`"));
        assert!(parse("shutdown_drain = \"soon\"").unwrap_err().contains("\"soon\" is not a duration"));
        assert!(parse("[tenants.a]\nrequests_max = 1").unwrap_err().contains("unknown field `requests_max`"));
        let config = ServerConfig { requests_max: 0, ..ServerConfig::default() };
        assert_eq!(config.check().unwrap_err().to_string(), "requests_max must be at least 1");
        assert!(parse("[tenants.\"a/b\"]").unwrap().check().is_err());
    }

    #[test]
    fn a_tenant_may_have_its_own_number_of_series() {
        let config = parse("series_max = 7\n[tenants.a]\nseries_max = 8\n[tenants.b]\nlabel_bytes_max = 1\n").unwrap();
        let series_max = config.series_max().unwrap();
        let of = |name: &str| series_max.of(&Tenant::new(name).unwrap());
        assert_eq!((of("a"), of("b"), of("c")), (8, 7, 7));
    }
}
