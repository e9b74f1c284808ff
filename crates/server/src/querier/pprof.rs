//! Profiles in the message that pprof has for them: made, put together, cut to size.
//!
//! Ids of mappings, locations and functions are their places in their tables, counted from 1.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use flamestore_model::{LabelValue, NONE, ProfileBatch, place_name};
use flamestore_proto::google::v1::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType};

/// `batch` as a message. Bytes that are not UTF-8 are replaced.
pub(super) fn message(batch: &ProfileBatch) -> Profile {
    let ProfileBatch { header, symbols, samples } = batch;
    let strings = 0..u32::try_from(symbols.strings.len()).unwrap_or(u32::MAX);
    let value_type =
        |ty: &flamestore_model::ValueType| ValueType { r#type: i64::from(ty.ty), unit: i64::from(ty.unit) };
    let rows = 0..samples.len();
    Profile {
        sample_type: header.sample_types.iter().map(value_type).collect(),
        sample: rows.map(|row| sample(batch, row)).collect(),
        mapping: (1..).zip(&symbols.mappings).map(|(id, row)| mapping(id, row)).collect(),
        location: (0..).zip(&symbols.locations).map(|(id, row)| location(batch, id, row)).collect(),
        function: (1..).zip(&symbols.functions).map(|(id, row)| function(id, row)).collect(),
        string_table: strings.map(|id| symbols.strings.text(id).into_owned()).collect(),
        drop_frames: i64::from(header.drop_frames),
        keep_frames: i64::from(header.keep_frames),
        time_nanos: header.time_unix_nano,
        duration_nanos: header.duration_nano,
        period_type: Some(value_type(&header.period_type)),
        period: header.period,
        comment: header.comments.iter().map(|id| i64::from(*id)).collect(),
        default_sample_type: i64::from(header.default_sample_type),
        doc_url: i64::from(header.doc_url),
    }
}

fn sample(batch: &ProfileBatch, row: usize) -> Sample {
    let label = |label: &flamestore_model::Label| match label.value {
        LabelValue::Str(id) => Label { key: i64::from(label.key), str: i64::from(id), ..Default::default() },
        LabelValue::Num(num, unit) => {
            Label { key: i64::from(label.key), num, num_unit: i64::from(unit), ..Default::default() }
        }
    };
    Sample {
        location_id: batch.samples.stack(row).iter().map(|id| u64::from(*id) + 1).collect(),
        value: batch.values(row).to_vec(),
        label: batch.samples.labels(row).iter().map(label).collect(),
    }
}

fn mapping(id: u64, row: &flamestore_model::Mapping) -> Mapping {
    Mapping {
        id,
        memory_start: row.memory_start,
        memory_limit: row.memory_limit,
        file_offset: row.file_offset,
        filename: i64::from(row.filename),
        build_id: i64::from(row.build_id),
        has_functions: row.has_functions,
        has_filenames: row.has_filenames,
        has_line_numbers: row.has_line_numbers,
        has_inline_frames: row.has_inline_frames,
    }
}

fn location(batch: &ProfileBatch, id: u32, row: &flamestore_model::Location) -> Location {
    let line = |line: &flamestore_model::Line| Line {
        function_id: reference(line.function),
        line: line.line,
        column: line.column,
    };
    Location {
        id: u64::from(id) + 1,
        mapping_id: reference(row.mapping),
        address: row.address,
        line: batch.lines(id).iter().map(line).collect(),
        is_folded: row.is_folded,
    }
}

fn function(id: u64, row: &flamestore_model::Function) -> Function {
    Function {
        id,
        name: i64::from(row.name),
        system_name: i64::from(row.system_name),
        filename: i64::from(row.filename),
        start_line: row.start_line,
    }
}

/// The id of a row, 0 for none.
fn reference(row: u32) -> u64 {
    if row == NONE { 0 } else { u64::from(row) + 1 }
}

/// Both profiles as one: the tables one after the other, samples that stand in both not added up. What there is one of is the
/// first one's, but times: the earliest, and the sum of the durations.
pub(super) fn append(mut all: Profile, more: Profile) -> Profile {
    if all.sample.is_empty() {
        return more;
    }
    let strings = i64::try_from(all.string_table.len()).unwrap_or(i64::MAX);
    let string = |id: &mut i64| *id += if *id == 0 { 0 } else { strings };
    let (mappings, locations, functions) =
        (all.mapping.len() as u64, all.location.len() as u64, all.function.len() as u64);
    let shift = |id: &mut u64, by: u64| *id += if *id == 0 { 0 } else { by };
    all.string_table.extend(more.string_table);
    all.mapping.extend(more.mapping.into_iter().map(|mut mapping| {
        shift(&mut mapping.id, mappings);
        [&mut mapping.filename, &mut mapping.build_id].into_iter().for_each(string);
        mapping
    }));
    all.function.extend(more.function.into_iter().map(|mut function| {
        shift(&mut function.id, functions);
        [&mut function.name, &mut function.system_name, &mut function.filename].into_iter().for_each(string);
        function
    }));
    all.location.extend(more.location.into_iter().map(|mut location| {
        shift(&mut location.id, locations);
        shift(&mut location.mapping_id, mappings);
        location.line.iter_mut().for_each(|line| shift(&mut line.function_id, functions));
        location
    }));
    all.sample.extend(more.sample.into_iter().map(|mut sample| {
        sample.location_id.iter_mut().for_each(|id| shift(id, locations));
        for label in &mut sample.label {
            [&mut label.key, &mut label.str, &mut label.num_unit].into_iter().for_each(string);
        }
        sample
    }));
    all.time_nanos = match (all.time_nanos, more.time_nanos) {
        (0, time) | (time, 0) => time,
        (a, b) => a.min(b),
    };
    all.duration_nanos = all.duration_nanos.saturating_add(more.duration_nanos);
    all
}

/// The samples whose stacks begin with the functions `call_site`, root first.
pub(super) fn below(mut profile: Profile, call_site: &[String]) -> Profile {
    if call_site.is_empty() {
        return profile;
    }
    let names: Vec<Vec<String>> = profile.location.iter().map(|location| frame_names(&profile, location)).collect();
    let at = |id: &u64| usize::try_from(id.wrapping_sub(1)).ok().and_then(|at| names.get(at));
    profile.sample.retain(|sample| {
        let frames = sample.location_id.iter().rev().filter_map(at).flatten();
        frames.take(call_site.len()).eq(call_site.iter())
    });
    profile
}

/// What the frames of a location are called, outermost first.
fn frame_names(profile: &Profile, location: &Location) -> Vec<String> {
    let place = || place_name(location.address);
    let name = |line: &Line| {
        let function = usize::try_from(line.function_id).ok()?.checked_sub(1)?;
        let name = usize::try_from(profile.function.get(function)?.name).ok()?;
        profile.string_table.get(name).filter(|name| !name.is_empty()).cloned()
    };
    match &location.line[..] {
        [] => vec![place()],
        lines => lines.iter().rev().map(|line| name(line).unwrap_or_else(place)).collect(),
    }
}

/// The profile with the `max_nodes` call sites of the largest totals, and those that tie with the last of them. Where a stack
/// leaves them, the rest of it is one frame, `other`; what then has one stack and the same labels is one sample.
///
/// Totals are those of the first value of a sample.
pub(super) fn truncated(mut profile: Profile, max_nodes: usize) -> Profile {
    let mut paths = Paths::default();
    let leaves: Vec<Vec<usize>> = profile.sample.iter().map(|sample| paths.walk(sample)).collect();
    if paths.totals.len() <= max_nodes || max_nodes == 0 {
        return profile;
    }
    let mut totals = paths.totals.clone();
    let (_, threshold, _) = totals.select_nth_unstable_by(max_nodes - 1, |a, b| b.cmp(a));
    let other = push_other(&mut profile);
    let mut samples = std::mem::take(&mut profile.sample);
    for (sample, nodes) in samples.iter_mut().zip(leaves) {
        // Totals fall from the root down, so what is kept is the beginning of the stack.
        let depth = nodes.iter().take_while(|node| paths.totals[**node] >= *threshold).count();
        let cut = sample.location_id.len() - depth;
        if cut > 0 {
            sample.location_id.drain(..cut);
            sample.location_id.insert(0, other);
        }
    }
    profile.sample = summed(samples);
    profile
}

/// What samples agree in that are one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Alike {
    stack: Vec<u64>,
    labels: Vec<[i64; 4]>,
}

