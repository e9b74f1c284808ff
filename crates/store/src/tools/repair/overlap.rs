//! Decides which segments of one day may stand beside each other, so that no profile counts twice.
//!
//! A compaction leaves its inputs in the bucket beside its outputs for a while. Which is which the segments do not say, but
//! their profiles do: an output holds all of its inputs. So segments are taken in from the largest on (of equals the newest),
//! named ones first, and each is one of these:
//!
//! - it shares no profile with those taken in: it is taken in;
//! - all its profiles are in them: it is superseded;
//! - it is newer than those it shares profiles with and holds all of theirs: it takes their place;
//! - otherwise it would count some twice, and is left out.
//!
//! A segment of roll-ups only names no profiles. It is left out where a segment with profiles of the same service and time
//! is taken in, since it may be their sum.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use flamestore_model::{ProfileId, SegmentId};

use super::find::Inspected;

/// What a segment is beside the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    In,
    Superseded(Vec<SegmentId>),
    Overlaps { with: Vec<SegmentId>, lost: usize },
}

/// Decides on the whole segments of one day of one tenant.
pub(super) fn judge(mut segments: Vec<Inspected>) -> Vec<(Inspected, Judged)> {
    let order = |segment: &Inspected| {
        (segment.profiles.is_empty(), !segment.is_named, Reverse(segment.profiles.len()), Reverse(segment.entry.id))
    };
    segments.sort_by_key(order);
    let mut judged: Vec<Judged> = Vec::with_capacity(segments.len());
    let mut holders: HashMap<(ProfileId, u32), usize> = HashMap::new();
    for at in 0..segments.len() {
        let next = match segments[at].profiles.is_empty() {
            true => judge_sums(&segments, &judged, at),
            false => judge_profiles(&segments, &mut judged, &mut holders, at),
        };
        judged.push(next);
    }
    segments.into_iter().zip(judged).collect()
}

fn judge_profiles(
    segments: &[Inspected],
    judged: &mut [Judged],
    holders: &mut HashMap<(ProfileId, u32), usize>,
    at: usize,
) -> Judged {
    let segment = &segments[at];
    let mut shared: HashMap<usize, usize> = HashMap::new();
    for profile in &segment.profiles {
        if let Some(holder) = holders.get(profile) {
            *shared.entry(*holder).or_default() += 1;
        }
    }
    let count: usize = shared.values().sum();
    let with: Vec<SegmentId> =
        shared.keys().map(|other| segments[*other].entry.id).collect::<BTreeSet<_>>().into_iter().collect();
    let holds_all = |(other, count): (&usize, &usize)| {
        *count == segments[*other].profiles.len() && segments[*other].entry.id < segment.entry.id
    };
    if count == segment.profiles.len() {
        return Judged::Superseded(with);
    }
    if !shared.iter().all(holds_all) {
        return Judged::Overlaps { with, lost: segment.profiles.len() - count };
    }
    for other in shared.into_keys() {
        judged[other] = Judged::Superseded(vec![segment.entry.id]);
    }
    holders.extend(segment.profiles.iter().map(|profile| (*profile, at)));
    Judged::In
}

fn judge_sums(segments: &[Inspected], judged: &[Judged], at: usize) -> Judged {
    let entry = &segments[at].entry;
    let may_be_summed = |other: &Inspected| {
        let other_entry = &other.entry;
        !other.profiles.is_empty()
            && other_entry.time_min <= entry.time_max
            && entry.time_min <= other_entry.time_max
            && other_entry.services.iter().any(|service| entry.services.contains(service))
    };
    let taken_in = segments.iter().zip(judged).filter(|(_, judged)| **judged == Judged::In);
    let with: Vec<SegmentId> =
        taken_in.filter(|(other, _)| may_be_summed(other)).map(|(other, _)| other.entry.id).collect();
    // named segments stand beside each other already
    match with.is_empty() || segments[at].is_named {
        true => Judged::In,
        false => Judged::Overlaps { with, lost: 0 },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::manifest::SegmentEntry;

    /// A segment: its number, `+` where it is named, and its profiles.
    fn segment(text: &str) -> Inspected {
        let (number, profiles) = text.split_once(':').unwrap_or((text, ""));
        let number: u128 = number.trim_end_matches('+').parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        let blank = SegmentEntry::blank(SegmentId::from_parts(1, number), (0, 1));
        let entry = SegmentEntry { services: vec!["api".to_owned()], ..blank };
        let profiles = profiles.chars().map(|c| (ProfileId::from_parts(1, u128::from(u32::from(c))), 0)).collect();
        Inspected { entry: Arc::new(entry), profiles, is_named: text.contains('+') }
    }

    fn check(segments: &str, expected: &str) {
        let number = |id: &SegmentId| id.as_bytes()[15];
        let judged = judge(segments.split_whitespace().map(segment).collect());
        let mut shown: Vec<String> = judged
            .iter()
            .map(|(segment, judged)| {
                let id = number(&segment.entry.id);
                match judged {
                    Judged::In => format!("{id}"),
                    Judged::Superseded(by) => format!("{id}<{:?}", by.iter().map(number).collect::<Vec<_>>()),
                    Judged::Overlaps { with, lost } => {
                        format!("{id}x{:?}-{lost}", with.iter().map(number).collect::<Vec<_>>())
                    }
                }
            })
            .collect();
        shown.sort();
        assert_eq!(shown.join(" "), expected, "{segments}");
    }

    #[test]
    fn no_profile_counts_twice() {
        check("1:ab 2:cd", "1 2");
        check("1:ab 2:cd 3:abcd", "1<[3] 2<[3] 3");
        check("1:abc 2:def 3:ab 4:cdef", "1x[4]-2 2<[4] 3 4");
        check("1:ab 2:ab", "1<[2] 2");
        check("1:abc 2:cd", "1 2x[1]-1");
    }

    #[test]
    fn a_named_segment_gives_way_only_to_a_newer_one_that_holds_all_of_it_and_more() {
        check("1+:ab 2+:cd 3:abcd", "1 2 3<[1, 2]");
        check("1+:ab 2+:cd 3:abcde", "1<[3] 2<[3] 3");
        check("5+:ab 3:abcd", "3x[5]-2 5");
        check("1+:ab 2:bcde", "1 2x[1]-3");
        check("1+:abcd 2:ab", "1 2<[1]");
    }

    #[test]
    fn roll_ups_alone_do_not_stand_beside_profiles_they_may_sum() {
        check("1:ab 2", "1 2x[1]-0");
        check("1:ab 2+", "1 2");
        check("2", "2");
    }
}
