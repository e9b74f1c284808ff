//! What an interner makes of batches.

use flamestore_calltree::{Interned, Interner, LabelValue, NONE, SealSelection};
use flamestore_model::ErrorKind;

use crate::fixture::{MAPPINGS, Place, Sample, batch, batch_at, samples, spot};

fn sample(stack: Vec<Place>) -> Sample {
    Sample { stack, value: 1, labels: Vec::new() }
}

#[test]
fn known_stacks_get_their_old_ids() {
    let mut interner = Interner::new(1);
    let first = interner.intern(&batch(&samples("a;b 1 | a 2 | a;b 3 | 4"))).unwrap();
    assert_eq!((first.stacks, first.label_sets, first.main_mapping), (vec![0, 1, 0, 2], vec![], 0));
    let second = interner.intern(&batch(&samples("c 1 | a 2 | 3 | a;b 3"))).unwrap();
    assert_eq!((second.stacks, interner.stacks()), (vec![3, 1, 2, 0], 4));
    assert!(interner.memory_bytes() > 0);
}

#[test]
fn a_process_at_another_address_has_the_same_stacks() {
    let place = |mapping, offset, name| Place {
        mapping: Some(mapping),
        address: MAPPINGS[mapping].0 + offset,
        lines: vec![spot(name)],
    };
    let samples = [sample(vec![place(0, 16, "main"), place(1, 8, "read")]), sample(vec![place(2, 0, "x")])];
    let mut interner = Interner::new(1);
    let first = interner.intern(&batch(&samples)).unwrap();
    let second = interner.intern(&batch_at(&samples, 0x70_0000)).unwrap();
    assert_eq!(first, second);
    let sealed = interner.seal(&SealSelection::default()).sealed;
    assert_eq!(sealed.dictionary.mappings.len(), 3);
    let starts: Vec<u64> = sealed.dictionary.mappings.iter().map(|mapping| mapping.memory_start).collect();
    assert_eq!(starts, [0x20000, 0x1000, 0x8000], "the first one seen stays; ordered by build id or file");
}

#[test]
fn the_address_alone_is_never_trusted() {
    let place = |names: &[&'static str]| Place {
        mapping: Some(0),
        address: 0x1010,
        lines: names.iter().map(|name| spot(name)).collect(),
    };
    let mut interner = Interner::new(1);
    let mut intern = |names: &[&'static str]| interner.intern(&batch(&[sample(vec![place(names)])])).unwrap().stacks[0];
    let ids = [intern(&["f"]), intern(&["g"]), intern(&["f"]), intern(&["f", "g"]), intern(&[]), intern(&["g"])];
    assert_eq!(ids, [0, 1, 0, 2, 3, 1]);
}

#[test]
fn label_sets_are_shared_and_ordered_and_the_empty_one_is_none() {
    let with =
        |labels: &[(&'static str, Result<&'static str, i64>)]| Sample { labels: labels.to_vec(), ..sample(Vec::new()) };
    let samples = [
        with(&[("b", Ok("x")), ("a", Err(3)), ("a", Ok("y"))]),
        with(&[]),
        with(&[("a", Ok("y")), ("b", Ok("x")), ("a", Err(3))]),
        with(&[("b", Ok("x")), ("b", Ok("w"))]),
        with(&[("b", Ok("w")), ("b", Ok("x"))]),
    ];
    let mut interner = Interner::new(1);
    let interned = interner.intern(&batch(&samples)).unwrap();
    assert_eq!(interned.label_sets, [0, NONE, 0, 1, 2], "values of one key keep their order");
    let sealed = interner.seal(&SealSelection { keep_label_sets: Some(&[2, 0, NONE]), ..SealSelection::default() });
    assert_eq!(sealed.label_set_remap, [0, NONE, 1]);
    let dictionary = &sealed.sealed.dictionary;
    sealed.sealed.check().unwrap();
    let first: Vec<_> = dictionary.label_sets.get(0).iter().map(|label| dictionary.strings.text(label.key)).collect();
    assert_eq!(first, ["a", "a", "b"]);
    assert!(matches!(dictionary.label_sets.get(0)[1].value, LabelValue::Num(3, _)));
    assert!(dictionary.label_sets.get(NONE).is_empty());
}

#[test]
fn a_selection_keeps_only_what_it_uses() {
    let mut interner = Interner::new(1);
    interner.intern(&batch(&samples("a;b 1 | c 2 | d;e 3 | a 4"))).unwrap();
    let select = SealSelection { stacks: Some(&[2, 1]), keep_mappings: Some(&[0, NONE]), keep_label_sets: Some(&[]) };
    let sealed = interner.seal(&select);
    sealed.sealed.check().unwrap();
    let dictionary = &sealed.sealed.dictionary;
    let strings: Vec<_> = dictionary.strings.iter().map(String::from_utf8_lossy).collect();
    assert_eq!(strings, ["", "app", "b1", "c", "d", "e"]);
    assert_eq!((sealed.mapping_remap, dictionary.mappings.len()), (vec![0], 1));
    let stacks: Vec<_> = sealed.sealed.leaves.iter().map(|leaf| sealed.sealed.tree.stack(*leaf)).collect();
    assert_eq!(stacks, [vec![1, 2], vec![0]]);
}

#[test]
fn ids_that_refer_to_nothing_are_an_error() {
    let good = batch(&[Sample { labels: vec![("k", Ok("v"))], ..samples("a;b 1").remove(0) }]);
    type Damage = fn(&mut flamestore_model::ProfileBatch);
    let damages: [Damage; 9] = [
        |batch| batch.samples.stack_locations[0] = 9,
        |batch| batch.samples.stack_offsets[1] = 9,
        |batch| batch.samples.label_offsets[1] = 9,
        |batch| batch.samples.label_offsets = vec![0],
        |batch| batch.samples.labels[0].key = 99,
        |batch| batch.symbols.locations[0].lines_end = 9,
        |batch| batch.symbols.locations[0].mapping = 9,
        |batch| batch.symbols.lines[0].function = 9,
        |batch| batch.symbols.functions[0].name = 99,
    ];
    for (at, damage) in damages.iter().enumerate() {
        let mut batch = good.clone();
        damage(&mut batch);
        let mut out = Interned::default();
        let error = Interner::new(1).intern_into(&batch, &mut out).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "damage {at}: {error}");
    }
}
