//! A head as queries see it (API; bodies follow).
use std::sync::Arc;

use flamestore_calltree::{SealedDictionary, ValueTree};
use flamestore_model::{ProfileId, Result, Selector, TimeRange};
use flamestore_segment::{ProfileDetail, ProfileRow, ProfileSamples, SegmentTables, SeriesTable};
use roaring::RoaringBitmap;

/// A head at one moment: pushes after it do not show. Rows and ids are as those of a segment's reader.
#[derive(Debug)]
pub struct HeadView {}

/// The selected profiles of one service: the unit of merging.
#[derive(Clone, Debug)]
pub struct HeadSelection {
    /// The service's number in this view: `SeriesRow::dictionary_id`.
    pub dictionary_id: u32,
    /// The service.
    pub service_name: String,
    /// The profiles.
    pub profiles: Vec<ProfileRow>,
}

/// Whole profiles of one service, with the dictionary their ids refer to.
#[derive(Clone, Debug)]
pub struct HeadSamples {
    /// The symbols, tree and stacks of these profiles only.
    pub sealed: SealedDictionary,
    /// What each profile says of itself, in the order asked for.
    pub details: Vec<ProfileDetail>,
    /// The samples of each profile, in the order asked for.
    pub samples: Vec<ProfileSamples>,
}

impl HeadView {
    /// The series; those of one service are neighbours. Their `profiles` spans are rows of this view.
    pub fn series(&self) -> Arc<SeriesTable> {
        Arc::default()
    }

    /// The ids of the series `selector` fits.
    pub fn select_series(&self, _selector: &Selector) -> RoaringBitmap {
        RoaringBitmap::new()
    }

    /// Label names with their values and how many of `series` (all if `None`) have each, derived labels included; sorted.
    pub fn labels(&self, _series: Option<&RoaringBitmap>) -> Vec<(String, String, u64)> {
        Vec::new()
    }

    /// The profiles of `series` taken within `range`, by row.
    pub fn profiles(&self, _series: &RoaringBitmap, _range: &TimeRange) -> Vec<ProfileRow> {
        Vec::new()
    }

    /// The rows of the source profile `id`: one per sample type; empty if it is not here.
    pub fn find_profile(&self, _id: ProfileId) -> Vec<ProfileRow> {
        Vec::new()
    }

    /// What the profiles say of themselves, in the order given; their main mapping is left out (see [`Self::samples`]).
    pub fn profile_details(&self, _profiles: &[ProfileRow]) -> Vec<ProfileDetail> {
        Vec::new()
    }

    /// The profiles that `selector` and `range` ask for, by service.
    pub fn select(&self, _selector: &Selector, _range: &TimeRange) -> Vec<HeadSelection> {
        Vec::new()
    }

    /// The merge of the profiles of one service: one column of self values, without nodes of no value. Takes as long as
    /// sealing the stacks they touch: not for a thread that must not wait.
    pub fn merge_dictionary(&self, _selection: &HeadSelection) -> ValueTree {
        ValueTree::empty(1)
    }

    /// Whole profiles of one service, as export needs them.
    pub fn samples(&self, _selection: &HeadSelection) -> HeadSamples {
        HeadSamples { sealed: SealedDictionary { dictionary: Arc::default(), tree: flamestore_calltree::CallTree::default(), leaves: Vec::new() }, details: Vec::new(), samples: Vec::new() }
    }

    /// All of it as the tables of a segment; built when first asked for. Not for a thread that must not wait.
    ///
    /// # Errors
    /// `Internal` when the tables cannot be built.
    pub fn tables(&self) -> Result<Arc<SegmentTables>> {
        Err(flamestore_model::Error::internal("not written yet"))
    }
}
