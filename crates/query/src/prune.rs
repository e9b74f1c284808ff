//! What a query need not read: a segment is skipped on proof only, and is kept for a reason that can be shown.

use std::fmt;

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
            Self::Keep(Reason::Series(n)) => write!(f, "keep: {n} series"),
            Self::Keep(Reason::NotRuledOut) => f.write_str("keep: not ruled out"),
        }
    }
}
