//! Damaged, foreign and contradictory tables are errors that name the table, never panics.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema};
use bytes::Bytes;
use expect_test::{Expect, expect};
use flamestore_model::{ErrorKind, Selector, TimeRange};
use flamestore_segment::{
    FORMAT_VERSION_KEY, MemorySource, ScanReport, SegmentReader, TABLE_KEY, Table, build_tables, read_everything,
};
use futures::executor::block_on;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use support::{example, input, observing, options, sealed, tables};

/// Writes `batch` as if it were `table` of format `version`.
fn write(table: &str, version: &str, batch: &RecordBatch) -> Bytes {
    let metadata = [(TABLE_KEY, table), (FORMAT_VERSION_KEY, version)];
    let metadata = metadata.map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned())).to_vec();
    let properties = WriterProperties::builder().set_key_value_metadata(Some(metadata)).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes.into()
}

/// All rows of a table of the example.
fn rows(table: Table) -> RecordBatch {
    let tables = build_tables(input(&example()), &options()).unwrap();
    let schema = tables.batches(table).first().map_or_else(|| table.schema(), RecordBatch::schema);
    concat_batches(&schema, tables.batches(table)).unwrap()
}

/// The example with `table` replaced.
fn replaced(table: Table, bytes: Bytes) -> Vec<(Table, Bytes)> {
    let mut tables = tables(&sealed(&example()));
    tables.retain(|(other, _)| *other != table);
    tables.push((table, bytes));
    tables
}

