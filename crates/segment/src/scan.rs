//! Scans of one table: only the pages of the wanted rows and columns are fetched and decoded.
//!
//! ```text
//! row ranges ─▶ row groups ─▶ pages ─▶ byte ranges ─▶ source ─▶ record batches
//! ```
//!
//! Fetching is asynchronous, decoding is not; a panic of the decoder on damaged bytes is caught and becomes `Corrupt`.
//! Memory is bounded by the fetched pages of one row group and one batch.

use std::future::Future;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use bytes::Bytes;
use flamestore_model::{Error, Result};
use futures::FutureExt;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::PageLocation;

use crate::page_check::Fetched;
use crate::row_group::WantedRowGroup;
use crate::schema::{Column, FORMAT_VERSION, FORMAT_VERSION_KEY, TABLE_KEY, Table};
use crate::seal::body_end;
use crate::{ScanReport, TableSource};

/// The opened footer of a table.
pub(crate) struct TableFile {
    pub(crate) table: Table,
    metadata: ArrowReaderMetadata,
    rows: u64,
}

/// Damage of `table`: what was expected, what was found.
pub(crate) fn corrupt(table: Table, what: impl Into<String>) -> Error {
    Error::corrupt(what).with("table", table)
}

impl TableFile {
    /// Opens `table` and checks its footer.
    pub(crate) async fn open(source: &dyn TableSource, table: Table) -> Result<Self> {
        let mut reader = source.reader(table).await?;
        let options =
            ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_page_index_policy(PageIndexPolicy::Optional);
        let parsed = AssertUnwindSafe(reader.get_metadata(Some(&options))).catch_unwind().await;
        let parsed = parsed.map_err(|_| corrupt(table, "the footer cannot be read"))?;
        let parsed = parsed.map_err(|wrong| fetch_error(table, wrong))?;
        let metadata = guard(table, || ArrowReaderMetadata::try_new(parsed, options))?;
        let version = check_version(table, metadata.metadata())?;
        check_schema(table, version, &metadata)?;
        let rows = check_rows(table, metadata.metadata())?;
        Ok(Self { table, metadata, rows })
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// The format version it names.
    pub(crate) fn version(&self) -> u32 {
        format_version(self.parquet()).unwrap_or(0)
    }

    /// The last bytes of the file that hold page index and footer, of `bytes` in all.
    pub(crate) fn footer_bytes(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(body_end(self.parquet()))
    }

    /// The bytes that `rows` take as stored, about: of a page that they share with others, their part.
    pub(crate) fn stored_bytes(&self, rows: &Range<u64>) -> u64 {
        let parquet = self.parquet();
        let Some(offsets) = parquet.offset_index() else { return 0 };
        let mut bytes = 0;
        for (group, of_group) in self.row_groups() {
            for leaf in 0..parquet.file_metadata().schema_descr().num_columns() {
                let located = pages(offsets, group, leaf).unwrap_or_default();
                for (page, of_page) in located.iter().zip(page_rows(located, of_group.clone())) {
                    let shared = rows.end.min(of_page.end).saturating_sub(rows.start.max(of_page.start));
                    let all = u128::from(of_page.end.saturating_sub(of_page.start).max(1));
                    let size = u128::try_from(page.compressed_page_size).unwrap_or(0);
                    bytes += u64::try_from(size * u128::from(shared) / all).unwrap_or(0);
                }
            }
        }
        bytes
    }

    /// How many values column `name` has beside nulls, as far as is known; `None` where there is no such column.
    pub(crate) fn values(&self, name: &str) -> Option<u64> {
        let parquet = self.parquet();
        let leaf = parquet.file_metadata().schema_descr().columns().iter().position(|column| column.name() == name)?;
        let of_group = parquet.row_groups().iter().filter_map(|group| group.columns().get(leaf)).map(|column| {
            let nulls = column.statistics().and_then(|statistics| statistics.null_count_opt()).unwrap_or(0);
            u64::try_from(column.num_values()).unwrap_or(0).saturating_sub(nulls)
        });
        Some(of_group.fold(0, u64::saturating_add))
    }

    /// Bytes it takes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.parquet().memory_size()
    }

