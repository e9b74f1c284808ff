//! The query service: selections in, answers of the engine out.

use std::sync::Arc;

use flamestore_calltree::{FlameTree, FoldOptions, Neighbour, ValueTree, fold, neighbours, top};
use flamestore_formats::{encode_pprof, gzip};
use flamestore_model::{Error, ProfileBatch, ProfileId, Result, Selector, Tenant, TimeRange};
use flamestore_proto::v1;
use flamestore_proto::v1::query_service_server::QueryService;
use flamestore_query::{Combine, Engine, Query, frames_ipc};
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use crate::compute::Compute;
use crate::guard::Bounds;
use crate::sql::{End, Part, RowFormat, Sql, Statement};
use crate::status::{status_of, tenant_of};
use crate::translate;

const TOP_LIMIT_DEFAULT: usize = 100;
const NEIGHBOURS_LIMIT_DEFAULT: usize = 100;
const PROFILES_LIMIT_DEFAULT: usize = 1000;

/// Answers `flamestore.v1.QueryService` from one engine.
#[derive(Clone, Debug)]
pub(crate) struct Queries {
    pub(crate) engine: Arc<Engine>,
    pub(crate) compute: Compute,
    pub(crate) sql: Sql,
}

/// How many nodes to keep, and in which form.
struct Form {
    format: v1::AnswerFormat,
    options: FoldOptions,
}

impl Form {
    fn new(format: i32, max_nodes: i64) -> Result<Self> {
        let format = match translate::enumeration("answer format", format)? {
            v1::AnswerFormat::Unspecified => v1::AnswerFormat::FlameGraph,
            format => format,
        };
        Ok(Self { format, options: FoldOptions { max_nodes: translate::max_nodes(max_nodes)? } })
    }
}

impl Queries {
    async fn merge(&self, request: Request<v1::MergeRequest>) -> Result<v1::MergeResponse> {
        let tenant = tenant_of(request.metadata())?;
        let message = request.into_inner();
        let form = Form::new(message.format, message.max_nodes)?;
        let read_from = translate::read_from(message.resolution)?;
        let combine = translate::combine(message.combine)?;
        let query = Query { read_from, combine, ..translate::query(&tenant, message.selection)? };
        if form.format == v1::AnswerFormat::Pprof {
            if !matches!(combine, Combine::Auto | Combine::Sum) {
                return Err(Error::invalid(
                    "a pprof is the sum of its profiles: ask for a flame graph, arrow or folded",
                ));
            }
            let answer = self.engine.merge_pprof(&query).await?;
            let pprof = self.pprof(answer.value).await?;
            return Ok(merge_response(v1::merge_response::Answer::Pprof(pprof), answer.report));
        }
        let answer = self.engine.merge(&query).await?;
        let tree = answer.value;
        let merged = self.compute.run(move || merge_answer(&tree, &form)).await?;
        Ok(merge_response(merged, answer.report))
    }

    async fn diff(&self, request: Request<v1::DiffRequest>) -> Result<v1::DiffResponse> {
        let tenant = tenant_of(request.metadata())?;
        let message = request.into_inner();
        let form = Form::new(message.format, message.max_nodes)?;
        if form.format == v1::AnswerFormat::Pprof {
            return Err(Error::invalid("a diff has no pprof form: ask for a flame graph, arrow or folded"));
        }
        let (before, after) = sides(&tenant, message.before, message.after, message.combine)?;
        let answer = self.engine.diff(&before, &after).await?;
        let tree = answer.value;
        let compared = self.compute.run(move || diff_answer(&tree, &form)).await?;
        Ok(v1::DiffResponse { answer: Some(compared), report: Some(translate::report(answer.report)) })
    }

    async fn top(&self, request: Request<v1::TopRequest>) -> Result<v1::TopResponse> {
        let tenant = tenant_of(request.metadata())?;
        let message = request.into_inner();
        let limit = translate::limit(message.limit, TOP_LIMIT_DEFAULT);
        let combine = translate::combine(message.combine)?;
        let query = Query { combine, ..translate::query(&tenant, message.selection)? };
        let answer = self.engine.merge(&query).await?;
        let tree = answer.value;
        let ranked = self.compute.run(move || Ok((top(&tree), tree.totals(0))));
        let (rows, totals) = ranked.await?;
        Ok(v1::TopResponse {
            functions: rows.into_iter().take(limit).map(translate::top_function).collect(),
            total: totals.first().copied().unwrap_or_default(),
            report: Some(translate::report(answer.report)),
        })
    }

    async fn compare_functions(
        &self,
        request: Request<v1::CompareFunctionsRequest>,
    ) -> Result<v1::CompareFunctionsResponse> {
        let tenant = tenant_of(request.metadata())?;
        let message = request.into_inner();
        let limit = translate::limit(message.limit, TOP_LIMIT_DEFAULT);
        let (before, after) = sides(&tenant, message.before, message.after, message.combine)?;
        let answer = self.engine.compare_functions(&before, &after).await?;
        Ok(translate::comparison(answer.value, limit, answer.report))
    }

