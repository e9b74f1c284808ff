//! Retention: how long profiles and their roll-ups are kept, and what of a manifest is over that time.
//!
//! ```text
//! time ─────────────────────────────────────────────────────────────────▶ now
//!         days kept          │ hours kept          │ profiles kept
//!   no segment  windows, 1d  │  windows, 1h, 1d    │  all tables
//! ```
//!
//! A profile type of a segment expires as a whole, when the last profile of the segment is older than the type is kept: a
//! segment is never written again only to drop its older half. In this order, what is possible first:
//!
//! 1. A segment all of whose types are gone is removed.
//! 2. Where some of its types are gone, it is written again without them, as long as it has its profiles: at most once
//!    per different retention.
//! 3. Where the profiles of all its types have expired and it has roll-ups, it goes on without the tables of profiles;
//!    likewise without its hours where it has days. That is a commit alone.
//!
//! A type is gone when its profiles have expired and each roll-up that the segment has. So where types of one segment are
//! kept for different times, the profiles of the shorter ones may stay as long as their roll-ups do. What was never
//! rolled up goes with its profiles. A segment is left alone for an hour after it was made.

use std::sync::Arc;
use std::time::Duration;

use flamestore_model::{MatchOp, Matcher, SegmentId, Selector, Tenant, TimeRange, names};
use flamestore_segment::{DropRule, Table};

use crate::manifest::{Manifest, SegmentEntry};

/// How long things are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// How long, unless an override fits.
    pub times: RetentionTimes,
    /// Exceptions. Of those that fit, one that names tenant and profile type goes first, then one that names the profile
    /// type, then one that names the tenant; of equal ones the first.
    pub overrides: Vec<RetentionOverride>,
}

/// How long profiles and their roll-ups are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionTimes {
    /// Profiles with their samples.
    pub raw: Keep,
    /// Roll-ups of hours.
    pub hours: Keep,
    /// Roll-ups of days.
    pub days: Keep,
}

/// A time to keep things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Until they are so old.
    For(Duration),
    /// Until they are deleted.
    Forever,
}

/// An exception for a tenant, a profile type, or one of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionOverride {
    /// Whose profiles; everybody's if none is given.
    pub tenant: Option<Tenant>,
    /// Which profile type, by its whole name or by what stands before the first colon; every one if none is given.
    pub profile_type: Option<String>,
    /// How long they are kept.
    pub times: RetentionTimes,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Default for RetentionTimes {
    fn default() -> Self {
        Self { raw: Keep::For(15 * DAY), hours: Keep::For(60 * DAY), days: Keep::For(3 * 365 * DAY) }
    }
}

impl RetentionTimes {
    /// Everything is kept.
    pub const FOREVER: Self = Self { raw: Keep::Forever, hours: Keep::Forever, days: Keep::Forever };
}

impl RetentionPolicy {
    /// How long profiles of a tenant and profile type are kept.
    pub fn times(&self, tenant: &Tenant, profile_type: &str) -> RetentionTimes {
        let fits = |over: &&RetentionOverride| {
            over.tenant.as_ref().is_none_or(|named| named == tenant)
                && over.profile_type.as_ref().is_none_or(|named| is_of(profile_type, named))
        };
        let rank = |over: &&RetentionOverride| (over.profile_type.is_none(), over.tenant.is_none());
        self.overrides.iter().filter(fits).min_by_key(rank).map_or(self.times, |over| over.times)
    }
}

fn is_of(profile_type: &str, named: &str) -> bool {
    profile_type == named || profile_type.split(':').next() == Some(named)
}

/// What of a manifest has expired.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expired {
    /// Segments to be removed.
    pub(crate) remove: Vec<Arc<SegmentEntry>>,
    /// Segments that go on with fewer tables.
    pub(crate) trim: Vec<Arc<SegmentEntry>>,
    /// Segments to be written again, and what is left out then.
    pub(crate) rewrite: Vec<(Arc<SegmentEntry>, Vec<DropRule>)>,
}

impl Expired {
    /// The segments that a commit alone takes or trims.
    pub(crate) fn committed(&self) -> Vec<SegmentId> {
        self.remove.iter().chain(&self.trim).map(|entry| entry.id).collect()
    }
}

/// How long a segment is left alone after it was made, however old its profiles are: who stores an old profile can look at
/// it for a while.
const FRESH: Duration = Duration::from_secs(3600);

/// What of `manifest` has expired at `now`.
pub(crate) fn expired(manifest: &Manifest, policy: &RetentionPolicy, now: i64) -> Expired {
    let mut due = Expired::default();
    for entry in manifest.segments.iter().filter(|entry| is_over(entry.created_unix_nano, Keep::For(FRESH), now)) {
        let times = |profile_type: &String| policy.times(&entry.tenant, profile_type);
        let gone: Vec<&String> =
            entry.profile_types.iter().filter(|profile_type| is_gone(entry, times(profile_type), now)).collect();
        let has_samples = entry.table(Table::Samples).is_some();
        if !gone.is_empty() && gone.len() == entry.profile_types.len() {
            due.remove.push(Arc::clone(entry));
        } else if !gone.is_empty() && has_samples {
            due.rewrite.push((Arc::clone(entry), gone.into_iter().filter_map(rule).collect()));
        } else {
            let all = |keep: fn(RetentionTimes) -> Keep| {
                entry.profile_types.iter().all(|ty| is_over(entry.time_max, keep(times(ty)), now))
            };
            let tables = trimmed(entry, all(|times| times.raw), all(|times| times.hours));
            if !tables.is_empty() {
                let mut entry = SegmentEntry::clone(entry);
                entry.tables.retain(|table| !tables.contains(&table.table));
                due.trim.push(Arc::new(entry));
            }
        }
    }
    due
}

/// Whether neither profiles nor roll-ups of such a type are kept any longer.
fn is_gone(entry: &SegmentEntry, times: RetentionTimes, now: i64) -> bool {
    let kept = [
        (Table::Samples, times.raw),
        (Table::Rollups1h, times.hours),
        (Table::Rollups1d, times.days),
        (Table::Rollups30d, times.days),
    ];
    kept.into_iter().all(|(table, keep)| entry.table(table).is_none() || is_over(entry.time_max, keep, now))
}

/// The tables that the segment goes on without.
fn trimmed(entry: &SegmentEntry, raw_is_over: bool, hours_are_over: bool) -> Vec<Table> {
    let has = |table| entry.table(table).is_some();
    let mut tables = Vec::new();
    if raw_is_over && has(Table::Samples) && (has(Table::Rollups1h) || has(Table::Rollups1d)) {
        tables.extend([Table::Samples, Table::Profiles]);
    }
    if raw_is_over && hours_are_over && has(Table::Rollups1h) && has(Table::Rollups1d) {
        tables.push(Table::Rollups1h);
    }
    tables
}

fn is_over(time: i64, keep: Keep, now: i64) -> bool {
    match keep {
        Keep::Forever => false,
        Keep::For(kept) => time < now.saturating_sub(nanos(kept)),
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

fn rule(profile_type: &String) -> Option<DropRule> {
    // an equality is never refused
    let matcher = Matcher::new(names::PROFILE_TYPE, MatchOp::Equal, profile_type).ok()?;
    Some(DropRule { selector: Selector { matchers: vec![matcher] }, range: TimeRange::ALL })
}
