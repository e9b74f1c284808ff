//! Frozen files of every format version are read as ever.
//!
//! A new version adds a folder: `FLAMESTORE_FREEZE=1 cargo test -p flamestore-segment --test fixtures` writes the one of
//! the current version if there is none. Files that exist are never written again.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use expect_test::expect_file;
use flamestore_calltree::{LabelValue, SealedDictionary, frame_name};
use flamestore_model::{NONE, Result, TimeRange};
use flamestore_segment::{
    FORMAT_VERSION, MemorySource, ProfileDetail, ProfileSamples, ScanReport, SegmentReader, Table, read_everything,
};
use futures::executor::block_on;

fn folder(version: u32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/v{version}"))
}

fn frozen(version: u32) -> Vec<(Table, Bytes)> {
    static FROZEN: std::sync::Once = std::sync::Once::new();
    FROZEN.call_once(freeze);
    let path = |table: &Table| folder(version).join(format!("{table}.parquet"));
    let tables = Table::ALL.into_iter().filter(|table| version > 1 || !Table::ROLLUPS.contains(table));
    let tables = tables.filter(|table| *table != Table::Rollups30d);
    tables.map(|table| (table, Bytes::from(std::fs::read(path(&table)).unwrap()))).collect()
}

fn freeze() {
    if folder(FORMAT_VERSION).exists() || std::env::var_os("FLAMESTORE_FREEZE").is_none() {
        return;
    }
    std::fs::create_dir_all(folder(FORMAT_VERSION)).unwrap();
    for sealed in support::sealed(&support::example()).tables {
        std::fs::write(folder(FORMAT_VERSION).join(format!("{}.parquet", sealed.table)), &sealed.bytes).unwrap();
    }
}

fn stack(sealed: &SealedDictionary, id: u32) -> String {
    let dictionary = &sealed.dictionary;
    let mut text = String::new();
    for location in support::stack(sealed, id) {
        let address = dictionary.absolute_address(location);
        let lines: Vec<String> = dictionary
            .locations
            .line_rows(location)
            .map(|row| {
                let line = dictionary.locations.line(row);
                let name = match line.function {
                    NONE => "?".into(),
                    function => dictionary.strings.text(dictionary.functions.name[function as usize]),
                };
                format!("{name}:{}:{}", line.line, line.column)
            })
            .collect();
        write!(text, "/{address:x}[{}]", lines.join(" ")).unwrap();
    }
    text
}

fn label_set(sealed: &SealedDictionary, id: u32) -> String {
    let text = |id| sealed.dictionary.strings.text(id);
    let label = |label: &flamestore_calltree::Label| match label.value {
        LabelValue::Str(value) => format!(" {}={:?}", text(label.key), text(value)),
        LabelValue::Num(number, unit) => format!(" {}={number}{}", text(label.key), text(unit)),
    };
    sealed.dictionary.label_sets.get(id).iter().map(label).collect()
}

fn write_profile(out: &mut String, sealed: &SealedDictionary, detail: &ProfileDetail, samples: &ProfileSamples) {
    writeln!(out, "  {:?}", detail.row).unwrap();
    writeln!(out, "  {:?}", detail.meta).unwrap();
    for (at, id) in samples.stacks.iter().enumerate() {
        let set = samples.label_sets.get(at).copied().unwrap_or(NONE);
        writeln!(out, "    {} {}{}", samples.values[at], stack(sealed, *id), label_set(sealed, set)).unwrap();
    }
}

async fn print(reader: &SegmentReader) -> Result<String> {
    let (mut out, mut report) = (String::new(), ScanReport::default());
    let dictionaries = reader.dictionaries().await?;
    for series in &reader.series().await?.rows {
        let entry = &dictionaries[series.dictionary_id as usize];
        let sealed = reader.load_dictionary(series.dictionary_id, &mut report).await?;
        let temporality = series.temporality.as_str();
        writeln!(out, "{} {} {temporality} {}", series.service_name, series.profile_type, series.labels).unwrap();
        let profiles = reader.profiles(&[series.series_id].into(), &TimeRange::ALL, &mut report).await?;
        let details = reader.profile_details(&profiles, &mut report).await?;
        let samples = reader.samples(entry, &profiles, &mut report).await?;
        for (detail, samples) in details.iter().zip(&samples) {
            write_profile(&mut out, &sealed, detail, samples);
        }
    }
    for entry in dictionaries.iter() {
        let sealed = reader.load_dictionary(entry.dictionary_id, &mut report).await?;
        writeln!(out, "{entry:?}").unwrap();
        writeln!(out, "  {:?}", sealed.dictionary.mappings).unwrap();
        writeln!(out, "  {:?}", sealed.dictionary.functions).unwrap();
        let locations = 0..entry.locations.count;
        let names = locations.filter(|id| !sealed.dictionary.locations.line_rows(*id).is_empty());
        let names: Vec<_> = names.map(|id| frame_name(&sealed.dictionary, id, 0).into_owned()).collect();
        writeln!(out, "  {names:?}").unwrap();
    }
    for window in &reader.windows().await?.rows {
        let entry = &dictionaries[reader.series().await?.rows[window.series_id as usize].dictionary_id as usize];
        let mut sums = vec![0; entry.stacks.count as usize];
        reader.accumulate_windows(&[*window], entry.stacks.first, &mut sums, &mut report).await?;
        writeln!(out, "{window:?} {sums:?}").unwrap();
    }
    for (name, value, series) in reader.labels(None).await? {
        writeln!(out, "{name}={value:?} {series}").unwrap();
    }
    Ok(out)
}

#[test]
fn frozen_segments_of_version_1_are_read_as_ever() {
    let tables = frozen(1);
    read_everything(tables.clone()).unwrap();
    let reader = SegmentReader::new(Arc::new(MemorySource::new(tables)));
    expect_file!["../fixtures/v1/expected.txt"].assert_eq(&block_on(print(&reader)).unwrap());
}

#[test]
fn frozen_segments_of_version_2_are_read_as_ever() {
    let tables = frozen(2);
    read_everything(tables.clone()).unwrap();
    let reader = SegmentReader::new(Arc::new(MemorySource::new(tables)));
    expect_file!["../fixtures/v2/expected.txt"].assert_eq(&block_on(print(&reader)).unwrap());
}

#[test]
fn frozen_segments_of_version_3_are_read_as_ever() {
    let tables = frozen(3);
    read_everything(tables.clone()).unwrap();
    let reader = SegmentReader::new(Arc::new(MemorySource::new(tables)));
    expect_file!["../fixtures/v3/expected.txt"].assert_eq(&block_on(print(&reader)).unwrap());
}

#[test]
fn what_is_written_today_reads_like_the_frozen_segment() {
    let today = support::reader(&support::sealed(&support::example()));
    let frozen = SegmentReader::new(Arc::new(MemorySource::new(frozen(FORMAT_VERSION))));
    assert_eq!(block_on(print(&today)).unwrap(), block_on(print(&frozen)).unwrap());
}
