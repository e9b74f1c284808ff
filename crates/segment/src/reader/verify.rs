//! Reads all of a segment and checks what the format promises.

use arrow::array::{Int64Array, RecordBatch, UInt32Array};
use flamestore_model::Result;

use super::{SegmentReader, bounded, profiles, symbols, verify_rollups};
use crate::ScanReport;
use crate::rows::{DictionaryEntry, ProfileRow, ProfileSamples, SeriesTable};
use crate::scan::{column, corrupt};
use crate::schema::Table;

/// Reads every row of every table and checks what the format promises: sizes, orders, references, sums.
pub(super) async fn check(reader: &SegmentReader) -> Result<()> {
    let (dictionaries, series) = (reader.dictionaries().await?, reader.series().await?);
    reader.postings().await?.check(&series)?;
    check_counts(reader, dictionaries.last()).await?;
    symbols::check_ids(reader).await?;
    let mut report = ScanReport::default();
    for entry in dictionaries.iter() {
        symbols::load(reader, entry, &mut report).await?;
    }
    let profiles = match reader.has(Table::Profiles) {
        true => check_profiles(reader, &series).await?,
        false => Vec::new(),
    };
    if reader.has(Table::Samples) {
        check_samples(reader, &profiles).await?;
    }
    verify_rollups::check(reader, &profiles).await
}

async fn check_profiles(reader: &SegmentReader, series: &SeriesTable) -> Result<Vec<ProfileRow>> {
    let mut report = ScanReport::default();
    let named = series.rows.last().map_or(0, |series| series.profiles.rows().end);
    count(reader, Table::Profiles, named).await?;
    let all = (0..).take(series.rows.len()).collect();
    let profiles = profiles::select(reader, &all, None, &mut report).await?;
    reader.profile_details(&profiles, &mut report).await?;
    Ok(profiles)
}

/// The last dictionary ends where the tables end.
async fn check_counts(reader: &SegmentReader, last: Option<&DictionaryEntry>) -> Result<()> {
    let end = |span: fn(&DictionaryEntry) -> crate::Span| last.map_or(0, |last| span(last).rows().end);
    for (table, rows) in [
        (Table::Strings, end(|entry| entry.strings)),
        (Table::Mappings, end(|entry| entry.mappings)),
        (Table::Functions, end(|entry| entry.functions)),
        (Table::Locations, end(|entry| entry.location_rows)),
        (Table::LabelSets, end(|entry| entry.label_set_rows)),
        (Table::CallSites, end(|entry| entry.call_sites)),
        (Table::Stacks, end(|entry| entry.stacks)),
    ] {
        count(reader, table, rows).await?;
    }
    Ok(())
}

pub(super) async fn count(reader: &SegmentReader, table: Table, expected: u64) -> Result<()> {
    match reader.file(table).await?.rows() {
        found if found == expected => Ok(()),
        found => {
            Err(corrupt(table, "the rows are not as many as named").with("expected", expected).with("found", found))
        }
    }
}

/// Rows of samples follow the profiles, refer to their dictionary and add up to their totals.
async fn check_samples(reader: &SegmentReader, profiles: &[ProfileRow]) -> Result<()> {
    let mut end = 0;
    for profile in profiles {
        if profile.row_start != end {
            return Err(corrupt(Table::Profiles, "rows of a profile do not follow those before")
                .with("profile", profile.profile)
                .with("expected", end)
                .with("found", profile.row_start));
        }
        end = profile.rows().end;
    }
    count(reader, Table::Samples, end).await?;
    check_columns(reader, profiles).await?;
    check_totals(reader, profiles).await
}

async fn check_columns(reader: &SegmentReader, profiles: &[ProfileRow]) -> Result<()> {
    let table = Table::Samples;
    let mut row = 0_u64;
    let mut each = |batch: &RecordBatch| {
        let ids = |name| column::<UInt32Array>(table, batch, name).map(|column| column.values());
        let (series, of_profile) = (ids("series_id")?, ids("profile")?);
        let times = column::<Int64Array>(table, batch, "time_unix_nano")?.values();
        for at in 0..batch.num_rows() {
            let profile = profiles.get(of_profile[at] as usize).filter(|profile| {
                profile.rows().contains(&row) && (profile.series_id, profile.time_unix_nano) == (series[at], times[at])
            });
            if profile.is_none() {
                return Err(corrupt(table, "a row is not of the profile it names").with("row", row));
            }
            row += 1;
        }
        Ok(())
    };
    reader.scan_all(table, &["series_id", "profile", "time_unix_nano"], &mut each).await
}

async fn check_totals(reader: &SegmentReader, profiles: &[ProfileRow]) -> Result<()> {
    let (dictionaries, series) = (reader.dictionaries().await?, reader.series().await?);
    for of_series in profiles.chunk_by(|a, b| a.series_id == b.series_id) {
        let id = of_series.first().and_then(|profile| series.get(profile.series_id)).map_or(0, |s| s.dictionary_id);
        let Some(entry) = dictionaries.get(id as usize) else { continue };
        // A few profiles at a time, so that a long series needs little memory.
        for part in of_series.chunks(64) {
            let read = reader.samples(entry, part, &mut ScanReport::default()).await?;
            check_sums(reader, entry, part, &read).await?;
            for (profile, samples) in part.iter().zip(read) {
                let total = samples.values.iter().fold(0, |sum: i64, value| sum.wrapping_add(*value));
                if total != profile.total || samples.stacks.len() != profile.row_count as usize {
                    return Err(corrupt(Table::Profiles, "the samples of a profile are not its total")
                        .with("profile", profile.profile)
                        .with("expected", profile.total)
                        .with("found", total));
                }
                if !samples.stacks.is_sorted() {
                    return Err(corrupt(Table::Samples, "the stacks of a profile are not sorted")
                        .with("profile", profile.profile));
                }
            }
        }
    }
    Ok(())
}

/// Merges read pages of samples their own way: it gives the sums of what was read row by row.
async fn check_sums(
    reader: &SegmentReader,
    entry: &DictionaryEntry,
    profiles: &[ProfileRow],
    read: &[ProfileSamples],
) -> Result<()> {
    let mut sums = vec![0_i64; bounded(reader, Table::Stacks, entry.stacks.rows()).await?];
    reader.accumulate(profiles, entry.stacks.first, &mut sums, &mut ScanReport::default()).await?;
    for samples in read {
        for (stack, value) in samples.stacks.iter().zip(&samples.values) {
            if let Some(sum) = sums.get_mut(*stack as usize) {
                *sum = sum.wrapping_sub(*value);
            }
        }
    }
    match sums.iter().position(|rest| *rest != 0) {
        None => Ok(()),
        Some(stack) => Err(corrupt(Table::Samples, "rows and their sums are decoded differently").with("stack", stack)),
    }
}
