//! Records as Parca's agents write them, in the column types of both versions.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::{Int32Type, UInt32Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Int32Array, Int64Array,
    ListArray, ListViewArray, RecordBatch, RunArray, StringArray, StringViewArray, StructArray,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{Field, Fields, Schema};

/// A line of a location: line, column, function, file, the function's first line.
pub(crate) type Line = (u64, u64, &'static str, &'static str, u64);

/// A location.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) address: u64,
    pub(crate) file: Option<&'static str>,
    pub(crate) build_id: Option<&'static str>,
    pub(crate) lines: Option<Vec<Line>>,
}

/// A sample: `stack` are numbers of frames, leaf first.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) stack: Vec<usize>,
    pub(crate) value: i64,
    pub(crate) time: i64,
    /// Producer, sample type and unit, period type and unit.
    pub(crate) types: [&'static str; 5],
    pub(crate) period: i64,
    pub(crate) duration: i64,
    pub(crate) labels: Vec<(&'static str, &'static str)>,
}

/// What a record is made of.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) frames: Vec<Frame>,
    pub(crate) samples: Vec<Sample>,
}

pub(crate) const CPU: [&str; 5] = ["parca_agent", "samples", "count", "cpu", "nanoseconds"];
pub(crate) const WALL: [&str; 5] = ["parca_agent", "wallclock", "nanoseconds", "samples", "count"];
/// 2026-03-01 12:00 UTC.
pub(crate) const NOON: i64 = 1_772_366_400_000_000_000;

