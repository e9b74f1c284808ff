//! Equality of profiles under the rules by which pprof merges them: what must survive a way through the store.
//!
//! Both profiles are turned into strings, sorted maps and lists, in which equal profiles are equal. It is
//! written to be seen to be right, not to be fast.
//!
//! | part | its identity |
//! |---|---|
//! | header | sample types in order, period type, period, time, duration, comments once each in order, the other texts |
//! | mapping | size rounded up to 4 KiB, file offset, build id or else file name |
//! | location | address relative to its mapping, mapping, lines, whether it is folded |
//! | function | name, system name, file name, start line |
//! | sample | locations, labels in any order; equal samples are summed (wrapping), those of all zeros dropped |
//!
//! Rows that no sample refers to do not matter, but for the first mapping: it stands for the main binary.

use std::collections::BTreeMap;

use flamestore_model::{Function, LabelValue, Mapping, NONE, ProfileBatch, ValueType};

type Text = Vec<u8>;

/// A profile in a form in which profiles that are equal under pprof's rules of merging are equal, if their locations were
/// numbered together.
#[derive(Debug, PartialEq, Eq)]
struct NormalProfile {
    header: NormalHeader,
    /// The first mapping, if there is one.
    main_mapping: Option<NormalMapping>,
    /// The values of each sample that is not all zeros.
    samples: BTreeMap<NormalSample, Vec<i64>>,
}

/// Numbers for locations, so that a stack is a short list of numbers: equal locations, equal numbers.
#[derive(Default)]
struct Numbers(BTreeMap<NormalLocation, usize>);

impl Numbers {
    fn of(&mut self, location: NormalLocation) -> usize {
        let next = self.0.len();
        *self.0.entry(location).or_insert(next)
    }
}

/// A profile's header without ids.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NormalHeader {
    /// Type and unit of each column.
    sample_types: Vec<(Text, Text)>,
    /// Type and unit of what is counted between samples.
    period_type: (Text, Text),
    /// How much of it.
    period: i64,
    /// Nanoseconds since 1970.
    time_unix_nano: i64,
    /// Nanoseconds.
    duration_nano: i64,
    /// The comments, each where it stands first.
    comments: Vec<Text>,
    /// The sample type shown first.
    default_sample_type: Text,
    /// A page that explains the profile.
    doc_url: Text,
    /// Frames to drop.
    drop_frames: Text,
    /// Frames to keep.
    keep_frames: Text,
}

/// A mapping's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NormalMapping {
    /// Bytes, rounded up to 4 KiB.
    size: u64,
    /// Where in the file it starts.
    file_offset: u64,
    /// The build id, or the file's name where there is none.
    build_id_or_filename: Text,
}

/// A function's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NormalFunction {
    /// The name.
    name: Text,
    /// The linker's name.
    system_name: Text,
    /// The source file.
    filename: Text,
    /// Its first line.
    start_line: i64,
}

/// A location's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NormalLocation {
    /// The address, relative to its mapping if it has one.
    address: u64,
    /// The mapping.
    mapping: Option<NormalMapping>,
    /// Function, line and column; innermost first.
    lines: Vec<(Option<NormalFunction>, i64, i64)>,
    /// Whether several places were folded into it.
    is_folded: bool,
}

/// A label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NormalLabel {
    /// Key and text.
    Str(Text, Text),
    /// Key, number and unit.
    Num(Text, i64, Text),
}

/// A sample's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NormalSample {
    /// The stack, leaf first.
    stack: Vec<usize>,
    /// The labels, sorted.
    labels: Vec<NormalLabel>,
}

/// Whether two profiles are equal under pprof's rules of merging.
///
/// # Errors
/// A text that says where they differ first.
///
/// # Panics
/// When a batch fails [`ProfileBatch::check`].
pub fn pprof_equal(a: &ProfileBatch, b: &ProfileBatch) -> Result<(), String> {
    let mut numbers = Numbers::default();
    let (a, b) = (normalize(a, &mut numbers), normalize(b, &mut numbers));
    if a.header != b.header {
        return Err(format!("headers differ:\n{:#?}\n{:#?}", a.header, b.header));
    }
    if a.main_mapping != b.main_mapping {
        return Err(format!("main mappings differ: {:?} and {:?}", a.main_mapping, b.main_mapping));
    }
    for (sample, values) in &a.samples {
        if b.samples.get(sample) != Some(values) {
            let other = b.samples.get(sample);
            return Err(format!("values {values:?} and {other:?} of {}", describe(sample, &numbers)));
        }
    }
    match b.samples.iter().find(|(sample, _)| !a.samples.contains_key(sample)) {
        Some((sample, values)) => Err(format!("values None and {values:?} of {}", describe(sample, &numbers))),
        None => Ok(()),
    }
}

