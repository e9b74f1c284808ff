//! What is written is read back, by rows, and adds up.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use flamestore_calltree::{Observation, Observed, SealedDictionary};
use flamestore_model::{NONE, Result, Selector, TimeRange};
use flamestore_segment::{
    MemorySource, ProfileInput, ProfileRow, ProfileSamples, ReadFrom, ScanReport, SegmentInput, SegmentOptions,
    SegmentReader, Table, build_tables, read_everything,
};
use futures::executor::block_on;
use proptest::prelude::*;
use support::{
    Stored, example, expected_sums, input, merged_sums, observing, options, profiles, reader, sealed, stack, tables,
};

type Rows = Vec<(Vec<u32>, i64, u32, Observation)>;

fn rows(sealed: &SealedDictionary, samples: &ProfileSamples) -> Rows {
    let set = |at: usize| samples.label_sets.get(at).copied().unwrap_or(NONE);
    let row = |(at, id): (usize, &u32)| (stack(sealed, *id), samples.values[at], set(at), samples.observed.get(at));
    let stacks = &samples.stacks;
    let mut rows: Rows = stacks.iter().enumerate().map(row).collect();
    rows.sort();
    rows
}

async fn check_equal(given: &SegmentInput, reader: &SegmentReader) -> Result<()> {
    let mut report = ScanReport::default();
    let (entries, series) = (reader.dictionaries().await?, reader.series().await?);
    assert_eq!(entries.len(), given.dictionaries.len());
    assert_eq!(series.rows.len(), given.dictionaries.iter().map(|d| d.series.len()).sum::<usize>());
    for (entry, dictionary) in entries.iter().zip(&given.dictionaries) {
        assert_eq!(entry.service_name, dictionary.service_name);
        let read = reader.load_dictionary(entry.dictionary_id, &mut report).await?;
        assert_eq!(read.dictionary, dictionary.sealed.dictionary);
        assert_eq!(read.tree, dictionary.sealed.tree);
        for expected in &dictionary.series {
            let found = series.rows.iter().find(|row| {
                (&row.labels, &row.profile_type, row.dictionary_id)
                    == (&expected.labels, &expected.profile_type, entry.dictionary_id)
            });
            let found = found.unwrap();
            let mut profiles: Vec<&ProfileInput> = expected.profiles.iter().collect();
            profiles.sort_by_key(|profile| (profile.meta.time_unix_nano, profile.meta.id));
            let read_rows = reader.profiles(&[found.series_id].into(), &TimeRange::ALL, &mut report).await?;
            let details = reader.profile_details(&read_rows, &mut report).await?;
            let samples = reader.samples(entry, &read_rows, &mut report).await?;
            assert_eq!(read_rows.len(), profiles.len());
            for (at, expected) in profiles.into_iter().enumerate() {
                assert_eq!(details[at].meta, expected.meta);
                assert_eq!(details[at].row, read_rows[at]);
                let total = expected.values.iter().fold(0_i64, |sum, value| sum.wrapping_add(*value));
                assert_eq!(read_rows[at].total, total);
                let ProfileInput { stacks, values, label_sets, observed, .. } = expected.clone();
                let expected = ProfileSamples { stacks, values, label_sets, observed };
                assert_eq!(rows(&read, &samples[at]), rows(&dictionary.sealed, &expected));
                assert!(samples[at].observed.fits(samples[at].stacks.len()));
                check_order(&samples[at]);
            }
        }
    }
    Ok(())
}

/// Rows come by stack, label set and observation.
fn check_order(samples: &ProfileSamples) {
    let set = |at: usize| samples.label_sets.get(at).copied().unwrap_or(NONE).wrapping_add(1);
    let rows = (0..samples.stacks.len()).map(|at| (samples.stacks[at], set(at), samples.observed.get(at)));
    assert!(rows.is_sorted());
}

fn check_round_trip(stored: &[Stored]) {
    let segment = sealed(stored);
    block_on(check_equal(&input(stored), &reader(&segment))).unwrap();
    read_everything(tables(&segment)).unwrap();
}

#[test]
fn a_segment_is_read_back_as_written() {
    check_round_trip(&example());
    check_round_trip(&observing());
    check_round_trip(&[]);
}

