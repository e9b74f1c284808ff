//! Where the rows of a profile lie: the one pass over the fields of `Profile`.

use flamestore_model::{Error, Result};

use crate::Limits;
use crate::limits::within;
use crate::wire::{Reader, Span, bytes_tag, varint_tag};

/// The highest field number of `Profile`.
const FIELDS: u64 = 15;

/// Where each row of each table lies in the profile's bytes, and its single numbers.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) sample_types: Vec<Span>,
    pub(super) samples: Vec<Span>,
    pub(super) mappings: Vec<Span>,
    pub(super) locations: Vec<Span>,
    pub(super) functions: Vec<Span>,
    pub(super) strings: Vec<Span>,
    pub(super) comments: Vec<u64>,
    pub(super) period_type: Option<Span>,
    /// The single numbers by field; unset ones are 0.
    single: [u64; 16],
    seen: u32,
}

impl Layout {
    /// Forgets the last profile.
    fn clear(&mut self) {
        let tables = [
            &mut self.sample_types,
            &mut self.samples,
            &mut self.mappings,
            &mut self.locations,
            &mut self.functions,
            &mut self.strings,
        ];
        tables.into_iter().for_each(Vec::clear);
        self.comments.clear();
        self.period_type = None;
        self.single = Default::default();
        self.seen = 0;
    }

    /// Notes where the rows of `bytes` lie.
    pub(super) fn read(&mut self, bytes: &[u8], limits: &Limits) -> Result<()> {
        self.clear();
        let mut reader = Reader::new(bytes);
        while !reader.is_done() {
            let tag = reader.tag()?;
            match tag {
                STRING => {
                    let span = reader.message()?.span();
                    within("string_bytes_max", limits.string_bytes_max, span.1 as usize)?;
                    push(&mut self.strings, span, "strings_max", limits.strings_max)?;
                }
                LOCATION => {
                    push(&mut self.locations, reader.message()?.span(), "locations_max", limits.locations_max)?;
                }
                FUNCTION => {
                    push(&mut self.functions, reader.message()?.span(), "functions_max", limits.functions_max)?;
                }
                SAMPLE => push(&mut self.samples, reader.message()?.span(), "samples_max", limits.samples_max)?,
                _ => self.rare(tag, &mut reader, limits)?,
            }
        }
        self.check_strings(bytes)
    }

    /// The value of the single number `field`; 0 if unset.
    pub(super) fn number(&self, field: usize) -> u64 {
        self.single[field]
    }

    fn rare(&mut self, tag: u64, reader: &mut Reader<'_>, limits: &Limits) -> Result<()> {
        match tag {
            MAPPING => push(&mut self.mappings, reader.message()?.span(), "mappings_max", limits.mappings_max),
            SAMPLE_TYPE => {
                push(&mut self.sample_types, reader.message()?.span(), "sample_types_max", limits.sample_types_max)
            }
            PERIOD_TYPE => {
                self.see(11, reader)?;
                self.period_type = Some(reader.message()?.span());
                Ok(())
            }
            COMMENT => {
                within("strings_max", limits.strings_max, self.comments.len() + 1)?;
                self.comments.push(reader.varint()?);
                Ok(())
            }
            COMMENTS => {
                reader.packed(&mut self.comments, |id| id)?;
                within("strings_max", limits.strings_max, self.comments.len())?;
                Ok(())
            }
            _ => match (tag >> 3, tag & 7) {
                (field @ (7..=10 | 12 | 14 | 15), 0) => {
                    self.see(field, reader)?;
                    self.single[row(field) as usize] = reader.varint()?;
                    Ok(())
                }
                _ => reader.skip(tag, FIELDS),
            },
        }
    }

    /// A single field that stands twice means that two profiles were written one after the other.
    fn see(&mut self, field: u64, reader: &Reader<'_>) -> Result<()> {
        let bit = 1 << field;
        if self.seen & bit != 0 {
            let what = format!("field {field} stands twice, as in two profiles written one after the other");
            return Err(reader.wrong(&what));
        }
        self.seen |= bit;
        Ok(())
    }

    fn check_strings(&self, bytes: &[u8]) -> Result<()> {
        match self.strings.first() {
            Some((_, 0)) => Ok(()),
            Some(&(at, length)) => {
                let text = &bytes[at as usize..][..length.min(64) as usize];
                let text = format!("{:?}", String::from_utf8_lossy(text));
                Err(Error::invalid("string_table[0] is not the empty string").with("string", text))
            }
            None => Err(Error::invalid("not a pprof profile: it has no string table").with("bytes", bytes.len())),
        }
    }
}

const SAMPLE_TYPE: u64 = bytes_tag(1);
const SAMPLE: u64 = bytes_tag(2);
const MAPPING: u64 = bytes_tag(3);
const LOCATION: u64 = bytes_tag(4);
const FUNCTION: u64 = bytes_tag(5);
const STRING: u64 = bytes_tag(6);
const PERIOD_TYPE: u64 = bytes_tag(11);
const COMMENT: u64 = varint_tag(13);
const COMMENTS: u64 = bytes_tag(13);

#[inline(always)]
fn push(table: &mut Vec<Span>, span: Span, limit: &'static str, max: usize) -> Result<()> {
    within(limit, max, table.len() + 1)?;
    table.push(span);
    Ok(())
}

/// A row number, offset or small id of a profile, which has fewer than 2³² bytes.
#[inline(always)]
pub(super) fn row(at: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "a profile has fewer than 2³² bytes, so fewer rows")]
    let row = at as u32;
    row
}
