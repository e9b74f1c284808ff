//! Builds requests in each layout.

use flamestore_formats::OtlpLayout;

use crate::wire::{bytes, fixed64, message, number, packed, packed_fixed64};

pub(crate) const LAYOUTS: [OtlpLayout; 3] = [OtlpLayout::V1_8, OtlpLayout::V1_9, OtlpLayout::V1_10];

#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) stack: u64,
    pub(crate) attributes: Vec<u64>,
    pub(crate) link: u64,
    pub(crate) values: Vec<i64>,
    pub(crate) timestamps: Vec<u64>,
}

#[derive(Clone)]
pub(crate) struct Profile {
    pub(crate) sample_type: Option<(u64, u64)>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) id: Vec<u8>,
    pub(crate) attributes: Vec<u64>,
}

pub(crate) struct Request {
    pub(crate) layout: OtlpLayout,
    /// Whether repeated numbers come one by one.
    pub(crate) is_unpacked: bool,
    pub(crate) strings: Vec<&'static [u8]>,
    /// Rows of the attribute table behind the first: key, value, unit.
    pub(crate) attributes: Vec<(u64, Vec<u8>, u64)>,
    /// `KeyValue`s.
    pub(crate) resource: Vec<Vec<u8>>,
    pub(crate) scope: Vec<Vec<u8>>,
    pub(crate) profiles: Vec<Profile>,
}

/// Values of attributes.
pub(crate) fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    bytes(1, text)
}

pub(crate) fn int(value: i64) -> Vec<u8> {
    number(3, value.cast_unsigned())
}

/// A `KeyValue` with its key written out.
pub(crate) fn pair(key: &str, value: Vec<u8>) -> Vec<u8> {
    [bytes(1, key), bytes(2, value)].concat()
}

impl Request {
    /// A program `app` with functions `main` (inlined `run`) and `leaf`; a sample with values and one of two observations.
    pub(crate) fn example() -> Self {
        let samples = vec![
            Sample { stack: 1, attributes: vec![1, 2], link: 1, values: vec![5], timestamps: vec![] },
            Sample { stack: 2, attributes: vec![2, 1], link: 0, values: vec![7, -8], timestamps: vec![100, 200] },
        ];
        let profile = Profile { sample_type: Some((1, 2)), samples, id: vec![0xab; 16], attributes: vec![] };
        let other = Profile {
            samples: vec![Sample { stack: 1, attributes: vec![], link: 0, values: vec![9], timestamps: vec![] }],
            id: vec![],
            ..profile.clone()
        };
        Self {
            layout: OtlpLayout::V1_10,
            is_unpacked: false,
            strings: vec![
                b"",
                b"cpu",
                b"nanoseconds",
                b"main",
                b"run",
                b"leaf",
                b"/bin/app",
                b"thread.name",
                b"worker",
                b"thread.id",
                b"service.name",
                b"shop",
                b"main.c",
            ],
            attributes: vec![(7, text("worker"), 0), (9, int(0), 0)],
            resource: vec![pair("service.name", text("shop")), pair("process.pid", int(42))],
            scope: vec![bytes(1, "profiler"), bytes(2, "v1"), bytes(3, pair("a", number(2, 1)))],
            profiles: vec![profile, other],
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let profiles = self.profiles.iter().map(|profile| bytes(2, self.profile(profile)));
        let scope_profiles: Vec<u8> = [message(1, &self.scope)].into_iter().chain(profiles).flatten().collect();
        let resource: Vec<u8> = self.resource.iter().flat_map(|pair| bytes(1, pair)).collect();
        let resource_profiles = [bytes(1, resource), bytes(2, scope_profiles)].concat();
        [bytes(1, resource_profiles), bytes(2, self.dictionary())].concat()
    }

    fn dictionary(&self) -> Vec<u8> {
        let line = |function: u64, line: u64| message(3, &[number(1, function), number(2, line)]);
        let attributes = self
            .attributes
            .iter()
            .map(|(key, value, unit)| message(6, &[number(1, *key), bytes(2, value), number(3, *unit)]));
        let strings = self.strings.iter().map(|text| bytes(5, text));
        let tables = [
            message(1, &[]),
            message(1, &[number(1, 0x1000), number(2, 0x2000), number(4, 6)]),
            message(2, &[]),
            message(2, &[number(1, 1), number(2, 0x1100), line(2, 7), line(1, 9)]),
            message(2, &[number(1, 1), number(2, 0x1200), line(3, 0)]),
            message(3, &[]),
            message(3, &[number(1, 3), number(3, 12), number(4, 8)]),
            message(3, &[number(1, 4)]),
            message(3, &[number(1, 5)]),
            message(4, &[]),
            message(4, &[bytes(1, [0x1f; 16]), bytes(2, [0x2e; 8])]),
            message(6, &[bytes(2, [])]),
            message(7, &[]),
            message(7, &[self.numbers(1, &[1])]),
            message(7, &[self.numbers(1, &[2, 1])]),
        ];
        tables.into_iter().chain(strings).chain(attributes).flatten().collect()
    }

    fn profile(&self, profile: &Profile) -> Vec<u8> {
        let value_type = |field, (ty, unit)| message(field, &[number(1, ty), number(2, unit)]);
        let mut out: Vec<u8> = profile.sample_type.into_iter().flat_map(|ty| value_type(1, ty)).collect();
        out.extend(profile.samples.iter().flat_map(|sample| bytes(2, self.sample(sample))));
        out.extend([fixed64(3, 1000), number(4, 50), value_type(5, (1, 2)), number(6, 10)].concat());
        let is_old = self.layout == OtlpLayout::V1_8;
        if !profile.id.is_empty() {
            out.extend(bytes(if is_old { 8 } else { 7 }, &profile.id));
        }
        out.extend(self.numbers(if is_old { 12 } else { 11 }, &profile.attributes));
        out
    }

    fn sample(&self, sample: &Sample) -> Vec<u8> {
        let values: Vec<u64> = sample.values.iter().map(|value| value.cast_unsigned()).collect();
        let [attributes, link, value] = if self.layout == OtlpLayout::V1_10 { [2, 3, 4] } else { [3, 4, 2] };
        let mut out = number(1, sample.stack);
        out.extend(self.numbers(attributes, &sample.attributes));
        if sample.link != 0 {
            out.extend(number(link, sample.link));
        }
        out.extend(self.numbers(value, &values));
        match (self.is_unpacked, sample.timestamps.is_empty()) {
            (_, true) => {}
            (false, _) => out.extend(packed_fixed64(5, &sample.timestamps)),
            (true, _) => out.extend(sample.timestamps.iter().flat_map(|time| fixed64(5, *time))),
        }
        out
    }

    /// A repeated number.
    fn numbers(&self, field: u64, values: &[u64]) -> Vec<u8> {
        match (self.is_unpacked, values.is_empty()) {
            (_, true) => Vec::new(),
            (false, _) => packed(field, values),
            (true, _) => values.iter().flat_map(|value| number(field, *value)).collect(),
        }
    }
}
