//! Which files are there, remembered: most questions are about the same few builds.
//!
//! Bound: twice [`GENERATION_MAX`] keys. The young ones become the old ones when there are as many, and the old ones go, but for
//! those that are asked for again.

use std::collections::HashSet;

use super::DebuginfoKey;

const GENERATION_MAX: usize = 8192;

/// The keys of files that are there.
#[derive(Debug, Default)]
pub(super) struct Known {
    young: HashSet<DebuginfoKey>,
    old: HashSet<DebuginfoKey>,
}

impl Known {
    /// Whether the file is known to be there.
    pub(super) fn contains(&mut self, key: &DebuginfoKey) -> bool {
        if self.young.contains(key) {
            return true;
        }
        match self.old.take(key) {
            Some(key) => {
                self.insert(key);
                true
            }
            None => false,
        }
    }

    /// The file is there.
    pub(super) fn insert(&mut self, key: DebuginfoKey) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key);
    }
}

#[cfg(test)]
mod tests {
    use super::super::DebuginfoKind;
    use super::*;
    use flamestore_model::Tenant;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_bounded() {
        let key = |number: usize| {
            DebuginfoKey::new(Tenant::default(), &format!("{number:x}"), DebuginfoKind::Debuginfo).unwrap()
        };
        let mut known = Known::default();
        for number in 0..10 * GENERATION_MAX {
            known.insert(key(number));
            assert!(known.contains(&key(0)), "{number}");
        }
        assert!(known.young.len() + known.old.len() <= 2 * GENERATION_MAX);
        assert!(!known.contains(&key(1)) && known.contains(&key(10 * GENERATION_MAX - 1)));
    }
}
