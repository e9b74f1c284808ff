//! Sums by stack of several segments are one call tree, whatever is kept of their dictionaries.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use flamestore_calltree::{ValueTree, merge};
use flamestore_model::{Selector, TimeRange};
use flamestore_segment::{DictionaryCache, MemorySource, ReadFrom, RollUps, ScanReport, SegmentReader, StackSums};
use futures::executor::block_on;
use proptest::prelude::*;
use support::{Stored, expected_sums, input, profiles, sealed_with, tables};

/// `stored` spread over `parts` segments, which take turns with `caches` caches of `cache_bytes`.
fn segments(stored: &[Stored], parts: usize, cache_bytes: usize, caches: usize) -> Vec<SegmentReader> {
    let caches: Vec<_> = (0..caches).map(|_| Arc::new(DictionaryCache::new(cache_bytes))).collect();
    let of_part = |part: usize| {
        let stored: Vec<Stored> = stored.iter().skip(part).step_by(parts).cloned().collect();
        let source = MemorySource::new(tables(&sealed_with(&stored, RollUps::HoursAndDays)));
        SegmentReader::with_cache(Arc::new(source), Arc::clone(&caches[part % caches.len()]))
    };
    (0..parts).map(of_part).collect()
}

/// What `range` of all segments comes to, by service: added up by stack, and merged tree by tree.
fn both_ways(segments: &[SegmentReader], range: &TimeRange) -> BTreeMap<String, (ValueTree, ValueTree)> {
    let mut report = ScanReport::default();
    let mut parts: BTreeMap<String, Vec<StackSums>> = BTreeMap::new();
    for reader in segments {
        let (all, from) = (Selector::default(), ReadFrom::Widest);
        for selection in block_on(reader.select_from(&all, range, from, &mut report)).unwrap() {
            let sums = block_on(reader.sum_stacks(&selection, &mut report)).unwrap();
            parts.entry(selection.entry.service_name).or_default().push(sums);
        }
    }
    let both = parts.into_iter().map(|(service, parts)| {
        let trees = parts.iter().map(|part| (part.clone().into_tree(), 0)).collect();
        (service, (StackSums::merge(parts).prune_symbols(), merge(trees, 1).prune().prune_symbols()))
    });
    both.collect()
}

fn check(stored: &[Stored], segments: &[SegmentReader], range: (i64, i64)) {
    let range = TimeRange { start: range.0, end: range.1 };
    let mut totals = BTreeMap::new();
    for (service, (joined, merged)) in both_ways(segments, &range) {
        assert_eq!(joined, merged, "{service} {range}");
        totals.insert(service, joined.values[0].iter().fold(0_i64, |sum, value| sum.wrapping_add(*value)));
    }
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for ((service, _), value) in expected_sums(&input(stored), &Selector::default(), &range) {
        let sum = expected.entry(service).or_default();
        *sum = sum.wrapping_add(value);
    }
    totals.retain(|_, total| *total != 0);
    expected.retain(|_, total| *total != 0);
    assert_eq!(totals, expected, "{range}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn segments_added_up_by_stack_are_their_merged_trees(
        stored in profiles(),
        parts in 1_usize..5,
        cache_bytes in prop_oneof![Just(0_usize), Just(2_000), Just(1 << 20)],
        caches in 1_usize..3,
        ranges in proptest::collection::vec((-22_i64..20, 0_i64..40), 1..4),
    ) {
        // Neither a union that is kept from an earlier range nor one that was thrown out makes a difference.
        let segments = segments(&stored, parts, cache_bytes, caches);
        for (start, length) in ranges {
            check(&stored, &segments, (start, start + length));
        }
    }
}

#[test]
fn what_cancels_out_between_segments_leaves_no_node() {
    let stored = |at, value| Stored { service: 2, host: 0, ty: 0, time: at, samples: vec![(vec![2], value, None)] };
    let stored = [stored(0, 2), stored(0, -2), stored(9, 5)];
    for cache_bytes in [0, 1 << 20] {
        let segments = segments(&stored, 2, cache_bytes, 1);
        let nodes =
            |range| both_ways(&segments, &range).into_values().map(|(tree, _)| tree.tree.len()).collect::<Vec<_>>();
        assert_eq!(nodes(TimeRange { start: 0, end: 1 }), [1]);
        assert_eq!(nodes(TimeRange::ALL), [2]);
        check(&stored, &segments, (0, 1));
        check(&stored, &segments, (0, 10));
    }
}

#[test]
fn a_union_is_kept_while_there_is_room() {
    let stored = support::example();
    // Bytes kept with the dictionaries alone, with their unions, and after another range.
    let kept = |cache_bytes: usize| {
        let cache = Arc::new(DictionaryCache::new(cache_bytes));
        let source = || Arc::new(MemorySource::new(tables(&sealed_with(&stored, RollUps::HoursAndDays))));
        let readers: Vec<_> = (0..2).map(|_| SegmentReader::with_cache(source(), Arc::clone(&cache))).collect();
        let asked = [&readers[..1], &readers[1..], &readers, &readers];
        let ranges = [TimeRange::ALL, TimeRange::ALL, TimeRange::ALL, TimeRange { start: -60, end: 160 }];
        let bytes = asked.into_iter().zip(ranges).map(|(readers, range)| {
            both_ways(readers, &range);
            usize::try_from(cache.bytes()).unwrap()
        });
        bytes.collect::<Vec<_>>()
    };
    let enough = kept(1 << 20);
    assert!(enough[1] > enough[0] && enough[2] > enough[1] && enough[3] == enough[2], "{enough:?}");
    let services = enough[1] / 2;
    assert!(kept(services).iter().all(|bytes| *bytes <= services), "a bound of {services} is passed");
    assert_eq!(kept(0), [0, 0, 0, 0]);
}
