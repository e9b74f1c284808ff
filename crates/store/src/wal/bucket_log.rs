//! A log in the bucket: every commit is one object.
//!
//! ```text
//! wal/<writer>/<20 digits>      header and records of one commit, or a header alone: the mark of a take-over
//! ```
//!
//! Objects of a writer are numbered without a gap and created only if absent. A store that takes the writer over claims the
//! epoch, then marks the next number. From then on the store that had it finds its next number taken, and nothing that it
//! did not acknowledge before can be acknowledged any more; so what the new one lists is all there is. The object of the
//! highest number is never deleted, so that numbers only rise; nor is a mark, so that the number stays taken: one or two
//! objects of a header a start.
//!
//! Requests: a PUT a commit, a DELETE an object once it is published; at start a listing and a GET an object.

use std::collections::{BTreeSet, VecDeque};
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flamestore_model::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};

use super::parts::{HEADER_BYTES, Part, PartHeader, write_record};
use super::{Entry, Medium, Published};
use crate::bucket::{Bucket, Created};
use crate::key::ObjectKey;
use crate::{Clock, Entropy, metric};

/// How often a take-over is tried while the other store goes on writing.
const MARK_ATTEMPTS_MAX: u32 = 1000;
/// Objects that are deleted before the next commit has its turn.
const DELETES_MAX: usize = 64;
/// Deletes under way at one time.
const DELETES_AT_ONCE: usize = 16;

/// The log of one writer in a bucket.
pub(crate) struct BucketLog {
    bucket: Bucket,
    writer: String,
    header: PartHeader,
    entropy: Arc<Entropy>,
    clock: Arc<dyn Clock>,
    put_interval: Duration,
    last_put_unix_nano: Option<i64>,
    /// Objects found at the take-over that were not looked at yet.
    old: VecDeque<u64>,
    /// Objects that are there, by number.
    objects: Vec<Object>,
    next: u64,
    /// The objects of commits under the next number that failed, of which one may exist all the same, by their random bits.
    uncertain: Vec<(u128, Object)>,
}

#[derive(Clone, Copy, Debug)]
struct Object {
    number: u64,
    bytes: u64,
    last_generation: u64,
    is_damaged: bool,
}

impl BucketLog {
    /// The id of the one log that a writer has in a bucket.
    pub(crate) const ID: u128 = 0;

    /// Whether `writer` has records in its log that may not be published. A log that was left in order holds a mark alone.
    pub(crate) async fn has_records(bucket: &Bucket, writer: &str) -> Result<bool> {
        let entries = bucket.list_folder(&format!("{}/{writer}", ObjectKey::WALS)).await?;
        let is_part = |path: &str| matches!(path.parse(), Ok(ObjectKey::Wal { .. }));
        Ok(entries.iter().any(|entry| is_part(&entry.path) && entry.bytes > HEADER_BYTES as u64))
    }

    /// Takes over the log of `writer`, whose `epoch` was claimed; its old objects are to be replayed first.
    ///
    /// # Errors
    /// What the bucket says; `Conflict` when the other store writes faster than its log can be marked.
    pub(crate) async fn take_over(
        bucket: Bucket,
        writer: String,
        epoch: u64,
        put_interval: Duration,
        (clock, entropy): (Arc<dyn Clock>, Arc<Entropy>),
    ) -> Result<Self> {
        let header = PartHeader { wal: Self::ID, epoch, nonce: 0 };
        let mut log = Self {
            bucket,
            writer,
            header,
            entropy,
            clock,
            put_interval,
            last_put_unix_nano: None,
            old: VecDeque::new(),
            objects: Vec::new(),
            next: 1,
            uncertain: Vec::new(),
        };
        for _ in 0..MARK_ATTEMPTS_MAX {
            let mut listed = log.list().await?;
            listed.sort_unstable();
            log.next = listed.last().map_or(1, |(last, _)| last + 1);
            // marks hold nothing to replay, and stay
            log.old = listed
                .into_iter()
                .filter(|(_, bytes)| *bytes > HEADER_BYTES as u64)
                .map(|(number, _)| number)
                .collect();
            if log.put_mark().await? {
                return Ok(log);
            }
        }
        Err(Error::conflict("wal: another store writes the log faster than it can be taken over")
            .with("writer", &log.writer))
    }

