//! Merges as flame graphs, trees, graphs of functions and pprofs, and two of them laid over each other.

use flamestore_calltree::FlameTree;
use flamestore_model::{Error, Result};
use flamestore_proto::google::v1::Profile;
use flamestore_proto::querier::v1;
use flamestore_proto::types::v1::{GoPgo, StackTraceSelector};
use flamestore_query::{Combine, Pick};

use super::ask::{self, Asked};
use super::reader::Reader;
use super::{dot, graph, pprof};

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    FlameGraph,
    Tree,
    Dot,
    Pprof,
}

/// Nodes of a graph of functions before functions are told apart.
pub(super) const DOT_NODES: usize = 512;

/// What is merged, and how much of it is kept.
#[derive(Clone, Debug)]
struct Merge {
    asked: Asked,
    pick: Pick,
    /// The functions that stacks begin with.
    call_site: Vec<String>,
    /// Whether the profile is for compilers of Go, and how.
    go_pgo: Option<GoPgo>,
    max_nodes: Option<i64>,
}

impl Merge {
    fn new(request: &v1::SelectMergeStacktracesRequest) -> Result<Self> {
        let asked = Asked::typed(&request.profile_type_id, &request.label_selector, request.start, request.end)?;
        if !request.span_selector.is_empty() && !request.trace_id_selector.is_empty() {
            return Err(Error::invalid("span_selector and trace_id_selector are not answered together"));
        }
        let pick = Pick {
            profiles: request.profile_id_selector.iter().map(|id| id.parse()).collect::<Result<_>>()?,
            spans: request.span_selector.iter().map(|id| ask::hexadecimal("span", id)).collect::<Result<_>>()?,
            traces: request.trace_id_selector.iter().map(|id| ask::hexadecimal("trace", id)).collect::<Result<_>>()?,
        };
        let selector = request.stack_trace_selector.as_ref();
        let go_pgo = selector.and_then(|selector| selector.go_pgo);
        let call_site = if go_pgo.is_some() { Vec::new() } else { call_site(selector)? };
        ask::max_nodes(request.max_nodes)?;
        Ok(Self { asked, pick, call_site, go_pgo, max_nodes: request.max_nodes })
    }

    /// The truncated tree, and what `form` makes of it.
    async fn flame<T: Send + 'static>(
        self,
        reader: &Reader,
        max_nodes: usize,
        form: impl FnOnce(&FlameTree) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.go_pgo.is_some() {
            return Err(Error::unsupported("what is made for compilers of Go is a pprof: ask without go_pgo"));
        }
        let tree = match self.pick.is_all() {
            true => reader.merge(&self.asked, Combine::Auto).await?,
            false => reader.merge_picked(&self.asked, &self.pick).await?,
        };
        let call_site = self.call_site;
        reader.compute.run(move || form(&graph::truncated(&tree.below(&call_site), max_nodes))).await
    }

    async fn pprof(self, reader: &Reader) -> Result<Profile> {
        let max_nodes = ask::stated_max_nodes(self.max_nodes)?;
        let profile = reader.merge_pprof(&self.asked, &self.pick).await?;
        let selected = move || {
            let profile = match self.go_pgo {
                None => pprof::below(profile, &self.call_site),
                Some(go) => pprof::for_go(profile, go.keep_locations, go.aggregate_callees),
            };
            Ok(match max_nodes {
                None => profile,
                Some(max_nodes) => pprof::truncated(profile, max_nodes),
            })
        };
        reader.compute.run(selected).await
    }
}

/// The truncated tree of all that is asked for, and what `form` makes of it.
///
/// # Errors
/// Those of the merge and of `form`.
pub(super) async fn flame<T: Send + 'static>(
    reader: &Reader,
    asked: &Asked,
    max_nodes: usize,
    form: impl FnOnce(&FlameTree) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (asked, pick) = (asked.clone(), Pick::default());
    let merge = Merge { asked, pick, call_site: Vec::new(), go_pgo: None, max_nodes: None };
    merge.flame(reader, max_nodes, form).await
}

/// The functions of the call site that `selector` names.
///
/// # Errors
/// `Unsupported` for what is no call site.
pub(super) fn call_site(selector: Option<&StackTraceSelector>) -> Result<Vec<String>> {
    let Some(selector) = selector else { return Ok(Vec::new()) };
    if selector.go_pgo.is_some() {
        return Err(Error::unsupported("what is made for compilers of Go is a pprof: ask without go_pgo"));
    }
    Ok(selector.call_site.iter().map(|location| location.name.clone()).collect())
}

