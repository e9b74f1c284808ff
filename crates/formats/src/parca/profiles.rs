//! The profiles of a request, one at a time.

use flamestore_model::{Label, LabelValue, Labels, ProfileBatch, ProfileHeader, Result, Samples, ValueType, names};

use super::samples::{GroupKey, Row, Rows};
use super::tables::{BuiltTables, TableBuilder};
use crate::Limits;
use crate::gather::Gather;
use crate::limits::within;
use crate::otlp::TIMESTAMP;

/// A request of Parca's agents, decoded.
#[derive(Debug)]
pub struct ParcaRequest {
    limits: Limits,
    tables: BuiltTables,
    rows: Rows,
    timestamp: u32,
    nanoseconds: u32,
}

/// One profile of a request.
#[derive(Clone, Debug)]
pub struct ParcaProfile {
    /// The labels of its rows, and the name of the profile type as `__name__`.
    pub labels: Labels,
    /// One sample type, a row for each sample with its own labels and `timestamp_ns`.
    pub batch: ProfileBatch,
}

/// Makes the profiles of a request one after another: each is whole, or an error that says why it is not.
#[derive(Debug)]
pub struct ParcaProfiles<'a> {
    request: &'a ParcaRequest,
    gather: Gather<'a>,
    next: usize,
    label_bytes: usize,
}

impl ParcaRequest {
    /// The request of these rows and tables.
    ///
    /// # Errors
    /// `Exhausted` when the tables are full.
    pub(super) fn new(mut tables: TableBuilder, rows: Rows) -> Result<Self> {
        let (timestamp, nanoseconds) = (tables.string(TIMESTAMP.as_bytes())?, tables.string(b"nanoseconds")?);
        let limits = tables.limits().clone();
        Ok(Self { limits, tables: tables.finish(), rows, timestamp, nanoseconds })
    }

    /// How many profiles there are, whole or not.
    pub fn len(&self) -> usize {
        self.rows.groups.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.groups.is_empty()
    }

    /// How many stacks were named and never sent.
    pub fn missing_stacks(&self) -> usize {
        self.rows.missing().count()
    }

    /// Makes the profiles one after another, in the order of their first rows.
    pub fn profiles(&self) -> ParcaProfiles<'_> {
        let gather = Gather::new(self.tables.tables(), &self.limits);
        ParcaProfiles { request: self, gather, next: 0, label_bytes: 0 }
    }
}

impl ParcaProfiles<'_> {
    fn profile(&mut self, key: &GroupKey, rows: &[Row]) -> Result<ParcaProfile> {
        let labels = self.labels(key)?;
        self.gather.start();
        let gather = &mut self.gather;
        let header = ProfileHeader {
            sample_types: vec![ValueType { ty: gather.string(key.sample_type), unit: gather.string(key.sample_unit) }],
            period_type: ValueType { ty: gather.string(key.period_type), unit: gather.string(key.period_unit) },
            period: key.period,
            time_unix_nano: rows.iter().filter_map(|row| row.time_unix_nano).min().unwrap_or_default(),
            duration_nano: key.duration_nano,
            ..ProfileHeader::default()
        };
        let samples = self.samples(rows)?;
        let symbols = self.gather.finish()?;
        Ok(ParcaProfile { labels, batch: ProfileBatch { header, symbols, samples } })
    }

    fn labels(&mut self, key: &GroupKey) -> Result<Labels> {
        let ParcaRequest { tables, limits, .. } = self.request;
        let pairs = key.labels.iter().map(|(name, value)| (tables.text(*name), tables.text(*value)));
        let given = [(names::NAME.as_bytes(), tables.text(key.name))];
        let pairs: Vec<(&[u8], &[u8])> = pairs.filter(|(name, _)| !is_derived(name)).chain(given).collect();
        let bytes = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.label_bytes = self.label_bytes.saturating_add(bytes);
        within("decompressed_bytes_max", limits.decompressed_bytes_max, self.label_bytes)?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Labels::from_pairs(pairs.into_iter().map(|(name, value)| (text(name), text(value))))
    }

    fn samples(&mut self, rows: &[Row]) -> Result<Samples> {
        let ParcaRequest { rows: all, timestamp, nanoseconds, .. } = self.request;
        let gather = &mut self.gather;
        let mut out = Samples { stack_offsets: vec![0], label_offsets: vec![0], ..Samples::default() };
        for row in rows {
            for location in all.stack_of(row) {
                out.stack_locations.push(gather.location(*location)?);
            }
            out.stack_offsets.push(offset(out.stack_locations.len()));
            out.values.push(row.value);
            for (name, value) in all.labels_of(row) {
                let value = LabelValue::Str(gather.string(*value));
                out.labels.push(Label { key: gather.string(*name), value });
            }
            if let Some(time) = row.time_unix_nano {
                let value = LabelValue::Num(time, gather.string(*nanoseconds));
                out.labels.push(Label { key: gather.string(*timestamp), value });
            }
            out.label_offsets.push(offset(out.labels.len()));
        }
        if out.labels.is_empty() {
            out.label_offsets.clear();
        }
        Ok(out)
    }
}

impl Iterator for ParcaProfiles<'_> {
    type Item = Result<ParcaProfile>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, rows) = self.request.rows.groups.get(self.next)?;
        self.next += 1;
        Some(self.profile(key, rows))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.request.rows.groups.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for ParcaProfiles<'_> {}

/// Whether a label is made of the profile type, which the record states elsewhere.
fn is_derived(name: &[u8]) -> bool {
    names::DERIVED.iter().any(|derived| derived.as_bytes() == name)
}

/// An offset below the limits.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
