//! A dictionary: the rows of one service in seven tables, made local and checked.

use std::sync::Arc;

use arrow::array::{Array, BinaryArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use flamestore_calltree::{
    ByteStrings, CallTree, Dictionary, Functions, Label, LabelSets, LabelValue, Locations, Mapping, SealedDictionary,
};
use flamestore_model::{NONE, Result};
use futures::future::try_join_all;
use futures::{FutureExt, future::BoxFuture, try_join};

use super::SegmentReader;
use crate::ScanReport;
use crate::rows::{DictionaryEntry, Span};
use crate::scan::{column, corrupt};
use crate::schema::Table;

/// Reads the rows of `entry`, all tables at once.
pub(super) async fn load(
    reader: &SegmentReader,
    entry: &DictionaryEntry,
    report: &mut ScanReport,
) -> Result<SealedDictionary> {
    let mut reports = [ScanReport::default(); 7];
    let [r0, r1, r2, r3, r4, r5, r6] = &mut reports;
    let (strings, mappings, functions, locations, label_sets, tree, leaves) = try_join!(
        strings(reader, entry, r0),
        mappings(reader, entry, r1),
        functions(reader, entry, r2),
        locations(reader, entry, r3),
        label_sets(reader, entry, r4),
        call_sites(reader, entry, r5),
        stacks(reader, entry, r6),
    )?;
    reports.into_iter().for_each(|part| *report += part);
    let dictionary = Arc::new(Dictionary { strings, mappings, functions, locations, label_sets });
    let sealed = SealedDictionary { dictionary, tree, leaves };
    let placed = |wrong: flamestore_model::Error| wrong.with("service", &entry.service_name);
    sealed.check().map_err(placed)?;
    Ok(sealed)
}

/// Local ids of a span of one table.
#[derive(Clone, Copy)]
struct Local {
    table: Table,
    span: Span,
    what: &'static str,
}

impl Local {
    fn id(self, global: u32) -> Result<u32> {
        let local = global.checked_sub(self.span.first).filter(|local| *local < self.span.count);
        local.ok_or_else(|| {
            corrupt(self.table, format!("a {} is not in the dictionary", self.what))
                .with("expected", format!("{:?}", self.span.rows()))
                .with("found", global)
        })
    }

    fn optional(self, column: Option<&UInt32Array>, row: usize) -> Result<u32> {
        match column {
            Some(column) if !column.is_null(row) => self.id(column.value(row)),
            _ => Ok(NONE),
        }
    }
}

fn string(table: Table, entry: &DictionaryEntry) -> Local {
    Local { table, span: entry.strings, what: "string" }
}

fn u32s<'a>(table: Table, batch: &'a RecordBatch, name: &str) -> Result<&'a ScalarBuffer<u32>> {
    column::<UInt32Array>(table, batch, name).map(|column| column.values())
}

fn i64s<'a>(table: Table, batch: &'a RecordBatch, name: &str) -> Result<&'a ScalarBuffer<i64>> {
    column::<Int64Array>(table, batch, name).map(|column| column.values())
}

fn optional<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Option<&'a A> {
    batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref::<A>())
}

fn number(column: Option<&Int64Array>, row: usize) -> i64 {
    column.filter(|column| !column.is_null(row)).map_or(0, |column| column.value(row))
}

/// Scans the rows of `span`, and makes sure that `rows()` of them arrived.
async fn scan_span(
    reader: &SegmentReader,
    table: Table,
    span: Span,
    columns: &[&str],
    report: &mut ScanReport,
    each: &mut (dyn FnMut(&RecordBatch) -> Result<()> + Send),
) -> Result<()> {
    if span.count == 0 {
        return Ok(());
    }
    let rows = report.rows;
    reader.scan(table, columns, &[span.rows()], report, each).await?;
    match report.rows - rows == u64::from(span.count) {
        true => Ok(()),
        false => Err(corrupt(table, "rows are missing").with("expected", span.count).with("found", report.rows - rows)),
    }
}

