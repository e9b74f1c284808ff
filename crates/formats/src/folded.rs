//! Folded text: one line a stack, `root;caller;leaf value`; and the same without values, a sample a line.
//!
//! It keeps the names of frames and one sample type, and nothing else. The names of frames are those of flame graphs, see
//! [`frame_name`]; a `;` or a line feed within a name is written as it is, so such a text is not read back as it was.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use flamestore_model::{Error, NONE, ProfileBatch, Result, place_name};

use crate::Limits;
use crate::stacks::{FoldedOptions, StackBuilder};

/// Reads folded text, compressed or not, one sample a line. Empty lines are skipped; names need not be UTF-8.
///
/// # Errors
/// `Invalid` when a line has no value behind its last space, naming the line; `Exhausted` when the profile is over a limit.
pub fn decode_folded(bytes: Bytes, options: &FoldedOptions, limits: &Limits) -> Result<ProfileBatch> {
    let bytes = crate::decompress(bytes, limits)?;
    let mut stacks = StackBuilder::new(options, limits);
    for (number, line) in lines(&bytes) {
        let (frames, value) = split_value(line, number)?;
        stacks.push_text(frames, value)?;
    }
    stacks.finish()
}

/// Reads lines of stacks, `root;caller;leaf`, compressed or not: each is one sample of value 1.
///
/// # Errors
/// `Exhausted` when the profile is over a limit.
pub fn decode_lines(bytes: Bytes, options: &FoldedOptions, limits: &Limits) -> Result<ProfileBatch> {
    let bytes = crate::decompress(bytes, limits)?;
    let mut stacks = StackBuilder::new(options, limits);
    for (_, line) in lines(&bytes) {
        stacks.push_text(line, 1)?;
    }
    stacks.finish()
}

/// The lines that are not empty, with their numbers.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let ends = memchr::memchr_iter(b'\n', bytes).chain([bytes.len()]);
    let line = |start: &mut usize, end: usize| Some(&bytes[std::mem::replace(start, end + 1)..end]);
    let lines = ends.scan(0, line).map(<[u8]>::trim_ascii);
    (1..).zip(lines).filter(|(_, line)| !line.is_empty())
}

/// The frames and the value of line `number`.
fn split_value(line: &[u8], number: usize) -> Result<(&[u8], i64)> {
    let split = memchr::memrchr(b' ', line).map(|at| (&line[..at], &line[at + 1..]));
    let (frames, digits) = split.unwrap_or((b"", line));
    let value = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    let Some(value) = value else {
        let near = String::from_utf8_lossy(&digits[..digits.len().min(32)]).into_owned();
        return Err(Error::invalid(format!("folded text: line {number} does not end in a number")).with("near", near));
    };
    Ok((frames.trim_ascii_end(), value))
}

/// Writes the values of sample type `value_index` as folded text: stacks that fold to the same names are summed (wrapping),
/// those of sum 0 left out, lines sorted bytewise, each ended by a line feed.
///
/// # Panics
/// When the batch has no such sample type, or fails [`ProfileBatch::check`].
pub fn encode_folded(batch: &ProfileBatch, value_index: usize) -> String {
    assert!(value_index < batch.header.sample_types.len(), "sample type {value_index} does not exist");
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for row in 0..batch.samples.len() {
        let value = batch.values(row)[value_index];
        let sum = sums.entry(folded_stack(batch, batch.samples.stack(row))).or_default();
        *sum = sum.wrapping_add(value);
    }
    let lines = sums.iter().filter(|(_, sum)| **sum != 0).map(|(stack, sum)| format!("{stack} {sum}\n"));
    let mut lines: Vec<String> = lines.collect();
    lines.sort_unstable();
    lines.concat()
}

/// The frames of a stack, root first, joined by `;`.
fn folded_stack(batch: &ProfileBatch, stack: &[u32]) -> String {
    let mut text = String::new();
    for &location in stack.iter().rev() {
        for line in (0..batch.lines(location).len().max(1)).rev() {
            if !text.is_empty() {
                text.push(';');
            }
            text.push_str(&frame_name(batch, location, line));
        }
    }
    text
}

