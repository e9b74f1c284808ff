//! Profile types: what is measured, in which unit, per what.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Labels, Result, names};

/// What a series measures: `name:sample_type:sample_unit:period_type:period_unit`, each part as sent, so any but the
/// name may be empty. (The form of the id is that of Pyroscope and Parca.)
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProfileType {
    /// The family: `process_cpu`, `memory`, `mutex`, `block`, `goroutine`, …
    pub name: String,
    /// The sample type: `cpu`, `alloc_space`, …
    pub sample_type: String,
    /// The unit of the values: `nanoseconds`, `bytes`, `count`, …
    pub sample_unit: String,
    /// What a period counts; empty where the producer says nothing.
    pub period_type: String,
    /// The unit of the period; empty where the producer says nothing.
    pub period_unit: String,
}

/// How values of one profile relate to those of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Temporality {
    /// What happened in the profile's window: sums over time mean something.
    Delta,
    /// What was there at the profile's time: sums over time mean nothing.
    Instant,
    /// What happened since the process started.
    Cumulative,
    /// The producer does not say and the type does not tell.
    Unknown,
}

impl ProfileType {
    /// The family a sample type belongs to, as Pyroscope's servers name it; the sample type itself where no rule fits.
    /// `sample_types` are those of the whole profile.
    pub fn name_for(sample_type: &str, sample_types: &[&str]) -> String {
        let has = |name: &str| sample_types.contains(&name);
        let name = match sample_type {
            "contentions" | "delay" => "mutex",
            _ if has("wall") => "wall",
            "samples" if has("cpu") || sample_types.len() == 1 => "process_cpu",
            t if t.contains("cpu") => "process_cpu",
            t if t.starts_with("alloc_") || t.starts_with("inuse_") => "memory",
            "space" | "objects" => "memory",
            t if t.starts_with("mutex_") => "mutex",
            t if t.starts_with("block_") => "block",
            "goroutine" | "goroutines" => "goroutine",
            t => t,
        };
        name.to_owned()
    }

    /// The temporality of this type's values when the producer does not state it.
    pub fn temporality(&self, duration_nano: i64) -> Temporality {
        let instant = ["inuse_objects", "inuse_space", "live", "heap-space", "heap-live-samples"];
        let instant_names = ["goroutine", "goroutines", "goroutineleak", "threadcreate"];
        let t = self.sample_type.as_str();
        if instant.contains(&t) || instant_names.contains(&t) || instant_names.contains(&self.name.as_str()) {
            return Temporality::Instant;
        }
        if duration_nano > 0 {
            return Temporality::Delta;
        }
        match t {
            "alloc_objects" | "alloc_space" | "contentions" | "delay" => Temporality::Cumulative,
            "cpu" | "samples" | "wall" | "off_cpu" | "exception" => Temporality::Delta,
            _ => Temporality::Unknown,
        }
    }

    /// The value of the derived label `name` (`__profile_type__`, `__type__`, …), if it is one.
    pub fn derived_label(&self, name: &str) -> Option<String> {
        Some(match name {
            names::NAME => self.name.clone(),
            names::PROFILE_TYPE => self.to_string(),
            names::TYPE => self.sample_type.clone(),
            names::UNIT => self.sample_unit.clone(),
            names::PERIOD_TYPE => self.period_type.clone(),
            names::PERIOD_UNIT => self.period_unit.clone(),
            _ => return None,
        })
    }

    /// `labels` with the labels derived from this type added.
    pub fn add_derived_labels(&self, labels: Labels) -> Labels {
        names::DERIVED
            .iter()
            .fold(labels, |labels, name| labels.with(name, self.derived_label(name).as_deref().unwrap_or_default()))
    }
}

impl fmt::Display for ProfileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, sample_type, sample_unit, period_type, period_unit } = self;
        write!(f, "{name}:{sample_type}:{sample_unit}:{period_type}:{period_unit}")
    }
}

impl FromStr for ProfileType {
    type Err = Error;

    fn from_str(id: &str) -> Result<Self> {
        let parts: Vec<&str> = id.split(':').collect();
        let [name, sample_type, sample_unit, period_type, period_unit] = parts[..] else {
            return Err(Error::invalid(
                "a profile type has five parts: name:sample_type:sample_unit:period_type:period_unit",
            )
            .with("profile_type", format!("{id:?}")));
        };
        let owned = str::to_owned;
        Ok(Self {
            name: owned(name),
            sample_type: owned(sample_type),
            sample_unit: owned(sample_unit),
            period_type: owned(period_type),
            period_unit: owned(period_unit),
        })
    }
}

impl Temporality {
    /// The temporality in lowercase, as tables store it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Instant => "instant",
            Self::Cumulative => "cumulative",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_type_is_read_back_as_printed() -> Result<()> {
        for id in ["process_cpu:cpu:nanoseconds:cpu:nanoseconds", "off_cpu:off_cpu:nanoseconds::"] {
            assert_eq!(id.parse::<ProfileType>()?.to_string(), id);
        }
        assert!("cpu".parse::<ProfileType>().is_err());
        Ok(())
    }

    #[test]
    fn families_follow_the_sample_types() {
        assert_eq!(ProfileType::name_for("cpu", &["samples", "cpu"]), "process_cpu");
        assert_eq!(ProfileType::name_for("samples", &["samples", "cpu"]), "process_cpu");
        assert_eq!(ProfileType::name_for("inuse_space", &["alloc_space", "inuse_space"]), "memory");
        assert_eq!(ProfileType::name_for("delay", &["contentions", "delay"]), "mutex");
        assert_eq!(ProfileType::name_for("cpu", &["wall", "cpu"]), "wall");
        assert_eq!(ProfileType::name_for("exception", &["exception"]), "exception");
    }
}
