//! Uploads the tables of a new segment under an id of its own.
//!
//! What an upload that is cut short leaves behind are objects that nothing names: the collector takes them once they are
//! older than its grace period. For the same reason objects that wait too long for their commit are uploaded anew
//! ([`UPLOAD_AGE_MAX`](crate::commit::UPLOAD_AGE_MAX)).

use std::sync::Arc;

use flamestore_model::{Error, Result, SegmentId, Tenant};
use flamestore_segment::{SealedSegment, SealedTable};
use futures::{StreamExt, TryStreamExt, stream};

use crate::bucket::{Bucket, Created};
use crate::key::Day;
use crate::manifest::{DayCover, SegmentEntry, SegmentSource, TableEntry};
use crate::{Clock, Entropy};

/// Uploads segments.
#[derive(Clone)]
pub(crate) struct Uploader {
    pub(crate) bucket: Bucket,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<Entropy>,
    /// Tables uploaded at one time.
    pub(crate) uploads_max: usize,
}

/// What the entry of a new segment says beside what its tables tell.
pub(crate) struct NewSegment<'a> {
    pub(crate) tenant: Tenant,
    pub(crate) day: Day,
    pub(crate) level: u32,
    pub(crate) source: SegmentSource,
    pub(crate) writer: &'a str,
    pub(crate) writer_epoch: u64,
    /// The days of other segments that it repeats.
    pub(crate) covers: Vec<DayCover>,
}

impl Uploader {
    /// Uploads all tables of `sealed`; the entry to commit.
    pub(crate) async fn upload(&self, new: NewSegment<'_>, sealed: SealedSegment) -> Result<SegmentEntry> {
        let now = self.clock.now_unix_nano();
        let millis = u64::try_from(now / 1_000_000).unwrap_or_default();
        let id = SegmentId::from_parts(millis, self.entropy.next_u128());
        let entry = entry(id, new, &sealed, now);
        let uploads = sealed.tables.into_iter().map(|table| self.upload_table(&entry, table));
        stream::iter(uploads).buffer_unordered(self.uploads_max).try_collect::<()>().await?;
        Ok(entry)
    }

    async fn upload_table(&self, entry: &SegmentEntry, sealed: SealedTable) -> Result<()> {
        let path = entry.key(sealed.table).to_string();
        let bytes = sealed.bytes.len() as u64;
        match self.bucket.create(&path, sealed.bytes).await? {
            Created::New => Ok(()),
            // the id is ours alone: a repeated request found what the first one made
            Created::Exists if self.bucket.size(&path).await? == Some(bytes) => Ok(()),
            Created::Exists => Err(Error::internal("an object of a new segment exists already").with("object", path)),
        }
    }
}

fn entry(id: SegmentId, new: NewSegment<'_>, sealed: &SealedSegment, now: i64) -> SegmentEntry {
    let meta = &sealed.meta;
    let table = |sealed: &SealedTable| TableEntry {
        table: sealed.table,
        bytes: sealed.bytes.len() as u64,
        rows: sealed.rows,
        footer_bytes: sealed.footer_bytes,
        checksum: sealed.checksum,
    };
    let mut tables: Vec<TableEntry> = sealed.tables.iter().map(table).collect();
    tables.sort_by_key(|entry| entry.table);
    SegmentEntry {
        id,
        tenant: new.tenant,
        day: new.day,
        level: new.level,
        source: new.source,
        time_min: meta.time_min,
        time_max: meta.time_max,
        profile_types: meta.profile_types.clone(),
        services: meta.services.clone(),
        tables,
        sample_rows: meta.sample_rows,
        profile_rows: meta.profile_rows,
        series: meta.series,
        stacks: meta.stacks,
        observed_bytes: meta.observed_bytes,
        created_unix_nano: now,
        writer: new.writer.to_owned(),
        writer_epoch: new.writer_epoch,
        format_version: meta.format_version,
        covers: new.covers,
    }
}
