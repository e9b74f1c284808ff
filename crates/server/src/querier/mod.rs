//! Pyroscope's read API: what Grafana's data source, Profiles Drilldown and profilecli ask.
//!
//! ```text
//! request ─ ask ─▶ tenants, selector, range ─ reader ─▶ engine, tenant by tenant ─▶ call tree, series, lists
//!                                                            │ merges   graph: levels, tree bytes   pprof
//!                                                            │ series   steps that end at their time
//!                                                            ├ heatmap  single profiles by time and value
//!                                                            └ lists    names, values, types, label sets
//! render     the same by GET, as JSON of flame graphs
//! settings, about   what pages keep, and ask of a server
//! ```
//!
//! Merges combine values over time as their type suggests ([`flamestore_query::Combine::Auto`]), as every other door does; a
//! pprof is a sum. What a protocol can ask and is not answered ends in `UNIMPLEMENTED`, never in an answer to another
//! question; fields that this server does not know are ignored. What bounds a query bounds these too: the engine's memory, and
//! the server's deadline, requests and answers.

mod about;
mod ask;
mod dot;
mod flamebearer;
mod graph;
mod heatmap;
mod lists;
mod merges;
mod pprof;
mod reader;
mod render;
mod series;
mod settings;
mod stats;

use std::sync::Arc;

use flamestore_model::{Result, Tenant};
use flamestore_proto::querier::v1;
use flamestore_proto::querier::v1::querier_service_server::QuerierService;
use flamestore_proto::{google, types};
use flamestore_query::Engine;
use tonic::{Request, Response, Status};

use crate::compute::Compute;
use crate::status::{status_of, tenants_of};
use reader::Reader;

pub(crate) use about::About;
pub(crate) use render::{PATHS, router};
pub(crate) use settings::Settings;

/// Answers `querier.v1.QuerierService` from one engine.
#[derive(Clone, Debug)]
pub(crate) struct Querier {
    pub(crate) engine: Arc<Engine>,
    pub(crate) compute: Compute,
    /// Whether a request may name several tenants.
    pub(crate) tenants_joined: bool,
}

impl Querier {
    /// What reads for the tenants of `request`.
    fn reader<T>(&self, request: &Request<T>) -> Result<Reader> {
        Ok(self.reader_of(tenants_of(request.metadata(), self.tenants_joined)?))
    }

    fn reader_of(&self, tenants: Vec<Tenant>) -> Reader {
        Reader { engine: Arc::clone(&self.engine), compute: self.compute.clone(), tenants }
    }
}

/// Whether the client takes label names that are not those of Prometheus.
fn takes_any_name<T>(request: &Request<T>) -> bool {
    let accepted = request.metadata().get_all("accept");
    accepted.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split([';', ','])).any(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        name.trim() == "allow-utf8-labelnames" && value.trim() == "true"
    })
}

macro_rules! serve {
    ($($method:ident: $request:ty => $response:ty, |$reader:ident, $message:ident, $any_name:ident| $answer:expr;)*) => {
        #[tonic::async_trait]
        impl QuerierService for Querier {
            $(async fn $method(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                let answer = async {
                    let $reader = self.reader(&request)?;
                    let $any_name = takes_any_name(&request);
                    let $message = request.into_inner();
                    $answer.await
                };
                let answer: Result<$response> = answer.await;
                answer.map(Response::new).map_err(|error| status_of(&error))
            })*
        }
    };
}

serve! {
    profile_types: v1::ProfileTypesRequest => v1::ProfileTypesResponse,
        |reader, message, _any| lists::profile_types(&reader, &message);
    label_values: types::v1::LabelValuesRequest => types::v1::LabelValuesResponse,
        |reader, message, _any| lists::label_values(&reader, &message);
    label_names: types::v1::LabelNamesRequest => types::v1::LabelNamesResponse,
        |reader, message, any| lists::label_names(&reader, &message, any);
    series: v1::SeriesRequest => v1::SeriesResponse,
        |reader, message, any| lists::series(&reader, &message, any);
    select_merge_stacktraces: v1::SelectMergeStacktracesRequest => v1::SelectMergeStacktracesResponse,
        |reader, message, _any| merges::stacktraces(&reader, &message);
    select_merge_span_profile: v1::SelectMergeSpanProfileRequest => v1::SelectMergeSpanProfileResponse,
        |reader, message, _any| merges::span_profile(&reader, message);
    select_merge_profile: v1::SelectMergeProfileRequest => google::v1::Profile,
        |reader, message, _any| merges::profile(&reader, message);
    select_series: v1::SelectSeriesRequest => v1::SelectSeriesResponse,
        |reader, message, _any| series::select(&reader, &message);
    select_heatmap: v1::SelectHeatmapRequest => v1::SelectHeatmapResponse,
        |reader, message, _any| heatmap::select(&reader, &message);
    diff: v1::DiffRequest => v1::DiffResponse,
        |reader, message, _any| merges::diff(&reader, &message);
    get_profile_stats: types::v1::GetProfileStatsRequest => types::v1::GetProfileStatsResponse,
        |reader, _message, _any| stats::stats(&reader);
    analyze_query: v1::AnalyzeQueryRequest => v1::AnalyzeQueryResponse,
        |reader, message, _any| stats::analyze(&reader, &message);
}
