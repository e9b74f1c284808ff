//! Pushed files of several profiles, or of one that the log keeps as what it was decoded to: stacks of names, recordings,
//! requests of OpenTelemetry and records of Parca, with labels that the client gives all of them.
//!
//! ```text
//! file ─▶ a compute thread: one profile after another ─▶ at most DECODED_MAX wait ─▶ labels, id ─▶ store, several at a time
//! ```
//!
//! Labels that the client gives replace those of the same name that a profile has. A file that cannot be read is an error; of
//! one that can, what can be stored is stored, and an error tells of the rest. The same file sent again counts once: a
//! profile's id is made of the one it was given, else of its own, else of the bytes, its place and its time.

use bytes::Bytes;
use flamestore_formats::{
    FoldedOptions, JfrOptions, JfrProfile, Limits, OtlpProfile, ParcaProfile, ParcaRecords, SpeedscopeProfile,
    decode_jfr, decode_lines, decode_otlp_file, decode_speedscope, decode_tree, decode_trie, decompress,
};
use flamestore_model::{Error, Labels, ProfileBatch, ProfileId, Result, Tenant, names};
use flamestore_proto::v1;
use flamestore_store::{PushProfile, retry_id};
use tokio::sync::mpsc;

use crate::ingest::given_labels;
use crate::intake::{Intake, count_outcome};
use crate::many::{DECODED_MAX, store_each};
use crate::{otlp, parca, sampled, translate};

/// The label that names one profile of a file of speedscope's.
pub(crate) const PROFILE_NAME_LABEL: &str = "profile_name";

/// How a file is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Lines,
    Tree,
    Trie,
    Speedscope,
    Jfr,
    Otlp,
    Parca,
}

/// What became of a file: the ids of the profiles that were stored, and the error of those that were not.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) ids: Vec<ProfileId>,
    pub(crate) error: Option<Error>,
}

impl From<ProfileId> for Taken {
    fn from(id: ProfileId) -> Self {
        Self { ids: vec![id], error: None }
    }
}

impl From<Error> for Taken {
    fn from(error: Error) -> Self {
        Self { ids: Vec::new(), error: Some(error) }
    }
}

/// A profile of a file, with what the file says of it.
struct Held {
    labels: Labels,
    batch: ProfileBatch,
    /// The id that its sender gave it.
    id: Option<ProfileId>,
}

/// What is said of all profiles of a file.
struct Said<'a> {
    intake: &'a Intake,
    tenant: &'a Tenant,
    form: Form,
    labels: Labels,
    time_unix_nano: Option<i64>,
    id: Option<ProfileId>,
    /// Made of the bytes.
    content: ProfileId,
}

/// Stores the profiles of a file.
///
/// # Errors
/// What is wrong with the file as a whole, or with what is said of it.
pub(crate) async fn push(intake: &Intake, tenant: &Tenant, form: Form, raw: v1::RawProfile) -> Result<Taken> {
    let taken = take(intake, tenant, form, raw).await;
    if taken.is_err() {
        count_outcome(&taken);
    }
    taken
}

async fn take(intake: &Intake, tenant: &Tenant, form: Form, raw: v1::RawProfile) -> Result<Taken> {
    intake.take_bytes(tenant, raw.profile.len())?;
    let said = Said {
        intake,
        tenant,
        form,
        labels: intake.labels(given_labels(&raw))?,
        time_unix_nano: raw.time_unix_nano,
        id: translate::profile_id(&raw.profile_id)?,
        content: retry_id(tenant, &Labels::default(), 0, &[&raw.profile]),
    };
    let (sender, receiver) = mpsc::channel(DECODED_MAX);
    let limits = intake.limits();
    let decoded =
        intake.compute.run(move || decode(form, raw.profile, &limits, |held| sender.blocking_send(held).is_ok()));
    let stored = store_each(receiver, |at, held| said.store(at, held));
    let (decoded, (ids, rejections)) = tokio::join!(decoded, stored);
    decoded?;
    Ok(Taken { ids, error: rejections.finish().err() })
}