fn check(table: Table, bytes: Bytes, expected: &Expect) {
    let error = read_everything(replaced(table, bytes)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    expected.assert_eq(&error.to_string());
}

/// The example with a column of a table changed.
fn check_column(table: Table, name: &str, column: ArrayRef, expected: &Expect) {
    let batch = rows(table);
    let at = batch.schema().index_of(name).unwrap();
    let fields: Vec<Field> = batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    let fields = fields.into_iter().enumerate().map(|(other, field)| match other == at {
        true => Field::new(name, column.data_type().clone(), column.null_count() > 0 || field.is_nullable()),
        false => field,
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut columns = batch.columns().to_vec();
    columns[at] = column;
    check(table, write(table.as_str(), "3", &RecordBatch::try_new(schema, columns).unwrap()), expected);
}

fn u32s(table: Table, name: &str, change: impl Fn(usize, u32) -> u32) -> ArrayRef {
    let batch = rows(table);
    let column = batch.column_by_name(name).unwrap().as_any().downcast_ref::<UInt32Array>().unwrap().clone();
    Arc::new(UInt32Array::from_iter(column.iter().enumerate().map(|(at, id)| id.map(|id| change(at, id)))))
}

#[test]
fn a_column_of_another_type_or_with_nulls_is_refused() {
    let stacks = rows(Table::Stacks);
    let as_i64 = Int64Array::from_iter_values(0..i64::try_from(stacks.num_rows()).unwrap());
    check_column(
        Table::Stacks,
        "stack_id",
        Arc::new(as_i64),
        &expect![
            "a column is not as the format says [table=stacks, column=stack_id, expected=non-null UInt32, found=Field { \"stack_id\": Int64 }]"
        ],
    );
    let nulls = UInt32Array::from_iter(std::iter::repeat_n(None, stacks.num_rows()));
    check_column(
        Table::Stacks,
        "stack_id",
        Arc::new(nulls),
        &expect![
            "a column is not as the format says [table=stacks, column=stack_id, expected=non-null UInt32, found=Field { \"stack_id\": nullable UInt32 }]"
        ],
    );
}

#[test]
fn ids_of_another_length_are_refused() {
    let batch = rows(Table::Samples);
    let ids = FixedSizeBinaryArray::try_from_iter(std::iter::repeat_n([1_u8; 8], batch.num_rows())).unwrap();
    let mut fields: Vec<Field> = batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("trace_id", ids.data_type().clone(), true));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(ids));
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    check(
        Table::Samples,
        write("samples", "3", &batch),
        &expect![[
            r#"a column is not as the format says [table=samples, column=trace_id, expected=FixedSizeBinary(16), found=Field { "trace_id": nullable FixedSizeBinary(8) }]"#
        ]],
    );
}

#[test]
fn a_foreign_or_newer_file_is_refused() {
    check(
        Table::Stacks,
        write("series", "1", &rows(Table::Stacks)),
        &expect!["the file is of another table [table=stacks, found=\"series\"]"],
    );
    check(
        Table::Stacks,
        write("stacks", "4", &rows(Table::Stacks)),
        &expect!["the table is of a format version this reader does not know [table=stacks, expected=1..=3, found=4]"],
    );
    check(
        Table::Stacks,
        write("stacks", "x", &rows(Table::Stacks)),
        &expect!["the table names no format version [table=stacks]"],
    );
    check(
        Table::Stacks,
        Bytes::from_static(b"PAR1"),
        &expect!["the file cannot be read [table=stacks]: EOF: Parquet file too small. Size is 4 but need 8"],
    );
}

#[test]
fn a_footer_that_is_not_text_is_damage_and_no_failure_to_fetch() {
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Rollups30d) {
        let mut bytes = tables(&sealed(&example())).into_iter().find(|(other, _)| *other == table).unwrap().1.to_vec();
        let name = b"flamestore.table";
        let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
        bytes[at] = 0xfa;
        let error = read_everything(replaced(table, bytes.into())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn a_page_that_claims_too_many_values_is_damage_and_takes_no_memory() {
    let postings = include_bytes!("../fixtures/v1/postings.parquet");
    let fixture = |table: Table| {
        let path = format!("{}/fixtures/v1/{table}.parquet", env!("CARGO_MANIFEST_DIR"));
        Bytes::from(std::fs::read(path).unwrap())
    };
    let of_version_1 = Table::ALL.into_iter().filter(|table| !Table::ROLLUPS.contains(table));
    let sound: Vec<(Table, Bytes)> = of_version_1.map(|table| (table, fixture(table))).collect();
    read_everything(sound.clone()).unwrap();
    // Found by fuzzing at 255: the count of a delta stream became 2⁵⁶ and more.
    for at in 4..300 {
        let mut bytes = postings.to_vec();
        bytes[at] = 0xff;
        bytes[at + 1] = 0x83;
        let mut tables = sound.clone();
        tables.retain(|(table, _)| *table != Table::Postings);
        tables.push((Table::Postings, bytes.into()));
        if let Err(error) = read_everything(tables) {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{at}: {error}");
        }
    }
}

#[test]
fn unknown_columns_are_ignored_and_missing_nullable_ones_are_null() {
    let with_more = |table: Table| {
        let batch = rows(table);
        let mut fields: Vec<Field> = batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
        fields.push(Field::new("later", arrow::datatypes::DataType::Utf8, true));
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(StringArray::from_iter(std::iter::repeat_n(Some("x"), batch.num_rows()))));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    };
    read_everything(replaced(Table::Series, write("series", "1", &with_more(Table::Series)))).unwrap();
    read_everything(replaced(Table::Samples, write("samples", "3", &with_more(Table::Samples)))).unwrap();
    let mut profiles = rows(Table::Profiles);
    for name in ["comments", "doc_url", "main_mapping_id"] {
        let at = profiles.schema().index_of(name).unwrap();
        profiles.remove_column(at);
    }
    read_everything(replaced(Table::Profiles, write("profiles", "3", &profiles))).unwrap();
}

#[test]
fn ids_out_of_range_and_wrong_orders_are_named() {
    let strings: Vec<&[u8]> = vec![b"z"; rows(Table::Strings).num_rows()];
    check_column(
        Table::Strings,
        "bytes",
        Arc::new(BinaryArray::from_vec(strings)),
        &expect!["string 0 is not the empty string [service=svc-1]"],
    );
    check_column(
        Table::Samples,
        "stack_key",
        u32s(Table::Samples, "stack_key", |_, key| key + 100),
        &expect!["a stack is not in the dictionary [table=samples, expected=0..6, found=104]"],
    );
    check_column(
        Table::Profiles,
        "stack_base",
        Arc::new(Int64Array::from(vec![1 << 32; rows(Table::Profiles).num_rows()])),
        &expect!["a stack base is out of range [table=profiles, profile=0, found=4294967296]"],
    );
    check_column(
        Table::Stacks,
        "call_site_id",
        u32s(Table::Stacks, "call_site_id", |_, _| u32::MAX),
        &expect!["a call site is not in the dictionary [table=stacks, expected=0..9, found=4294967295]"],
    );
    check_column(
        Table::CallSites,
        "depth",
        u32s(Table::CallSites, "depth", |_, depth| depth + 9),
        &expect!["a call site has no caller [table=call_sites, call_site=0, depth=9]"],
    );
    check_column(
        Table::CallSites,
        "depth",
        u32s(Table::CallSites, "depth", |_, _| 0),
        &expect!["a call site has no caller [table=call_sites, call_site=1, depth=0]"],
    );
    check_column(
        Table::Locations,
        "function_id",
        u32s(Table::Locations, "function_id", |_, id| id + 77),
        &expect!["a function is not in the dictionary [table=locations, expected=0..3, found=77]"],
    );
    check_column(
        Table::Profiles,
        "series_id",
        u32s(Table::Profiles, "series_id", |_, id| id ^ 1),
        &expect!["a profile is not where its series says [table=profiles, profile=0, series=1]"],
    );
    check_column(
        Table::Dictionaries,
        "stacks_first",
        u32s(Table::Dictionaries, "stacks_first", |_, first| first + 1),
        &expect![
            "rows of a dictionary do not follow those before [table=dictionaries, dictionary=0, rows_of=stacks, expected=0, found=1]"
        ],
    );
    check_column(
        Table::Dictionaries,
        "call_sites_count",
        u32s(Table::Dictionaries, "call_sites_count", |at, count| count + u32::try_from(at).unwrap() * 1_000_000_000),
        &expect!["the rows are not as many as named [table=call_sites, expected=1000000015, found=15]"],
    );
    check_column(
        Table::Windows,
        "series_id",
        u32s(Table::Windows, "series_id", |_, id| id + 9),
        &expect!["a window has no series [table=windows, window_id=0]"],
    );
    check_column(
        Table::Windows,
        "row_count",
        u32s(Table::Windows, "row_count", |at, count| count + u32::from(at == 0)),
        &expect!["rows of a window do not follow those before [table=rollups_1h, window=2, expected=3, found=2]"],
    );
    check_column(
        Table::Windows,
        "profile_count",
        u32s(Table::Windows, "profile_count", |_, count| count + 1),
        &expect!["the profiles of a window are not those it counts [table=rollups_1h, window=0, expected=2, found=1]"],
    );
    check_column(
        Table::Windows,
        "time_unix_nano_min",
        Arc::new(Int64Array::from(vec![i64::MIN; rows(Table::Windows).num_rows()])),
        &expect!["a window is not where its series says [table=windows, window_id=0, series=0]"],
    );
    check_column(
        Table::Rollups1h,
        "stack_id",
        u32s(Table::Rollups1h, "stack_id", |_, id| id + 100),
        &expect!["a stack is not in the dictionary [table=rollups_1h, expected=0..6, found=104]"],
    );
    check_column(
        Table::Rollups1d,
        "window_id",
        u32s(Table::Rollups1d, "window_id", |_, window| window + 1),
        &expect!["a row is not of the window it names [table=rollups_1d, row=0]"],
    );
    check_column(
        Table::Rollups1d,
        "value",
        Arc::new(Int64Array::from(vec![1; rows(Table::Rollups1d).num_rows()])),
        &expect!["the rows of a window are not its total [table=rollups_1d, window=1, expected=-1, found=2]"],
    );
    let bitmaps: Vec<&[u8]> = vec![b"\x3a\x30\x00\x00"; rows(Table::Postings).num_rows()];
    check_column(
        Table::Postings,
        "series",
        Arc::new(BinaryArray::from_vec(bitmaps)),
        &expect!["the file cannot be decoded [table=postings]: failed to fill whole buffer"],
    );
}

/// Reads all there is and queries it; only that it ends matters.
fn survives(tables: Vec<(Table, Bytes)>) {
    let reader = SegmentReader::new(Arc::new(MemorySource::new(tables.clone())));
    let _ = block_on(reader.merge(&Selector::default(), &TimeRange::ALL, &mut ScanReport::default()));
    let _ = read_everything(tables);
}

#[test]
fn a_truncated_table_is_an_error() {
    for (table, bytes) in tables(&sealed(&example())) {
        for length in (0..bytes.len()).step_by(bytes.len() / 8 + 1) {
            let cut = replaced(table, bytes.slice(..length));
            assert_eq!(read_everything(cut).unwrap_err().kind(), ErrorKind::Corrupt, "{table} {length}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_never_panic(observes: bool, at in 0..15_usize, changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        thread_local!(static PLAIN: Vec<(Table, Bytes)> = tables(&sealed(&example())));
        thread_local!(static OBSERVING: Vec<(Table, Bytes)> = tables(&sealed(&observing())));
        let mut damaged = if observes { OBSERVING.with(Clone::clone) } else { PLAIN.with(Clone::clone) };
        let mut bytes = damaged[at].1.to_vec();
        for (index, change) in changes {
            let place = index.index(bytes.len());
            bytes[place] ^= change;
        }
        damaged[at].1 = bytes.into();
        survives(damaged);
    }
}
