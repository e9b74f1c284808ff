//! The table `profiles`.

use std::ops::Range;

use arrow::array::{Array, BinaryArray, FixedSizeBinaryArray, Int64Array, ListArray, RecordBatch, UInt32Array};
use flamestore_model::{NONE, ProfileId, Result, TimeRange};
use roaring::RoaringBitmap;

use super::SegmentReader;
use crate::input::ProfileMeta;
use crate::rows::{DictionaryEntry, ProfileDetail, ProfileRow, SeriesTable};
use crate::scan::{column, corrupt, join_ranges};
use crate::schema::Table;
use crate::{ScanReport, Span};

const ROW_COLUMNS: [&str; 8] =
    ["profile", "series_id", "time_unix_nano", "unit", "total", "row_start", "row_count", "stack_base"];

/// Stack bases lie between this and its negative: a stack key and a stack id are both below it.
const STACK_BASE_END: i64 = 1 << 32;

const META_COLUMNS: [&str; 10] = [
    "profile_id",
    "value_index",
    "value_count",
    "duration_nano",
    "period",
    "main_mapping_id",
    "comments",
    "default_sample_type",
    "doc_url",
    "drop_frames",
];

/// The profiles of `series` within `range`, or of any time.
pub(super) async fn select(
    reader: &SegmentReader,
    series: &RoaringBitmap,
    range: Option<&TimeRange>,
    report: &mut ScanReport,
) -> Result<Vec<ProfileRow>> {
    let overlaps = |min: i64, max: i64| range.is_none_or(|range| range.overlaps(min, max));
    let inside = |profile: &ProfileRow| range.is_none_or(|range| range.contains(profile.time_unix_nano));
    read_series(reader, series.iter(), overlaps, inside, report).await
}

/// The profiles of parts: ranges of time of one series each, in order of series.
pub(super) async fn select_parts(
    reader: &SegmentReader,
    parts: &[(u32, TimeRange)],
    report: &mut ScanReport,
) -> Result<Vec<ProfileRow>> {
    let mut ranges: Vec<TimeRange> = Vec::new();
    let mut sorted: Vec<TimeRange> = parts.iter().map(|(_, range)| *range).collect();
    sorted.sort_by_key(|range| range.start);
    for range in sorted {
        match ranges.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => ranges.push(range),
        }
    }
    let overlaps = |min: i64, max: i64| ranges.iter().any(|range| range.overlaps(min, max));
    let inside = |profile: &ProfileRow| {
        let first = parts.partition_point(|(series, _)| *series < profile.series_id);
        let mut own = parts[first..].iter().take_while(|(series, _)| *series == profile.series_id);
        own.any(|(_, range)| range.contains(profile.time_unix_nano))
    };
    let mut series: Vec<u32> = parts.iter().map(|(series, _)| *series).collect();
    series.dedup();
    read_series(reader, series.into_iter(), overlaps, inside, report).await
}

/// The profiles of `series` that are `inside`, without the pages whose times do not overlap.
async fn read_series(
    reader: &SegmentReader,
    series: impl Iterator<Item = u32>,
    overlaps: impl Fn(i64, i64) -> bool,
    inside: impl Fn(&ProfileRow) -> bool + Send + Sync,
    report: &mut ScanReport,
) -> Result<Vec<ProfileRow>> {
    let table = reader.series().await?;
    let file = reader.file(Table::Profiles).await?;
    let selected = series.filter_map(|id| table.get(id));
    let possible = selected.filter(|series| series.profiles.count > 0 && overlaps(series.time_min, series.time_max));
    let rows = joined(possible.map(|series| series.profiles.rows()))?;
    let rows = file.prune("time_unix_nano", rows, overlaps);
    let mut profiles = Vec::new();
    let mut each = |batch: &RecordBatch| {
        profiles.extend(read_rows(batch, &table)?.into_iter().filter(&inside));
        Ok(())
    };
    reader.scan(Table::Profiles, &ROW_COLUMNS, &rows, report, &mut each).await?;
    Ok(profiles)
}

