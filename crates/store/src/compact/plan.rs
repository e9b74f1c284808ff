//! Which segments to merge: a function of what exists, what is being merged, a policy and the time.
//!
//! ```text
//! level 0  flushes     ──▶ 1  an hour ──▶ 2  a day ──▶ 3 …  what came late to a day
//!          many of an hour    hour over     day over         when it is worth it
//! ```
//!
//! The rules, per tenant and day, in this order; each says when it declines:
//!
//! 1. **Day.** The day is over since `day_grace`, none of its segments is being merged, and at least two are of level 0
//!    or 1: they become level 2.
//! 2. **Late.** The day is over since `day_grace` and rule 1 has nothing to do: segments of it, each with room for others
//!    in one piece, become one of the next level. Declines where one segment is more than `rewrite_ratio` times as large
//!    as the others together, and at level [`LEVEL_MAX`].
//! 3. **Hour.** The day is not over. Segments of level 0 that end in one hour become level 1 when there are
//!    `fresh_inputs` of them, or when the hour is over since `hour_grace` and there are two. Segments of level 1 of that
//!    hour join them unless they are more than `rewrite_ratio` times as large.
//!
//! Holds always: the inputs of a plan are of one tenant and one day; no segment is in two plans, nor in one while it is
//! being merged or known to be damaged; a plan has at least two inputs, at most `inputs_max`, and more than two only if
//! they fit in `input_bytes_max` and `input_services_max`. Every plan takes at least one segment to a higher level and none to a lower one, so
//! planning ends.
//!
//! A row is written once by its flush, and then by rule 3 once, or a little more (a row joins later ones of its hour at
//! most once per factor of `rewrite_ratio` of growth), by rule 1 once, and by rule 2 only for late rows and what is small
//! next to them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use flamestore_model::{Error, Result, SegmentId, Tenant};
use flamestore_segment::Table;

use crate::Day;
use crate::manifest::{Manifest, SegmentEntry};

/// The level from which on segments are left as they are.
pub const LEVEL_MAX: u32 = 8;

const HOUR: i64 = 3_600_000_000_000;
const DAY: i64 = 24 * HOUR;

/// When segments are merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionPolicy {
    /// Fresh segments of an hour that are merged before the hour is over.
    pub fresh_inputs: usize,
    /// How long after the end of an hour its segments are merged, however few: the flush interval and a little more.
    pub hour_grace: Duration,
    /// How long after the end of a day its segments are merged.
    pub day_grace: Duration,
    /// Most segments of one merge.
    pub inputs_max: usize,
    /// Most bytes of the segments of one merge.
    pub input_bytes_max: u64,
    /// Most services of the segments of one merge, each counted once a segment: a merge keeps 2 KiB or so of each. A
    /// compactor goes by its memory where that has room for fewer.
    pub input_services_max: usize,
    /// Decoded bytes of a segment that is large enough; half of it has room for others.
    pub segment_bytes_target: u64,
    /// How many times as large as all the others the largest segment of a merge may be.
    pub rewrite_ratio: u64,
}

impl Default for CompactionPolicy {
    fn default() -> Self {
        Self {
            fresh_inputs: 16,
            hour_grace: Duration::from_secs(360),
            day_grace: Duration::from_secs(1800),
            inputs_max: 512,
            input_bytes_max: 4 << 30,
            input_services_max: 1 << 15,
            segment_bytes_target: 192 << 20,
            rewrite_ratio: 4,
        }
    }
}

impl CompactionPolicy {
    /// Checks what the types do not say.
    ///
    /// # Errors
    /// `Invalid`, naming the setting.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [("fresh_inputs", self.fresh_inputs), ("inputs_max", self.inputs_max)] {
            if value < 2 {
                return Err(Error::invalid(format!("compaction: {name} is less than 2")).with("value", value));
            }
        }
        match self.rewrite_ratio {
            0 => Err(Error::invalid("compaction: rewrite_ratio is 0")),
            _ => Ok(()),
        }
    }
}

