//! What exists: the live segments of a store and the epoch of each writer, as one immutable object per version.
//!
//! ```text
//! offset  size  what
//!      0     4  "FSMF"
//!      4     4  format version, little-endian; 5
//!      8     8  length of the body, little-endian
//!     16     8  XXH3-64 of the body, little-endian
//!     24     …  the body: protobuf, see `wire`
//! ```
//!
//! Always: versions count up from 1 without a gap; a version is created once and never changed; segments are sorted by
//! tenant, day and id, each id once. A reader refuses a newer format before it looks at the body. See
//! `docs/format/manifest.md`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use flamestore_model::{Error, Result, SegmentId, Tenant, TimeRange};
use flamestore_segment::Table;
use xxhash_rust::xxh3::xxh3_64;

use crate::key::{Day, ObjectKey};
use crate::roll_up::RolledUp;

mod wire;

/// The newest format of manifests this build writes, and the newest it reads.
pub const MANIFEST_FORMAT: u32 = 5;

const MAGIC: &[u8; 4] = b"FSMF";
const HEADER_BYTES: usize = 24;

/// One version of what exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The version; 0 is the empty store that was never written.
    pub version: u64,
    /// Random bits of the commit that made this version: how a writer knows its own.
    pub nonce: u128,
    /// The writer that made this version.
    pub writer: String,
    /// When it was made, in nanoseconds since 1970.
    pub created_unix_nano: i64,
    /// What every writer that ever opened the store has reached, by its name.
    pub writers: BTreeMap<String, WriterState>,
    /// The live segments, sorted by tenant, day and id.
    pub segments: Vec<Arc<SegmentEntry>>,
}

/// What a writer has reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriterState {
    /// How often a store was opened under the writer's name: the latest one is in charge, earlier ones are fenced.
    pub epoch: u64,
    /// The number of the last flush committed in this epoch: a flush up to this number is committed, whatever became of
    /// its segments since.
    pub flushes: u64,
    /// The write-ahead log that this epoch writes.
    pub wal: u128,
    /// What the writer reached with other logs, whose records are taken in anew when it is opened with them again.
    pub earlier: Vec<EarlierWal>,
}

impl WriterState {
    /// The state after the next epoch was claimed, in which the log `wal` is written.
    pub(crate) fn claimed(mut self, wal: u128) -> Self {
        if self.flushes > 0 {
            self.earlier.retain(|earlier| earlier.wal != self.wal);
            self.earlier.push(EarlierWal { wal: self.wal, epoch: self.epoch, flushes: self.flushes });
        }
        Self { epoch: self.epoch + 1, flushes: 0, wal, earlier: self.earlier }
    }

    /// Flush `flush` is committed. The first one publishes all that the log held before.
    pub(crate) fn flushed(&mut self, flush: u64) {
        self.flushes = flush;
        self.earlier.retain(|earlier| earlier.wal != self.wal);
    }
}

/// Which records of a log are published: all of earlier epochs, and of `epoch` those of the first `flushes` flushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlierWal {
    /// Which log.
    pub wal: u128,
    /// The last epoch in which a flush was committed with it.
    pub epoch: u64,
    /// The number of the last such flush.
    pub flushes: u64,
}

/// Where the rows of a segment come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentSource {
    /// A head was flushed.
    Flush,
    /// Segments were merged.
    Compaction,
    /// Profiles were brought in whole.
    Import,
    /// Days of other segments were rolled up.
    RollUp,
}

/// A live segment: where it is, and what a query needs to know to leave it aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentEntry {
    /// Its name.
    pub id: SegmentId,
    /// Whose it is.
    pub tenant: Tenant,
    /// The day of all its profiles; the first one of a segment that covers others.
    pub day: Day,
    /// 0 fresh from a head, 1 an hour, 2 a day, higher what came late to a day.
    pub level: u32,
    /// Where its rows come from.
    pub source: SegmentSource,
    /// The first time of a profile, in nanoseconds since 1970.
    pub time_min: i64,
    /// The last time of a profile.
    pub time_max: i64,
    /// The ids of its profile types, sorted, distinct.
    pub profile_types: Vec<String>,
    /// Its services, sorted, distinct.
    pub services: Vec<String>,
    /// Its tables.
    pub tables: Vec<TableEntry>,
    /// Rows of `samples`.
    pub sample_rows: u64,
    /// Rows of `profiles`.
    pub profile_rows: u64,
    /// Rows of `series`.
    pub series: u64,
    /// Distinct stacks.
    pub stacks: u64,
    /// Bytes that times, traces and spans of its samples take when decoded.
    pub observed_bytes: u64,
    /// When it was made, in nanoseconds since 1970.
    pub created_unix_nano: i64,
    /// The writer that made it.
    pub writer: String,
    /// That writer's epoch then.
    pub writer_epoch: u64,
    /// The format of its tables.
    pub format_version: u32,
    /// The days of other segments that it repeats as sums, by day; empty for a segment with profiles of its own.
    pub covers: Vec<DayCover>,
}

