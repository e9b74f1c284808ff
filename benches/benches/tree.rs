//! What does a flame graph cost once values are summed, against building its tree by inserting stacks?

use std::collections::HashMap;
use std::sync::Arc;

use flamestore_benches::{Goal, Report, ServiceRows, Turns, fleet, rounds};
use flamestore_calltree::{CallTree, FoldOptions, SealedDictionary, ValueTree, fold, merge};
use flamestore_model::Result;

/// About how many services give the 130 000 stacks of the question.
const SERVICES_MAX: usize = 26;
const MAX_NODES: FoldOptions = FoldOptions { max_nodes: 8192 };

/// The stacks of one service and what each summed up to before and after half time.
struct Summed {
    sealed: SealedDictionary,
    before: Vec<i64>,
    after: Vec<i64>,
}

fn main() -> Result<()> {
    let fleet = fleet();
    let report =
        Report::new("What does a flame graph cost once values are summed, against inserting stacks into a tree?");
    report.note(format!("real stacks: {}", fleet.is_real()));
    let services: Vec<Summed> =
        fleet.services().take(SERVICES_MAX).map(|service| sum(&service)).collect::<Result<_>>()?;
    measure(&report, "one service", &services[..1], false);
    measure(&report, "all", &services, true);
    Ok(())
}

fn sum(service: &flamestore_testkit::FleetService) -> Result<Summed> {
    let ServiceRows { sealed, scrapes } = ServiceRows::new(service)?;
    let (mut before, mut after) = (vec![0; sealed.leaves.len()], vec![0; sealed.leaves.len()]);
    for (number, scrape) in scrapes.iter().enumerate() {
        let sums = if number < scrapes.len() / 2 { &mut before } else { &mut after };
        scrape.stacks.iter().zip(&scrape.values).for_each(|(stack, value)| sums[*stack as usize] += value);
    }
    Ok(Summed { sealed, before, after })
}

fn measure(report: &Report, what: &str, services: &[Summed], has_goals: bool) {
    let whole = merge(services.iter().map(|service| (service.tree(true, true), 0)).collect(), 1);
    let both = merge(services.iter().flat_map(Summed::sides).collect(), 2);
    let mut names = Names::default();
    let named = services.iter().map(|service| name_stacks(&service.sealed, &mut names)).collect::<Vec<_>>();
    let stacks: usize = named.iter().map(Vec::len).sum();
    let mut turns = Turns::default();
    for _ in 0..rounds() {
        turns.run(0, || fold(&whole, &MAX_NODES).name.len());
        turns.run(1, || fold(&both, &MAX_NODES).name.len());
        turns.run(2, || fold(&whole, &FoldOptions { max_nodes: 0 }).name.len());
        turns.run(3, || insert_all(services, &named, |id| names.texts[id as usize].as_str()));
        turns.run(8, || insert_all(services, &named, |id| id));
        turns.run(4, || services.iter().map(|service| service.tree(true, true).tree.len()).sum::<usize>());
        turns.run(5, || merge(services.iter().map(|service| (service.tree(true, true), 0)).collect(), 1).tree.len());
        turns.run(6, || merge(services.iter().flat_map(Summed::sides).collect(), 2).tree.len());
        turns.run(7, || whole.totals(0).len());
    }
    let kept = fold(&whole, &MAX_NODES).name.len();
    report.note(format!(
        "{what}: {} services, {stacks} stacks, {} nodes, {kept} kept",
        services.len(),
        whole.tree.len()
    ));
    let millis = |way: usize| turns.median(way) * 1e3;
    report.figure("totals alone", millis(7), "ms");
    report.figure("fold and truncate to 8192 nodes", millis(0), "ms");
    report.figure("fold and truncate a diff of two halves", millis(1), "ms");
    report.figure("fold without truncating", millis(2), "ms");
    report.figure("sums by stack to call trees", millis(4), "ms");
    report.figure("sums by stack to call trees, merged", millis(5), "ms");
    report.figure("sums of two halves to call trees, merged", millis(6), "ms");
    report.figure("peer: insert stacks by name, children sorted", millis(3), "ms");
    report.figure("peer: the same by numbers instead of names", millis(8), "ms");
    let all = millis(5) + millis(0);
    report.figure("from sums by stack to the folded tree, merge included", all, "ms");
    let (insert, diff) = (turns.median(3) / turns.median(0), turns.median(1) / turns.median(0));
    if has_goals {
        report.goal("fold and truncate", millis(0), "ms", Goal::AtMost(10.0));
        report.goal("times as fast as inserting", insert, "×", Goal::AtLeast(30.0));
        report.goal("diff: times the tree pass of one merge", diff, "×", Goal::AtMost(1.6));
    } else {
        report.figure("times as fast as inserting", insert, "×");
        report.figure("diff: times the tree pass of one merge", diff, "×");
    }
}