/// Segments that are left alone.
#[derive(Clone, Debug, Default)]
pub struct Busy {
    /// Being merged right now.
    pub running: HashSet<SegmentId>,
    /// Found damaged.
    pub damaged: HashSet<SegmentId>,
}

/// Segments to be merged into one or a few.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionPlan {
    /// Whose they are.
    pub tenant: Tenant,
    /// The day of their profiles.
    pub day: Day,
    /// The segments.
    pub inputs: Vec<Arc<SegmentEntry>>,
    /// The level of what they become.
    pub level: u32,
}

impl CompactionPlan {
    /// The bytes of its inputs.
    pub fn bytes(&self) -> u64 {
        self.inputs.iter().map(|entry| entry.bytes()).sum()
    }
}

/// What there is to merge at `now`.
pub fn plan(manifest: &Manifest, busy: &Busy, policy: &CompactionPolicy, now: i64) -> Vec<CompactionPlan> {
    let mut plans = Vec::new();
    for of_day in manifest.segments.chunk_by(|a, b| (&a.tenant, a.day) == (&b.tenant, b.day)) {
        let is_merged_now = of_day.iter().any(|entry| busy.running.contains(&entry.id));
        let is_free = |entry: &&Arc<SegmentEntry>| {
            !busy.running.contains(&entry.id) && !busy.damaged.contains(&entry.id) && entry.level < LEVEL_MAX
                // what only roll-ups are left of has no rows to merge
                && entry.table(Table::Samples).is_some()
        };
        let free: Vec<&Arc<SegmentEntry>> = of_day.iter().filter(is_free).collect();
        let Some(first) = free.first() else { continue };
        match is_over(i64::from(first.day.days()).saturating_mul(DAY), DAY, policy.day_grace, now) {
            false => plan_hours(&free, policy, now, &mut plans),
            true if is_merged_now => {}
            true => plan_day(&free, policy, &mut plans),
        }
    }
    plans
}

/// Everything of each tenant and day that is worth merging, whatever the hour: for whoever asks for it by hand.
pub fn plan_all(manifest: &Manifest, busy: &Busy, policy: &CompactionPolicy) -> Vec<CompactionPlan> {
    plan(manifest, busy, policy, i64::MAX)
}

fn is_over(start: i64, length: i64, grace: Duration, now: i64) -> bool {
    let grace = i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX);
    start.saturating_add(length).saturating_add(grace) <= now
}

/// Rules 1 and 2.
fn plan_day(free: &[&Arc<SegmentEntry>], policy: &CompactionPolicy, plans: &mut Vec<CompactionPlan>) {
    let young: Vec<&Arc<SegmentEntry>> = free.iter().copied().filter(|entry| entry.level < 2).collect();
    if young.len() >= 2 {
        let before = plans.len();
        plans.extend(split(young, policy).into_iter().map(|inputs| compaction(inputs, 2)));
        if plans.len() > before {
            return;
        }
    }
    let has_room = |entry: &&&Arc<SegmentEntry>| weight(entry) <= policy.segment_bytes_target / 2;
    let small: Vec<&Arc<SegmentEntry>> = free.iter().filter(has_room).copied().collect();
    let mut chosen = worthwhile(small, policy);
    let mut total = 0;
    // smallest first, so that as many as possible become one
    chosen.retain(|entry| {
        total += weight(entry);
        total <= policy.segment_bytes_target
    });
    for inputs in split(chosen, policy) {
        let level = inputs.iter().map(|entry| entry.level).max().unwrap_or(0) + 1;
        plans.push(compaction(inputs, level.max(2)));
    }
}

