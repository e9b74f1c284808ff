//! The flags by which a command says which profiles it is about.

use clap::{Args, ValueEnum};
use flamestore_model::{Selector, names};
use flamestore_proto::v1::{self, Selection};

use crate::failure::{Failure, Outcome};
use crate::time::{Span, Time, now};

/// When, for every command that reads.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Selection")]
pub(crate) struct Window {
    /// Start of the time range: RFC 3339, a date, a unix time, or relative as `now-1h30m`.
    #[arg(long, env = "FLAMESTORE_FROM", default_value = "now-1h", value_name = "TIME", allow_hyphen_values = true)]
    from: Time,
    /// End of the time range; a profile at exactly this time is not included.
    #[arg(long, env = "FLAMESTORE_TO", default_value = "now", value_name = "TIME", allow_hyphen_values = true)]
    to: Time,
}

/// Which profiles, for commands that need to be told.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Selection")]
pub(crate) struct Required {
    /// A profile type and label matchers, as `process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name="api"}`.
    #[arg(long, short, env = "FLAMESTORE_QUERY", value_name = "SELECTOR", value_parser = selector)]
    pub(crate) query: String,
    #[command(flatten)]
    window: Window,
}

/// Which profiles are compared with which.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Selection")]
pub(crate) struct Sides {
    /// What both sides select, as `process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name="api"}`.
    #[arg(long, short, env = "FLAMESTORE_QUERY", value_name = "SELECTOR", value_parser = selector,
          required_unless_present_all = ["before_query", "after_query"])]
    query: Option<String>,
    /// What the side before selects, where it differs from --query.
    #[arg(long, env = "FLAMESTORE_BEFORE_QUERY", value_name = "SELECTOR", value_parser = selector)]
    before_query: Option<String>,
    /// What the side after selects, where it differs from --query.
    #[arg(long, env = "FLAMESTORE_AFTER_QUERY", value_name = "SELECTOR", value_parser = selector)]
    after_query: Option<String>,
    /// The time range before, `A..B`; its end is not included.
    #[arg(long, env = "FLAMESTORE_BEFORE", value_name = "A..B", allow_hyphen_values = true)]
    before: Span,
    /// The time range after, `A..B`; its end is not included.
    #[arg(long, env = "FLAMESTORE_AFTER", value_name = "A..B", allow_hyphen_values = true)]
    after: Span,
}

/// What the values of a series over time become; series are added up after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Combine {
    /// What suits the type: the average of instant values (memory in use, goroutines), the last of cumulative ones (allocations
    /// since the process started), the sum of all others.
    Auto,
    /// The sum.
    Sum,
    /// The average over the profiles of the series, to the nearest whole number.
    Average,
    /// Those of the last profile.
    Last,
    /// The largest of each stack.
    Max,
    /// By how much they grew from the first profile on, restarts of the process aside.
    Added,
}

impl Sides {
    /// What is before, and what is after.
    pub(crate) fn selections(&self) -> Outcome<(Selection, Selection)> {
        let now = now();
        let side = |flag: &str, own: &Option<String>, span: Span| {
            let query = own.as_ref().or(self.query.as_ref()).map(String::as_str).unwrap_or_default();
            selection(query, span, now).map_err(|e| Failure::new(format!("{flag}: {e}")))
        };
        Ok((side("--before", &self.before_query, self.before)?, side("--after", &self.after_query, self.after)?))
    }
}

impl Combine {
    /// The number in a request.
    pub(crate) fn wire(self) -> i32 {
        match self {
            Self::Auto => v1::Combine::Auto.into(),
            Self::Sum => v1::Combine::Sum.into(),
            Self::Average => v1::Combine::Average.into(),
            Self::Last => v1::Combine::Last.into(),
            Self::Max => v1::Combine::Max.into(),
            Self::Added => v1::Combine::Added.into(),
        }
    }
}

/// Which profiles, for commands that list everything unless told otherwise.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Selection")]
pub(crate) struct Optional {
    /// A profile type and label matchers, as `{service_name="api"}`; everything when absent.
    #[arg(long, short, env = "FLAMESTORE_QUERY", default_value = "", hide_default_value = true, value_name = "SELECTOR", value_parser = selector)]
    query: String,
    #[command(flatten)]
    window: Window,
}

impl Window {
    fn selection(self, query: &str) -> Outcome<Selection> {
        let span = Span { start: self.from, end: self.to };
        selection(query, span, now()).map_err(|e| Failure::new(format!("--from and --to: {e}")))
    }
}

impl Required {
    /// The selection as the API wants it.
    pub(crate) fn selection(&self) -> Outcome<Selection> {
        self.window.selection(&self.query)
    }
}

impl Optional {
    /// The selection as the API wants it.
    pub(crate) fn selection(&self) -> Outcome<Selection> {
        self.window.selection(&self.query)
    }
}

/// `query` within `span`.
///
/// # Errors
/// `Invalid` when the span ends before it starts.
pub(crate) fn selection(query: &str, span: Span, now: i64) -> flamestore_model::Result<Selection> {
    let range = span.resolve(now)?;
    Ok(Selection { query: query.to_owned(), start_unix_nano: range.start, end_unix_nano: range.end })
}

/// Reads a selector, so that a typing mistake is found before a server is asked; kept as text.
pub(crate) fn selector(text: &str) -> flamestore_model::Result<String> {
    text.parse::<Selector>().map(|_| text.to_owned())
}

/// The unit of the values that `query` selects; empty when it names no profile type.
pub(crate) fn unit(query: &str) -> String {
    let selector: Selector = query.parse().unwrap_or_default();
    let ty = selector.equal(names::PROFILE_TYPE).and_then(|id| id.parse::<flamestore_model::ProfileType>().ok());
    ty.map(|ty| ty.sample_unit).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_that_of_the_profile_type() {
        assert_eq!(unit(r#"memory:inuse_space:bytes:space:bytes{a="b"}"#), "bytes");
        assert_eq!(unit(r#"{a="b"}"#), "");
    }

    #[test]
    fn a_wrong_selector_is_refused_before_a_server_is_asked() {
        assert!(selector(r#"a:b:c:d:e{x="1"}"#).is_ok());
        assert!(selector("{x=1}").is_err());
    }
}
