//! Where the operators of one query write down what they did.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flamestore_model::{Error, ErrorKind, SegmentId, TimeRange};
use flamestore_segment::{Cover, Resolution, ScanReport};
use parking_lot::Mutex;

use crate::answer::{DamagedSegment, QueryReport};
use crate::progress::Progress;
use crate::prune::{Proof, Prune};

/// The report of one query while it runs.
#[derive(Debug, Default)]
pub(crate) struct ReportSink {
    report: Mutex<QueryReport>,
    corrupt: Mutex<Vec<(SegmentId, String)>>,
    memory_bytes: AtomicU64,
    memory_bytes_peak: AtomicU64,
    progress: Arc<Progress>,
}

impl ReportSink {
    /// An empty report of a query that begins in this task.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { progress: Progress::of_this_task(), ..Self::default() })
    }

    /// Notes how many units are about to be read.
    pub(crate) fn begin_units(&self, units: usize) {
        self.progress.add_units(units);
    }

    /// Notes that so many units were read, or left out.
    pub(crate) fn end_units(&self, units: usize) {
        self.progress.add_done(units);
    }

    /// Counts one segment by what was decided on it.
    pub(crate) fn decided(&self, decision: &Prune) {
        let mut report = self.report.lock();
        report.segments_total += 1;
        match decision {
            Prune::Skip(Proof::Time) => report.segments_pruned_time += 1,
            Prune::Skip(Proof::ProfileType) => report.segments_pruned_type += 1,
            Prune::Skip(Proof::Service) => report.segments_pruned_service += 1,
            Prune::Skip(Proof::Postings) => report.segments_pruned_postings += 1,
            Prune::Skip(Proof::StandIn) => report.segments_pruned_stand_in += 1,
            Prune::Keep(_) => report.segments_read += 1,
        }
    }

    /// Notes a segment that was found damaged before it was read.
    pub(crate) fn damaged_before(&self, segment: &str, error: &Error) {
        self.report.lock().segments_total += 1;
        self.note(segment, error);
    }

    /// Notes a segment that was found damaged while it was read.
    pub(crate) fn damaged_within(&self, segment: &str, error: &Error) {
        let mut report = self.report.lock();
        report.segments_read = report.segments_read.saturating_sub(1);
        drop(report);
        self.note(segment, error);
    }

    fn note(&self, segment: &str, error: &Error) {
        tracing::warn!(segment, %error, "a damaged segment is left out of an answer");
        let mut report = self.report.lock();
        if let (ErrorKind::Corrupt, Ok(id)) = (error.kind(), segment.parse()) {
            self.corrupt.lock().push((id, error.to_string()));
        }
        if !report.damaged.iter().any(|damaged| damaged.segment == segment) {
            report.damaged.push(DamagedSegment { segment: segment.to_owned(), error: error.to_string() });
        }
    }

    /// Counts series that fit.
    pub(crate) fn add_series(&self, series: u64) {
        self.report.lock().series += series;
    }

    /// Counts what stands for the profiles of a unit.
    pub(crate) fn add_cover(&self, cover: &Cover) {
        let [(hours, rows_1h), (days, rows_1d), (months, rows_30d)] =
            Resolution::ALL.map(|resolution| cover.windows_of(resolution));
        let mut report = self.report.lock();
        report.profiles += cover.profile_count();
        report.months += months;
        report.days += days;
        report.hours += hours;
        report.rollup_rows += rows_30d + rows_1d + rows_1h;
        if let Some(widened) = cover.widened {
            let hull = report.widened.map_or(widened, |before| TimeRange {
                start: before.start.min(widened.start),
                end: before.end.max(widened.end),
            });
            report.widened = Some(hull);
        }
    }

    /// Notes a segment whose samples were needed and have expired.
    pub(crate) fn add_expired(&self) {
        self.report.lock().segments_expired += 1;
    }

    /// Counts profiles read.
    pub(crate) fn add_profiles(&self, profiles: u64) {
        self.report.lock().profiles += profiles;
    }

    /// Counts what a scan read and skipped.
    pub(crate) fn add_scan(&self, scan: &ScanReport) {
        self.progress.add_rows(scan.rows);
        let mut report = self.report.lock();
        report.rows += scan.rows;
        report.bytes_read += scan.bytes_read;
        report.row_groups_read += scan.row_groups_read;
        report.row_groups_skipped += scan.row_groups_skipped;
        report.pages_read += scan.pages_read;
        report.pages_skipped += scan.pages_skipped;
    }

    /// Notes that operators reserved `grown` and gave back `shrunk` bytes.
    pub(crate) fn memory_moved(&self, grown: usize, shrunk: usize) {
        let (grown, shrunk) = (grown as u64, shrunk as u64);
        let now = self.memory_bytes.fetch_add(grown, Ordering::Relaxed).saturating_add(grown);
        self.memory_bytes.fetch_sub(shrunk, Ordering::Relaxed);
        self.memory_bytes_peak.fetch_max(now.saturating_sub(shrunk), Ordering::Relaxed);
    }

    /// The segments found to hold other bytes than were written, and how that showed.
    pub(crate) fn corrupt(&self) -> Vec<(SegmentId, String)> {
        self.corrupt.lock().clone()
    }

    /// The report so far.
    pub(crate) fn report(&self) -> QueryReport {
        let mut report = self.report.lock().clone();
        report.damaged.sort_by(|a, b| a.segment.cmp(&b.segment));
        report.memory_bytes_peak = self.memory_bytes_peak.load(Ordering::Relaxed);
        report
    }
}
