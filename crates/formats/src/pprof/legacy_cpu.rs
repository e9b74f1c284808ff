//! The binary CPU profiles of gperftools, which the reference library still reads.
//!
//! ```text
//! words of 4 or 8 bytes, in either order:
//!   0  n  version  period (µs)  …       n words of header follow the first two; n is 3, version 0
//!   count  depth  address × depth       one sample, leaf first; again and again
//!   0  1  0                             the end of the samples
//! text, as /proc/PID/maps shows it
//! ```
//!
//! All addresses but the leaf's are return addresses: 1 is taken off, so that they lie in the call. Where the signal
//! handler's own frame stands right above the leaf of every sample, or the leaf stands there once more, it is dropped: an
//! artefact of measuring. (Layout: the CPU profile format of gperftools' documentation.)

use flamestore_model::{Error, Mapping, NONE, ProfileBatch, Result};

use crate::limits::within;
use crate::{Limits, ProfileBuilder};

/// A sample: how often it was seen, and its addresses, leaf first.
struct Sample {
    count: i64,
    addresses: Vec<u64>,
}

/// Whether `bytes` start like a binary CPU profile.
pub(super) fn is_binary(bytes: &[u8]) -> bool {
    Words::detect(bytes).is_some()
}

/// The profile, if `bytes` start like a binary CPU profile.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Option<Result<ProfileBatch>> {
    let words = Words::detect(bytes)?;
    Some(words.samples(limits).and_then(|(mut samples, period_micros, maps)| {
        drop_signal_frames(&mut samples);
        build(&samples, period_micros, &mappings(maps, limits)?)
    }))
}

/// Reads words of one width and order.
struct Words<'a> {
    bytes: &'a [u8],
    width: usize,
    is_big_endian: bool,
}

impl<'a> Words<'a> {
    /// The width and order in which the first words are 0, 3, 0.
    fn detect(bytes: &'a [u8]) -> Option<Self> {
        let forms = [(8, false), (4, false), (8, true), (4, true)];
        let mut words = forms.into_iter().map(|(width, is_big_endian)| Self { bytes, width, is_big_endian });
        words.find(|words| [0, 1, 2].map(|at| words.get(at)) == [Some(0), Some(3), Some(0)])
    }

    fn get(&self, at: usize) -> Option<u64> {
        let start = at.checked_mul(self.width)?;
        let word = self.bytes.get(start..start.checked_add(self.width)?)?;
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.is_big_endian { word.iter().fold(0, fold) } else { word.iter().rev().fold(0, fold) })
    }

    fn word(&self, at: usize) -> Result<u64> {
        let truncated = || Error::invalid("a binary CPU profile ends early").with("offset", at * self.width);
        self.get(at).ok_or_else(truncated)
    }

    /// The samples, the period in microseconds, and what follows them.
    fn samples(&self, limits: &Limits) -> Result<(Vec<Sample>, u64, &'a [u8])> {
        let period_micros = self.word(3)?;
        let (mut samples, mut at) = (Vec::new(), 5);
        loop {
            let (count, depth) = (self.word(at)?, self.word(at + 1)?);
            let depth = usize::try_from(depth).unwrap_or(usize::MAX);
            if count == 0 && depth == 1 && self.word(at + 2)? == 0 {
                let maps = (at + 3) * self.width;
                return Ok((samples, period_micros, self.bytes.get(maps..).unwrap_or_default()));
            }
            let wrong = |what: &str| Error::invalid(format!("sample {}: {what}", samples.len()));
            if depth == 0 || depth > self.bytes.len() {
                return Err(wrong("its depth is 0 or beyond the end of the profile").with("offset", at * self.width));
            }
            within("stack_depth_max", limits.stack_depth_max, depth)?;
            within("samples_max", limits.samples_max, samples.len() + 1)?;
            let count = i64::try_from(count).map_err(|_| wrong("its count is beyond 63 bits"))?;
            let addresses = (at + 2..at + 2 + depth).map(|at| self.word(at));
            let adjust = |(depth, address): (usize, Result<u64>)| address.map(|a| a.wrapping_sub(u64::from(depth > 0)));
            samples.push(Sample { count, addresses: addresses.enumerate().map(adjust).collect::<Result<_>>()? });
            at += 2 + depth;
        }
    }
}

/// Drops what the signal handler put between the leaf and its caller.
fn drop_signal_frames(samples: &mut [Sample]) {
    let mut seconds = samples.iter().filter_map(|sample| sample.addresses.get(1));
    if let Some(first) = seconds.next()
        && seconds.all(|second| second == first)
    {
        for sample in samples.iter_mut().filter(|sample| sample.addresses.len() > 1) {
            sample.addresses.remove(1);
        }
    }
    for sample in samples {
        if let [leaf, caller, ..] = sample.addresses[..]
            && leaf == caller.wrapping_add(1)
        {
            sample.addresses.remove(1);
        }
    }
}

/// A mapped file that holds code: its first address, the first after it, its offset and name.
struct MappedFile<'a> {
    start: u64,
    limit: u64,
    offset: u64,
    name: &'a str,
}

