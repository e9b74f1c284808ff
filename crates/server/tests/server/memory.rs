//! What is asked of a server whose queries may hold little: it is answered within that, or refused by the name of the limit, and
//! nothing stays held.

use flamestore_proto::parca::query::v1alpha1 as parca;
use flamestore_proto::parca::query::v1alpha1::query_request::ReportType;
use flamestore_proto::querier::v1 as querier;
use flamestore_proto::types::v1::ExemplarType;
use flamestore_proto::v1;
use flamestore_testkit::Fixture;
use tonic::{Code, Status};

use crate::harness::{CPU, NOON, Running, SECOND, raw};
use crate::parca_query::{self, DELTA};
use crate::querier::{END, START};

/// From what holds nearly nothing to what holds everything.
const LIMITS: [usize; 4] = [8 << 10, 256 << 10, 2 << 20, 256 << 20];
const PODS: usize = 300;
const STACKS: usize = 1000;

/// A server with two profiles of many stacks and names, and one of each of many pods; half of them in a segment.
async fn world(memory_bytes_max: usize) -> Running {
    let running = Running::start_with_memory(memory_bytes_max).await;
    let profile = |labels: &[(&str, &str)], second: i64, text: &str| {
        let batch = Fixture::cpu().time(NOON + second * SECOND).profile(text);
        v1::RawProfile { time_unix_nano: Some(NOON + second * SECOND), ..raw(labels, &batch) }
    };
    for second in [0, 1] {
        let stack = |at: usize| {
            let from = second as usize * STACKS / 2 + at;
            format!("main;a_function_{};another_function_{from};a_function_{};leaf_{from} {{of}}", from % 97, from % 89)
        };
        let stacks: Vec<String> =
            (0..STACKS).map(|at| stack(at).replace("{of}", &format!("{} {{request=r{at}}}", at + 1))).collect();
        running.push(profile(&[("service_name", "wide")], second, &stacks.join(" | "))).await;
        let pods = (0..PODS / 2).map(|pod| {
            let pod = format!("a-pod-of-some-name-{}", pod + second as usize * PODS / 2);
            profile(&[("service_name", "many"), ("pod", &pod)], 2 + second, "main;serve 5 | main;wait 7")
        });
        let request = v1::PushRequest { profiles: pods.collect() };
        assert_eq!(running.ingest().push(request).await.unwrap().into_inner().accepted as usize, PODS / 2);
        if second == 0 {
            running.store.flush().await.unwrap();
        }
    }
    running
}

/// How many of the limits are too little for `ask`, which the largest of them is enough for.
async fn check<T>(name: &str, ask: impl AsyncFn(&Running) -> Result<T, Status>) {
    let mut refused = Vec::new();
    for limit in LIMITS {
        let running = world(limit).await;
        match ask(&running).await {
            Ok(_) => refused.push(false),
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{name} with {limit}: {status:?}");
                let said = status.message();
                assert!(said.contains(&format!("query_memory_bytes_max={limit}")), "{name} with {limit}: {said}");
                assert!(said.contains("narrow the query"), "{name} with {limit}: {said}");
                refused.push(true);
            }
        }
        let nothing = v1::SqlRequest { statement: "SELECT 7".to_owned(), limit: 0 };
        assert!(running.query().sql(nothing).await.is_ok(), "{name} with {limit}: something is still held");
        running.stop().await.unwrap();
    }
    println!("{name}: {refused:?}");
    assert_eq!((refused[0], refused[LIMITS.len() - 1]), (true, false), "{name}: {refused:?}");
    assert!(refused.is_sorted_by(|less, more| less >= more), "{name} fits into less than it needs: {refused:?}");
}

async fn check_sql(statement: &str) {
    let ask = async |running: &Running| {
        let request = v1::SqlRequest { statement: statement.to_owned(), limit: 0 };
        let mut parts = running.query().sql(request).await?.into_inner();
        while parts.message().await?.is_some() {}
        Ok(())
    };
    check(statement, ask).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_meets_no_more_names_than_there_is_memory_for() {
    check_sql("SELECT DISTINCT stack FROM samples").await;
    check_sql("SELECT leaf, sum(value) FROM samples GROUP BY leaf").await;
    check_sql("SELECT DISTINCT labels FROM profiles").await;
    check_sql("SELECT sample_labels, stack, value FROM samples WHERE service_name = 'wide'").await;
    check_sql("SELECT folded(stack, value) FROM samples").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heat_maps_and_series_of_pyroscope_are_made_in_the_memory_of_queries() {
    let group_by = vec!["pod".to_owned()];
    check("heat map", async |running| {
        let request = querier::SelectHeatmapRequest {
            profile_type_id: CPU.to_owned(),
            label_selector: "{}".to_owned(),
            start: START,
            end: END,
            step: 1.0,
            group_by: group_by.clone(),
            exemplar_type: ExemplarType::Individual as i32,
            ..Default::default()
        };
        crate::querier::client(running).select_heatmap(request).await
    })
    .await;
    for exemplar_type in [ExemplarType::None, ExemplarType::Individual] {
        check("series", async |running| {
            let request = querier::SelectSeriesRequest {
                profile_type_id: CPU.to_owned(),
                label_selector: "{}".to_owned(),
                start: START,
                end: END,
                step: 1.0,
                group_by: group_by.clone(),
                exemplar_type: exemplar_type as i32,
                ..Default::default()
            };
            crate::querier::client(running).select_series(request).await
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_of_parca_are_made_in_the_memory_of_queries() {
    for report in [
        ReportType::FlamegraphArrow,
        ReportType::FlamegraphTable,
        ReportType::FlamegraphUnspecified,
        ReportType::TableArrow,
        ReportType::Top,
        ReportType::Callgraph,
        ReportType::Pprof,
        ReportType::ProfileMetadata,
    ] {
        let merge = parca_query::merge(DELTA, report);
        check(report.as_str_name(), async |running| parca_query::client(running).query(merge.clone()).await).await;
    }
    let by_pod = parca::QueryRequest {
        group_by: Some(parca::GroupBy { fields: vec!["labels.pod".to_owned()] }),
        ..parca_query::merge(DELTA, ReportType::FlamegraphArrow)
    };
    check("groups", async |running| parca_query::client(running).query(by_pod.clone()).await).await;
    let sides = parca_query::diff(DELTA, DELTA, false, ReportType::FlamegraphArrow);
    check("diff", async |running| parca_query::client(running).query(sides.clone()).await).await;
    check("range", async |running| {
        let request = parca::QueryRangeRequest {
            query: DELTA.to_owned(),
            start: parca_query::at(parca_query::START),
            end: parca_query::at(parca_query::END),
            ..Default::default()
        };
        parca_query::client(running).query_range(request).await
    })
    .await;
}
