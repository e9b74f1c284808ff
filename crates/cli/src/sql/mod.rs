//! `sql`: statements to a server, or to a bucket without one; their rows to standard output or a file.
//!
//! ```text
//! argument, --file, standard input ─▶ one statement ─┐   ┌─▶ server: QueryService/Sql ─┐
//! prompt ─▶ statements up to `;`, \d, \q, … ─────────┴───┴─▶ --store: engine over it ──┴─▶ batches ─▶ print
//! ```

mod print;
mod prompt;
mod source;

use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use flamestore_query::QueryOptions;
use flamestore_store::StoreUrl;

use crate::client::{Remote, warn_damaged};
use crate::config::{BucketArgs, ByteSize, store_url};
use crate::failure::{Failure, Outcome};
use crate::output::{destination, note, would_garble};
use crate::store;
use print::Out;
use prompt::Prompt;
use source::Source;

/// Rows of a table, unless it is told how many: all of them are kept in memory to align them.
const TABLE_ROWS_MAX: u64 = 10_000;

/// Runs SQL over the stored profiles.
///
/// Without a statement, it is read from standard input; on a terminal, a prompt asks for statements.
#[derive(Args, Debug)]
pub(crate) struct Sql {
    /// The statement.
    #[arg(conflicts_with = "file")]
    statement: Option<String>,
    /// The file that holds the statement; `-` is standard input.
    #[arg(long, short, env = "FLAMESTORE_SQL_FILE", value_name = "FILE")]
    file: Option<PathBuf>,
    /// The form of the rows.
    #[arg(long, env = "FLAMESTORE_FORMAT", value_enum, default_value = "table")]
    format: Format,
    /// The file to write; standard output when absent or `-`.
    #[arg(long, short, env = "FLAMESTORE_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Rows at most [default: 10000 for a table, else all].
    #[arg(long, short = 'n', env = "FLAMESTORE_SQL_LIMIT", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// The file that the prompt keeps its history in [default: ~/.flamestore_history].
    #[arg(long, env = "FLAMESTORE_SQL_HISTORY", value_name = "FILE")]
    history: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
    /// Ask this store instead of a server: a folder or `s3://bucket/prefix`. What a server has only in memory is not seen.
    #[arg(long, env = "FLAMESTORE_SQL_STORE", value_name = "URL", value_parser = store_url, help_heading = "Bucket")]
    store: Option<StoreUrl>,
    /// Memory for a statement on `--store` [default: 1GiB].
    #[arg(long, env = "FLAMESTORE_QUERY_MEMORY_BYTES_MAX", value_name = "BYTES", help_heading = "Bucket")]
    query_memory_bytes_max: Option<ByteSize>,
    /// Temporary files for a statement on `--store` [default: 8GiB].
    #[arg(long, env = "FLAMESTORE_QUERY_SPILL_BYTES_MAX", value_name = "BYTES", help_heading = "Bucket")]
    query_spill_bytes_max: Option<ByteSize>,
    #[command(flatten)]
    bucket: BucketArgs,
}

/// The form of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// One object: the columns, and an array a row.
    Json,
    /// Comma-separated values with a header.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl Format {
    fn is_binary(self) -> bool {
        matches!(self, Self::Arrow | Self::Parquet)
    }

    /// Rows at most where nothing else is said.
    fn rows_max(self) -> Option<u64> {
        (self == Self::Table).then_some(TABLE_ROWS_MAX)
    }
}

impl Sql {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let file = destination(self.output.as_deref());
        if self.format.is_binary() && file.is_none() && io::stdout().is_terminal() {
            return Err(would_garble());
        }
        let rows_max = self.limit.or(self.format.rows_max());
        let Some(statement) = self.statement()? else {
            let prompt = Prompt { source: self.source().await?, format: self.format, rows_max, is_timed: false };
            return prompt.run(self.history.or_else(default_history)).await;
        };
        let mut rows = self.source().await?.ask(&statement, rows_max).await?;
        let mut out = Out::open(file)?;
        print::write(&mut rows, self.format, &mut out).await?;
        out.finish()?;
        note_more(rows.has_more(), rows_max);
        warn_damaged(Some(&rows.report()));
        Ok(())
    }

    /// The statement to run; none where there is somebody to ask for it.
    fn statement(&self) -> Outcome<Option<String>> {
        match (&self.statement, &self.file) {
            (Some(statement), _) => Ok(Some(statement.clone())),
            (None, Some(file)) if file != Path::new("-") => {
                let text = std::fs::read_to_string(file);
                text.map(Some).map_err(|e| Failure::io(format!("--file {}", file.display()), &e))
            }
            (None, None) if io::stdin().is_terminal() => {
                match destination(self.output.as_deref()).is_some() || self.format.is_binary() {
                    false => Ok(None),
                    true => Err(Failure::new("a prompt writes text to the terminal, and nothing to a file")
                        .hint("give the statement as an argument, with --file or on standard input")),
                }
            }
            (None, _) => {
                let mut text = String::new();
                io::stdin().lock().read_to_string(&mut text).map_err(|e| Failure::io("standard input", &e))?;
                Ok(Some(text))
            }
        }
    }

    async fn source(&self) -> Outcome<Source> {
        let Some(url) = &self.store else { return Ok(Source::Server(self.remote.connect().await?)) };
        let mut options = QueryOptions::default();
        options.memory_bytes_max = self.query_memory_bytes_max.map_or(options.memory_bytes_max, |bytes| bytes.0);
        options.spill_bytes_max = self.query_spill_bytes_max.map_or(options.spill_bytes_max, |bytes| bytes.0 as u64);
        let engine = store::engine(store::open(url, &self.bucket)?, options).await?;
        let tenant = self.remote.tenant.clone().unwrap_or_default();
        Ok(Source::Store { engine: Box::new(engine), tenant, timeout: self.remote.timeout })
    }
}

fn default_history() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".flamestore_history"))
}

/// Says that there are more rows than were shown.
fn note_more(has_more: bool, rows_max: Option<u64>) {
    if let Some(rows_max) = rows_max.filter(|_| has_more) {
        note(&format!("the first {rows_max} rows; --limit shows more"));
    }
}
