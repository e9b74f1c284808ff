//! What a query need not read: a segment is skipped on proof only, and is kept for a reason that can be shown.

use std::fmt;

use flamestore_model::{ProfileType, Selector, TimeRange, names};

/// Whether a segment is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prune {
    /// Nothing in it can belong to the answer.
    Skip(Proof),
    /// It may hold something of the answer.
    Keep(Reason),
}

/// Why nothing in a segment can belong to the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The manifest: its times lie outside of the range.
    Time,
    /// The manifest: no profile type of it fits.
    ProfileType,
    /// The manifest: no service of it fits.
    Service,
    /// Its postings and its series: no series of it fits.
    Postings,
    /// The manifest: what it holds of the range is answered by another segment.
    StandIn,
}

/// Why a segment is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This many of its series fit.
    Series(u64),
    /// The manifest does not rule it out, and its series were not looked up.
    NotRuledOut,
}

impl fmt::Display for Prune {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skip(Proof::Time) => f.write_str("skip: time"),
            Self::Skip(Proof::ProfileType) => f.write_str("skip: profile type"),
            Self::Skip(Proof::Service) => f.write_str("skip: service"),
            Self::Skip(Proof::Postings) => f.write_str("skip: postings"),
            Self::Skip(Proof::StandIn) => f.write_str("skip: another segment answers"),
            Self::Keep(Reason::Series(n)) => write!(f, "keep: {n} series"),
            Self::Keep(Reason::NotRuledOut) => f.write_str("keep: not ruled out"),
        }
    }
}

/// What a manifest says of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ManifestFacts<'a> {
    /// The first and the last time of a profile, both included.
    pub(crate) times: (i64, i64),
    /// All profile types.
    pub(crate) profile_types: &'a [String],
    /// All services.
    pub(crate) services: &'a [String],
}

/// What the manifest alone proves: first by time, then by type, then by service.
pub(crate) fn by_manifest(facts: &ManifestFacts<'_>, selector: &Selector, range: &TimeRange) -> Prune {
    if !range.overlaps(facts.times.0, facts.times.1) {
        return Prune::Skip(Proof::Time);
    }
    if !facts.profile_types.iter().any(|ty| type_fits(ty, selector)) {
        return Prune::Skip(Proof::ProfileType);
    }
    let service_fits = |service: &String| label_fits(selector, names::SERVICE_NAME, service);
    if !facts.services.iter().any(service_fits) {
        return Prune::Skip(Proof::Service);
    }
    Prune::Keep(Reason::NotRuledOut)
}

fn label_fits(selector: &Selector, name: &str, value: &str) -> bool {
    selector.matchers.iter().filter(|matcher| matcher.name() == name).all(|matcher| matcher.matches(value))
}

/// Whether a series of this type may fit; a type that cannot be read proves nothing.
fn type_fits(id: &str, selector: &Selector) -> bool {
    let Ok(ty) = id.parse::<ProfileType>() else {
        return true;
    };
    names::DERIVED.iter().all(|name| label_fits(selector, name, &ty.derived_label(name).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: &str, range: (i64, i64), expected: &str) {
        let types = ["process_cpu:cpu:nanoseconds:cpu:nanoseconds".to_owned(), "memory:inuse_space:bytes::".to_owned()];
        let services = ["api".to_owned(), "web".to_owned()];
        let facts = ManifestFacts { times: (10, 20), profile_types: &types, services: &services };
        let range = TimeRange { start: range.0, end: range.1 };
        let found = by_manifest(&facts, &selector.parse().unwrap(), &range);
        assert_eq!(found.to_string(), expected, "{selector} {range}");
    }

    #[test]
    fn the_manifest_rules_out_by_time_then_type_then_service() {
        check("", (0, 10), "skip: time");
        check("", (21, 30), "skip: time");
        check("", (20, 21), "keep: not ruled out");
        check("", (0, 11), "keep: not ruled out");
        check("a:b:c:d:e", (0, 30), "skip: profile type");
        check(r#"{__type__="cpu",__unit__="bytes"}"#, (0, 30), "skip: profile type");
        check(r#"{__period_type__=""}"#, (0, 30), "keep: not ruled out");
        check(r#"{service_name="db"}"#, (0, 30), "skip: service");
        check(r#"{service_name=~"a.*"}"#, (0, 30), "keep: not ruled out");
        check(r#"{service_name!~"api|web"}"#, (0, 30), "skip: service");
        check(r#"{service_name="db"}"#, (30, 40), "skip: time");
    }

    #[test]
    fn a_label_the_manifest_does_not_know_proves_nothing() {
        check(r#"{pod="x"}"#, (0, 30), "keep: not ruled out");
    }
}
