//! Decodes the tables that samples refer to: mappings, functions, locations.

use flamestore_model::{Error, Function, Line, Location, Mapping, NONE, Result};

use super::ids::IdMap;
use super::layout::row;
use crate::Limits;
use crate::limits::within;
use crate::wire::{Reader, Span, bytes_tag, varint_tag};

/// What decoding needs to know of the profile as a whole.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) strings: u64,
    pub(super) limits: &'a Limits,
}

impl<'a> Source<'a> {
    /// The window `span`.
    #[inline(always)]
    pub(super) fn reader(&self, span: Span) -> Reader<'a> {
        Reader::of(self.bytes, span)
    }

    /// A string's id, checked. `what` and `at` say who refers to it.
    #[inline(always)]
    pub(super) fn string(&self, id: u64, what: &str, at: usize) -> Result<u32> {
        if id < self.strings { Ok(row(id)) } else { Err(dangling(what, at, "string", id)) }
    }
}

/// The error of row `at` of table `what` that refers to a row of table `table` that is not there.
#[cold]
#[inline(never)]
pub(super) fn dangling(what: &str, at: usize, table: &str, id: u64) -> Error {
    Error::invalid(format!("{what} {at}: {table} id {id} is not in the {table} table"))
}

/// Decodes the mappings; `ids` becomes their ids.
pub(super) fn mappings(source: Source<'_>, spans: &[Span], ids: &mut Vec<u64>, out: &mut Vec<Mapping>) -> Result<()> {
    ids.clear();
    for (at, span) in spans.iter().enumerate() {
        let mut reader = source.reader(*span);
        let (mut id, mut mapping) = (0, Mapping::default());
        while !reader.is_done() {
            let tag = reader.tag()?;
            if tag & 7 != 0 || tag > varint_tag(10) || tag == 0 {
                reader.skip(tag, 10)?;
                continue;
            }
            let value = reader.varint()?;
            match tag >> 3 {
                1 => id = value,
                2 => mapping.memory_start = value,
                3 => mapping.memory_limit = value,
                4 => mapping.file_offset = value,
                5 => mapping.filename = source.string(value, "mapping", at)?,
                6 => mapping.build_id = source.string(value, "mapping", at)?,
                7 => mapping.has_functions = value != 0,
                8 => mapping.has_filenames = value != 0,
                9 => mapping.has_line_numbers = value != 0,
                _ => mapping.has_inline_frames = value != 0,
            }
        }
        ids.push(id);
        out.push(mapping);
    }
    Ok(())
}

/// Decodes the functions; `ids` becomes their ids.
pub(super) fn functions(source: Source<'_>, spans: &[Span], ids: &mut Vec<u64>, out: &mut Vec<Function>) -> Result<()> {
    ids.clear();
    ids.reserve(spans.len());
    out.reserve(spans.len());
    for (at, span) in spans.iter().enumerate() {
        let mut reader = source.reader(*span);
        let (mut id, mut function) = (0, Function::default());
        while !reader.is_done() {
            let tag = reader.tag()?;
            match tag {
                0x08 => id = reader.varint()?,
                0x10 => function.name = source.string(reader.varint()?, "function", at)?,
                0x18 => function.system_name = source.string(reader.varint()?, "function", at)?,
                0x20 => function.filename = source.string(reader.varint()?, "function", at)?,
                0x28 => function.start_line = reader.varint()?.cast_signed(),
                _ => reader.skip(tag, 5)?,
            }
        }
        ids.push(id);
        out.push(function);
    }
    Ok(())
}

/// The tables that locations refer to.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) mappings: &'a IdMap,
    pub(super) functions: &'a IdMap,
}

/// Decodes the locations and their lines; `ids` becomes the locations' ids.
pub(super) fn locations(
    source: Source<'_>,
    spans: &[Span],
    known: Known<'_>,
    ids: &mut Vec<u64>,
    out: (&mut Vec<Location>, &mut Vec<Line>),
) -> Result<()> {
    let (locations, lines) = out;
    ids.clear();
    ids.reserve(spans.len());
    locations.reserve(spans.len());
    lines.reserve(spans.len());
    for (at, span) in spans.iter().enumerate() {
        let mut reader = source.reader(*span);
        let (mut id, mut mapping, mut address, mut is_folded) = (0, 0, 0, false);
        let lines_start = lines.len();
        while !reader.is_done() {
            let tag = reader.tag()?;
            match tag {
                0x08 => id = reader.varint()?,
                0x10 => mapping = reader.varint()?,
                0x18 => address = reader.varint()?,
                LINE => {
                    within("lines_max", source.limits.lines_max, lines.len() + 1)?;
                    lines.push(line(reader.message()?, known.functions, at)?);
                    let found = lines.len() - lines_start;
                    within("lines_per_location_max", source.limits.lines_per_location_max, found)?;
                }
                0x28 => is_folded = reader.varint()? != 0,
                _ => reader.skip(tag, 5)?,
            }
        }
        let mapping = match (mapping, known.mappings.get(mapping)) {
            (0, _) => NONE,
            (id, NONE) => return Err(dangling("location", at, "mapping", id)),
            (_, found) => found,
        };
        ids.push(id);
        let (lines_start, lines_end) = (row(lines_start as u64), row(lines.len() as u64));
        locations.push(Location { mapping, address, is_folded, lines_start, lines_end });
    }
    Ok(())
}

const LINE: u64 = bytes_tag(4);

#[inline(always)]
fn line(mut reader: Reader<'_>, functions: &IdMap, location: usize) -> Result<Line> {
    let mut line = Line { function: NONE, line: 0, column: 0 };
    while !reader.is_done() {
        let tag = reader.tag()?;
        match tag {
            0x08 => {
                let id = reader.varint()?;
                line.function = functions.get(id);
                if line.function == NONE && id != 0 {
                    return Err(dangling("location", location, "function", id));
                }
            }
            0x10 => line.line = reader.varint()?.cast_signed(),
            0x18 => line.column = reader.varint()?.cast_signed(),
            _ => reader.skip(tag, 3)?,
        }
    }
    Ok(line)
}
