//! What happens to every request, whatever its method: a span, a place among the bounded many, a deadline, metrics.
//!
//! ```text
//! request ─▶ Call (span, clock) ─▶ place ─▶ deadline ─▶ method ─▶ WatchedBody ─▶ client
//!                                   │full     │passed                │ trailers tell the code
//!                                   ▼         ▼                      ▼
//!                     RESOURCE_EXHAUSTED  DEADLINE_EXCEEDED     metrics, when the call is dropped
//! ```
//!
//! gRPC is told in gRPC's way what went wrong, everything else as a [`Refusal`]: an HTTP status and JSON. A place is held until the last byte of the answer is taken or the client is gone. A request whose deadline passes is
//! dropped, and with it all that its future owns; answers that are streamed get its [`Bounds`].

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flamestore_model::{Error, Result};
use flamestore_query::Progress;
use futures::FutureExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tracing::Instrument;

use crate::ServerConfig;
use crate::body::media_type;
use crate::refusal::Refusal;
use crate::running::Running;
use crate::status::{ERROR_KIND_KEY, TENANT_KEY, code_name, code_of, status_of};
use crate::telemetry::{REQUEST_SECONDS, REQUESTS_RUNNING, REQUESTS_TOTAL};

const GRPC_STATUS: &str = "grpc-status";
const GRPC_TIMEOUT: &str = "grpc-timeout";
const CONNECT_TIMEOUT: &str = "connect-timeout-ms";
/// When a request that found no place is told to come again: clients of OpenTelemetry give up where nothing is said.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// What all requests of one server share.
#[derive(Debug)]
pub(crate) struct Guard {
    methods: HashMap<String, Method>,
    other: Method,
    places: Arc<Semaphore>,
    requests_max: usize,
    deadline_max: Option<Duration>,
    abort: CancellationToken,
    running: Running,
}

/// A method as metrics name it.
#[derive(Clone, Debug)]
pub(crate) struct Method {
    name: Arc<str>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Always let in: health, reflection and progress must answer when all places are taken.
    Free,
    /// A method of the API: needs a place; its outcome is a gRPC code in every protocol.
    Rpc,
    /// A path of plain HTTP that takes profiles or answers questions: needs a place; its outcome is an HTTP status.
    Door,
}

impl Method {
    /// A method of the API at `path`.
    pub(crate) fn rpc(path: &str) -> Self {
        Self { name: path.into(), kind: Kind::Rpc }
    }

    /// A path of plain HTTP that takes profiles or answers questions.
    pub(crate) fn door(path: &str) -> Self {
        Self { name: path.into(), kind: Kind::Door }
    }

    /// A method at `path` that is always let in.
    pub(crate) fn free(path: &str) -> Self {
        Self { name: path.into(), kind: Kind::Free }
    }
}

impl Guard {
    /// Guards `methods`; requests to other paths are let in and counted as `other`. Requests that run when `abort` is
    /// cancelled end in `UNAVAILABLE`. Those that have an id are found in `running`.
    pub(crate) fn new(config: &ServerConfig, methods: Vec<Method>, abort: CancellationToken, running: Running) -> Self {
        let places = config.requests_max.min(Semaphore::MAX_PERMITS);
        Self {
            methods: methods.into_iter().map(|method| (method.name.to_string(), method)).collect(),
            other: Method::free("other"),
            places: Arc::new(Semaphore::new(places)),
            requests_max: places,
            deadline_max: config.deadline_max,
            abort,
            running,
        }
    }

    /// The same, which always lets requests to `paths` in and calls all of them `name`.
    pub(crate) fn free_as(mut self, name: &str, paths: impl Iterator<Item = String>) -> Self {
        let method = Method::free(name);
        self.methods.extend(paths.map(|path| (path, method.clone())));
        self
    }