/// A column of a record.
type Column = (&'static str, ArrayRef, bool);

impl Record {
    /// Two services, two profile types, inlined and native frames.
    pub(crate) fn example() -> Self {
        let line = |line, name, file, start| (line, 0, name, file, start);
        let native = |address| Frame { address, file: Some("/bin/api"), build_id: Some("b1"), lines: None };
        let frames = vec![
            Frame { lines: Some(vec![line(7, "read", "io.c", 5), line(30, "serve", "main.c", 20)]), ..native(16) },
            Frame { lines: Some(vec![line(9, "main", "main.c", 1)]), ..native(32) },
            native(48),
            Frame {
                address: 64,
                file: Some("[kernel.kallsyms]"),
                build_id: None,
                lines: Some(vec![line(0, "sys_read", "", 0)]),
            },
        ];
        let cpu = Sample {
            stack: vec![0, 1],
            value: 1,
            time: NOON,
            types: CPU,
            period: 52_631_578,
            duration: 1_000_000_000,
            labels: vec![("comm", "api"), ("node", "n1"), ("thread_id", "7")],
        };
        let samples = vec![
            cpu.clone(),
            Sample { time: NOON + 5, ..cpu.clone() },
            Sample {
                stack: vec![3, 0, 1],
                time: NOON + 3,
                labels: vec![("comm", "api"), ("node", "n1"), ("thread_id", "8")],
                ..cpu.clone()
            },
            Sample { stack: vec![2], time: NOON - 1, labels: vec![("comm", "web"), ("node", "n1")], ..cpu.clone() },
            Sample { stack: vec![], time: NOON + 9, types: WALL, period: 1, value: 250, ..cpu },
        ];
        Self { frames, samples }
    }

    /// The record of version 2.
    pub(crate) fn v2(&self) -> RecordBatch {
        let mut columns = vec![("labels", self.label_struct(), false), ("stacktrace", self.stack_views(), false)];
        columns.push(("stacktrace_id", Arc::new(self.stack_ids()), false));
        columns.extend(self.numbers());
        let text = |texts: Vec<&str>| encode(&texts, |texts| Arc::new(StringArray::from_iter_values(texts)));
        columns.extend(self.types().map(|(name, texts)| (name, text(texts), false)));
        let times = self.samples.iter().map(|sample| sample.time);
        let times = TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC");
        columns.push(("timestamp", Arc::new(times), false));
        batch(columns)
    }

    /// The samples of version 1.
    pub(crate) fn v1_samples(&self) -> RecordBatch {
        let bytes = |texts: Vec<&str>| encode(&texts, |texts| binary_dictionary(&texts));
        let mut columns = self.numbers();
        let ids = self.samples.iter().map(|sample| stack_id(&sample.stack)).collect::<Vec<_>>();
        columns.push(("stacktrace_id", encode(&ids, |ids| binary_dictionary(&ids)), false));
        columns.extend(self.types().map(|(name, texts)| (name, bytes(texts), false)));
        let times: Vec<i64> = self.samples.iter().map(|sample| sample.time).collect();
        columns.push(("timestamp", encode(&times, |times| Arc::new(Int64Array::from(times))), false));
        let mut batch = batch(columns);
        for name in self.label_names() {
            let values: Vec<Option<&str>> = self.label_values(name);
            let array = encode(&values, |values| {
                let values: BinaryArray = values.into_iter().map(|value| value.map(str::as_bytes)).collect();
                dictionary(Arc::new(values))
            });
            let fields = batch.schema().fields().iter().cloned().collect::<Vec<_>>();
            let field = Arc::new(Field::new(format!("labels.{name}"), array.data_type().clone(), true));
            let schema = Schema::new([fields, vec![field]].concat());
            let columns = [batch.columns().to_vec(), vec![array]].concat();
            batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        }
        batch
    }

    /// The stacks of version 1, but for the one that `without` names.
    pub(crate) fn v1_stacks(&self, without: Option<&[usize]>) -> RecordBatch {
        let stacks: BTreeSet<&Vec<usize>> = self.samples.iter().map(|sample| &sample.stack).collect();
        let stacks: Vec<&Vec<usize>> = stacks.into_iter().filter(|stack| without != Some(stack.as_slice())).collect();
        let ids = BinaryArray::from_iter_values(stacks.iter().map(|stack| stack_id(stack)));
        let entries: Vec<&Frame> = stacks.iter().flat_map(|stack| stack.iter().map(|at| &self.frames[*at])).collect();
        let locations = v1_locations(&entries);
        let field = Arc::new(Field::new("item", locations.data_type().clone(), true));
        let lists = ListArray::new(
            field,
            OffsetBuffer::from_lengths(stacks.iter().map(|stack| stack.len())),
            Arc::new(locations),
            None,
        );
        let complete = BooleanArray::from(vec![true; stacks.len()]);
        batch(vec![
            ("stacktrace_id", Arc::new(ids), false),
            ("is_complete", Arc::new(complete), false),
            ("locations", Arc::new(lists), true),
        ])
    }

    fn numbers(&self) -> Vec<Column> {
        let value = Int64Array::from_iter_values(self.samples.iter().map(|sample| sample.value));
        let period: Vec<i64> = self.samples.iter().map(|sample| sample.period).collect();
        let duration: Vec<u64> = self.samples.iter().map(|sample| sample.duration.cast_unsigned()).collect();
        vec![
            ("value", Arc::new(value), false),
            ("period", encode(&period, |numbers| Arc::new(Int64Array::from(numbers))), false),
            ("duration", encode(&duration, |numbers| Arc::new(UInt64Array::from(numbers))), false),
        ]
    }

    fn types(&self) -> [(&'static str, Vec<&'static str>); 6] {
        let texts = |at: usize| self.samples.iter().map(|sample| sample.types[at]).collect();
        let delta = |sample: &Sample| if sample.duration > 0 { "delta" } else { "" };
        let temporality = self.samples.iter().map(delta).collect();
        [
            ("producer", texts(0)),
            ("sample_type", texts(1)),
            ("sample_unit", texts(2)),
            ("period_type", texts(3)),
            ("period_unit", texts(4)),
            ("temporality", temporality),
        ]
    }

    fn label_names(&self) -> BTreeSet<&'static str> {
        self.samples.iter().flat_map(|sample| sample.labels.iter().map(|(name, _)| *name)).collect()
    }

    fn label_values(&self, name: &str) -> Vec<Option<&'static str>> {
        let value = |sample: &Sample| sample.labels.iter().find(|(found, _)| *found == name).map(|(_, value)| *value);
        self.samples.iter().map(value).collect()
    }

    fn label_struct(&self) -> ArrayRef {
        let columns: Vec<(Arc<Field>, ArrayRef)> = self
            .label_names()
            .into_iter()
            .map(|name| {
                let array = encode(&self.label_values(name), |values| {
                    let mut builder = StringDictionaryBuilder::<UInt32Type>::new();
                    values.into_iter().for_each(|value| builder.append_option(value));
                    Arc::new(builder.finish())
                });
                (Arc::new(Field::new(name, array.data_type().clone(), true)), array)
            })
            .collect();
        match columns.is_empty() {
            true => Arc::new(StructArray::new_empty_fields(self.samples.len(), None)),
            false => Arc::new(StructArray::from(columns)),
        }
    }

    fn stack_ids(&self) -> FixedSizeBinaryArray {
        let ids = self.samples.iter().map(|sample| stack_id(&sample.stack));
        FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids.map(Some), 16).unwrap()
    }

    /// Views of one list of keys; equal stacks are one place of it.
    fn stack_views(&self) -> ArrayRef {
        let (mut keys, mut offsets, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        let mut known: Vec<(&[usize], i32)> = Vec::new();
        for sample in &self.samples {
            let offset = match known.iter().find(|(stack, _)| *stack == sample.stack) {
                Some((_, offset)) => *offset,
                None => {
                    let offset = i32::try_from(keys.len()).unwrap();
                    keys.extend(sample.stack.iter().map(|at| u32::try_from(*at).unwrap()));
                    known.push((&sample.stack, offset));
                    offset
                }
            };
            offsets.push(offset);
            sizes.push(i32::try_from(sample.stack.len()).unwrap());
        }
        let frames: Vec<&Frame> = self.frames.iter().collect();
        let locations = DictionaryArray::<UInt32Type>::new(UInt32Array::from(keys), Arc::new(v2_locations(&frames)));
        views(offsets, sizes, Arc::new(locations), None)
    }
}