    /// The records of the next old object that are not published; none when there is no further object.
    ///
    /// # Errors
    /// What the bucket says; `Invalid` when a newer build wrote it.
    pub(crate) async fn replay(&mut self, published: Published) -> Result<Option<Vec<Bytes>>> {
        let Some(number) = self.old.pop_front() else { return Ok(None) };
        let path = self.key(number).to_string();
        let bytes = match self.bucket.read(&path).await {
            Ok(bytes) => bytes,
            // the store that had the log deleted it since the listing: so its records were published before the epoch was claimed
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(Vec::new())),
            Err(error) => return Err(error),
        };
        let mut object = Object { number, bytes: bytes.len() as u64, last_generation: 0, is_damaged: false };
        let mut payloads = Vec::new();
        match Part::read(&bytes) {
            Ok(part) => {
                object.is_damaged = part.damaged_at.is_some() || part.torn_bytes > 0;
                let epoch = part.header.epoch;
                let open = part.records.into_iter().filter(|(generation, _)| !published.holds(epoch, *generation));
                payloads = open.map(|(_, payload)| payload).collect();
            }
            Err(error) if error.kind() == ErrorKind::Invalid => {
                return Err(error.with("object", path));
            }
            Err(_) => object.is_damaged = true,
        }
        if object.is_damaged {
            tracing::error!(object = path, "an object of the log is damaged and is kept");
            metrics::counter!(metric::names::WAL_DAMAGED_PARTS).increment(1);
        }
        // what is taken in anew is published by the first flush of this epoch
        object.last_generation = u64::from(!payloads.is_empty());
        self.objects.push(object);
        Ok(Some(payloads))
    }

    /// Keeps the object that was replayed last.
    pub(crate) fn set_aside_last(&mut self) {
        if let Some(last) = self.objects.last_mut() {
            last.is_damaged = true;
        }
    }

    /// The objects of the log, by number, with their sizes.
    async fn list(&self) -> Result<Vec<(u64, u64)>> {
        let folder = format!("{}/{}", ObjectKey::WALS, self.writer);
        let entries = self.bucket.list_folder(&folder).await?;
        let number = |path: &str| match path.parse() {
            Ok(ObjectKey::Wal { number, .. }) => Some(number),
            _ => None,
        };
        Ok(entries.iter().filter_map(|entry| Some((number(&entry.path)?, entry.bytes))).collect())
    }

    fn key(&self, number: u64) -> ObjectKey {
        ObjectKey::Wal { writer: self.writer.clone(), number }
    }

    /// Creates a header without records under the next number; false when another store has taken it. It is never deleted:
    /// a store that is asleep would find its next number free again, and acknowledge what nobody looks for.
    async fn put_mark(&mut self) -> Result<bool> {
        let marked = self.put(&[], 0).await?;
        self.objects.retain(|object| object.bytes > HEADER_BYTES as u64);
        Ok(marked)
    }

    /// Creates the next object; false when another store has taken its number.
    async fn put(&mut self, records: &[u8], generation: u64) -> Result<bool> {
        let header = PartHeader { nonce: self.entropy.next_u128(), ..self.header };
        let bytes = Bytes::from([&header.to_bytes()[..], records].concat());
        loop {
            let object =
                Object { number: self.next, bytes: bytes.len() as u64, last_generation: generation, is_damaged: false };
            let path = self.key(object.number).to_string();
            match self.bucket.create(&path, bytes.clone()).await {
                Ok(Created::New) => {
                    // an earlier try may have been taken over, published and deleted; then a mark stands behind it
                    if !self.uncertain.is_empty() {
                        let behind = self.exists(object.number + 1).await;
                        if behind.inspect_err(|_| self.uncertain.push((header.nonce, object)))? {
                            return Ok(false);
                        }
                    }
                    self.keep(object);
                    return Ok(true);
                }
                Ok(Created::Exists) => {}
                Err(error) => {
                    self.uncertain.push((header.nonce, object));
                    return Err(error);
                }
            }
            // taken: by this very call whose answer was lost, by a commit of ours that was told to have failed, or by another
            let found = self.nonce(&path).await.inspect_err(|_| self.uncertain.push((header.nonce, object)))?;
            if found == header.nonce {
                self.keep(object);
                return Ok(true);
            }
            match self.uncertain.iter().find(|(nonce, _)| *nonce == found) {
                Some((_, earlier)) => self.keep(*earlier),
                None => return Ok(false),
            }
        }
    }

    async fn exists(&self, number: u64) -> Result<bool> {
        Ok(self.bucket.size(&self.key(number).to_string()).await?.is_some())
    }

    async fn nonce(&self, path: &str) -> Result<u128> {
        let header = self.bucket.read_range(path, 0..HEADER_BYTES as u64).await?;
        Ok(Part::read(&header)?.header.nonce)
    }

    fn keep(&mut self, object: Object) {
        self.next = object.number + 1;
        self.uncertain.clear();
        self.objects.push(object);
    }

    /// Deletes published objects, a bounded number of them; whether there are more.
    async fn release_some(&mut self, generation: u64) -> bool {
        let newest = self.next - 1;
        let is_over =
            |object: &&Object| object.last_generation <= generation && object.number != newest && !object.is_damaged;
        let over: Vec<u64> =
            self.objects.iter().filter(is_over).take(DELETES_MAX).map(|object| object.number).collect();
        let deletes: Vec<_> = over.iter().map(|number| self.delete(*number)).collect();
        let gone: BTreeSet<u64> =
            stream::iter(deletes).buffer_unordered(DELETES_AT_ONCE).filter_map(ready).collect().await;
        self.objects.retain(|object| !gone.contains(&object.number));
        gone.len() == DELETES_MAX
    }

    /// Deletes an object; its number if it is gone.
    async fn delete(&self, number: u64) -> Option<u64> {
        match self.bucket.delete(&self.key(number).to_string()).await {
            Ok(()) => Some(number),
            Err(error) => {
                tracing::warn!(%error, "an object of the log that is published stays behind for now");
                None
            }
        }
    }
}