    pub(crate) fn parquet(&self) -> &ParquetMetaData {
        self.metadata.metadata()
    }

    /// First rows and ends of the row groups.
    fn row_groups(&self) -> impl Iterator<Item = (usize, Range<u64>)> {
        let mut start = 0;
        self.parquet().row_groups().iter().enumerate().map(move |(at, group)| {
            let rows = start..start + u64::try_from(group.num_rows()).unwrap_or(0);
            start = rows.end;
            (at, rows)
        })
    }

    /// `ranges` without the pages in which `keep(min, max)` of column `name`, an INT64 without nulls, does not hold.
    pub(crate) fn prune(
        &self,
        name: &str,
        ranges: Vec<Range<u64>>,
        keep: impl Fn(i64, i64) -> bool,
    ) -> Vec<Range<u64>> {
        let parquet = self.parquet();
        let leaf = parquet.file_metadata().schema_descr().columns().iter().position(|column| column.name() == name);
        let (Some(leaf), Some(columns), Some(offsets)) = (leaf, parquet.column_index(), parquet.offset_index()) else {
            return ranges;
        };
        let mut dropped = Vec::new();
        for (group, rows) in self.row_groups() {
            let index = columns.get(group).and_then(|columns| columns.get(leaf));
            let (Some(ColumnIndexMetaData::INT64(index)), Some(pages)) = (index, pages(offsets, group, leaf)) else {
                continue;
            };
            for (page, of_page) in page_rows(pages, rows.clone()).enumerate() {
                match (index.min_values().get(page), index.max_values().get(page)) {
                    (Some(min), Some(max)) if !keep(*min, *max) => dropped.push(of_page),
                    _ => {}
                }
            }
        }
        subtract(ranges, &dropped)
    }
}

type OffsetIndex = [Vec<parquet::file::page_index::offset_index::OffsetIndexMetaData>];

pub(crate) fn pages(offsets: &OffsetIndex, group: usize, leaf: usize) -> Option<&[PageLocation]> {
    offsets.get(group)?.get(leaf).map(|index| index.page_locations().as_slice())
}

/// The rows of each page of a column chunk that holds `rows`.
pub(crate) fn page_rows(pages: &[PageLocation], rows: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let start = move |page: &PageLocation| rows.start + u64::try_from(page.first_row_index).unwrap_or(0);
    let (first, end) = (start, rows.end);
    pages.iter().enumerate().map(move |(at, page)| first(page)..pages.get(at + 1).map_or(end, &first))
}

/// `ranges` less `holes`; both ascending and disjoint.
fn subtract(ranges: Vec<Range<u64>>, holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut kept = Vec::with_capacity(ranges.len());
    for mut range in ranges {
        let first = holes.partition_point(|hole| hole.end <= range.start);
        for hole in holes[first..].iter().take_while(|hole| hole.start < range.end) {
            if range.start < hole.start {
                kept.push(range.start..hole.start);
            }
            range.start = hole.end.min(range.end).max(range.start);
        }
        if !range.is_empty() {
            kept.push(range);
        }
    }
    kept
}

/// Joins ascending ranges that touch.
///
/// # Errors
/// `None` when they are not ascending or overlap.
pub(crate) fn join_ranges(ranges: impl IntoIterator<Item = Range<u64>>) -> Option<Vec<Range<u64>>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            Some(last) if last.end > range.start => return None,
            _ => joined.push(range),
        }
    }
    Some(joined)
}