/// The executable lines of `start-limit perms offset device inode name`.
fn mappings<'a>(maps: &'a [u8], limits: &Limits) -> Result<Vec<MappedFile<'a>>> {
    let text = std::str::from_utf8(maps).unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(range), Some(permissions), Some(offset)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let hex = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let Some((start, limit)) = range.split_once('-').and_then(|(a, b)| Some((hex(a)?, hex(b)?))) else { continue };
        let (Some(offset), true) = (hex(offset), permissions.contains('x')) else { continue };
        found.push(MappedFile { start, limit, offset, name: words.nth(2).unwrap_or_default() });
        within("mappings_max", limits.mappings_max, found.len())?;
    }
    Ok(found)
}

fn build(samples: &[Sample], period_micros: u64, files: &[MappedFile<'_>]) -> Result<ProfileBatch> {
    let period = i64::try_from(period_micros).ok().and_then(|micros| micros.checked_mul(1000));
    let period = period.ok_or_else(|| Error::invalid("the period is out of range").with("period", period_micros))?;
    let mut profile = ProfileBuilder::new();
    profile.sample_type("samples", "count").sample_type("cpu", "nanoseconds").period("cpu", "nanoseconds", period);
    let mappings: Vec<u32> = files
        .iter()
        .map(|file| {
            let filename = profile.string(file.name);
            let (memory_start, memory_limit, file_offset) = (file.start, file.limit, file.offset);
            profile.mapping(Mapping { memory_start, memory_limit, file_offset, filename, ..Mapping::default() })
        })
        .collect();
    for (row, sample) in samples.iter().enumerate() {
        let nanos = sample.count.checked_mul(period);
        let nanos = nanos.ok_or_else(|| Error::invalid(format!("sample {row}: count × period is beyond 63 bits")))?;
        let holds = |address: u64| move |file: &MappedFile<'_>| (file.start..file.limit).contains(&address);
        let stack = sample.addresses.iter().map(|address| {
            let mapping = files.iter().position(holds(*address)).map_or(NONE, |at| mappings[at]);
            profile.location(mapping, *address, false, &[])
        });
        let stack: Vec<u32> = stack.collect();
        profile.add_row(&stack, &[sample.count, nanos], &[]);
    }
    profile.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(width: usize, is_big_endian: bool, words: &[u64], maps: &str) -> Vec<u8> {
        let word = |word: &u64| match is_big_endian {
            true => word.to_be_bytes()[8 - width..].to_vec(),
            false => word.to_le_bytes()[..width].to_vec(),
        };
        words.iter().flat_map(word).chain(maps.bytes()).collect()
    }

    const MAPS: &str = "1000-2000 r-xp 00000010 00:00 7  /bin/app\n2000-3000 rw-p 00000000 00:00 7  /bin/app\n";

    #[test]
    fn binary_profiles_are_read_in_every_width_and_order() -> Result<()> {
        let profile = [0, 3, 0, 10_000, 0, 2, 3, 0x1100, 0x1200, 0x9000, 1, 1, 0x1100, 0, 1, 0];
        for (width, is_big_endian) in [(4, false), (8, false), (4, true), (8, true)] {
            let bytes = words(width, is_big_endian, &profile, MAPS);
            let Some(batch) = decode(&bytes, &Limits::default()) else { panic!("not recognised: {width}") };
            let batch = batch?;
            batch.check()?;
            assert_eq!((batch.values(0), batch.values(1)), (&[2, 20_000_000][..], &[1, 10_000_000][..]));
            let addresses: Vec<u64> = batch.symbols.locations.iter().map(|location| location.address).collect();
            // 0x1200 is the only second frame there is: the signal handler's.
            assert_eq!(addresses, [0x1100, 0x8fff]);
            assert_eq!(batch.symbols.locations[1].mapping, NONE);
            assert_eq!(batch.symbols.mappings.len(), 1);
            assert_eq!(batch.symbols.strings.get(batch.symbols.mappings[0].filename), b"/bin/app");
        }
        Ok(())
    }

    #[test]
    fn a_leaf_that_stands_twice_counts_once() {
        let sample = |addresses: &[u64]| Sample { count: 1, addresses: addresses.to_vec() };
        let mut samples = [sample(&[8, 7, 5]), sample(&[8, 6, 5])];
        drop_signal_frames(&mut samples);
        assert_eq!(samples[0].addresses, [8, 5]);
        assert_eq!(samples[1].addresses, [8, 6, 5]);
    }

    #[test]
    fn binary_profiles_that_end_early_or_lie_are_refused() {
        let whole = words(8, false, &[0, 3, 0, 10_000, 0, 2, 2, 1, 2, 0, 1, 0], "");
        for end in 24..whole.len() {
            let decoded = decode(&whole[..end], &Limits::default());
            assert!(decoded.is_some_and(|result| result.is_err()), "{end}");
        }
        let lies = words(8, false, &[0, 3, 0, 10_000, 0, 1, u64::MAX, 1], "");
        assert!(decode(&lies, &Limits::default()).is_some_and(|result| result.is_err()));
        assert!(decode(b"\x08\x01\x12\x00", &Limits::default()).is_none());
    }
}
