//! What is decoded page by page equals what the Parquet library decodes, with the same requests.

use arrow::array::{ArrayRef, UInt32Array, new_null_array};
use bytes::Bytes;
use flamestore_model::ErrorKind;
use futures::executor::block_on;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use proptest::prelude::*;

use super::*;
use crate::MemorySource;
use crate::scan::join_ranges;
use crate::schema::{FORMAT_VERSION_KEY, TABLE_KEY};

const NAMES: Names<'static> = ["stack_key", "value"];

/// How a file is written.
#[derive(Clone, Debug)]
struct Layout {
    /// `None` is a dictionary.
    encodings: [Option<Encoding>; 2],
    page_rows: usize,
    row_group_rows: usize,
    /// Dictionaries that outgrow this are given up within a column.
    dictionary_bytes: usize,
    is_version_2: bool,
    is_compressed: bool,
}

fn layout() -> impl Strategy<Value = Layout> {
    let encoding = prop_oneof![
        Just(None),
        Just(Some(Encoding::PLAIN)),
        Just(Some(Encoding::DELTA_BINARY_PACKED)),
        Just(Some(Encoding::BYTE_STREAM_SPLIT)),
    ];
    let rows = (prop_oneof![1_usize..9, 30_usize..300], prop_oneof![1_usize..50, 200_usize..2000]);
    (encoding.clone(), encoding, rows, prop_oneof![Just(64_usize), Just(1 << 20)], any::<[bool; 2]>()).prop_map(
        |(ids, values, (page_rows, row_group_rows), dictionary_bytes, [is_version_2, is_compressed])| Layout {
            encodings: [ids, values],
            page_rows,
            row_group_rows,
            dictionary_bytes,
            is_version_2,
            is_compressed,
        },
    )
}

/// Numbers of the shapes that columns have: rising, few distinct, any.
fn rows() -> impl Strategy<Value = (Vec<u32>, Vec<i64>)> {
    let shape = (0_u32..33, 0_u32..65, 1_u64..40, any::<bool>());
    (prop::collection::vec(any::<(u32, u64)>(), 1..700), shape).prop_map(|(seeds, (id_bits, bits, distinct, rises))| {
        let mut last = 0_u32;
        let ids = seeds.iter().map(|(id, _)| {
            let id = id.checked_shr(32 - id_bits).unwrap_or(0);
            last = if rises { last.wrapping_add(id) } else { id };
            last
        });
        let value = |seed: u64| if rises { seed % distinct } else { seed.checked_shr(64 - bits).unwrap_or(0) };
        (ids.collect(), seeds.iter().map(|(_, seed)| value(*seed).cast_signed()).collect())
    })
}

fn write(layout: &Layout, ids: &[u32], values: &[i64]) -> Bytes {
    let schema = Table::Samples.schema();
    let zeros = UInt32Array::from(vec![0; ids.len()]);
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "stack_key" => Arc::new(UInt32Array::from(ids.to_vec())),
            "value" => Arc::new(Int64Array::from(values.to_vec())),
            "time_unix_nano" => Arc::new(Int64Array::from(vec![0; ids.len()])),
            "series_id" | "profile" | "label_set_id" => Arc::new(zeros.clone()),
            _ => new_null_array(field.data_type(), ids.len()),
        }
    });
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap();
    let version = if layout.is_version_2 { WriterVersion::PARQUET_2_0 } else { WriterVersion::PARQUET_1_0 };
    let keys = [(TABLE_KEY, "samples"), (FORMAT_VERSION_KEY, "3")];
    let keys = keys.map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned())).to_vec();
    let mut properties = WriterProperties::builder()
        .set_writer_version(version)
        .set_key_value_metadata(Some(keys))
        .set_max_row_group_row_count(Some(layout.row_group_rows))
        .set_data_page_row_count_limit(layout.page_rows)
        .set_write_batch_size(layout.page_rows.min(64))
        .set_dictionary_page_size_limit(layout.dictionary_bytes);
    if layout.is_compressed {
        properties = properties.set_compression(Compression::ZSTD(ZstdLevel::default()));
    }
    for (name, encoding) in NAMES.iter().zip(layout.encodings) {
        let path = ColumnPath::from(*name);
        properties = properties.set_column_dictionary_enabled(path.clone(), encoding.is_none());
        if let Some(encoding) = encoding {
            properties = properties.set_column_encoding(path, encoding);
        }
    }
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties.build())).unwrap();
    // The writer calls itself once a row group that a batch spans: hand it no more than one at a time.
    for start in (0..ids.len()).step_by(layout.row_group_rows) {
        writer.write(&batch.slice(start, layout.row_group_rows.min(ids.len() - start))).unwrap();
    }
    writer.close().unwrap();
    bytes.into()
}

type Read = Result<(Vec<u32>, Vec<i64>, ScanReport)>;

/// What both ways read of `ranges`.
fn read(bytes: &Bytes, ranges: &[Range<u64>]) -> (Read, Read) {
    let reader = SegmentReader::new(Arc::new(MemorySource::new(vec![(Table::Samples, bytes.clone())])));
    let (mut report, mut ids, mut values) = (ScanReport::default(), Vec::new(), Vec::new());
    let mut each = |some_ids: &[u32], some_values: &[i64]| {
        assert_eq!(some_ids.len(), some_values.len());
        ids.extend_from_slice(some_ids);
        values.extend_from_slice(some_values);
        Ok(())
    };
    let pages = block_on(async {
        let file = reader.file(Table::Samples).await?;
        let done = scan_pair(reader.source.as_ref(), &file, NAMES, ranges, &mut report, &mut each).await?;
        assert!(done, "the file is decoded page by page");
        Ok(())
    });
    let pages = pages.map(|()| (ids, values, report));
    let (mut report, mut ids, mut values) = (ScanReport::default(), Vec::new(), Vec::new());
    let mut each = |batch: &RecordBatch| {
        ids.extend_from_slice(column::<UInt32Array>(Table::Samples, batch, "stack_key")?.values());
        values.extend_from_slice(column::<Int64Array>(Table::Samples, batch, "value")?.values());
        Ok(())
    };
    let library = block_on(reader.scan(Table::Samples, &NAMES, ranges, &mut report, &mut each));
    (pages, library.map(|()| (ids, values, report)))
}

