//! How an object is cut into the parts that are cached.
//!
//! ```text
//! 0        64 KiB     128 KiB        …     footer     end
//! ├─ block ─┼─ block ──┼─ …  ── block ──────┼─ footer ─┤        an object of at most one block: a single extent
//! ```
//!
//! Extents do not overlap and leave nothing out. The footer is one of its own, so that opening a table reads no more than
//! page index and footer.

use std::ops::{Range, RangeInclusive};

/// The bytes of a block.
///
/// About eight pages of `samples`: what a query of one service reads lies together. `benches/benches/cache.rs` measures
/// what a cold query reads.
pub(super) const BLOCK_BYTES: u64 = 64 << 10;

/// Missing extents with at most so many bytes between them are fetched by one request: about what a store sends in the
/// time of a further request.
const GAP_BYTES_MAX: u64 = 512 << 10;

/// The extents of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extents {
    bytes: u64,
    /// Where the footer starts; the end of the object where it is no extent of its own.
    footer: u64,
}

impl Extents {
    /// The extents of an object of `bytes` bytes, of which the last ones from `footer` on are read together.
    pub(super) fn new(bytes: u64, footer: u64) -> Self {
        let footer = if bytes <= BLOCK_BYTES { bytes } else { footer.min(bytes) };
        Self { bytes, footer }
    }

    /// How many blocks there are before the footer.
    fn blocks(&self) -> u64 {
        self.footer.div_ceil(BLOCK_BYTES)
    }

    /// How many extents there are.
    pub(super) fn count(&self) -> u64 {
        self.blocks() + u64::from(self.footer < self.bytes)
    }

    /// The bytes of extent `at`.
    pub(super) fn range(&self, at: u64) -> Range<u64> {
        match at < self.blocks() {
            true => at * BLOCK_BYTES..((at + 1) * BLOCK_BYTES).min(self.footer),
            false => self.footer..self.bytes,
        }
    }

    fn holding(&self, byte: u64) -> u64 {
        if byte < self.footer { byte / BLOCK_BYTES } else { self.blocks() }
    }

    /// The extents that hold `range`, which is not empty and inside of the object.
    pub(super) fn of(&self, range: &Range<u64>) -> RangeInclusive<u64> {
        self.holding(range.start)..=self.holding(range.end - 1)
    }

    /// Ascending extents as runs, each to be fetched by one request.
    pub(super) fn runs(&self, missing: &[u64]) -> Vec<RangeInclusive<u64>> {
        let mut runs: Vec<RangeInclusive<u64>> = Vec::new();
        for &at in missing {
            match runs.last_mut() {
                Some(run) if self.range(at).start - self.range(*run.end()).end <= GAP_BYTES_MAX => {
                    *run = *run.start()..=at;
                }
                _ => runs.push(at..=at),
            }
        }
        runs
    }

    /// The bytes of a run.
    pub(super) fn run_bytes(&self, run: &RangeInclusive<u64>) -> Range<u64> {
        self.range(*run.start()).start..self.range(*run.end()).end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_cover_an_object_without_overlap() {
        for (bytes, footer) in [
            (1, 0),
            (100, 90),
            (BLOCK_BYTES, 10),
            (BLOCK_BYTES + 1, BLOCK_BYTES),
            (3 * BLOCK_BYTES + 7, 2 * BLOCK_BYTES + 5),
            (3 * BLOCK_BYTES, 3 * BLOCK_BYTES),
        ] {
            let extents = Extents::new(bytes, footer);
            let ranges: Vec<_> = (0..extents.count()).map(|at| extents.range(at)).collect();
            assert_eq!(ranges.first().map(|range| range.start), Some(0));
            assert_eq!(ranges.last().map(|range| range.end), Some(bytes));
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start), "{bytes} {footer}: {ranges:?}");
            for at in 0..extents.count() {
                assert_eq!(extents.of(&extents.range(at)), at..=at);
            }
            assert_eq!(extents.of(&(0..bytes)), 0..=extents.count() - 1);
        }
    }

    #[test]
    fn a_footer_is_an_extent_of_its_own_unless_the_object_is_small() {
        assert_eq!(Extents::new(100, 40).count(), 1);
        let large = Extents::new(BLOCK_BYTES * 2, BLOCK_BYTES * 2 - 100);
        assert_eq!(large.range(2), BLOCK_BYTES * 2 - 100..BLOCK_BYTES * 2);
    }

    #[test]
    fn neighbours_are_fetched_by_one_request_and_far_ones_are_not() {
        let extents = Extents::new(100 * BLOCK_BYTES, 100 * BLOCK_BYTES - 10);
        let gap = GAP_BYTES_MAX / BLOCK_BYTES;
        assert_eq!(extents.runs(&[0, 1, 2, 2 + gap + 1, 2 + 2 * (gap + 1) + 1]), [0..=2 + gap + 1, 21..=21]);
        assert_eq!(extents.runs(&[99, 100]), [99..=100]);
        assert_eq!(extents.run_bytes(&(99..=100)), 99 * BLOCK_BYTES..100 * BLOCK_BYTES);
        assert_eq!(extents.runs(&[]), []);
    }
}
