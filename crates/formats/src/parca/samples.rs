//! The rows of a record and what they have in common: profile types, labels, stacks.

use std::ops::Range;

use arrow_array::{Array, RecordBatch};
use flamestore_model::{Error, Result};
use hashbrown::HashMap;

use super::column::{Numbers, Strings, structs};
use super::stacks::Stacks;
use super::tables::TableBuilder;
use crate::Limits;
use crate::limits::within;

/// Labels that tell apart the samples of one process, not the processes: they are kept with the sample.
const SAMPLE_LABELS: [&[u8]; 5] = [b"cpu", b"thread_id", b"thread_name", b"trace_id", b"span_id"];

/// The most bytes of a stack's id; agents' have 16.
const STACK_ID_BYTES_MAX: usize = 256;

/// A number of a stack that stands for a place in [`Rows::stacks`].
type StackId = u32;

/// What the rows of one profile share. Texts are numbers of strings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct GroupKey {
    pub(super) name: u32,
    pub(super) sample_type: u32,
    pub(super) sample_unit: u32,
    pub(super) period_type: u32,
    pub(super) period_unit: u32,
    pub(super) period: i64,
    pub(super) duration_nano: i64,
    /// Names and values, in the order of the columns.
    pub(super) labels: Vec<(u32, u32)>,
}

/// A row of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) stack: StackId,
    pub(super) value: i64,
    /// When it was taken, if the record says so.
    pub(super) time_unix_nano: Option<i64>,
    labels_start: u32,
    labels_end: u32,
}

/// All rows of a stream, by profile.
#[derive(Debug, Default)]
pub(super) struct Rows {
    group_ids: HashMap<GroupKey, usize>,
    /// The profiles in the order of their first rows.
    pub(super) groups: Vec<(GroupKey, Vec<Row>)>,
    labels: Vec<(u32, u32)>,
    /// The locations of all stacks, leaf first.
    locations: Vec<u32>,
    stacks: Vec<Option<Range<usize>>>,
    /// The stacks that have ids: those that a sample named and those that were sent.
    stack_ids: HashMap<Vec<u8>, StackId>,
    count: usize,
    /// Rows of records of stacks.
    located: usize,
}