impl Medium for BucketLog {
    fn ready(&mut self) -> BoxFuture<'_, ()> {
        let now = self.clock.now_unix_nano();
        let since = self.last_put_unix_nano.map_or(i64::MAX, |last| now.saturating_sub(last));
        let since = Duration::from_nanos(u64::try_from(since).unwrap_or_default());
        let wait = self.put_interval.saturating_sub(since);
        self.last_put_unix_nano = Some(now.saturating_add(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX)));
        match wait.is_zero() {
            true => ready(()).boxed(),
            false => self.clock.sleep(wait),
        }
    }

    fn commit(&mut self, entries: Vec<Entry>) -> BoxFuture<'_, Result<()>> {
        async move {
            let mut bytes = Vec::with_capacity(entries.iter().map(|entry| entry.payload.len() + 32).sum());
            for entry in &entries {
                write_record(&mut bytes, entry)?;
            }
            let generation = entries.iter().map(|entry| entry.generation).max().unwrap_or_default();
            match self.put(&bytes, generation).await? {
                true => Ok(()),
                false => Err(Error::fenced("wal: another store was opened under this writer's name")
                    .with("writer", &self.writer)
                    .with("epoch", self.header.epoch)),
            }
        }
        .boxed()
    }

    fn release(&mut self, generation: u64) -> BoxFuture<'_, bool> {
        self.release_some(generation).boxed()
    }

    fn close(&mut self, generation: u64) -> BoxFuture<'_, ()> {
        async move {
            while self.release_some(generation).await {}
            // only the newest object may be left, and it is deleted once there is a newer one
            if self.objects.iter().all(|object| object.last_generation <= generation)
                && self.objects.iter().any(|object| object.bytes > HEADER_BYTES as u64)
            {
                match self.put_mark().await {
                    Ok(_) => while self.release_some(generation).await {},
                    Err(error) => tracing::warn!(%error, "the log is left with records that are published"),
                }
            }
        }
        .boxed()
    }

    fn bytes(&self, generation: u64) -> u64 {
        let open = self.objects.iter().filter(|object| object.last_generation > generation);
        open.map(|object| object.bytes).sum()
    }
}
