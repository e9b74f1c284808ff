//! Parca's agents and tools: profiles in pprof and in records of Arrow, debug information, and what agents send beside them.
//!
//! ```text
//! WriteRaw     pprof ───────────────────────────────▶ one profile after another ─▶ store
//! WriteArrow   records ─▶ a compute thread ─▶ profiles, several at the same time ─▶ store
//! Write        samples ─▶ "which stacks?" ─▶ stacks ─▶ the same
//! ```
//!
//! Labels are kept as sent. A profile that names no service is of the service that `job`, else `comm`, names: a scraper's job, or
//! the command of a process. `__name__` (or `producer`) is the first part of the profile type. Counts of samples taken at a steady
//! rate get a second sample type, of value times period, which Parca makes at query time.
//!
//! Agents send a request again after some codes, `RESOURCE_EXHAUSTED` among them, and give it up after others. So errors that a
//! retry may mend come before those that it cannot, which are `INVALID_ARGUMENT`, limits too. A retry counts nothing twice.

mod agents;
mod arrow;
mod beside;
mod debuginfo;
mod gateway;
mod query;
mod raw;
mod targets;

use flamestore_model::{Error, ErrorKind, Labels, Result, names};
use flamestore_proto::parca::profilestore::profile_store_service_server::ProfileStoreService;
use flamestore_proto::parca::profilestore::{
    WriteArrowRequest, WriteArrowResponse, WriteRawRequest, WriteRawResponse, WriteRequest, WriteResponse,
};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::intake::Intake;
use crate::push::is_lasting;
use crate::status::{status_of, tenant_of};

pub(crate) use agents::Agents;
pub(crate) use beside::{Dropped, Panics};
pub(crate) use debuginfo::DebuginfoUploads;
pub(crate) use gateway::{Gateway, gateway};
pub(crate) use query::ParcaQueries;
pub(crate) use targets::Targets;

/// Labels that name the service of a profile that has no `service_name`; the first of them that is there.
const SERVICE_NAMES: [&str; 3] = ["service.name", "job", "comm"];

/// Answers `parca.profilestore.v1alpha1.ProfileStoreService` for one store.
#[derive(Clone, Debug)]
pub(crate) struct ProfileStore {
    pub(crate) intake: Intake,
    pub(crate) agents: Agents,
}

/// The labels of a profile, under the limits, with the name of its service.
pub(crate) fn labels<'a>(intake: &Intake, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Labels> {
    let labels = intake.labels(pairs)?;
    if labels.get(names::SERVICE_NAME).is_some() {
        return Ok(labels);
    }
    let service = SERVICE_NAMES.iter().find_map(|name| labels.get(name)).map(str::to_owned);
    Ok(match service {
        Some(service) => labels.with(names::SERVICE_NAME, &service),
        None => labels,
    })
}

/// The answer to a request that ends in `error`.
fn answer(error: &Error) -> Status {
    match is_lasting(error) {
        true => status_of(&Error::new(ErrorKind::Invalid, error.to_string())),
        false => status_of(error),
    }
}

#[tonic::async_trait]
impl ProfileStoreService for ProfileStore {
    type WriteStream = BoxStream<'static, Result<WriteResponse, Status>>;

    async fn write_raw(&self, request: Request<WriteRawRequest>) -> Result<Response<WriteRawResponse>, Status> {
        let tenant = tenant_of(request.metadata()).map_err(|error| status_of(&error))?;
        let push = self.agents.start(&tenant, request.extensions());
        let stored = raw::write(&self.intake.of(&tenant), &tenant, request.into_inner()).await;
        push.finish(stored).map(|()| Response::new(WriteRawResponse {})).map_err(|error| answer(&error))
    }

    async fn write(&self, request: Request<Streaming<WriteRequest>>) -> Result<Response<Self::WriteStream>, Status> {
        let tenant = tenant_of(request.metadata()).map_err(|error| status_of(&error))?;
        let push = self.agents.start(&tenant, request.extensions());
        Ok(Response::new(arrow::exchange(self.intake.of(&tenant), tenant, push, request.into_inner())))
    }

    async fn write_arrow(&self, request: Request<WriteArrowRequest>) -> Result<Response<WriteArrowResponse>, Status> {
        let tenant = tenant_of(request.metadata()).map_err(|error| status_of(&error))?;
        let push = self.agents.start(&tenant, request.extensions());
        let stored = arrow::write(&self.intake.of(&tenant), &tenant, request.into_inner().ipc_buffer).await;
        push.finish(stored).map(|()| Response::new(WriteArrowResponse {})).map_err(|error| answer(&error))
    }
}
