//! Flame graphs as the JSON of Pyroscope's pages: `flamebearer`, with what there is to say of it.

use std::collections::BTreeMap;

use flamestore_model::ProfileType;
use flamestore_proto::querier::v1::{FlameGraph, FlameGraphDiff, Level};
use flamestore_proto::types::v1::Series;
use serde::Serialize;

use super::series::Grid;

/// Samples a second, where the type is not time.
const SAMPLE_RATE: u64 = 100;
/// Nanoseconds of a second of CPU time.
const SAMPLE_RATE_CPU: u64 = 1_000_000_000;

#[derive(Debug, Serialize)]
pub(super) struct Profile {
    version: u32,
    flamebearer: Flamebearer,
    metadata: Metadata,
    timeline: Option<Timeline>,
    groups: Option<BTreeMap<String, Timeline>>,
    heatmap: Option<()>,
    #[serde(rename = "leftTicks", skip_serializing_if = "Option::is_none")]
    left_ticks: Option<i64>,
    #[serde(rename = "rightTicks", skip_serializing_if = "Option::is_none")]
    right_ticks: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Flamebearer {
    names: Vec<String>,
    levels: Vec<Vec<i64>>,
    num_ticks: i64,
    max_self: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    format: &'static str,
    spy_name: &'static str,
    sample_rate: u64,
    units: String,
    name: String,
}

/// Totals over time: one a step, zeros where there is none.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Timeline {
    start_time: i64,
    samples: Vec<f64>,
    duration_delta: i64,
    watermarks: BTreeMap<String, i64>,
}

impl Profile {
    /// One flame graph, the totals of all and of groups.
    pub(super) fn single(
        ty: &ProfileType,
        graph: FlameGraph,
        grid: &Grid,
        all: &[Series],
        groups: Option<&[Series]>,
    ) -> Self {
        let flamebearer = Flamebearer {
            names: graph.names,
            levels: numbers(graph.levels),
            num_ticks: graph.total,
            max_self: graph.max_self,
        };
        let group = |series: &Series| {
            let name = series.labels.first().map(|label| label.value.clone()).unwrap_or_default();
            (name, timeline(grid, std::slice::from_ref(series)))
        };
        Self {
            version: 1,
            flamebearer,
            metadata: metadata(ty, "single"),
            timeline: Some(timeline(grid, all)),
            groups: groups.map(|groups| groups.iter().map(group).collect()),
            heatmap: None,
            left_ticks: None,
            right_ticks: None,
        }
    }

    /// Two flame graphs laid over each other.
    pub(super) fn double(ty: &ProfileType, graph: FlameGraphDiff) -> Self {
        let flamebearer = Flamebearer {
            names: graph.names,
            levels: numbers(graph.levels),
            num_ticks: graph.total,
            max_self: graph.max_self,
        };
        Self {
            version: 1,
            flamebearer,
            metadata: metadata(ty, "double"),
            timeline: None,
            groups: None,
            heatmap: None,
            left_ticks: Some(graph.left_ticks),
            right_ticks: Some(graph.right_ticks),
        }
    }
}

fn numbers(levels: Vec<Level>) -> Vec<Vec<i64>> {
    levels.into_iter().map(|level| level.values).collect()
}

fn timeline(grid: &Grid, series: &[Series]) -> Timeline {
    let mut samples = vec![0.0; grid.len()];
    for point in series.iter().flat_map(|series| &series.points) {
        if let Some(sample) = grid.place(point.timestamp).and_then(|at| samples.get_mut(at)) {
            *sample += point.value;
        }
    }
    Timeline {
        start_time: grid.start.div_euclid(1000),
        samples,
        duration_delta: grid.step / 1000,
        watermarks: BTreeMap::new(),
    }
}

/// What the pages are told about a type: `objects` are counted, time is in nanoseconds.
fn metadata(ty: &ProfileType, format: &'static str) -> Metadata {
    let (sample_rate, units) = match ty.sample_type.as_str() {
        "inuse_objects" | "alloc_objects" | "goroutine" | "samples" => (SAMPLE_RATE, "objects".to_owned()),
        "cpu" => (SAMPLE_RATE_CPU, "samples".to_owned()),
        _ => (SAMPLE_RATE, ty.sample_unit.clone()),
    };
    Metadata { format, spy_name: "", sample_rate, units, name: ty.sample_type.clone() }
}
