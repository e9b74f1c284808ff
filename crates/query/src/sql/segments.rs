//! The table `segments`: what the manifest says of the segments that a statement may read.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, StringBuilder, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use flamestore_store::{SegmentEntry, SegmentSource, StoredSegment};

use super::columns::{self, counts, texts, texts_type, time_type, times, unknown_column};
use crate::error::outward;
use crate::scope::Scope;

/// The segments of a snapshot, one row each; heads are none.
#[derive(Debug)]
pub(super) struct SegmentsTable {
    scope: Arc<Scope>,
    schema: SchemaRef,
}

impl SegmentsTable {
    /// The segments of what `scope` reads.
    pub(super) fn new(scope: Arc<Scope>) -> Self {
        use DataType::{UInt32, UInt64, Utf8};
        let columns = [
            ("segment", Utf8),
            ("level", UInt32),
            ("source", Utf8),
            ("first_time", time_type()),
            ("last_time", time_type()),
            ("services", texts_type()),
            ("profile_types", texts_type()),
            ("profiles", UInt64),
            ("samples", UInt64),
            ("series", UInt64),
            ("stacks", UInt64),
            ("bytes", UInt64),
            ("created", time_type()),
            ("format_version", UInt32),
            ("days_repeated", UInt32),
        ];
        let fields: Vec<Field> = columns.into_iter().map(|(name, ty)| Field::new(name, ty, false)).collect();
        Self { scope, schema: Arc::new(Schema::new(fields)) }
    }
}

#[async_trait]
impl TableProvider for SegmentsTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let segments = &self.scope.snapshot().segments;
        let batch = columns::batch(&self.schema, segments.len(), |name| column(name, segments)).map_err(outward)?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![batch]], self.schema(), projection.cloned())?)
    }
}

fn column(name: &str, segments: &[Arc<StoredSegment>]) -> flamestore_model::Result<ArrayRef> {
    let entries = || segments.iter().map(|segment| segment.entry.as_ref());
    let u64s = |get: fn(&SegmentEntry) -> u64| -> ArrayRef { Arc::new(entries().map(get).collect::<UInt64Array>()) };
    Ok(match name {
        "segment" => texts(entries().map(|entry| Some(entry.id.to_string()))),
        "level" => counts(entries().map(|entry| entry.level)),
        "source" => texts(entries().map(|entry| Some(source(entry.source)))),
        "first_time" => times(entries().map(|entry| entry.time_min)),
        "last_time" => times(entries().map(|entry| entry.time_max)),
        "services" => lists(entries().map(|entry| &entry.services)),
        "profile_types" => lists(entries().map(|entry| &entry.profile_types)),
        "profiles" => u64s(|entry| entry.profile_rows),
        "samples" => u64s(|entry| entry.sample_rows),
        "series" => u64s(|entry| entry.series),
        "stacks" => u64s(|entry| entry.stacks),
        "bytes" => u64s(SegmentEntry::bytes),
        "created" => times(entries().map(|entry| entry.created_unix_nano)),
        "format_version" => counts(entries().map(|entry| entry.format_version)),
        "days_repeated" => counts(entries().map(|entry| u32::try_from(entry.covers.len()).unwrap_or(u32::MAX))),
        other => return Err(unknown_column(other)),
    })
}

fn lists<'a>(all: impl Iterator<Item = &'a Vec<String>>) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for of in all {
        of.iter().for_each(|text| lists.values().append_value(text));
        lists.append(true);
    }
    Arc::new(lists.finish())
}

fn source(source: SegmentSource) -> &'static str {
    match source {
        SegmentSource::Flush => "flush",
        SegmentSource::Compaction => "compaction",
        SegmentSource::Import => "import",
        SegmentSource::RollUp => "roll_up",
    }
}