    /// Lets a request in that comes by another protocol than HTTP; metrics call it `name`.
    ///
    /// # Errors
    /// `Exhausted` when all places are taken.
    pub(crate) fn admit(&self, name: &str) -> Result<Admitted> {
        let mut call = Call::start(Method::door(name));
        let bounds =
            Bounds { started: tokio::time::Instant::now(), deadline: self.deadline_max, abort: self.abort.clone() };
        match self.place(&call.method) {
            Ok(place) => Ok(Admitted { call, bounds, _place: place }),
            Err(error) => {
                call.code = Some(code_name(code_of(error.kind())));
                Err(error)
            }
        }
    }

    fn method(&self, path: &str) -> Method {
        self.methods.get(path).unwrap_or(&self.other).clone()
    }

    fn place(&self, method: &Method) -> Result<Option<Place>> {
        if method.kind == Kind::Free {
            return Ok(None);
        }
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => Ok(Some(Place::new(permit))),
            Err(_) => Err(Error::exhausted("the server answers as many requests as requests_max allows; retry later")
                .with("requests_max", self.requests_max)
                .retry_after(RETRY_DELAY)),
        }
    }

    /// What a request to `method` with `headers` goes on with: its place, how long it may take, and where it counts. What
    /// needs no place asks nothing that counts.
    fn let_in(&self, method: &Method, headers: &HeaderMap) -> Result<(Option<Place>, Bounds, Option<Arc<Progress>>)> {
        let progress = if method.kind == Kind::Free { None } else { self.running.begin(headers)? };
        Ok((self.place(method)?, self.bounds(headers)?, progress))
    }

    fn bounds(&self, headers: &HeaderMap) -> Result<Bounds> {
        let stated = match (headers.get(GRPC_TIMEOUT), headers.get(CONNECT_TIMEOUT)) {
            (Some(value), _) => Some(parse_timeout(value)?),
            (None, Some(value)) => Some(parse_millis(value)?),
            (None, None) => None,
        };
        let deadline = stated.into_iter().chain(self.deadline_max).min();
        Ok(Bounds { started: tokio::time::Instant::now(), deadline, abort: self.abort.clone() })
    }
}

/// A request that was let in; counted as cancelled when it is dropped before it has ended.
#[derive(Debug)]
pub(crate) struct Admitted {
    call: Call,
    bounds: Bounds,
    _place: Option<Place>,
}

impl Admitted {
    /// How long it may take.
    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds.clone()
    }

    /// Counts it as one that ended with `code`.
    pub(crate) fn end(mut self, code: Code) {
        self.call.code = Some(code_name(code));
    }
}

/// How long a request may take. The guard sees to it until the answer begins; an answer that is streamed finds it among the
/// extensions of its request, and sees to it from then on.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    started: tokio::time::Instant,
    deadline: Option<Duration>,
    abort: CancellationToken,
}

impl Bounds {
    /// The same, and no longer than `duration`.
    pub(crate) fn at_most(mut self, duration: Option<Duration>) -> Self {
        self.deadline = self.deadline.into_iter().chain(duration).min();
        self
    }

    /// Completes when the request must end, with the status that says why.
    pub(crate) async fn passed(&self) -> Status {
        let expired = async {
            match self.deadline.and_then(|deadline| self.started.checked_add(deadline)) {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = expired => Status::deadline_exceeded(format!(
                "the deadline of {} passed",
                humantime::format_duration(self.deadline.unwrap_or_default())
            )),
            () = self.abort.cancelled() => status_of(&Error::unavailable("the server is shutting down")),
        }
    }

    /// The answer of `running`, or the status of what ended it early.
    async fn bound(&self, running: impl Future<Output = Response>) -> Result<Response, Status> {
        tokio::select! {
            biased;
            answer = AssertUnwindSafe(running).catch_unwind() => {
                answer.map_err(|_| status_of(&Error::internal("the request panicked")))
            }
            status = self.passed() => Err(status),
        }
    }
}

/// Runs a request under its guard.
pub(crate) async fn guard(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let call = Call::start(guard.method(request.uri().path()));
    let tenant = request.headers().get(TENANT_KEY).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let span = tracing::info_span!("request", method = %call.method.name, tenant);
    let is_grpc = is_grpc(request.headers());
    if !is_grpc && call.method.kind == Kind::Free {
        return call.watch_page(next.run(request).instrument(span).await);
    }
    let (answer, place) = match guard.let_in(&call.method, request.headers()) {
        Ok((place, bounds, progress)) => {
            request.extensions_mut().insert(bounds.clone());
            let running = next.run(request).instrument(span);
            let answer = match progress {
                Some(progress) => bounds.bound(progress.watch(running)).await,
                None => bounds.bound(running).await,
            };
            (answer, place)
        }
        Err(error) => (Err(status_of(&error)), None),
    };
    match is_grpc {
        true => call.watch_grpc(answer.unwrap_or_else(|status| status.into_http()), place),
        false => call.watch_http(answer.unwrap_or_else(|status| Refusal::of(&status).into_response()), place),
    }
}

/// Whether a request or an answer with these headers is gRPC, with messages in protobuf.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    matches!(media_type(headers).as_str(), "application/grpc" | "application/grpc+proto")
}

