//! How a store is tended: the sections `[compaction]`, `[retention]` and `[collector]` of the configuration file.
//!
//! ```toml
//! [compaction]                      # small fresh segments become few large ones
//! memory_bytes_max = "512MiB"
//! [retention]                       # how long things are kept: a duration, or "forever"
//! raw = "15days"
//! hours = "60days"
//! days = "3years"
//! [[retention.override]]            # exceptions by tenant, profile type or both
//! profile_type = "memory"
//! raw = "3days"
//! [collector]                       # what nothing refers to is deleted
//! grace = "1day"
//! ```

use std::time::Duration;

use flamestore_model::Tenant;
use flamestore_store::{Bucket, CompactorOptions, Keep, RetentionOverride, RetentionPolicy, RetentionTimes};
use serde::Deserialize;

use crate::config::{ByteSize, Lasting};

/// The sections about upkeep.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upkeep {
    pub(crate) compaction: CompactionSection,
    pub(crate) retention: RetentionSection,
    pub(crate) collector: CollectorSection,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CompactionSection {
    pub(crate) memory_bytes_max: Option<ByteSize>,
    jobs_max: Option<usize>,
    interval: Option<Lasting>,
    fresh_inputs: Option<usize>,
    hour_grace: Option<Lasting>,
    day_grace: Option<Lasting>,
    inputs_max: Option<usize>,
    input_bytes_max: Option<ByteSize>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetentionSection {
    raw: Option<KeepText>,
    hours: Option<KeepText>,
    days: Option<KeepText>,
    r#override: Vec<OverrideSection>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideSection {
    tenant: Option<String>,
    profile_type: Option<String>,
    raw: Option<KeepText>,
    hours: Option<KeepText>,
    days: Option<KeepText>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CollectorSection {
    grace: Option<Lasting>,
    snapshot_retention: Option<Lasting>,
    interval: Option<Lasting>,
}

/// `15days` or `forever`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct KeepText(Keep);

impl TryFrom<String> for KeepText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "forever" {
            return Ok(Self(Keep::Forever));
        }
        let time: Duration = humantime::parse_duration(&text)
            .map_err(|e| format!("{text:?} is neither a duration nor \"forever\": {e}"))?;
        Ok(Self(Keep::For(time)))
    }
}

impl Upkeep {
    /// How to tend the store in `bucket`.
    ///
    /// # Errors
    /// `Invalid` when a tenant of an override is none.
    pub(crate) fn options(&self, bucket: Bucket) -> flamestore_model::Result<CompactorOptions> {
        let mut options = CompactorOptions::new(bucket);
        let section = &self.compaction;
        options.memory_bytes_max = section.memory_bytes_max.map_or(options.memory_bytes_max, |bytes| bytes.0);
        options.jobs_max = section.jobs_max.unwrap_or(options.jobs_max);
        options.interval = lasting(section.interval, options.interval);
        let policy = &mut options.compaction;
        policy.fresh_inputs = section.fresh_inputs.unwrap_or(policy.fresh_inputs);
        policy.hour_grace = lasting(section.hour_grace, policy.hour_grace);
        policy.day_grace = lasting(section.day_grace, policy.day_grace);
        policy.inputs_max = section.inputs_max.unwrap_or(policy.inputs_max);
        policy.input_bytes_max = section.input_bytes_max.map_or(policy.input_bytes_max, |bytes| bytes.0 as u64);
        let section = &self.collector;
        options.collector.grace = lasting(section.grace, options.collector.grace);
        options.collector.snapshot_retention =
            lasting(section.snapshot_retention, options.collector.snapshot_retention);
        options.collect_interval = lasting(section.interval, options.collect_interval);
        options.retention = self.retention.policy()?;
        Ok(options)
    }
}

impl RetentionSection {
    fn policy(&self) -> flamestore_model::Result<RetentionPolicy> {
        let times = over(RetentionTimes::default(), [self.raw, self.hours, self.days]);
        let entry = |section: &OverrideSection| {
            Ok(RetentionOverride {
                tenant: section.tenant.as_ref().map(Tenant::new).transpose()?,
                profile_type: section.profile_type.clone(),
                times: over(times, [section.raw, section.hours, section.days]),
            })
        };
        let overrides = self.r#override.iter().map(entry).collect::<flamestore_model::Result<_>>()?;
        Ok(RetentionPolicy { times, overrides })
    }
}

fn over(times: RetentionTimes, [raw, hours, days]: [Option<KeepText>; 3]) -> RetentionTimes {
    let or = |text: Option<KeepText>, keep| text.map_or(keep, |text| text.0);
    RetentionTimes { raw: or(raw, times.raw), hours: or(hours, times.hours), days: or(days, times.days) }
}

fn lasting(set: Option<Lasting>, default: Duration) -> Duration {
    set.map_or(default, |lasting| lasting.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_takes_what_it_does_not_say_from_the_section() {
        let text = r#"
            raw = "2days"
            days = "forever"
            [[override]]
            tenant = "a"
            hours = "1day"
        "#;
        let policy = toml::from_str::<RetentionSection>(text).unwrap().policy().unwrap();
        let day = Duration::from_secs(86_400);
        assert_eq!((policy.times.raw, policy.times.days), (Keep::For(2 * day), Keep::Forever));
        assert_eq!(policy.times.hours, RetentionTimes::default().hours);
        let times = policy.times(&Tenant::new("a").unwrap(), "x:y:z:a:b");
        assert_eq!(times, RetentionTimes { hours: Keep::For(day), ..policy.times });
        for (text, expected) in [
            ("raw = \"soon\"", "neither a duration nor"),
            ("weeks = \"1day\"", "unknown field"),
            ("[[override]]\ntenant = \"a\"\nkeep = \"1day\"", "unknown field"),
        ] {
            let error = toml::from_str::<RetentionSection>(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
