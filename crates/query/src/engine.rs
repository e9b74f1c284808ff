//! The engine: what can be asked of a store.

use std::sync::Arc;

use flamestore_calltree::{TopRow, ValueTree};
use flamestore_model::{Error, ProfileBatch, ProfileId, ProfileType, Result, Tenant};
use flamestore_store::Store;

use crate::answer::{Answer, ProfileEntry, Query, SeriesEntry, SqlAnswer, TimeSeries};

/// What bounds queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryOptions {
    /// The memory that the operators of all running queries may hold together, in bytes.
    pub memory_bytes_max: usize,
    /// The threads one query may keep busy.
    pub partitions: usize,
}

impl Default for QueryOptions {
    /// 1 GiB, and as many partitions as there are cores.
    fn default() -> Self {
        let partitions = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { memory_bytes_max: 1 << 30, partitions }
    }
}

/// Answers queries over a store.
///
/// Every method reads one snapshot to its end, and can be cancelled by dropping its future. Errors of all methods: `Invalid` for
/// a request that makes no sense, `Exhausted` over [`QueryOptions::memory_bytes_max`], `Unavailable` when the object store
/// cannot be reached. What no series fits is an empty answer.
#[derive(Debug)]
pub struct Engine {
    store: Arc<Store>,
    options: QueryOptions,
}

impl Engine {
    /// An engine over `store`.
    ///
    /// # Errors
    /// `Invalid` when an option makes no sense.
    pub fn new(store: Arc<Store>, options: QueryOptions) -> Result<Self> {
        if options.partitions == 0 {
            return Err(Error::invalid("a query needs at least one partition").with("partitions", 0));
        }
        Ok(Self { store, options })
    }

    /// The sum of all selected profiles as one call tree with one column.
    ///
    /// Profiles of instant types (memory in use, goroutines) are summed like all others: select one point in time for them.
    ///
    /// # Errors
    /// `Invalid` also when profiles of more than one type are selected, or when a sum leaves 64 bits.
    pub async fn merge(&self, query: &Query) -> Result<Answer<ValueTree>> {
        unfinished(query)
    }

    /// Two selections as one call tree with two columns, `before` and `after`.
    ///
    /// # Errors
    /// As [`Engine::merge`].
    pub async fn diff(&self, before: &Query, _after: &Query) -> Result<Answer<ValueTree>> {
        unfinished(before)
    }

    /// The functions of the selected profiles with what they spend, the largest self values first.
    ///
    /// # Errors
    /// As [`Engine::merge`].
    pub async fn top(&self, query: &Query) -> Result<Answer<Vec<TopRow>>> {
        unfinished(query)
    }

    /// The names of the labels of the selected series, those derived from the profile type included, sorted.
    ///
    /// # Errors
    /// Those of every method.
    pub async fn label_names(&self, query: &Query) -> Result<Answer<Vec<String>>> {
        unfinished(query)
    }

    /// The values that label `name` has in the selected series, sorted.
    ///
    /// # Errors
    /// Those of every method.
    pub async fn label_values(&self, query: &Query, _name: &str) -> Result<Answer<Vec<String>>> {
        unfinished(query)
    }

    /// The selected series that have a profile in the range, sorted.
    ///
    /// # Errors
    /// Those of every method.
    pub async fn series(&self, query: &Query) -> Result<Answer<Vec<SeriesEntry>>> {
        unfinished(query)
    }

    /// The profile types of the selected series, sorted.
    ///
    /// # Errors
    /// Those of every method.
    pub async fn profile_types(&self, query: &Query) -> Result<Answer<Vec<ProfileType>>> {
        unfinished(query)
    }

    /// Totals of the selected profiles per `step_nano` nanoseconds and per value of the labels `group_by`.
    ///
    /// # Errors
    /// `Invalid` also when the step is not positive, when profiles of more than one type are selected and the type is not
    /// grouped by, or when a sum leaves 64 bits.
    pub async fn time_series(
        &self,
        query: &Query,
        _step_nano: i64,
        _group_by: &[String],
    ) -> Result<Answer<Vec<TimeSeries>>> {
        unfinished(query)
    }

    /// The newest `limit` of the selected profiles, newest first; 0 stands for all.
    ///
    /// # Errors
    /// Those of every method.
    pub async fn list_profiles(&self, query: &Query, _limit: usize) -> Result<Answer<Vec<ProfileEntry>>> {
        unfinished(query)
    }

    /// One profile as it was pushed, with all its sample types.
    ///
    /// # Errors
    /// `NotFound` when there is no such profile.
    pub async fn profile(&self, _tenant: &Tenant, _id: ProfileId) -> Result<Answer<ProfileBatch>> {
        Err(Error::internal("not written yet"))
    }

    /// The sum of all selected profiles as one profile that keeps the labels of samples.
    ///
    /// # Errors
    /// As [`Engine::merge`].
    pub async fn merge_pprof(&self, query: &Query) -> Result<Answer<ProfileBatch>> {
        unfinished(query)
    }

    /// The rows of a read-only SQL statement over the tables of `tenant`.
    ///
    /// # Errors
    /// `Invalid` also for a statement that is not a query.
    pub async fn sql(&self, _tenant: &Tenant, _statement: &str) -> Result<SqlAnswer> {
        Err(Error::internal("not written yet"))
    }

    /// The plan of a merge as text, with what each of its operators did.
    ///
    /// # Errors
    /// As [`Engine::merge`].
    pub async fn explain_merge(&self, query: &Query) -> Result<String> {
        unfinished(query)
    }

    /// What bounds this engine's queries.
    pub fn options(&self) -> &QueryOptions {
        &self.options
    }

    /// The store this engine reads.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }
}

fn unfinished<T>(_query: &Query) -> Result<T> {
    Err(Error::internal("not written yet"))
}
