//! The tables `dictionaries` and `series`, decoded whole.

use arrow::array::{Array, Int64Array, MapArray, RecordBatch, StringArray, UInt32Array};
use flamestore_model::{Labels, NONE, ProfileType, Result, Temporality};

use super::SegmentReader;
use crate::rows::{DictionaryEntry, SeriesRow, SeriesTable, Span};
use crate::scan::{column, corrupt};
use crate::schema::Table;

fn names(table: Table) -> Vec<&'static str> {
    table.columns().iter().map(|column| column.name).collect()
}

pub(super) async fn dictionaries(reader: &SegmentReader) -> Result<Vec<DictionaryEntry>> {
    let mut entries: Vec<DictionaryEntry> = Vec::new();
    let mut each = |batch: &RecordBatch| {
        for row in 0..batch.num_rows() {
            let entry = dictionary(batch, row)?;
            check_dictionary(entries.last(), &entry)?;
            entries.push(entry);
        }
        Ok(())
    };
    reader.scan_all(Table::Dictionaries, &names(Table::Dictionaries), &mut each).await?;
    Ok(entries)
}

fn dictionary(batch: &RecordBatch, row: usize) -> Result<DictionaryEntry> {
    let table = Table::Dictionaries;
    let number = |name: &str| Ok(column::<UInt32Array>(table, batch, name)?.value(row));
    let span = |name: &str| -> Result<Span> {
        Ok(Span { first: number(&format!("{name}_first"))?, count: number(&format!("{name}_count"))? })
    };
    Ok(DictionaryEntry {
        dictionary_id: number("dictionary_id")?,
        service_name: column::<StringArray>(table, batch, "service_name")?.value(row).to_owned(),
        strings: span("strings")?,
        mappings: span("mappings")?,
        functions: span("functions")?,
        locations: span("locations")?,
        location_rows: span("location_rows")?,
        label_sets: span("label_sets")?,
        label_set_rows: span("label_set_rows")?,
        call_sites: span("call_sites")?,
        stacks: span("stacks")?,
    })
}

/// Dictionaries follow each other without gaps, sorted by service.
fn check_dictionary(before: Option<&DictionaryEntry>, entry: &DictionaryEntry) -> Result<()> {
    let wrong = |what: &str| corrupt(Table::Dictionaries, what.to_owned()).with("dictionary", entry.dictionary_id);
    if entry.dictionary_id != before.map_or(0, |before| before.dictionary_id + 1) {
        return Err(wrong("dictionary ids do not count from 0"));
    }
    if before.is_some_and(|before| before.service_name >= entry.service_name) {
        return Err(wrong("services are not sorted"));
    }
    for (name, span) in DictionaryEntry::SPANS {
        let expected = before.map(span).map_or(0, |before| before.first + before.count);
        let found = span(entry);
        if found.first != expected || found.first.checked_add(found.count).is_none_or(|end| end == NONE) {
            return Err(wrong("rows of a dictionary do not follow those before")
                .with("rows_of", name)
                .with("expected", expected)
                .with("found", found.first));
        }
    }
    Ok(())
}

pub(super) async fn series(reader: &SegmentReader) -> Result<SeriesTable> {
    let dictionaries = reader.dictionaries().await?;
    let mut rows: Vec<SeriesRow> = Vec::new();
    let mut each = |batch: &RecordBatch| {
        for row in 0..batch.num_rows() {
            let series = series_row(batch, row)?;
            check_series(&dictionaries, rows.last(), &series)?;
            rows.push(series);
        }
        Ok(())
    };
    reader.scan_all(Table::Series, &names(Table::Series), &mut each).await?;
    Ok(SeriesTable { rows })
}

fn series_row(batch: &RecordBatch, row: usize) -> Result<SeriesRow> {
    let table = Table::Series;
    let id = |name: &str| Ok(column::<UInt32Array>(table, batch, name)?.value(row));
    let number = |name: &str| Ok(column::<Int64Array>(table, batch, name)?.value(row));
    let text = |name: &str| Ok(column::<StringArray>(table, batch, name)?.value(row).to_owned());
    let profile_type = ProfileType {
        name: text("profile_name")?,
        sample_type: text("sample_type")?,
        sample_unit: text("sample_unit")?,
        period_type: text("period_type")?,
        period_unit: text("period_unit")?,
    };
    if profile_type.to_string() != text("profile_type")? {
        return Err(corrupt(table, "the parts of a profile type are not those of its id").with("series", row));
    }
    Ok(SeriesRow {
        series_id: id("series_id")?,
        dictionary_id: id("dictionary_id")?,
        service_name: text("service_name")?,
        profile_type,
        temporality: temporality(&text("temporality")?)?,
        labels: labels(column(table, batch, "labels")?, row)?,
        time_min: number("time_unix_nano_min")?,
        time_max: number("time_unix_nano_max")?,
        profiles: Span { first: id("profile_start")?, count: id("profile_count")? },
    })
}

fn temporality(text: &str) -> Result<Temporality> {
    use Temporality::{Cumulative, Delta, Instant, Unknown};
    let known = [Delta, Instant, Cumulative, Unknown].into_iter().find(|temporality| temporality.as_str() == text);
    known.ok_or_else(|| corrupt(Table::Series, "a temporality is not known").with("found", format!("{text:?}")))
}

fn labels(maps: &MapArray, row: usize) -> Result<Labels> {
    let entries = maps.value(row);
    let strings =
        |at: usize| entries.columns().get(at).and_then(|column| column.as_any().downcast_ref::<StringArray>());
    let (Some(names), Some(values)) = (strings(0), strings(1)) else {
        return Err(corrupt(Table::Series, "labels are not strings").with("series", row));
    };
    let value = |at: usize| if values.is_null(at) { "" } else { values.value(at) };
    let labels = Labels::from_pairs((0..entries.len()).map(|at| (names.value(at), value(at))));
    labels.map_err(|wrong| corrupt(Table::Series, "labels are wrong").with("series", row).because(wrong))
}

/// Series count from 0, and their profiles follow each other without gaps.
fn check_series(dictionaries: &[DictionaryEntry], before: Option<&SeriesRow>, series: &SeriesRow) -> Result<()> {
    let wrong = |what: &str| corrupt(Table::Series, what.to_owned()).with("series", series.series_id);
    if series.series_id != before.map_or(0, |before| before.series_id + 1) {
        return Err(wrong("series ids do not count from 0"));
    }
    let dictionary = dictionaries.get(series.dictionary_id as usize);
    if dictionary.is_none_or(|dictionary| dictionary.service_name != series.service_name) {
        return Err(wrong("a series is not of the service of its dictionary").with("dictionary", series.dictionary_id));
    }
    let expected = before.map_or(0, |before| before.profiles.first + before.profiles.count);
    if series.profiles.first != expected || series.profiles.first.checked_add(series.profiles.count).is_none() {
        return Err(wrong("profiles of a series do not follow those before")
            .with("expected", expected)
            .with("found", series.profiles.first));
    }
    match series.time_min <= series.time_max {
        true => Ok(()),
        false => Err(wrong("a series ends before it starts")),
    }
}
