//! Which profile types `/ingest` makes of what it takes, as Pyroscope's servers name them.

use std::collections::HashMap;

use flamestore_model::{Error, ProfileType, Result};
use serde::Deserialize;

/// What a client says of the sample types of its pprof. Of all that it may say, only the name decides anything: the values
/// are stored as they are.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct SampleTypeConfig {
    #[serde(rename = "display-name", default)]
    display_name: String,
}

/// Sample types by what clients call them.
pub(super) type SampleTypes = HashMap<String, SampleTypeConfig>;

/// Reads `sample_type_config`.
///
/// # Errors
/// `Invalid` when it is not the JSON of one.
pub(super) fn sample_types(json: &[u8]) -> Result<SampleTypes> {
    serde_json::from_slice(json)
        .map_err(|error| Error::invalid("sample_type_config: not what it should be").because(error))
}

/// The family of a pprof with these sample types; none where they are not all of one, and each is named for itself.
pub(super) fn family(sample_types: &[String], config: &SampleTypes) -> Option<String> {
    let has_wall = sample_types.iter().any(|ty| ty == "wall");
    let of = |ty: &String| if has_wall { "wall".to_owned() } else { family_of(displayed(ty, config)) };
    let first = of(sample_types.first()?);
    sample_types.iter().all(|ty| of(ty) == first).then_some(first)
}

/// What a sample type is called by the client, or by Pyroscope where the client says nothing.
fn displayed<'a>(ty: &'a str, config: &'a SampleTypes) -> &'a str {
    if let Some(config) = config.get(ty).filter(|config| !config.display_name.is_empty()) {
        return &config.display_name;
    }
    match ty {
        "samples" => "cpu",
        "goroutine" => "goroutines",
        "contentions" => "mutex_count",
        "delay" => "mutex_duration",
        ty => ty,
    }
}

fn family_of(displayed: &str) -> String {
    let family = match displayed {
        d if d.contains("cpu") => "process_cpu",
        d if d.contains("alloc_") || d.contains("inuse_") => "memory",
        "space" | "objects" => "memory",
        d if d.contains("mutex_") => "mutex",
        d if d.contains("block_") => "block",
        d => d,
    };
    family.to_owned()
}

/// What the values of folded stacks become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoldedKind {
    /// The name of the service: the application's without the suffix that names the kind.
    pub(super) service: String,
    pub(super) profile_type: ProfileType,
    /// Values count samples that were taken `sampleRate` times a second, and are stored as nanoseconds.
    pub(super) is_sampled: bool,
    /// What a value is multiplied by, for units larger than the stored one.
    pub(super) factor: i64,
}

/// The kind that the part of `app` behind its last dot names; CPU where there is no dot.
///
/// # Errors
/// `Invalid` when there is no such kind.
pub(super) fn folded_kind(app: &str, units: &str) -> Result<FoldedKind> {
    let (service, suffix) = app.rsplit_once('.').unwrap_or((app, "cpu"));
    let (name, sample_type, unit) = folded_type(suffix)
        .ok_or_else(|| Error::invalid(format!("unknown profile type: {suffix}")).with("name", format!("{app:?}")))?;
    let has_period = matches!(name, "process_cpu" | "wall");
    let period = |text: &str| if has_period { text.to_owned() } else { String::new() };
    let profile_type = ProfileType {
        name: name.to_owned(),
        sample_type: sample_type.to_owned(),
        sample_unit: unit.to_owned(),
        period_type: period("cpu"),
        period_unit: period("nanoseconds"),
    };
    let factor = match suffix {
        "seconds" => 1_000_000_000,
        "milliseconds" => 1_000_000,
        "microseconds" => 1_000,
        _ => 1,
    };
    let is_sampled = name == "process_cpu" || (suffix == "wall" && matches!(units, "" | "samples"));
    Ok(FoldedKind { service: service.to_owned(), profile_type, is_sampled, factor })
}

