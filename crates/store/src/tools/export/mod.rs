//! Takes samples out of a bucket: as pprof files, one per profile, or as Parquet files that need nothing else, with stacks as
//! lists of names and one row per sample:
//!
//! | column | type | |
//! |---|---|---|
//! | `time_unix_nano` | INT64 | when the profile was taken |
//! | `duration_nano` | INT64 | how long it took |
//! | `service_name`, `profile_type` | UTF8 | |
//! | `labels` | map of UTF8 to UTF8 | those of the series |
//! | `profile_id` | UTF8 | 32 hexadecimal digits, shared by the sample types of one profile |
//! | `stack` | list of UTF8 | function names, root first |
//! | `value` | INT64 | as measured |
//!
//! One Parquet file per day. In memory are one dictionary, the samples of [`PROFILES_AT_ONCE`] profiles and one row group. A damaged
//! segment is reported and the rest is written; rows of it that were read before the damage stay.

mod pprof;

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, Int64Builder, ListBuilder, MapBuilder, MapFieldNames, RecordBatch, StringBuilder,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use flamestore_calltree::{SealedDictionary, frame_name};
use flamestore_model::{Error, ErrorKind, Labels, ProfileId, Result, Selector, Tenant, TimeRange};
use flamestore_segment::{
    DictionarySelection, ProfileDetail, ProfileSamples, ReadFrom, ScanReport, SegmentReader, Table,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::check::{Problem, ls};
use super::{Progress, Readers};
use crate::manifest::SegmentEntry;
use crate::{Bucket, Day};

/// Profiles whose samples are in memory at one time.
const PROFILES_AT_ONCE: usize = 16;
/// Rows gathered before they are handed to the writer.
const BATCH_ROWS: usize = 8192;
/// Rows of a row group: small, since stacks are long.
const ROW_GROUP_ROWS: usize = 1 << 17;

/// The form of what is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// One file per day, a row per sample.
    Parquet,
    /// One gzip-compressed pprof file per profile, with all of its sample types that are selected.
    Pprof,
}

/// What to take out.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Whose profiles.
    pub tenant: Tenant,
    /// Which series.
    pub selector: Selector,
    /// Taken when.
    pub range: TimeRange,
    /// In which form.
    pub format: ExportFormat,
}

/// What was taken out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportReport {
    /// Files made.
    pub files: Vec<String>,
    /// Profiles written; one of several sample types counts for each.
    pub profiles: u64,
    /// Rows written.
    pub rows: u64,
    /// Segments that hold roll-ups only, whose samples have expired.
    pub without_samples: u64,
    /// Segments that could not be read to their end.
    pub problems: Vec<Problem>,
}

/// Writes the selected samples to files that `create` makes by name.
///
/// # Errors
/// What the bucket says; `Corrupt` when the newest manifest is damaged, `Invalid` when a newer Flamestore wrote it; `Unavailable`
/// when a file cannot be made or written.
pub async fn export<W: Write + Send>(
    bucket: &Bucket,
    options: &ExportOptions,
    mut create: impl FnMut(&str) -> std::io::Result<W> + Send,
    progress: Progress<'_>,
) -> Result<ExportReport> {
    let manifest = ls(bucket).await?.manifest;
    let readers = Readers::new(bucket).await?;
    let wanted = |entry: &&Arc<SegmentEntry>| entry.tenant == options.tenant && entry.overlaps(&options.range);
    let wanted: Vec<&Arc<SegmentEntry>> = manifest.segments.iter().filter(wanted).collect();
    let total = wanted.iter().map(|entry| entry.bytes()).sum();
    let (mut report, mut done) = (ExportReport::default(), 0);
    // segments are sorted by day
    for of_day in wanted.chunk_by(|a, b| a.day == b.day) {
        let mut file: Option<File<W>> = None;
        for entry in of_day {
            let reader = readers.reader(entry);
            let written = match (entry.table(Table::Samples).is_some(), options.format) {
                (true, ExportFormat::Parquet) => {
                    let mut each = |rows: &mut Rows| {
                        let file = open(&mut file, entry.day, options, &mut create, &mut report)?;
                        report.rows += rows.len() as u64;
                        file.write(&rows.finish()?)
                    };
                    segment(&reader, options, &mut each).await
                }
                (true, ExportFormat::Pprof) => {
                    let mut each = |id: ProfileId, rows: usize, bytes: &[u8]| {
                        let name = format!("{id}.pb.gz");
                        let written = create(&name).and_then(|mut out| out.write_all(bytes).and_then(|()| out.flush()));
                        written.map_err(|e| unwritten(&name).because(e))?;
                        report.rows += rows as u64;
                        report.files.push(name);
                        Ok(())
                    };
                    pprof::segment(&reader, options, &mut each).await
                }
                // the sums of other segments are no samples that have gone
                (false, _) => {
                    report.without_samples += u64::from(entry.covers.is_empty());
                    Ok(0)
                }
            };
            match written {
                Ok(profiles) => report.profiles += profiles,
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                    report.problems.push(Problem::new(entry.id, error));
                }
                Err(error) => return Err(error),
            }
            done += entry.bytes();
            progress(done, total);
        }
        if let Some(file) = file {
            file.finish()?;
        }
    }
    Ok(report)
}

