//! A profile in every format, as its profilers write it: the first sample type, no labels of its own.

use std::collections::HashMap;

use flamestore_formats::{encode_folded, frame_name};
use flamestore_model::{NONE, ProfileBatch};

use crate::record::{self, Frame, Record};
use crate::recording::{Chunk, METHOD, STACK, STATE, SYMBOL, THREAD, constant, numbers, text};
use crate::wire::{bytes, fixed64, message, number, packed, packed_fixed64, varint};

/// What an OTLP sample says of its observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observed {
    No,
    Times,
    TimesAndSpans,
}

const PERIOD: u64 = 10_000_000;
const EVENTS_MAX: u64 = 8;
const SECONDS: u64 = 15_000_000_000;

/// `ExportProfilesServiceRequest` in the layout 1.10.
pub(crate) fn otlp(batch: &ProfileBatch, observed: Observed) -> Vec<u8> {
    let (symbols, samples) = (&batch.symbols, &batch.samples);
    let mut strings: Vec<Vec<u8>> = ids(symbols.strings.len()).map(|id| symbols.strings.get(id).to_vec()).collect();
    let mut string = |text: &str| {
        strings.push(text.as_bytes().to_vec());
        strings.len() as u64 - 1
    };
    let [cpu, nanoseconds] = ["cpu", "nanoseconds"].map(&mut string);
    let mut dictionary = message(1, &[]);
    for mapping in &symbols.mappings {
        let of = [number(1, mapping.memory_start), number(2, mapping.memory_limit), number(4, mapping.filename.into())];
        dictionary.extend(message(1, &of));
    }
    dictionary.extend(message(2, &[]));
    for id in ids(symbols.locations.len()) {
        let location = &symbols.locations[id as usize];
        let mut of = vec![number(1, row(location.mapping)), number(2, location.address)];
        for line in batch.lines(id) {
            of.push(message(3, &[number(1, row(line.function)), number(2, line.line.cast_unsigned())]));
        }
        dictionary.extend(message(2, &of));
    }
    dictionary.extend(message(3, &[]));
    for function in &symbols.functions {
        let of = [
            number(1, function.name.into()),
            number(2, function.system_name.into()),
            number(3, function.filename.into()),
            number(4, function.start_line.cast_unsigned()),
        ];
        dictionary.extend(message(3, &of));
    }
    dictionary.extend(message(4, &[]));
    dictionary.extend(message(6, &[bytes(2, [])]));
    dictionary.extend(message(7, &[]));
    let mut profile = message(1, &[number(1, cpu), number(2, nanoseconds)]);
    for at in 0..samples.len() {
        let stack: Vec<u64> = samples.stack(at).iter().map(|id| u64::from(*id) + 1).collect();
        dictionary.extend(message(7, &[packed(1, &stack)]));
        let mut of = vec![number(1, at as u64 + 1), packed(4, &[batch.values(at)[0].cast_unsigned()])];
        if observed != Observed::No {
            of.push(packed_fixed64(5, &[batch.header.time_unix_nano.cast_unsigned() + at as u64 * 1_000_003]));
        }
        if observed == Observed::TimesAndSpans {
            dictionary.extend(message(
                4,
                &[bytes(1, (at as u128 + 1).to_be_bytes()), bytes(2, (at as u64 + 1).to_be_bytes())],
            ));
            of.push(number(3, at as u64 + 1));
        }
        profile.extend(message(2, &of));
    }
    let of = [
        fixed64(3, batch.header.time_unix_nano.cast_unsigned()),
        number(4, SECONDS),
        message(5, &[number(1, cpu), number(2, nanoseconds)]),
        number(6, PERIOD),
    ];
    profile.extend(of.concat());
    dictionary.extend(strings.iter().flat_map(|text| bytes(5, text)));
    let resource_profiles = [message(1, &[]), message(2, &[message(2, &[profile])])].concat();
    [bytes(1, resource_profiles), bytes(2, dictionary)].concat()
}

