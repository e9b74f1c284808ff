//! `push`: sends profile files, in batches that stay under the server's message limit.

use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use flamestore_model::{Labels, ProfileId, names};
use flamestore_proto::v1::{Label, ProfileFormat, PushRequest, RawProfile};
use indicatif::{ProgressBar, ProgressStyle};
use tonic::Code;

use crate::client::{Client, Remote};
use crate::failure::{Failure, Outcome};
use crate::output::{self, note};
use crate::time::{Time, now};

/// The most bytes of files in one batch; a larger file goes alone.
const BATCH_BYTES: usize = 2 << 20;
/// The most files in one batch.
const BATCH_FILES: usize = 64;
/// From how many files on a progress bar is worth its line.
const BAR_FILES: usize = 4;

/// How a file is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FileFormat {
    /// pprof: plain, gzip or zstd, told by content.
    Pprof,
    /// Lines of `frame;frame;frame value`, root first.
    Folded,
}

/// Sends profiles to a server. Prints the id and the file of each that was taken; a profile that was rejected is told with the
/// reason, and makes the exit code 1.
#[derive(Args, Debug)]
pub(crate) struct Push {
    /// The files; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A label of the profiles; may be given many times.
    #[arg(long = "label", short, env = "FLAMESTORE_LABELS", value_delimiter = None, value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The label `service_name`; the file's name without its extensions when neither this nor --label names it.
    #[arg(long, env = "FLAMESTORE_SERVICE_NAME", value_name = "NAME")]
    service_name: Option<String>,
    /// When the profiles were taken; what the files say when absent (folded files say nothing: now).
    #[arg(long, short, env = "FLAMESTORE_TIME", value_name = "TIME", allow_hyphen_values = true)]
    time: Option<Time>,
    /// How the files are encoded; by default told by their names: .folded, .collapsed and .txt are folded.
    #[arg(long, env = "FLAMESTORE_PUSH_FORMAT", value_enum)]
    format: Option<FileFormat>,
    /// The id of the profile, for pushing the same one again without counting it twice; for one file only.
    #[arg(long, env = "FLAMESTORE_PROFILE_ID", value_name = "ID")]
    profile_id: Option<ProfileId>,
    #[command(flatten)]
    remote: Remote,
}

/// Files on their way, and where they came from.
#[derive(Default)]
struct Batch {
    files: Vec<PathBuf>,
    profiles: Vec<RawProfile>,
    bytes: usize,
}

/// Who takes the batches, and what became of them.
struct Sender {
    client: Client,
    bar: ProgressBar,
    rejected: usize,
}

impl Push {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        if self.profile_id.is_some() && self.files.len() > 1 {
            return Err(Failure::new("--profile-id names one profile, but there are several files"));
        }
        let labels = self.common_labels()?;
        let bar = progress_bar(self.files.len());
        let mut sender = Sender { client: self.remote.connect().await?, bar, rejected: 0 };
        let mut batch = Batch::default();
        for file in &self.files {
            let profile = match self.read(file, &labels) {
                Ok(profile) => profile,
                Err(failure) => {
                    sender.reject(file, &failure.to_string());
                    continue;
                }
            };
            if batch.is_full(profile.profile.len()) {
                sender.send(std::mem::take(&mut batch)).await?;
            }
            batch.add(file.clone(), profile);
        }
        sender.send(batch).await?;
        sender.finish(self.files.len())
    }

    fn common_labels(&self) -> Outcome<Labels> {
        let mut pairs = self.labels.clone();
        if let Some(name) = &self.service_name {
            pairs.push((names::SERVICE_NAME.to_owned(), name.clone()));
        }
        Labels::from_pairs(pairs).map_err(|e| Failure::new(format!("--label: {e}")))
    }

    fn read(&self, file: &Path, labels: &Labels) -> Outcome<RawProfile> {
        let bytes = read_file(file)?;
        let labels = match labels.get(names::SERVICE_NAME) {
            Some(_) => labels.clone(),
            None => labels.clone().with(names::SERVICE_NAME, service_name(file)?),
        };
        let format = self.format.unwrap_or_else(|| FileFormat::of(file));
        let default_time = (format == FileFormat::Folded).then_some(Time::Now(0));
        Ok(RawProfile {
            labels: labels
                .iter()
                .map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() })
                .collect(),
            profile: bytes.into(),
            format: match format {
                FileFormat::Pprof => ProfileFormat::Pprof.into(),
                FileFormat::Folded => ProfileFormat::Folded.into(),
            },
            time_unix_nano: self.time.or(default_time).map(|time| time.resolve(now())),
            profile_id: self.profile_id.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
        })
    }
}

