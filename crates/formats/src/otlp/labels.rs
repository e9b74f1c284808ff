//! The labels of a profile: the attributes of its resource, its scope and itself, as text.

use std::collections::BTreeMap;

use flamestore_model::{Labels, Result, names};

use super::any_value::{AnyValue, KeyValue};
use super::dictionary::Dictionary;
use crate::Limits;
use crate::limits::within;
use crate::wire::Reader;

/// Names and values in the order of the request.
pub(super) type Pairs = Vec<(String, String)>;

/// Reads attributes of resources and scopes; counts the text they come to for the whole request.
#[derive(Debug)]
pub(super) struct LabelReader<'a> {
    pub(super) dictionary: &'a Dictionary,
    pub(super) limits: &'a Limits,
    text_bytes: usize,
}

impl<'a> LabelReader<'a> {
    pub(super) fn new(dictionary: &'a Dictionary, limits: &'a Limits) -> Self {
        Self { dictionary, limits, text_bytes: 0 }
    }

    /// The attributes of a resource.
    pub(super) fn resource(&mut self, mut resource: Reader<'_>) -> Result<Pairs> {
        let mut pairs = Pairs::new();
        while !resource.is_done() {
            let tag = resource.tag()?;
            match tag {
                0x0a => self.attribute(resource.message()?, &mut pairs)?,
                _ => resource.skip(tag, 1)?,
            }
        }
        Ok(pairs)
    }

    /// The name, version and attributes of a scope.
    pub(super) fn scope(&mut self, mut scope: Reader<'_>) -> Result<Pairs> {
        let mut pairs = Pairs::new();
        while !scope.is_done() {
            let tag = scope.tag()?;
            match tag {
                0x0a => self.push(SCOPE_NAME, AnyValue::Str(scope.message()?.rest()), &mut pairs)?,
                0x12 => self.push(SCOPE_VERSION, AnyValue::Str(scope.message()?.rest()), &mut pairs)?,
                0x1a => self.attribute(scope.message()?, &mut pairs)?,
                _ => scope.skip(tag, 3)?,
            }
        }
        Ok(pairs)
    }

    /// `Ok` when the profiles may hold so many more bytes of labels.
    pub(super) fn spend(&mut self, text_bytes: usize) -> Result<()> {
        self.text_bytes = self.text_bytes.saturating_add(text_bytes);
        within("decompressed_bytes_max", self.limits.decompressed_bytes_max, self.text_bytes)
    }

    fn attribute(&mut self, pair: Reader<'_>, pairs: &mut Pairs) -> Result<()> {
        let KeyValue { key, value } = KeyValue::read(pair)?;
        let key = self.text(key.as_value())?;
        self.push(&key, value, pairs)
    }

    fn push(&mut self, key: &str, value: AnyValue<'_>, pairs: &mut Pairs) -> Result<()> {
        within("labels_per_sample_max", self.limits.labels_per_sample_max, pairs.len() + 1)?;
        let value = self.text(value)?;
        pairs.push((key.to_owned(), value));
        Ok(())
    }

    fn text(&mut self, value: AnyValue<'_>) -> Result<String> {
        let mut text = Vec::new();
        value.write_text(self.dictionary, &mut text, self.limits.string_bytes_max)?;
        self.spend(text.len())?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

const SCOPE_NAME: &str = "otel.scope.name";
const SCOPE_VERSION: &str = "otel.scope.version";
const SERVICE_NAME: &str = "service.name";
const EXECUTABLE_NAME: &str = "process.executable.name";

/// One set of labels: where a name stands twice, the first value that is not empty. The service's name is `service.name`, or
/// what OpenTelemetry's rules fall back to.
pub(super) fn merge<'a>(pairs: impl Iterator<Item = &'a (String, String)>) -> Result<Labels> {
    let mut merged: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, value) in pairs.filter(|(name, value)| !name.is_empty() && !value.is_empty()) {
        merged.entry(name).or_insert(value);
    }
    let given = merged.remove(SERVICE_NAME).or_else(|| merged.get(names::SERVICE_NAME).copied());
    let fallback = match merged.get(EXECUTABLE_NAME) {
        Some(executable) => format!("{}:{executable}", names::UNKNOWN_SERVICE),
        None => names::UNKNOWN_SERVICE.to_owned(),
    };
    merged.insert(names::SERVICE_NAME, given.unwrap_or(&fallback));
    Labels::from_pairs(merged)
}
