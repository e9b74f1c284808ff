//! Tools on a bucket that no store has open: check, usage, export.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use flamestore_formats::{Limits, decode_pprof, pprof_equal};
use flamestore_model::{Selector, Tenant, TimeRange};
use flamestore_segment::{RollUps, Table};
use flamestore_store::{Bucket, Depth, ExportFormat, ExportOptions, Store, check_at, export, ls, usage};
use flamestore_testkit::{Fixture, arbitrary_profile, profile};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::support::{DAY_START, SECOND, bucket, options, push_of};

/// A segment with every table, of two services and odd profiles.
async fn filled(objects: &Arc<InMemory>) -> Bucket {
    let place = bucket(objects.clone());
    let mut options = options(&place, "w", 1);
    options.segment.rollups = RollUps::HoursAndDays;
    let store = Store::open(options).await.unwrap();
    for seed in 0..3 {
        store.push(push_of("api", arbitrary_profile(seed), DAY_START)).await.unwrap();
        let text = format!("main;read<inlined {} | main;write 2", seed + 1);
        store.push(push_of("web", Fixture::cpu().profile(&text), DAY_START + SECOND)).await.unwrap();
    }
    store.shutdown().await.unwrap();
    place
}

async fn problems(place: &Bucket, depth: Depth) -> Vec<String> {
    let report = check_at(place, depth, &|_, _| {}).await.unwrap();
    report.problems.into_iter().map(|problem| format!("{}: {}", problem.object, problem.what)).collect()
}

#[tokio::test]
async fn a_deep_check_finds_a_flipped_byte_in_any_table() {
    let objects = Arc::new(InMemory::new());
    let place = filled(&objects).await;
    assert_eq!(problems(&place, Depth::Deep).await, Vec::<String>::new());
    assert_eq!(problems(&place, Depth::Plain).await, Vec::<String>::new());
    let manifest = ls(&place).await.unwrap().manifest;
    let entry = &manifest.segments[0];
    let own: Vec<Table> = Table::ALL.into_iter().filter(|table| *table != Table::Rollups30d).collect();
    assert_eq!(entry.tables.len(), own.len(), "the test is about every table of a segment with profiles");
    for table in own {
        let path = entry.key(table).to_string();
        let sound = objects.get(&Path::from(path.as_str())).await.unwrap().bytes().await.unwrap();
        for at in [0, 7, sound.len() / 3, sound.len() / 2, sound.len() * 3 / 4, sound.len() - 9, sound.len() - 1] {
            let mut damaged = sound.to_vec();
            damaged[at] ^= 0x10;
            objects.put(&Path::from(path.as_str()), damaged.into()).await.unwrap();
            let found = problems(&place, Depth::Deep).await;
            assert_eq!(found, [format!("{path}: the checksum differs")], "byte {at} of {table}");
        }
        objects.put(&Path::from(path.as_str()), sound.into()).await.unwrap();
    }
}

#[tokio::test]
async fn a_plain_check_looks_at_sizes_and_footers() {
    let objects = Arc::new(InMemory::new());
    let place = filled(&objects).await;
    let entry = Arc::clone(&ls(&place).await.unwrap().manifest.segments[0]);
    let path = |table: Table| Path::from(entry.key(table).to_string());
    objects.delete(&path(Table::Samples)).await.unwrap();
    objects.put(&path(Table::Stacks), "short".into()).await.unwrap();
    let mut footer = objects.get(&path(Table::Strings)).await.unwrap().bytes().await.unwrap().to_vec();
    let magic = footer.len() - 1;
    footer[magic] = b'X';
    objects.put(&path(Table::Strings), footer.into()).await.unwrap();
    let found = problems(&place, Depth::Plain).await;
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[0], format!("{}: the object is missing", path(Table::Samples)));
    assert_eq!(found[1], format!("{}: the size differs", path(Table::Stacks)));
    assert!(found[2].starts_with(path(Table::Strings).as_ref()), "{found:?}");
}

#[tokio::test]
async fn a_damaged_manifest_is_a_problem_and_no_failure_of_the_check() {
    let objects = Arc::new(InMemory::new());
    let place = filled(&objects).await;
    let newest = Path::from("manifest/00000000000000000002");
    objects.put(&newest, "nothing of the kind".into()).await.unwrap();
    let found = problems(&place, Depth::Plain).await;
    assert!(found.len() == 1 && found[0].starts_with(newest.as_ref()), "{found:?}");
}

