//! Postings: which series have a label of a value.

use std::collections::BTreeMap;

use arrow::array::{BinaryArray, RecordBatch, StringArray};
use flamestore_model::{MatchOp, Matcher, Result, Selector};
use roaring::RoaringBitmap;

use super::SegmentReader;
use crate::rows::SeriesTable;
use crate::scan::{column, corrupt, guard};
use crate::schema::Table;

/// The postings of a segment, sorted by name, then value.
#[derive(Debug)]
pub(super) struct Postings {
    all: RoaringBitmap,
    rows: Vec<Posting>,
}

#[derive(Debug)]
struct Posting {
    name: String,
    value: String,
    series: RoaringBitmap,
}

pub(super) async fn load(reader: &SegmentReader) -> Result<Postings> {
    let series_count = reader.file(Table::Series).await?.rows();
    // The footer was checked: fewer rows than 32 bits count.
    let all: RoaringBitmap = (0..u32::try_from(series_count).unwrap_or(u32::MAX)).collect();
    let mut rows: Vec<Posting> = Vec::new();
    let mut each = |batch: &RecordBatch| {
        for row in 0..batch.num_rows() {
            let posting = posting(batch, row)?;
            if !posting.series.is_subset(&all) {
                return Err(corrupt(Table::Postings, "a label is of a series that is not there")
                    .with("name", &posting.name)
                    .with("expected", format!("less than {series_count}"))
                    .with("found", posting.series.max().unwrap_or(0)));
            }
            if rows.last().is_some_and(|last| (&last.name, &last.value) >= (&posting.name, &posting.value)) {
                return Err(corrupt(Table::Postings, "labels are not sorted").with("name", &posting.name));
            }
            rows.push(posting);
        }
        Ok(())
    };
    reader.scan_all(Table::Postings, &["name", "value", "series"], &mut each).await?;
    Ok(Postings { all, rows })
}

fn posting(batch: &RecordBatch, row: usize) -> Result<Posting> {
    let table = Table::Postings;
    let text = |name: &str| Ok(column::<StringArray>(table, batch, name)?.value(row).to_owned());
    let bytes = column::<BinaryArray>(table, batch, "series")?.value(row);
    let series = guard(table, || RoaringBitmap::deserialize_from(bytes))?;
    Ok(Posting { name: text("name")?, value: text("value")?, series })
}

impl Postings {
    /// Bytes it takes in memory, about.
    pub(super) fn memory_bytes(&self) -> usize {
        let row =
            |row: &Posting| size_of::<Posting>() + row.name.len() + row.value.len() + row.series.serialized_size();
        self.all.serialized_size() + self.rows.iter().map(row).sum::<usize>()
    }

    /// Makes sure that the postings are the labels of `series`, no less and no more.
    pub(super) fn check(&self, series: &SeriesTable) -> Result<()> {
        let mut expected: BTreeMap<(String, String), RoaringBitmap> = BTreeMap::new();
        for row in &series.rows {
            for (name, value) in row.all_labels().iter() {
                expected.entry((name.to_owned(), value.to_owned())).or_default().insert(row.series_id);
            }
        }
        let found = self.rows.iter().map(|row| ((&row.name, &row.value), &row.series));
        let expected = expected.iter().map(|((name, value), series)| ((name, value), series));
        match expected.clone().zip(found).find(|(expected, found)| expected != found) {
            None if expected.len() == self.rows.len() => Ok(()),
            None => Err(corrupt(Table::Postings, "labels are missing or too many")
                .with("expected", expected.len())
                .with("found", self.rows.len())),
            Some((((name, value), series), found)) => {
                Err(corrupt(Table::Postings, "the postings are not the labels of the series")
                    .with("expected", format!("{name}={value:?} of {} series", series.len()))
                    .with("found", format!("{}={:?} of {} series", found.0.0, found.0.1, found.1.len())))
            }
        }
    }

    pub(super) fn select(&self, selector: &Selector) -> RoaringBitmap {
        let mut selected = self.all.clone();
        for matcher in &selector.matchers {
            selected &= self.fits(matcher);
            if selected.is_empty() {
                break;
            }
        }
        selected
    }

    pub(super) fn labels(&self, series: Option<&RoaringBitmap>) -> Vec<(String, String, u64)> {
        let count = |posting: &Posting| match series {
            Some(series) => posting.series.intersection_len(series),
            None => posting.series.len(),
        };
        let counted = self.rows.iter().map(|posting| (posting.name.clone(), posting.value.clone(), count(posting)));
        counted.filter(|(_, _, count)| *count > 0).collect()
    }

    fn fits(&self, matcher: &Matcher) -> RoaringBitmap {
        let named = self.named(matcher.name());
        let mut fits = RoaringBitmap::new();
        if matcher.matches_absent() {
            fits.clone_from(&self.all);
            named.iter().for_each(|posting| fits -= &posting.series);
        }
        match matcher.op() {
            MatchOp::Equal => {
                if let Ok(at) = named.binary_search_by(|posting| posting.value.as_str().cmp(matcher.value())) {
                    fits |= &named[at].series;
                }
            }
            _ => {
                let fitting = named.iter().filter(|posting| matcher.matches(&posting.value));
                fitting.for_each(|posting| fits |= &posting.series);
            }
        }
        fits
    }

    fn named(&self, name: &str) -> &[Posting] {
        let start = self.rows.partition_point(|posting| posting.name.as_str() < name);
        let end = self.rows.partition_point(|posting| posting.name.as_str() <= name);
        &self.rows[start..end]
    }
}
