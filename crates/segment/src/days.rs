//! Rolls the days of many segments up into one segment, with a dictionary of its own, and the 30 days of several of these
//! into one more: a year is then one dictionary to load instead of hundreds.
//!
//! ```text
//! segments of days   ──▶ service by service: dictionaries merged, windows of days and 30 days ──▶ a month
//! segments of months ──▶ likewise,                                windows of 30 days          ──▶ a year
//! ```
//!
//! Always: the sums of a window are those of the windows of its series and time in the inputs. Profiles, samples and shorter
//! windows are not taken over: the inputs go on to answer what lies across the ends of a range.
//!
//! Bounded by what the inputs hold: all windows that are taken over and one merged dictionary a service are in memory at one time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flamestore_calltree::{SealedDictionary, merge_sealed};
use flamestore_model::{Error, Labels, Result};

use crate::build::{DayInput, SeriesDays, ServiceDays, build_days};
use crate::{DictionaryEntry, Resolution, ScanReport, SegmentOptions, SegmentReader, SegmentTables, SeriesRow, Table};

/// A segment whose days are rolled up.
#[derive(Clone, Debug)]
pub struct DaysOf {
    /// Reads it.
    pub reader: Arc<SegmentReader>,
    /// The starts of the windows to take; all when `None`.
    pub days: Option<BTreeSet<i64>>,
}

/// The tables of a segment that has the windows of `inputs` of the shortest length that `options` ask for, the longer ones
/// summed from these, and neither samples nor profiles.
///
/// # Errors
/// As all reads of a segment; `Internal` when hours or nothing are asked for, or an input has no such windows; `Exhausted` when
/// ids do not fit 32 bits.
pub async fn roll_up_days(inputs: &[DaysOf], options: &SegmentOptions) -> Result<SegmentTables> {
    let finest = options.rollups.resolutions().first().copied().filter(|finest| *finest >= Resolution::Day);
    let finest = finest.ok_or_else(|| Error::internal("a segment of roll-ups alone has days or more"))?;
    let mut services: BTreeMap<String, Vec<(usize, DictionaryEntry)>> = BTreeMap::new();
    for (at, input) in inputs.iter().enumerate() {
        if !input.reader.has(Table::Windows) || !input.reader.has(finest.table()) {
            return Err(Error::internal("a segment without windows cannot be rolled up")
                .with("input", at)
                .with("windows", finest));
        }
        for entry in input.reader.dictionaries().await?.iter() {
            services.entry(entry.service_name.clone()).or_default().push((at, entry.clone()));
        }
    }
    let mut rolled = Vec::with_capacity(services.len());
    for (service_name, parts) in services {
        let service = roll_up_service(inputs, finest, service_name, &parts).await?;
        rolled.extend((!service.series.is_empty()).then_some(service));
    }
    build_days(rolled, options)
}

async fn roll_up_service(
    inputs: &[DaysOf],
    finest: Resolution,
    service_name: String,
    parts: &[(usize, DictionaryEntry)],
) -> Result<ServiceDays> {
    let mut report = ScanReport::default();
    let mut sealed: Vec<Arc<SealedDictionary>> = Vec::with_capacity(parts.len());
    for (at, entry) in parts {
        sealed.push(inputs[*at].reader.load_dictionary(entry.dictionary_id, &mut report).await?);
    }
    let merged = merge_sealed(&sealed.iter().map(AsRef::as_ref).collect::<Vec<_>>());
    drop(sealed);
    let mut series: BTreeMap<(String, Labels), SeriesDays> = BTreeMap::new();
    for ((at, entry), remap) in parts.iter().zip(&merged.remaps) {
        let input = &inputs[*at];
        let table = input.reader.series().await?;
        for row in table.rows.iter().filter(|row| row.dictionary_id == entry.dictionary_id) {
            let mut days = windows_of(input, finest, (entry, row), &mut report).await?;
            for stack in days.iter_mut().flat_map(|day| &mut day.sums.stacks) {
                *stack = remap.stacks[*stack as usize];
            }
            if !days.is_empty() {
                let key = (row.profile_type.to_string(), row.labels.clone());
                series.entry(key).or_insert_with(|| empty(row)).days.extend(days);
            }
        }
    }
    Ok(ServiceDays { service_name, sealed: merged.sealed, series: series.into_values().collect() })
}

fn empty(row: &SeriesRow) -> SeriesDays {
    SeriesDays {
        labels: row.labels.clone(),
        profile_type: row.profile_type.clone(),
        temporality: row.temporality,
        days: Vec::new(),
    }
}

async fn windows_of(
    input: &DaysOf,
    resolution: Resolution,
    (entry, row): (&DictionaryEntry, &SeriesRow),
    report: &mut ScanReport,
) -> Result<Vec<DayInput>> {
    let wanted = |start: i64| input.days.as_ref().is_none_or(|days| days.contains(&start));
    let windows = input.reader.windows().await?;
    let own = windows.of(row.series_id).iter().copied();
    let own: Vec<_> = own.filter(|window| window.resolution == resolution && wanted(window.time_unix_nano)).collect();
    let sums = input.reader.window_sums(entry, &own, report).await?;
    Ok(own.into_iter().zip(sums).map(|(window, sums)| DayInput { window, sums }).collect())
}