/// The columns of a record of samples.
struct SampleColumns<'a> {
    /// The struct of the labels, where a row of it may be null.
    nullable: Option<&'a dyn Array>,
    labels: Vec<(u32, bool, Strings<'a>)>,
    types: [Option<Strings<'a>>; 5],
    period: Option<Numbers<'a>>,
    duration: Option<Numbers<'a>>,
    timestamp: Option<Numbers<'a>>,
    value: Numbers<'a>,
    stack: StackColumn<'a>,
}

enum StackColumn<'a> {
    Inline(Box<Stacks<'a>>, HashMap<(usize, usize), StackId>),
    Ids(Strings<'a>),
}

impl Rows {
    /// Takes a record: of samples if it has values, else of stacks.
    ///
    /// # Errors
    /// `Invalid` when a column is missing or not of its type, `Exhausted` over a limit.
    pub(super) fn read(&mut self, batch: &RecordBatch, tables: &mut TableBuilder) -> Result<()> {
        match (batch.column_by_name("value"), batch.column_by_name("locations")) {
            (Some(_), _) => self.samples(batch, tables),
            (None, Some(locations)) => self.located(batch, locations, tables),
            (None, None) => Err(Error::invalid("the record has neither samples nor locations")),
        }
    }

    fn samples(&mut self, batch: &RecordBatch, tables: &mut TableBuilder) -> Result<()> {
        let mut columns = SampleColumns::of(batch, tables)?;
        within("samples_max", tables.limits().samples_max, self.count.saturating_add(batch.num_rows()))?;
        self.count += batch.num_rows();
        let mut key = GroupKey::default();
        let mut last = None;
        for row in 0..batch.num_rows() {
            let labels_start = self.labels.len();
            let is_last = columns.key(row, tables, &mut key, &mut self.labels)?;
            within("labels_max", tables.limits().labels_max, self.labels.len())?;
            let group = match last {
                Some(group) if is_last => group,
                _ => self.group(&key, tables)?,
            };
            last = Some(group);
            let stack = self.stack(&mut columns.stack, row, tables)?;
            let missing = || Error::invalid(format!("sample {row} has no value"));
            let row = Row {
                stack,
                value: columns.value.get(row).ok_or_else(missing)?,
                time_unix_nano: columns.timestamp.as_mut().and_then(|times| times.get(row)),
                labels_start: number(labels_start),
                labels_end: number(self.labels.len()),
            };
            self.groups[group].1.push(row);
        }
        Ok(())
    }

    fn group(&mut self, key: &GroupKey, tables: &TableBuilder) -> Result<usize> {
        if let Some(group) = self.group_ids.get(key) {
            return Ok(*group);
        }
        let group = self.groups.len();
        within("profiles_max", tables.limits().profiles_max, group + 1)?;
        self.groups.push((key.clone(), Vec::new()));
        self.group_ids.insert(key.clone(), group);
        Ok(group)
    }

    fn stack(&mut self, column: &mut StackColumn<'_>, row: usize, tables: &mut TableBuilder) -> Result<StackId> {
        let id = match column {
            StackColumn::Ids(ids) => self.named(ids.get(row).unwrap_or_default())?,
            StackColumn::Inline(stacks, known) => {
                let place = stacks.place(row);
                match known.get(&(place.start, place.end)) {
                    Some(id) => *id,
                    None => {
                        let id = self.inline(stacks, place.clone(), tables)?;
                        known.insert((place.start, place.end), id);
                        id
                    }
                }
            }
        };
        Ok(id)
    }

    fn inline(&mut self, stacks: &mut Stacks<'_>, place: Range<usize>, tables: &mut TableBuilder) -> Result<StackId> {
        let range = self.locations(stacks, place, tables)?;
        self.stacks.push(Some(range));
        Ok(number(self.stacks.len() - 1))
    }

    fn locations(
        &mut self,
        stacks: &mut Stacks<'_>,
        place: Range<usize>,
        tables: &mut TableBuilder,
    ) -> Result<Range<usize>> {
        let start = self.locations.len();
        within("stack_locations_max", tables.limits().stack_locations_max, start.saturating_add(place.len()))?;
        stacks.read(place, tables, &mut self.locations)?;
        Ok(start..self.locations.len())
    }

    /// The stack with this id, which may come later.
    fn named(&mut self, id: &[u8]) -> Result<StackId> {
        within("bytes of a stack's id", STACK_ID_BYTES_MAX, id.len())?;
        if let Some(stack) = self.stack_ids.get(id) {
            return Ok(*stack);
        }
        let stack = number(self.stacks.len());
        self.stacks.push(None);
        self.stack_ids.insert(id.to_vec(), stack);
        Ok(stack)
    }

    fn located(&mut self, batch: &RecordBatch, locations: &dyn Array, tables: &mut TableBuilder) -> Result<()> {
        let Some(ids) = batch.column_by_name("stacktrace_id") else {
            return Err(Error::invalid("the record has locations, but no column stacktrace_id"));
        };
        let mut ids = Strings::of(ids).map_err(in_column("stacktrace_id"))?;
        let mut stacks = Stacks::of(locations, tables).map_err(in_column("locations"))?;
        self.located = self.located.saturating_add(batch.num_rows());
        within("samples_max", tables.limits().samples_max, self.located)?;
        for row in 0..batch.num_rows() {
            let id = self.named(ids.get(row).unwrap_or_default())?;
            if self.stacks[id as usize].is_none() {
                let place = stacks.place(row);
                let range = self.locations(&mut stacks, place, tables)?;
                self.stacks[id as usize] = Some(range);
            }
        }
        Ok(())
    }

    /// The ids of stacks that samples have and that were not sent.
    pub(super) fn missing(&self) -> impl Iterator<Item = &[u8]> {
        let is_missing = |stack: StackId| self.stacks.get(stack as usize).is_some_and(Option::is_none);
        self.stack_ids.iter().filter(move |(_, stack)| is_missing(**stack)).map(|(id, _)| id.as_slice())
    }

    /// Makes sure that all rows together are under the limit on locations.
    ///
    /// # Errors
    /// `Exhausted` over `stack_locations_max`.
    pub(super) fn check(&self, limits: &Limits) -> Result<()> {
        let rows = self.groups.iter().flat_map(|(_, rows)| rows);
        let count = rows.fold(0usize, |sum, row| sum.saturating_add(self.stack_of(row).len()));
        within("stack_locations_max", limits.stack_locations_max, count)
    }

    /// The locations of a row, leaf first; none where its stack was not sent.
    pub(super) fn stack_of(&self, row: &Row) -> &[u32] {
        let range = self.stacks.get(row.stack as usize).and_then(Clone::clone);
        range.and_then(|range| self.locations.get(range)).unwrap_or_default()
    }

    /// The names and values of the labels of a row's own.
    pub(super) fn labels_of(&self, row: &Row) -> &[(u32, u32)] {
        &self.labels[row.labels_start as usize..row.labels_end as usize]
    }
}

impl<'a> SampleColumns<'a> {
    fn of(batch: &'a RecordBatch, tables: &mut TableBuilder) -> Result<Self> {
        let find = |name: &str| batch.column_by_name(name).map(AsRef::as_ref);
        let strings = |name: &'static str| find(name).map(Strings::of).transpose().map_err(in_column(name));
        let numbers = |name: &'static str| find(name).map(Numbers::of).transpose().map_err(in_column(name));
        let stack = match (find("stacktrace"), strings("stacktrace_id")?) {
            (Some(stacks), _) => {
                let stacks = Stacks::of(stacks, tables).map_err(in_column("stacktrace"))?;
                StackColumn::Inline(Box::new(stacks), HashMap::new())
            }
            (None, Some(ids)) => StackColumn::Ids(ids),
            (None, None) => return Err(Error::invalid("the record has no column stacktrace and none stacktrace_id")),
        };
        let value = find("value").filter(|array| array.data_type().is_integer());
        let Some(value) = value else { return Err(Error::invalid("the column value is not one of integers")) };
        let producer = strings("producer")?;
        if producer.is_none() {
            return Err(Error::invalid("the record has no column producer"));
        }
        Ok(Self {
            nullable: find("labels").filter(|array| array.null_count() > 0),
            labels: labels(batch, tables)?,
            types: [
                producer,
                strings("sample_type")?,
                strings("sample_unit")?,
                strings("period_type")?,
                strings("period_unit")?,
            ],
            period: numbers("period")?,
            duration: numbers("duration")?,
            timestamp: numbers("timestamp")?,
            value: Numbers::of(value)?,
            stack,
        })
    }

    /// Makes `key` that of `row` and says whether it was that already; adds the labels of the row's own to `own`.
    fn key(
        &mut self,
        row: usize,
        tables: &mut TableBuilder,
        key: &mut GroupKey,
        own: &mut Vec<(u32, u32)>,
    ) -> Result<bool> {
        let mut is_same = true;
        let fields =
            [&mut key.name, &mut key.sample_type, &mut key.sample_unit, &mut key.period_type, &mut key.period_unit];
        for (column, field) in self.types.iter_mut().zip(fields) {
            let id = column.as_mut().map_or(Ok(0), |column| column.id(row, tables))?;
            is_same &= std::mem::replace(field, id) == id;
        }
        for (column, field) in [(&mut self.period, &mut key.period), (&mut self.duration, &mut key.duration_nano)] {
            let number = column.as_mut().and_then(|column| column.get(row)).unwrap_or_default();
            is_same &= std::mem::replace(field, number) == number;
        }
        let mut labels = 0;
        let has_labels = self.nullable.is_none_or(|array| array.is_valid(row));
        for (name, is_own, values) in self.labels.iter_mut().filter(|_| has_labels) {
            let value = values.id(row, tables)?;
            if value == 0 {
                continue;
            }
            if *is_own {
                own.push((*name, value));
                continue;
            }
            match key.labels.get_mut(labels) {
                Some(label) => is_same &= std::mem::replace(label, (*name, value)) == (*name, value),
                None => {
                    is_same = false;
                    key.labels.push((*name, value));
                }
            }
            labels += 1;
        }
        is_same &= key.labels.len() == labels;
        key.labels.truncate(labels);
        Ok(is_same)
    }
}

/// The columns of labels: those of the struct `labels`, and `labels.<name>`. Each with its name and whether a sample keeps it.
fn labels<'a>(batch: &'a RecordBatch, tables: &mut TableBuilder) -> Result<Vec<(u32, bool, Strings<'a>)>> {
    let mut columns: Vec<(&str, &dyn Array)> = Vec::new();
    let schema = batch.schema_ref();
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        if let Some(name) = field.name().strip_prefix("labels.") {
            columns.push((name, array.as_ref()));
        }
    }
    if let Some(array) = batch.column_by_name("labels") {
        let fields = structs(array).map_err(in_column("labels"))?;
        columns.extend(fields.fields().iter().map(|field| field.name().as_str()).zip(fields.columns().iter().map(
            |array| {
                let array: &dyn Array = array.as_ref();
                array
            },
        )));
    }
    within("labels_per_sample_max", tables.limits().labels_per_sample_max, columns.len())?;
    let mut labels = Vec::with_capacity(columns.len());
    for (name, array) in columns {
        let values = Strings::of(array).map_err(|error| error.with("label", name.escape_debug()))?;
        labels.push((tables.string(name.as_bytes())?, SAMPLE_LABELS.contains(&name.as_bytes()), values));
    }
    Ok(labels)
}

/// Names the column that an error is about.
fn in_column(name: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.with("column", name)
}

/// A number of a row or an offset, which the limits keep below 2³².
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
