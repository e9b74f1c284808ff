//! The algebra: whatever the samples, these hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flamestore_calltree::{
    Dictionary, FlameTree, FoldOptions, Interner, Keep, NONE, SealSelection, SealedDictionary, ValueTree, fold, merge,
    merge_dictionaries, merge_sealed, merge_trees, neighbours, top,
};
use proptest::prelude::*;

use crate::fixture::{MAPPINGS, Place, Sample, Spot, batch, check_tree, folded, names, seal, tree, tree_at};

fn spots() -> impl Strategy<Value = Spot> {
    let name = prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "c", "d", "e"]).prop_map(Some),
        1 => prop::sample::select(vec!["", "0x10", "other", "total", "<unknown>", "é"]).prop_map(Some),
        1 => Just(None),
    ];
    (name, prop::sample::select(vec!["", "x.c", "y.c"]), 0_i64..2).prop_map(|(name, file, line)| Spot {
        name,
        file,
        line,
    })
}

fn places() -> impl Strategy<Value = Place> {
    let mapping = prop::option::of(0..MAPPINGS.len());
    let lines = prop_oneof![1 => Just(0..1_usize), 8 => Just(1..2), 1 => Just(2..4)];
    let lines = lines.prop_flat_map(|count| prop::collection::vec(spots(), count));
    (mapping, prop::sample::select(vec![0_u64, 0x10, 0x1010, 0x9000]), lines)
        .prop_map(|(mapping, address, lines)| Place { mapping, address, lines })
}

/// Samples whose stacks share places, so that trees branch and recur.
fn profiles(values: std::ops::Range<i64>) -> impl Strategy<Value = Vec<Sample>> {
    let labels = prop::collection::vec((prop::sample::select(vec!["k", "a"]), labels()), 0..3);
    prop::collection::vec(places(), 1..8).prop_flat_map(move |places| {
        let stack = prop::collection::vec(prop::sample::select(places), 0..6);
        let sample = (stack, values.clone(), labels.clone());
        prop::collection::vec(sample.prop_map(|(stack, value, labels)| Sample { stack, value, labels }), 0..12)
    })
}

fn labels() -> impl Strategy<Value = Result<&'static str, i64>> + Clone {
    prop_oneof![prop::sample::select(vec!["v", "b"]).prop_map(Ok), (-1_i64..2).prop_map(Err)]
}

fn all(tree: &ValueTree) -> FlameTree {
    fold(tree, &FoldOptions { max_nodes: 0 })
}

fn joined(profiles: &[&[Sample]]) -> Vec<Sample> {
    profiles.concat()
}

fn dictionary(samples: &[Sample]) -> (Arc<Dictionary>, Interner) {
    let mut interner = Interner::new(3);
    interner.intern(&batch(samples)).unwrap();
    (interner.seal(&SealSelection::default()).sealed.dictionary, interner)
}

fn sealed_of(samples: &[Sample]) -> SealedDictionary {
    let mut interner = Interner::new(3);
    interner.intern(&batch(samples)).unwrap();
    interner.seal(&SealSelection::default()).sealed
}

/// The stack that ends in `node`, spelled out.
fn places_of(sealed: &SealedDictionary, node: u32) -> Vec<String> {
    let dictionary = &sealed.dictionary;
    let text = |id: u32| String::from_utf8_lossy(dictionary.strings.get(id)).into_owned();
    let place = |location: u32| {
        let key = dictionary.locations.mapping[location as usize];
        let mapping = dictionary.mappings.get(key as usize).map(|mapping| text(mapping.filename));
        let function = |id: u32| (id != NONE).then(|| text(dictionary.functions.get(id).name));
        let lines = dictionary.locations.lines(location).map(|line| (function(line.function), line.line));
        format!("{mapping:?} {:x} {:?}", dictionary.locations.address[location as usize], lines.collect::<Vec<_>>())
    };
    sealed.tree.stack(node).into_iter().map(place).collect()
}