/// The segments of a day whose sums another segment repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayCover {
    /// The day.
    pub day: Day,
    /// The first time of a profile of these segments.
    pub time_min: i64,
    /// The last time of a profile.
    pub time_max: i64,
    /// The segments, sorted: the sums stand for them only while all of them are live.
    pub segments: Vec<SegmentId>,
}

/// One table of a segment, as an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// Which table.
    pub table: Table,
    /// The object's size.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// The last bytes of the object that open it: page index and footer.
    pub footer_bytes: u64,
    /// XXH3-64 of the object.
    pub checksum: u64,
}

impl SegmentEntry {
    /// The object of `table`.
    pub fn key(&self, table: Table) -> ObjectKey {
        ObjectKey::Segment { tenant: self.tenant.clone(), table, day: self.day, id: self.id }
    }

    /// The entry of `table`, if the segment has it.
    pub fn table(&self, table: Table) -> Option<&TableEntry> {
        self.tables.iter().find(|entry| entry.table == table)
    }

    /// What it repeats as sums; `None` for a segment with profiles of its own.
    pub fn stands_for(&self) -> Option<RolledUp> {
        let of = if self.table(Table::Rollups1d).is_some() { RolledUp::Days } else { RolledUp::Months };
        (!self.covers.is_empty()).then_some(of)
    }

    /// The bytes of all its objects.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.bytes).sum()
    }

    /// Whether a profile of it may have been taken within `range`.
    pub fn overlaps(&self, range: &TimeRange) -> bool {
        range.overlaps(self.time_min, self.time_max)
    }

    fn order(&self) -> (&Tenant, Day, SegmentId) {
        (&self.tenant, self.day, self.id)
    }

    /// What holds of every entry: asserted before it is written, an error when read.
    pub(crate) fn wrong(&self) -> Option<&'static str> {
        if self.time_min > self.time_max {
            return Some("a segment ends before it starts");
        }
        let last_day = self.covers.last().map_or(self.day, |cover| cover.day);
        if Day::of(self.time_min) != self.day || Day::of(self.time_max) != last_day {
            return Some("a segment has times outside of its day");
        }
        if !self.covers.is_sorted_by(|a, b| a.day < b.day) || self.covers.iter().any(DayCover::is_wrong) {
            return Some("the days that a segment covers are wrong");
        }
        let has_sums = [Table::Rollups1d, Table::Rollups30d].into_iter().any(|table| self.table(table).is_some());
        if !self.covers.is_empty() && !has_sums {
            return Some("a segment that covers others has no sums");
        }
        if self.tables.iter().any(|table| table.footer_bytes > table.bytes) {
            return Some("a footer is larger than its object");
        }
        let tables_once = self.tables.windows(2).all(|pair| pair[0].table < pair[1].table);
        (!tables_once).then_some("the tables of a segment are out of order")
    }
}

#[cfg(test)]
impl SegmentEntry {
    /// A fresh segment without rows and tables, of profiles from the first to the last of `times`: tests say what else counts.
    pub(crate) fn blank(id: SegmentId, times: (i64, i64)) -> Self {
        Self {
            id,
            tenant: Tenant::default(),
            day: Day::of(times.0),
            level: 0,
            source: SegmentSource::Flush,
            time_min: times.0,
            time_max: times.1,
            profile_types: Vec::new(),
            services: Vec::new(),
            tables: Vec::new(),
            sample_rows: 0,
            profile_rows: 0,
            series: 0,
            stacks: 0,
            observed_bytes: 0,
            created_unix_nano: 0,
            writer: String::new(),
            writer_epoch: 0,
            format_version: 1,
            covers: Vec::new(),
        }
    }
}

#[cfg(test)]
impl TableEntry {
    /// A small table of `rows`.
    pub(crate) fn of_rows(table: Table, rows: u64) -> Self {
        Self { table, bytes: 10, rows, footer_bytes: 1, checksum: 0 }
    }
}

impl DayCover {
    fn is_wrong(&self) -> bool {
        self.time_min > self.time_max
            || Day::of(self.time_min) != self.day
            || Day::of(self.time_max) != self.day
            || self.segments.is_empty()
            || !self.segments.is_sorted_by(|a, b| a < b)
    }
}

impl Manifest {
    /// The segment `id`, if it is live.
    pub fn segment(&self, id: SegmentId) -> Option<&Arc<SegmentEntry>> {
        self.segments.iter().find(|entry| entry.id == id)
    }