#[tokio::test]
async fn the_bytes_of_all_parts_are_those_of_the_objects() {
    let objects = Arc::new(InMemory::new());
    let place = filled(&objects).await;
    let counted = usage(&place, &|_, _| {}).await.unwrap();
    let entry = Arc::clone(&ls(&place).await.unwrap().manifest.segments[0]);
    assert_eq!((counted.bytes(), counted.problems.len()), (entry.bytes(), 0));
    let mut by_table: BTreeMap<Table, u64> = BTreeMap::new();
    let mut by_service: BTreeMap<Option<String>, u64> = BTreeMap::new();
    for (cell, bytes) in &counted.cells {
        *by_table.entry(cell.table).or_default() += bytes;
        *by_service.entry(cell.service.clone()).or_default() += bytes;
    }
    let expected: BTreeMap<Table, u64> = entry.tables.iter().map(|table| (table.table, table.bytes)).collect();
    assert_eq!(by_table, expected);
    let (api, web) = (by_service[&Some("api".to_owned())], by_service[&Some("web".to_owned())]);
    assert!(api > web && web > 0, "the odd profiles take more: {by_service:?}");
    objects.delete(&Path::from(entry.key(Table::Series).to_string())).await.unwrap();
    let counted = usage(&place, &|_, _| {}).await.unwrap();
    assert_eq!((counted.bytes(), counted.problems.len()), (entry.bytes(), 1));
}

/// A file in memory that outlives its writer.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn samples_are_taken_out_with_their_stacks_as_text() {
    let objects = Arc::new(InMemory::new());
    let place = bucket(objects.clone());
    let store = Store::open(options(&place, "w", 1)).await.unwrap();
    for (service, text, days) in
        [("api", "main;read 3 | main;write 1", 0), ("web", "main;other 9", 0), ("api", "main;late 7", 1)]
    {
        store.push(push_of(service, profile(text), DAY_START + days * 86_400 * SECOND)).await.unwrap();
    }
    store.shutdown().await.unwrap();
    let wanted = ExportOptions {
        tenant: Tenant::default(),
        selector: "{service_name=\"api\"}".parse::<Selector>().unwrap(),
        range: TimeRange::ALL,
        format: ExportFormat::Parquet,
    };
    let mut files: BTreeMap<String, Shared> = BTreeMap::new();
    let create = |name: &str| Ok(files.entry(name.to_owned()).or_default().clone());
    let report = export(&place, &wanted, create, &|_, _| {}).await.unwrap();
    assert_eq!((report.profiles, report.rows, report.problems.len()), (2, 3, 0));
    assert_eq!(report.files, ["anonymous-2026-11-22.parquet", "anonymous-2026-11-23.parquet"]);
    let bytes = bytes::Bytes::from(files["anonymous-2026-11-22.parquet"].0.lock().unwrap().clone());
    let mut batches = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
    let batch = batches.next().unwrap().unwrap();
    let shown = format!("{batch:?}");
    for part in ["\"main\"", "\"read\"", "\"write\"", "\"pod\"", "\"p1\"", "\"api\""] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(batches.next().is_none() && batch.num_rows() == 2 && !shown.contains("\"other\""), "{shown}");
}

#[tokio::test]
async fn profiles_are_taken_out_as_they_were_pushed() {
    let place = bucket(Arc::new(InMemory::new()));
    let store = Store::open(options(&place, "w", 1)).await.unwrap();
    let mut pushed = BTreeMap::new();
    for (seed, service) in (0..12).zip(["api", "web", "db"].into_iter().cycle()) {
        let batch = arbitrary_profile(seed);
        let id = store.push(push_of(service, batch.clone(), DAY_START + SECOND)).await.unwrap();
        pushed.insert(format!("{id}.pb.gz"), batch);
    }
    store.shutdown().await.unwrap();
    let wanted = ExportOptions {
        tenant: Tenant::default(),
        selector: Selector::default(),
        range: TimeRange::ALL,
        format: ExportFormat::Pprof,
    };
    let mut files: BTreeMap<String, Shared> = BTreeMap::new();
    let create = |name: &str| Ok(files.entry(name.to_owned()).or_default().clone());
    let report = export(&place, &wanted, create, &|_, _| {}).await.unwrap();
    assert_eq!((report.files.len(), files.len(), report.problems.len()), (12, 12, 0));
    for (name, mut batch) in pushed {
        let bytes = files[&name].0.lock().unwrap().clone();
        let found = decode_pprof(bytes.into(), &Limits::default()).unwrap();
        batch.header.time_unix_nano = DAY_START + SECOND;
        pprof_equal(&batch, &found).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}