fn open<'a, W: Write + Send>(
    file: &'a mut Option<File<W>>,
    day: Day,
    options: &ExportOptions,
    create: &mut (impl FnMut(&str) -> std::io::Result<W> + Send),
    report: &mut ExportReport,
) -> Result<&'a mut File<W>> {
    match file {
        Some(file) => Ok(file),
        None => {
            let name = format!("{}-{day}.parquet", options.tenant);
            let out = create(&name).map_err(|e| unwritten(&name).because(e))?;
            report.files.push(name.clone());
            Ok(file.insert(File::new(name, out)?))
        }
    }
}

fn unwritten(name: &str) -> Error {
    Error::unavailable("export: a file cannot be written").with("file", name)
}

/// The profiles that are wanted of a segment, by dictionary.
async fn select(
    reader: &SegmentReader,
    options: &ExportOptions,
    scan: &mut ScanReport,
) -> Result<Vec<DictionarySelection>> {
    reader.select_from(&options.selector, &options.range, ReadFrom::Samples, scan).await
}

/// Gives the selected rows of a segment to `each`, and says of how many profiles they are.
async fn segment(
    reader: &SegmentReader,
    options: &ExportOptions,
    each: &mut (dyn FnMut(&mut Rows) -> Result<()> + Send),
) -> Result<u64> {
    let mut scan = ScanReport::default();
    let series = reader.series().await?;
    let mut profiles = 0;
    let mut rows = Rows::new();
    for selection in select(reader, options, &mut scan).await? {
        let DictionarySelection { entry, profiles: selected, .. } = selection;
        let sealed = reader.load_dictionary(entry.dictionary_id, &mut scan).await?;
        for part in selected.chunks(PROFILES_AT_ONCE) {
            let details = reader.profile_details(part, &mut scan).await?;
            let samples = reader.samples(&entry, part, &mut scan).await?;
            for (detail, samples) in details.iter().zip(&samples) {
                let of = series.get(detail.row.series_id);
                let of = of.ok_or_else(|| Error::corrupt("a profile has no series").with("profile", detail.meta.id))?;
                let series = SeriesNames {
                    service: &of.service_name,
                    profile_type: of.profile_type.to_string(),
                    labels: &of.labels,
                };
                rows.add(&series, detail, samples, &sealed, each)?;
                profiles += 1;
            }
        }
    }
    if rows.len() > 0 {
        each(&mut rows)?;
    }
    Ok(profiles)
}

struct SeriesNames<'a> {
    service: &'a str,
    profile_type: String,
    labels: &'a Labels,
}

/// Rows on their way into a batch.
struct Rows {
    times: Int64Builder,
    durations: Int64Builder,
    services: StringBuilder,
    types: StringBuilder,
    labels: MapBuilder<StringBuilder, StringBuilder>,
    profiles: StringBuilder,
    stacks: ListBuilder<StringBuilder>,
    values: Int64Builder,
}

fn label_names() -> MapFieldNames {
    MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() }
}

fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    let entries = Fields::from(vec![text("key"), Field::new("value", DataType::Utf8, true)]);
    let entries = Field::new("key_value", DataType::Struct(entries), false);
    Arc::new(Schema::new(vec![
        number("time_unix_nano"),
        number("duration_nano"),
        text("service_name"),
        text("profile_type"),
        Field::new("labels", DataType::Map(Arc::new(entries), false), false),
        text("profile_id"),
        Field::new("stack", DataType::List(Arc::new(text("element"))), false),
        number("value"),
    ]))
}

impl Rows {
    fn new() -> Self {
        let element = Field::new("element", DataType::Utf8, false);
        Self {
            times: Int64Builder::new(),
            durations: Int64Builder::new(),
            services: StringBuilder::new(),
            types: StringBuilder::new(),
            labels: MapBuilder::new(Some(label_names()), StringBuilder::new(), StringBuilder::new()),
            profiles: StringBuilder::new(),
            stacks: ListBuilder::new(StringBuilder::new()).with_field(element),
            values: Int64Builder::new(),
        }
    }

    fn len(&self) -> usize {
        self.values.len()
    }

    /// Adds the samples of one profile; `each` takes what is gathered whenever it is enough for a batch.
    fn add(
        &mut self,
        series: &SeriesNames<'_>,
        detail: &ProfileDetail,
        samples: &ProfileSamples,
        sealed: &SealedDictionary,
        each: &mut (dyn FnMut(&mut Self) -> Result<()> + Send),
    ) -> Result<()> {
        let id = detail.meta.id.to_string();
        for (stack, value) in samples.stacks.iter().zip(&samples.values) {
            self.times.append_value(detail.row.time_unix_nano);
            self.durations.append_value(detail.meta.duration_nano);
            self.services.append_value(series.service);
            self.types.append_value(&series.profile_type);
            for (name, value) in series.labels.iter() {
                self.labels.keys().append_value(name);
                self.labels.values().append_value(value);
            }
            self.labels.append(true).map_err(wrong)?;
            self.profiles.append_value(&id);
            self.append_stack(*stack, sealed)?;
            self.values.append_value(*value);
            if self.len() >= BATCH_ROWS {
                each(self)?;
            }
        }
        Ok(())
    }

    fn append_stack(&mut self, stack: u32, sealed: &SealedDictionary) -> Result<()> {
        let leaf = sealed.leaves.get(stack as usize);
        let mut node = *leaf.ok_or_else(|| Error::corrupt("a stack has no call site").with("stack", stack))?;
        let mut path = Vec::new();
        while node != 0 {
            path.push(sealed.tree.location[node as usize]);
            node = sealed.tree.parent[node as usize];
        }
        for location in path.into_iter().rev() {
            let frames = sealed.dictionary.locations.lines(location).count().max(1);
            for frame in (0..frames).rev() {
                self.stacks.values().append_value(frame_name(&sealed.dictionary, location, frame));
            }
        }
        self.stacks.append(true);
        Ok(())
    }

    fn finish(&mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.times.finish()),
            Arc::new(self.durations.finish()),
            Arc::new(self.services.finish()),
            Arc::new(self.types.finish()),
            Arc::new(self.labels.finish()),
            Arc::new(self.profiles.finish()),
            Arc::new(self.stacks.finish()),
            Arc::new(self.values.finish()),
        ];
        RecordBatch::try_new(schema(), columns).map_err(wrong)
    }
}

fn wrong(error: arrow::error::ArrowError) -> Error {
    Error::internal("export: columns do not fit their table").because(error)
}

/// A Parquet file in the making.
struct File<W: Write + Send> {
    name: String,
    writer: ArrowWriter<W>,
}

impl<W: Write + Send> File<W> {
    fn new(name: String, out: W) -> Result<Self> {
        let level = ZstdLevel::try_new(3).map_err(|e| Error::internal("export: no such level").because(e))?;
        let properties = WriterProperties::builder()
            .set_created_by(concat!("flamestore ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let writer = ArrowWriter::try_new(out, schema(), Some(properties)).map_err(|e| unwritten(&name).because(e))?;
        Ok(Self { name, writer })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|e| unwritten(&self.name).because(e))
    }

    fn finish(self) -> Result<()> {
        let mut out = self.writer.into_inner().map_err(|e| unwritten(&self.name).because(e))?;
        out.flush().map_err(|e| unwritten(&self.name).because(e))
    }
}
