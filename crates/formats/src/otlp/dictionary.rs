//! The tables that all profiles of a request share, decoded once.
//!
//! ```text
//! text     every string, one after the other, and those the decoder made (ids in hexadecimal, values as text)
//! strings  where each lies in `text`: first the rows of string_table, so its ids stay, then the others
//! tables   functions, lines, locations, mappings, stacks, attributes, links: rows refer to each other by number
//! ```
//!
//! Row 0 of every table means "none". Every reference is checked here, so a profile needs to check only its own.
//! The tables take a multiple of the bytes that describe them, bounded by the limits; a stack is kept once.

use bytes::Bytes;
use flamestore_model::{Error, Function, LabelValue, Line, Location, Mapping, NONE, Result};
use hashbrown::HashMap;

use super::any_value::{AnyValue, StringTable};
use super::layout::{is_attribute_unit, too_old};
use super::sample::numbers;
use crate::Limits;
use crate::gather::Tables;
use crate::limits::within;
use crate::wire::{Reader, Span, bytes_tag, varint_tag};

/// An attribute: a key and its values, rows of [`Dictionary::attribute_values`]. More than one where the value is a list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attribute {
    /// A string. Equal keys have equal numbers.
    pub(super) key: u32,
    values_start: u32,
    values_end: u32,
}

/// A span of a trace: strings of hexadecimal digits, 0 where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    pub(super) trace_id: u32,
    pub(super) span_id: u32,
}

/// The strings that every request has need of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KnownStrings {
    pub(super) timestamp: u32,
    pub(super) nanoseconds: u32,
    pub(super) trace_id: u32,
    pub(super) span_id: u32,
    pub(super) samples: u32,
    pub(super) cpu: u32,
    pub(super) wall: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    pub(super) text: Bytes,
    pub(super) strings: Vec<Span>,
    pub(super) known: KnownStrings,
    table_strings: u64,
    pub(super) mappings: Vec<Mapping>,
    pub(super) functions: Vec<Function>,
    pub(super) lines: Vec<Line>,
    pub(super) locations: Vec<Location>,
    stack_offsets: Vec<u32>,
    stack_locations: Vec<u32>,
    attributes: Vec<Attribute>,
    attribute_values: Vec<LabelValue>,
    links: Vec<Link>,
}

/// Where the rows of each table lie in the request.
#[derive(Default)]
struct Rows {
    mappings: Vec<Span>,
    locations: Vec<Span>,
    functions: Vec<Span>,
    links: Vec<Span>,
    strings: Vec<Span>,
    attributes: Vec<Span>,
    stacks: Vec<Span>,
}

impl Dictionary {
    /// Decodes the dictionary at `spans` of the request: one message, which may stand in several parts.
    pub(super) fn decode(bytes: &[u8], spans: &[Span], limits: &Limits) -> Result<Self> {
        let mut rows = Rows::default();
        for span in spans {
            rows.read(Reader::of(bytes, *span), limits)?;
        }
        let mut decoder = Decoder::new(bytes, &rows, limits)?;
        decoder.attributes(&rows)?;
        decoder.mappings(&rows)?;
        decoder.functions(&rows)?;
        decoder.locations(&rows)?;
        decoder.stacks(&rows)?;
        decoder.links(&rows)?;
        decoder.finish()
    }

    /// What profiles refer to.
    pub(super) fn tables(&self) -> Tables<'_> {
        let Self { text, strings, mappings, functions, lines, locations, .. } = self;
        Tables { text, strings, mappings, functions, lines, locations }
    }

    /// The locations of stack `id`, leaf first; without a stack table, stack 0 is empty.
    pub(super) fn stack(&self, id: u64) -> Option<&[u32]> {
        let at = usize::try_from(id).ok()?;
        match self.stack_offsets.get(at..) {
            Some([start, end, ..]) => Some(&self.stack_locations[*start as usize..*end as usize]),
            _ => (id == 0).then_some(&[]),
        }
    }

    /// The attribute `id`.
    pub(super) fn attribute(&self, id: u64) -> Option<Attribute> {
        self.attributes.get(usize::try_from(id).ok()?).copied()
    }

    /// The values of `attribute`.
    pub(super) fn values(&self, attribute: Attribute) -> &[LabelValue] {
        &self.attribute_values[attribute.values_start as usize..attribute.values_end as usize]
    }

    /// The link `id`; without a link table, link 0 is none.
    pub(super) fn link(&self, id: u64) -> Option<Link> {
        match self.links.get(usize::try_from(id).ok()?) {
            None if id == 0 => Some(Link::default()),
            found => found.copied(),
        }
    }

    /// The text of string `id`, which is one of [`Self::strings`].
    pub(super) fn text(&self, id: u32) -> &[u8] {
        slice(&self.text, self.strings[id as usize])
    }
}

