//! What a text of statements holds, and what is done about each: asked of the engine, answered here, or refused.
//!
//! Drivers open every piece of work with `SET`, `BEGIN` and the like. They are answered as PostgreSQL would, and change nothing
//! but what `SHOW` says, `statement_timeout` and the mark that tells a transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use super::failure::{Failure, NOT_SUPPORTED, READ_ONLY, TOO_MANY_KEPT, UNKNOWN_SETTING, WRONG_VALUE};

/// Settings that a client may make of its own.
const SETTINGS_MAX: usize = 64;
const SETTING_BYTES_MAX: usize = 1024;

/// The statements of `text`, each with where it begins, in bytes. Those of nothing but space and remarks are left out.
pub(super) fn split(text: &str) -> Vec<(usize, &str)> {
    let mut statements = Vec::new();
    let mut start = 0;
    let mut rest = Scanner { text, at: 0 };
    let mut has_words = false;
    loop {
        let token = rest.next();
        match token {
            Token::Word => has_words = true,
            Token::Blank => {}
            Token::Semicolon | Token::End => {
                let end = if token == Token::End { rest.at } else { rest.at - 1 };
                if has_words {
                    statements.extend(text.get(start..end).map(|statement| (start, statement)));
                }
                (start, has_words) = (rest.at, false);
                if token == Token::End {
                    return statements;
                }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    /// Anything that is not one of the others.
    Word,
    Blank,
    Semicolon,
    End,
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Passes up to the end of the first `end`, or of the text.
    fn pass(&mut self, skip: usize, end: &str) {
        let from = self.text.get(self.at + skip..).unwrap_or_default();
        self.at = from.find(end).map_or(self.text.len(), |found| self.at + skip + found + end.len());
    }

    fn next(&mut self) -> Token {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Token::End };
        if rest.starts_with("--") {
            self.pass(2, "\n");
            return Token::Blank;
        }
        if rest.starts_with("/*") {
            self.remark();
            return Token::Blank;
        }
        match first {
            ';' => {
                self.at += 1;
                return Token::Semicolon;
            }
            '\'' => self.quoted(),
            '"' => self.pass(1, "\""),
            '$' => self.dollar_quoted(),
            first => {
                self.at += first.len_utf8();
                // a word is passed as a whole, for a $ in it begins nothing
                if first.is_alphanumeric() || first == '_' {
                    let is_inside = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
                    self.at += self.rest().find(|c| !is_inside(c)).unwrap_or(self.rest().len());
                }
                if first.is_whitespace() {
                    return Token::Blank;
                }
            }
        }
        Token::Word
    }

    /// Remarks stand inside of each other.
    fn remark(&mut self) {
        let mut depth = 0_usize;
        loop {
            let rest = self.rest();
            match rest {
                "" => return,
                rest if rest.starts_with("/*") => (depth, self.at) = (depth + 1, self.at + 2),
                rest if rest.starts_with("*/") => (depth, self.at) = (depth.saturating_sub(1), self.at + 2),
                rest => self.at += rest.chars().next().map_or(1, char::len_utf8),
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// A quote inside is written twice; after `E`, a backslash takes the next character with it.
    fn quoted(&mut self) {
        let before = self.text.get(..self.at).unwrap_or_default();
        let has_escapes = before.ends_with(['e', 'E']);
        if !has_escapes {
            self.pass(1, "'");
            return;
        }
        self.at += 1;
        let mut is_escaped = false;
        for c in self.text.get(self.at..).unwrap_or_default().chars() {
            self.at += c.len_utf8();
            match c {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                '\'' => return,
                _ => {}
            }
        }
    }

    /// `$tag$ … $tag$`, or just a `$`.
    fn dollar_quoted(&mut self) {
        let rest = self.rest();
        let tag = rest.get(1..).and_then(|rest| rest.find('$')).and_then(|end| rest.get(..end + 2));
        let is_tag = |tag: &str| {
            let inner = tag.trim_matches('$');
            !inner.starts_with(|c: char| c.is_ascii_digit()) && inner.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        match tag.filter(|tag| is_tag(tag)).map(str::to_owned) {
            Some(tag) => self.pass(tag.len(), &tag),
            None => self.at += 1,
        }
    }
}

/// The words of a statement that begin it, in upper case and without remarks.
fn words(statement: &str) -> Vec<String> {
    let mut scanner = Scanner { text: statement, at: 0 };
    let mut words = Vec::new();
    while words.len() < 4 {
        let start = scanner.at;
        match scanner.next() {
            Token::Word => words.extend(statement.get(start..scanner.at).map(str::to_uppercase)),
            Token::Blank => {}
            Token::Semicolon | Token::End => break,
        }
    }
    words
}

/// What is done about a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The engine is asked; the word begins what clients are told at the end.
    Query(&'static str),
    /// A transaction begins.
    Begin(&'static str),
    /// It ends.
    End(&'static str),
    /// It goes on from a mark that was set, as if nothing had failed since.
    RollBackTo,
    /// A name is to be shown.
    Show(String),
    /// A name is to have a value.
    Set(String, String),
    /// Prepared statements are forgotten: one, or all.
    Deallocate(Option<String>),
    /// Everything that was set and prepared is forgotten.
    Discard,
    /// Nothing is done, and this is said.
    Nothing(&'static str),
}

/// What is done about `statement`, which has words.
///
/// # Errors
/// Refuses what would change something, and what is not there.
pub(super) fn kind(statement: &str) -> Result<Kind, Failure> {
    let words = words(statement);
    let word = |at: usize| words.get(at).map(String::as_str).unwrap_or_default();
    let unsupported = |what: &str| Err(Failure::new(NOT_SUPPORTED, format!("{what} is not supported")));
    match word(0) {
        "EXPLAIN" => Ok(Kind::Query("EXPLAIN")),
        "BEGIN" => Ok(Kind::Begin("BEGIN")),
        "START" => Ok(Kind::Begin("START TRANSACTION")),
        "COMMIT" | "END" => Ok(Kind::End("COMMIT")),
        "ROLLBACK" if word(1) == "TO" || word(2) == "TO" => Ok(Kind::RollBackTo),
        "ROLLBACK" | "ABORT" => Ok(Kind::End("ROLLBACK")),
        "SAVEPOINT" => Ok(Kind::Nothing("SAVEPOINT")),
        "RELEASE" => Ok(Kind::Nothing("RELEASE")),
        "SHOW" => match word(1) {
            "TABLES" | "COLUMNS" | "FUNCTIONS" => Ok(Kind::Query("SHOW")),
            "TRANSACTION" => Ok(Kind::Show("transaction_isolation".to_owned())),
            "TIME" => Ok(Kind::Show("timezone".to_owned())),
            _ => Ok(Kind::Show(rest(statement, "SHOW").trim_matches('"').to_lowercase())),
        },
        "SET" => set(statement, word(1)),
        "RESET" => Ok(Kind::Nothing("RESET")),
        "DISCARD" => Ok(Kind::Discard),
        "DEALLOCATE" => {
            let name = rest(statement, "DEALLOCATE");
            let name = name.strip_prefix("PREPARE ").unwrap_or(&name).trim().trim_matches('"').to_owned();
            Ok(Kind::Deallocate((!name.eq_ignore_ascii_case("all")).then_some(name)))
        }
        "CLOSE" => Ok(Kind::Nothing("CLOSE CURSOR")),
        "LISTEN" | "UNLISTEN" => Ok(Kind::Nothing("LISTEN")),
        word @ ("COPY" | "DECLARE" | "FETCH" | "MOVE" | "EXECUTE" | "CALL" | "DO" | "LOAD" | "NOTIFY" | "LOCK"
        | "PREPARE") => unsupported(word),
        word @ ("INSERT" | "UPDATE" | "DELETE" | "MERGE" | "CREATE" | "DROP" | "ALTER" | "TRUNCATE" | "GRANT"
        | "REVOKE" | "COMMENT" | "VACUUM" | "ANALYZE" | "REINDEX" | "CLUSTER" | "REFRESH" | "IMPORT"
        | "SECURITY" | "REASSIGN" | "CHECKPOINT") => {
            Err(Failure::new(READ_ONLY, format!("cannot execute {word} in a read-only transaction")))
        }
        _ => Ok(Kind::Query("SELECT")),
    }
}

/// What follows `word`, which begins `statement`.
fn rest(statement: &str, word: &str) -> String {
    let upper = statement.to_ascii_uppercase();
    let start = upper.find(word).map_or(0, |at| at + word.len());
    statement.get(start..).unwrap_or_default().trim().trim_end_matches(';').trim().to_owned()
}

fn set(statement: &str, second: &str) -> Result<Kind, Failure> {
    if matches!(second, "TRANSACTION" | "CONSTRAINTS" | "ROLE") {
        return Ok(Kind::Nothing("SET"));
    }
    let text = rest(statement, "SET");
    let upper = text.to_ascii_uppercase();
    let text = match () {
        () if upper.starts_with("SESSION CHARACTERISTICS") || upper.starts_with("SESSION AUTHORIZATION") => {
            return Ok(Kind::Nothing("SET"));
        }
        () if upper.starts_with("SESSION ") => text.get("SESSION ".len()..).unwrap_or_default(),
        () if upper.starts_with("LOCAL ") => text.get("LOCAL ".len()..).unwrap_or_default(),
        () => &text,
    };
    if text.to_ascii_uppercase().starts_with("TIME ZONE") {
        let zone = text.get("TIME ZONE".len()..).unwrap_or_default();
        return Ok(Kind::Set("timezone".to_owned(), unquoted(zone)));
    }
    let end = text.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(text.len());
    let (name, value) = text.split_at(end);
    let value = value.trim_start();
    let value = value
        .strip_prefix('=')
        .or_else(|| value.get(..2).filter(|to| to.eq_ignore_ascii_case("to")).and_then(|_| value.get(2..)));
    match value {
        Some(value) if !name.is_empty() => Ok(Kind::Set(name.trim_matches('"').to_lowercase(), unquoted(value))),
        _ => Err(Failure::new(super::failure::SYNTAX, "SET takes a name and a value")),
    }
}

fn unquoted(value: &str) -> String {
    value.trim().trim_matches('\'').replace("''", "'")
}

/// What `SHOW` says.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    own: BTreeMap<String, String>,
}

/// What is told at the start of a connection, and by `SHOW`.
pub(super) const TOLD: [(&str, &str); 10] = [
    ("server_version", "15.0 (Flamestore)"),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("default_transaction_read_only", "on"),
    ("in_hot_standby", "off"),
];

const SHOWN: [(&str, &str); 11] = [
    ("server_version_num", "150000"),
    ("transaction_read_only", "on"),
    ("transaction_isolation", "repeatable read"),
    ("default_transaction_isolation", "repeatable read"),
    ("search_path", "public"),
    ("statement_timeout", "0"),
    ("application_name", ""),
    ("extra_float_digits", "1"),
    ("max_identifier_length", "63"),
    ("is_superuser", "off"),
    ("lc_collate", "C.UTF-8"),
];

impl Settings {
    pub(super) fn new() -> Self {
        Self { own: BTreeMap::new() }
    }

    /// The value of `name`.
    ///
    /// # Errors
    /// When it is not known.
    pub(super) fn get(&self, name: &str) -> Result<&str, Failure> {
        let own = self.own.get(&name.to_lowercase()).map(String::as_str);
        let known = || TOLD.iter().chain(&SHOWN).find(|(known, _)| known.eq_ignore_ascii_case(name));
        own.or_else(|| known().map(|(_, value)| *value))
            .ok_or_else(|| Failure::new(UNKNOWN_SETTING, format!("unrecognized configuration parameter {name:?}")))
    }

    /// Gives `name` a value; only `statement_timeout` has an effect.
    ///
    /// # Errors
    /// For an encoding other than UTF-8, a timeout that is none, and too many names.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        let name = name.to_lowercase();
        let is_utf8 = || ["utf8", "utf-8", "unicode", "default"].contains(&value.to_lowercase().as_str());
        match name.as_str() {
            "client_encoding" if !is_utf8() => return Err(Failure::new(NOT_SUPPORTED, "texts are UTF-8")),
            "client_encoding" | "names" => return Ok(()),
            "statement_timeout" => _ = timeout(value)?,
            _ => {}
        }
        if value.eq_ignore_ascii_case("default") {
            self.own.remove(&name);
            return Ok(());
        }
        if name.len() + value.len() > SETTING_BYTES_MAX
            || (self.own.len() >= SETTINGS_MAX && !self.own.contains_key(&name))
        {
            return Err(Failure::new(TOO_MANY_KEPT, "too many settings, or too long a one"));
        }
        self.own.insert(name, value.to_owned());
        Ok(())
    }

    /// Forgets what was set.
    pub(super) fn clear(&mut self) {
        self.own.clear();
    }

    /// How long a statement may take.
    pub(super) fn statement_timeout(&self) -> Option<Duration> {
        self.get("statement_timeout").ok().and_then(|value| timeout(value).ok().flatten())
    }
}

/// Reads `500`, milliseconds, or `5s`; 0 stands for none.
fn timeout(value: &str) -> Result<Option<Duration>, Failure> {
    if value.eq_ignore_ascii_case("default") {
        return Ok(None);
    }
    let millis = value.parse().ok().map(Duration::from_millis);
    let duration = millis.or_else(|| humantime::parse_duration(value).ok());
    let wrong = || Failure::new(WRONG_VALUE, format!("invalid value for parameter \"statement_timeout\": {value:?}"));
    duration.map(|duration| Some(duration).filter(|duration| !duration.is_zero())).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_apart() {
        let split =
            |text| split(text).into_iter().map(|(at, statement)| format!("{at}:{statement}")).collect::<Vec<_>>();
        assert_eq!(split("SELECT 1; SELECT 2;"), ["0:SELECT 1", "9: SELECT 2"]);
        assert_eq!(split(" ;; -- ping\n/* a; /* b */ ; */"), Vec::<String>::new());
        assert_eq!(
            split("SELECT 'a;''b', \"c;d\", $x$;$y$;$x$, E'\\';', a$b"),
            ["0:SELECT 'a;''b', \"c;d\", $x$;$y$;$x$, E'\\';', a$b"]
        );
        assert_eq!(split("SELECT $1; SELECT $2"), ["0:SELECT $1", "10: SELECT $2"]);
        assert_eq!(split("SELECT 'open"), ["0:SELECT 'open"]);
        assert_eq!(split("SELECT 1 -- a; b"), ["0:SELECT 1 -- a; b"]);
        assert_eq!(split("SELECT 'ä';x"), ["0:SELECT 'ä'", "12:x"]);
    }

    #[test]
    fn what_drivers_say_is_known() {
        let check = |statement: &str, expected: Kind| assert_eq!(kind(statement), Ok(expected), "{statement}");
        check("/* x */ select 1", Kind::Query("SELECT"));
        check("(SELECT 1)", Kind::Query("SELECT"));
        check("BEGIN ISOLATION LEVEL READ COMMITTED", Kind::Begin("BEGIN"));
        check("rollback", Kind::End("ROLLBACK"));
        let set = |name: &str, value: &str| Kind::Set(name.to_owned(), value.to_owned());
        check("SET extra_float_digits = 3", set("extra_float_digits", "3"));
        check("SET SESSION application_name TO 'a b'", set("application_name", "a b"));
        check("set time zone 'UTC'", set("timezone", "UTC"));
        check("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Kind::Nothing("SET"));
        check("SHOW Server_Version;", Kind::Show("server_version".to_owned()));
        check("SHOW TABLES", Kind::Query("SHOW"));
        check("DEALLOCATE ALL", Kind::Deallocate(None));
        check("DEALLOCATE \"s1\"", Kind::Deallocate(Some("s1".to_owned())));
        for (statement, code) in
            [("INSERT INTO a VALUES (1)", READ_ONLY), ("drop table a", READ_ONLY), ("COPY a TO STDOUT", NOT_SUPPORTED)]
        {
            assert_eq!(kind(statement).unwrap_err().code, code, "{statement}");
        }
    }

    #[test]
    fn settings_are_kept_within_bounds() {
        let mut settings = Settings::new();
        assert_eq!(settings.get("datestyle"), Ok("ISO, MDY"));
        settings.set("Statement_Timeout", "5s").unwrap();
        assert_eq!(settings.statement_timeout(), Some(Duration::from_secs(5)));
        settings.set("statement_timeout", "0").unwrap();
        assert_eq!(settings.statement_timeout(), None);
        assert_eq!(settings.set("statement_timeout", "soon").unwrap_err().code, WRONG_VALUE);
        assert_eq!(settings.set("client_encoding", "LATIN1").unwrap_err().code, NOT_SUPPORTED);
        let set = |at: usize| settings.set(&format!("a{at}"), "b");
        assert!((0..2 * SETTINGS_MAX).map(set).any(|set| set.is_err()));
        assert_eq!(Settings::new().get("nothing").unwrap_err().code, UNKNOWN_SETTING);
    }
}
