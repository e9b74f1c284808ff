//! Decodes the samples.

use flamestore_model::{Error, Label, LabelValue, NONE, Result, Samples};

use super::ids::IdMap;
use super::layout::row;
use super::symbols::{Source, dangling};
use crate::limits::{over, within};
use crate::wire::{Reader, Span, bytes_tag, varint_tag};

const LOCATION: u64 = varint_tag(1);
const LOCATIONS: u64 = bytes_tag(1);
const VALUE: u64 = varint_tag(2);
const VALUES: u64 = bytes_tag(2);
const LABEL: u64 = bytes_tag(3);

/// Decodes the samples, of `width` values each.
pub(super) fn samples(
    source: Source<'_>,
    spans: &[Span],
    known: &IdMap,
    width: usize,
    out: &mut Samples,
) -> Result<()> {
    out.stack_offsets.reserve(spans.len() + 1);
    out.stack_offsets.push(0);
    // A value takes at least a byte, so the claim of many types costs no more than the bytes that make it.
    out.values.reserve(spans.len().saturating_mul(width).min(source.bytes.len()));
    for (at, span) in spans.iter().enumerate() {
        sample(source, (source.reader(*span), at), known, out)?;
        let found = out.values.len() - at * width;
        if found != width {
            return Err(wrong_width(at, found, width));
        }
        out.stack_offsets.push(row(out.stack_locations.len() as u64));
        if !out.label_offsets.is_empty() {
            out.label_offsets.push(row(out.labels.len() as u64));
        }
    }
    Ok(())
}

#[inline(always)]
fn sample(source: Source<'_>, (mut reader, at): (Reader<'_>, usize), known: &IdMap, out: &mut Samples) -> Result<()> {
    let stack_start = out.stack_locations.len();
    while !reader.is_done() {
        let tag = reader.tag()?;
        match tag {
            LOCATIONS => {
                let stack = &mut out.stack_locations;
                known.extend(reader.message()?, stack, |id| dangling("sample", at, "location", id))?;
                within("stack_depth_max", source.limits.stack_depth_max, stack.len() - stack_start)?;
            }
            LOCATION => {
                let depth = out.stack_locations.len() - stack_start + 1;
                within("stack_depth_max", source.limits.stack_depth_max, depth)?;
                let id = reader.varint()?;
                match known.get(id) {
                    NONE => return Err(dangling("sample", at, "location", id)),
                    location => out.stack_locations.push(location),
                }
            }
            VALUES => reader.packed(&mut out.values, u64::cast_signed)?,
            VALUE => out.values.push(reader.varint()?.cast_signed()),
            LABEL => {
                if out.label_offsets.is_empty() {
                    out.label_offsets.resize(at + 1, 0);
                }
                let found = out.labels.len() - out.label_offsets[at] as usize;
                if found >= source.limits.labels_per_sample_max {
                    return Err(over("labels_per_sample_max", source.limits.labels_per_sample_max, found + 1));
                }
                within("labels_max", source.limits.labels_max, out.labels.len() + 1)?;
                out.labels.push(label(source, reader.message()?, at)?);
            }
            _ => reader.skip(tag, 3)?,
        }
    }
    Ok(())
}

#[inline(always)]
fn label(source: Source<'_>, mut reader: Reader<'_>, sample: usize) -> Result<Label> {
    let (mut key, mut text, mut number, mut unit) = (0, 0, 0, 0);
    while !reader.is_done() {
        let tag = reader.tag()?;
        match tag {
            0x08 => key = reader.varint()?,
            0x10 => text = reader.varint()?,
            0x18 => number = reader.varint()?.cast_signed(),
            0x20 => unit = reader.varint()?,
            _ => reader.skip(tag, 4)?,
        }
    }
    let string = |id| source.string(id, "sample", sample);
    let value = match text {
        0 => LabelValue::Num(number, string(unit)?),
        text => LabelValue::Str(string(text)?),
    };
    Ok(Label { key: string(key)?, value })
}

#[cold]
fn wrong_width(at: usize, found: usize, width: usize) -> Error {
    Error::invalid(format!("sample {at} has {found} values, but there are {width} sample types"))
}
