//! What of a snapshot a query has to read, and why the rest is left.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use datafusion::physical_plan::DisplayFormatType;
use flamestore_model::{Error, ProfileType, Result, Selector, TimeRange};
use flamestore_segment::{Cover, ProfileDetail, ProfileRow, ReadFrom, ScanReport, SeriesRow, SeriesTable, Table};
use flamestore_store::{HeadView, StoredSegment};
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use crate::error::is_damage;
use crate::prune::Prune;

/// A part of a snapshot that is read by itself: a segment or a head, and those of its series that fit and may have a
/// profile in the range.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// The segment's id, or `head-N`.
    pub(crate) id: Arc<str>,
    pub(crate) source: Source,
    pub(crate) table: Arc<SeriesTable>,
    pub(crate) series: RoaringBitmap,
    /// The days, by their starts, that it answers for other segments; `None` for what answers for itself.
    pub(crate) days: Option<Arc<BTreeSet<i64>>>,
}

/// Where a unit is read from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Segment(Arc<StoredSegment>),
    Head(Arc<HeadView>),
}

/// What is read of a snapshot.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) selector: Selector,
    pub(crate) range: TimeRange,
    pub(crate) units: Vec<Unit>,
    /// Per readable segment, by id.
    pub(crate) decisions: Vec<(Arc<str>, Prune)>,
    /// The segments that could not be looked at, by id, and why.
    pub(crate) damaged: Vec<(Arc<str>, Error)>,
    pub(crate) types: TypesSeen,
}

/// The profile types of the profiles that a merge has met: there may be one.
#[derive(Debug, Default)]
pub(crate) struct TypesSeen(Mutex<BTreeSet<ProfileType>>);

impl TypesSeen {
    /// Notes that a profile of type `ty` is to be summed.
    ///
    /// # Errors
    /// `Invalid` when there is one of another type already.
    pub(crate) fn note(&self, ty: &ProfileType) -> Result<()> {
        let mut seen = self.0.lock();
        if !seen.contains(ty) {
            seen.insert(ty.clone());
        }
        match seen.len() {
            0 | 1 => Ok(()),
            _ => Err(several_types(seen.iter())),
        }
    }

    /// The one type, if a profile was met.
    pub(crate) fn one(&self) -> Option<ProfileType> {
        self.0.lock().first().cloned()
    }
}

/// The error of a sum over profiles of more than one type.
pub(crate) fn several_types<'a>(types: impl Iterator<Item = &'a ProfileType>) -> Error {
    let names: Vec<String> = types.map(ToString::to_string).collect();
    Error::invalid("the selector fits profiles of more than one type, which cannot be added; name one of them")
        .with("profile_types", names.join(" "))
}

impl Unit {
    /// Whether the unit is a segment, which may turn out to be damaged.
    pub(crate) fn is_segment(&self) -> bool {
        matches!(self.source, Source::Segment(_))
    }

    /// The selected rows of its series.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &SeriesRow> {
        self.series.iter().filter_map(|id| self.table.get(id))
    }

    /// About how much there is to do: profiles.
    pub(crate) fn weight(&self) -> u64 {
        self.rows().map(|row| u64::from(row.profiles.count)).sum()
    }

    /// The series of a profile of this unit.
    ///
    /// # Errors
    /// `Corrupt` when there is no such series.
    pub(crate) fn series_of(&self, profile: &ProfileRow) -> Result<&SeriesRow> {
        self.series_row(profile.series_id)
    }

    /// The series `id` of this unit.
    ///
    /// # Errors
    /// `Corrupt` when there is no such series.
    pub(crate) fn series_row(&self, id: u32) -> Result<&SeriesRow> {
        let unknown = || Error::corrupt("a profile is of an unknown series").with("series", id);
        self.table.get(id).ok_or_else(unknown)
    }

    /// Whether it still has its profiles and their samples.
    pub(crate) fn has_samples(&self) -> bool {
        match &self.source {
            Source::Segment(stored) => stored.reader.has(Table::Profiles) && stored.reader.has(Table::Samples),
            Source::Head(_) => true,
        }
    }

    /// What stands for the profiles of its series in `range`. Windows that cannot be read are not needed where there are
    /// samples.
    ///
    /// # Errors
    /// `Corrupt` when the segment is damaged.
    pub(crate) async fn cover(&self, range: &TimeRange, from: ReadFrom, scan: &mut ScanReport) -> Result<Cover> {
        let stored = match &self.source {
            Source::Segment(stored) => stored,
            Source::Head(view) => {
                return Ok(Cover { profiles: view.profiles(&self.series, range), ..Cover::default() });
            }
        };
        if let Some(days) = &self.days {
            return stored.reader.cover_days(&self.series, days, from).await;
        }
        match stored.reader.cover(&self.series, range, from, scan).await {
            Err(error) if is_damage(&error) && from != ReadFrom::Samples && self.has_samples() => {
                tracing::warn!(segment = %self.id, %error, "damaged windows: samples are read instead");
                stored.reader.cover(&self.series, range, ReadFrom::Samples, scan).await
            }
            covered => covered,
        }
    }

    /// The profiles of its series in `range`.
    ///
    /// # Errors
    /// `Corrupt` when the segment is damaged.
    pub(crate) async fn profiles(&self, range: &TimeRange, scan: &mut ScanReport) -> Result<Vec<ProfileRow>> {
        match &self.source {
            Source::Segment(stored) => stored.reader.profiles(&self.series, range, scan).await,
            Source::Head(view) => Ok(view.profiles(&self.series, range)),
        }
    }

    /// All that `profiles` say of themselves, but for the main mapping.
    ///
    /// # Errors
    /// `Corrupt` when the segment is damaged.
    pub(crate) async fn details(&self, profiles: &[ProfileRow], scan: &mut ScanReport) -> Result<Vec<ProfileDetail>> {
        match &self.source {
            Source::Segment(stored) => stored.reader.profile_details(profiles, scan).await,
            Source::Head(view) => Ok(view.profile_details(profiles)),
        }
    }
}

impl Selection {
    /// Leaves out the series of which `keep` does not hold, and the units that have no other.
    pub(crate) fn keep_series(&mut self, keep: impl Fn(&SeriesRow) -> bool) {
        for unit in &mut self.units {
            let dropped: RoaringBitmap = unit.rows().filter(|row| !keep(row)).map(|row| row.series_id).collect();
            unit.series -= dropped;
        }
        self.units.retain(|unit| !unit.series.is_empty());
    }

    /// Writes the decision on each segment, where `t` asks for all there is to say.
    pub(crate) fn fmt_decisions(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if t != DisplayFormatType::Verbose {
            return Ok(());
        }
        let decisions = self.decisions.iter().map(|(id, decision)| format!("{id}={decision}"));
        write!(f, ", segments=[{}]", decisions.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segments = self.units.iter().filter(|unit| unit.is_segment()).count();
        let (heads, total) = (self.units.len() - segments, self.decisions.len() + self.damaged.len());
        write!(f, "selector={}, range={}, segments={segments}/{total}, heads={heads}", self.selector, self.range)
    }
}
