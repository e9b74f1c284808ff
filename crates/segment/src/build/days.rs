//! Builds the tables of a segment of roll-ups by day or by 30 days, which has neither profiles nor samples.

use std::collections::BTreeMap;

use flamestore_calltree::SealedDictionary;
use flamestore_model::{Labels, Result, Temporality};

use super::rollups::{RollUpBuilder, Rolled};
use super::samples::LaidSeries;
use super::{Numbered, PlannedSeries, dictionary, id32, meta, postings, rank, series, too_many};
use crate::input::{DictionaryInput, SeriesInput};
use crate::rows::{Span, WindowRow, WindowSums};
use crate::schema::Table;
use crate::{SegmentMeta, SegmentOptions, SegmentTables};

/// One service of a segment of days.
pub(crate) struct ServiceDays {
    pub(crate) service_name: String,
    pub(crate) sealed: SealedDictionary,
    pub(crate) series: Vec<SeriesDays>,
}

/// The windows of one series, in any order.
pub(crate) struct SeriesDays {
    pub(crate) labels: Labels,
    pub(crate) profile_type: flamestore_model::ProfileType,
    pub(crate) temporality: Temporality,
    pub(crate) days: Vec<DayInput>,
}

/// A window of the finest resolution that is built, or a part of one; stacks are those of the service's dictionary.
pub(crate) struct DayInput {
    pub(crate) window: WindowRow,
    pub(crate) sums: WindowSums,
}

/// Numbers, sorts and lays out windows; those of one series and time become one, and longer ones are summed from them.
///
/// # Errors
/// As [`build_tables`](crate::build_tables).
pub(crate) fn build_days(mut services: Vec<ServiceDays>, options: &SegmentOptions) -> Result<SegmentTables> {
    services.sort_by(|a, b| a.service_name.cmp(&b.service_name));
    let (mut planned, mut dictionaries) = (Vec::new(), Vec::<Numbered>::new());
    for (id, service) in services.into_iter().enumerate() {
        let ServiceDays { service_name, sealed, series } = service;
        let used = series.iter().flat_map(|series| &series.days).flat_map(|day| &day.sums.stacks);
        let ranks = rank(sealed.leaves.len(), used);
        let input = DictionaryInput { service_name, sealed, series: Vec::new() };
        let numbered = Numbered::new(id32(id)?, dictionaries.last(), &input, ranks)?;
        let entry = numbered.entry.dictionary_id;
        planned.extend(series.into_iter().map(|series| {
            let SeriesDays { labels, profile_type, temporality, days } = series;
            let input = SeriesInput { labels, profile_type, profiles: Vec::new() };
            (PlannedSeries::new(entry, &numbered, input), temporality, days)
        }));
        dictionaries.push(Numbered { sealed: Some(input.sealed), ..numbered });
    }
    planned.sort_by(|a, b| a.0.key().cmp(&b.0.key()));
    let mut tables = SegmentTables::new(SegmentMeta::default());
    let (mut all, mut laid) = (Vec::with_capacity(planned.len()), Vec::with_capacity(planned.len()));
    let mut rollups = RollUpBuilder::new(options);
    let mut first = 0;
    for (series_id, (series, temporality, days)) in (0..).zip(planned) {
        let numbered = &dictionaries[series.dictionary_id as usize];
        rollups.begin_series(series_id, numbered.entry.stacks, temporality == Temporality::Instant)?;
        let row = lay_series(numbered, first, temporality, days, &mut rollups)?;
        first = row.profiles.first + row.profiles.count;
        laid.push(row);
        all.push(series);
    }
    rollups.finish(options, &mut tables)?;
    tables.set(Table::Series, series::build(&all, &laid)?);
    tables.set(Table::Postings, postings::build(&all)?);
    dictionary::build(&mut dictionaries, options, &mut tables)?;
    tables.meta = meta(&tables, &dictionaries, &all, &laid);
    tables.remove(Table::Samples);
    tables.remove(Table::Profiles);
    Ok(tables)
}

/// Hands the days of a series to `rollups`, each day's parts in order of their last profile.
fn lay_series(
    numbered: &Numbered,
    first: u32,
    temporality: Temporality,
    days: Vec<DayInput>,
    rollups: &mut RollUpBuilder,
) -> Result<LaidSeries> {
    let mut by_day: BTreeMap<(i64, i64), Vec<DayInput>> = BTreeMap::new();
    for day in days {
        by_day.entry((day.window.time_unix_nano, day.window.time_max)).or_default().push(day);
    }
    let (mut count, mut times) = (0_u32, None::<(i64, i64)>);
    for day in by_day.into_values().flatten() {
        let DayInput { window, sums } = day;
        count = count.checked_add(window.profile_count).ok_or_else(too_many)?;
        times = Some(times.map_or((window.time_min, window.time_max), |(min, max)| {
            (min.min(window.time_min), max.max(window.time_max))
        }));
        let mut order: Vec<(u32, usize)> =
            sums.stacks.iter().enumerate().map(|(at, stack)| (numbered.stack_ranks[*stack as usize], at)).collect();
        order.sort_unstable();
        let sorted = |values: &[i64]| -> Vec<i64> { order.iter().map(|(_, at)| values[*at]).collect() };
        let stacks: Vec<u32> = order.iter().map(|(rank, _)| numbered.entry.stacks.first + rank).collect();
        rollups.push(&Rolled {
            times: (window.time_min, window.time_max),
            profiles: window.profile_count,
            unit: 1,
            total: window.total,
            magnitude: window.total_magnitude.map(i64::unsigned_abs),
            stacks: &stacks,
            values: &sorted(&sums.values),
            instants: Some((&sorted(&sums.lasts), &sorted(&sums.maxes))),
        })?;
    }
    first.checked_add(count).ok_or_else(too_many)?;
    let (time_min, time_max) = times.unwrap_or_default();
    Ok(LaidSeries { profiles: Span { first, count }, time_min, time_max, temporality })
}
