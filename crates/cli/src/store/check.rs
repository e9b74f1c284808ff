//! `store check`: is everything there that the newest manifest names, and whole?

use clap::Args;
use flamestore_store::{CheckReport, Depth, Problem, StoreUrl};
use serde::Serialize;

use super::{Place, advance, bar, bytes};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Column, ListFormat, note};

/// Checks the store; the exit code is 1 when something is wrong. Nothing is written.
///
/// Without `--deep`: the manifest, that every object is there and of its size, and its footer.
#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    place: Place,
    /// Read all bytes: checksums, every row, references, order, totals.
    #[arg(long, env = "FLAMESTORE_DEEP")]
    deep: bool,
    /// The form of the answer.
    #[arg(long, env = "FLAMESTORE_FORMAT", value_enum, default_value = "table")]
    format: ListFormat,
}

#[derive(Serialize)]
pub(super) struct ProblemRow<'a> {
    object: &'a str,
    problem: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<&'a str>,
}

impl<'a> From<&'a Problem> for ProblemRow<'a> {
    fn from(problem: &'a Problem) -> Self {
        let Problem { object, what, expected, found } = problem;
        Self { object, problem: what, expected: expected.as_deref(), found: found.as_deref() }
    }
}

impl Check {
    pub(super) async fn run(self) -> Outcome {
        let bar = bar();
        let depth = if self.deep { Depth::Deep } else { Depth::Plain };
        let report = flamestore_store::check_at(&self.place.open()?, depth, &advance(&bar)).await;
        bar.finish_and_clear();
        let report = report?;
        let text = match self.format {
            ListFormat::Json => output::json(report.problems.iter().map(ProblemRow::from))?,
            ListFormat::Table => problem_table(&report.problems),
        };
        output::print(&text)?;
        note(&summary(&self.place.store, &report, depth));
        if report.problems.is_empty() { Ok(()) } else { Err(Failure::told()) }
    }
}

/// Problems for people; nothing where there is none.
pub(super) fn problem_table(problems: &[Problem]) -> String {
    if problems.is_empty() {
        return String::new();
    }
    let rows = problems.iter().map(|problem| {
        let value = |value: &Option<String>| value.clone().unwrap_or_default();
        vec![problem.object.clone(), problem.what.clone(), value(&problem.expected), value(&problem.found)]
    });
    let header = [Column::Text("object"), Column::Text("problem"), Column::Text("expected"), Column::Text("found")];
    output::table(&header, rows)
}

fn summary(store: &StoreUrl, report: &CheckReport, depth: Depth) -> String {
    let looked = match depth {
        Depth::Plain => "objects looked at",
        Depth::Deep => "objects read",
    };
    let read = format!(
        "manifest version {}, segments: {}, {looked}: {} ({}), profiles: {}, samples: {}",
        report.version,
        report.segments,
        report.objects,
        bytes(report.bytes),
        report.profile_rows,
        report.sample_rows
    );
    let verdict = match (report.problems.len(), depth) {
        (0, Depth::Deep) => "sound".to_owned(),
        (0, Depth::Plain) => "sound as far as footers tell (--deep reads everything)".to_owned(),
        (1, _) => "1 problem".to_owned(),
        (problems, _) => format!("{problems} problems"),
    };
    let unused = match report.garbage.len() {
        0 => String::new(),
        unused => format!("; {unused} objects are not referred to (harmless)"),
    };
    let debuginfo = match report.debuginfo_files {
        0 => String::new(),
        files => format!(", files of debug information: {files}"),
    };
    format!("{store}: {verdict}: {read}{debuginfo}{unused}")
}
