//! The profiles of a target: which there are, where they lie, and what their values are a measure of.
//!
//! | name | path | window | `__name__` |
//! |---|---|---|---|
//! | `process_cpu` | `/debug/pprof/profile` | `seconds=N` | `process_cpu` |
//! | `memory`, `block`, `mutex`, `goroutine` | `/debug/pprof/allocs`, `…/block`, … | as sent | the name |
//! | `fgprof` (off) | `/debug/fgprof` | `seconds=N` | `fgprof` |
//! | `godeltaprof_memory`, `…_block`, `…_mutex` (off) | `/debug/pprof/delta_heap`, … | since the last scrape | `memory`, `block`, `mutex` |
//! | any other | needs a `path` | as sent, or with `delta` `seconds=N` | the name |
//!
//! What is sent as counted since the process started is stored so: the store adds up what came to it between two times, over
//! restarts of the process too.

use std::collections::BTreeMap;

use flamestore_model::{Error, Result};
use serde::Deserialize;

/// What is scraped of every target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfilingConfig {
    /// What stands before every path.
    pub path_prefix: String,
    /// Profiles by name: those that are known, and others that have a path.
    pub profile: BTreeMap<String, ProfileConfig>,
}

/// One profile of every target; what is not said is as it is known to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileConfig {
    /// Whether it is scraped.
    pub enabled: Option<bool>,
    /// Where it lies.
    pub path: Option<String>,
    /// Whether it is taken over some seconds, which `seconds` tells the target.
    pub delta: Option<bool>,
    /// How many seconds, if others than those of the job.
    pub seconds: Option<u64>,
}

/// What the values of a scraped profile are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// What the profile itself says; the target is asked for nothing.
    AsSent,
    /// These seconds from the request on.
    Seconds(u64),
    /// The time since the scrape before, which the target remembers.
    SinceLast,
}

/// A profile that a job knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProfileSpec {
    /// As the configuration calls it.
    pub(crate) name: String,
    /// The name part of its profile types.
    pub(crate) family: String,
    /// Where it lies, without the prefix.
    pub(crate) path: String,
    /// Whether it is scraped of targets that do not name theirs.
    pub(crate) is_enabled: bool,
    /// What its values are about.
    pub(crate) window: Window,
}

struct Known {
    name: &'static str,
    family: &'static str,
    path: &'static str,
    is_enabled: bool,
    is_delta: bool,
}

const fn known(name: &'static str, path: &'static str, is_enabled: bool, is_delta: bool) -> Known {
    Known { name, family: name, path, is_enabled, is_delta }
}

const fn godelta(name: &'static str, family: &'static str, path: &'static str) -> Known {
    Known { name, family, path, is_enabled: false, is_delta: false }
}

const KNOWN: [Known; 9] = [
    known("process_cpu", "/debug/pprof/profile", true, true),
    known("memory", "/debug/pprof/allocs", true, false),
    known("block", "/debug/pprof/block", true, false),
    known("mutex", "/debug/pprof/mutex", true, false),
    known("goroutine", "/debug/pprof/goroutine", true, false),
    known("fgprof", "/debug/fgprof", false, true),
    godelta("godeltaprof_memory", "memory", "/debug/pprof/delta_heap"),
    godelta("godeltaprof_block", "block", "/debug/pprof/delta_block"),
    godelta("godeltaprof_mutex", "mutex", "/debug/pprof/delta_mutex"),
];

/// The profiles of `config`; those taken over some time take `seconds`, if they do not say otherwise.
///
/// # Errors
/// `Invalid` for a profile of an unknown name without a path, a path that is none, seconds that are none, and two that would
/// mix in one series.
pub(crate) fn specs(config: &ProfilingConfig, seconds: u64) -> Result<Vec<ProfileSpec>> {
    let none = ProfileConfig::default();
    let known = KNOWN.iter().map(|known| (known.name, Some(known), config.profile.get(known.name).unwrap_or(&none)));
    let is_known = |name: &str| KNOWN.iter().any(|known| known.name == name);
    let others =
        config.profile.iter().filter(|(name, _)| !is_known(name)).map(|(name, set)| (name.as_str(), None, set));
    let specs: Vec<ProfileSpec> = known
        .chain(others)
        .map(|(name, known, set)| spec(name, known, set, seconds).map_err(|e| e.with("profile", name)))
        .collect::<Result<_>>()?;
    let enabled = |name: &str| specs.iter().any(|spec| spec.name == name && spec.is_enabled);
    let mixed = KNOWN.iter().find(|known| known.name != known.family && enabled(known.name) && enabled(known.family));
    if let Some(known) = mixed {
        return Err(Error::invalid("two profiles would mix in one series; disable one of them")
            .with("profile", known.family)
            .with("other", known.name));
    }
    Ok(specs)
}