    /// What `writer` has reached; epoch 0 if it never opened the store.
    pub fn writer_state(&self, writer: &str) -> WriterState {
        self.writers.get(writer).cloned().unwrap_or_default()
    }

    /// The object of this version.
    ///
    /// # Panics
    /// When the manifest breaks what holds of every manifest: a bug of ours must not become an object.
    pub fn to_bytes(&self) -> Bytes {
        let wrong = self.wrong();
        assert!(wrong.is_none(), "manifest {}: {}", self.version, wrong.unwrap_or_default());
        let body = wire::encode(self);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&MANIFEST_FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&xxh3_64(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        Bytes::from(bytes)
    }

    /// Reads the object of version `version`.
    ///
    /// # Errors
    /// `Invalid` when its format is newer than this build; `Corrupt`, naming the object, when it is not what was written.
    pub fn from_bytes(version: u64, bytes: &[u8]) -> Result<Self> {
        let object = ObjectKey::Manifest(version);
        let corrupt = |what: String| Error::corrupt(format!("manifest: {what}")).with("object", &object);
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(corrupt(format!("has {} bytes, fewer than its header", bytes.len())));
        };
        if &header[..4] != MAGIC {
            return Err(corrupt("does not start with \"FSMF\"".to_owned()));
        }
        let format = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        if format > MANIFEST_FORMAT {
            return Err(Error::invalid(format!(
                "manifest: format {format} is newer than {MANIFEST_FORMAT}, the newest this build knows: upgrade flamestore"
            ))
            .with("object", &object));
        }
        let number = |at: usize| header[at..at + 8].iter().rev().fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
        if format == 0 || number(8) != body.len() as u64 {
            return Err(corrupt(format!("format {format}: body of {} bytes, expected {}", body.len(), number(8))));
        }
        let (found, expected) = (xxh3_64(body), number(16));
        if found != expected {
            return Err(corrupt("checksum differs".to_owned())
                .with("expected", format!("{expected:016x}"))
                .with("found", format!("{found:016x}")));
        }
        let manifest = wire::decode(body).map_err(|e| corrupt("its body cannot be read".to_owned()).because(e))?;
        if manifest.version != version {
            return Err(corrupt(format!("says it is version {}", manifest.version)));
        }
        match manifest.wrong() {
            None => Ok(manifest),
            Some(what) => Err(corrupt(what.to_owned())),
        }
    }

