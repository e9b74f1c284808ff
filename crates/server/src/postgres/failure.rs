//! Errors as PostgreSQL tells them: a code of five characters (SQLSTATE), a text, and where in the statement.

use flamestore_model::{Error, ErrorKind};
use tonic::{Code, Status};

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// SQLSTATE.
    pub(super) code: &'static str,
    pub(super) message: String,
    /// The line and the column of the statement, both from 1 on.
    pub(super) place: Option<(usize, usize)>,
    /// Whether the connection ends.
    pub(super) is_fatal: bool,
}

pub(super) const WARNING: &str = "01000";
pub(super) const BAD_MESSAGE: &str = "08P01";
pub(super) const NOT_SUPPORTED: &str = "0A000";
pub(super) const READ_ONLY: &str = "25006";
pub(super) const TRANSACTION_FAILED: &str = "25P02";
pub(super) const NO_STATEMENT: &str = "26000";
pub(super) const NOT_ALLOWED: &str = "28000";
pub(super) const NO_PORTAL: &str = "34000";
pub(super) const NO_DATABASE: &str = "3D000";
pub(super) const WRONG_TEXT: &str = "22P02";
pub(super) const WRONG_BINARY: &str = "22P03";
pub(super) const WRONG_VALUE: &str = "22023";
pub(super) const SYNTAX: &str = "42601";
pub(super) const DUPLICATE_STATEMENT: &str = "42P05";
pub(super) const UNKNOWN_SETTING: &str = "42704";
pub(super) const TOO_MANY_CONNECTIONS: &str = "53300";
pub(super) const TOO_MANY_KEPT: &str = "53400";
pub(super) const TOO_LONG: &str = "54000";
pub(super) const CANCELLED: &str = "57014";
pub(super) const SHUTTING_DOWN: &str = "57P01";
pub(super) const IDLE: &str = "57P05";
const OUT_OF_MEMORY: &str = "53200";

impl Failure {
    /// One that ends the statement.
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), place: None, is_fatal: false }
    }

    /// One that ends the connection.
    pub(super) fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self { is_fatal: true, ..Self::new(code, message) }
    }

    /// A request to stop was heard.
    pub(super) fn cancelled() -> Self {
        Self::new(CANCELLED, "canceling statement due to user request")
    }

    /// What ended a statement before its time.
    pub(super) fn of_status(status: &Status) -> Self {
        match status.code() {
            Code::DeadlineExceeded => Self::new(CANCELLED, format!("canceling statement: {}", status.message())),
            Code::Unavailable => Self::fatal(SHUTTING_DOWN, status.message()),
            _ => Self::new("XX000", status.message()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let code = match error.kind() {
            ErrorKind::Invalid => code_of_text(&text),
            ErrorKind::NotFound => "42704",
            ErrorKind::Unavailable => "57P03",
            ErrorKind::Conflict | ErrorKind::Fenced => "55000",
            ErrorKind::Corrupt => "XX001",
            ErrorKind::Exhausted if text.contains("[requests_max=") => TOO_MANY_CONNECTIONS,
            ErrorKind::Exhausted if text.starts_with("the statement ") => TOO_LONG,
            ErrorKind::Exhausted => OUT_OF_MEMORY,
            ErrorKind::Unsupported => NOT_SUPPORTED,
            ErrorKind::Internal => "XX000",
        };
        match error.kind() {
            ErrorKind::Internal | ErrorKind::Corrupt => tracing::error!(%error, "a statement failed"),
            kind => tracing::debug!(%error, kind = kind.as_str(), "a statement failed"),
        }
        let place = place_in(&text, "[line=", ", column=").or_else(|| place_in(&text, "Line: ", ", Column: "));
        Self { code, message: text, place, is_fatal: false }
    }
}

/// The code of what is wrong with a statement. DataFusion tells it in words only; the first words that are found count.
fn code_of_text(text: &str) -> &'static str {
    const WORDS: [(&str, &str); 24] = [
        ("ParserError", SYNTAX),
        ("TokenizerError", SYNTAX),
        ("SQL error", SYNTAX),
        ("DDL not supported", READ_ONLY),
        ("DML not supported", READ_ONLY),
        ("Statement not supported", READ_ONLY),
        ("Query INSERT", READ_ONLY),
        ("Query UPDATE", READ_ONLY),
        ("Query DELETE", READ_ONLY),
        ("No field named", "42703"),
        ("Ambiguous reference", "42702"),
        ("' not found", "42P01"),
        ("table function", "42883"),
        ("Invalid function", "42883"),
        ("No function matches", "42883"),
        ("Divide by zero", "22012"),
        ("verflow", "22003"),
        ("Cast error", WRONG_TEXT),
        ("Cannot cast", WRONG_TEXT),
        ("Parser error", WRONG_TEXT),
        ("parameter", WRONG_VALUE),
        ("must appear in the GROUP BY clause", "42803"),
        ("not implemented", NOT_SUPPORTED),
        ("coerc", "42804"),
    ];
    WORDS.iter().find(|(words, _)| text.contains(words)).map_or("42000", |(_, code)| code)
}

/// The place that an error names last: its line after `before`, its column after `between`.
fn place_in(text: &str, before: &str, between: &str) -> Option<(usize, usize)> {
    let (_, place) = text.rsplit_once(before)?;
    let (line, rest) = place.split_once(between)?;
    let column = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

/// Where in `text` a place is, in characters from 1 on.
pub(super) fn position(text: &str, (line, column): (usize, usize)) -> Option<usize> {
    let before: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(|line| line.chars().count()).sum();
    Some(before + column).filter(|position| *position <= text.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_codes_and_places() {
        let check = |error: Error, code: &str, place: Option<(usize, usize)>| {
            let failure = Failure::from(error);
            assert_eq!((failure.code, failure.place), (code, place), "{}", failure.message);
        };
        let wrong =
            "a query failed: SQL error: ParserError(\"Expected: an expression, found: EOF at Line: 2, Column: 7\")";
        check(Error::invalid(wrong), "42601", Some((2, 7)));
        let unknown = Error::invalid("a query failed: Error during planning: table 'flamestore.public.x' not found");
        check(unknown.with("line", 1).with("column", 15), "42P01", Some((1, 15)));
        check(Error::exhausted("queries need more memory"), "53200", None);
        check(Error::exhausted("full").with("requests_max", 1), "53300", None);
        check(Error::corrupt("damaged"), "XX001", None);
    }

    #[test]
    fn places_become_positions() {
        assert_eq!(position("SELECT\n 1", (2, 2)), Some(9));
        assert_eq!(position("ä b", (1, 3)), Some(3));
        assert_eq!(position("a", (7, 1)), Some(2));
        assert_eq!(position("a", (0, 1)), None);
        assert_eq!(position("a", (1, 9)), None);
    }
}
