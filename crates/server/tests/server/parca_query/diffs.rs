//! Differences of two merges.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::Array;
use arrow::datatypes::DataType;
use flamestore_proto::parca::query::v1alpha1::query_request::ReportType;
use flamestore_proto::parca::query::v1alpha1::query_response::Report;
use flamestore_testkit::Fixture;

use super::reports::{batch, drawn, numbers, pprof, texts};
use super::{DELTA, RANGE, answer, diff, fill, selector};
use crate::harness::{CPU, NOON, Running, raw};

/// What the nodes of both sides differ by: of totals, the smaller side scaled up.
fn expected_diffs(
    base: &BTreeMap<String, i64>,
    compared: &BTreeMap<String, i64>,
    absolute: bool,
) -> BTreeMap<String, i64> {
    let totals = |stacks: &BTreeMap<String, i64>| {
        let mut totals: BTreeMap<String, i64> = BTreeMap::new();
        for (stack, value) in stacks {
            let frames: Vec<&str> = stack.split(';').collect();
            for depth in 1..=frames.len() {
                *totals.entry(frames[..depth].join(";")).or_default() += value;
            }
        }
        totals
    };
    let (all_base, all_compared) = (base.values().sum::<i64>(), compared.values().sum::<i64>());
    let is_scaled = !absolute && all_base > 0 && all_compared > 0;
    let scale = |own: i64, other: i64| if is_scaled && other > own { (other, own) } else { (1, 1) };
    let (base_scale, compared_scale) = (scale(all_base, all_compared), scale(all_compared, all_base));
    let (base, compared) = (totals(base), totals(compared));
    let paths: BTreeSet<&String> = base.keys().chain(compared.keys()).collect();
    let scaled = |totals: &BTreeMap<String, i64>, path: &String, (by, of): (i64, i64)| {
        let value = totals.get(path).copied().unwrap_or_default();
        (2 * value * by + of).div_euclid(2 * of)
    };
    let diff = |path: &String| scaled(&compared, path, compared_scale) - scaled(&base, path, base_scale);
    paths.into_iter().map(|path| (path.clone(), diff(path))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_keep_what_only_the_base_has() {
    let running = Running::start().await;
    let oracle = fill(&running).await;
    let (api, web, none) = (r#"{service_name="api"}"#, r#"{service_name="web"}"#, r#"{pod="none"}"#);
    for (base, compared) in [(api, web), (web, api), (api, api), (none, web), (api, none), (none, none)] {
        let of = |labels: &str| oracle.merge_folded(&selector(&format!("{CPU}{labels}")), &RANGE);
        let query = |labels: &str| format!("{DELTA}{labels}");
        for absolute in [false, true] {
            let graph =
                drawn(&running, diff(&query(base), &query(compared), absolute, ReportType::FlamegraphArrow)).await;
            assert_eq!(graph.folded(), of(compared), "{base} {compared}");
            assert_eq!(graph.total, of(compared).values().sum::<i64>());
            assert_eq!(
                graph.diffs(),
                expected_diffs(&of(base), &of(compared), absolute),
                "{base} {compared} {absolute}"
            );
            assert!(graph.parents.len() == 1 || graph.diff.iter().all(Option::is_some));
        }
        let mut own: BTreeMap<String, i64> = of(compared);
        for (stack, value) in of(base) {
            *own.entry(stack).or_default() -= value;
        }
        own.retain(|_, value| *value != 0);
        let request = diff(&query(base), &query(compared), true, ReportType::Pprof);
        assert_eq!(pprof(answer(&running, request).await), own, "{base} {compared}");
        let response = answer(&running, diff(&query(base), &query(compared), true, ReportType::TableArrow)).await;
        let Some(Report::TableArrow(table)) = response.report else { panic!("{response:?}") };
        let batch = batch(&table.record);
        let top = |labels: &str| -> BTreeMap<String, (i64, i64)> {
            let rows = oracle.top(&selector(&format!("{CPU}{labels}")), &RANGE);
            rows.into_iter().map(|row| (row.name, (row.total, row.self_value))).collect()
        };
        let (before, after) = (top(base), top(compared));
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        assert_eq!(batch.num_rows(), names.len());
        let (diffs, own_diffs) = (numbers(&batch["cumulative_diff"]), numbers(&batch["flat_diff"]));
        for (row, name) in texts(&batch["function_name"]).into_iter().enumerate() {
            let name = name.unwrap();
            let (was, is) =
                (before.get(&name).copied().unwrap_or_default(), after.get(&name).copied().unwrap_or_default());
            assert_eq!((diffs[row], own_diffs[row]), (Some(is.0 - was.0), Some(is.1 - was.1)), "{name}");
        }
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_are_as_wide_as_their_smallest_and_largest_value() {
    let running = Running::start().await;
    let cpu = |service: &str, text: &str| raw(&[("service_name", service)], &Fixture::cpu().time(NOON).profile(text));
    running.push(cpu("a", "x 5000000000 | y 1")).await;
    running.push(cpu("b", "y 2")).await;
    let query = |service: &str| format!("{DELTA}{{service_name={service:?}}}");
    let graph = drawn(&running, diff(&query("a"), &query("b"), true, ReportType::FlamegraphArrow)).await;
    assert_eq!(graph.diffs(), BTreeMap::from([("x".to_owned(), -5_000_000_000), ("y".to_owned(), 1)]));
    assert_eq!(graph.batch["diff"].data_type(), &DataType::Int64);
    assert_eq!(graph.batch["cumulative"].data_type(), &DataType::UInt8);
    running.stop().await.unwrap();
}
