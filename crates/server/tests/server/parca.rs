//! Parca's agents and tools: the three ways to write, who wrote, and what is sent beside profiles.

use arrow_ipc::CompressionType;
use bytes::Bytes;
use expect_test::expect;
use flamestore_formats::{LabelText, ProfileBuilder, encode_pprof};
use flamestore_model::{Function, Line, Mapping, NONE};
use flamestore_proto::otlp::logs::ExportLogsServiceRequest;
use flamestore_proto::otlp::logs::logs_service_client::LogsServiceClient;
use flamestore_proto::otlp::trace::ExportTraceServiceRequest;
use flamestore_proto::otlp::trace::trace_service_client::TraceServiceClient;
use flamestore_proto::parca::profilestore::agents_service_client::AgentsServiceClient;
use flamestore_proto::parca::profilestore::profile_store_service_client::ProfileStoreServiceClient;
use flamestore_proto::parca::profilestore::{
    AgentsRequest, Label, LabelSet, RawProfileSeries, RawSample, WriteArrowRequest, WriteRawRequest, WriteRequest,
};
use flamestore_proto::parca::telemetry::ReportPanicRequest;
use flamestore_proto::parca::telemetry::telemetry_service_client::TelemetryServiceClient;
use flamestore_proto::v1;
use flamestore_server::{ProfileLimits, ServerConfig};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::{Running, config, merge_folded, selection};
use crate::record::{Frame, Record, Sample, stream};

const TYPES: [&str; 3] = [
    "parca_agent:samples:count:cpu:nanoseconds",
    "parca_agent:cpu:nanoseconds:cpu:nanoseconds",
    "parca_agent:wallclock:nanoseconds:samples:count",
];

fn client(running: &Running) -> ProfileStoreServiceClient<Channel> {
    ProfileStoreServiceClient::new(running.channel.clone())
}

fn label_set(labels: &[(&str, &str)]) -> LabelSet {
    let label = |(name, value): &(&str, &str)| Label { name: (*name).to_owned(), value: (*value).to_owned() };
    LabelSet { labels: labels.iter().map(label).collect() }
}

fn series(labels: &[(&str, &str)], profiles: Vec<Vec<u8>>) -> RawProfileSeries {
    let sample = |profile: Vec<u8>| RawSample { raw_profile: profile.into(), executable_info: Vec::new() };
    RawProfileSeries { labels: Some(label_set(labels)), samples: profiles.into_iter().map(sample).collect() }
}

async fn write_raw(running: &Running, series: Vec<RawProfileSeries>) -> Result<(), Status> {
    let request = WriteRawRequest { series, ..WriteRawRequest::default() };
    client(running).write_raw(request).await.map(|_| ())
}

async fn write_arrow(running: &Running, ipc_buffer: Vec<u8>) -> Result<(), Status> {
    client(running).write_arrow(WriteArrowRequest { ipc_buffer: ipc_buffer.into() }).await.map(|_| ())
}

/// Writes the samples, takes the question for stacks and sends them.
async fn write(running: &Running, record: &Record) -> Result<(), Status> {
    let (sender, receiver) = mpsc::channel(1);
    let request = |batch| WriteRequest { record: stream(&[batch], None).into() };
    sender.send(request(record.v1_samples())).await.unwrap();
    let mut answers = client(running).write(ReceiverStream::new(receiver)).await?.into_inner();
    let asked = answers.message().await?.unwrap().record;
    let reader = arrow_ipc::reader::StreamReader::try_new(&asked[..], None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 4);
    sender.send(request(record.v1_stacks(None))).await.unwrap();
    assert_eq!(answers.message().await?, None);
    Ok(())
}

/// A pprof of one sample of a record.
fn pprof(frames: &[Frame], sample: &Sample) -> Vec<u8> {
    let [_, sample_type, sample_unit, period_type, period_unit] = sample.types;
    let mut builder = ProfileBuilder::new();
    builder.sample_type(sample_type, sample_unit).period(period_type, period_unit, sample.period);
    builder.time(sample.time, sample.duration);
    let stack: Vec<u32> = sample.stack.iter().map(|at| location(&mut builder, &frames[*at])).collect();
    let own = sample.labels.iter().filter(|(name, _)| *name == "thread_id");
    let labels: Vec<_> = own.map(|(name, value)| builder.label(name, LabelText::Str(value))).collect();
    builder.add_row(&stack, &[sample.value], &labels);
    encode_pprof(&builder.finish().unwrap())
}

