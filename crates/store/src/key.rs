//! The paths of a bucket, parsed and printed here and nowhere else.
//!
//! ```text
//! manifest/<20 digits>                                   a manifest version
//! probe/<32 hex digits>                                  written and deleted when a store opens
//! wal/<writer>/<20 digits>                               records of the write-ahead log, with durability bucket
//! <tenant>/<table>/day=YYYY-MM-DD/<32 hex digits>.parquet   one table of a segment
//! <tenant>/debuginfo/<build>/<kind>/…                    debug information: claim-<20 digits>, <32 hex digits>, uploaded
//! ```
//!
//! Those of segments alone have four parts, and those of debug information five, so no tenant's name can be taken for a folder of
//! ours.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate};
use flamestore_model::{Error, Result, SegmentId, Tenant, UploadId};
use flamestore_segment::Table;

use crate::debuginfo::DebuginfoKey;

/// A day of UTC: days since 1970-01-01. Printed as `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(i32);

/// The place of one object in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectKey {
    /// A manifest version.
    Manifest(u64),
    /// The object that tells at start whether the store keeps what exists.
    Probe(u128),
    /// Records of a writer's log.
    Wal {
        /// Whose log it is.
        writer: String,
        /// Its place in the log.
        number: u64,
    },
    /// One table of a segment.
    Segment {
        /// Whose it is.
        tenant: Tenant,
        /// Which table.
        table: Table,
        /// The day of all its profiles.
        day: Day,
        /// Which segment.
        id: SegmentId,
    },
    /// An object of debug information.
    Debuginfo {
        /// Which file of which build.
        key: DebuginfoKey,
        /// Which object.
        part: DebuginfoPart,
    },
}

/// What an object of debug information is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebuginfoPart {
    /// Says who uploads since when; of a slot of time.
    Claim(u64),
    /// A file.
    File(UploadId),
    /// Says which file counts.
    Uploaded,
}

impl Day {
    const NANOS: i64 = 86_400_000_000_000;

    /// The day of a time in nanoseconds since 1970.
    pub fn of(unix_nano: i64) -> Self {
        // the quotient of 64 bits of nanoseconds is at most 106,752 in size
        Self(i32::try_from(unix_nano.div_euclid(Self::NANOS)).unwrap_or_default())
    }

    /// The day that many days after 1970-01-01.
    ///
    /// # Errors
    /// `Invalid` when nanoseconds of 64 bits do not reach it.
    pub fn from_days(days: i32) -> Result<Self> {
        let reached = Self::of(i64::MIN).0..=Self::of(i64::MAX).0;
        match reached.contains(&days) {
            true => Ok(Self(days)),
            false => Err(Error::invalid("a day is out of range").with("days_since_1970", days)),
        }
    }

    /// Days since 1970-01-01.
    pub fn days(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = DateTime::from_timestamp(i64::from(self.0) * 86_400, 0).unwrap_or_default();
        write!(f, "{}", start.format("%Y-%m-%d"))
    }
}

impl FromStr for Day {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("a day is YYYY-MM-DD").with("day", format!("{text:?}"));
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| wrong())?;
        let days = date.signed_duration_since(NaiveDate::default()).num_days();
        let day = Self::from_days(i32::try_from(days).map_err(|_| wrong())?)?;
        if day.to_string() == text { Ok(day) } else { Err(wrong()) }
    }
}

impl ObjectKey {
    /// The folder of manifest versions.
    pub const MANIFESTS: &'static str = "manifest";
    /// The folder of probes.
    pub const PROBES: &'static str = "probe";
    /// The folder of the logs.
    pub const WALS: &'static str = "wal";
    /// The folder of debug information, below a tenant's.
    const DEBUGINFO: &'static str = "debuginfo";
}

impl DebuginfoPart {
    const CLAIM: &'static str = "claim-";
    const UPLOADED: &'static str = "uploaded";
}

impl fmt::Display for DebuginfoPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(slot) => write!(f, "{}{slot:020}", Self::CLAIM),
            Self::File(id) => write!(f, "{id}"),
            Self::Uploaded => f.write_str(Self::UPLOADED),
        }
    }
}

impl FromStr for DebuginfoPart {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let wrong = || Error::invalid("it is no object of debug information").with("name", format!("{name:?}"));
        match name.strip_prefix(Self::CLAIM) {
            Some(slot) => Ok(Self::Claim(slot.parse().map_err(|_| wrong())?)),
            None if name == Self::UPLOADED => Ok(Self::Uploaded),
            None => Ok(Self::File(name.parse()?)),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(version) => write!(f, "{}/{version:020}", Self::MANIFESTS),
            Self::Probe(nonce) => write!(f, "{}/{nonce:032x}", Self::PROBES),
            Self::Wal { writer, number } => write!(f, "{}/{writer}/{number:020}", Self::WALS),
            Self::Segment { tenant, table, day, id } => write!(f, "{tenant}/{table}/day={day}/{id}.parquet"),
            Self::Debuginfo { key: DebuginfoKey { tenant, build, kind }, part } => {
                write!(f, "{tenant}/{}/{build}/{kind}/{part}", Self::DEBUGINFO)
            }
        }
    }
}

