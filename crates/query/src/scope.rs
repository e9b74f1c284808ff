//! One snapshot under one query: what providers and nodes read, and where they report to.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use flamestore_model::{Result, Selector, TimeRange};
use flamestore_segment::{ReadFrom, SeriesTable};
use flamestore_store::{HeadView, Snapshot, StandIns, StoredSegment};
use futures::{StreamExt, TryStreamExt};
use roaring::RoaringBitmap;

use crate::error::is_damage;
use crate::prune::{ManifestFacts, Proof, Prune, Reason, by_manifest};
use crate::selection::{Selection, Source, TypesSeen, Unit};
use crate::sink::ReportSink;

/// Segments whose postings are looked up at one time: the look-up waits for the object store, not for the processor.
const LOOKUPS_AT_ONCE: usize = 16;

/// A snapshot and the report of the query that reads it.
pub(crate) struct Scope {
    snapshot: Snapshot,
    sink: Arc<ReportSink>,
}

impl Scope {
    pub(crate) fn new(snapshot: Snapshot, sink: Arc<ReportSink>) -> Arc<Self> {
        Arc::new(Self { snapshot, sink })
    }

    /// What is read.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Where it is reported.
    pub(crate) fn sink(&self) -> &Arc<ReportSink> {
        &self.sink
    }

    /// Decides on every segment: the manifest first, then postings and the times of series. Damaged ones are reported.
    ///
    /// # Errors
    /// What the store says, other than that a segment is damaged.
    pub(crate) async fn select(&self, selector: &Selector, range: &TimeRange) -> Result<Selection> {
        let selection = self.look(selector, range, &StandIns::default()).await?;
        self.report(&selection);
        Ok(selection)
    }

    /// The same for sums over the range, where segments of sums may answer for others. Nothing is reported yet: see
    /// [`Scope::report`].
    ///
    /// # Errors
    /// As [`Scope::select`].
    pub(crate) async fn look_sums(&self, selector: &Selector, range: &TimeRange, from: ReadFrom) -> Result<Selection> {
        let readable: Vec<_> = self.snapshot.segments.iter().map(|stored| &stored.entry).collect();
        let stand_ins = match from {
            ReadFrom::Widest => StandIns::new(&readable, range),
            ReadFrom::Days => StandIns::of_days(&readable, range),
            ReadFrom::Hours | ReadFrom::Samples => StandIns::default(),
        };
        self.look(selector, range, &stand_ins).await
    }

    /// The same, reported.
    ///
    /// # Errors
    /// As [`Scope::select`].
    pub(crate) async fn select_sums(
        &self,
        selector: &Selector,
        range: &TimeRange,
        from: ReadFrom,
    ) -> Result<Selection> {
        let selection = self.look_sums(selector, range, from).await?;
        self.report(&selection);
        Ok(selection)
    }

    /// Reports what was decided on segments, and which are damaged.
    pub(crate) fn report(&self, selection: &Selection) {
        for (id, error) in &selection.damaged {
            self.sink.damaged_before(id, error);
        }
        for (_, decision) in &selection.decisions {
            self.sink.decided(decision);
        }
        self.sink.begin_units(selection.units.len());
    }

