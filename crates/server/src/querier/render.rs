//! The read API of Pyroscope's pages: `GET /render`, `/render-diff`, `/label-values`, and the same below `/pyroscope`.
//!
//! | parameter | |
//! |---|---|
//! | `query`, `leftQuery`, `rightQuery` | a profile type and a selector: `type{label="value"}`, or `{__name__="type"}` |
//! | `from`, `until`, … | times as profilers write them: seconds, milliseconds, `now-1h` |
//! | `maxNodes`, `max-nodes` | nodes of the flame graph; what is no number is left aside |
//! | `groupBy` | labels; the timelines are those of the first |
//! | `aggregation` | `avg`, else the sum |
//! | `format` | `dot` is a graph of functions as text, all else JSON |
//!
//! Errors are JSON with the HTTP status of their code.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use axum::routing::get;
use flamestore_model::{Error, MatchOp, Matcher, ProfileType, Result, Selector, TimeRange, names};
use serde::Serialize;
use url::form_urlencoded;

use super::ask::{self, Asked};
use super::flamebearer::Profile;
use super::reader::Reader;
use super::series::{self, Grid};
use super::{Querier, dot, graph, merges};
use crate::connect::gzipped;
use crate::doors::apptime;
use crate::refusal::Refusal;
use crate::status::tenants_in;
use crate::translate::{self, MAX_NODES_DEFAULT};

/// Points of a timeline, about.
const POINTS: i64 = 1500;
/// Steps of timelines, in seconds.
const STEPS: [i64; 18] =
    [15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800, 2_592_000];

/// Every path there is.
pub(crate) const PATHS: [&str; 6] = [
    "/render",
    "/render-diff",
    "/label-values",
    "/pyroscope/render",
    "/pyroscope/render-diff",
    "/pyroscope/label-values",
];

/// The pages that `querier` answers.
pub(crate) fn router(querier: Querier) -> Router {
    PATHS
        .into_iter()
        .fold(Router::new(), |router, path| match path.rsplit('/').next() {
            Some("render") => router.route(path, get(render)),
            Some("render-diff") => router.route(path, get(render_diff)),
            _ => router.route(path, get(label_values)),
        })
        .with_state(querier)
}

/// The parameters of a request, and who asks.
struct Asking {
    reader: Reader,
    headers: HeaderMap,
    parameters: Vec<(String, String)>,
    now_unix_nano: i64,
}

impl Asking {
    fn new(querier: &Querier, request: Request) -> Result<Self> {
        let (parts, _) = request.into_parts();
        let tenants = tenants_in(&parts.headers, querier.tenants_joined)?;
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self {
            reader: querier.reader_of(tenants),
            headers: parts.headers,
            parameters: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            now_unix_nano: querier.engine.store().options().clock.now_unix_nano(),
        })
    }

    /// The first value of a parameter; empty where there is none.
    fn get(&self, name: &str) -> &str {
        self.parameters.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    /// The profiles that `query`, `from` and `until` of these names ask for, and their type.
    ///
    /// # Errors
    /// `Invalid`, naming the parameter that is wrong.
    fn typed(&self, query: &'static str, from: &'static str, until: &'static str) -> Result<(ProfileType, Asked)> {
        let (ty, selector) = typed(self.get(query)).map_err(|error| error.with("parameter", query))?;
        let time = |name: &'static str| match self.get(name) {
            "" => Err(Error::invalid(format!("{name} is missing"))),
            text => apptime::parse(name, text, self.now_unix_nano),
        };
        let range = ask::range(ask::millis(time(from)?), ask::millis(time(until)?))?;
        Ok((ty, Asked { selector, range }))
    }

    /// How many nodes to keep; what makes no sense is left aside.
    fn max_nodes(&self) -> usize {
        let stated = ["maxNodes", "max-nodes"].iter().find_map(|name| self.get(name).parse().ok());
        ask::max_nodes(stated).unwrap_or(MAX_NODES_DEFAULT)
    }

    /// `answer` as JSON, compressed where that is accepted.
    async fn json<T: Serialize + Send + 'static>(&self, answer: T) -> Result<Response, Refusal> {
        let broken = |error| Error::internal("an answer cannot be written").because(error);
        let json = self.reader.compute.run(move || serde_json::to_vec(&answer).map_err(broken)).await?;
        self.answer(json, "application/json").await
    }

    async fn answer(&self, bytes: Vec<u8>, content_type: &'static str) -> Result<Response, Refusal> {
        let mut answer = Response::new(Body::empty());
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Ok(gzipped(&self.headers, answer, bytes.into(), &self.reader.compute).await?)
    }
}