async fn strings(reader: &SegmentReader, entry: &DictionaryEntry, report: &mut ScanReport) -> Result<ByteStrings> {
    let table = Table::Strings;
    let mut strings = ByteStrings::new();
    let mut each = |batch: &RecordBatch| {
        for string in column::<BinaryArray>(table, batch, "bytes")?.iter() {
            let string = string.unwrap_or_default();
            if !strings.has_room(string.len()) {
                return Err(corrupt(table, "the strings of a dictionary pass 4 GiB"));
            }
            strings.push(string);
        }
        Ok(())
    };
    scan_span(reader, table, entry.strings, &["bytes"], report, &mut each).await?;
    Ok(strings)
}

async fn mappings(reader: &SegmentReader, entry: &DictionaryEntry, report: &mut ScanReport) -> Result<Vec<Mapping>> {
    let table = Table::Mappings;
    let names: Vec<&str> = table.columns().iter().map(|column| column.name).skip(1).collect();
    let mut mappings = Vec::new();
    let mut each = |batch: &RecordBatch| {
        let number = |name: &str| i64s(table, batch, name);
        let flag = |name: &str| column::<BooleanArray>(table, batch, name);
        for row in 0..batch.num_rows() {
            mappings.push(Mapping {
                memory_start: number("memory_start")?[row].cast_unsigned(),
                memory_limit: number("memory_limit")?[row].cast_unsigned(),
                file_offset: number("file_offset")?[row].cast_unsigned(),
                filename: string(table, entry).id(u32s(table, batch, "filename_id")?[row])?,
                build_id: string(table, entry).id(u32s(table, batch, "build_id_id")?[row])?,
                has_functions: flag("has_functions")?.value(row),
                has_filenames: flag("has_filenames")?.value(row),
                has_line_numbers: flag("has_line_numbers")?.value(row),
                has_inline_frames: flag("has_inline_frames")?.value(row),
            });
        }
        Ok(())
    };
    scan_span(reader, table, entry.mappings, &names, report, &mut each).await?;
    Ok(mappings)
}

async fn functions(reader: &SegmentReader, entry: &DictionaryEntry, report: &mut ScanReport) -> Result<Functions> {
    let table = Table::Functions;
    let names = ["name_id", "system_name_id", "filename_id", "start_line"];
    let mut functions = Functions::default();
    let mut each = |batch: &RecordBatch| {
        let strings = string(table, entry);
        let local = |name: &str| u32s(table, batch, name)?.iter().map(|id| strings.id(*id)).collect::<Result<Vec<_>>>();
        functions.name.extend(local("name_id")?);
        functions.system_name.extend(local("system_name_id")?);
        functions.filename.extend(local("filename_id")?);
        functions.start_line.extend_from_slice(i64s(table, batch, "start_line")?);
        Ok(())
    };
    scan_span(reader, table, entry.functions, &names, report, &mut each).await?;
    Ok(functions)
}

async fn locations(reader: &SegmentReader, entry: &DictionaryEntry, report: &mut ScanReport) -> Result<Locations> {
    let table = Table::Locations;
    let names: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
    let mut builder = LocationBuilder { entry, locations: Locations::default() };
    let mut each = |batch: &RecordBatch| builder.add(batch);
    scan_span(reader, table, entry.location_rows, &names, report, &mut each).await?;
    let locations = builder.finish()?;
    match locations.len() == entry.locations.count as usize {
        true => Ok(locations),
        false => Err(corrupt(table, "locations are missing")
            .with("expected", entry.locations.count)
            .with("found", locations.len())),
    }
}

/// Gathers the lines of each location. Offsets are pushed when the next location starts.
struct LocationBuilder<'a> {
    entry: &'a DictionaryEntry,
    locations: Locations,
}

