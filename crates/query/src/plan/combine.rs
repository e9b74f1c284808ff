//! `CombineExec`: the merge of values that are not simply added up over time, series by series.
//!
//! ```text
//! units ─▶ covers ─▶ by series: windows and profiles of all units ─▶ last │ max │ average │ added ─▶ one tree, added up
//! ```
//!
//! Always: what becomes of a series does not depend on how its profiles lie in segments and heads. A unit that turns out to be
//! damaged is read from its samples, if it has any, or left out and reported, and all begins anew: no series is answered in
//! part. Bounded by the sum, the trees and rows of one series in one unit, and the windows and profiles selected.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use datafusion::error::Result as PlanResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use flamestore_calltree::ValueTree;
use flamestore_model::{Error, Labels, Result, Temporality};
use flamestore_segment::{ProfileRow, ReadFrom, ScanReport, WindowRow};

use super::exec::{leaf, one_tree, properties};
use super::merger::Merger;
use super::over_time::{Part, SeriesParts};
use crate::answer::Combine;
use crate::budget::Budget;
use crate::codec;
use crate::error::{is_damage, outward};
use crate::metrics::ScanMetrics;
use crate::scope::Scope;
use crate::selection::Selection;

/// Combines the profiles of each series over time, and adds the series up: one tree.
#[derive(Debug)]
pub(crate) struct CombineExec {
    scope: Arc<Scope>,
    selection: Arc<Selection>,
    from: ReadFrom,
    combine: Combine,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl CombineExec {
    /// The merge of `selection` by `combine`.
    pub(crate) fn new(scope: Arc<Scope>, selection: Selection, from: ReadFrom, combine: Combine) -> Self {
        let metrics = ExecutionPlanMetricsSet::new();
        ScanMetrics::planned(&metrics, &selection);
        let properties = properties(codec::schema(1), 1, EmissionType::Final);
        Self { scope, selection: Arc::new(selection), from, combine, metrics, properties }
    }
}

impl DisplayAs for CombineExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = if self.from == ReadFrom::Samples { ", from=samples" } else { "" };
        write!(f, "CombineExec: {}, combine={}{from}", self.selection, self.combine)?;
        self.selection.fmt_decisions(t, f)
    }
}

impl ExecutionPlan for CombineExec {
    fn name(&self) -> &'static str {
        "CombineExec"
    }

    leaf!();

    fn execute(&self, partition: usize, task: Arc<TaskContext>) -> PlanResult<SendableRecordBatchStream> {
        let budget = Budget::new("CombineExec", &task, Arc::clone(self.scope.sink()));
        let job = Job {
            scope: Arc::clone(&self.scope),
            selection: Arc::clone(&self.selection),
            from: self.from,
            combine: self.combine,
            scan: ScanMetrics::new(&self.metrics, partition),
            baseline: BaselineMetrics::new(&self.metrics, partition),
        };
        Ok(one_tree(codec::schema(1), async move { job.run(budget).await.map_err(outward) }))
    }
}

/// A series of any unit: profile type, service, labels.
type SeriesKey = (String, String, Labels);

/// What is selected, by series.
type BySeries = BTreeMap<SeriesKey, SeriesParts>;

struct Job {
    scope: Arc<Scope>,
    selection: Arc<Selection>,
    from: ReadFrom,
    combine: Combine,
    scan: ScanMetrics,
    baseline: BaselineMetrics,
}

/// What is known of damage by now: units, by number.
#[derive(Default)]
struct Damage {
    roll_ups: BTreeSet<usize>,
    units: BTreeSet<usize>,
}

/// Why an attempt ended: what is wrong, and the unit it is wrong with, if it is one.
struct Failure {
    unit: Option<usize>,
    error: Error,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { unit: None, error }
    }
}

impl Job {
    async fn run(self, budget: Budget) -> Result<(ValueTree, Budget)> {
        let mut damage = Damage::default();
        loop {
            match self.attempt(&damage, budget.fresh()).await {
                Ok(combined) => {
                    self.scope.sink().end_units(self.selection.units.len());
                    self.baseline.record_output(1);
                    self.baseline.done();
                    return Ok(combined);
                }
                Err(Failure { unit: Some(at), error }) if is_damage(&error) => self.set_aside(at, &error, &mut damage),
                Err(failure) => return Err(failure.error),
            }
        }
    }

