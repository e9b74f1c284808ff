//! Carries a plan out: reads the days or months, seals them, uploads, commits.
//!
//! One month, or the windows of 30 days of one year, is in memory at a time. A crash before the commit leaves objects that nothing names. A segment that is merged
//! away meanwhile makes its day useless, never wrong: the next plan takes the month up again.

use std::sync::Arc;

use flamestore_model::{Error, ErrorKind, Result};
use flamestore_segment::{DaysOf, RollUps, SegmentOptions, roll_up_days, seal};

use super::{RollUpPlan, RolledUp, plan_roll_ups, plan_years};
use crate::commit::Change;
use crate::compact::{Compactor, LEVEL_MAX, Rewrite, Rewriter};
use crate::flush::blocking_on;
use crate::manifest::{Manifest, SegmentEntry, SegmentSource};
use crate::upload::NewSegment;

/// What rolling up did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RollUpReport {
    /// Months rolled up.
    pub months: usize,
    /// Years, or parts of years, rolled up.
    pub years: usize,
    /// Segments of sums dropped or replaced.
    pub dropped: usize,
    /// Months and years left because a segment of theirs is damaged or was merged meanwhile.
    pub left: usize,
}

impl Compactor {
    /// Rolls up the months that are due, then the years: the days of a month, and then the months of a year, become one
    /// segment of sums each, beside the segments themselves.
    ///
    /// # Errors
    /// What the bucket says.
    pub async fn roll_up(&self) -> Result<RollUpReport> {
        let manifest = self.refresh().await?;
        let mut report = RollUpReport::default();
        let now = self.options.clock.now_unix_nano();
        for plan in plan_roll_ups(&manifest, &self.options.roll_up, now) {
            self.carry_out(&plan, &mut report).await?;
        }
        for plan in plan_years(&self.manifest(), &self.options.roll_up, now) {
            self.carry_out(&plan, &mut report).await?;
        }
        Ok(report)
    }

    async fn carry_out(&self, plan: &RollUpPlan, report: &mut RollUpReport) -> Result<()> {
        match self.rewriter.roll_up(self.manifest(), plan).await {
            Ok(manifest) => {
                self.install(manifest);
                let made = usize::from(!plan.covers.is_empty());
                match plan.of {
                    RolledUp::Days => report.months += made,
                    RolledUp::Months => report.years += made,
                }
                report.dropped += plan.replaces.len();
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Corrupt | ErrorKind::NotFound) => {
                tracing::warn!(tenant = %plan.tenant, of = ?plan.of, %error, "not rolled up");
                report.left += 1;
                self.refresh().await.map(drop)
            }
            Err(error) => Err(error),
        }
    }
}

impl Rewriter {
    /// Carries `plan` out on top of `base`; the manifest that has it.
    ///
    /// # Errors
    /// `Conflict` when a segment of the plan is gone, `Corrupt` when one is damaged; otherwise what the bucket says.
    async fn roll_up(&self, base: Arc<Manifest>, plan: &RollUpPlan) -> Result<Arc<Manifest>> {
        let gone = || Error::conflict("what is to be rolled up was merged meanwhile").with("tenant", &plan.tenant);
        let inputs = plan.inputs.iter().map(|id| base.segment(*id).cloned());
        let inputs = inputs.collect::<Option<Vec<_>>>().ok_or_else(gone)?;
        let add = match plan.covers.first() {
            None => Vec::new(),
            Some(_) => vec![Arc::new(self.upload_sums(plan, inputs).await?)],
        };
        self.committer.commit(base, &Change { add, remove: plan.replaces.clone(), flush: None }).await
    }

    async fn upload_sums(&self, plan: &RollUpPlan, inputs: Vec<Arc<SegmentEntry>>) -> Result<SegmentEntry> {
        let rollups = match plan.of {
            RolledUp::Days => RollUps::DaysAndMonths,
            RolledUp::Months => RollUps::Months,
        };
        let options = SegmentOptions { rollups, ..self.segment.clone() };
        let readers = self.readers(&Rewrite { inputs, level: 0, drop: Vec::new() });
        // decoding and encoding take long, so they have a thread of their own; only requests go to the runtime's threads
        let sealed = blocking_on(move || async move {
            let days: Vec<DaysOf> = readers.into_iter().map(|reader| DaysOf { reader, days: None }).collect();
            seal(roll_up_days(&days, &options).await?, &options)
        });
        let new = NewSegment {
            tenant: plan.tenant.clone(),
            day: plan.covers[0].day,
            level: LEVEL_MAX,
            source: SegmentSource::RollUp,
            writer: self.committer.writer(),
            writer_epoch: self.committer.epoch(),
            covers: plan.covers.clone(),
        };
        self.uploader.upload(new, sealed.await??).await
    }
}