impl LocationBuilder<'_> {
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let table = Table::Locations;
        let (ids, addresses) = (u32s(table, batch, "location_id")?, i64s(table, batch, "address")?);
        let folded = column::<BooleanArray>(table, batch, "is_folded")?;
        let (line_indexes, mappings) = (optional::<UInt32Array>(batch, "line_index"), optional(batch, "mapping_id"));
        let (functions, lines, columns) =
            (optional(batch, "function_id"), optional(batch, "line"), optional(batch, "column"));
        let local = Local { table, span: self.entry.locations, what: "location" };
        let local_mapping = Local { table, span: self.entry.mappings, what: "mapping" };
        let local_function = Local { table, span: self.entry.functions, what: "function" };
        for row in 0..batch.num_rows() {
            let id = local.id(ids[row])?;
            let place = (local_mapping.optional(mappings, row)?, addresses[row].cast_unsigned(), folded.value(row));
            let line_index = line_indexes.filter(|indexes| !indexes.is_null(row)).map(|indexes| indexes.value(row));
            self.place(id, place, line_index)?;
            if line_index.is_some() {
                self.locations.line_function.push(local_function.optional(functions, row)?);
                self.locations.line_line.push(number(lines, row));
                self.locations.line_column.push(number(columns, row));
            }
        }
        Ok(())
    }

    /// Starts a location, or makes sure that a further line is of the last one.
    fn place(&mut self, id: u32, place: (u32, u64, bool), line_index: Option<u32>) -> Result<()> {
        let locations = &mut self.locations;
        let started = locations.mapping.len();
        if id as usize == started && line_index.unwrap_or(0) == 0 {
            if started > 0 {
                locations.line_offsets.push(row_id(locations.line_function.len())?);
            }
            locations.mapping.push(place.0);
            locations.address.push(place.1);
            locations.is_folded.push(place.2);
            return Ok(());
        }
        let last = started.checked_sub(1);
        let lines = locations.line_function.len() - locations.line_offsets.last().map_or(0, |&start| start as usize);
        let same = last.is_some_and(|last| {
            id as usize == last
                && place == (locations.mapping[last], locations.address[last], locations.is_folded[last])
                && line_index.is_some_and(|index| index > 0 && index as usize == lines)
        });
        match same {
            true => Ok(()),
            false => {
                Err(corrupt(Table::Locations, "the lines of a location do not follow each other").with("location", id))
            }
        }
    }

    fn finish(mut self) -> Result<Locations> {
        if !self.locations.is_empty() {
            self.locations.line_offsets.push(row_id(self.locations.line_function.len())?);
        }
        Ok(self.locations)
    }
}

fn row_id(row: usize) -> Result<u32> {
    u32::try_from(row).map_err(|_| corrupt(Table::Locations, "more lines than 32-bit ids can name"))
}

async fn label_sets(reader: &SegmentReader, entry: &DictionaryEntry, report: &mut ScanReport) -> Result<LabelSets> {
    let table = Table::LabelSets;
    let names = ["label_set_id", "key_id", "string_id", "number", "unit_id"];
    let (mut sets, mut started) = (LabelSets::default(), 0_u32);
    let mut each = |batch: &RecordBatch| {
        let strings = string(table, entry);
        let local = Local { table, span: entry.label_sets, what: "label set" };
        let (ids, keys) = (u32s(table, batch, "label_set_id")?, u32s(table, batch, "key_id")?);
        let (texts, units) = (optional::<UInt32Array>(batch, "string_id"), optional::<UInt32Array>(batch, "unit_id"));
        let numbers = optional::<Int64Array>(batch, "number");
        for row in 0..batch.num_rows() {
            let id = local.id(ids[row])?;
            if id == started {
                if started > 0 {
                    sets.offsets.push(row_id(sets.labels.len())?);
                }
                started += 1;
            } else if id + 1 != started {
                return Err(corrupt(table, "label sets do not count from 0").with("label_set", id));
            }
            let text = strings.optional(texts, row)?;
            let value = match (text, strings.optional(units, row)?) {
                (NONE, NONE) => return Err(corrupt(table, "a label has no value").with("label_set", id)),
                (NONE, unit) => LabelValue::Num(number(numbers, row), unit),
                (text, _) => LabelValue::Str(text),
            };
            sets.labels.push(Label { key: strings.id(keys[row])?, value });
        }
        Ok(())
    };
    scan_span(reader, table, entry.label_set_rows, &names, report, &mut each).await?;
    if started > 0 {
        sets.offsets.push(row_id(sets.labels.len())?);
    }
    match started == entry.label_sets.count {
        true => Ok(sets),
        false => Err(corrupt(table, "label sets are missing")
            .with("expected", entry.label_sets.count)
            .with("found", started)),
    }
}

