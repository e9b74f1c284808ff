//! Stacks as records have them: lists of locations, in the columns of both versions.
//!
//! ```text
//! version 2   list_view<dictionary<struct<address, mapping_file, mapping_build_id, lines: list_view<struct<line, column,
//!             function: dictionary<struct<system_name, filename, start_line>>>>>>>
//! version 1   list<struct<address, mapping_start, …_limit, …_offset, …_file, …_build_id, lines: list<struct<line, column,
//!             function_name, function_system_name, function_filename, function_start_line>>>>
//! ```
//!
//! A column may be missing, and is then empty. A location or a function that a dictionary holds is looked at once.

use arrow_array::{Array, StructArray};
use flamestore_model::{Function, Line, Mapping, NONE, Result};

use super::column::{Column, Lists, Numbers, Strings, child, structs};
use super::tables::TableBuilder;
use crate::limits::within;

/// A column of stacks.
pub(super) struct Stacks<'a> {
    lists: Lists<'a>,
    locations: Locations<'a>,
}

impl<'a> Stacks<'a> {
    /// The column `array`.
    ///
    /// # Errors
    /// `Invalid` when it is none of stacks.
    pub(super) fn of(array: &'a dyn Array, tables: &TableBuilder) -> Result<Self> {
        let lists = Lists::of(array)?;
        let locations = Locations::of(lists.values, tables)?;
        Ok(Self { lists, locations })
    }

    /// Where the stack of `row` lies: rows of one place have one stack.
    pub(super) fn place(&mut self, row: usize) -> std::ops::Range<usize> {
        self.lists.get(row)
    }

    /// Adds the locations of the stack at `place` to `out`, leaf first.
    ///
    /// # Errors
    /// `Exhausted` over `stack_depth_max` and the limits of the tables.
    pub(super) fn read(
        &mut self,
        place: std::ops::Range<usize>,
        tables: &mut TableBuilder,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        within("stack_depth_max", tables.limits().stack_depth_max, place.len())?;
        for at in place {
            if let Some(location) = self.locations.id(at, tables)? {
                out.push(location);
            }
        }
        Ok(())
    }
}

/// Numbers of the values of a column that a dictionary holds, [`NONE`] where not known yet.
struct Known(Option<Vec<u32>>);

impl Known {
    fn of(column: &Column<'_>, limit: &'static str, max: usize) -> Result<Self> {
        if !column.is_shared() {
            return Ok(Self(None));
        }
        within(limit, max, column.values.len())?;
        Ok(Self(Some(vec![NONE; column.values.len()])))
    }

    fn get(&self, at: usize) -> Option<u32> {
        self.0.as_ref().and_then(|ids| ids.get(at)).copied().filter(|id| *id != NONE)
    }

    fn set(&mut self, at: usize, id: u32) {
        if let Some(known) = self.0.as_mut().and_then(|ids| ids.get_mut(at)) {
            *known = id;
        }
    }
}

struct Locations<'a> {
    column: Column<'a>,
    known: Known,
    address: Option<Numbers<'a>>,
    mapping: MappingColumns<'a>,
    lines: Option<Lines<'a>>,
    scratch: Vec<Line>,
}

impl<'a> Locations<'a> {
    fn of(array: &'a dyn Array, tables: &TableBuilder) -> Result<Self> {
        let column = Column::of(array)?;
        let limits = tables.limits();
        let fields = structs(column.values)?;
        Ok(Self {
            known: Known::of(&column, "locations_max", limits.locations_max)?,
            column,
            address: numbers(fields, "address")?,
            mapping: MappingColumns::of(fields)?,
            lines: child(fields, "lines").map(|lines| Lines::of(lines, tables)).transpose()?,
            scratch: Vec::new(),
        })
    }

    /// The number of the location in `row`; none where it is null.
    fn id(&mut self, row: usize, tables: &mut TableBuilder) -> Result<Option<u32>> {
        let Some(at) = self.column.at(row) else { return Ok(None) };
        if let Some(id) = self.known.get(at) {
            return Ok(Some(id));
        }
        let mapping = self.mapping.id(at, tables)?;
        self.scratch.clear();
        if let Some(lines) = &mut self.lines {
            lines.read(at, tables, &mut self.scratch)?;
        }
        let id = tables.location(mapping, number(&mut self.address, at).cast_unsigned(), &self.scratch)?;
        self.known.set(at, id);
        Ok(Some(id))
    }
}

struct MappingColumns<'a> {
    start: Option<Numbers<'a>>,
    limit: Option<Numbers<'a>>,
    offset: Option<Numbers<'a>>,
    file: Option<Strings<'a>>,
    build_id: Option<Strings<'a>>,
}

