//! Bytes to a batch.

use bytes::Bytes;
use flamestore_model::{Error, ErrorKind, ProfileBatch, ProfileHeader, Result, Samples, Strings, Symbols, ValueType};

use super::ids::IdMap;
use super::layout::Layout;
use super::symbols::{Known, Source};
use super::{legacy, legacy_cpu, samples, symbols};
use crate::Limits;
use crate::decompress::Inflater;
use crate::wire::Span;

/// The buffers of decoding, kept from one profile to the next by a caller that decodes many.
#[derive(Default)]
pub struct DecodeScratch {
    inflater: Inflater,
    layout: Layout,
    row_ids: Vec<u64>,
    mappings: IdMap,
    functions: IdMap,
    locations: IdMap,
    tables: Tables,
}

/// Columns of batches that were taken back: empty, but with room.
#[derive(Default)]
struct Tables {
    mappings: Vec<flamestore_model::Mapping>,
    functions: Vec<flamestore_model::Function>,
    lines: Vec<flamestore_model::Line>,
    locations: Vec<flamestore_model::Location>,
    samples: Samples,
    spans: Vec<Span>,
}

impl std::fmt::Debug for DecodeScratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecodeScratch").finish_non_exhaustive()
    }
}

/// Decodes a pprof profile: gzip, zstd or not compressed, as its first bytes say. Strings are not copied.
///
/// # Errors
/// `Invalid` when the bytes are not a valid profile, naming the row or the offset that is wrong; `Exhausted` when the
/// profile is over a limit, naming it.
pub fn decode_pprof(bytes: Bytes, limits: &Limits) -> Result<ProfileBatch> {
    decode_pprof_with(&mut DecodeScratch::default(), bytes, limits)
}

/// [`decode_pprof`] that reuses the buffers of earlier calls; see [`DecodeScratch::recycle`].
///
/// # Errors
/// As [`decode_pprof`].
pub fn decode_pprof_with(scratch: &mut DecodeScratch, bytes: Bytes, limits: &Limits) -> Result<ProfileBatch> {
    let bytes = scratch.inflater.decompress(bytes, limits)?;
    if let Some(batch) = legacy_cpu::decode(&bytes, limits) {
        return batch;
    }
    scratch.decode(&bytes, limits).map_err(|error| match error.kind() {
        ErrorKind::Invalid => legacy::explain(&bytes, error),
        _ => error,
    })
}

impl DecodeScratch {
    /// Takes back the buffers of a batch that is no longer needed, for the next profile.
    pub fn recycle(&mut self, batch: ProfileBatch) {
        let Symbols { strings, mut mappings, mut functions, mut lines, mut locations } = batch.symbols;
        let mut samples = batch.samples;
        mappings.clear();
        functions.clear();
        lines.clear();
        locations.clear();
        samples.stack_offsets.clear();
        samples.stack_locations.clear();
        samples.values.clear();
        samples.label_offsets.clear();
        samples.labels.clear();
        let (bytes, spans) = strings.into_parts();
        if let Ok(bytes) = bytes.try_into_mut() {
            self.inflater.recycle(bytes.into());
        }
        self.tables = Tables { mappings, functions, lines, locations, samples, spans };
    }

    /// Decodes bytes that are not compressed and fewer than 2³².
    fn decode(&mut self, bytes: &Bytes, limits: &Limits) -> Result<ProfileBatch> {
        let Self { layout, row_ids, .. } = self;
        layout.read(bytes, limits)?;
        let source = Source { bytes, strings: layout.strings.len() as u64, limits };
        let header = header(source, layout)?;
        let Tables { mut mappings, mut functions, mut lines, mut locations, samples: mut rows, mut spans } =
            std::mem::take(&mut self.tables);
        symbols::mappings(source, &layout.mappings, row_ids, &mut mappings)?;
        self.mappings.build(row_ids, "mapping")?;
        symbols::functions(source, &layout.functions, row_ids, &mut functions)?;
        self.functions.build(row_ids, "function")?;
        let known = Known { mappings: &self.mappings, functions: &self.functions };
        symbols::locations(source, &layout.locations, known, row_ids, (&mut locations, &mut lines))?;
        self.locations.build(row_ids, "location")?;
        let width = header.sample_types.len();
        samples::samples(source, &layout.samples, &self.locations, width, &mut rows)?;
        spans.clear();
        std::mem::swap(&mut spans, &mut layout.strings);
        let strings = Strings::from_spans(bytes.clone(), spans)?;
        let symbols = Symbols { strings, mappings, functions, lines, locations };
        Ok(ProfileBatch { header, symbols, samples: rows })
    }
}

fn header(source: Source<'_>, layout: &Layout) -> Result<ProfileHeader> {
    if layout.sample_types.is_empty() {
        return Err(Error::invalid("the profile has no sample types").with("samples", layout.samples.len()));
    }
    let single = |field| source.string(layout.number(field), "profile field", field);
    let types = layout.sample_types.iter().enumerate();
    let comments = layout.comments.iter().enumerate();
    Ok(ProfileHeader {
        sample_types: types.map(|(at, span)| value_type(source, *span, "sample type", at)).collect::<Result<_>>()?,
        default_sample_type: single(14)?,
        period_type: layout
            .period_type
            .map_or(Ok(ValueType::default()), |s| value_type(source, s, "profile field", 11))?,
        period: layout.number(12).cast_signed(),
        time_unix_nano: layout.number(9).cast_signed(),
        duration_nano: layout.number(10).cast_signed(),
        comments: comments.map(|(at, id)| source.string(*id, "comment", at)).collect::<Result<_>>()?,
        doc_url: single(15)?,
        drop_frames: single(7)?,
        keep_frames: single(8)?,
    })
}

fn value_type(source: Source<'_>, span: Span, what: &str, at: usize) -> Result<ValueType> {
    let mut reader = source.reader(span);
    let mut ty = ValueType::default();
    while !reader.is_done() {
        let tag = reader.tag()?;
        match tag {
            0x08 => ty.ty = source.string(reader.varint()?, what, at)?,
            0x10 => ty.unit = source.string(reader.varint()?, what, at)?,
            _ => reader.skip(tag, 2)?,
        }
    }
    Ok(ty)
}
