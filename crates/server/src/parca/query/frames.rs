//! The frames of stacks as reports see them, of one dictionary or of several: an inlined function is a frame of its own.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use flamestore_calltree::Dictionary;
use flamestore_model::{Error, NONE, Result};

/// Distinct texts by id; 0 is the empty one.
#[derive(Debug)]
pub(super) struct Texts {
    ids: HashMap<Arc<[u8]>, u32>,
    texts: Vec<Arc<[u8]>>,
}

/// A line of a location, or a location without lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// A text, as all names are; empty if unknown.
    pub(super) name: u32,
    pub(super) system_name: u32,
    pub(super) filename: u32,
    /// 0 if unknown.
    pub(super) start_line: i64,
    /// 0 if unknown.
    pub(super) line: i64,
    /// 0 if unknown.
    pub(super) column: i64,
    /// Where it lies in the mapped file; 0 if unknown.
    pub(super) address: u64,
    /// Where it lay in memory.
    pub(super) absolute: u64,
    /// A row of [`Frames::mappings`], or [`NONE`].
    pub(super) mapping: u32,
    /// The path of the mapped file.
    pub(super) mapping_file: u32,
    pub(super) build_id: u32,
    /// Whether it was inlined into its caller.
    pub(super) is_inlined: bool,
    pub(super) is_folded: bool,
    /// Whether it is a line with a function, which may have no name.
    pub(super) has_function: bool,
    /// Whether it is a line at all.
    pub(super) is_line: bool,
    /// Frames of one location have one number.
    pub(super) location: u32,
    /// How many lines of the location lie between it and the innermost one.
    pub(super) depth: u32,
}

/// Frames by id. Those of one location follow each other, the outermost first.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pub(super) texts: Texts,
    pub(super) rows: Vec<Frame>,
    /// With texts of this table.
    pub(super) mappings: Vec<flamestore_model::Mapping>,
    locations: u32,
}

/// What of a dictionary is among the frames already, by its ids.
#[derive(Debug)]
pub(super) struct Known<'a> {
    dictionary: &'a Dictionary,
    locations: Vec<Option<(u32, u32)>>,
    mappings: Vec<u32>,
    strings: Vec<u32>,
}

impl Default for Texts {
    fn default() -> Self {
        let mut texts = Self { ids: HashMap::new(), texts: Vec::new() };
        texts.id(b"");
        texts
    }
}

impl Texts {
    /// The id of a text.
    pub(super) fn id(&mut self, text: &[u8]) -> u32 {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        // Every text stands in a dictionary, which has fewer than 2³² of them; frames are bounded below.
        let id = u32::try_from(self.texts.len()).unwrap_or(NONE);
        let text: Arc<[u8]> = text.into();
        self.texts.push(Arc::clone(&text));
        self.ids.insert(text, id);
        id
    }

    /// The bytes of text `id`.
    pub(super) fn get(&self, id: u32) -> &[u8] {
        self.texts.get(id as usize).map_or(b"", |text| text)
    }

    /// Text `id`, with what is not UTF-8 replaced.
    pub(super) fn text(&self, id: u32) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.get(id))
    }
}

/// The last part of a path.
pub(super) fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

impl<'a> Known<'a> {
    /// Nothing of `dictionary`, yet.
    pub(super) fn nothing(dictionary: &'a Dictionary) -> Self {
        Self {
            dictionary,
            locations: vec![None; dictionary.locations.len()],
            mappings: vec![NONE; dictionary.mappings.len()],
            strings: vec![NONE; dictionary.strings.len()],
        }
    }
}

impl Frames {
    /// What the frames take with their texts where they are written once more, about.
    pub(super) fn memory_bytes(&self) -> usize {
        const LINE_BYTES: usize = 128;
        let texts: usize = self.texts.texts.iter().map(|text| text.len() + LINE_BYTES / 2).sum();
        self.rows.len() * (size_of::<Frame>() + LINE_BYTES) + texts
    }

    /// The frames of `location`, the outermost first.
    ///
    /// # Errors
    /// `Exhausted` when there are 2³² frames.
    pub(super) fn of(&mut self, known: &mut Known<'_>, location: u32) -> Result<Range<u32>> {
        if let Some((start, end)) = known.locations[location as usize] {
            return Ok(start..end);
        }
        let count = |rows: usize| {
            let many = |_| Error::exhausted("the profiles have too many frames").with("found", rows);
            u32::try_from(rows).map_err(many)
        };
        let start = count(self.rows.len())?;
        let place = self.place(known, location);
        let lines = known.dictionary.locations.line_rows(location);
        if lines.is_empty() {
            self.rows.push(place);
        }
        let depths = count(lines.len())?;
        for (depth, row) in (0..depths).zip(lines).rev() {
            let frame = self.line(known, row, place);
            self.rows.push(Frame { is_inlined: depth + 1 < depths, depth, ..frame });
        }
        let end = count(self.rows.len())?;
        known.locations[location as usize] = Some((start, end));
        Ok(start..end)
    }

    /// What all frames of a location have in common.
    fn place(&mut self, known: &mut Known<'_>, location: u32) -> Frame {
        let dictionary = known.dictionary;
        let relative = dictionary.locations.address[location as usize];
        let mapping = dictionary.locations.mapping[location as usize];
        let number = self.locations;
        self.locations = self.locations.wrapping_add(1);
        let mut place = Frame {
            address: relative,
            absolute: dictionary.absolute_address(location),
            mapping: NONE,
            is_folded: dictionary.locations.is_folded[location as usize],
            location: number,
            ..Frame::default()
        };
        if mapping != NONE {
            let row = self.mapping(known, mapping);
            let mapping = &self.mappings[row as usize];
            place.mapping = row;
            (place.mapping_file, place.build_id) = (mapping.filename, mapping.build_id);
            // Where nothing is known of the place, the start of the mapping is none.
            let is_known = place.absolute != 0;
            place.address = if is_known { relative.wrapping_add(mapping.file_offset) } else { 0 };
        }
        place
    }

    fn mapping(&mut self, known: &mut Known<'_>, mapping: u32) -> u32 {
        if known.mappings[mapping as usize] == NONE {
            let row = known.dictionary.mappings[mapping as usize];
            let filename = self.string(known, row.filename);
            let build_id = self.string(known, row.build_id);
            known.mappings[mapping as usize] = u32::try_from(self.mappings.len()).unwrap_or(NONE);
            self.mappings.push(flamestore_model::Mapping { filename, build_id, ..row });
        }
        known.mappings[mapping as usize]
    }

    fn line(&mut self, known: &mut Known<'_>, row: usize, place: Frame) -> Frame {
        let line = known.dictionary.locations.line(row);
        let mut frame = Frame { line: line.line, column: line.column, is_line: true, ..place };
        if line.function != NONE {
            let function = known.dictionary.functions.get(line.function);
            frame.has_function = true;
            frame.name = self.string(known, function.name);
            frame.system_name = self.string(known, function.system_name);
            frame.filename = self.string(known, function.filename);
            frame.start_line = function.start_line;
        }
        frame
    }

    fn string(&mut self, known: &mut Known<'_>, string: u32) -> u32 {
        let id = &mut known.strings[string as usize];
        if *id == NONE {
            *id = self.texts.id(known.dictionary.strings.get(string));
        }
        *id
    }
}
