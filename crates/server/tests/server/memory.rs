//! What is asked of a server whose queries may hold little: it is answered within that, or refused by the name of the limit, and
//! nothing stays held.

use flamestore_proto::parca::query::v1alpha1 as parca;
use flamestore_proto::parca::query::v1alpha1::query_request::ReportType;
use flamestore_proto::querier::v1 as querier;
use flamestore_proto::types::v1::ExemplarType;
use flamestore_proto::v1;
use flamestore_testkit::Fixture;
use futures::FutureExt;
use futures::future::BoxFuture;
use tonic::{Code, Status};

use crate::harness::{CPU, NOON, Running, SECOND, raw};
use crate::parca_query::{self, DELTA};
use crate::querier::{END, START};

/// From what holds nearly nothing to what holds everything.
const LIMITS: [usize; 4] = [8 << 10, 256 << 10, 2 << 20, 256 << 20];
const PODS: usize = 100;
const STACKS: usize = 1000;

/// A server with two profiles of many stacks and names, and one of each of many pods; half of them in a segment.
async fn world(memory_bytes_max: usize) -> Running {
    let running = Running::start_with_memory(memory_bytes_max).await;
    let profile = |labels: &[(&str, &str)], second: i64, text: &str| {
        let batch = Fixture::cpu().time(NOON + second * SECOND).profile(text);
        v1::RawProfile { time_unix_nano: Some(NOON + second * SECOND), ..raw(labels, &batch) }
    };
    for (second, half) in [(0, 0), (1, 1)] {
        let stacks = (half * STACKS / 2..).take(STACKS).map(|at| {
            let (caller, callee) = (at % 97, at % 89);
            format!("main;caller_{caller};function_{at};callee_{callee};leaf_{at} {} {{request=r{at}}}", at + 1)
        });
        let stacks: Vec<String> = stacks.collect();
        running.push(profile(&[("service_name", "wide")], second, &stacks.join(" | "))).await;
        let pods = (0..PODS / 2).map(|pod| {
            let pod = format!("a-pod-of-some-name-{}", pod + half * PODS / 2);
            profile(&[("service_name", "many"), ("pod", &pod)], 2 + second, "main;serve 5 | main;wait 7")
        });
        let request = v1::PushRequest { profiles: pods.collect() };
        assert!(running.ingest().push(request).await.unwrap().into_inner().rejected.is_empty());
        if second == 0 {
            running.store.flush().await.unwrap();
        }
    }
    running
}

type Answer = BoxFuture<'static, Result<(), Status>>;

/// Something to ask, by its name.
struct Ask(String, Box<dyn Fn(&Running) -> Answer>);

impl Ask {
    fn sql(statement: &str) -> Self {
        let request = v1::SqlRequest { statement: statement.to_owned(), limit: 0 };
        let ask = move |running: &Running| {
            let (mut client, request) = (running.query(), request.clone());
            let rows = async move {
                let mut parts = client.sql(request).await?.into_inner();
                while parts.message().await?.is_some() {}
                Ok(())
            };
            rows.boxed()
        };
        Self(statement.to_owned(), Box::new(ask))
    }

    fn pyroscope(request: querier::SelectSeriesRequest) -> Self {
        let name = format!("series with exemplars {}", request.exemplar_type);
        let ask = move |running: &Running| {
            let (mut client, request) = (crate::querier::client(running), request.clone());
            async move { client.select_series(request).await.map(|_| ()) }.boxed()
        };
        Self(name, Box::new(ask))
    }

    fn heat(request: querier::SelectHeatmapRequest) -> Self {
        let ask = move |running: &Running| {
            let (mut client, request) = (crate::querier::client(running), request.clone());
            async move { client.select_heatmap(request).await.map(|_| ()) }.boxed()
        };
        Self("heat map".to_owned(), Box::new(ask))
    }

    fn parca(name: &str, request: parca::QueryRequest) -> Self {
        let ask = move |running: &Running| {
            let (mut client, request) = (parca_query::client(running), request.clone());
            async move { client.query(request).await.map(|_| ()) }.boxed()
        };
        Self(name.to_owned(), Box::new(ask))
    }