/// Rule 3.
fn plan_hours(free: &[&Arc<SegmentEntry>], policy: &CompactionPolicy, now: i64, plans: &mut Vec<CompactionPlan>) {
    let mut hours: BTreeMap<i64, Vec<&Arc<SegmentEntry>>> = BTreeMap::new();
    for entry in free.iter().filter(|entry| entry.level < 2) {
        hours.entry(entry.time_max.div_euclid(HOUR)).or_default().push(entry);
    }
    for (hour, of_hour) in hours {
        let fresh = of_hour.iter().filter(|entry| entry.level == 0).count();
        let over = is_over(hour.saturating_mul(HOUR), HOUR, policy.hour_grace, now);
        if fresh < policy.fresh_inputs && !(over && of_hour.len() >= 2 && fresh >= 1) {
            continue;
        }
        let fresh_bytes: u64 = of_hour.iter().filter(|entry| entry.level == 0).map(|entry| weight(entry)).sum();
        let joins = |entry: &&Arc<SegmentEntry>| {
            entry.level == 0 || over && weight(entry) <= fresh_bytes.saturating_mul(policy.rewrite_ratio)
        };
        let inputs: Vec<&Arc<SegmentEntry>> = of_hour.into_iter().filter(joins).collect();
        // A part without any would come out as it went in, and be planned again.
        let has_fresh = |part: &Vec<&Arc<SegmentEntry>>| part.iter().any(|entry| entry.level == 0);
        plans.extend(split(inputs, policy).into_iter().filter(has_fresh).map(|inputs| compaction(inputs, 1)));
    }
}

/// The segments, smallest first, without those that are too large to be written again for the sake of the others.
fn worthwhile<'a>(mut entries: Vec<&'a Arc<SegmentEntry>>, policy: &CompactionPolicy) -> Vec<&'a Arc<SegmentEntry>> {
    entries.sort_by_key(|entry| (weight(entry), entry.id));
    while let Some((largest, others)) = entries.split_last() {
        let others: u64 = others.iter().map(|entry| weight(entry)).sum();
        if weight(largest) <= others.saturating_mul(policy.rewrite_ratio) {
            break;
        }
        entries.pop();
    }
    entries
}

/// Cuts a merge that is too large. Neighbours are of the same services, then of the same time.
fn split<'a>(mut entries: Vec<&'a Arc<SegmentEntry>>, policy: &CompactionPolicy) -> Vec<Vec<&'a Arc<SegmentEntry>>> {
    entries.sort_by(|a, b| (a.services.first(), a.time_min, a.id).cmp(&(b.services.first(), b.time_min, b.id)));
    let mut parts: Vec<Vec<&Arc<SegmentEntry>>> = Vec::new();
    let (mut bytes, mut services) = (0_u64, 0);
    for entry in entries {
        bytes += entry.bytes();
        services += entry.services.len();
        let fits = |part: &Vec<_>| {
            let has_room = bytes <= policy.input_bytes_max && services <= policy.input_services_max;
            part.len() < 2 || part.len() < policy.inputs_max && has_room
        };
        match parts.last_mut().filter(|part| fits(part)) {
            Some(part) => part.push(entry),
            None => {
                (bytes, services) = (entry.bytes(), entry.services.len());
                parts.push(vec![entry]);
            }
        }
    }
    parts.retain(|part| part.len() >= 2);
    parts
}

fn compaction(inputs: Vec<&Arc<SegmentEntry>>, level: u32) -> CompactionPlan {
    let inputs: Vec<Arc<SegmentEntry>> = inputs.into_iter().cloned().collect();
    CompactionPlan { tenant: inputs[0].tenant.clone(), day: inputs[0].day, inputs, level }
}

/// About how many bytes a segment takes when decoded.
fn weight(entry: &SegmentEntry) -> u64 {
    const SAMPLE: u64 = 13;
    const PROFILE: u64 = 320;
    const STACK: u64 = 100;
    entry.sample_rows * SAMPLE + entry.profile_rows * PROFILE + entry.stacks * STACK + entry.observed_bytes
}