/// Truncation the plain way, from the whole flame tree.
fn truncated(flame: &FlameTree, weights: &[u64], max_nodes: usize) -> BTreeMap<Vec<String>, (Vec<i64>, Vec<i64>)> {
    let mut ranked = weights[1..].to_vec();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    let threshold = if ranked.len() > max_nodes { ranked[max_nodes - 1] } else { 0 };
    let mut kept: Vec<Option<Vec<String>>> = vec![None; flame.len()];
    let mut nodes: BTreeMap<Vec<String>, (Vec<i64>, Vec<i64>)> = BTreeMap::new();
    for node in 0..flame.len() {
        let totals: Vec<i64> = flame.totals.iter().map(|column| column[node]).collect();
        if node == 0 {
            kept[0] = Some(Vec::new());
        } else if let Some(parent) = kept[flame.parent[node] as usize].clone() {
            if weights[node] < threshold {
                let path = [&parent[..], &["(other)".to_owned()]].concat();
                let other = nodes.entry(path).or_insert_with(|| (vec![0; totals.len()], vec![0; totals.len()]));
                other.0.iter_mut().zip(&totals).for_each(|(sum, total)| *sum += total);
                other.1 = other.0.clone();
                continue;
            }
            kept[node] = Some([&parent[..], &[flame.names.text(flame.name[node]).into_owned()]].concat());
        }
        if let Some(path) = &kept[node] {
            let own = flame.self_values.iter().map(|column| column[node]).collect();
            nodes.insert(path.clone(), (own, totals));
        }
    }
    nodes
}

fn by_path(flame: &FlameTree) -> BTreeMap<Vec<String>, (Vec<i64>, Vec<i64>)> {
    let mut paths: Vec<Vec<String>> = Vec::new();
    let mut nodes = BTreeMap::new();
    for node in 0..flame.len() {
        let mut path = if node == 0 { Vec::new() } else { paths[flame.parent[node] as usize].clone() };
        match (node, flame.is_other[node]) {
            (0, _) => {}
            (_, true) => path.push("(other)".to_owned()),
            (_, false) => path.push(flame.names.text(flame.name[node]).into_owned()),
        }
        assert_eq!(path.len(), flame.depth[node] as usize);
        let of = |columns: &[Vec<i64>]| columns.iter().map(|column| column[node]).collect::<Vec<_>>();
        let before = nodes.insert(path.clone(), (of(&flame.self_values), of(&flame.totals)));
        assert_eq!(before, None, "two nodes of one path");
        paths.push(path);
    }
    nodes
}

/// Weights of flame nodes: totals of absolute self values of the call tree, which the fixture gives by path.
fn weights(flame: &FlameTree, columns: &[Vec<(Vec<String>, i64)>]) -> Vec<u64> {
    let mut paths: Vec<Vec<String>> = Vec::new();
    for node in 0..flame.len() {
        let mut path = if node == 0 { Vec::new() } else { paths[flame.parent[node] as usize].clone() };
        if node > 0 {
            path.push(flame.names.text(flame.name[node]).into_owned());
        }
        paths.push(path);
    }
    let below = |path: &Vec<String>| {
        columns
            .iter()
            .flatten()
            .filter(|(stack, _)| stack.starts_with(path))
            .map(|(_, value)| value.unsigned_abs())
            .sum()
    };
    paths.iter().map(below).collect()
}

