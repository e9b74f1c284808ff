//! What an object store meets: requests, and what becomes of them.

use std::fmt;

use futures::future::BoxFuture;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestKind {
    /// An object that must not exist yet.
    Create,
    /// An object, whether or not there is one.
    Put,
    /// An object or a range of it.
    Get,
    /// An object's size.
    Head,
    /// The objects below a folder.
    List,
    /// That an object is gone.
    Delete,
}

/// A request on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRequest {
    /// What it asks for.
    pub kind: RequestKind,
    /// The object, or the folder to list.
    pub path: String,
    /// Bytes it carries, or those of the range it asks for; 0 where it asks for all.
    pub bytes: u64,
}

impl fmt::Display for ObjectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {}", self.kind, self.path, self.bytes)
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out and answered.
    Done,
    /// It fails and nothing is done.
    Refused,
    /// It is told to come back later (503 `SlowDown`) and nothing is done.
    Throttled,
    /// It is carried out, and then fails.
    AnswerLost,
    /// It is carried out, and a create is then told that the object exists: what a client sees that repeats a request whose
    /// answer was lost.
    Repeated,
    /// A create overwrites what exists, as a store does that ignores the condition.
    Overwrites,
    /// A body that is read ends in the middle with an error.
    CutShort,
}

/// Decides what becomes of requests, and when.
pub trait Weather: fmt::Debug + Send + Sync + 'static {
    /// Returns when `request` reaches the store, with what becomes of it there.
    fn arrive(&self, request: &ObjectRequest) -> BoxFuture<'static, Fate>;

    /// Returns when the answer to `request` may reach its client; `outcome` says what it is.
    fn answer(&self, request: &ObjectRequest, outcome: &str) -> BoxFuture<'static, ()>;

    /// The time that objects written now get, in nanoseconds since 1970.
    fn now_unix_nano(&self) -> i64;
}
