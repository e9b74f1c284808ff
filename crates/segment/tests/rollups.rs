//! Whatever a range is answered from, the answer is the plain sum of its profiles.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::Int64Array;
use arrow::compute::concat_batches;
use bytes::Bytes;
use expect_test::{Expect, expect};
use flamestore_model::{Selector, TimeRange};
use flamestore_segment::{
    Cover, DaysOf, DictionarySelection, MemorySource, ReadFrom, Resolution, RollUps, ScanReport, SegmentOptions,
    SegmentReader, Table, WindowRow, build_tables, read_everything, roll_up_days, seal,
};
use futures::executor::block_on;
use proptest::prelude::*;
use support::{Stored, expected_sums, input, merged_sums, options, profiles, sealed_with, stack, tables};

const MINUTE: i64 = 60_000_000_000;
const ROLL_UPS: [RollUps; 4] = [RollUps::None, RollUps::Hours, RollUps::HoursAndDays, RollUps::DaysAndMonths];

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

/// Last and largest values and sums by service, type, start of the window and stack.
fn windows(reader: &SegmentReader, of: Resolution) -> BTreeMap<(String, String, i64, Vec<u32>), [i64; 3]> {
    let mut report = ScanReport::default();
    let mut found = BTreeMap::new();
    let (entries, series) = (block_on(reader.dictionaries()).unwrap(), block_on(reader.series()).unwrap());
    for window in block_on(reader.windows()).unwrap().rows.iter().filter(|w| w.resolution == of) {
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

/// Every `step`-th of `stored`, from the `first` on.
fn every(stored: &[Stored], first: usize, step: usize) -> Vec<Stored> {
    stored.iter().skip(first).step_by(step).cloned().collect()
}

/// `inputs` as one segment without profiles.
fn united(inputs: Vec<SegmentReader>, rollups: RollUps) -> SegmentReader {
    let inputs = inputs.into_iter().map(|reader| DaysOf { reader: Arc::new(reader), days: None });
    let options = SegmentOptions { rollups, ..options() };
    let tables = block_on(roll_up_days(&inputs.collect::<Vec<_>>(), &options)).unwrap();
    let tables = support::tables(&seal(tables, &options).unwrap());
    let of_rollups: Vec<Table> = rollups.resolutions().iter().map(|resolution| resolution.table()).collect();
    let fits = |table: &Table| match table {
        Table::Windows => true,
        table if Table::ROLLUPS.contains(table) => of_rollups.contains(table),
        table => !table.may_be_absent(),
    };
    assert!(tables.iter().all(|(table, _)| fits(table)));
    read_everything(tables.clone()).unwrap();
    SegmentReader::new(Arc::new(MemorySource::new(tables)))
}

/// The days of `stored` in `parts` segments, rolled up to one segment: a month.
fn rolled_up(stored: &[Stored], parts: usize) -> SegmentReader {
    let input = |part| without(&every(stored, part, parts), RollUps::HoursAndDays, &[]);
    united((0..parts).map(input).collect(), RollUps::DaysAndMonths)
}

/// The same by way of `months` segments of days and 30 days: a year.
fn rolled_up_twice(stored: &[Stored], parts: usize, months: usize) -> SegmentReader {
    let month = |at| rolled_up(&every(stored, at, months), parts);
    united((0..months).map(month).collect(), RollUps::Months)
}

/// Sums of what stands for `days`.
fn sums_of_days(reader: &SegmentReader, days: &BTreeSet<i64>) -> (Cover, support::Sums) {
    let (mut sums, mut report) = (support::Sums::new(), ScanReport::default());
    let all = block_on(reader.select_series(&Selector::default())).unwrap();
    let cover = block_on(reader.cover_days(&all, days, ReadFrom::Widest)).unwrap();
    let series = block_on(reader.series()).unwrap();
    for entry in block_on(reader.dictionaries()).unwrap().iter() {
        let is_own = |w: &&WindowRow| series.rows[w.series_id as usize].dictionary_id == entry.dictionary_id;
        let windows = cover.windows.iter().filter(is_own).copied().collect();
        let selection = DictionarySelection { entry: entry.clone(), profiles: Vec::new(), windows };
        let tree = block_on(reader.merge_dictionary(&selection, &mut report)).unwrap();
        let nodes = (0..).zip(&tree.values[0]).filter(|(_, value)| **value != 0);
        sums.extend(nodes.map(|(node, value)| ((entry.service_name.clone(), tree.tree.stack(node)), *value)));
    }
    (cover, sums)
}

/// Sums of the profiles of `days`.
fn expected_of_days(stored: &[Stored], days: &BTreeSet<i64>) -> support::Sums {
    let mut sums = support::Sums::new();
    for start in days {
        let day = Resolution::Day.nanos();
        let end = start.div_euclid(day).saturating_add(1).saturating_mul(day);
        for (stack, value) in expected_sums(&input(stored), &Selector::default(), &TimeRange { start: *start, end }) {
            let sum = sums.entry(stack).or_default();
            *sum = value.wrapping_add(*sum);
        }
    }
    sums.retain(|_, value| *value != 0);
    sums
}

#[test]
fn days_of_several_segments_become_one() {
    let stored: Vec<Stored> = every_20_minutes(-24 * 60 * MINUTE, 3 * 72);
    let whole = without(&stored, RollUps::HoursAndDays, &[]);
    for parts in [1, 2, 5] {
        let days = |reader: &SegmentReader| windows(reader, Resolution::Day);
        assert_eq!(days(&rolled_up(&stored, parts)), days(&whole), "{parts} parts");
    }
    let only = DaysOf { reader: Arc::new(whole), days: Some([0].into()) };
    let months = SegmentOptions { rollups: RollUps::DaysAndMonths, ..options() };
    let one_day = block_on(roll_up_days(&[only], &months)).unwrap();
    assert_eq!((one_day.meta.time_min, one_day.rows(Table::Windows)), (0, 4));
    let hours = block_on(roll_up_days(&[], &options())).unwrap_err();
    assert_eq!(hours.kind(), flamestore_model::ErrorKind::Internal);
}

#[test]
fn a_window_of_30_days_stands_for_its_days_where_all_are_wanted() {
    // From 20 days before 1970 on, two profiles of each of two series a day, for 50 days.
    let profile = |n: i64| Stored {
        time: (n / 4 - 20) * 24 * 60 * MINUTE + n,
        ty: u8::from(n % 2 == 0),
        ..every_20_minutes(0, 1)[0].clone()
    };
    let stored: Vec<Stored> = (0..200).map(profile).collect();
    let (month, year) = (rolled_up(&stored, 2), rolled_up_twice(&stored, 1, 3));
    let days = |range: std::ops::Range<i64>| -> BTreeSet<i64> { range.map(|day| day * 24 * 60 * MINUTE).collect() };
    let check = |reader: &SegmentReader, range, expected: (u64, u64)| {
        let (cover, sums) = sums_of_days(reader, &days(range));
        assert_eq!((cover.windows_of(Resolution::Month).0, cover.windows_of(Resolution::Day).0), expected);
        sums
    };
    check(&month, -20..30, (4, 0));
    check(&month, -100..100, (4, 0));
    assert_eq!(check(&month, -3..30, (2, 6)), expected_of_days(&stored, &days(-3..30)));
    assert_eq!(check(&month, -20..29, (2, 58)), expected_of_days(&stored, &days(-20..29)));
    check(&month, 30..40, (0, 0));
    assert_eq!(check(&year, -30..0, (2, 0)), expected_of_days(&stored, &days(-30..0)));
    assert_eq!(check(&year, -30..30, (4, 0)), expected_of_days(&stored, &days(-30..30)));
}

/// Profiles around 1970 and at the ends of time, on the borders of windows and between them.
fn spread() -> impl Strategy<Value = Vec<Stored>> {
    let offset = prop_oneof![3 => Just(0_i64), 1 => Just(-1), 1 => Just(1), 1 => Just(17 * MINUTE)];
    let place = |offset: i64| move |time: i64| time * 360 * MINUTE + offset;
    (profiles(), offset, any::<bool>(), 0..3_usize).prop_map(move |(mut stored, offset, at_the_ends, scale)| {
        for profile in &mut stored {
            profile.time = match (at_the_ends, profile.time) {
                (true, -20..-10) => i64::MIN - (profile.time + 11),
                (true, 10..20) => i64::MAX - (profile.time - 10),
                (_, time) if profile.host == 1 => place(offset)(time * [1, 1, 40][scale]),
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
        let (whole, rolled) = (without(&stored, RollUps::DaysAndMonths, &[]), rolled_up(&stored, parts));
        let year = rolled_up_twice(&stored, 1, parts);
        for (rolled, resolution) in [(&rolled, Resolution::Day), (&rolled, Resolution::Month), (&year, Resolution::Month)] {
            let without_last = |reader| -> Vec<_> {
                // Which of two profiles of one time is the last is not told.
                let found = windows(reader, resolution).into_iter().map(|(key, [sum, _, max])| (key, [sum, max]));
                found.filter(|(_, values)| *values != [0, 0]).collect()
            };
            prop_assert_eq!(without_last(rolled), without_last(&whole));
            let rows = |reader: &SegmentReader| {
                let rows = block_on(reader.windows()).unwrap().rows.clone().into_iter();
                let rows = rows.filter(|window| window.resolution == resolution);
                rows.map(|w| (w.series_id, w.time_min, w.time_max, w.profile_count, w.total, w.total_magnitude)).collect::<Vec<_>>()
            };
            prop_assert_eq!(rows(rolled), rows(&whole));
        }
    }

    #[test]
    fn any_days_of_a_month_are_a_plain_sum(stored in spread(), parts in 1..4_usize, picked in any::<u64>()) {
        let mut stored = stored;
        stored.retain(|profile| profile.time < i64::MAX);
        let starts: BTreeSet<i64> = stored.iter().map(|profile| Resolution::Day.start_of(profile.time)).collect();
        let of = |picked: u64| -> BTreeSet<i64> {
            let numbered = (0..64).zip(&starts).filter(|(at, _)| picked >> at & 1 == 1);
            numbered.map(|(_, start)| *start).collect()
        };
        let month = rolled_up(&stored, parts);
        for days in [of(picked), of(u64::MAX), of(picked | picked >> 7 | picked << 9)] {
            prop_assert_eq!(sums_of_days(&month, &days).1, expected_of_days(&stored, &days));
        }
        // Of a year windows of 30 days are asked for as a whole.
        let whole = |start: &i64| of(picked).iter().any(|day| Resolution::Month.start_of(*day) == Resolution::Month.start_of(*start));
        let days: BTreeSet<i64> = starts.iter().copied().filter(whole).collect();
        let year = rolled_up_twice(&stored, parts, 2);
        prop_assert_eq!(sums_of_days(&year, &days).1, expected_of_days(&stored, &days));
    }

    #[test]
    fn what_is_left_of_any_segment_is_a_plain_sum_of_whole_windows(
        stored in spread(),
        gone in 0..4_usize,
        start in -24_i64..24,
        length in 0_i64..48,
    ) {
        let gone = [&[Table::Samples, Table::Profiles][..], &[Table::Rollups1h], &[Table::Rollups1d], &Table::ROLLUPS[..]][gone];
        let reader = without(&stored, RollUps::HoursAndDays, gone);
        let range = TimeRange { start: start * 60 * MINUTE, end: (start + length) * 60 * MINUTE };
        let cover = cover(&reader, &range, ReadFrom::Widest);
        let sums = block_on(merged_sums(&reader, &Selector::default(), &range, ReadFrom::Widest)).unwrap();
        let exact = cover.widened.unwrap_or(range);
        prop_assert_eq!(sums, expected_sums(&input(&stored), &Selector::default(), &exact));
        prop_assert!(cover.widened.is_none() || gone.contains(&Table::Samples));
    }
}
