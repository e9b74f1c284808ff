//! One request by every protocol that takes it, and the forms that several APIs share.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use flamestore_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value;
use tonic::Request;
use tonic::codegen::http::uri::PathAndQuery;

use super::{Stacks, summed};
use crate::harness::Running;

const JSON: (&str, &str) = ("content-type", "application/json");
const PROTO: (&str, &str) = ("content-type", "application/proto");
/// What clients send that take label names of any characters.
const ANY_NAME: (&str, &str) = ("accept", "*/*; allow-utf8-labelnames=true");

/// The answer to `request` by gRPC, by Connect in protobuf, and by Connect in JSON, which are one.
pub(super) async fn answer<Q, A>(running: &Running, service: &str, method: &str, request: &Q) -> A
where
    Q: Message + Clone + 'static,
    A: Message + Default + PartialEq + 'static,
{
    answer_apart(running, service, method, request, |_| {}).await
}

/// The same of answers that are one apart from what `leave_out` takes from them.
pub(super) async fn answer_apart<Q, A>(
    running: &Running,
    service: &str,
    method: &str,
    request: &Q,
    leave_out: fn(&mut A),
) -> A
where
    Q: Message + Clone + 'static,
    A: Message + Default + PartialEq + 'static,
{
    let path = format!("/{service}/{method}");
    let told = |mut answer: A| {
        leave_out(&mut answer);
        answer
    };
    let grpc: A = told({
        let mut client = tonic::client::Grpc::new(running.channel.clone()).max_decoding_message_size(usize::MAX);
        client.ready().await.unwrap();
        let mut request = Request::new(request.clone());
        request.metadata_mut().insert(ANY_NAME.0, ANY_NAME.1.parse().unwrap());
        let codec = tonic_prost::ProstCodec::default();
        client.unary(request, path.parse::<PathAndQuery>().unwrap(), codec).await.unwrap().into_inner()
    });
    let proto = running.post(&path, &[PROTO, ANY_NAME], request.encode_to_vec()).await;
    assert_eq!(proto.status, 200, "{path} {}", proto.text());
    assert!(told(A::decode(proto.bytes).unwrap()) == grpc, "{path}: Connect and gRPC differ");
    let (input, output) = messages(service, method);
    let asked = DynamicMessage::decode(input, &request.encode_to_vec()[..]).unwrap();
    let json = running.post(&path, &[JSON, ANY_NAME], serde_json::to_vec(&asked).unwrap()).await;
    assert_eq!(json.status, 200, "{path} {}", json.text());
    assert!(told(of_json(output, &json.bytes)) == grpc, "{path}: JSON and gRPC differ");
    grpc
}

/// The answer of a GET in JSON, as the message that it is of.
pub(super) async fn gotten<A: Message + Default>(running: &Running, path: &str, service: &str, method: &str) -> A {
    let answer = running.ask(crate::harness::http_client(false), reqwest::Method::GET, path, &[], "").await;
    assert_eq!(answer.status, 200, "{path} {}", answer.text());
    of_json(messages(service, method).1, &answer.bytes)
}

fn messages(service: &str, method: &str) -> (MessageDescriptor, MessageDescriptor) {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap());
    let service = POOL.get_service_by_name(service).unwrap();
    let method = service.methods().find(|known| known.name() == method).unwrap();
    (method.input(), method.output())
}

fn of_json<A: Message + Default>(message: MessageDescriptor, json: &[u8]) -> A {
    let mut read = serde_json::Deserializer::from_slice(json);
    let message = DynamicMessage::deserialize(message, &mut read).unwrap();
    A::decode(&message.encode_to_vec()[..]).unwrap()
}

/// A path with parameters.
pub(super) fn with_parameters(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    format!("{path}?{}", query.finish())
}

/// Integers as numbers, maps as objects, all else as text.
pub(super) fn rows(batches: &[RecordBatch]) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<Vec<Value>> = batch.columns().iter().map(|column| values(column.as_ref())).collect();
        rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()));
    }
    rows
}

