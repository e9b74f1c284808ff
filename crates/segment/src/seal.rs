//! Writes the tables of a segment as Parquet files.
//!
//! Encodings come from the table of columns in the schema; only values are tried both ways, since counts are
//! smaller split into bytes and gauges that repeat are smaller as they are. Files carry a page index and no bloom filters.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use bytes::Bytes;
use flamestore_model::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::schema::types::ColumnPath;
use xxhash_rust::xxh3::xxh3_64;

use crate::observed::Present;
use crate::schema::{Column, ColumnEncoding, FORMAT_VERSION, FORMAT_VERSION_KEY, TABLE_KEY};
use crate::{SegmentMeta, SegmentOptions, SegmentTables, Table};

/// Rows of a column that decide its encoding.
pub(crate) const TRIAL_ROWS: usize = 1 << 16;

/// Bytes of a page, before encoding, that no page passes by much.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// One table as a Parquet file.
#[derive(Clone, Debug)]
pub struct SealedTable {
    /// Which table.
    pub table: Table,
    /// The file.
    pub bytes: Bytes,
    /// Its rows.
    pub rows: u64,
    /// The last bytes of the file that hold the page index and the footer: one request for them opens the table.
    pub footer_bytes: u64,
    /// XXH3-64 of the file.
    pub checksum: u64,
}

/// A whole segment, ready to be stored.
#[derive(Clone, Debug)]
pub struct SealedSegment {
    /// Its tables, in the order of [`Table::ALL`].
    pub tables: Vec<SealedTable>,
    /// What the segment says of itself.
    pub meta: SegmentMeta,
}

impl SealedSegment {
    /// The bytes of all tables.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.bytes.len() as u64).sum()
    }

    /// One table.
    pub fn table(&self, table: Table) -> Option<&SealedTable> {
        self.tables.iter().find(|sealed| sealed.table == table)
    }
}

/// Encodes `tables`, table by table; the batches of a table are dropped when it is written.
///
/// # Errors
/// `Internal` when the Parquet writer refuses what was built.
pub fn seal(mut tables: SegmentTables, options: &SegmentOptions) -> Result<SealedSegment> {
    let samples =
        tables.take(Table::Samples).map(|batches| seal_table(Table::Samples, batches, options)).transpose()?;
    seal_rest(tables, samples, options)
}

/// Encodes all tables but `samples`, which is written already.
pub(crate) fn seal_rest(
    mut tables: SegmentTables,
    samples: Option<SealedTable>,
    options: &SegmentOptions,
) -> Result<SealedSegment> {
    let mut sealed = Vec::with_capacity(Table::ALL.len());
    sealed.extend(samples);
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Samples) {
        let Some(batches) = tables.take(table) else { continue };
        sealed.push(seal_table(table, batches, options)?);
    }
    Ok(SealedSegment { tables: sealed, meta: tables.meta })
}

fn refused(table: Table) -> impl Fn(ParquetError) -> Error {
    move |wrong| Error::internal("a table is not written").with("table", table).because(wrong)
}

fn seal_table(table: Table, batches: Vec<RecordBatch>, options: &SegmentOptions) -> Result<SealedTable> {
    let columns = |at: usize| batches.iter().map(|batch| Arc::clone(batch.column(at))).collect();
    let schema = batches.first().map_or_else(|| schema_of_none(table), RecordBatch::schema);
    let properties = properties(table, &schema, &columns, options).map_err(refused(table))?;
    let mut writer = TableWriter::new(table, schema, properties).map_err(refused(table))?;
    for batch in batches {
        writer.write(&batch).map_err(refused(table))?;
    }
    writer.finish().map_err(refused(table))
}

/// The columns of a table without rows.
fn schema_of_none(table: Table) -> SchemaRef {
    match table {
        Table::Samples => Present::default().schema(),
        _ => table.schema(),
    }
}

/// Writes `samples` batch by batch.
pub(crate) struct SampleWriter(TableWriter);

