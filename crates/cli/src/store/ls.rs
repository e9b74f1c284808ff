//! `store ls`: the live segments.

use std::collections::BTreeMap;

use clap::Args;
use flamestore_store::SegmentEntry;
use serde::Serialize;

use super::{Place, bytes};
use crate::failure::Outcome;
use crate::output::{self, Column, ListFormat, note};
use crate::time::{now, rfc3339, short};

/// Lists the segments.
#[derive(Args, Debug)]
pub(super) struct Ls {
    #[command(flatten)]
    place: Place,
    /// The form of the answer.
    #[arg(long, env = "FLAMESTORE_FORMAT", value_enum, default_value = "table")]
    format: ListFormat,
}

#[derive(Serialize)]
struct SegmentRow {
    id: String,
    tenant: String,
    day: String,
    level: u32,
    created: String,
    age_seconds: i64,
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

const SECOND: i64 = 1_000_000_000;

impl Ls {
    pub(super) async fn run(self) -> Outcome {
        let listing = flamestore_store::ls(&self.place.open()?).await?;
        let segments = listing.manifest.segments.iter().map(AsRef::as_ref);
        let now = now();
        if self.format == ListFormat::Json {
            return output::print(&output::json(segments.map(|entry| segment_row(entry, now)))?);
        }
        note(&format!(
            "{}: manifest version {}, segments: {}",
            self.place.store,
            listing.manifest.version,
            listing.manifest.segments.len()
        ));
        if listing.manifest.segments.is_empty() {
            return Ok(());
        }
        output::print(&segment_table(segments, now))
    }
}

fn age_seconds(entry: &SegmentEntry, now: i64) -> i64 {
    now.saturating_sub(entry.created_unix_nano).max(0) / SECOND
}

fn segment_row(entry: &SegmentEntry, now: i64) -> SegmentRow {
    SegmentRow {
        id: entry.id.to_string(),
        tenant: entry.tenant.to_string(),
        day: entry.day.to_string(),
        level: entry.level,
        created: rfc3339(entry.created_unix_nano),
        age_seconds: age_seconds(entry, now),
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

fn segment_table<'a>(segments: impl Iterator<Item = &'a SegmentEntry>, now: i64) -> String {
    let seconds = |time: i64| short(time.div_euclid(SECOND) * SECOND);
    let rows = segments.map(|entry| {
        vec![
            entry.id.to_string(),
            entry.tenant.to_string(),
            entry.level.to_string(),
            age(age_seconds(entry, now)),
            seconds(entry.time_min),
            seconds(entry.time_max),
            entry.profile_rows.to_string(),
            entry.sample_rows.to_string(),
            entry.stacks.to_string(),
            bytes(entry.bytes()),
            entry.tables.len().to_string(),
            entry.services.len().to_string(),
        ]
    });
    let header = [
        Column::Text("segment"),
        Column::Text("tenant"),
        Column::Number("level"),
        Column::Number("age"),
        Column::Text("from"),
        Column::Text("to"),
        Column::Number("profiles"),
        Column::Number("samples"),
        Column::Number("stacks"),
        Column::Number("size"),
        Column::Number("tables"),
        Column::Number("services"),
    ];
    output::table(&header, rows)
}

/// The largest unit that fits: `42s`, `7m`, `5h`, `12d`.
fn age(seconds: i64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