/// Per call stack the sum of its values.
fn call_sums(samples: &[Sample]) -> Vec<(Vec<String>, i64)> {
    let mut sums: BTreeMap<&Vec<Place>, i64> = BTreeMap::new();
    for sample in samples {
        *sums.entry(&sample.stack).or_default() += sample.value;
    }
    let stack = |stack: &Vec<Place>| names(&Sample { stack: stack.clone(), value: 0, labels: Vec::new() });
    sums.into_iter().map(|(places, sum)| (stack(places), sum)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sealing_keeps_the_sums_of_every_stack(first in profiles(-3..9), second in profiles(-3..9)) {
        let mut interner = Interner::new(11);
        let (mut stacks, mut values) = (Vec::new(), Vec::new());
        for batch in [batch(&first), batch(&second), batch(&first)] {
            stacks.extend(interner.intern(&batch).unwrap().stacks);
            values.extend(batch.samples.values);
        }
        let (sealed, sums) = seal(&interner, &stacks, &values);
        let tree = ValueTree::from_stacks(Arc::clone(&sealed.dictionary), &sealed.tree, &sealed.leaves, &[&sums]);
        check_tree(&tree);
        prop_assert_eq!(all(&tree).folded(), folded(&joined(&[&first, &second, &first])));
        let small = tree.clone().prune_symbols();
        check_tree(&small);
        prop_assert_eq!(all(&small).folded(), all(&tree).folded());
    }

    #[test]
    fn canonical_form_does_not_depend_on_the_order_of_samples(samples in profiles(1..9)) {
        let reversed: Vec<Sample> = samples.iter().rev().cloned().collect();
        let (one, other) = (dictionary(&samples).1, dictionary(&reversed).1);
        let (one, other) = (one.seal(&SealSelection::default()).sealed, other.seal(&SealSelection::default()).sealed);
        prop_assert_eq!(one.dictionary, other.dictionary);
        prop_assert_eq!(one.tree, other.tree);
    }

    #[test]
    fn a_selection_is_the_canonical_form_of_its_samples(samples in profiles(1..9), keep in any::<prop::sample::Index>()) {
        prop_assume!(!samples.is_empty());
        let mut interner = Interner::new(5);
        let stacks = interner.intern(&batch(&samples)).unwrap().stacks;
        let kept = keep.index(samples.len());
        let select = SealSelection { stacks: Some(&stacks[..=kept]), keep_label_sets: Some(&[]), keep_mappings: Some(&[]) };
        let part = interner.seal(&select).sealed;
        part.check().unwrap();
        let mut alone = Interner::new(9);
        let stacks = alone.intern(&batch(&samples[..=kept])).unwrap().stacks;
        let whole = alone.seal(&SealSelection { stacks: Some(&stacks), ..select }).sealed;
        prop_assert_eq!(part, whole);
    }

    #[test]
    fn merged_dictionaries_are_the_dictionary_of_everything(parts in prop::collection::vec(profiles(1..9), 1..5)) {
        let dictionaries: Vec<_> = parts.iter().map(|part| dictionary(part).0).collect();
        let inputs: Vec<&Dictionary> = dictionaries.iter().map(|dictionary| &**dictionary).collect();
        let merged = merge_dictionaries(&inputs);
        merged.dictionary.check().unwrap();
        prop_assert_eq!(&merged.dictionary, &*dictionary(&parts.concat()).0);
        for (input, remap) in inputs.iter().zip(&merged.remaps) {
            for (map, rows) in [
                (&remap.strings, input.strings.len()),
                (&remap.mappings, input.mappings.len()),
                (&remap.functions, input.functions.len()),
                (&remap.locations, input.locations.len()),
                (&remap.label_sets, input.label_sets.len()),
            ] {
                prop_assert_eq!(map.len(), rows);
                prop_assert!(map.windows(2).all(|pair| pair[0] < pair[1]));
            }
            for (old, new) in remap.strings.iter().enumerate() {
                prop_assert_eq!(input.strings.get(u32::try_from(old).unwrap()), merged.dictionary.strings.get(*new));
            }
        }
    }

    #[test]
    fn merged_sealed_dictionaries_are_the_sealed_form_of_everything(parts in prop::collection::vec(profiles(1..9), 1..5)) {
        let sealed: Vec<SealedDictionary> = parts.iter().map(|samples| sealed_of(samples)).collect();
        let expected = sealed_of(&joined(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        let all = merge_sealed(&sealed.iter().collect::<Vec<_>>());
        all.sealed.check().unwrap();
        prop_assert_eq!(&all.sealed.dictionary, &expected.dictionary);
        prop_assert_eq!(&all.sealed.tree, &expected.tree);
        let mut leaves = expected.leaves;
        leaves.sort_unstable();
        prop_assert_eq!(&all.sealed.leaves, &leaves);
        for (input, remap) in sealed.iter().zip(&all.remaps) {
            for (stack, leaf) in input.leaves.iter().enumerate() {
                let merged = all.sealed.leaves[remap.stacks[stack] as usize];
                prop_assert_eq!(places_of(&all.sealed, merged), places_of(input, *leaf));
            }
        }
        // One more than the others afterwards is the same as all at once.
        if let Some((last, first)) = sealed.split_last() {
            let so_far = merge_sealed(&first.iter().collect::<Vec<_>>());
            let again = merge_sealed(&[&so_far.sealed, last]);
            prop_assert_eq!(&again.sealed, &all.sealed);
            for (remap, expected) in so_far.remaps.into_iter().zip(&all.remaps) {
                prop_assert_eq!(&remap.then(&again.remaps[0]), expected);
            }
        }
    }

    #[test]
    fn a_part_is_the_sealed_form_of_its_stacks(samples in profiles(1..9), keep in prop::collection::vec(any::<bool>(), 12)) {
        let sealed = sealed_of(&samples);
        let mut kept = Keep::nothing(&sealed);
        kept.stacks.iter_mut().zip(&keep).for_each(|(kept, keep)| *kept = *keep);
        kept.label_sets.iter_mut().zip(keep.iter().rev()).for_each(|(kept, keep)| *kept = *keep);
        let part = sealed.retain(&kept);
        part.sealed.check().unwrap();
        for (old, new) in part.stacks.iter().enumerate() {
            prop_assert_eq!(*new != NONE, kept.stacks[old]);
            if *new != NONE {
                let leaf = part.sealed.leaves[*new as usize];
                prop_assert_eq!(places_of(&part.sealed, leaf), places_of(&sealed, sealed.leaves[old]));
            }
        }
        let count = |flags: &[bool]| flags.iter().filter(|flag| **flag).count();
        prop_assert_eq!(part.sealed.leaves.len(), count(&kept.stacks));
        prop_assert_eq!(part.sealed.dictionary.label_sets.len(), count(&kept.label_sets));
        // Nothing is left to drop: the part of everything in it is itself.
        let mut all = Keep::nothing(&part.sealed);
        all.stacks.fill(true);
        all.label_sets.fill(true);
        prop_assert!(all.is_all());
        prop_assert_eq!(part.sealed.retain(&all).sealed, part.sealed);
    }

    #[test]
    fn merged_trees_hold_every_stack_once(parts in prop::collection::vec(profiles(1..9), 1..5)) {
        let trees: Vec<ValueTree> = parts.iter().map(|part| tree(part)).collect();
        let dictionaries: Vec<&Dictionary> = trees.iter().map(|tree| &*tree.dictionary).collect();
        let merged = merge_dictionaries(&dictionaries);
        let inputs: Vec<_> = trees.iter().map(|t| &t.tree).zip(merged.remaps.iter().map(|r| &r.locations[..])).collect();
        let union = merge_trees(&inputs);
        union.tree.check(&merged.dictionary).unwrap();
        for ((input, locations), remap) in inputs.iter().zip(&union.remaps) {
            prop_assert_eq!(remap.len(), input.len());
            prop_assert!(remap.windows(2).all(|pair| pair[0] < pair[1]));
            for (old, new) in remap.iter().enumerate() {
                let stack: Vec<u32> = input.stack(u32::try_from(old).unwrap()).iter().map(|l| locations[*l as usize]).collect();
                prop_assert_eq!(union.tree.stack(*new), stack);
            }
        }
        let mut covered: Vec<u32> = union.remaps.concat();
        covered.sort_unstable();
        covered.dedup();
        prop_assert_eq!(covered.len(), union.tree.len());
    }

    #[test]
    fn merging_is_associative_and_commutative(a in profiles(-3..9), b in profiles(-3..9), c in profiles(-3..9)) {
        let [x, y, z] = [&a, &b, &c].map(|samples| tree(samples));
        let two = |left: &ValueTree, right: &ValueTree| merge(vec![(left.clone(), 0), (right.clone(), 0)], 1);
        let left = two(&two(&x, &y), &z);
        check_tree(&left);
        prop_assert_eq!(&left, &two(&x, &two(&y, &z)));
        prop_assert_eq!(&left, &two(&two(&z, &x), &y));
        prop_assert_eq!(&left, &merge(vec![(z.clone(), 0), (x.clone(), 0), (y.clone(), 0)], 1));
        prop_assert_eq!(all(&left).folded(), folded(&joined(&[&a, &b, &c])));
        prop_assert_eq!(two(&x, &ValueTree::empty(1)), x.clone());
        prop_assert_eq!(two(&x, &x).values[0].iter().sum::<i64>(), 2 * x.values[0].iter().sum::<i64>());
    }

    #[test]
    fn many_inputs_merge_like_two_at_a_time(parts in prop::collection::vec(profiles(1..9), 13..20)) {
        let inputs: Vec<(ValueTree, usize)> = parts.iter().map(|part| (tree(part), 0)).collect();
        let pairwise = inputs.iter().cloned().reduce(|a, b| (merge(vec![a, b], 1), 0)).unwrap().0;
        prop_assert_eq!(merge(inputs, 1), pairwise);
    }

    #[test]
    fn processes_at_other_addresses_merge_in_any_order(samples in profiles(1..9), slides in prop::collection::vec(0_u64..3, 3)) {
        let trees: Vec<ValueTree> = slides.iter().map(|slide| tree_at(&samples, slide << 20)).collect();
        let inputs = |order: [usize; 3]| order.map(|at| (trees[at].clone(), 0)).to_vec();
        let merged = merge(inputs([0, 1, 2]), 1);
        check_tree(&merged);
        prop_assert_eq!(&merged, &merge(inputs([2, 0, 1]), 1));
        let last_two = merge(inputs([1, 2, 0])[..2].to_vec(), 1);
        prop_assert_eq!(&merged, &merge(vec![(trees[0].clone(), 0), (last_two, 0)], 1));
        prop_assert_eq!(&merged.tree, &trees[0].tree);
    }

    #[test]
    fn a_diff_has_the_columns_of_two_merges(a in profiles(0..9), b in profiles(0..9), c in profiles(0..9)) {
        let [x, y, z] = [&a, &b, &c].map(|samples| tree(samples));
        let diff = merge(vec![(x.clone(), 0), (y.clone(), 1), (z.clone(), 1)], 2);
        check_tree(&diff);
        let after = merge(vec![(y, 0), (z, 0)], 1);
        for (column, alone) in [(0, &x), (1, &after)] {
            let one = ValueTree { values: vec![diff.values[column].clone()], ..diff.clone() };
            prop_assert_eq!(all(&one.clone().prune()).folded(), all(alone).folded());
            prop_assert_eq!(one.prune().prune_symbols(), alone.clone().prune().prune_symbols());
        }
    }

    #[test]
    fn truncation_keeps_totals_and_follows_the_threshold(a in profiles(-3..9), b in profiles(0..9), max in 1_usize..12) {
        for (tree, sums) in [
            (tree(&a), vec![call_sums(&a)]),
            (tree(&b), vec![call_sums(&b)]),
            (merge(vec![(tree(&a), 0), (tree(&b), 1)], 2), vec![call_sums(&a), call_sums(&b)]),
        ] {
            let whole = all(&tree);
            let cut = fold(&tree, &FoldOptions { max_nodes: max });
            let mut expected = truncated(&whole, &weights(&whole, &sums), max);
            let mut found = by_path(&cut);
            // What cancels out may be told apart by weight only.
            for nodes in [&mut expected, &mut found] {
                nodes.retain(|path, values| !path.ends_with(&["(other)".to_owned()]) || values.0.iter().any(|v| *v != 0));
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn siblings_are_ordered_by_name_with_other_last(samples in profiles(1..9), max in 0_usize..8) {
        let flame = fold(&tree(&samples), &FoldOptions { max_nodes: max });
        let key = |node: usize| (flame.is_other[node], flame.names.get(flame.name[node]));
        for parent in 0..flame.len() {
            let children: Vec<usize> = (1..flame.len()).filter(|node| flame.parent[*node] as usize == parent).collect();
            prop_assert!(children.windows(2).all(|pair| key(pair[0]) < key(pair[1])));
            let below: i64 = children.iter().map(|child| flame.totals[0][*child]).sum();
            prop_assert_eq!(flame.totals[0][parent], flame.self_values[0][parent] + below);
        }
    }

    #[test]
    fn top_is_what_a_loop_over_samples_counts(samples in profiles(-3..9)) {
        let mut expected: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for sample in &samples {
            let mut names = names(sample);
            if let Some(leaf) = names.last() {
                expected.entry(leaf.clone()).or_default().0 += sample.value;
            }
            names.sort();
            names.dedup();
            for name in names {
                expected.entry(name).or_default().1 += sample.value;
            }
        }
        let mut expected: Vec<(i64, i64, String)> =
            expected.into_iter().map(|(name, (own, total))| (-own, -total, name)).collect();
        expected.retain(|row| (row.0, row.1) != (0, 0));
        expected.sort();
        let found: Vec<(i64, i64, String)> =
            top(&tree(&samples)).into_iter().map(|row| (-row.self_values[0], -row.totals[0], row.name)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn neighbours_are_what_a_loop_over_samples_counts(samples in profiles(-3..9), at in 0_usize..100) {
        let functions: BTreeSet<String> = samples.iter().flat_map(names).collect();
        let Some(function) = functions.iter().nth(at % functions.len().max(1)) else { return Ok(()) };
        let (mut own, mut total, mut outermost) = (0, 0, 0);
        let (mut callers, mut callees) = (BTreeMap::<String, i64>::new(), BTreeMap::<String, i64>::new());
        for sample in &samples {
            let names = names(sample);
            let is_function = |name: Option<&String>| i64::from(name == Some(function)) * sample.value;
            own += is_function(names.last());
            outermost += is_function(names.first());
            total += is_function(names.iter().find(|name| *name == function));
            let calls: BTreeSet<(&String, &String)> = names.windows(2).map(|pair| (&pair[0], &pair[1])).collect();
            for (caller, callee) in calls {
                *callers.entry(caller.clone()).or_default() += is_function(Some(callee));
                *callees.entry(callee.clone()).or_default() += is_function(Some(caller));
            }
        }
        let sorted = |all: BTreeMap<String, i64>| {
            let mut all: Vec<(i64, String)> = all.into_iter().map(|(name, total)| (-total, name)).collect();
            all.retain(|(total, _)| *total != 0);
            all.sort();
            all
        };
        let found = neighbours(&tree(&samples), function);
        let list = |all: Vec<flamestore_calltree::Neighbour>| {
            all.into_iter().map(|one| (-one.totals[0], one.name)).collect::<Vec<_>>()
        };
        prop_assert_eq!((found.self_values[0], found.totals[0], found.outermost[0]), (own, total, outermost));
        prop_assert_eq!(list(found.callers), sorted(callers));
        prop_assert_eq!(list(found.callees), sorted(callees));
    }

    #[test]
    fn levels_decode_to_the_tree(samples in profiles(1..9), max in 0_usize..8) {
        let flame = fold(&tree(&samples), &FoldOptions { max_nodes: max });
        let levels = flame.levels();
        let nodes: usize = levels.levels.iter().map(|level| level.len() / 4).sum();
        prop_assert_eq!(nodes, flame.len());
        for level in &levels.levels {
            prop_assert!(level.chunks(4).all(|node| node[0] >= 0 && node[1] >= node[2]));
            let (mut end, mut last) = (0, 0);
            for node in level.chunks(4) {
                end += node[0] + node[1];
                last = end;
            }
            prop_assert!(last <= levels.totals[0]);
        }
    }
}
