//! Damaged dictionaries and trees are refused.

use std::sync::Arc;

use flamestore_calltree::{ByteStrings, Dictionary, Interner, LabelValue, NONE, SealSelection, SealedDictionary};
use flamestore_model::ErrorKind;

use crate::fixture::{Place, Sample, Spot, batch, spot};

fn sealed() -> SealedDictionary {
    let place = |name, line: i64| Place {
        mapping: usize::try_from(line).ok(),
        address: 0x1000,
        lines: vec![spot("inline"), Spot { line, ..spot(name) }],
    };
    let sample = |stack, value| Sample { stack, value, labels: vec![("k", Ok("v")), ("k", Err(value))] };
    let samples = [
        sample(vec![place("a", 0), place("b", 2)], 1),
        sample(vec![place("a", 1), place("b", 2)], 2),
        sample(vec![place("a", 0), place("c", 2)], 3),
    ];
    let mut interner = Interner::new(1);
    interner.intern(&batch(&samples)).unwrap();
    interner.seal(&SealSelection::default()).sealed
}

#[track_caller]
fn check(message: &str, damage: impl Fn(&mut SealedDictionary, &mut Dictionary)) {
    let mut damaged = sealed();
    damaged.check().unwrap();
    let mut dictionary = (*damaged.dictionary).clone();
    damage(&mut damaged, &mut dictionary);
    damaged.dictionary = Arc::new(dictionary);
    let error = damaged.check().expect_err(message);
    assert_eq!((error.kind(), error.message()), (ErrorKind::Corrupt, message));
}

#[test]
fn damaged_dictionaries_are_refused() {
    check("string 0 is not the empty string", |_, d| d.strings = ByteStrings::new());
    check("string 2 is not after the one before it in canonical order", |_, d| {
        let mut strings = ByteStrings::new();
        d.strings.iter().enumerate().for_each(|(at, s)| {
            strings.push(if at == 2 { b"" } else { s });
        });
        d.strings = strings;
    });
    check("mapping 1: string 99 is not among the 13 of the dictionary", |_, d| d.mappings[1].filename = 99);
    check("mapping 1 is not after the one before it in canonical order", |_, d| d.mappings.swap(0, 2));
    check("the function columns differ in length", |_, d| d.functions.start_line.push(0));
    check("function 0: string 99 is not among the 13 of the dictionary", |_, d| d.functions.filename[0] = 99);
    check("function 1 is not after the one before it in canonical order", |_, d| d.functions.name.swap(0, 1));
    check("the location columns differ in length", |_, d| d.locations.address.push(0));
    check("the line columns differ in length", |_, d| d.locations.line_line.push(0));
    check("the location offsets do not cover their rows", |_, d| d.locations.line_offsets.clear());
    check("the location offsets do not cover their rows", |_, d| d.locations.line_offsets[1] = 99);
    check("location 0: mapping 3 is not among the 3 of the dictionary", |_, d| d.locations.mapping[0] = 3);
    check("line 0: function 4 is not among the 4 of the dictionary", |_, d| d.locations.line_function[0] = 4);
    check("location 1 is not after the one before it in canonical order", |_, d| d.locations.line_line[1] = 2);
    check("the label set offsets do not cover their rows", |_, d| d.label_sets.offsets.clear());
    check("label set 0 is empty or not ordered by key", |_, d| d.label_sets.labels.swap(0, 1));
    check("label set 0: string 99 is not among the 13 of the dictionary", |_, d| {
        d.label_sets.labels[0].value = LabelValue::Str(99);
    });
    check("label set 2 is not after the one before it in canonical order", |_, d| {
        d.label_sets.labels[5] = d.label_sets.labels[3];
    });
}

#[test]
fn damaged_trees_are_refused() {
    let unordered = "call site 3 is not after the one before it in canonical order";
    check("the call site columns differ in length", |s, _| s.tree.parent.push(0));
    check("call site 0 is not the root", |s, _| s.tree.location[0] = 0);
    check("call site 0 is not the root", |s, _| (s.tree.parent, s.tree.location) = (vec![], vec![]));
    check("call site 1: location 4294967295 is not among the 4 of the dictionary", |s, _| s.tree.location[1] = NONE);
    check("call site 2: its parent 2 is not on the path to it", |s, _| s.tree.parent[2] = 2);
    check("call site 3: its parent 9 is not on the path to it", |s, _| s.tree.parent[3] = 9);
    check("call site 5: its parent 1 is not on the path to it", |s, _| s.tree.parent[5] = 1);
    check(unordered, |s, _| s.tree.location[3] = s.tree.location[2]);
    check("a stack ends in a node that is not in the call tree", |s, _| s.leaves[1] = 6);
}