pub(super) async fn find(reader: &SegmentReader, id: ProfileId, report: &mut ScanReport) -> Result<Vec<ProfileRow>> {
    let rows = reader.file(Table::Profiles).await?.rows();
    let (mut row, mut found) = (0_u64, Vec::new());
    let mut each = |batch: &RecordBatch| {
        let ids = column::<FixedSizeBinaryArray>(Table::Profiles, batch, "profile_id")?;
        for at in 0..ids.len() {
            if ids.value(at) == id.as_bytes() {
                found.push(row + at as u64..row + at as u64 + 1);
            }
        }
        row += ids.len() as u64;
        Ok(())
    };
    reader.scan(Table::Profiles, &["profile_id"], std::slice::from_ref(&(0..rows)), report, &mut each).await?;
    let series = reader.series().await?;
    let mut profiles = Vec::new();
    let mut each = |batch: &RecordBatch| {
        profiles.extend(read_rows(batch, &series)?);
        Ok(())
    };
    reader.scan(Table::Profiles, &ROW_COLUMNS, &joined(found)?, report, &mut each).await?;
    Ok(profiles)
}

pub(super) async fn ids(reader: &SegmentReader) -> Result<Vec<ProfileId>> {
    let mut found = Vec::new();
    let mut each = |batch: &RecordBatch| {
        let ids = column::<FixedSizeBinaryArray>(Table::Profiles, batch, "profile_id")?;
        for id in ids.iter().flatten() {
            let id: [u8; 16] = id.try_into().map_err(|_| corrupt(Table::Profiles, "a profile id has not 16 bytes"))?;
            found.push(ProfileId::from_bytes(id));
        }
        Ok(())
    };
    reader.scan_all(Table::Profiles, &["profile_id"], &mut each).await?;
    Ok(found)
}

pub(super) async fn details(
    reader: &SegmentReader,
    profiles: &[ProfileRow],
    report: &mut ScanReport,
) -> Result<Vec<ProfileDetail>> {
    let (series, dictionaries) = (reader.series().await?, reader.dictionaries().await?);
    let mut wanted: Vec<u32> = profiles.iter().map(|profile| profile.profile).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let rows = joined(wanted.iter().map(|&profile| Span { first: profile, count: 1 }.rows()))?;
    let columns: Vec<&str> = ROW_COLUMNS.into_iter().chain(META_COLUMNS).chain(["keep_frames"]).collect();
    let mut found: Vec<ProfileDetail> = Vec::new();
    let mut each = |batch: &RecordBatch| {
        for (at, row) in read_rows(batch, &series)?.into_iter().enumerate() {
            let dictionary =
                series.get(row.series_id).and_then(|series| dictionaries.get(series.dictionary_id as usize));
            let dictionary = dictionary.ok_or_else(|| wrong("a profile has no dictionary", row.profile))?;
            found.push(ProfileDetail { row, meta: read_meta(batch, at, &row, dictionary)? });
        }
        Ok(())
    };
    reader.scan(Table::Profiles, &columns, &rows, report, &mut each).await?;
    let of = |profile: &ProfileRow| {
        let at = found.binary_search_by_key(&profile.profile, |detail| detail.row.profile);
        at.ok().and_then(|at| found.get(at)).cloned().ok_or_else(|| wrong("a profile is missing", profile.profile))
    };
    profiles.iter().map(of).collect()
}

fn wrong(what: &str, profile: u32) -> flamestore_model::Error {
    corrupt(Table::Profiles, what.to_owned()).with("profile", profile)
}

fn joined(rows: impl IntoIterator<Item = Range<u64>>) -> Result<Vec<Range<u64>>> {
    join_ranges(rows).ok_or_else(|| corrupt(Table::Series, "the profiles of two series overlap"))
}