fn values(column: &dyn Array) -> Vec<Value> {
    if column.data_type().is_integer() {
        let wide = arrow::compute::cast(column, &DataType::Int64).unwrap();
        return wide.as_primitive::<Int64Type>().iter().map(Value::from).collect();
    }
    if let Some(maps) = column.as_map_opt() {
        let entries = |row: usize| {
            let entries = maps.value(row);
            let (names, found) = (values(entries.column(0)), values(entries.column(1)));
            Value::Object(names.iter().map(|name| name.as_str().unwrap().to_owned()).zip(found).collect())
        };
        return (0..maps.len()).map(entries).collect();
    }
    let plain = arrow::compute::cast(column, &DataType::Utf8).unwrap();
    plain.as_string::<i32>().iter().map(Value::from).collect()
}

/// Values by stack of rows of frames in preorder, each with the row of its caller: the columns called `own`.
pub(super) fn stacks_of_frames<const N: usize>(
    rows: &[(Option<usize>, String)],
    own: [&[i64]; N],
) -> BTreeMap<String, [i64; N]> {
    let mut paths: Vec<String> = Vec::new();
    let mut sums: BTreeMap<String, [i64; N]> = BTreeMap::new();
    for (row, (parent, name)) in rows.iter().enumerate() {
        let path = match parent {
            None => String::new(),
            Some(parent) if paths[*parent].is_empty() && *parent == 0 => name.clone(),
            Some(parent) => format!("{};{name}", paths[*parent]),
        };
        let sum = sums.entry(path.clone()).or_insert([0; N]);
        (0..N).for_each(|side| sum[side] += own[side][row]);
        paths.push(path);
    }
    sums.retain(|_, values| *values != [0; N]);
    sums
}

/// Own values by stack of two flame graphs laid over each other, from their levels alone.
pub(super) fn stacks_of_diff(names: &[String], levels: &[Vec<i64>]) -> BTreeMap<String, (i64, i64)> {
    let mut stacks: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    // The nodes of the level above: start and end on either side, stack.
    let mut above: Vec<([i64; 4], String)> = Vec::new();
    for (depth, level) in levels.iter().enumerate() {
        let (mut here, mut ends) = (Vec::new(), [0; 2]);
        for node in level.chunks(7) {
            let starts = [ends[0] + node[0], ends[1] + node[3]];
            ends = [starts[0] + node[1], starts[1] + node[4]];
            let name = &names[usize::try_from(node[6]).unwrap()];
            let lies_below = |(place, _): &&([i64; 4], String)| {
                place[0] <= starts[0] && ends[0] <= place[1] && place[2] <= starts[1] && ends[1] <= place[3]
            };
            let stack = match (depth, above.iter().find(lies_below)) {
                (0, _) => String::new(),
                (_, Some((_, parent))) if parent.is_empty() => name.clone(),
                (_, Some((_, parent))) => format!("{parent};{name}"),
                (_, None) => panic!("{name} lies below nothing"),
            };
            if (node[2], node[5]) != (0, 0) {
                let sums = stacks.entry(stack.clone()).or_default();
                *sums = (sums.0 + node[2], sums.1 + node[5]);
            }
            here.push(([starts[0], ends[0], starts[1], ends[1]], stack));
        }
        above = here;
    }
    stacks
}

/// Lines of folded text.
pub(super) fn stacks_of_text(text: &str) -> Stacks {
    summed(text.lines().map(|line| {
        let (stack, value) = line.rsplit_once(' ').unwrap();
        (stack.to_owned(), value.parse::<i64>().unwrap())
    }))
}

/// A pprof's first values by stack.
pub(super) fn stacks_of_pprof(pprof: Vec<u8>) -> Stacks {
    let bytes = flamestore_formats::decompress(pprof.into(), &Default::default()).unwrap();
    let batch = flamestore_formats::decode_pprof(bytes, &Default::default()).unwrap();
    flamestore_testkit::folded(&batch, 0)
}

/// The stacks of both sides, side by side.
pub(super) fn beside(before: &Stacks, after: &Stacks) -> BTreeMap<String, (i64, i64)> {
    let mut both: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    before.iter().for_each(|(stack, value)| both.entry(stack.clone()).or_default().0 = *value);
    after.iter().for_each(|(stack, value)| both.entry(stack.clone()).or_default().1 = *value);
    both
}
