//! How far running queries are, for whoever waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

tokio::task_local! {
    static WATCHED: Arc<Progress>;
}

/// Counts what all queries do that are asked within [`Progress::watch`], until the last of their answers is dropped.
#[derive(Debug, Default)]
pub struct Progress {
    units: AtomicU64,
    units_done: AtomicU64,
    rows: AtomicU64,
}

/// What queries have done by now. It may begin before they know all that there is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoFar {
    /// Segments and heads to be read, each as often as it is. Tables of SQL that DataFusion reads from the files are not counted.
    pub units: u64,
    /// Those of them that were read, left out for damage, or not needed after all; at most all.
    pub units_done: u64,
    /// Rows that were decoded.
    pub rows: u64,
}

impl Progress {
    /// Runs `asking`; what it asks of an engine is counted here.
    pub async fn watch<T>(self: Arc<Self>, asking: impl Future<Output = T>) -> T {
        WATCHED.scope(self, asking).await
    }

    /// What was done by now.
    pub fn so_far(&self) -> SoFar {
        let units = self.units.load(Ordering::Relaxed);
        // A plan that runs again, as a recursive one, ends its units each time.
        let units_done = self.units_done.load(Ordering::Relaxed).min(units);
        SoFar { units, units_done, rows: self.rows.load(Ordering::Relaxed) }
    }

    /// Where a query counts that begins here.
    pub(crate) fn of_this_task() -> Arc<Self> {
        WATCHED.try_with(Arc::clone).unwrap_or_default()
    }

    pub(crate) fn add_units(&self, units: usize) {
        self.units.fetch_add(units as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_done(&self, units: usize) {
        self.units_done.fetch_add(units as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }
}
