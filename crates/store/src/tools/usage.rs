//! What takes how many bytes: by tenant, day, table, service and profile type.
//!
//! Each object's bytes are divided among those who own its rows, by the pages that hold them, so that all parts add up to the
//! object. Rows of symbols belong to a service and not to a type; postings and bytes of empty tables belong to nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use flamestore_model::{ErrorKind, Result, Tenant, TimeRange};
use flamestore_segment::{DictionaryEntry, Resolution, ScanReport, SegmentReader, SeriesRow, Span, Table};

use super::check::{Problem, ls};
use super::{Progress, Readers};
use crate::manifest::SegmentEntry;
use crate::{Bucket, Day};

/// What bytes are of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsageCell {
    /// Whose they are.
    pub tenant: Tenant,
    /// The day of the segment.
    pub day: Day,
    /// The table.
    pub table: Table,
    /// The service; `None` for what services share.
    pub service: Option<String>,
    /// The profile type; `None` for what types share.
    pub profile_type: Option<String>,
}

/// What [`usage`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The newest manifest's version.
    pub version: u64,
    /// Live segments.
    pub segments: usize,
    /// The bytes of live segments; all parts add up to their objects.
    pub cells: BTreeMap<UsageCell, u64>,
    /// Segments that could not be read; their bytes are nobody's.
    pub problems: Vec<Problem>,
}

/// Who owns rows.
type Owner = (Option<String>, Option<String>);

