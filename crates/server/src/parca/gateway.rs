//! Parca's read API by plain GET: parameters become the request's message, and its answer JSON.
//!
//! ```text
//! GET [prefix/api]/profiles/query?mode=MODE_MERGE&merge.query=…&merge.start=2026-03-01T12:00:00Z
//!   ─▶ message, as its descriptor says ─▶ one gRPC frame ─▶ service
//!   ◀─ JSON with all its fields, or {"code": 3, "message": "…", "details": []} ◀─
//! ```
//!
//! Parameters are called after fields, in either spelling; those of messages inside are joined by dots. Unknown ones are
//! ignored. Repeated messages, as filters are, have no parameters: gRPC and Connect take them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use flamestore_model::{Error, Result};
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor, MethodDescriptor, SerializeOptions};
use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::compute::Compute;
use crate::connect::{decoded, grpc_request, gzipped, message_of_json, unary_answer};
use crate::refusal::Refusal;

const QUERY: &str = "parca.query.v1alpha1.QueryService";
const SCRAPE: &str = "parca.scrape.v1alpha1.ScrapeService";
const AGENTS: &str = "parca.profilestore.v1alpha1.AgentsService";
/// At the root it is the page of the scraper, in the words of Prometheus.
const TARGETS: &str = "/targets";
/// What stands before the paths below a prefix.
const BELOW: &str = "/api";
/// The path of a label's values, before and after its name.
const VALUES: (&str, &str) = ("/profiles/labels/", "/values");
const PATHS: [(&str, &str, &str); 8] = [
    ("/agents", AGENTS, "Agents"),
    ("/profiles/has_profile_data", QUERY, "HasProfileData"),
    ("/profiles/labels", QUERY, "Labels"),
    ("/profiles/query", QUERY, "Query"),
    ("/profiles/query_range", QUERY, "QueryRange"),
    ("/profiles/series", QUERY, "Series"),
    ("/profiles/types", QUERY, "ProfileTypes"),
    (TARGETS, SCRAPE, "Targets"),
];

/// The methods that are called by GET.
#[derive(Debug)]
pub(crate) struct Gateway {
    pool: DescriptorPool,
    compute: Compute,
}

impl Gateway {
    /// The methods of an encoded `FileDescriptorSet`.
    ///
    /// # Errors
    /// `Internal` when it cannot be read.
    pub(crate) fn new(descriptors: &[u8], compute: Compute) -> Result<Self> {
        let pool = DescriptorPool::decode(descriptors)
            .map_err(|error| Error::internal("a descriptor of the API cannot be read").because(error))?;
        Ok(Self { pool, compute })
    }

    /// The method that a path calls, and the label that it names.
    fn method(&self, path: &str) -> Option<(MethodDescriptor, Option<String>)> {
        if path == TARGETS {
            return None;
        }
        let path = path.rfind("/api/").map_or(path, |at| &path[at + BELOW.len()..]);
        let label = path.strip_prefix(VALUES.0).and_then(|rest| rest.strip_suffix(VALUES.1));
        let (service, name) = match label.filter(|label| !label.is_empty() && !label.contains('/')) {
            Some(_) => (QUERY, "Values"),
            None => PATHS.iter().find(|(known, ..)| *known == path).map(|(_, service, name)| (*service, *name))?,
        };
        let service = self.pool.get_service_by_name(service)?;
        let method = service.methods().find(|method| method.name() == name)?;
        let unescaped = |label: &str| {
            // A path has no plus signs that are spaces.
            let pair = format!("l={}", label.replace('+', "%2B"));
            form_urlencoded::parse(pair.as_bytes()).next().map(|(_, label)| label.into_owned())
        };
        Some((method, label.and_then(unescaped)))
    }

    async fn call(
        &self,
        method: MethodDescriptor,
        label: Option<String>,
        request: Request,
        next: Next,
    ) -> Result<Response, Refusal> {
        let (mut parts, _) = request.into_parts();
        let mut parameters: Vec<(String, String)> =
            form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        if let Some(label) = label {
            parameters.retain(|(name, _)| !["label_name", "labelName"].contains(&name.as_str()));
            parameters.push(("label_name".to_owned(), label));
        }
        let message = message(method.input(), &parameters)?;
        let asked = parts.headers.clone();
        parts.method = Method::POST;
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let wrong = |error| Error::internal("a method has no path").because(error);
        parts.uri = Uri::try_from(path).map_err(wrong)?;
        let answer = next.run(grpc_request(parts, message)?).await;
        let (headers, message) = unary_answer(answer).await?;
        let output = method.output();
        let json = self.compute.run_on(message.len(), move || json(output, &message)).await?;
        let mut answer = Response::new(Body::empty());
        *answer.headers_mut() = headers;
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(gzipped(&asked, answer, json.into(), &self.compute).await?)
    }
}

/// Answers GETs of the paths of Parca's JSON; lets everything else pass.
pub(crate) async fn gateway(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET {
        return next.run(request).await;
    }
    match gateway.method(request.uri().path()) {
        None => next.run(request).await,
        Some((method, label)) => {
            gateway.call(method, label, request, next).await.unwrap_or_else(Refusal::into_numbered)
        }
    }
}

/// The bytes of the message that `parameters` are the fields of.
fn message(input: MessageDescriptor, parameters: &[(String, String)]) -> Result<bytes::Bytes> {
    let mut object = Map::new();
    for (name, value) in parameters {
        let path: Vec<&str> = name.split('.').collect();
        insert(&mut object, &input, &path, value)
            .map_err(|error| error.with("parameter", name).with("found", format!("{value:?}")))?;
    }
    let broken = |error| Error::internal("parameters cannot be written").because(error);
    let json = serde_json::to_vec(&Value::Object(object)).map_err(broken)?;
    message_of_json(input, &json)
}

