//! A log in a folder of the local disk.
//!
//! ```text
//! lock                     held by the process that writes the log
//! id                       32 hex digits: which log it is, whatever folder or writer it is opened under
//! <20 digits>.wal          a part; numbers rise
//! <20 digits>.wal.damaged  a part that could not be read whole, kept for people to look at
//! ```
//!
//! A commit appends to the last part and syncs it. After a write that failed the part is cut back to what was durable; after
//! a failed sync, or when it cannot be cut, it is never written again, since nobody knows what the disk kept.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flamestore_model::{Error, Result};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::parts::{HEADER_BYTES, Part, PartHeader, write_record};
use super::{Entry, Medium, Published, WalFile, WalFiles};
use crate::flush::blocking;
use crate::{Entropy, metric};

const ID: &str = "id";
const NEW_ID: &str = "id.new";
const SUFFIX: &str = ".wal";
/// When a push that found no room on the disk may be tried again: the next flush lets go of parts, and people may be quicker.
const NO_ROOM_RETRY_DELAY: Duration = Duration::from_secs(10);

/// A folder that this process holds, before its log is written to.
pub(crate) struct Folder {
    files: Arc<dyn WalFiles>,
    lock: Box<dyn Send + Sync>,
    id: u128,
    parts: Vec<u64>,
}

/// The log in a folder.
pub(crate) struct FileLog(Option<Inner>);

struct Inner {
    files: Arc<dyn WalFiles>,
    _lock: Box<dyn Send + Sync>,
    header: PartHeader,
    entropy: Arc<Entropy>,
    part_bytes: u64,
    /// Parts of earlier epochs that were not looked at yet.
    old: std::vec::IntoIter<u64>,
    closed: Vec<Closed>,
    current: Option<Current>,
    next: u64,
}

/// A part that is no longer written.
struct Closed {
    number: u64,
    bytes: u64,
    last_generation: u64,
    is_damaged: bool,
}

/// The part that grows.
struct Current {
    number: u64,
    file: Box<dyn WalFile>,
    bytes: u64,
    last_generation: u64,
}

impl Folder {
    /// Takes hold of the folder.
    ///
    /// # Errors
    /// `Invalid` when another process holds it or it cannot be used; `Corrupt` when its id cannot be read.
    pub(crate) async fn open(files: Arc<dyn WalFiles>, new_id: u128) -> Result<Self> {
        blocking(move || Self::open_now(files, new_id)).await
    }

    fn open_now(files: Arc<dyn WalFiles>, new_id: u128) -> Result<Self> {
        let lock = files.lock().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                Error::invalid("wal: another process writes this log; give each its own folder (--wal)")
                    .with("wal", files.shown())
            }
            _ => explain(files.as_ref(), "cannot use the folder of the log", error),
        })?;
        let names = files.list().map_err(|error| explain(files.as_ref(), "cannot list the log", error))?;
        let id = match names.iter().any(|name| name == ID) {
            true => read_id(files.as_ref())?,
            false => make_id(files.as_ref(), &names, new_id)?,
        };
        let mut parts: Vec<u64> = names.iter().filter_map(|name| number(name)).collect();
        parts.sort_unstable();
        Ok(Self { files, lock, id, parts })
    }

    /// Whether `files` hold parts of a log, without taking hold of them.
    pub(crate) fn has_parts(files: &dyn WalFiles) -> Result<bool> {
        let names = files.list().map_err(|error| explain(files, "cannot list the log", error))?;
        Ok(names.iter().any(|name| number(name).is_some()))
    }

    /// Which log it is.
    pub(crate) fn id(&self) -> u128 {
        self.id
    }

    /// The log, to be written in `epoch`; its old parts are to be replayed first.
    pub(crate) fn into_log(self, epoch: u64, part_bytes: u64, entropy: Arc<Entropy>) -> FileLog {
        FileLog(Some(Inner {
            files: self.files,
            _lock: self.lock,
            header: PartHeader { wal: self.id, epoch, nonce: 0 },
            entropy,
            part_bytes,
            next: self.parts.last().map_or(1, |last| last + 1),
            old: self.parts.into_iter(),
            closed: Vec::new(),
            current: None,
        }))
    }
}

fn read_id(files: &dyn WalFiles) -> Result<u128> {
    let bytes = files.read(ID).map_err(|error| explain(files, "cannot read the log's id", error))?;
    let text = String::from_utf8_lossy(&bytes);
    u128::from_str_radix(text.trim(), 16).map_err(|_| {
        Error::corrupt("wal: the log's id is not 32 hex digits").with("wal", files.shown()).with("found", text.trim())
    })
}