    fn wrong(&self) -> Option<&'static str> {
        if self.segments.windows(2).any(|pair| pair[0].order() >= pair[1].order()) {
            return Some("segments are out of order");
        }
        self.segments.iter().find_map(|entry| entry.wrong())
    }

    /// Puts segments where they belong.
    pub(crate) fn sort(&mut self) {
        self.segments.sort_by(|a, b| a.order().cmp(&b.order()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let id = |number| SegmentId::from_parts(1_795_305_600_000, number);
        let table = |(number, table): (u64, Table)| TableEntry {
            table,
            bytes: 1000 + number,
            rows: number,
            footer_bytes: 100,
            checksum: u64::MAX - number,
        };
        let entry = |id, tenant: Tenant, days: i32, source| {
            let times = (i64::from(days) * 86_400_000_000_000, i64::from(days + 1) * 86_400_000_000_000 - 1);
            Arc::new(SegmentEntry {
                tenant,
                level: 1,
                source,
                profile_types: vec!["process_cpu:cpu:nanoseconds:cpu:nanoseconds".to_owned()],
                services: vec!["api".to_owned(), "web".to_owned()],
                tables: (0..).zip(Table::ALL).map(table).collect(),
                sample_rows: 3,
                profile_rows: 2,
                series: 1,
                stacks: 4,
                created_unix_nano: 5,
                writer: "w".to_owned(),
                writer_epoch: 6,
                ..SegmentEntry::blank(id, times)
            })
        };
        let earlier = vec![EarlierWal { wal: 0, epoch: 3, flushes: 2 }];
        let rolled_up = |id, first: &Arc<SegmentEntry>, last: &Arc<SegmentEntry>| {
            let cover = |entry: &Arc<SegmentEntry>| DayCover {
                day: entry.day,
                time_min: entry.time_min,
                time_max: entry.time_max,
                segments: vec![entry.id],
            };
            let (time_max, covers) = (last.time_max, vec![cover(first), cover(last)]);
            let first = SegmentEntry::clone(first);
            Arc::new(SegmentEntry { id, source: SegmentSource::RollUp, time_max, covers, ..first })
        };
        let first = entry(id(1), Tenant::default(), -1, SegmentSource::Import);
        let later = entry(id(0), Tenant::default(), 20_779, SegmentSource::Flush);
        Manifest {
            version: 7,
            nonce: u128::MAX / 3,
            writer: "w".to_owned(),
            created_unix_nano: -8,
            writers: BTreeMap::from([("w".to_owned(), WriterState { epoch: 6, flushes: 9, wal: 1 << 80, earlier })]),
            segments: vec![
                Arc::clone(&first),
                rolled_up(id(3), &first, &later),
                later,
                entry(id(2), Tenant::default(), 20_779, SegmentSource::Compaction),
            ],
        }
    }

    #[test]
    fn a_manifest_is_read_back_as_written() -> Result<()> {
        let manifest = sample();
        assert_eq!(Manifest::from_bytes(7, &manifest.to_bytes())?, manifest);
        let error = Manifest::from_bytes(8, &manifest.to_bytes()).err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), Some("manifest: says it is version 7 [object=manifest/00000000000000000008]"));
        Ok(())
    }

    #[test]
    fn frozen_manifests_of_every_format_are_still_read() -> Result<()> {
        let path = |format: u32| format!("{}/fixtures/manifest-v{format}.bin", env!("CARGO_MANIFEST_DIR"));
        let newest = path(MANIFEST_FORMAT);
        if std::env::var_os("FLAMESTORE_FREEZE").is_some() && !std::path::Path::new(&newest).exists() {
            std::fs::write(&newest, sample().to_bytes()).unwrap_or_else(|e| panic!("{e}"));
        }
        let frozen = |format| std::fs::read(path(format)).unwrap_or_else(|e| panic!("{e}"));
        let mut expected = sample();
        for entry in &mut expected.segments {
            Arc::make_mut(entry).tables.retain(|table| table.table != Table::Rollups30d);
        }
        assert_eq!(Manifest::from_bytes(7, &frozen(4))?, expected);
        expected.segments.retain(|entry| entry.covers.is_empty());
        assert_eq!(Manifest::from_bytes(7, &frozen(3))?, expected);
        for state in expected.writers.values_mut() {
            *state = WriterState { epoch: state.epoch, flushes: state.flushes, ..WriterState::default() };
        }
        assert_eq!(Manifest::from_bytes(7, &frozen(2))?, expected);
        for entry in &mut expected.segments {
            Arc::make_mut(entry).tables.retain(|table| !Table::ROLLUPS.contains(&table.table));
        }
        assert_eq!(Manifest::from_bytes(7, &frozen(1))?, expected);
        assert_eq!(Manifest::from_bytes(7, &frozen(MANIFEST_FORMAT))?, sample());
        Ok(())
    }

    #[test]
    fn no_damage_of_one_byte_goes_unnoticed() {
        let bytes = sample().to_bytes().to_vec();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            assert!(Manifest::from_bytes(7, &damaged).is_err(), "byte {at}");
        }
        for length in 0..bytes.len() {
            assert!(Manifest::from_bytes(7, &bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_body_that_breaks_the_rules_is_corrupt_although_its_checksum_is_right() {
        let check = |change: fn(&mut Manifest), expected: &str| {
            let mut manifest = sample();
            change(&mut manifest);
            let body = wire::encode(&manifest);
            let mut bytes = sample().to_bytes()[..HEADER_BYTES].to_vec();
            bytes[8..16].copy_from_slice(&(body.len() as u64).to_le_bytes());
            bytes[16..24].copy_from_slice(&xxh3_64(&body).to_le_bytes());
            bytes.extend(body);
            let error = Manifest::from_bytes(7, &bytes).err().map(|e| e.to_string()).unwrap_or_default();
            assert_eq!(error, format!("manifest: {expected} [object=manifest/00000000000000000007]"));
        };
        check(|manifest| manifest.segments.swap(0, 1), "segments are out of order");
        check(|manifest| manifest.segments[1] = Arc::clone(&manifest.segments[0]), "segments are out of order");
        check(
            |manifest| Arc::make_mut(&mut manifest.segments[0]).time_max = 0,
            "a segment has times outside of its day",
        );
        check(
            |manifest| Arc::make_mut(&mut manifest.segments[1]).covers.swap(0, 1),
            "a segment has times outside of its day",
        );
        check(
            |manifest| Arc::make_mut(&mut manifest.segments[1]).covers[0].segments.clear(),
            "the days that a segment covers are wrong",
        );
        check(
            |manifest| Arc::make_mut(&mut manifest.segments[1]).tables.clear(),
            "a segment that covers others has no sums",
        );
        check(
            |manifest| Arc::make_mut(&mut manifest.segments[0]).tables.swap(0, 1),
            "the tables of a segment are out of order",
        );
        check(
            |manifest| Arc::make_mut(&mut manifest.segments[0]).tables[0].bytes = 1,
            "a footer is larger than its object",
        );
    }
}
