//! Profiles from text, for tests that should be read at a glance.
//!
//! ```text
//! main;read 3 | main;write 1 {thread=worker, bytes=64}      samples are split by '|'
//! ^root  ^leaf ^value, or one per sample type: 3,30         labels: a number makes a numeric one
//! main;inner<outer;- …                                      'inner<outer': one location with an inlined line
//! main@4f0;f:12                                             '@hex': an address; ':12': a line
//! - 5                                                       '-' as the whole stack: no frames
//! ```

use flamestore_formats::{LabelText, ProfileBuilder};
use flamestore_model::{Function, Line, Mapping, NONE, ProfileBatch};

/// What the profiles of a test have in common; [`Fixture::profile`] makes one from text.
#[derive(Clone, Debug)]
pub struct Fixture {
    sample_types: Vec<(String, String)>,
    period: (String, String, i64),
    time_unix_nano: i64,
    duration_nano: i64,
    mapping: Option<(u64, u64, String)>,
}

impl Fixture {
    /// CPU profiles: one sample type `cpu` in nanoseconds, period 10 ms, of 15 s.
    pub fn cpu() -> Self {
        Self {
            sample_types: vec![("cpu".to_owned(), "nanoseconds".to_owned())],
            period: ("cpu".to_owned(), "nanoseconds".to_owned(), 10_000_000),
            time_unix_nano: 0,
            duration_nano: 15_000_000_000,
            mapping: None,
        }
    }

