//! The write-ahead log: a push is durable before it is acknowledged.
//!
//! ```text
//! push ──record──▶ queue ──▶ commit: all that queue up meanwhile, one write and one sync, or one PUT ──▶ acknowledged
//!                              │
//!                              ▼
//!                   parts in order: files of a folder, or objects of the bucket
//!                              │ a flush is in the manifest: its generation is released
//!                              ▼
//!                   a part whose records are all released is deleted
//! ```
//!
//! A record names the *generation* it belongs to: the number of the flush that will publish its profile. A push holds the
//! gate of its head while its record is written, so the records of a generation are the profiles of its heads, exactly.
//! What a manifest says of the writer's flushes tells which records are published ([`Published`]); at start all others are
//! taken in anew, into the first generation of the new epoch.
//!
//! Holds always: an acknowledged record is durable until its generation is published; a part is deleted only after that.
//! Bounded: records in the queue, their bytes, and the bytes of all parts ([`WalOptions`]); start-up time follows from the
//! last. What fails leaves at most a torn record at the end of a part, which nobody was told of.

mod bucket_log;
mod file_log;
mod files;
mod log;
mod open;
mod options;
mod parts;
mod record;
mod replay;

pub use files::{OsFiles, WalFile, WalFiles};
pub use options::{Durability, WalOptions};
pub use record::ProfileFormat;

pub(crate) use log::Wal;
pub(crate) use open::Log;
pub(crate) use record::Record;
pub(crate) use replay::{Published, Replayed};

use flamestore_model::Result;
use futures::FutureExt;
use futures::future::BoxFuture;

/// A record on its way into a part: its generation and its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) generation: u64,
    pub(crate) payload: Vec<u8>,
}

/// Where a log is kept.
pub(crate) trait Medium: Send {
    /// Returns when a commit may begin; what is asked for meanwhile goes with it.
    fn ready(&mut self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    /// Makes all `entries` durable, in order. After an error some of them may be durable.
    fn commit(&mut self, entries: Vec<Entry>) -> BoxFuture<'_, Result<()>>;

    /// Deletes parts whose records are all of generations up to `generation`, as many as commits may wait for; whether
    /// there are more. What cannot be deleted now is tried again at the next call.
    fn release(&mut self, generation: u64) -> BoxFuture<'_, bool>;

    /// Leaves the log so that it is seen to hold nothing, if all its records are of generations up to `generation`.
    fn close(&mut self, generation: u64) -> BoxFuture<'_, ()> {
        async move { while self.release(generation).await {} }.boxed()
    }

    /// The bytes of the parts that have records of generations after `generation`.
    fn bytes(&self, generation: u64) -> u64;
}
