//! What each tenant may send: how large, how deep, how much a second.
//!
//! A tenant has the limits of the server, and its own where it was given some. They are looked up once a request.
//!
//! Bounds: one rate is kept per tenant that sent something lately. Tenants over their rate are told when to come again.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use flamestore_formats::Limits;
use flamestore_model::{Error, Result, Tenant};
use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::ServerConfig;
use crate::config::TenantLimits;

/// So many tenants may have a rate before those that rest are forgotten.
const RATES_KEPT: usize = 1024;

/// The limits of all tenants.
#[derive(Debug)]
pub(crate) struct Tenants {
    common: Arc<Allowed>,
    own: HashMap<Tenant, Arc<Allowed>>,
}

/// What a tenant may send.
#[derive(Debug)]
pub(crate) struct Allowed {
    /// Bytes of one request.
    pub(crate) request_bytes_max: usize,
    /// Labels of one profile's series.
    pub(crate) series_labels_max: usize,
    /// Bytes of the name or the value of one of them.
    pub(crate) label_bytes_max: usize,
    /// What one profile may hold.
    pub(crate) profile: Arc<Limits>,
    rate: Option<Rate>,
}

/// Bytes a second, each tenant by itself.
#[derive(Debug)]
struct Rate {
    bytes_per_second: NonZeroU32,
    burst_bytes: NonZeroU32,
    tenants: RateLimiter<Tenant, HashMapStateStore<Tenant>, DefaultClock>,
}

impl Tenants {
    /// The limits of `config`.
    ///
    /// # Errors
    /// `Invalid` when a tenant's name is none.
    pub(crate) fn new(config: &ServerConfig) -> Result<Self> {
        let own =
            config.tenants.iter().map(|(name, own)| Ok((Tenant::new(name)?, Arc::new(Allowed::new(config, own)))));
        Ok(Self { common: Arc::new(Allowed::new(config, &TenantLimits::default())), own: own.collect::<Result<_>>()? })
    }

    /// What `tenant` may send.
    pub(crate) fn of(&self, tenant: &Tenant) -> Arc<Allowed> {
        Arc::clone(self.own.get(tenant).unwrap_or(&self.common))
    }

    /// What tenants without limits of their own may send.
    pub(crate) fn common(&self) -> Arc<Allowed> {
        Arc::clone(&self.common)
    }
}

impl Allowed {
    fn new(config: &ServerConfig, own: &TenantLimits) -> Self {
        let request_bytes_max = own.request_bytes_max.unwrap_or(config.request_bytes_max).min(config.request_bytes_max);
        let bytes_per_second = own.bytes_per_second.or(config.bytes_per_second);
        let burst_bytes = own.burst_bytes.or(config.burst_bytes);
        Self {
            request_bytes_max,
            series_labels_max: own.series_labels_max.unwrap_or(config.series_labels_max),
            label_bytes_max: own.label_bytes_max.unwrap_or(config.label_bytes_max),
            profile: Arc::new(Limits::from(&own.profile.over(&config.profile))),
            rate: bytes_per_second.map(|rate| Rate::new(rate, burst_bytes, request_bytes_max)),
        }
    }

    /// Takes `bytes` of a request off what `tenant` may send.
    ///
    /// # Errors
    /// `Exhausted`: with the time to come again when it is the rate that is passed, without when no time helps.
    pub(crate) fn take(&self, tenant: &Tenant, bytes: usize) -> Result<()> {
        if bytes > self.request_bytes_max {
            return Err(Error::exhausted("the request is larger than request_bytes_max allows the tenant")
                .with("limit", self.request_bytes_max)
                .with("found", bytes));
        }
        self.rate.as_ref().map_or(Ok(()), |rate| rate.take(tenant, bytes))
    }
}

