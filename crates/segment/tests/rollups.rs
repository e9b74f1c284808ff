//! Whatever a range is answered from, the answer is the plain sum of its profiles.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::Int64Array;
use arrow::compute::concat_batches;
use bytes::Bytes;
use expect_test::{Expect, expect};
use flamestore_model::{Selector, TimeRange};
use flamestore_segment::{
    Cover, DaysOf, MemorySource, ReadFrom, Resolution, RollUps, ScanReport, SegmentReader, Table, build_tables,
    read_everything, roll_up_days, seal,
};
use futures::executor::block_on;
use proptest::prelude::*;
use support::{Stored, expected_sums, input, merged_sums, options, profiles, sealed_with, stack, tables};

const MINUTE: i64 = 60_000_000_000;
const ROLL_UPS: [RollUps; 4] = [RollUps::None, RollUps::Hours, RollUps::HoursAndDays, RollUps::Days];

fn without(stored: &[Stored], rollups: RollUps, gone: &[Table]) -> SegmentReader {
    let mut tables: Vec<(Table, Bytes)> = tables(&sealed_with(stored, rollups));
    tables.retain(|(table, _)| !gone.contains(table));
    read_everything(tables.clone()).unwrap();
    SegmentReader::new(Arc::new(MemorySource::new(tables)))
}

fn cover(reader: &SegmentReader, range: &TimeRange, from: ReadFrom) -> Cover {
    let series = block_on(reader.select_series(&Selector::default())).unwrap();
    block_on(reader.cover(&series, range, from, &mut ScanReport::default())).unwrap()
}

/// Profiles of one series every 20 minutes from `start` on.
fn every_20_minutes(start: i64, count: i64) -> Vec<Stored> {
    let profile = |n: i64| Stored {
        service: 1,
        host: 1,
        ty: u8::from(n % 2 == 0),
        time: start + n * 20 * MINUTE,
        samples: vec![(vec![0, 1], 10 + n, None), (vec![u32::try_from(n % 3).unwrap()], -n, Some(1))],
    };
    (0..count).map(profile).collect()
}

/// What `range` (minutes since 1970) of three days around 1970 is answered from.
fn check_cover(gone: &[Table], range: (i64, i64), expected: &Expect) {
    let stored = every_20_minutes(-24 * 60 * MINUTE, 3 * 72);
    let reader = without(&stored, RollUps::HoursAndDays, gone);
    let range = TimeRange { start: range.0 * MINUTE, end: range.1 * MINUTE };
    let cover = cover(&reader, &range, ReadFrom::Widest);
    let minutes = |range: TimeRange| format!(", widened to {}..{}", range.start / MINUTE, range.end / MINUTE);
    expected.assert_eq(&format!(
        "{} days, {} hours, {} profiles{}",
        cover.windows_of(Resolution::Day).0,
        cover.windows_of(Resolution::Hour).0,
        cover.profiles.len(),
        cover.widened.map(minutes).unwrap_or_default()
    ));
    let exact = cover.widened.unwrap_or(range);
    let sums = block_on(merged_sums(&reader, &Selector::default(), &range, ReadFrom::Widest)).unwrap();
    assert_eq!(sums, expected_sums(&input(&stored), &Selector::default(), &exact));
}

#[test]
fn a_range_is_answered_from_the_widest_windows_that_fit() {
    let day = 24 * 60;
    // Two series, one of which has a profile every 40 minutes from :00 on and the other from :20 on.
    check_cover(&[], (-day, 2 * day), &expect!["6 days, 0 hours, 0 profiles"]);
    check_cover(&[], (-day, 0), &expect!["2 days, 0 hours, 0 profiles"]);
    check_cover(&[], (-day + 10, 70), &expect!["1 days, 25 hours, 2 profiles"]);
    check_cover(&[], (30, 90), &expect!["0 days, 1 hours, 2 profiles"]);
    check_cover(&[], (60, 60), &expect!["0 days, 0 hours, 0 profiles"]);
    check_cover(&[], (5 * day, 6 * day), &expect!["0 days, 0 hours, 0 profiles"]);
    let hours = [Table::Rollups1h];
    check_cover(&hours, (-day, 90), &expect!["2 days, 0 hours, 5 profiles"]);
    let raw = [Table::Samples, Table::Profiles];
    check_cover(&raw, (0, 120), &expect!["0 days, 4 hours, 0 profiles"]);
    check_cover(&raw, (30, 90), &expect!["0 days, 4 hours, 0 profiles, widened to 0..120"]);
    check_cover(&raw, (60, 60), &expect!["0 days, 0 hours, 0 profiles"]);
    let all_but_days = [Table::Samples, Table::Profiles, Table::Rollups1h];
    check_cover(&all_but_days, (30, 90), &expect!["2 days, 0 hours, 0 profiles, widened to 0..1440"]);
}