impl StringTable for Dictionary {
    fn string(&self, id: u64) -> Option<&[u8]> {
        let at = usize::try_from(id).ok().filter(|_| id < self.table_strings)?;
        self.strings.get(at).map(|span| slice(&self.text, *span))
    }
}

impl Rows {
    fn read(&mut self, mut reader: Reader<'_>, limits: &Limits) -> Result<()> {
        while !reader.is_done() {
            let tag = reader.tag()?;
            let (rows, limit, max) = match tag {
                MAPPING => (&mut self.mappings, "mappings_max", limits.mappings_max),
                LOCATION => (&mut self.locations, "locations_max", limits.locations_max),
                FUNCTION => (&mut self.functions, "functions_max", limits.functions_max),
                LINK => (&mut self.links, "samples_max", limits.samples_max),
                STRING => (&mut self.strings, "strings_max", limits.strings_max),
                ATTRIBUTE => (&mut self.attributes, "labels_max", limits.labels_max),
                STACK => (&mut self.stacks, "samples_max", limits.samples_max),
                _ => {
                    reader.skip(tag, 7)?;
                    continue;
                }
            };
            within(limit, max, rows.len() + 1)?;
            rows.push(reader.message()?.span());
        }
        Ok(())
    }
}

const MAPPING: u64 = bytes_tag(1);
const LOCATION: u64 = bytes_tag(2);
const FUNCTION: u64 = bytes_tag(3);
const LINK: u64 = bytes_tag(4);
const STRING: u64 = bytes_tag(5);
const ATTRIBUTE: u64 = bytes_tag(6);
const STACK: u64 = bytes_tag(7);

/// Makes the tables, one after the other.
struct Decoder<'a> {
    bytes: &'a [u8],
    limits: &'a Limits,
    text: Vec<u8>,
    inline: HashMap<&'a [u8], u32>,
    /// The number of the first string with a text, for those that are keys.
    keys: HashMap<Vec<u8>, u32>,
    /// The same by number.
    key_ids: HashMap<u32, u32>,
    out: Dictionary,
}

impl<'a> Decoder<'a> {
    fn new(bytes: &'a [u8], rows: &Rows, limits: &'a Limits) -> Result<Self> {
        let mut text = Vec::with_capacity(rows.strings.iter().map(|span| span.1 as usize).sum());
        let mut strings = Vec::with_capacity(rows.strings.len() + 8);
        for span in &rows.strings {
            within("string_bytes_max", limits.string_bytes_max, span.1 as usize)?;
            strings.push((row(text.len()), span.1));
            text.extend_from_slice(slice(bytes, *span));
        }
        match strings.first() {
            None => strings.push((0, 0)),
            Some((_, 0)) => {}
            Some(_) => {
                let first = format!("{:?}", String::from_utf8_lossy(&text[..text.len().min(64)]));
                return Err(Error::invalid("string_table[0] is not the empty string").with("string", first));
            }
        }
        let out = Dictionary { table_strings: strings.len() as u64, strings, ..Dictionary::default() };
        let (inline, keys, key_ids) = Default::default();
        Ok(Self { bytes, limits, text, inline, keys, key_ids, out })
    }

    fn finish(mut self) -> Result<Dictionary> {
        self.out.known = KnownStrings {
            timestamp: self.add_string(super::TIMESTAMP.as_bytes())?,
            nanoseconds: self.add_string(b"nanoseconds")?,
            trace_id: self.add_string(super::TRACE_ID.as_bytes())?,
            span_id: self.add_string(super::SPAN_ID.as_bytes())?,
            samples: self.add_string(b"samples")?,
            cpu: self.add_string(b"cpu")?,
            wall: self.add_string(b"wall")?,
        };
        self.out.text = Bytes::from(self.text);
        Ok(self.out)
    }

    /// The number of a new string.
    fn add_string(&mut self, text: &[u8]) -> Result<u32> {
        within("decompressed_bytes_max", NONE as usize - 1, self.text.len() + text.len())?;
        let id = row(self.out.strings.len());
        self.out.strings.push((row(self.text.len()), row(text.len())));
        self.text.extend_from_slice(text);
        Ok(id)
    }