impl Alike {
    fn of(sample: &Sample) -> Self {
        let labels = sample.label.iter().map(|label| [label.key, label.str, label.num, label.num_unit]);
        Self { stack: sample.location_id.clone(), labels: labels.collect() }
    }
}

/// The profile as compilers of Go take it: of each stack the `keep_locations` nearest to the leaf, all where that is 0; with
/// `aggregate_callees`, leaves of the same functions are one, whatever their lines.
///
/// What a compiler is told is which function is called where, and how often: the lines in the callee say nothing of that.
pub(super) fn for_go(mut profile: Profile, keep_locations: u32, aggregate_callees: bool) -> Profile {
    let keep = match usize::try_from(keep_locations) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(keep) => keep,
    };
    let mut leaves = Leaves::default();
    let mut samples = std::mem::take(&mut profile.sample);
    for sample in &mut samples {
        sample.location_id.truncate(keep);
        if let (true, Some(leaf)) = (aggregate_callees, sample.location_id.first_mut()) {
            *leaf = leaves.callee(&mut profile.location, *leaf);
        }
    }
    profile.sample = summed(samples);
    profile
}

/// Locations without lines, by their functions.
#[derive(Debug, Default)]
struct Leaves {
    by_functions: HashMap<Vec<u64>, u64>,
}