/// Reads `grpc-timeout`: at most eight digits and a unit.
fn parse_timeout(value: &HeaderValue) -> Result<Duration> {
    let wrong = || Error::invalid(format!("{GRPC_TIMEOUT} is not 1 to 8 digits and a unit of HMSmun: {value:?}"));
    let text = value.to_str().map_err(|_| wrong())?;
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    if digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    match unit {
        "H" => Ok(Duration::from_secs(number * 3600)),
        "M" => Ok(Duration::from_secs(number * 60)),
        "S" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_millis(number)),
        "u" => Ok(Duration::from_micros(number)),
        "n" => Ok(Duration::from_nanos(number)),
        _ => Err(wrong()),
    }
}

/// Reads `connect-timeout-ms`: at most ten digits.
fn parse_millis(value: &HeaderValue) -> Result<Duration> {
    let wrong = || Error::invalid(format!("{CONNECT_TIMEOUT} is not 1 to 10 digits: {value:?}"));
    let text = value.to_str().map_err(|_| wrong())?;
    if text.len() > 10 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    text.parse().map(Duration::from_millis).map_err(|_| wrong())
}

/// A place among the bounded many.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        metrics::gauge!(REQUESTS_RUNNING).increment(1.0);
        Self { _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::gauge!(REQUESTS_RUNNING).decrement(1.0);
    }
}

/// One request from its head to the end of its answer; counted when dropped, as cancelled where nothing told its code.
#[derive(Debug)]
struct Call {
    method: Method,
    started: Instant,
    code: Option<&'static str>,
    http_code: Option<u16>,
}

impl Call {
    fn start(method: Method) -> Self {
        Self { method, started: Instant::now(), code: None, http_code: None }
    }

    fn watch_page(mut self, answer: Response) -> Response {
        self.http_code = Some(answer.status().as_u16());
        answer
    }

    /// The code of a method of the API is the one its answer carries.
    fn watch_http(mut self, answer: Response, place: Option<Place>) -> Response {
        self.http_code = Some(answer.status().as_u16());
        if self.method.kind == Kind::Rpc {
            self.code = answer.extensions().get().map(|code| code_name(*code));
        }
        answer.map(|body| Body::new(WatchedBody { body, call: self, _place: place }))
    }

    fn watch_grpc(mut self, mut answer: Response, place: Option<Place>) -> Response {
        put_right(answer.headers_mut());
        self.code = code_in(answer.headers());
        answer.map(|body| Body::new(WatchedBody { body, call: self, _place: place }))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = match (self.code, self.http_code) {
            (Some(code), _) => code.to_owned(),
            (None, Some(code)) => code.to_string(),
            (None, None) => code_name(Code::Cancelled).to_owned(),
        };
        let elapsed = self.started.elapsed();
        tracing::debug!(method = %self.method.name, code, ?elapsed, "request answered");
        let labels = [metrics::Label::new("method", Arc::clone(&self.method.name)), metrics::Label::new("code", code)];
        metrics::counter!(REQUESTS_TOTAL, labels.iter()).increment(1);
        metrics::histogram!(REQUEST_SECONDS, labels.iter()).record(elapsed.as_secs_f64());
    }
}

