//! The fields of a file that are read. Lists are cut off by an error where they grow out of proportion.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};

/// Weights and events of one profile, and profiles.
const ROWS_MAX: usize = 8 << 20;
/// Frames of the file.
const FRAMES_MAX: usize = 1 << 20;
/// Frames of all samples of one profile.
const STACK_FRAMES_MAX: u32 = 32 << 20;

#[derive(serde::Deserialize)]
pub(super) struct File {
    pub(super) profiles: Capped<FileProfile, ROWS_MAX>,
    pub(super) shared: Shared,
}

#[derive(serde::Deserialize)]
pub(super) struct Shared {
    pub(super) frames: Capped<Frame, FRAMES_MAX>,
}

#[derive(serde::Deserialize)]
pub(super) struct Frame {
    pub(super) name: String,
    pub(super) file: Option<String>,
    pub(super) line: Option<i64>,
    pub(super) col: Option<i64>,
}

#[derive(serde::Deserialize)]
pub(super) struct FileProfile {
    #[serde(rename = "type")]
    pub(super) ty: String,
    #[serde(default)]
    pub(super) name: String,
    pub(super) unit: Unit,
    #[serde(default)]
    pub(super) samples: Stacks,
    #[serde(default)]
    pub(super) weights: Capped<f64, ROWS_MAX>,
    #[serde(default)]
    pub(super) events: Capped<Event, ROWS_MAX>,
}

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Unit {
    None,
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Bytes,
}

#[derive(serde::Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) ty: String,
    pub(super) at: f64,
    pub(super) frame: u32,
}

/// A list of at most `MAX` elements.
pub(super) struct Capped<T, const MAX: usize>(pub(super) Vec<T>);

impl<T, const MAX: usize> Default for Capped<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Capped<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CappedVisitor<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for CappedVisitor<T, MAX> {
            type Value = Capped<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} elements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut out = Vec::new();
                while let Some(element) = seq.next_element()? {
                    if out.len() == MAX {
                        return Err(A::Error::invalid_length(MAX + 1, &self));
                    }
                    out.push(element);
                }
                Ok(Capped(out))
            }
        }

        deserializer.deserialize_seq(CappedVisitor(PhantomData))
    }
}

/// A list of lists of frames, one after the other.
#[derive(Default)]
pub(super) struct Stacks {
    ends: Vec<u32>,
    frames: Vec<u32>,
}

impl Stacks {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The frames of sample `at`, which is there.
    pub(super) fn get(&self, at: usize) -> &[u32] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.frames[start as usize..self.ends[at] as usize]
    }
}

impl<'de> Deserialize<'de> for Stacks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StacksVisitor;

        impl<'de> Visitor<'de> for StacksVisitor {
            type Value = Stacks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of lists of frames")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Stacks, A::Error> {
                let mut stacks = Stacks::default();
                while let Some(stack) = seq.next_element::<Capped<u32, { STACK_FRAMES_MAX as usize }>>()? {
                    stacks.frames.extend(stack.0);
                    let end = u32::try_from(stacks.frames.len()).ok().filter(|end| *end <= STACK_FRAMES_MAX);
                    let Some(end) = end.filter(|_| stacks.ends.len() < ROWS_MAX) else {
                        return Err(A::Error::custom("a profile has too many samples, or frames of samples"));
                    };
                    stacks.ends.push(end);
                }
                Ok(stacks)
            }
        }

        deserializer.deserialize_seq(StacksVisitor)
    }
}
