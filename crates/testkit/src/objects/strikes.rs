//! Weather that a test rules: good, but for the requests it strikes.

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use parking_lot::Mutex;

use super::{Fate, ObjectRequest, RequestKind, Weather};

/// Rules of a test; the first that matches a request and is not used up decides its fate.
#[derive(Debug, Default)]
pub struct Strikes(Mutex<Rules>);

#[derive(Debug, Default)]
struct Rules {
    rules: Vec<(Fate, Option<RequestKind>, String, u64)>,
    answered_max: Option<u64>,
    now_unix_nano: i64,
}

impl Strikes {
    /// The next `times` requests whose path contains `part`, of `kind` if one is given, meet `fate`.
    pub fn strike(&self, fate: Fate, kind: Option<RequestKind>, part: &str, times: u64) {
        self.0.lock().rules.push((fate, kind, part.to_owned(), times));
    }

    /// Every request after the next `requests` ones is refused: the store is gone.
    pub fn end_after(&self, requests: u64) {
        self.0.lock().answered_max = Some(requests);
    }

    /// Good weather again.
    pub fn clear(&self) {
        let mut rules = self.0.lock();
        *rules = Rules { now_unix_nano: rules.now_unix_nano, ..Rules::default() };
    }

    /// Objects written from now on are as old as `unix_nano`.
    pub fn set_time(&self, unix_nano: i64) {
        self.0.lock().now_unix_nano = unix_nano;
    }
}

impl Rules {
    fn fate(&mut self, request: &ObjectRequest) -> Fate {
        if let Some(left) = &mut self.answered_max {
            if *left == 0 {
                return Fate::Refused;
            }
            *left -= 1;
        }
        let matches = |(_, kind, part, times): &&mut (Fate, Option<RequestKind>, String, u64)| {
            *times > 0 && kind.is_none_or(|kind| kind == request.kind) && request.path.contains(part.as_str())
        };
        match self.rules.iter_mut().find(matches) {
            Some(rule) => {
                rule.3 -= 1;
                rule.0
            }
            None => Fate::Done,
        }
    }
}

impl Weather for Strikes {
    fn arrive(&self, request: &ObjectRequest) -> BoxFuture<'static, Fate> {
        ready(self.0.lock().fate(request)).boxed()
    }

    fn answer(&self, _: &ObjectRequest, _: &str) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    fn now_unix_nano(&self) -> i64 {
        self.0.lock().now_unix_nano
    }
}
