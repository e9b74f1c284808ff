//! The rows in a store: a profile for each set of labels, flushed into one segment.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use flamestore_formats::{LabelText, ProfileBuilder};
use flamestore_model::{Function, Labels, Line, Mapping, ProfileBatch, Tenant};
use flamestore_query::{Engine, QueryOptions, SqlAnswer};
use flamestore_store::{Background, BucketOptions, PushProfile, Store, StoreOptions, StoreUrl};
use futures::TryStreamExt;
use std::sync::Arc;

use crate::rows::{
    DURATION, LABELS, LabelSet, MAPPINGS, PERIOD, PRODUCER, Rows, VALUE, build_id, file_name, function_name, start_line,
};
use crate::{Outcome, PARTITIONS};

/// Labels that samples have; the others are those of the series.
const OF_SAMPLES: [&str; 2] = ["cpu", "thread_name"];

/// The engine over a store of the rows.
pub(crate) struct Ours {
    pub(crate) store: Arc<Store>,
    engine: Engine,
    pub(crate) bytes: u64,
}

impl Ours {
    /// Fills a store in `folder`.
    pub(crate) async fn fill(rows: &Rows, folder: &str) -> Outcome<Self> {
        let bucket = folder.parse::<StoreUrl>()?.open(&BucketOptions::default())?;
        let mut options = StoreOptions::new(bucket);
        options.background = Background::Off;
        options.head_bytes_max = 6 << 30;
        let store = Store::open(options).await?;
        for set in 0..rows.label_sets.len() {
            let push = PushProfile {
                tenant: Tenant::default(),
                labels: series_labels(&rows.label_sets[set])?,
                batch: profile(rows, set)?,
                received: None,
                id: None,
                time_unix_nano: None,
            };
            store.push(push).await?;
        }
        store.flush().await?;
        let bytes = store.manifest().segments.iter().map(|entry| entry.bytes()).sum();
        let options = QueryOptions { partitions: PARTITIONS, ..QueryOptions::default() };
        Ok(Self { engine: Engine::new(Arc::clone(&store), options)?, store, bytes })
    }

    /// The rows of a statement, names as dictionaries.
    pub(crate) async fn coded(&self, statement: &str) -> Outcome<Vec<RecordBatch>> {
        collect(self.engine.sql_coded(&Tenant::default(), statement).await?).await
    }

    /// The rows of a statement.
    pub(crate) async fn plain(&self, statement: &str) -> Outcome<Vec<RecordBatch>> {
        collect(self.engine.sql(&Tenant::default(), statement).await?).await
    }
}

async fn collect(answer: SqlAnswer) -> Outcome<Vec<RecordBatch>> {
    Ok(answer.batches.try_collect().await?)
}

fn present(set: &LabelSet, of_samples: bool) -> impl Iterator<Item = (&'static str, &str)> {
    let labels = LABELS.iter().zip(set).filter_map(|((name, ..), value)| Some((*name, value.as_deref()?)));
    labels.filter(move |(name, _)| OF_SAMPLES.contains(name) == of_samples)
}

fn series_labels(set: &LabelSet) -> Outcome<Labels> {
    let own = [("service_name", PRODUCER), ("__name__", PRODUCER)];
    Ok(Labels::from_pairs(present(set, false).chain(own))?)
}

/// The profile of all rows that have set number `set`.
fn profile(rows: &Rows, set: usize) -> Outcome<ProfileBatch> {
    let mut builder = ProfileBuilder::new();
    builder.sample_type("samples", "count").period("cpu", "nanoseconds", PERIOD);
    let per_set = rows.rows_per_set();
    let of = set * per_set..(set + 1) * per_set;
    builder.time(rows.time(of.start), DURATION);
    let own: Vec<_> = present(&rows.label_sets[set], true).collect();
    let own: Vec<_> = own.into_iter().map(|(name, value)| builder.label(name, LabelText::Str(value))).collect();
    let mut known: HashMap<u32, Vec<u32>> = HashMap::new();
    for row in of {
        let stack = rows.of_rows[row];
        let locations = known.entry(stack).or_insert_with(|| locations(&mut builder, rows, stack));
        let mut labels = own.clone();
        labels.push(builder.label("timestamp_ns", LabelText::Num(rows.time(row), "nanoseconds")));
        builder.add_row(locations, &[VALUE], &labels);
    }
    Ok(builder.finish()?)
}

fn locations(builder: &mut ProfileBuilder, rows: &Rows, stack: u32) -> Vec<u32> {
    let location = |place: &crate::rows::Place| {
        let mapping = Mapping {
            memory_limit: u64::MAX,
            filename: builder.string(MAPPINGS[place.mapping]),
            build_id: builder.string(build_id(place.build_id)),
            has_functions: true,
            ..Mapping::default()
        };
        let mapping = builder.mapping(mapping);
        let line = |(number, line): &(u32, i64)| {
            let name = builder.string(function_name(*number));
            let filename = builder.string(file_name(*number));
            let function = Function { name, system_name: name, filename, start_line: start_line(*number) };
            Line { function: builder.function(function), line: *line, column: 0 }
        };
        let lines: Vec<Line> = place.lines.iter().map(line).collect();
        builder.location(mapping, place.address, false, &lines)
    };
    rows.stacks[stack as usize].iter().map(location).collect()
}