    fn range(request: parca::QueryRangeRequest) -> Self {
        let ask = move |running: &Running| {
            let (mut client, request) = (parca_query::client(running), request.clone());
            async move { client.query_range(request).await.map(|_| ()) }.boxed()
        };
        Self("range".to_owned(), Box::new(ask))
    }
}

/// Asks all with each of the limits: the first is too little for any, the last one enough for all.
async fn check(asks: &[Ask]) {
    let mut refused = vec![Vec::new(); asks.len()];
    for limit in LIMITS {
        let running = world(limit).await;
        for (Ask(name, ask), refused) in asks.iter().zip(&mut refused) {
            let answer = ask(&running).await;
            if let Err(status) = &answer {
                assert_eq!(status.code(), Code::ResourceExhausted, "{name} with {limit}: {status:?}");
                let said = status.message();
                assert!(said.contains(&format!("query_memory_bytes_max={limit}")), "{name} with {limit}: {said}");
                assert!(said.contains("narrow the query"), "{name} with {limit}: {said}");
            }
            let again = ask(&running).await;
            assert_eq!(answer.is_err(), again.is_err(), "{name} with {limit}: something is still held");
            refused.push(answer.is_err());
        }
        running.stop().await.unwrap();
    }
    for (Ask(name, _), refused) in asks.iter().zip(refused) {
        assert_eq!((refused[0], refused[LIMITS.len() - 1]), (true, false), "{name}: {refused:?}");
        assert!(refused.is_sorted_by(|less, more| less >= more), "{name} fits into less than it needs: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_meets_no_more_names_than_there_is_memory_for() {
    let statements = [
        "SELECT DISTINCT stack FROM samples",
        "SELECT leaf, sum(value) FROM samples GROUP BY leaf",
        "SELECT DISTINCT labels FROM profiles",
        "SELECT sample_labels, stack, value FROM samples WHERE service_name = 'wide'",
        "SELECT folded(stack, value) FROM samples",
    ];
    check(&statements.map(Ask::sql)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heat_maps_and_series_of_pyroscope_are_made_in_the_memory_of_queries() {
    let heat = querier::SelectHeatmapRequest {
        profile_type_id: CPU.to_owned(),
        label_selector: "{}".to_owned(),
        start: START,
        end: END,
        step: 1.0,
        group_by: vec!["pod".to_owned()],
        exemplar_type: ExemplarType::Individual as i32,
        ..Default::default()
    };
    let series = |exemplar_type: ExemplarType| querier::SelectSeriesRequest {
        profile_type_id: CPU.to_owned(),
        label_selector: "{}".to_owned(),
        start: START,
        end: END,
        step: 1.0,
        group_by: vec!["pod".to_owned()],
        exemplar_type: exemplar_type as i32,
        ..Default::default()
    };
    let [plain, with_exemplars] = [ExemplarType::None, ExemplarType::Individual].map(|of| Ask::pyroscope(series(of)));
    check(&[Ask::heat(heat), plain, with_exemplars]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_of_parca_are_made_in_the_memory_of_queries() {
    let reports = [
        ReportType::FlamegraphArrow,
        ReportType::FlamegraphTable,
        ReportType::FlamegraphUnspecified,
        ReportType::TableArrow,
        ReportType::Top,
        ReportType::Callgraph,
        ReportType::Pprof,
        ReportType::ProfileMetadata,
    ];
    let merges = reports.map(|report| Ask::parca(report.as_str_name(), parca_query::merge(DELTA, report)));
    let by_pod = parca::QueryRequest {
        group_by: Some(parca::GroupBy { fields: vec!["labels.pod".to_owned()] }),
        ..parca_query::merge(DELTA, ReportType::FlamegraphArrow)
    };
    let sides = parca_query::diff(DELTA, DELTA, false, ReportType::FlamegraphArrow);
    let range = parca::QueryRangeRequest {
        query: DELTA.to_owned(),
        start: parca_query::at(parca_query::START),
        end: parca_query::at(parca_query::END),
        ..Default::default()
    };
    let others = [Ask::parca("groups", by_pod), Ask::parca("diff", sides), Ask::range(range)];
    check(&merges.into_iter().chain(others).collect::<Vec<_>>()).await;
}
