//! speedscope's JSON: profiles of samples with weights, or of frames that open and close.
//!
//! | unit | values | sample type |
//! |---|---|---|
//! | `nanoseconds`, `microseconds`, `milliseconds`, `seconds` | nanoseconds, rounded | `wall`, `nanoseconds` |
//! | `bytes` | as they are; fractions are refused | `samples`, `bytes` |
//! | `none` | as they are; fractions are refused | that of the options |
//!
//! Frames keep file, line and column. What lies in memory while the file is read is bounded by constants and by the file's
//! length, which the limits bound; profiles share the limits.

mod file;

use bytes::Bytes;
use flamestore_model::{Error, Function, Line, NONE, ProfileBatch, Result};
use hashbrown::HashMap;

use crate::Limits;
use crate::limits::within;
use crate::stacks::{FoldedOptions, Spent, StackBuilder};
use file::{Event, File, FileProfile, Frame, Unit};

/// One profile of a file.
#[derive(Clone, Debug)]
pub struct SpeedscopeProfile {
    /// Its name; may be empty.
    pub name: String,
    /// Its samples.
    pub batch: ProfileBatch,
}

/// Reads a file of speedscope's format, compressed or not.
///
/// # Errors
/// `Invalid` when the bytes are not such a file, or a profile contradicts itself, naming it; `Exhausted` when the profiles
/// together are over a limit.
pub fn decode_speedscope(bytes: Bytes, options: &FoldedOptions, limits: &Limits) -> Result<Vec<SpeedscopeProfile>> {
    let bytes = crate::decompress(bytes, limits)?;
    let file: File = serde_json::from_slice(&bytes).map_err(|e| Error::invalid("not a speedscope file").because(e))?;
    within("profiles_max", limits.profiles_max, file.profiles.0.len())?;
    let mut spent = Spent::default();
    let mut profiles = Vec::with_capacity(file.profiles.0.len());
    for (at, profile) in file.profiles.0.into_iter().enumerate() {
        let options = options_of(profile.unit, options);
        let mut decoder = Decoder {
            frames: &file.shared.frames.0,
            locations: HashMap::new(),
            unit: profile.unit,
            stacks: StackBuilder::new(&options, limits),
            limits,
        };
        decoder.stacks.spent = spent;
        decoder.profile(&profile).map_err(|e| Error::new(e.kind(), format!("speedscope profile {at}")).because(e))?;
        spent = decoder.stacks.spent;
        profiles.push(SpeedscopeProfile { name: profile.name, batch: decoder.stacks.finish()? });
    }
    Ok(profiles)
}

/// The options for a profile of `unit`.
fn options_of(unit: Unit, options: &FoldedOptions) -> FoldedOptions {
    let (sample_type, sample_unit) = match unit {
        Unit::None => return options.clone(),
        Unit::Bytes => ("samples", "bytes"),
        _ => ("wall", "nanoseconds"),
    };
    let (sample_type, sample_unit) = (sample_type.to_owned(), sample_unit.to_owned());
    FoldedOptions { sample_type, sample_unit, sampled_every: None, ..options.clone() }
}

struct Decoder<'a> {
    frames: &'a [Frame],
    /// The location of each frame, where it has one already.
    locations: HashMap<u32, u32>,
    unit: Unit,
    stacks: StackBuilder<'a>,
    limits: &'a Limits,
}

