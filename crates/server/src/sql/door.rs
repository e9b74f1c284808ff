//! `/api/v1/sql`: SQL over plain HTTP, for `curl`, notebooks and pages.
//!
//! | what | where |
//! |---|---|
//! | statement | `q` or `query` of the URL; or the body of a POST: text (`text/plain`, `application/sql`), a form with `q` or `query`, JSON `{"query": …}` |
//! | form | `format` of the URL, the form or the JSON: `json`, `csv`, `arrow`; else what `Accept` prefers; else JSON |
//! | rows at most | `limit` of the URL, the form or the JSON; 0 stands for all |
//! | tenant | `X-Scope-OrgID` |
//! | compressed | as `Accept-Encoding` prefers: `zstd`, `gzip`, or not at all |
//!
//! Whether there are more rows, and which segments are damaged and so missing, is known at the end: the end of JSON tells it, and
//! trailers do for those who take them.
//!
//! The head of an answer is sent with its first rows, so what is wrong by then is told by an HTTP status and JSON. What
//! goes wrong later breaks the body off: no client takes it for a whole one.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use flamestore_model::{Error, Result};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Deserialize;
use tonic::{Code, Status};
use url::form_urlencoded;

use super::{End, Part, RowFormat, Sql, Statement};
use crate::body::{BodyError, media_type, read_body};
use crate::compute::Compute;
use crate::guard::Bounds;
use crate::packed::{self, Packer};
use crate::refusal::Refusal;
use crate::status::{status_of, tenant_in};

const PATH: &str = "/api/v1/sql";
/// Every path there is.
pub(crate) const PATHS: [&str; 1] = [PATH];

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");
const ACCEPTED: HeaderValue =
    HeaderValue::from_static("text/plain, application/sql, application/x-www-form-urlencoded, application/json");
/// The trailer that says that there are more rows than were asked for.
const HAS_MORE: HeaderName = HeaderName::from_static("flamestore-has-more");
/// The trailer that names a segment that is missing.
const DAMAGED: HeaderName = HeaderName::from_static("flamestore-damaged");
/// The trailers there may be.
const TOLD_AFTER: HeaderValue = HeaderValue::from_static("flamestore-has-more, flamestore-damaged");
/// The headers that an answer depends on.
const ASKED_BY: HeaderValue = HeaderValue::from_static("accept, accept-encoding");
const FORMATS: &str = "json, csv, arrow";

/// The door to `sql`.
pub(crate) fn router(sql: Sql) -> Router {
    Router::new().route(PATH, any(answer)).with_state(sql)
}

/// What a request says, in its URL or its body.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(alias = "q")]
    query: Option<String>,
    format: Option<String>,
    /// Rows at most; 0 stands for all.
    limit: Option<u64>,
}

async fn answer(State(sql): State<Sql>, request: Request) -> Result<Response, Refusal> {
    if ![Method::GET, Method::HEAD, Method::POST].contains(request.method()) {
        let refusal =
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, "SQL is asked with GET or POST");
        return Err(refusal.with_header(header::ALLOW, METHODS));
    }
    let (parts, body) = request.into_parts();
    let tenant = tenant_in(&parts.headers)?;
    let bounds = parts.extensions.get::<Bounds>().cloned();
    let bounds = bounds.ok_or_else(|| Error::internal("the request has no bounds"))?;
    let of_url = Asked::of_pairs(parts.uri.query().unwrap_or_default().as_bytes())?;
    let asked = match parts.method == Method::POST {
        true => of_url.and(of_body(&sql, &parts.headers, body).await?)?,
        false => of_url,
    };
    let format = match &asked.format {
        Some(name) => format_named(name)?,
        None => accepted(&parts.headers)?,
    };
    let missing = || Error::invalid("the request has no statement: it is q in the URL, or the body of a POST");
    let text = asked.query.as_deref().ok_or_else(missing)?;
    let rows_max = asked.limit.filter(|limit| *limit > 0);
    let statement = Statement { tenant: &tenant, text, format, rows_max };
    let mut rows = sql.start(&statement, bounds).await?;
    let first = match rows.next().await {
        Some(Ok(part)) => part,
        Some(Err(status)) => return Err(Refusal::of(&status)),
        None => return Err(Error::internal("a statement has no answer").into()),
    };
    let encoding = packed::wanted(&parts.headers);
    let parts = stream::once(async { Ok(first) }).chain(rows);
    let parts = match encoding {
        Some(encoding) => compressed(parts, Packer::new(encoding)?, sql.compute).left_stream(),
        None => parts.right_stream(),
    };
    let frames = parts.flat_map(|part| stream::iter(part.map_or_else(|status| vec![Err(status)], frames)));
    let mut answer = Response::new(Body::new(StreamBody::new(frames)));
    answer.headers_mut().insert(header::CONTENT_TYPE, content_type(format));
    answer.headers_mut().insert(header::TRAILER, TOLD_AFTER);
    answer.headers_mut().insert(header::VARY, ASKED_BY);
    if let Some(encoding) = encoding {
        answer.headers_mut().insert(header::CONTENT_ENCODING, encoding.name());
    }
    Ok(answer)
}

