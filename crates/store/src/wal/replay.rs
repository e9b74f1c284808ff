//! Which records of a log are published, and what taking in the others came to.

use crate::manifest::WriterState;

/// What a manifest says of the records of one log: those up to here are in segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Published {
    epoch: u64,
    generation: u64,
}

impl Published {
    /// What `state`, in which an epoch was just claimed, says of the log `wal`.
    pub(crate) fn of(state: &WriterState, wal: u128) -> Self {
        let earlier = state.earlier.iter().find(|earlier| earlier.wal == wal);
        earlier.map_or_else(Self::default, |e| Self { epoch: e.epoch, generation: e.flushes })
    }

    /// What `state`, in which flushes may have been committed since the claim, says of the log `wal`.
    pub(crate) fn by(state: &WriterState, wal: u128) -> Self {
        // the first flush of an epoch publishes all that its log had from before
        match state.wal == wal && state.flushes > 0 {
            true => Self { epoch: state.epoch, generation: state.flushes },
            false => Self::of(state, wal),
        }
    }

    /// Whether a record of `generation`, written in `epoch`, is in a segment.
    pub(crate) fn holds(&self, epoch: u64, generation: u64) -> bool {
        epoch < self.epoch || (epoch == self.epoch && generation <= self.generation)
    }
}

/// What was taken in anew at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// Records taken in.
    pub(crate) records: u64,
    /// Records that were there already: a push that was repeated.
    pub(crate) repeated: u64,
    /// Records that could not be taken in; their parts are kept aside.
    pub(crate) rejected: u64,
    /// Bytes of the records.
    pub(crate) bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::EarlierWal;

    fn check(state: &WriterState, wal: u128, held: &[(u64, u64)], open: &[(u64, u64)]) {
        let published = Published::of(&state.clone().claimed(wal), wal);
        assert!(held.iter().all(|(epoch, generation)| published.holds(*epoch, *generation)), "{published:?}");
        assert!(!open.iter().any(|(epoch, generation)| published.holds(*epoch, *generation)), "{published:?}");
    }

    #[test]
    fn records_are_published_by_the_flushes_of_their_log_alone() {
        let earlier = vec![EarlierWal { wal: 2, epoch: 5, flushes: 1 }, EarlierWal { wal: 1, epoch: 6, flushes: 4 }];
        let state = WriterState { epoch: 7, flushes: 3, wal: 1, earlier };
        check(&state, 1, &[(7, 3), (7, 1), (6, 9)], &[(7, 4), (8, 1)]);
        check(&state, 2, &[(5, 1), (4, 9)], &[(5, 2), (6, 1), (7, 1)]);
        check(&state, 3, &[], &[(1, 1), (7, 1)]);
        check(&WriterState { flushes: 0, ..state.clone() }, 1, &[(6, 4), (5, 9)], &[(6, 5), (7, 1)]);
        check(&WriterState::default(), 0, &[], &[(1, 1)]);
    }

    #[test]
    fn an_epoch_without_a_flush_leaves_what_its_log_reached_before() {
        let mut state = WriterState::default().claimed(1);
        state.flushed(1);
        state = state.claimed(1).claimed(1);
        check(&state, 1, &[(1, 1)], &[(1, 2), (2, 1), (3, 1)]);
        state.flushed(1);
        assert!(state.earlier.is_empty());
        check(&state, 1, &[(1, 2), (2, 7), (3, 1)], &[(3, 2)]);
    }
}