/// Decodes `columns` of the rows in `ranges` (ascending, disjoint) and gives each batch to `each`, in order of rows.
pub(crate) async fn scan(
    source: &dyn TableSource,
    file: &TableFile,
    columns: &[&str],
    ranges: &[Range<u64>],
    report: &mut ScanReport,
    each: &mut (dyn FnMut(&RecordBatch) -> Result<()> + Send),
) -> Result<()> {
    let (mask, plan) = plan_scan(file, columns, ranges)?;
    report_plan(file, &mask, &plan, report);
    if plan.row_groups.is_empty() {
        return Ok(());
    }
    let schema = file.parquet().file_metadata().schema_descr();
    let levels = guard(file.table, || parquet_to_arrow_field_levels(schema, mask.clone(), None))?;
    let mut reader = source.reader(file.table).await?;
    for (number, (rows, wanted)) in plan.row_groups.iter().zip(&plan.by_group) {
        let wanted: Vec<Range<u64>> = wanted.iter().map(|r| r.start - rows.start..r.end - rows.start).collect();
        let group = WantedRowGroup::new(file, *number, &mask, &wanted);
        let bytes = guard(file.table, || Ok::<_, ParquetError>(group.byte_ranges()))?;
        let fetched = Fetched::new(fetch_parts(file, reader.as_mut(), bytes, report).await?);
        let mut batches = group.batches(&levels, fetched)?;
        while let Some(batch) = batches.next(file)? {
            report.rows += batch.num_rows() as u64;
            each(&batch)?;
        }
        YieldOnce::default().await;
    }
    Ok(())
}

/// These bytes of a table, with one request.
pub(crate) async fn fetch_parts(
    file: &TableFile,
    reader: &mut dyn AsyncFileReader,
    wanted: Vec<Range<u64>>,
    report: &mut ScanReport,
) -> Result<Vec<(Range<u64>, Bytes)>> {
    let table = file.table;
    if wanted.iter().any(|range| range.end < range.start) {
        return Err(corrupt(table, "a page ends before it starts"));
    }
    report.requests += 1;
    report.bytes_read += wanted.iter().map(|range| range.end - range.start).sum::<u64>();
    let fetched = reader.get_byte_ranges(wanted.clone()).await.map_err(|wrong| fetch_error(table, wrong))?;
    let complete = fetched.len() == wanted.len()
        && fetched.iter().zip(&wanted).all(|(bytes, range)| bytes.len() as u64 == range.end - range.start);
    match complete {
        true => Ok(wanted.into_iter().zip(fetched).collect()),
        false => Err(corrupt(table, "the file is shorter than its footer says")),
    }
}

/// Row groups that hold wanted rows.
pub(crate) struct Plan {
    pub(crate) row_groups: Vec<usize>,
    /// The rows of each row group, and those of them that are wanted.
    pub(crate) by_group: Vec<(Range<u64>, Vec<Range<u64>>)>,
}

/// What is to be read of `columns` for the rows in `ranges`.
pub(crate) fn plan_scan(file: &TableFile, columns: &[&str], ranges: &[Range<u64>]) -> Result<(ProjectionMask, Plan)> {
    if ranges.last().is_some_and(|range| range.end > file.rows) {
        return Err(corrupt(file.table, "rows are missing")
            .with("expected", ranges.last().map_or(0, |range| range.end))
            .with("found", file.rows));
    }
    let schema = file.metadata.schema();
    let roots: Vec<usize> = columns.iter().filter_map(|name| schema.index_of(name).ok()).collect();
    let mask = ProjectionMask::roots(file.metadata.parquet_schema(), roots);
    Ok((mask, plan(file, ranges)))
}

fn plan(file: &TableFile, ranges: &[Range<u64>]) -> Plan {
    let mut plan = Plan { row_groups: Vec::new(), by_group: Vec::new() };
    for (group, rows) in file.row_groups() {
        let first = ranges.partition_point(|range| range.end <= rows.start);
        let inside = ranges[first..].iter().take_while(|range| range.start < rows.end);
        let inside: Vec<Range<u64>> = inside
            .map(|range| range.start.max(rows.start)..range.end.min(rows.end))
            .filter(|range| !range.is_empty())
            .collect();
        if inside.is_empty() {
            continue;
        }
        plan.row_groups.push(group);
        plan.by_group.push((rows, inside));
    }
    plan
}

