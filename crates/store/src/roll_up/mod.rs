//! Segments that repeat the days of a month as sums with one dictionary, so that a merge of months or years does not load a
//! dictionary a day.
//!
//! ```text
//! segments of a closed month ──plan──▶ their days, rolled up ──upload, commit──▶ one segment that covers them
//!                                                                                   │ StandIns: per query
//!                                                                                   ▼
//!                                                   whole days from it, the rest from the segments themselves
//! ```

mod job;
mod plan;
mod stand_in;

pub use job::RollUpReport;
pub use plan::{RollUpPlan, RollUpPolicy, plan_roll_ups};
pub use stand_in::StandIns;
