//! Faults that an object store shows its clients, on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is refused with 503 `SlowDown`; nothing is done.
    SlowDown,
    /// The request is carried out, then the connection closes instead of an answer.
    DropAnswer,
    /// The connection closes before anything is done.
    DropRequest,
    /// The request waits this long before it is carried out.
    Latency(Duration),
}

/// Which requests a fault strikes, and how often.
#[derive(Clone, Debug)]
pub struct FaultRule {
    fault: Fault,
    method: Option<&'static str>,
    path_part: String,
    skip: u64,
    times: u64,
}

/// The faults a server shows; clones share the rules and the counters.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<State>);

#[derive(Debug, Default)]
struct State {
    rules: Mutex<Vec<FaultRule>>,
    requests: AtomicU64,
    struck: AtomicU64,
}

impl FaultRule {
    /// `fault` on every request, for ever, until narrowed.
    pub fn new(fault: Fault) -> Self {
        Self { fault, method: None, path_part: String::new(), skip: 0, times: u64::MAX }
    }

    /// Only on requests of this HTTP method (`PUT`, `GET`, …).
    #[must_use]
    pub fn method(mut self, method: &'static str) -> Self {
        self.method = Some(method);
        self
    }

    /// Only on requests whose path contains `part`, as sent (percent-encoded).
    #[must_use]
    pub fn path_contains(mut self, part: &str) -> Self {
        part.clone_into(&mut self.path_part);
        self
    }

    /// Only after `skip` matching requests went through.
    #[must_use]
    pub fn after(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// Only on the next `times` matching requests.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    fn strikes(&mut self, method: &str, path: &str) -> bool {
        if self.times == 0 || self.method.is_some_and(|m| m != method) || !path.contains(&self.path_part) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

impl Faults {
    /// Adds a rule; the first rule that matches a request strikes.
    pub fn add(&self, rule: FaultRule) {
        self.0.rules.lock().push(rule);
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.0.rules.lock().clear();
    }

    /// How many requests came in, faulty ones included.
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// How many requests a fault struck.
    pub fn struck(&self) -> u64 {
        self.0.struck.load(Ordering::Relaxed)
    }

    pub(super) fn strike(&self, method: &str, path: &str) -> Option<Fault> {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        let fault = self.0.rules.lock().iter_mut().find_map(|rule| rule.strikes(method, path).then_some(rule.fault));
        self.0.struck.fetch_add(u64::from(fault.is_some()), Ordering::Relaxed);
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_strikes_only_what_it_names() {
        let faults = Faults::default();
        faults.add(FaultRule::new(Fault::SlowDown).method("PUT").path_contains("manifest/").after(1).times(2));
        let struck: Vec<bool> = [
            ("GET", "/b/manifest/1"),
            ("PUT", "/b/other"),
            ("PUT", "/b/manifest/1"),
            ("PUT", "/b/manifest/2"),
            ("PUT", "/b/manifest/3"),
            ("PUT", "/b/manifest/4"),
        ]
        .into_iter()
        .map(|(method, path)| faults.strike(method, path).is_some())
        .collect();
        assert_eq!(struck, [false, false, false, true, true, false]);
        assert_eq!((faults.requests(), faults.struck()), (6, 2));
    }
}