pub(crate) fn report_plan(file: &TableFile, mask: &ProjectionMask, plan: &Plan, report: &mut ScanReport) {
    let parquet = file.parquet();
    let read = plan.row_groups.len() as u64;
    report.row_groups_read += read;
    report.row_groups_skipped += parquet.num_row_groups() as u64 - read;
    let Some(offsets) = parquet.offset_index() else { return };
    let leaves = 0..parquet.file_metadata().schema_descr().num_columns();
    for leaf in leaves.filter(|leaf| mask.leaf_included(*leaf)) {
        let total: u64 =
            (0..parquet.num_row_groups()).map(|g| pages(offsets, g, leaf).map_or(0, <[_]>::len) as u64).sum();
        let mut read = 0;
        for (group, (rows, inside)) in plan.row_groups.iter().zip(&plan.by_group) {
            let of_group = page_rows(pages(offsets, *group, leaf).unwrap_or_default(), rows.clone());
            let wanted = |page: &Range<u64>| {
                let first = inside.partition_point(|range| range.end <= page.start);
                inside.get(first).is_some_and(|range| range.start < page.end)
            };
            read += of_group.filter(wanted).count() as u64;
        }
        report.pages_read += read;
        report.pages_skipped += total - read;
    }
}

/// Runs code of the Parquet reader on untrusted bytes.
pub(crate) fn guard<T, E>(table: Table, read: impl FnOnce() -> std::result::Result<T, E>) -> Result<T>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(wrong)) => Err(corrupt(table, "the file cannot be decoded").because(wrong)),
        Err(_) => Err(corrupt(table, "the file cannot be decoded").because("the decoder gave up")),
    }
}

/// An error of the source keeps its kind, and I/O may be tried again; whatever else the Parquet reader says means damage,
/// also where it hands on the error of a library it uses.
fn fetch_error(table: Table, wrong: ParquetError) -> Error {
    let source = match wrong {
        ParquetError::External(source) => source,
        wrong => return corrupt(table, "the file cannot be read").because(wrong),
    };
    match source.downcast::<Error>() {
        Ok(ours) => ours.with("table", table),
        Err(source) if source.is::<std::io::Error>() => {
            Error::unavailable("the table cannot be fetched").with("table", table).because(source)
        }
        Err(source) => corrupt(table, "the file cannot be read").because(source),
    }
}

/// What the file says of itself under `key`; nothing where it says nothing.
fn stated<'a>(metadata: &'a ParquetMetaData, key: &str) -> &'a str {
    let entries = metadata.file_metadata().key_value_metadata();
    let entry = entries.into_iter().flatten().find(|entry| entry.key == key);
    entry.and_then(|entry| entry.value.as_deref()).unwrap_or_default()
}

fn format_version(metadata: &ParquetMetaData) -> Option<u32> {
    stated(metadata, FORMAT_VERSION_KEY).parse().ok()
}

fn check_version(table: Table, metadata: &ParquetMetaData) -> Result<u32> {
    let found = stated(metadata, TABLE_KEY);
    if found != table.as_str() {
        return Err(corrupt(table, "the file is of another table").with("found", format!("{found:?}")));
    }
    match format_version(metadata) {
        Some(version) if (1..=FORMAT_VERSION).contains(&version) => Ok(version),
        Some(version) => Err(corrupt(table, "the table is of a format version this reader does not know")
            .with("expected", format!("1..={FORMAT_VERSION}"))
            .with("found", version)),
        None => Err(corrupt(table, "the table names no format version")),
    }
}

fn check_schema(table: Table, version: u32, metadata: &ArrowReaderMetadata) -> Result<()> {
    for column in table.columns_of(version) {
        let found = metadata.schema().field_with_name(column.name).ok();
        let fits = match found {
            Some(field) => {
                same_type(field.data_type(), &column.ty.data_type()) && (column.nullable || !field.is_nullable())
            }
            None => column.nullable,
        };
        if !fits {
            return Err(wrong_column(table, column, found.map(|field| field.to_string())));
        }
    }
    Ok(())
}

