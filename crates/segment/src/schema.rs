//! The tables of a segment: their columns, types, encodings and row order, all in one place.
//!
//! ```text
//! samples ──▶ profiles ──▶ series ──▶ dictionaries ◀── postings (label → series)
//!    │ stack_key                           │ row ranges, one dictionary a service
//!    ▼                                     ▼
//! stacks ─▶ call_sites ─▶ locations ─▶ functions ─▶ strings ◀─ label_sets, mappings
//!    ▲ stack_id
//! rollups_1h, rollups_1d, rollups_30d ──▶ windows ──▶ series
//! ```
//!
//! Ids are segment-global: the first id of the dictionary plus the id inside it. The bytes and the promise of
//! compatibility are in `docs/format/segment.md`.

use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use parquet::basic::Encoding;

/// The version of the tables this crate writes. Readers refuse a higher one; columns may be added without raising it.
pub const FORMAT_VERSION: u32 = 3;

/// The key of the version in the Parquet metadata of every table.
pub const FORMAT_VERSION_KEY: &str = "flamestore.format_version";

/// The key of the table's name in its Parquet metadata.
pub const TABLE_KEY: &str = "flamestore.table";

/// A table of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// One row per observation.
    Samples,
    /// One row per stored profile and sample type.
    Profiles,
    /// One row per label set and profile type.
    Series,
    /// One row per label name and value.
    Postings,
    /// One row per distinct stack.
    Stacks,
    /// One row per node of a call tree.
    CallSites,
    /// One row per line of a location.
    Locations,
    /// One row per function.
    Functions,
    /// One row per mapped file.
    Mappings,
    /// One row per string.
    Strings,
    /// One row per label of a set of sample labels.
    LabelSets,
    /// One row per service: where its rows are in the other tables.
    Dictionaries,
    /// One row per series and window of a roll-up: to `rollups_*` what `profiles` is to `samples`.
    Windows,
    /// One row per series, hour and stack.
    Rollups1h,
    /// One row per series, day and stack.
    Rollups1d,
    /// One row per series, 30 days and stack.
    Rollups30d,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnType {
    U32,
    I64,
    Bool,
    Utf8,
    Binary,
    /// 8 bytes.
    Id64,
    /// 16 bytes.
    Id128,
    /// A map of UTF-8 to UTF-8.
    Labels,
    /// A list of byte strings.
    Binaries,
}

/// How a column is encoded before compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnEncoding {
    /// As it is.
    Plain,
    /// Differences, packed into bits.
    Delta,
    /// Distinct values first, then their numbers.
    Dictionary,
    /// The first bytes of all values, then the second ones, …
    Split,
    /// Length of the prefix shared with the previous string, then the rest.
    Prefix,
    /// Runs of bits.
    Runs,
    /// `Dictionary`, `Plain` or `Split`, by what is smaller on a part of the column and quick to decode.
    Trial,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub name: &'static str,
    pub ty: ColumnType,
    pub nullable: bool,
    pub encoding: ColumnEncoding,
}

const fn col(name: &'static str, ty: ColumnType, encoding: ColumnEncoding) -> Column {
    Column { name, ty, nullable: false, encoding }
}

const fn opt(name: &'static str, ty: ColumnType, encoding: ColumnEncoding) -> Column {
    Column { name, ty, nullable: true, encoding }
}

/// The columns of `samples` that are written only where a row has a value.
pub(crate) const OBSERVED: [Column; 4] = columns::OBSERVED;

mod columns {
    use super::{Column, ColumnEncoding as E, ColumnType as T, col, opt};

