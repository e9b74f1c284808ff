//! The table `series`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder, UInt32Array,
};
use arrow::datatypes::{DataType, Field};
use flamestore_model::{Error, Result};

use super::samples::LaidSeries;
use super::{PlannedSeries, batch, id32};
use crate::schema::Table;

pub(super) fn build(series: &[PlannedSeries], laid: &[LaidSeries]) -> Result<Vec<RecordBatch>> {
    if series.is_empty() {
        return Ok(Vec::new());
    }
    let text = |value: &dyn Fn(&PlannedSeries) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(series.iter().map(value)))
    };
    let u32s = |values: Vec<u32>| -> ArrayRef { Arc::new(UInt32Array::from(values)) };
    let i64s = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let columns = vec![
        u32s((0..id32(series.len())?).collect()),
        u32s(series.iter().map(|s| s.dictionary_id).collect()),
        text(&|s| s.service_name.clone()),
        text(&|s| s.type_id.clone()),
        text(&|s| s.input.profile_type.name.clone()),
        text(&|s| s.input.profile_type.sample_type.clone()),
        text(&|s| s.input.profile_type.sample_unit.clone()),
        text(&|s| s.input.profile_type.period_type.clone()),
        text(&|s| s.input.profile_type.period_unit.clone()),
        Arc::new(StringArray::from_iter_values(laid.iter().map(|laid| laid.temporality.as_str()))),
        labels(series)?,
        i64s(laid.iter().map(|laid| laid.time_min).collect()),
        i64s(laid.iter().map(|laid| laid.time_max).collect()),
        u32s(laid.iter().map(|laid| laid.profiles.first).collect()),
        u32s(laid.iter().map(|laid| laid.profiles.count).collect()),
    ];
    Ok(vec![batch(Table::Series, columns)?])
}

fn labels(series: &[PlannedSeries]) -> Result<ArrayRef> {
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
        .with_keys_field(Field::new("key", DataType::Utf8, false))
        .with_values_field(Field::new("value", DataType::Utf8, true));
    let refused = |wrong| Error::internal("labels do not fit a map").because(wrong);
    for series in series {
        for (name, value) in series.input.labels.iter() {
            builder.keys().append_value(name);
            builder.values().append_value(value);
        }
        builder.append(true).map_err(refused)?;
    }
    let map = builder.finish();
    let (_, offsets, entries, nulls, _) = map.into_parts();
    let sorted = arrow::array::MapArray::try_new(crate::schema::label_entries(), offsets, entries, nulls, true);
    Ok(Arc::new(sorted.map_err(refused)?))
}