    /// The number of a string that stands in the request itself.
    fn inline_string(&mut self, text: &'a [u8]) -> Result<u32> {
        if text.is_empty() {
            return Ok(0);
        }
        if let Some(id) = self.inline.get(text) {
            return Ok(*id);
        }
        within("string_bytes_max", self.limits.string_bytes_max, text.len())?;
        let id = self.add_string(text)?;
        self.inline.insert(text, id);
        Ok(id)
    }

    /// The string `id`, checked. `what` and `at` say who refers to it.
    fn string_id(&self, id: u64, what: &str, at: usize) -> Result<u32> {
        if id < self.out.table_strings { Ok(short(id)) } else { Err(dangling(what, at, "string", id)) }
    }

    fn attributes(&mut self, rows: &Rows) -> Result<()> {
        for (at, span) in rows.attributes.iter().enumerate() {
            let attribute = self.attribute(Reader::of(self.bytes, *span), at)?;
            self.out.attributes.push(attribute);
        }
        Ok(())
    }

    fn attribute(&mut self, mut reader: Reader<'a>, at: usize) -> Result<Attribute> {
        let (mut key, mut value, mut unit) = (0, AnyValue::Empty, 0);
        while !reader.is_done() {
            let tag = reader.tag()?;
            match tag {
                0x08 => key = self.string_id(reader.varint()?, "attribute", at)?,
                0x0a => return Err(too_old("the key of an attribute is written out")),
                0x12 => value = AnyValue::read(reader.message()?)?,
                0x18 => unit = self.string_id(reader.varint()?, "attribute", at)?,
                _ => reader.skip(tag, 3)?,
            }
        }
        let values_start = row(self.out.attribute_values.len());
        for element in value.elements(self.limits.labels_per_sample_max)? {
            let value = self.label_value(element, unit, at)?;
            self.out.attribute_values.push(value);
        }
        within("labels_max", self.limits.labels_max, self.out.attribute_values.len())?;
        let key = self.one_key(key);
        Ok(Attribute { key, values_start, values_end: row(self.out.attribute_values.len()) })
    }

    /// The same number for keys of the same text.
    fn one_key(&mut self, key: u32) -> u32 {
        // Each string is compared once, however many attributes have it.
        if let Some(first) = self.key_ids.get(&key) {
            return *first;
        }
        let text = slice(&self.text, self.out.strings[key as usize]);
        let first = *self.keys.entry(text.to_vec()).or_insert(key);
        self.key_ids.insert(key, first);
        first
    }

    fn label_value(&mut self, value: AnyValue<'a>, unit: u32, at: usize) -> Result<LabelValue> {
        Ok(match value {
            AnyValue::Int(number) => LabelValue::Num(number, unit),
            AnyValue::Str(text) => LabelValue::Str(self.inline_string(text)?),
            AnyValue::StrRef(id) => LabelValue::Str(self.string_id(id, "attribute", at)?),
            AnyValue::Empty => LabelValue::Str(0),
            other => {
                let mut text = Vec::new();
                other.write_text(&*self, &mut text, self.limits.string_bytes_max)?;
                within("decompressed_bytes_max", self.limits.decompressed_bytes(), self.text.len() + text.len())?;
                LabelValue::Str(self.add_string(&text)?)
            }
        })
    }

    fn mappings(&mut self, rows: &Rows) -> Result<()> {
        let mut attributes = Vec::new();
        for (at, span) in rows.mappings.iter().enumerate() {
            let mut reader = Reader::of(self.bytes, *span);
            let mut mapping = Mapping::default();
            attributes.clear();
            while !reader.is_done() {
                let tag = reader.tag()?;
                match tag {
                    0x08 => mapping.memory_start = reader.varint()?,
                    0x10 => mapping.memory_limit = reader.varint()?,
                    0x18 => mapping.file_offset = reader.varint()?,
                    0x20 => mapping.filename = self.string_id(reader.varint()?, "mapping", at)?,
                    _ => indices(&mut reader, tag, 5, &mut attributes, self.limits)?,
                }
            }
            self.mapping_attributes(&attributes, &mut mapping, at)?;
            self.out.mappings.push(mapping);
        }
        Ok(())
    }

