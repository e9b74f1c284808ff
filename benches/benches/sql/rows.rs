//! The rows, the same for the same sizes.

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use crate::Outcome;

/// 2026-01-01, in nanoseconds since 1970.
const START: i64 = 1_767_225_600_000_000_000;
/// What lies between two rows.
const STEP_NANO: i64 = 500_000;
/// Sets of labels.
const SETS: usize = 1000;

/// What all rows have in common.
pub(crate) const PRODUCER: &str = "parca_agent";
pub(crate) const VALUE: i64 = 1;
pub(crate) const PERIOD: i64 = 52_631_578;
pub(crate) const DURATION: i64 = 1_000_000_000;

/// The labels: how many sets in a thousand have none of it, and how many values there are.
pub(crate) const LABELS: [(&str, usize, usize); 10] = [
    ("action", 1000, 0),
    ("app", 990, 4),
    ("comm", 10, 800),
    ("container", 30, 50),
    ("cpu", 0, 32),
    ("instance", 1000, 0),
    ("k8s_app", 990, 7),
    ("namespace", 30, 14),
    ("node", 0, 30),
    ("thread_name", 0, 390),
];

/// The values of a set's labels, in the order of [`LABELS`].
pub(crate) type LabelSet = [Option<String>; LABELS.len()];

pub(crate) const FUNCTIONS: u32 = 500;

/// A place in the code. Files and build ids are numbers.
pub(crate) struct Place {
    pub(crate) address: u64,
    pub(crate) frame_type: usize,
    pub(crate) mapping: usize,
    pub(crate) build_id: usize,
    /// Function and line, innermost first.
    pub(crate) lines: Vec<(u32, i64)>,
}

/// All rows, in order of labels and time.
pub(crate) struct Rows {
    /// Leaf first.
    pub(crate) stacks: Vec<Vec<Place>>,
    pub(crate) label_sets: Vec<LabelSet>,
    /// The stack of each row.
    pub(crate) of_rows: Vec<u32>,
}

impl Rows {
    pub(crate) fn new(rows: usize, stacks: usize) -> Self {
        let mut random = Random(42);
        let stacks: Vec<Vec<Place>> = (0..stacks.max(1)).map(|_| stack(&mut random)).collect();
        let mut shares: Vec<f64> = (1..=stacks.len()).map(|rank| (rank as f64).powf(-0.8)).collect();
        for at in 1..shares.len() {
            shares[at] += shares[at - 1];
        }
        let all = shares.last().copied().unwrap_or_default();
        let draw = |_| {
            let drawn = random.share() * all;
            let stack = shares.partition_point(|share| *share < drawn).min(shares.len() - 1);
            u32::try_from(stack).unwrap_or_default()
        };
        let of_rows = (0..rows.next_multiple_of(SETS)).map(draw).collect();
        Self { stacks, label_sets: label_sets(), of_rows }
    }

    pub(crate) fn len(&self) -> usize {
        self.of_rows.len()
    }

    /// When row `row` was observed.
    pub(crate) fn time(&self, row: usize) -> i64 {
        START + i64::try_from(row).unwrap_or_default() * STEP_NANO
    }

    /// How many rows each set of labels has.
    pub(crate) fn rows_per_set(&self) -> usize {
        self.len() / SETS
    }
}

fn label_sets() -> Vec<LabelSet> {
    let mut order: Vec<usize> = (0..LABELS.len()).collect();
    order.sort_by_key(|label| (LABELS[*label].2, LABELS[*label].0));
    let value = |set: usize, label: usize| {
        let (_, absent, distinct) = LABELS[label];
        set.checked_sub(absent).filter(|_| distinct > 0).map(|set| set % distinct)
    };
    let mut sets: Vec<Vec<Option<usize>>> =
        (0..SETS).map(|set| order.iter().map(|label| value(set, *label)).collect()).collect();
    sets.sort();
    let texts = |set: Vec<Option<usize>>| {
        let mut texts = LabelSet::default();
        for (label, value) in order.iter().zip(set) {
            texts[*label] = value.map(|value| format!("{}_{value}", LABELS[*label].0));
        }
        texts
    };
    sets.into_iter().map(texts).collect()
}

fn stack(random: &mut Random) -> Vec<Place> {
    let places = 5 + random.below(45);
    (0..places).map(|_| place(random)).collect()
}

fn place(random: &mut Random) -> Place {
    let address = random.next();
    let (frame_type, mapping, build_id) = (random.below(4), random.below(5), random.below(20));
    let lines = 1 + random.below(4);
    let line = |_| {
        let function = u32::try_from(random.below(FUNCTIONS as usize)).unwrap_or_default();
        (function, 1 + i64::try_from(random.below(2000)).unwrap_or_default())
    };
    Place { address, frame_type, mapping, build_id, lines: (0..lines).map(line).collect() }
}

pub(crate) fn function_name(function: u32) -> String {
    format!("func_{function}")
}

pub(crate) fn file_name(function: u32) -> String {
    format!("/src/pkg{}/{}.go", function % 100 / 10, function % 10)
}

pub(crate) fn start_line(function: u32) -> i64 {
    1 + i64::from(function * 37 % 2000)
}

pub(crate) const FRAME_TYPES: [&str; 4] = ["regular", "kernel", "inline", "native"];

pub(crate) const MAPPINGS: [&str; 5] =
    ["/usr/bin/app", "/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libpthread.so.0", "[vdso]", "[kernel]"];

pub(crate) fn build_id(number: usize) -> String {
    format!("build_{number:040x}")
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or_default()
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What a column of either answer comes to: of numbers and times the sum, of text the bytes, of lists the frames.
pub(crate) fn checksum(column: &ArrayRef) -> Outcome<i128> {
    let texts = |column: &ArrayRef| -> Outcome<i128> {
        let column = cast(column, &DataType::Utf8)?;
        let texts = column.as_string::<i32>();
        Ok(texts.iter().flatten().map(|text| text.len() as i128 + 1).sum())
    };
    match column.data_type() {
        DataType::Utf8 | DataType::Utf8View | DataType::Dictionary(..) => texts(column),
        DataType::List(_) => Ok(frames(column.as_list::<i32>())),
        _ => {
            let numbers = cast(column, &DataType::Int64)?;
            Ok(numbers.as_primitive::<Int64Type>().iter().flatten().map(i128::from).sum())
        }
    }
}

/// The entries of lists, those of the lists in them where there are some.
fn frames(lists: &ListArray) -> i128 {
    let offsets = lists.value_offsets();
    let (first, last) = (offsets[0], offsets[lists.len()]);
    let entries = lists
        .values()
        .slice(usize::try_from(first).unwrap_or_default(), usize::try_from(last - first).unwrap_or_default());
    match entries.as_struct_opt().and_then(|places| places.column_by_name("lines").cloned()) {
        Some(lines) => frames(lines.as_list::<i32>()),
        None => entries.len() as i128,
    }
}