#[test]
fn samples_are_read_when_they_are_asked_for_and_still_there() {
    let stored = every_20_minutes(0, 72);
    let whole = TimeRange { start: 0, end: 24 * 60 * MINUTE };
    let asked = cover(&without(&stored, RollUps::HoursAndDays, &[]), &whole, ReadFrom::Samples);
    assert_eq!((asked.profiles.len(), asked.windows.len()), (72, 0));
    let raw = [Table::Samples, Table::Profiles];
    let gone = cover(&without(&stored, RollUps::HoursAndDays, &raw), &whole, ReadFrom::Samples);
    assert_eq!((gone.profiles.len(), gone.windows.len(), gone.profile_count()), (0, 2, 72));
}

#[test]
fn a_sum_that_leaves_64_bits_has_no_magnitude() {
    let profile = |time, value| Stored { service: 0, host: 0, ty: 1, time, samples: vec![(vec![0], value, None)] };
    let stored = [profile(0, i64::MAX), profile(1, 1), profile(60 * MINUTE, i64::MAX)];
    let reader = without(&stored, RollUps::HoursAndDays, &[]);
    let windows = block_on(reader.windows()).unwrap();
    let found: Vec<_> = windows.rows.iter().map(|window| (window.total, window.total_magnitude)).collect();
    let last_of_day = i64::MIN.wrapping_add(i64::MAX);
    assert_eq!(found, [(i64::MIN, None), (i64::MAX, Some(i64::MAX)), (last_of_day, None)]);
}

