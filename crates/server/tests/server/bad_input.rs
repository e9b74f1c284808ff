//! Wrong requests: each told what is wrong, none harming its neighbours or the connection.

use flamestore_formats::{encode_pprof, gzip};
use flamestore_proto::v1;
use flamestore_server::{ProfileLimits, ServerConfig};
use flamestore_testkit::profile;
use tonic::{Code, Status};

use crate::harness::{CPU, NOON, Running, config, merge_folded, raw, raw_bytes, selection, selection_in};

const SERVICE: [(&str, &str); 1] = [("service_name", "api")];

fn good() -> v1::RawProfile {
    good_at(0)
}

/// A profile of its own for each number: the same one sent twice would count once.
fn good_at(seconds: i64) -> v1::RawProfile {
    let time_unix_nano = Some(NOON + seconds * 1_000_000_000);
    v1::RawProfile { time_unix_nano, ..raw(&SERVICE, &profile("main;read 3")) }
}

async fn push(running: &Running, profiles: Vec<v1::RawProfile>) -> Result<v1::PushResponse, Status> {
    running.ingest().push(v1::PushRequest { profiles }).await.map(tonic::Response::into_inner)
}

/// Profiles that must be rejected: what is pushed, the code, a part of the message.
fn wrong_profiles() -> Vec<(v1::RawProfile, Code, &'static str)> {
    let encoded = encode_pprof(&profile("main;read 3 | main;write 1"));
    let zipped = gzip(&encoded).unwrap();
    let mut corrupt = zipped.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0x55;
    corrupt.truncate(corrupt.len() - 1);
    let bomb = gzip(&vec![0; 1 << 20]).unwrap();
    let deep = format!("{} 1", ["f"; 9].join(";"));
    let long_label = [("service_name", "a".repeat(5000).leak() as &str)];
    vec![
        (raw_bytes(&SERVICE, encoded[..encoded.len() / 2].to_vec()), Code::InvalidArgument, ""),
        (raw_bytes(&SERVICE, zipped[..zipped.len() / 2].to_vec()), Code::InvalidArgument, ""),
        (raw_bytes(&SERVICE, corrupt), Code::InvalidArgument, ""),
        (raw_bytes(&SERVICE, b"not a profile at all".to_vec()), Code::InvalidArgument, ""),
        (raw_bytes(&SERVICE, Vec::new()), Code::InvalidArgument, ""),
        (raw_bytes(&SERVICE, bomb), Code::ResourceExhausted, "decompressed_bytes_max"),
        (raw(&SERVICE, &profile(&deep)), Code::ResourceExhausted, "stack_depth_max"),
        (raw(&[("a", "1"), ("a", "2")], &profile("f 1")), Code::InvalidArgument, "stands twice"),
        (raw(&[("", "1")], &profile("f 1")), Code::InvalidArgument, "has no name"),
        (raw(&long_label, &profile("f 1")), Code::ResourceExhausted, "label_bytes_max"),
        (v1::RawProfile { format: 99, ..good() }, Code::InvalidArgument, "no profile format of number 99"),
        (v1::RawProfile { profile_id: vec![1, 2, 3], ..good() }, Code::InvalidArgument, "16 bytes"),
        (
            v1::RawProfile { format: v1::ProfileFormat::Folded as i32, ..raw_bytes(&SERVICE, "main;read x\n") },
            Code::InvalidArgument,
            "",
        ),
    ]
}

