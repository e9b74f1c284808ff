//! Heat maps: how the totals of single profiles spread over time.
//!
//! ```text
//! largest ┬────┬────┬────┐
//!         │  2 │    │  1 │   20 buckets of values, from the smallest total to the largest of all groups
//!         │  7 │  9 │  4 │   slots that end at start, start + step, … up to end, their ends included
//! smallest┴────┴────┴────┘
//! ```
//!
//! Slots without a profile are left out. Bounded by the number of profiles that are looked at for one answer, and by the memory of
//! queries, in which the places of profiles and slots are reserved.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use flamestore_model::{Error, Labels, Result};
use flamestore_proto::querier::v1;
use flamestore_proto::types::v1::{ExemplarType, HeatmapSeries, HeatmapSlot};
use flamestore_query::ProfileEntry;

use super::ask::Asked;
use super::lists::pairs;
use super::reader::Reader;
use super::series::{Grid, exemplar, exemplar_bytes, group_of, pair_bytes};

/// What the place of a profile in its slot takes.
const PLACE_BYTES: usize = 16;
/// What a slot takes before it is answered, and in the answer.
const SLOT_BYTES: usize = 128 + size_of::<HeatmapSlot>() + BUCKETS * (size_of::<i32>() + size_of::<f64>());
/// What a group takes beside its labels.
const GROUP_BYTES: usize = 128 + size_of::<HeatmapSeries>();
/// Buckets of values.
const BUCKETS: usize = 20;

/// The buckets of all values.
#[derive(Clone, Copy, Debug)]
struct Scale {
    min: i64,
    max: i64,
}

impl Scale {
    #[expect(clippy::cast_precision_loss, reason = "the protocol has floating point numbers")]
    fn starts(self) -> Vec<f64> {
        let width = (self.max as f64 - self.min as f64) / BUCKETS as f64;
        (0..BUCKETS).map(|bucket| self.min as f64 + width * bucket as f64).collect()
    }

    fn bucket(self, value: i64) -> usize {
        let span = i128::from(self.max) - i128::from(self.min);
        let into = i128::from(value) - i128::from(self.min);
        let bucket = (into * BUCKETS as i128).checked_div(span).unwrap_or_default();
        usize::try_from(bucket).unwrap_or_default().min(BUCKETS - 1)
    }
}

pub(super) async fn select(reader: &Reader, request: &v1::SelectHeatmapRequest) -> Result<v1::SelectHeatmapResponse> {
    let asked = Asked::typed(&request.profile_type_id, &request.label_selector, request.start, request.end)?;
    let grid = Grid::new(request.start, request.end, request.step)?;
    match v1::HeatmapQueryType::try_from(request.query_type) {
        Ok(v1::HeatmapQueryType::Unspecified | v1::HeatmapQueryType::Individual) => {}
        Ok(v1::HeatmapQueryType::Span) | Err(_) => {
            return Err(Error::unsupported("heat maps are made of single profiles only"));
        }
    }
    let with_exemplars = match ExemplarType::try_from(request.exemplar_type) {
        Ok(ExemplarType::Unspecified | ExemplarType::None) => false,
        Ok(ExemplarType::Individual) => true,
        Ok(ExemplarType::Span) | Err(_) => {
            return Err(Error::unsupported("heat maps have exemplars of single profiles only"));
        }
    };
    let memory = reader.engine.memory("heat map");
    let profiles = reader.profiles(&grid.widened(asked), &memory).await?;
    let limit = request.limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    let group_by = request.group_by.clone();
    let heat = move || {
        let mut steps = memory.in_steps();
        let heat = heat(&profiles, &grid, &group_by, with_exemplars, limit, |bytes| steps.grow(bytes));
        drop(memory);
        heat
    };
    Ok(v1::SelectHeatmapResponse { series: reader.compute.run(heat).await? })
}

