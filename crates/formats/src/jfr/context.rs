//! The labels that Pyroscope's Java agent sends beside a recording: sets of labels by the number that events carry.
//!
//! ```text
//! LabelsSnapshot  1 contexts: map<int64, Context>   2 strings: map<int64, string>
//! Context         1 labels: map<int64, int64>, a string's number to a string's number
//! ```

use flamestore_model::Result;
use hashbrown::HashMap;

use crate::Limits;
use crate::limits::within;
use crate::wire::Reader;

/// Sets of labels by number.
#[derive(Default)]
pub(super) struct Contexts<'a> {
    contexts: HashMap<i64, Vec<(i64, i64)>>,
    strings: HashMap<i64, &'a [u8]>,
}

impl<'a> Contexts<'a> {
    pub(super) fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self> {
        let mut contexts = Self::default();
        let mut reader = Reader::new(bytes);
        while !reader.is_done() {
            let tag = reader.tag()?;
            match tag {
                0x0a => contexts.context(reader.message()?, limits)?,
                0x12 => {
                    let (key, text) = entry(reader.message()?)?;
                    let text = text.map(|text| text.rest()).unwrap_or_default();
                    within("string_bytes_max", limits.string_bytes_max, text.len())?;
                    within("strings_max", limits.strings_max, contexts.strings.len() + 1)?;
                    contexts.strings.insert(key, text);
                }
                _ => reader.skip(tag, 2)?,
            }
        }
        Ok(contexts)
    }

    fn context(&mut self, reader: Reader<'_>, limits: &Limits) -> Result<()> {
        let (key, context) = entry(reader)?;
        let mut labels = Vec::new();
        let mut context = context.unwrap_or(Reader::new(&[]));
        while !context.is_done() {
            let tag = context.tag()?;
            match tag {
                0x0a => {
                    within("labels_per_sample_max", limits.labels_per_sample_max, labels.len() + 1)?;
                    labels.push(number_pair(context.message()?)?);
                }
                _ => context.skip(tag, 1)?,
            }
        }
        within("labels_max", limits.labels_max, self.contexts.len() + 1)?;
        self.contexts.insert(key, labels);
        Ok(())
    }

    /// The labels of context `id`; those whose strings are missing are left out.
    pub(super) fn labels(&self, id: i64) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let pairs = self.contexts.get(&id).map(Vec::as_slice).unwrap_or_default();
        pairs.iter().filter_map(|(key, value)| Some((self.string(*key)?, self.string(*value)?)))
    }

    /// The string `id`.
    pub(super) fn string(&self, id: i64) -> Option<&'a [u8]> {
        self.strings.get(&id).copied()
    }
}

/// The key and the value of an entry of a map from numbers to messages or strings.
fn entry(mut reader: Reader<'_>) -> Result<(i64, Option<Reader<'_>>)> {
    let (mut key, mut value) = (0, None);
    while !reader.is_done() {
        let tag = reader.tag()?;
        match tag {
            0x08 => key = reader.varint()?.cast_signed(),
            0x12 => value = Some(reader.message()?),
            _ => reader.skip(tag, 2)?,
        }
    }
    Ok((key, value))
}

/// The key and the value of an entry of a map from numbers to numbers.
fn number_pair(mut reader: Reader<'_>) -> Result<(i64, i64)> {
    let (mut key, mut value) = (0, 0);
    while !reader.is_done() {
        let tag = reader.tag()?;
        match tag {
            0x08 => key = reader.varint()?.cast_signed(),
            0x10 => value = reader.varint()?.cast_signed(),
            _ => reader.skip(tag, 2)?,
        }
    }
    Ok((key, value))
}
