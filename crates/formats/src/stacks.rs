//! What the formats share that have stacks of names and a number for each: folded text, lines, trees, speedscope.

use flamestore_model::{Error, ProfileBatch, Result};
use hashbrown::HashMap;

use crate::limits::within;
use crate::{Limits, ProfileBuilder};

/// What stacks of names do not say of their profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldedOptions {
    /// The sample type.
    pub sample_type: String,
    /// Its unit.
    pub sample_unit: String,
    /// When the profile was taken, in nanoseconds since 1970; 0 if unknown.
    pub time_unix_nano: i64,
    /// How many nanoseconds it took; 0 for snapshots.
    pub duration_nano: i64,
    /// For values that count samples taken at a steady rate: what lies between two of them. It becomes the profile's period and
    /// a second sample type, of value times period, as in the CPU profiles of pprof.
    pub sampled_every: Option<SampledEvery>,
}

/// What lies between two samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampledEvery {
    /// What is counted: `cpu`.
    pub ty: String,
    /// In which unit: `nanoseconds`.
    pub unit: String,
    /// How much of it.
    pub period: i64,
}

impl Default for FoldedOptions {
    /// A count of samples at no known time.
    fn default() -> Self {
        Self {
            sample_type: "samples".to_owned(),
            sample_unit: "count".to_owned(),
            time_unix_nano: 0,
            duration_nano: 0,
            sampled_every: None,
        }
    }
}

/// What was taken so far of the limits on a profile, or on several of one file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    samples: usize,
    stack_locations: usize,
    text_bytes: usize,
}

/// A profile that grows stack by stack, under limits.
pub(crate) struct StackBuilder<'a> {
    pub(crate) builder: ProfileBuilder,
    pub(crate) spent: Spent,
    limits: &'a Limits,
    period: Option<i64>,
    frames: HashMap<Vec<u8>, u32>,
    leaf_first: Vec<u32>,
    last: LastText,
}

/// The last stack that came as text. Lines are often sorted, so the next one begins as it does.
#[derive(Default)]
struct LastText {
    text: Vec<u8>,
    /// Its frames, root first: where each ends, with the `;` behind it, and its location.
    frames: Vec<(usize, u32)>,
    root_first: Vec<u32>,
}

impl<'a> StackBuilder<'a> {
    /// A profile without stacks.
    pub(crate) fn new(options: &FoldedOptions, limits: &'a Limits) -> Self {
        let mut builder = ProfileBuilder::new();
        builder.sample_type(&options.sample_type, &options.sample_unit);
        builder.time(options.time_unix_nano, options.duration_nano);
        if let Some(every) = &options.sampled_every {
            builder.sample_type(&every.ty, &every.unit);
            builder.period(&every.ty, &every.unit, every.period);
        }
        Self {
            builder,
            spent: Spent::default(),
            limits,
            period: options.sampled_every.as_ref().map(|every| every.period),
            frames: HashMap::new(),
            leaf_first: Vec::new(),
            last: LastText::default(),
        }
    }

    /// The location that stands for the frame `name`.
    pub(crate) fn frame(&mut self, name: &[u8]) -> Result<u32> {
        if let Some(location) = self.frames.get(name) {
            return Ok(*location);
        }
        self.text(name.len())?;
        let location = self.builder.frame(name);
        self.known(location)?;
        self.frames.insert(name.to_vec(), location);
        Ok(location)
    }

    /// `Ok` when there may be another name of `length` bytes.
    pub(crate) fn text(&mut self, length: usize) -> Result<()> {
        within("string_bytes_max", self.limits.string_bytes_max, length)?;
        self.spent.text_bytes += length;
        within("decompressed_bytes_max", self.limits.decompressed_bytes_max, self.spent.text_bytes)
    }

    /// `Ok` when the builder may have as many locations as `location` is one of.
    pub(crate) fn known(&self, location: u32) -> Result<()> {
        within("locations_max", self.limits.locations_max, location as usize + 1)
    }

