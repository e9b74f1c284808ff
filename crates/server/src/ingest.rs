//! The ingest service: profiles are decoded and stored one after another, and what cannot be stored is named.
//!
//! A request holds at most one decoded profile at a time, whatever its length, or what [`several`] holds of a file of several. Small
//! profiles are decoded where they are; larger ones on the compute threads.

use flamestore_model::{Error, ProfileId, Result, Tenant};
use flamestore_proto::v1;
use flamestore_proto::v1::ingest_service_server::IngestService;
use flamestore_store::{ProfileFormat, PushProfile};
use futures::TryStreamExt;
use tonic::{Request, Response, Status, Streaming};

use crate::intake::{Intake, count_outcome};
use crate::several::{self, Form, Taken};
use crate::status::{code_of, status_of, tenant_of};
use crate::translate;

/// Answers `flamestore.v1.IngestService` for one store.
#[derive(Clone, Debug)]
pub(crate) struct Ingest(pub(crate) Intake);

/// What became of the profiles of a request or a stream.
#[derive(Debug, Default)]
struct Outcome {
    profiles: usize,
    profile_ids: Vec<String>,
    profile_indexes: Vec<u64>,
    rejected: Vec<v1::RejectedProfile>,
    first_error: Option<Error>,
}

impl Outcome {
    fn add(&mut self, taken: Taken) {
        let index = u64::try_from(self.profiles).unwrap_or(u64::MAX);
        self.profile_indexes.extend(taken.ids.iter().map(|_| index));
        self.profile_ids.extend(taken.ids.iter().map(ProfileId::to_string));
        if let Some(error) = taken.error {
            let (code, message) = (code_of(error.kind()) as i32, error.to_string());
            self.rejected.push(v1::RejectedProfile { index, code, message });
            self.first_error.get_or_insert(error);
        }
        self.profiles += 1;
    }

    /// The answer: the error itself when there was but one profile or file, and nothing of it was stored.
    fn finish(self) -> Result<v1::PushResponse> {
        match (self.profiles, self.first_error) {
            (0, _) => Err(Error::invalid("the request has no profiles")),
            (1, Some(error)) if self.profile_ids.is_empty() => Err(error),
            _ => Ok(v1::PushResponse {
                accepted: u64::try_from(self.profile_ids.len()).unwrap_or(u64::MAX),
                rejected: self.rejected,
                profile_ids: self.profile_ids,
                profile_indexes: self.profile_indexes,
            }),
        }
    }
}

impl Ingest {
    async fn push_all(&self, tenant: &Tenant, profiles: Vec<v1::RawProfile>, outcome: &mut Outcome) -> Result<()> {
        self.0.check_count(outcome.profiles + profiles.len())?;
        for profile in profiles {
            outcome.add(self.push_one(tenant, profile).await);
        }
        Ok(())
    }

    async fn push_one(&self, tenant: &Tenant, raw: v1::RawProfile) -> Taken {
        let taken = match translate::enumeration("profile format", raw.format).map(received) {
            Ok(Received::Several(form)) => several::push(&self.0, tenant, form, raw).await,
            Ok(Received::One(format)) => {
                let stored = self.push_received(tenant, format, raw).await;
                count_outcome(&stored);
                stored.map(Taken::from)
            }
            Err(error) => {
                let rejected = Err(error);
                count_outcome(&rejected);
                rejected
            }
        };
        taken.unwrap_or_else(Taken::from)
    }

    async fn push_received(&self, tenant: &Tenant, format: ProfileFormat, raw: v1::RawProfile) -> Result<ProfileId> {
        self.0.take_bytes(tenant, raw.profile.len())?;
        let labels = self.0.labels(given_labels(&raw))?;
        let id = translate::profile_id(&raw.profile_id)?;
        let received = (format.clone(), raw.profile.clone());
        let batch = self.0.decode(format, raw.profile).await?;
        let (tenant, time_unix_nano) = (tenant.clone(), raw.time_unix_nano);
        self.0.store(PushProfile { tenant, labels, batch, received: Some(received), id, time_unix_nano }).await
    }

    async fn push(&self, request: Request<v1::PushRequest>) -> Result<v1::PushResponse> {
        let tenant = tenant_of(request.metadata())?;
        let mut outcome = Outcome::default();
        let ingest = Self(self.0.of(&tenant));
        ingest.push_all(&tenant, request.into_inner().profiles, &mut outcome).await?;
        outcome.finish()
    }