/// The rows of `batch`, each checked to be where its series says.
fn read_rows(batch: &RecordBatch, series: &SeriesTable) -> Result<Vec<ProfileRow>> {
    let ids = |name: &str| column::<UInt32Array>(Table::Profiles, batch, name).map(|column| column.values());
    let numbers = |name: &str| column::<Int64Array>(Table::Profiles, batch, name).map(|column| column.values());
    let (profiles, series_ids, row_counts) = (ids("profile")?, ids("series_id")?, ids("row_count")?);
    let (times, units) = (numbers("time_unix_nano")?, numbers("unit")?);
    let (totals, row_starts) = (numbers("total")?, numbers("row_start")?);
    // Absent before version 3, where keys were ids.
    let stack_bases =
        batch.column_by_name("stack_base").and_then(|column| column.as_any().downcast_ref::<Int64Array>());
    let mut rows = Vec::with_capacity(batch.num_rows());
    for at in 0..batch.num_rows() {
        let (profile, series_id, time_unix_nano) = (profiles[at], series_ids[at], times[at]);
        let series = series.get(series_id).ok_or_else(|| wrong("a profile has no series", profile))?;
        let span = series.profiles.rows();
        if !span.contains(&u64::from(profile)) || !(series.time_min..=series.time_max).contains(&time_unix_nano) {
            return Err(wrong("a profile is not where its series says", profile).with("series", series_id));
        }
        let row_start = u64::try_from(row_starts[at]).ok().filter(|_| units[at] >= 1);
        let row_start = row_start.ok_or_else(|| wrong("a profile has a wrong row or unit", profile))?;
        let stack_base = stack_bases.filter(|bases| !bases.is_null(at)).map_or(0, |bases| bases.value(at));
        if !(1 - STACK_BASE_END..STACK_BASE_END).contains(&stack_base) {
            return Err(wrong("a stack base is out of range", profile).with("found", stack_base));
        }
        let (unit, total, row_count) = (units[at], totals[at], row_counts[at]);
        rows.push(ProfileRow { profile, series_id, time_unix_nano, unit, total, row_start, row_count, stack_base });
    }
    Ok(rows)
}

fn read_meta(batch: &RecordBatch, at: usize, row: &ProfileRow, entry: &DictionaryEntry) -> Result<ProfileMeta> {
    let table = Table::Profiles;
    let id = |name: &str| Ok(column::<UInt32Array>(table, batch, name)?.value(at));
    let number = |name: &str| Ok(column::<Int64Array>(table, batch, name)?.value(at));
    let bytes = |name: &str| -> Result<Vec<u8>> {
        let Some(found) = batch.column_by_name(name) else { return Ok(Vec::new()) };
        let column = found.as_any().downcast_ref::<BinaryArray>().filter(|column| !column.is_null(at));
        Ok(column.map(|column| column.value(at).to_vec()).unwrap_or_default())
    };
    let profile_id = column::<FixedSizeBinaryArray>(table, batch, "profile_id")?.value(at);
    let profile_id: [u8; 16] =
        profile_id.try_into().map_err(|_| wrong("a profile id has not 16 bytes", row.profile))?;
    let meta = ProfileMeta {
        id: ProfileId::from_bytes(profile_id),
        value_index: id("value_index")?,
        value_count: id("value_count")?,
        time_unix_nano: row.time_unix_nano,
        duration_nano: number("duration_nano")?,
        period: number("period")?,
        main_mapping: main_mapping(batch, at, row, entry)?,
        comments: comments(batch, at)?,
        default_sample_type: bytes("default_sample_type")?,
        doc_url: bytes("doc_url")?,
        drop_frames: bytes("drop_frames")?,
        keep_frames: bytes("keep_frames")?,
    };
    match meta.value_index < meta.value_count {
        true => Ok(meta),
        false => Err(wrong("a profile has more sample types than its source", row.profile)),
    }
}

fn main_mapping(batch: &RecordBatch, at: usize, row: &ProfileRow, entry: &DictionaryEntry) -> Result<u32> {
    let Some(found) = batch.column_by_name("main_mapping_id") else { return Ok(NONE) };
    let mappings = found.as_any().downcast_ref::<UInt32Array>().filter(|column| !column.is_null(at));
    let Some(mappings) = mappings else { return Ok(NONE) };
    let local = mappings.value(at).checked_sub(entry.mappings.first).filter(|local| *local < entry.mappings.count);
    local.ok_or_else(|| wrong("a main mapping is not in the dictionary", row.profile))
}

fn comments(batch: &RecordBatch, at: usize) -> Result<Vec<Vec<u8>>> {
    let Some(found) = batch.column_by_name("comments") else { return Ok(Vec::new()) };
    let lists = found.as_any().downcast_ref::<ListArray>().filter(|column| !column.is_null(at));
    let Some(lists) = lists else { return Ok(Vec::new()) };
    let comments = lists.value(at);
    let comments = comments.as_any().downcast_ref::<BinaryArray>();
    let comments = comments.ok_or_else(|| corrupt(Table::Profiles, "comments are not byte strings"))?;
    Ok(comments.iter().map(|comment| comment.unwrap_or_default().to_vec()).collect())
}