/// A sample, short enough to read.
fn describe(sample: &NormalSample, numbers: &Numbers) -> String {
    let of = |number: &usize| numbers.0.iter().find(|(_, n)| *n == number).map(|(location, _)| location);
    let stack: Vec<_> = sample.stack.iter().take(20).map(of).collect();
    format!("labels {:?}, stack {stack:?}", sample.labels).chars().take(4000).collect()
}

/// The normal form of a profile.
fn normalize(batch: &ProfileBatch, numbers: &mut Numbers) -> NormalProfile {
    let locations = (0..).take(batch.symbols.locations.len()).map(|id| numbers.of(location(batch, id)));
    let locations: Vec<usize> = locations.collect();
    let mut samples: BTreeMap<NormalSample, Vec<i64>> = BTreeMap::new();
    for row in 0..batch.samples.len() {
        let stack = batch.samples.stack(row).iter().map(|id| locations[*id as usize]).collect();
        let sums = samples.entry(NormalSample { stack, labels: labels(batch, row) }).or_default();
        sums.resize(batch.header.sample_types.len(), 0);
        for (sum, value) in sums.iter_mut().zip(batch.values(row)) {
            *sum = sum.wrapping_add(*value);
        }
    }
    samples.retain(|_, sums| sums.iter().any(|sum| *sum != 0));
    let main_mapping = batch.symbols.mappings.first().map(|main| mapping(batch, main));
    NormalProfile { header: header(batch), main_mapping, samples }
}

fn text(batch: &ProfileBatch, id: u32) -> Text {
    batch.symbols.strings.get(id).to_vec()
}

fn header(batch: &ProfileBatch) -> NormalHeader {
    let header = &batch.header;
    let value_type = |ty: &ValueType| (text(batch, ty.ty), text(batch, ty.unit));
    let mut comments: Vec<Text> = Vec::new();
    for comment in header.comments.iter().map(|id| text(batch, *id)) {
        if !comments.contains(&comment) {
            comments.push(comment);
        }
    }
    NormalHeader {
        sample_types: header.sample_types.iter().map(value_type).collect(),
        period_type: value_type(&header.period_type),
        period: header.period,
        time_unix_nano: header.time_unix_nano,
        duration_nano: header.duration_nano,
        comments,
        default_sample_type: text(batch, header.default_sample_type),
        doc_url: text(batch, header.doc_url),
        drop_frames: text(batch, header.drop_frames),
        keep_frames: text(batch, header.keep_frames),
    }
}

fn mapping(batch: &ProfileBatch, mapping: &Mapping) -> NormalMapping {
    let size = mapping.memory_limit.wrapping_sub(mapping.memory_start).wrapping_add(0xfff);
    let build_id = text(batch, mapping.build_id);
    NormalMapping {
        size: size & !0xfff,
        file_offset: mapping.file_offset,
        build_id_or_filename: if build_id.is_empty() { text(batch, mapping.filename) } else { build_id },
    }
}

fn function(batch: &ProfileBatch, function: &Function) -> NormalFunction {
    NormalFunction {
        name: text(batch, function.name),
        system_name: text(batch, function.system_name),
        filename: text(batch, function.filename),
        start_line: function.start_line,
    }
}

fn location(batch: &ProfileBatch, id: u32) -> NormalLocation {
    let location = &batch.symbols.locations[id as usize];
    let mapped = match location.mapping {
        NONE => None,
        id => Some(&batch.symbols.mappings[id as usize]),
    };
    let lines = batch.lines(id).iter().map(|line| {
        let function = match line.function {
            NONE => None,
            id => Some(function(batch, &batch.symbols.functions[id as usize])),
        };
        (function, line.line, line.column)
    });
    NormalLocation {
        address: location.address.wrapping_sub(mapped.map_or(0, |mapping| mapping.memory_start)),
        mapping: mapped.map(|found| mapping(batch, found)),
        lines: lines.collect(),
        is_folded: location.is_folded,
    }
}