impl Decoder<'_> {
    fn profile(&mut self, profile: &FileProfile) -> Result<()> {
        match profile.ty.as_str() {
            "sampled" => self.sampled(profile),
            "evented" => self.evented(&profile.events.0),
            other => {
                Err(Error::invalid("its type is neither `sampled` nor `evented`").with("type", format!("{other:?}")))
            }
        }
    }

    fn sampled(&mut self, profile: &FileProfile) -> Result<()> {
        let (samples, weights) = (profile.samples.len(), profile.weights.0.len());
        if samples != weights {
            return Err(Error::invalid(format!("it has {samples} samples, but {weights} weights")));
        }
        let mut stack = Vec::new();
        for (at, weight) in profile.weights.0.iter().enumerate() {
            let frames = profile.samples.get(at);
            within("stack_depth_max", self.limits.stack_depth_max, frames.len())?;
            stack.clear();
            for frame in frames {
                stack.push(self.location(*frame)?);
            }
            let value = self.value(*weight)?;
            self.stacks.push(&stack, value)?;
        }
        Ok(())
    }

    /// What lies between two events belongs to the stack that was open then.
    fn evented(&mut self, events: &[Event]) -> Result<()> {
        let (mut stack, mut open, mut last) = (Vec::new(), Vec::new(), None);
        for (at, event) in events.iter().enumerate() {
            let passed = event.at - last.unwrap_or(event.at);
            last = Some(event.at);
            if passed < 0.0 {
                return Err(Error::invalid(format!("event {at} lies before the one that precedes it")));
            }
            if passed > 0.0 && !stack.is_empty() {
                let value = self.value(passed)?;
                self.stacks.push(&stack, value)?;
            }
            match event.ty.as_str() {
                "O" => {
                    within("stack_depth_max", self.limits.stack_depth_max, stack.len() + 1)?;
                    stack.push(self.location(event.frame)?);
                    open.push(event.frame);
                }
                "C" if open.last() == Some(&event.frame) => {
                    stack.pop();
                    open.pop();
                }
                "C" => {
                    return Err(Error::invalid(format!(
                        "event {at} closes frame {}, which is not the last one open",
                        event.frame
                    )));
                }
                other => {
                    return Err(Error::invalid(format!("event {at} has type {other:?}, which is neither O nor C")));
                }
            }
        }
        Ok(())
    }

    /// The location of frame `at` of the file.
    fn location(&mut self, at: u32) -> Result<u32> {
        let Some(frame) = self.frames.get(at as usize) else {
            return Err(Error::invalid(format!("frame {at} is not in the frame table")));
        };
        if let Some(location) = self.locations.get(&at) {
            return Ok(*location);
        }
        self.stacks.text(frame.name.len() + frame.file.as_ref().map_or(0, String::len))?;
        let builder = &mut self.stacks.builder;
        let name = builder.string(&frame.name);
        let filename = builder.string(frame.file.as_deref().unwrap_or_default());
        let function = builder.function(Function { name, system_name: name, filename, ..Function::default() });
        let line = Line { function, line: frame.line.unwrap_or(0), column: frame.col.unwrap_or(0) };
        let location = builder.location(NONE, 0, false, &[line]);
        self.stacks.known(location)?;
        self.locations.insert(at, location);
        Ok(location)
    }

    /// A weight or a span of time as a value.
    fn value(&self, number: f64) -> Result<i64> {
        let scaled = match self.unit {
            Unit::Nanoseconds => number.round(),
            Unit::Microseconds => (number * 1e3).round(),
            Unit::Milliseconds => (number * 1e6).round(),
            Unit::Seconds => (number * 1e9).round(),
            Unit::None | Unit::Bytes => number,
        };
        // 2⁶³ itself is the first float that is too large.
        if scaled.fract() != 0.0 || !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&scaled) {
            return Err(Error::invalid("a weight is no whole number of 64 bits").with("weight", number));
        }
        #[expect(clippy::cast_possible_truncation, reason = "whole, and in the range of 64 bits")]
        let value = scaled as i64;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode_folded;
    use expect_test::{Expect, expect};

    fn check_under(profiles: &str, limits: &Limits, expected: Expect) {
        let frames =
            r#"[{"name": "a", "file": "a.js", "line": 3, "col": 7}, {"name": "b"}, {"name": "c", "line": null}]"#;
        let json = format!(
            r#"{{"$schema": "x", "profiles": [{profiles}], "shared": {{"frames": {frames}}}, "exporter": "t"}}"#
        );
        let shown = match decode_speedscope(Bytes::from(json), &FoldedOptions::default(), limits) {
            Err(error) => format!("{:?}: {error}", error.kind()),
            Ok(profiles) => profiles.iter().fold(String::new(), |out, SpeedscopeProfile { name, batch }| {
                let ty = batch.header.sample_types[0];
                let [ty, unit] = [ty.ty, ty.unit].map(|id| batch.symbols.strings.text(id));
                format!("{out}{name} {ty}/{unit}\n{}", encode_folded(batch, 0))
            }),
        };
        expected.assert_eq(&shown);
    }

    fn check(profiles: &str, expected: Expect) {
        check_under(profiles, &Limits::default(), expected);
    }

    const SAMPLED: &str = r#"{"type": "sampled", "name": "one", "unit": "seconds", "startValue": 0, "endValue": 14,
        "samples": [[0, 1, 2], [0, 1], [], [0, 1, 2]], "weights": [1, 0.25, 4, 1.5e-9]}"#;
    const EVENTED: &str = r#"{"type": "evented", "name": "two", "unit": "none", "startValue": 0, "endValue": 9, "events": [
        {"type": "O", "at": 1, "frame": 0}, {"type": "O", "at": 3, "frame": 1}, {"type": "C", "at": 3, "frame": 1},
        {"type": "O", "at": 4, "frame": 1}, {"type": "C", "at": 6, "frame": 1}, {"type": "C", "at": 9, "frame": 0},
        {"type": "O", "at": 20, "frame": 2}, {"type": "C", "at": 21, "frame": 2}]}"#;

    #[test]
    fn samples_and_events_become_stacks_root_first() {
        check(
            &format!("{SAMPLED}, {EVENTED}"),
            expect![[r#"
            one wall/nanoseconds
             4000000000
            a;b 250000000
            a;b;c 1000000002
            two samples/count
            a 6
            a;b 2
            c 1
        "#]],
        );
        check("", expect![[""]]);
    }

    #[test]
    fn frames_keep_file_line_and_column() -> Result<()> {
        let json = r#"{"profiles": [{"type": "sampled", "unit": "bytes", "samples": [[0]], "weights": [5]}],
            "shared": {"frames": [{"name": "a", "file": "a.js", "line": 3, "col": 7}]}}"#;
        let profiles = decode_speedscope(Bytes::from(json), &FoldedOptions::default(), &Limits::default())?;
        let symbols = &profiles[0].batch.symbols;
        assert_eq!((symbols.lines[0].line, symbols.lines[0].column), (3, 7));
        assert_eq!(symbols.strings.get(symbols.functions[0].filename), b"a.js");
        Ok(())
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let sampled = |unit: &str, samples: &str, weights: &str| {
            format!(r#"{{"type": "sampled", "unit": "{unit}", "samples": {samples}, "weights": {weights}}}"#)
        };
        check(
            &sampled("none", "[[0]]", "[1, 2]"),
            expect!["Invalid: speedscope profile 0: it has 1 samples, but 2 weights"],
        );
        check(
            &sampled("none", "[[3]]", "[1]"),
            expect!["Invalid: speedscope profile 0: frame 3 is not in the frame table"],
        );
        check(
            &sampled("none", "[[-1]]", "[1]"),
            expect!["Invalid: not a speedscope file: invalid value: integer `-1`, expected u32 at line 1 column 81"],
        );
        check(
            &sampled("bytes", "[[0]]", "[1.5]"),
            expect!["Invalid: speedscope profile 0: a weight is no whole number of 64 bits [weight=1.5]"],
        );
        check(
            &sampled("seconds", "[[0]]", "[1e10]"),
            expect!["Invalid: speedscope profile 0: a weight is no whole number of 64 bits [weight=10000000000]"],
        );
        check(
            &sampled("hours", "[[0]]", "[1]"),
            expect![
                "Invalid: not a speedscope file: unknown variant `hours`, expected one of `none`, `nanoseconds`, `microseconds`, `milliseconds`, `seconds`, `bytes` at line 1 column 65"
            ],
        );
        check(
            r#"{"type": "x", "unit": "none"}"#,
            expect![[r#"Invalid: speedscope profile 0: its type is neither `sampled` nor `evented` [type="x"]"#]],
        );
        let evented = |events: &str| format!(r#"{{"type": "evented", "unit": "none", "events": [{events}]}}"#);
        check(
            &evented(r#"{"type": "C", "at": 1, "frame": 0}"#),
            expect!["Invalid: speedscope profile 0: event 0 closes frame 0, which is not the last one open"],
        );
        check(
            &evented(r#"{"type": "O", "at": 2, "frame": 0}, {"type": "C", "at": 1, "frame": 0}"#),
            expect!["Invalid: speedscope profile 0: event 1 lies before the one that precedes it"],
        );
        check(
            &evented(r#"{"type": "Q", "at": 1, "frame": 0}"#),
            expect![[r#"Invalid: speedscope profile 0: event 0 has type "Q", which is neither O nor C"#]],
        );
        check(
            "3",
            expect![
                "Invalid: not a speedscope file: invalid type: integer `3`, expected struct FileProfile at line 1 column 31"
            ],
        );
    }

    #[test]
    fn profiles_share_the_limits() {
        let two = format!("{SAMPLED}, {SAMPLED}");
        let all = Limits::default;
        check_under(
            &two,
            &Limits { samples_max: 7, ..all() },
            expect!["Exhausted: speedscope profile 1: the profile is over the limit samples_max [limit=7, found=8]"],
        );
        check_under(
            &two,
            &Limits { stack_locations_max: 10, ..all() },
            expect![
                "Exhausted: speedscope profile 1: the profile is over the limit stack_locations_max [limit=10, found=11]"
            ],
        );
        check_under(
            &two,
            &Limits { profiles_max: 1, ..all() },
            expect!["Exhausted: the profile is over the limit profiles_max [limit=1, found=2]"],
        );
        check_under(
            &two,
            &Limits { stack_depth_max: 2, ..all() },
            expect![
                "Exhausted: speedscope profile 0: the profile is over the limit stack_depth_max [limit=2, found=3]"
            ],
        );
        check_under(
            EVENTED,
            &Limits { stack_depth_max: 1, ..all() },
            expect![
                "Exhausted: speedscope profile 0: the profile is over the limit stack_depth_max [limit=1, found=2]"
            ],
        );
        check_under(
            &two,
            &Limits { locations_max: 2, ..all() },
            expect!["Exhausted: speedscope profile 0: the profile is over the limit locations_max [limit=2, found=3]"],
        );
        check_under(
            &two,
            &Limits { string_bytes_max: 3, ..all() },
            expect![
                "Exhausted: speedscope profile 0: the profile is over the limit string_bytes_max [limit=3, found=5]"
            ],
        );
    }
}
