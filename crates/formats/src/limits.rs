//! How much a profile may hold. Each limit is looked at before the memory it guards is spent.

use flamestore_model::{Error, Result};

/// The most of everything one profile may hold; where a request or a recording holds several, the most of everything in
/// all of them together, since they share tables. The error of a profile over a limit is `Exhausted` and names the limit, its
/// value and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes after decompression. Never more than 4 GiB, which offsets of 32 bits can tell apart.
    pub decompressed_bytes_max: usize,
    /// Profiles of one request or recording.
    pub profiles_max: usize,
    /// Sample types, so values of one sample.
    pub sample_types_max: usize,
    /// Samples.
    pub samples_max: usize,
    /// Locations of one sample's stack.
    pub stack_depth_max: usize,
    /// Locations of all samples' stacks together, where stacks are written once and referred to by many samples.
    pub stack_locations_max: usize,
    /// Labels of one sample.
    pub labels_per_sample_max: usize,
    /// Labels of all samples.
    pub labels_max: usize,
    /// Mappings.
    pub mappings_max: usize,
    /// Locations.
    pub locations_max: usize,
    /// Lines of one location.
    pub lines_per_location_max: usize,
    /// Lines of all locations.
    pub lines_max: usize,
    /// Functions.
    pub functions_max: usize,
    /// Strings.
    pub strings_max: usize,
    /// Bytes of one string.
    pub string_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            decompressed_bytes_max: 64 << 20,
            profiles_max: 64 << 10,
            sample_types_max: 256,
            samples_max: 4 << 20,
            stack_depth_max: 4096,
            stack_locations_max: 32 << 20,
            labels_per_sample_max: 256,
            labels_max: 8 << 20,
            mappings_max: 64 << 10,
            locations_max: 1 << 20,
            lines_per_location_max: 1024,
            lines_max: 4 << 20,
            functions_max: 1 << 20,
            strings_max: 2 << 20,
            string_bytes_max: 1 << 20,
        }
    }
}

impl Limits {
    /// No limits but those of 32-bit offsets, for bytes that passed limits before.
    pub const NONE: Self = Self {
        decompressed_bytes_max: usize::MAX,
        profiles_max: usize::MAX,
        sample_types_max: usize::MAX,
        samples_max: usize::MAX,
        stack_depth_max: usize::MAX,
        stack_locations_max: usize::MAX,
        labels_per_sample_max: usize::MAX,
        labels_max: usize::MAX,
        mappings_max: usize::MAX,
        locations_max: usize::MAX,
        lines_per_location_max: usize::MAX,
        lines_max: usize::MAX,
        functions_max: usize::MAX,
        strings_max: usize::MAX,
        string_bytes_max: usize::MAX,
    };

    /// `decompressed_bytes_max`, but never more than offsets of 32 bits can tell apart.
    pub(crate) fn decompressed_bytes(&self) -> usize {
        self.decompressed_bytes_max.min(u32::MAX as usize - 1)
    }
}

/// `Ok` when `found` is not over the limit `name`.
#[inline]
pub(crate) fn within(name: &'static str, max: usize, found: usize) -> Result<()> {
    if found > max { Err(over(name, max, found)) } else { Ok(()) }
}

/// The error of a profile that is over the limit `name`.
#[cold]
pub(crate) fn over(name: &'static str, max: usize, found: impl std::fmt::Display) -> Error {
    Error::exhausted(format!("the profile is over the limit {name}")).with("limit", max).with("found", found)
}
