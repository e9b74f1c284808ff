//! `store …`: a bucket looked at, counted, mended, tended and taken out of, without a server.

mod check;
mod export;
mod ls;
mod merged;
mod repair;
mod usage;

use clap::{Args, Subcommand};
use flamestore_model::Result;
use flamestore_query::{Engine, QueryOptions};
use flamestore_store::{Access, Background, Bucket, Store, StoreOptions, StoreUrl};
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::{BucketArgs, store_url};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::tend::{Compact, Delete, Gc};

/// Looks at a bucket and tends it, without a server.
#[derive(Args, Debug)]
pub(crate) struct StoreCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Check(check::Check),
    Ls(ls::Ls),
    Du(usage::DiskUsage),
    Repair(repair::Repair),
    Export(export::Export),
    Compact(Compact),
    Gc(Gc),
    Delete(Delete),
}

/// Where the store is.
#[derive(Args, Debug)]
struct Place {
    /// The store: a folder or `s3://bucket/prefix`.
    #[arg(long, env = "FLAMESTORE_STORE", value_name = "URL", default_value = "./data", value_parser = store_url)]
    store: StoreUrl,
    #[command(flatten)]
    bucket: BucketArgs,
}

impl StoreCommand {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        match self.action {
            Action::Check(command) => command.run().await,
            Action::Ls(command) => command.run().await,
            Action::Du(command) => command.run().await,
            Action::Repair(command) => command.run().await,
            Action::Export(command) => command.run().await,
            Action::Compact(command) => command.run().await,
            Action::Gc(command) => command.run().await,
            Action::Delete(command) => command.run().await,
        }
    }
}

impl Place {
    fn open(&self) -> Outcome<Bucket> {
        open(&self.store, &self.bucket)
    }
}

/// The bucket of a store. A folder that does not exist is an error here: opening it would make it.
///
/// # Errors
/// When there is no such folder, or a setting makes no sense.
pub(crate) fn open(store: &StoreUrl, bucket: &BucketArgs) -> Outcome<Bucket> {
    if let StoreUrl::Folder(folder) = store
        && !folder.is_dir()
    {
        return Err(Failure::new(format!("--store {store}: there is no such folder")));
    }
    Ok(store.open(&bucket.options()?)?)
}

/// An engine over a bucket as it is: the store is opened to be read, writes nothing and fences nobody.
///
/// # Errors
/// What the bucket says.
pub(crate) async fn engine(bucket: Bucket, query: QueryOptions) -> Result<Engine> {
    let mut options = StoreOptions::new(bucket);
    (options.access, options.background) = (Access::ReadOnly, Background::Off);
    Engine::new(Store::open(options).await?, query)
}

/// A bar on standard error that fills with bytes; nothing where that is no terminal.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bytes}/{total_bytes} [{bar:40}] {eta}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Moves `bar`: what a tool of the store tells of its progress.
fn advance(bar: &ProgressBar) -> impl Fn(u64, u64) + Send + Sync + '_ {
    |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    }
}

fn bytes(bytes: u64) -> String {
    output::quantity(i64::try_from(bytes).unwrap_or(i64::MAX), "bytes")
}
