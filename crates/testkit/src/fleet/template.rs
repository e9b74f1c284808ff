//! Templates: the distinct stacks of real profiles, by content.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::Path;
use std::sync::OnceLock;

use flamestore_formats::{Limits, decode_pprof};
use flamestore_model::{NONE, ProfileBatch};

/// Most locations of a stack.
pub(super) const DEPTH_MAX: usize = 128;

/// The corpus files of each template: JVM, three large Go programs, C++, Go heap, Go CPU, Ruby.
const FILES: [&[&str]; super::TEMPLATES] = [
    &[
        "jfr/cortex-dev-01__kafka-0__cpu_lock_alloc__0.jfr.gz.process_cpu_cpu_nanoseconds_cpu_nanoseconds.17241709254077376921.pb.gz",
        "jfr/cortex-dev-01__kafka-0__cpu_lock_alloc__0.jfr.gz.memory_alloc_in_new_tlab_bytes_bytes_space_bytes.17241709254077376921.pb.gz",
        "pprof/languages/java.pprof",
    ],
    &["pprof/go/alloc_objects.pb.gz"],
    &["pprof/go/heap_15k_samples.pb.gz"],
    &["pprof/go/heap_41k_samples.pb.gz"],
    &["pprof/edge/large_cpu.pb.gz"],
    &["pprof/go/heap.pb.gz"],
    &["pprof/go/profile-with-labels.pb.gz", "pprof/go/cpu_labels.pprof", "pprof/go1.27/cpu.pb.gz"],
    &["pprof/languages/ruby.pprof"],
];

/// A function: rows of [`Template::names`] and [`Template::files`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TemplateFunction {
    pub(super) name: u32,
    pub(super) file: u32,
    pub(super) start_line: i64,
}

/// Distinct stacks (leaf first) over distinct locations (lines innermost first) over distinct functions.
#[derive(Debug, Default)]
pub(super) struct Template {
    pub(super) names: Vec<Vec<u8>>,
    pub(super) files: Vec<Vec<u8>>,
    pub(super) functions: Vec<TemplateFunction>,
    pub(super) locations: Vec<Vec<(u32, i64)>>,
    pub(super) stacks: Vec<Vec<u32>>,
    places: OnceLock<Vec<Vec<(u32, u32)>>>,
}

/// Distinct values in order of their first use.
struct Distinct<T> {
    rows: Vec<T>,
    ids: HashMap<T, u32>,
}

impl Template {
    pub(super) fn new(names: Vec<Vec<u8>>, functions: Vec<TemplateFunction>, locations: Vec<Vec<(u32, i64)>>) -> Self {
        Self { names, functions, locations, ..Self::default() }
    }

    /// Template `number` of the corpus in `folder`; `None` when a file of it cannot be read.
    pub(super) fn from_corpus(folder: &Path, number: usize) -> Option<Self> {
        let limits = Limits::default();
        let decode = |file: &&str| decode_pprof(std::fs::read(folder.join(file)).ok()?.into(), &limits).ok();
        Some(Self::from_batches(&FILES[number].iter().map(decode).collect::<Option<Vec<_>>>()?))
    }

    /// The distinct stacks of these profiles that are not empty and not too deep.
    pub(super) fn from_batches(batches: &[ProfileBatch]) -> Self {
        let (mut names, mut files, mut functions) = (Distinct::new(), Distinct::new(), Distinct::new());
        let (mut locations, mut stacks) = (Distinct::new(), Distinct::new());
        for batch in batches {
            let string = |id: u32| batch.symbols.strings.get(id).to_vec();
            let function_ids: Vec<u32> = batch
                .symbols
                .functions
                .iter()
                .map(|f| {
                    let (name, file) = (names.id(string(f.name)), files.id(string(f.filename)));
                    functions.id(TemplateFunction { name, file, start_line: f.start_line })
                })
                .collect();
            let location_ids: Vec<u32> = (0..)
                .take(batch.symbols.locations.len())
                .map(|id| {
                    let known = batch.lines(id).iter().filter(|line| line.function != NONE);
                    locations
                        .id(known.map(|line| (function_ids[line.function as usize], line.line)).collect::<Vec<_>>())
                })
                .collect();
            for row in 0..batch.samples.len() {
                let stack = batch.samples.stack(row);
                if !stack.is_empty() && stack.len() <= DEPTH_MAX {
                    stacks.id(stack.iter().map(|id| location_ids[*id as usize]).collect::<Vec<_>>());
                }
            }
        }
        let mut template = Self::new(names.rows, functions.rows, locations.rows);
        template.files = files.rows;
        template.stacks = stacks.rows;
        template
    }

    /// Where each location stands: (stack, position).
    pub(super) fn places(&self) -> &[Vec<(u32, u32)>] {
        self.places.get_or_init(|| {
            let mut places = vec![Vec::new(); self.locations.len()];
            for (stack, locations) in (0..).zip(&self.stacks) {
                for (position, location) in (0..).zip(locations) {
                    places[*location as usize].push((stack, position));
                }
            }
            places
        })
    }
}

impl<T: Clone + Eq + Hash> Distinct<T> {
    fn new() -> Self {
        Self { rows: Vec::new(), ids: HashMap::new() }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a profile has fewer than 2^32 of anything")]
    fn id(&mut self, value: T) -> u32 {
        if let Some(id) = self.ids.get(&value) {
            return *id;
        }
        let id = self.rows.len() as u32;
        self.rows.push(value.clone());
        self.ids.insert(value, id);
        id
    }
}
