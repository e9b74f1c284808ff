//! `store …`: a bucket looked at, counted, mended, tended and taken out of, without a server.

mod check;
mod export;
mod ls;
mod merged;
mod repair;
mod usage;

use clap::{Args, Subcommand};
use flamestore_store::{Bucket, StoreUrl};
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
    /// The bucket. A folder that does not exist is an error here: opening it would make it.
    fn open(&self) -> Outcome<Bucket> {
        if let StoreUrl::Folder(folder) = &self.store
            && !folder.is_dir()
        {
            return Err(Failure::new(format!("--store {}: there is no such folder", self.store)));
        }
        Ok(self.store.open(&self.bucket.options()?)?)
    }
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
