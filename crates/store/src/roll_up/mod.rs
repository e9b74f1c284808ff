//! Segments that repeat the days of a month, or the months of a year, as sums with one dictionary, so that a merge of months
//! or years does not load a dictionary a day.
//!
//! ```text
//! segments of a month ──plan──▶ their days, rolled up ──upload, commit──▶ one segment that covers them
//! months of a year    ──plan──▶ their windows of 30 days, likewise ─────▶ one segment that covers all of it
//!                                                                              │ StandIns: per query
//!                                                                              ▼
//!                           windows of 30 days, whole days, and the rest from the segments themselves
//! ```

mod job;
mod plan;
mod stand_in;
mod years;

pub use job::RollUpReport;
pub use plan::{RollUpPlan, RollUpPolicy, RolledUp, plan_roll_ups};
pub use stand_in::StandIns;
pub use years::plan_years;
