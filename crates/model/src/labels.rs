//! Labels: sorted, unique names with UTF-8 values, that name a series together with its profile type.

use std::fmt;

use crate::{Error, Result};

/// Label names with a meaning of their own.
pub mod names {
    /// The service a profile belongs to; promoted to a column and the unit a segment's dictionaries are split by.
    pub const SERVICE_NAME: &str = "service_name";
    /// The value of [`SERVICE_NAME`] where a profile names no service.
    pub const UNKNOWN_SERVICE: &str = "unknown_service";
    /// The name part of the profile type: `process_cpu`, `memory`, …
    pub const NAME: &str = "__name__";
    /// The whole profile type id.
    pub const PROFILE_TYPE: &str = "__profile_type__";
    /// The sample type part of the profile type.
    pub const TYPE: &str = "__type__";
    /// The sample unit part of the profile type.
    pub const UNIT: &str = "__unit__";
    /// The period type part of the profile type.
    pub const PERIOD_TYPE: &str = "__period_type__";
    /// The period unit part of the profile type.
    pub const PERIOD_UNIT: &str = "__period_unit__";
    /// The labels derived from the profile type.
    pub const DERIVED: [&str; 6] = [NAME, PERIOD_TYPE, PERIOD_UNIT, PROFILE_TYPE, TYPE, UNIT];
}

/// A set of labels, sorted by name, each name once and non-empty. An empty value means the label is absent, so none is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Vec<(String, String)>);

impl Labels {
    /// The labels of `pairs`, in any order.
    ///
    /// # Errors
    /// `Invalid` when a name is empty or stands twice.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self> {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.add(name, value)?;
        }
        builder.finish()
    }

    /// The value of label `name`, if the label exists.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// The value of `service_name`, or `unknown_service`.
    pub fn service_name(&self) -> &str {
        self.get(names::SERVICE_NAME).unwrap_or(names::UNKNOWN_SERVICE)
    }

    /// The labels in order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These labels with `name` set to `value` (removed when `value` is empty).
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        match self.0.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
            Ok(at) if value.is_empty() => {
                self.0.remove(at);
            }
            Ok(at) => value.clone_into(&mut self.0[at].1),
            Err(_) if value.is_empty() => {}
            Err(at) => self.0.insert(at, (name.to_owned(), value.to_owned())),
        }
        self
    }
}

impl fmt::Display for Labels {
    /// `{a="x", b="y"}`, values escaped as in Go and Rust strings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}={value:?}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("}")
    }
}

/// Collects labels in any order, then checks them as one set.
#[derive(Debug, Default)]
pub struct LabelsBuilder(Vec<(String, String)>);

impl LabelsBuilder {
    /// Adds a label; an empty value adds nothing.
    ///
    /// # Errors
    /// `Invalid` when `name` is empty.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) -> Result<()> {
        let (name, value) = (name.into(), value.into());
        if name.is_empty() {
            return Err(Error::invalid("a label has no name").with("value", format!("{value:?}")));
        }
        if !value.is_empty() {
            self.0.push((name, value));
        }
        Ok(())
    }

    /// The labels, sorted.
    ///
    /// # Errors
    /// `Invalid` when a name stands twice.
    pub fn finish(mut self) -> Result<Labels> {
        self.0.sort();
        if let Some(pair) = self.0.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::invalid("a label name stands twice").with("name", format!("{:?}", pair[0].0)));
        }
        Ok(Labels(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_sort_and_refuse_a_name_twice() -> Result<()> {
        let labels = Labels::from_pairs([("b", "2"), ("a", "1"), ("gone", "")])?;
        assert_eq!(labels.to_string(), r#"{a="1", b="2"}"#);
        assert_eq!(labels.get("b"), Some("2"));
        assert_eq!(labels.get("gone"), None);
        assert!(Labels::from_pairs([("a", "1"), ("a", "2")]).is_err());
        assert!(Labels::from_pairs([("", "1")]).is_err());
        assert_eq!(labels.with("a", "").with("c", "3").to_string(), r#"{b="2", c="3"}"#);
        Ok(())
    }
}
