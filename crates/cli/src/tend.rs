//! `store compact`, `store gc` and `store delete`: what a running server's compactor does, done once on a bucket.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use flamestore_model::Tenant;
use flamestore_store::{CompactionPlan, Compactor, DeleteReport, Deletion, Mode, RewriteReport, Scope, StoreUrl};
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::{BucketArgs, ByteSize, Settings, store_url};
use crate::failure::{Failure, Outcome};
use crate::output::{note, quantity};
use crate::select::selector;
use crate::time::{Span, Time, now};

/// Where, and how it is tended.
#[derive(Args, Debug)]
struct Place {
    /// The store: a folder or `s3://bucket/prefix`.
    #[arg(long, env = "FLAMESTORE_STORE", value_name = "URL", default_value = "./data", value_parser = store_url)]
    store: StoreUrl,
    /// A server's configuration file: its sections about the bucket, compaction, retention and the collector count.
    #[arg(long, env = "FLAMESTORE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Memory for merging [default: 512MiB].
    #[arg(long, env = "FLAMESTORE_COMPACTION_MEMORY_BYTES_MAX", value_name = "BYTES")]
    memory_bytes_max: Option<ByteSize>,
    #[command(flatten)]
    bucket: BucketArgs,
}

/// Merges segments until nothing is due, and lets go of what has expired.
#[derive(Args, Debug)]
pub(crate) struct Compact {
    #[command(flatten)]
    place: Place,
    /// Merges whatever leaves fewer segments, also of hours and days that are not over.
    #[arg(long)]
    all: bool,
}

/// Deletes objects that nothing refers to and that are older than the grace period.
#[derive(Args, Debug)]
pub(crate) struct Gc {
    #[command(flatten)]
    place: Place,
    /// Only tells what would be deleted.
    #[arg(long)]
    dry_run: bool,
}

/// Deletes profiles by selector and time range. What a running server has not written as a segment yet is not deleted.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    #[command(flatten)]
    place: Place,
    /// Whose profiles.
    #[arg(long, env = "FLAMESTORE_TENANT", value_name = "NAME", default_value = Tenant::DEFAULT)]
    tenant: String,
    /// A profile type and label matchers, as `{service_name="api"}`; `{}` is everything.
    #[arg(long, short, value_name = "SELECTOR", value_parser = selector)]
    query: String,
    /// Start of the time range: RFC 3339, a date, a unix time, or relative as `now-1h30m`.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Time,
    /// End of the time range; a profile at exactly this time is not deleted.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Time,
    /// Only tells what would be deleted.
    #[arg(long)]
    dry_run: bool,
}

impl Place {
    fn compactor(&self) -> Outcome<Compactor> {
        if let StoreUrl::Folder(folder) = &self.store
            && !folder.is_dir()
        {
            return Err(Failure::new(format!("--store {}: there is no such folder", self.store)));
        }
        let settings = Settings::of_store(self.config.as_deref(), &self.store, &self.bucket)?;
        let mut options = settings.compactor_options(settings.store.open(&settings.bucket)?)?;
        options.memory_bytes_max = self.memory_bytes_max.map_or(options.memory_bytes_max, |bytes| bytes.0);
        Ok(Compactor::new(options)?)
    }
}

fn mode(dry_run: bool) -> Mode {
    if dry_run { Mode::DryRun } else { Mode::Delete }
}

fn bytes(bytes: u64) -> String {
    quantity(i64::try_from(bytes).unwrap_or(i64::MAX), "bytes")
}

fn told_of_damage<'a>(damaged: impl IntoIterator<Item = &'a (flamestore_model::SegmentId, String)>) -> Outcome {
    let mut is_sound = true;
    for (segment, reason) in damaged {
        note(&format!("segment {segment} cannot be read and was left as it is: {reason}"));
        is_sound = false;
    }
    if is_sound { Ok(()) } else { Err(Failure::told()) }
}

impl Compact {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let compactor = self.place.compactor()?;
        let expired = compactor.expire().await?;
        let bar = spinner();
        let progress = |plan: &CompactionPlan, done: Option<&RewriteReport>| match done {
            None => bar.set_message(format!("{} {}: {} segments", plan.tenant, plan.day, plan.inputs.len())),
            Some(_) => bar.tick(),
        };
        let scope = if self.all { Scope::All } else { Scope::Due };
        let merged = compactor.compact(scope, &progress).await;
        bar.finish_and_clear();
        let merged = merged?;
        if expired.segments_in > 0 {
            note(&format!(
                "expired: {} segments, {}; left: {} segments, {}",
                expired.segments_in,
                bytes(expired.bytes_in),
                expired.segments_out,
                bytes(expired.bytes_out)
            ));
        }
        note(&format!(
            "{}: merged {} segments ({}) into {} ({}), samples: {}",
            self.place.store,
            merged.segments_in,
            bytes(merged.bytes_in),
            merged.segments_out,
            bytes(merged.bytes_out),
            merged.samples_out
        ));
        told_of_damage(&compactor.damaged())
    }
}

impl Gc {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let report = self.place.compactor()?.collect(mode(self.dry_run)).await?;
        note(&format!(
            "{}: {} {} objects ({}) and {} old manifests; too young: {}, not ours: {}",
            self.place.store,
            if self.dry_run { "would delete" } else { "deleted" },
            report.objects,
            bytes(report.bytes),
            report.manifests,
            report.young,
            report.foreign
        ));
        Ok(())
    }
}

impl Delete {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let compactor = self.place.compactor()?;
        let span = Span { start: self.from, end: self.to };
        let range = span.resolve(now()).map_err(|e| Failure::new(format!("--from and --to: {e}")))?;
        let tenant = Tenant::new(self.tenant)?;
        let deletion = Deletion { tenant, selector: self.query.parse()?, range };
        let bar = segments_bar();
        let progress = |done: usize, total: usize| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        };
        let report = compactor.delete(&deletion, mode(self.dry_run), &progress).await;
        bar.finish_and_clear();
        let report = report?;
        note(&deleted(&self.place.store, self.dry_run, &report));
        told_of_damage(&report.damaged)
    }
}

fn deleted(store: &StoreUrl, dry_run: bool, report: &DeleteReport) -> String {
    let verb = if dry_run { "would delete" } else { "deleted" };
    let rewritten = match dry_run {
        true => format!("to be written again: {}", report.rewritten),
        false => format!("written again: {} ({})", report.rewritten, bytes(report.bytes_out)),
    };
    format!(
        "{store}: {verb} {} profiles (by sample type) from {} of {} segments ({}); removed whole: {}, {rewritten}",
        report.profiles,
        report.removed + report.rewritten,
        report.segments_read,
        bytes(report.bytes_in),
        report.removed,
    )
}

fn spinner() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn segments_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    match ProgressStyle::with_template("{bar:30} {pos}/{len} segments {eta}") {
        Ok(style) => ProgressBar::new(0).with_style(style),
        Err(_) => ProgressBar::new(0),
    }
}
