//! The prompt: statements of any number of lines, ended by `;`, and commands that begin with `\`.
//!
//! | | |
//! |---|---|
//! | `\d`, `\d TABLE` | the tables; the columns of one |
//! | `\timing` | says how long each statement took, or no longer |
//! | `\?` | this list |
//! | `\q`, Ctrl-D | the end |
//!
//! Ctrl-C gives up what is typed, or cancels the statement that runs.

use std::path::PathBuf;
use std::time::Instant;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Editor, Helper};
use sqlparser::dialect::GenericDialect;
use sqlparser::tokenizer::{Location, Token, Tokenizer};

use super::print::{self, Out};
use super::source::Source;
use super::{Format, note_more};
use crate::client::warn_damaged;
use crate::failure::{Failure, Outcome};
use crate::output::note;

const PROMPT: &str = "flamestore> ";
const TABLES: &str = "SELECT table_schema, table_name, table_type FROM information_schema.tables \
                      WHERE table_schema <> 'information_schema' ORDER BY table_schema, table_name";
const HELP: &str = "\
A statement ends with `;` and may have many lines.
\\d          lists the tables
\\d TABLE    lists the columns of a table
\\timing     says how long each statement took, or no longer
\\q, Ctrl-D  ends
Ctrl-C gives up what is typed, or cancels the statement that runs.";

/// What a prompt asks, and how it shows what is answered.
#[derive(Debug)]
pub(super) struct Prompt {
    pub(super) source: Source,
    pub(super) format: Format,
    /// Rows of an answer at most.
    pub(super) rows_max: Option<u64>,
    /// Whether it says how long statements take.
    pub(super) is_timed: bool,
}

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    Statements(Vec<String>),
    Timing,
    Help,
    End,
    /// A command that there is not.
    Unknown(String),
}

type LineEditor = Editor<Statements, FileHistory>;

impl Prompt {
    /// Asks and answers until there is nothing more to ask; `history` is the file that keeps what was typed.
    ///
    /// # Errors
    /// When the terminal cannot be read.
    pub(super) async fn run(mut self, history: Option<PathBuf>) -> Outcome {
        let failed = |e: ReadlineError| Failure::new(format!("the terminal: {e}"));
        let mut editor = LineEditor::new().map_err(failed)?;
        editor.set_helper(Some(Statements));
        if let Some(history) = &history {
            // there is none before the first time
            let _ = editor.load_history(history);
        }
        note("\\d lists the tables, \\? what else there is; a statement ends with `;`");
        loop {
            let read;
            (editor, read) = read_line(editor).await?;
            let text = match read {
                Ok(text) => text,
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(failed(error)),
            };
            if !text.trim().is_empty() {
                editor.add_history_entry(text.trim()).map_err(failed)?;
            }
            if let Some(history) = &history
                && let Err(error) = editor.append_history(history)
            {
                note(&format!("warning: the history is not kept: {}: {error}", history.display()));
            }
            match typed(&text) {
                Typed::Statements(statements) => self.answer_all(&statements).await,
                Typed::Timing => {
                    self.is_timed = !self.is_timed;
                    note(if self.is_timed { "timing is on" } else { "timing is off" });
                }
                Typed::Help => note(HELP),
                Typed::Unknown(command) => note(&format!("there is no command {command}; \\? lists them")),
                Typed::End => return Ok(()),
            }
        }
    }

    /// Answers statements in turn, up to the first that fails or is cancelled.
    async fn answer_all(&self, statements: &[String]) {
        for statement in statements {
            let started = Instant::now();
            let answered = tokio::select! {
                answered = self.answer(statement) => answered,
                _ = tokio::signal::ctrl_c() => Err(Failure::new("the statement was cancelled")),
            };
            match answered {
                Ok(rows) => note(&told(rows, self.is_timed.then(|| started.elapsed()))),
                Err(failure) => return note(&failure.to_string()),
            }
        }
    }

    async fn answer(&self, statement: &str) -> Outcome<u64> {
        let mut rows = self.source.ask(statement, self.rows_max).await?;
        let count = print::write(&mut rows, self.format, &mut Out::stdout()).await?;
        note_more(rows.has_more(), self.rows_max);
        warn_damaged(Some(&rows.report()));
        Ok(count)
    }
}

fn told(rows: u64, took: Option<std::time::Duration>) -> String {
    let rows = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
    match took {
        Some(took) => format!("({rows}, {:.1} ms)", took.as_secs_f64() * 1e3),
        None => format!("({rows})"),
    }
}

/// Reads what is typed next, on a thread that may wait for it.
async fn read_line(mut editor: LineEditor) -> Outcome<(LineEditor, Result<String, ReadlineError>)> {
    let reading = tokio::task::spawn_blocking(move || {
        let read = editor.readline(PROMPT);
        (editor, read)
    });
    reading.await.map_err(|e| Failure::new(format!("the terminal: {e}")))
}

