//! The numbers of what a unit has names for, found once for a series, a stack or a set of labels.

use std::fmt;
use std::sync::{Arc, Weak};

use flamestore_calltree::{FrameStrings, SealedDictionary};
use flamestore_model::Result;
use flamestore_segment::ProfileRow;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::columns::{self, unknown_column};
use super::names::Names;
use super::stack_names::StackNames;
use crate::selection::Unit;

/// The numbers that were found for one unit.
#[derive(Clone)]
pub(super) struct UnitNames {
    names: Arc<Names>,
    found: Arc<Mutex<Found>>,
}

#[derive(Default)]
struct Found {
    /// The stacks of the dictionary that was read last.
    stacks: Option<Arc<StackNames>>,
    /// By column, then by series.
    series: HashMap<String, HashMap<u32, u32>>,
}

/// What those who read one unit at the same time find together; it goes with the last of them.
#[derive(Default)]
pub(super) struct SharedNames(Mutex<Weak<Mutex<Found>>>);

impl SharedNames {
    /// What was found so far, numbered by `names`.
    pub(super) fn open(&self, names: &Arc<Names>) -> UnitNames {
        let mut shared = self.0.lock();
        let found = shared.upgrade().unwrap_or_default();
        *shared = Arc::downgrade(&found);
        UnitNames { names: Arc::clone(names), found }
    }
}

impl fmt::Debug for SharedNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedNames")
    }
}

impl UnitNames {
    /// The names of the statement.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// The stacks of `sealed` by name; `frames` gives the names of its frames, where they are kept somewhere.
    pub(super) fn stacks(
        &self,
        sealed: Arc<SealedDictionary>,
        frames: impl FnOnce(&SealedDictionary) -> Option<Arc<FrameStrings>>,
    ) -> Arc<StackNames> {
        let mut found = self.found.lock();
        match &found.stacks {
            Some(stacks) if stacks.is_of(&sealed) => Arc::clone(stacks),
            _ => {
                let frames = frames(&sealed);
                let stacks = StackNames::new(sealed);
                let stacks = match frames {
                    Some(frames) => stacks.with_frames(frames),
                    None => stacks,
                };
                Arc::clone(found.stacks.insert(Arc::new(stacks)))
            }
        }
    }

    /// The numbers of what the column `name` says of the series of `profiles`.
    ///
    /// # Errors
    /// `Internal` when there is no such column; `Corrupt` when a series does not exist; `Exhausted` when there are too many
    /// names.
    pub(super) fn of_profiles<'a>(
        &self,
        unit: &Unit,
        name: &str,
        profiles: impl Iterator<Item = &'a ProfileRow>,
    ) -> Result<Vec<u32>> {
        let mut found = self.found.lock();
        let numbers = found.series.entry_ref(name).or_default();
        let number = |profile: &ProfileRow| match numbers.get(&profile.series_id) {
            Some(number) => Ok(*number),
            None => {
                let number = self.number(unit, name, profile)?;
                numbers.insert(profile.series_id, number);
                Ok(number)
            }
        };
        profiles.map(number).collect()
    }

    fn number(&self, unit: &Unit, name: &str, profile: &ProfileRow) -> Result<u32> {
        let series = unit.series_of(profile)?;
        self.names.add(|known| match name {
            "segment" => known.add_text(&unit.id),
            name => columns::number_of_series(name, series, known)?.ok_or_else(|| unknown_column(name)),
        })
    }
}