impl Summed {
    fn tree(&self, before: bool, after: bool) -> ValueTree {
        let values: Vec<i64> = match (before, after) {
            (true, true) => self.before.iter().zip(&self.after).map(|(before, after)| before + after).collect(),
            (true, false) => self.before.clone(),
            _ => self.after.clone(),
        };
        let SealedDictionary { dictionary, tree, leaves } = &self.sealed;
        ValueTree::from_stacks(Arc::clone(dictionary), tree, leaves, &[&values])
    }

    fn sides(&self) -> [(ValueTree, usize); 2] {
        [(self.tree(true, false), 0), (self.tree(false, true), 1)]
    }
}

/// The names of every frame of every stack, root first, as rows of `names`.
fn name_stacks(sealed: &SealedDictionary, names: &mut Names) -> Vec<Vec<u32>> {
    let dictionary = &sealed.dictionary;
    let mut ids = vec![None; dictionary.functions.name.len()];
    let locations = &dictionary.locations;
    let mut frames = |location: u32| -> Vec<u32> {
        let (start, end) = (locations.line_offsets[location as usize], locations.line_offsets[location as usize + 1]);
        let functions = locations.line_function[start as usize..end as usize].iter().rev();
        let name = |function: &u32| {
            let text = || dictionary.strings.text(dictionary.functions.name[*function as usize]).into_owned();
            *ids[*function as usize].get_or_insert_with(|| names.id(text()))
        };
        functions.map(name).collect()
    };
    let by_location: Vec<Vec<u32>> = (0..).take(locations.mapping.len()).map(&mut frames).collect();
    let stack = |leaf: &u32| stack_of(&sealed.tree, *leaf).into_iter().flat_map(|l| by_location[l as usize].clone());
    sealed.leaves.iter().map(|leaf| stack(leaf).collect()).collect()
}

/// Distinct names of all services.
#[derive(Default)]
struct Names {
    texts: Vec<String>,
    ids: HashMap<String, u32>,
}

impl Names {
    fn id(&mut self, text: String) -> u32 {
        let next = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        *self.ids.entry(text).or_insert_with_key(|text| {
            self.texts.push(text.clone());
            next
        })
    }
}

fn stack_of(tree: &CallTree, mut node: u32) -> Vec<u32> {
    let mut stack = Vec::new();
    while node != 0 {
        stack.push(tree.location[node as usize]);
        node = tree.parent[node as usize];
    }
    stack.reverse();
    stack
}

/// A tree that grows by one stack at a time; children sorted by name, as flame graph servers build theirs.
struct Growing<N> {
    children: Vec<Vec<(N, u32)>>,
    own: Vec<i64>,
    totals: Vec<i64>,
}

impl<N: Copy + Ord> Growing<N> {
    fn new() -> Self {
        Self { children: vec![Vec::new()], own: vec![0], totals: vec![0] }
    }

    fn insert(&mut self, names: impl Iterator<Item = N>, value: i64) {
        let mut node = 0_usize;
        self.totals[0] += value;
        for name in names {
            node = match self.children[node].binary_search_by_key(&name, |child| child.0) {
                Ok(at) => self.children[node][at].1 as usize,
                Err(at) => {
                    let new = self.own.len();
                    self.children.push(Vec::new());
                    self.own.push(0);
                    self.totals.push(0);
                    self.children[node].insert(at, (name, u32::try_from(new).unwrap_or(u32::MAX)));
                    new
                }
            };
            self.totals[node] += value;
        }
        self.own[node] += value;
    }
}

/// One tree of all services, given how to name a frame.
fn insert_all<N: Copy + Ord>(services: &[Summed], stacks: &[Vec<Vec<u32>>], name: impl Fn(u32) -> N) -> usize {
    let mut tree = Growing::new();
    for (service, stacks) in services.iter().zip(stacks) {
        let values = service.before.iter().zip(&service.after);
        for ((before, after), stack) in values.zip(stacks) {
            tree.insert(stack.iter().map(|id| name(*id)), before + after);
        }
    }
    tree.own.len()
}
