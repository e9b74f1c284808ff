//! What makes a push durable, and what bounds the log.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use flamestore_model::{Error, Result};

use super::WalFiles;

/// What an acknowledged push survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process and of the machine: its record is on the local disk.
    Wal,
    /// The loss of the machine and its disk: its record is an object of the bucket.
    Bucket,
    /// Nothing: it is in memory until its head is flushed.
    #[default]
    None,
}

impl Durability {
    const ALL: [(Self, &'static str); 3] = [(Self::Wal, "wal"), (Self::Bucket, "bucket"), (Self::None, "none")];
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(durability, _)| durability == self).map_or("", |(_, name)| *name);
        f.write_str(name)
    }
}

impl FromStr for Durability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text).map(|(durability, _)| *durability);
        found.ok_or_else(|| Error::invalid("durability is wal, bucket or none").with("durability", format!("{text:?}")))
    }
}

/// How a store keeps its write-ahead log.
#[derive(Clone)]
pub struct WalOptions {
    /// What an acknowledged push survives.
    pub durability: Durability,
    /// The folder of the log, for [`Durability::Wal`]. In the other modes it must hold no log that was not published.
    pub files: Option<Arc<dyn WalFiles>>,
    /// Bytes of all records that are not published; a push that would pass them is refused. Bounds start-up time.
    pub bytes_max: u64,
    /// Bytes of a part at which the next one is begun.
    pub part_bytes: u64,
    /// Bytes of records that wait for their turn; pushes wait when there are more.
    pub queue_bytes_max: usize,
    /// The least time between the starts of two PUTs of records, for [`Durability::Bucket`]: what comes meanwhile goes
    /// together, so it bounds the requests an hour, and a push waits as long at most before its PUT begins.
    pub put_interval: Duration,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            durability: Durability::None,
            files: None,
            bytes_max: 512 << 20,
            part_bytes: 32 << 20,
            queue_bytes_max: 64 << 20,
            put_interval: Duration::from_millis(100),
        }
    }
}

impl WalOptions {
    pub(crate) fn check(&self, writer: &str) -> Result<()> {
        if self.durability == Durability::Wal && self.files.is_none() {
            return Err(Error::invalid("store: durability wal needs a folder for the log"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if self.durability == Durability::Bucket && (writer.starts_with('.') || !writer.chars().all(plain)) {
            let hint = "store: with durability bucket a writer is named by characters of [A-Za-z0-9_.-]";
            return Err(Error::invalid(hint).with("writer", format!("{writer:?}")));
        }
        match self.bytes_max == 0 || self.part_bytes == 0 || self.queue_bytes_max == 0 {
            true => Err(Error::invalid("store: the bounds of the write-ahead log must not be 0")),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for WalOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalOptions")
            .field("durability", &self.durability)
            .field("bytes_max", &self.bytes_max)
            .finish_non_exhaustive()
    }
}