/// Sets the field at `path`, or appends to it.
fn insert(object: &mut Map<String, Value>, message: &MessageDescriptor, path: &[&str], value: &str) -> Result<()> {
    let [name, rest @ ..] = path else { return Ok(()) };
    let field = message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name));
    let Some(field) = field else { return Ok(()) };
    let key = field.json_name().to_owned();
    if let (Kind::Message(inner), false, [_, ..]) = (field.kind(), field.is_list() || field.is_map(), rest) {
        let entry = object.entry(key).or_insert_with(|| Value::Object(Map::new()));
        return match entry {
            Value::Object(inside) => insert(inside, &inner, rest, value),
            _ => Err(Error::invalid("a message is given as a whole and field by field")),
        };
    }
    if !rest.is_empty() {
        return Err(Error::invalid("a parameter names a field of something that has none"));
    }
    let value = scalar(&field.kind(), value)?;
    if field.is_list() {
        if let Value::Array(values) = object.entry(key).or_insert_with(|| Value::Array(Vec::new())) {
            values.push(value);
        }
        return Ok(());
    }
    match object.insert(key, value) {
        None => Ok(()),
        Some(_) => Err(Error::invalid("a parameter stands twice")),
    }
}

/// A parameter as the JSON of its field has it.
fn scalar(kind: &Kind, text: &str) -> Result<Value> {
    Ok(match kind {
        Kind::Bool => match text {
            "true" | "1" => Value::Bool(true),
            "false" | "0" => Value::Bool(false),
            _ => return Err(Error::invalid("a parameter is true or false")),
        },
        Kind::Enum(names) => match (text.parse::<i32>(), names.get_value_by_name(text)) {
            (Ok(number), _) => Value::from(number),
            (Err(_), Some(_)) => Value::from(text),
            (Err(_), None) => return Err(Error::invalid("a parameter is a name or a number of its enum")),
        },
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Timestamp" | "google.protobuf.Duration" => Value::from(text),
            _ => return Err(Error::invalid("a message is given field by field: name.field=value")),
        },
        // Numbers may be strings in JSON.
        _ => Value::from(text),
    })
}

/// A message as JSON with all its fields.
fn json(output: MessageDescriptor, message: &[u8]) -> Result<Vec<u8>> {
    let broken = "an answer is not of its message's type";
    let message = decoded(output, message)?;
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut bytes);
    let options = SerializeOptions::new().skip_default_fields(false);
    message
        .serialize_with_options(&mut serializer, &options)
        .map_err(|error| Error::internal(broken).because(error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flamestore_proto::FILE_DESCRIPTOR_SET;
    use flamestore_proto::parca::query::v1alpha1 as v1;
    use prost::Message;

    fn gateway() -> Gateway {
        Gateway::new(FILE_DESCRIPTOR_SET, Compute::new(1)).unwrap()
    }

    #[test]
    fn paths_are_those_of_methods_below_any_prefix() {
        let check = |path: &str, expected: Option<(&str, Option<&str>)>| {
            let found = gateway().method(path);
            let found = found.as_ref().map(|(method, label)| (method.name(), label.as_deref()));
            assert_eq!(found, expected, "{path}");
        };
        check("/profiles/query", Some(("Query", None)));
        check("/api/profiles/query_range", Some(("QueryRange", None)));
        check("/parca/x/api/profiles/types", Some(("ProfileTypes", None)));
        check("/api/profiles/labels/a%2Fb%20c+d/values", Some(("Values", Some("a/b c+d"))));
        check("/agents", Some(("Agents", None)));
        check("/api/targets", Some(("Targets", None)));
        for none in [
            "/parca/profiles/query",
            "/profiles/labels//values",
            "/profiles/labels/a/b/values",
            "/profiles",
            "/targets",
            "/",
        ] {
            check(none, None);
        }
    }

    #[test]
    fn parameters_are_fields() {
        let input = || gateway().method("/profiles/query").unwrap().0.input();
        let read = |query: &str| {
            let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            message(input(), &parameters).map(|bytes| v1::QueryRequest::decode(bytes).unwrap())
        };
        let request = read(
            "mode=MODE_MERGE&reportType=5&merge.query=a&merge.start=1970-01-01T00:00:01.5Z&node_trim_threshold=0.5\
             &groupBy.fields=function_name&groupBy.fields=labels.a&invert_call_stack=true&later=1",
        );
        let request = request.unwrap();
        assert_eq!((request.mode, request.report_type, request.node_trim_threshold), (2, 5, Some(0.5)));
        assert_eq!(request.group_by.unwrap().fields, ["function_name", "labels.a"]);
        assert_eq!(request.invert_call_stack, Some(true));
        let Some(v1::query_request::Options::Merge(merge)) = request.options else { panic!("no merge") };
        assert_eq!((merge.query.as_str(), merge.start.unwrap().nanos), ("a", 500_000_000));
        for wrong in [
            "mode=MODE_WRONG",
            "mode.x=1",
            "merge=1",
            "merge.start=yesterday",
            "invert_call_stack=perhaps",
            "merge.query=a&merge.query=b",
            "node_trim_threshold=much",
            "filter=x",
        ] {
            let error = read(wrong).map(|request| format!("{request:?}"));
            assert!(error.is_err(), "{wrong}: {error:?}");
        }
    }
}