impl FromStr for ObjectKey {
    type Err = Error;

    fn from_str(path: &str) -> Result<Self> {
        let wrong = || Error::invalid("an object does not belong to a store").with("object", path);
        let parts: Vec<&str> = path.split('/').collect();
        let key = match parts[..] {
            [Self::MANIFESTS, version] => Self::Manifest(version.parse().map_err(|_| wrong())?),
            [Self::PROBES, nonce] => Self::Probe(u128::from_str_radix(nonce, 16).map_err(|_| wrong())?),
            [Self::WALS, writer, number] if !writer.is_empty() => {
                Self::Wal { writer: writer.to_owned(), number: number.parse().map_err(|_| wrong())? }
            }
            [tenant, table, day, file] => Self::Segment {
                tenant: Tenant::new(tenant)?,
                table: Table::from_name(table).ok_or_else(wrong)?,
                day: day.strip_prefix("day=").ok_or_else(wrong)?.parse()?,
                id: file.strip_suffix(".parquet").ok_or_else(wrong)?.parse()?,
            },
            [tenant, Self::DEBUGINFO, build, kind, part] => Self::Debuginfo {
                key: DebuginfoKey { tenant: Tenant::new(tenant)?, build: build.parse()?, kind: kind.parse()? },
                part: part.parse()?,
            },
            _ => return Err(wrong()),
        };
        if key.to_string() == path { Ok(key) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: bool) {
        let parsed = path.parse::<ObjectKey>();
        assert_eq!(parsed.is_ok(), expected, "{path}: {parsed:?}");
        if let Ok(key) = parsed {
            assert_eq!(key.to_string(), path);
        }
    }

    #[test]
    fn keys_are_read_back_as_printed_and_nothing_else_is_a_key() {
        let id = "0123456789abcdef0123456789abcdef";
        check("manifest/00000000000000000042", true);
        check("manifest/18446744073709551615", true);
        check(&format!("probe/{id}"), true);
        check(&format!("team-a/samples/day=2026-11-22/{id}.parquet"), true);
        check(&format!("manifest/samples/day=1969-12-31/{id}.parquet"), true);
        check("wal/flamestore/00000000000000000042", true);
        check(&format!("wal/samples/day=2026-11-22/{id}.parquet"), true);
        check("wal/flamestore/42", false);
        check("wal//00000000000000000042", false);
        check("manifest/42", false);
        check("manifest/+0000000000000000042", false);
        check("manifest/00000000000000000042.tmp", false);
        check(&format!("team-a/samples/day=2026-11-31/{id}.parquet"), false);
        check(&format!("team-a/samples/day=2026-1-2/{id}.parquet"), false);
        check(&format!("team-a/nothing/day=2026-11-22/{id}.parquet"), false);
        check(&format!("team-a/samples/day=2026-11-22/{}.parquet", id.to_uppercase()), false);
        check(&format!("../samples/day=2026-11-22/{id}.parquet"), false);
        check("team-a/debuginfo/dfbb01/debuginfo/uploaded", true);
        check("manifest/debuginfo/x2e2e/sourcemap/claim-00000000000001994784", true);
        check(&format!("wal/debuginfo/dfbb01/executable/{id}"), true);
        check(&format!("team-a/debuginfo/dfbb01/sources/{id}.tmp"), false);
        check("team-a/debuginfo/dfbb01/sources/claim-1994784", false);
        check("team-a/debuginfo/dfbb01/symbols/uploaded", false);
        check("team-a/debuginfo/../debuginfo/uploaded", false);
        check("team-a/debuginfo/DFBB01/debuginfo/uploaded", false);
        check("team-a/debuginfo/dfbb01/debuginfo/more/uploaded", false);
        check("", false);
    }

    #[test]
    fn manifest_keys_sort_as_their_versions() {
        let keys: Vec<String> = [0, 9, 10, 99, 100, u64::MAX].map(|v| ObjectKey::Manifest(v).to_string()).to_vec();
        assert!(keys.is_sorted());
    }

    #[test]
    fn every_time_has_a_day() {
        for (nano, expected) in
            [(0, "1970-01-01"), (-1, "1969-12-31"), (i64::MAX, "2262-04-11"), (i64::MIN, "1677-09-21")]
        {
            let day = Day::of(nano);
            assert_eq!(day.to_string(), expected);
            assert_eq!(expected.parse::<Day>().ok(), Some(day));
            assert_eq!(Day::from_days(day.days()).ok(), Some(day));
        }
    }
}