/// `parts` with their bytes compressed, each as soon as it is there.
fn compressed(
    parts: impl Stream<Item = Result<Part, Status>> + Send,
    packer: Packer,
    compute: Compute,
) -> impl Stream<Item = Result<Part, Status>> + Send {
    stream::try_unfold((Box::pin(parts), Some(packer), compute), |(mut parts, packer, compute)| async move {
        let (Some(part), Some(packer)) = (parts.try_next().await?, packer) else { return Ok(None) };
        let bytes = part.bytes.len();
        let work = move || part.compressed(packer);
        let (part, packer) = compute.run_on(bytes, work).await.map_err(|error| status_of(&error))?;
        Ok(Some((part, (parts, packer, compute))))
    })
}

impl Part {
    /// The same with its bytes compressed, and what compresses those after it.
    fn compressed(self, mut packer: Packer) -> Result<(Self, Option<Packer>)> {
        let (bytes, packer) = match self.end {
            None => (packer.pack(&self.bytes)?, Some(packer)),
            Some(_) => (packer.finish(&self.bytes)?, None),
        };
        Ok((Self { bytes, ..self }, packer))
    }
}

/// A part as frames of a body: its bytes, and after the last ones what only the end can tell.
fn frames(part: Part) -> Vec<std::result::Result<Frame<Bytes>, Status>> {
    let mut frames = vec![Ok(Frame::data(part.bytes))];
    let mut trailers = HeaderMap::new();
    if part.end == Some(End::HasMore) {
        trailers.insert(HAS_MORE, HeaderValue::from_static("true"));
    }
    for damaged in part.report.iter().flat_map(|report| &report.damaged) {
        if let Ok(segment) = HeaderValue::try_from(&damaged.segment) {
            trailers.append(DAMAGED, segment);
        }
    }
    if !trailers.is_empty() {
        frames.push(Ok(Frame::trailers(trailers)));
    }
    frames
}

impl Asked {
    /// What pairs of a URL or a form say. Names that mean nothing here are left aside.
    ///
    /// # Errors
    /// `Invalid` when something is said twice.
    fn of_pairs(encoded: &[u8]) -> Result<Self> {
        let (mut asked, mut limit) = (Self::default(), None);
        for (name, value) in form_urlencoded::parse(encoded) {
            let place = match name.as_ref() {
                "q" | "query" => &mut asked.query,
                "format" => &mut asked.format,
                "limit" => &mut limit,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(Error::invalid("a parameter stands twice").with("parameter", name));
            }
        }
        let wrong = |limit: &str| Error::invalid("limit is a number of rows").with("limit", limit);
        asked.limit = limit.map(|limit| limit.parse().map_err(|_| wrong(&limit))).transpose()?;
        Ok(asked)
    }

    /// What both say.
    ///
    /// # Errors
    /// `Invalid` when both say the same thing.
    fn and(self, other: Self) -> Result<Self> {
        Ok(Self {
            query: one("query", self.query, other.query)?,
            format: one("format", self.format, other.format)?,
            limit: one("limit", self.limit, other.limit)?,
        })
    }
}

/// What either says.
fn one<T>(name: &str, url: Option<T>, body: Option<T>) -> Result<Option<T>> {
    match (url, body) {
        (Some(_), Some(_)) => {
            Err(Error::invalid("the URL and the body both have the parameter").with("parameter", name))
        }
        (url, body) => Ok(url.or(body)),
    }
}

/// What the body of a POST says.
async fn of_body(sql: &Sql, headers: &HeaderMap, body: Body) -> Result<Asked, Refusal> {
    let bytes = read_body(headers, body, sql.request_bytes_max, &sql.compute).await.map_err(unreadable)?;
    match media_type(headers).as_str() {
        "" if bytes.is_empty() => Ok(Asked::default()),
        "application/x-www-form-urlencoded" => Ok(Asked::of_pairs(&bytes)?),
        "text/plain" | "application/sql" if bytes.is_empty() => Ok(Asked::default()),
        "text/plain" | "application/sql" => {
            let text = std::str::from_utf8(&bytes)
                .map_err(|error| Error::invalid("the statement is not UTF-8").with("offset", error.valid_up_to()))?;
            Ok(Asked { query: Some(text.to_owned()), ..Asked::default() })
        }
        "application/json" => Ok(serde_json::from_slice(&bytes).map_err(|error| {
            let form = r#"the body is not JSON of the form {"query": "…", "format": "…", "limit": 0}"#;
            Error::invalid(form).because(error)
        })?),
        _ => {
            let message = "the content type is none that SQL is sent with";
            let refusal = Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented, message);
            Err(refusal.with_header(HeaderName::from_static("accept-post"), ACCEPTED))
        }
    }
}

