//! Requests and bytes by kind.

use std::collections::BTreeMap;

use super::{ObjectRequest, RequestKind};

/// What was asked of an object store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<RequestKind, Traffic>);

/// Requests of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many, those that failed included.
    pub requests: u64,
    /// Bytes that were sent in them or read by them.
    pub bytes: u64,
}

impl Counts {
    /// The requests of `kind`.
    pub fn of(&self, kind: RequestKind) -> Traffic {
        self.0.get(&kind).copied().unwrap_or_default()
    }

    /// All requests.
    pub fn requests(&self) -> u64 {
        self.0.values().map(|traffic| traffic.requests).sum()
    }

    pub(super) fn add(&mut self, request: &ObjectRequest) {
        let traffic = self.0.entry(request.kind).or_default();
        traffic.requests += 1;
        traffic.bytes += if request.kind == RequestKind::Get { 0 } else { request.bytes };
    }

    /// A GET was answered with so many bytes.
    pub(super) fn read(&mut self, bytes: usize) {
        self.0.entry(RequestKind::Get).or_default().bytes += bytes as u64;
    }
}