/// A selector and the profile type that it names.
fn typed(query: &str) -> Result<(ProfileType, Selector)> {
    if query.is_empty() {
        return Err(Error::invalid("a query is missing"));
    }
    let selector = translate::selector(query)?;
    let is_type = |matcher: &Matcher| matcher.op() == MatchOp::Equal && names_type(matcher);
    let Some(at) = selector.matchers.iter().position(is_type) else {
        return Err(Error::invalid("the query must contain a profile type: type{label=\"value\"}"));
    };
    let mut matchers = selector.matchers;
    let ty: ProfileType = matchers[at].value().parse()?;
    matchers[at] = Matcher::new(names::PROFILE_TYPE, MatchOp::Equal, ty.to_string())?;
    Ok((ty, Selector { matchers }))
}

/// Whether a matcher is on the whole of the type: `__name__` is its first part otherwise.
fn names_type(matcher: &Matcher) -> bool {
    match matcher.name() {
        names::PROFILE_TYPE => true,
        names::NAME => matcher.value().contains(':'),
        _ => false,
    }
}

/// The steps of a timeline of `range`.
fn timeline_grid(range: &TimeRange) -> Grid {
    let (start, end) = (ask::millis(range.start), ask::millis(range.end));
    let wanted = end.saturating_sub(start) / 1000 / POINTS;
    let step = STEPS.into_iter().find(|step| *step >= wanted).unwrap_or_else(|| wanted.max(1));
    Grid { start, end, step: step.saturating_mul(1000) }
}

async fn render(State(querier): State<Querier>, request: Request) -> Result<Response, Refusal> {
    let asking = Asking::new(&querier, request)?;
    let (ty, asked) = asking.typed("query", "from", "until")?;
    let max_nodes = asking.max_nodes();
    let reader = &asking.reader;
    if asking.get("format") == "dot" {
        let text = merges::flame(reader, &asked, merges::DOT_NODES, |flame| Ok(dot::dot(flame))).await?;
        return asking.answer(text.into_bytes(), "text/plain; charset=utf-8").await;
    }
    let graph = merges::flame(reader, &asked, max_nodes, |flame| Ok(graph::flame_graph(flame))).await?;
    let average = asking.get("aggregation") == "avg";
    let grid = timeline_grid(&asked.range);
    let all = series::totals(reader, &asked, &grid, &[], average).await?;
    let groups = match asking.get("groupBy") {
        "" => None,
        label => Some(series::totals(reader, &asked, &grid, &[label.to_owned()], average).await?),
    };
    asking.json(Profile::single(&ty, graph, &grid, &all, groups.as_deref())).await
}

async fn render_diff(State(querier): State<Querier>, request: Request) -> Result<Response, Refusal> {
    let asking = Asking::new(&querier, request)?;
    let (ty, left) = asking.typed("leftQuery", "leftFrom", "leftUntil")?;
    let (right_type, right) = asking.typed("rightQuery", "rightFrom", "rightUntil")?;
    if ty != right_type {
        return Err(Error::invalid("profile types must match").with("left", ty).with("right", right_type).into());
    }
    let max_nodes = asking.max_nodes();
    let left = merges::flame(&asking.reader, &left, max_nodes, |flame| Ok(flame.clone())).await?;
    let right = merges::flame(&asking.reader, &right, max_nodes, |flame| Ok(flame.clone())).await?;
    let graph = asking.reader.compute.run(move || graph::flame_graph_diff(&left, &right)).await?;
    asking.json(Profile::double(&ty, graph)).await
}

async fn label_values(State(querier): State<Querier>, request: Request) -> Result<Response, Refusal> {
    let asking = Asking::new(&querier, request)?;
    let everything = Asked { selector: Selector::default(), range: TimeRange::ALL };
    let values: Vec<String> = match asking.get("label") {
        "" => return Err(Error::invalid("label is missing").into()),
        names::NAME => {
            let types = asking.reader.profile_types(&everything).await?;
            types.iter().map(ToString::to_string).collect()
        }
        name => asking.reader.label_values(&everything, name).await?.into_iter().collect(),
    };
    asking.json(values).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_its_type_in_one_of_three_ways() {
        const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";
        let told = |query: &str| typed(query).map(|(ty, selector)| format!("{ty} {selector}"));
        let expected = format!("{CPU} {{__profile_type__=\"{CPU}\",a=\"b\"}}");
        assert_eq!(told(&format!("{CPU}{{a=\"b\"}}")).unwrap(), expected);
        assert_eq!(told(&format!("{{__name__=\"{CPU}\",a=\"b\"}}")).unwrap(), expected);
        assert_eq!(told(&format!("{{__profile_type__=\"{CPU}\",a=\"b\"}}")).unwrap(), expected);
        for wrong in ["", "{a=\"b\"}", "{__name__=\"process_cpu\"}", "cpu{}", "{", "{__name__=~\"a:b:c:d:e\"}"] {
            assert!(told(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn timelines_have_some_1500_points() {
        let step = |seconds: i64| {
            let range = TimeRange { start: 0, end: ask::nanos(seconds * 1000) };
            timeline_grid(&range).step
        };
        assert_eq!([3600, 86_400, 7 * 86_400].map(step), [15_000, 60_000, 600_000]);
    }
}