fn labels(batch: &ProfileBatch, row: usize) -> Vec<NormalLabel> {
    let labels = batch.samples.labels(row).iter().map(|label| match label.value {
        LabelValue::Str(id) => NormalLabel::Str(text(batch, label.key), text(batch, id)),
        LabelValue::Num(number, unit) => NormalLabel::Num(text(batch, label.key), number, text(batch, unit)),
    });
    let mut labels: Vec<NormalLabel> = labels.collect();
    labels.sort();
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LabelText, ProfileBuilder};

    type Build = dyn Fn(&mut ProfileBuilder);

    fn batch(build: &Build) -> ProfileBatch {
        let mut builder = ProfileBuilder::new();
        builder.sample_type("cpu", "nanoseconds");
        build(&mut builder);
        builder.finish().unwrap()
    }

    fn check(a: &Build, b: &Build, equal: bool) {
        let (a, b) = (batch(a), batch(b));
        for (a, b) in [(&a, &b), (&b, &a)] {
            assert_eq!(pprof_equal(a, b).is_ok(), equal, "{:?}", pprof_equal(a, b));
        }
        assert!(pprof_equal(&a, &a).is_ok() && pprof_equal(&b, &b).is_ok());
    }

    fn sample(frames: &'static [&'static str], value: i64) -> impl Fn(&mut ProfileBuilder) {
        move |builder| {
            builder.add_sample(frames, &[value], &[]);
        }
    }

    fn labelled(labels: &'static [(&'static str, LabelText<'static>)]) -> impl Fn(&mut ProfileBuilder) {
        move |builder| {
            builder.add_sample(&["a"], &[1], labels);
        }
    }

    fn mapped(
        start: u64,
        limit: u64,
        build_id: &'static str,
        filename: &'static str,
        address: u64,
    ) -> impl Fn(&mut ProfileBuilder) {
        move |builder| {
            let (build_id, filename) = (builder.string(build_id), builder.string(filename));
            let mapping =
                Mapping { memory_start: start, memory_limit: limit, build_id, filename, ..Mapping::default() };
            let mapping = builder.mapping(mapping);
            let location = builder.location(mapping, address, false, &[]);
            builder.add_row(&[location], &[1], &[]);
        }
    }

    #[test]
    fn samples_are_summed_by_stack_and_zeros_dropped() {
        let twice = |b: &mut ProfileBuilder| {
            sample(&["b", "a"], 1)(b);
            sample(&["c"], 0)(b);
            sample(&["d"], 4)(b);
            sample(&["b", "a"], 2)(b);
            sample(&["d"], -4)(b);
        };
        check(&twice, &sample(&["b", "a"], 3), true);
        check(&sample(&["b", "a"], 3), &sample(&["a", "b"], 3), false);
        check(&sample(&["a"], 3), &sample(&["a"], 4), false);
        check(&sample(&["a"], 3), &|_| {}, false);
        check(&sample(&[], 1), &sample(&["a"], 1), false);
    }

    #[test]
    fn labels_count_in_any_order_but_with_their_kind_and_unit() {
        use LabelText::{Num, Str};
        check(
            &labelled(&[("k", Str("v")), ("n", Num(1, "b"))]),
            &labelled(&[("n", Num(1, "b")), ("k", Str("v"))]),
            true,
        );
        check(&labelled(&[("k", Str("v")), ("k", Str("w"))]), &labelled(&[("k", Str("w"))]), false);
        check(&labelled(&[("k", Str("v")), ("k", Str("v"))]), &labelled(&[("k", Str("v"))]), false);
        check(&labelled(&[("n", Num(0, ""))]), &labelled(&[]), false);
        check(&labelled(&[("n", Num(0, ""))]), &labelled(&[("n", Str(""))]), false);
        check(&labelled(&[("n", Num(1, "b"))]), &labelled(&[("n", Num(1, ""))]), false);
    }

    #[test]
    fn mappings_are_told_by_build_id_else_name_and_addresses_are_relative() {
        let base = mapped(0x1000, 0x2fff, "id", "one", 0x1234);
        check(&base, &mapped(0x7000, 0x8ffe, "id", "two", 0x7234), true);
        check(&base, &mapped(0x1000, 0x2fff, "", "one", 0x1234), false);
        check(&base, &mapped(0x1000, 0x3001, "id", "one", 0x1234), false);
        check(&base, &mapped(0x1000, 0x2fff, "id", "one", 0x1235), false);
        let other_main = |builder: &mut ProfileBuilder| {
            builder.mapping(Mapping { memory_limit: 0x9000, ..Mapping::default() });
            mapped(0x1000, 0x2fff, "id", "one", 0x1234)(builder);
        };
        check(&base, &other_main, false);
    }

    #[test]
    fn headers_count() {
        let edits: [&Build; 7] = [
            &|b| {
                b.period("cpu", "nanoseconds", 0);
            },
            &|b| {
                b.period("", "", 10);
            },
            &|b| {
                b.time(1, 0);
            },
            &|b| {
                b.time(0, 1);
            },
            &|b| {
                b.comment("x");
            },
            &|b| b.header_mut().doc_url = b.string("x"),
            &|b| {
                b.sample_type("n", "count");
            },
        ];
        for (i, a) in edits.iter().enumerate() {
            for (j, b) in edits.iter().enumerate() {
                check(*a, *b, i == j);
            }
            check(*a, &|_| {}, false);
        }
        check(
            &|b| {
                b.comment("x").comment("y").comment("x");
            },
            &|b| {
                b.comment("x").comment("y");
            },
            true,
        );
    }
}
