//! Names of tenants, segments, stored profiles and uploads.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// A tenant's name: 1 to 64 characters of `[A-Za-z0-9_.-]`, not starting with a dot; a path component of the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(String);

impl Tenant {
    /// The tenant of requests that name none.
    pub const DEFAULT: &'static str = "anonymous";

    /// The tenant `name`.
    ///
    /// # Errors
    /// `Invalid` when `name` could not be a path component.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(allowed) {
            return Err(Error::invalid(
                "a tenant is 1 to 64 characters of [A-Za-z0-9_.-] and does not start with a dot",
            )
            .with("tenant", format!("{name:?}")));
        }
        Ok(Self(name))
    }

    /// The tenant's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id of these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// A time-ordered id: 48 bits of milliseconds since 1970, then 80 bits of `entropy`.
            pub fn from_parts(unix_millis: u64, entropy: u128) -> Self {
                let bits = (u128::from(unix_millis) << 80) | (entropy & ((1 << 80) - 1));
                Self(bits.to_be_bytes())
            }

            /// The milliseconds since 1970 of a time-ordered id.
            pub fn unix_millis(&self) -> u64 {
                self.0[..6].iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
            }

            /// The id's bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", u128::from_be_bytes(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// Reads 32 hexadecimal digits; dashes, as in a UUID, are skipped.
            fn from_str(text: &str) -> Result<Self> {
                let digits: String = text.chars().filter(|c| *c != '-').collect();
                let wrong = || Error::invalid(concat!($what, " is 32 hexadecimal digits")).with("id", format!("{text:?}"));
                if digits.len() != 32 || digits.starts_with('+') {
                    return Err(wrong());
                }
                u128::from_str_radix(&digits, 16).map(|bits| Self(bits.to_be_bytes())).map_err(|_| wrong())
            }
        }
    };
}

id128!(
    /// The name of one source profile: shared by the rows of all its sample types. Printed as 32 hexadecimal digits.
    ProfileId,
    "a profile id"
);
id128!(
    /// The name of one segment, unique in the bucket, time-ordered. Printed as 32 hexadecimal digits.
    SegmentId,
    "a segment id"
);
id128!(
    /// The name of one upload of debug information, unique in the bucket, time-ordered. Printed as 32 hexadecimal digits.
    UploadId,
    "an upload id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back_as_printed_and_sort_by_time() {
        let early = SegmentId::from_parts(1, u128::MAX);
        let late = SegmentId::from_parts(2, 0);
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse::<SegmentId>().ok(), Some(early));
        assert_eq!((early.unix_millis(), late.unix_millis()), (1, 2));
        assert!("12".parse::<ProfileId>().is_err());
        assert_eq!(
            "01234567-89ab-cdef-0123-456789abcdef".parse::<ProfileId>().map(|id| id.to_string()).ok().as_deref(),
            Some("0123456789abcdef0123456789abcdef")
        );
    }

    #[test]
    fn a_tenant_is_a_safe_path_component() {
        assert!(Tenant::new("team-a.prod_1").is_ok());
        for wrong in ["", "..", ".hidden", "a/b", "é"] {
            assert!(Tenant::new(wrong).is_err(), "{wrong}");
        }
    }
}
