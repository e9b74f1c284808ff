//! Protobuf written by hand, and batches as text.

#![allow(dead_code, reason = "each test takes what it needs")]
#![expect(clippy::cast_possible_truncation, reason = "numbers of tests are small")]

use flamestore_model::{LabelValue, NONE, ProfileBatch};

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub(crate) fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

pub(crate) fn fixed64(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3 | 1), value.to_le_bytes().to_vec()].concat()
}

pub(crate) fn bytes(field: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [&varint(field << 3 | 2), &varint(value.len() as u64), value].concat()
}

pub(crate) fn packed(field: u64, values: &[u64]) -> Vec<u8> {
    bytes(field, values.iter().flat_map(|value| varint(*value)).collect::<Vec<u8>>())
}

pub(crate) fn packed_fixed64(field: u64, values: &[u64]) -> Vec<u8> {
    bytes(field, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
}

pub(crate) fn message(field: u64, parts: &[Vec<u8>]) -> Vec<u8> {
    bytes(field, parts.concat())
}

/// The samples as text: a line each, `root;leaf [values] label=value…`.
pub(crate) fn rows(batch: &ProfileBatch) -> String {
    let strings = &batch.symbols.strings;
    let mut out = String::new();
    for row in 0..batch.samples.len() {
        let mut frames = Vec::new();
        for location in batch.samples.stack(row).iter().rev() {
            let lines = batch.lines(*location);
            if lines.is_empty() {
                frames.push(format!("0x{:x}", batch.symbols.locations[*location as usize].address));
            }
            frames.extend(lines.iter().rev().map(|line| match (line.function, line.line) {
                (NONE, _) => "-".to_owned(),
                (id, 0) => strings.text(batch.symbols.functions[id as usize].name).into_owned(),
                (id, number) => format!("{}:{number}", strings.text(batch.symbols.functions[id as usize].name)),
            }));
        }
        let labels = batch.samples.labels(row).iter().map(|label| match label.value {
            LabelValue::Str(id) => format!(" {}={:?}", strings.text(label.key), strings.text(id)),
            LabelValue::Num(number, unit) => format!(" {}={number}{}", strings.text(label.key), strings.text(unit)),
        });
        out += &format!("{} {:?}{}\n", frames.join(";"), batch.values(row), labels.collect::<String>());
    }
    out
}

/// `type/unit per period period_type/period_unit` of the header.
pub(crate) fn types(batch: &ProfileBatch) -> String {
    let text = |id| batch.symbols.strings.text(id).into_owned();
    let header = &batch.header;
    let types = header.sample_types.iter().map(|ty| format!("{}/{}", text(ty.ty), text(ty.unit)));
    let types = types.collect::<Vec<_>>().join(" ");
    let period = format!("{}/{}", text(header.period_type.ty), text(header.period_type.unit));
    format!("{types} per {} {period}", header.period)
}