    async fn push_stream(&self, request: Request<Streaming<v1::PushRequest>>) -> Result<v1::PushResponse, Status> {
        let tenant = tenant_of(request.metadata()).map_err(|error| status_of(&error))?;
        let ingest = Self(self.0.of(&tenant));
        let mut requests = request.into_inner();
        let mut outcome = Outcome::default();
        while let Some(request) = requests.try_next().await? {
            let pushed = ingest.push_all(&tenant, request.profiles, &mut outcome).await;
            pushed.map_err(|error| status_of(&error))?;
        }
        outcome.finish().map_err(|error| status_of(&error))
    }
}

/// The labels that a client gives a profile.
pub(crate) fn given_labels(raw: &v1::RawProfile) -> impl Iterator<Item = (&str, &str)> {
    raw.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()))
}

/// What the bytes of a format hold.
enum Received {
    /// A profile that the log keeps as it was received.
    One(ProfileFormat),
    /// A file of several, or of one that the log keeps as what it was decoded to.
    Several(Form),
}

/// Folded text counts samples of whatever it was made of; the profile type is `process_cpu:samples:count::`.
fn received(format: v1::ProfileFormat) -> Received {
    let form = match format {
        v1::ProfileFormat::Unspecified | v1::ProfileFormat::Pprof => return Received::One(ProfileFormat::Pprof),
        v1::ProfileFormat::Folded => {
            let (sample_type, sample_unit) = ("samples".to_owned(), "count".to_owned());
            return Received::One(ProfileFormat::Folded { sample_type, sample_unit });
        }
        v1::ProfileFormat::Lines => Form::Lines,
        v1::ProfileFormat::Tree => Form::Tree,
        v1::ProfileFormat::Trie => Form::Trie,
        v1::ProfileFormat::Speedscope => Form::Speedscope,
        v1::ProfileFormat::Jfr => Form::Jfr,
        v1::ProfileFormat::Otlp => Form::Otlp,
        v1::ProfileFormat::Parca => Form::Parca,
    };
    Received::Several(form)
}

#[tonic::async_trait]
impl IngestService for Ingest {
    async fn push(&self, request: Request<v1::PushRequest>) -> Result<Response<v1::PushResponse>, Status> {
        Ingest::push(self, request).await.map(Response::new).map_err(|error| status_of(&error))
    }

    async fn push_stream(
        &self,
        request: Request<Streaming<v1::PushRequest>>,
    ) -> Result<Response<v1::PushResponse>, Status> {
        Ingest::push_stream(self, request).await.map(Response::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(profiles: Vec<Result<ProfileId>>) -> Result<v1::PushResponse> {
        let mut outcome = Outcome::default();
        profiles.into_iter().for_each(|profile| outcome.add(profile.map_or_else(Taken::from, Taken::from)));
        outcome.finish()
    }

    #[test]
    fn a_file_that_is_stored_in_part_has_its_ids_and_its_error() {
        let ids = [1, 2, 3].map(|byte| ProfileId::from_bytes([byte; 16]));
        let in_part = || Taken { ids: ids[..2].to_vec(), error: Some(Error::invalid("wrong")) };
        let mut outcome = Outcome::default();
        outcome.add(in_part());
        let answer = outcome.finish().unwrap();
        assert_eq!((answer.accepted, answer.profile_indexes, answer.rejected[0].index), (2, vec![0, 0], 0));
        let mut outcome = Outcome::default();
        outcome.add(Taken::default());
        outcome.add(in_part());
        outcome.add(Taken::from(ids[2]));
        let answer = outcome.finish().unwrap();
        assert_eq!(
            (answer.profile_ids, answer.profile_indexes),
            (ids.map(|id| id.to_string()).to_vec(), vec![1, 1, 2])
        );
        assert_eq!((answer.rejected.len(), answer.rejected[0].index), (1, 1));
    }

    #[test]
    fn one_wrong_profile_is_an_error_and_one_of_several_is_listed() {
        let id = ProfileId::from_bytes([7; 16]);
        let wrong = || Err(Error::invalid("wrong"));
        assert_eq!(outcome(vec![]).unwrap_err().message(), "the request has no profiles");
        assert_eq!(outcome(vec![wrong()]).unwrap_err().message(), "wrong");
        let answer = outcome(vec![wrong(), Ok(id)]).unwrap();
        assert_eq!((answer.accepted, answer.profile_ids), (1, vec![id.to_string()]));
        assert_eq!((answer.rejected[0].index, answer.rejected[0].code), (0, tonic::Code::InvalidArgument as i32));
        let answer = outcome(vec![Ok(id), wrong(), Err(Error::exhausted("full"))]).unwrap();
        assert_eq!((answer.accepted, answer.rejected[1].index), (1, 2));
        assert_eq!(answer.rejected[1].code, tonic::Code::ResourceExhausted as i32);
        assert_eq!(outcome(vec![wrong(), wrong()]).unwrap().rejected.len(), 2);
    }
}