/// The id of a stack, as an agent would hash it.
pub(crate) fn stack_id(stack: &[usize]) -> [u8; 16] {
    let mut id = [0xabu8; 16];
    stack
        .iter()
        .enumerate()
        .for_each(|(at, frame)| id[at % 15] = id[at % 15].wrapping_mul(31) ^ frame.to_le_bytes()[0]);
    id[15] = stack.len().to_le_bytes()[0];
    id
}

/// The records as one stream.
pub(crate) fn stream(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), batches[0].schema_ref(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

/// A record of these columns.
pub(crate) fn batch(columns: Vec<Column>) -> RecordBatch {
    let field = |(name, array, nullable): &Column| Field::new(*name, array.data_type().clone(), *nullable);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, array, _)| array).collect()).unwrap()
}

/// Runs of `values`, which `make` makes an array of.
fn encode<T: Clone + PartialEq>(values: &[T], make: impl FnOnce(Vec<T>) -> ArrayRef) -> ArrayRef {
    let mut runs: Vec<(i32, T)> = Vec::new();
    for (end, value) in (1..).zip(values) {
        match runs.last_mut().filter(|(_, last)| last == value) {
            Some((last_end, _)) => *last_end = end,
            None => runs.push((end, value.clone())),
        }
    }
    let ends = Int32Array::from_iter_values(runs.iter().map(|(end, _)| *end));
    let values = make(runs.into_iter().map(|(_, value)| value).collect());
    Arc::new(RunArray::<Int32Type>::try_new(&ends, values.as_ref()).unwrap())
}

fn binary_dictionary<T: AsRef<[u8]>>(texts: &[T]) -> ArrayRef {
    dictionary(Arc::new(BinaryArray::from_iter_values(texts)))
}

/// A dictionary of all values, each with a key of its own; null where the value is.
fn dictionary(values: ArrayRef) -> ArrayRef {
    let keys = (0..values.len()).map(|at| values.is_valid(at).then(|| u32::try_from(at).unwrap()));
    Arc::new(DictionaryArray::<UInt32Type>::new(keys.collect(), values))
}

fn text_dictionary(texts: Vec<Option<&str>>) -> ArrayRef {
    let mut builder = StringDictionaryBuilder::<UInt32Type>::new();
    texts.into_iter().for_each(|text| builder.append_option(text));
    Arc::new(builder.finish())
}

fn views(offsets: Vec<i32>, sizes: Vec<i32>, values: ArrayRef, nulls: Option<NullBuffer>) -> ArrayRef {
    let field = Arc::new(Field::new("item", values.data_type().clone(), true));
    Arc::new(ListViewArray::new(field, ScalarBuffer::from(offsets), ScalarBuffer::from(sizes), values, nulls))
}

fn fields(columns: &[Column]) -> Fields {
    columns.iter().map(|(name, array, nullable)| Field::new(*name, array.data_type().clone(), *nullable)).collect()
}

fn structs(columns: Vec<Column>) -> StructArray {
    let fields = fields(&columns);
    StructArray::new(fields, columns.into_iter().map(|(_, array, _)| array).collect(), None)
}

