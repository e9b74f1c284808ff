//! The log of a store from its opening to its first new record.

use std::sync::Arc;

use bytes::Bytes;
use flamestore_model::{Error, Result};

use super::bucket_log::BucketLog;
use super::file_log::{FileLog, Folder};
use super::{Durability, Published, Wal, WalOptions};
use crate::StoreOptions;

/// The log of a store that is being opened.
pub(crate) enum Log {
    /// Nothing is logged.
    None,
    /// A folder that this process holds.
    Folder(Folder),
    /// The writer's log in the bucket, which is taken over once the epoch is claimed.
    Bucket,
    /// A log in a folder.
    Files(FileLog),
    /// A log in the bucket.
    Objects(Box<BucketLog>),
}

impl Log {
    /// The id of no log, so that flushes without one say nothing of the records of another.
    pub(crate) const NO_WAL: u128 = u128::MAX;

    /// What `options` ask for. A folder is held from here on.
    ///
    /// # Errors
    /// `Invalid` when the folder cannot be had, or when another log holds records that may not be published.
    pub(crate) async fn open(options: &StoreOptions) -> Result<Self> {
        let wal = &options.wal;
        if wal.durability != Durability::Bucket && BucketLog::has_records(&options.bucket, &options.writer).await? {
            return Err(left_behind(Durability::Bucket).with("store", &options.bucket).with("writer", &options.writer));
        }
        match (wal.durability, &wal.files) {
            (Durability::Wal, Some(files)) => {
                let id = options.entropy.next_u128() >> 1;
                Ok(Self::Folder(Folder::open(Arc::clone(files), id.max(1)).await?))
            }
            (_, Some(files)) if Folder::has_parts(files.as_ref())? => {
                Err(left_behind(Durability::Wal).with("wal", files.shown()))
            }
            (Durability::Bucket, _) => Ok(Self::Bucket),
            _ => Ok(Self::None),
        }
    }

    /// Which log it is.
    pub(crate) fn id(&self) -> u128 {
        match self {
            Self::Folder(folder) => folder.id(),
            Self::Bucket | Self::Objects(_) => BucketLog::ID,
            Self::None | Self::Files(_) => Self::NO_WAL,
        }
    }

    /// The log, to be written in `epoch`.
    ///
    /// # Errors
    /// What the bucket says.
    pub(crate) async fn begin(self, options: &StoreOptions, epoch: u64) -> Result<Self> {
        let (wal, entropy) = (&options.wal, Arc::clone(&options.entropy));
        Ok(match self {
            Self::Folder(folder) => Self::Files(folder.into_log(epoch, wal.part_bytes, entropy)),
            Self::Bucket => {
                let (bucket, writer) = (options.bucket.clone(), options.writer.clone());
                let outside = (Arc::clone(&options.clock), entropy);
                let log = BucketLog::take_over(bucket, writer, epoch, wal.put_interval, outside);
                Self::Objects(Box::new(log.await?))
            }
            other => other,
        })
    }

    /// The records of the next old part that are not published; none when there is no further part.
    ///
    /// # Errors
    /// What the medium says; `Invalid` when a part is of another log or of a newer format.
    pub(crate) async fn replay(&mut self, published: Published) -> Result<Option<Vec<Bytes>>> {
        match self {
            Self::Files(log) => log.replay(published).await,
            Self::Objects(log) => log.replay(published).await,
            Self::None | Self::Folder(_) | Self::Bucket => Ok(None),
        }
    }

    /// Keeps the part that was replayed last for people to look at.
    pub(crate) fn set_aside_last(&mut self) {
        match self {
            Self::Files(log) => log.set_aside_last(),
            Self::Objects(log) => log.set_aside_last(),
            Self::None | Self::Folder(_) | Self::Bucket => {}
        }
    }

    /// Starts to write new records.
    pub(crate) fn start(self, options: &WalOptions) -> Option<Wal> {
        match self {
            Self::Files(log) => Some(Wal::start(Box::new(log), options)),
            Self::Objects(log) => Some(Wal::start(log, options)),
            Self::None | Self::Folder(_) | Self::Bucket => None,
        }
    }
}

fn left_behind(durability: Durability) -> Error {
    Error::invalid(format!(
        "store: a write-ahead log holds profiles that may not be published yet; start once with --durability {durability}"
    ))
}
