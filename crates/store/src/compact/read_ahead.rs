//! Reads the objects of segments front to back in aligned blocks, so that a merge, which wants a few kilobytes of many
//! tables at a time, sends few requests.
//!
//! ```text
//! wanted    ┌──┐      ┌────┐            ranges of pages
//! object  ├──────┼──────┼──────┼──────┤  blocks; missing neighbours are fetched with one request
//! ```
//!
//! Bounded: the blocks of all objects together by `bytes_max`, the least recently used go first. What is larger than a
//! quarter of that is read as it is and not kept.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use flamestore_model::{Error, Result, SegmentId};
use flamestore_segment::{Table, TableSource};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use crate::bucket::Bucket;
use crate::manifest::SegmentEntry;
use crate::source::{ObjectReader, external, parse_metadata};

/// The smallest and the largest block.
const BLOCK_BYTES: (u64, u64) = (64 << 10, 1 << 20);
/// Places in one segment that a merge reads from at about the same time: the columns of its tables.
const FRONTS: u64 = 64;

/// Blocks of objects, the last used ones.
pub(crate) struct Blocks {
    block_bytes: u64,
    bytes_max: u64,
    kept: Mutex<Kept>,
}

type BlockKey = (SegmentId, Table, u64);

#[derive(Default)]
struct Kept {
    bytes: u64,
    uses: u64,
    blocks: HashMap<BlockKey, (Bytes, u64)>,
}

/// The tables of one segment, read through [`Blocks`].
pub(crate) struct ReadAheadSource {
    bucket: Bucket,
    entry: Arc<SegmentEntry>,
    blocks: Arc<Blocks>,
}

struct BlockReader {
    object: ObjectReader,
    segment: SegmentId,
    table: Table,
    blocks: Arc<Blocks>,
}

impl Blocks {
    /// Room for `bytes_max` bytes of blocks, whose size is chosen for so many segments of so many bytes in all: the
    /// largest where all of these have room, so that none is ever read twice, else one for every place that is read from.
    pub(crate) fn new(bytes_max: usize, segments: usize, bytes: u64) -> Self {
        let bytes_max = bytes_max as u64;
        let fronts = FRONTS * (segments as u64).max(1);
        let block_bytes = match bytes <= bytes_max {
            true => BLOCK_BYTES.1,
            false => (bytes_max / fronts).clamp(BLOCK_BYTES.0, BLOCK_BYTES.1).next_power_of_two().min(BLOCK_BYTES.1),
        };
        Self { block_bytes, bytes_max, kept: Mutex::default() }
    }

    fn get(&self, key: &BlockKey) -> Option<Bytes> {
        let mut kept = self.kept.lock();
        kept.uses += 1;
        let now = kept.uses;
        let (bytes, used) = kept.blocks.get_mut(key)?;
        *used = now;
        Some(bytes.clone())
    }

    fn put(&self, key: BlockKey, bytes: Bytes) {
        let mut kept = self.kept.lock();
        kept.uses += 1;
        let now = kept.uses;
        kept.bytes += bytes.len() as u64;
        if let Some((before, _)) = kept.blocks.insert(key, (bytes, now)) {
            kept.bytes -= before.len() as u64;
        }
        while kept.bytes > self.bytes_max {
            let Some(oldest) = kept.blocks.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key) else {
                break;
            };
            if let Some((dropped, _)) = kept.blocks.remove(&oldest) {
                kept.bytes -= dropped.len() as u64;
            }
        }
    }
}

impl ReadAheadSource {
    pub(crate) fn new(bucket: Bucket, entry: Arc<SegmentEntry>, blocks: Arc<Blocks>) -> Self {
        Self { bucket, entry, blocks }
    }
}

#[async_trait]
impl TableSource for ReadAheadSource {
    async fn reader(&self, table: Table) -> Result<Box<dyn AsyncFileReader>> {
        let object = ObjectReader::new(&self.bucket, &self.entry, table)?;
        Ok(Box::new(BlockReader { object, segment: self.entry.id, table, blocks: Arc::clone(&self.blocks) }))
    }

    fn has(&self, table: Table) -> bool {
        self.entry.table(table).is_some()
    }
}

impl BlockReader {
    fn block(&self, number: u64) -> Range<u64> {
        let start = number * self.blocks.block_bytes;
        start..(start + self.blocks.block_bytes).min(self.object.bytes())
    }

    fn numbers(&self, range: &Range<u64>) -> Range<u64> {
        range.start / self.blocks.block_bytes..range.end.div_ceil(self.blocks.block_bytes)
    }

