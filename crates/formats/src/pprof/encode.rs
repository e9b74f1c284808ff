//! A batch to bytes. Ids are row numbers plus one; numbers that are 0 are left out, repeated ones packed.

use flamestore_model::{Label, LabelValue, NONE, ProfileBatch, ValueType};

use crate::wire::{bytes_tag, varint_tag};

/// Encodes a batch that passes [`ProfileBatch::check`] as pprof, not compressed; see [`gzip`](crate::gzip). Decoded again
/// it is equal, row by row.
pub fn encode_pprof(batch: &ProfileBatch) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.out.reserve(batch.samples.stack_locations.len() * 2 + batch.samples.values.len() * 4);
    header(&mut writer, batch);
    for row in 0..batch.samples.len() {
        sample(&mut writer, batch, row);
    }
    symbols(&mut writer, batch);
    strings(&mut writer, batch);
    writer.out
}

/// Writes fields; a message is collected aside until its length is known.
#[derive(Default)]
struct Writer {
    out: Vec<u8>,
    message: Vec<u8>,
    inner: Vec<u8>,
}

impl Writer {
    /// Writes the collected message as field `number`.
    fn finish_message(&mut self, number: u64) {
        put_bytes(&mut self.out, number, &self.message);
        self.message.clear();
    }

    /// Writes the collected inner message as field `number` of the collected message.
    fn finish_inner(&mut self, number: u64) {
        put_bytes(&mut self.message, number, &self.inner);
        self.inner.clear();
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Writes field `number` unless it is 0.
fn put(out: &mut Vec<u8>, number: u64, value: u64) {
    if value != 0 {
        put_varint(out, varint_tag(number));
        put_varint(out, value);
    }
}

fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, bytes_tag(number));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The id of a row: its number plus one; 0 for [`NONE`].
fn id(row: u32) -> u64 {
    if row == NONE { 0 } else { u64::from(row) + 1 }
}

fn value_type(writer: &mut Writer, number: u64, ty: ValueType) {
    put(&mut writer.message, 1, ty.ty.into());
    put(&mut writer.message, 2, ty.unit.into());
    writer.finish_message(number);
}

fn header(writer: &mut Writer, batch: &ProfileBatch) {
    let header = &batch.header;
    for ty in &header.sample_types {
        value_type(writer, 1, *ty);
    }
    let out = &mut writer.out;
    put(out, 7, header.drop_frames.into());
    put(out, 8, header.keep_frames.into());
    put(out, 9, header.time_unix_nano.cast_unsigned());
    put(out, 10, header.duration_nano.cast_unsigned());
    put(out, 12, header.period.cast_unsigned());
    for comment in &header.comments {
        put_varint(out, varint_tag(13));
        put_varint(out, (*comment).into());
    }
    put(out, 14, header.default_sample_type.into());
    put(out, 15, header.doc_url.into());
    if header.period_type != ValueType::default() {
        value_type(writer, 11, header.period_type);
    }
}

fn sample(writer: &mut Writer, batch: &ProfileBatch, row: usize) {
    let stack = batch.samples.stack(row);
    if !stack.is_empty() {
        stack.iter().for_each(|location| put_varint(&mut writer.inner, id(*location)));
        writer.finish_inner(1);
    }
    batch.values(row).iter().for_each(|value| put_varint(&mut writer.inner, value.cast_unsigned()));
    writer.finish_inner(2);
    for label in batch.samples.labels(row) {
        put_label(&mut writer.inner, batch, label);
        writer.finish_inner(3);
    }
    writer.finish_message(2);
}

fn put_label(out: &mut Vec<u8>, batch: &ProfileBatch, label: &Label) {
    put(out, 1, label.key.into());
    match label.value {
        // String 0 means "no string here", so an empty value refers to the second empty string behind all others.
        LabelValue::Str(0) => put(out, 2, batch.symbols.strings.len() as u64),
        LabelValue::Str(text) => put(out, 2, text.into()),
        LabelValue::Num(number, unit) => {
            put(out, 3, number.cast_unsigned());
            put(out, 4, unit.into());
        }
    }
}

fn symbols(writer: &mut Writer, batch: &ProfileBatch) {
    for (row, mapping) in (1..).zip(&batch.symbols.mappings) {
        let fields = [
            row,
            mapping.memory_start,
            mapping.memory_limit,
            mapping.file_offset,
            mapping.filename.into(),
            mapping.build_id.into(),
            mapping.has_functions.into(),
            mapping.has_filenames.into(),
            mapping.has_line_numbers.into(),
            mapping.has_inline_frames.into(),
        ];
        (1..).zip(fields).for_each(|(number, value)| put(&mut writer.message, number, value));
        writer.finish_message(3);
    }
    for (row, location) in (1..).zip(&batch.symbols.locations) {
        put(&mut writer.message, 1, row);
        put(&mut writer.message, 2, id(location.mapping));
        put(&mut writer.message, 3, location.address);
        for line in &batch.symbols.lines[location.lines_start as usize..location.lines_end as usize] {
            put(&mut writer.inner, 1, id(line.function));
            put(&mut writer.inner, 2, line.line.cast_unsigned());
            put(&mut writer.inner, 3, line.column.cast_unsigned());
            writer.finish_inner(4);
        }
        put(&mut writer.message, 5, location.is_folded.into());
        writer.finish_message(4);
    }
    for (row, function) in (1..).zip(&batch.symbols.functions) {
        let names = [function.name, function.system_name, function.filename].map(u64::from);
        let fields = [row, names[0], names[1], names[2], function.start_line.cast_unsigned()];
        (1..).zip(fields).for_each(|(number, value)| put(&mut writer.message, number, value));
        writer.finish_message(5);
    }
}

fn strings(writer: &mut Writer, batch: &ProfileBatch) {
    let strings = &batch.symbols.strings;
    for id in (0..).take(strings.len()) {
        put_bytes(&mut writer.out, 6, strings.get(id));
    }
    if batch.samples.labels.iter().any(|label| label.value == LabelValue::Str(0)) {
        put_bytes(&mut writer.out, 6, b"");
    }
}