impl<'a> MappingColumns<'a> {
    fn of(fields: &'a StructArray) -> Result<Self> {
        Ok(Self {
            start: numbers(fields, "mapping_start")?,
            limit: numbers(fields, "mapping_limit")?,
            offset: numbers(fields, "mapping_offset")?,
            file: strings(fields, "mapping_file")?,
            build_id: strings(fields, "mapping_build_id")?,
        })
    }

    fn id(&mut self, at: usize, tables: &mut TableBuilder) -> Result<u32> {
        let mapping = Mapping {
            memory_start: number(&mut self.start, at).cast_unsigned(),
            memory_limit: number(&mut self.limit, at).cast_unsigned(),
            file_offset: number(&mut self.offset, at).cast_unsigned(),
            filename: string(&mut self.file, at, tables)?,
            build_id: string(&mut self.build_id, at, tables)?,
            ..Mapping::default()
        };
        tables.mapping(mapping)
    }
}

struct Lines<'a> {
    lists: Lists<'a>,
    column: Column<'a>,
    line: Option<Numbers<'a>>,
    col: Option<Numbers<'a>>,
    functions: Functions<'a>,
}

impl<'a> Lines<'a> {
    fn of(array: &'a dyn Array, tables: &TableBuilder) -> Result<Self> {
        let lists = Lists::of(array)?;
        let column = Column::of(lists.values)?;
        let fields = structs(column.values)?;
        let functions = match child(fields, "function") {
            Some(function) => Functions::shared(function, tables)?,
            None => Functions::inline(fields)?,
        };
        let (line, col) = (numbers(fields, "line")?, numbers(fields, "column")?);
        Ok(Self { lists, column, line, col, functions })
    }

    fn read(&mut self, row: usize, tables: &mut TableBuilder, out: &mut Vec<Line>) -> Result<()> {
        let range = self.lists.get(row);
        within("lines_per_location_max", tables.limits().lines_per_location_max, range.len())?;
        for row in range {
            let Some(at) = self.column.at(row) else { continue };
            let function = self.functions.id(at, tables)?;
            let (line, column) = (number(&mut self.line, at), number(&mut self.col, at));
            out.push(Line { function, line, column });
        }
        Ok(())
    }
}

struct Functions<'a> {
    /// The column of the functions, where they are not columns of the lines.
    shared: Option<(Column<'a>, Known)>,
    name: Option<Strings<'a>>,
    system_name: Option<Strings<'a>>,
    filename: Option<Strings<'a>>,
    start_line: Option<Numbers<'a>>,
}

impl<'a> Functions<'a> {
    fn shared(array: &'a dyn Array, tables: &TableBuilder) -> Result<Self> {
        let column = Column::of(array)?;
        let known = Known::of(&column, "functions_max", tables.limits().functions_max)?;
        let fields = structs(column.values)?;
        Ok(Self {
            name: strings(fields, "name")?,
            system_name: strings(fields, "system_name")?,
            filename: strings(fields, "filename")?,
            start_line: numbers(fields, "start_line")?,
            shared: Some((column, known)),
        })
    }

    fn inline(fields: &'a StructArray) -> Result<Self> {
        Ok(Self {
            name: strings(fields, "function_name")?,
            system_name: strings(fields, "function_system_name")?,
            filename: strings(fields, "function_filename")?,
            start_line: numbers(fields, "function_start_line")?,
            shared: None,
        })
    }

    /// The number of the function in `row`; [`NONE`] where there is none.
    fn id(&mut self, row: usize, tables: &mut TableBuilder) -> Result<u32> {
        let mut at = row;
        if let Some((column, known)) = &mut self.shared {
            let Some(found) = column.at(row) else { return Ok(NONE) };
            if let Some(id) = known.get(found) {
                return Ok(id);
            }
            at = found;
        }
        let system_name = string(&mut self.system_name, at, tables)?;
        let name = match string(&mut self.name, at, tables)? {
            0 => system_name,
            name => name,
        };
        let filename = string(&mut self.filename, at, tables)?;
        let start_line = number(&mut self.start_line, at);
        let id = tables.function(Function { name, system_name, filename, start_line })?;
        if let Some((_, known)) = &mut self.shared {
            known.set(at, id);
        }
        Ok(id)
    }
}

fn numbers<'a>(fields: &'a StructArray, name: &str) -> Result<Option<Numbers<'a>>> {
    child(fields, name).map(Numbers::of).transpose()
}

fn strings<'a>(fields: &'a StructArray, name: &str) -> Result<Option<Strings<'a>>> {
    child(fields, name).map(Strings::of).transpose()
}

fn number(column: &mut Option<Numbers<'_>>, at: usize) -> i64 {
    column.as_mut().and_then(|column| column.get(at)).unwrap_or_default()
}

fn string(column: &mut Option<Strings<'_>>, at: usize, tables: &mut TableBuilder) -> Result<u32> {
    column.as_mut().map_or(Ok(0), |column| column.id(at, tables))
}
