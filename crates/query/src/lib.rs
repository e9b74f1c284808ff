//! Queries over one snapshot of a store: the only crate that knows DataFusion.
//!
//! ```text
//! Engine::merge, top, series, sql, …
//!    │ a logical plan over the tables of one snapshot
//!    ▼
//! planning: manifest ▸ postings          what is proven irrelevant is not read (`Prune`)
//!    ▼
//! MergeExec ▸ MergeFinalExec ▸ DiffExec  call trees, one record batch row each
//! CombineExec ▸ DiffExec                 the same of values that are not added up over time
//! SeriesExec, ProfilesExec, TableExec    rows
//!    ▼
//! Answer { value, report }               the report says what was skipped, read and found damaged
//! ```
//!
//! Every method of [`Engine`] builds a plan over the same providers and nodes and runs it in one session, so limits, pruning,
//! cancellation (drop the future) and metrics are the same for all. Memory is bounded by
//! [`QueryOptions::memory_bytes_max`]; a query over it ends in `Exhausted`. A damaged segment is skipped and named in
//! [`QueryReport::damaged`].

mod answer;
mod budget;
mod codec;
mod compare;
mod engine;
mod error;
mod export;
mod frames;
mod metadata;
mod metrics;
mod plan;
mod progress;
mod prune;
mod scope;
mod selection;
mod session;
mod sink;
mod sql;
mod tables;

pub use answer::{
    Answer, Combine, Comparison, DamagedSegment, FunctionChange, Pick, ProfileEntry, Query, QueryReport, SeriesEntry,
    SqlAnswer, SqlDescription, SqlReport, Steps, TimePoint, TimeSeries,
};
pub use budget::{InSteps, Memory};
pub use datafusion::common::ScalarValue;
pub use engine::{Engine, QueryOptions};
pub use flamestore_segment::ReadFrom;
pub use frames::{frames, frames_ipc};
pub use progress::{Progress, SoFar};
pub use prune::{Proof, Prune, Reason};
pub use sql::{PgType, PgValue, check_statement, database_of};