impl SampleWriter {
    /// A writer of the columns of `schema` that chooses the encoding of values by `values`.
    pub(crate) fn new(schema: SchemaRef, values: ArrayRef, options: &SegmentOptions) -> Result<Self> {
        let properties = properties(Table::Samples, &schema, &|_| vec![Arc::clone(&values)], options);
        let writer = properties.and_then(|properties| TableWriter::new(Table::Samples, schema, properties));
        writer.map(Self).map_err(refused(Table::Samples))
    }

    /// Appends `batch`.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.0.write(batch).map_err(refused(Table::Samples))
    }

    /// The table.
    pub(crate) fn finish(self) -> Result<SealedTable> {
        self.0.finish().map_err(refused(Table::Samples))
    }
}

struct TableWriter {
    table: Table,
    rows_at_once: usize,
    writer: ArrowWriter<Vec<u8>>,
}

impl TableWriter {
    fn new(table: Table, schema: SchemaRef, properties: WriterProperties) -> std::result::Result<Self, ParquetError> {
        let rows_at_once = properties.max_row_group_row_count().unwrap_or(usize::MAX).max(1);
        let options = ArrowWriterOptions::new()
            .with_properties(properties)
            .with_skip_arrow_metadata(true)
            .with_schema_root(table.as_str().to_owned());
        let writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options)?;
        Ok(Self { table, rows_at_once, writer })
    }

    fn write(&mut self, batch: &RecordBatch) -> std::result::Result<(), ParquetError> {
        // The writer calls itself once a row group that a batch spans: hand it no more than one at a time.
        for start in (0..batch.num_rows()).step_by(self.rows_at_once) {
            self.writer.write(&batch.slice(start, self.rows_at_once.min(batch.num_rows() - start)))?;
        }
        Ok(())
    }

    fn finish(mut self) -> std::result::Result<SealedTable, ParquetError> {
        let metadata = self.writer.finish()?;
        let (rows, body_end) = (metadata.file_metadata().num_rows(), body_end(&metadata));
        let bytes = std::mem::take(self.writer.inner_mut());
        Ok(SealedTable {
            table: self.table,
            rows: u64::try_from(rows).unwrap_or(0),
            footer_bytes: bytes.len() as u64 - body_end,
            checksum: xxh3_64(&bytes),
            bytes: bytes.into(),
        })
    }
}

/// Where the last column chunk ends; after it come only indexes and the footer.
pub(crate) fn body_end(metadata: &ParquetMetaData) -> u64 {
    let columns = metadata.row_groups().iter().flat_map(|group| group.columns());
    let end = columns.map(|column| {
        let (start, length) = column.byte_range();
        start + length
    });
    // The magic of an empty file.
    end.max().unwrap_or(4)
}

/// The properties of `table`, of which the columns of `schema` are written; encodings are tried on the parts that `columns` gives
/// of a column.
fn properties(
    table: Table,
    schema: &SchemaRef,
    columns: &dyn Fn(usize) -> Vec<ArrayRef>,
    options: &SegmentOptions,
) -> std::result::Result<WriterProperties, ParquetError> {
    let page_rows = match table {
        Table::Samples => options.sample_page_rows,
        // The longer a page, the more of its chains of calls stood in it before.
        Table::CallSites => options.page_rows * 4,
        Table::Strings | Table::Locations => options.page_rows,
        // A service has a few hundred profiles and a few thousand symbols, next to tens of thousands of call sites.
        Table::Profiles => options.page_rows / 8,
        // A window has thousands of stacks.
        Table::Rollups1h | Table::Rollups1d | Table::Rollups30d => options.page_rows,
        _ => options.page_rows / 2,
    };
    let metadata = vec![
        KeyValue::new(FORMAT_VERSION_KEY.to_owned(), FORMAT_VERSION.to_string()),
        KeyValue::new(TABLE_KEY.to_owned(), table.as_str().to_owned()),
    ];
    let mut builder = base_properties(table)?
        .set_max_row_group_row_count(Some(options.row_group_rows.max(1)))
        .set_data_page_row_count_limit(page_rows.max(1))
        .set_write_batch_size(page_rows.clamp(1, 1024))
        .set_data_page_size_limit(PAGE_BYTES_MAX)
        .set_key_value_metadata(Some(metadata))
        .set_sorting_columns(sorting_columns(table));
    let written = table.columns().iter().filter(|column| schema.index_of(column.name).is_ok());
    for (at, column) in written.enumerate() {
        let encoding = match column.encoding {
            ColumnEncoding::Trial => trial(table, schema.field(at), &columns(at))?,
            _ => column.encoding.parquet(),
        };
        builder = column_properties(builder, table, column, encoding);
    }
    Ok(builder.build())
}

