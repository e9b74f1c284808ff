//! Small profiles whose answers can be read off.

use flamestore_calltree::{FlameTree, FoldOptions, ValueTree, fold, frame_name, lay_over, merge, neighbours, top};

use crate::fixture::{Place, Sample, Spot, check_tree, folded, samples, spot, text_tree, tree};

fn flame(tree: &ValueTree, max_nodes: usize) -> FlameTree {
    fold(tree, &FoldOptions { max_nodes })
}

fn print(folded: &[(String, Vec<i64>)]) -> String {
    let line = |(stack, values): &(String, Vec<i64>)| {
        let values: Vec<String> = values.iter().map(i64::to_string).collect();
        format!("{stack} {}", values.join(","))
    };
    folded.iter().map(line).collect::<Vec<_>>().join(" | ")
}

#[track_caller]
fn check_fold(text: &'static str, max_nodes: usize, expected: &str) {
    assert_eq!(print(&flame(&text_tree(text), max_nodes).folded()), expected);
}

#[test]
fn folding_sums_by_stack_of_names() {
    check_fold("main;read 3 | main;write 1 | main;read 2", 0, "main;read 5 | main;write 1");
    check_fold("b 1 | a;b 2 | a;a;b 3 | a 4", 0, "a 4 | a;a;b 3 | a;b 2 | b 1");
    check_fold("a 1 | a -1 | b 2", 0, "b 2");
    check_fold("5 | a 1", 0, " 5 | a 1");
    check_fold("0", 0, "");
}

#[test]
fn truncation_folds_the_lightest_into_other_and_keeps_ties() {
    check_fold("m;a 5 | m;b 3 | m;c 2", 2, "m;a 5 | m;other 5");
    check_fold("m;a 5 | m;b 3 | m;c 3 | m;d 1", 3, "m;a 5 | m;b 3 | m;c 3 | m;other 1");
    check_fold("m;a;x 5 | m;a 1 | n 7", 1, "n 7 | other 6");
    check_fold("m;a;x 5 | m;a 1 | n 7", 2, "m;a 1 | m;a;other 5 | n 7");
    check_fold("m;a;x 5 | m;a 1 | n 7", 3, "m;a 1 | m;a;other 5 | n 7");
    check_fold("m;a;x 5 | m;a 1 | n 7", 4, "m;a 1 | m;a;x 5 | n 7");
    check_fold("m;a -5 | m;b 3 | m;c 1", 2, "m;a -5 | m;other 4");
}

#[track_caller]
fn check_laid(left: &'static str, right: &'static str, max_nodes: usize, expected: &str) {
    let [left, right] = [left, right].map(|text| flame(&text_tree(text), max_nodes));
    let both = lay_over([&left, &right]);
    assert_eq!(print(&both.folded()), expected);
    assert_eq!([both.totals[0][0], both.totals[1][0]], [left.totals[0][0], right.totals[0][0]]);
    let names: Vec<&[u8]> = both.names.iter().collect();
    assert!(names.iter().enumerate().all(|(at, name)| !names[..at].contains(name)), "{names:?}");
}

#[test]
fn trees_laid_over_each_other_have_all_nodes_of_both() {
    check_laid("m;a 1 | m 2", "m;b 3 | n 4", 0, "m 2,0 | m;a 1,0 | m;b 0,3 | n 0,4");
    check_laid("m;a;x 5 | m;b 1", "m;a 2 | m;b;y 6", 2, "m;a;x 5,0 | m;b;y 0,6 | m;other 1,2");
    check_laid("0", "m 1", 0, "m 0,1");
    check_laid("0", "0", 0, "");
}

#[test]
fn what_is_called_other_is_a_leaf_at_the_end() {
    let laid = |text, max_nodes| lay_over([&flame(&text_tree(text), max_nodes)]);
    let tree = laid("m;other;x 5 | m;z 9 | m;other 2 | m;a 1", 4);
    assert_eq!(print(&tree.folded()), "m;other 8 | m;z 9");
    assert_eq!(tree.is_other, [false, false, false, true]);
    assert_eq!(tree.names.get(tree.name[3]), b"other");
    let tree = laid("total;total 3 | 2", 0);
    assert_eq!(tree.name, [0, 0, 0]);
    assert_eq!(print(&tree.folded()), " 2 | total;total 3");
}