fn code_in(headers: &HeaderMap) -> Option<&'static str> {
    headers.get(GRPC_STATUS).map(|value| code_name(Code::from_bytes(value.as_bytes())))
}

fn set_code(headers: &mut HeaderMap, code: Code) {
    headers.insert(GRPC_STATUS, HeaderValue::from(code as i32));
}

/// Puts the codes right that the gRPC layer itself gives, in the head or the trailers of an answer.
pub(crate) fn put_right(headers: &mut HeaderMap) {
    blame_the_request(headers);
    name_the_limit(headers);
}

/// `INTERNAL` without our mark, before any answer: the gRPC layer could not read the request. That is the client's to fix.
fn blame_the_request(headers: &mut HeaderMap) {
    let internal = code_in(headers) == Some(code_name(Code::Internal));
    if internal && !headers.contains_key(ERROR_KIND_KEY) {
        set_code(headers, Code::InvalidArgument);
    }
}

/// The gRPC layer says `OUT_OF_RANGE` of a message over its limit, and nobody else does.
fn name_the_limit(headers: &mut HeaderMap) {
    if code_in(headers) == Some(code_name(Code::OutOfRange)) {
        set_code(headers, Code::ResourceExhausted);
    }
}

/// An answer's body that reads the code in its trailers and holds the request's place.
struct WatchedBody {
    body: Body,
    call: Call,
    _place: Option<Place>,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut polled = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &mut polled {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    name_the_limit(trailers);
                    self.call.code = code_in(trailers);
                }
            }
            Some(Err(_)) => self.call.code = Some(code_name(Code::Unknown)),
            None => {}
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
impl Bounds {
    /// No bounds.
    pub(crate) fn none() -> Self {
        Self { started: tokio::time::Instant::now(), deadline: None, abort: CancellationToken::new() }
    }