/// A stream of a record of version 2.
pub(crate) fn record(batch: &ProfileBatch) -> Vec<u8> {
    let (symbols, samples) = (&batch.symbols, &batch.samples);
    let name = |id: u32| -> &'static str { Box::leak(symbols.strings.text(id).into_owned().into_boxed_str()) };
    let names: Vec<&'static str> = ids(symbols.strings.len()).map(name).collect();
    let frame = |id: u32| {
        let location = &symbols.locations[id as usize];
        let mapping = symbols.mappings.get(location.mapping as usize);
        let lines = batch.lines(id).iter().filter_map(|line| {
            let function = symbols.functions.get(line.function as usize)?;
            let (name, file) = (names[function.name as usize], names[function.filename as usize]);
            Some((line.line.cast_unsigned(), 0, name, file, function.start_line.cast_unsigned()))
        });
        Frame {
            address: location.address,
            file: mapping.map(|mapping| names[mapping.filename as usize]),
            build_id: mapping.map(|mapping| names[mapping.build_id as usize]),
            lines: Some(lines.collect()),
        }
    };
    let sample = |at: usize| record::Sample {
        stack: samples.stack(at).iter().map(|id| *id as usize).collect(),
        value: batch.values(at)[0],
        time: batch.header.time_unix_nano + at as i64 * 1_000_003,
        types: record::CPU,
        period: PERIOD as i64,
        duration: SECONDS as i64,
        labels: vec![("comm", "service"), ("node", "n1")],
    };
    let frames = ids(symbols.locations.len()).map(frame).collect();
    let record = Record { frames, samples: (0..samples.len()).map(sample).collect() };
    record::stream(&[record.v2()], Some(arrow_ipc::CompressionType::LZ4_FRAME))
}

/// A recording of one chunk. Its events are samples that were taken: each stack has as many as its value counts, up to
/// [`EVENTS_MAX`].
pub(crate) fn recording(batch: &ProfileBatch) -> Vec<u8> {
    let (symbols, samples) = (&batch.symbols, &batch.samples);
    let mut chunk = Chunk::new();
    chunk.start_nanos = batch.header.time_unix_nano;
    chunk.constants.retain(|(class, _, _)| *class != STACK);
    for (key, function) in (10..).zip(&symbols.functions) {
        chunk.constants.push((SYMBOL, key, text(&symbols.strings.text(function.name))));
        chunk.constants.push((METHOD, key, numbers(&[1, key, 4])));
    }
    for at in 0..samples.len() {
        let frames: Vec<Vec<u8>> = samples
            .stack(at)
            .iter()
            .flat_map(|id| batch.lines(*id))
            .filter(|line| line.function != NONE)
            .map(|line| numbers(&[u64::from(line.function) + 10, line.line.cast_unsigned() & 0x7fff_ffff]))
            .collect();
        chunk.constants.push((STACK, at as u64 + 1, [vec![0], varint(frames.len() as u64), frames.concat()].concat()));
    }
    let fields = [constant("sampledThread", THREAD), constant("stackTrace", STACK), constant("state", STATE)];
    chunk.class(101, "jdk.ExecutionSample", &fields);
    for at in 0..samples.len() {
        for event in 0..batch.values(at)[0].unsigned_abs().clamp(1, EVENTS_MAX) {
            chunk.event(101, 502 + (at as u64 + 1000 * event) * 2_000_006, &[numbers(&[1, at as u64 + 1, 1])]);
        }
    }
    chunk.bytes()
}

pub(crate) fn folded(batch: &ProfileBatch) -> Vec<u8> {
    encode_folded(batch, 0).into_bytes()
}

/// A line for each sample.
pub(crate) fn lines(batch: &ProfileBatch) -> Vec<u8> {
    let stacks = (0..batch.samples.len()).map(|at| names(batch, at).join(&b';'));
    stacks.flat_map(|line| [line, b"\n".to_vec()].concat()).collect()
}