/// # Errors
/// `Unsupported` for a form that is not answered.
fn form(format: i32) -> Result<Form> {
    match v1::ProfileFormat::try_from(format) {
        Ok(v1::ProfileFormat::Unspecified | v1::ProfileFormat::Flamegraph) => Ok(Form::FlameGraph),
        Ok(v1::ProfileFormat::Tree) => Ok(Form::Tree),
        Ok(v1::ProfileFormat::Dot) => Ok(Form::Dot),
        Ok(v1::ProfileFormat::Pprof) => Ok(Form::Pprof),
        Err(_) => Err(Error::unsupported("there is no answer in this format").with("format", format)),
    }
}

pub(super) async fn stacktraces(
    reader: &Reader,
    request: &v1::SelectMergeStacktracesRequest,
) -> Result<v1::SelectMergeStacktracesResponse> {
    let form = form(request.format)?;
    if let Some(asynchronous) = &request.r#async
        && (asynchronous.r#type() != v1::AsyncQueryType::Disabled || !asynchronous.request_id.is_empty())
    {
        return Err(Error::unsupported("queries are not answered later: ask without async"));
    }
    let merge = Merge::new(request)?;
    let max_nodes = ask::max_nodes(request.max_nodes)?;
    let mut response = v1::SelectMergeStacktracesResponse::default();
    match form {
        Form::FlameGraph => {
            let graph = merge.flame(reader, max_nodes, |flame| Ok(graph::flame_graph(flame))).await?;
            response.flamegraph = Some(graph);
        }
        Form::Tree => response.tree = merge.flame(reader, max_nodes, |flame| Ok(graph::tree_bytes(flame))).await?,
        Form::Dot => response.dot = merge.flame(reader, DOT_NODES, |flame| Ok(dot::dot(flame))).await?,
        Form::Pprof => response.pprof = Some(v1::PprofProfile { profile: Some(merge.pprof(reader).await?) }),
    }
    Ok(response)
}

pub(super) async fn span_profile(
    reader: &Reader,
    request: v1::SelectMergeSpanProfileRequest,
) -> Result<v1::SelectMergeSpanProfileResponse> {
    let form = form(request.format)?;
    if matches!(form, Form::Pprof | Form::Dot) {
        return Err(Error::unsupported("this method answers flame graphs and trees: ask SelectMergeStacktraces"));
    }
    let request = v1::SelectMergeStacktracesRequest {
        profile_type_id: request.profile_type_id,
        label_selector: request.label_selector,
        start: request.start,
        end: request.end,
        max_nodes: request.max_nodes,
        format: request.format,
        span_selector: request.span_selector,
        ..Default::default()
    };
    let answer = stacktraces(reader, &request).await?;
    Ok(v1::SelectMergeSpanProfileResponse { flamegraph: answer.flamegraph, tree: answer.tree })
}

pub(super) async fn profile(reader: &Reader, request: v1::SelectMergeProfileRequest) -> Result<Profile> {
    let request = v1::SelectMergeStacktracesRequest {
        profile_type_id: request.profile_type_id,
        label_selector: request.label_selector,
        start: request.start,
        end: request.end,
        max_nodes: request.max_nodes,
        stack_trace_selector: request.stack_trace_selector,
        profile_id_selector: request.profile_id_selector,
        trace_id_selector: request.trace_id_selector,
        ..Default::default()
    };
    Merge::new(&request)?.pprof(reader).await
}

pub(super) async fn diff(reader: &Reader, request: &v1::DiffRequest) -> Result<v1::DiffResponse> {
    let side = |side: Option<&v1::SelectMergeStacktracesRequest>, name: &'static str| {
        let side = side.ok_or_else(|| Error::invalid(format!("the request has no {name} side")));
        side.and_then(Merge::new).map_err(|error| error.with("side", name))
    };
    let (left, right) = (side(request.left.as_ref(), "left")?, side(request.right.as_ref(), "right")?);
    let sizes = (ask::max_nodes(left.max_nodes)?, ask::max_nodes(right.max_nodes)?);
    let left = left.flame(reader, sizes.0, |flame| Ok(flame.clone())).await?;
    let right = right.flame(reader, sizes.1, |flame| Ok(flame.clone())).await?;
    let flamegraph = reader.compute.run(move || graph::flame_graph_diff(&left, &right)).await?;
    Ok(v1::DiffResponse { flamegraph: Some(flamegraph) })
}