fn make_id(files: &dyn WalFiles, names: &[String], id: u128) -> Result<u128> {
    if names.iter().any(|name| number(name).is_some()) {
        return Err(Error::corrupt("wal: the log has parts but no id").with("wal", files.shown()));
    }
    let write = || {
        if names.iter().any(|name| name == NEW_ID) {
            files.remove(NEW_ID)?;
        }
        let mut file = files.create(NEW_ID)?;
        file.append(format!("{id:032x}\n").as_bytes())?;
        file.sync()?;
        files.rename(NEW_ID, ID)
    };
    write().map_err(|error| explain(files, "cannot begin a log", error)).map(|()| id)
}

impl FileLog {
    async fn run<T: Send + 'static>(&mut self, work: impl FnOnce(&mut Inner) -> T + Send + 'static) -> Result<T> {
        let gone = || Error::internal("wal: the log is gone after a task that did not end");
        let mut inner = self.0.take().ok_or_else(gone)?;
        let (inner, done) = blocking(move || {
            let done = work(&mut inner);
            Ok((inner, done))
        })
        .await?;
        self.0 = Some(inner);
        Ok(done)
    }

    /// The records of the next old part that are not published; none when there is no further part.
    ///
    /// # Errors
    /// `Invalid` when the part is of another log or of a newer format; `Unavailable` when it cannot be read.
    pub(crate) async fn replay(&mut self, published: Published) -> Result<Option<Vec<Bytes>>> {
        self.run(move |inner| inner.replay(published)).await?
    }

    /// Keeps the part that was replayed last, once its records are published.
    pub(crate) fn set_aside_last(&mut self) {
        if let Some(last) = self.0.as_mut().and_then(|inner| inner.closed.last_mut()) {
            last.is_damaged = true;
        }
    }
}

impl Medium for FileLog {
    fn commit(&mut self, entries: Vec<Entry>) -> BoxFuture<'_, Result<()>> {
        async move { self.run(move |inner| inner.commit(&entries)).await? }.boxed()
    }

    fn release(&mut self, generation: u64) -> BoxFuture<'_, bool> {
        async move {
            if let Err(error) = self.run(move |inner| inner.release(generation)).await {
                tracing::error!(%error, "the log cannot be released");
            }
            false
        }
        .boxed()
    }

    fn bytes(&self, generation: u64) -> u64 {
        let of = |inner: &Inner| {
            let closed = inner.closed.iter().map(|closed| (closed.last_generation, closed.bytes));
            let current = inner.current.iter().map(|current| (current.last_generation, current.bytes));
            closed.chain(current).filter(|(last, _)| *last > generation).map(|(_, bytes)| bytes).sum()
        };
        self.0.as_ref().map_or(0, of)
    }
}

impl Inner {
    fn replay(&mut self, published: Published) -> Result<Option<Vec<Bytes>>> {
        let Some(number) = self.old.next() else { return Ok(None) };
        let bytes = self.files.read(&name(number)).map_err(|error| self.explain("cannot read a part", error))?;
        let bytes = Bytes::from(bytes);
        let place = |error: Error| error.with("wal", self.files.shown()).with("part", name(number));
        let mut closed = Closed { number, bytes: bytes.len() as u64, last_generation: 0, is_damaged: false };
        let mut payloads = Vec::new();
        match Part::read(&bytes) {
            Ok(part) if part.header.wal != self.header.wal => {
                return Err(place(Error::invalid("wal: a part belongs to another log; was it copied here?")));
            }
            Ok(part) => {
                closed.is_damaged = self.report(number, &part);
                let epoch = part.header.epoch;
                let open = part.records.into_iter().filter(|(generation, _)| !published.holds(epoch, *generation));
                payloads = open.map(|(_, payload)| payload).collect();
            }
            Err(error) if error.kind() == flamestore_model::ErrorKind::Invalid => return Err(place(error)),
            // it was being created
            Err(_) if bytes.len() < HEADER_BYTES => {}
            Err(error) => {
                tracing::error!(error = %place(error), "a part of the log cannot be read and is kept aside");
                metrics::counter!(metric::names::WAL_DAMAGED_PARTS).increment(1);
                closed.is_damaged = true;
            }
        }
        // what is taken in anew is published by the first flush of this epoch
        closed.last_generation = u64::from(!payloads.is_empty());
        self.closed.push(closed);
        Ok(Some(payloads))
    }