/// A node: its value and its children, by name in order of first use.
#[derive(Default)]
struct Node {
    value: u64,
    children: Vec<(Vec<u8>, Node)>,
    index: HashMap<Vec<u8>, usize>,
}

impl Node {
    fn child(&mut self, name: &[u8]) -> &mut Self {
        let at = *self.index.entry(name.to_vec()).or_insert_with(|| {
            self.children.push((name.to_vec(), Self::default()));
            self.children.len() - 1
        });
        &mut self.children[at].1
    }

    fn write(&self, name: &[u8], out: &mut Vec<u8>) {
        out.extend(varint(name.len() as u64));
        out.extend(name);
        out.extend(varint(self.value));
        out.extend(varint(self.children.len() as u64));
        self.children.iter().for_each(|(name, child)| child.write(name, out));
    }

    fn of(batch: &ProfileBatch) -> Self {
        let mut root = Self::default();
        for at in 0..batch.samples.len() {
            let leaf = names(batch, at).iter().fold(&mut root, |node, name| node.child(name));
            leaf.value += batch.values(at)[0].unsigned_abs();
        }
        root
    }
}

pub(crate) fn tree(batch: &ProfileBatch) -> Vec<u8> {
    let mut out = Vec::new();
    Node::of(batch).write(b"", &mut out);
    out
}

/// A trie whose pieces are frames.
pub(crate) fn trie(batch: &ProfileBatch) -> Vec<u8> {
    fn write(node: &Node, name: &[u8], out: &mut Vec<u8>, is_first: bool) {
        let piece = if is_first || name.is_empty() { name.to_vec() } else { [b";", name].concat() };
        out.extend(varint(piece.len() as u64));
        out.extend(&piece);
        out.extend(varint(node.value));
        out.extend(varint(node.children.len() as u64));
        node.children.iter().for_each(|(child_name, child)| write(child, child_name, out, name.is_empty()));
    }
    let mut out = Vec::new();
    write(&Node::of(batch), b"", &mut out, true);
    out
}

/// A file of one sampled profile.
pub(crate) fn speedscope(batch: &ProfileBatch) -> Vec<u8> {
    let (mut frames, mut index, mut samples) = (Vec::new(), HashMap::new(), Vec::new());
    for at in 0..batch.samples.len() {
        let mut stack = Vec::new();
        for name in names(batch, at) {
            let id = *index.entry(name.clone()).or_insert_with(|| {
                frames.push(serde_json::json!({"name": String::from_utf8_lossy(&name)}));
                frames.len() - 1
            });
            stack.push(id);
        }
        samples.push(stack);
    }
    let weights: Vec<i64> = (0..batch.samples.len()).map(|at| batch.values(at)[0]).collect();
    let profile = serde_json::json!({
        "type": "sampled", "name": "main", "unit": "none", "startValue": 0, "endValue": 1, "samples": samples, "weights": weights,
    });
    let schema = "https://www.speedscope.app/file-format-schema.json";
    serde_json::json!({"$schema": schema, "shared": {"frames": frames}, "profiles": [profile]}).to_string().into_bytes()
}

/// The names of a sample's frames, root first.
fn names(batch: &ProfileBatch, at: usize) -> Vec<Vec<u8>> {
    let of = |id: &u32| {
        let id = *id;
        (0..batch.lines(id).len().max(1)).rev().map(move |line| frame_name(batch, id, line).into_owned().into_bytes())
    };
    batch.samples.stack(at).iter().rev().flat_map(of).collect()
}

fn ids(rows: usize) -> std::ops::Range<u32> {
    0..u32::try_from(rows).unwrap_or(NONE)
}

/// A row of a table that has nothing in its first.
fn row(id: u32) -> u64 {
    if id == NONE { 0 } else { u64::from(id) + 1 }
}