fn location(builder: &mut ProfileBuilder, frame: &Frame) -> u32 {
    let [filename, build_id] = [frame.file, frame.build_id].map(|text| builder.string(text.unwrap_or_default()));
    let mapping = Mapping { filename, build_id, ..Mapping::default() };
    let mapping = if mapping == Mapping::default() { NONE } else { builder.mapping(mapping) };
    let mut lines = Vec::new();
    for (line, column, name, filename, start_line) in frame.lines.iter().flatten() {
        let (name, filename) = (builder.string(name), builder.string(filename));
        let function = Function { name, system_name: name, filename, start_line: start_line.cast_signed() };
        let function = builder.function(function);
        lines.push(Line { function, line: line.cast_signed(), column: column.cast_signed() });
    }
    builder.location(mapping, frame.address, false, &lines)
}

/// The samples of a record, each a series with a pprof.
fn as_series(record: &Record) -> Vec<RawProfileSeries> {
    let one = |sample: &Sample| {
        let labels = sample.labels.iter().filter(|(name, _)| *name != "thread_id").copied();
        let labels: Vec<_> = labels.chain([("__name__", sample.types[0])]).collect();
        series(&labels, vec![pprof(&record.frames, sample)])
    };
    record.samples.iter().map(one).collect()
}

/// The merges of every type and service.
async fn merges(running: &Running) -> String {
    let mut out = String::new();
    for ty in TYPES {
        for service in ["api", "web"] {
            let query = format!(r#"{ty}{{service_name="{service}",comm="{service}",node="n1"}}"#);
            out += &format!("{query}\n{}", merge_folded(running, &query).await);
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_data_gives_the_same_stacks_in_every_way() {
    let record = Record::example();
    let [raw, arrow, exchanged] = [Running::start().await, Running::start().await, Running::start().await];
    let python = Running::start().await;
    write_raw(&raw, as_series(&record)).await.unwrap();
    write_arrow(&arrow, stream(&[record.v2()], Some(CompressionType::LZ4_FRAME))).await.unwrap();
    write(&exchanged, &record).await.unwrap();
    write_arrow(&python, include_bytes!("../../../formats/tests/parca/pyarrow.arrows").to_vec()).await.unwrap();
    let merged = merges(&raw).await;
    expect![[r#"
        parca_agent:samples:count:cpu:nanoseconds{service_name="api",comm="api",node="n1"}
        main;serve;read 2
        main;serve;read;sys_read 1
        parca_agent:samples:count:cpu:nanoseconds{service_name="web",comm="web",node="n1"}
        0x30 1
        parca_agent:cpu:nanoseconds:cpu:nanoseconds{service_name="api",comm="api",node="n1"}
        main;serve;read 105263156
        main;serve;read;sys_read 52631578
        parca_agent:cpu:nanoseconds:cpu:nanoseconds{service_name="web",comm="web",node="n1"}
        0x30 52631578
        parca_agent:wallclock:nanoseconds:samples:count{service_name="api",comm="api",node="n1"}
         250
        parca_agent:wallclock:nanoseconds:samples:count{service_name="web",comm="web",node="n1"}
    "#]]
    .assert_eq(&merged);
    assert_eq!(merges(&arrow).await, merged);
    assert_eq!(merges(&exchanged).await, merged);
    assert_eq!(merges(&python).await, merged);
    for running in [raw, arrow, exchanged, python] {
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_again_counts_once() {
    let record = Record::example();
    let (once, twice) = (Running::start().await, Running::start().await);
    write_arrow(&once, stream(&[record.v2()], None)).await.unwrap();
    for _ in 0..2 {
        write_arrow(&twice, stream(&[record.v2()], None)).await.unwrap();
    }
    assert_eq!(merges(&twice).await, merges(&once).await);
    for _ in 0..2 {
        write(&once, &record).await.unwrap();
        write_raw(&twice, as_series(&record)).await.unwrap();
    }
    assert_eq!(merges(&twice).await, merges(&once).await);
    once.stop().await.unwrap();
    twice.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_an_invalid_argument_and_the_rest_is_stored() {
    let profile = ProfileLimits { stack_depth_max: 2, ..ProfileLimits::default() };
    let running = Running::start_configured(ServerConfig { profile, push_profiles_max: 3, ..config() }).await;
    let check = |outcome: Result<(), Status>, part: &str| {
        let status = outcome.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains(part), "{status:?}");
    };
    let record = Record::example();
    let good = pprof(&record.frames, &record.samples[0]);
    check(write_raw(&running, vec![series(&[("a", "b")], vec![good.clone()])]).await, "missing __name__ label");
    let twice = [("__name__", "x"), ("a", "b"), ("a", "c")];
    check(write_raw(&running, vec![series(&twice, vec![good.clone()])]).await, "twice");
    let named = [("__name__", "parca_agent"), ("comm", "api"), ("node", "n1")];
    let nameless = series(&[("a", "b")], vec![good.clone()]);
    let stored = series(&named, vec![vec![0xff; 9], good]);
    check(write_raw(&running, vec![stored.clone()]).await, "series 0, sample 0");
    check(write_raw(&running, vec![nameless, stored]).await, "series 0: missing __name__ label");
    assert_eq!(merge_folded(&running, TYPES[0]).await, "main;serve;read 1\n");
    check(write_arrow(&running, b"not Arrow".to_vec()).await, "Arrow message 0");
    check(write_arrow(&running, stream(&[record.v2()], None)).await, "stack_depth_max");
    let too_many = vec![series(&named, vec![Vec::new(); 4])];
    check(write_raw(&running, too_many).await, "push_profiles_max");
    let stacks = WriteRequest { record: Bytes::from_static(b"not Arrow") };
    let mut answers = client(&running).write(tokio_stream::iter([stacks])).await.unwrap().into_inner();
    check(answers.message().await.map(|_| ()), "Arrow message 0");
    let mut answers = client(&running).write(tokio_stream::iter([])).await.unwrap().into_inner();
    check(answers.message().await.map(|_| ()), "ended the exchange");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_listed_with_their_last_error() {
    let running = Running::start().await;
    let agents = async || {
        let listed = AgentsServiceClient::new(running.channel.clone()).agents(AgentsRequest {}).await.unwrap();
        listed.into_inner().agents
    };
    assert_eq!(agents().await, Vec::new());
    write_arrow(&running, b"not Arrow".to_vec()).await.unwrap_err();
    let listed = agents().await;
    assert_eq!((listed.len(), listed[0].id.as_str()), (1, "127.0.0.1"));
    assert!(listed[0].last_error.contains("Arrow message 0"), "{listed:?}");
    write_arrow(&running, stream(&[Record::example().v2()], None)).await.unwrap();
    let listed = agents().await;
    assert_eq!((listed.len(), listed[0].last_error.as_str()), (1, ""));
    assert!(listed[0].last_push.is_some_and(|time| time.seconds > 0) && listed[0].last_push_duration.is_some());
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_beside_profiles_is_counted() {
    let running = Running::start().await;
    let count = async |name: &str| -> u64 {
        let metrics = running.get("/metrics").await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |value| value.trim().parse().unwrap())
    };
    const LOGS: &str = r#"flamestore_dropped_bytes_total{signal="logs"}"#;
    const TRACES: &str = r#"flamestore_dropped_requests_total{signal="traces"}"#;
    let before = (count(LOGS).await, count(TRACES).await, count("flamestore_agent_panics_total").await);
    let channel = || running.channel.clone();
    let logs = ExportLogsServiceRequest { resource_logs: vec![Bytes::from_static(b"12345"), Bytes::new()] };
    LogsServiceClient::new(channel()).export(logs).await.unwrap();
    TraceServiceClient::new(channel()).export(ExportTraceServiceRequest::default()).await.unwrap();
    let metadata = [("agent_version".to_owned(), "1".to_owned())].into();
    let report = ReportPanicRequest { stderr: "panic: x\n\ngoroutine 1".to_owned(), metadata };
    TelemetryServiceClient::new(channel()).report_panic(report).await.unwrap();
    let after = (count(LOGS).await, count(TRACES).await, count("flamestore_agent_panics_total").await);
    assert_eq!(after, (before.0 + 5, before.1 + 1, before.2 + 1));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_taken_over_connect_for_the_tenant_of_its_header() {
    let running = Running::start().await;
    let ipc_buffer = stream(&[Record::example().v2()], None).into();
    let body = WriteArrowRequest { ipc_buffer }.encode_to_vec();
    let headers = [("content-type", "application/proto"), ("x-scope-orgid", "team-a")];
    let path = "/parca.profilestore.v1alpha1.ProfileStoreService/WriteArrow";
    let answer = running.post(path, &headers, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut request = tonic::Request::new(v1::ProfileTypesRequest { selection: selection("{}") });
    request.metadata_mut().insert("x-scope-orgid", "team-a".parse().unwrap());
    let types = running.query().profile_types(request).await.unwrap().into_inner();
    assert_eq!(types.profile_types.len(), 3, "{types:?}");
    let request = v1::ProfileTypesRequest { selection: selection("{}") };
    let types = running.query().profile_types(request).await.unwrap().into_inner();
    assert_eq!(types.profile_types.len(), 0, "{types:?}");
    running.stop().await.unwrap();
}