fn strict() -> ServerConfig {
    let profile = ProfileLimits { decompressed_bytes_max: 64 << 10, stack_depth_max: 8, ..ProfileLimits::default() };
    ServerConfig { profile, push_profiles_max: 100, request_bytes_max: 1 << 20, ..config() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_profile_is_named_and_leaves_the_others_and_the_connection_alone() {
    let running = Running::start_configured(strict()).await;
    for (at, (wrong, code, part)) in (0..).zip(wrong_profiles()) {
        let alone = push(&running, vec![wrong.clone()]).await.unwrap_err();
        assert_eq!(alone.code(), code, "{at}: {alone:?}");
        assert!(alone.message().contains(part), "{at}: {alone:?}");

        let batch = push(&running, vec![good_at(2 * at), wrong, good_at(2 * at + 1)]).await.unwrap();
        assert_eq!((batch.accepted, batch.profile_ids.len(), batch.rejected.len()), (2, 2, 1), "{at}");
        let rejected = &batch.rejected[0];
        assert_eq!((rejected.index, rejected.code), (1, code as i32), "{at}");
        assert_eq!(rejected.message, alone.message(), "{at}");
    }
    let stored = 2 * 3 * wrong_profiles().len();
    assert_eq!(merge_folded(&running, CPU).await, format!("main;read {stored}\n"));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_again_counts_once() {
    let running = Running::start().await;
    let first = push(&running, vec![good_at(0), good_at(1)]).await.unwrap();
    let again = push(&running, vec![good_at(0), good_at(1)]).await.unwrap();
    assert_eq!((again.accepted, &again.profile_ids), (2, &first.profile_ids));
    let other = v1::RawProfile { labels: Vec::new(), ..good_at(0) };
    push(&running, vec![other]).await.unwrap();
    assert_eq!(merge_folded(&running, CPU).await, "main;read 9\n");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_nothing_or_too_much_is_refused_as_a_whole() {
    let running = Running::start_configured(strict()).await;
    let error = push(&running, Vec::new()).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::InvalidArgument, "the request has no profiles"));
    let error = push(&running, vec![good(); 101]).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.message().contains("push_profiles_max"), "{error:?}");
    let error = push(&running, vec![raw_bytes(&SERVICE, vec![0; 2 << 20])]).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.message().contains("the limit is: 1048576 bytes"), "{error:?}");
    assert_eq!(push(&running, vec![good()]).await.unwrap().accepted, 1);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_counts_its_profiles_over_all_requests() {
    let running = Running::start_configured(strict()).await;
    let wrong = || raw_bytes(&SERVICE, b"not a profile".to_vec());
    let requests = [vec![good_at(0)], vec![], vec![good_at(1), wrong()], vec![good_at(2)]];
    let requests = tokio_stream::iter(requests.map(|profiles| v1::PushRequest { profiles }));
    let answer = running.ingest().push_stream(requests).await.unwrap().into_inner();
    assert_eq!((answer.accepted, answer.rejected.len(), answer.rejected[0].index), (3, 1, 2));
    let nothing = running.ingest().push_stream(tokio_stream::iter(Vec::<v1::PushRequest>::new())).await;
    assert_eq!(nothing.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(merge_folded(&running, CPU).await, "main;read 9\n");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_questions_say_where_they_are_wrong() {
    let running = Running::start().await;
    push(&running, vec![good()]).await.unwrap();
    let merge = async |selection: Option<v1::Selection>, format: i32, max_nodes: i64| {
        let request = v1::MergeRequest { selection, format, max_nodes, resolution: 0, combine: 0 };
        let error = running.query().merge(request).await.unwrap_err();
        format!("{:?}: {}", error.code(), error.message())
    };
    assert_eq!(
        merge(selection(r#"{service_name="api}"#), 0, 0).await,
        r#"InvalidArgument: selector: a quoted string does not end [position=14, near="\"api}"]"#
    );
    assert_eq!(merge(None, 0, 0).await, "InvalidArgument: the request has no selection");
    assert_eq!(
        merge(selection_in(CPU, 9, 3), 0, 0).await,
        "InvalidArgument: a time range ends before it starts [start=9, end=3]"
    );
    assert_eq!(merge(selection(CPU), 9, 0).await, "InvalidArgument: there is no answer format of number 9");
    assert_eq!(merge(selection(CPU), 0, -2).await, "InvalidArgument: max_nodes is -1, 0 or more [max_nodes=-2]");

    let mut client = running.query();
    let diff = v1::DiffRequest { before: selection(CPU), after: selection("{"), format: 0, max_nodes: 0, combine: 0 };
    let error = client.diff(diff).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("side=after"), "{error:?}");
    let series = v1::TimeSeriesRequest { selection: selection(CPU), step_nano: 0, group_by: Vec::new() };
    assert_eq!(client.time_series(series).await.unwrap_err().code(), Code::InvalidArgument);
    let values = v1::LabelValuesRequest { selection: selection(CPU), name: String::new() };
    assert_eq!(client.label_values(values).await.unwrap_err().code(), Code::InvalidArgument);
    let nobody = v1::NeighboursRequest { selection: selection(CPU), ..Default::default() };
    let error = client.neighbours(nobody).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::InvalidArgument, "the request names no function"));
    let nothing = v1::NeighboursRequest { function: "main".to_owned(), ..Default::default() };
    assert_eq!(client.neighbours(nothing).await.unwrap_err().message(), "the request has no selection");
    let get = |id: &str| v1::GetProfileRequest { id: id.to_owned() };
    assert_eq!(client.get_profile(get("xyz")).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.get_profile(get(&"0".repeat(32))).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(merge_folded(&running, CPU).await, "main;read 3\n");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_labels_and_types_give_empty_answers() {
    let running = Running::start().await;
    push(&running, vec![good()]).await.unwrap();
    for query in [r#"a:b:c:d:e"#, r#"{service_name="gone"}"#, r#"{gone="x"}"#, r#"{gone=~".+"}"#] {
        assert_eq!(merge_folded(&running, query).await, "", "{query}");
        let request = v1::SeriesRequest { selection: selection(query), label_names: Vec::new() };
        assert!(running.query().series(request).await.unwrap().into_inner().series.is_empty(), "{query}");
        let request =
            v1::MergeRequest { selection: selection(query), format: 0, max_nodes: 0, resolution: 0, combine: 0 };
        let answer = running.query().merge(request).await.unwrap().into_inner();
        let Some(v1::merge_response::Answer::FlameGraph(graph)) = answer.answer else { panic!("no flame graph") };
        assert_eq!((graph.names.as_slice(), graph.total), (["total".to_owned()].as_slice(), 0), "{query}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn folded_text_and_ids_of_the_producer_are_taken() {
    let running = Running::start().await;
    let folded = v1::RawProfile {
        format: v1::ProfileFormat::Folded as i32,
        time_unix_nano: Some(NOON),
        profile_id: vec![7; 16],
        ..raw_bytes(&SERVICE, "main;read 3\nmain;write 4\n")
    };
    let answer = push(&running, vec![folded.clone(), folded]).await.unwrap();
    assert_eq!(answer.profile_ids, ["07".repeat(16), "07".repeat(16)]);
    let types = v1::ProfileTypesRequest { selection: selection("") };
    let types = running.query().profile_types(types).await.unwrap().into_inner().profile_types;
    assert_eq!(types, ["process_cpu:samples:count::"]);
    assert_eq!(merge_folded(&running, "process_cpu:samples:count::").await, "main;read 3\nmain;write 4\n");
    running.stop().await.unwrap();
}