    /// Of several build ids the linker's is kept, else Go's, else the hash of the file.
    fn mapping_attributes(&self, ids: &[u64], mapping: &mut Mapping, at: usize) -> Result<()> {
        let mut rank = usize::MAX;
        for id in ids {
            let (key, value) = self.first_value(*id, "mapping", at)?;
            let is_true = || matches!(value, Some(LabelValue::Str(text)) if self.text_of(text) == b"true");
            match key {
                b"pprof.mapping.has_functions" => mapping.has_functions = is_true(),
                b"pprof.mapping.has_filenames" => mapping.has_filenames = is_true(),
                b"pprof.mapping.has_line_numbers" => mapping.has_line_numbers = is_true(),
                b"pprof.mapping.has_inline_frames" => mapping.has_inline_frames = is_true(),
                _ => {
                    let Some(found) = BUILD_IDS.iter().position(|name| name.as_bytes() == key) else { continue };
                    if let Some(LabelValue::Str(text)) = value
                        && found < rank
                    {
                        (rank, mapping.build_id) = (found, text);
                    }
                }
            }
        }
        Ok(())
    }

    /// The key and the first value of attribute `id`, to which row `at` of table `what` refers.
    fn first_value(&self, id: u64, what: &str, at: usize) -> Result<(&[u8], Option<LabelValue>)> {
        let Some(attribute) = self.out.attribute(id) else { return Err(dangling(what, at, "attribute", id)) };
        Ok((self.text_of(attribute.key), self.out.values(attribute).first().copied()))
    }

    fn text_of(&self, id: u32) -> &[u8] {
        slice(&self.text, self.out.strings[id as usize])
    }

    fn functions(&mut self, rows: &Rows) -> Result<()> {
        for (at, span) in rows.functions.iter().enumerate() {
            let mut reader = Reader::of(self.bytes, *span);
            let mut function = Function::default();
            while !reader.is_done() {
                let tag = reader.tag()?;
                match tag {
                    0x08 => function.name = self.string_id(reader.varint()?, "function", at)?,
                    0x10 => function.system_name = self.string_id(reader.varint()?, "function", at)?,
                    0x18 => function.filename = self.string_id(reader.varint()?, "function", at)?,
                    0x20 => function.start_line = reader.varint()?.cast_signed(),
                    _ => reader.skip(tag, 4)?,
                }
            }
            self.out.functions.push(function);
        }
        Ok(())
    }

    fn locations(&mut self, rows: &Rows) -> Result<()> {
        let mut attributes = Vec::new();
        for (at, span) in rows.locations.iter().enumerate() {
            let mut reader = Reader::of(self.bytes, *span);
            let lines_start = self.out.lines.len();
            let (mut mapping, mut address) = (0, 0);
            attributes.clear();
            while !reader.is_done() {
                let tag = reader.tag()?;
                match tag {
                    0x08 => mapping = reader.varint()?,
                    0x10 => address = reader.varint()?,
                    LINE => {
                        let found = self.out.lines.len() + 1;
                        within("lines_max", self.limits.lines_max, found)?;
                        within("lines_per_location_max", self.limits.lines_per_location_max, found - lines_start)?;
                        let line = line(reader.message()?, self.out.functions.len(), at)?;
                        self.out.lines.push(line);
                    }
                    _ => indices(&mut reader, tag, 4, &mut attributes, self.limits)?,
                }
            }
            let mapping = reference(mapping, self.out.mappings.len(), ("location", at, "mapping"))?;
            let mut is_folded = false;
            for id in &attributes {
                let (key, value) = self.first_value(*id, "location", at)?;
                if key == b"pprof.location.is_folded" {
                    is_folded = matches!(value, Some(LabelValue::Str(text)) if self.text_of(text) == b"true");
                }
            }
            let (lines_start, lines_end) = (row(lines_start), row(self.out.lines.len()));
            self.out.locations.push(Location { mapping, address, is_folded, lines_start, lines_end });
        }
        Ok(())
    }

    fn stacks(&mut self, rows: &Rows) -> Result<()> {
        self.out.stack_offsets.push(0);
        let locations = self.out.locations.len() as u64;
        for (at, span) in rows.stacks.iter().enumerate() {
            let mut reader = Reader::of(self.bytes, *span);
            if is_attribute_unit(reader)? {
                return Err(too_old("table 7 of the dictionary has units of attributes"));
            }
            let start = self.out.stack_locations.len();
            let out = &mut self.out.stack_locations;
            let mut push = |id: u64| {
                let depth = out.len() - start + 1;
                within("stack_depth_max", self.limits.stack_depth_max, depth)?;
                if id >= locations {
                    return Err(dangling("stack", at, "location", id));
                }
                out.push(short(id));
                Ok(())
            };
            while !reader.is_done() {
                let tag = reader.tag()?;
                match tag {
                    0x0a => {
                        let mut run = reader.message()?;
                        while !run.is_done() {
                            push(run.varint()?)?;
                        }
                    }
                    0x08 => push(reader.varint()?)?,
                    _ => reader.skip(tag, 1)?,
                }
            }
            self.out.stack_offsets.push(row(self.out.stack_locations.len()));
        }
        Ok(())
    }

