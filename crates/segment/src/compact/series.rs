//! The series of the inputs. What names a series is kept once, however many inputs have it: most of them have the same.

use std::collections::HashSet;
use std::sync::Arc;

use flamestore_model::{Labels, ProfileType};

use crate::{SeriesRow, SeriesTable, all_labels};

/// What names a series.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct SeriesName {
    pub(super) service_name: String,
    pub(super) profile_type: ProfileType,
    pub(super) labels: Labels,
}

/// A series of one input.
#[derive(Debug)]
pub(super) struct InputSeries {
    pub(super) name: Arc<SeriesName>,
    pub(super) series_id: u32,
    /// How many rows of `profiles` it has.
    pub(super) profiles: u32,
    pub(super) time_min: i64,
    pub(super) time_max: i64,
}

/// The names that were seen.
#[derive(Debug, Default)]
pub(super) struct SeriesNames(HashSet<Arc<SeriesName>>);

impl SeriesName {
    /// The labels a selector may ask for.
    pub(super) fn all_labels(&self) -> Labels {
        all_labels(&self.labels, &self.profile_type, &self.service_name)
    }
}

impl SeriesNames {
    /// The series of `table` by dictionary, of which there are `dictionaries`.
    pub(super) fn by_dictionary(&mut self, table: &SeriesTable, dictionaries: usize) -> Vec<Vec<InputSeries>> {
        let mut series: Vec<Vec<InputSeries>> = Vec::new();
        series.resize_with(dictionaries, Vec::new);
        for row in &table.rows {
            if let Some(of_dictionary) = series.get_mut(row.dictionary_id as usize) {
                of_dictionary.push(self.series(row));
            }
        }
        series.iter_mut().for_each(Vec::shrink_to_fit);
        series
    }

    fn series(&mut self, row: &SeriesRow) -> InputSeries {
        InputSeries {
            name: self.name(row),
            series_id: row.series_id,
            profiles: row.profiles.count,
            time_min: row.time_min,
            time_max: row.time_max,
        }
    }

    fn name(&mut self, row: &SeriesRow) -> Arc<SeriesName> {
        let name = SeriesName {
            service_name: row.service_name.clone(),
            profile_type: row.profile_type.clone(),
            labels: row.labels.clone(),
        };
        if let Some(known) = self.0.get(&name) {
            return Arc::clone(known);
        }
        let name = Arc::new(name);
        self.0.insert(Arc::clone(&name));
        name
    }
}
