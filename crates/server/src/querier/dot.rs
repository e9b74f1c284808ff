//! A merge as a graph of functions in the language of Graphviz.
//!
//! A function is one node however many callers it has; an edge from a caller to a callee says how much is spent in the callee
//! when it is called by that caller. The functions of the largest totals are kept, and the edges between them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use flamestore_calltree::FlameTree;

/// Functions that are drawn.
const FUNCTIONS_MAX: usize = 100;

/// What a function spends.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    own: i64,
    total: i64,
}

/// The graph of a tree of one column; empty where it holds nothing.
pub(super) fn dot(flame: &FlameTree) -> String {
    let all = flame.totals[0][0];
    if flame.len() == 1 {
        return String::new();
    }
    let functions = functions(flame);
    let mut ranked: Vec<(u32, Spent)> = functions.into_iter().collect();
    ranked.sort_by_key(|(name, spent)| (std::cmp::Reverse(spent.total), *name));
    ranked.truncate(FUNCTIONS_MAX);
    let numbers: HashMap<u32, usize> = ranked.iter().zip(1..).map(|((name, _), number)| (*name, number)).collect();
    let mut text = format!("digraph \"merge\" {{\nnode [shape=box]\ntotal=\"{all}\"\n");
    for (name, Spent { own, total }) in &ranked {
        let label = escaped(&flame.names.text(*name));
        let number = numbers[name];
        let _ = writeln!(
            text,
            "N{number} [label=\"{label}\\n{own} ({}) of {total} ({})\"]",
            share(*own, all),
            share(*total, all)
        );
    }
    for ((caller, callee), total) in edges(flame) {
        if let (Some(caller), Some(callee)) = (numbers.get(&caller), numbers.get(&callee)) {
            let _ = writeln!(text, "N{caller} -> N{callee} [label=\" {total}\", weight={}]", 1 + percent(total, all));
        }
    }
    text.push_str("}\n");
    text
}

/// What each function spends; one that calls itself counts once.
fn functions(flame: &FlameTree) -> BTreeMap<u32, Spent> {
    let mut functions: BTreeMap<u32, Spent> = BTreeMap::new();
    let mut path: Vec<u32> = Vec::new();
    for node in 1..flame.len() {
        path.truncate(flame.depth[node] as usize - 1);
        let name = flame.name[node];
        let spent = functions.entry(name).or_default();
        spent.own = spent.own.saturating_add(flame.self_values[0][node]);
        if !path.contains(&name) {
            spent.total = spent.total.saturating_add(flame.totals[0][node]);
        }
        path.push(name);
    }
    functions
}

/// What is spent from caller to callee; a call that is part of the same call further out counts once.
fn edges(flame: &FlameTree) -> BTreeMap<(u32, u32), i64> {
    let mut edges: BTreeMap<(u32, u32), i64> = BTreeMap::new();
    let mut path: Vec<u32> = Vec::new();
    for node in 1..flame.len() {
        path.truncate(flame.depth[node] as usize - 1);
        let callee = flame.name[node];
        if let Some(caller) = path.last().copied() {
            let seen: BTreeSet<(u32, u32)> = path.windows(2).map(|pair| (pair[0], pair[1])).collect();
            let sum = edges.entry((caller, callee)).or_default();
            if !seen.contains(&(caller, callee)) {
                *sum = sum.saturating_add(flame.totals[0][node]);
            }
        }
        path.push(callee);
    }
    edges
}

fn escaped(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, c| {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' | '\r' => text.push(' '),
            c => text.push(c),
        }
        text
    })
}

/// How many percent `part` is of `all`, rounded down.
fn percent(part: i64, all: i64) -> i128 {
    if all == 0 { 0 } else { (i128::from(part) * 100 / i128::from(all)).clamp(0, 100) }
}

/// The share as people read it: `12.34%`.
fn share(part: i64, all: i64) -> String {
    let hundredths = if all == 0 { 0 } else { i128::from(part) * 10_000 / i128::from(all) };
    format!("{}.{:02}%", hundredths / 100, hundredths.abs() % 100)
}