fn base_properties(table: Table) -> std::result::Result<WriterPropertiesBuilder, ParquetError> {
    let level = match table {
        Table::Samples | Table::Profiles => 1,
        _ => 9,
    };
    Ok(WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by(concat!("flamestore ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(level)?)))
}

fn column_properties(
    mut builder: WriterPropertiesBuilder,
    table: Table,
    column: &Column,
    encoding: Option<Encoding>,
) -> WriterPropertiesBuilder {
    for leaf in column.ty.leaves() {
        let path = leaf_path(column, leaf);
        builder = builder
            .set_column_statistics_enabled(path.clone(), statistics(table, column.name))
            .set_column_dictionary_enabled(path.clone(), encoding.is_none());
        if let Some(encoding) = encoding {
            builder = builder.set_column_encoding(path, encoding);
        }
    }
    builder
}

pub(crate) fn leaf_path(column: &Column, leaf: &str) -> ColumnPath {
    let below = leaf.split('.').filter(|part| !part.is_empty());
    ColumnPath::new(std::iter::once(column.name).chain(below).map(str::to_owned).collect())
}

/// Page statistics cost bytes of every footer; they are kept where rows are sorted or nearly so.
fn statistics(table: Table, name: &str) -> EnabledStatistics {
    match table {
        Table::Samples if matches!(name, "series_id" | "time_unix_nano") => EnabledStatistics::Page,
        Table::Samples => EnabledStatistics::Chunk,
        Table::Profiles if matches!(name, "profile" | "series_id" | "time_unix_nano") => EnabledStatistics::Page,
        Table::Rollups1h | Table::Rollups1d | Table::Rollups30d if name == "stack_id" => EnabledStatistics::Chunk,
        _ if table.sorted_by().contains(&name) => EnabledStatistics::Page,
        _ => EnabledStatistics::Chunk,
    }
}

fn sorting_columns(table: Table) -> Option<Vec<SortingColumn>> {
    let index = |name: &&str| table.columns().iter().position(|column| column.name == *name);
    let sorting = |index: usize| SortingColumn {
        column_idx: i32::try_from(index).unwrap_or(0),
        descending: false,
        nulls_first: true,
    };
    Some(table.sorted_by().iter().filter_map(index).map(sorting).collect())
}

/// The smallest encoding of a column by what it holds, judged on rows from the whole column: counts are split into streams of
/// bytes, what mostly repeats (gauges) stays plain, and few large values go to a dictionary, which is `None` here.
fn trial(table: Table, field: &Field, parts: &[ArrayRef]) -> std::result::Result<Option<Encoding>, ParquetError> {
    let share = (TRIAL_ROWS / parts.len().max(1)).max(1024);
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let parts = parts.iter().step_by((parts.len() * 1024 / TRIAL_ROWS).max(1));
    let parts: Vec<RecordBatch> = parts
        .map(|part| RecordBatch::try_new(Arc::clone(&schema), vec![part.slice(0, share.min(part.len()))]))
        .collect::<std::result::Result<_, _>>()?;
    let bytes = |encoding: Option<Encoding>| -> std::result::Result<usize, ParquetError> {
        let properties = base_properties(table)?.set_dictionary_enabled(encoding.is_none());
        let properties =
            encoding.into_iter().fold(properties, |properties, encoding| properties.set_encoding(encoding));
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, Arc::clone(&schema), Some(properties.build()))?;
        for part in &parts {
            writer.write(part)?;
        }
        writer.close()?;
        Ok(bytes.len())
    };
    let (split, plain) = (bytes(Some(Encoding::BYTE_STREAM_SPLIT))?, bytes(Some(Encoding::PLAIN))?);
    if bytes(None)? < split.min(plain) {
        return Ok(None);
    }
    Ok(Some(if split < plain { Encoding::BYTE_STREAM_SPLIT } else { Encoding::PLAIN }))
}