#[test]
fn columns_that_no_row_has_a_value_in_are_not_written() {
    let columns = |stored: &[Stored]| {
        let tables = build_tables(input(stored), &options()).unwrap();
        let schema = tables.batches(Table::Samples)[0].schema();
        schema.fields().iter().skip(6).map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    assert!(columns(&example()).is_empty());
    assert_eq!(columns(&observing()), ["observed_unix_nano", "ended_unix_nano", "trace_id", "span_id"]);
    let with = |label| vec![Stored { samples: vec![(vec![1], 1, Some(label))], ..example().remove(0) }];
    assert_eq!(columns(&with(8)), ["observed_unix_nano"]);
    assert_eq!(columns(&with(12)), ["ended_unix_nano", "span_id"]);
    for label in [8, 12, 16, 20] {
        check_round_trip(&with(label));
    }
}

#[test]
fn a_segment_built_in_one_go_is_the_same_bytes() -> Result<()> {
    for stored in [example(), observing(), Vec::new()] {
        let built = flamestore_segment::build_sealed(input(&stored), &options())?;
        for (built, sealed) in built.tables.iter().zip(&sealed(&stored).tables) {
            assert_eq!((built.table, &built.bytes), (sealed.table, &sealed.bytes), "{}", built.table);
        }
    }
    Ok(())
}

#[test]
fn the_tables_follow_their_schemas() {
    let tables = build_tables(input(&example()), &options()).unwrap();
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Rollups30d) {
        assert_eq!(Table::from_name(table.as_str()), Some(table));
        assert!(tables.rows(table) > 0, "{table}");
        let of_batch = tables.batches(table)[0].schema();
        let written = of_batch.fields().len();
        assert!(tables.batches(table).iter().all(|batch| batch.schema() == of_batch), "{table}");
        assert_eq!(of_batch.fields()[..], table.schema().fields()[..written], "{table}");
        assert!(written == table.schema().fields().len() || (table, written) == (Table::Samples, 6), "{table}");
    }
    let meta = &tables.meta;
    assert_eq!((meta.time_min, meta.time_max, meta.series, meta.sample_rows), (-50, 200, 4, 11));
    assert_eq!(meta.services, ["svc-1", "svc-2"]);
    assert_eq!(meta.profile_types, support::TYPES);
}

#[test]
fn a_batch_of_many_row_groups_does_not_deepen_the_stack() -> Result<()> {
    let mut given = input(&example());
    let profile = &mut given.dictionaries[0].series[0].profiles[0];
    *profile = ProfileInput {
        stacks: vec![0; 8192],
        values: vec![1; 8192],
        label_sets: Vec::new(),
        observed: Observed::default(),
        ..profile.clone()
    };
    let options = SegmentOptions { row_group_rows: 2, batch_rows: 1 << 16, ..SegmentOptions::default() };
    let sealed = flamestore_segment::seal(build_tables(given, &options)?, &options)?;
    read_everything(tables(&sealed))
}

#[test]
fn sealing_the_same_segment_twice_gives_the_same_bytes() {
    let (one, two) = (sealed(&example()), sealed(&example()));
    assert!(
        one.tables.iter().zip(&two.tables).all(|(one, two)| one.bytes == two.bytes && one.checksum == two.checksum)
    );
}

#[test]
fn the_footer_bytes_hold_indexes_and_footer() {
    for sealed in sealed(&example()).tables {
        assert!(sealed.footer_bytes < sealed.bytes.len() as u64, "{}", sealed.table);
        assert!(sealed.footer_bytes > 8);
    }
}

fn check_selector(stored: &[Stored], text: &str, range: &TimeRange) {
    let selector: Selector = text.parse().unwrap();
    let (given, reader) = (input(stored), reader(&sealed(stored)));
    let selected = block_on(reader.select_series(&selector)).unwrap();
    for series in &block_on(reader.series()).unwrap().rows {
        let labels = series.all_labels();
        let fits = selector.matches(|name| labels.get(name).unwrap_or_default());
        assert_eq!(selected.contains(series.series_id), fits, "{text} {labels}");
    }
    let sums = block_on(merged_sums(&reader, &selector, range, ReadFrom::Samples)).unwrap();
    assert_eq!(sums, expected_sums(&given, &selector, range), "{text} {range}");
}

const SELECTORS: [&str; 14] = [
    "{}",
    r#"{service_name="svc-1"}"#,
    r#"{service_name!="svc-1"}"#,
    r#"{host="h1"}"#,
    r#"{host=""}"#,
    r#"{host!=""}"#,
    r#"{host=~"h.*"}"#,
    r#"{host=~"h2|"}"#,
    r#"{host!~"h1|x"}"#,
    r#"{host!~".*"}"#,
    r#"{zone="é\n", host=~".+"}"#,
    r#"{nothing=""}"#,
    r#"{nothing!=""}"#,
    "process_cpu:cpu:nanoseconds:cpu:nanoseconds",
];