    /// A deadline from now on.
    pub(crate) fn after(deadline: Duration) -> Self {
        Self { deadline: Some(deadline), ..Self::none() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{StatusCode, header};
    use axum::routing::get;
    use tower::Service;

    #[test]
    fn timeouts_are_digits_and_a_unit() {
        let parse = |text: &'static str| parse_timeout(&HeaderValue::from_static(text)).ok();
        assert_eq!(parse("90S"), Some(Duration::from_secs(90)));
        assert_eq!(parse("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse("99999999u"), Some(Duration::from_micros(99_999_999)));
        for wrong in ["", "S", "1", "1x", "-1S", "+1S", "123456789n", "1 S"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    /// A gRPC request to `path` with `timeout`.
    fn request(path: &str, timeout: Option<&'static str>) -> Request {
        let mut request = Request::builder().uri(path).header(header::CONTENT_TYPE, "application/grpc");
        if let Some(timeout) = timeout {
            request = request.header(GRPC_TIMEOUT, timeout);
        }
        request.body(Body::empty()).unwrap()
    }

    /// A guarded router for one request at a time: `/answer` answers, `/wait` never does and drops `waiting` when it
    /// ends, `/panic` panics.
    fn router(abort: &CancellationToken, waiting: Arc<()>) -> axum::Router {
        let config = ServerConfig { requests_max: 1, ..ServerConfig::default() };
        let mut methods = Vec::from(["/answer", "/wait", "/panic"].map(Method::rpc));
        methods.extend([Method::free("/free"), Method::door("/door")]);
        let state = Arc::new(Guard::new(&config, methods, abort.clone(), Running::default()));
        let answer = || async { Status::ok("").into_http::<Body>() };
        let wait = async move || {
            let _waiting = waiting;
            std::future::pending::<Response>().await
        };
        axum::Router::new()
            .route("/answer", get(answer))
            .route("/free", get(answer))
            .route("/door", get(async || "taken"))
            .route("/wait", get(wait))
            .route("/panic", get(panics))
            .layer(axum::middleware::from_fn_with_state(state, guard))
    }

    async fn panics() -> StatusCode {
        panic!("as the test wants")
    }

    async fn call(router: &mut axum::Router, request: Request) -> (Option<&'static str>, Response) {
        let answer = router.call(request).await.unwrap();
        (code_in(answer.headers()), answer)
    }

    #[tokio::test]
    async fn a_place_is_held_until_the_answer_is_gone() {
        let mut router = router(&CancellationToken::new(), Arc::default());
        let (code, first) = call(&mut router, request("/answer", None)).await;
        assert_eq!(code, Some("OK"));
        let (code, refused) = call(&mut router, request("/answer", None)).await;
        assert_eq!(code, Some("RESOURCE_EXHAUSTED"));
        assert!(refused.headers()["grpc-message"].to_str().unwrap().contains("requests_max=1"));
        assert_eq!(call(&mut router, request("/free", None)).await.0, Some("OK"));
        drop(first);
        assert_eq!(call(&mut router, request("/answer", None)).await.0, Some("OK"));
    }

    #[tokio::test]
    async fn plain_http_needs_a_place_too_and_is_refused_in_its_own_way() {
        let mut router = router(&CancellationToken::new(), Arc::default());
        let door = |timeout: &'static str| {
            let request = Request::builder().uri("/door").header(CONNECT_TIMEOUT, timeout);
            request.body(Body::empty()).unwrap()
        };
        let (_, first) = call(&mut router, door("1000")).await;
        assert_eq!(first.status(), StatusCode::OK);
        let (_, refused) = call(&mut router, door("1000")).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        drop((first, refused));
        for wrong in ["", "soon", "-1", "12345678901"] {
            assert_eq!(call(&mut router, door(wrong)).await.1.status(), StatusCode::BAD_REQUEST, "{wrong}");
        }
        assert_eq!(call(&mut router, door("1")).await.1.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_request_past_its_deadline_is_dropped() {
        let waiting = Arc::new(());
        let mut router = router(&CancellationToken::new(), Arc::clone(&waiting));
        let held = Arc::strong_count(&waiting);
        let (code, _) = call(&mut router, request("/wait", Some("5m"))).await;
        assert_eq!(code, Some("DEADLINE_EXCEEDED"));
        assert_eq!(Arc::strong_count(&waiting), held);
        assert_eq!(call(&mut router, request("/answer", Some("soon"))).await.0, Some("INVALID_ARGUMENT"));
        assert_eq!(call(&mut router, request("/answer", Some("1S"))).await.0, Some("OK"));
    }

    #[tokio::test]
    async fn a_request_that_panics_or_is_aborted_says_so() {
        let abort = CancellationToken::new();
        let mut router = router(&abort, Arc::default());
        assert_eq!(call(&mut router, request("/panic", None)).await.0, Some("INTERNAL"));
        abort.cancel();
        assert_eq!(call(&mut router, request("/wait", None)).await.0, Some("UNAVAILABLE"));
        assert_eq!(call(&mut router, request("/answer", None)).await.0, Some("OK"));
    }

    #[test]
    fn codes_of_the_grpc_layer_are_put_right() {
        let clarified = |code: Code, kind: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            set_code(&mut headers, code);
            if let Some(kind) = kind {
                headers.insert(ERROR_KIND_KEY, HeaderValue::from_static(kind));
            }
            blame_the_request(&mut headers);
            name_the_limit(&mut headers);
            code_in(&headers)
        };
        assert_eq!(clarified(Code::Internal, None), Some("INVALID_ARGUMENT"));
        assert_eq!(clarified(Code::Internal, Some("internal")), Some("INTERNAL"));
        assert_eq!(clarified(Code::OutOfRange, None), Some("RESOURCE_EXHAUSTED"));
        assert_eq!(clarified(Code::NotFound, Some("not_found")), Some("NOT_FOUND"));
    }
}