    /// Notes what of unit `at` is not to be read again.
    fn set_aside(&self, at: usize, error: &Error, damage: &mut Damage) {
        let unit = &self.selection.units[at];
        if self.from != ReadFrom::Samples && unit.has_samples() && damage.roll_ups.insert(at) {
            tracing::warn!(segment = %unit.id, %error, "a segment is damaged: its samples are tried");
            return;
        }
        damage.units.insert(at);
        self.scope.sink().damaged_within(&unit.id, error);
    }

    async fn attempt(&self, damage: &Damage, budget: Budget) -> std::result::Result<(ValueTree, Budget), Failure> {
        let rows_budget = budget.fresh();
        let mut covers = Vec::new();
        let mut all = BySeries::new();
        for (at, unit) in self.selection.units.iter().enumerate().filter(|(at, _)| !damage.units.contains(at)) {
            let from = if damage.roll_ups.contains(&at) { ReadFrom::Samples } else { self.from };
            let mut scan = ScanReport::default();
            if from == ReadFrom::Samples && !unit.has_samples() {
                covers.push(None);
                continue;
            }
            let of_unit = |error| Failure { unit: unit.is_segment().then_some(at), error };
            let cover = unit.cover(&self.selection.range, from, &mut scan).await.map_err(of_unit)?;
            rows_budget.grow(size_of_val(cover.profiles.as_slice()) + size_of_val(cover.windows.as_slice()))?;
            self.add_scan(&scan);
            self.group(at, &cover.profiles, &cover.windows, &mut all).map_err(of_unit)?;
            covers.push(Some(cover));
        }
        let mut sum = Merger::new(budget.fresh());
        let series = all.len();
        for (_, parts) in all {
            for tree in self.of_series(parts, &budget).await? {
                sum.add(tree)?;
            }
        }
        for cover in covers {
            match cover {
                Some(cover) => {
                    self.scope.sink().add_cover(&cover);
                    self.scan.add_cover(&cover);
                }
                None => self.scope.sink().add_expired(),
            }
        }
        self.scope.sink().add_series(series as u64);
        Ok(sum.finish()?)
    }

    async fn of_series(&self, parts: SeriesParts, budget: &Budget) -> std::result::Result<Vec<ValueTree>, Failure> {
        let combine = self.combine.of(parts.temporality);
        let mut scan = ScanReport::default();
        let units = &self.selection.units;
        let combined = parts.combine(combine, units, budget.fresh(), &mut scan).await;
        self.add_scan(&scan);
        self.scan.add_dictionary();
        combined.map_err(|(unit, error)| Failure { unit: units[unit].is_segment().then_some(unit), error })
    }

    fn add_scan(&self, scan: &ScanReport) {
        self.scope.sink().add_scan(scan);
        self.scan.add_scan(scan);
    }

    /// Adds what is selected of unit `at` to its series.
    fn group(&self, at: usize, profiles: &[ProfileRow], windows: &[WindowRow], all: &mut BySeries) -> Result<()> {
        let unit = &self.selection.units[at];
        let mut parts: BTreeMap<u32, Part> = BTreeMap::new();
        for profile in profiles {
            parts.entry(profile.series_id).or_insert_with(|| Part::new(at)).profiles.push(*profile);
        }
        for window in windows {
            parts.entry(window.series_id).or_insert_with(|| Part::new(at)).windows.push(*window);
        }
        for (series_id, mut part) in parts {
            let row = unit.series_row(series_id)?;
            self.selection.types.note(&row.profile_type)?;
            part.dictionary_id = row.dictionary_id;
            let key = (row.profile_type.to_string(), row.service_name.clone(), row.labels.clone());
            let series = all.entry(key).or_insert_with(|| SeriesParts::new(row.temporality));
            // Where one unit knows that values are differences, they are.
            if row.temporality == Temporality::Delta {
                series.temporality = Temporality::Delta;
            }
            series.parts.push(part);
        }
        Ok(())
    }
}
