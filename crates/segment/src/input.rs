//! What a segment is built from: dictionaries, each with the series of one service and their profiles.
//!
//! Ids are local to the dictionary. Order does not matter: [`build_tables`](crate::build_tables) sorts.

use flamestore_calltree::{Observed, SealedDictionary};
use flamestore_model::{Labels, NONE, ProfileId, ProfileType};

/// Everything of one segment.
#[derive(Debug, Default)]
pub struct SegmentInput {
    /// One per service; each service once.
    pub dictionaries: Vec<DictionaryInput>,
}

/// One service of a segment.
#[derive(Debug)]
pub struct DictionaryInput {
    /// The service; unique in the segment.
    pub service_name: String,
    /// Its symbols, call tree and stacks.
    pub sealed: SealedDictionary,
    /// Its series; each pair of labels and profile type once.
    pub series: Vec<SeriesInput>,
}

/// The profiles of one label set and profile type.
#[derive(Debug)]
pub struct SeriesInput {
    /// The labels. Those derived from the profile type are dropped and derived again on reading.
    pub labels: Labels,
    /// What the values measure.
    pub profile_type: ProfileType,
    /// The profiles, in any order.
    pub profiles: Vec<ProfileInput>,
}

/// The values of one profile in one sample type.
#[derive(Clone, Debug)]
pub struct ProfileInput {
    /// What the profile says of itself.
    pub meta: ProfileMeta,
    /// The stack of each row.
    pub stacks: Vec<u32>,
    /// The value of each row.
    pub values: Vec<i64>,
    /// The label set of each row, or [`NONE`]. Empty where no row has one.
    pub label_sets: Vec<u32>,
    /// What else the labels of each row say.
    pub observed: Observed,
}

/// What a stored profile says of itself, apart from its series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileMeta {
    /// The source profile; the rows of its other sample types share it.
    pub id: ProfileId,
    /// Which of the source's sample types this is.
    pub value_index: u32,
    /// How many sample types the source has; at least 1.
    pub value_count: u32,
    /// When it was taken, in nanoseconds since 1970.
    pub time_unix_nano: i64,
    /// How long it took, in nanoseconds; 0 for snapshots.
    pub duration_nano: i64,
    /// How much of the period type lies between two samples.
    pub period: i64,
    /// The main binary: a mapping of the dictionary, or [`NONE`].
    pub main_mapping: u32,
    /// Free text.
    pub comments: Vec<Vec<u8>>,
    /// The name of the sample type shown first; empty if absent.
    pub default_sample_type: Vec<u8>,
    /// A page that explains the profile; empty if absent.
    pub doc_url: Vec<u8>,
    /// A regular expression of frames to drop when shown; empty if absent.
    pub drop_frames: Vec<u8>,
    /// A regular expression of frames to keep although dropped; empty if absent.
    pub keep_frames: Vec<u8>,
}

impl ProfileMeta {
    /// A profile of one sample type taken at `time_unix_nano`, that says nothing else.
    pub fn new(id: ProfileId, time_unix_nano: i64) -> Self {
        Self {
            id,
            value_index: 0,
            value_count: 1,
            time_unix_nano,
            duration_nano: 0,
            period: 0,
            main_mapping: NONE,
            comments: Vec::new(),
            default_sample_type: Vec::new(),
            doc_url: Vec::new(),
            drop_frames: Vec::new(),
            keep_frames: Vec::new(),
        }
    }
}
