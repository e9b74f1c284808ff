//! `store repair`: brings back a store whose manifest or segments are damaged.

use std::sync::Arc;

use clap::Args;
use flamestore_store::{Entropy, Found, RepairOptions, RepairReport, SystemClock, Verdict};
use serde::Serialize;

use super::check::ProblemRow;
use super::{Place, advance, bar, bytes};
use crate::failure::Outcome;
use crate::output::{self, Column, ListFormat, note};

/// Commits a manifest that names what is whole, when the newest one is damaged or names what is not. Stop servers first.
///
/// Nothing is moved or deleted. Segments that are left out stay in the bucket until the collector takes them.
#[derive(Args, Debug)]
pub(super) struct Repair {
    #[command(flatten)]
    place: Place,
    /// Say what would be done and write nothing.
    #[arg(long, env = "FLAMESTORE_DRY_RUN")]
    dry_run: bool,
    /// Take in every whole segment in the bucket, also when the manifest can be read: brings back what was deleted and is
    /// still there. No profile is counted twice.
    #[arg(long, env = "FLAMESTORE_REBUILD")]
    rebuild: bool,
    /// The form of the answer.
    #[arg(long, env = "FLAMESTORE_FORMAT", value_enum, default_value = "table")]
    format: ListFormat,
}

#[derive(Serialize)]
struct Row<'a> {
    segment: String,
    tenant: String,
    day: String,
    bytes: u64,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_profiles: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ProblemRow<'a>>,
}

impl Repair {
    pub(super) async fn run(self) -> Outcome {
        let options = RepairOptions {
            rebuild: self.rebuild,
            dry_run: self.dry_run,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(Entropy::from_system()),
        };
        let bar = bar();
        let report = flamestore_store::repair(&self.place.open()?, &options, &advance(&bar)).await;
        bar.finish_and_clear();
        let report = report?;
        for problem in &report.manifests {
            note(&format!("{}: {}", problem.object, problem.what));
        }
        match self.format {
            ListFormat::Json => output::print(&output::json(report.segments.iter().map(row))?)?,
            ListFormat::Table => output::print(&table(&report))?,
        }
        note(&format!("{}: {}", self.place.store, summary(&report)));
        Ok(())
    }
}

fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Kept => "kept",
        Verdict::Restored => "restored",
        Verdict::Damaged(_) => "damaged",
        Verdict::Superseded(_) => "superseded",
        Verdict::Overlaps { .. } => "overlaps",
    }
}

fn row(found: &Found) -> Row<'_> {
    let (others, lost_profiles) = match &found.verdict {
        Verdict::Superseded(by) => (by.clone(), None),
        Verdict::Overlaps { with, lost } => (with.clone(), Some(*lost)),
        _ => (Vec::new(), None),
    };
    let problems = match &found.verdict {
        Verdict::Damaged(problems) => problems.iter().map(ProblemRow::from).collect(),
        _ => Vec::new(),
    };
    Row {
        segment: found.id.to_string(),
        tenant: found.tenant.to_string(),
        day: found.day.to_string(),
        bytes: found.bytes,
        verdict: name(&found.verdict),
        others: others.iter().map(ToString::to_string).collect(),
        lost_profiles,
        problems,
    }
}

/// The segments that did not just stay.
fn table(report: &RepairReport) -> String {
    let others =
        |ids: &[flamestore_model::SegmentId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let why = |verdict: &Verdict| match verdict {
        Verdict::Kept => String::new(),
        Verdict::Restored => "whole, and in no manifest that can be read".to_owned(),
        Verdict::Damaged(problems) => problems
            .iter()
            .map(|problem| format!("{}: {}", problem.object, problem.what))
            .collect::<Vec<_>>()
            .join("; "),
        Verdict::Superseded(by) => format!("all its profiles are in {}", others(by)),
        Verdict::Overlaps { with, lost } => {
            format!("shares profiles with {}; {lost} of its profiles are in no other segment", others(with))
        }
    };
    let changed = report.segments.iter().filter(|found| found.verdict != Verdict::Kept);
    let rows: Vec<Vec<String>> = changed
        .map(|found| {
            let verdict = name(&found.verdict).to_owned();
            vec![found.id.to_string(), found.day.to_string(), bytes(found.bytes), verdict, why(&found.verdict)]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = [
        Column::Text("segment"),
        Column::Text("day"),
        Column::Number("size"),
        Column::Text("verdict"),
        Column::Text("why"),
    ];
    output::table(&header, rows)
}

fn summary(report: &RepairReport) -> String {
    let count = |wanted: &str| report.segments.iter().filter(|found| name(&found.verdict) == wanted).count();
    let base = match report.base {
        Some(version) => format!("built on manifest version {version}"),
        None => "no manifest can be read".to_owned(),
    };
    let counts = format!(
        "{base}; segments kept: {}, restored: {}, damaged: {}, superseded: {}, left out since they overlap: {}",
        count("kept"),
        count("restored"),
        count("damaged"),
        count("superseded"),
        count("overlaps")
    );
    match (report.needed, report.committed) {
        (false, _) => format!("nothing to repair: {counts}"),
        (true, None) => format!("would be repaired: {counts}"),
        (true, Some(version)) => format!("repaired as manifest version {version}: {counts}"),
    }
}
