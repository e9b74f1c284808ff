//! What stands for the profiles of a range: the widest windows of roll-ups that lie inside, profiles for the ragged ends.
//!
//! ```text
//! range         ├───────────────────────────────────────┤
//! days      │            ╞════════════╪════════════╡            │     rollups_1d
//! hours           ╞═╪═╪═╪╡                         ╞═╪═╪═╡            rollups_1h
//! profiles      ╞═╡                                      ╞══╡         samples
//! ```
//!
//! Always: every profile of the range is in exactly one window or is listed itself. A window lies inside when its first and
//! its last profile do, so a day that has hardly begun counts as whole. Where profiles are gone (they expired, or the segment
//! never had them), the range is widened to the windows that are left, and [`Cover::widened`] says so.

use std::collections::BTreeSet;

use flamestore_model::{Result, TimeRange};
use roaring::RoaringBitmap;

use crate::rows::{ProfileRow, WindowRow};
use crate::schema::Table;
use crate::{Resolution, ScanReport, SegmentReader};

/// What a range may be answered from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReadFrom {
    /// The widest windows that fit, profiles for the ragged ends.
    #[default]
    Widest,
    /// Windows of at most a day, profiles for the ragged ends.
    Days,
    /// Windows of at most an hour, profiles for the ragged ends.
    Hours,
    /// Profiles only, where the segment still has them.
    Samples,
}

impl ReadFrom {
    /// Whether windows of `resolution` may answer.
    pub fn allows(self, resolution: Resolution) -> bool {
        match self {
            Self::Widest => true,
            Self::Days => resolution <= Resolution::Day,
            Self::Hours => resolution <= Resolution::Hour,
            Self::Samples => false,
        }
    }
}

/// What stands for the profiles of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    /// Profiles, by row.
    pub profiles: Vec<ProfileRow>,
    /// Windows, by row; none of their profiles is among `profiles`.
    pub windows: Vec<WindowRow>,
    /// The range that is covered instead of the one asked for, where that makes a difference.
    pub widened: Option<TimeRange>,
}

impl Cover {
    /// How many profiles it stands for.
    pub fn profile_count(&self) -> u64 {
        self.profiles.len() as u64 + self.windows.iter().map(|window| u64::from(window.profile_count)).sum::<u64>()
    }

    /// Windows of `resolution`, and the rows that they have.
    pub fn windows_of(&self, resolution: Resolution) -> (u64, u64) {
        let of = self.windows.iter().filter(|window| window.resolution == resolution);
        of.fold((0, 0), |(windows, rows), window| (windows + 1, rows + u64::from(window.row_count)))
    }
}

pub(crate) async fn cover(
    reader: &SegmentReader,
    series: &RoaringBitmap,
    range: &TimeRange,
    from: ReadFrom,
    report: &mut ScanReport,
) -> Result<Cover> {
    let has_profiles = reader.has(Table::Profiles) && reader.has(Table::Samples);
    let levels = levels(reader, from, has_profiles);
    if levels.is_empty() || (from == ReadFrom::Samples && has_profiles) {
        let profiles = reader.profiles(series, range, report).await?;
        return Ok(Cover { profiles, ..Cover::default() });
    }
    let windows = reader.windows().await?;
    let covered = match levels.last() {
        Some(finest) if !has_profiles => widen(range, *finest),
        _ => *range,
    };
    let mut plan = Plan { range: covered, has_profiles, parts: Vec::new(), cover: Cover::default() };
    if !range.is_empty() {
        series.iter().for_each(|id| plan.descend(id, windows.of(id), &levels, (i64::MIN, i64::MAX)));
    }
    let Plan { parts, mut cover, .. } = plan;
    let is_exact = |window: &WindowRow| range.covers(window.time_min, window.time_max);
    cover.widened = (!cover.windows.iter().all(is_exact)).then_some(covered);
    if !parts.is_empty() {
        cover.profiles = reader.profiles_of(&parts, report).await?;
    }
    cover.windows.sort_by_key(|window| window.window);
    Ok(cover)
}