fn wrong_column(table: Table, column: &Column, found: Option<String>) -> Error {
    let null = if column.nullable { "" } else { "non-null " };
    corrupt(table, "a column is not as the format says")
        .with("column", column.name)
        .with("expected", format!("{null}{}", column.ty.data_type()))
        .with("found", found.unwrap_or_else(|| "nothing".to_owned()))
}

/// Whether the types are alike apart from the names and flags inside of them.
fn same_type(found: &DataType, expected: &DataType) -> bool {
    match (found, expected) {
        (DataType::List(found), DataType::List(expected)) => same_type(found.data_type(), expected.data_type()),
        (DataType::Map(found, _), DataType::Map(expected, _)) => same_type(found.data_type(), expected.data_type()),
        (DataType::Struct(found), DataType::Struct(expected)) => {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(f, e)| same_type(f.data_type(), e.data_type()))
        }
        _ => found == expected,
    }
}

/// The number of rows, after checking that row groups, columns and pages agree on it.
fn check_rows(table: Table, metadata: &ParquetMetaData) -> Result<u64> {
    let disagree = |what: &str| corrupt(table, format!("{what} of the footer disagree"));
    let mut rows = 0_u64;
    for (at, group) in metadata.row_groups().iter().enumerate() {
        let group_rows = u64::try_from(group.num_rows()).map_err(|_| disagree("row counts"))?;
        rows = rows
            .checked_add(group_rows)
            .filter(|rows| *rows <= i64::MAX as u64)
            .ok_or_else(|| disagree("row counts"))?;
        for (leaf, column) in group.columns().iter().enumerate() {
            let flat = column.column_descr().max_rep_level() == 0;
            if flat && column.num_values() != group.num_rows()
                || column.compressed_size() < 0
                || column.data_page_offset() < 0
            {
                return Err(disagree("columns"));
            }
            let located = metadata.offset_index().and_then(|offsets| pages(offsets, at, leaf));
            if located.is_some_and(|located| !pages_fit(located, group.num_rows())) {
                return Err(disagree("pages"));
            }
        }
    }
    let named = u64::try_from(metadata.file_metadata().num_rows()).ok();
    let bounded = table == Table::Samples || rows < u64::from(u32::MAX);
    match named == Some(rows) && bounded {
        true => Ok(rows),
        false => Err(disagree("row counts").with("expected", rows).with("found", metadata.file_metadata().num_rows())),
    }
}

fn pages_fit(pages: &[PageLocation], rows: i64) -> bool {
    let ascending = pages.windows(2).all(|pair| pair[0].first_row_index < pair[1].first_row_index);
    let inside = pages.first().is_none_or(|page| page.first_row_index == 0)
        && pages.last().is_none_or(|page| page.first_row_index < rows);
    ascending && inside && pages.iter().all(|page| page.offset >= 0 && page.compressed_page_size >= 0)
}

/// Gives the executor a turn, so that a dropped query stops and others go on.
#[derive(Default)]
pub(crate) struct YieldOnce(bool);

impl Future for YieldOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The column `name` of `batch` as `A`. The footer was checked, so it exists unless it is nullable.
pub(crate) fn column<'a, A: Array + 'static>(table: Table, batch: &'a RecordBatch, name: &str) -> Result<&'a A> {
    let column = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref::<A>());
    column.ok_or_else(|| corrupt(table, "a column is missing").with("column", name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_where_they_touch_and_lose_their_holes() {
        assert_eq!(join_ranges([0..2, 2..5, 7..7, 8..9]), Some(vec![0..5, 8..9]));
        assert_eq!(join_ranges([0..2, 1..5]), None);
        assert_eq!(subtract(vec![0..10, 20..30], &[2..4, 8..22, 29..40]), vec![0..2, 4..8, 22..29]);
        assert_eq!(subtract(vec![0..3, 9..9], &[0..3, 5..6]), Vec::<Range<u64>>::new());
    }
}