    pub(super) const OBSERVED: [Column; 4] = [
        opt("observed_unix_nano", T::I64, E::Delta),
        opt("ended_unix_nano", T::I64, E::Delta),
        opt("trace_id", T::Id128, E::Plain),
        opt("span_id", T::Id64, E::Plain),
    ];
    const fn samples(stack: &'static str) -> [Column; 10] {
        let [time, end_time, trace_id, span_id] = OBSERVED;
        [
            col("series_id", T::U32, E::Dictionary),
            col("profile", T::U32, E::Plain),
            col("time_unix_nano", T::I64, E::Plain),
            col(stack, T::U32, E::Delta),
            col("value", T::I64, E::Trial),
            opt("label_set_id", T::U32, E::Delta),
            time,
            end_time,
            trace_id,
            span_id,
        ]
    }
    pub(super) const SAMPLES: &[Column] = &samples("stack_key");
    /// Before version 3.
    pub(super) const SAMPLES_WITH_IDS: &[Column] = &samples("stack_id");
    pub(super) const PROFILES: &[Column] = &[
        col("profile", T::U32, E::Delta),
        col("profile_id", T::Id128, E::Plain),
        col("series_id", T::U32, E::Delta),
        col("value_index", T::U32, E::Dictionary),
        col("value_count", T::U32, E::Dictionary),
        col("time_unix_nano", T::I64, E::Delta),
        col("duration_nano", T::I64, E::Dictionary),
        col("period", T::I64, E::Dictionary),
        col("unit", T::I64, E::Dictionary),
        col("total", T::I64, E::Plain),
        col("row_start", T::I64, E::Delta),
        col("row_count", T::U32, E::Delta),
        opt("main_mapping_id", T::U32, E::Dictionary),
        opt("comments", T::Binaries, E::Dictionary),
        opt("default_sample_type", T::Binary, E::Dictionary),
        opt("doc_url", T::Binary, E::Dictionary),
        opt("drop_frames", T::Binary, E::Dictionary),
        opt("keep_frames", T::Binary, E::Dictionary),
        col("stack_base", T::I64, E::Delta),
    ];
    pub(super) const SERIES: &[Column] = &[
        col("series_id", T::U32, E::Delta),
        col("dictionary_id", T::U32, E::Delta),
        col("service_name", T::Utf8, E::Dictionary),
        col("profile_type", T::Utf8, E::Dictionary),
        col("profile_name", T::Utf8, E::Dictionary),
        col("sample_type", T::Utf8, E::Dictionary),
        col("sample_unit", T::Utf8, E::Dictionary),
        col("period_type", T::Utf8, E::Dictionary),
        col("period_unit", T::Utf8, E::Dictionary),
        col("temporality", T::Utf8, E::Dictionary),
        col("labels", T::Labels, E::Dictionary),
        col("time_unix_nano_min", T::I64, E::Delta),
        col("time_unix_nano_max", T::I64, E::Delta),
        col("profile_start", T::U32, E::Delta),
        col("profile_count", T::U32, E::Delta),
    ];
    pub(super) const POSTINGS: &[Column] =
        &[col("name", T::Utf8, E::Prefix), col("value", T::Utf8, E::Prefix), col("series", T::Binary, E::Plain)];
    pub(super) const STACKS: &[Column] = &[col("stack_id", T::U32, E::Delta), col("call_site_id", T::U32, E::Delta)];
    const fn call_sites(caller: &'static str) -> [Column; 3] {
        [col("call_site_id", T::U32, E::Delta), col(caller, T::U32, E::Split), opt("location_id", T::U32, E::Plain)]
    }
    pub(super) const CALL_SITES: &[Column] = &call_sites("depth");
    /// Before version 3.
    pub(super) const CALL_SITES_WITH_DISTANCES: &[Column] = &call_sites("parent_distance");
    pub(super) const LOCATIONS: &[Column] = &[
        col("location_id", T::U32, E::Delta),
        opt("line_index", T::U32, E::Split),
        opt("mapping_id", T::U32, E::Delta),
        col("address", T::I64, E::Delta),
        col("is_folded", T::Bool, E::Runs),
        opt("function_id", T::U32, E::Split),
        opt("line", T::I64, E::Split),
        opt("column", T::I64, E::Delta),
    ];
    pub(super) const FUNCTIONS: &[Column] = &[
        col("function_id", T::U32, E::Delta),
        col("name_id", T::U32, E::Delta),
        col("system_name_id", T::U32, E::Delta),
        col("filename_id", T::U32, E::Delta),
        col("start_line", T::I64, E::Split),
    ];
    pub(super) const MAPPINGS: &[Column] = &[
        col("mapping_id", T::U32, E::Delta),
        col("memory_start", T::I64, E::Plain),
        col("memory_limit", T::I64, E::Plain),
        col("file_offset", T::I64, E::Plain),
        col("filename_id", T::U32, E::Delta),
        col("build_id_id", T::U32, E::Delta),
        col("has_functions", T::Bool, E::Runs),
        col("has_filenames", T::Bool, E::Runs),
        col("has_line_numbers", T::Bool, E::Runs),
        col("has_inline_frames", T::Bool, E::Runs),
    ];
    pub(super) const STRINGS: &[Column] = &[col("string_id", T::U32, E::Delta), col("bytes", T::Binary, E::Prefix)];
    pub(super) const LABEL_SETS: &[Column] = &[
        col("label_set_id", T::U32, E::Delta),
        col("key_id", T::U32, E::Delta),
        opt("string_id", T::U32, E::Delta),
        opt("number", T::I64, E::Delta),
        opt("unit_id", T::U32, E::Delta),
    ];
    pub(super) const DICTIONARIES: &[Column] = &[
        col("dictionary_id", T::U32, E::Delta),
        col("service_name", T::Utf8, E::Prefix),
        col("strings_first", T::U32, E::Delta),
        col("strings_count", T::U32, E::Delta),
        col("mappings_first", T::U32, E::Delta),
        col("mappings_count", T::U32, E::Delta),
        col("functions_first", T::U32, E::Delta),
        col("functions_count", T::U32, E::Delta),
        col("locations_first", T::U32, E::Delta),
        col("locations_count", T::U32, E::Delta),
        col("location_rows_first", T::U32, E::Delta),
        col("location_rows_count", T::U32, E::Delta),
        col("label_sets_first", T::U32, E::Delta),
        col("label_sets_count", T::U32, E::Delta),
        col("label_set_rows_first", T::U32, E::Delta),
        col("label_set_rows_count", T::U32, E::Delta),
        col("call_sites_first", T::U32, E::Delta),
        col("call_sites_count", T::U32, E::Delta),
        col("stacks_first", T::U32, E::Delta),
        col("stacks_count", T::U32, E::Delta),
    ];
    pub(super) const WINDOWS: &[Column] = &[
        col("window_id", T::U32, E::Delta),
        col("resolution_nano", T::I64, E::Dictionary),
        col("series_id", T::U32, E::Delta),
        col("time_unix_nano", T::I64, E::Delta),
        col("time_unix_nano_min", T::I64, E::Delta),
        col("time_unix_nano_max", T::I64, E::Delta),
        col("profile_count", T::U32, E::Dictionary),
        col("unit", T::I64, E::Dictionary),
        col("total", T::I64, E::Plain),
        opt("total_magnitude", T::I64, E::Plain),
        col("row_start", T::I64, E::Delta),
        col("row_count", T::U32, E::Delta),
    ];
    pub(super) const ROLLUPS: &[Column] = &[
        col("series_id", T::U32, E::Dictionary),
        col("window_id", T::U32, E::Dictionary),
        col("time_unix_nano", T::I64, E::Dictionary),
        col("stack_id", T::U32, E::Delta),
        col("value", T::I64, E::Trial),
        opt("last", T::I64, E::Trial),
        opt("max", T::I64, E::Trial),
    ];
}

