//! The one error of the workspace: its kind says what the caller should do, its text what was wrong and where.

use std::fmt;
use std::time::Duration;

/// The result of every fallible call of the workspace.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller should do about an error.
///
/// | kind | caller | gRPC | Connect | HTTP |
/// |---|---|---|---|---|
/// | `Invalid` | fix the request | `INVALID_ARGUMENT` | `invalid_argument` | 400 |
/// | `NotFound` | ask for something that exists | `NOT_FOUND` | `not_found` | 404 |
/// | `Unavailable` | retry later | `UNAVAILABLE` | `unavailable` | 503 |
/// | `Conflict` | re-read, then retry | `ABORTED` | `aborted` | 409 |
/// | `Fenced` | stop: another writer took over | `FAILED_PRECONDITION` | `failed_precondition` | 412 |
/// | `Corrupt` | do not retry; restore the named object | `DATA_LOSS` | `data_loss` | 500 |
/// | `Exhausted` | send less, or raise the named limit | `RESOURCE_EXHAUSTED` | `resource_exhausted` | 429 |
/// | `Unsupported` | ask for something else: this is known and not done | `UNIMPLEMENTED` | `unimplemented` | 501 |
/// | `Internal` | report a bug | `INTERNAL` | `internal` | 500 |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request or the bytes sent are wrong.
    Invalid,
    /// A named thing does not exist.
    NotFound,
    /// Something needed cannot be reached now.
    Unavailable,
    /// Somebody else changed what this call started from.
    Conflict,
    /// This writer was replaced and must not write again.
    Fenced,
    /// A stored object is not what was written.
    Corrupt,
    /// A limit was reached; the text names it and its value.
    Exhausted,
    /// A part of a protocol that is known and not answered here.
    Unsupported,
    /// A bug of ours.
    Internal,
}

impl ErrorKind {
    /// The kind in lowercase, as metrics and logs print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Fenced => "fenced",
            Self::Corrupt => "corrupt",
            Self::Exhausted => "exhausted",
            Self::Unsupported => "unsupported",
            Self::Internal => "internal",
        }
    }
}

/// An error: a kind, a message, the names and values that locate it, and what caused it.
///
/// Displayed as `message [name=value, …]: cause`; lowercase, no full stop.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    context: Vec<(&'static str, String)>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident),* $(,)?) => {
        impl Error {
            $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self { Self::new(ErrorKind::$kind, message) })*
        }
    };
}

constructors! {
    /// The request is wrong.
    invalid => Invalid,
    /// A named thing does not exist.
    not_found => NotFound,
    /// Retry later.
    unavailable => Unavailable,
    /// Re-read and retry.
    conflict => Conflict,
    /// Stop writing.
    fenced => Fenced,
    /// A stored object is damaged.
    corrupt => Corrupt,
    /// Over a limit; the message names it and its value.
    exhausted => Exhausted,
    /// A part of a protocol that is known and not answered here.
    unsupported => Unsupported,
    /// A bug of ours.
    internal => Internal,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), context: Vec::new(), retry_after: None, source: None }))
    }

    /// Adds a name and a value that locate the error.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((name, value.to_string()));
        self
    }

    /// Adds what caused the error.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says when a retry may succeed; what says nothing is not worth retrying soon, or the caller knows better.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// When a retry may succeed.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was wrong, without the context and the cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (i, (name, value)) in self.0.context.iter().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { " [" } else { ", " })?;
        }
        if !self.0.context.is_empty() {
            f.write_str("]")?;
        }
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_prints_its_message_its_place_and_its_cause() {
        let error = Error::corrupt("checksum differs").with("segment", "s1").with("offset", 7).because("crc32");
        assert_eq!(error.to_string(), "checksum differs [segment=s1, offset=7]: crc32");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.kind().as_str(), "corrupt");
    }
}