    async fn neighbours(&self, request: Request<v1::NeighboursRequest>) -> Result<v1::NeighboursResponse> {
        let tenant = tenant_of(request.metadata())?;
        let message = request.into_inner();
        if message.function.is_empty() {
            return Err(Error::invalid("the request names no function"));
        }
        let limit = translate::limit(message.limit, NEIGHBOURS_LIMIT_DEFAULT);
        let combine = translate::combine(message.combine)?;
        let query = Query { combine, ..translate::query(&tenant, message.selection)? };
        let answer = self.engine.merge(&query).await?;
        let tree = answer.value;
        let counted = self.compute.run(move || Ok((neighbours(&tree, &message.function), tree.totals(0))));
        let (found, totals) = counted.await?;
        let first = |values: Vec<i64>| values.first().copied().unwrap_or_default();
        let list = |all: Vec<Neighbour>| all.into_iter().take(limit).map(translate::neighbour).collect();
        Ok(v1::NeighboursResponse {
            self_: first(found.self_values),
            total: first(found.totals),
            outermost: first(found.outermost),
            callers: list(found.callers),
            callees: list(found.callees),
            merge_total: first(totals),
            report: Some(translate::report(answer.report)),
        })
    }

    async fn series(&self, request: Request<v1::SeriesRequest>) -> Result<v1::SeriesResponse> {
        let tenant = tenant_of(request.metadata())?;
        let message = request.into_inner();
        let answer = self.engine.series(&translate::query(&tenant, message.selection)?).await?;
        let series = translate::series(&answer.value, &message.label_names);
        Ok(v1::SeriesResponse { series, report: Some(translate::report(answer.report)) })
    }

    async fn label_names(&self, request: Request<v1::LabelNamesRequest>) -> Result<v1::LabelNamesResponse> {
        let tenant = tenant_of(request.metadata())?;
        let query = translate::query(&tenant, request.into_inner().selection)?;
        let answer = self.engine.label_names(&query).await?;
        Ok(v1::LabelNamesResponse { names: answer.value, report: Some(translate::report(answer.report)) })
    }

    async fn label_values(&self, request: Request<v1::LabelValuesRequest>) -> Result<v1::LabelValuesResponse> {
        let tenant = tenant_of(request.metadata())?;
        let message = request.into_inner();
        if message.name.is_empty() {
            return Err(Error::invalid("the request names no label"));
        }
        let query = translate::query(&tenant, message.selection)?;
        let answer = self.engine.label_values(&query, &message.name).await?;
        Ok(v1::LabelValuesResponse { values: answer.value, report: Some(translate::report(answer.report)) })
    }

    async fn profile_types(&self, request: Request<v1::ProfileTypesRequest>) -> Result<v1::ProfileTypesResponse> {
        let tenant = tenant_of(request.metadata())?;
        let query = translate::query(&tenant, request.into_inner().selection)?;
        let answer = self.engine.profile_types(&query).await?;
        Ok(v1::ProfileTypesResponse {
            profile_types: answer.value.iter().map(ToString::to_string).collect(),
            report: Some(translate::report(answer.report)),
        })
    }

    async fn time_series(&self, request: Request<v1::TimeSeriesRequest>) -> Result<v1::TimeSeriesResponse> {
        let tenant = tenant_of(request.metadata())?;
        let message = request.into_inner();
        let query = translate::query(&tenant, message.selection)?;
        let answer = self.engine.time_series(&query, message.step_nano, &message.group_by).await?;
        Ok(v1::TimeSeriesResponse {
            lines: translate::time_series(answer.value),
            report: Some(translate::report(answer.report)),
        })
    }

    async fn list_profiles(&self, request: Request<v1::ListProfilesRequest>) -> Result<v1::ListProfilesResponse> {
        let tenant = tenant_of(request.metadata())?;
        let message = request.into_inner();
        let query = translate::query(&tenant, message.selection)?;
        let limit = translate::limit(message.limit, PROFILES_LIMIT_DEFAULT);
        let answer = self.engine.list_profiles(&query, limit).await?;
        Ok(v1::ListProfilesResponse {
            profiles: answer.value.iter().map(translate::profile_summary).collect(),
            report: Some(translate::report(answer.report)),
        })
    }

    async fn get_profile(&self, request: Request<v1::GetProfileRequest>) -> Result<v1::GetProfileResponse> {
        let tenant = tenant_of(request.metadata())?;
        let id = request.into_inner().id.parse()?;
        let answer = self.engine.profile(&tenant, id).await?;
        let labels = self.labels_of(tenant, id, answer.value.header.time_unix_nano).await?;
        let pprof = self.pprof(answer.value).await?;
        Ok(v1::GetProfileResponse { pprof, labels, report: Some(translate::report(answer.report)) })
    }

