//! Scans of two columns of integers side by side, decoded by [`crate::pages`]: what summing samples by stack reads.
//!
//! ```text
//! row ranges ─▶ row groups, pages ─▶ byte ranges ─▶ source ─▶ numbers of both columns, row for row
//! ```
//!
//! Bytes are fetched as in [`crate::scan`]: the pages of a row group that hold wanted rows, with one request. Memory is
//! bounded by these and one decoded page of each column.

use std::ops::Range;
use std::sync::Arc;

use flamestore_model::Result;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::page_index::offset_index::PageLocation;

use crate::page_check::Fetched;
use crate::pages::{ColumnPages, fits, page_ranges};
use crate::scan::{Plan, TableFile, YieldOnce, fetch_parts, guard, pages, plan_scan, report_plan};
use crate::{ScanReport, TableSource};

/// The names of an id column and a value column, neither of which has nulls.
pub(crate) type Names<'a> = [&'a str; 2];

/// What takes the numbers of the two columns, equally many of both.
pub(crate) type TakePair<'a> = dyn FnMut(&[u32], &[i64]) -> Result<()> + Send + 'a;

/// Gives the numbers in the rows of `ranges` (ascending, disjoint) to `each`, in order of rows. `false`, and nothing was done,
/// when the file is laid out in a way that is not read here.
pub(crate) async fn scan_pair(
    source: &dyn TableSource,
    file: &TableFile,
    names: Names<'_>,
    ranges: &[Range<u64>],
    report: &mut ScanReport,
    each: &mut TakePair<'_>,
) -> Result<bool> {
    let (mask, plan) = plan_scan(file, &names, ranges)?;
    let Some(groups) = groups(file, names, &plan) else { return Ok(false) };
    report_plan(file, &mask, &plan, report);
    if groups.is_empty() {
        return Ok(true);
    }
    let mut reader = source.reader(file.table).await?;
    for (group, (rows, wanted)) in groups.iter().zip(&plan.by_group) {
        let wanted: Vec<Range<u64>> = wanted.iter().map(|r| r.start - rows.start..r.end - rows.start).collect();
        let bytes = guard(file.table, || Ok::<_, ParquetError>(group.byte_ranges(&wanted)))?;
        let fetched = Arc::new(Fetched::new(fetch_parts(file, reader.as_mut(), bytes, report).await?));
        let mut ids = ColumnPages::new((file.table, names[0]), &fetched, group.ids, group.rows)?;
        let mut values = ColumnPages::new((file.table, names[1]), &fetched, group.values, group.rows)?;
        report.rows += take(&mut ids, &mut values, &wanted, each)?;
        YieldOnce::default().await;
    }
    Ok(true)
}

/// A column chunk and where its pages lie.
pub(crate) type Located<'a> = (&'a ColumnChunkMetaData, &'a [PageLocation]);

/// The two columns of one row group.
struct Group<'a> {
    rows: u64,
    ids: Located<'a>,
    values: Located<'a>,
}

impl Group<'_> {
    /// Where the pages lie that hold wanted rows, and the dictionaries they need.
    fn byte_ranges(&self, wanted: &[Range<u64>]) -> Vec<Range<u64>> {
        [self.ids, self.values].into_iter().flat_map(|located| page_ranges(located, self.rows, wanted)).collect()
    }
}

/// The two columns in the row groups to be read, unless one of them is not read here.
fn groups<'a>(file: &'a TableFile, names: Names<'_>, plan: &Plan) -> Option<Vec<Group<'a>>> {
    let parquet = file.parquet();
    let columns = parquet.file_metadata().schema_descr().columns();
    let leaf = |name: &str| columns.iter().position(|column| column.path().parts() == [name]);
    let (ids, values) = (leaf(names[0])?, leaf(names[1])?);
    let offsets = parquet.offset_index()?;
    let group = |at: usize| {
        let metadata = parquet.row_group(at);
        let located = |leaf: usize| Some((metadata.columns().get(leaf)?, pages(offsets, at, leaf)?));
        let rows = u64::try_from(metadata.num_rows()).ok()?;
        let group = Group { rows, ids: located(ids)?, values: located(values)? };
        (fits::<u32>(group.ids, rows) && fits::<i64>(group.values, rows)).then_some(group)
    };
    plan.row_groups.iter().map(|at| group(*at)).collect()
}

/// Takes the wanted rows of one row group; the answer is how many there were.
fn take(
    ids: &mut ColumnPages<'_, u32>,
    values: &mut ColumnPages<'_, i64>,
    wanted: &[Range<u64>],
    each: &mut TakePair<'_>,
) -> Result<u64> {
    let mut taken = 0;
    for range in wanted {
        let mut row = range.start;
        while row < range.end {
            let (ids, values) = (ids.from(row)?, values.from(row)?);
            let left = usize::try_from(range.end - row).unwrap_or(usize::MAX);
            let count = left.min(ids.len()).min(values.len());
            each(&ids[..count], &values[..count])?;
            (row, taken) = (row + count as u64, taken + count as u64);
        }
    }
    Ok(taken)
}