/// Decodes the profiles and hands over each until one is not taken any more; whether all were.
fn decode(form: Form, bytes: Bytes, limits: &Limits, hand_over: impl FnMut(Result<Held>) -> bool) -> Result<bool> {
    let (options, mut hand_over) = (FoldedOptions::default(), hand_over);
    let unlabelled = |batch| Ok(Held { labels: Labels::default(), batch, id: None });
    Ok(match form {
        Form::Lines => hand_over(unlabelled(decode_lines(bytes, &options, limits)?)),
        Form::Tree => hand_over(unlabelled(decode_tree(bytes, &options, limits)?)),
        Form::Trie => hand_over(unlabelled(decode_trie(bytes, &options, limits)?)),
        Form::Speedscope => decode_speedscope(bytes, &options, limits)?.into_iter().map(of_speedscope).all(hand_over),
        Form::Jfr => decode_jfr(bytes, &JfrOptions::default(), limits)?.into_iter().map(of_jfr).all(hand_over),
        Form::Otlp => decode_otlp_file(bytes, limits)?.profiles().map(of_otlp).all(hand_over),
        Form::Parca => {
            let mut records = ParcaRecords::new(limits.clone());
            records.add(decompress(bytes, limits)?)?;
            records.finish()?.profiles().map(of_parca).all(hand_over)
        }
    })
}

fn of_jfr(profile: JfrProfile) -> Result<Held> {
    Ok(Held { labels: Labels::default().with(names::NAME, profile.name), batch: profile.batch, id: None })
}

fn of_speedscope(profile: SpeedscopeProfile) -> Result<Held> {
    let SpeedscopeProfile { name, batch } = profile;
    let unit = batch.header.sample_types.first().map(|ty| batch.symbols.strings.get(ty.unit));
    // its values are no counts of samples, whatever their sample type is called
    let family = if unit == Some(b"bytes") { "memory" } else { "" };
    let labels = Labels::default().with(PROFILE_NAME_LABEL, &name).with(names::NAME, family);
    Ok(Held { labels, batch, id: None })
}

fn of_otlp(profile: Result<OtlpProfile>) -> Result<Held> {
    let OtlpProfile { labels, batch, id } = otlp::prepared(profile?)?;
    Ok(Held { labels, batch, id })
}

fn of_parca(profile: Result<ParcaProfile>) -> Result<Held> {
    let ParcaProfile { labels, mut batch } = profile?;
    sampled::add_period(&mut batch)?;
    Ok(Held { labels, batch, id: None })
}

impl Said<'_> {
    async fn store(&self, at: u64, held: Result<Held>) -> Result<ProfileId> {
        let Held { labels, batch, id } = held?;
        let labels = self.labels.iter().fold(labels, |labels, (name, value)| labels.with(name, value));
        let labels = match self.form {
            Form::Parca => parca::labels(self.intake, labels.iter())?,
            _ => self.intake.labels(labels.iter())?,
        };
        let id = self.id_of(at, &labels, &batch, id);
        let (tenant, time_unix_nano) = (self.tenant.clone(), self.time_unix_nano);
        self.intake.store(PushProfile { tenant, labels, batch, received: None, id, time_unix_nano }).await
    }

    /// None where no time is known: the same bytes may be meant twice.
    fn id_of(&self, at: u64, labels: &Labels, batch: &ProfileBatch, own: Option<ProfileId>) -> Option<ProfileId> {
        let place = at.to_le_bytes();
        match (self.id, own) {
            (Some(id), _) if at == 0 => return Some(id),
            (Some(id), _) => return Some(retry_id(self.tenant, labels, 0, &[id.as_bytes(), &place])),
            _ => {}
        }
        let time = self.time_unix_nano.or(Some(batch.header.time_unix_nano).filter(|time| *time != 0));
        match own {
            Some(own) => Some(otlp::id_of_its_own(self.tenant, labels, time.unwrap_or_default(), batch, &own)),
            None => time.map(|time| retry_id(self.tenant, labels, time, &[self.content.as_bytes(), &place])),
        }
    }
}