    async fn sql(&self, request: Request<v1::SqlRequest>) -> Result<SqlStream> {
        let tenant = tenant_of(request.metadata())?;
        let bounds = request.extensions().get::<Bounds>().cloned();
        let bounds = bounds.ok_or_else(|| Error::internal("the request has no bounds"))?;
        let message = request.into_inner();
        let rows_max = Some(message.limit).filter(|limit| *limit > 0);
        let statement = Statement { tenant: &tenant, text: &message.statement, format: RowFormat::Arrow, rows_max };
        let parts = self.sql.start(&statement, bounds).await?;
        Ok(parts.map(|part| part.map(sql_response)).boxed())
    }

    /// The labels of the series of profile `id`, which was taken at `time`.
    async fn labels_of(&self, tenant: Tenant, id: ProfileId, time: i64) -> Result<Vec<v1::Label>> {
        let range = TimeRange::new(time, time.saturating_add(1))?;
        let query = Query::new(tenant, Selector::default(), range);
        let answer = self.engine.list_profiles(&query, 0).await?;
        let entry = answer.value.iter().find(|entry| entry.id == id);
        Ok(entry.map(|entry| translate::label_pairs(&entry.labels)).unwrap_or_default())
    }

    /// `batch` as gzip-compressed pprof.
    async fn pprof(&self, batch: ProfileBatch) -> Result<Vec<u8>> {
        self.compute.run(move || gzip(&encode_pprof(&batch))).await
    }
}

/// What is compared.
///
/// # Errors
/// `Invalid`, naming the side that is wrong.
fn sides(
    tenant: &Tenant,
    before: Option<v1::Selection>,
    after: Option<v1::Selection>,
    combine: i32,
) -> Result<(Query, Query)> {
    let combine = translate::combine(combine)?;
    let side = |selection, side: &str| translate::query(tenant, selection).map_err(|e| e.with("side", side));
    Ok((Query { combine, ..side(before, "before")? }, Query { combine, ..side(after, "after")? }))
}

type SqlStream = BoxStream<'static, Result<v1::SqlResponse, Status>>;

fn sql_response(part: Part) -> v1::SqlResponse {
    let report = part.report.map(|report| translate::report(*report));
    v1::SqlResponse { arrow: part.bytes, has_more: part.end == Some(End::HasMore), report }
}

fn merge_response(answer: v1::merge_response::Answer, report: flamestore_query::QueryReport) -> v1::MergeResponse {
    v1::MergeResponse { answer: Some(answer), report: Some(translate::report(report)) }
}

fn merge_answer(tree: &ValueTree, form: &Form) -> Result<v1::merge_response::Answer> {
    use v1::merge_response::Answer;
    Ok(match form.format {
        v1::AnswerFormat::Arrow => Answer::Arrow(frames_ipc(tree)?),
        v1::AnswerFormat::Folded => Answer::Folded(translate::folded_text(&whole(tree).folded())),
        _ => Answer::FlameGraph(translate::flame_graph(fold(tree, &form.options).levels())),
    })
}

fn diff_answer(tree: &ValueTree, form: &Form) -> Result<v1::diff_response::Answer> {
    use v1::diff_response::Answer;
    Ok(match form.format {
        v1::AnswerFormat::Arrow => Answer::Arrow(frames_ipc(tree)?),
        v1::AnswerFormat::Folded => Answer::Folded(translate::folded_text(&whole(tree).folded())),
        _ => Answer::FlameGraph(translate::flame_graph_diff(fold(tree, &form.options).levels())),
    })
}

/// Folded text says everything: `max_nodes` is about flame graphs.
fn whole(tree: &ValueTree) -> FlameTree {
    fold(tree, &FoldOptions { max_nodes: 0 })
}

macro_rules! serve {
    ($($method:ident: $request:ident -> $response:ident),* $(,)?) => {
        #[tonic::async_trait]
        impl QueryService for Queries {
            type SqlStream = SqlStream;

            async fn sql(&self, request: Request<v1::SqlRequest>) -> Result<Response<SqlStream>, Status> {
                Queries::sql(self, request).await.map(Response::new).map_err(|error| status_of(&error))
            }

            $(async fn $method(&self, request: Request<v1::$request>) -> Result<Response<v1::$response>, Status> {
                Queries::$method(self, request).await.map(Response::new).map_err(|error| status_of(&error))
            })*
        }
    };
}

serve! {
    merge: MergeRequest -> MergeResponse,
    diff: DiffRequest -> DiffResponse,
    top: TopRequest -> TopResponse,
    compare_functions: CompareFunctionsRequest -> CompareFunctionsResponse,
    neighbours: NeighboursRequest -> NeighboursResponse,
    series: SeriesRequest -> SeriesResponse,
    label_names: LabelNamesRequest -> LabelNamesResponse,
    label_values: LabelValuesRequest -> LabelValuesResponse,
    profile_types: ProfileTypesRequest -> ProfileTypesResponse,
    time_series: TimeSeriesRequest -> TimeSeriesResponse,
    list_profiles: ListProfilesRequest -> ListProfilesResponse,
    get_profile: GetProfileRequest -> GetProfileResponse,
}