#[test]
fn what_lies_below_a_call_site_keeps_its_callers() {
    let check = |call_site: &[&str], expected: &str| {
        let tree = text_tree("m;a;b 1 | m;a 2 | a;b 4 | m;c 8 | m 16").below(call_site);
        check_tree(&tree);
        assert_eq!(print(&flame(&tree, 0).folded()), expected, "{call_site:?}");
    };
    check(&[], "a;b 4 | m 16 | m;a 2 | m;a;b 1 | m;c 8");
    check(&["m"], "m 16 | m;a 2 | m;a;b 1 | m;c 8");
    check(&["m", "a"], "m;a 2 | m;a;b 1");
    check(&["m", "a", "b", "c"], "");
    check(&["gone"], "");
    let place = |lines: &[&'static str]| Place {
        mapping: None,
        address: 0,
        lines: lines.iter().map(|name| spot(name)).collect(),
    };
    // g is inlined into f: one location of two frames
    let stack = |value, leaf| Sample { stack: vec![place(&["g", "f"]), place(&[leaf])], value, labels: Vec::new() };
    let inlined = || tree(&[stack(1, "x"), stack(2, "y")]);
    assert_eq!(print(&flame(&inlined().below(&["f"]), 0).folded()), "f;g;x 1 | f;g;y 2");
    assert_eq!(print(&flame(&inlined().below(&["f", "g", "y"]), 0).folded()), "f;g;y 2");
}

#[test]
fn functions_of_one_name_fold_whatever_their_file_line_or_inlining() {
    let at = |file, line| Spot { file, line, ..spot("f") };
    let place = |lines: Vec<Spot>| Place { mapping: None, address: 0, lines };
    let unknown = Spot { name: None, file: "", line: 1 };
    let sample = |stack: Vec<Place>, value| Sample { stack, value, labels: Vec::new() };
    let samples = [
        sample(vec![place(vec![at("a.c", 1)])], 1),
        sample(vec![place(vec![at("b.c", 1)])], 2),
        sample(vec![place(vec![at("b.c", 2)]), place(vec![spot("g")])], 4),
        sample(vec![place(vec![spot("g"), at("b.c", 9)])], 8),
        sample(vec![place(vec![])], 16),
        sample(vec![Place { mapping: Some(0), address: 0x1234, lines: vec![] }], 32),
        sample(vec![place(vec![spot("0x1234")])], 64),
        sample(vec![place(vec![unknown])], 128),
        sample(vec![place(vec![spot(""), spot("zz")])], 256),
    ];
    let tree = tree(&samples);
    let expected = "0x1234 96 | <unknown> 144 | f 3 | f;g 12 | zz;<unknown> 256";
    assert_eq!(print(&flame(&tree, 0).folded()), expected);
    assert_eq!(print(&folded(&samples)), expected);
    let locations = 0..u32::try_from(tree.dictionary.locations.len()).unwrap();
    let names: Vec<_> = locations.map(|location| frame_name(&tree.dictionary, location, 0)).collect();
    let expected = ["0x1234", "<unknown>", "0x1234", "f", "f", "f", "g", "g", "<unknown>", "<unknown>"];
    assert_eq!(names, expected);
}

#[test]
fn levels_are_those_of_the_reference_example() {
    let levels = flame(&text_tree("func2;func1 10 | func1 20"), 0).levels();
    assert_eq!(levels.names, ["total", "func1", "func2"]);
    assert_eq!(levels.levels, [vec![0, 30, 0, 0], vec![0, 20, 20, 1, 0, 10, 0, 2], vec![20, 10, 10, 1]]);
    assert_eq!((levels.totals, levels.max_self), (vec![30], 20));
}

#[test]
fn levels_of_a_diff_have_two_columns() {
    let diff = merge(vec![(text_tree("a;b 3 | c 1"), 0), (text_tree("a;b 1 | a;d 5"), 1)], 2);
    let flame = flame(&diff, 0);
    assert_eq!(print(&flame.folded()), "a;b 3,1 | a;d 0,5 | c 1,0");
    let levels = flame.levels();
    assert_eq!(levels.names, ["total", "a", "b", "d", "c"]);
    let root = vec![0, 4, 0, 0, 6, 0, 0];
    let first = vec![0, 3, 0, 0, 6, 0, 1, 0, 1, 1, 0, 0, 0, 4];
    let second = vec![0, 3, 3, 0, 1, 1, 2, 0, 0, 0, 0, 5, 5, 3];
    assert_eq!(levels.levels, [root, first, second]);
    assert_eq!((levels.totals, levels.max_self), (vec![4, 6], 5));
}