fn spec(name: &str, known: Option<&Known>, set: &ProfileConfig, seconds: u64) -> Result<ProfileSpec> {
    let path = set.path.as_deref().or(known.map(|known| known.path)).ok_or_else(|| {
        let names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
        Error::invalid("a profile of this name needs a path").with("known", names.join(", "))
    })?;
    if !path.starts_with('/') {
        return Err(Error::invalid("a path starts with a slash").with("path", format!("{path:?}")));
    }
    let family = known.map_or(name, |known| known.family);
    let is_delta = set.delta.unwrap_or(known.is_some_and(|known| known.is_delta));
    let seconds = set.seconds.unwrap_or(seconds);
    if is_delta && seconds == 0 {
        return Err(Error::invalid("a profile is taken over at least one second"));
    }
    if set.seconds.is_some() && !is_delta {
        return Err(Error::invalid("seconds are for profiles with delta = true"));
    }
    let window = match (is_delta, name != family) {
        (true, _) => Window::Seconds(seconds),
        (false, true) => Window::SinceLast,
        (false, false) => Window::AsSent,
    };
    let is_enabled = set.enabled.unwrap_or(known.is_none_or(|known| known.is_enabled));
    Ok(ProfileSpec { name: name.to_owned(), family: family.to_owned(), path: path.to_owned(), is_enabled, window })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let config: ProfilingConfig = toml::from_str(text).unwrap();
        let shown = match specs(&config, 14) {
            Ok(specs) => {
                let enabled = specs.iter().filter(|spec| spec.is_enabled);
                let line = |s: &ProfileSpec| format!("{} {} {} {:?}", s.name, s.family, s.path, s.window);
                enabled.map(line).collect::<Vec<_>>().join("\n")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn known_profiles_need_nothing_said_and_others_a_path() {
        check(
            "",
            "process_cpu process_cpu /debug/pprof/profile Seconds(14)\nmemory memory /debug/pprof/allocs AsSent\n\
             block block /debug/pprof/block AsSent\nmutex mutex /debug/pprof/mutex AsSent\n\
             goroutine goroutine /debug/pprof/goroutine AsSent",
        );
        let off = "[profile]\nblock.enabled=false\nmutex.enabled=false\ngoroutine.enabled=false\n";
        check(
            &format!(
                "{off}memory.enabled=false\ngodeltaprof_memory.enabled=true\nprocess_cpu={{seconds=5}}\nlocks={{path='/locks',delta=true}}"
            ),
            "process_cpu process_cpu /debug/pprof/profile Seconds(5)\n\
             godeltaprof_memory memory /debug/pprof/delta_heap SinceLast\nlocks locks /locks Seconds(14)",
        );
        check(
            &format!("{off}process_cpu.enabled=false\nmemory={{path='/heap',delta=true,seconds=3}}"),
            "memory memory /heap Seconds(3)",
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        check(
            "profile.proces_cpu.enabled=true",
            "a profile of this name needs a path [known=process_cpu, memory, block, mutex, goroutine, fgprof, \
             godeltaprof_memory, godeltaprof_block, godeltaprof_mutex, profile=proces_cpu]",
        );
        check("profile.memory.path='heap'", "a path starts with a slash [path=\"heap\", profile=memory]");
        check("profile.process_cpu.seconds=0", "a profile is taken over at least one second [profile=process_cpu]");
        check("profile.memory.seconds=3", "seconds are for profiles with delta = true [profile=memory]");
        check(
            "profile.godeltaprof_block.enabled=true",
            "two profiles would mix in one series; disable one of them [profile=block, other=godeltaprof_block]",
        );
    }
}