/// Family, sample type and unit.
fn folded_type(suffix: &str) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match suffix {
        "cpu" | "itimer" => ("process_cpu", "cpu", "nanoseconds"),
        "wall" | "seconds" | "milliseconds" | "microseconds" | "nanoseconds" => ("wall", "wall", "nanoseconds"),
        "inuse_objects" => ("memory", "inuse_objects", "count"),
        "alloc_objects" => ("memory", "alloc_objects", "count"),
        "inuse_space" => ("memory", "inuse_space", "bytes"),
        "alloc_space" => ("memory", "alloc_space", "bytes"),
        "goroutines" => ("goroutine", "goroutine", "count"),
        "mutex_count" => ("mutex", "contentions", "count"),
        "mutex_duration" => ("mutex", "delay", "nanoseconds"),
        "block_count" | "lock_count" => ("block", "contentions", "count"),
        "block_duration" | "lock_duration" => ("block", "delay", "nanoseconds"),
        "alloc_in_new_tlab_objects" => ("memory", "alloc_in_new_tlab_objects", "count"),
        "alloc_in_new_tlab_bytes" => ("memory", "alloc_in_new_tlab_bytes", "bytes"),
        "alloc_outside_tlab_objects" => ("memory", "alloc_outside_tlab_objects", "count"),
        "alloc_outside_tlab_bytes" => ("memory", "alloc_outside_tlab_bytes", "bytes"),
        "live" => ("memory", "live", "count"),
        "exceptions" => ("exceptions", "samples", "count"),
        "bytes" => ("memory", "samples", "bytes"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pprof_is_of_the_family_of_its_sample_types() {
        let check = |types: &[&str], json: &str, expected: Option<&str>| {
            let types: Vec<String> = types.iter().map(|ty| (*ty).to_owned()).collect();
            let config = sample_types(json.as_bytes()).unwrap();
            assert_eq!(family(&types, &config).as_deref(), expected, "{types:?} {json}");
        };
        let block = r#"{"contentions":{"display-name":"block_count","units":"lock_samples"},
            "delay":{"display-name":"block_duration","units":"lock_nanoseconds","cumulative":false}}"#;
        check(&["samples", "cpu"], "{}", Some("process_cpu"));
        check(&["samples", "wall", "cpu"], "{}", Some("wall"));
        check(&["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"], "{}", Some("memory"));
        check(&["objects", "space"], "{}", Some("memory"));
        check(&["contentions", "delay"], "{}", Some("mutex"));
        check(&["contentions", "delay"], block, Some("block"));
        check(&["goroutine"], "{}", Some("goroutines"));
        check(&["samples", "exception"], "{}", None);
        check(&["exception"], r#"{"exception":{"units":"samples"}}"#, Some("exception"));
        check(&[], "{}", None);
        assert!(sample_types(b"[1").is_err());
    }

    #[test]
    fn folded_stacks_are_of_the_kind_behind_the_last_dot() {
        let check = |app: &str, units: &str, expected: &str| {
            let told = match folded_kind(app, units) {
                Ok(kind) => format!("{} {} {} {}", kind.service, kind.profile_type, kind.is_sampled, kind.factor),
                Err(error) => error.to_string(),
            };
            assert_eq!(told, expected, "{app}");
        };
        check("app", "", "app process_cpu:cpu:nanoseconds:cpu:nanoseconds true 1");
        check("my.app.itimer", "samples", "my.app process_cpu:cpu:nanoseconds:cpu:nanoseconds true 1");
        check("app.wall", "samples", "app wall:wall:nanoseconds:cpu:nanoseconds true 1");
        check("app.milliseconds", "", "app wall:wall:nanoseconds:cpu:nanoseconds false 1000000");
        check("app.alloc_space", "bytes", "app memory:alloc_space:bytes:: false 1");
        check("app.lock_duration", "", "app block:delay:nanoseconds:: false 1");
        check("demo.py", "", r#"unknown profile type: py [name="demo.py"]"#);
    }
}
