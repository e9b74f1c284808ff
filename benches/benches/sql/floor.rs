//! The rows as one file of nested Parquet, and DataFusion over it.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, UInt32Type};
use datafusion::execution::config::SessionConfig;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::rows::{
    DURATION, FRAME_TYPES, FUNCTIONS, LABELS, MAPPINGS, PERIOD, PRODUCER, Place, Rows, VALUE, build_id, file_name,
    function_name, start_line,
};
use crate::{Outcome, PARTITIONS};

/// Rows written at a time.
const BATCH_ROWS: usize = 10_000;
/// Build ids there are.
const BUILD_IDS: usize = 20;

/// DataFusion over the file.
pub(crate) struct Floor {
    /// With filters pushed down, and without.
    contexts: [SessionContext; 2],
    pub(crate) bytes: u64,
}

impl Floor {
    /// Writes the rows to `path`.
    pub(crate) async fn write(rows: &Rows, path: &str) -> Outcome<Self> {
        let labels = labels(rows)?;
        let stacks = stacks(rows)?;
        let mut writer: Option<ArrowWriter<File>> = None;
        for start in (0..rows.len()).step_by(BATCH_ROWS) {
            let batch = batch(rows, start..rows.len().min(start + BATCH_ROWS), &labels, &stacks)?;
            let writer = match &mut writer {
                Some(writer) => writer,
                none => {
                    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                    none.insert(ArrowWriter::try_new(File::create(path)?, batch.schema(), Some(properties))?)
                }
            };
            writer.write(&batch)?;
        }
        writer.ok_or("there are no rows")?.close()?;
        let contexts = [context(path, true).await?, context(path, false).await?];
        Ok(Self { contexts, bytes: std::fs::metadata(path)?.len() })
    }

    /// The rows of a statement.
    pub(crate) async fn ask(&self, statement: &str, pushes_down: bool) -> Outcome<Vec<RecordBatch>> {
        Ok(self.contexts[usize::from(!pushes_down)].sql(statement).await?.collect().await?)
    }
}

async fn context(path: &str, pushes_down: bool) -> Outcome<SessionContext> {
    let mut config = SessionConfig::new().with_target_partitions(PARTITIONS);
    config.options_mut().execution.parquet.pushdown_filters = pushes_down;
    config.options_mut().execution.parquet.reorder_filters = pushes_down;
    let context = SessionContext::new_with_config(config);
    context.register_parquet("stacktraces", path, ParquetReadOptions::default()).await?;
    Ok(context)
}

fn batch(rows: &Rows, of: std::ops::Range<usize>, labels: &ArrayRef, stacks: &ArrayRef) -> Outcome<RecordBatch> {
    let per_set = rows.rows_per_set();
    let sets = of.clone().map(|row| u32::try_from(row / per_set).unwrap_or_default());
    let sets = UInt32Array::from_iter_values(sets);
    let drawn = UInt32Array::from(rows.of_rows[of.clone()].to_vec());
    let all = |value: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![value; of.len()])) };
    let name = |text: &str| -> Outcome<ArrayRef> { coded(&[text], vec![Some(0); of.len()]) };
    let times = TimestampNanosecondArray::from_iter_values(of.clone().map(|row| rows.time(row))).with_timezone("UTC");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("labels", take(labels, &sets, None)?),
        ("locations", take(stacks, &drawn, None)?),
        ("value", all(VALUE)),
        ("producer", name(PRODUCER)?),
        ("sample_type", name("samples")?),
        ("sample_unit", name("count")?),
        ("period_type", name("cpu")?),
        ("period_unit", name("nanoseconds")?),
        ("temporality", name("delta")?),
        ("period", all(PERIOD)),
        ("duration", all(DURATION)),
        ("time_nanos", Arc::new(times)),
    ];
    let field = |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), *name == "labels");
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    Ok(RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, column)| column).collect())?)
}

fn coded(texts: &[&str], keys: Vec<Option<u32>>) -> Outcome<ArrayRef> {
    let texts: ArrayRef = Arc::new(texts.iter().map(Some).collect::<StringArray>());
    Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(UInt32Array::from(keys), texts)?))
}

fn coded_numbers(numbers: ArrayRef) -> Outcome<ArrayRef> {
    let keys = UInt32Array::from_iter_values(0..u32::try_from(numbers.len())?);
    Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(keys, numbers)?))
}

fn structs(columns: Vec<(&str, ArrayRef)>) -> Outcome<ArrayRef> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    Ok(Arc::new(StructArray::try_new(fields.into(), columns.into_iter().map(|(_, column)| column).collect(), None)?))
}

fn lists(lengths: impl Iterator<Item = usize>, entries: ArrayRef) -> Outcome<ArrayRef> {
    let field = Arc::new(Field::new_list_field(entries.data_type().clone(), true));
    Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), entries, None)?))
}

/// The sets of labels, one row each.
fn labels(rows: &Rows) -> Outcome<ArrayRef> {
    let columns = LABELS.iter().enumerate().map(|(label, (name, ..))| {
        let texts: Vec<Option<&str>> = rows.label_sets.iter().map(|set| set[label].as_deref()).collect();
        let mut distinct: Vec<&str> = texts.iter().flatten().copied().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let key = |text: &str| distinct.binary_search(&text).ok().and_then(|key| u32::try_from(key).ok());
        let keys = texts.into_iter().map(|text| text.and_then(key)).collect();
        Ok((*name, coded(&distinct, keys)?))
    });
    structs(columns.collect::<Outcome<_>>()?)
}

/// The stacks, one row each.
fn stacks(rows: &Rows) -> Outcome<ArrayRef> {
    let places = || rows.stacks.iter().flatten();
    let lines = || places().flat_map(|place| &place.lines);
    let key = |number: usize| u32::try_from(number).ok();
    let functions = |text: fn(u32) -> String| -> Outcome<ArrayRef> {
        let texts: Vec<String> = (0..FUNCTIONS).map(text).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        coded(&texts, lines().map(|(function, _)| Some(*function)).collect())
    };
    let of_lines = structs(vec![
        ("line", coded_numbers(Arc::new(Int64Array::from_iter_values(lines().map(|(_, line)| *line))))?),
        ("function_name", functions(function_name)?),
        ("function_system_name", functions(function_name)?),
        ("function_filename", functions(file_name)?),
        (
            "function_start_line",
            coded_numbers(Arc::new(Int64Array::from_iter_values(lines().map(|(function, _)| start_line(*function)))))?,
        ),
    ])?;
    let places_of =
        |texts: &[&str], number: fn(&Place) -> usize| coded(texts, places().map(|place| key(number(place))).collect());
    let build_ids: Vec<String> = (0..BUILD_IDS).map(build_id).collect();
    let build_ids: Vec<&str> = build_ids.iter().map(String::as_str).collect();
    let addresses = UInt64Array::from_iter_values(places().map(|place| place.address));
    let of_places = structs(vec![
        ("address", coded_numbers(Arc::new(addresses))?),
        ("frame_type", places_of(&FRAME_TYPES, |place| place.frame_type)?),
        ("mapping_file", places_of(&MAPPINGS, |place| place.mapping)?),
        ("mapping_build_id", places_of(&build_ids, |place| place.build_id)?),
        ("lines", lists(places().map(|place| place.lines.len()), of_lines)?),
    ])?;
    lists(rows.stacks.iter().map(Vec::len), of_places)
}
