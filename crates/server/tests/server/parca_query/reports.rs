//! Parca's reports as they come over the wire, read without any code of the server.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use arrow::ipc::reader::StreamReader;
use flamestore_proto::parca::query::v1alpha1 as v1;
use flamestore_proto::parca::query::v1alpha1::query_response::Report;
use flamestore_testkit::folded;

use super::answer;
use crate::harness::Running;

pub(crate) fn batch(record: &[u8]) -> RecordBatch {
    let mut reader = StreamReader::try_new(record, None).unwrap();
    let batch = reader.next().unwrap().unwrap();
    assert!(reader.next().is_none());
    batch
}

/// Numbers of any width.
pub(crate) fn numbers(column: &ArrayRef) -> Vec<Option<i64>> {
    let wide = arrow::compute::cast(column, &DataType::Int64).unwrap();
    wide.as_primitive::<Int64Type>().iter().collect()
}

/// Texts behind keys of any width, of bytes or UTF-8.
pub(crate) fn texts(column: &ArrayRef) -> Vec<Option<String>> {
    let plain = arrow::compute::cast(column, &DataType::Binary).unwrap();
    plain.as_binary::<i32>().iter().map(|text| text.map(|text| String::from_utf8_lossy(text).into_owned())).collect()
}

/// A flame graph as it comes over the wire.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) batch: RecordBatch,
    pub(crate) names: Vec<Option<String>>,
    pub(crate) parents: Vec<i32>,
    pub(crate) cumulative: Vec<i64>,
    pub(crate) flat: Vec<i64>,
    pub(crate) diff: Vec<Option<i64>>,
    pub(crate) depth: Vec<i64>,
    pub(crate) offset: Vec<i64>,
    pub(crate) labels_only: BooleanArray,
    pub(crate) height: i32,
    pub(crate) trimmed: i64,
    pub(crate) unit: String,
    pub(crate) total: i64,
    pub(crate) filtered: i64,
}

const COLUMNS: [&str; 18] = [
    "labels_only",
    "location_address",
    "mapping_file",
    "mapping_build_id",
    "location_line",
    "inlined",
    "function_startline",
    "function_name",
    "function_system_name",
    "function_file_name",
    "children",
    "parent",
    "cumulative",
    "flat",
    "diff",
    "timestamp",
    "depth",
    "value_offset",
];

impl Drawn {
    pub(crate) fn new(response: v1::QueryResponse) -> Self {
        let Some(Report::FlamegraphArrow(graph)) = response.report else { panic!("no flame graph: {response:?}") };
        let batch = batch(&graph.record);
        let schema = batch.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names[..18], COLUMNS);
        let whole = |name: &str| numbers(batch.column_by_name(name).unwrap()).into_iter().map(Option::unwrap).collect();
        let drawn = Self {
            names: texts(batch.column_by_name("function_name").unwrap()),
            parents: batch["parent"].as_primitive::<Int32Type>().values().to_vec(),
            cumulative: whole("cumulative"),
            flat: whole("flat"),
            diff: numbers(&batch["diff"]),
            depth: whole("depth"),
            offset: whole("value_offset"),
            labels_only: batch["labels_only"].as_boolean().clone(),
            height: graph.height,
            trimmed: graph.trimmed,
            unit: graph.unit,
            total: response.total,
            filtered: response.filtered,
            batch,
        };
        drawn.check();
        drawn
    }

    /// What the pages take for granted.
    fn check(&self) {
        let children = self.batch["children"].as_list::<i32>();
        assert_eq!((self.parents[0], self.depth[0], self.offset[0], self.labels_only.is_null(0)), (-1, 0, 0, true));
        let mut listed = 0;
        for row in 0..self.parents.len() {
            let mut x = self.offset[row];
            assert_eq!(children.is_null(row), !self.parents.iter().any(|parent| usize::try_from(*parent) == Ok(row)));
            let below = if children.is_null(row) { Vec::new() } else { numbers(&children.value(row)) };
            for child in below {
                let child = usize::try_from(child.unwrap()).unwrap();
                assert!(child > listed, "breadth first");
                listed = child;
                assert_eq!(usize::try_from(self.parents[child]), Ok(row));
                assert_eq!((self.depth[child], self.offset[child]), (self.depth[row] + 1, x));
                x += self.cumulative[child];
            }
            assert!(x <= self.offset[row] + self.cumulative[row], "children are no wider than their caller");
        }
        assert_eq!(listed + 1, self.parents.len());
        assert_eq!(self.total - self.trimmed, self.cumulative[0]);
    }

    pub(crate) fn path(&self, mut row: usize) -> String {
        let mut path = Vec::new();
        while row != 0 {
            path.push(self.names[row].clone().unwrap_or_else(|| "?".to_owned()));
            row = usize::try_from(self.parents[row]).unwrap();
        }
        path.reverse();
        path.join(";")
    }

    /// The stacks that end in rows, by what they spend there.
    pub(crate) fn folded(&self) -> BTreeMap<String, i64> {
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for row in (0..self.parents.len()).filter(|row| self.flat[*row] != 0) {
            *sums.entry(self.path(row)).or_default() += self.flat[row];
        }
        sums
    }

    /// The differences of all nodes.
    pub(crate) fn diffs(&self) -> BTreeMap<String, i64> {
        (1..self.parents.len()).map(|row| (self.path(row), self.diff[row].unwrap())).collect()
    }
}

pub(crate) async fn drawn(running: &Running, request: v1::QueryRequest) -> Drawn {
    Drawn::new(answer(running, request).await)
}

pub(crate) fn pprof(response: v1::QueryResponse) -> BTreeMap<String, i64> {
    let Some(Report::Pprof(bytes)) = response.report else { panic!("no pprof: {response:?}") };
    assert_eq!(response.total, 0);
    let batch = flamestore_formats::decode_pprof(bytes.into(), &Default::default()).unwrap();
    folded(&batch, 0)
}

/// Functions by name: total, own, and names of callers and callees.
pub(crate) fn table(response: v1::QueryResponse) -> BTreeMap<String, (i64, i64, BTreeSet<String>, BTreeSet<String>)> {
    let Some(Report::TableArrow(table)) = response.report else { panic!("no table: {response:?}") };
    let batch = batch(&table.record);
    let names = texts(&batch["function_name"]);
    let name = |row: usize| names[row].clone().unwrap_or_else(|| "?".to_owned());
    let (cumulative, flat) = (numbers(&batch["cumulative"]), numbers(&batch["flat"]));
    let neighbours = |column: &str, row: usize| -> BTreeSet<String> {
        let rows = numbers(&batch[column].as_list::<i32>().value(row));
        rows.into_iter().map(|row| name(usize::try_from(row.unwrap()).unwrap())).collect()
    };
    let row = |row: usize| {
        let values = (cumulative[row].unwrap(), flat[row].unwrap());
        (name(row), (values.0, values.1, neighbours("callers", row), neighbours("callees", row)))
    };
    (0..batch.num_rows()).map(row).collect()
}

/// What frames without a name are called where they are compared: APIs do not agree in how they tell them apart.
pub(crate) const NAMELESS: &str = "?";

/// The name of a frame, if it is one.
pub(crate) fn nameless(frame: &str) -> &str {
    if frame.starts_with("0x") || frame == "<unknown>" { NAMELESS } else { frame }
}
