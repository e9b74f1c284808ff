//! Frozen files of every format version are read as ever.
//!
//! A new version adds a folder: `FLAMESTORE_FREEZE=1 cargo test -p flamestore-segment --test fixtures` writes those of
//! the current version if there are none. Files that exist are never written again.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use expect_test::expect_file;
use flamestore_calltree::{LabelBytes, Observation, SealedDictionary, frame_name};
use flamestore_model::{NONE, Result, TimeRange};
use flamestore_segment::{
    FORMAT_VERSION, MemorySource, ProfileDetail, ProfileSamples, ScanReport, SegmentReader, Table, read_everything,
};
use futures::executor::block_on;

/// The folder of the current version, and one whose samples differ in time, trace and span.
const CURRENT: &str = "v3";
const CURRENT_OBSERVING: &str = "v3-observing";

fn folder(fixture: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(fixture)
}

fn frozen(fixture: &str) -> Vec<(Table, Bytes)> {
    static FROZEN: std::sync::Once = std::sync::Once::new();
    FROZEN.call_once(freeze);
    let path = |table: &Table| folder(fixture).join(format!("{table}.parquet"));
    let tables = Table::ALL.into_iter().filter(|table| fixture != "v1" || !Table::ROLLUPS.contains(table));
    let tables = tables.filter(|table| *table != Table::Rollups30d);
    tables.map(|table| (table, Bytes::from(std::fs::read(path(&table)).unwrap()))).collect()
}

fn freeze() {
    for (fixture, stored) in [(CURRENT, support::example()), (CURRENT_OBSERVING, support::observing())] {
        if folder(fixture).exists() || std::env::var_os("FLAMESTORE_FREEZE").is_none() {
            continue;
        }
        std::fs::create_dir_all(folder(fixture)).unwrap();
        for sealed in support::sealed(&stored).tables {
            std::fs::write(folder(fixture).join(format!("{}.parquet", sealed.table)), &sealed.bytes).unwrap();
        }
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

fn labels(sealed: &SealedDictionary, id: u32, observation: &Observation) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut labels = String::new();
    sealed.dictionary.row_labels(id, observation, |key, value| match value {
        LabelBytes::Str(value) => write!(labels, " {}={:?}", text(key), text(value)).unwrap(),
        LabelBytes::Num(number, unit) => write!(labels, " {}={number}{}", text(key), text(unit)).unwrap(),
    });
    labels
}

fn write_profile(out: &mut String, sealed: &SealedDictionary, detail: &ProfileDetail, samples: &ProfileSamples) {
    writeln!(out, "  {:?}", detail.row).unwrap();
    writeln!(out, "  {:?}", detail.meta).unwrap();
    for (at, id) in samples.stacks.iter().enumerate() {
        let set = samples.label_sets.get(at).copied().unwrap_or(NONE);
        let labels = labels(sealed, set, &samples.observed.get(at));
        writeln!(out, "    {} {}{labels}", samples.values[at], stack(sealed, *id)).unwrap();
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
    let tables = frozen("v1");
    read_everything(tables.clone()).unwrap();
    let reader = SegmentReader::new(Arc::new(MemorySource::new(tables)));
    expect_file!["../fixtures/v1/expected.txt"].assert_eq(&block_on(print(&reader)).unwrap());
}

#[test]
fn frozen_segments_of_version_2_are_read_as_ever() {
    let tables = frozen("v2");
    read_everything(tables.clone()).unwrap();
    let reader = SegmentReader::new(Arc::new(MemorySource::new(tables)));
    expect_file!["../fixtures/v2/expected.txt"].assert_eq(&block_on(print(&reader)).unwrap());
}

#[test]
fn frozen_segments_of_version_3_are_read_as_ever() {
    let tables = frozen("v3");
    read_everything(tables.clone()).unwrap();
    let reader = SegmentReader::new(Arc::new(MemorySource::new(tables)));
    expect_file!["../fixtures/v3/expected.txt"].assert_eq(&block_on(print(&reader)).unwrap());
}

#[test]
fn a_frozen_segment_with_times_and_spans_is_read_as_ever() {
    let tables = frozen(CURRENT_OBSERVING);
    read_everything(tables.clone()).unwrap();
    let reader = SegmentReader::new(Arc::new(MemorySource::new(tables)));
    expect_file!["../fixtures/v3-observing/expected.txt"].assert_eq(&block_on(print(&reader)).unwrap());
}

#[test]
fn what_is_written_today_reads_like_the_frozen_segments() {
    assert_eq!(CURRENT, format!("v{FORMAT_VERSION}"));
    for (fixture, stored) in [(CURRENT, support::example()), (CURRENT_OBSERVING, support::observing())] {
        let today = support::reader(&support::sealed(&stored));
        let frozen = SegmentReader::new(Arc::new(MemorySource::new(frozen(fixture))));
        assert_eq!(block_on(print(&today)).unwrap(), block_on(print(&frozen)).unwrap());
    }
}