impl Leaves {
    /// The location of the same functions as `leaf`, without a line or an address; of one without functions, itself.
    fn callee(&mut self, locations: &mut Vec<Location>, leaf: u64) -> u64 {
        let row = usize::try_from(leaf.wrapping_sub(1)).ok().and_then(|row| locations.get(row));
        let functions: Vec<u64> = row.iter().flat_map(|row| &row.line).map(|line| line.function_id).collect();
        if functions.is_empty() {
            return leaf;
        }
        let mapping_id = row.map_or(0, |row| row.mapping_id);
        let next = locations.len() as u64 + 1;
        let id = *self.by_functions.entry(functions.clone()).or_insert(next);
        if id == next {
            let line = functions.into_iter().map(|function_id| Line { function_id, ..Default::default() }).collect();
            locations.push(Location { id, mapping_id, line, ..Default::default() });
        }
        id
    }
}

/// Samples of one stack and the same labels as one.
fn summed(samples: Vec<Sample>) -> Vec<Sample> {
    let mut rows: HashMap<Alike, usize> = HashMap::new();
    let mut kept: Vec<Sample> = Vec::new();
    for sample in samples {
        match rows.entry(Alike::of(&sample)) {
            Entry::Occupied(row) => {
                let sums = &mut kept[*row.get()].value;
                sums.iter_mut().zip(&sample.value).for_each(|(sum, value)| *sum = sum.saturating_add(*value));
            }
            Entry::Vacant(row) => {
                row.insert(kept.len());
                kept.push(sample);
            }
        }
    }
    kept
}

/// The call sites of stacks.
#[derive(Debug, Default)]
struct Paths {
    ids: HashMap<(usize, u64), usize>,
    totals: Vec<u64>,
}

impl Paths {
    /// The call sites of a sample's stack, root first; its value is added to all of them.
    fn walk(&mut self, sample: &Sample) -> Vec<usize> {
        let value = sample.value.first().copied().unwrap_or_default().unsigned_abs();
        // No path has this number: those of the root have it as their caller.
        let mut at = usize::MAX;
        let mut nodes = Vec::with_capacity(sample.location_id.len());
        for location in sample.location_id.iter().rev() {
            at = *self.ids.entry((at, *location)).or_insert(self.totals.len());
            if at == self.totals.len() {
                self.totals.push(0);
            }
            self.totals[at] = self.totals[at].saturating_add(value);
            nodes.push(at);
        }
        nodes
    }
}

