//! Parca's read API: what its pages and tools ask.
//!
//! ```text
//! request ─ ask, filter ─▶ selections, conditions ─ read ─▶ engine ─▶ call trees ─ stacks ─▶ trees of frames
//!    lists   types, names, values                                       │ flame       ─▶ flame_record: Arrow    nested: messages
//!    range   totals over time                                           │ functions   ─▶ table: Arrow    calls: messages
//!                                                                       └ pprof
//! ```
//!
//! Values over time are combined as their type suggests ([`flamestore_query::Combine::Auto`]), as every other door does. What
//! a protocol can ask and is not answered ends in `UNIMPLEMENTED`, never in an answer to another question. What bounds a query
//! bounds these too: the engine's memory, and the server's deadline, requests and answers.

mod ask;
mod calls;
mod compare;
mod filter;
mod flame;
mod flame_record;
mod frames;
mod functions;
mod lists;
mod nested;
mod pprof;
mod range;
mod read;
mod record;
mod reports;
mod stacks;
mod table;

use std::sync::Arc;

use flamestore_model::{Error, Result};
use flamestore_proto::parca::query::v1alpha1 as v1;
use flamestore_proto::parca::query::v1alpha1::query_service_server::QueryService;
use flamestore_query::Engine;
use tonic::{Request, Response, Status};

use crate::compute::Compute;
use crate::status::{status_of, tenant_of};
use read::Reader;

/// Answers `parca.query.v1alpha1.QueryService` from one engine.
#[derive(Clone, Debug)]
pub(crate) struct ParcaQueries {
    pub(crate) engine: Arc<Engine>,
    pub(crate) compute: Compute,
}

impl ParcaQueries {
    /// What reads for the tenant of `request`.
    fn reader<T>(&self, request: &Request<T>) -> Result<Reader> {
        let tenant = tenant_of(request.metadata())?;
        Ok(Reader { engine: Arc::clone(&self.engine), compute: self.compute.clone(), tenant })
    }
}

macro_rules! serve {
    ($($method:ident: $request:ident => $response:ident, |$reader:ident, $message:ident| $answer:expr;)*) => {
        #[tonic::async_trait]
        impl QueryService for ParcaQueries {
            $(async fn $method(&self, request: Request<v1::$request>) -> Result<Response<v1::$response>, Status> {
                let answer = async {
                    let $reader = self.reader(&request)?;
                    let $message = request.into_inner();
                    $answer.await
                };
                let answer: Result<v1::$response> = answer.await;
                answer.map(Response::new).map_err(|error| status_of(&error))
            })*
        }
    };
}

serve! {
    query_range: QueryRangeRequest => QueryRangeResponse, |reader, message| range::query(&reader, &message);
    query: QueryRequest => QueryResponse, |reader, message| reports::query(&reader, &message);
    series: SeriesRequest => SeriesResponse, |_reader, _message| async {
        Err(Error::unsupported("an answer has no place for series: ask Labels and Values, or flamestore.v1.QueryService/Series"))
    };
    profile_types: ProfileTypesRequest => ProfileTypesResponse,
        |reader, message| lists::profile_types(&reader, &message);
    labels: LabelsRequest => LabelsResponse, |reader, message| lists::labels(&reader, &message);
    values: ValuesRequest => ValuesResponse, |reader, message| lists::values(&reader, &message);
    share_profile: ShareProfileRequest => ShareProfileResponse, |_reader, _message| async {
        Err(Error::unsupported("profiles are not shared: nothing leaves this server"))
    };
    has_profile_data: HasProfileDataRequest => HasProfileDataResponse,
        |reader, _message| lists::has_profile_data(&reader);
}