/// The heat of groups of profiles, the groups of the largest totals first.
///
/// # Errors
/// Those of `reserve`, which is asked for what is kept.
fn heat(
    profiles: &[ProfileEntry],
    grid: &Grid,
    group_by: &[String],
    with_exemplars: bool,
    limit: Option<usize>,
    mut reserve: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<HeatmapSeries>> {
    let mut groups: BTreeMap<Labels, BTreeMap<i64, Vec<&ProfileEntry>>> = BTreeMap::new();
    let (mut min, mut max) = (i64::MAX, i64::MIN);
    for entry in profiles {
        if let Some(end) = grid.end_around(entry.time_unix_nano) {
            let labels = group_of(entry, group_by);
            if !groups.contains_key(&labels) {
                reserve(GROUP_BYTES + 2 * pair_bytes(&labels))?;
            }
            let slots = groups.entry(labels).or_default();
            if !slots.contains_key(&end) {
                reserve(SLOT_BYTES)?;
            }
            reserve(PLACE_BYTES)?;
            slots.entry(end).or_default().push(entry);
            (min, max) = (min.min(entry.total), max.max(entry.total));
        }
    }
    let scale = Scale { min, max };
    let total = |slots: &BTreeMap<i64, Vec<&ProfileEntry>>| -> i128 {
        slots.values().flatten().map(|entry| i128::from(entry.total)).sum()
    };
    let mut ranked: Vec<_> = groups.into_iter().map(|(labels, slots)| (total(&slots), labels, slots)).collect();
    ranked.sort_by_key(|(total, _, _)| Reverse(*total));
    ranked.truncate(limit.unwrap_or(usize::MAX));
    let series = ranked.into_iter().map(|(_, labels, slots)| {
        let slots = slots.into_iter().map(|(end, entries)| {
            let mut slot = slot(end, &entries, scale);
            if let Some(entry) = largest(&entries).filter(|_| with_exemplars) {
                reserve(exemplar_bytes(entry))?;
                slot.exemplars.push(exemplar(entry, &labels));
            }
            Ok(slot)
        });
        Ok(HeatmapSeries { slots: slots.collect::<Result<_>>()?, labels: pairs(&labels) })
    });
    series.collect()
}

/// One slot, without an exemplar.
fn slot(timestamp: i64, entries: &[&ProfileEntry], scale: Scale) -> HeatmapSlot {
    let mut counts = vec![0_i32; BUCKETS];
    for entry in entries {
        let count = &mut counts[scale.bucket(entry.total)];
        *count = count.saturating_add(1);
    }
    HeatmapSlot { timestamp, y_min: scale.starts(), counts, exemplars: Vec::new() }
}

/// The profile of the largest total, which is the exemplar of its slot.
fn largest<'a>(entries: &[&'a ProfileEntry]) -> Option<&'a ProfileEntry> {
    entries.iter().copied().max_by_key(|entry| (entry.total, Reverse(entry.id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flamestore_model::ProfileId;

    use crate::querier::ask::nanos;

    fn entry(id: u64, millis: i64, pod: &str, total: i64) -> ProfileEntry {
        ProfileEntry {
            id: ProfileId::from_parts(id, 0),
            time_unix_nano: nanos(millis),
            duration_nano: 0,
            profile_type: "process_cpu:cpu:nanoseconds:cpu:nanoseconds".parse().unwrap(),
            labels: Labels::from_pairs([("pod", pod), ("zone", "z")]).unwrap(),
            total,
        }
    }

    #[test]
    fn profiles_are_counted_by_slot_and_bucket() {
        let grid = Grid::new(1000, 3000, 1.0).unwrap();
        let entries = [
            entry(1, 1, "a", 0),
            entry(2, 1000, "a", 200),
            entry(3, 1001, "a", 9),
            entry(4, 2000, "b", 199),
            entry(5, 3001, "b", 7),
        ];
        let heat = |limit| heat(&entries, &grid, &["pod".to_owned()], true, limit, |_| Ok(())).unwrap();
        let found = heat(None);
        let told = |series: &HeatmapSeries| {
            let slots = series.slots.iter().map(|slot| {
                let filled = slot.counts.iter().enumerate().filter(|(_, count)| **count > 0);
                let filled: Vec<_> = filled.map(|(bucket, count)| format!("{bucket}:{count}")).collect();
                format!("{}={} {}", slot.timestamp, filled.join(","), slot.exemplars[0].value)
            });
            format!("{} {}", series.labels[0].value, slots.collect::<Vec<_>>().join(" "))
        };
        let told: Vec<_> = found.iter().map(told).collect();
        assert_eq!(told, ["a 1000=0:1,19:1 200 2000=0:1 9", "b 2000=19:1 199"]);
        assert_eq!(found[0].slots[0].y_min[..3], [0.0, 10.0, 20.0]);
        let exemplar = &found[0].slots[0].exemplars[0];
        assert_eq!((exemplar.profile_id.as_str(), exemplar.timestamp), ("00000000-0002-0000-0000-000000000000", 1000));
        assert_eq!(exemplar.labels.iter().map(|label| label.name.as_str()).collect::<Vec<_>>(), ["zone"]);
        assert_eq!(heat(Some(1)).len(), 1);
    }

    #[test]
    fn one_value_is_one_bucket() {
        let scale = Scale { min: 5, max: 5 };
        assert_eq!((scale.bucket(5), scale.starts()[19]), (0, 5.0));
        let wide = Scale { min: i64::MIN, max: i64::MAX };
        assert_eq!((wide.bucket(i64::MIN), wide.bucket(i64::MAX)), (0, 19));
    }
}