    async fn look(&self, selector: &Selector, range: &TimeRange, stand_ins: &StandIns) -> Result<Selection> {
        let look_ups = self.snapshot.segments.iter().map(|stored| {
            let (stored, selector, range) = (Arc::clone(stored), selector.clone(), *range);
            let days = stand_ins.days.get(&stored.entry.id).cloned();
            let is_left =
                stand_ins.answered.contains(&stored.entry.id) || (!stored.entry.covers.is_empty() && days.is_none());
            async move {
                match is_left {
                    true => Ok(Decided::On(stored.entry.id.to_string().into(), Prune::Skip(Proof::StandIn), None)),
                    false => decide(&stored, &selector, &range, days.map(Arc::new)).await,
                }
            }
        });
        let look_ups: Vec<_> = look_ups.collect();
        let decided: Vec<_> = futures::stream::iter(look_ups).buffered(LOOKUPS_AT_ONCE).try_collect().await?;
        let mut selection = Selection {
            selector: selector.clone(),
            range: *range,
            units: Vec::new(),
            decisions: Vec::new(),
            damaged: Vec::new(),
            types: TypesSeen::default(),
        };
        // Without a segment that stands in for others, the others answer.
        let missing = self.snapshot.damaged.iter().filter(|damaged| damaged.entry.covers.is_empty());
        for damaged in missing {
            let reason = flamestore_model::Error::corrupt(damaged.reason.clone());
            selection.damaged.push((damaged.entry.id.to_string().into(), reason));
        }
        for decided in decided {
            match decided {
                Decided::Damaged(id, error) => selection.damaged.push((id, error)),
                Decided::On(id, decision, unit) => {
                    selection.decisions.push((id, decision));
                    selection.units.extend(unit);
                }
            }
        }
        let heads = self.snapshot.head.iter().enumerate();
        selection.units.extend(heads.filter_map(|(at, view)| select_head(at, view, selector, range)));
        Ok(selection)
    }
}

enum Decided {
    On(Arc<str>, Prune, Option<Unit>),
    Damaged(Arc<str>, flamestore_model::Error),
}

async fn decide(
    stored: &Arc<StoredSegment>,
    selector: &Selector,
    range: &TimeRange,
    days: Option<Arc<BTreeSet<i64>>>,
) -> Result<Decided> {
    let entry = &stored.entry;
    let id: Arc<str> = entry.id.to_string().into();
    let facts = ManifestFacts {
        times: (entry.time_min, entry.time_max),
        profile_types: &entry.profile_types,
        services: &entry.services,
    };
    let decision = by_manifest(&facts, selector, range);
    if matches!(decision, Prune::Skip(_)) {
        return Ok(Decided::On(id, decision, None));
    }
    match look_up(stored, selector, range).await {
        Ok((series, _)) if series.is_empty() => Ok(Decided::On(id, Prune::Skip(Proof::Postings), None)),
        Ok((series, table)) => {
            let decision = Prune::Keep(Reason::Series(series.len()));
            let source = Source::Segment(Arc::clone(stored));
            let unit = Unit { id: Arc::clone(&id), source, table, series, days };
            Ok(Decided::On(id, decision, Some(unit)))
        }
        Err(error) if is_damage(&error) => Ok(Decided::Damaged(id, error)),
        Err(error) => Err(error),
    }
}

/// The series of a segment that fit and whose times overlap the range.
async fn look_up(
    stored: &StoredSegment,
    selector: &Selector,
    range: &TimeRange,
) -> Result<(RoaringBitmap, Arc<SeriesTable>)> {
    let fitting = stored.reader.select_series(selector).await?;
    let table = stored.reader.series().await?;
    Ok((in_time(&fitting, &table, range), table))
}

fn select_head(at: usize, view: &Arc<HeadView>, selector: &Selector, range: &TimeRange) -> Option<Unit> {
    let table = view.series();
    let series = in_time(&view.select_series(selector), &table, range);
    let source = Source::Head(Arc::clone(view));
    (!series.is_empty()).then(|| Unit { id: head_id(at), source, table, series, days: None })
}

/// The name of a head in the column `segment`.
pub(crate) fn head_id(at: usize) -> Arc<str> {
    format!("head-{at}").into()
}

fn in_time(fitting: &RoaringBitmap, table: &SeriesTable, range: &TimeRange) -> RoaringBitmap {
    let overlaps = |id: &u32| table.get(*id).is_some_and(|row| range.overlaps(row.time_min, row.time_max));
    fitting.iter().filter(overlaps).collect()
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({}, version {})", self.snapshot.tenant, self.snapshot.version)
    }
}
