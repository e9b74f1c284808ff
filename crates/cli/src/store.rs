//! `store`: a bucket looked at and tended without a server. `check` and `ls` write nothing.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use flamestore_store::{CheckReport, SegmentEntry, StoreUrl};
use serde::Serialize;

use crate::config::{BucketArgs, store_url};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Column, ListFormat, note};
use crate::tend::{Compact, Delete, Gc};
use crate::time::{rfc3339, short};

/// Looks at a bucket and tends it, without a server.
#[derive(Args, Debug)]
pub(crate) struct StoreCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Reads every object of the store and checks it; the exit code is 1 when something is damaged.
    Check(Place),
    /// Lists the segments.
    Ls(Place),
    Compact(Compact),
    Gc(Gc),
    Delete(Delete),
}

#[derive(Args, Debug)]
struct Place {
    /// The store: a folder or `s3://bucket/prefix`.
    #[arg(long, env = "FLAMESTORE_STORE", value_name = "URL", default_value = "./data", value_parser = store_url)]
    store: StoreUrl,
    /// The form of the answer.
    #[arg(long, env = "FLAMESTORE_FORMAT", value_enum, default_value = "table")]
    format: ListFormat,
    #[command(flatten)]
    bucket: BucketArgs,
}

#[derive(Serialize)]
struct ProblemRow<'a> {
    object: &'a str,
    problem: &'a str,
}

#[derive(Serialize)]
struct SegmentRow {
    id: String,
    tenant: String,
    day: String,
    level: u32,
    time_min: String,
    time_max: String,
    profiles: u64,
    samples: u64,
    series: u64,
    stacks: u64,
    bytes: u64,
    tables: BTreeMap<String, u64>,
    profile_types: Vec<String>,
    services: Vec<String>,
}

impl StoreCommand {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        match self.action {
            Action::Check(place) => place.check().await,
            Action::Ls(place) => place.ls().await,
            Action::Compact(compact) => compact.run().await,
            Action::Gc(gc) => gc.run().await,
            Action::Delete(delete) => delete.run().await,
        }
    }
}

impl Place {
    async fn check(self) -> Outcome {
        let report = flamestore_store::check(&self.open()?).await?;
        let text = match self.format {
            ListFormat::Json => output::json(problems(&report))?,
            ListFormat::Table => check_table(&report),
        };
        output::print(&text)?;
        note(&check_summary(&self.store, &report));
        if report.problems.is_empty() { Ok(()) } else { Err(Failure::told()) }
    }

    async fn ls(self) -> Outcome {
        let listing = flamestore_store::ls(&self.open()?).await?;
        let segments = listing.manifest.segments.iter().map(AsRef::as_ref);
        if self.format == ListFormat::Json {
            return output::print(&output::json(segments.map(segment_row))?);
        }
        note(&format!(
            "{}: manifest version {}, segments: {}",
            self.store,
            listing.manifest.version,
            listing.manifest.segments.len()
        ));
        if listing.manifest.segments.is_empty() {
            return Ok(());
        }
        output::print(&segment_table(segments))
    }

    /// The bucket. A folder that does not exist is an error here: opening it would make it.
    fn open(&self) -> Outcome<flamestore_store::Bucket> {
        if let StoreUrl::Folder(folder) = &self.store
            && !folder.is_dir()
        {
            return Err(Failure::new(format!("--store {}: there is no such folder", self.store)));
        }
        Ok(self.store.open(&self.bucket.options()?)?)
    }
}

fn problems(report: &CheckReport) -> Vec<ProblemRow<'_>> {
    report.problems.iter().map(|p| ProblemRow { object: &p.object, problem: &p.what }).collect()
}

fn check_table(report: &CheckReport) -> String {
    if report.problems.is_empty() {
        return String::new();
    }
    let rows = report.problems.iter().map(|p| vec![p.object.clone(), p.what.clone()]);
    output::table(&[Column::Text("object"), Column::Text("problem")], rows)
}

fn check_summary(store: &StoreUrl, report: &CheckReport) -> String {
    let read = format!(
        "manifest version {}, segments: {}, objects read: {} ({}), profiles: {}, samples: {}",
        report.version,
        report.segments,
        report.objects,
        output::quantity(i64::try_from(report.bytes).unwrap_or(i64::MAX), "bytes"),
        report.profile_rows,
        report.sample_rows
    );
    let verdict = match report.problems.len() {
        0 => "sound".to_owned(),
        1 => "1 object is damaged".to_owned(),
        damaged => format!("{damaged} objects are damaged"),
    };
    let unused = match report.garbage.len() {
        0 => String::new(),
        unused => format!("; {unused} objects are not referred to (harmless)"),
    };
    format!("{store}: {verdict}: {read}{unused}")
}

fn segment_row(entry: &SegmentEntry) -> SegmentRow {
    SegmentRow {
        id: entry.id.to_string(),
        tenant: entry.tenant.to_string(),
        day: entry.day.to_string(),
        level: entry.level,
        time_min: rfc3339(entry.time_min),
        time_max: rfc3339(entry.time_max),
        profiles: entry.profile_rows,
        samples: entry.sample_rows,
        series: entry.series,
        stacks: entry.stacks,
        bytes: entry.bytes(),
        tables: entry.tables.iter().map(|table| (table.table.to_string(), table.bytes)).collect(),
        profile_types: entry.profile_types.clone(),
        services: entry.services.clone(),
    }
}

fn segment_table<'a>(segments: impl Iterator<Item = &'a SegmentEntry>) -> String {
    const SECOND: i64 = 1_000_000_000;
    let seconds = |time: i64| short(time.div_euclid(SECOND) * SECOND);
    let rows = segments.map(|entry| {
        vec![
            entry.id.to_string(),
            entry.tenant.to_string(),
            seconds(entry.time_min),
            seconds(entry.time_max),
            entry.profile_rows.to_string(),
            entry.sample_rows.to_string(),
            entry.stacks.to_string(),
            output::quantity(i64::try_from(entry.bytes()).unwrap_or(i64::MAX), "bytes"),
            entry.services.len().to_string(),
        ]
    });
    let header = [
        Column::Text("segment"),
        Column::Text("tenant"),
        Column::Text("from"),
        Column::Text("to"),
        Column::Number("profiles"),
        Column::Number("samples"),
        Column::Number("stacks"),
        Column::Number("size"),
        Column::Number("services"),
    ];
    output::table(&header, rows)
}