/// The windows of `series` that stand for `days`: a window of 30 days for all of its days, where all are wanted.
pub(crate) async fn cover_days(
    reader: &SegmentReader,
    series: &RoaringBitmap,
    days: &BTreeSet<i64>,
    from: ReadFrom,
) -> Result<Cover> {
    let windows = reader.windows().await?;
    let has_days = reader.has(Table::Rollups1d);
    let has_months = reader.has(Table::Rollups30d) && from.allows(Resolution::Month);
    let mut cover = Cover::default();
    for id in series {
        // A month comes after its days.
        let (mut wanted, mut all_wanted) = (Vec::new(), true);
        for window in windows.of(id) {
            match window.resolution {
                Resolution::Day if has_days && days.contains(&window.time_unix_nano) => wanted.push(*window),
                Resolution::Day if has_days => all_wanted = false,
                Resolution::Month if has_months => {
                    let is_wanted = match has_days {
                        true => all_wanted && !wanted.is_empty(),
                        false => has_one(days, window),
                    };
                    if is_wanted {
                        wanted = vec![*window];
                    }
                    cover.windows.append(&mut wanted);
                    all_wanted = true;
                }
                _ => {}
            }
        }
        cover.windows.append(&mut wanted);
    }
    cover.windows.sort_by_key(|window| window.window);
    Ok(cover)
}

/// Whether one of `days` is in `window`.
fn has_one(days: &BTreeSet<i64>, window: &WindowRow) -> bool {
    let mut from = days.range(window.time_unix_nano..);
    from.next().is_some_and(|day| window.resolution.start_of(*day) == window.time_unix_nano)
}

/// The resolutions to answer from, the widest first.
fn levels(reader: &SegmentReader, from: ReadFrom, has_profiles: bool) -> Vec<Resolution> {
    let rolled_up = |resolution: &Resolution| reader.has(Table::Windows) && reader.has(resolution.table());
    let mut levels: Vec<Resolution> = Resolution::ALL.into_iter().filter(rolled_up).collect();
    let is_allowed = |resolution: &Resolution| from.allows(*resolution);
    if from != ReadFrom::Samples && (has_profiles || levels.iter().any(is_allowed)) {
        levels.retain(is_allowed);
    }
    levels.reverse();
    levels
}

/// The range from the start of the window that `range` starts in to the end of the one it ends in.
fn widen(range: &TimeRange, resolution: Resolution) -> TimeRange {
    let last = resolution.start_of(range.end.saturating_sub(1));
    TimeRange { start: resolution.start_of(range.start), end: last.saturating_add(resolution.nanos()) }
}

struct Plan {
    range: TimeRange,
    has_profiles: bool,
    /// Ranges of series that profiles answer, in order of series.
    parts: Vec<(u32, TimeRange)>,
    cover: Cover,
}

impl Plan {
    /// Covers what lies within `within` (both ends included) with the first of `levels`, and what is across an end with the
    /// next one.
    fn descend(&mut self, series: u32, windows: &[WindowRow], levels: &[Resolution], within: (i64, i64)) {
        let Some((resolution, finer)) = levels.split_first() else {
            let end = within.1.saturating_add(1).min(self.range.end);
            self.parts.push((series, TimeRange { start: within.0.max(self.range.start), end }));
            return;
        };
        let own = windows.iter().filter(|window| window.resolution == *resolution);
        for window in own.filter(|window| within.0 <= window.time_min && window.time_max <= within.1) {
            let (min, max) = (window.time_min, window.time_max);
            if !self.range.overlaps(min, max) {
                continue;
            }
            if self.range.covers(min, max) {
                self.cover.windows.push(*window);
            } else if !finer.is_empty() || self.has_profiles {
                self.descend(series, windows, finer, (min, max));
            } else {
                // It holds the last nanosecond there is, which no range does.
                self.cover.windows.push(*window);
            }
        }
    }
}
