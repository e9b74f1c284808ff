//! The table `postings`: for each label name and value, derived ones too, the series that have it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{BinaryArray, RecordBatch, StringArray};
use flamestore_model::{Error, Result};
use roaring::RoaringBitmap;

use super::{PlannedSeries, batch};
use crate::rows::all_labels;
use crate::schema::Table;

pub(super) fn build(series: &[PlannedSeries]) -> Result<Vec<RecordBatch>> {
    let mut postings: BTreeMap<(String, String), RoaringBitmap> = BTreeMap::new();
    for (id, series) in (0..).zip(series) {
        let labels = all_labels(&series.input.labels, &series.input.profile_type, &series.service_name);
        for (name, value) in labels.iter() {
            postings.entry((name.to_owned(), value.to_owned())).or_default().insert(id);
        }
    }
    if postings.is_empty() {
        return Ok(Vec::new());
    }
    let mut bitmaps = Vec::with_capacity(postings.len());
    for bitmap in postings.values() {
        let mut bytes = Vec::with_capacity(bitmap.serialized_size());
        bitmap.serialize_into(&mut bytes).map_err(|wrong| Error::internal("a bitmap is not written").because(wrong))?;
        bitmaps.push(bytes);
    }
    let names = StringArray::from_iter_values(postings.keys().map(|(name, _)| name));
    let values = StringArray::from_iter_values(postings.keys().map(|(_, value)| value));
    let columns =
        vec![Arc::new(names) as _, Arc::new(values) as _, Arc::new(BinaryArray::from_iter_values(bitmaps)) as _];
    Ok(vec![batch(Table::Postings, columns)?])
}