fn typed(text: &str) -> Typed {
    let Some(command) = text.trim().strip_prefix('\\') else { return Typed::Statements(statements(text)) };
    let words: Vec<&str> = command.trim_end_matches(';').split_whitespace().collect();
    match words[..] {
        ["q"] => Typed::End,
        ["d"] => Typed::Statements(vec![TABLES.to_owned()]),
        ["d", table] => Typed::Statements(vec![columns_of(table)]),
        ["timing"] => Typed::Timing,
        ["?"] => Typed::Help,
        _ => Typed::Unknown(format!("\\{}", command.escape_debug())),
    }
}

fn columns_of(table: &str) -> String {
    let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let place = match table.split_once('.') {
        Some((schema, table)) => format!("table_schema = {} AND table_name = {}", literal(schema), literal(table)),
        None => format!("table_name = {}", literal(table)),
    };
    format!(
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE {place} \
         ORDER BY table_schema, ordinal_position"
    )
}

/// The statements of `text`, without what ends them.
fn statements(text: &str) -> Vec<String> {
    let ends = ends(text).unwrap_or_default();
    let mut statements = Vec::new();
    let mut from = 0;
    for end in ends.into_iter().chain([text.len()]) {
        statements.push(text.get(from..end).unwrap_or_default().trim().to_owned());
        from = end + 1;
    }
    statements.retain(|statement| !statement.is_empty());
    statements
}

/// Where the `;` are that end statements; none while a quote or a comment is open.
fn ends(text: &str) -> Option<Vec<usize>> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().ok()?;
    let ends = tokens.iter().filter(|token| token.token == Token::SemiColon);
    Some(ends.map(|token| offset(text, token.span.start)).collect())
}

/// Whether nothing is missing of what `text` says: a command, or statements of which the last is ended too.
fn is_complete(text: &str) -> bool {
    let text = text.trim();
    if text.is_empty() || text.starts_with('\\') {
        return true;
    }
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize() else { return false };
    let last = tokens.iter().rev().find(|token| !matches!(token, Token::Whitespace(_) | Token::EOF));
    last == Some(&Token::SemiColon)
}

/// The byte at a line and a column, both counted from 1, the column in characters.
fn offset(text: &str, at: Location) -> usize {
    let count = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let line = text.split_inclusive('\n').take(count(at.line)).map(str::len).sum::<usize>();
    let rest = text.get(line..).unwrap_or_default();
    line + rest.chars().take(count(at.column)).map(char::len_utf8).sum::<usize>()
}

/// Has the editor go on with a new line while a statement is not ended.
#[derive(Debug)]
struct Statements;

impl Validator for Statements {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match is_complete(context.input()) {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Completer for Statements {
    type Candidate = String;
}

impl Hinter for Statements {
    type Hint = String;
}

impl Highlighter for Statements {}
impl Helper for Statements {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_with_a_semicolon_outside_of_quotes_and_comments() {
        for whole in ["", "  ", "SELECT 1;", "SELECT 1; -- done", "SELECT ';';", "\\d", "a;\nb;", "SELECT 1 /* ; */ ;"]
        {
            assert!(is_complete(whole), "{whole}");
        }
        for open in ["SELECT 1", "SELECT ';", "SELECT 1 -- ;", "SELECT 1 /* ;", "a; b", "SELECT \"a;"] {
            assert!(!is_complete(open), "{open}");
        }
    }

    #[test]
    fn several_statements_are_told_apart() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(typed(text), Typed::Statements(expected.iter().map(|s| (*s).to_owned()).collect()), "{text}")
        };
        check("SELECT 1;", &["SELECT 1"]);
        check("SELECT 'ä;ö';\n SELECT\n 2; ;", &["SELECT 'ä;ö'", "SELECT\n 2"]);
        check("SELECT 1; -- one;\nSELECT 2;", &["SELECT 1", "-- one;\nSELECT 2"]);
        check(";", &[]);
    }

    #[test]
    fn commands_are_words_after_a_backslash() {
        assert_eq!(typed("\\q"), Typed::End);
        assert_eq!(typed(" \\d; "), Typed::Statements(vec![TABLES.to_owned()]));
        assert_eq!(typed("\\timing"), Typed::Timing);
        assert_eq!(typed("\\?"), Typed::Help);
        assert_eq!(typed("\\x 1"), Typed::Unknown("\\x 1".to_owned()));
        let Typed::Statements(columns) = typed("\\d o'neill") else { panic!("no statement") };
        assert!(columns[0].contains("table_name = 'o''neill'"), "{columns:?}");
        let Typed::Statements(columns) = typed("\\d public.series") else { panic!("no statement") };
        assert!(columns[0].contains("table_schema = 'public' AND table_name = 'series'"), "{columns:?}");
    }

    #[test]
    fn the_rows_are_counted_and_timed() {
        assert_eq!(told(1, None), "(1 row)");
        assert_eq!(told(2, Some(std::time::Duration::from_micros(1500))), "(2 rows, 1.5 ms)");
    }
}
