//! Where the bytes of tables come from.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use flamestore_model::{Error, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use crate::{SealedSegment, Table};

/// Gives readers of the tables of one segment.
///
/// A reader of a table that does not exist is an error of kind `NotFound`.
#[async_trait]
pub trait TableSource: Send + Sync {
    /// A reader of `table`. Its `get_metadata` is called once per table with a policy that wants the page index; it
    /// should know the length of the footer and fetch it with one request.
    async fn reader(&self, table: Table) -> Result<Box<dyn AsyncFileReader>>;

    /// Whether the segment has `table`.
    fn has(&self, table: Table) -> bool;
}

/// The tables of a segment in memory.
#[derive(Clone, Debug, Default)]
pub struct MemorySource {
    tables: Vec<(Table, Bytes)>,
}

impl MemorySource {
    /// A source of these Parquet files.
    pub fn new(tables: Vec<(Table, Bytes)>) -> Self {
        Self { tables }
    }

    /// A source of the tables of `segment`, whose bytes are shared.
    pub fn from_sealed(segment: &SealedSegment) -> Self {
        Self::new(segment.tables.iter().map(|sealed| (sealed.table, sealed.bytes.clone())).collect())
    }
}

#[async_trait]
impl TableSource for MemorySource {
    async fn reader(&self, table: Table) -> Result<Box<dyn AsyncFileReader>> {
        match self.tables.iter().find(|(found, _)| *found == table) {
            Some((_, bytes)) => Ok(Box::new(MemoryFile(bytes.clone()))),
            None => Err(Error::not_found("the segment has no such table").with("table", table)),
        }
    }

    fn has(&self, table: Table) -> bool {
        self.tables.iter().any(|(found, _)| *found == table)
    }
}

struct MemoryFile(Bytes);

impl AsyncFileReader for MemoryFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        let slice = slice(&self.0, &range);
        async move { slice }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let policy = options.map_or(PageIndexPolicy::Optional, ArrowReaderOptions::offset_index_policy);
        async move {
            let reader = ParquetMetaDataReader::new().with_page_index_policy(policy);
            reader.parse_and_finish(&self.0).map(Arc::new)
        }
        .boxed()
    }
}

fn slice(bytes: &Bytes, range: &Range<u64>) -> parquet::errors::Result<Bytes> {
    let end = usize::try_from(range.end).ok().filter(|end| *end <= bytes.len());
    match (usize::try_from(range.start), end) {
        (Ok(start), Some(end)) if start <= end => Ok(bytes.slice(start..end)),
        _ => Err(ParquetError::EOF(format!("bytes {range:?} of a file of {} bytes", bytes.len()))),
    }
}
