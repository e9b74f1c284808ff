//! `push`: sends profile files of every format, in batches that stay under the server's message limit.

mod format;

use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use flamestore_model::{Labels, ProfileId, names};
use flamestore_proto::v1::{Label, PushRequest, PushResponse, RawProfile};
use indicatif::{ProgressBar, ProgressStyle};
use tonic::Code;

use crate::client::{Client, Remote};
use crate::failure::{Failure, Outcome};
use crate::output::{self, note};
use crate::time::{Time, now};
use format::{FileFormat, split_name};

/// The most bytes of files in one batch; a larger file goes alone.
const BATCH_BYTES: usize = 2 << 20;
/// The most files in one batch.
const BATCH_FILES: usize = 64;
/// From how many files on a progress bar is worth its line.
const BAR_FILES: usize = 4;

/// Sends profiles to a server, in any format that it reads, plain or compressed with gzip or zstd. Prints the id and the file of
/// each that was taken; a file that was rejected is told with the reason, and makes the exit code 1.
#[derive(Args, Debug)]
pub(crate) struct Push {
    /// The files; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A label of the profiles, in place of one that they have; may be given many times.
    #[arg(long = "label", short, env = "FLAMESTORE_LABELS", value_delimiter = None, value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The label `service_name`; when neither this nor --label names it, what the profiles say (OTLP, Parca), else the file's
    /// name without its extensions.
    #[arg(long, env = "FLAMESTORE_SERVICE_NAME", value_name = "NAME")]
    service_name: Option<String>,
    /// When the profiles were taken; what the files say when absent (stacks of names and speedscope say nothing: now).
    #[arg(long, short, env = "FLAMESTORE_TIME", value_name = "TIME", allow_hyphen_values = true)]
    time: Option<Time>,
    /// How the files are encoded; by default told by their content, and by their names where that does not tell: .lines, .tree and
    /// .trie.
    #[arg(long, env = "FLAMESTORE_PUSH_FORMAT", value_enum)]
    format: Option<FileFormat>,
    /// The id of the profile, for pushing the same one again without counting it twice; for one file only, the first profile of it.
    #[arg(long, env = "FLAMESTORE_PROFILE_ID", value_name = "ID")]
    profile_id: Option<ProfileId>,
    #[command(flatten)]
    remote: Remote,
}

/// Files on their way, and where they came from.
#[derive(Default)]
struct Batch {
    files: Vec<(PathBuf, FileFormat)>,
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
            let (format, profile) = match self.read(file, &labels) {
                Ok(read) => read,
                Err(failure) => {
                    sender.reject(&file.display().to_string(), &failure.to_string());
                    sender.bar.inc(1);
                    continue;
                }
            };
            if batch.is_full(profile.profile.len()) {
                sender.send(std::mem::take(&mut batch)).await?;
            }
            batch.add((file.clone(), format), profile);
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

    fn read(&self, file: &Path, labels: &Labels) -> Outcome<(FileFormat, RawProfile)> {
        let bytes = Bytes::from(read_file(file)?);
        let format = match self.format {
            Some(format) => format,
            None => FileFormat::of(file, bytes.clone())?,
        };
        let labels = match labels.get(names::SERVICE_NAME) {
            None if !format.names_service() => labels.clone().with(names::SERVICE_NAME, service_name(file)?),
            _ => labels.clone(),
        };
        let default_time = (!format.states_time()).then_some(Time::Now(0));
        let profile = RawProfile {
            labels: labels
                .iter()
                .map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() })
                .collect(),
            profile: bytes,
            format: format.of_server().into(),
            time_unix_nano: self.time.or(default_time).map(|time| time.resolve(now())),
            profile_id: self.profile_id.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
        };
        Ok((format, profile))
    }
}

impl Batch {
    fn is_full(&self, more: usize) -> bool {
        !self.files.is_empty() && (self.bytes + more > BATCH_BYTES || self.files.len() >= BATCH_FILES)
    }

    fn add(&mut self, file: (PathBuf, FileFormat), profile: RawProfile) {
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
                self.reject(&named(&batch.files[0]), status.message());
                self.bar.inc(1);
                return Ok(());
            }
            Err(status) => return Err(self.client.failure(&status)),
        };
        for (at, file) in (0..).zip(&batch.files) {
            self.tell(file, at, &answer)?;
            self.bar.inc(1);
        }
        Ok(())
    }

    /// Tells what became of the file at `at` of a request: the ids of its profiles, and why some or all are missing.
    fn tell(&mut self, file: &(PathBuf, FileFormat), at: u64, answer: &PushResponse) -> Outcome {
        let ids = answer.profile_ids.iter().zip(&answer.profile_indexes).filter(|(_, index)| **index == at);
        let taken: String = ids.map(|(id, _)| format!("{id}  {}\n", file.0.display())).collect();
        self.bar.suspend(|| output::print(&taken))?;
        match answer.rejected.iter().find(|rejected| rejected.index == at) {
            Some(rejected) => self.reject(&named(file), &rejected.message),
            None if taken.is_empty() => {
                self.bar.suspend(|| note(&format!("{}: there is no profile in it", named(file))))
            }
            None => {}
        }
        Ok(())
    }

    fn reject(&mut self, file: &str, message: &str) {
        self.rejected += 1;
        let message = message.strip_prefix("error: ").unwrap_or(message);
        self.bar.suspend(|| note(&format!("rejected: {file}: {message}")));
    }

    fn finish(self, files: usize) -> Outcome {
        self.bar.finish_and_clear();
        if self.rejected == 0 {
            return Ok(());
        }
        note(&format!("{} of {files} files were rejected", self.rejected));
        Err(Failure::told())
    }
}

/// A file, and what it was read as.
fn named((file, format): &(PathBuf, FileFormat)) -> String {
    format!("{}: as {}", file.display(), format.as_str())
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
    match file.file_name().and_then(|name| name.to_str()) {
        None | Some("-") => Err(Failure::new("has no name to call the service by; add --service-name NAME")),
        Some(name) => Ok(split_name(name).0),
    }
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
            ("shop.speedscope.json", "shop"),
            ("app.jfr.gz", "app"),
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
}
