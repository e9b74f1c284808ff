//! Pyroscope's push: each sample of each series is a whole pprof, stored on its own.
//!
//! What can be stored is stored. The answer has no place for the rest, so a request with a wrong profile ends in an error that
//! names the first one. Clients send a request again after some codes and give it up after others, so errors that a retry may
//! mend come before those it cannot, and a profile over a limit is `INVALID_ARGUMENT`, which nobody retries. A retry counts
//! no profile twice: by the id a client gives it, else by its time and bytes.

use std::collections::HashSet;

use flamestore_model::{Error, ErrorKind, Labels, ProfileId, Result, Tenant};
use flamestore_proto::push::v1::pusher_service_server::PusherService;
use flamestore_proto::push::v1::{PushRequest, PushResponse, RawProfileSeries, RawSample};
use flamestore_store::{ProfileFormat, PushProfile};
use tonic::{Request, Response, Status};

use crate::intake::{Intake, count_outcome};
use crate::status::{status_of, tenant_of};

/// Answers `push.v1.PusherService` for one store.
#[derive(Clone, Debug)]
pub(crate) struct Pusher(pub(crate) Intake);

/// What became of the profiles of a request.
#[derive(Debug, Default)]
pub(crate) struct Rejections {
    profiles: usize,
    rejected: usize,
    lasting: Option<Error>,
    passing: Option<Error>,
}

impl Rejections {
    /// Counts a profile that stands at `place` of the request.
    pub(crate) fn add<T>(&mut self, place: impl FnOnce() -> String, stored: Result<T>) {
        count_outcome(&stored);
        self.profiles += 1;
        if let Err(error) = stored {
            self.rejected += 1;
            let first = if is_lasting(&error) { &mut self.lasting } else { &mut self.passing };
            first.get_or_insert_with(|| placed(&error, &place()));
        }
    }

    /// How many profiles were rejected, the first error that a retry may mend, and the first that it cannot.
    pub(crate) fn into_parts(self) -> (usize, Option<Error>, Option<Error>) {
        (self.rejected, self.passing, self.lasting)
    }

    /// How many profiles there were.
    pub(crate) fn profiles(&self) -> usize {
        self.profiles
    }

    /// The first error that a retry may mend, else the first one; it says how many others there are.
    ///
    /// # Errors
    /// When a profile was rejected.
    pub(crate) fn finish(self) -> Result<()> {
        let Some(error) = self.passing.or(self.lasting) else { return Ok(()) };
        if self.profiles == 1 {
            return Err(error);
        }
        Err(error.with("rejected", self.rejected).with("profiles", self.profiles))
    }
}

/// Whether sending the same again must end in the same error.
pub(crate) fn is_lasting(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Invalid => true,
        // over a limit; a full server says when to come back
        ErrorKind::Exhausted => error.retry_delay().is_none(),
        _ => false,
    }
}

/// `error` with the place of its profile; `Invalid` where a retry cannot help.
fn placed(error: &Error, place: &str) -> Error {
    let kind = if is_lasting(error) { ErrorKind::Invalid } else { error.kind() };
    let placed = Error::new(kind, format!("{place}: {error}"));
    match error.retry_delay() {
        Some(delay) => placed.retry_after(delay),
        None => placed,
    }
}

impl Pusher {
    async fn push(&self, request: Request<PushRequest>) -> Result<PushResponse> {
        let tenant = tenant_of(request.metadata())?;
        let series = request.into_inner().series;
        let profiles = series.iter().map(|series| series.samples.len()).sum();
        if profiles == 0 {
            return Err(Error::invalid("no profiles received"));
        }
        self.0.check_count(profiles)?;
        let pusher = Self(self.0.of(&tenant));
        let mut ids = HashSet::new();
        let mut rejections = Rejections::default();
        for (at, series) in series.into_iter().enumerate() {
            pusher.push_series(&tenant, at, series, &mut ids, &mut rejections).await;
        }
        rejections.finish().map(|()| PushResponse {})
    }

    async fn push_series(
        &self,
        tenant: &Tenant,
        at: usize,
        series: RawProfileSeries,
        ids: &mut HashSet<ProfileId>,
        rejections: &mut Rejections,
    ) {
        let pairs = series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
        let labels = self.0.labels(pairs);
        for (row, sample) in series.samples.into_iter().enumerate() {
            // several profiles of one id would count as one
            let id = retry_id_of(&sample.id).filter(|id| ids.insert(*id));
            let stored = match &labels {
                Ok(labels) => self.push_one(tenant, labels, id, sample).await,
                Err(error) => Err(placed(error, "its labels")),
            };
            rejections.add(|| format!("series {at}, sample {row}"), stored);
        }
    }

    async fn push_one(
        &self,
        tenant: &Tenant,
        labels: &Labels,
        id: Option<ProfileId>,
        sample: RawSample,
    ) -> Result<ProfileId> {
        self.0.take_bytes(tenant, sample.raw_profile.len())?;
        let (format, bytes) = (ProfileFormat::Pprof, sample.raw_profile);
        let batch = self.0.decode(format.clone(), bytes.clone()).await?;
        let received = Some((format, bytes));
        let (tenant, labels) = (tenant.clone(), labels.clone());
        self.0.store(PushProfile { tenant, labels, batch, received, id, time_unix_nano: None }).await
    }
}

/// The id that is a UUID other than the nil one.
fn retry_id_of(id: &str) -> Option<ProfileId> {
    let is_uuid = id.len() == 36;
    is_uuid.then(|| id.parse().ok()).flatten().filter(|id: &ProfileId| *id.as_bytes() != [0; 16])
}

#[tonic::async_trait]
impl PusherService for Pusher {
    async fn push(&self, request: Request<PushRequest>) -> Result<Response<PushResponse>, Status> {
        Pusher::push(self, request).await.map(Response::new).map_err(|error| status_of(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn finish(outcomes: Vec<Result<()>>) -> String {
        let mut rejections = Rejections::default();
        for (at, outcome) in outcomes.into_iter().enumerate() {
            rejections.add(|| format!("profile {at}"), outcome);
        }
        rejections.finish().map_or_else(|error| format!("{error:?}"), |()| "stored".to_owned())
    }

    #[test]
    fn what_a_retry_may_mend_is_told_before_what_it_cannot() {
        let wrong = || Err(Error::invalid("wrong"));
        let large = || Err(Error::exhausted("too large").with("limit", 7));
        let full = || Err(Error::exhausted("full").retry_after(Duration::from_secs(1)));
        assert_eq!(finish(vec![Ok(()), Ok(())]), "stored");
        assert_eq!(finish(vec![wrong()]), "Invalid: profile 0: wrong");
        assert_eq!(finish(vec![Ok(()), large()]), "Invalid: profile 1: too large [limit=7] [rejected=1, profiles=2]");
        assert_eq!(finish(vec![wrong(), full(), large()]), "Exhausted: profile 1: full [rejected=3, profiles=3]");
    }

    #[test]
    fn an_id_is_a_uuid_or_nothing() {
        let id = retry_id_of("963d69ea-bbb4-4c4f-a5b6-6e653c3175d8").unwrap();
        assert_eq!(id.to_string(), "963d69eabbb44c4fa5b66e653c3175d8");
        for other in ["", "00000000-0000-0000-0000-000000000000", "963d69eabbb44c4fa5b66e653c3175d8", "profile-1"] {
            assert_eq!(retry_id_of(other), None, "{other}");
        }
    }
}