    /// Heap profiles as Go writes them: four sample types, two of which are instants.
    pub fn heap() -> Self {
        let types = [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count")];
        let fixture =
            Self { period: ("space".to_owned(), "bytes".to_owned(), 524_288), duration_nano: 0, ..Self::cpu() };
        fixture.types(&types).and_type("inuse_space", "bytes")
    }

    /// These sample types, as (type, unit), instead.
    #[must_use]
    pub fn types(mut self, types: &[(&str, &str)]) -> Self {
        self.sample_types = types.iter().map(|(ty, unit)| ((*ty).to_owned(), (*unit).to_owned())).collect();
        self
    }

    /// One sample type more.
    #[must_use]
    pub fn and_type(mut self, ty: &str, unit: &str) -> Self {
        self.sample_types.push((ty.to_owned(), unit.to_owned()));
        self
    }

    /// Taken at this time, in nanoseconds since 1970.
    #[must_use]
    pub fn time(mut self, time_unix_nano: i64) -> Self {
        self.time_unix_nano = time_unix_nano;
        self
    }

    /// Over this many nanoseconds.
    #[must_use]
    pub fn duration(mut self, duration_nano: i64) -> Self {
        self.duration_nano = duration_nano;
        self
    }

    /// With all locations in one mapping of this build id, from `start` up to `limit`.
    #[must_use]
    pub fn mapping(mut self, start: u64, limit: u64, build_id: &str) -> Self {
        self.mapping = Some((start, limit, build_id.to_owned()));
        self
    }

    /// The profile that `text` describes.
    ///
    /// # Panics
    /// When the text does not follow the grammar: a mistake in the test.
    pub fn profile(&self, text: &str) -> ProfileBatch {
        let mut builder = self.builder();
        let mapping = self.add_mapping(&mut builder);
        for sample in text.split('|').map(str::trim).filter(|sample| !sample.is_empty()) {
            add_sample(&mut builder, mapping, sample).unwrap_or_else(|| bad(sample));
        }
        builder.finish().unwrap_or_else(|_| bad(text))
    }

    fn builder(&self) -> ProfileBuilder {
        let mut builder = ProfileBuilder::new();
        for (ty, unit) in &self.sample_types {
            builder.sample_type(ty, unit);
        }
        builder.period(&self.period.0, &self.period.1, self.period.2);
        builder.time(self.time_unix_nano, self.duration_nano);
        builder
    }

    fn add_mapping(&self, builder: &mut ProfileBuilder) -> u32 {
        let Some((memory_start, memory_limit, build_id)) = &self.mapping else { return NONE };
        let build_id = builder.string(build_id);
        let filename = builder.string("/usr/bin/fixture");
        builder.mapping(Mapping {
            memory_start: *memory_start,
            memory_limit: *memory_limit,
            filename,
            build_id,
            has_functions: true,
            ..Mapping::default()
        })
    }
}

/// The CPU profile that `text` describes, as [`Fixture::profile`] reads it.
///
/// # Panics
/// When the text does not follow the grammar: a mistake in the test.
pub fn profile(text: &str) -> ProfileBatch {
    Fixture::cpu().profile(text)
}

#[expect(clippy::panic, reason = "a fixture that cannot be read is a mistake in the test that holds it")]
fn bad<T>(text: &str) -> T {
    panic!("not a fixture: {text:?}")
}

fn add_sample(builder: &mut ProfileBuilder, mapping: u32, text: &str) -> Option<()> {
    let (text, labels) = match text.strip_suffix('}') {
        Some(text) => text.split_once('{')?,
        None => (text, ""),
    };
    let (stack, values) = text.trim().rsplit_once(' ')?;
    let values: Vec<i64> = values.split(',').map(|value| value.trim().parse().ok()).collect::<Option<_>>()?;
    let mut locations = Vec::new();
    for frame in stack.trim().split(';').filter(|_| stack.trim() != "-") {
        locations.push(add_location(builder, mapping, frame)?);
    }
    locations.reverse();
    let labels: Vec<_> = labels
        .split(',')
        .filter(|label| !label.trim().is_empty())
        .map(|label| {
            let (key, value) = label.split_once('=')?;
            let number = value.trim().parse();
            Some(builder.label(key.trim(), number.map_or(LabelText::Str(value.trim()), |n| LabelText::Num(n, ""))))
        })
        .collect::<Option<_>>()?;
    builder.add_row(&locations, &values, &labels);
    Some(())
}

fn add_location(builder: &mut ProfileBuilder, mapping: u32, frame: &str) -> Option<u32> {
    let (names, address) = match frame.split_once('@') {
        Some((names, hex)) => (names, u64::from_str_radix(hex, 16).ok()?),
        None => (frame, 0),
    };
    let mut lines = Vec::new();
    for name in names.split('<').filter(|name| !name.is_empty()) {
        let (name, line) = match name.rsplit_once(':') {
            Some((name, line)) if line.bytes().all(|b| b.is_ascii_digit()) => (name, line.parse().ok()?),
            _ => (name, 0),
        };
        let name = builder.string(name);
        let function = builder.function(Function { name, system_name: name, ..Function::default() });
        lines.push(Line { function, line, column: 0 });
    }
    Some(builder.location(mapping, address, false, &lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_samples_leaf_first() {
        let batch = Fixture::cpu()
            .types(&[("samples", "count"), ("cpu", "nanoseconds")])
            .mapping(0x1000, 0x2000, "abc")
            .profile("main;inner<outer@1f;read:12 3,30 {thread=w 1, bytes=64} | - 1,10");
        batch.check().unwrap();
        assert_eq!(batch.samples.len(), 2);
        let stack = batch.samples.stack(0);
        assert_eq!(stack.len(), 3);
        assert_eq!(batch.lines(stack[0])[0].line, 12);
        assert_eq!(batch.lines(stack[1]).len(), 2);
        assert_eq!(batch.symbols.locations[stack[1] as usize].address, 0x1f);
        assert_eq!(batch.values(0), [3, 30]);
        assert_eq!(batch.samples.labels(0).len(), 2);
        assert!(batch.samples.stack(1).is_empty());
    }

    #[test]
    #[should_panic(expected = "not a fixture")]
    fn text_that_says_no_value_is_refused() {
        profile("main;read");
    }
}