/// Disjoint ranges of `rows` rows, cut at these places.
fn ranges(cuts: &[prop::sample::Index], rows: usize) -> Vec<Range<u64>> {
    let mut ends: Vec<u64> = cuts.iter().map(|cut| cut.index(rows + 1) as u64).collect();
    ends.sort_unstable();
    join_ranges(ends.as_chunks::<2>().0.iter().map(|[start, end]| *start..*end)).unwrap()
}

proptest! {
    #[test]
    fn pages_are_decoded_as_the_library_decodes_them(
        layout in layout(),
        (ids, values) in rows(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = write(&layout, &ids, &values);
        let all = join_ranges(std::iter::once(0..ids.len() as u64)).unwrap();
        for ranges in [all, ranges(&cuts, ids.len())] {
            let (pages, library) = read(&bytes, &ranges);
            let (pages, library) = (pages.unwrap(), library.unwrap());
            prop_assert_eq!((&pages.0, &pages.1, pages.2.rows), (&library.0, &library.1, library.2.rows));
            // the library is given what lies between near rows too
            prop_assert!(pages.2.bytes_read <= library.2.bytes_read);
            let wanted = |row: &usize| ranges.iter().any(|range| range.contains(&(*row as u64)));
            let expected: Vec<u32> = (0..ids.len()).filter(wanted).map(|row| ids[row]).collect();
            prop_assert_eq!(&pages.0, &expected);
            let expected: Vec<i64> = (0..ids.len()).filter(wanted).map(|row| values[row]).collect();
            prop_assert_eq!(&pages.1, &expected);
        }
    }

    #[test]
    fn damaged_pages_are_read_or_are_corrupt(
        layout in layout(),
        (ids, values) in rows(),
        changes in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..5),
    ) {
        let sound = write(&layout, &ids, &values);
        let mut bytes = sound.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let reader = SegmentReader::new(Arc::new(MemorySource::new(vec![(Table::Samples, bytes.into())])));
        let all = 0..ids.len() as u64;
        let mut each = |_: &[u32], _: &[i64]| Ok(());
        let mut report = ScanReport::default();
        let ranges = std::slice::from_ref(&all);
        if let Err(error) = block_on(reader.scan_pair(Table::Samples, NAMES, ranges, &mut report, &mut each)) {
            prop_assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error);
        }
    }
}

#[test]
fn a_file_without_an_offset_index_is_read_by_the_library() {
    let layout = Layout {
        encodings: [Some(Encoding::DELTA_BINARY_PACKED), None],
        page_rows: 10,
        row_group_rows: 40,
        dictionary_bytes: 1 << 20,
        is_version_2: true,
        is_compressed: true,
    };
    const RANGES: [Range<u64>; 2] = [5..38, 51..95];
    let ids: Vec<u32> = (0..100).collect();
    let values: Vec<i64> = (0..100).map(|row| row % 3).collect();
    let located = write(&layout, &ids, &values);
    let reader = |bytes| SegmentReader::new(Arc::new(MemorySource::new(vec![(Table::Samples, bytes)])));
    let count = |bytes: Bytes| {
        let mut sums = (0, 0, 0);
        let mut each = |ids: &[u32], values: &[i64]| {
            sums = (sums.0 + ids.len(), sums.1 + ids.iter().sum::<u32>(), sums.2 + values.iter().sum::<i64>());
            Ok(())
        };
        let reader = reader(bytes);
        let done = block_on(async {
            let file = reader.file(Table::Samples).await?;
            let report = &mut ScanReport::default();
            scan_pair(reader.source.as_ref(), &file, NAMES, &RANGES, report, &mut |_, _| Ok(())).await
        });
        let report = &mut ScanReport::default();
        block_on(reader.scan_pair(Table::Samples, NAMES, &RANGES, report, &mut each)).unwrap();
        (done.unwrap(), sums)
    };
    let wanted: Vec<usize> = (5..38).chain(51..95).collect();
    let expected = (
        wanted.len(),
        wanted.iter().map(|row| ids[*row]).sum::<u32>(),
        wanted.iter().map(|row| values[*row]).sum::<i64>(),
    );
    assert_eq!(count(located.clone()), (true, expected));
    assert_eq!(count(without_offset_index(&located)), (false, expected));
}

/// The file with a footer that names no page indexes.
fn without_offset_index(bytes: &Bytes) -> Bytes {
    use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader, ParquetMetaDataWriter};
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Skip);
    let metadata = reader.parse_and_finish(bytes).unwrap();
    let groups = metadata.row_groups().iter().map(|group| {
        let columns = group.columns().iter().map(|column| {
            let builder = column.clone().into_builder().set_offset_index_offset(None).set_offset_index_length(None);
            builder.set_column_index_offset(None).set_column_index_length(None).build().unwrap()
        });
        group.clone().into_builder().set_column_metadata(columns.collect()).build().unwrap()
    });
    let metadata = metadata.clone().into_builder().set_row_groups(groups.collect()).build();
    let mut written = bytes.to_vec();
    ParquetMetaDataWriter::new(&mut written, &metadata).finish().unwrap();
    written.into()
}