fn unreadable(error: BodyError) -> Refusal {
    let (error, status) = match error {
        BodyError::TooLarge(error) => (error, StatusCode::PAYLOAD_TOO_LARGE),
        BodyError::BrokenOff(error) => (error, StatusCode::REQUEST_TIMEOUT),
        BodyError::UnknownEncoding(error) => (error, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        BodyError::Damaged(error) => (error, StatusCode::BAD_REQUEST),
    };
    Refusal::from(error).with_status(status)
}

fn format_named(name: &str) -> Result<RowFormat> {
    match name {
        "json" => Ok(RowFormat::Json),
        "csv" => Ok(RowFormat::Csv),
        "arrow" => Ok(RowFormat::Arrow),
        _ => Err(Error::invalid(format!("the format is one of {FORMATS}")).with("format", name)),
    }
}

fn content_type(format: RowFormat) -> HeaderValue {
    HeaderValue::from_static(match format {
        RowFormat::Json => "application/json",
        RowFormat::Csv => "text/csv; charset=utf-8; header=present",
        RowFormat::Arrow => "application/vnd.apache.arrow.stream",
    })
}

/// The format that `Accept` prefers: of those with the largest weight, the first. Anything will do where nothing is said.
fn accepted(headers: &HeaderMap) -> Result<RowFormat, Refusal> {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut best: Option<(f32, RowFormat)> = None;
    let mut is_said = false;
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        is_said |= !name.is_empty();
        let format = match name.as_str() {
            "application/json" | "application/*" | "*/*" => RowFormat::Json,
            "text/csv" | "text/*" => RowFormat::Csv,
            "application/vnd.apache.arrow.stream" => RowFormat::Arrow,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse).unwrap_or(0.0);
        if weight > 0.0 && best.is_none_or(|(largest, _)| weight > largest) {
            best = Some((weight, format));
        }
    }
    match best {
        Some((_, format)) => Ok(format),
        None if !is_said => Ok(RowFormat::Json),
        None => {
            let message = format!("none of what Accept names is a format of rows: {FORMATS}");
            Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, Code::Unimplemented, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    #[test]
    fn accept_is_weighed() {
        let told = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            accepted(&headers).map_err(|refusal| refusal.into_response().status().as_u16())
        };
        assert_eq!(told(""), Ok(RowFormat::Json));
        assert_eq!(told("*/*"), Ok(RowFormat::Json));
        assert_eq!(told("text/html,application/xhtml+xml,*/*;q=0.8"), Ok(RowFormat::Json));
        assert_eq!(told("text/csv"), Ok(RowFormat::Csv));
        assert_eq!(told("application/json;q=0.2, text/csv; q=0.9"), Ok(RowFormat::Csv));
        assert_eq!(told("application/vnd.apache.arrow.stream, */*"), Ok(RowFormat::Arrow));
        assert_eq!(told("application/json;q=0, text/csv"), Ok(RowFormat::Csv));
        assert_eq!(told("image/png"), Err(406));
        assert_eq!(told("text/csv;q=0"), Err(406));
    }

    #[test]
    fn a_statement_is_said_once() {
        let pairs = |text: &str| Asked::of_pairs(text.as_bytes()).map_err(|error| error.to_string());
        let asked = |query: &str, format: Option<&str>| Asked {
            query: Some(query.to_owned()),
            format: format.map(ToOwned::to_owned),
            limit: None,
        };
        assert_eq!(pairs("q=SELECT+1&format=csv&pretty=1"), Ok(asked("SELECT 1", Some("csv"))));
        assert_eq!(pairs("query=SELECT%201"), Ok(asked("SELECT 1", None)));
        assert_eq!(pairs("q=a&query=b"), Err("a parameter stands twice [parameter=query]".to_owned()));
        assert_eq!(pairs("q=a&limit=7"), Ok(Asked { limit: Some(7), ..asked("a", None) }));
        assert_eq!(pairs("limit=all"), Err("limit is a number of rows [limit=all]".to_owned()));
        let both = asked("a", None).and(asked("b", None)).unwrap_err();
        assert_eq!(both.to_string(), "the URL and the body both have the parameter [parameter=query]");
        assert_eq!(Asked::default().and(asked("b", None)).unwrap(), asked("b", None));
    }
}
