//! Counters of the scanning operators, as `EXPLAIN ANALYZE` shows them.

use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use flamestore_segment::{Cover, Resolution, ScanReport};

use crate::prune::{Proof, Prune};
use crate::selection::Selection;

/// The counters of one partition.
#[derive(Clone, Debug)]
pub(crate) struct ScanMetrics {
    dictionaries: Count,
    profiles: Count,
    windows_30d: Count,
    rows_30d: Count,
    windows_1d: Count,
    rows_1d: Count,
    windows_1h: Count,
    rows_1h: Count,
    sample_rows: Count,
    rows: Count,
    bytes_read: Count,
    requests: Count,
    row_groups_read: Count,
    row_groups_skipped: Count,
    pages_read: Count,
    pages_skipped: Count,
}

impl ScanMetrics {
    /// The counters of `partition`, at zero.
    pub(crate) fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let counter = |name| MetricBuilder::new(metrics).counter(name, partition);
        Self {
            dictionaries: counter("dictionaries"),
            profiles: counter("profiles"),
            windows_30d: counter("windows_30d"),
            rows_30d: counter("rows_30d"),
            windows_1d: counter("windows_1d"),
            rows_1d: counter("rows_1d"),
            windows_1h: counter("windows_1h"),
            rows_1h: counter("rows_1h"),
            sample_rows: counter("sample_rows"),
            rows: counter("rows"),
            bytes_read: counter("bytes_read"),
            requests: counter("requests"),
            row_groups_read: counter("row_groups_read"),
            row_groups_skipped: counter("row_groups_skipped"),
            pages_read: counter("pages_read"),
            pages_skipped: counter("pages_skipped"),
        }
    }

    /// Writes down what planning decided on segments.
    pub(crate) fn planned(metrics: &ExecutionPlanMetricsSet, selection: &Selection) {
        let count = |name, fits: fn(&Prune) -> bool| {
            let segments = selection.decisions.iter().filter(|(_, decision)| fits(decision)).count();
            MetricBuilder::new(metrics).global_counter(name).add(segments);
        };
        count("segments_read", |decision| matches!(decision, Prune::Keep(_)));
        count("segments_pruned_time", |decision| *decision == Prune::Skip(Proof::Time));
        count("segments_pruned_type", |decision| *decision == Prune::Skip(Proof::ProfileType));
        count("segments_pruned_service", |decision| *decision == Prune::Skip(Proof::Service));
        count("segments_pruned_postings", |decision| *decision == Prune::Skip(Proof::Postings));
        count("segments_pruned_stand_in", |decision| *decision == Prune::Skip(Proof::StandIn));
        MetricBuilder::new(metrics).global_counter("segments_damaged").add(selection.damaged.len());
    }

    /// Counts profiles read.
    pub(crate) fn add_profiles(&self, profiles: usize) {
        self.profiles.add(profiles);
    }

    /// Counts what stands for the profiles of a unit: windows of roll-ups and their rows, profiles and their samples.
    pub(crate) fn add_cover(&self, cover: &Cover) {
        let [(hours, rows_1h), (days, rows_1d), (months, rows_30d)] =
            Resolution::ALL.map(|resolution| cover.windows_of(resolution));
        let sample_rows = cover.profiles.iter().map(|profile| u64::from(profile.row_count)).sum();
        self.profiles.add(cover.profiles.len());
        add(&self.windows_30d, months);
        add(&self.rows_30d, rows_30d);
        add(&self.windows_1d, days);
        add(&self.rows_1d, rows_1d);
        add(&self.windows_1h, hours);
        add(&self.rows_1h, rows_1h);
        add(&self.sample_rows, sample_rows);
    }

    /// Counts a dictionary read.
    pub(crate) fn add_dictionary(&self) {
        self.dictionaries.add(1);
    }

    /// Counts what a scan read and skipped.
    pub(crate) fn add_scan(&self, scan: &ScanReport) {
        add(&self.rows, scan.rows);
        add(&self.bytes_read, scan.bytes_read);
        add(&self.requests, scan.requests);
        add(&self.row_groups_read, scan.row_groups_read);
        add(&self.row_groups_skipped, scan.row_groups_skipped);
        add(&self.pages_read, scan.pages_read);
        add(&self.pages_skipped, scan.pages_skipped);
    }
}

fn add(count: &Count, more: u64) {
    count.add(usize::try_from(more).unwrap_or(usize::MAX));
}