    fn report(&self, number: u64, part: &Part) -> bool {
        if part.torn_bytes > 0 {
            tracing::info!(part = name(number), bytes = part.torn_bytes, "the end of a part was never acknowledged");
        }
        if let Some(offset) = part.damaged_at {
            let wal = self.files.shown();
            tracing::error!(wal, part = name(number), offset, "a part of the log is damaged and is kept aside");
            metrics::counter!(metric::names::WAL_DAMAGED_PARTS).increment(1);
        }
        part.damaged_at.is_some()
    }

    fn commit(&mut self, entries: &[Entry]) -> Result<()> {
        let mut bytes = Vec::with_capacity(entries.iter().map(|entry| entry.payload.len() + 32).sum());
        for entry in entries {
            write_record(&mut bytes, entry)?;
        }
        let generation = entries.iter().map(|entry| entry.generation).max().unwrap_or_default();
        if self.current.as_ref().is_some_and(|current| self.is_full(current, generation)) {
            self.close_current();
        }
        if self.current.is_none() {
            self.current = Some(self.create()?);
        }
        let Some(current) = self.current.as_mut() else { return Ok(()) };
        let durable = current.bytes;
        if let Err(error) = current.file.append(&bytes) {
            if current.file.truncate(durable).is_err() {
                self.close_current();
            }
            return Err(self.explain("cannot write the log", error));
        }
        // from here on records of this generation may be found in the part
        current.bytes += bytes.len() as u64;
        current.last_generation = current.last_generation.max(generation);
        if let Err(error) = current.file.sync() {
            self.close_current();
            return Err(self.explain("cannot sync the log", error));
        }
        Ok(())
    }

    /// A part ends when it is large, and when a generation ends, so that it can be deleted soon.
    fn is_full(&self, current: &Current, generation: u64) -> bool {
        current.bytes >= self.part_bytes || current.last_generation < generation
    }

    fn create(&mut self) -> Result<Current> {
        let number = self.next;
        self.next += 1;
        let header = PartHeader { nonce: self.entropy.next_u128(), ..self.header };
        let create = || {
            let mut file = self.files.create(&name(number))?;
            file.append(&header.to_bytes())?;
            Ok(file)
        };
        let created: io::Result<Box<dyn WalFile>> = create();
        let bytes = HEADER_BYTES as u64;
        match created {
            Ok(file) => Ok(Current { number, file, bytes, last_generation: 0 }),
            Err(error) => {
                // it may exist without its header, which is no part; a leftover is met again at the next start
                let _ = self.files.remove(&name(number));
                Err(self.explain("cannot begin a part of the log", error))
            }
        }
    }

    fn close_current(&mut self) {
        if let Some(Current { number, bytes, last_generation, .. }) = self.current.take() {
            self.closed.push(Closed { number, bytes, last_generation, is_damaged: false });
        }
    }

    fn release(&mut self, generation: u64) {
        if self.current.as_ref().is_some_and(|current| current.last_generation <= generation) {
            self.close_current();
        }
        let (files, closed) = (&self.files, std::mem::take(&mut self.closed));
        let is_kept = |closed: &Closed| {
            if closed.last_generation > generation {
                return true;
            }
            let name = name(closed.number);
            let gone = match closed.is_damaged {
                true => files.rename(&name, &format!("{name}.damaged")),
                false => files.remove(&name),
            };
            if let Err(error) = &gone {
                tracing::warn!(%error, part = name, "a part of the log that is published stays behind");
            }
            gone.is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
        };
        self.closed = closed.into_iter().filter(is_kept).collect();
    }

    fn explain(&self, what: &str, error: io::Error) -> Error {
        explain(self.files.as_ref(), what, error)
    }
}

fn name(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}

fn number(part: &str) -> Option<u64> {
    let number = part.strip_suffix(SUFFIX)?.parse().ok()?;
    (name(number) == part).then_some(number)
}

fn explain(files: &dyn WalFiles, what: &str, error: io::Error) -> Error {
    let no_room = |why: &str| Error::unavailable(format!("wal: {what}: {why}")).retry_after(NO_ROOM_RETRY_DELAY);
    let explained = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => no_room("the disk is full"),
        io::ErrorKind::FileTooLarge => no_room("the system lets no file grow so large (see ulimit -f)"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::invalid(format!("wal: {what}: it is not writable by this user"))
        }
        _ => Error::unavailable(format!("wal: {what}")),
    };
    explained.with("wal", files.shown()).because(error)
}