/// The name of a frame in flame graphs and folded text: its function's name, with invalid UTF-8 replaced; without one
/// `0x` and the location's address in hexadecimal; without that `<unknown>`. A location without lines is one frame.
///
/// # Panics
/// When the batch has no such location.
pub fn frame_name(batch: &ProfileBatch, location: u32, line_index: usize) -> Cow<'_, str> {
    let function = batch.lines(location).get(line_index).map_or(NONE, |line| line.function);
    if let Some(function) = batch.symbols.functions.get(function as usize)
        && !batch.symbols.strings.get(function.name).is_empty()
    {
        return batch.symbols.strings.text(function.name);
    }
    Cow::Owned(place_name(batch.symbols.locations[location as usize].address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ProfileBuilder, SampledEvery};
    use expect_test::{Expect, expect};
    use flamestore_model::{Function, Line};

    fn check(text: &str, expected: Expect) {
        let decoded =
            decode_folded(Bytes::copy_from_slice(text.as_bytes()), &FoldedOptions::default(), &Limits::default());
        expected.assert_eq(&decoded.map_or_else(|e| e.to_string(), |batch| encode_folded(&batch, 0)));
    }

    #[test]
    fn folded_text_is_read_and_written_sorted_and_summed() {
        check(
            "main;read 3\nmain;a b;write 1\r\n\n  main;read 2\nmain -7\n",
            expect![[r#"
                main -7
                main;a b;write 1
                main;read 5
            "#]],
        );
        check("a;b 1\na;b -1\n", expect![[""]]);
        check("", expect![[""]]);
        let rootless = decode_folded(Bytes::from_static(b"12"), &FoldedOptions::default(), &Limits::default());
        assert_eq!(rootless.map(|batch| encode_folded(&batch, 0)).ok().as_deref(), Some(" 12\n"));
    }

    #[test]
    fn a_line_without_a_value_is_named() {
        check("a;b 1\na;b", expect!["folded text: line 2 does not end in a number [near=a;b]"]);
        check("a;b 1.5", expect!["folded text: line 1 does not end in a number [near=1.5]"]);
        check(
            "a 99999999999999999999",
            expect!["folded text: line 1 does not end in a number [near=99999999999999999999]"],
        );
    }

    #[test]
    fn lines_without_values_count_one_each() -> Result<()> {
        let decode =
            |text: &'static [u8]| decode_lines(Bytes::from_static(text), &FoldedOptions::default(), &Limits::default());
        let batch = decode(b"main;read 3\n\nmain;a\r\nmain;a")?;
        assert_eq!((batch.samples.len(), encode_folded(&batch, 0)), (3, "main;a 2\nmain;read 3 1\n".to_owned()));
        assert_eq!(decode(b"")?.samples.len(), 0);
        Ok(())
    }

    #[test]
    fn a_period_adds_what_the_counts_stand_for() -> Result<()> {
        let every = SampledEvery { ty: "cpu".to_owned(), unit: "nanoseconds".to_owned(), period: 10_000_000 };
        let options = FoldedOptions { sampled_every: Some(every), ..FoldedOptions::default() };
        let batch = decode_folded(Bytes::from_static(b"a 3"), &options, &Limits::default())?;
        assert_eq!((batch.values(0), batch.header.period), (&[3, 30_000_000][..], 10_000_000));
        assert_eq!(batch.header.period_type, batch.header.sample_types[1]);
        let over = decode_folded(Bytes::from_static(b"a 999999999999"), &options, &Limits::default());
        assert_eq!(over.map(drop).map_err(|e| e.kind()), Err(flamestore_model::ErrorKind::Invalid));
        Ok(())
    }

    #[test]
    fn folded_text_is_under_the_limits() {
        let check = |limits: Limits, expected: &str| {
            let decoded = decode_folded(Bytes::from_static(b"a;b;c 1\nd 1"), &FoldedOptions::default(), &limits);
            assert_eq!(decoded.map(|_| ()).map_err(|e| e.to_string()), Err(expected.to_owned()));
        };
        let all = Limits::default;
        check(Limits { samples_max: 1, ..all() }, "the profile is over the limit samples_max [limit=1, found=2]");
        check(
            Limits { stack_depth_max: 2, ..all() },
            "the profile is over the limit stack_depth_max [limit=2, found=3]",
        );
        check(Limits { locations_max: 3, ..all() }, "the profile is over the limit locations_max [limit=3, found=4]");
        check(
            Limits { string_bytes_max: 0, ..all() },
            "the profile is over the limit string_bytes_max [limit=0, found=1]",
        );
    }

    #[test]
    fn frames_without_a_name_show_their_address() -> Result<()> {
        let mut builder = ProfileBuilder::new();
        builder.sample_type("cpu", "nanoseconds");
        let line = |function| Line { function, line: 0, column: 0 };
        let nameless = builder.function(Function::default());
        let named = builder.string(b"na\xffme");
        let named = builder.function(Function { name: named, ..Function::default() });
        let stack = [
            builder.location(NONE, 0x1f, false, &[line(named), line(nameless), line(NONE)]),
            builder.location(NONE, 0xabc, false, &[]),
            builder.location(NONE, 0, false, &[]),
        ];
        builder.add_row(&stack, &[1], &[]);
        assert_eq!(encode_folded(&builder.finish()?, 0), "<unknown>;0xabc;0x1f;0x1f;na\u{fffd}me 1\n");
        Ok(())
    }
}
