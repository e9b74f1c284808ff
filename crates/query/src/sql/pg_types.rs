//! The types of PostgreSQL that stand for those of Arrow.

use arrow::datatypes::DataType;

/// A type of PostgreSQL: that of a value, or of an array of such values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PgType {
    /// What a value is.
    pub value: PgValue,
    /// Whether it is an array of them.
    pub is_array: bool,
}

/// What a value is in PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PgValue {
    /// `boolean`.
    Bool,
    /// `bytea`.
    Bytes,
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `real`.
    Float4,
    /// `double precision`.
    Float8,
    /// `numeric`: decimals, and whole numbers that `bigint` has no place for.
    Numeric,
    /// `text`.
    Text,
    /// `json`: maps, structs and lists of lists.
    Json,
    /// `date`.
    Date,
    /// `time without time zone`.
    Time,
    /// `timestamp without time zone`.
    Timestamp,
    /// `timestamp with time zone`.
    TimestampTz,
    /// `interval`.
    Interval,
}

/// What PostgreSQL's catalog says of a type.
pub(super) struct Entry {
    pub(super) value: PgValue,
    pub(super) oid: u32,
    pub(super) array_oid: u32,
    /// Bytes of a value; -1 where they vary.
    pub(super) bytes: i16,
    pub(super) short_name: &'static str,
    name: &'static str,
    array_name: &'static str,
    pub(super) category: &'static str,
}

macro_rules! entries {
    ($($value:ident $oid:literal $array:literal $bytes:literal $short:literal $name:literal $category:literal;)*) => {
        [$(Entry {
            value: PgValue::$value,
            oid: $oid,
            array_oid: $array,
            bytes: $bytes,
            short_name: $short,
            name: $name,
            array_name: concat!($name, "[]"),
            category: $category,
        }),*]
    };
}

pub(super) const ENTRIES: [Entry; 15] = entries! {
    Bool 16 1000 1 "bool" "boolean" "B";
    Bytes 17 1001 -1 "bytea" "bytea" "U";
    Int2 21 1005 2 "int2" "smallint" "N";
    Int4 23 1007 4 "int4" "integer" "N";
    Int8 20 1016 8 "int8" "bigint" "N";
    Float4 700 1021 4 "float4" "real" "N";
    Float8 701 1022 8 "float8" "double precision" "N";
    Numeric 1700 1231 -1 "numeric" "numeric" "N";
    Text 25 1009 -1 "text" "text" "S";
    Json 114 199 -1 "json" "json" "U";
    Date 1082 1182 4 "date" "date" "D";
    Time 1083 1183 8 "time" "time without time zone" "D";
    Timestamp 1114 1115 8 "timestamp" "timestamp without time zone" "D";
    TimestampTz 1184 1185 8 "timestamptz" "timestamp with time zone" "D";
    Interval 1186 1187 16 "interval" "interval" "T";
};

/// Other types that clients give parameters, which are read as one of ours.
const OTHERS: [(u32, PgValue); 7] = [
    (18, PgValue::Text),
    (19, PgValue::Text),
    (1042, PgValue::Text),
    (1043, PgValue::Text),
    (705, PgValue::Text),
    (26, PgValue::Int8),
    (2950, PgValue::Text),
];

impl PgType {
    /// Text, which stands for what has no type of its own.
    pub const TEXT: Self = Self { value: PgValue::Text, is_array: false };

    /// The type that stands for `ty`.
    pub fn of(ty: &DataType) -> Self {
        match ty {
            DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
                match value_of(field.data_type()) {
                    PgValue::Json => Self { value: PgValue::Json, is_array: false },
                    value => Self { value, is_array: true },
                }
            }
            ty => Self { value: value_of(ty), is_array: false },
        }
    }

    /// The type with the number `oid`, if it is one that values can be read as.
    pub fn from_oid(oid: u32) -> Option<Self> {
        let known = ENTRIES.iter().find_map(|entry| match oid {
            oid if oid == entry.oid => Some(Self { value: entry.value, is_array: false }),
            oid if oid == entry.array_oid => Some(Self { value: entry.value, is_array: true }),
            _ => None,
        });
        let other = || OTHERS.iter().find(|(other, _)| *other == oid);
        known.or_else(|| other().map(|(_, value)| Self { value: *value, is_array: false }))
    }

    /// Its number.
    pub fn oid(self) -> u32 {
        let entry = self.entry();
        if self.is_array { entry.array_oid } else { entry.oid }
    }

    /// Its name as PostgreSQL prints it.
    pub fn name(self) -> &'static str {
        let entry = self.entry();
        if self.is_array { entry.array_name } else { entry.name }
    }

    /// Bytes of a value; -1 where they vary.
    pub fn bytes(self) -> i16 {
        if self.is_array { -1 } else { self.entry().bytes }
    }

    /// The types there are, arrays included.
    pub fn all() -> impl Iterator<Item = Self> {
        let values = || ENTRIES.iter().map(|entry| entry.value);
        let single = values().map(|value| Self { value, is_array: false });
        single.chain(values().map(|value| Self { value, is_array: true }))
    }

    pub(super) fn entry(self) -> &'static Entry {
        const TEXT: usize = 8;
        ENTRIES.iter().find(|entry| entry.value == self.value).unwrap_or(&ENTRIES[TEXT])
    }
}

fn value_of(ty: &DataType) -> PgValue {
    match ty {
        DataType::Boolean => PgValue::Bool,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => PgValue::Int2,
        DataType::UInt16 | DataType::Int32 => PgValue::Int4,
        DataType::UInt32 | DataType::Int64 => PgValue::Int8,
        DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => PgValue::Numeric,
        DataType::Float16 | DataType::Float32 => PgValue::Float4,
        DataType::Float64 => PgValue::Float8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            PgValue::Bytes
        }
        DataType::Date32 | DataType::Date64 => PgValue::Date,
        DataType::Time32(_) | DataType::Time64(_) => PgValue::Time,
        DataType::Timestamp(_, None) => PgValue::Timestamp,
        DataType::Timestamp(_, Some(_)) => PgValue::TimestampTz,
        DataType::Interval(_) | DataType::Duration(_) => PgValue::Interval,
        DataType::Dictionary(_, values) => value_of(values),
        ty if ty.is_nested() => PgValue::Json,
        _ => PgValue::Text,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, TimeUnit};

    use super::*;

    #[test]
    fn types_are_found_by_their_numbers() {
        for ty in PgType::all() {
            assert_eq!(PgType::from_oid(ty.oid()), Some(ty));
        }
        assert_eq!(PgType::from_oid(1043), Some(PgType::TEXT));
        assert_eq!(PgType::from_oid(0), None);
    }

    #[test]
    fn types_of_arrow_have_one() {
        let name = |ty: DataType| PgType::of(&ty).name();
        let list = |ty: DataType| DataType::List(Arc::new(Field::new("item", ty, true)));
        assert_eq!(name(DataType::Utf8View), "text");
        assert_eq!(name(DataType::UInt64), "numeric");
        assert_eq!(name(DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))), "timestamp with time zone");
        assert_eq!(name(list(DataType::Utf8)), "text[]");
        assert_eq!(name(list(list(DataType::Int64))), "json");
        assert_eq!(name(DataType::Null), "text");
    }
}
