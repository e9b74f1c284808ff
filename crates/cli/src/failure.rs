//! What ends a command early, and how it is told.

use std::fmt;
use std::io;

/// Why a command did not do what it was asked: a message, and what may help.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    quiet: bool,
}

/// The result of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure that says `message`.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, quiet: false }
    }

    /// Exit code 1 and nothing more to say: it has been said.
    pub(crate) fn told() -> Self {
        Self { message: String::new(), hint: None, quiet: true }
    }

    /// Adds what may help.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The failure of reading or writing `what`.
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        Self::new(format!("{what}: {error}"))
    }

    /// Whether there is something to print.
    pub(crate) fn is_told(&self) -> bool {
        self.quiet
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<flamestore_model::Error> for Failure {
    fn from(error: flamestore_model::Error) -> Self {
        Self::new(error.to_string())
    }
}
