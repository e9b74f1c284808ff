//! Copies the rows of the tables of a request that one of its profiles refers to into tables of its own.

use bytes::Bytes;
use flamestore_model::{Function, Line, Location, Mapping, NONE, Result, Strings, Symbols};

use crate::Limits;
use crate::limits::within;
use crate::wire::Span;

/// The tables that all profiles of a request share. String 0 is the empty one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tables<'a> {
    pub(crate) text: &'a Bytes,
    pub(crate) strings: &'a [Span],
    pub(crate) mappings: &'a [Mapping],
    pub(crate) functions: &'a [Function],
    pub(crate) lines: &'a [Line],
    pub(crate) locations: &'a [Location],
}

/// For each row of a table of the request its row in the profile's table. A mark of the profile's own spares clearing it.
#[derive(Debug)]
struct Remap(Vec<(u32, u32)>);

impl Remap {
    fn of(rows: usize) -> Self {
        Self(vec![(0, 0); rows])
    }

    /// The row in the profile's table; the next one, `next`, where there was none.
    #[inline]
    fn get(&mut self, id: u32, mark: u32, next: usize) -> (u32, bool) {
        let slot = &mut self.0[id as usize];
        if slot.0 == mark {
            return (slot.1, false);
        }
        *slot = (mark, u32::try_from(next).unwrap_or(NONE));
        (slot.1, true)
    }
}

/// The tables of one profile after another.
#[derive(Debug)]
pub(crate) struct Gather<'a> {
    tables: Tables<'a>,
    limits: &'a Limits,
    mark: u32,
    /// Lines of all profiles so far.
    lines_total: usize,
    string_rows: Remap,
    mapping_rows: Remap,
    function_rows: Remap,
    location_rows: Remap,
    strings: Vec<Span>,
    mappings: Vec<Mapping>,
    functions: Vec<Function>,
    lines: Vec<Line>,
    locations: Vec<Location>,
}

impl<'a> Gather<'a> {
    pub(crate) fn new(tables: Tables<'a>, limits: &'a Limits) -> Self {
        Self {
            tables,
            limits,
            mark: 0,
            lines_total: 0,
            string_rows: Remap::of(tables.strings.len()),
            mapping_rows: Remap::of(tables.mappings.len()),
            function_rows: Remap::of(tables.functions.len()),
            location_rows: Remap::of(tables.locations.len()),
            strings: Vec::new(),
            mappings: Vec::new(),
            functions: Vec::new(),
            lines: Vec::new(),
            locations: Vec::new(),
        }
    }

    /// Begins another profile.
    pub(crate) fn start(&mut self) {
        self.mark += 1;
        self.strings.clear();
        self.mappings.clear();
        self.functions.clear();
        self.lines.clear();
        self.locations.clear();
        self.string(0);
    }

    /// The profile's number of string `id`.
    #[inline]
    pub(crate) fn string(&mut self, id: u32) -> u32 {
        let (row, is_new) = self.string_rows.get(id, self.mark, self.strings.len());
        if is_new {
            self.strings.push(self.tables.strings[id as usize]);
        }
        row
    }

    /// [`Self::string`] if it is `wanted`; else 0.
    pub(crate) fn known(&mut self, id: u32, wanted: bool) -> u32 {
        if wanted { self.string(id) } else { 0 }
    }

    /// The text of the profile's string `row`.
    pub(crate) fn text(&self, row: u32) -> &[u8] {
        let (at, length) = self.strings[row as usize];
        &self.tables.text[at as usize..][..length as usize]
    }

    /// The profile's number of location `id`.
    #[inline]
    pub(crate) fn location(&mut self, id: u32) -> Result<u32> {
        let (row, is_new) = self.location_rows.get(id, self.mark, self.locations.len());
        if is_new {
            self.copy_location(id)?;
        }
        Ok(row)
    }

    fn copy_location(&mut self, id: u32) -> Result<()> {
        let tables = self.tables;
        let from = tables.locations[id as usize];
        let lines = &tables.lines[from.lines_start as usize..from.lines_end as usize];
        self.lines_total += lines.len();
        within("lines_max", self.limits.lines_max, self.lines_total)?;
        let lines_start = self.lines.len();
        for line in lines {
            let function = self.function(line.function);
            self.lines.push(Line { function, ..*line });
        }
        let mapping = self.mapping(from.mapping);
        let row = |at: usize| u32::try_from(at).unwrap_or(NONE);
        let (lines_start, lines_end) = (row(lines_start), row(self.lines.len()));
        self.locations.push(Location { mapping, lines_start, lines_end, ..from });
        Ok(())
    }

    fn function(&mut self, id: u32) -> u32 {
        if id == NONE {
            return NONE;
        }
        let (row, is_new) = self.function_rows.get(id, self.mark, self.functions.len());
        if is_new {
            let from = self.tables.functions[id as usize];
            let [name, system_name, filename] =
                [from.name, from.system_name, from.filename].map(|text| self.string(text));
            self.functions.push(Function { name, system_name, filename, ..from });
        }
        row
    }

    fn mapping(&mut self, id: u32) -> u32 {
        if id == NONE {
            return NONE;
        }
        let (row, is_new) = self.mapping_rows.get(id, self.mark, self.mappings.len());
        if is_new {
            let from = self.tables.mappings[id as usize];
            let [filename, build_id] = [from.filename, from.build_id].map(|text| self.string(text));
            self.mappings.push(Mapping { filename, build_id, ..from });
        }
        row
    }

    /// The tables of the profile.
    pub(crate) fn finish(&mut self) -> Result<Symbols> {
        let strings = Strings::from_spans(self.tables.text.clone(), std::mem::take(&mut self.strings))?;
        Ok(Symbols {
            strings,
            mappings: std::mem::take(&mut self.mappings),
            functions: std::mem::take(&mut self.functions),
            lines: std::mem::take(&mut self.lines),
            locations: std::mem::take(&mut self.locations),
        })
    }
}
