//! `samples` and the dictionary tables: DataFusion's own Parquet scan over the files of segments, and the rows of heads.
//!
//! Filters prune row groups and pages by their statistics and are applied again above the scan. A file that cannot be opened
//! is left out and reported; one that breaks off in the middle ends the statement with `Corrupt`, since rows of it were
//! given already.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, ScalarValue, exec_err};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use flamestore_model::{Selector, TimeRange};
use flamestore_segment::{Table, TableSource};
use flamestore_store::StoredSegment;
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use super::filters::read_all;
use crate::error::{is_damage, outward};
use crate::prune::{ManifestFacts, Prune, by_manifest};
use crate::scope::{Scope, head_id};

/// One table of all segments and heads of a snapshot: its stored columns, then `segment`.
#[derive(Debug)]
pub(crate) struct FilesTable {
    scope: Arc<Scope>,
    table: Table,
    columns: TableSchema,
}

impl FilesTable {
    /// The rows of `table`.
    pub(crate) fn new(scope: Arc<Scope>, table: Table) -> Self {
        let nullable = |field: &FieldRef| match (table, field.name().as_str()) {
            // Segments of the first formats do not have it.
            (Table::CallSites, "depth") => Arc::new(field.as_ref().clone().with_nullable(true)),
            _ => Arc::clone(field),
        };
        let stored = Schema::new(table.schema().fields().iter().map(nullable).collect::<Vec<_>>());
        Self { scope, table, columns: table_schema(Arc::new(stored)) }
    }

    /// The columns to be read of a file of format `version`, in the order of this table's.
    fn stored_schema(&self, version: u32) -> SchemaRef {
        match self.table {
            Table::Samples => self.table.schema_of(version),
            _ => Arc::clone(self.columns.file_schema()),
        }
    }

    /// The files that may hold rows of `range`, by the names of their columns; damaged ones are reported.
    async fn files(&self, range: &TimeRange) -> Result<Vec<(SchemaRef, Vec<PartitionedFile>)>> {
        let mut files: Vec<(SchemaRef, Vec<PartitionedFile>)> = Vec::new();
        for stored in self.scope.snapshot().segments.iter() {
            let (entry, everything) = (&stored.entry, Selector::default());
            // What repeats others would count twice.
            if !entry.covers.is_empty() {
                continue;
            }
            let times = (entry.time_min, entry.time_max);
            let facts = ManifestFacts { times, profile_types: &entry.profile_types, services: &entry.services };
            let decision = by_manifest(&facts, &everything, range);
            let opened = match decision {
                Prune::Skip(_) => Ok(None),
                Prune::Keep(_) if self.table.may_be_absent() && entry.table(self.table).is_none() => Ok(None),
                Prune::Keep(_) => self.open(stored).await.map(Some),
            };
            match opened {
                Ok(file) => {
                    self.scope.sink().decided(&decision);
                    let Some(file) = file else { continue };
                    let schema = self.stored_schema(entry.format_version);
                    match files.iter_mut().find(|(of_files, _)| *of_files == schema) {
                        Some((_, files)) => files.push(file),
                        None => files.push((schema, vec![file])),
                    }
                }
                Err(error) if is_damage(&error) => self.scope.sink().damaged_before(&entry.id.to_string(), &error),
                Err(error) => return Err(outward(error)),
            }
        }
        Ok(files)
    }

    async fn open(&self, stored: &Arc<StoredSegment>) -> flamestore_model::Result<PartitionedFile> {
        let entry = &stored.entry;
        let missing = || flamestore_model::Error::not_found("the segment has no such table").with("table", self.table);
        let object = entry.table(self.table).ok_or_else(missing)?;
        let source = Arc::clone(stored.reader.source());
        let mut file = source.reader(self.table).await?;
        file.get_metadata(None).await.map_err(|error| {
            let corrupt = flamestore_model::Error::corrupt("a table cannot be read").with("table", self.table);
            corrupt.because(error)
        })?;
        let lazy = LazySource { source, table: self.table };
        let id = ScalarValue::Utf8(Some(entry.id.to_string()));
        let path = entry.key(self.table).to_string();
        Ok(PartitionedFile::new(path, object.bytes).with_partition_values(vec![id]).with_extension(lazy))
    }

