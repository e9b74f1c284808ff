//! Compaction: small fresh segments become few large ones, in the background or when asked for.
//!
//! ```text
//! manifest ──plan──▶ plans ──rewrite──▶ manifest without the inputs, with the outputs
//!    ▲     a pure function      read, merge, upload, commit             │
//!    └──────────────────────────────────────────────────────────────────┘ until there is nothing to do
//! ```
//!
//! Holds always: what a query answers is the same before and after. Any number of compactors may run on one bucket: of two
//! that merge the same segment the later one finds it gone, drops its work and plans anew. A damaged segment is left aside
//! and told of; it keeps no other from being merged.

mod compactor;
mod delete;
mod plan;
mod read_ahead;
mod rewrite;

pub use compactor::{Compactor, CompactorOptions, Scope};
pub use delete::{DeleteReport, Deletion};
pub use plan::{Busy, CompactionPlan, CompactionPolicy, LEVEL_MAX, plan, plan_all};
pub use rewrite::RewriteReport;
pub(crate) use rewrite::{Rewrite, RewriteError, RewriteLimits, Rewriter};