fn v2_locations(frames: &[&Frame]) -> StructArray {
    let lines: Vec<Line> = frames.iter().flat_map(|frame| frame.lines.iter().flatten().copied()).collect();
    let sizes: Vec<i32> =
        frames.iter().map(|frame| i32::try_from(frame.lines.as_ref().map_or(0, Vec::len)).unwrap()).collect();
    let offsets = sizes.iter().scan(0, |end, size| {
        let start = *end;
        *end += size;
        Some(start)
    });
    let nulls = frames.iter().map(|frame| frame.lines.is_some()).collect();
    // an agent writes a function once, however many lines it has
    let (mut known, mut distinct) = (HashMap::new(), Vec::new());
    let mut key = |line: &Line| {
        *known.entry((line.2, line.3, line.4)).or_insert_with(|| {
            distinct.push(*line);
            u32::try_from(distinct.len() - 1).unwrap()
        })
    };
    let keys: Vec<u32> = lines.iter().map(&mut key).collect();
    let functions = structs(vec![
        ("system_name", Arc::new(StringViewArray::from_iter_values(distinct.iter().map(|line| line.2))), false),
        ("filename", text_dictionary(distinct.iter().map(|line| Some(line.3)).collect()), true),
        ("start_line", numbers(distinct.iter().map(|line| line.4)), false),
    ]);
    let functions = DictionaryArray::<UInt32Type>::new(UInt32Array::from(keys), Arc::new(functions));
    let lines = structs(vec![
        ("line", numbers(lines.iter().map(|line| line.0)), false),
        ("column", numbers(lines.iter().map(|line| line.1)), false),
        ("function", Arc::new(functions), false),
    ]);
    structs(vec![
        ("address", numbers(frames.iter().map(|frame| frame.address)), false),
        ("frame_type", text_dictionary(frames.iter().map(|_| Some("native")).collect()), true),
        ("mapping_file", text_dictionary(frames.iter().map(|frame| frame.file).collect()), true),
        ("mapping_build_id", text_dictionary(frames.iter().map(|frame| frame.build_id).collect()), true),
        ("lines", views(offsets.collect(), sizes.clone(), Arc::new(lines), Some(nulls)), true),
    ])
}

fn v1_locations(frames: &[&Frame]) -> StructArray {
    let lines: Vec<Line> = frames.iter().flat_map(|frame| frame.lines.iter().flatten().copied()).collect();
    let names = || lines.iter().map(|line| line.2);
    let zeros = || encode(&vec![0; frames.len()], |numbers| Arc::new(UInt64Array::from(numbers)));
    let bytes = |texts: Vec<Option<&str>>| {
        encode(&texts, |texts| {
            dictionary(Arc::new(texts.into_iter().map(|text| text.map(str::as_bytes)).collect::<BinaryArray>()))
        })
    };
    let line_columns = structs(vec![
        ("line", Arc::new(Int64Array::from_iter_values(lines.iter().map(|line| line.0.cast_signed()))), false),
        ("column", numbers(lines.iter().map(|line| line.1)), false),
        ("function_name", binary_dictionary(&names().map(|_| "").collect::<Vec<_>>()), true),
        ("function_system_name", binary_dictionary(&names().collect::<Vec<_>>()), true),
        ("function_filename", bytes(lines.iter().map(|line| Some(line.3)).collect()), true),
        (
            "function_start_line",
            Arc::new(Int64Array::from_iter_values(lines.iter().map(|line| line.4.cast_signed()))),
            false,
        ),
    ]);
    let lengths = OffsetBuffer::from_lengths(frames.iter().map(|frame| frame.lines.as_ref().map_or(0, Vec::len)));
    let item = Arc::new(Field::new("item", line_columns.data_type().clone(), true));
    structs(vec![
        ("address", numbers(frames.iter().map(|frame| frame.address)), false),
        ("frame_type", bytes(frames.iter().map(|_| Some("native")).collect()), true),
        ("mapping_start", zeros(), false),
        ("mapping_limit", zeros(), false),
        ("mapping_offset", zeros(), false),
        ("mapping_file", bytes(frames.iter().map(|frame| frame.file).collect()), true),
        ("mapping_build_id", bytes(frames.iter().map(|frame| frame.build_id).collect()), true),
        ("lines", Arc::new(ListArray::new(item, lengths, Arc::new(line_columns), None)), true),
    ])
}

fn numbers(numbers: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(numbers))
}

/// A column of nothing but zeros, as long as runs of any length.
pub(crate) fn endless(rows: i32) -> ArrayRef {
    encode_run(rows, Arc::new(Int64Array::from(vec![0])))
}

fn encode_run(rows: i32, value: ArrayRef) -> ArrayRef {
    Arc::new(RunArray::<Int32Type>::try_new(&Int32Array::from(vec![rows]), value.as_ref()).unwrap())
}
