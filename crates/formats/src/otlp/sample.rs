//! One sample as its message says it, before its references are looked up.

use flamestore_model::{Error, Result};

use super::dictionary::Dictionary;
use super::layout::OtlpLayout;
use crate::Limits;
use crate::limits::within;
use crate::wire::{Reader, bytes_tag, fixed64_tag, varint_tag};

/// A sample's numbers. Kept from one sample to the next for its room.
#[derive(Debug, Default)]
pub(super) struct RawSample {
    pub(super) stack: u64,
    pub(super) attributes: Vec<u64>,
    pub(super) link: u64,
    pub(super) values: Vec<i64>,
    pub(super) timestamps: Vec<u64>,
    keys: Vec<u32>,
}

impl RawSample {
    /// Takes the sample of the message `reader`. The tables are not looked at.
    pub(super) fn read(&mut self, mut reader: Reader<'_>, layout: OtlpLayout, limits: &Limits) -> Result<()> {
        (self.stack, self.link) = (0, 0);
        self.attributes.clear();
        self.values.clear();
        self.timestamps.clear();
        let (attributes, link, values) = (layout.attributes(), layout.link(), layout.values());
        while !reader.is_done() {
            let tag = reader.tag()?;
            if tag == bytes_tag(values) {
                let max = limits.samples_max;
                numbers(reader.message()?, &mut self.values, u64::cast_signed, ("samples_max", max))?;
            } else if tag == bytes_tag(attributes) {
                let max = limits.labels_per_sample_max;
                numbers(reader.message()?, &mut self.attributes, |id| id, ("labels_per_sample_max", max))?;
            } else if tag == bytes_tag(5) {
                self.timestamps(reader.message()?, limits)?;
            } else if tag == varint_tag(1) {
                self.stack = reader.varint()?;
            } else if tag == varint_tag(link) {
                self.link = reader.varint()?;
            } else if tag == varint_tag(attributes) {
                within("labels_per_sample_max", limits.labels_per_sample_max, self.attributes.len() + 1)?;
                self.attributes.push(reader.varint()?);
            } else if tag == varint_tag(values) {
                within("samples_max", limits.samples_max, self.values.len() + 1)?;
                self.values.push(reader.varint()?.cast_signed());
            } else if tag == fixed64_tag(5) {
                within("samples_max", limits.samples_max, self.timestamps.len() + 1)?;
                self.timestamps.push(reader.fixed64()?);
            } else {
                reader.skip(tag, 5)?;
            }
        }
        Ok(())
    }

    fn timestamps(&mut self, mut run: Reader<'_>, limits: &Limits) -> Result<()> {
        within("samples_max", limits.samples_max, self.timestamps.len() + run.left() / 8)?;
        while !run.is_done() {
            self.timestamps.push(run.fixed64()?);
        }
        Ok(())
    }

    /// How many observations it is: values without times, times without values (each of value 1), or both in step.
    pub(super) fn observations(&self) -> Result<usize> {
        match (self.values.len(), self.timestamps.len()) {
            (0, 0) => Err(Error::invalid("it has neither values nor timestamps")),
            (0, count) | (count, 0) => Ok(count),
            (values, timestamps) if values == timestamps => Ok(values),
            (values, timestamps) => Err(Error::invalid(format!("it has {values} values, but {timestamps} timestamps"))),
        }
    }

    /// Whether it is whole, refers to rows that exist, and names no attribute twice.
    pub(super) fn makes_sense(&mut self, dictionary: &Dictionary) -> bool {
        let refers = self.observations().is_ok()
            && dictionary.stack(self.stack).is_some()
            && dictionary.link(self.link).is_some()
            && self.attributes.iter().all(|id| dictionary.attribute(*id).is_some());
        if !refers {
            return false;
        }
        self.keys.clear();
        self.keys.extend(self.attributes.iter().filter_map(|id| dictionary.attribute(*id)).map(|found| found.key));
        self.keys.sort_unstable();
        self.keys.windows(2).all(|pair| pair[0] != pair[1])
    }
}

/// Adds the numbers of a packed field to `out`, up to the limit `max`.
pub(super) fn numbers<T>(
    mut run: Reader<'_>,
    out: &mut Vec<T>,
    from: impl Fn(u64) -> T,
    (limit, max): (&'static str, usize),
) -> Result<()> {
    while !run.is_done() {
        within(limit, max, out.len() + 1)?;
        out.push(from(run.varint()?));
    }
    Ok(())
}