    async fn read(&self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>> {
        if let Some(error) = ranges.iter().find_map(|range| self.object.outside(range)) {
            return Err(error);
        }
        let wanted: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        if wanted > self.blocks.bytes_max / 4 {
            return self.object.read(ranges).await;
        }
        let found = self.fetch(&ranges).await?;
        ranges.iter().map(|range| self.assemble(&found, range)).collect()
    }

    /// The blocks of all `ranges`: kept ones, and the others with one request.
    async fn fetch(&self, ranges: &[Range<u64>]) -> Result<HashMap<u64, Bytes>> {
        let mut found: HashMap<u64, Bytes> = HashMap::new();
        let mut missing: Vec<u64> = Vec::new();
        for number in ranges.iter().filter(|range| !range.is_empty()).flat_map(|range| self.numbers(range)) {
            if found.contains_key(&number) || missing.contains(&number) {
                continue;
            }
            match self.blocks.get(&(self.segment, self.table, number)) {
                Some(bytes) => drop(found.insert(number, bytes)),
                None => missing.push(number),
            }
        }
        missing.sort_unstable();
        let runs: Vec<&[u64]> = missing.chunk_by(|a, b| *a + 1 == *b).collect();
        if runs.is_empty() {
            return Ok(found);
        }
        let spans = runs.iter().map(|run| self.block(run[0]).start..self.block(run[run.len() - 1]).end).collect();
        for (run, bytes) in runs.iter().zip(self.object.read(spans).await?) {
            for number in *run {
                let at = self.block(*number);
                let start = self.block(run[0]).start;
                // a copy, so that a kept block does not hold on to its neighbours
                let part = bytes.get(index(at.start - start)..index(at.end - start)).ok_or_else(|| self.lost())?;
                let block = Bytes::copy_from_slice(part);
                self.blocks.put((self.segment, self.table, *number), block.clone());
                found.insert(*number, block);
            }
        }
        Ok(found)
    }

    fn assemble(&self, found: &HashMap<u64, Bytes>, range: &Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let numbers = self.numbers(range);
        let part = |number: u64| -> Result<Bytes> {
            let at = self.block(number);
            let block = found.get(&number).ok_or_else(|| self.lost())?;
            let (start, end) = (range.start.max(at.start) - at.start, range.end.min(at.end) - at.start);
            Ok(block.slice(index(start)..index(end)))
        };
        if numbers.end - numbers.start == 1 {
            return part(numbers.start);
        }
        let mut bytes = BytesMut::with_capacity(index(range.end - range.start));
        for number in numbers {
            bytes.extend_from_slice(&part(number)?);
        }
        Ok(bytes.freeze())
    }

    fn lost(&self) -> Error {
        Error::internal("a block of an object was not fetched").with("segment", self.segment).with("table", self.table)
    }

    async fn read_one(&self, range: Range<u64>) -> Result<Bytes> {
        Ok(self.read(vec![range]).await?.remove(0))
    }

    async fn read_metadata(&self, policy: PageIndexPolicy) -> parquet::errors::Result<Arc<ParquetMetaData>> {
        let footer = self.read_one(self.object.footer()).await.map_err(external)?;
        parse_metadata(&footer, self.object.bytes(), policy)
    }
}

fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

impl AsyncFileReader for BlockReader {
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

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::manifest::TableEntry;

    const OBJECT_BYTES: u8 = 100;

    async fn reader(blocks: Blocks) -> BlockReader {
        let bucket = Bucket::new(Arc::new(InMemory::new()), "", "memory:");
        let table = TableEntry { bytes: u64::from(OBJECT_BYTES), ..TableEntry::of_rows(Table::Samples, 0) };
        let entry = SegmentEntry { tables: vec![table], ..SegmentEntry::blank(SegmentId::from_parts(1, 1), (0, 0)) };
        let bytes: Vec<u8> = (0..OBJECT_BYTES).collect();
        bucket.create(&entry.key(Table::Samples).to_string(), bytes.into()).await.unwrap();
        let object = ObjectReader::new(&bucket, &entry, Table::Samples).unwrap();
        BlockReader { object, segment: entry.id, table: Table::Samples, blocks: Arc::new(blocks) }
    }

    #[tokio::test]
    async fn every_range_is_what_the_object_holds_whatever_is_kept() {
        for bytes_max in [0, 16, 40, 1000] {
            let reader = reader(Blocks { block_bytes: 16, bytes_max, kept: Mutex::default() }).await;
            for start in (0..u64::from(OBJECT_BYTES)).step_by(7) {
                for length in [1, 15, 16, 17, 40, 100] {
                    let end = (start + length).min(u64::from(OBJECT_BYTES));
                    let ranges = vec![start..end, 3..5, end / 2..end];
                    let found = reader.read(ranges.clone()).await.unwrap();
                    for (range, bytes) in ranges.into_iter().zip(found) {
                        assert_eq!(bytes, range.map(|at| u8::try_from(at).unwrap()).collect::<Vec<_>>());
                    }
                    assert!(reader.blocks.kept.lock().bytes <= bytes_max);
                }
            }
            assert!(reader.read(vec![0..1, 99..101]).await.is_err());
        }
    }

    #[test]
    fn blocks_are_large_where_all_segments_have_room() {
        let block_bytes = |segments, bytes| Blocks::new(32 << 20, segments, bytes).block_bytes;
        assert_eq!((block_bytes(2, 32 << 20), block_bytes(64, 32 << 20)), (1 << 20, 1 << 20));
        assert_eq!((block_bytes(2, 33 << 20), block_bytes(64, 33 << 20)), (256 << 10, 64 << 10));
    }

    #[tokio::test]
    async fn neighbours_are_fetched_once() {
        let reader = reader(Blocks { block_bytes: 16, bytes_max: 1000, kept: Mutex::default() }).await;
        reader.read(vec![0..1, 17..18]).await.unwrap();
        let kept = |number| reader.blocks.get(&(reader.segment, reader.table, number)).map(|block| block.len());
        assert_eq!((kept(0), kept(1), kept(2)), (Some(16), Some(16), None));
        let end = 95..100;
        reader.read(vec![end]).await.unwrap();
        assert_eq!((kept(5), kept(6)), (Some(16), Some(4)));
    }
}