impl Table {
    /// All tables, in the order segments list them.
    pub const ALL: [Self; 16] = [
        Self::Samples,
        Self::Profiles,
        Self::Series,
        Self::Postings,
        Self::Stacks,
        Self::CallSites,
        Self::Locations,
        Self::Functions,
        Self::Mappings,
        Self::Strings,
        Self::LabelSets,
        Self::Dictionaries,
        Self::Windows,
        Self::Rollups1h,
        Self::Rollups1d,
        Self::Rollups30d,
    ];

    /// The tables of roll-ups: a segment has all, some or none of them.
    pub const ROLLUPS: [Self; 4] = [Self::Windows, Self::Rollups1h, Self::Rollups1d, Self::Rollups30d];

    /// The table's name: its folder in a bucket and its name in SQL's schema `segment`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Profiles => "profiles",
            Self::Series => "series",
            Self::Postings => "postings",
            Self::Stacks => "stacks",
            Self::CallSites => "call_sites",
            Self::Locations => "locations",
            Self::Functions => "functions",
            Self::Mappings => "mappings",
            Self::Strings => "strings",
            Self::LabelSets => "label_sets",
            Self::Dictionaries => "dictionaries",
            Self::Windows => "windows",
            Self::Rollups1h => "rollups_1h",
            Self::Rollups1d => "rollups_1d",
            Self::Rollups30d => "rollups_30d",
        }
    }

    /// Whether a segment may be without the table: its rows are rolled up only, were never rolled up, or have expired.
    pub fn may_be_absent(self) -> bool {
        matches!(self, Self::Samples | Self::Profiles) || Self::ROLLUPS.contains(&self)
    }

    /// The table called `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.as_str() == name)
    }

    /// The table's columns as Arrow types. The head's SQL view and the Parquet files share it; those of `samples` that tell
    /// observations apart may be absent from both.
    pub fn schema(self) -> SchemaRef {
        self.schema_of(FORMAT_VERSION)
    }

    /// The table's columns in files of format `version`: as [`Self::schema`], but for names that have changed since.
    pub fn schema_of(self, version: u32) -> SchemaRef {
        /// Of all tables, from the first version on.
        static SCHEMAS: LazyLock<Vec<Vec<SchemaRef>>> = LazyLock::new(|| {
            let of = |version| Table::ALL.map(|table| build_schema(table.columns_of(version))).to_vec();
            (1..=FORMAT_VERSION).map(of).collect()
        });
        Arc::clone(&SCHEMAS[version.clamp(1, FORMAT_VERSION) as usize - 1][self.index()])
    }

    /// The table's columns without those that are `absent`.
    pub(crate) fn schema_without(self, absent: impl Fn(&str) -> bool) -> SchemaRef {
        let schema = self.schema();
        let kept: Vec<FieldRef> = schema.fields().iter().filter(|field| !absent(field.name())).cloned().collect();
        match kept.len() == schema.fields().len() {
            true => schema,
            false => Arc::new(Schema::new(kept)),
        }
    }

    /// The columns rows are sorted by.
    pub fn sorted_by(self) -> &'static [&'static str] {
        match self {
            Self::Samples => &["series_id", "time_unix_nano", "profile", "stack_key"],
            Self::Profiles => &["series_id", "time_unix_nano"],
            Self::Series => &["series_id"],
            Self::Postings => &["name", "value"],
            Self::Stacks => &["stack_id"],
            Self::CallSites => &["call_site_id"],
            Self::Locations => &["location_id", "line_index"],
            Self::Functions => &["function_id"],
            Self::Mappings => &["mapping_id"],
            Self::Strings => &["string_id"],
            Self::LabelSets => &["label_set_id"],
            Self::Dictionaries => &["dictionary_id"],
            Self::Windows => &["window_id"],
            Self::Rollups1h | Self::Rollups1d | Self::Rollups30d => &["series_id", "window_id", "stack_id"],
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The name of the column of `samples` that says whose stack a row is, in files of format `version`.
    pub(crate) fn stack_column(self, version: u32) -> &'static str {
        match self {
            Self::Samples if version >= 3 => "stack_key",
            _ => "stack_id",
        }
    }

    /// The columns of files of format `version`.
    pub(crate) fn columns_of(self, version: u32) -> &'static [Column] {
        match (self, version) {
            (Self::Samples, ..3) => columns::SAMPLES_WITH_IDS,
            (Self::CallSites, ..3) => columns::CALL_SITES_WITH_DISTANCES,
            // Without stack bases.
            (Self::Profiles, ..3) => &columns::PROFILES[..columns::PROFILES.len() - 1],
            _ => self.columns(),
        }
    }

    pub(crate) fn columns(self) -> &'static [Column] {
        match self {
            Self::Samples => columns::SAMPLES,
            Self::Profiles => columns::PROFILES,
            Self::Series => columns::SERIES,
            Self::Postings => columns::POSTINGS,
            Self::Stacks => columns::STACKS,
            Self::CallSites => columns::CALL_SITES,
            Self::Locations => columns::LOCATIONS,
            Self::Functions => columns::FUNCTIONS,
            Self::Mappings => columns::MAPPINGS,
            Self::Strings => columns::STRINGS,
            Self::LabelSets => columns::LABEL_SETS,
            Self::Dictionaries => columns::DICTIONARIES,
            Self::Windows => columns::WINDOWS,
            Self::Rollups1h | Self::Rollups1d | Self::Rollups30d => columns::ROLLUPS,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ColumnType {
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::U32 => DataType::UInt32,
            Self::I64 => DataType::Int64,
            Self::Bool => DataType::Boolean,
            Self::Utf8 => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Id64 => DataType::FixedSizeBinary(8),
            Self::Id128 => DataType::FixedSizeBinary(16),
            Self::Labels => DataType::Map(label_entries(), true),
            Self::Binaries => DataType::List(binaries_element()),
        }
    }

    /// The paths of the Parquet columns below a column of this type.
    pub(crate) fn leaves(self) -> &'static [&'static str] {
        match self {
            Self::Labels => &["key_value.key", "key_value.value"],
            Self::Binaries => &["list.element"],
            _ => &[""],
        }
    }
}

impl ColumnEncoding {
    /// The Parquet encoding, where it is one and not the dictionary.
    pub(crate) fn parquet(self) -> Option<Encoding> {
        match self {
            Self::Dictionary => None,
            Self::Plain | Self::Trial => Some(Encoding::PLAIN),
            Self::Delta => Some(Encoding::DELTA_BINARY_PACKED),
            Self::Split => Some(Encoding::BYTE_STREAM_SPLIT),
            Self::Prefix => Some(Encoding::DELTA_BYTE_ARRAY),
            Self::Runs => Some(Encoding::RLE),
        }
    }
}

/// The field of a label of the map of labels.
pub(crate) fn label_entries() -> FieldRef {
    let key = Field::new("key", DataType::Utf8, false);
    let value = Field::new("value", DataType::Utf8, true);
    Arc::new(Field::new("key_value", DataType::Struct(Fields::from(vec![key, value])), false))
}

/// The field of a comment of the list of comments.
pub(crate) fn binaries_element() -> FieldRef {
    Arc::new(Field::new("element", DataType::Binary, false))
}

fn build_schema(columns: &[Column]) -> SchemaRef {
    let field = |column: &Column| Field::new(column.name, column.ty.data_type(), column.nullable);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}