    /// The rows of the heads, with the column `segment`.
    fn heads(&self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for (at, view) in self.scope.snapshot().head.iter().enumerate() {
            let tables = view.tables().map_err(outward)?;
            for batch in tables.batches(self.table) {
                let id = head_id(at);
                let names: StringArray = std::iter::repeat_n(Some(id.as_ref()), batch.num_rows()).collect();
                // A column that may be absent is taken for null.
                let column = |field: &FieldRef| {
                    let found = batch.column_by_name(field.name());
                    found.map_or_else(|| new_null_array(field.data_type(), batch.num_rows()), Arc::clone)
                };
                let mut columns: Vec<ArrayRef> = self.columns.file_schema().fields().iter().map(column).collect();
                columns.push(Arc::new(names) as ArrayRef);
                batches.push(RecordBatch::try_new(self.schema(), columns)?);
            }
        }
        Ok(batches)
    }

    /// The rows of `files`, whose columns are called as in `schema`, with the names of this table.
    fn scan_files(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        (schema, files): (SchemaRef, Vec<PartitionedFile>),
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = table_schema(schema);
        let is_known = |filter: &&Expr| {
            filter.column_refs().iter().all(|column| columns.table_schema().index_of(column.name()).is_ok())
        };
        let filters: Vec<Expr> = filters.iter().filter(is_known).cloned().collect();
        let mut source = ParquetSource::new(columns.clone())
            .with_enable_page_index(true)
            .with_parquet_file_reader_factory(Arc::new(Readers));
        if let Some(filter) = conjunction(filters) {
            let schema = DFSchema::try_from(Arc::clone(columns.table_schema()))?;
            source = source.with_predicate(state.create_physical_expr(filter, &schema)?);
        }
        let groups = files.into_iter().map(|file| FileGroup::new(vec![file])).collect();
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .build();
        let scan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config);
        let schema = match projection {
            Some(columns) => Arc::new(self.schema().project(columns)?),
            None => self.schema(),
        };
        match scan.schema().fields() == schema.fields() {
            true => Ok(scan),
            false => renamed(scan, &schema),
        }
    }
}

#[async_trait]
impl TableProvider for FilesTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.columns.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let range = read_all(filters, &TimeRange::ALL).range;
        let files = self.files(&range).await?;
        let heads = self.heads()?;
        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        for files in files {
            parts.push(self.scan_files(state, projection, filters, files)?);
        }
        if !heads.is_empty() || parts.is_empty() {
            parts.push(MemorySourceConfig::try_new_exec(&[heads], self.schema(), projection.cloned())?);
        }
        match parts.len() {
            1 => Ok(parts.remove(0)),
            _ => UnionExec::try_new(parts),
        }
    }
}

/// Stored columns, then `segment`.
fn table_schema(stored: SchemaRef) -> TableSchema {
    let segment = Arc::new(Field::new("segment", DataType::Utf8, false));
    TableSchema::builder(stored).with_table_partition_cols(vec![segment]).build()
}

/// The same columns under the names of `schema`.
fn renamed(scan: Arc<dyn ExecutionPlan>, schema: &SchemaRef) -> Result<Arc<dyn ExecutionPlan>> {
    let column = |(at, (stored, named)): (usize, (&FieldRef, &FieldRef))| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(stored.name(), at));
        (column, named.name().clone())
    };
    let stored = scan.schema();
    let columns = stored.fields().iter().zip(schema.fields()).enumerate().map(column);
    Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), scan)?))
}

/// Where the reader of a file comes from; opened when first read.
struct LazySource {
    source: Arc<dyn TableSource>,
    table: Table,
}

/// Gives DataFusion the readers of the store.
#[derive(Debug)]
struct Readers;

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        _partition: usize,
        file: PartitionedFile,
        _metadata_size_hint: Option<usize>,
        _metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        match file.extension::<LazySource>() {
            Some(lazy) => Ok(Box::new(LazyFile { source: Arc::clone(&lazy.source), table: lazy.table, opened: None })),
            None => exec_err!("a file of a table has no source"),
        }
    }
}

struct LazyFile {
    source: Arc<dyn TableSource>,
    table: Table,
    opened: Option<Box<dyn AsyncFileReader>>,
}

impl LazyFile {
    async fn opened(&mut self) -> parquet::errors::Result<&mut Box<dyn AsyncFileReader>> {
        if self.opened.is_none() {
            let reader = self.source.reader(self.table).await;
            self.opened = Some(reader.map_err(|error| ParquetError::External(Box::new(error)))?);
        }
        self.opened.as_mut().ok_or_else(|| ParquetError::General("a table is not open".to_owned()))
    }
}

impl AsyncFileReader for LazyFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { self.opened().await?.get_bytes(range).await }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move { self.opened().await?.get_metadata(options).await }.boxed()
    }
}

impl fmt::Debug for LazySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LazySource({})", self.table)
    }
}