impl Rate {
    /// A tenant that rested may send `burst_bytes` at once, or what takes a second, or one request, if that is more.
    fn new(bytes_per_second: NonZeroU32, burst_bytes: Option<NonZeroU32>, request_bytes_max: usize) -> Self {
        let request = u32::try_from(request_bytes_max).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX);
        let burst_bytes = burst_bytes.unwrap_or(bytes_per_second.max(request));
        let quota = Quota::per_second(bytes_per_second).allow_burst(burst_bytes);
        Self { bytes_per_second, burst_bytes, tenants: RateLimiter::hashmap(quota) }
    }

    fn take(&self, tenant: &Tenant, bytes: usize) -> Result<()> {
        if self.tenants.len() > RATES_KEPT {
            self.tenants.retain_recent();
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // what is larger than any burst takes all of one
        let Some(bytes) = NonZeroU32::new(bytes.min(self.burst_bytes.get())) else { return Ok(()) };
        match self.tenants.check_key_n(tenant, bytes) {
            Ok(Ok(())) | Err(_) => Ok(()),
            Ok(Err(until)) => Err(Error::exhausted("the tenant sends more than bytes_per_second allows; retry later")
                .with("tenant", tenant)
                .with("bytes_per_second", self.bytes_per_second)
                .retry_after(until.wait_time_from(DefaultClock::default().now()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants(text: &str) -> Tenants {
        Tenants::new(&toml::from_str(text).unwrap()).unwrap()
    }

    fn tenant(name: &str) -> Tenant {
        Tenant::new(name).unwrap()
    }

    #[test]
    fn a_tenant_has_the_limits_of_the_server_and_its_own() {
        let limits = tenants(
            "request_bytes_max = 100\nlabel_bytes_max = 7\n[profile]\nsamples_max = 5\nstack_depth_max = 6\n\
             [tenants.a]\nrequest_bytes_max = 1000\nlabel_bytes_max = 9\n[tenants.a.profile]\nstack_depth_max = 60\n",
        );
        let (a, b) = (limits.of(&tenant("a")), limits.of(&tenant("b")));
        assert_eq!((a.label_bytes_max, b.label_bytes_max), (9, 7));
        assert_eq!((a.profile.stack_depth_max, b.profile.stack_depth_max), (60, 6));
        assert_eq!((a.profile.samples_max, b.profile.samples_max), (5, 5));
        assert_eq!(a.request_bytes_max, 100, "the connection takes no more, whoever asks");
    }

    #[test]
    fn tenants_over_their_rate_are_told_when_to_come_again() {
        let limits = tenants("bytes_per_second = 1\nburst_bytes = 1000\n[tenants.b]\nburst_bytes = 2000\n");
        let take = |name: &str, bytes| limits.of(&tenant(name)).take(&tenant(name), bytes);
        take("a", 1000).unwrap();
        let refused = take("a", 500).unwrap_err();
        let delay = refused.retry_delay().unwrap().as_secs();
        assert!((400..=500).contains(&delay), "{refused} {delay}");
        take("other", 1000).unwrap();
        take("b", 2000).unwrap();
        take("b", 2000).unwrap_err();
        take("larger-than-a-burst", 5000).unwrap();
        take("larger-than-a-burst", 1).unwrap_err();
        take("larger-than-a-burst", 0).unwrap();
    }

    #[test]
    fn a_request_over_the_size_has_no_time_to_come_again() {
        let refused = tenants("request_bytes_max = 10").of(&tenant("a")).take(&tenant("a"), 11).unwrap_err();
        assert_eq!(refused.retry_delay(), None);
    }

    #[test]
    fn rates_of_tenants_that_rest_are_forgotten() {
        let limits = tenants("bytes_per_second = 4000000000\nburst_bytes = 4000000000\n");
        for at in 0..3 * RATES_KEPT {
            let name = tenant(&format!("t{at}"));
            limits.of(&name).take(&name, 1).unwrap();
        }
        let kept = limits.common().rate.as_ref().unwrap().tenants.len();
        assert!(kept < 3 * RATES_KEPT, "{kept}");
    }
}