async fn call_sites(reader: &SegmentReader, entry: &DictionaryEntry, report: &mut ScanReport) -> Result<CallTree> {
    let table = Table::CallSites;
    let has_depths = reader.file(table).await?.version() >= 3;
    let caller = if has_depths { "depth" } else { "parent_distance" };
    let mut tree = CallTree { parent: Vec::new(), location: Vec::new() };
    let mut path = Path::default();
    let mut each = |batch: &RecordBatch| {
        let callers = u32s(table, batch, caller)?;
        let locations = optional::<UInt32Array>(batch, "location_id");
        let local = Local { table, span: entry.locations, what: "location" };
        for (row, &caller) in callers.iter().enumerate() {
            let node = u32::try_from(tree.parent.len()).unwrap_or(NONE);
            let parent = if has_depths { path.parent(node, caller)? } else { before(node, caller)? };
            tree.parent.push(parent);
            tree.location.push(local.optional(locations, row)?);
        }
        Ok(())
    };
    scan_span(reader, table, entry.call_sites, &[caller, "location_id"], report, &mut each).await?;
    match tree.is_empty() {
        false => Ok(tree),
        true => Err(corrupt(table, "a call tree has no root").with("service", &entry.service_name)),
    }
}

/// The way from the root to the node seen last, in preorder.
#[derive(Default)]
struct Path(Vec<u32>);

impl Path {
    /// The parent of `node`, which comes next and lies `depth` below the root.
    fn parent(&mut self, node: u32, depth: u32) -> Result<u32> {
        let wrong =
            || corrupt(Table::CallSites, "a call site has no caller").with("call_site", node).with("depth", depth);
        let depth = usize::try_from(depth).ok().filter(|depth| *depth <= self.0.len()).ok_or_else(wrong)?;
        self.0.truncate(depth);
        let parent = self.0.last().copied();
        self.0.push(node);
        // Only the root is its own parent.
        match parent {
            None if node > 0 => Err(wrong()),
            parent => Ok(parent.unwrap_or(node)),
        }
    }
}

fn before(node: u32, distance: u32) -> Result<u32> {
    let parent = node.checked_sub(distance);
    parent.ok_or_else(|| corrupt(Table::CallSites, "a parent lies before the root").with("call_site", node))
}

async fn stacks(reader: &SegmentReader, entry: &DictionaryEntry, report: &mut ScanReport) -> Result<Vec<u32>> {
    let table = Table::Stacks;
    let mut leaves = Vec::new();
    let mut each = |batch: &RecordBatch| {
        let local = Local { table, span: entry.call_sites, what: "call site" };
        for leaf in u32s(table, batch, "call_site_id")? {
            leaves.push(local.id(*leaf)?);
        }
        Ok(())
    };
    scan_span(reader, table, entry.stacks, &["call_site_id"], report, &mut each).await?;
    Ok(leaves)
}

/// Verifies the id columns that loading does not look at: they count the rows of the table.
pub(super) async fn check_ids(reader: &SegmentReader) -> Result<()> {
    let counted = [
        (Table::Strings, "string_id"),
        (Table::Mappings, "mapping_id"),
        (Table::Functions, "function_id"),
        (Table::CallSites, "call_site_id"),
        (Table::Stacks, "stack_id"),
        (Table::Profiles, "profile"),
    ];
    let present = counted.into_iter().filter(|(table, _)| reader.has(*table));
    let checks = present.map(|(table, name)| counts(reader, table, name).boxed());
    try_join_all(checks.collect::<Vec<BoxFuture<'_, _>>>()).await?;
    Ok(())
}

async fn counts(reader: &SegmentReader, table: Table, name: &str) -> Result<()> {
    let mut next = 0;
    let mut each = |batch: &RecordBatch| {
        for &id in u32s(table, batch, name)? {
            if id != next {
                return Err(corrupt(table, "ids do not count the rows").with("expected", next).with("found", id));
            }
            next += 1;
        }
        Ok(())
    };
    reader.scan_all(table, &[name], &mut each).await
}