    /// Adds a stack as text, its frames apart by `;`. Empty ones are left out.
    pub(crate) fn push_text(&mut self, frames: &[u8], value: i64) -> Result<()> {
        let mut last = std::mem::take(&mut self.last);
        let same = same_bytes(&last.text, frames);
        let known = last.frames.partition_point(|(end, _)| *end <= same);
        last.frames.truncate(known);
        last.root_first.truncate(known);
        let mut start = last.frames.last().map_or(0, |(end, _)| *end);
        last.text.truncate(start);
        last.text.extend_from_slice(&frames[start..]);
        let unknown = start;
        for end in memchr::memchr_iter(b';', &frames[unknown..]).map(|at| unknown + at).chain([frames.len()]) {
            let frame = &frames[start..end];
            if !frame.is_empty() {
                within("stack_depth_max", self.limits.stack_depth_max, last.frames.len() + 1)?;
                let location = self.frame(frame)?;
                last.frames.push((end + 1, location));
                last.root_first.push(location);
            }
            start = end + 1;
        }
        let pushed = self.push(&last.root_first, value);
        self.last = last;
        pushed
    }

    /// Adds a stack of locations, root first.
    pub(crate) fn push(&mut self, root_first: &[u32], value: i64) -> Result<()> {
        let limits = self.limits;
        self.spent.samples += 1;
        within("samples_max", limits.samples_max, self.spent.samples)?;
        within("stack_depth_max", limits.stack_depth_max, root_first.len())?;
        self.spent.stack_locations += root_first.len();
        within("stack_locations_max", limits.stack_locations_max, self.spent.stack_locations)?;
        self.leaf_first.clear();
        self.leaf_first.extend(root_first.iter().rev());
        match self.period {
            None => self.builder.add_row(&self.leaf_first, &[value], &[]),
            Some(period) => {
                let Some(times) = value.checked_mul(period) else {
                    let over = Error::invalid("a value times the period is beyond 63 bits");
                    return Err(over.with("value", value).with("period", period));
                };
                self.builder.add_row(&self.leaf_first, &[value, times], &[])
            }
        };
        Ok(())
    }

    /// The profile.
    pub(crate) fn finish(self) -> Result<ProfileBatch> {
        self.builder.finish()
    }
}

/// How many bytes `a` and `b` have in common from their start on.
fn same_bytes(a: &[u8], b: &[u8]) -> usize {
    const BLOCK: usize = 32;
    let blocks = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK)).take_while(|(a, b)| a == b).count();
    let start = blocks * BLOCK;
    start + a[start..].iter().zip(&b[start..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode_folded;

    /// What is decoded of texts one after the other must not depend on those before.
    #[test]
    fn stacks_that_begin_alike_are_told_apart() {
        let texts: [&[u8]; 12] = [
            b"main;read",
            b"main;read;deep",
            b"main;read",
            b"main;rea",
            b"main;read;",
            b"main;;read",
            b";main;read",
            b"mai;read",
            b"",
            b"main",
            b"a_name_of_more_than_thirty_two_bytes;b;c",
            b"a_name_of_more_than_thirty_two_bytes;b;d",
        ];
        let (options, limits) = (FoldedOptions::default(), Limits::default());
        for first in texts {
            let mut together = StackBuilder::new(&options, &limits);
            for text in [first].iter().chain(&texts) {
                together.push_text(text, 1).unwrap();
            }
            let batch = together.finish().unwrap();
            for (row, text) in [first].iter().chain(&texts).enumerate() {
                let mut alone = StackBuilder::new(&options, &limits);
                alone.push_text(text, 1).unwrap();
                let names = |batch: &ProfileBatch, row: usize| -> Vec<String> {
                    let name = |id: &u32| crate::frame_name(batch, *id, 0).into_owned();
                    batch.samples.stack(row).iter().map(name).collect()
                };
                let alone = alone.finish().unwrap();
                assert_eq!(names(&batch, row), names(&alone, 0), "{first:?} {text:?}");
                assert_eq!(
                    encode_folded(&alone, 0).trim_end(),
                    [&names(&alone, 0).iter().rev().cloned().collect::<Vec<_>>().join(";"), " 1"].concat()
                );
            }
        }
    }

    #[test]
    fn bytes_in_common_are_counted_over_blocks() {
        let (a, mut b) = ([7; 100], [7; 100]);
        assert_eq!(same_bytes(&a, &b), 100);
        assert_eq!(same_bytes(&a[..40], &b), 40);
        for at in [0, 31, 32, 33, 64, 99] {
            b[at] = 8;
            assert_eq!(same_bytes(&a, &b), at);
            b[at] = 7;
        }
    }
}
