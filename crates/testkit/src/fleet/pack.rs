//! Writes a profile as pprof the way the Go runtime lays it out: header, then each sample after the locations it is the first
//! to use, each location followed by its new functions, then mappings, then strings.

use flamestore_model::{Label, LabelValue, NONE, ProfileBatch, ValueType};
use libdeflater::{CompressionLvl, Compressor};

/// The profile as gzip pprof, level 1 as in Go.
///
/// # Panics
/// When the profile's ids are not consistent.
pub fn pack_pprof(batch: &ProfileBatch) -> Vec<u8> {
    let raw = write_pprof(batch);
    let level = CompressionLvl::new(1).unwrap_or_default();
    let mut compressor = Compressor::new(level);
    let mut packed = vec![0; compressor.gzip_compress_bound(raw.len())];
    #[expect(clippy::expect_used, reason = "the buffer has the size the compressor asked for")]
    let bytes = compressor.gzip_compress(&raw, &mut packed).expect("the buffer is large enough");
    packed.truncate(bytes);
    packed
}

/// The profile as pprof, not compressed.
///
/// # Panics
/// When the profile's ids are not consistent.
pub fn write_pprof(batch: &ProfileBatch) -> Vec<u8> {
    let mut writer = Writer {
        batch,
        out: Vec::new(),
        locations_written: vec![false; batch.symbols.locations.len()],
        functions_written: vec![false; batch.symbols.functions.len()],
    };
    writer.header();
    for row in 0..batch.samples.len() {
        writer.sample(row);
    }
    writer.mappings();
    for id in 0..batch.symbols.strings.len() {
        let id = u32::try_from(id).unwrap_or(NONE);
        message(&mut writer.out, 6, batch.symbols.strings.get(id));
    }
    writer.out
}

struct Writer<'a> {
    batch: &'a ProfileBatch,
    out: Vec<u8>,
    locations_written: Vec<bool>,
    functions_written: Vec<bool>,
}

impl Writer<'_> {
    fn header(&mut self) {
        let header = &self.batch.header;
        int(&mut self.out, 9, header.time_unix_nano);
        for ty in &header.sample_types {
            message(&mut self.out, 1, &value_type(ty));
        }
        int(&mut self.out, 10, header.duration_nano);
        message(&mut self.out, 11, &value_type(&header.period_type));
        int(&mut self.out, 12, header.period);
    }

    fn sample(&mut self, row: usize) {
        let stack = self.batch.samples.stack(row);
        for id in stack {
            if !std::mem::replace(&mut self.locations_written[*id as usize], true) {
                self.location(*id);
            }
        }
        let mut sample = Vec::new();
        repeated(&mut sample, 1, stack.iter().map(|id| u64::from(*id) + 1), stack.len());
        let values = self.batch.values(row);
        repeated(&mut sample, 2, values.iter().map(|value| value.cast_unsigned()), values.len());
        for label in self.batch.samples.labels(row) {
            message(&mut sample, 3, &label_bytes(label));
        }
        message(&mut self.out, 2, &sample);
    }

    fn location(&mut self, id: u32) {
        let location = &self.batch.symbols.locations[id as usize];
        let mut out = Vec::new();
        uint(&mut out, 1, u64::from(id) + 1);
        uint(&mut out, 2, if location.mapping == NONE { 0 } else { u64::from(location.mapping) + 1 });
        uint(&mut out, 3, location.address);
        for line in self.batch.lines(id) {
            let mut bytes = Vec::new();
            uint(&mut bytes, 1, if line.function == NONE { 0 } else { u64::from(line.function) + 1 });
            int(&mut bytes, 2, line.line);
            int(&mut bytes, 3, line.column);
            message(&mut out, 4, &bytes);
        }
        uint(&mut out, 5, u64::from(location.is_folded));
        message(&mut self.out, 4, &out);
        for line in self.batch.lines(id) {
            let function = line.function as usize;
            if line.function != NONE && !std::mem::replace(&mut self.functions_written[function], true) {
                self.function(line.function);
            }
        }
    }

    fn function(&mut self, id: u32) {
        let function = &self.batch.symbols.functions[id as usize];
        let mut out = Vec::new();
        uint(&mut out, 1, u64::from(id) + 1);
        uint(&mut out, 2, u64::from(function.name));
        uint(&mut out, 3, u64::from(function.system_name));
        uint(&mut out, 4, u64::from(function.filename));
        int(&mut out, 5, function.start_line);
        message(&mut self.out, 5, &out);
    }

    fn mappings(&mut self) {
        for (id, mapping) in (1..).zip(&self.batch.symbols.mappings) {
            let mut out = Vec::new();
            uint(&mut out, 1, id);
            uint(&mut out, 2, mapping.memory_start);
            uint(&mut out, 3, mapping.memory_limit);
            uint(&mut out, 4, mapping.file_offset);
            uint(&mut out, 5, u64::from(mapping.filename));
            uint(&mut out, 6, u64::from(mapping.build_id));
            uint(&mut out, 7, u64::from(mapping.has_functions));
            uint(&mut out, 8, u64::from(mapping.has_filenames));
            uint(&mut out, 9, u64::from(mapping.has_line_numbers));
            uint(&mut out, 10, u64::from(mapping.has_inline_frames));
            message(&mut self.out, 3, &out);
        }
    }
}

fn value_type(ty: &ValueType) -> Vec<u8> {
    let mut out = Vec::new();
    uint(&mut out, 1, u64::from(ty.ty));
    uint(&mut out, 2, u64::from(ty.unit));
    out
}

fn label_bytes(label: &Label) -> Vec<u8> {
    let mut out = Vec::new();
    uint(&mut out, 1, u64::from(label.key));
    match label.value {
        LabelValue::Str(text) => uint(&mut out, 2, u64::from(text)),
        LabelValue::Num(number, unit) => {
            int(&mut out, 3, number);
            uint(&mut out, 4, u64::from(unit));
        }
    }
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// A number, left out when 0.
fn uint(out: &mut Vec<u8>, field: u64, value: u64) {
    if value != 0 {
        varint(out, field << 3);
        varint(out, value);
    }
}

fn int(out: &mut Vec<u8>, field: u64, value: i64) {
    uint(out, field, value.cast_unsigned());
}

/// Numbers, packed when there are more than two, as Go does.
fn repeated(out: &mut Vec<u8>, field: u64, values: impl Iterator<Item = u64>, count: usize) {
    if count > 2 {
        let mut packed = Vec::new();
        values.for_each(|value| varint(&mut packed, value));
        return message(out, field, &packed);
    }
    for value in values {
        varint(out, field << 3);
        varint(out, value);
    }
}

fn message(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
