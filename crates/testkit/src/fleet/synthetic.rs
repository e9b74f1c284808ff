//! Synthetic templates: random call trees with the sizes and depths of the real ones, for where there is no corpus.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::template::{Template, TemplateFunction};

/// Stacks, typical depth and functions of each template.
const SHAPES: [(usize, usize, usize); super::TEMPLATES] = [
    (2_000, 50, 3_000),
    (3_000, 20, 2_500),
    (4_000, 22, 3_000),
    (6_000, 24, 4_000),
    (5_000, 16, 3_000),
    (3_000, 20, 2_500),
    (1_000, 18, 1_200),
    (1_500, 60, 1_000),
];

const PACKAGES: [&str; 12] = [
    "runtime",
    "net/http",
    "encoding/json",
    "database/sql",
    "storage",
    "query",
    "index",
    "auth",
    "cache",
    "queue",
    "rpc",
    "codec",
];
const TYPES: [&str; 10] =
    ["Server", "Conn", "Decoder", "Reader", "Writer", "Block", "Iterator", "Session", "Pool", "Handler"];
const VERBS: [&str; 12] =
    ["serve", "read", "write", "decode", "encode", "lookup", "merge", "flush", "scan", "lock", "alloc", "compare"];

/// Synthetic template `number`.
#[expect(clippy::cast_possible_truncation, reason = "templates are small")]
pub(super) fn template(number: usize, seed: u64) -> Template {
    let (stacks, depth, functions) = SHAPES[number];
    let mut rng = StdRng::seed_from_u64(seed ^ (0x7e3a << 8 | number as u64));
    let names = (0..functions).map(|id| name(&mut rng, id).into_bytes()).collect();
    let files = PACKAGES.iter().map(|package| format!("/src/{package}/file.go").into_bytes()).collect();
    let rows = (0..functions as u32).map(|name| TemplateFunction {
        name,
        file: name % PACKAGES.len() as u32,
        start_line: i64::from(name % 900),
    });
    let locations = (0..functions * 3).map(|_| location(&mut rng, functions)).collect();
    let mut template = Template::new(names, rows.collect(), locations);
    template.files = files;
    template.stacks = grow(&mut rng, stacks, depth, functions * 3);
    template
}

fn name(rng: &mut StdRng, id: usize) -> String {
    let mut pick = |words: &[&'static str]| *words.choose(rng).unwrap_or(&"");
    format!("example.com/{}.(*{}).{}{id}", pick(&PACKAGES), pick(&TYPES), pick(&VERBS))
}

#[expect(clippy::cast_possible_truncation, reason = "templates are small")]
fn location(rng: &mut StdRng, functions: usize) -> Vec<(u32, i64)> {
    let inlined = usize::from(rng.random_bool(0.15));
    (0..=inlined).map(|_| (rng.random_range(0..functions as u32), rng.random_range(1..2_000))).collect()
}

/// Stacks of a random call tree: each leaves an earlier one somewhere and goes on by itself.
#[expect(clippy::cast_possible_truncation, reason = "templates are small")]
fn grow(rng: &mut StdRng, count: usize, depth: usize, locations: usize) -> Vec<Vec<u32>> {
    let mut root_first: Vec<Vec<u32>> = vec![vec![0]];
    while root_first.len() < count {
        let earlier = &root_first[rng.random_range(0..root_first.len())];
        let kept = rng.random_range(earlier.len() / 2..=earlier.len()).max(1);
        let grown = rng.random_range(1..=depth / 2);
        let mut stack = earlier[..kept].to_vec();
        stack.extend((0..grown).map(|_| rng.random_range(0..locations as u32)));
        stack.truncate(depth * 3 / 2);
        root_first.push(stack);
    }
    root_first.sort();
    root_first.dedup();
    root_first.iter_mut().for_each(|stack| stack.reverse());
    root_first
}