#[test]
fn instant_values_keep_the_last_and_the_largest() {
    let profile = |time, samples| Stored { service: 0, host: 0, ty: 0, time, samples };
    let row = |stack: u32, value, label| (vec![stack], value, label);
    let stored = [
        profile(0, vec![row(0, 5, None), row(1, 2, None), row(2, -4, None)]),
        profile(1, vec![row(0, 1, Some(1)), row(0, 2, None), row(2, -6, None)]),
        profile(60 * MINUTE, vec![row(1, 9, None), row(2, -2, None)]),
    ];
    let sums = |table: Table| {
        let built = build_tables(input(&stored), &options()).unwrap();
        let batch = concat_batches(&table.schema(), built.batches(table)).unwrap();
        let numbers = |name: &str| {
            let column = batch.column_by_name(name).unwrap().as_any().downcast_ref::<Int64Array>();
            column.unwrap().iter().map(|value| value.unwrap().to_string()).collect::<Vec<_>>()
        };
        let (values, lasts, maxes) = (numbers("value"), numbers("last"), numbers("max"));
        (0..values.len()).map(|at| format!("{} {} {}\n", values[at], lasts[at], maxes[at])).collect::<String>()
    };
    expect![[r#"
        8 3 5
        -10 -6 -4
        2 0 2
        -2 -2 -2
        9 9 9
    "#]]
    .assert_eq(&sums(Table::Rollups1h));
    expect![[r#"
        8 0 5
        -12 -2 -2
        11 9 9
    "#]]
    .assert_eq(&sums(Table::Rollups1d));
}

/// Last and largest values and sums by service, type, day and stack.
fn days(reader: &SegmentReader) -> BTreeMap<(String, String, i64, Vec<u32>), [i64; 3]> {
    let mut report = ScanReport::default();
    let mut found = BTreeMap::new();
    let (entries, series) = (block_on(reader.dictionaries()).unwrap(), block_on(reader.series()).unwrap());
    for window in block_on(reader.windows()).unwrap().rows.iter().filter(|w| w.resolution == Resolution::Day) {
        let series = &series.rows[window.series_id as usize];
        let entry = &entries[series.dictionary_id as usize];
        let sealed = block_on(reader.load_dictionary(entry.dictionary_id, &mut report)).unwrap();
        let sums = block_on(reader.window_sums(entry, &[*window], &mut report)).unwrap().remove(0);
        let name = format!("{} {}", series.labels, series.profile_type);
        for (at, id) in sums.stacks.iter().enumerate() {
            let key = (entry.service_name.clone(), name.clone(), window.time_unix_nano, stack(&sealed, *id));
            found.insert(key, [sums.values[at], sums.lasts[at], sums.maxes[at]]);
        }
    }
    found
}

/// The days of `stored` in `parts` segments, rolled up to one segment.
fn rolled_up(stored: &[Stored], parts: usize) -> SegmentReader {
    let of = |part: usize| stored.iter().skip(part).step_by(parts).cloned().collect::<Vec<_>>();
    let input = |part| DaysOf { reader: Arc::new(without(&of(part), RollUps::HoursAndDays, &[])), days: None };
    let inputs: Vec<DaysOf> = (0..parts).map(input).collect();
    let tables = block_on(roll_up_days(&inputs, &options())).unwrap();
    let sealed = seal(tables, &options()).unwrap();
    let tables = support::tables(&sealed);
    assert!(tables.iter().all(|(table, _)| !matches!(table, Table::Samples | Table::Profiles | Table::Rollups1h)));
    read_everything(tables.clone()).unwrap();
    SegmentReader::new(Arc::new(MemorySource::new(tables)))
}

#[test]
fn days_of_several_segments_become_one() {
    let stored: Vec<Stored> = every_20_minutes(-24 * 60 * MINUTE, 3 * 72);
    let whole = without(&stored, RollUps::HoursAndDays, &[]);
    for parts in [1, 2, 5] {
        assert_eq!(days(&rolled_up(&stored, parts)), days(&whole), "{parts} parts");
    }
    let only = DaysOf { reader: Arc::new(whole), days: Some([0].into()) };
    let one_day = block_on(roll_up_days(&[only], &options())).unwrap();
    assert_eq!((one_day.meta.time_min, one_day.rows(Table::Windows)), (0, 2));
}

/// Profiles around 1970 and at the ends of time, on the borders of windows and between them.
fn spread() -> impl Strategy<Value = Vec<Stored>> {
    let offset = prop_oneof![3 => Just(0_i64), 1 => Just(-1), 1 => Just(1), 1 => Just(17 * MINUTE)];
    let place = |offset: i64| move |time: i64| time * 360 * MINUTE + offset;
    (profiles(), offset, any::<bool>()).prop_map(move |(mut stored, offset, at_the_ends)| {
        for profile in &mut stored {
            profile.time = match (at_the_ends, profile.time) {
                (true, -20..-10) => i64::MIN - (profile.time + 11),
                (true, 10..20) => i64::MAX - (profile.time - 10),
                (_, time) if profile.host == 1 => place(offset)(time),
                (_, time) => time * 20 * MINUTE,
            };
        }
        stored
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_range_of_any_segment_is_a_plain_sum(
        stored in spread(),
        rollups in 0..4_usize,
        start in -24_i64..24,
        length in 0_i64..48,
        off in -1_i64..2,
    ) {
        let reader = without(&stored, ROLL_UPS[rollups], &[]);
        let start = start * 60 * MINUTE + off;
        for range in [TimeRange { start, end: start + length * 60 * MINUTE }, TimeRange::ALL] {
            let sums = block_on(merged_sums(&reader, &Selector::default(), &range, ReadFrom::Widest)).unwrap();
            prop_assert_eq!(sums, expected_sums(&input(&stored), &Selector::default(), &range));
        }
    }

    #[test]
    fn days_of_any_segments_become_one(stored in spread(), parts in 1..4_usize) {
        let (whole, rolled) = (without(&stored, RollUps::HoursAndDays, &[]), rolled_up(&stored, parts));
        let without_last = |reader| -> Vec<_> {
            // Which of two profiles of one time is the last is not told.
            let days = days(reader).into_iter().map(|(key, [sum, _, max])| (key, [sum, max]));
            days.filter(|(_, values)| *values != [0, 0]).collect()
        };
        prop_assert_eq!(without_last(&rolled), without_last(&whole));
        let windows = |reader: &SegmentReader| {
            let of_days = block_on(reader.windows()).unwrap().rows.clone().into_iter();
            let of_days = of_days.filter(|window| window.resolution == Resolution::Day);
            of_days.map(|w| (w.series_id, w.time_min, w.time_max, w.profile_count, w.total, w.total_magnitude)).collect::<Vec<_>>()
        };
        prop_assert_eq!(windows(&rolled), windows(&whole));
    }

    #[test]
    fn what_is_left_of_any_segment_is_a_plain_sum_of_whole_windows(
        stored in spread(),
        gone in 0..4_usize,
        start in -24_i64..24,
        length in 0_i64..48,
    ) {
        let gone = [&[Table::Samples, Table::Profiles][..], &[Table::Rollups1h], &[Table::Rollups1d], &Table::ROLLUPS][gone];
        let reader = without(&stored, RollUps::HoursAndDays, gone);
        let range = TimeRange { start: start * 60 * MINUTE, end: (start + length) * 60 * MINUTE };
        let cover = cover(&reader, &range, ReadFrom::Widest);
        let sums = block_on(merged_sums(&reader, &Selector::default(), &range, ReadFrom::Widest)).unwrap();
        let exact = cover.widened.unwrap_or(range);
        prop_assert_eq!(sums, expected_sums(&input(&stored), &Selector::default(), &exact));
        prop_assert!(cover.widened.is_none() || gone.contains(&Table::Samples));
    }
}
