//! `store export`: samples out of a bucket, as files that need nothing else.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use flamestore_model::{Tenant, TimeRange};
use flamestore_query::QueryOptions;
use flamestore_store::{ExportFormat, ExportOptions, ExportReport};

use super::check::problem_table;
use super::{Place, advance, bar, merged};
use crate::config::ByteSize;
use crate::failure::{Failure, Outcome};
use crate::output::{self, note};
use crate::select::Optional;

/// Writes the samples of a time range to files that need nothing else.
#[derive(Args, Debug)]
pub(super) struct Export {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    selection: Optional,
    /// Whose profiles.
    #[arg(long, env = "FLAMESTORE_TENANT", default_value = Tenant::DEFAULT, value_parser = tenant)]
    tenant: Tenant,
    /// The folder to write to; it is made if there is none, and files in it are not overwritten.
    #[arg(long, short, env = "FLAMESTORE_OUTPUT", value_name = "FOLDER")]
    output: PathBuf,
    /// What files are made.
    #[arg(
        long,
        env = "FLAMESTORE_FORMAT",
        value_enum,
        default_value = "parquet",
        default_value_if("merge", "true", "pprof")
    )]
    format: Format,
    /// Sum up what is selected: one pprof file per profile type.
    #[arg(long)]
    merge: bool,
    /// Memory for `--merge` [default: 1GiB].
    #[arg(long, env = "FLAMESTORE_QUERY_MEMORY_BYTES_MAX", value_name = "BYTES", requires = "merge")]
    query_memory_bytes_max: Option<ByteSize>,
}

/// What files are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One Parquet file per day, with stacks as lists of names.
    Parquet,
    /// One pprof file per profile, or with `--merge` per profile type.
    Pprof,
}

fn tenant(text: &str) -> flamestore_model::Result<Tenant> {
    Tenant::new(text)
}

impl Export {
    pub(super) async fn run(self) -> Outcome {
        if self.merge && self.format == Format::Parquet {
            return Err(Failure::new("--merge makes pprof files, but --format is parquet"));
        }
        let bucket = self.place.open()?;
        let selection = self.selection.selection()?;
        let options = ExportOptions {
            tenant: self.tenant.clone(),
            selector: selection.query.parse()?,
            range: TimeRange::new(selection.start_unix_nano, selection.end_unix_nano)?,
            format: match self.format {
                Format::Parquet => ExportFormat::Parquet,
                Format::Pprof => ExportFormat::Pprof,
            },
        };
        std::fs::create_dir_all(&self.output)
            .map_err(|e| Failure::io(format!("--output {}", self.output.display()), &e))?;
        let bar = bar();
        let create = |name: &str| File::create_new(self.output.join(name)).map(BufWriter::new);
        let report = match self.merge {
            true => merged::export(bucket, &options, self.query_options(), create).await,
            false => flamestore_store::export(&bucket, &options, create, &advance(&bar)).await,
        };
        bar.finish_and_clear();
        let report = report?;
        let paths = report.files.iter().map(|file| format!("{}\n", self.output.join(file).display()));
        output::print(&paths.collect::<String>())?;
        note(&summary(&report));
        if report.problems.is_empty() {
            return Ok(());
        }
        note(problem_table(&report.problems).trim_end());
        Err(Failure::told())
    }

    fn query_options(&self) -> QueryOptions {
        let mut options = QueryOptions::default();
        options.memory_bytes_max = self.query_memory_bytes_max.map_or(options.memory_bytes_max, |bytes| bytes.0);
        options
    }
}

fn summary(report: &ExportReport) -> String {
    let expired = match report.without_samples {
        0 => String::new(),
        segments => format!("; segments whose samples have expired: {segments}"),
    };
    format!("profiles: {}, samples: {}{expired}", report.profiles, report.rows)
}
