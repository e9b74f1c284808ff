//! `WriteArrow` and `Write`: records of samples, with their stacks or followed by them.
//!
//! `Write` is an exchange of four steps, each bounded by [`STEP_TIME_MAX`]: the client's samples, the ids of the stacks that are
//! not known yet (all of them: a stack is known by what it is, not by an agent's id), the client's stacks, the end. Where no stack
//! is missing the exchange ends after the samples.

use std::time::Duration;

use bytes::Bytes;
use flamestore_formats::{ParcaProfile, ParcaRecords, ParcaRequest};
use flamestore_model::{Error, Labels, ProfileId, Result, Tenant};
use flamestore_proto::parca::profilestore::{WriteRequest, WriteResponse};
use flamestore_store::{PushProfile, retry_id};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::intake::Intake;
use crate::many::{DECODED_MAX, store_all};
use crate::sampled;

use super::agents::Push;
use super::answer;

/// How long a client may take for its part of a step.
const STEP_TIME_MAX: Duration = Duration::from_secs(30);

/// Stores the records of a stream.
///
/// # Errors
/// The first error that a retry may mend, else the first one.
pub(super) async fn write(intake: &Intake, tenant: &Tenant, bytes: Bytes) -> Result<()> {
    intake.take_bytes(tenant, bytes.len())?;
    let limits = (*intake.limits()).clone();
    let id = retry_id(tenant, &Labels::default(), 0, &[&bytes]);
    let records = intake.compute.run_on(bytes.len(), move || {
        let mut records = ParcaRecords::new(limits);
        records.add(bytes)?;
        Ok(records)
    });
    store(intake, tenant, id, records.await?).await
}

/// Makes profiles of the records and stores them.
async fn store(intake: &Intake, tenant: &Tenant, request_id: ProfileId, records: ParcaRecords) -> Result<()> {
    let (sender, receiver) = mpsc::channel(DECODED_MAX);
    let made = intake.compute.run(move || make(&records.finish()?, &sender));
    let stored = store_all(receiver, |at, profile| store_one(intake, tenant, request_id, at, profile));
    let (made, rejections) = tokio::join!(made, stored);
    made?;
    rejections.finish()
}

/// Hands over each profile; stops when nobody takes them any more.
fn make(request: &ParcaRequest, sender: &mpsc::Sender<Result<ParcaProfile>>) -> Result<()> {
    let missing = request.missing_stacks();
    if missing > 0 {
        tracing::debug!(missing, "stacks were named and not sent: their values are kept under an empty stack");
    }
    for profile in request.profiles() {
        if sender.blocking_send(profile).is_err() {
            break;
        }
    }
    Ok(())
}

async fn store_one(
    intake: &Intake,
    tenant: &Tenant,
    request_id: ProfileId,
    at: u64,
    profile: Result<ParcaProfile>,
) -> Result<ProfileId> {
    let ParcaProfile { labels, mut batch } = profile?;
    let labels = super::labels(intake, labels.iter())?;
    sampled::add_period(&mut batch)?;
    let content: [&[u8]; 2] = [request_id.as_bytes(), &at.to_le_bytes()];
    let id = retry_id(tenant, &labels, batch.header.time_unix_nano, &content);
    let tenant = tenant.clone();
    intake.store(PushProfile { tenant, labels, batch, received: None, id: Some(id), time_unix_nano: None }).await
}

/// An exchange of `Write`.
struct Exchange {
    intake: Intake,
    tenant: Tenant,
    push: Push,
    requests: Streaming<WriteRequest>,
    /// What was read so far, and the bytes of it.
    records: Option<(ParcaRecords, ProfileId)>,
}

enum Step {
    Samples(Exchange),
    Stacks(Exchange),
    End,
}

/// The answers to the requests of an exchange.
pub(super) fn exchange(
    intake: Intake,
    tenant: Tenant,
    push: Push,
    requests: Streaming<WriteRequest>,
) -> BoxStream<'static, Result<WriteResponse, Status>> {
    let exchange = Exchange { intake, tenant, push, requests, records: None };
    stream::unfold(Step::Samples(exchange), |step| async {
        match step {
            Step::Samples(mut exchange) => match exchange.samples().await {
                Ok(Some(record)) => Some((Ok(WriteResponse { record }), Step::Stacks(exchange))),
                Ok(None) => exchange.end().await,
                Err(status) => Some((Err(exchange.failed(status)), Step::End)),
            },
            Step::Stacks(mut exchange) => match exchange.stacks().await {
                Ok(()) => exchange.end().await,
                Err(status) => Some((Err(exchange.failed(status)), Step::End)),
            },
            Step::End => None,
        }
    })
    .boxed()
}

impl Exchange {
    /// Takes the samples; the record that asks for their stacks, if there are any.
    async fn samples(&mut self) -> Result<Option<Vec<u8>>, Status> {
        let bytes = self.next().await?;
        let id = retry_id(&self.tenant, &Labels::default(), 0, &[&bytes]);
        let records = ParcaRecords::new((*self.intake.limits()).clone());
        let records = self.add(records, bytes).await?;
        let asked = records.ask().map_err(|error| answer(&error))?;
        self.records = Some((records, id));
        Ok(asked)
    }

    /// Takes the stacks.
    async fn stacks(&mut self) -> Result<(), Status> {
        let bytes = self.next().await?;
        if let Some((records, id)) = self.records.take() {
            self.records = Some((self.add(records, bytes).await?, id));
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Bytes, Status> {
        let late = |_| Status::deadline_exceeded("the client's next record did not come in time");
        let request = tokio::time::timeout(STEP_TIME_MAX, self.requests.message()).await.map_err(late)??;
        let ended = || answer(&Error::invalid("the client ended the exchange before its last record"));
        let record = request.ok_or_else(ended)?.record;
        self.intake.take_bytes(&self.tenant, record.len()).map_err(|error| answer(&error))?;
        Ok(record)
    }

    async fn add(&self, mut records: ParcaRecords, bytes: Bytes) -> Result<ParcaRecords, Status> {
        let added = self.intake.compute.run_on(bytes.len(), move || records.add(bytes).map(|()| records));
        added.await.map_err(|error| answer(&error))
    }

    /// Stores what was read and ends the exchange: with nothing more, or with an error.
    async fn end(self) -> Option<(Result<WriteResponse, Status>, Step)> {
        let (records, id) = self.records?;
        let stored = store(&self.intake, &self.tenant, id, records).await;
        let error = self.push.finish(stored).err()?;
        Some((Err(answer(&error)), Step::End))
    }

    fn failed(self, status: Status) -> Status {
        self.push.failed(status.message());
        status
    }
}
