//! `store du`: what takes how many bytes.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use flamestore_store::{Usage, UsageCell};
use serde::Serialize;

use super::check::problem_table;
use super::{Place, advance, bar, bytes};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Column, ListFormat, note};

/// Counts bytes by table, profile type, service, tenant and day.
///
/// Each list adds up to all live segments. What services share (postings) and what types share (symbols) is `(shared)`.
#[derive(Args, Debug)]
pub(super) struct DiskUsage {
    #[command(flatten)]
    place: Place,
    /// What to count by; several make several lists.
    #[arg(
        long,
        env = "FLAMESTORE_BY",
        value_enum,
        value_delimiter = ',',
        default_value = "table,type,service,tenant,day"
    )]
    by: Vec<By>,
    /// The form of the answer.
    #[arg(long, env = "FLAMESTORE_FORMAT", value_enum, default_value = "table")]
    format: ListFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Table,
    Type,
    Service,
    Tenant,
    Day,
}

#[derive(Serialize)]
struct Row {
    by: &'static str,
    name: String,
    bytes: u64,
    share: f64,
}

impl DiskUsage {
    pub(super) async fn run(self) -> Outcome {
        let bar = bar();
        let usage = flamestore_store::usage(&self.place.open()?, &advance(&bar)).await;
        bar.finish_and_clear();
        let usage = usage?;
        match self.format {
            ListFormat::Json => output::print(&output::json(self.by.iter().flat_map(|by| by.rows(&usage)))?)?,
            ListFormat::Table => {
                let tables: Vec<String> = self.by.iter().map(|by| by.table(&usage)).collect();
                output::print(&tables.join("\n"))?;
            }
        }
        let total = bytes(usage.bytes());
        note(&format!(
            "{}: manifest version {}, segments: {}, {total}",
            self.place.store, usage.version, usage.segments
        ));
        if usage.problems.is_empty() {
            return Ok(());
        }
        note(problem_table(&usage.problems).trim_end());
        Err(Failure::told())
    }
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Type => "type",
            Self::Service => "service",
            Self::Tenant => "tenant",
            Self::Day => "day",
        }
    }

    fn of(self, cell: &UsageCell) -> String {
        let shared = || "(shared)".to_owned();
        match self {
            Self::Table => cell.table.to_string(),
            Self::Type => cell.profile_type.clone().unwrap_or_else(shared),
            Self::Service => cell.service.clone().unwrap_or_else(shared),
            Self::Tenant => cell.tenant.to_string(),
            Self::Day => cell.day.to_string(),
        }
    }

    /// The most bytes first; days in their order.
    fn rows(self, usage: &Usage) -> Vec<Row> {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for (cell, bytes) in &usage.cells {
            *sums.entry(self.of(cell)).or_default() += bytes;
        }
        let whole = usage.bytes().max(1) as f64;
        let row = |(name, bytes): (String, u64)| Row { by: self.name(), name, bytes, share: bytes as f64 / whole };
        let mut rows: Vec<Row> = sums.into_iter().map(row).collect();
        if self != Self::Day {
            rows.sort_by_key(|row| std::cmp::Reverse(row.bytes));
        }
        rows
    }

    fn table(self, usage: &Usage) -> String {
        let rows = self.rows(usage).into_iter();
        let rows = rows.map(|row| vec![row.name, bytes(row.bytes), format!("{:.1}%", row.share * 100.0)]);
        output::table(&[Column::Text(self.name()), Column::Number("size"), Column::Number("share")], rows)
    }
}