/// Adds a location called `other`; its id.
fn push_other(profile: &mut Profile) -> u64 {
    let name = i64::try_from(profile.string_table.len()).unwrap_or(i64::MAX);
    profile.string_table.push("other".to_owned());
    let function_id = profile.function.len() as u64 + 1;
    profile.function.push(Function { id: function_id, name, system_name: name, ..Default::default() });
    let id = profile.location.len() as u64 + 1;
    let line = vec![Line { function_id, ..Default::default() }];
    profile.location.push(Location { id, line, ..Default::default() });
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use prost::Message;

    fn made(text: &str) -> Profile {
        message(&flamestore_testkit::Fixture::cpu().mapping(0x1000, 0x9000, "b1").profile(text))
    }

    /// The stacks of a profile and their first values.
    fn folded(profile: &Profile) -> String {
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for sample in &profile.sample {
            let at = |id: &u64| frame_names(profile, &profile.location[usize::try_from(*id - 1).unwrap()]);
            let stack: Vec<String> = sample.location_id.iter().rev().flat_map(at).collect();
            *sums.entry(stack.join(";")).or_default() += sample.value[0];
        }
        sums.iter().map(|(stack, value)| format!("{stack} {value}")).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn a_message_says_what_the_encoder_says() {
        let batch = flamestore_testkit::Fixture::heap()
            .mapping(0x1000, 0x9000, "b1")
            .profile("main;alloc@1010 1,100,1,50 {bytes=64} | main;serve<inlined;- 7,0,0,1 {thread=a} | init 1,1,0,0");
        let bytes = flamestore_formats::encode_pprof(&batch);
        assert_eq!(message(&batch), Profile::decode(&bytes[..]).unwrap());
    }

    #[test]
    fn profiles_put_together_keep_their_names() {
        let both = append(made("main;read 3 {thread=a}"), made("main;write@1010 2 | init 1"));
        assert_eq!(folded(&both), "init 1 | main;read 3 | main;write 2");
        let batch = flamestore_formats::decode_pprof(both.encode_to_vec().into(), &Default::default()).unwrap();
        assert_eq!(flamestore_testkit::folded(&batch, 0)["main;write"], 2);
        assert_eq!(folded(&append(Profile::default(), made("a 1"))), "a 1");
    }

    #[test]
    fn a_call_site_is_the_beginning_of_a_stack() {
        let check = |call_site: &[&str], expected: &str| {
            let names: Vec<String> = call_site.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(folded(&below(made("m;a;b 1 | m;a 2 | a;b 4 | m;c<d;e 8"), &names)), expected);
        };
        check(&[], "a;b 4 | m;a 2 | m;a;b 1 | m;d;c;e 8");
        check(&["m", "a"], "m;a 2 | m;a;b 1");
        check(&["m", "d"], "m;d;c;e 8");
        check(&["m", "a", "b", "c"], "");
        check(&["b"], "");
    }

    #[test]
    fn go_is_told_of_callers_near_the_leaf() {
        let text = "m;a:1;b:2 1 | m;a:1;b:3 2 | m;a:4;b:2 4 | b:9 8";
        assert_eq!(for_go(made(text), 0, false).sample.len(), 4);
        let near = for_go(made(text), 2, true);
        assert_eq!(folded(&near), "a;b 7 | b 8");
        let mut values: Vec<i64> = near.sample.iter().map(|sample| sample.value[0]).collect();
        values.sort_unstable();
        assert_eq!(values, [3, 4, 8], "calls from different lines are kept apart");
        let leaf = near.sample[0].location_id[0];
        assert!(near.sample.iter().all(|sample| sample.location_id[0] == leaf));
        assert_eq!(near.location[usize::try_from(leaf - 1).unwrap()].line[0].line, 0);
    }

    #[test]
    fn truncation_ends_stacks_in_other_and_keeps_ties() {
        let check = |max_nodes, expected: &str| {
            assert_eq!(folded(&truncated(made("m;a;b 5 | m;a 1 | m;c 3 | m;d 3 | n 1"), max_nodes)), expected);
        };
        check(1, "m;other 12 | other 1");
        check(2, "m;a 1 | m;a;other 5 | m;other 6 | other 1");
        check(4, "m;a 1 | m;a;b 5 | m;c 3 | m;d 3 | other 1");
        check(6, "m;a 1 | m;a;b 5 | m;c 3 | m;d 3 | n 1");
    }
}