    fn links(&mut self, rows: &Rows) -> Result<()> {
        for (at, span) in rows.links.iter().enumerate() {
            let mut reader = Reader::of(self.bytes, *span);
            let mut link = Link::default();
            while !reader.is_done() {
                let tag = reader.tag()?;
                match tag {
                    0x0a => link.trace_id = self.hexadecimal(reader.message()?.rest(), 16, at)?,
                    0x12 => link.span_id = self.hexadecimal(reader.message()?.rest(), 8, at)?,
                    _ => reader.skip(tag, 2)?,
                }
            }
            self.out.links.push(link);
        }
        Ok(())
    }

    /// The digits of an id of `length` bytes as a string; 0 where it is empty or all zeros.
    fn hexadecimal(&mut self, id: &[u8], length: usize, at: usize) -> Result<u32> {
        if id.iter().all(|byte| *byte == 0) {
            return Ok(0);
        }
        if id.len() != length {
            let found = id.len();
            return Err(Error::invalid(format!("link {at}: an id of {length} bytes has {found}")));
        }
        self.add_string(super::hexadecimal(id).as_bytes())
    }
}

impl StringTable for Decoder<'_> {
    fn string(&self, id: u64) -> Option<&[u8]> {
        let at = usize::try_from(id).ok().filter(|_| id < self.out.table_strings)?;
        self.out.strings.get(at).map(|span| slice(&self.text, *span))
    }
}

/// The attributes that name a mapped file, the better ones first.
const BUILD_IDS: [&str; 3] =
    ["process.executable.build_id.gnu", "process.executable.build_id.go", "process.executable.build_id.htlhash"];
const LINE: u64 = bytes_tag(3);

fn line(mut reader: Reader<'_>, functions: usize, location: usize) -> Result<Line> {
    let mut line = Line { function: NONE, line: 0, column: 0 };
    while !reader.is_done() {
        let tag = reader.tag()?;
        match tag {
            0x08 => line.function = reference(reader.varint()?, functions, ("location", location, "function"))?,
            0x10 => line.line = reader.varint()?.cast_signed(),
            0x18 => line.column = reader.varint()?.cast_signed(),
            _ => reader.skip(tag, 3)?,
        }
    }
    Ok(line)
}

/// Adds the numbers of a message's last field, the repeated `number`, to `out`, or skips another field.
fn indices(reader: &mut Reader<'_>, tag: u64, number: u64, out: &mut Vec<u64>, limits: &Limits) -> Result<()> {
    let limit = ("labels_per_sample_max", limits.labels_per_sample_max);
    if tag == bytes_tag(number) {
        return numbers(reader.message()?, out, |id| id, limit);
    }
    if tag == varint_tag(number) {
        within(limit.0, limit.1, out.len() + 1)?;
        out.push(reader.varint()?);
        return Ok(());
    }
    reader.skip(tag, number)
}

/// Row `id` of a table of `rows` rows, of which the first means none.
fn reference(id: u64, rows: usize, (what, at, table): (&str, usize, &str)) -> Result<u32> {
    match id {
        0 => Ok(NONE),
        id if id < rows as u64 => Ok(short(id)),
        id => Err(dangling(what, at, table, id)),
    }
}

/// The error of row `at` of table `what` that refers to a row of table `table` that is not there.
#[cold]
pub(super) fn dangling(what: &str, at: usize, table: &str, id: u64) -> Error {
    Error::invalid(format!("{what} {at}: {table} {} is not in the {table} table", id.cast_signed()))
}

/// The slice `span` of `bytes`, of which it is one.
fn slice(bytes: &[u8], span: Span) -> &[u8] {
    &bytes[span.0 as usize..][..span.1 as usize]
}

/// A number that was compared with one of a table's rows.
fn short(id: u64) -> u32 {
    u32::try_from(id).unwrap_or(NONE)
}

/// A row number or an offset of tables that the limits keep below 2³².
fn row(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NONE)
}
