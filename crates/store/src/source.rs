//! The tables of a stored segment as objects: exact ranges, one request for a footer whose length the manifest knows.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use flamestore_model::{Error, Result};
use flamestore_segment::{Table, TableSource};
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use crate::bucket::Bucket;
use crate::cache::{CachedObject, CachedReader, SegmentCache};
use crate::manifest::SegmentEntry;
use crate::metric;

/// Reads the objects of one segment, through the cache.
pub(crate) struct BucketSource {
    bucket: Bucket,
    entry: Arc<SegmentEntry>,
    cache: Arc<SegmentCache>,
}

/// Reads one object.
#[derive(Clone)]
pub(crate) struct ObjectReader {
    bucket: Bucket,
    path: String,
    bytes: u64,
    footer_bytes: u64,
}

impl BucketSource {
    pub(crate) fn new(bucket: Bucket, entry: Arc<SegmentEntry>, cache: Arc<SegmentCache>) -> Self {
        Self { bucket, entry, cache }
    }
}

#[async_trait]
impl TableSource for BucketSource {
    async fn reader(&self, table: Table) -> Result<Box<dyn AsyncFileReader>> {
        let reader = ObjectReader::new(&self.bucket, &self.entry, table)?;
        Ok(Box::new(CachedReader::new(Arc::clone(&self.cache), CachedObject::new(&self.entry, table), reader)))
    }

    fn has(&self, table: Table) -> bool {
        self.entry.table(table).is_some()
    }
}

impl ObjectReader {
    /// A reader of `table` of a segment.
    pub(crate) fn new(bucket: &Bucket, entry: &SegmentEntry, table: Table) -> Result<Self> {
        let missing =
            || Error::not_found("the segment has no such table").with("segment", entry.id).with("table", table);
        let found = entry.table(table).ok_or_else(missing)?;
        Ok(Self {
            bucket: bucket.clone(),
            path: entry.key(table).to_string(),
            bytes: found.bytes,
            footer_bytes: found.footer_bytes,
        })
    }

    /// What is wrong with `range`, if it is not in the object.
    pub(crate) fn outside(&self, range: &Range<u64>) -> Option<Error> {
        (range.start > range.end || range.end > self.bytes).then(|| {
            Error::corrupt("a table refers to bytes outside of its object")
                .with("object", &self.path)
                .with("range", format!("{range:?}"))
                .with("bytes", self.bytes)
        })
    }

    /// Bytes `ranges` of the object, all of them.
    pub(crate) async fn read(&self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>> {
        if let Some(error) = ranges.iter().find_map(|range| self.outside(range)) {
            return Err(error);
        }
        let found = match &ranges[..] {
            [range] => self.bucket.read_range(&self.path, range.clone()).await.map(|bytes| vec![bytes]),
            _ => self.bucket.read_ranges(&self.path, &ranges).await,
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => return Err(self.explain(error).await),
        };
        let short = found.iter().zip(&ranges).any(|(bytes, range)| bytes.len() as u64 != range.end - range.start);
        if short || found.len() != ranges.len() {
            return Err(self.is_short());
        }
        metrics::counter!(metric::names::BUCKET_READS).increment(1);
        metrics::counter!(metric::names::BUCKET_READ_BYTES).increment(ranges.iter().map(|r| r.end - r.start).sum());
        Ok(found)
    }

    /// What a failed read means: an object that is missing or shorter than the manifest says is damage, which a retry does
    /// not mend; stores answer a range beyond the end with an error of their own.
    async fn explain(&self, error: Error) -> Error {
        match self.bucket.size(&self.path).await {
            Ok(None) => {
                Error::corrupt("an object that the manifest names is missing").with("object", &self.path).because(error)
            }
            Ok(Some(bytes)) if bytes < self.bytes => self.is_short().with("found", bytes).because(error),
            _ => error,
        }
    }

    fn is_short(&self) -> Error {
        Error::corrupt("an object is shorter than the manifest says")
            .with("object", &self.path)
            .with("expected", self.bytes)
    }

    /// Bytes `range` of the object.
    pub(crate) async fn read_one(&self, range: Range<u64>) -> Result<Bytes> {
        Ok(self.read(vec![range]).await?.remove(0))
    }

    /// The object's size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where page index and footer are.
    pub(crate) fn footer(&self) -> Range<u64> {
        self.bytes - self.footer_bytes.min(self.bytes)..self.bytes
    }

    async fn read_metadata(&self, policy: PageIndexPolicy) -> parquet::errors::Result<Arc<ParquetMetaData>> {
        parse_metadata(&self.read_one(self.footer()).await.map_err(external)?, self.bytes, policy)
    }
}

impl AsyncFileReader for ObjectReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { self.read_one(range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move { self.read(ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let policy = options.map_or(PageIndexPolicy::Optional, ArrowReaderOptions::offset_index_policy);
        self.read_metadata(policy).boxed()
    }
}

/// The metadata in the last bytes of a file of `bytes` bytes.
pub(crate) fn parse_metadata(
    footer: &Bytes,
    bytes: u64,
    policy: PageIndexPolicy,
) -> parquet::errors::Result<Arc<ParquetMetaData>> {
    let mut reader = ParquetMetaDataReader::new().with_page_index_policy(policy);
    reader.try_parse_sized(footer, bytes)?;
    reader.finish().map(Arc::new)
}

/// An error that keeps its kind on its way through the Parquet reader: whoever reads finds it by downcasting.
pub(crate) fn external(error: Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
