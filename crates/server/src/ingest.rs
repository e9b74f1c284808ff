//! The ingest service: profiles are decoded and stored one after another, and what cannot be stored is named.
//!
//! A request holds at most one decoded profile at a time, whatever its length. Small profiles are decoded where they are;
//! larger ones on the compute threads.

use flamestore_model::{Error, ProfileId, Result, Tenant};
use flamestore_proto::v1;
use flamestore_proto::v1::ingest_service_server::IngestService;
use flamestore_store::{ProfileFormat, PushProfile};
use futures::TryStreamExt;
use tonic::{Request, Response, Status, Streaming};

use crate::intake::{Intake, count_outcome};
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
    rejected: Vec<v1::RejectedProfile>,
    first_error: Option<Error>,
}

impl Outcome {
    fn add(&mut self, stored: Result<ProfileId>) {
        count_outcome(&stored);
        match stored {
            Ok(id) => self.profile_ids.push(id.to_string()),
            Err(error) => {
                let index = u64::try_from(self.profiles).unwrap_or(u64::MAX);
                self.rejected.push(v1::RejectedProfile {
                    index,
                    code: code_of(error.kind()) as i32,
                    message: error.to_string(),
                });
                self.first_error.get_or_insert(error);
            }
        }
        self.profiles += 1;
    }

    /// The answer: the error itself when there was but one profile and it was rejected.
    fn finish(self) -> Result<v1::PushResponse> {
        match (self.profiles, self.first_error) {
            (0, _) => Err(Error::invalid("the request has no profiles")),
            (1, Some(error)) => Err(error),
            _ => Ok(v1::PushResponse {
                accepted: u64::try_from(self.profile_ids.len()).unwrap_or(u64::MAX),
                rejected: self.rejected,
                profile_ids: self.profile_ids,
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

    async fn push_one(&self, tenant: &Tenant, raw: v1::RawProfile) -> Result<ProfileId> {
        self.0.take_bytes(tenant, raw.profile.len())?;
        let labels = self.0.labels(raw.labels.iter().map(|label| (label.name.as_str(), label.value.as_str())))?;
        let id = translate::profile_id(&raw.profile_id)?;
        let format = translate::enumeration("profile format", raw.format)?;
        let format = received_format(format);
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

/// Folded text counts samples of whatever it was made of; the profile type is `process_cpu:samples:count::`.
fn received_format(format: v1::ProfileFormat) -> ProfileFormat {
    match format {
        v1::ProfileFormat::Unspecified | v1::ProfileFormat::Pprof => ProfileFormat::Pprof,
        v1::ProfileFormat::Folded => {
            ProfileFormat::Folded { sample_type: "samples".to_owned(), sample_unit: "count".to_owned() }
        }
    }
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
        profiles.into_iter().for_each(|profile| outcome.add(profile));
        outcome.finish()
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