#[test]
fn top_counts_recursion_once() {
    let rows = top(&text_tree("a;b;a 4 | a;c 3 | a;b 1 | d;d 2 | e 1 | e -1"));
    let rows: Vec<_> = rows.iter().map(|row| (&*row.name, row.self_values[0], row.totals[0])).collect();
    assert_eq!(rows, [("a", 4, 8), ("c", 3, 3), ("d", 2, 2), ("b", 1, 5)]);
}

#[test]
fn calls_on_a_stack_count_once() {
    let check = |text: &'static str, function: &str, expected: &str| {
        let found = neighbours(&text_tree(text), function);
        let list = |all: &[flamestore_calltree::Neighbour]| {
            all.iter().map(|one| format!("{}={}", one.name, one.totals[0])).collect::<Vec<_>>().join(",")
        };
        let (own, total, outermost) = (found.self_values[0], found.totals[0], found.outermost[0]);
        let told = format!("{own} {total} {outermost} <{} >{}", list(&found.callers), list(&found.callees));
        assert_eq!(told, expected, "{function} in {text}");
    };
    let text = "a;b;a 4 | a;c 3 | a;b 1 | d;d 2 | e 1 | a;b;a;b 8";
    check(text, "a", "4 16 16 <b=12 >b=13,c=3");
    check(text, "b", "9 13 0 <a=13 >a=12");
    check(text, "d", "2 2 2 <d=2 >d=2");
    check(text, "e", "1 1 1 < >");
    check(text, "x", "0 0 0 < >");
    check(text, "", "0 0 0 < >");
    check("m;f;g 1 | n;f;h 5 | n;f 2 | m;f;g -1", "f", "2 7 0 <n=7 >h=5");
}

#[test]
fn functions_called_total_and_other_are_functions() {
    let flame = flame(&text_tree("total;other;x 9 | total;y 1"), 3);
    assert_eq!(print(&flame.folded()), "total;other 1 | total;other;x 9");
    assert_eq!(flame.names.iter().collect::<Vec<_>>(), [&b"total"[..], b"other", b"x"]);
    assert_eq!(flame.is_other, [false, false, false, false, true]);
}

#[test]
fn pruning_drops_zero_nodes_and_unused_symbols() {
    let mut tree = text_tree("a;b;c 1 | a;d 2 | e 3");
    for node in 0..tree.tree.len() {
        if tree.values[0][node] == 1 || tree.values[0][node] == 3 {
            tree.values[0][node] = 0;
        }
    }
    let pruned = tree.prune().prune_symbols();
    check_tree(&pruned);
    assert_eq!(pruned.tree.len(), 3);
    assert_eq!(pruned.dictionary.strings.iter().collect::<Vec<_>>(), [&b""[..], b"a", b"d"]);
    assert_eq!(print(&flame(&pruned, 0).folded()), "a;d 2");
    assert_eq!(ValueTree::empty(2).prune_symbols(), ValueTree::empty(2));
}

#[test]
fn nothing_folds_to_the_root() {
    let flame = flame(&merge(Vec::new(), 2), 5);
    assert_eq!((flame.len(), flame.folded()), (1, Vec::new()));
    assert_eq!(flame.levels().levels, [[0, 0, 0, 0, 0, 0, 0]]);
    assert!(top(&ValueTree::empty(1)).is_empty());
    assert!(!samples("a 1").is_empty());
}

#[test]
fn sums_and_weights_of_huge_values_do_not_panic() {
    let mut tree = text_tree("a;b 1 | a;c 2 | a 3");
    tree.values[0] = vec![0, i64::MAX, i64::MAX, i64::MIN];
    for max_nodes in 0..4 {
        let flame = flame(&tree, max_nodes);
        assert_eq!(flame.totals[0][0], i64::MAX.wrapping_mul(2).wrapping_add(i64::MIN));
        let _ = (flame.levels(), flame.folded(), top(&tree));
    }
}