#[test]
fn selectors_find_what_matches_and_sums_are_plain_sums() {
    for text in SELECTORS {
        check_selector(&example(), text, &TimeRange::ALL);
        check_selector(&example(), text, &TimeRange { start: 100, end: 200 });
    }
}

#[test]
fn labels_are_counted_within_the_selected_series() {
    let reader = reader(&sealed(&example()));
    let all = block_on(reader.labels(None)).unwrap();
    let count = |labels: &[(String, String, u64)], name: &str, value: &str| {
        labels.iter().find(|label| (label.0.as_str(), label.1.as_str()) == (name, value)).map(|label| label.2)
    };
    assert_eq!(count(&all, "service_name", "svc-1"), Some(3));
    assert_eq!(count(&all, "__type__", "cpu"), Some(3));
    let selected = block_on(reader.select_series(&r#"{host="h1"}"#.parse().unwrap())).unwrap();
    let some = block_on(reader.labels(Some(&selected))).unwrap();
    assert_eq!((count(&some, "service_name", "svc-1"), count(&some, "zone", "é\n")), (Some(2), None));
}

#[test]
fn a_profile_is_found_by_its_id() {
    let stored = example();
    let (reader, given) = (reader(&sealed(&stored)), input(&stored));
    let wanted = given.dictionaries[1].series[0].profiles[0].meta.id;
    let found: Vec<ProfileRow> = block_on(reader.find_profile(wanted, &mut ScanReport::default())).unwrap();
    let details = block_on(reader.profile_details(&found, &mut ScanReport::default())).unwrap();
    assert_eq!(details.iter().map(|detail| detail.meta.id).collect::<Vec<_>>(), [wanted]);
    let unknown = flamestore_model::ProfileId::from_bytes([9; 16]);
    assert!(block_on(reader.find_profile(unknown, &mut ScanReport::default())).unwrap().is_empty());
}

#[test]
fn one_service_reads_only_its_pages() {
    let samples = |n: u32| (0..60).map(|i| (vec![i % 8, n % 8, i % 5, i % 3], i64::from(i), None)).collect();
    let stored: Vec<Stored> = (0..40)
        .map(|n: u32| Stored { service: (n % 20) as u8, host: 1, ty: 1, time: 1, samples: samples(n) })
        .collect();
    let reader = reader(&sealed(&stored));
    let mut report = ScanReport::default();
    let selector = r#"{service_name="svc-7"}"#.parse().unwrap();
    block_on(reader.merge(&selector, &TimeRange::ALL, &mut report)).unwrap();
    assert!(report.pages_skipped > 10 * report.pages_read, "{report:?}");
    assert!(report.row_groups_skipped > 5 * report.row_groups_read, "{report:?}");
    assert!(report.bytes_read > 0 && report.requests > 0 && report.rows > 0);
}

#[test]
fn a_missing_table_and_a_missing_dictionary_are_named() {
    let reader = SegmentReader::new(std::sync::Arc::new(MemorySource::default()));
    let error = block_on(reader.series()).unwrap_err();
    assert_eq!(error.to_string(), "the segment has no such table [table=dictionaries]");
    let reader = support::reader(&sealed(&example()));
    let error = block_on(reader.load_dictionary(9, &mut ScanReport::default())).unwrap_err();
    assert_eq!(error.to_string(), "the segment has no such dictionary [dictionary=9]");
}

fn send<T: Send>(_: T) {}

#[test]
fn reads_may_move_between_threads() {
    let reader = reader(&sealed(&example()));
    send(reader.merge(&Selector::default(), &TimeRange::ALL, &mut ScanReport::default()));
    send(reader.find_profile(flamestore_model::ProfileId::from_bytes([0; 16]), &mut ScanReport::default()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_segment_is_read_back_as_written(stored in profiles()) {
        check_round_trip(&stored);
    }

    #[test]
    fn any_selection_is_a_plain_sum(stored in profiles(), selector in 0..SELECTORS.len(), start in -21_i64..20, length in 0_i64..40) {
        check_selector(&stored, SELECTORS[selector], &TimeRange { start, end: start + length });
    }
}
