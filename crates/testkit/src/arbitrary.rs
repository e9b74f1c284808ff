//! Random profiles that use everything a batch can say, by seed: `any::<u64>().prop_map(arbitrary_profile)` makes them a
//! property test's input.

use flamestore_formats::{LabelText, ProfileBuilder};
use flamestore_model::{Function, Label, Line, Mapping, NONE, ProfileBatch};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How large and how odd random profiles are.
#[derive(Clone, Copy, Debug)]
pub struct ArbitraryShape {
    /// Most samples.
    pub samples_max: usize,
    /// Most locations of a stack.
    pub depth_max: usize,
    /// How many function names there are to choose from; few make much sharing.
    pub names: usize,
    /// Most sample types.
    pub sample_types_max: usize,
    /// Whether samples may have labels.
    pub labels: bool,
    /// Whether names may be bytes that are not UTF-8.
    pub raw_bytes: bool,
}

impl Default for ArbitraryShape {
    fn default() -> Self {
        Self { samples_max: 12, depth_max: 6, names: 6, sample_types_max: 3, labels: true, raw_bytes: true }
    }
}

/// The random profile of `seed`, of the default shape.
pub fn arbitrary_profile(seed: u64) -> ProfileBatch {
    arbitrary_profile_of(seed, &ArbitraryShape::default())
}

/// The random profile of `seed`. It has empty stacks, duplicates, zero and negative values, inlined lines, unknown functions,
/// locations without lines or addresses, several mappings, and labels of all kinds with repeated keys, times, traces and spans among
/// them.
///
/// # Panics
/// Never: what it builds always passes [`ProfileBatch::check`].
pub fn arbitrary_profile_of(seed: u64, shape: &ArbitraryShape) -> ProfileBatch {
    let mut maker = Maker { rng: StdRng::seed_from_u64(seed), builder: ProfileBuilder::new(), shape: *shape };
    let types = maker.header();
    let locations = maker.locations();
    for _ in 0..maker.below(shape.samples_max + 1) {
        maker.sample(&locations, types);
    }
    #[expect(clippy::expect_used, reason = "every id comes from the builder")]
    maker.builder.finish().expect("a consistent profile")
}

struct Maker {
    rng: StdRng,
    builder: ProfileBuilder,
    shape: ArbitraryShape,
}

impl Maker {
    fn below(&mut self, end: usize) -> usize {
        self.rng.random_range(0..end)
    }

    fn header(&mut self) -> usize {
        let types = 1 + self.below(self.shape.sample_types_max);
        let all = [("cpu", "nanoseconds"), ("samples", "count"), ("inuse_space", "bytes"), ("alloc_objects", "count")];
        let first = self.below(all.len());
        for at in 0..types {
            let (ty, unit) = all[(first + at) % all.len()];
            self.builder.sample_type(ty, unit);
        }
        self.builder.period("cpu", "nanoseconds", 10_000_000);
        self.builder.time(1_700_000_000_000_000_000, 10_000_000_000);
        if self.below(3) == 0 {
            self.builder.comment("a comment");
        }
        types
    }

    fn name(&mut self) -> u32 {
        let number = self.below(self.shape.names);
        match number {
            0 if self.shape.raw_bytes => self.builder.string(b"bad \xff\xfe name"),
            1 => self.builder.string(""),
            _ => self.builder.string(format!("f{number}")),
        }
    }

    fn mappings(&mut self) -> Vec<u32> {
        let mut ids = vec![NONE];
        for number in 0..self.below(3) {
            let start = 0x10_0000 * (number as u64 + 1);
            let build_id = if self.below(2) == 0 { self.builder.string(format!("build{number}")) } else { 0 };
            let filename = self.builder.string(format!("/lib/{number}.so"));
            let mapping = Mapping {
                memory_start: start,
                memory_limit: start + 0x8000,
                file_offset: 0x1000 * self.below(2) as u64,
                filename,
                build_id,
                has_functions: self.below(2) == 0,
                ..Mapping::default()
            };
            ids.push(self.builder.mapping(mapping));
        }
        ids
    }

    fn locations(&mut self) -> Vec<u32> {
        let mappings = self.mappings();
        (0..self.shape.names * 2).map(|_| self.location(&mappings)).collect()
    }

    fn location(&mut self, mappings: &[u32]) -> u32 {
        let at = self.below(mappings.len());
        let mapping = mappings[at];
        let address = match self.below(3) {
            0 => 0,
            _ => 0x10_0000 * at as u64 + 0x10 * self.below(8) as u64,
        };
        let count = [0, 1, 1, 1, 2, 3][self.below(6)];
        let lines: Vec<Line> = (0..count).map(|_| self.line()).collect();
        let is_folded = self.below(8) == 0;
        self.builder.location(mapping, address, is_folded, &lines)
    }

    fn line(&mut self) -> Line {
        let function = match self.below(8) {
            0 => NONE,
            _ => {
                let name = self.name();
                let filename = ["", "a.rs", "b.rs"][self.below(3)];
                let filename = self.builder.string(filename);
                let start_line = self.below(2) as i64;
                self.builder.function(Function { name, system_name: name, filename, start_line })
            }
        };
        Line { function, line: self.below(3) as i64, column: self.below(2) as i64 }
    }

    fn sample(&mut self, locations: &[u32], types: usize) {
        let depth = self.below(self.shape.depth_max + 1);
        let stack: Vec<u32> = (0..depth).map(|_| locations[self.below(locations.len())]).collect();
        let values: Vec<i64> = (0..types).map(|_| self.value()).collect();
        let labels = if self.shape.labels { self.labels() } else { Vec::new() };
        self.builder.add_row(&stack, &values, &labels);
        if self.below(6) == 0 {
            self.builder.add_row(&stack, &values, &labels);
        }
    }

    fn value(&mut self) -> i64 {
        match self.below(8) {
            0 => 0,
            1 => -(self.below(100) as i64),
            2 => self.rng.random_range(-(1 << 40)..1 << 40),
            _ => 10_000_000 * (1 + self.below(5) as i64),
        }
    }

    fn labels(&mut self) -> Vec<Label> {
        let count = [0, 0, 1, 2, 3][self.below(5)];
        (0..count)
            .map(|_| {
                let key = ["thread", "bytes", "span_id"][self.below(3)];
                let number = self.below(3);
                match self.below(5) {
                    3 => self.observation(number),
                    0 => self.builder.label(key, LabelText::Num(number as i64, "")),
                    1 => self.builder.label(key, LabelText::Num(number as i64, "bytes")),
                    _ => self.builder.label(key, LabelText::Str(["a", "b", "c"][number])),
                }
            })
            .collect()
    }

    /// A label that tells observations apart, of the form that producers give it.
    fn observation(&mut self, number: usize) -> Label {
        let (time, id) = (1_700_000_000_000_000_000 + number as i64, number + 0xa0);
        match self.below(4) {
            0 => self.builder.label("timestamp_ns", LabelText::Num(time, "nanoseconds")),
            1 => self.builder.label("end_timestamp_ns", LabelText::Num(time, "")),
            2 => self.builder.label("trace_id", LabelText::Str(&format!("{id:032x}"))),
            _ => self.builder.label("span_id", LabelText::Str(&format!("{id:016x}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_makes_a_consistent_profile_and_the_same_one_again() {
        for seed in 0..200 {
            let batch = arbitrary_profile(seed);
            batch.check().unwrap();
            let again = arbitrary_profile(seed);
            assert_eq!(batch.samples.stack_locations, again.samples.stack_locations);
            assert_eq!(batch.samples.values, again.samples.values);
        }
    }
}