/// Counts the bytes of all live segments. Footers, series, windows and the rows of `profiles` are read, no samples.
///
/// # Errors
/// What the bucket says; `Corrupt` when the newest manifest is damaged, `Invalid` when a newer Flamestore wrote it.
pub async fn usage(bucket: &Bucket, progress: Progress<'_>) -> Result<Usage> {
    let manifest = ls(bucket).await?.manifest;
    let readers = Readers::new(bucket).await?;
    let mut usage = Usage { version: manifest.version, segments: manifest.segments.len(), ..Usage::default() };
    let total = manifest.segments.iter().map(|entry| entry.bytes()).sum();
    let mut done = 0;
    for entry in &manifest.segments {
        match owned(&readers.reader(entry), entry).await {
            Ok(owned) => {
                for (table, owners) in owned {
                    usage.add(entry, table, owners);
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                usage.problems.push(Problem::new(entry.id, error));
                entry.tables.iter().for_each(|table| usage.add(entry, table.table, Vec::new()));
            }
            Err(error) => return Err(error),
        }
        done += entry.bytes();
        progress(done, total);
    }
    Ok(usage)
}

impl Usage {
    /// The bytes of all live segments.
    pub fn bytes(&self) -> u64 {
        self.cells.values().sum()
    }

    fn add(&mut self, entry: &SegmentEntry, table: Table, owners: Vec<(Owner, u64)>) {
        let bytes = entry.table(table).map_or(0, |found| found.bytes);
        for ((service, profile_type), bytes) in divide(bytes, owners) {
            let (tenant, day) = (entry.tenant.clone(), entry.day);
            *self.cells.entry(UsageCell { tenant, day, table, service, profile_type }).or_default() += bytes;
        }
    }
}

/// Divides `bytes` by weights; what rounding leaves goes to the heaviest. Without weights they are nobody's.
fn divide(bytes: u64, mut owners: Vec<(Owner, u64)>) -> Vec<(Owner, u64)> {
    let weights: u128 = owners.iter().map(|(_, weight)| u128::from(*weight)).sum();
    if weights == 0 {
        return vec![((None, None), bytes)];
    }
    owners.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    for (_, part) in &mut owners {
        *part = u64::try_from(u128::from(bytes) * u128::from(*part) / weights).unwrap_or(bytes);
    }
    let left = bytes - owners.iter().map(|(_, part)| part).sum::<u64>();
    if let Some((_, heaviest)) = owners.first_mut() {
        *heaviest += left;
    }
    owners
}

/// For each table of a segment, who owns how many of its bytes, about.
async fn owned(reader: &SegmentReader, entry: &Arc<SegmentEntry>) -> Result<Vec<(Table, Vec<(Owner, u64)>)>> {
    let mut owned = Vec::with_capacity(entry.tables.len());
    for table in entry.tables.iter().map(|found| found.table) {
        let mut owners = Vec::new();
        for (owner, rows) in owners_of(reader, table).await? {
            owners.push((owner, reader.stored_bytes(table, rows).await?));
        }
        owned.push((table, owners));
    }
    Ok(owned)
}

/// Who owns which rows of `table`.
async fn owners_of(reader: &SegmentReader, table: Table) -> Result<Vec<(Owner, std::ops::Range<u64>)>> {
    let span: fn(&DictionaryEntry) -> Span = match table {
        Table::Postings => return Ok(Vec::new()),
        Table::Stacks => |entry| entry.stacks,
        Table::CallSites => |entry| entry.call_sites,
        Table::Locations => |entry| entry.location_rows,
        Table::Functions => |entry| entry.functions,
        Table::Mappings => |entry| entry.mappings,
        Table::Strings => |entry| entry.strings,
        Table::LabelSets => |entry| entry.label_set_rows,
        Table::Dictionaries => |entry| Span { first: entry.dictionary_id, count: 1 },
        _ => return of_series(reader, table).await,
    };
    let dictionaries = reader.dictionaries().await?;
    let owner = |entry: &DictionaryEntry| ((Some(entry.service_name.clone()), None), span(entry).rows());
    Ok(dictionaries.iter().map(owner).collect())
}

/// Who owns which rows of a table whose rows are of series.
async fn of_series(reader: &SegmentReader, table: Table) -> Result<Vec<(Owner, std::ops::Range<u64>)>> {
    let (series, windows) = (reader.series().await?, reader.windows().await?);
    let owner = |row: &SeriesRow| (Some(row.service_name.clone()), Some(row.profile_type.to_string()));
    let mut owners = Vec::with_capacity(series.rows.len());
    for row in &series.rows {
        let of_windows = |resolution: Option<Resolution>| {
            windows.of(row.series_id).iter().filter(move |w| resolution.is_none_or(|r| w.resolution == r))
        };
        let rows = match table {
            Table::Series => Some(Span { first: row.series_id, count: 1 }.rows()),
            Table::Profiles => Some(row.profiles.rows()),
            Table::Samples => {
                let one = std::iter::once(row.series_id).collect();
                let profiles = reader.profiles(&one, &TimeRange::ALL, &mut ScanReport::default()).await?;
                covering(profiles.iter().map(|profile| profile.rows()))
            }
            Table::Windows => covering(of_windows(None).map(|w| Span { first: w.window, count: 1 }.rows())),
            _ => {
                let resolution = Resolution::ALL.into_iter().find(|resolution| resolution.table() == table);
                covering(of_windows(resolution).map(|window| window.rows()))
            }
        };
        owners.extend(rows.map(|rows| (owner(row), rows)));
    }
    Ok(owners)
}

/// The rows from the first to the last of `ranges`; those of one series follow each other.
fn covering(ranges: impl Iterator<Item = std::ops::Range<u64>>) -> Option<std::ops::Range<u64>> {
    ranges.reduce(|all, next| all.start.min(next.start)..all.end.max(next.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_whole() {
        let owner = |name: &str| (Some(name.to_owned()), None);
        let parts = divide(10, vec![(owner("a"), 1), (owner("b"), 2)]);
        assert_eq!(parts, [(owner("b"), 7), (owner("a"), 3)]);
        assert_eq!(divide(10, vec![(owner("a"), 0)]), [((None, None), 10)]);
        assert_eq!(divide(u64::MAX, vec![(owner("a"), u64::MAX)]), [(owner("a"), u64::MAX)]);
    }
}
