//! A table of a segment, read through the cache.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use flamestore_model::Result;
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use super::{CachedObject, SegmentCache};
use crate::source::{ObjectReader, external, parse_metadata};

/// Reads one object through the cache.
pub(crate) struct CachedReader {
    cache: Arc<SegmentCache>,
    object: CachedObject,
    reader: ObjectReader,
}

impl CachedReader {
    pub(crate) fn new(cache: Arc<SegmentCache>, object: CachedObject, reader: ObjectReader) -> Self {
        Self { cache, object, reader }
    }

    async fn read(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match ranges.iter().find_map(|range| self.reader.outside(range)) {
            Some(error) => Err(error),
            None => self.cache.read(self.object, &self.reader, ranges).await,
        }
    }

    async fn read_one(&self, range: Range<u64>) -> parquet::errors::Result<Bytes> {
        let mut read = self.read(std::slice::from_ref(&range)).await.map_err(external)?;
        Ok(read.pop().unwrap_or_default())
    }
}

impl AsyncFileReader for CachedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        self.read_one(range).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move { self.read(&ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let policy = options.map_or(PageIndexPolicy::Optional, ArrowReaderOptions::offset_index_policy);
        async move {
            let footer = self.read_one(self.reader.footer()).await?;
            parse_metadata(&footer, self.reader.bytes(), policy)
        }
        .boxed()
    }
}