impl Batch {
    fn is_full(&self, more: usize) -> bool {
        !self.files.is_empty() && (self.bytes + more > BATCH_BYTES || self.files.len() >= BATCH_FILES)
    }

    fn add(&mut self, file: PathBuf, profile: RawProfile) {
        self.bytes += profile.profile.len();
        self.files.push(file);
        self.profiles.push(profile);
    }
}

impl Sender {
    async fn send(&mut self, batch: Batch) -> Outcome {
        if batch.files.is_empty() {
            return Ok(());
        }
        let request = self.client.request(PushRequest { profiles: batch.profiles });
        let answer = match self.client.ingest().push(request).await {
            Ok(answer) => answer.into_inner(),
            // One file over the message limit says nothing about the others.
            Err(status) if batch.files.len() == 1 && is_about_the_profile(status.code()) => {
                self.reject(&batch.files[0], status.message());
                return Ok(());
            }
            Err(status) => return Err(self.client.failure(&status)),
        };
        let mut ids = answer.profile_ids.into_iter();
        for (at, file) in (0..).zip(&batch.files) {
            match answer.rejected.iter().find(|rejected| rejected.index == at) {
                Some(rejected) => self.reject(file, &rejected.message),
                None => self.accept(file, &ids.next().unwrap_or_default())?,
            }
        }
        Ok(())
    }

    fn accept(&self, file: &Path, id: &str) -> Outcome {
        self.bar.inc(1);
        self.bar.suspend(|| output::print(&format!("{id}  {}\n", file.display())))
    }

    fn reject(&mut self, file: &Path, message: &str) {
        self.rejected += 1;
        self.bar.inc(1);
        let message = message.strip_prefix("error: ").unwrap_or(message);
        self.bar.suspend(|| note(&format!("rejected: {}: {message}", file.display())));
    }

    fn finish(self, files: usize) -> Outcome {
        self.bar.finish_and_clear();
        if self.rejected == 0 {
            return Ok(());
        }
        note(&format!("{} of {files} profiles were rejected", self.rejected));
        Err(Failure::told())
    }
}

impl FileFormat {
    fn of(file: &Path) -> Self {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("folded" | "collapsed" | "txt") => Self::Folded,
            _ => Self::Pprof,
        }
    }
}

fn is_about_the_profile(code: Code) -> bool {
    matches!(code, Code::InvalidArgument | Code::ResourceExhausted | Code::OutOfRange)
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not a label; example: region=eu-west-1".to_owned()),
    }
}

fn read_file(file: &Path) -> Outcome<Vec<u8>> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        return match io::stdin().lock().read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(e) => Err(Failure::io("standard input", &e)),
        };
    }
    std::fs::read(file).map_err(|e| Failure::new(format!("cannot read the file: {e}")))
}

/// The file's name without the extensions that profiles have.
fn service_name(file: &Path) -> Outcome<&str> {
    const EXTENSIONS: [&str; 10] =
        [".gz", ".zst", ".zstd", ".pb", ".pprof", ".prof", ".proto", ".folded", ".collapsed", ".txt"];
    let mut name = match file.file_name().and_then(|name| name.to_str()) {
        None | Some("-") => return Err(Failure::new("has no name to call the service by; add --service-name NAME")),
        Some(name) => name,
    };
    while let Some(shorter) =
        EXTENSIONS.iter().find_map(|extension| name.strip_suffix(extension)).filter(|n| !n.is_empty())
    {
        name = shorter;
    }
    Ok(name)
}

fn progress_bar(files: usize) -> ProgressBar {
    if files < BAR_FILES || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} profiles {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(u64::try_from(files).unwrap_or(u64::MAX)).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_named_after_the_file_without_the_extensions_of_profiles() {
        for (file, expected) in [
            ("x/cpu.pb.gz", "cpu"),
            ("stress-failure.before.pprof", "stress-failure.before"),
            ("heap", "heap"),
            (".pb", ".pb"),
            ("a.folded", "a"),
        ] {
            assert_eq!(service_name(Path::new(file)).unwrap(), expected);
        }
        assert!(service_name(Path::new("-")).is_err());
    }

    #[test]
    fn a_label_has_a_name_and_may_hold_equals_signs() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(label("a").is_err() && label("=b").is_err());
    }

    #[test]
    fn the_format_is_told_by_the_name() {
        assert_eq!(FileFormat::of(Path::new("a.folded")), FileFormat::Folded);
        assert_eq!(FileFormat::of(Path::new("a.pb.gz")), FileFormat::Pprof);
    }
}
